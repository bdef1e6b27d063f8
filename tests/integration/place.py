"""A shop as it really runs: the daemon as a process of its own, between servers on sockets.

The marketplace is read and written through either of its doors (the older one's simulator serves
the recorded contract), Dovecot holds the mailbox and takes deliveries by LMTP, submission and
relay are SMTP servers. All but Dovecot and the daemon live in the test's process, on the machine's
clock. Each of the four can be killed and started again: daemon and Dovecot by SIGKILL;
marketplace and submission lose their listener and every connection at once, while their books and
queue, which the real ones keep on disk, stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from pathlib import Path
from random import Random
from typing import Any

from mailbridge.ops.control import ControlClient, ControlError
from mailbridge.sandbox.agent import SeenMail
from mailbridge.sandbox.books import BookedDiscussion
from mailbridge.sandbox.cdiscount import CdiscountSimulator
from mailbridge.sandbox.clock import wall_clock
from mailbridge.sandbox.daemon import Daemon
from mailbridge.sandbox.faults import Hang
from mailbridge.sandbox.octopia import OctopiaSimulator
from mailbridge.sandbox.settings import Settings, write_settings
from mailbridge.sandbox.smtp import HangAfterDot
from mailbridge.sandbox.world import Door, World
from tests.dovecot import Dovecot
from tests.mailhost import on_dovecot

__all__ = ["Place", "ShopClock", "open_place"]

ADDRESS = "support@maison-brindille.example"
FOLDERS = ("INBOX", "Clos")


class ShopClock:
    """The machine's clock, set back while a shop gets its past."""

    def __init__(self) -> None:
        self.behind = timedelta(0)

    def __call__(self) -> datetime:
        return wall_clock() - self.behind


@dataclass
class Place:
    """Everything around one daemon, and the daemon. `open_place` makes one."""

    world: World
    dovecot: Dovecot
    settings: Settings
    clock: ShopClock
    events: list[Mapping[str, Any]] = field(default_factory=list)
    """What the daemon logged, over all its lives."""
    peak: int = 0
    """The daemon's highest resident memory in MiB, over all its lives."""
    _daemon: Daemon | None = None

    # --- the daemon ---------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the daemon and wait until it runs; raises DaemonTrouble."""
        daemon = Daemon(self.settings.path, self.settings.control, on_event=self.events.append)
        self._daemon = await daemon.__aenter__()

    async def stop(self) -> None:
        """End it in order."""
        daemon, self._daemon = self._daemon, None
        if daemon is not None:
            await daemon.__aexit__()

    async def kill_daemon(self) -> None:
        """SIGKILL, no last word in the journal; then another one."""
        assert self._daemon is not None
        self.weigh()
        os.kill(self._daemon.pid, signal.SIGKILL)
        await self.stop()
        await self.start()

    def weigh(self) -> int:
        """Look at the daemon's memory; the highest so far, in MiB."""
        assert self._daemon is not None
        text = Path(f"/proc/{self._daemon.pid}/status").read_text(encoding="ascii")
        line = next(line for line in text.splitlines() if line.startswith("VmHWM:"))
        self.peak = max(self.peak, int(line.split()[1]) // 1024)
        return self.peak

    async def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """One of the operator's commands."""
        return await ControlClient(self.settings.control).ask(command, **arguments)

    def heard(self, event: str) -> list[Mapping[str, Any]]:
        """Log lines of this event."""
        return [e for e in self.events if e.get("event") == event]

    # --- its surroundings ---------------------------------------------------------------------

    async def kill_dovecot(self, *, away: float = 0.5) -> None:
        """SIGKILL to all its processes; it is back after `away` seconds."""
        await asyncio.to_thread(self.dovecot.kill)
        await asyncio.sleep(away)
        await asyncio.to_thread(self.dovecot.start)

    @property
    def marketplace(self) -> CdiscountSimulator | OctopiaSimulator:
        """The simulator that the daemon talks to."""
        return self.world.market if self._by_mail else self.world.octopia

    async def kill_marketplace(self, *, away: float = 0.5) -> None:
        """Calls under way are cut; what they did in the books is done."""
        await self.marketplace.stop()
        await asyncio.sleep(away)
        await self.marketplace.start()

    # Answers leave by the submission server, or by a call of the newer API.

    async def close_the_exit(self) -> None:
        """Whoever takes answers is gone; sessions are cut, what was taken is in the queue."""
        await (self.world.mail.submission if self._by_mail else self.marketplace).stop()

    async def open_the_exit(self) -> None:
        """Whoever takes answers is there again."""
        await (self.world.mail.submission if self._by_mail else self.marketplace).start()

    async def kill_the_exit(self, *, away: float = 0.5) -> None:
        """Whoever takes answers dies, and is back after `away` seconds."""
        await self.close_the_exit()
        await asyncio.sleep(away)
        await self.open_the_exit()

    async def silence_the_exit(self, seconds: float, *, kept: bool) -> None:
        """The next answer is taken, or swallowed if not `kept`, and nobody is told so."""
        if self._by_mail:
            self.world.mail.submission.faults.once(HangAfterDot(seconds, kept=kept))
        else:
            self.marketplace.faults.once(Hang(seconds, after=kept), "sendMessage")

    @property
    def exit_is_silent(self) -> bool:
        """Whether that answer has come."""
        faults = self.world.mail.submission.faults if self._by_mail else self.marketplace.faults
        return not faults.pending

    @property
    def _by_mail(self) -> bool:
        return self.world.door is Door.CDISCOUNT

    def ident(self, discussion: BookedDiscussion) -> str:
        """What the door that is used calls a discussion."""
        return str(discussion.id) if self._by_mail else discussion.object_id

    # --- people -------------------------------------------------------------------------------

    async def first(self, discussion: BookedDiscussion) -> SeenMail:
        """The first mail of a discussion's thread, which must be filed."""

        def work() -> SeenMail:
            with self._box() as box:
                box.select("INBOX", readonly=True)
                wanted = ("HEADER", "X-Mailbridge-Discussion", self.ident(discussion))
                uid = box.uid("SEARCH", *wanted)[1][0].split()[0].decode()
                ((_, data), *_) = box.uid("FETCH", uid, "(BODY.PEEK[])")[1]
                return SeenMail("INBOX", int(uid), frozenset(), data)

        return await asyncio.to_thread(work)

    async def reply(
        self, mail: SeenMail, text: str, *, before: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """The agent answers. The Sent copy, which proves the reply, is filed last, as clients do:
        until it is there the daemon sends nothing, and `before` has time to happen.
        """
        agent = self.world.agent(files_sent_copy=False)
        written = await agent.reply(mail, text)
        if before is not None:
            await before()
        await agent.file_sent_copy(written)

    # --- waiting ------------------------------------------------------------------------------

    async def until(self, true: Callable[[], bool], what: str, *, seconds: float = 30) -> None:
        """Wait; raises TimeoutError that says what was waited for and what was logged last."""
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                self._give_up(what, seconds)
            await asyncio.sleep(0.01)

    async def until_filed(self, wanted: int, *, seconds: float = 60) -> None:
        """Wait until so many mails of the daemon's lie in the mailbox."""
        deadline = time.monotonic() + seconds
        while (there := await self._count()) < wanted:
            if time.monotonic() > deadline:
                self._give_up(f"{there} of {wanted} mails", seconds)
            await asyncio.sleep(0.05)

    async def until_quiet(self, *, seconds: float = 60) -> None:
        """Wait until the daemon is well and nothing it intends is left to do."""
        deadline = time.monotonic() + seconds
        left: object = "no answer"
        while left:
            if time.monotonic() > deadline:
                self._give_up(f"left: {left}", seconds)
            await asyncio.sleep(0.5)
            with contextlib.suppress(ControlError):
                await self.ask("sweep")
                left = _left(await self.ask("status"))

    def _give_up(self, what: str, seconds: float) -> None:
        said = "\n".join(self._daemon.tail if self._daemon else ())
        raise TimeoutError(f"{what}, after {seconds:.0f} s; the daemon said:\n{said}")

    async def until_moved(self, discussions: Iterable[str], *, seconds: float = 30) -> None:
        """Wait until these threads lie in the closed folder, so that nothing moves any more."""
        deadline = time.monotonic() + seconds
        for ident in discussions:
            while (await self.ask("show", discussion=ident))["folder"] != FOLDERS[1]:
                if time.monotonic() > deadline:
                    self._give_up(f"{ident} has not moved", seconds)
                await asyncio.sleep(0.1)

    # --- what is seen in the end --------------------------------------------------------------

    async def mails(self) -> list[EmailMessage]:
        """Headers of every mail in the folders mailbridge files into."""
        return await asyncio.to_thread(self._headers)

    def _headers(self) -> list[EmailMessage]:
        found: list[EmailMessage] = []
        parser = BytesParser(EmailMessage, policy=default)
        with self._box() as box:
            for folder in FOLDERS:
                if box.select(folder, readonly=True)[0] != "OK":
                    continue
                _, rows = box.uid("FETCH", "1:*", "(BODY.PEEK[HEADER])")
                found += [parser.parsebytes(r[1]) for r in rows if isinstance(r, tuple)]
        return found

    async def _count(self) -> int:
        """Mails in the folders; 0 while the server is away."""

        def work() -> int:
            total = 0
            with self._box() as box:
                for folder in FOLDERS:
                    kind, rows = box.status(folder, "(MESSAGES)")
                    if kind == "OK" and isinstance(rows[0], bytes):
                        total += int(rows[0].rpartition(b"MESSAGES ")[2].rstrip(b")"))
            return total

        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            return await asyncio.to_thread(work)
        return 0

    def _box(self) -> imaplib.IMAP4:
        box = imaplib.IMAP4(*self.world.imap, timeout=10)
        box.login(self.world.address, self.world.password)
        return box


def _left(status: Mapping[str, Any]) -> list[str]:
    """What a daemon at rest would not show in its status."""
    (account,) = status["accounts"]
    resting = {"filed", "held", "settled", "recorded", "resent", "cancelled", "closed"}
    counts: Mapping[str, Counter[str]] = account["counts"]
    return [
        *(f"{p['name']} {p['state']}" for p in status["parts"] if p["state"] != "running"),
        *(
            f"{number} {table} {state}"
            for table in ("filings", "replies", "deliveries", "closings")
            for state, number in counts[table].items()
            if state not in resting
        ),
    ]


@asynccontextmanager
async def open_place(home: Path, door: Door, contract: Path | None) -> AsyncIterator[Place]:
    """Put it up, the daemon not yet started; `contract` is the folder of the WSDL to serve."""
    clock = ShopClock()
    with Dovecot() as dovecot:
        mailbox = on_dovecot(dovecot, ADDRESS)
        world = World(clock=clock, rng=Random(7), marketplace=door, wsdl=contract, **mailbox)
        async with world:
            settings = write_settings(world, home, wsdl=world.market.wsdl_url if contract else None)
            place = Place(world, dovecot, settings, clock)
            try:
                yield place
            finally:
                await place.stop()
