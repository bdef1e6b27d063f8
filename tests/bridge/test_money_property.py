"""Whatever agents, networks and power cuts do: money moves as it was confirmed, at most once.

Scripts of random steps are played on the real flows, the real journal and a marketplace that
loses answers; the seed of a failing one is in the test's name. Mails are left out: who asks and
who confirms is recorded as obeying their replies would.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from mailbridge.bridge import confirming
from mailbridge.bridge.terms import asked_of
from mailbridge.domain.money import Asked, GestureMotive
from mailbridge.domain.refund import SETTLED, RefundState
from mailbridge.journal.tables import MoneyRow
from mailbridge.sandbox.faults import (
    AnswerLost,
    EmptyFailure,
    Fault,
    Hang,
    HtmlError,
    InternalError,
    ResetBefore,
    Throttled,
    TokenFault,
    Truncated,
)
from mailbridge.sandbox.orders import BookedOrder
from mailbridge.sandbox.world import Door
from tests.bridge.test_money import LIMITS
from tests.doors import Ask
from tests.shop import Shop, open_shop

SCRIPTS = 8
STEPS = 25
CONFIRMABLE = {RefundState.WAITING, RefundState.ABSENT}
FAULTS: tuple[Fault, ...] = (
    AnswerLost(),
    AnswerLost(),
    HtmlError(after=True),
    HtmlError(),
    InternalError(),
    ResetBefore(),
    Throttled(),
    TokenFault(),
    Truncated(),
    EmptyFailure(),
)


class Script:
    """One shop, three orders, and dice."""

    def __init__(self, shop: Shop, rng: Random) -> None:
        self.shop = shop
        self.rng = rng
        self.confirmed: Counter[int] = Counter()
        """How often a person confirmed each movement."""
        self.numbered = shop.world.door is Door.CDISCOUNT
        """Whether the books tell motives apart; the other door has words for them."""
        self.seen: list[str] = []
        cast = shop.world.cast
        self.orders = [
            cast.order(lines=2, shipped_days_ago=5),
            cast.order(lines=1, shipped_days_ago=2),
            cast.order(lines=2),
        ]
        for order in self.orders:
            cast.claim(order)

    async def play(self) -> None:
        await self.shop.settle(1)
        steps: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (4, self.ask),
            (6, self.confirm),
            (1, self.withdraw),
            (3, self.fault),
            (5, self.work),
            (3, self.time_passes),
            (1, self.restart),
            (1, self.power_cut),
            (1, self.ship),
        ]
        for _ in range(STEPS):
            [step] = self.rng.choices([s for _, s in steps], [weight for weight, _ in steps])
            self.seen.append(step.__name__)
            await step()
            await self.check()
        self.shop.recovers()
        for _ in range(8):
            self.shop.clock.advance(timedelta(minutes=65))
            await self.work()
        await self.check()
        await self.check_end()

    # --- what happens -------------------------------------------------------------------------

    async def ask(self) -> None:
        order = self.rng.choice(self.orders)
        line = self.rng.choice(order.lines).reference
        gesture = Decimal(self.rng.choice(("5", "7.50")))
        motive = self.rng.choice((GestureMotive.LATE, GestureMotive.OTHER))
        asked = self.rng.choice(
            (
                Asked(reference=line, with_shipping=self.rng.random() < 0.5),
                Asked(with_shipping=True),
                Asked(gesture=gesture, motive=motive),
                Asked(gesture=gesture, motive=motive),
            )
        )
        ctx = self.shop.bridge.ctx
        async with ctx.write() as tx:
            [discussion] = await tx.discussions.of_order(order.number)
            await confirming.ask_for_money(
                tx,
                ctx,
                asked,
                order_number=order.number,
                discussion=discussion.id,
                reply=f"reply-{self.rng.getrandbits(32):x}",
                by=self.rng.choice(("Paul", "Anne")),
            )

    async def confirm(self) -> None:
        waiting = [m for m in await self.movements() if m.state in CONFIRMABLE]
        if not waiting:
            await self.work()
            return
        chosen = self.rng.choice(waiting)
        async with self.shop.bridge.ctx.write() as tx:
            row = await tx.money.get(chosen.id)
            assert row is not None
            await confirming.confirm(tx, self.shop.bridge.ctx, row, by="Anne")
        self.confirmed[chosen.id] += 1
        if self.rng.random() < 0.5:
            await self.fault()
        await self.work()

    async def withdraw(self) -> None:
        movements = await self.movements()
        if movements:
            chosen = self.rng.choice(movements)
            async with self.shop.bridge.ctx.write() as tx:
                row = await tx.money.get(chosen.id)
                assert row is not None
                await confirming.withdraw(tx, row, "by a person")

    async def fault(self) -> None:
        fault = self.rng.choice(FAULTS)
        self.shop.fails(fault, self.rng.choice((Ask.MONEY, Ask.MONEY, Ask.MONEY, Ask.ABOUT_MONEY)))

    async def work(self) -> None:
        await self.shop.bridge.money.run()
        await self.shop.bridge.proving.run()
        await self.shop.bridge.receipts.run()

    async def time_passes(self) -> None:
        self.shop.clock.advance(timedelta(minutes=self.rng.choice((1, 10, 40, 130))))
        await self.work()

    async def restart(self) -> None:
        await self.shop.restart()

    async def power_cut(self) -> None:
        """The daemon dies while it waits for an answer, before or after the effect."""
        hang = Hang(3, after=self.rng.random() < 0.5)
        self.shop.fails(hang, Ask.MONEY)
        try:
            async with asyncio.timeout(0.4):
                await self.work()
        except TimeoutError:
            pass
        self.shop.recovers()
        await self.shop.restart()

    async def ship(self) -> None:
        waiting = [o for o in self.orders if o.state == "WaitingForShipmentAcceptation"]
        for order in waiting:
            self.shop.world.books.orders.ship(order)

    # --- what must be so ----------------------------------------------------------------------

    async def movements(self) -> list[MoneyRow]:
        async with self.shop.bridge.ctx.read() as tx:
            return [m for order in self.orders for m in await tx.money.of_order(order.number)]

    async def check(self) -> None:
        """At all times: no call without a person's word for it, and nothing twice."""
        moved = self.shop.performed(Ask.MONEY)
        assert moved <= self.confirmed.total(), self.seen
        wanted = Counter[tuple[str, Decimal, int]]()
        for row in await self.movements():
            if row.kind == "gesture":
                motive = int(asked_of(row).motive) if self.numbered else GestureMotive.OTHER
                wanted[row.order_number, Decimal(row.amount), motive] += self.confirmed[row.id]
        given = Counter(
            (order.number, v.amount, v.motive) for order in self.orders for v in order.vouchers
        )
        assert given <= wanted, self.seen

    async def check_end(self) -> None:
        """Once all is quiet: the journal tells what the books tell, to the cent."""
        rows = await self.movements()
        open_ = {m.state for m in rows} - SETTLED
        assert open_ <= {RefundState.WAITING, RefundState.READY, RefundState.JOINED}, self.seen
        for order in self.orders:
            told = sum(
                (Decimal(m.moved) for m in rows if m.order_number == order.number), Decimal(0)
            )
            assert told == given_back(order), (order.number, self.seen)
            proven = [
                m for m in rows if m.order_number == order.number and m.state == RefundState.PROVEN
            ]
            assert all(self.confirmed[m.id] for m in proven if m.joins is None), self.seen


def given_back(order: BookedOrder) -> Decimal:
    """By the books: lines refunded or cancelled, and vouchers."""
    back = sum((v.amount for v in order.vouchers), Decimal(0))
    for line in order.lines:
        if line.state == "RefundedAfterShipping":
            back += line.price + (line.shipping if line.refunded_shipping else Decimal(0))
        elif line.state in {"ShipmentRefusedBySeller", "RefundedAfterShipmentRefused"}:
            back += line.price + line.shipping
    return back


@pytest.mark.parametrize("seed", range(SCRIPTS))
async def test_money_moves_as_confirmed_and_at_most_once(seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    lag = timedelta(minutes=rng.choice((0, 0, 20, 80)))
    config = {"money": LIMITS, "replies": {"notices_per_hour": 1000}}
    async with open_shop(tmp_path, config=config, money_lag=lag) as shop:
        await Script(shop, rng).play()
