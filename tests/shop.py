"""A shop for scenarios: the sandbox's world, a real journal, and the real flows between them.

Tests read as a dialogue: somebody writes, `settle()` lets mailbridge do all it can, then the
mailbox, the relay and the marketplace's books are looked at.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from mailbridge.bridge.account import AccountBridge
from mailbridge.bridge.operations import Operations
from mailbridge.bridge.sweep import SweepKind
from mailbridge.config.models import Config
from mailbridge.daemon import KEY_FILE, bridges
from mailbridge.sandbox.agent import SeenMail
from mailbridge.sandbox.books import BookedDiscussion
from mailbridge.sandbox.cdiscount import CdiscountSimulator
from mailbridge.sandbox.clock import HandClock
from mailbridge.sandbox.faults import Fault
from mailbridge.sandbox.octopia import OctopiaSimulator
from mailbridge.sandbox.world import Door, World
from tests.doors import Ask, Handover, door, operations
from tests.octopia import ContractWatch

_LOOKED_AT = 1
"""How many calls of each REST operation a scenario holds against the contract."""

_ALWAYS_WRITTEN = 'INSERT INTO "sweep"'
"""The row that every sweep writes, also one that brings nothing."""

NOON = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)


def _cdiscount(world: World) -> dict[str, Any]:
    return {
        "kind": "cdiscount",
        "login": world.market.login,
        "password": world.market.password,
        "token_url": world.market.token_url,
        "service_url": world.market.service_url,
        "timeout": 30,
    }


def _octopia(world: World) -> dict[str, Any]:
    return {
        "kind": "octopia",
        "client_id": world.octopia.client_id,
        "client_secret": world.octopia.client_secret,
        "seller_id": world.octopia.seller_id,
        "token_url": world.octopia.token_url,
        "api_url": world.octopia.api_url,
        "timeout": 30,
    }


_MARKETPLACES = {Door.CDISCOUNT: _cdiscount, Door.OCTOPIA: _octopia}


def configuration(
    world: World, home: Path, top: dict[str, Any] | None = None, **changes: dict[str, Any]
) -> Config:
    """A configuration for this world; `changes` are merged into the account's sections, `top`
    are keys of the whole file."""
    account: dict[str, Any] = {
        "shop_names": [world.books.seller],
        "staff": [{"address": world.address, "name": "Service client"}],
        "marketplace": _MARKETPLACES[world.door](world),
        "imap": {
            "host": world.imap[0],
            "port": world.imap[1],
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
        {
            "state_dir": home,
            "runtime_dir": home / "run",
            "accounts": {"brindille": account},
            **(top or {}),
        }
    )


class Shop:
    """The world, and mailbridge at work in it."""

    def __init__(self, world: World, clock: HandClock, config: Config) -> None:
        self.world = world
        self.clock = clock
        self.config = config
        self.bridge: AccountBridge
        self._swept = False
        self._daemon = AsyncExitStack()

    # --- the marketplace ------------------------------------------------------------------------

    @property
    def service(self) -> CdiscountSimulator | OctopiaSimulator:
        """The simulator that mailbridge talks to."""
        return self.world.market if self.world.door is Door.CDISCOUNT else self.world.octopia

    @property
    def handover(self) -> Handover:
        """What becomes of answers on their way."""
        return Handover(self.world, self.service.faults)

    def fails(self, fault: Fault, ask: Ask, *, times: int = 1) -> None:
        """The next calls that ask for this go wrong."""
        self.service.faults.once(fault, *operations(self.world.door, ask), times=times)

    def keeps_failing(self, fault: Fault, *asks: Ask) -> None:
        """All calls that ask for these (none named: all calls) go wrong, until `recovers`."""
        names = [name for ask in asks for name in operations(self.world.door, ask)]
        self.service.faults.always(fault, *names)

    def recovers(self) -> None:
        """The marketplace is well again."""
        self.service.faults.clear()

    def asked(self, ask: Ask) -> int:
        """How often the marketplace carried this out or refused it, by itself or by no fault."""
        names = operations(self.world.door, ask)
        return sum(
            call.operation in names and (call.performed or call.fault is None)
            for call in self.service.calls
        )

    def performed(self, ask: Ask) -> int:
        """How often the marketplace really carried this out."""
        return sum(self.service.performed(name) for name in operations(self.world.door, ask))

    # --- mailbridge -----------------------------------------------------------------------------

    async def start(self) -> None:
        """A daemon on whatever journal and key lie in the state directory."""
        built = await self._daemon.enter_async_context(bridges(self.config, clock=self.clock))
        self.bridge = built.accounts["brindille"]
        self._swept = False

    async def stop(self) -> None:
        """The daemon ends; journal and key stay."""
        await self._daemon.aclose()

    async def restart(self, *, lose_journal: bool = False, lose_key: bool = False) -> None:
        """Another daemon, perhaps after a disk was lost."""
        await self.stop()
        home = self.config.state_dir
        if lose_journal:
            for path in home.glob("journal.sqlite3*"):
                path.unlink()
        if lose_key:
            (home / KEY_FILE).unlink()
        await self.start()

    async def reconfigure(self, **changes: dict[str, Any]) -> None:
        """The operator changes the account's sections and restarts the daemon."""
        told = self.config.accounts["brindille"]
        update = {
            section: getattr(told, section).model_copy(update=values)
            for section, values in changes.items()
        }
        accounts = {"brindille": told.model_copy(update=update)}
        self.config = self.config.model_copy(update={"accounts": accounts})
        await self.restart()

    async def settle(self, rounds: int = 3) -> None:
        """Let mailbridge do all it can do now: `rounds` times, or until there is nothing left."""
        for left in reversed(range(rounds)):
            before = self._traces()
            await self.bridge.once(SweepKind.WIDE if self._swept else SweepKind.FULL)
            first, self._swept = not self._swept, True
            await self.world.mail.settled()
            self.clock.advance(timedelta(seconds=1))
            if not first and self._traces() == before:
                self.clock.advance(timedelta(seconds=left))
                break

    def _traces(self) -> tuple[int, ...]:
        """What is left behind where anybody does anything, or fails to do it."""
        digest = 0
        with closing(sqlite3.connect(self.config.state_dir / "journal.sqlite3")) as journal:
            for line in journal.iterdump():
                if not line.startswith(_ALWAYS_WRITTEN):
                    digest = hash((digest, line))
        world, mail = self.world, self.world.mail
        return (
            digest,
            sum(call.fault is not None for call in self.service.calls),
            sum(len(discussion.messages) for discussion in world.books.discussions),
            len(mail.submitted) + len(mail.delivered) + len(mail.sent_away),
            len(world.relay.accepted) + len(world.relay.refused),
        )

    async def later(self, **time: float) -> None:
        """Time passes, and mailbridge goes on."""
        self.clock.advance(timedelta(**time))
        await self.settle()

    @property
    def operations(self) -> Operations:
        """What the operator may ask for."""
        return Operations({"brindille": self.bridge})

    def ident(self, discussion: BookedDiscussion) -> str:
        """What the door that is used calls a discussion."""
        by_number = self.world.door is Door.CDISCOUNT
        return str(discussion.id) if by_number else discussion.object_id

    # --- what is seen ---------------------------------------------------------------------------

    async def inbox(self, folder: str = "INBOX") -> list[SeenMail]:
        """What lies in a folder of the shared mailbox; nothing where there is no such folder."""
        agent = self.world.agent()
        return await agent.mails(folder) if folder in await agent.folders() else []

    async def notices(self, folder: str = "INBOX") -> list[SeenMail]:
        """Mails of mailbridge's own, oldest first."""
        return [m for m in await self.inbox(folder) if m.message["X-Mailbridge-Notice"]]

    async def told(self, folder: str = "INBOX") -> list[str]:
        """What the notices in a folder are about, such as `hold/not_proven`, oldest first."""
        return [str(m.message["X-Mailbridge-Notice-Kind"]) for m in await self.notices(folder)]

    async def notice(self, kind: str, folder: str = "INBOX") -> SeenMail:
        """The newest notice of a kind; raises LookupError."""
        found = [
            m
            for m in await self.notices(folder)
            if str(m.message["X-Mailbridge-Notice-Kind"]) == kind
        ]
        if not found:
            raise LookupError(f"no {kind} among {await self.told(folder)}")
        return found[-1]

    async def thread(self, discussion: BookedDiscussion, folder: str = "INBOX") -> list[SeenMail]:
        """The messages of a discussion as filed, oldest first; notices are left out."""
        found = [
            m
            for m in await self.inbox(folder)
            if m.message["X-Mailbridge-Reference"] == str(discussion.id)
            and m.message["X-Mailbridge-Message"]
        ]
        return sorted(found, key=lambda m: m.message["Date"].datetime)

    async def first(self, discussion: BookedDiscussion) -> SeenMail:
        """The first message of a discussion, as it lies in the inbox."""
        return (await self.thread(discussion))[0]

    @property
    def sent(self) -> list[str]:
        """Every answer the marketplace took, by mail or by message, oldest first."""
        return [answer.text for answer in self.world.taken]

    async def states(self, discussion: BookedDiscussion) -> dict[str, list[str]]:
        """How the books stand: states of replies, money, deliveries and closings, oldest first."""
        shown = await self.operations.show(str(discussion.id))
        return {
            name: [
                f"held/{row['reason']}"
                if row["state"] == "held" and row.get("reason")
                else row["state"]
                for row in shown[name]
            ]
            for name in ("replies", "money", "deliveries", "closings")
        }


def code_in(notice: SeenMail) -> str:
    """The one-time code a hold notice shows."""
    codes: list[str] = re.findall(r"\b\d{6}\b", notice.text)
    if not codes:
        raise LookupError(f"no code in {notice.text!r}")
    return codes[0]


@asynccontextmanager
async def open_shop(
    home: Path,
    *,
    config: dict[str, Any] | None = None,
    top: dict[str, Any] | None = None,
    **world: Any,
) -> AsyncIterator[Shop]:
    """A shop with mailbridge ready to work; `config` and `top` as in `configuration`, `world`
    are parameters of `World`, whose door is that of `tests.doors` if not named."""
    world.setdefault("marketplace", door())
    clock = world.pop("clock", None) or HandClock(NOON)
    rng = world.pop("rng", None) or Random(7)
    place = World(clock=clock, rng=rng, **world)
    watch = ContractWatch(place.octopia, each=_LOOKED_AT)
    async with place:
        shop = Shop(place, clock, configuration(place, home, top, **(config or {})))
        await shop.start()
        try:
            yield shop
        finally:
            await shop.stop()
    assert watch.faults == []
