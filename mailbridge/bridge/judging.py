"""Judging gathered replies: obeyed, waited for, held with a notice, or ignored.

The rules are `domain/verdict`'s; here they are given the facts, and their verdict is written
into the journal together with all that follows from it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from mailbridge.bridge.confirming import MAX_TRIES, confirmable, is_doubt, is_right_code
from mailbridge.bridge.context import Context
from mailbridge.bridge.notices import queue_notice
from mailbridge.bridge.obeying import Obeying, read_commands, release_code
from mailbridge.bridge.reading import Findings
from mailbridge.domain.command import Command
from mailbridge.domain.discussion import AuthorKind
from mailbridge.domain.intake import MACHINE, IntakeEvent, IntakeState
from mailbridge.domain.notice import HoldReason, Notice, NoticeKind
from mailbridge.domain.verdict import Accept, Case, Colleague, Hold, Ignore, Wait, judge
from mailbridge.domain.vocabulary import Verb
from mailbridge.domain.wording import clean_line
from mailbridge.journal.tables import DiscussionRow, ReplyRow
from mailbridge.journal.transaction import Transaction
from mailbridge.mail.outgoing import check_outgoing
from mailbridge.mail.rendering import TemplateBroken

__all__ = ["Judging"]

_PROOF_REASONS = frozenset({HoldReason.NOT_PROVEN, HoldReason.NOT_STAFF})
_LIFTED = frozenset(
    {
        HoldReason.OTHER_RECIPIENTS,
        HoldReason.NO_THREAD,
        HoldReason.TOO_OLD,
        HoldReason.FOUND_IN_SENT,
        HoldReason.MAYBE_AUTOMATIC,
    }
)
"""What a person's word is enough for, beside proof itself: nothing is wrong with the text."""
_FIRSTS = timedelta(hours=24)
"""Who writes first about an order is told of a colleague who did so within this time."""
_TOLD = frozenset(
    {HoldReason.COLLEAGUE_ANSWERED, HoldReason.NEAR_DUPLICATE, HoldReason.TEXT_IN_QUOTE}
)
"""The same, for a person who knew of it."""


class Judging:
    """Judges the replies of one account."""

    def __init__(self, ctx: Context, obeying: Obeying) -> None:
        self._ctx = ctx
        self._obeying = obeying
        obeying.fitness = self._against

    async def run(self) -> None:
        """Judge all gathered replies."""
        async with self._ctx.read() as tx:
            gathered = await tx.replies.in_state(IntakeState.GATHERING)
        for row in gathered:
            async with self._ctx.write() as tx:
                reply = await tx.replies.get(row.id)
                if reply is not None and reply.state == IntakeState.GATHERING:
                    await self._judge(tx, reply)

    async def next_due(self) -> datetime | None:
        """When waiting for a better copy ends next."""
        async with self._ctx.read() as tx:
            return await tx.replies.next_due()

    async def _judge(self, tx: Transaction, reply: ReplyRow) -> None:
        discussion = await tx.discussions.get(reply.discussion)
        if discussion is None:
            return
        commands = read_commands(reply.commands)
        if reply.lay_there and await self._already_recorded(tx, reply):
            self._move(tx, reply, IntakeEvent.SETTLE, "the marketplace shows it")
            return
        code_fault = await self._try_code(tx, reply, discussion, commands)
        if code_fault:
            self._move(tx, reply, IntakeEvent.SETTLE, "wrong code")
            return
        findings = Findings.from_json(reply.findings)
        case = await self._case(tx, reply, findings, commands)
        match judge(case):
            case Wait():
                pass
            case Ignore(sign):
                self._move(tx, reply, IntakeEvent.IGNORE, sign)
                await tx.replies.drop_attachments(reply.id)
                self._ctx.log.info("automatic mail ignored", discussion=discussion.short, sign=sign)
            case Accept():
                await self._obeying.obey(tx, reply, discussion, IntakeEvent.ACCEPT)
                self._ctx.log.info(
                    "reply accepted", discussion=discussion.short, evidence=reply.evidence
                )
            case Hold() as hold:
                await self._hold(tx, reply, discussion, hold)

    async def _against(self, tx: Transaction, reply: ReplyRow) -> Hold | None:
        """What still speaks against a held reply once a person wants it sent as it stands:
        what they lifted is passed over, everything else is judged as ever. A colleague may have
        answered meanwhile: that is lifted only by who was told it."""
        case = await self._case(
            tx, reply, Findings.from_json(reply.findings), read_commands(reply.commands)
        )
        verdict = judge(
            replace(
                case,
                automatic="",
                wait_until=None,
                is_staff=True,
                proven=True,
                waived=_LIFTED | (_TOLD & {HoldReason(reply.reason)}),
            )
        )
        return verdict if isinstance(verdict, Hold) else None

    async def _case(
        self,
        tx: Transaction,
        reply: ReplyRow,
        findings: Findings,
        commands: Sequence[Command],
    ) -> Case:
        ctx = self._ctx
        zone = ctx.zone
        capabilities = ctx.marketplace.capabilities
        account = await tx.account()
        sends = bool(reply.text.strip()) and Verb.NOTE not in {c.verb for c in commands}
        fault, leak = findings.fault, ""
        if sends and fault is None:
            try:
                leak = await self._leak(tx, reply)
            except TemplateBroken as error:
                fault = HoldReason.TEMPLATE_BROKEN, {"name": error.name, "what": str(error)}
        answered = await tx.filings.by_mail(reply.answers) if reply.answers else None
        about_money = answered is not None and answered.key.startswith("confirm:")
        about_doubt = answered is not None and is_doubt(answered.key)
        return Case(
            now=tx.now.astimezone(zone),
            sender=clean_line(reply.sender),
            written_at=reply.written_at.astimezone(zone),
            answers=reply.answers or "",
            references=frozenset(reply.references.split()),
            text=reply.text,
            has_commands=any(c.verb is not Verb.ORDER for c in commands),
            answers_question=about_money or about_doubt,
            about_doubt=about_doubt,
            sends=sends,
            fault=fault,
            routed=findings.routed,
            automatic=findings.automatic,
            maybe_automatic=findings.maybe_automatic,
            is_staff=ctx.is_staff(reply.sender) or reply.evidence == "code",
            proven=reply.level >= 1,
            why_not_proven=findings.why,
            wait_until=reply.due_at,
            max_age=ctx.config.replies.max_age,
            was_lying_in_sent=reply.lay_there,
            replies_on=ctx.config.replies.enabled,
            paused=account.paused_at is not None,
            others=await self._colleagues(tx, reply),
            text_min=capabilities.text_min,
            text_max=capabilities.text_max,
            attachments=findings.attachment_names,
            attachment_limit=findings.attachment_limit,
            leak=leak,
        )

    async def _leak(self, tx: Transaction, reply: ReplyRow) -> str:
        """The last check of what would leave, frame included; empty for a clean text."""
        ctx = self._ctx
        discussion = await tx.discussions.get(reply.discussion)
        text = ctx.frame(
            reply.text,
            discussion.customer if discussion else "",
            reply.sender,
            discussion.sales_channel if discussion else "",
        )
        held = [
            r
            for r in await tx.replies.of_discussion(reply.discussion)
            if r.code_until is not None and r.code_until > tx.now
        ]
        codes = [release_code(ctx, r) for r in held]
        return check_outgoing(text, ctx.identity, codes, ctx.vocabulary) or ""

    async def _colleagues(self, tx: Transaction, reply: ReplyRow) -> list[Colleague]:
        """Who else may have answered the same question: what was written before the customer
        asked it was an answer to something else, unless it names the very same mail (the clocks
        of clients and of the marketplace are not one)."""
        asked_at = await self._asked_at(tx, reply)
        others: list[Colleague] = []
        for other in await tx.replies.of_discussion(reply.discussion):
            if other.id == reply.id or not other.text.strip():
                continue
            if other.state not in (IntakeState.ACCEPTED, IntakeState.SETTLED):
                continue
            earlier = asked_at is not None and other.written_at < asked_at
            if earlier and other.answers != reply.answers:
                continue
            if not reply.answers and _apart(reply, other):
                continue
            if not await tx.deliveries.of_reply(other.id):
                continue  # a note, or a reply that sent nothing
            ids = {c.message_id for c in await tx.replies.copies(other.id)}
            receipt = await tx.filings.get(reply.discussion, f"receipt:{other.id}")
            if receipt is not None:
                ids.add(receipt.message_id)
            others.append(
                Colleague(
                    sender=other.sender,
                    name=other.sender_name,
                    written_at=other.written_at.astimezone(self._ctx.zone),
                    answers=other.answers or "",
                    message_ids=frozenset(ids),
                    text=other.text,
                )
            )
        return others

    async def _asked_at(self, tx: Transaction, reply: ReplyRow) -> datetime | None:
        """When the customer wrote the message this reply answers; None where it answers a mail
        of another kind (a receipt, a colleague's words)."""
        answered = await tx.filings.by_mail(reply.answers) if reply.answers else None
        if answered is None or answered.notice is not None:
            return None
        message = await tx.discussions.message(
            reply.discussion, answered.key.removeprefix("message:")
        )
        if message is None or message.author_kind != AuthorKind.CUSTOMER:
            return None
        return message.sent_at

    async def _already_recorded(self, tx: Transaction, reply: ReplyRow) -> bool:
        """Whether the discussion shows this text by the seller: then it was sent long ago."""
        messages = await tx.discussions.messages(reply.discussion)
        return bool(reply.text_hash) and any(
            m.text_hash == reply.text_hash for m in messages if m.author_kind != AuthorKind.CUSTOMER
        )

    async def _try_code(
        self,
        tx: Transaction,
        reply: ReplyRow,
        discussion: DiscussionRow,
        commands: Sequence[Command],
    ) -> bool:
        """A code proves its writer; True if one was given and is wrong."""
        if confirmation := next((c for c in commands if c.verb is Verb.CONFIRM), None):
            return await self._try_confirmation(tx, reply, discussion, confirmation)
        given = next((c for c in commands if c.verb is Verb.SEND and c.argument), None)
        if given is None:
            return False
        target = await self._obeying.held_reply(tx, reply.answers, discussion.id)
        if target is None:
            return False  # the command itself will say that nothing is held
        right = (
            target.code_until is not None
            and tx.now <= target.code_until
            and target.code_tries < MAX_TRIES
            and given.argument == release_code(self._ctx, target)
        )
        if right:
            reply.level, reply.evidence = 1, "code"
            target.code_until = None  # a code is good for once
            return False
        target.code_tries += 1
        facts = {"tries": str(max(0, MAX_TRIES - target.code_tries))}
        notice = Notice(NoticeKind.TROUBLE, HoldReason.BAD_CODE, facts)
        key = f"code:{target.id}:{target.code_tries}"
        await queue_notice(self._ctx, tx, discussion, notice, key=key, reply=target.id)
        tx.note("wrong code", discussion=discussion.id, subject=target.id)
        return True

    async def _try_confirmation(
        self, tx: Transaction, reply: ReplyRow, discussion: DiscussionRow, given: Command
    ) -> bool:
        """The code of a question about money, which only the mailbox shows; True if wrong."""
        row = await confirmable(tx, reply.answers, discussion.id)
        if row is None:
            return False  # the command itself will say that nothing waits
        if is_right_code(self._ctx, row, given.argument, tx.now):
            if reply.level < 1:
                reply.level, reply.evidence = 1, "code"
            return False
        row.code_tries += 1
        facts = {"tries": str(max(0, MAX_TRIES - row.code_tries))}
        notice = Notice(NoticeKind.TROUBLE, HoldReason.BAD_CODE, facts)
        key = f"money:{row.id}:code:{row.code_round}:{row.code_tries}"
        await queue_notice(self._ctx, tx, discussion, notice, key=key, reply=row.reply)
        tx.note("wrong code", discussion=discussion.id, subject=f"money {row.id}")
        self._ctx.log.warning("wrong code for money", discussion=discussion.short, id=row.id)
        return True

    async def _hold(
        self, tx: Transaction, reply: ReplyRow, discussion: DiscussionRow, hold: Hold
    ) -> None:
        reply.reason, reply.facts = hold.reason, json.dumps(dict(hold.facts), ensure_ascii=False)
        code = ""
        if hold.code:
            reply.code_until = tx.now + self._ctx.config.replies.code_life
            code = release_code(self._ctx, reply)
        self._move(tx, reply, IntakeEvent.HOLD, hold.reason)
        notice = Notice(NoticeKind.HOLD, hold.reason, hold.facts, text=reply.text, code=code)
        key = f"hold:{reply.id}:{hold.reason}"
        await queue_notice(self._ctx, tx, discussion, notice, key=key, reply=reply.id)

    async def proven_later(self, tx: Transaction, reply: ReplyRow, findings: Findings) -> None:
        """A copy that proves staff turned up after the hold: lift it if proof was all it wanted."""
        reply.level, reply.evidence = findings.level, findings.evidence
        discussion = await tx.discussions.get(reply.discussion)
        if (
            discussion is not None
            and reply.reason in _PROOF_REASONS
            and self._ctx.is_staff(reply.sender)
            and tx.now - reply.seen_at < timedelta(days=1)
        ):
            await self._obeying.release(tx, reply, discussion, by="")

    @staticmethod
    def _move(tx: Transaction, reply: ReplyRow, event: IntakeEvent, detail: str) -> None:
        tx.move(
            reply,
            MACHINE,
            event,
            discussion=reply.discussion,
            subject=reply.id,
            detail=detail,
        )


def _apart(first: ReplyRow, other: ReplyRow) -> bool:
    """Whether a mail that answers nothing has nothing to do with a colleague's."""
    return bool(other.answers) or abs(first.written_at - other.written_at) > _FIRSTS
