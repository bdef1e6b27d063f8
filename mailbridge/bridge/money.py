"""Money on its way out: planned from a fresh order, confirmed, and asked for once.

The rules are `domain/refund`'s and `domain/money`'s; here they meet the marketplace. A movement
is written down with the order as it stood before it is asked for, and what it holds is claimed in
the same transaction. What becomes of it after that is `proving`'s business: nothing is asked for
again here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta

from mailbridge.bridge import confirming, movement, terms
from mailbridge.bridge.context import Context
from mailbridge.bridge.movement import Unreadable, move, tell
from mailbridge.bridge.uptake import ORDER
from mailbridge.domain.money import (
    Impossible,
    Movement,
    Obstacle,
    plan_movement,
)
from mailbridge.domain.notice import HoldReason
from mailbridge.domain.order import Order
from mailbridge.domain.refund import ACTIVE, HOLDS_CLAIM, SETTLED, RefundEvent, RefundState
from mailbridge.journal.tables import MoneyRow
from mailbridge.journal.transaction import Transaction
from mailbridge.marketplace.port import (
    CredentialsError,
    ItemAnswer,
    ItemResult,
    MarketplaceError,
    NotAuthorizedError,
    RefusedError,
    TransientError,
)

__all__ = ["MoneyFlow"]

_SAME = frozenset({Obstacle.UNDER_WAY, Obstacle.ALREADY_REFUNDED})


class MoneyFlow:
    """Brings the movements of one account up to the marketplace's answer."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def run(self) -> None:
        """Do all that can be done now; raises CredentialsError."""
        await self._resume()
        await self._plan_new()
        await self._lapse()
        await self._ask_ready()

    async def next_due(self) -> datetime | None:
        """When something is to be planned or asked for."""
        async with self._ctx.read() as tx:
            stopped = await self._stopped(tx)
            states = {RefundState.ASKED} if stopped else {RefundState.ASKED, RefundState.READY}
            return await tx.money.next_due(*states)

    async def _stopped(self, tx: Transaction) -> bool:
        """Whether nothing may be asked for now."""
        return (await tx.account()).paused_at is not None or not self._ctx.config.money.enabled

    async def _resume(self) -> None:
        """What was being asked for when we last knew may have happened."""
        async with self._ctx.read() as tx:
            interrupted = await tx.money.in_state(RefundState.ASKING)
        for row in interrupted:
            await self._lost(row.id, "mailbridge was stopped while asking for it")

    # --- planning -------------------------------------------------------------------------------

    async def _plan_new(self) -> None:
        async with self._ctx.read() as tx:
            new = await tx.money.due(RefundState.ASKED)
        for row in new:
            order = await self._read(row)
            if order is not None:
                await self._plan(row.id, order)

    async def _plan(self, identity: int, order: Order) -> None:
        """Decide what will be done, and ask for its confirmation where one is needed."""
        ctx = self._ctx
        async with ctx.write() as tx:
            row = await tx.money.get(identity)
            if row is None or row.state != RefundState.ASKED:
                return
            spent = await terms.spent(ctx, tx, row)
            planned = plan_movement(terms.asked_of(row), order, terms.allowed(ctx), spent)
            if isinstance(planned, Impossible):
                await self._impossible(tx, row, planned)
                return
            differs = terms.take_plan(row, planned)
            same = await terms.same_gesture(ctx, tx, row)
            # A person's word (to try once more, or the operator's) was given to this very plan.
            known = same is None or row.again
            confirmed = row.confirmed_at is not None and not differs and known
            row.again = same is not None
            if confirmed or (
                row.confirmed_at is None
                and not await terms.needs_code(ctx, tx, row, planned, spent.order)
            ):
                move(tx, row, RefundEvent.PASS)
                row.confirmed_at = row.confirmed_at or tx.now
                row.due_at = tx.now
                return
            move(tx, row, RefundEvent.PLAN)
            await self._question(tx, row, planned, same)

    async def _question(
        self, tx: Transaction, row: MoneyRow, planned: Movement, same: MoneyRow | None
    ) -> None:
        if row.reply is None:
            # The operator's, who saw something else: nobody in the thread has asked for this.
            row.answer = "the order has changed since it was confirmed"
            row.own_receipt = False
            await confirming.withdraw(tx, row, "the order has changed")
            return
        names = {line.reference: line.name for line in planned.lines}
        at = self._ctx.stamp(same.asked_at) if same is not None and same.asked_at else ""
        await confirming.question(tx, self._ctx, row, names=names, same_at=at)

    async def _impossible(self, tx: Transaction, row: MoneyRow, why: Impossible) -> None:
        """Say why nothing can be done; what somebody else has asked for already is joined."""
        holder = await self._holder(tx, row) if why.obstacle in _SAME else None
        if holder is not None:
            row.joins = holder.id
            row.kind, row.amount, row.lines = holder.kind, holder.amount, holder.lines
            move(tx, row, RefundEvent.JOIN, f"as movement {holder.id}")
            return
        move(tx, row, RefundEvent.REFUSE, why.obstacle)
        row.settled_at, row.answer = tx.now, why.obstacle
        facts = {"obstacle": why.obstacle, **why.facts}
        await tell(tx, self._ctx, row, HoldReason.MONEY_IMPOSSIBLE, facts)

    async def _holder(self, tx: Transaction, row: MoneyRow) -> MoneyRow | None:
        """The movement of another request that covers what this one wants; None if there is
        none, or if what is wanted hangs on several that are still under way."""
        wanted = terms.asked_of(row).reference
        claims = await tx.money.holders(row.order_number)
        found: list[MoneyRow] = []
        for other in await tx.money.of_order(row.order_number):
            lines = {x.strip().casefold() for x in terms.held_lines(other, claims)}
            if (
                other.id != row.id
                and other.state in HOLDS_CLAIM
                and (lines if wanted is None else wanted.strip().casefold() in lines)
            ):
                found.append(other)
        open_ = [other for other in found if other.state not in SETTLED]
        if len(open_) > 1:
            return None
        return next(iter(open_ or reversed(found)), None)

    async def _lapse(self) -> None:
        """A question nobody answered in time is dropped: the order it was about has aged."""
        ctx = self._ctx
        async with ctx.read() as tx:
            waiting = await tx.money.in_state(RefundState.WAITING)
        for row in waiting:
            if row.code_until is None or row.code_until >= ctx.clock():
                continue
            async with ctx.write() as tx:
                current = await tx.money.get(row.id)
                if current is not None and await confirming.withdraw(tx, current, "lapsed"):
                    await tell(tx, ctx, current, HoldReason.MONEY_LAPSED)

    # --- asking ---------------------------------------------------------------------------------

    async def _ask_ready(self) -> None:
        ctx = self._ctx
        async with ctx.read() as tx:
            ready = [] if await self._stopped(tx) else await tx.money.due(RefundState.READY)
        for row in ready:
            if await self._is_free(row):
                order = await self._read(row)
                if order is not None:
                    await self._ask(row.id, order)

    async def _is_free(self, row: MoneyRow) -> bool:
        """Whether no other movement of this order is under way."""
        async with self._ctx.write() as tx:
            others = await tx.money.of_order(row.order_number)
            busy = any(o.state in ACTIVE and o.id != row.id for o in others)
            current = await tx.money.get(row.id)
            if busy and current is not None:
                current.due_at = tx.now + timedelta(minutes=1)
            return not busy

    async def _ask(self, identity: int, order: Order) -> None:
        planned = await self._begin(identity, order)
        if planned is None:
            return
        try:
            results = await self._ctx.marketplace.move_money(planned)
        except TransientError as error:
            if error.sent:
                await self._lost(identity, str(error))
            else:
                await self._not_sent(identity, str(error))
        except (RefusedError, NotAuthorizedError) as error:
            await self._refused(identity, str(error))
        except CredentialsError as error:
            await self._not_sent(identity, str(error))
            raise
        except MarketplaceError as error:
            await self._lost(identity, str(error))
        else:
            await self._answered(identity, planned, results)

    async def _begin(self, identity: int, order: Order) -> Movement | None:
        """Claim what it takes and write down that it is about to be asked for; None where the
        order, read afresh, calls for something else than what was confirmed."""
        ctx = self._ctx
        async with ctx.write() as tx:
            row = await tx.money.get(identity)
            if row is None or row.state != RefundState.READY:
                return None
            spent = await terms.spent(ctx, tx, row)
            planned = plan_movement(terms.asked_of(row), order, terms.allowed(ctx), spent)
            if isinstance(planned, Impossible):
                await self._impossible(tx, row, planned)
                return None
            differs = terms.take_plan(row, planned)
            same = await terms.same_gesture(ctx, tx, row)
            if differs or (same is not None and not row.again):
                row.again = same is not None
                move(tx, row, RefundEvent.REPLAN)
                await self._question(tx, row, planned, same)
                return None
            await tx.money.claim(row, terms.claim_keys(ctx, row, tx.now))
            row.before = ORDER.dump_json(order).decode()
            row.results, row.answer, row.missed_at = "{}", "", None  # of an earlier try
            row.asked_at, row.attempts, row.carried = tx.now, row.attempts + 1, False
            move(tx, row, RefundEvent.BEGIN)
            ctx.log.info(
                "money asked for",
                order=row.order_number,
                kind=row.kind,
                amount=row.amount,
                movement=row.id,
            )
        return planned

    async def _answered(
        self, identity: int, planned: Movement, results: Mapping[str, ItemResult]
    ) -> None:
        ctx = self._ctx
        wanted = [line.reference for line in planned.lines] or [""]
        answers = {key: results.get(key, ItemResult(ItemAnswer.UNKNOWN)) for key in wanted}
        told = {r.answer for r in answers.values()}
        async with ctx.write() as tx:
            row = await tx.money.get(identity)
            if row is None or row.state != RefundState.ASKING:
                return
            kept = {k: [r.answer, r.words[:300], r.request] for k, r in answers.items()}
            row.results = json.dumps(kept, ensure_ascii=False)
            row.answer = next((r.words for r in answers.values() if r.words), "")[:300]
            row.attempts, row.due_at = 0, tx.now
            if told == {ItemAnswer.REFUSED}:
                await movement.refuse(tx, ctx, row)
            elif ItemAnswer.UNKNOWN in told:
                move(tx, row, RefundEvent.LOST, "an item without an answer")
                await tell(tx, ctx, row, HoldReason.MONEY_UNCERTAIN)
            else:
                move(tx, row, RefundEvent.GRANT)
                refused = [k for k, r in answers.items() if r.answer is ItemAnswer.REFUSED]
                await tx.money.let_go(row, [terms.line_key(k) for k in refused])
            ctx.log.info(
                "money answered", order=row.order_number, movement=row.id, answers=sorted(told)
            )

    async def _refused(self, identity: int, words: str) -> None:
        async with self._ctx.write() as tx:
            row = await tx.money.get(identity)
            if row is not None and row.state == RefundState.ASKING:
                row.answer = words[:300]
                await movement.refuse(tx, self._ctx, row)

    async def _not_sent(self, identity: int, words: str) -> None:
        """Surely not sent: it may go later, and holds nothing meanwhile."""
        async with self._ctx.write() as tx:
            row = await tx.money.get(identity)
            if row is None or row.state != RefundState.ASKING:
                return
            move(tx, row, RefundEvent.PUT_OFF, words)
            await tx.money.let_go(row)
            row.asked_at = None
            await movement.put_off(tx, self._ctx, row, words)

    async def _lost(self, identity: int, words: str) -> None:
        ctx = self._ctx
        async with ctx.write() as tx:
            row = await tx.money.get(identity)
            if row is None or row.state != RefundState.ASKING:
                return
            row.answer, row.attempts, row.due_at = words[:300], 0, tx.now
            move(tx, row, RefundEvent.LOST, words)
            await tell(tx, ctx, row, HoldReason.MONEY_UNCERTAIN)
            ctx.log.warning("money uncertain", order=row.order_number, movement=row.id)

    async def _read(self, row: MoneyRow) -> Order | None:
        """The order as it stands now; None where it could not be read: then later, or never."""
        ctx = self._ctx
        try:
            return await movement.read_order(ctx, row.order_number)
        except Unreadable as error:
            async with ctx.write() as tx:
                current = await tx.money.get(row.id)
                if current is None or current.state != row.state:
                    return None
                if error.for_good:
                    facts = {"number": row.order_number, "words": str(error)}
                    await self._impossible(tx, current, Impossible(Obstacle.ORDER_UNKNOWN, facts))
                else:
                    await movement.put_off(tx, ctx, current, str(error))
            return None
