"""What the sandbox's SMTP servers have in common: a server on the running loop, and its faults.

aiosmtpd speaks the protocol; a subclass decides about senders, recipients and whole mails. No
thread is started, a stopped server leaves no task behind, and a restarted one keeps its port.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from types import TracebackType
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from mailbridge.sandbox.clock import Clock

__all__ = [
    "DropAfterDot",
    "DropBeforeDot",
    "HangAfterDot",
    "ReceivedMail",
    "Reply",
    "SmtpFault",
    "SmtpFaults",
    "SmtpServer",
    "Stage",
]


class Stage(Enum):
    """Where in the dialogue a `Reply` fault speaks."""

    MAIL = "MAIL"
    RCPT = "RCPT"
    DOT = "DOT"
    """After the final dot: the mail was read and is not kept."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The server answers this instead of 250, such as `451 4.3.2 Try again later`."""

    stage: Stage
    text: str


@dataclass(frozen=True, slots=True)
class DropBeforeDot:
    """The connection is reset while the mail is on its way: surely not accepted."""


@dataclass(frozen=True, slots=True)
class DropAfterDot:
    """The connection is reset after the final dot, without a reply; `kept`: it was accepted."""

    kept: bool


@dataclass(frozen=True, slots=True)
class HangAfterDot:
    """No reply for `seconds` after the final dot; `kept`: the mail is accepted at once."""

    seconds: float
    kept: bool


SmtpFault = Reply | DropBeforeDot | DropAfterDot | HangAfterDot


class SmtpFaults:
    """A queue of faults: each mail (or try) that reaches the fault's stage uses one up."""

    def __init__(self) -> None:
        self._queue: list[SmtpFault] = []
        self._standing: SmtpFault | None = None

    def once(self, fault: SmtpFault, *, times: int = 1) -> None:
        """Hit the next `times` tries."""
        self._queue.extend([fault] * times)

    def always(self, fault: SmtpFault) -> None:
        """Hit every try once the queue is empty, until `clear`."""
        self._standing = fault

    def clear(self) -> None:
        """All is well again."""
        self._queue.clear()
        self._standing = None

    @property
    def pending(self) -> int:
        """Queued faults that have not hit yet."""
        return len(self._queue)

    def reply_at(self, stage: Stage) -> str | None:
        """The text to answer at this stage."""
        match self._next():
            case Reply(at, text) if at is stage:
                self._use()
                return text
        return None

    def drop_before_dot(self) -> bool:
        """True if this DATA is to be cut."""
        if isinstance(self._next(), DropBeforeDot):
            self._use()
            return True
        return False

    def after_dot(self) -> DropAfterDot | HangAfterDot | None:
        """What happens to the reply of this mail."""
        fault = self._next()
        if isinstance(fault, DropAfterDot | HangAfterDot):
            self._use()
            return fault
        return None

    def _next(self) -> SmtpFault | None:
        return self._queue[0] if self._queue else self._standing

    def _use(self) -> None:
        if self._queue:
            self._queue.pop(0)


@dataclass(frozen=True, slots=True)
class ReceivedMail:
    """A mail as it came over SMTP. `sender` is empty for the null path, `data` has CRLF ends."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes
    at: datetime
    helo: str = ""
    login: str | None = None
    secure: bool = False

    @property
    def protocol(self) -> str:
        """RFC 3848 keyword for the Received header."""
        return "ESMTP" + ("S" if self.secure else "") + ("A" if self.login else "")


class SmtpServer:
    """A listening SMTP server; subclasses say what is taken. Use as `async with`."""

    def __init__(
        self,
        *,
        hostname: str,
        clock: Clock,
        host: str = "127.0.0.1",
        port: int = 0,
        users: dict[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        size_limit: int = 30_000_000,
    ) -> None:
        """`users` (login to password) makes AUTH necessary; `tls` offers STARTTLS.

        `port` 0: the system chooses one at the first start.
        """
        self.hostname = hostname
        self.clock = clock
        self.host = host
        self.faults = SmtpFaults()
        self._users = users
        self._tls = tls
        self._size_limit = size_limit
        self._port = port
        self._server: asyncio.Server | None = None
        self._dialogues: set[_Dialogue] = set()

    @property
    def port(self) -> int:
        """The port; 0 where the system has not chosen yet."""
        return self._port

    async def start(self) -> None:
        """Listen; a restarted server keeps its port. Raises OSError if it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._dialogue, self.host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for dialogue in list(self._dialogues):
            await dialogue.cut()
        await server.wait_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    # --- what a subclass decides -------------------------------------------------------------

    async def sender_refused(self, sender: str, login: str | None) -> str | None:
        """The 4xx or 5xx line for a sender, None to accept it."""
        return None

    async def recipient_refused(self, recipient: str, login: str | None) -> str | None:
        """The 4xx or 5xx line for a recipient, None to accept it."""
        return None

    async def take(self, mail: ReceivedMail) -> str:
        """Keep the mail and give the reply line."""
        raise NotImplementedError

    # --- hooks called by aiosmtpd ------------------------------------------------------------

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self,
        server: _Dialogue,
        session: Session,
        envelope: Envelope,
        address: str,
        options: Sequence[str],
    ) -> str:
        """Judge the sender."""
        if self._users is not None and not session.authenticated:
            return "530 5.7.0 Authentication required"
        sender = "" if address == "<>" else address
        refusal = self.faults.reply_at(Stage.MAIL)
        refusal = refusal or await self.sender_refused(sender, _login(session))
        if refusal is not None:
            return refusal
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Sender ok"

    async def handle_RCPT(  # noqa: N802
        self,
        server: _Dialogue,
        session: Session,
        envelope: Envelope,
        address: str,
        options: Sequence[str],
    ) -> str:
        """Judge one recipient."""
        refusal = self.faults.reply_at(Stage.RCPT)
        refusal = refusal or await self.recipient_refused(address, _login(session))
        if refusal is not None:
            return refusal
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Recipient ok"

    async def handle_DATA(  # noqa: N802
        self, server: _Dialogue, session: Session, envelope: Envelope
    ) -> str:
        """Take the whole mail, or do what a fault says."""
        refusal = self.faults.reply_at(Stage.DOT)
        if refusal is not None:
            return refusal
        sender = envelope.mail_from or ""
        mail = ReceivedMail(
            sender="" if sender == "<>" else sender,
            recipients=tuple(envelope.rcpt_tos),
            data=bytes(envelope.original_content or b""),
            at=self.clock(),
            helo=str(session.host_name or ""),
            login=_login(session),
            secure=session.ssl is not None,
        )
        fault = self.faults.after_dot()
        reply = "250 2.0.0 Ok" if fault and not fault.kept else await self.take(mail)
        match fault:
            case DropAfterDot():
                server.abort()
            case HangAfterDot(seconds):
                await asyncio.sleep(seconds)
        return reply

    def _dialogue(self) -> _Dialogue:
        return _Dialogue(
            self,
            hostname=self.hostname,
            ident="ESMTP",
            tls_context=self._tls,
            data_size_limit=self._size_limit,
            enable_SMTPUTF8=True,
            auth_require_tls=self._tls is not None,
            authenticator=self._authenticate,
            auth_exclude_mechanism=() if self._users is not None else ("LOGIN", "PLAIN"),
            loop=asyncio.get_running_loop(),
        )

    def _authenticate(
        self, server: _Dialogue, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        if isinstance(data, LoginPassword) and self._users is not None:
            login = data.login.decode("utf-8", "replace")
            expected = self._users.get(login)
            if expected is not None and data.password.decode("utf-8", "replace") == expected:
                return AuthResult(success=True, auth_data=login)
        return AuthResult(success=False, handled=False)


class _Dialogue(SMTP):
    """One connection, known to its server so that it can be cut."""

    def __init__(self, owner: SmtpServer, **settings: Any) -> None:
        super().__init__(owner, **settings)
        self._owner = owner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._owner._dialogues.add(self)  # noqa: SLF001 - one class in two parts
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._owner._dialogues.discard(self)  # noqa: SLF001
        super().connection_lost(error)

    def abort(self) -> None:
        """Reset the connection."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()

    async def cut(self) -> None:
        """Reset the connection and wait for its task."""
        task = self._handler_coroutine
        self.abort()
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        """DATA, unless it is to be cut in the middle."""
        envelope = self.envelope
        if envelope is not None and envelope.rcpt_tos and self._owner.faults.drop_before_dot():
            await self.push("354 End data with <CR><LF>.<CR><LF>")
            await self._reader.readline()
            self.abort()
            return
        await super().smtp_DATA(arg)


def _login(session: Session) -> str | None:
    data: object = session.auth_data  # set by a successful AUTH only
    return data if isinstance(data, str) else None
