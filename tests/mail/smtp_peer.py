"""An SMTP server that follows a script: for what a real server will not do on request.

Without a script it is a polite server. `acts` says otherwise for chosen steps, one act for each
time the step is reached, over all connections; then it is polite again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from types import TracebackType

__all__ = ["DROP", "HANG", "RESET", "Act", "ReceivedMail", "SmtpPeer", "Then", "say"]


class Then(Enum):
    """What the peer does after its reply."""

    GO_ON = auto()
    DROP = auto()
    RESET = auto()
    HANG = auto()


@dataclass(frozen=True)
class Act:
    """Raw bytes to send, and what to do then."""

    reply: bytes = b""
    then: Then = Then.GO_ON


DROP = Act(then=Then.DROP)
RESET = Act(then=Then.RESET)
HANG = Act(then=Then.HANG)


def say(*lines: str, then: Then = Then.GO_ON) -> Act:
    """A reply of these lines, exactly as given."""
    return Act("".join(f"{line}\r\n" for line in lines).encode(), then)


@dataclass(frozen=True)
class ReceivedMail:
    """A mail whose final dot arrived, whatever the peer answered then."""

    sender: str
    recipient: str
    data: bytes


class _Over(Exception):
    """This connection ends here."""


@dataclass
class SmtpPeer:
    """`async with SmtpPeer({"RCPT": [say("451 later")]}) as peer:` listens on `peer.port`.

    Steps: greeting, EHLO, AUTH, MAIL, RCPT, DATA, body (when its first bytes are there), dot,
    RSET, QUIT, and `answer` for a line that answers a 334.
    """

    acts: Mapping[str, Sequence[Act]] = field(default_factory=dict)
    offers: Sequence[str] = ("SIZE 30000000",)
    port: int = 0
    connections: int = 0
    mails: list[ReceivedMail] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)

    async def __aenter__(self) -> SmtpPeer:
        self._acts = {step: list(acts) for step, acts in self.acts.items()}
        self._reached: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._talks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", self.port, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def reached(self, step: str) -> None:
        """Wait until the dialogue has come to this step."""
        async with asyncio.timeout(5):
            await self._reached[step].wait()

    async def all_gone(self) -> None:
        """Wait until every client has hung up."""
        async with asyncio.timeout(5):
            while self._talks:
                await asyncio.wait(self._talks)
                await asyncio.sleep(0)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        task.add_done_callback(self._talks.discard)
        try:
            with contextlib.suppress(_Over, ConnectionError):
                await self._dialogue(reader, writer)
        except asyncio.CancelledError:
            pass  # the test is over: asyncio's own callback would log a cancelled handler
        finally:
            writer.close()

    async def _act(
        self, step: str, polite: str, writer: asyncio.StreamWriter, reader: asyncio.StreamReader
    ) -> bytes:
        """Carry out the step; gives what was said."""
        self._reached[step].set()
        acts = self._acts.get(step)
        act = acts.pop(0) if acts else Act(f"{polite}\r\n".encode() if polite else b"")
        if act.reply:
            writer.write(act.reply)
            await writer.drain()
        match act.then:
            case Then.DROP:
                raise _Over
            case Then.RESET:
                writer.transport.abort()
                raise _Over
            case Then.HANG:
                while await reader.read(65536):
                    pass
                raise _Over
            case Then.GO_ON:
                return act.reply

    async def _line(self, reader: asyncio.StreamReader) -> str:
        line = await reader.readline()
        if not line:
            raise _Over
        return line.decode().rstrip("\r\n")

    async def _dialogue(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._act("greeting", "220 peer ready", writer, reader)
        sender = recipient = ""
        while True:
            line = await self._line(reader)
            self.heard.append(line)
            verb = line.partition(" ")[0].upper()
            match verb:
                case "EHLO":
                    lines = [f"250-{offer}\r\n" for offer in ("peer", *self.offers)]
                    polite = "".join(lines) + "250 HELP"
                case "AUTH":
                    polite = "235 2.7.0 welcome"
                case "MAIL":
                    sender, polite = line.partition("<")[2].partition(">")[0], "250 2.1.0 ok"
                case "RCPT":
                    recipient, polite = line.partition("<")[2].partition(">")[0], "250 2.1.5 ok"
                case "DATA":
                    said = await self._act("DATA", "354 go ahead", writer, reader)
                    if said.startswith(b"354"):
                        await self._data(sender, recipient, reader, writer)
                    continue
                case "QUIT":
                    await self._act("QUIT", "221 bye", writer, reader)
                    return
                case "RSET" | "NOOP":
                    polite = "250 2.0.0 ok"
                case _:
                    verb, polite = "answer", "235 2.7.0 welcome"
            await self._act(verb, polite, writer, reader)

    async def _data(
        self,
        sender: str,
        recipient: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        body = bytearray(await reader.readline())
        if not body:
            raise _Over
        await self._act("body", "", writer, reader)
        while not body.endswith(b"\r\n.\r\n"):
            line = await reader.readline()
            if not line:
                raise _Over
            body += line
        self.mails.append(ReceivedMail(sender, recipient, bytes(body[:-3])))
        await self._act("dot", "250 2.0.0 queued", writer, reader)
