"""One flow wakes another: neither too early nor in vain."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.doors import Ask
from tests.shop import open_shop

pytestmark = pytest.mark.side_by_side


@pytest.mark.once
async def test_a_bell_rung_in_a_transaction_is_heard_after_it(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        ctx = shop.bridge.ctx
        async with ctx.write() as tx:
            tx.note("something to send")
            ctx.bells.outgoing.set()
            # The other flow wakes at once, finds nothing yet, and goes to sleep again.
            ctx.bells.outgoing.clear()
        assert ctx.bells.outgoing.is_set()
        assert not ctx.bells.filing.is_set(), "nobody rang this one"


@pytest.mark.once
async def test_what_is_not_committed_wakes_nobody_again(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        ctx = shop.bridge.ctx
        try:
            async with ctx.write():
                ctx.bells.filing.set()
                ctx.bells.filing.clear()
                raise LookupError
        except LookupError:
            pass
        assert not ctx.bells.filing.is_set()


@pytest.mark.api  # the calls of its sweeps are counted
async def test_a_sweep_that_is_asked_for_does_not_wait_for_its_turn(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        ctx = shop.bridge.ctx
        parts = {part.name.partition("/")[2]: part for part in shop.bridge.parts()}
        running = [
            asyncio.ensure_future(parts[name].run(lambda: None)) for name in ("filing", "sweeps")
        ]

        async def swept(times: int) -> None:
            async with asyncio.timeout(10):
                while shop.asked(Ask.CLAIMS) < times:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

        try:
            # Full, wide and quick, at the start; the full one in two parts of six months.
            await swept(4)
            shop.world.cast.claim(text="Où est mon colis ?")
            ctx.bells.sweep.set()
            await swept(5)
            agent = shop.world.agent()
            await agent.wait_for("Où est mon colis ?")
            assert shop.asked(Ask.CLAIMS) == 5, "and only once"
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def test_nothing_is_due_while_the_account_is_paused(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), "Bonjour, c'est parti.\n!clos")
        shop.handover.put_off()
        await shop.settle(1)
        assert await shop.bridge.dispatch.next_due() is not None
        await shop.operations.pause("brindille")
        assert await shop.bridge.dispatch.next_due() is None
        assert await shop.bridge.closing.next_due() is None
