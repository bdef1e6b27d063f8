"""aioimaplib's protocol object, mended where it was seen to go wrong, and one shape of command.

The rule: one command at a time (the lock that sees to it is `imap_guard`'s), so every untagged
line belongs to that command. With that rule the library's parser is sound once these are mended:

- every `* ` inside a line was removed, not only the leading one: folder `a * b` became `a b`;
- lines that the command was not known to expect were dropped (`* n EXISTS` during SEARCH);
- some 1,000 short lines in one chunk overflowed the stack (iroco-co/aioimaplib issue 118);
- a BYE instead of a greeting, or any fault while parsing, left the caller waiting for ever;
- faults were logged with the pending command, sign-in included.

No time limits, no sign-in, no IMAP semantics here.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aioimaplib.aioimaplib import (
    AUTH,
    CONNECTED,
    NONAUTH,
    Command,
    IMAP4ClientProtocol,
)

from mailbridge.mail.imap_values import Row

__all__ = ["Exchange", "Idle", "Reply", "Wire"]

# At DEBUG the library logs access tokens and some passwords, at INFO pieces of customers' mails;
# a root logger set to DEBUG must not switch that on.
logging.getLogger("aioimaplib").setLevel(logging.WARNING)

LINES_A_CHUNK = 200
"""Each line of a chunk costs the library's parser two stack frames."""
LONGEST_LINE = 4 * 1024 * 1024
LARGEST_LITERAL = 128 * 1024 * 1024

_NEWS = re.compile(rb"\d+ (EXISTS|EXPUNGE)\b|VANISHED\b", re.IGNORECASE)
_LITERAL_SIZE = re.compile(rb"\{(\d+)\}$")


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answered to one command; `status` is OK, NO or BAD."""

    status: str
    text: str
    """The tagged line after the status, response code included."""
    rows: Sequence[Row]


class Exchange(Command):
    """One command and its answer.

    `answer` is asked at each continuation request (`+ …`) for the line to send, None for nothing.
    """

    def __init__(
        self,
        name: str,
        tag: str,
        *args: str,
        prefix: str | None = None,
        answer: Callable[[bytes], bytes | None] = lambda _: None,
    ) -> None:
        # The library declares `prefix: str = None`.
        super().__init__(name, tag, *args, prefix=prefix or "")
        self.answer = answer

    def wait_data(self) -> bool:
        """Also true right after a literal: the answer's line goes on behind it.

        Without this the end of an answer is lost when an empty literal ends a chunk.
        """
        last: object = self._resp_lines[-1] if self._resp_lines else None
        return super().wait_data() or isinstance(last, bytearray)

    def reply(self) -> Reply:
        """The answer, once the command is done."""
        *untagged, text = self._resp_lines
        return Reply(
            self._resp_result.upper(), text.decode("utf-8", "replace"), tuple(_rows(untagged))
        )


class Idle(Exchange):
    """IDLE (RFC 2177): `started` at `+ idling`, `spoke` at the first news."""

    def __init__(self, tag: str) -> None:
        self.started = asyncio.Event()
        self.spoke = asyncio.Event()
        super().__init__("IDLE", tag, answer=self._start)

    def _start(self, _: bytes) -> None:
        self.started.set()

    def append_to_resp(self, line: bytes, result: str = "Pending") -> None:
        # `* OK Still here` is a sign of life, no news.
        if result == "Pending" and not line.upper().startswith(b"OK"):
            self.spoke.set()
        super().append_to_resp(line, result)


def _rows(lines: Sequence[bytes | bytearray]) -> Iterator[Row]:
    """What the library keeps flat, by answer; literals are its bytearrays."""
    row: list[bytes] = []
    after_literal = False
    for line in lines:
        literal = isinstance(line, bytearray)
        if row and not (literal or after_literal):
            yield row
            row = []
        row.append(bytes(line))
        after_literal = literal
    if row:
        yield row


class Wire(IMAP4ClientProtocol):
    """The mended protocol. `lost` is done, with the reason in words, once nothing more can come."""

    # The library gives these no type but that of their first value, None.
    transport: Any
    pending_sync_command: Any
    loop: Any

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[str] = loop.create_future()
        self.greeting: asyncio.Future[bytes] = loop.create_future()
        self.heard = loop.time()
        """Loop time at which the last octet came."""
        self.news = False
        """Mails came or went in the selected folder and nobody has looked since."""
        self.leaving = False
        """LOGOUT was sent: BYE is expected."""
        self.upgrading = False
        """STARTTLS was sent: nothing but its answer may come in clear."""
        super().__init__(loop, self._on_lost)

    def _on_lost(self, error: Exception | None) -> None:
        if self.leaving:
            self._lose("the session is closed")
        else:
            self._lose(f"connection lost ({error})" if error else "closed by the server")

    def _lose(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)

    def fail(self, reason: str) -> None:
        """Give the connection up; the first reason given is the one that stands."""
        self._lose(reason)
        if self.transport is not None:
            self.transport.abort()

    # --- commands ---

    async def run(self, exchange: Exchange) -> Reply:
        """Send one command and wait for its tagged answer, however long that takes."""
        await self.execute(exchange)
        return exchange.reply()

    async def append_batch(self, mailbox: str, mails: Sequence[tuple[str, bytes]]) -> Reply:
        """APPEND of several mails, or one, in one go (RFC 3502, RFC 7888).

        `mails` are (flags and date as they stand on the wire, octets). Only for servers with
        LITERAL+, and with MULTIAPPEND where there are several. Written past `execute`, which
        knows no literals.
        """
        exchange = Exchange("APPEND", self.new_tag())
        parts = [f"{exchange.tag} APPEND {mailbox}".encode()]
        for attributes, data in mails:
            parts += [f" {attributes} {{{len(data)}+}}\r\n".encode(), data]
        self.pending_sync_command = exchange
        self.transport.writelines([*parts, b"\r\n"])
        await exchange.wait()
        return exchange.reply()

    # --- what the library's parser does, mended ---

    def data_received(self, d: bytes) -> None:
        """Parse what came; anything that can't be understood ends the connection."""
        self.heard = self.loop.time()
        try:
            for piece in _pieces(d):
                if self.lost.done():
                    return
                super().data_received(piece)
            if len(self.incomplete_line) > LONGEST_LINE:
                raise ValueError("endless line")
        except Exception as error:
            # Not logged: the text may hold the pending command, and with it a password.
            self.fail(f"the server's answer could not be understood ({type(error).__name__})")

    def _handle_line(self, line: bytes, current_cmd: Any) -> Command | None:
        literal = _LITERAL_SIZE.search(line)
        if literal and int(literal[1]) > LARGEST_LITERAL:
            raise ValueError("literal beyond all measure")
        if not line and current_cmd is not None:
            # An answer that ends with its literal.
            current_cmd.append_to_resp(line)
            return None
        if self.state != CONNECTED:
            return super()._handle_line(line, current_cmd)
        if line:
            preauth = line.upper().startswith(b"* PREAUTH")
            self.state = AUTH if preauth else NONAUTH
            if line.upper().startswith(b"* BYE"):
                self._bye(line[2:])
            elif not preauth and not line.upper().startswith(b"* OK"):
                raise ValueError("no IMAP greeting")
            else:
                self.greeting.set_result(line)
        return None

    def _untagged_response(self, line: bytes) -> Any:
        line = line.removeprefix(b"*").lstrip(b" ")
        if line.upper().startswith(b"BYE") and not self.leaving:
            self._bye(line)
        if _NEWS.match(line):
            self.news = True
        command = self._pending()
        if command is not None:
            command.append_to_resp(line)
        elif self.upgrading:
            # This is how answers are smuggled in behind the clear-text OK (CVE-2011-0411).
            raise ValueError("the server spoke out of turn")
        return command

    def _pending(self) -> Any:
        """The one command under way, or None."""
        return self.pending_sync_command or next(iter(self.pending_async_commands.values()), None)

    def _continuation(self, line: bytes) -> None:
        command = self._pending()
        if isinstance(command, Exchange):
            answer = command.answer(line[1:].strip())
            if answer is not None:
                self.transport.write(answer + b"\r\n")
        else:
            super()._continuation(line)

    def _bye(self, line: bytes) -> None:
        words = line.decode("utf-8", "replace")[3:].strip()
        self.fail(f"the server closed the connection: {words[:200]}")


def _pieces(data: bytes) -> Iterator[bytes]:
    """The chunk cut after every 200 line ends, so that no piece overflows the stack."""
    start = end = lines = 0
    while (end := data.find(b"\r\n", end)) >= 0:
        end += 2
        lines += 1
        if lines == LINES_A_CHUNK:
            yield data[start:end]
            start, lines = end, 0
    if start < len(data):
        yield data[start:]
