"""A shop through which the power may be cut, and what the world looks like after resuming."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from mailbridge.bridge.sweep import SweepKind
from mailbridge.daemon import KEY_FILE, bridges, journal_url
from mailbridge.domain.delivery import DeliveryState
from mailbridge.domain.refund import RefundState
from mailbridge.journal.base import UtcTime
from mailbridge.journal.journal import Journal
from mailbridge.journal.tables import Base, EventRow
from mailbridge.sandbox.agent import SeenMail
from mailbridge.sandbox.clock import HandClock
from mailbridge.sandbox.world import Door, World
from tests.crash.power import Fuse, PowerCut
from tests.shop import NOON, Shop, code_in, configuration

__all__ = ["End", "Scenario", "Stage", "State"]

Scenario = Callable[[Shop], AsyncIterator[None]]
"""People act; at each `yield` mailbridge does all it can."""


@dataclass(frozen=True)
class End:
    """What everybody sees in the end."""

    mails: Counter[tuple[str, str]]
    """(folder, what the mail is) of all mails of ours, each with its number."""
    ids: Counter[str]
    """Message-IDs of all mails of ours: none may stand there twice."""
    sent: Counter[str]
    """Every answer that was taken for a customer, with the names of its files."""
    books: tuple[tuple[str, tuple[str, ...]], ...]
    """Of each discussion its status and the texts in it."""
    money: tuple[tuple[str, ...], ...]
    """Of each order on which money has moved, the states of its lines and its vouchers."""


State = tuple[object, ...]
"""What everything stands at, to be compared with another."""


@dataclass(frozen=True, slots=True)
class _Doubts:
    """What the journal can't tell when nothing moves any more."""

    replies: bool = False
    """A reply may have left, or has not been seen yet."""
    money: bool = False
    """Money may have moved."""
    absent: bool = False
    """Money that may have moved has not."""


class Stage:
    """One shop in which one scenario is played, step by step: `act`, `work`, and again."""

    def __init__(
        self, home: Path, scenario: Scenario, door: Door, config: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """`config`: changes to the account's sections."""
        self._home = home
        clock = HandClock(NOON)
        self._world = World(clock=clock, rng=Random(7), marketplace=door)
        self._clock = clock
        self._config = {section: dict(values) for section, values in config.items()}
        self._scenario = scenario
        self._shop: Shop
        self._story: AsyncIterator[None]

    async def open(self) -> None:
        """The surroundings, and a new journal in place of any that lies there."""
        await self._world.__aenter__()
        config = configuration(
            self._world, self._home, **{k: dict(v) for k, v in self._config.items()}
        )
        shutil.rmtree(self._home, ignore_errors=True)
        self._home.mkdir(parents=True)
        (self._home / KEY_FILE).write_text("0123456789abcdef" * 4)
        await (await Journal.open(journal_url(config), clock=self._clock)).close()
        self._shop = Shop(self._world, self._clock, config)
        self._story = self._scenario(self._shop)

    async def close(self) -> None:
        """Release the ports."""
        await self._world.__aexit__(None, None, None)

    async def act(self) -> bool:
        """Let people do what they do next. Returns whether they did anything."""
        try:
            await anext(self._story)
        except StopAsyncIteration:
            return False
        return True

    async def work(self, fuse: Fuse) -> None:
        """Let mailbridge do all it can, resuming after a cut, and people settle its doubts."""
        doubts = await self._run(fuse)
        if doubts.money:
            doubts = await self._settle_money(fuse)
        if doubts.replies:
            await self._settle_replies(fuse)

    async def play(self) -> None:
        """The rest of the scenario, without a cut."""
        while await self.act():
            await self.work(Fuse())

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Whatever happens to the state directory inside, behind it is as it was."""
        copy = self._home.with_name(f"{self._home.name}-kept")
        shutil.copytree(self._home, copy)
        try:
            yield
        finally:
            shutil.rmtree(self._home)
            copy.rename(self._home)

    async def state(self) -> State:
        """All that what happens next depends on, except for the moments at which things were
        done. mailbridge must have ended."""
        agent = self._shop.world.agent()
        mailbox = [
            (folder, str(mail.message["Message-ID"]), mail.flags)
            for folder in await agent.folders()
            for mail in await agent.mails(folder)
        ]
        faults = self._world.mail.submission.faults, self._shop.service.faults
        pending = [plan.pending for plan in faults]
        return (await self.end(), Counter(mailbox), pending, _rows(self._home / "journal.sqlite3"))

    async def _run(self, fuse: Fuse) -> _Doubts:
        """Let mailbridge work until nothing moves any more."""
        while True:
            try:
                return await self._until_quiet(fuse)
            except PowerCut:
                continue
            except BaseExceptionGroup as group:
                if not group.subgroup(PowerCut):
                    raise

    async def _until_quiet(self, fuse: Fuse) -> _Doubts:
        shop = self._shop
        async with AsyncExitStack() as stack:
            built = await stack.enter_async_context(bridges(shop.config, clock=shop.clock))
            if not fuse.blown:
                fuse.fit(built.journal)
            shop.bridge = built.accounts["brindille"]
            async with shop.bridge.ctx.read() as tx:
                first = await tx.discussions.seen_until(SweepKind.FULL) is None
            if first:
                await self._once(SweepKind.FULL)
            before = -1
            while before != (before := await self._moves()):
                await self._once(SweepKind.WIDE)
            return await self._doubts()

    async def _once(self, sweep: SweepKind) -> None:
        await self._shop.bridge.once(sweep)
        await self._shop.world.mail.settled()
        self._shop.clock.advance(timedelta(seconds=1))

    async def _moves(self) -> int:
        async with self._shop.bridge.ctx.read() as tx:
            return await tx.event_count()

    async def _doubts(self) -> _Doubts:
        async with self._shop.bridge.ctx.read() as tx:
            doubtful = (DeliveryState.UNCERTAIN, DeliveryState.SUBMITTED, DeliveryState.SUBMITTING)
            return _Doubts(
                replies=bool(await tx.deliveries.in_state(*doubtful)),
                money=bool(await tx.money.in_state(RefundState.UNCERTAIN)),
                absent=bool(await tx.money.in_state(RefundState.ABSENT)),
            )

    async def _settle_replies(self, fuse: Fuse) -> None:
        """A reply that may have left is a person's to decide: here they have it sent again, and
        once more if the power goes at that very moment."""
        shop = self._shop
        shop.handover.well()
        for _ in range(2):
            shop.clock.advance(timedelta(hours=4))
            doubts = await self._run(fuse)
            for mail in reversed(await _ours(shop, "INBOX")):
                kind = str(mail.message["X-Mailbridge-Notice-Kind"] or "")
                if kind.endswith("submission_uncertain") and doubts.replies:
                    await shop.world.agent().reply(mail, "!renvoyer")
                    doubts = await self._run(fuse)
                    break
            if not doubts.replies:
                return

    async def _settle_money(self, fuse: Fuse) -> _Doubts:
        """Money that may have moved is settled by its order; what never did is asked for again."""
        shop = self._shop
        shop.clock.advance(timedelta(minutes=1))
        doubts = await self._run(fuse)
        if not doubts.money:
            return doubts
        for _ in range(3):
            shop.clock.advance(timedelta(hours=1))
            doubts = await self._run(fuse)
        assert doubts.absent or not doubts.money
        if not doubts.absent:
            return doubts  # the marketplace shows by now what became of it
        for mail in await _ours(shop, "INBOX"):
            if str(mail.message["X-Mailbridge-Notice-Kind"] or "").endswith("/money_absent"):
                await shop.world.agent().reply(mail, f"!confirmer {code_in(mail)}")
        return await self._run(fuse)

    async def end(self) -> End:
        """What everybody sees now."""
        shop = self._shop
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
            sent=Counter(
                " ".join([answer.text.strip(), *(file.name for file in answer.files)])
                for answer in shop.world.taken
            ),
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


def _rows(journal: Path) -> dict[str, Counter[tuple[object, ...]]]:
    """What stands in each table but the record of how it came there, without the moments and
    the daemon that wrote it. UIDVALIDITY is another in each of the sandbox's mailboxes."""
    with closing(sqlite3.connect(journal)) as file:
        return {
            table.name: Counter(
                tuple(
                    value is None if isinstance(column.type, UtcTime) else value
                    for column, value in zip(table.columns, row, strict=True)
                    if column.name not in {"owner", "epoch", "uidvalidity"}
                )
                for row in file.execute(str(table.select()))
            )
            for table in Base.metadata.sorted_tables
            if table is not EventRow.__table__
        }
