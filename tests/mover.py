"""A shop that goes from the SOAP service to the REST API: the operator's part of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mailbridge.bridge.moving import MoveReport, Moving
from mailbridge.daemon import bridges
from mailbridge.journal.journal import Journal
from mailbridge.sandbox.world import Door
from tests.shop import Shop, configuration, open_shop

__all__ = ["configured_for", "migrate", "move", "old_shop"]


@asynccontextmanager
async def old_shop(home: Path, **given: Any) -> AsyncIterator[Shop]:
    """A shop that works with the SOAP service, as in `open_shop`."""
    async with open_shop(home, marketplace=Door.CDISCOUNT, **given) as shop:
        yield shop


def configured_for(shop: Shop, door: Door, **changes: Any) -> None:
    """The operator changes the marketplace's section; the running daemon does not know of it."""
    shop.world.door = door
    told = configuration(shop.world, shop.config.state_dir, **changes).accounts["brindille"]
    account = shop.config.accounts["brindille"].model_copy(update={"marketplace": told.marketplace})
    shop.config = shop.config.model_copy(update={"accounts": {"brindille": account}})


async def migrate(
    shop: Shop, *, dry_run: bool = False, anyway: bool = False, fit: Any = None
) -> MoveReport:
    """`mailbridge migrate`, the daemon stopped. `fit` is given the journal before."""
    async with bridges(shop.config, clock=shop.clock, moving="brindille") as built:
        if fit is not None:
            journal: Journal = built.journal
            fit(journal)
        moving = Moving(built.accounts["brindille"].ctx, "octopia")
        return await (moving.look() if dry_run else moving.run(anyway=anyway))


async def move(shop: Shop) -> MoveReport:
    """All of it: stop, change the section, migrate, start."""
    await shop.stop()
    configured_for(shop, Door.OCTOPIA)
    report = await migrate(shop)
    await shop.start()
    return report
