"""Closing discussions once their reply is recorded: the last step of the saga.

The discussion is read again just before: a customer message that was not in the mailbox when
the reply was picked up cancels the close. Asking twice is harmless (`AlreadyClosed`), so an
answer that got lost is asked for again.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from mailbridge.bridge.context import Context
from mailbridge.bridge.notices import add_outcome, queue_notice
from mailbridge.bridge.sweep import Sweep
from mailbridge.domain import refund
from mailbridge.domain.closing import MACHINE, ClosingEvent, ClosingState
from mailbridge.domain.delivery import DeliveryState
from mailbridge.domain.discussion import Status
from mailbridge.domain.notice import Done, DoneKind, HoldReason, Notice, NoticeKind
from mailbridge.domain.refund import RefundState
from mailbridge.journal.tables import ClosingRow, DiscussionRow
from mailbridge.journal.transaction import Transaction
from mailbridge.marketplace.port import (
    CloseAnswer,
    ContractError,
    CredentialsError,
    NotAuthorizedError,
    RefusedError,
    TransientError,
)

__all__ = ["WITHOUT_MONEY", "Closing", "ask_to_close"]

WITHOUT_MONEY = "money"
"""A withdrawn close's answer: nobody undid it, the money it was to follow did not move."""
_RECORDING = timedelta(hours=72)
"""How long "the last answer is not yours" may be our own reply still on its way."""

_NEVER_GOES = frozenset({DeliveryState.CANCELLED, DeliveryState.RESENT})
"""States of a reply's dispatches of which none is on its way any more."""

_READING = timedelta(hours=24)
"""How long a close waits for its discussion to be readable."""

_BROKEN_ANSWERS = 5
"""How often a close is asked for again after an answer that could not be read."""

_CANCELLATION = timedelta(days=14)
"""How long a pending cancellation request is waited for."""


async def ask_to_close(
    tx: Transaction,
    ctx: Context,
    discussion: DiscussionRow,
    *,
    reply: str | None,
    customer_messages: int,
    wait: bool,
) -> None:
    """Record the intent to close. `wait`: for the reply's dispatch to be recorded first.

    `customer_messages` is how many the person had before them. A close of this discussion that
    is still open is withdrawn: the newer one takes its place.
    """
    for older in await tx.closings.of_discussion(discussion.id):
        if ClosingEvent.WITHDRAW in MACHINE.moves[ClosingState(older.state)]:
            _move(tx, older, ClosingEvent.WITHDRAW, "asked anew")
    row = ClosingRow(
        account=ctx.name,
        discussion=discussion.id,
        reply=reply,
        state=ClosingState.WAITING,
        customer_messages=customer_messages,
        due_at=tx.now,
        created_at=tx.now,
    )
    tx.closings.add(row)
    await tx.flush()
    tx.note("close asked for", discussion=discussion.id, subject=str(row.id))
    if not wait:
        _move(tx, row, ClosingEvent.PROCEED)
    ctx.bells.outgoing.set()


class Closing:
    """Brings closes forward."""

    def __init__(self, ctx: Context, sweep: Sweep) -> None:
        self._ctx = ctx
        self._sweep = sweep

    async def run(self) -> None:
        """Do all that can be done now; raises CredentialsError."""
        await self._resume()
        await self._proceed()
        async with self._ctx.read() as tx:
            stopped = self._ctx.stands_still(await tx.account())
            due = [] if stopped else await tx.closings.due()
            to_reopen = [] if stopped else await tx.discussions.to_reopen()
        for row in due:
            await self._close(row)
        for discussion in to_reopen:
            await self._reopen(discussion)

    async def _reopen(self, discussion: DiscussionRow) -> None:
        """Reopen where the marketplace can; asking again is harmless."""
        ctx = self._ctx
        try:
            await ctx.marketplace.reopen(discussion.id)
            refused = ""
        except TransientError as error:
            ctx.log.warning("reopening put off", discussion=discussion.short, error=str(error))
            return
        except (RefusedError, NotAuthorizedError, ContractError) as error:
            refused = str(error)
        async with ctx.write() as tx:
            row = await tx.discussions.get(discussion.id)
            reply = await tx.replies.get(discussion.reopen_for or "")
            if row is None:
                return
            row.reopen_for = None
            if refused:
                notice = Notice(
                    NoticeKind.TROUBLE, HoldReason.MARKETPLACE_REFUSED, {"words": refused}
                )
                key = f"reopen:{discussion.reopen_for}"
                await queue_notice(ctx, tx, row, notice, key=key, reply=discussion.reopen_for)
                return
            row.status, row.closed_at, row.settled_at = Status.OPEN, None, None
            tx.note("discussion reopened", discussion=row.id)
            if reply is not None:
                add_outcome(reply, Done(DoneKind.REOPENED, {"at": ctx.stamp(tx.now)}))

    async def next_due(self) -> datetime | None:
        """When the next ready close is due; never while nothing may leave."""
        async with self._ctx.read() as tx:
            stopped = self._ctx.stands_still(await tx.account())
            return None if stopped else await tx.closings.next_due()

    async def _resume(self) -> None:
        async with self._ctx.read() as tx:
            interrupted = await tx.closings.in_state(ClosingState.ASKING)
        if interrupted:
            async with self._ctx.write() as tx:
                for row in await tx.closings.in_state(ClosingState.ASKING):
                    _move(tx, row, ClosingEvent.LATER, "interrupted; asking again")

    async def _proceed(self) -> None:
        """Let closes go ahead whose reply is recorded, and drop those whose reply never goes."""
        async with self._ctx.read() as tx:
            waiting = await tx.closings.in_state(ClosingState.WAITING)
        if not waiting:
            return
        async with self._ctx.write() as tx:
            for row in await tx.closings.in_state(ClosingState.WAITING):
                deliveries = await tx.deliveries.of_reply(row.reply) if row.reply else []
                states = {DeliveryState(d.state) for d in deliveries}
                money = await tx.money.of_reply(row.reply) if row.reply else []
                refunds = {RefundState(m.state) for m in money}
                if not states and not refunds <= {RefundState.PROVEN}:
                    if refunds <= refund.SETTLED:
                        row.answer = WITHOUT_MONEY
                        _move(tx, row, ClosingEvent.WITHDRAW, "its money did not move")
                elif DeliveryState.RECORDED in states or not states:
                    _move(tx, row, ClosingEvent.PROCEED)
                elif DeliveryState.CANCELLED in states and states <= _NEVER_GOES:
                    _move(tx, row, ClosingEvent.WITHDRAW, "its reply was cancelled")

    async def _close(self, row: ClosingRow) -> None:
        ctx = self._ctx
        try:
            await self._sweep.read_again([row.discussion])
        except TransientError as error:
            await self._later(row, str(error))
            return
        except ContractError as error:
            # A customer's word may stand in what could not be read.
            if ctx.clock() - row.created_at < _READING:
                await self._later(row, str(error), timedelta(minutes=10))
            else:
                await self._trouble(row, HoldReason.MARKETPLACE_REFUSED, {"words": str(error)})
            return
        except (RefusedError, NotAuthorizedError) as error:
            # The list may be refused where the close is not: the close itself will tell.
            ctx.log.warning("discussion not read before closing", error=str(error))
        if not await self._begin(row):
            return
        try:
            answers = await ctx.marketplace.close([row.discussion])
        except TransientError as error:
            await self._later(row, str(error))
            return
        except CredentialsError as error:
            await self._later(row, str(error))
            raise
        except ContractError as error:
            # It may well be closed; asking again is harmless and the next answer may be whole.
            if row.attempts < _BROKEN_ANSWERS:
                await self._later(row, str(error))
            else:
                await self._trouble(row, HoldReason.MARKETPLACE_REFUSED, {"words": str(error)})
            return
        except (RefusedError, NotAuthorizedError) as error:
            await self._trouble(row, HoldReason.MARKETPLACE_REFUSED, {"words": str(error)})
            return
        await self._judge(row, answers.get(row.discussion, CloseAnswer.UNKNOWN))

    async def _begin(self, row: ClosingRow) -> bool:
        """Say in the journal that the close is about to be asked; False if it is not to be."""
        async with self._ctx.write() as tx:
            closing = await tx.closings.get(row.id)
            if closing is None or closing.state != ClosingState.READY:
                return False  # settled by what the reading showed, or withdrawn meanwhile
            known = await tx.discussions.customer_messages(row.discussion)
            if known > closing.customer_messages:
                _move(tx, closing, ClosingEvent.CUSTOMER_WROTE)
                return False
            closing.attempts += 1
            closing.asked_at = tx.now
            _move(tx, closing, ClosingEvent.BEGIN)
            return True

    async def _later(
        self,
        row: ClosingRow,
        why: str,
        step: timedelta | None = None,
        *,
        tell: HoldReason | None = None,
    ) -> None:
        async with self._ctx.write() as tx:
            closing = await tx.closings.get(row.id)
            if closing is None:
                return
            if closing.state == ClosingState.ASKING:
                _move(tx, closing, ClosingEvent.LATER, why)
            closing.due_at = tx.now + (step or _backoff(closing.attempts))
            closing.answer = why[:200]
            if tell is not None:
                await self._tell(tx, closing, tell)

    async def _judge(self, row: ClosingRow, answer: CloseAnswer) -> None:
        ctx = self._ctx
        match answer:
            case CloseAnswer.CLOSED | CloseAnswer.ALREADY_CLOSED:
                await self._closed(row, answer)
            case CloseAnswer.LAST_ANSWER_NOT_OURS:
                async with ctx.read() as tx:
                    deliveries = await tx.deliveries.of_discussion(row.discussion)
                on_its_way = any(
                    d.state in (DeliveryState.SUBMITTED, DeliveryState.UNCERTAIN)
                    for d in deliveries
                )
                if on_its_way and ctx.clock() - row.created_at < _RECORDING:
                    await self._later(row, answer)
                else:
                    await self._trouble(row, HoldReason.CLOSE_LAST_ANSWER)
            case CloseAnswer.CANCEL_PENDING:
                if ctx.clock() - row.created_at < _CANCELLATION:
                    await self._later(
                        row, answer, timedelta(hours=6), tell=HoldReason.CLOSE_CANCEL_PENDING
                    )
                else:
                    await self._trouble(
                        row, HoldReason.CLOSE_GAVE_UP, {"since": ctx.stamp(row.created_at)}
                    )
            case CloseAnswer.NOT_FOUND:
                await self._trouble(row, HoldReason.CLOSE_NOT_FOUND)
            case CloseAnswer.UNKNOWN:
                await self._trouble(row, HoldReason.CLOSE_UNCLEAR, {"answer": answer})

    async def _closed(self, row: ClosingRow, answer: CloseAnswer) -> None:
        ctx = self._ctx
        async with ctx.write() as tx:
            closing = await tx.closings.get(row.id)
            discussion = await tx.discussions.get(row.discussion)
            if closing is None or discussion is None:
                return
            closing.answer = answer
            _move(tx, closing, ClosingEvent.CONFIRMED, answer)
            discussion.status = Status.CLOSED
            discussion.closed_at = discussion.closed_at or tx.now
            discussion.settled_at = tx.now
            discussion.wanted_folder = ctx.config.mailbox.closed_folder
        ctx.log.info("discussion closed", discussion=discussion.short, answer=answer)
        ctx.bells.filing.set()

    async def _trouble(
        self, row: ClosingRow, reason: HoldReason, facts: dict[str, str] | None = None
    ) -> None:
        """A person must look: the close ends here, and the notice stands beside it."""
        async with self._ctx.write() as tx:
            closing = await tx.closings.get(row.id)
            if closing is not None and closing.state in (ClosingState.READY, ClosingState.ASKING):
                _move(tx, closing, ClosingEvent.REFUSE, reason)
                closing.answer = reason
                await self._tell(tx, closing, reason, facts)
                discussion = await tx.discussions.get(closing.discussion)
                if discussion is not None and discussion.status != Status.CLOSED:
                    # Moved by a person to have it closed: it is not, and does not belong there.
                    discussion.wanted_folder = self._ctx.config.mailbox.folder

    async def _tell(
        self,
        tx: Transaction,
        closing: ClosingRow,
        reason: HoldReason,
        facts: dict[str, str] | None = None,
    ) -> None:
        discussion = await tx.discussions.get(closing.discussion)
        if discussion is not None:
            notice = Notice(NoticeKind.TROUBLE, reason, facts or {})
            key = f"close:{closing.id}:{reason}"
            await queue_notice(self._ctx, tx, discussion, notice, key=key, reply=closing.reply)


def _move(tx: Transaction, row: ClosingRow, event: ClosingEvent, detail: str = "") -> None:
    tx.move(row, MACHINE, event, discussion=row.discussion, subject=str(row.id), detail=detail)


def _backoff(attempts: int) -> timedelta:
    return timedelta(minutes=min(2 ** max(attempts - 1, 0), 60))
