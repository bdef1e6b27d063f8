"""Replies on their way to the customer: tried, retried, recorded, reported.

Acknowledgements travel here as well; `acknowledging` says what is different about them. How a
reply travels is the channel's business (`channel`); what may have happened to it is the state
machine's (`domain/delivery`). Nothing is sent again without evidence or a person's word.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from mailbridge.bridge.acknowledging import Acknowledging, tell_failure
from mailbridge.bridge.channel import Blocked, Channel, Later, Parcel, Ready
from mailbridge.bridge.context import Context
from mailbridge.bridge.joining import join_opened
from mailbridge.bridge.notices import add_outcome, queue_notice
from mailbridge.bridge.sweep import Sweep
from mailbridge.domain.delivery import MACHINE, DeliveryEvent, DeliveryState
from mailbridge.domain.discussion import AuthorKind
from mailbridge.domain.notice import Done, DoneKind, HoldReason, Notice, NoticeKind
from mailbridge.journal.tables import CopyRow, DeliveryRow, DiscussionRow
from mailbridge.journal.transaction import Transaction
from mailbridge.mail.port import (
    Accepted,
    Deferred,
    MailboxError,
    MailboxSession,
    Refused,
    SubmissionOutcome,
    Uncertain,
)
from mailbridge.marketplace.port import (
    ContractError,
    NotAuthorizedError,
    RefusedError,
    TransientError,
)

__all__ = ["MAILINGS", "PACE", "Dispatch"]

MAILINGS = "mailbridge notify"
"""The sender of mailings, in the place where a person's name stands."""

PACE = timedelta(seconds=2)
"""Between two mails of mailings: what agents write meanwhile does not wait behind all of them."""

_TELL_AFTER = timedelta(minutes=30)
_GIVE_UP_AFTER = timedelta(hours=24)
_RETRIES = (1, 2, 5, 10, 15, 30, 60)
"""Minutes before each further try; the last one repeats."""


class Dispatch:
    """Brings dispatches forward."""

    def __init__(
        self, ctx: Context, channel: Channel, sweep: Sweep, acknowledging: Acknowledging
    ) -> None:
        self._ctx = ctx
        self._channel = channel
        self._sweep = sweep
        self._acknowledging = acknowledging
        self._next_mailing = ctx.clock()
        """Before then no mail of a mailing leaves, however many are overdue after an outage."""

    async def run(self) -> None:
        """Do all that can be done now. Raises what the channel's `ready` raises for good."""
        await self._resume()
        await self._renew_bounced()
        async with self._ctx.read() as tx:
            stopped = self._ctx.stands_still(await tx.account())
            due = [] if stopped else await tx.deliveries.due(not_by=MAILINGS)
            if not stopped and self._ctx.clock() >= self._next_mailing:
                due += await tx.deliveries.due(by=MAILINGS, at_most=1)
                self._next_mailing = self._ctx.clock() + PACE
        for row in due:
            await self._send(row)
        await self._report_unrecorded()

    async def next_due(self) -> datetime | None:
        """When the next planned dispatch is due; never while nothing may leave."""
        async with self._ctx.read() as tx:
            stopped = self._ctx.stands_still(await tx.account())
            if stopped:
                return None
            replies = await tx.deliveries.next_due(not_by=MAILINGS)
            mailing = await tx.deliveries.next_due(by=MAILINGS)
        if mailing is not None:
            mailing = max(mailing, self._next_mailing)
        return min(filter(None, (replies, mailing)), default=None)

    async def _resume(self) -> None:
        """What was being submitted when we last knew may have left."""
        async with self._ctx.read() as tx:
            interrupted = await tx.deliveries.in_state(DeliveryState.SUBMITTING)
        for row in interrupted:
            await self._settle(row, Uncertain("mailbridge was stopped while handing it over"))

    async def _send(self, row: DeliveryRow) -> None:
        ctx = self._ctx
        async with ctx.read() as tx:
            discussion = await tx.discussions.get(row.discussion)
            files = await tx.replies.attachments(row.reply)
        if discussion is None:
            return
        if row.after_reading and not await self._read_once_more(row, discussion):
            return
        delayed = ctx.config.replies.delay and not row.number and not row.automatic
        if delayed and not await self._still_wanted(row):
            return
        match await self._channel.ready(discussion):
            case Blocked() | Later() as obstacle:
                await self._put_off(row, obstacle)
                return
            case Ready(address):
                pass
        if not await self._begin(row, address):
            return
        parcel = Parcel(
            discussion=discussion,
            address=address,
            message_id=row.message_id,
            text=row.text,
            recipient=AuthorKind(row.recipient),
            attachments=tuple((f.name, f.content_type, f.data) for f in files),
            automatic=row.automatic,
        )
        outcome = await self._channel.send(parcel)
        await self._settle(row, outcome)
        if isinstance(outcome, Accepted) and not row.automatic:
            # Only now: what became of the reply is written down before anything else is tried.
            await self._channel.answered(discussion)

    async def _read_once_more(self, row: DeliveryRow, discussion: DiscussionRow) -> bool:
        """Before a resend: read all discussions that share the address; the first dispatch may
        be recorded by now, in any of them. False if this one is not to go (or not yet)."""
        ctx = self._ctx
        async with ctx.read() as tx:
            ids = {discussion.id}
            if discussion.relay_address:
                ids |= {
                    d.id for d in await tx.discussions.sharing_address(discussion.relay_address)
                }
        try:
            await self._sweep.read_again(ids)
        except TransientError as error:
            await self._put_off(row, Later(str(error)))
            return False
        except ContractError as error:
            # It may stand there, in what could not be read.
            await self._put_off(row, Later(str(error)))
            return False
        except (RefusedError, NotAuthorizedError) as error:
            ctx.log.warning("discussions not read before resending", error=str(error))
        async with ctx.write() as tx:
            delivery = await tx.deliveries.get(row.id)
            if delivery is None or delivery.state != DeliveryState.PLANNED:
                return False
            siblings = await tx.deliveries.of_reply(row.reply)
            if any(s.state == DeliveryState.RECORDED for s in siblings):
                _move(tx, delivery, DeliveryEvent.CANCEL, "an earlier dispatch is recorded")
                return False
            return True

    async def _still_wanted(self, row: DeliveryRow) -> bool:
        """Within the delay, deleting the Sent copy stops a reply; False if that was done, or if
        it cannot be known now."""
        ctx = self._ctx
        async with ctx.read() as tx:
            copies = [c for c in await tx.replies.copies(row.reply) if c.in_sent]
        if not copies:
            return True
        try:
            async with ctx.mailbox.session() as session:
                if any([await _still_there(session, copy) for copy in copies]):
                    return True
        except MailboxError as error:
            await self._put_off(row, Later(str(error)))
            return False
        async with ctx.write() as tx:
            delivery = await tx.deliveries.get(row.id)
            reply = await tx.replies.get(row.reply)
            if delivery is None or delivery.state != DeliveryState.PLANNED:
                return False
            _move(tx, delivery, DeliveryEvent.CANCEL, "its Sent copy was deleted")
            if reply is not None:
                add_outcome(reply, Done(DoneKind.CANCELLED))
        ctx.log.info("reply stopped: its Sent copy was deleted", discussion=row.discussion)
        return False

    async def _put_off(self, row: DeliveryRow, obstacle: Blocked | Later) -> None:
        async with self._ctx.write() as tx:
            delivery = await tx.deliveries.get(row.id)
            if delivery is None or delivery.state != DeliveryState.PLANNED:
                return
            match obstacle:
                case Blocked(reason, facts):
                    await self._hold(tx, delivery, reason, facts)
                case Later(words):
                    delivery.attempts += 1
                    await self._not_yet(tx, delivery, words)

    async def _begin(self, row: DeliveryRow, address: str) -> bool:
        async with self._ctx.write() as tx:
            delivery = await tx.deliveries.get(row.id)
            if delivery is None or delivery.state != DeliveryState.PLANNED:
                return False  # cancelled or replaced while the address was asked for
            if row.automatic and not await self._acknowledging.still_fits(tx, delivery):
                return False
            delivery.address = address
            delivery.attempts += 1
            delivery.first_tried_at = delivery.first_tried_at or tx.now
            _move(tx, delivery, DeliveryEvent.BEGIN)
            return True

    async def _settle(self, row: DeliveryRow, outcome: SubmissionOutcome) -> None:
        """Write down what became of a submission; what the agent must know of it goes into the
        same transaction, so that no crash can part the two."""
        ctx = self._ctx
        async with ctx.write() as tx:
            delivery = await tx.deliveries.get(row.id)
            if delivery is None or delivery.state != DeliveryState.SUBMITTING:
                return
            match outcome:
                case Accepted(reply, ident, opened):
                    if opened:
                        await join_opened(ctx, tx, delivery, opened)
                    _move(tx, delivery, DeliveryEvent.ACCEPTED)
                    delivery.remote_id = ident[:100]
                    delivery.submitted_at, delivery.reply_text = tx.now, reply[:300]
                case Deferred(code, reply):
                    _move(tx, delivery, DeliveryEvent.DEFERRED, str(code))
                    await self._not_yet(tx, delivery, _words(code, reply))
                case Refused(code, reply):
                    _move(tx, delivery, DeliveryEvent.REFUSED, str(code))
                    delivery.reply_text = _words(code, reply)[:300]
                    reason, facts = HoldReason.SUBMISSION_REFUSED, {"reply": _words(code, reply)}
                    await self._tell(tx, delivery, NoticeKind.HOLD, reason, facts)
                case Uncertain(detail):
                    _move(tx, delivery, DeliveryEvent.LOST, detail)
                    delivery.submitted_at, delivery.reply_text = tx.now, detail[:300]
                    reason, facts = HoldReason.SUBMISSION_UNCERTAIN, {"detail": detail}
                    await self._tell(tx, delivery, NoticeKind.TROUBLE, reason, facts)
        ctx.log.info(
            "reply handed over",
            discussion=row.discussion,
            outcome=type(outcome).__name__.lower(),
            attempt=row.attempts + 1,
        )

    async def _not_yet(self, tx: Transaction, delivery: DeliveryRow, words: str) -> None:
        """Surely not sent: try again on the schedule, say so after a while, give up after a day."""
        since = delivery.first_tried_at or tx.now
        delivery.first_tried_at = since
        delivery.reply_text = words[:300]
        step = _RETRIES[min(delivery.attempts, len(_RETRIES)) - 1]
        delivery.due_at = tx.now + timedelta(minutes=step)
        facts = {"reply": words, "since": self._ctx.stamp(since)}
        if tx.now - since >= _GIVE_UP_AFTER:
            await self._hold(tx, delivery, HoldReason.SUBMISSION_GAVE_UP, facts)
        elif tx.now - since >= _TELL_AFTER:
            reason = HoldReason.SUBMISSION_DELAYED
            await self._tell(tx, delivery, NoticeKind.TROUBLE, reason, facts)

    async def _hold(
        self, tx: Transaction, delivery: DeliveryRow, reason: HoldReason, facts: Mapping[str, str]
    ) -> None:
        _move(tx, delivery, DeliveryEvent.HOLD, reason)
        await self._tell(tx, delivery, NoticeKind.HOLD, reason, facts)

    async def _renew_bounced(self) -> None:
        """A bounce: renew the address once where there is one, send once more, then hold."""
        async with self._ctx.read() as tx:
            bounced = await tx.deliveries.in_state(DeliveryState.BOUNCED)
        for row in bounced:
            async with self._ctx.write() as tx:
                delivery = await tx.deliveries.get(row.id)
                discussion = await tx.discussions.get(row.discussion)
                if delivery is None or discussion is None:
                    continue
                if delivery.state != DeliveryState.BOUNCED:
                    continue
                if delivery.renewed or delivery.automatic or not self._channel.renews:
                    facts = {"words": delivery.reply_text}
                    await self._hold(tx, delivery, HoldReason.BOUNCED, facts)
                    continue
                # The next try asks the marketplace for the address first.
                discussion.relay_confirmed_at = None
                delivery.renewed, delivery.due_at = True, tx.now
                _move(tx, delivery, DeliveryEvent.RENEW)

    async def _report_unrecorded(self) -> None:
        ctx = self._ctx
        limit = ctx.clock() - ctx.config.replies.unrecorded_after
        async with ctx.read() as tx:
            waiting = await tx.deliveries.in_state(DeliveryState.SUBMITTED, DeliveryState.UNCERTAIN)
        late = [
            d
            for d in waiting
            if (d.submitted_at or d.created_at) <= limit
            and HoldReason.UNRECORDED not in d.told.split()
        ]
        for row in late:
            async with ctx.write() as tx:
                delivery = await tx.deliveries.get(row.id)
                if delivery is not None and delivery.state == row.state:
                    facts = {"since": ctx.stamp(delivery.submitted_at or delivery.created_at)}
                    reason = HoldReason.UNRECORDED
                    await self._tell(tx, delivery, NoticeKind.TROUBLE, reason, facts)

    async def _tell(
        self,
        tx: Transaction,
        delivery: DeliveryRow,
        kind: NoticeKind,
        reason: HoldReason,
        facts: Mapping[str, str],
    ) -> None:
        """Tell the agent, once for each reason."""
        discussion = await tx.discussions.get(delivery.discussion)
        if discussion is None or reason in delivery.told.split():
            return
        if delivery.automatic:
            await tell_failure(self._ctx, tx, discussion, delivery, reason, facts)
            return
        delivery.told = f"{delivery.told} {reason}".strip()
        notice = Notice(kind, reason, facts, text=delivery.text)
        key = f"delivery:{delivery.id}:{reason}"
        await queue_notice(self._ctx, tx, discussion, notice, key=key, reply=delivery.reply)


async def _still_there(session: MailboxSession, copy: CopyRow) -> bool:
    state = await session.state(copy.folder)
    if state.uidvalidity == copy.uidvalidity:
        return copy.uid in await session.uids(copy.folder, from_uid=copy.uid)
    return bool(copy.message_id and await session.find(copy.folder, [copy.message_id]))


def _move(tx: Transaction, row: DeliveryRow, event: DeliveryEvent, detail: str = "") -> None:
    tx.move(row, MACHINE, event, discussion=row.discussion, subject=str(row.id), detail=detail)


def _words(code: int, reply: str) -> str:
    return f"{code} {reply}".strip() if code else reply
