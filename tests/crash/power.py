"""A power cut at the nth journal write, and what the world looks like after resuming.

The cut comes either just before a write reaches the disk (its transaction is rolled back, what
was done in the world since the write before stays done) or just after it (nothing that follows
it is done). From then on the old process writes nothing; a new one opens the same journal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any

from mailbridge.bridge.sweep import SweepKind
from mailbridge.daemon import bridges
from mailbridge.domain.delivery import DeliveryState
from mailbridge.domain.refund import RefundState
from mailbridge.journal.journal import Journal, Tenure
from mailbridge.journal.transaction import Transaction
from mailbridge.sandbox.agent import SeenMail
from mailbridge.sandbox.clock import HandClock
from mailbridge.sandbox.world import World
from tests.shop import NOON, Shop, code_in, configuration

Scenario = Callable[[Shop], AsyncIterator[None]]
"""People act; at each `yield` mailbridge does all it can."""


class Phase(StrEnum):
    """On which side of the write the cut comes."""

    BEFORE = "before"
    AFTER = "after"


class PowerCut(BaseException):
    """Not an Exception: nothing in the product may catch and survive it."""


@dataclass
class Fuse:
    """Counts journal writes and blows at one of them."""

    at: int | None = None
    phase: Phase = Phase.AFTER
    writes: int = 0
    blown: bool = False
    what: dict[int, str] = field(default_factory=dict)
    """Of each write the moves it held."""
    opening: int = 0
    """Writes of the scenario's first step."""

    @property
    def opening_moves(self) -> list[str]:
        """What the writes of the first step held."""
        return [self.what[at] for at in range(1, self.opening + 1)]

    def stops(self, *, opening: bool = True) -> list[tuple[int, Phase]]:
        """All cuts worth trying, in the first step or after it only."""
        first = 1 if opening else self.opening + 1
        return [(at, phase) for at in range(first, self.writes + 1) for phase in self.worth(at)]

    def worth(self, at: int) -> tuple[Phase, ...]:
        """Which cuts at this write differ from one at its neighbours: nothing is done in the
        world between two writes, except after one that says it is about to be done."""
        begins = " begin" in self.what[at]
        return (Phase.BEFORE, Phase.AFTER) if begins else (Phase.BEFORE,)

    def fit(self, journal: Journal) -> None:
        """From now on writes of this journal go through the fuse."""
        real = journal.write

        @asynccontextmanager
        async def write(tenure: Tenure) -> AsyncIterator[Transaction]:
            if self.blown:
                raise PowerCut
            async with real(tenure) as tx:
                yield tx
                self.writes += 1
                self.what[self.writes] = ", ".join(tx.noted)
                if self.writes == self.at and self.phase is Phase.BEFORE:
                    self.blown = True
                    raise PowerCut
            if self.writes == self.at:
                self.blown = True
                raise PowerCut

        journal.write = write  # type: ignore[method-assign]


@dataclass(frozen=True)
class End:
    """What everybody sees in the end."""

    mails: Counter[tuple[str, str]]
    """(folder, what the mail is) of all mails of ours, each with its number."""
    ids: Counter[str]
    """Message-IDs of all mails of ours: none may stand there twice."""
    relay: Counter[str]
    """Texts the relay accepted for customers."""
    books: tuple[tuple[str, tuple[str, ...]], ...]
    """Of each discussion its status and the texts in it."""
    money: tuple[tuple[str, ...], ...]
    """Of each order on which money has moved, the states of its lines and its vouchers."""


class Stage:
    """One shop through which the power may be cut once."""

    def __init__(self, home: Path, fuse: Fuse, **config: dict[str, Any]) -> None:
        """`config`: changes to the account's sections."""
        self.home = home
        self.fuse = fuse
        self.config = config

    async def play(self, scenario: Scenario) -> End:
        """Play a scenario to its end, resuming after the cut."""
        clock = HandClock(NOON)
        async with World(clock=clock, rng=Random(7)) as place:
            shop = Shop(place, clock, configuration(place, self.home, **self.config))
            async for _ in scenario(shop):
                await self._run(shop)
                await self._doubts_about_money(shop)
                await self._answer_doubts(shop)
                self.fuse.opening = self.fuse.opening or self.fuse.writes
            return await self._end(shop)

    async def _run(self, shop: Shop) -> None:
        """Let mailbridge work until nothing moves any more."""
        while True:
            try:
                await self._until_quiet(shop)
                return
            except PowerCut:
                continue
            except BaseExceptionGroup as group:
                if not group.subgroup(PowerCut):
                    raise

    async def _until_quiet(self, shop: Shop) -> None:
        async with AsyncExitStack() as stack:
            built = await stack.enter_async_context(bridges(shop.config, clock=shop.clock))
            if not self.fuse.blown:
                self.fuse.fit(built.journal)
            shop.bridge = built.accounts["brindille"]
            before = -1
            while before != (before := await self._moves(shop)):
                await shop.bridge.once(SweepKind.FULL if before == -1 else SweepKind.WIDE)
                await shop.world.mail.settled()
                shop.clock.advance(timedelta(seconds=1))

    @staticmethod
    async def _moves(shop: Shop) -> int:
        async with shop.bridge.ctx.read() as tx:
            return await tx.event_count()

    async def _answer_doubts(self, shop: Shop) -> None:
        """A reply that may have left is a person's to decide: here they have it sent again."""
        if await _recorded(shop):
            return
        shop.world.mail.submission.faults.clear()
        shop.clock.advance(timedelta(hours=4))
        await self._run(shop)
        for mail in await _ours(shop, "INBOX"):
            kind = str(mail.message["X-Mailbridge-Notice-Kind"] or "")
            if kind.endswith("submission_uncertain") and not await _recorded(shop):
                await shop.world.agent().reply(mail, "!renvoyer")
                await self._run(shop)

    async def _doubts_about_money(self, shop: Shop) -> None:
        """Money that may have moved is settled by its order; what never did is asked for again."""
        if not await _money_in(shop, RefundState.UNCERTAIN):
            return
        shop.clock.advance(timedelta(minutes=1))
        await self._run(shop)
        if not await _money_in(shop, RefundState.UNCERTAIN):
            return
        for _ in range(3):
            shop.clock.advance(timedelta(hours=1))
            await self._run(shop)
        assert await _money_in(shop, RefundState.ABSENT)
        for mail in await _ours(shop, "INBOX"):
            if str(mail.message["X-Mailbridge-Notice-Kind"] or "").endswith("/money_absent"):
                await shop.world.agent().reply(mail, f"!confirmer {code_in(mail)}")
        await self._run(shop)

    async def _end(self, shop: Shop) -> End:
        mails: Counter[tuple[str, str]] = Counter()
        ids: Counter[str] = Counter()
        for folder in ("INBOX", "Clos"):
            for mail in await _ours(shop, folder):
                marks = mail.message
                words = mail.text.partition("Écrit le")[0].strip()[-60:]
                name = str(marks["X-Mailbridge-Notice-Kind"] or f"message {words!r}")
                what = f"{mail.subject.rpartition(' (')[0].removeprefix('Re: ')}: {name}"
                flagged = "\\flagged" in {flag.lower() for flag in mail.flags}
                mails[folder, what + " (flagged)" * flagged] += 1
                ids[str(marks["Message-ID"])] += 1
        return End(
            mails=mails,
            ids=ids,
            relay=Counter(m.text.strip() for m in shop.world.relay.accepted),
            books=tuple(
                (d.status, tuple(m.text for m in d.messages)) for d in shop.world.books.discussions
            ),
            money=tuple(
                (*(line.state for line in o.lines), *(f"{v.amount} {v.motive}" for v in o.vouchers))
                for o in shop.world.books.orders.all()
                if o.vouchers or any(line.settles_to for line in o.lines)
            ),
        )


async def _ours(shop: Shop, folder: str) -> list[SeenMail]:
    if folder not in await shop.world.agent().folders():
        return []
    return [m for m in await shop.inbox(folder) if m.message["X-Mailbridge-Account"]]


async def _money_in(shop: Shop, *states: RefundState) -> bool:
    async with shop.bridge.ctx.read() as tx:
        return bool(await tx.money.in_state(*states))


async def _recorded(shop: Shop) -> bool:
    async with shop.bridge.ctx.read() as tx:
        doubtful = (DeliveryState.UNCERTAIN, DeliveryState.SUBMITTED, DeliveryState.SUBMITTING)
        return not await tx.deliveries.in_state(*doubtful)
