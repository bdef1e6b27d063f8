"""Everything around one daemon, put together: marketplace, relay, mail provider and staff.

Scenario tests and the demo start here. All parts share one clock and draw from one random
source, so that a seed tells the same story again.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from random import Random
from types import TracebackType

from mailbridge.sandbox.agent import Agent, Client
from mailbridge.sandbox.books import BookedFile, Books
from mailbridge.sandbox.cdiscount import CdiscountSimulator
from mailbridge.sandbox.clock import Clock
from mailbridge.sandbox.imapserver import FOLDERS
from mailbridge.sandbox.mailserver import Deliver, MailServer, Provider, SaveSent
from mailbridge.sandbox.octopia import OctopiaSimulator, Rules
from mailbridge.sandbox.people import Cast
from mailbridge.sandbox.relay import RelayedMail, RelayServer, Undeliverable

__all__ = ["Door", "Taken", "World"]


class Door(StrEnum):
    """Which of the marketplace's APIs the shop uses."""

    CDISCOUNT = "cdiscount"
    OCTOPIA = "octopia"


@dataclass(frozen=True, slots=True)
class Taken:
    """An answer that the marketplace took from the seller, by mail or by message.

    `discussion_id` is None where it reached nobody; `mail` None where it was no mail.
    """

    text: str
    discussion_id: int | None
    files: tuple[BookedFile, ...] = ()
    mail: RelayedMail | None = None


class World:
    """One shop's surroundings. Use as `async with`.

    There is one marketplace with two doors, both open: what happens at one is seen at the other.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        rng: Random,
        address: str = "support@maison-brindille.example",
        password: str = "brindille",  # noqa: S107 - of a mailbox that lives in this process
        provider: Provider | None = None,
        marketplace: Door = Door.CDISCOUNT,
        wsdl: Path | None = None,
        modern: bool = False,
        rules: Rules | None = None,
        seller_lag: timedelta = timedelta(0),
        money_lag: timedelta = timedelta(0),
        undeliverable: Undeliverable = Undeliverable.REJECT,
        folders: Iterable[str] = FOLDERS,
        deliver: Deliver | None = None,
        save_sent: SaveSent | None = None,
        imap: tuple[str, int] | None = None,
        tls: ssl.SSLContext | None = None,
        imap_port: int = 0,
        smtp_port: int = 0,
    ) -> None:
        """`address` is the shared mailbox, and the sender registered at the marketplace.
        `imap` is where mail is read (host, port) if `deliver` brings it elsewhere.

        The other parameters are those of the parts they belong to.
        """
        self.address = address
        self.password = password
        self.clock = clock
        self._rng = rng
        self.books = Books(
            clock, rng, senders=(address,), seller_lag=seller_lag, money_lag=money_lag
        )
        self.cast = Cast(self.books, rng)
        self.door = marketplace
        self.market = CdiscountSimulator(self.books, wsdl=wsdl, modern=modern)
        self.octopia = OctopiaSimulator(self.books, rules=rules)
        self.relay = RelayServer(self.books, undeliverable=undeliverable)
        self.mail = MailServer(
            {address: password},
            clock=clock,
            rng=rng,
            provider=provider or Provider(),
            relay=self.relay,
            deliver=deliver,
            save_sent=save_sent,
            folders=folders,
            hostname=f"mail.{address.partition('@')[2]}",
            tls=tls,
            imap_port=imap_port,
            smtp_port=smtp_port,
        )
        self._imap = imap
        self._stack = AsyncExitStack()

    @property
    def imap(self) -> tuple[str, int]:
        """Host and port of the mailbox's IMAP server."""
        return self._imap or (self.mail.host, self.mail.imap_port)

    @property
    def taken(self) -> list[Taken]:
        """Every answer that reached the marketplace, oldest first at each door."""
        mails = [Taken(m.text, m.discussion_id, m.files, m) for m in self.relay.accepted]
        return mails + [Taken(m.text, m.discussion_id, m.files) for m in self.octopia.sent]

    def agent(
        self,
        name: str = "Service client",
        *,
        client: Client = Client.THUNDERBIRD,
        address: str | None = None,
        files_sent_copy: bool | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Agent:
        """Somebody of the staff on the shared mailbox.

        `address` is the identity they write from, None: the mailbox's own.
        `files_sent_copy`: None files one unless the provider does it.
        """
        provider = self.mail.provider
        return Agent(
            address=address or self.address,
            user=self.address,
            password=self.password,
            imap=self.imap,
            smtp=(self.mail.host, self.mail.smtp_port),
            clock=self.clock,
            rng=self._rng,
            name=name,
            client=client,
            sent_folder=provider.sent_folder,
            files_sent_copy=(
                not provider.saves_sent_copy if files_sent_copy is None else files_sent_copy
            ),
            tls=tls,
        )

    async def __aenter__(self) -> World:
        for part in (self.market, self.octopia, self.relay, self.mail):
            await self._stack.enter_async_context(part)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()
