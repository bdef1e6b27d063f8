"""What became of money that was asked for: read from the order until it is proven or surely not.

The service's yes is not the proof and its silence is not a no; the order, read afresh, is. Texts
that announce a refund wait here for it, and requests that a colleague's covers end with that one.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal

from mailbridge.bridge import movement, terms
from mailbridge.bridge.context import Context
from mailbridge.bridge.movement import Unreadable, move, tell
from mailbridge.bridge.uptake import ORDER
from mailbridge.domain.delivery import MACHINE as DELIVERY
from mailbridge.domain.delivery import DeliveryEvent, DeliveryState
from mailbridge.domain.money import MovementKind
from mailbridge.domain.notice import HoldReason
from mailbridge.domain.order import Order
from mailbridge.domain.refund import (
    SETTLED,
    Evidence,
    Proof,
    RefundEvent,
    RefundState,
    Sought,
    as_told_here,
    evidence,
)
from mailbridge.journal.tables import MoneyRow
from mailbridge.journal.transaction import Transaction
from mailbridge.marketplace.port import ItemAnswer

__all__ = ["Proving"]

_SECOND_READING = timedelta(hours=2)
"""Vouchers were seen to appear late: only this long after a first look does their absence count."""
_TELL_UNPROVEN = timedelta(hours=24)
_LATE_PROOF = timedelta(days=3)
"""How long a movement that was found never to have happened is looked at all the same."""
_LOOKED_AT = (RefundState.GRANTED, RefundState.UNCERTAIN, RefundState.ABSENT)


class Proving:
    """Settles the movements of one account."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def run(self) -> None:
        """Read what is due, and let follow what hangs on it; raises CredentialsError."""
        ctx = self._ctx
        async with ctx.read() as tx:
            under_way = await tx.money.due(*_LOOKED_AT)
        for row in under_way:
            if row.state == RefundState.ABSENT and await self._given_up(row):
                continue
            try:
                order = await movement.read_order(ctx, row.order_number)
            except Unreadable as error:
                await self._unread(row.id, str(error))
                continue
            await self._judge(row.id, order)
        await self._follow_joined()
        await self._free_texts()

    async def next_due(self) -> datetime | None:
        """When an order is to be read again."""
        async with self._ctx.read() as tx:
            return await tx.money.next_due(*_LOOKED_AT)

    async def _given_up(self, row: MoneyRow) -> bool:
        """Whether nothing more is looked for: it has been long enough, or something else was
        asked for on this order since, and what turns up late may be either's."""
        async with self._ctx.write() as tx:
            others = await tx.money.of_order(row.order_number)
            newer = any(
                o.asked_at is not None and row.asked_at is not None and o.asked_at > row.asked_at
                for o in others
            )
            old = row.settled_at is not None and tx.now - row.settled_at > _LATE_PROOF
            current = await tx.money.get(row.id)
            if current is not None and (newer or old):
                current.due_at = tx.now + timedelta(days=3650)
            return newer or old

    async def _unread(self, identity: int, words: str) -> None:
        """The order could not be read, or is not there: an API that an account has moved to may
        never know it, and then nobody but a person can tell what became of its money."""
        async with self._ctx.write() as tx:
            row = await tx.money.get(identity)
            if row is None or row.state not in _LOOKED_AT:
                return
            if row.state == RefundState.ABSENT:
                await movement.put_off(tx, self._ctx, row, words)
            else:
                await self._still_waiting(tx, row, words)

    async def _judge(self, identity: int, order: Order) -> None:
        ctx = self._ctx
        async with ctx.write() as tx:
            row = await tx.money.get(identity)
            if row is None or row.state not in _LOOKED_AT:
                return
            if not row.before:
                await movement.put_off(tx, ctx, row, row.answer)
                return
            sought = _sought(row)
            before = ORDER.validate_json(row.before)
            if row.carried and row.asked_at is not None:
                before = as_told_here(before, order, row.asked_at)
            found = evidence(sought, before, order)
            match found.proof:
                case Proof.SHOWN:
                    await self._proven(tx, row, found)
                case _ if row.carried and row.state != RefundState.ABSENT:
                    await self._still_waiting(tx, row)
                case Proof.PART if row.state == RefundState.ABSENT or (
                    row.state == RefundState.GRANTED and found.ended
                ):
                    await self._proven(tx, row, found)
                case Proof.REFUSED if row.state == RefundState.GRANTED or (
                    row.state == RefundState.UNCERTAIN and sought.requests
                ):
                    await self._refused(tx, row, found)
                case Proof.PENDING if row.state != RefundState.ABSENT:
                    await self._still_waiting(tx, row)
                case _:
                    await self._not_shown(tx, row, found)
            stored = ORDER.dump_json(order).decode()
            await tx.discussions.put_order(row.order_number, stored, tx.now)
            ctx.bells.outgoing.set()

    async def _refused(self, tx: Transaction, row: MoneyRow, found: Evidence) -> None:
        row.answer = found.words[:300] or row.answer
        await movement.refuse(tx, self._ctx, row)

    async def _proven(self, tx: Transaction, row: MoneyRow, found: Evidence) -> None:
        lines: list[str] = json.loads(row.lines)
        missing = [x for x in lines if x not in found.shown]
        late = row.state == RefundState.ABSENT
        if late:
            # What it held was given back; what another holds by now stays with that one.
            holders = await tx.money.holders(row.order_number)
            keys = terms.claim_keys(self._ctx, row, row.asked_at or tx.now)
            await tx.money.claim(row, [k for k in keys if k not in holders])
        event = RefundEvent.PROVE_PART if missing else RefundEvent.PROVE
        move(tx, row, event, "shown by the order")
        row.settled_at, row.vouched_by = tx.now, ""  # the order says more than anybody did
        row.moved = str(_moved(row, found.shown)) if missing else row.amount
        self._ctx.log.info("money proven", order=row.order_number, movement=row.id, moved=row.moved)
        if missing:
            await tx.money.let_go(row, [terms.line_key(x) for x in missing])
            facts = {"missing": ", ".join(missing), "moved": row.moved}
            facts["words"] = row.answer or found.words
            await tell(tx, self._ctx, row, HoldReason.MONEY_PARTLY, facts)
        elif late:
            await tell(tx, self._ctx, row, HoldReason.MONEY_LATE)

    async def _not_shown(self, tx: Transaction, row: MoneyRow, found: Evidence) -> None:
        match RefundState(row.state):
            case RefundState.ABSENT:
                row.due_at = tx.now + timedelta(hours=1)
                return
            case RefundState.GRANTED:
                await self._still_waiting(tx, row)
                return
            case _:
                pass
        if row.missed_at is None:
            row.missed_at = tx.now
        if tx.now - row.missed_at < _SECOND_READING:
            # Looked at in between as well: proof is welcome early, its absence counts late.
            await movement.put_off(tx, self._ctx, row, row.answer)
            row.due_at = min(row.due_at, row.missed_at + _SECOND_READING)
            return
        if found.proof is Proof.PART:
            await self._proven(tx, row, found)
            return
        if found.proof is Proof.REFUSED:
            # Not named in an answer, so it could have been somebody else's: believed only now.
            await self._refused(tx, row, found)
            return
        await movement.call_absent(tx, self._ctx, row, RefundEvent.MISS)

    async def _still_waiting(self, tx: Transaction, row: MoneyRow, words: str = "") -> None:
        await movement.put_off(tx, self._ctx, row, words or row.answer)
        if row.asked_at is None or tx.now - row.asked_at <= _TELL_UNPROVEN:
            return
        if row.carried:
            # It may never be shown here: asked again each time the question has lapsed.
            if row.code_until is None or row.code_until < tx.now:
                code = movement.question_code(tx, self._ctx, row)
                facts = {"since": self._ctx.stamp(row.asked_at)}
                await tell(tx, self._ctx, row, HoldReason.MONEY_UNSHOWN, facts, code=code)
        else:
            unsure = "yes" if row.state == RefundState.UNCERTAIN else ""
            facts = {"since": self._ctx.stamp(row.asked_at), "unsure": unsure}
            await tell(tx, self._ctx, row, HoldReason.MONEY_UNPROVEN, facts)

    # --- what hangs on it -----------------------------------------------------------------------

    async def _follow_joined(self) -> None:
        """A request that somebody else's covers ends as that one ends."""
        ctx = self._ctx
        async with ctx.read() as tx:
            joined = await tx.money.in_state(RefundState.JOINED)
        for row in joined:
            async with ctx.write() as tx:
                current = await tx.money.get(row.id)
                holder = await tx.money.get(row.joins or 0)
                if current is None or current.state != RefundState.JOINED or holder is None:
                    continue
                match RefundState(holder.state):
                    case RefundState.PROVEN:
                        move(tx, current, RefundEvent.PROVE, "joined")
                    case RefundState.PARTLY:
                        move(tx, current, RefundEvent.PROVE_PART, "joined")
                        facts = {"missing": "", "moved": holder.moved, "words": holder.answer}
                        await tell(tx, ctx, current, HoldReason.MONEY_PARTLY, facts)
                    case state if state in SETTLED:
                        move(tx, current, RefundEvent.REFUSE, "joined")
                        facts = {"who": holder.asked_by}
                        await tell(tx, ctx, current, HoldReason.MONEY_OTHER_FAILED, facts)
                    case _:
                        continue
                current.settled_at = tx.now

    async def _free_texts(self) -> None:
        """Let go the texts whose money is proven; hold those whose money is not coming."""
        ctx = self._ctx
        async with ctx.read() as tx:
            planned = await tx.deliveries.in_state(DeliveryState.PLANNED)
        for delivery in (d for d in planned if d.after_money):
            async with ctx.write() as tx:
                row = await tx.deliveries.get(delivery.id)
                if row is None or row.state != DeliveryState.PLANNED or not row.after_money:
                    continue
                states = {RefundState(m.state) for m in await tx.money.of_reply(row.reply)}
                if not states <= SETTLED:
                    continue
                row.after_money = False
                if states <= {RefundState.PROVEN}:
                    row.due_at = max(row.due_at, tx.now)
                    ctx.bells.outgoing.set()
                else:
                    # The notice about the money has shown the text and says so.
                    tx.move(
                        row,
                        DELIVERY,
                        DeliveryEvent.HOLD,
                        discussion=row.discussion,
                        subject=str(row.id),
                        detail="its money did not move",
                    )


def _sought(row: MoneyRow) -> Sought:
    results: dict[str, list[str]] = json.loads(row.results)
    refused = {k for k, (answer, *_) in results.items() if answer == ItemAnswer.REFUSED}
    return Sought(
        kind=MovementKind(row.kind),
        lines=[x for x in json.loads(row.lines) if x not in refused],
        amount=Decimal(row.amount),
        motive=int(terms.asked_of(row).motive) if row.kind == MovementKind.GESTURE else None,
        requests=[request for *_, request in results.values() if request],
    )


def _moved(row: MoneyRow, back: frozenset[str]) -> Decimal:
    """What the lines that were given back come to, by the order as it was read before."""
    with_shipping = terms.asked_of(row).with_shipping or row.kind == MovementKind.CANCELLATION
    return sum(
        (
            line.price + (line.shipping if with_shipping else Decimal(0))
            for line in ORDER.validate_json(row.before).lines
            if line.reference in back
        ),
        Decimal(0),
    )
