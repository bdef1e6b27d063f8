"""A shop for scenarios: the sandbox's world, a real journal, and the real flows between them.

Tests read as a dialogue: somebody writes, `settle()` lets mailbridge do all it can, then the
mailbox, the relay and the marketplace's books are looked at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from mailbridge.bridge.account import AccountBridge
from mailbridge.bridge.sweep import SweepKind
from mailbridge.config.models import Config
from mailbridge.daemon import bridges
from mailbridge.sandbox.agent import SeenMail
from mailbridge.sandbox.clock import HandClock
from mailbridge.sandbox.world import World

NOON = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)

STAFF = ({"address": "support@maison-brindille.example", "name": "Service client"},)


def configuration(world: World, home: Path, **changes: dict[str, Any]) -> Config:
    """A configuration for this world; `changes` are merged into the account's sections."""
    account: dict[str, Any] = {
        "shop_names": [world.books.seller],
        "staff": STAFF,
        "marketplace": {
            "kind": "cdiscount",
            "login": world.market.login,
            "password": world.market.password,
            "token_url": world.market.token_url,
            "service_url": world.market.service_url,
            "timeout": 30,
        },
        "imap": {
            "host": world.mail.host,
            "port": world.mail.imap_port,
            "security": "plain",
            "password": world.password,
            "timeout": 5,
        },
        "smtp": {
            "host": world.mail.host,
            "port": world.mail.smtp_port,
            "security": "plain",
            "password": world.password,
            "timeout": 5,
        },
        "mailbox": {"address": world.address},
        "replies": {"enabled": True, "wait_for_sent_copy": 30},
    }
    for section, values in changes.items():
        if isinstance(values, dict):
            account[section] = {**account.get(section, {}), **values}
        else:
            account[section] = values
    return Config.model_validate(
        {"state_dir": home, "runtime_dir": home / "run", "accounts": {"brindille": account}}
    )


class Shop:
    """The world, and mailbridge at work in it."""

    def __init__(self, world: World, clock: HandClock, config: Config) -> None:
        self.world = world
        self.clock = clock
        self.config = config
        self.bridge: AccountBridge
        self._swept = False

    async def settle(self, rounds: int = 3) -> None:
        """Let mailbridge do all it can do now."""
        for _ in range(rounds):
            await self.bridge.once(SweepKind.WIDE if self._swept else SweepKind.FULL)
            self._swept = True
            await self.world.mail.settled()
            self.clock.advance(timedelta(seconds=1))

    async def later(self, **time: float) -> None:
        """Time passes, and mailbridge goes on."""
        self.clock.advance(timedelta(**time))
        await self.settle()

    async def inbox(self, folder: str = "INBOX") -> list[SeenMail]:
        """What lies in a folder of the shared mailbox."""
        return await self.world.agent().mails(folder)

    async def notices(self, folder: str = "INBOX") -> list[SeenMail]:
        """Mails of mailbridge's own, oldest first."""
        return [m for m in await self.inbox(folder) if m.message["X-Mailbridge-Notice"]]


@asynccontextmanager
async def open_shop(
    home: Path, *, config: dict[str, Any] | None = None, **world: Any
) -> AsyncIterator[Shop]:
    """A shop with mailbridge ready to work; `world` are parameters of `World`."""
    clock = world.pop("clock", None) or HandClock(NOON)
    rng = world.pop("rng", None) or Random(7)
    async with World(clock=clock, rng=rng, **world) as place:
        shop = Shop(place, clock, configuration(place, home, **(config or {})))
        async with bridges(shop.config, clock=clock) as built:
            shop.bridge = built.accounts["brindille"]
            yield shop
