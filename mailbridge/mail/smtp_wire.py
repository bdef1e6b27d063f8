"""One SMTP connection and its dialogue, command by command, over aiosmtplib.

The rule: `Connection.step` always says how far the dialogue has come, and the final dot is
written by itself, once all of the body has left. aiosmtplib raises the same errors before and
after the dot; with the step, `smtp` reads what each one means. TLS mode and sign-in are explicit
here, for aiosmtplib's own default sends the password in clear where STARTTLS is missing.

What an error means for the mail, and which connection is kept, is `smtp`'s business.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import cast

import aiosmtplib
from aiosmtplib import SMTPException, SMTPResponseException
from aiosmtplib.protocol import normalize_message_line_endings

__all__ = [
    "Connection",
    "SecretSource",
    "SignIn",
    "SmtpSettings",
    "Step",
    "TlsMode",
    "Unready",
    "tls_context",
]

SecretSource = Callable[[], Awaitable[str]]
"""Gives the password or access token, anew at each connection."""

_CHUNK = 64 * 1024
_COMMAND_LIMIT = 512  # octets with CRLF (RFC 5321 section 4.5.3.1.4)
_NOT_THIS_MECHANISM = frozenset({500, 501, 502, 503, 504, 534})


class TlsMode(StrEnum):
    """How the connection is protected; the values are those of the configuration file."""

    TLS = "tls"
    STARTTLS = "starttls"
    PLAIN = "plain"
    """No protection: only to an address of this machine, made sure of before signing in."""


class SignIn(StrEnum):
    """How to sign in; the values are those of the configuration file."""

    PASSWORD = "password"  # noqa: S105
    """PLAIN, else LOGIN, else CRAM-MD5: the first that the server offers."""
    XOAUTH2 = "xoauth2"
    OAUTHBEARER = "oauthbearer"
    """RFC 7628."""
    NONE = "none"


_PORTS = {TlsMode.TLS: 465, TlsMode.STARTTLS: 587, TlsMode.PLAIN: 25}


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """Where and how to submit. Times are in seconds; raises ValueError for what is unsafe."""

    host: str
    port: int | None = None
    """None: 465 with tls, 587 with starttls, 25 with plain."""
    security: TlsMode = TlsMode.TLS
    sign_in: SignIn = SignIn.PASSWORD
    user: str = ""
    ca_file: Path | None = None
    """PEM file of a private certificate authority, beside the system's."""
    timeout: float = 30.0
    """For the connection, and for each reply before the final dot."""
    final_timeout: float = 600.0
    """For the reply after the final dot: giving up early is what makes doubles
    (RFC 5321 section 4.5.3.2.6 asks for ten minutes)."""
    total_timeout: float = 900.0
    """For one whole mail, whatever the server does in between."""
    idle: float = 60.0
    """A kept connection is closed after this long without a mail."""
    helo: str = "[127.0.0.1]"
    """What we call ourselves at EHLO: an address literal that tells the customer nothing."""

    def __post_init__(self) -> None:
        if not self.host or re.search(r"[\s\x00-\x1f\x7f]", self.host):
            raise ValueError("the SMTP host is empty or holds a blank")
        if not re.fullmatch(r"[\x21-\x7e]+", self.helo):
            raise ValueError("the EHLO name must be ASCII without blanks")
        if self.sign_in is not SignIn.NONE and not self.user:
            raise ValueError("an SMTP sign-in needs a user")
        if min(self.timeout, self.final_timeout, self.total_timeout, self.idle) <= 0:
            raise ValueError("SMTP time limits must be above 0 s")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, with the mode's own port where none is set."""
        return self.host, self.port or _PORTS[self.security]


class Step(StrEnum):
    """How far the exchange has come; the value ends a sentence."""

    CONNECT = "while connecting"
    SECURE = "while starting TLS"
    SIGN_IN = "while signing in"
    SENDER = "at MAIL"
    RECIPIENT = "at RCPT"
    DATA = "at DATA"
    BODY = "before the final dot"
    FINAL = "after the final dot"


class Unready(SMTPException):
    """Trouble found on our side of the wire; its text is fit to be shown."""


class Connection:
    """One connection and its dialogue; `step` is how far it has come.

    Every method raises what aiosmtplib and the socket raise; `SmtpSubmission` reads it. Time
    limits are ours alone (`timeout=None` below): the `wait_for` inside aiosmtplib can swallow a
    cancellation on Python 3.11 when the reply comes at the same moment.
    """

    def __init__(self, settings: SmtpSettings, context: ssl.SSLContext | None) -> None:
        self._settings = settings
        self._mechanism = ""
        self.step = Step.CONNECT
        host, port = settings.address
        self._client = aiosmtplib.SMTP(
            hostname=host,
            port=port,
            local_hostname=settings.helo,
            timeout=None,
            use_tls=settings.security is TlsMode.TLS,
            start_tls=False,
            tls_context=context,
        )

    @property
    def is_open(self) -> bool:
        return self._client.is_connected

    @property
    def in_step(self) -> bool:
        """Open, and nothing unasked has arrived that the next command would take as its reply."""
        protocol = self._client.protocol
        # aiosmtplib keeps what follows a reply in the same packet and has no public view of it.
        return protocol is not None and self.is_open and not protocol._buffer  # noqa: SLF001

    async def open(self, secret: SecretSource | None) -> None:
        """Connect, secure and sign in."""
        async with self._limit():
            await self._client.connect()
        if self._settings.security is TlsMode.PLAIN:
            self._require_loopback()
        await self._hello()
        if self._settings.security is TlsMode.STARTTLS:
            self.step = Step.SECURE
            if not self._client.supports_extension("starttls"):
                raise Unready("the server offers no STARTTLS")
            async with self._limit():
                await self._client.starttls()
            await self._hello()
        if self._settings.sign_in is not SignIn.NONE and secret is not None:
            self.step = Step.SIGN_IN
            await self._sign_in(secret)

    async def answers(self) -> bool:
        """Whether a kept connection still works; RSET also ends a mail that was refused."""
        self.step = Step.CONNECT  # a failure from here on says nothing about the last mail
        if not self.in_step:
            return False
        try:
            async with self._limit():
                await self._client.rset()
        except (SMTPException, OSError):
            return False
        return self.in_step

    async def hand_over(self, sender: str, recipient: str, data: bytes) -> str:
        """MAIL, RCPT, DATA, body, dot; gives the words of the 2xx after the dot."""
        body = _on_the_wire(data)
        # RFC 1870 section 3: too big a mail is then refused before it is carried over.
        sizes = self._client.supports_extension("size")
        self._advance(Step.SENDER)
        async with self._limit():
            await self._client.mail(sender, options=[f"SIZE={len(data)}"] if sizes else [])
        self._advance(Step.RECIPIENT)
        async with self._limit():
            await self._client.rcpt(recipient)
        self._advance(Step.DATA)
        async with self._limit():
            ready = await self._client.execute_command(b"DATA")
        if ready.code != 354:
            raise aiosmtplib.SMTPDataError(ready.code, ready.message)
        self._advance(Step.BODY)
        reply = await self._carry(body)
        if not 200 <= reply.code < 300:
            raise aiosmtplib.SMTPDataError(reply.code, reply.message)
        return reply.message

    def found(self) -> str:
        """Protection and sign-in in words, for `check`."""
        if self._settings.security is TlsMode.PLAIN:
            safety = "no TLS (this machine)"
        else:
            version = str(self._client.get_transport_info("ssl_object").version())
            safety = version.replace("TLSv", "TLS ")
        who = f"signed in ({self._mechanism})" if self._mechanism else "no sign-in"
        size = self._client.esmtp_extensions.get("size", "")
        limit = f", mails up to {int(size) // 1_000_000} MB" if _is_size(size) else ""
        return f"{safety}, {who}{limit}"

    def leave(self) -> None:
        """QUIT without waiting for its answer (RFC 5321 section 4.1.1.10), then close."""
        if self._client.protocol is not None:
            with contextlib.suppress(SMTPException):
                self._client.protocol.write(b"QUIT\r\n")
        self._client.close()

    def abort(self) -> None:
        """Close at once: what is still in our buffers must not leave any more."""
        transport = self._client.transport
        if transport is not None:
            cast(asyncio.WriteTransport, transport).abort()
        self._client.close()

    def _limit(self) -> asyncio.Timeout:
        return asyncio.timeout(self._settings.timeout)

    def _advance(self, step: Step) -> None:
        if not self.in_step:
            raise SMTPResponseException(-1, "a reply nobody asked for")
        self.step = step

    def _require_loopback(self) -> None:
        # Judged by where we got to, not by the name: names can be made to point anywhere.
        peer = str(self._client.get_transport_info("peername")[0])
        if not ipaddress.ip_address(peer.partition("%")[0]).is_loopback:
            raise Unready('security = "plain" is for servers on this machine only')

    async def _hello(self) -> None:
        async with self._limit():
            await self._client.ehlo()

    async def _sign_in(self, secret: SecretSource) -> None:
        offered = self._client.server_auth_methods
        password = self._settings.sign_in is SignIn.PASSWORD
        wanted = ("plain", "login", "cram-md5") if password else (self._settings.sign_in.value,)
        usable = [name for name in wanted if name in offered]
        if not usable:
            raise Unready(
                f"the server offers no {' or '.join(wanted).upper()}"
                f" (it offers {' '.join(offered).upper() or 'no sign-in'})"
            )
        try:
            async with self._limit():
                word = await secret()
        except Exception as error:
            raise Unready(f"no password or token: {str(error) or type(error).__name__}") from None
        for name in usable:
            self._mechanism = name.upper()
            try:
                async with self._limit():
                    await self._authenticate(name, self._settings.user, word)
            except aiosmtplib.SMTPAuthenticationError as error:
                # Only a mechanism that is offered but not had leads to the next one: trying
                # wrong words three times over gets a machine banned.
                if error.code not in _NOT_THIS_MECHANISM or name == usable[-1]:
                    raise
            else:
                return

    async def _authenticate(self, name: str, user: str, word: str) -> None:
        match name:
            case "plain":
                await self._client.auth_plain(user, word)
            case "login":
                await self._client.auth_login(user, word)
            case "cram-md5":
                await self._client.auth_crammd5(user, word)
            case "xoauth2":
                answer = f"user={user}\x01auth=Bearer {word}\x01\x01"
                await self._bearer(b"XOAUTH2", answer, b"")
            case _:
                # RFC 7628 section 3.1; the user as a saslname (RFC 5801 section 4).
                host, port = self._settings.address
                name = user.replace("=", "=3D").replace(",", "=2C")
                answer = f"n,a={name},\x01host={host}\x01port={port}\x01auth=Bearer {word}\x01\x01"
                await self._bearer(b"OAUTHBEARER", answer, b"AQ==")

    async def _bearer(self, mechanism: bytes, answer: str, farewell: bytes) -> None:
        """AUTH with a token; `farewell` answers the challenge that carries the error.

        aiosmtplib knows XOAUTH2 only, and always puts the token on the AUTH line. Microsoft's
        tokens are above 1,500 characters, and a line that long must not be sent as a command
        (RFC 4954 section 4): it follows the server's empty challenge then.
        """
        encoded = base64.b64encode(answer.encode())
        if len(b"AUTH  \r\n") + len(mechanism) + len(encoded) <= _COMMAND_LIMIT:
            reply = await self._client.execute_command(b"AUTH", mechanism, encoded)
        else:
            reply = await self._client.execute_command(b"AUTH", mechanism)
            if reply.code == 334:
                reply = await self._client.execute_command(encoded)
        if reply.code == 334:
            reply = await self._client.execute_command(farewell)
        if reply.code != 235:
            raise aiosmtplib.SMTPAuthenticationError(reply.code, reply.message)

    async def _carry(self, body: bytes) -> aiosmtplib.SMTPResponse:
        """Send the body, then the dot once all of the body has left; give the reply.

        The reply is listened for from the start: a server that has had enough (552, 421) says
        so in the middle and hangs up, and aiosmtplib drops what comes while nobody listens.
        """
        protocol, transport = self._client.protocol, self._client.transport
        if protocol is None or transport is None:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        reply = asyncio.ensure_future(protocol.read_response())
        reply.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            for start in range(0, len(body), _CHUNK):
                protocol.write(body[start : start + _CHUNK])
                async with self._limit():
                    await _emptied(cast(asyncio.WriteTransport, transport), reply)
                if reply.done():
                    early = reply.result()
                    raise SMTPResponseException(early.code, early.message)
            protocol.write(b".\r\n")
            self.step = Step.FINAL  # nothing was awaited since the write: no gap
            async with asyncio.timeout(self._settings.final_timeout):
                return await reply
        finally:
            reply.cancel()


async def _emptied(
    transport: asyncio.WriteTransport, reply: asyncio.Task[aiosmtplib.SMTPResponse]
) -> None:
    """Wait until the transport has passed everything on, or the server has spoken or gone."""
    await asyncio.sleep(0)
    while transport.get_write_buffer_size() and not reply.done():
        await asyncio.wait({reply}, timeout=0.005)


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise Unready(f"ca_file {ca_file} cannot be read: {error.strerror}") from None
    return context


def _on_the_wire(data: bytes) -> bytes:
    """With CRLF line ends only and its leading dots doubled (RFC 5321 section 4.5.2).

    A bare CR or LF would let a text end the mail early and begin another. The usual, clean mail
    takes the quick way: 15 MB of attachments held the event loop 0.3 s in regular expressions.
    """
    ends = data.count(b"\r\n")
    if not data.endswith(b"\r\n") or data.count(b"\r") != ends or data.count(b"\n") != ends:
        data = normalize_message_line_endings(data)
    return (b"\r\n" + data).replace(b"\r\n.", b"\r\n..")[2:]


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < len(text) < 16 and int(text) > 0
