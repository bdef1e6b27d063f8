"""The flows as the daemon runs them: side by side, supervised, one account beside another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mailbridge.config.secret import Inline, Secret
from mailbridge.daemon import bridges, classify
from mailbridge.ops.supervisor import PartStatus, Supervisor
from tests.shop import Shop, open_shop

pytestmark = pytest.mark.side_by_side
ANSWER = "Bonjour, votre colis arrive demain."


@asynccontextmanager
async def running(shop: Shop) -> AsyncIterator[Supervisor]:
    """The shop's account and a second one whose mailbox password is wrong, both at work."""
    await shop.stop()
    first = shop.config.accounts["brindille"]
    wrong = Secret(Inline("surely not this one"))
    broken = first.model_copy(update={"imap": first.imap.model_copy(update={"password": wrong})})
    accounts = {"broken": broken, "brindille": first}
    config = shop.config.model_copy(update={"accounts": accounts})
    async with bridges(config, clock=shop.clock) as built:
        supervisor = Supervisor(classify=classify)
        parts = [part for bridge in built.accounts.values() for part in bridge.parts()]
        task = asyncio.create_task(supervisor.run(parts))
        try:
            yield supervisor
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await true():  # noqa: ASYNC110 - a mailbox rings no bell of ours
            await asyncio.sleep(0.1)


async def test_an_account_that_cannot_sign_in_stops_no_other(tmp_path: Path) -> None:
    config = {"imap": {"poll": "10s"}, "sweeps": {"quick_every": "30s"}}
    async with open_shop(tmp_path, config=config) as shop:
        claim = shop.world.cast.claim()
        async with running(shop) as supervisor:

            async def filed() -> bool:
                return len(await shop.thread(claim)) == 1

            async def sent() -> bool:
                return shop.sent == [ANSWER]

            await until(filed)
            await shop.world.agent().reply(await shop.first(claim), ANSWER)
            await until(sent)

            states = {name: state.state for name, state in supervisor.states.items()}
            assert states["broken/filing"] is PartStatus.WAITING
            assert states["brindille/filing"] is PartStatus.RUNNING
