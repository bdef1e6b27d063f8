"""An IMAP server that follows a script, for what a real one does not do on request.

A script is a dialogue. It fails the test if the client says anything else, or goes before all of
it has been said:

    S: * OK ready          the server says this line
    C: SELECT "INBOX"      the client gives this command (its tag is not written)
    S: # OK selected       # stands for that command's tag
    c: DONE                the client says this line, without a tag
    PAUSE 0.1              seconds
    DRIP * 9 EXISTS        the server says this every tenth of a second until the client goes
    DROP / RESET           the server closes / resets the connection
    END                    the client closes it

A `…` at the end of a client's line stands for anything. Bytes are sent as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Literal, Self

from mailbridge.mail.imap import ImapMailbox, ImapSession, ImapSettings

__all__ = ["LOGOUT", "SELECTED", "ImapPeer", "at_most", "opening", "session_with"]

LOGOUT = """
    C: LOGOUT
    S: * BYE see you
    S: # OK
    END
"""

SELECTED = """
    C: SELECT "INBOX"
    S: * 3 EXISTS
    S: # OK [READ-WRITE]
"""


def opening(capabilities: str = "", *, delimiter: str = "/") -> str:
    """The usual dialogue up to a signed-in session, on a server without NAMESPACE."""
    return f"""
        S: * OK ready
        C: CAPABILITY
        S: * CAPABILITY IMAP4rev1 SASL-IR
        S: # OK
        C: LOGIN "support" "secret"
        S: # OK
        C: CAPABILITY
        S: * CAPABILITY IMAP4rev1 {capabilities}
        S: # OK
        C: LIST "" ""
        S: * LIST (\\Noselect) "{delimiter}" ""
        S: # OK
    """


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """The block must be through within this time."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


@asynccontextmanager
async def session_with(
    *script: str | bytes,
    secret: str = "secret",
    limit: float = 20.0,
    idle: bool = True,
) -> AsyncIterator[ImapSession]:
    """A session with a peer that keeps to this script; `limit` is the session's time limit."""
    async with ImapPeer(*script) as peer:
        mailbox = peer.mailbox(secret=secret, timeout=limit, idle=idle)
        async with mailbox.session() as session:
            yield session


class ImapPeer:
    """One server on loopback for one connection; `async with ImapPeer(opening(), …) as peer:`."""

    def __init__(self, *script: str | bytes) -> None:
        self._steps: list[str | bytes] = []
        for part in script:
            if isinstance(part, bytes):
                self._steps.append(part)
            else:
                self._steps += [line.strip() for line in part.splitlines() if line.strip()]
        self._tag = "?"
        self._failure: str | None = None
        self._over = asyncio.Event()
        self._done = 0
        self._server: asyncio.Server | None = None
        self.heard: list[str] = []
        """Every line of the client, with its tag."""
        self.spoken_to = asyncio.Event()

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def mailbox(
        self,
        *,
        secret: str = "secret",
        user: str = "support",
        timeout: float = 20.0,
        idle: bool = True,
        security: Literal["plain", "starttls"] = "plain",
        auth: Literal["password", "xoauth2", "oauthbearer"] = "password",
    ) -> ImapMailbox:
        """A mailbox whose server is this peer."""

        async def given() -> str:
            return secret

        settings = ImapSettings("127.0.0.1", user, self.port, security, auth, timeout, idle)
        return ImapMailbox(settings, given)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        if error is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(3):
                    await self._over.wait()
        problem = self._failure or self._unsaid()
        if problem is None:
            return
        if error is None:
            raise AssertionError(problem)
        error.add_note(f"the scripted server: {problem}")

    def _unsaid(self) -> str | None:
        left = self._steps[self._done :]
        return f"left unsaid: {left[0]!r} and {len(left) - 1} more" if left else None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while self._done < len(self._steps):
                step = self._steps[self._done]
                await self._perform(step, reader, writer)
                self._done += 1
        except (AssertionError, OSError, asyncio.IncompleteReadError) as error:
            self._failure = f"at {self._steps[self._done]!r}: {str(error) or type(error).__name__}"
            writer.transport.abort()
        finally:
            writer.close()
            self._over.set()

    async def _perform(
        self, step: str | bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if isinstance(step, bytes):
            writer.write(step.replace(b"#", self._tag.encode()))
            await writer.drain()
            return
        word, _, rest = step.partition(" ")
        acts: dict[str, Callable[[], Awaitable[None]]] = {
            "S:": lambda: self._say(rest, writer),
            "C:": lambda: self._hear(rest, reader, tagged=True),
            "c:": lambda: self._hear(rest, reader, tagged=False),
            "PAUSE": lambda: asyncio.sleep(float(rest)),
            "DRIP": lambda: self._drip(rest, writer),
            "DROP": lambda: self._drop(writer),
            "RESET": lambda: self._reset(writer),
            "END": lambda: self._end(reader),
        }
        assert word in acts, "the script makes no sense"
        await acts[word]()

    async def _say(self, line: str, writer: asyncio.StreamWriter) -> None:
        if line.startswith("#"):
            line = self._tag + line[1:]
        writer.write(line.encode() + b"\r\n")
        await writer.drain()

    async def _drip(self, line: str, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await self._say(line, writer)
                await asyncio.sleep(0.1)

    async def _hear(self, wanted: str, reader: asyncio.StreamReader, *, tagged: bool) -> None:
        line = (await reader.readuntil(b"\r\n")).decode()[:-2]
        self.heard.append(line)
        self.spoken_to.set()
        if tagged:
            self._tag, _, line = line.partition(" ")
            assert re.fullmatch("[A-Z0-9]+", self._tag), f"no tag: {self._tag!r}"
        if wanted.endswith("…"):
            assert line.startswith(wanted[:-1]), f"the client said {line!r}"
        else:
            assert line == wanted, f"the client said {line!r}"

    async def _drop(self, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def _reset(self, writer: asyncio.StreamWriter) -> None:
        connected: socket.socket = writer.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def _end(self, reader: asyncio.StreamReader) -> None:
        rest = b""
        with contextlib.suppress(ConnectionResetError):
            rest = await reader.read()
        assert not rest, f"the client went on: {rest!r}"
