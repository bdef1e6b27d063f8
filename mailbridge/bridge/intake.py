"""Mailbox to journal: the folders are read, staff replies found, their copies joined and judged.

Copies of one reply are joined by what every client and provider leaves alone: discussion, From,
Date to the second and In-Reply-To; never by Message-ID or body (Microsoft 365 changes both). The
Sent copy wins. How far a folder has been read moves on in the same transaction that keeps what
was found there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from mailbridge.bridge.closing import ask_to_close
from mailbridge.bridge.context import Context
from mailbridge.bridge.judging import Judging
from mailbridge.bridge.opening import Openings, reply_key
from mailbridge.bridge.probe import PROBE_SHORT, is_proven, note_proof
from mailbridge.bridge.reading import Findings, Reader
from mailbridge.bridge.uptake import note_bounce
from mailbridge.domain.delivery import MACHINE as DELIVERY
from mailbridge.domain.delivery import DeliveryEvent, DeliveryState
from mailbridge.domain.discussion import Status
from mailbridge.domain.identity import NameKind
from mailbridge.domain.intake import IntakeState
from mailbridge.domain.opening import is_opening
from mailbridge.domain.routing import (
    Elsewhere,
    Envelope,
    Faulty,
    First,
    NotOurs,
    ReplyTo,
    route,
)
from mailbridge.journal.tables import AttachmentRow, CopyRow, DiscussionRow, ReplyRow
from mailbridge.journal.transaction import Transaction
from mailbridge.mail.automatic import Bounce, BounceAction, bounce
from mailbridge.mail.incoming import IncomingMail, UnreadableMail, read_headers, read_mail
from mailbridge.mail.port import Fetched, MailboxSession, SpecialUse

__all__ = ["Intake", "Watched"]

_CHUNK = 100
_HEADROOM = 65_536
"""A mail over the size limit is read this far, enough for its headers."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A folder to look for replies in."""

    name: str
    is_sent: bool
    is_closed: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """A mail worth keeping: where it lies and what it is."""

    watched: Watched
    uidvalidity: int
    uid: int
    short: str
    """Of the thread it belongs to."""
    key: str
    """What its copies are all addressed to (see `opening.reply_key`)."""
    answers: str
    head: IncomingMail
    findings: Findings
    lay_there: bool = False


@dataclass(slots=True)
class _Batch:
    """What a chunk of mails asks to be written down."""

    replies: list[_Found] = field(default_factory=list)
    bounces: list[Bounce] = field(default_factory=list)
    submitted: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    """Message-IDs of mails of ours that turned up in the closed folder."""
    probes: list[tuple[Watched, IncomingMail, str]] = field(default_factory=list)


class Intake:
    """Reads the watched folders of one account."""

    def __init__(self, ctx: Context, judging: Judging) -> None:
        self._ctx = ctx
        self._judging = judging
        self._reader = Reader(ctx)
        self._openings = Openings(ctx)

    async def watched(self, session: MailboxSession) -> list[Watched]:
        """The inbox, the Sent folders, and the closed folder where moving closes."""
        layout = self._ctx.config.mailbox
        folders = await session.folders()
        there = {f.name for f in folders}
        named = [n for n in layout.sent_folders if n in there]
        missing = set(layout.sent_folders) - there
        if missing:
            self._ctx.log.warning("configured Sent folders are not there", folders=sorted(missing))
        sent = named or [f.name for f in folders if f.use is SpecialUse.SENT]
        watched = [Watched(layout.folder, False), *(Watched(n, True) for n in sent)]
        if "INBOX" not in (layout.folder, *sent):
            watched.append(Watched("INBOX", False))
        if layout.close_by_move:
            await session.ensure_folder(layout.closed_folder)
            watched.append(Watched(layout.closed_folder, False, is_closed=True))
        return watched

    async def scan(self, session: MailboxSession, watched: Watched) -> int:
        """Read what is new in a folder; the number of replies found.

        At the first look at a folder (a first start, a lost journal, a new UIDVALIDITY) nothing
        that already lies there is obeyed: replies of the last days are kept for one decision.
        """
        ctx = self._ctx
        state = await session.state(watched.name)
        async with ctx.read() as tx:
            known = await tx.folders.get(watched.name)
        first_look = known is None or known.uidvalidity != state.uidvalidity
        if first_look:
            since = ctx.clock() - ctx.config.replies.max_age
            uids = list(await session.uids_since(watched.name, since))
            uids = [u for u in uids if u < state.uidnext]
        elif known is not None and known.next_uid < state.uidnext:
            uids = list(await session.uids(watched.name, from_uid=known.next_uid))
        else:
            return 0
        found = 0
        for start in range(0, len(uids), _CHUNK):
            chunk = uids[start : start + _CHUNK]
            batch = await self._look(session, watched, state.uidvalidity, chunk, first_look)
            last = start + _CHUNK >= len(uids)
            next_uid = max(state.uidnext, uids[-1] + 1) if last else chunk[-1] + 1
            await self._keep(watched, state.uidvalidity, next_uid, batch, moving_on=not first_look)
            found += len(batch.replies)
        if first_look or not uids:
            async with ctx.write() as tx:
                await tx.folders.read_to(watched.name, state.uidvalidity, state.uidnext)
        return found

    async def _look(
        self,
        session: MailboxSession,
        watched: Watched,
        uidvalidity: int,
        uids: Sequence[int],
        lay_there: bool,
    ) -> _Batch:
        batch = _Batch()
        for fetched in await session.headers(watched.name, uids):
            try:
                await self._consider(session, watched, uidvalidity, fetched, lay_there, batch)
            except UnreadableMail as error:
                # Not even its headers can be read: it cannot be known to be ours.
                self._ctx.log.warning(
                    "mail skipped: its headers cannot be read",
                    folder=watched.name,
                    uid=fetched.uid,
                    what=error.what,
                )
        return batch

    async def _consider(
        self,
        session: MailboxSession,
        watched: Watched,
        uidvalidity: int,
        fetched: Fetched,
        lay_there: bool,
        batch: _Batch,
    ) -> None:
        ctx = self._ctx
        try:
            head = read_headers(fetched.data)
        except UnreadableMail as error:
            if error.head is None:
                raise
            head = error.head  # reading it whole will say the same, and hold it in its thread
        message_id = head.message_id or ""
        name = ctx.identity.read(message_id)
        if name is not None or ctx.identity.looks_ours(message_id):
            if watched.is_closed and name is not None and name.kind is NameKind.MESSAGE:
                batch.moved.append(message_id)
            return
        if watched.is_closed:
            return
        async with ctx.read() as tx:
            ours = await tx.deliveries.by_mail(message_id)
            known = await self._known_ids(tx, head)
        if ours is not None:
            if watched.is_sent:
                batch.submitted.append(message_id)
            return
        told = await self._bounce(session, watched, fetched) if _maybe_bounce(head) else None
        if told is not None:
            batch.bounces.append(told)
            return
        where = route(_envelope(head), ctx.addresses, ctx.identity, known)
        match where:
            case NotOurs():
                return
            case Elsewhere():
                ctx.log.debug("mail of a thread goes elsewhere; left alone", folder=watched.name)
                return
            case First():
                await self._first(
                    session, watched, uidvalidity, fetched, lay_there, batch, head, where
                )
            case ReplyTo() | Faulty():
                await self._found(
                    session, watched, uidvalidity, fetched, lay_there, batch, head, where
                )

    async def _found(
        self,
        session: MailboxSession,
        watched: Watched,
        uidvalidity: int,
        fetched: Fetched,
        lay_there: bool,
        batch: _Batch,
        head: IncomingMail,
        where: ReplyTo | Faulty,
    ) -> None:
        ctx = self._ctx
        if where.short == PROBE_SHORT:
            proven, words = self._reader.origin(head, watched.is_sent)
            batch.probes.append((watched, head, words if proven else ""))
            return
        async with ctx.read() as tx:
            discussion = await tx.discussions.by_short(where.short)
        if discussion is None:
            ctx.log.warning("reply for a discussion that is not in the journal", short=where.short)
            return
        findings = await self._reader.read(
            session, watched.name, watched.is_sent, fetched, head, discussion
        )
        answers = where.answers if isinstance(where, ReplyTo) else ""
        if isinstance(where, Faulty):
            findings = replace(findings, routed=(where.reason, dict(where.facts)))
        short = discussion.short
        batch.replies.append(
            _Found(
                watched, uidvalidity, fetched.uid, short, short, answers, head, findings, lay_there
            )
        )

    async def _first(
        self,
        session: MailboxSession,
        watched: Watched,
        uidvalidity: int,
        fetched: Fetched,
        lay_there: bool,
        batch: _Batch,
        head: IncomingMail,
        where: First,
    ) -> None:
        """A mail that answers nothing: a reply in the thread of the order it names, if any."""
        proven, _ = self._reader.origin(head, watched.is_sent)
        opens = await self._openings.look(
            session, watched.name, fetched, head, where, proven=proven
        )
        if opens is None:
            return
        findings = await self._reader.read(
            session, watched.name, watched.is_sent, fetched, head, opens.discussion, opens
        )
        if opens.fault is not None:
            findings = replace(findings, routed=opens.fault)
        short = opens.discussion.short
        batch.replies.append(
            _Found(
                watched, uidvalidity, fetched.uid, short, opens.key, "", head, findings, lay_there
            )
        )

    async def _known_ids(self, tx: Transaction, head: IncomingMail) -> dict[str, str]:
        """Message-IDs this mail answers that are no keyed ones of ours, but stand in a thread."""
        ids = [
            i
            for i in dict.fromkeys((*head.in_reply_to, *head.references[-20:]))
            if self._ctx.identity.read(i) is None
        ]
        known: dict[str, str] = {}
        discussions: dict[str, str] = {}
        for copy in await tx.replies.copies_by_mail(ids) if ids else ():
            reply = await tx.replies.get(copy.reply) if copy.reply else None
            if reply is not None:
                discussions[copy.message_id] = reply.discussion
        for message_id in ids:
            if self._ctx.identity.looks_ours(message_id):
                filing = await tx.filings.by_mail(message_id)
                if filing is not None:
                    discussions[message_id] = filing.discussion
        rows = await tx.discussions.many(set(discussions.values()))
        for message_id, discussion in discussions.items():
            if discussion in rows:
                known[message_id] = rows[discussion].short
        return known

    async def _bounce(
        self, session: MailboxSession, watched: Watched, fetched: Fetched
    ) -> Bounce | None:
        whole = await session.fetch(
            watched.name, fetched.uid, limit=self._ctx.config.replies.max_mail_bytes
        )
        if whole is None:
            return None
        try:
            return bounce(read_mail(whole.data))
        except UnreadableMail:
            return None

    async def _keep(
        self,
        watched: Watched,
        uidvalidity: int,
        next_uid: int,
        batch: _Batch,
        *,
        moving_on: bool,
    ) -> None:
        ctx = self._ctx
        async with ctx.write() as tx:
            for found in batch.replies:
                await self._keep_reply(tx, found)
            for told in batch.bounces:
                await self._keep_bounce(tx, told)
            for message_id in batch.submitted:
                await self._keep_submitted(tx, message_id)
            for message_id in batch.moved:
                await self._keep_moved(tx, message_id)
            for place, head, words in batch.probes:
                await note_proof(ctx, tx, folder=place.name, mail=head, origin=words)
            if moving_on:
                await tx.folders.read_to(watched.name, uidvalidity, next_uid)

    async def _keep_reply(self, tx: Transaction, found: _Found) -> None:
        ctx = self._ctx
        discussion = await tx.discussions.by_short(found.short)
        if discussion is None:
            return
        head, findings = found.head, found.findings
        identity = reply_key(found.key, head)
        reply = await tx.replies.get(identity)
        if reply is None:
            reply = self._new_reply(tx, identity, discussion, found)
            reply.customer_messages = await tx.discussions.customer_messages_filed(discussion.id)
            tx.replies.add(reply)
            await tx.flush()
            tx.note("reply seen", discussion=discussion.id, subject=identity)
            await self._take_findings(tx, reply, findings)
            ctx.log.info("reply seen", discussion=discussion.short, folder=found.watched.name)
        elif reply.state == IntakeState.GATHERING and (
            findings.better_than(reply.level, reply.in_sent)
        ):
            await self._take_findings(tx, reply, findings)
        elif findings.level > reply.level and reply.state == IntakeState.HELD:
            # A copy that proves staff lifts a hold for want of proof: judge it again.
            await self._judging.proven_later(tx, reply, findings)
        is_answer = found.key == found.short  # what writes first may have come by another door
        if is_answer and not found.watched.is_sent and not await is_proven(ctx, tx):
            # A reply that was delivered has made the round trip the probe asks for.
            await note_proof(
                ctx, tx, folder=found.watched.name, mail=head, origin=findings.evidence
            )
        reply.in_sent = reply.in_sent or found.watched.is_sent
        await tx.replies.add_copy(
            CopyRow(
                account=ctx.name,
                folder=found.watched.name,
                uidvalidity=found.uidvalidity,
                uid=found.uid,
                reply=identity,
                message_id=head.message_id or "",
                in_sent=found.watched.is_sent,
            )
        )

    def _new_reply(
        self, tx: Transaction, identity: str, discussion: DiscussionRow, found: _Found
    ) -> ReplyRow:
        head = found.head
        return ReplyRow(
            account=self._ctx.name,
            id=identity,
            discussion=discussion.id,
            state=IntakeState.GATHERING,
            sender=head.from_.address.lower(),
            sender_name=self._ctx.staff_name(head.from_.address) or head.from_.name,
            written_at=head.date or tx.now,
            seen_at=tx.now,
            due_at=tx.now + self._ctx.config.replies.wait_for_sent_copy,
            answers=found.answers or next(iter(head.in_reply_to), None),
            references=" ".join((*head.references, *head.in_reply_to)),
            in_sent=False,
            lay_there=found.lay_there,
        )

    async def _take_findings(self, tx: Transaction, reply: ReplyRow, findings: Findings) -> None:
        reply.level, reply.evidence = findings.level, findings.evidence
        reply.text, reply.text_hash = findings.text, findings.text_hash
        reply.commands = findings.commands
        reply.findings = findings.to_json()
        await tx.replies.keep_attachments(
            reply.id,
            [
                AttachmentRow(
                    account=self._ctx.name,
                    reply=reply.id,
                    name=name,
                    content_type=content_type,
                    data=data,
                )
                for name, content_type, data in findings.attachments
            ],
        )

    async def _keep_bounce(self, tx: Transaction, told: Bounce) -> None:
        """A DSN counts only if it names a mail we really sent: bounces are easily forged."""
        if told.action is not BounceAction.FAILED or told.message_id is None:
            return
        delivery = await tx.deliveries.by_mail(told.message_id)
        if delivery is not None:
            note_bounce(tx, delivery, told.diagnostic or told.status)
            self._ctx.bells.outgoing.set()

    async def _keep_submitted(self, tx: Transaction, message_id: str) -> None:
        """Our own mail in Sent: the provider filed it, so it took it."""
        delivery = await tx.deliveries.by_mail(message_id)
        if delivery is not None and delivery.state == DeliveryState.UNCERTAIN:
            tx.move(
                delivery,
                DELIVERY,
                DeliveryEvent.ACCEPTED,
                discussion=delivery.discussion,
                subject=str(delivery.id),
                detail="found in Sent",
            )

    async def _keep_moved(self, tx: Transaction, message_id: str) -> None:
        """An agent moved a thread to the closed folder: the same as the command.

        What the journal knows to lie there was moved by us. Clients move one mail where a
        person means the thread, so the others follow.
        """
        ctx = self._ctx
        layout = ctx.config.mailbox
        mail = await tx.filings.by_mail(message_id)
        if mail is None or mail.folder == layout.closed_folder:
            return
        mail.folder, mail.uid, mail.uidvalidity = layout.closed_folder, None, None
        row = await tx.discussions.get(mail.discussion)
        if row is None or row.status == Status.CLOSED or row.wanted_folder == layout.closed_folder:
            return
        if is_opening(row.id):
            return  # there is nothing to close yet
        if not ctx.config.replies.enabled:
            return  # shadow mode: what people do with their mails is theirs
        row.wanted_folder = layout.closed_folder
        filed = await tx.discussions.customer_messages_filed(row.id)
        await ask_to_close(tx, ctx, row, reply=None, customer_messages=filed, wait=False)

    async def mark_read(self, session: MailboxSession, copies: Iterable[CopyRow]) -> None:
        """Mark delivered copies of accepted replies read: they are dealt with."""
        for copy in copies:
            state = await session.state(copy.folder)
            if state.uidvalidity == copy.uidvalidity:
                await session.add_flags(copy.folder, [copy.uid], ["\\Seen"])


def _envelope(head: IncomingMail) -> Envelope:
    return Envelope(
        sender=head.from_.address,
        recipients=tuple(a.address for a in (*head.to, *head.cc, *head.bcc)),
        in_reply_to=head.in_reply_to,
        references=head.references,
    )


def _maybe_bounce(head: IncomingMail) -> bool:
    """Worth reading whole as a bounce: a report, or from whom bounces come (RFC 3834 2)."""
    local = head.from_.address.lower().partition("@")[0]
    return (
        head.content_type == "multipart/report"
        or local in ("mailer-daemon", "postmaster")
        or (head.header("Return-Path") or "").strip() == "<>"
    )
