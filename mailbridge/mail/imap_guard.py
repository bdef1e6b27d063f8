"""One IMAP connection that can't hang, can't mix up answers, and tells when it is gone.

The rule: a command runs under the lock, raced against the loss of the connection and a time
limit; whatever interrupts it (time limit, cancellation, garbage) ends the connection, because a
late answer would be taken for the next command's. An IDLE gives way to any other command. What
the commands mean is `imap`'s business, how to get here `imap_signin`'s.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, TypeVar

from aioimaplib.aioimaplib import SELECTED, AioImapException

from mailbridge.mail.imap_values import response_code, suggested_pause
from mailbridge.mail.imap_wire import Exchange, Idle, Reply, Wire
from mailbridge.mail.port import MailboxError, MailboxLost, MailboxRefused

__all__ = ["Connection", "refusal"]

T = TypeVar("T")

PATIENCE = 10
"""A command that keeps making progress may last so many times the time limit in all."""
RENEW_IDLE = 25 * 60.0
"""Seconds; servers may hang up after 30 minutes of IDLE (RFC 2177)."""
POLL = 20.0
"""Seconds between two NOOPs while waiting on a server without IDLE."""
SHORTEST_IDLE = 5.0
"""Seconds; a server that itself ends IDLE sooner than this is polled instead."""
FAREWELL = 5.0
"""Seconds for LOGOUT."""


def refusal(server: str, what: str, reply: Reply) -> MailboxRefused:
    """The server's NO or BAD in its own words."""
    words = " ".join(reply.text.split())[:300] or reply.status
    return MailboxRefused(
        f"{server}: {what} refused: {words}",
        code=response_code(reply.text),
        retry_after=suggested_pause(reply.text),
    )


class Connection:
    """A connected `Wire` and everything that keeps it safe.

    `run`, `append_one`, `append_batch` and `select` are called inside `turn()` only.
    """

    def __init__(self, server: str, *, timeout: float, idle: bool = True) -> None:
        self.wire = Wire()
        self.server = server
        """`host:port`, for messages."""
        self.timeout = timeout
        """Seconds of silence after which a command is given up."""
        self.idles = idle
        """IDLE may be used (once `capabilities` has it, and until the server refuses it)."""
        self.capabilities: frozenset[str] = frozenset()
        self.selected: str | None = None
        """The mailbox argument of the last good SELECT."""
        self._lock = asyncio.Lock()
        self._claims = 0
        self._claimed = asyncio.Event()

    # --- taking turns ---

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The connection for oneself, first come first served; an IDLE is ended for it."""
        self._claims += 1
        self._claimed.set()
        try:
            async with self._lock:
                self._check()
                yield
        finally:
            self._claims -= 1
            if not self._claims:
                self._claimed.clear()

    def _check(self) -> None:
        if self.wire.lost.done():
            raise MailboxLost(f"{self.server}: {self.wire.lost.result()}")

    # --- commands ---

    async def run(
        self,
        name: str,
        *args: str,
        uid: bool = False,
        about: str = "",
        tolerate: Collection[str] = (),
    ) -> Reply:
        """One command; raises MailboxRefused unless OK (or a response code in `tolerate`).

        `about` is for the message: the folder, never a value that a person wrote.
        """
        exchange = Exchange(name, self.wire.new_tag(), *args, prefix="UID" if uid else None)
        what = f"{name} {about}".strip()
        return self._judge(await self.guarded(self.wire.run(exchange), what), what, tolerate)

    async def append_one(
        self, mailbox: str, flags: str, date: datetime, data: bytes, *, about: str
    ) -> Reply:
        """APPEND with a synchronising literal: the server may refuse before the mail is sent."""

        async def append() -> Reply:
            status, lines = await self.wire.append(data, mailbox, flags, date)
            return Reply(status.upper(), bytes(lines[-1]).decode("utf-8", "replace"), ())

        what = f"APPEND {about}"
        return self._judge(await self.guarded(append(), what), what)

    async def append_batch(
        self, mailbox: str, mails: Sequence[tuple[str, bytes]], *, about: str
    ) -> Reply:
        """APPEND without waiting for leave; see `Wire.append_batch`."""
        what = f"APPEND {about}"
        return self._judge(await self.guarded(self.wire.append_batch(mailbox, mails), what), what)

    async def select(self, mailbox: str, *, about: str = "", fresh: bool = False) -> None:
        """SELECT where it is not selected yet; `fresh` lets the server tell what came since."""
        if self.selected != mailbox:
            self.selected = None
            await self.run("SELECT", mailbox, about=about)
            self.wire.state = SELECTED
            self.selected = mailbox
            self.wire.news = False
        elif fresh:
            await self.run("NOOP")

    def _judge(self, reply: Reply, what: str, tolerate: Collection[str] = ()) -> Reply:
        if reply.status != "OK" and response_code(reply.text) not in tolerate:
            raise refusal(self.server, what, reply)
        return reply

    # --- the guard ---

    async def guarded(self, work: Coroutine[Any, Any, T], what: str) -> T:
        """Do the work within the time limit, or end the connection."""
        task = asyncio.ensure_future(work)
        with self._or_dead(task):
            await self._settle({task}, what)
            return task.result()

    @contextmanager
    def _or_dead(self, task: asyncio.Future[Any]) -> Iterator[None]:
        try:
            yield
        except AioImapException as error:
            self.wire.fail(f"IMAP library gave up ({type(error).__name__})")
            raise MailboxLost(f"{self.server}: {self.wire.lost.result()}") from None
        except BaseException:
            self.wire.fail("given up in the middle of a command")
            task.cancel()
            raise

    async def _settle(self, any_of: set[asyncio.Future[Any]], what: str) -> None:
        """Until one is done; raises MailboxLost on loss or after too long a silence.

        Octets that arrive, or leave a full buffer, are progress: 20 MB over a slow line may
        take longer than the time limit, a server that says nothing may not.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE * self.timeout
        quiet_since, unsent = loop.time(), math.inf
        while not any(future.done() for future in any_of):
            if self.wire.lost.done():
                # An answer that came before the end still counts.
                await asyncio.wait(any_of, timeout=0, return_when=asyncio.FIRST_COMPLETED)
                if any(future.done() for future in any_of):
                    return
                self._check()
            limit = min(end, max(quiet_since, self.wire.heard) + self.timeout)
            if loop.time() >= limit:
                now_unsent = self._unsent()
                if not 0 < now_unsent < unsent or limit == end:
                    self.wire.fail(f"no answer to {what} within {self.timeout:g} s")
                    self._check()
                quiet_since, unsent = loop.time(), now_unsent
                continue
            await asyncio.wait(
                {*any_of, self.wire.lost},
                timeout=limit - loop.time(),
                return_when=asyncio.FIRST_COMPLETED,
            )

    def _unsent(self) -> int:
        transport = self.wire.transport
        octets: int = transport.get_write_buffer_size() if transport is not None else 0
        return octets

    async def expect(self, future: asyncio.Future[T], what: str) -> T:
        """What the server says of itself (the greeting), within the time limit."""
        with self._or_dead(future):
            await self._settle({future}, what)
            return future.result()

    # --- waiting for news ---

    async def watch(self, mailbox: str, seconds: float, *, about: str = "") -> bool:
        """Wait at most so long for news of the folder; True if there is or may be some."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        watched = False
        while (left := end - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._lock.acquire()
            except TimeoutError:
                return False
            try:
                self._check()
                if watched and self.selected != mailbox:
                    # Another command left the folder: what came meanwhile nobody was told.
                    return True
                await self.select(mailbox, about=about, fresh=watched and not self._may_idle())
                watched = True
                if self._take_news():
                    return True
                if self._may_idle():
                    await self._idle(min(max(end - loop.time(), 0), RENEW_IDLE))
                    if self._take_news():
                        return True
            finally:
                self._lock.release()
            if not self._may_idle():
                pause = min(max(end - loop.time(), 0), POLL)
                await asyncio.wait({self.wire.lost}, timeout=pause)
                self._check()
        return False

    def _may_idle(self) -> bool:
        return self.idles and "IDLE" in self.capabilities

    def _take_news(self) -> bool:
        news, self.wire.news = self.wire.news, False
        return news

    async def _idle(self, seconds: float) -> None:
        """One IDLE, ended by news, by another command's claim, or by the clock."""
        loop = asyncio.get_running_loop()
        idle = Idle(self.wire.new_tag())
        done = asyncio.ensure_future(self.wire.run(idle))
        started, spoke, claimed = (
            asyncio.ensure_future(event.wait())
            for event in (idle.started, idle.spoke, self._claimed)
        )
        began = loop.time()
        try:
            with self._or_dead(done):
                await self._settle({done, started}, "IDLE")
                ends: set[asyncio.Future[Any]] = {done, spoke, claimed, self.wire.lost}
                await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                if not done.done() and not self.wire.lost.done():
                    self.wire.idle_done()
                elif loop.time() - began < SHORTEST_IDLE:
                    # Refused, or ended by the server at once: don't ask again and again.
                    self.idles = False
                await self._settle({done}, "DONE")
                done.result()
        finally:
            for helper in (started, spoke, claimed):
                helper.cancel()
        self.wire.news |= idle.spoke.is_set()

    # --- the end ---

    async def aclose(self) -> None:
        """LOGOUT if the connection is well, then close; never raises, never hangs."""
        try:
            async with asyncio.timeout(min(self.timeout, FAREWELL)), self.turn():
                self.wire.leaving = True
                await self.run("LOGOUT")
        except (MailboxError, TimeoutError):
            pass
        finally:
            self.wire.fail("the session is closed")
            # Lets the transport close its socket before the loop may end.
            await asyncio.sleep(0)
