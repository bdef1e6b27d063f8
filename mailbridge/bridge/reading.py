"""Reading one staff mail: what its writer wrote, what it asks, and what proves where it is from.

The result is a value that the journal keeps, so that a reply is read once from its best copy and
can be judged again later without the mail.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace

from mailbridge.bridge.context import Context
from mailbridge.bridge.opening import Opens
from mailbridge.bridge.templates import Fault, Filled, fill
from mailbridge.config.models import Language
from mailbridge.domain.attachment import attachment_fault
from mailbridge.domain.command import Command, Held, Parsed, parse
from mailbridge.domain.money import Obstacle, gesture_motive
from mailbridge.domain.notice import HoldReason
from mailbridge.domain.opening import is_opening, order_number
from mailbridge.domain.vocabulary import Verb
from mailbridge.domain.wording import clean_line, text_hash
from mailbridge.journal.tables import DiscussionRow
from mailbridge.mail.authored import authored_part, bodies, sendable_attachments
from mailbridge.mail.automatic import Automatic, MaybeAutomatic, automatic
from mailbridge.mail.incoming import IncomingMail, UnreadableMail, read_mail
from mailbridge.mail.insertions import insertions
from mailbridge.mail.port import Fetched, MailboxRefused, MailboxSession
from mailbridge.mail.trust import TrustRules, origin

__all__ = ["Findings", "Reader"]

_MONEY = frozenset({Verb.REFUND, Verb.GESTURE, Verb.CONFIRM})
_IN_THREADS = frozenset(
    {Verb.REFUND, Verb.GESTURE, Verb.CONFIRM, Verb.CANCEL, Verb.SEND, Verb.RESEND, Verb.REOPEN}
)
"""Not in a mail that writes first. Money above all: an order's number is soon mistyped, and in a
thread its card stands before one's eyes."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What reading one copy of a reply found; words are as written, cleaned of controls."""

    in_sent: bool = False
    level: int = 0
    evidence: str = ""
    """What proves the origin, in words; empty at level 0."""
    why: str = ""
    """Why nothing proves it, in words."""
    text: str = ""
    commands: str = "[]"
    fault: Fault | None = None
    routed: Fault | None = None
    """What is wrong with whom it is addressed to."""
    automatic: str = ""
    maybe_automatic: str = ""
    attachment_names: str = ""
    attachment_limit: str = ""
    attachments: tuple[tuple[str, str, bytes], ...] = field(default=(), repr=False)

    @property
    def text_hash(self) -> str:
        """Of the text, to find it again in the discussion."""
        return text_hash(self.text) if self.text else ""

    def better_than(self, level: int, in_sent: bool) -> bool:
        """Whether this copy is to be preferred: more proof first, then the Sent copy."""
        return (self.level, self.in_sent) > (level, in_sent)

    def to_json(self) -> str:
        """For the journal: what judging needs beside the columns a reply has of its own."""
        kept = {
            "why": self.why,
            "fault": [self.fault[0], dict(self.fault[1])] if self.fault else None,
            "routed": [self.routed[0], dict(self.routed[1])] if self.routed else None,
            "automatic": self.automatic,
            "maybe_automatic": self.maybe_automatic,
            "attachment_names": self.attachment_names,
            "attachment_limit": self.attachment_limit,
        }
        return json.dumps(kept, ensure_ascii=False)

    @classmethod
    def from_json(cls, data: str) -> Findings:
        """What `to_json` kept."""
        raw = json.loads(data)
        fault, routed = raw.pop("fault", None), raw.pop("routed", None)
        return cls(
            **raw,
            fault=(HoldReason(fault[0]), fault[1]) if fault else None,
            routed=(HoldReason(routed[0]), routed[1]) if routed else None,
        )


class Reader:
    """Reads staff mails for one account."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        trust = ctx.config.trust
        own = {ctx.config.mailbox.address.rpartition("@")[2], ctx.config.smtp.host}
        self._rules = TrustRules(
            staff=frozenset(s.address.lower() for s in ctx.config.staff),
            sent_copy=trust.sent_copy,
            authserv_ids=frozenset(trust.authserv_ids),
            exchange_internal=trust.exchange_internal,
            submission_hosts=frozenset(trust.submission_hosts),
            own_domains=frozenset(own),
        )
        self._french = ctx.language is Language.FR
        self._vocabulary = ctx.vocabulary

    def origin(self, mail: IncomingMail, in_sent: bool) -> tuple[bool, str]:
        """Whether it is proven that this mail is from where it says, and why (not), in words."""
        evidence = origin(mail, in_sent=in_sent, rules=self._rules)
        return evidence.proof is not None, evidence.why(self._french)

    async def read(
        self,
        session: MailboxSession,
        folder: str,
        is_sent: bool,
        fetched: Fetched,
        head: IncomingMail,
        discussion: DiscussionRow,
        opens: Opens | None = None,
    ) -> Findings:
        """Fetch the mail whole and read it; what is wrong with it is in `fault`. `opens` is
        given for a mail that writes first.

        Raises MailboxError.
        """
        proven, words = self.origin(head, is_sent)
        found = Findings(
            in_sent=is_sent,
            level=1 if proven else 0,
            evidence=words if proven else "",
            why="" if proven else words,
        )
        limit = self._ctx.config.replies.max_mail_bytes
        if fetched.size > limit:
            facts = {"size": str(fetched.size), "limit": str(limit)}
            return replace(found, fault=(HoldReason.TOO_BIG, facts))
        whole = await session.fetch(folder, fetched.uid)
        if whole is None:
            facts = {"what": "gone"}
            return replace(found, fault=(HoldReason.UNREADABLE, facts))
        try:
            mail = await asyncio.to_thread(read_mail, whole.data)
        except UnreadableMail as error:
            return replace(found, fault=(error.reason, {"what": error.what}))
        return await self._contents(session, found, mail, discussion, opens)

    async def _contents(
        self,
        session: MailboxSession,
        found: Findings,
        mail: IncomingMail,
        discussion: DiscussionRow,
        opens: Opens | None,
    ) -> Findings:
        ctx = self._ctx
        match automatic(mail):
            case Automatic(sign):
                return replace(found, automatic=sign)
            case MaybeAutomatic(sign):
                found = replace(found, maybe_automatic=sign)
            case None:
                pass
        async with ctx.read() as tx:
            messages = await tx.discussions.messages(discussion.id)
        written = await asyncio.to_thread(authored_part, mail, [m.text for m in messages])
        if not written.complete:
            return replace(found, fault=(HoldReason.UNREADABLE, {"what": "length"}))
        read = parse(written.text, self._vocabulary, echoed=written.echoed)
        if isinstance(read, Held):
            return replace(found, fault=(read.reason, read.facts), text=written.text)
        if read.commands and not written.commands_agree:
            return replace(found, fault=(HoldReason.PARTS_DIFFER, {}), text=written.text)
        if (missing := self._unavailable(read, discussion, opens)) is not None:
            return replace(found, fault=missing, text=written.text)
        filled = await fill(ctx, discussion, mail.from_.address, read)
        if not isinstance(filled, Filled):
            return replace(found, fault=filled, text=written.text)
        fault: Fault | None = None
        if written.text.strip() and written.unmarked:
            answered = await self._answered(session, mail)
            if typed := insertions(written.unmarked, answered):
                fault = HoldReason.TEXT_IN_QUOTE, {"line": clean_line(typed[0], 200)}
        files = sendable_attachments(mail, written)
        sizes = [(f.name, len(f.data)) for f in files]
        limits = ctx.marketplace.capabilities.outgoing_attachments
        names, limit = attachment_fault(sizes, limits) or ("", "")
        return replace(
            found,
            text=filled.text,
            commands=json.dumps([_as_json(c) for c in filled.commands], ensure_ascii=False),
            fault=fault,
            attachment_names=clean_line(names, 300),
            attachment_limit=limit,
            attachments=() if names else tuple((f.name, f.content_type, f.data) for f in files),
        )

    async def _answered(self, session: MailboxSession, mail: IncomingMail) -> tuple[str, ...]:
        """The bodies of the mail of ours that is answered; none where it is not to be had."""
        async with self._ctx.read() as tx:
            filings = [f for i in mail.in_reply_to if (f := await tx.filings.by_mail(i))]
        for filing in filings:
            if filing.folder is None:
                continue
            try:
                uid = (await session.find(filing.folder, [filing.message_id])).get(
                    filing.message_id
                )
                whole = await session.fetch(filing.folder, uid) if uid is not None else None
                answered = await asyncio.to_thread(read_mail, whole.data) if whole else None
            except (MailboxRefused, UnreadableMail):
                continue  # without it nothing is found in the quote, as ever
            if answered is not None:
                return bodies(answered)
        return ()

    def _unavailable(
        self, read: Parsed, discussion: DiscussionRow, opens: Opens | None
    ) -> Fault | None:
        """A command that is understood and cannot be carried out here."""
        for command in read.commands:
            if (why := _out_of_place(command, read, discussion, opens)) is not None:
                return why, {"line": command.line}
            if command.verb in _MONEY and not self._ctx.config.money.enabled:
                return HoldReason.MONEY_OFF, {"line": command.line}
            if command.verb in (Verb.REFUND, Verb.GESTURE) and not discussion.order_number:
                facts = {"obstacle": Obstacle.NO_ORDER, "held": ""}
                return HoldReason.MONEY_IMPOSSIBLE, facts
            motive = command.options.get("motive", "")
            if command.verb is Verb.GESTURE and motive and gesture_motive(motive) is None:
                return HoldReason.UNKNOWN_MOTIVE, {"line": command.line}
        return None


def _out_of_place(
    command: Command, read: Parsed, discussion: DiscussionRow, opens: Opens | None
) -> HoldReason | None:
    """Why a command means nothing in this thread, or in a mail that writes first."""
    if opens is None and command.verb is Verb.ORDER:
        return HoldReason.ORDER_IN_THREAD
    if opens is not None and command.verb in _IN_THREADS:
        return HoldReason.FIRST_MAIL
    if opens is not None and command.verb is Verb.ORDER:
        # The address names another order than the first line does.
        same = opens.number is None or order_number(command.argument) == opens.number
        return None if same else HoldReason.ORDER_IN_THREAD
    if not is_opening(discussion.id):
        return None
    silent = not read.pieces or any(c.verb is Verb.NOTE for c in read.commands)
    close = command.verb is Verb.CLOSE and silent
    return HoldReason.NO_DISCUSSION if close or command.verb is Verb.REOPEN else None


def _as_json(command: Command) -> dict[str, object]:
    return {
        "verb": command.verb,
        "argument": command.argument,
        "line": command.line,
        "options": dict(command.options),
    }
