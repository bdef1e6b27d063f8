"""One account at work: its flows, and the parts in which they run.

A part is a loop that may fail without stopping the others; the supervisor restarts it. `once`
runs the same flows one after the other, for `run --once`, back-fills and tests.
"""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta

from mailbridge.bridge.acknowledging import Acknowledging
from mailbridge.bridge.adoption import adopt
from mailbridge.bridge.channel import ApiMessage, Channel, RelayMail
from mailbridge.bridge.closing import Closing
from mailbridge.bridge.context import Context
from mailbridge.bridge.digests import Digests
from mailbridge.bridge.dispatch import Dispatch
from mailbridge.bridge.filing import Filing
from mailbridge.bridge.flagging import Flagging
from mailbridge.bridge.intake import Intake
from mailbridge.bridge.judging import Judging
from mailbridge.bridge.keeping import Watched
from mailbridge.bridge.money import MoneyFlow
from mailbridge.bridge.obeying import Obeying
from mailbridge.bridge.orders import Orders
from mailbridge.bridge.proving import Proving
from mailbridge.bridge.receipts import Receipts
from mailbridge.bridge.sweep import Sweep, SweepKind, SweepResult
from mailbridge.ops.supervisor import Alive, Part

__all__ = ["AccountBridge"]

_IDLE = timedelta(minutes=1)
"""A part looks around this often even if nothing rang."""


class AccountBridge:
    """All flows of one account."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.sweep = Sweep(ctx)
        self.orders = Orders(ctx, self.sweep)
        self.digests = Digests(ctx)
        self.filing = Filing(ctx, self.digests)
        self.flagging = Flagging(ctx)
        self.obeying = Obeying(ctx)
        self.judging = Judging(ctx, self.obeying)
        self.intake = Intake(ctx, self.judging)
        self.acknowledging = Acknowledging(ctx)
        self.dispatch = Dispatch(ctx, _channel(ctx), self.sweep, self.acknowledging)
        self.money = MoneyFlow(ctx)
        self.proving = Proving(ctx)
        self.closing = Closing(ctx, self.sweep)
        self.receipts = Receipts(ctx)
        self._adopted = asyncio.Event()

    # --- one after the other -------------------------------------------------------------------

    async def once(self, sweep: SweepKind | None = SweepKind.QUICK) -> SweepResult:
        """Everything that can be done now, once; `sweep` None leaves the marketplace alone.

        Raises the first error met; what was done before it stays done.
        """
        ctx = self.ctx
        result = SweepResult()
        async with ctx.mailbox.session() as session:
            await adopt(ctx, session)
            if sweep is not None:
                result = await self.sweep.run(sweep)
                await self.orders.run(sweep)
            await self.digests.run()
            await self.filing.run(session)
            for watched in await self.intake.watched(session):
                await self.intake.scan(session, watched)
            await self.judging.run()
            await self.intake.mark_read(session)
            await self.outgoing()
            await self.filing.run(session)
            await self.flagging.run(session)
        return result

    async def outgoing(self) -> None:
        """Money, dispatches, closes and receipts that can go on now."""
        await self.money.run()
        await self.proving.run()
        await self.acknowledging.run()
        await self.dispatch.run()
        await self.acknowledging.tell()
        await self.closing.run()
        await self.receipts.run()

    # --- side by side ---------------------------------------------------------------------------

    def parts(self) -> list[Part]:
        """The loops to supervise."""
        name = self.ctx.name
        return [
            Part(f"{name}/filing", self._file_for_ever),
            Part(f"{name}/sweeps", self._sweep_for_ever),
            Part(f"{name}/replies", self._watch_for_ever),
            Part(f"{name}/outgoing", self._send_for_ever),
            Part(f"{name}/housekeeping", self._keep_house_for_ever),
        ]

    async def _file_for_ever(self, alive: Alive) -> None:
        ctx = self.ctx
        async with ctx.mailbox.session() as session:
            await adopt(ctx, session)
            self._adopted.set()
            while True:
                ctx.bells.filing.clear()
                await self.digests.run()
                await self.filing.run(session)
                alive()
                await self.flagging.run(session)
                alive()
                due = [await self.filing.next_due(), self.digests.next_due]
                await self._pause(ctx.bells.filing, min(filter(None, due), default=None))

    async def _sweep_for_ever(self, alive: Alive) -> None:
        ctx = self.ctx
        sweeps = ctx.config.sweeps
        every = {
            SweepKind.FULL: sweeps.full_every,
            SweepKind.WIDE: sweeps.wide_every,
            SweepKind.QUICK: sweeps.quick_every,
        }
        await self._after_adoption(alive)
        while True:
            due: list[datetime] = []
            asked = ctx.bells.sweep.is_set()
            ctx.bells.sweep.clear()
            for kind, interval in every.items():
                async with ctx.read() as tx:
                    last = await tx.discussions.seen_until(kind)
                now = asked and kind is SweepKind.QUICK
                if now or last is None or ctx.clock() - last >= interval:
                    last = ctx.clock()
                    await self.sweep.run(kind)
                    await self.orders.run(kind)
                due.append(last + interval)
                alive()
            await self._pause(ctx.bells.sweep, min(due))

    async def _send_for_ever(self, alive: Alive) -> None:
        ctx = self.ctx
        await self._after_adoption(alive)
        while True:
            ctx.bells.outgoing.clear()
            await self.outgoing()
            alive()
            due = [
                await self.money.next_due(),
                await self.proving.next_due(),
                await self.dispatch.next_due(),
                await self.closing.next_due(),
            ]
            await self._pause(ctx.bells.outgoing, min(filter(None, due), default=None))

    async def _watch_for_ever(self, alive: Alive) -> None:
        """One connection a folder; if one of them fails, all start anew."""
        await self._after_adoption(alive)
        async with self.ctx.mailbox.session() as session:
            watched = await self.intake.watched(session)
        async with asyncio.TaskGroup() as group:
            for folder in watched:
                group.create_task(self._watch(folder, alive), name=folder.name)

    async def _watch(self, watched: Watched, alive: Alive) -> None:
        ctx = self.ctx
        async with ctx.mailbox.session() as session:
            while True:
                await self.intake.scan(session, watched)
                await self.judging.run()
                await self.intake.mark_read(session)
                alive()
                seconds = ctx.config.imap.poll.total_seconds()
                due = await self.judging.next_due()
                if due is not None:
                    left = (due - ctx.clock()).total_seconds()
                    seconds = max(0.2, min(seconds, left))
                await session.wait(watched.name, seconds)

    async def _keep_house_for_ever(self, alive: Alive) -> None:
        while True:
            await self.keep_house()
            alive()
            await self._pause(asyncio.Event(), None)

    async def _after_adoption(self, alive: Alive) -> None:
        """Nothing is read or sent before the mailbox's own past is known."""
        while not self._adopted.is_set():
            alive()
            await self._pause(self._adopted, None)

    async def keep_house(self) -> None:
        """Keep what was learnt; clear words and names of what was closed long ago."""
        ctx = self.ctx
        before = ctx.clock() - ctx.config.keep_text
        async with ctx.write() as tx:
            account, learnt = await tx.account(), dict(ctx.marketplace.learnt)
            if learnt != json.loads(account.learnt):
                account.learnt = json.dumps(learnt, sort_keys=True)
                tx.note("learnt about the marketplace", detail=account.learnt)
            for row in await tx.discussions.prunable(before):
                await tx.discussions.prune(row, tx.now)
                await tx.replies.forget_words(row.id)
                await tx.deliveries.forget_words(row.id)
                await tx.filings.forget_words(row.id)
                await tx.money.forget_words(row.id)
                tx.note("words pruned", discussion=row.id)

    async def _pause(self, bell: asyncio.Event, due: datetime | None) -> None:
        """Until the bell rings, something is due, or a minute has passed."""
        seconds = _IDLE.total_seconds()
        if due is not None:
            seconds = min(seconds, max(0.05, (due - self.ctx.clock()).total_seconds()))
        try:
            async with asyncio.timeout(seconds):
                await bell.wait()
        except TimeoutError:
            pass


def _channel(ctx: Context) -> Channel:
    """How replies travel at this marketplace."""
    messaging = ctx.marketplace.messaging
    return RelayMail(ctx) if messaging is None else ApiMessage(ctx, messaging)
