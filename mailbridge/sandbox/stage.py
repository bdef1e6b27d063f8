"""A sandbox put up for a person: world, mailbox server, configuration file and, if asked, daemon.

Everything lives in one temporary folder and in processes that `open_stage` ends and removes,
however it is left; if we are killed, the processes end all the same, and only the folder stays.
Where Dovecot is installed it holds the mailbox, else the embedded server.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from mailbridge.sandbox.agent import Agent, Client
from mailbridge.sandbox.clock import wall_clock
from mailbridge.sandbox.dovecot import Dovecot, DovecotUnusable, find_dovecot, free_port
from mailbridge.sandbox.mailserver import lmtp_delivery
from mailbridge.sandbox.settings import STAFF, Settings, write_settings
from mailbridge.sandbox.world import Door, World

__all__ = ["Stage", "open_stage", "until_interrupted"]

IMAP_PORT, SMTP_PORT = 1143, 1025
"""Where mail clients find a sandbox that stays up, if nobody else listens there."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A sandbox at work."""

    world: World
    mailbox_server: str
    """Which IMAP server it is, in words."""
    remark: str
    """Why it is not Dovecot though one is installed; empty else."""
    settings: Settings

    def agent(self, address: str = "", *, client: Client = Client.THUNDERBIRD) -> Agent:
        """One of the staff (`settings.STAFF`) at their mail client."""
        address = address or self.world.address
        return self.world.agent(STAFF[address], address=address, client=client)


@asynccontextmanager
async def open_stage(
    *,
    rng: Random,
    fixed_ports: bool = False,
    wsdl: Path | None = None,
    marketplace: Door = Door.OCTOPIA,
    wait_for_sent_copy: str = "30s",
) -> AsyncIterator[Stage]:
    """Put up a sandbox; raises OSError, and ValueError for a `wsdl` folder without a service.

    `fixed_ports`: IMAP on 1143 and SMTP on 1025 where these are free. With
    MAILBRIDGE_SANDBOX_IMAP=embedded in the environment Dovecot is left alone.
    """
    # aiosmtpd warns of an attribute that it sets itself, at every sign-in.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    async with AsyncExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="mailbridge-"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        imap_port = free_port(IMAP_PORT if fixed_ports else 0)
        smtp_port = free_port(SMTP_PORT if fixed_ports else 0)
        # Of a mailbox on loopback, and shown; no word that a log of the daemon may have to hide.
        password = "panier-osier"  # noqa: S105
        dovecot, remark = await _dovecot(home, password, imap_port, stack)
        world = World(
            clock=wall_clock,
            rng=rng,
            password=password,
            marketplace=marketplace,
            wsdl=wsdl,
            imap_port=0 if dovecot else imap_port,
            smtp_port=smtp_port,
            deliver=lmtp_delivery("127.0.0.1", dovecot.lmtp_port) if dovecot else None,
            imap=("127.0.0.1", dovecot.imap_port) if dovecot else None,
        )
        await stack.enter_async_context(world)
        settings = write_settings(
            world,
            home,
            wsdl=world.market.wsdl_url if wsdl else None,
            wait_for_sent_copy=wait_for_sent_copy,
        )
        name = f"Dovecot {dovecot.version}" if dovecot else "embedded IMAP server"
        yield Stage(world, name, remark, settings)


async def _dovecot(
    home: Path, password: str, port: int, stack: AsyncExitStack
) -> tuple[Dovecot | None, str]:
    program = find_dovecot()
    if program is None or os.environ.get("MAILBRIDGE_SANDBOX_IMAP") == "embedded":
        return None, ""
    server = Dovecot(
        program, _folder(home), password=password, imap_port=port, lmtp_port=free_port()
    )
    try:
        await server.start()
    except DovecotUnusable as error:
        return None, str(error)
    stack.push_async_callback(server.stop)
    return server, ""


def _folder(home: Path) -> Path:
    folder = home / "dovecot"
    folder.mkdir(mode=0o700)
    # Its processes run as other users where root starts it, and must pass through.
    home.chmod(0o711)
    return folder


async def until_interrupted(work: Coroutine[None, None, int]) -> int | None:
    """Run `work` to its end, or None if SIGINT, SIGTERM or SIGHUP came first.

    Only the first signal counts: an impatient second Ctrl-C must not interrupt the cleaning-up,
    which is bounded in time. After it the process is on its way out, and stays deaf.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(work)
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            task.cancel()

    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for name in names:
        loop.add_signal_handler(name, interrupt)
    try:
        return await task
    except asyncio.CancelledError:
        if not interrupted:
            raise
        return None
    finally:
        for name in names:
            loop.remove_signal_handler(name)
            if interrupted:
                signal.signal(name, signal.SIG_IGN)
