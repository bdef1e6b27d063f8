"""Receipts: one mail when all that a reply asked for is settled, each thing with its evidence."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mailbridge.bridge.closing import WITHOUT_MONEY
from mailbridge.bridge.context import Context
from mailbridge.bridge.notices import queue_notice
from mailbridge.bridge.terms import facts_of
from mailbridge.domain import closing, delivery, refund
from mailbridge.domain.closing import ClosingState
from mailbridge.domain.delivery import DeliveryState
from mailbridge.domain.intake import MACHINE, IntakeEvent, IntakeState
from mailbridge.domain.money import MovementKind
from mailbridge.domain.notice import Done, DoneKind, Notice, NoticeKind
from mailbridge.domain.refund import RefundState
from mailbridge.journal.tables import ClosingRow, DeliveryRow, MoneyRow, ReplyRow
from mailbridge.journal.transaction import Transaction
from mailbridge.marketplace.port import CloseAnswer

__all__ = ["Receipts"]


_PROVEN = {
    MovementKind.REFUND: DoneKind.REFUNDED,
    MovementKind.CANCELLATION: DoneKind.ORDER_CANCELLED,
    MovementKind.GESTURE: DoneKind.GESTURE_GIVEN,
}


class Receipts:
    """Settles accepted replies, and closes nobody's reply asked for."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def run(self) -> None:
        """File a receipt for everything that has come to its end."""
        async with self._ctx.read() as tx:
            open_replies = [
                r for r in await tx.replies.in_state(IntakeState.ACCEPTED) if await _ended(tx, r)
            ]
            unasked = await tx.closings.of_nobody()
            moved = await tx.money.to_receipt()
        for reply in open_replies:
            await self._settle(reply.id)
        for row in unasked:
            await self._closed_unasked(row.id)
        for money in moved:
            await self._moved_by_itself(money.id)

    async def _settle(self, identity: str) -> None:
        ctx = self._ctx
        async with ctx.write() as tx:
            reply = await tx.replies.get(identity)
            if reply is None or reply.state != IntakeState.ACCEPTED or not await _ended(tx, reply):
                return
            discussion = await tx.discussions.get(reply.discussion)
            deliveries = await tx.deliveries.of_reply(reply.id)
            closings = await tx.closings.of_reply(reply.id)
            tx.move(
                reply, MACHINE, IntakeEvent.SETTLE, discussion=reply.discussion, subject=reply.id
            )
            await tx.replies.drop_attachments(reply.id)
            money = await tx.money.of_reply(reply.id)
            done = [
                *[d for m in money if (d := await self._money(tx, m)) is not None],
                *(Done(DoneKind(d["kind"]), d["facts"]) for d in json.loads(reply.outcome)),
                *self._deliveries(deliveries),
                *(d for c in closings if (d := self._closing(c)) is not None),
            ]
            if not done or discussion is None:
                return
            text = next((d.text for d in deliveries if d.state == DeliveryState.RECORDED), "")
            if await tx.filings.get(discussion.id, f"first:{reply.id}") is None:
                text = text or reply.text
            else:
                text = ""  # the thread's first mail shows it
            notice = Notice(NoticeKind.RECEIPT, done=tuple(done), text=text)
            await queue_notice(
                ctx, tx, discussion, notice, key=f"receipt:{reply.id}", reply=reply.id
            )

    async def _closed_unasked(self, identity: int) -> None:
        """A close that came from a moved thread or from the operator gets its own receipt."""
        ctx = self._ctx
        async with ctx.write() as tx:
            row = await tx.closings.get(identity)
            discussion = await tx.discussions.get(row.discussion) if row else None
            if row is None or discussion is None:
                return
            done = self._closing(row)
            row.told = "receipt"
            if done is not None:
                notice = Notice(NoticeKind.RECEIPT, done=(done,))
                await queue_notice(ctx, tx, discussion, notice, key=f"closed:{row.id}")

    async def _moved_by_itself(self, identity: int) -> None:
        """Money that the operator asked for, or that moved after its reply's receipt was filed."""
        ctx = self._ctx
        async with ctx.write() as tx:
            row = await tx.money.get(identity)
            if row is None or not row.own_receipt:
                return
            row.own_receipt = False
            discussion = await tx.discussions.get(row.discussion) if row.discussion else None
            done = await self._money(tx, row)
            if done is not None and discussion is not None:
                notice = Notice(NoticeKind.RECEIPT, done=(done,))
                key = f"receipt:money:{row.id}"
                await queue_notice(ctx, tx, discussion, notice, key=key, reply=row.reply)

    def _deliveries(self, rows: Sequence[DeliveryRow]) -> list[Done]:
        ctx = self._ctx
        done: list[Done] = []
        for row in rows:
            if row.submitted_at is not None and row.state != DeliveryState.CANCELLED:
                done.append(Done(DoneKind.SENT, {"at": ctx.stamp(row.submitted_at)}))
            if row.state == DeliveryState.RECORDED and row.recorded_at is not None:
                done.append(Done(DoneKind.RECORDED, {"at": ctx.stamp(row.recorded_at)}))
        return done

    async def _money(self, tx: Transaction, row: MoneyRow) -> Done | None:
        """What the order shows of a movement; what did not happen had a notice of its own."""
        facts = facts_of(row) | {
            "at": self._ctx.stamp(row.settled_at or tx.now),
            "seen_by": row.vouched_by,
        }
        match RefundState(row.state):
            case RefundState.PROVEN if row.joins is not None:
                holder = await tx.money.get(row.joins)
                if holder is not None:
                    facts |= {
                        "who": holder.asked_by,
                        "seen_by": holder.vouched_by,
                        "at": self._ctx.stamp(holder.settled_at or tx.now),
                    }
                return Done(DoneKind.SAME_MONEY, facts)
            case RefundState.PROVEN:
                return Done(_PROVEN[MovementKind(row.kind)], facts)
            case RefundState.WITHDRAWN if row.kind:
                kept = await tx.deliveries.of_reply(row.reply) if row.reply else []
                if kept and all(d.submitted_at is None for d in kept):
                    facts["unsent"] = "yes"
                return Done(DoneKind.MONEY_WITHDRAWN, facts)
            case _:
                return None

    def _closing(self, row: ClosingRow) -> Done | None:
        at = {"at": self._ctx.stamp(row.asked_at or row.created_at)}
        match ClosingState(row.state):
            case ClosingState.CLOSED:
                already = row.answer == CloseAnswer.ALREADY_CLOSED
                return Done(DoneKind.ALREADY_CLOSED if already else DoneKind.CLOSED, at)
            case ClosingState.OVERTAKEN:
                return Done(DoneKind.CLOSE_CANCELLED)
            case ClosingState.WITHDRAWN:
                why = {"why": row.answer} if row.answer == WITHOUT_MONEY else {}
                return Done(DoneKind.CLOSE_WITHDRAWN, why)
            case _:
                return None  # refused: a notice of its own has said so


async def _ended(tx: Transaction, reply: ReplyRow) -> bool:
    deliveries = await tx.deliveries.of_reply(reply.id)
    closings = await tx.closings.of_reply(reply.id)
    discussion = await tx.discussions.get(reply.discussion)
    return (
        all(d.state in delivery.SETTLED for d in deliveries)
        and all(c.state in closing.SETTLED for c in closings)
        and all(m.state in refund.SETTLED for m in await tx.money.of_reply(reply.id))
        and (discussion is None or discussion.reopen_for != reply.id)
    )
