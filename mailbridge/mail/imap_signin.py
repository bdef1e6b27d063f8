"""From settings to a signed-in connection: TCP, TLS or STARTTLS, password or bearer token.

The rule: no secret leaves before the connection is encrypted and the certificate checked, or
known to end on this very machine. What is said before TLS is forgotten after it.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aioimaplib.aioimaplib import AUTH

from mailbridge.mail.imap_guard import Connection, refusal
from mailbridge.mail.imap_names import quote
from mailbridge.mail.imap_wire import Exchange, Reply
from mailbridge.mail.port import MailboxError, MailboxLost, MailboxSignIn

if TYPE_CHECKING:
    from mailbridge.config.models import AuthMethod, Security

__all__ = ["ImapSettings", "SecretSource", "connect", "tls_context"]

SecretSource = Callable[[], Awaitable[str]]
"""Gives the password or the access token; asked anew at each sign-in."""

_TEMPORARY_CODES = frozenset({"UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG"})
_TEMPORARY_WORDS = re.compile(r"too many|try again|temporar|throttled", re.IGNORECASE)
"""Gmail says `[ALERT] Too many simultaneous connections`: true credentials, another time."""
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class ImapSettings:
    """Where the mailbox is and how to get in; holds no secret."""

    host: str
    user: str
    port: int | None = None
    """None: 993 with tls, else 143."""
    security: Security | Literal["tls", "starttls", "plain"] = "tls"
    auth: AuthMethod | Literal["password", "xoauth2", "oauthbearer"] = "password"
    timeout: float = 30.0
    """Seconds of silence after which a command, and with it the connection, is given up."""
    idle: bool = True
    """Use IDLE where the server offers it."""
    ca_file: Path | None = None
    """PEM file of a private certificate authority, beside the system's."""

    @property
    def server(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port or (993 if self.security == 'tls' else 143)}"


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Certificates and host names are verified; raises MailboxError for a bad `ca_file`.

    Reads files and takes some 20 ms: not for the event loop.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise MailboxError(f"{ca_file}: no readable PEM certificates ({error})") from error
    return context


async def connect(
    settings: ImapSettings, secret: SecretSource, context: ssl.SSLContext | None
) -> Connection:
    """A connection that is signed in and knows the server's capabilities.

    `context` is None for security = plain only.

    Raises MailboxLost (try again), MailboxSignIn (a person must act), MailboxRefused (the server
    is busy), or plain MailboxError (these settings and this server don't fit).
    """
    connection = Connection(settings.server, timeout=settings.timeout, idle=settings.idle)
    try:
        await _open(connection, settings, context)
        async with connection.turn():
            greeting = await connection.expect(connection.wire.greeting, "the connection")
            signed_in = greeting.upper().startswith(b"* PREAUTH")
            if settings.security == "starttls" and context is not None:
                if signed_in:
                    # STARTTLS is not allowed then, and so avoided (RFC 9051 11.1).
                    raise MailboxError(f"{settings.server}: signed in before STARTTLS; refused")
                await _ask_capabilities(connection)
                await _start_tls(connection, settings, context)
            if not signed_in:
                await _ask_capabilities(connection)
                _judge(connection, await _sign_in(connection, settings, await _got(secret)))
                connection.wire.state = AUTH
            # Asked and not read out of the greeting or the sign-in's OK, where some servers
            # put other words into it.
            await _ask_capabilities(connection)
    except BaseException:
        connection.wire.fail("the connection was not opened")
        await asyncio.sleep(0)
        raise
    return connection


async def _open(
    connection: Connection, settings: ImapSettings, context: ssl.SSLContext | None
) -> None:
    host, _, port = settings.server.rpartition(":")
    plain = settings.security == "plain"
    if context is None and not plain:
        raise ValueError("no TLS context")
    if plain and not _may_be_loopback(host):
        raise _not_loopback(settings)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(settings.timeout):
            await loop.create_connection(
                lambda: connection.wire,
                host,
                int(port),
                ssl=context if settings.security == "tls" else None,
            )
    except TimeoutError:
        raise MailboxLost(
            f"{settings.server}: no connection within {settings.timeout:g} s"
        ) from None
    except ssl.SSLCertVerificationError as error:
        raise _bad_certificate(settings, error) from error
    except OSError as error:
        raise MailboxLost(f"{settings.server}: no connection ({error})") from error
    transport = connection.wire.transport
    if plain and not _is_loopback(transport.get_extra_info("peername")[0]):
        raise _not_loopback(settings)
    _keep_alive(transport.get_extra_info("socket"))


def _is_loopback(address: str) -> bool:
    # A scope such as fe80::1%eth0 is no part of the address.
    return ip_address(address.partition("%")[0]).is_loopback


def _may_be_loopback(host: str) -> bool:
    """False only where that is sure before connecting; a name is judged by where it led."""
    try:
        return _is_loopback(host)
    except ValueError:
        return True


def _not_loopback(settings: ImapSettings) -> MailboxError:
    return MailboxError(
        f"{settings.server}: security = plain is for loopback addresses only;"
        " use tls or starttls, or a tunnel that ends on this machine"
    )


def _bad_certificate(settings: ImapSettings, error: ssl.SSLCertVerificationError) -> MailboxError:
    return MailboxError(
        f"{settings.server}: the server's certificate is not accepted ({error.verify_message});"
        " check host, or name the authority that signed it in ca_file"
    )


def _keep_alive(connected: socket.socket) -> None:
    """A peer that vanished is noticed within some two minutes, also in the middle of IDLE."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 60),
        ("TCP_KEEPINTVL", 15),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", 120_000),
    ):
        if hasattr(socket, option):  # not on every system
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


async def _ask_capabilities(connection: Connection) -> None:
    reply = await connection.run("CAPABILITY")
    words = [
        word
        for row in reply.rows
        if row[0].upper().startswith(b"CAPABILITY ")
        for word in row[0].decode("ascii", "replace").upper().split()[1:]
    ]
    if not any(word.startswith("IMAP4") for word in words):
        raise MailboxError(f"{connection.server}: this is no IMAP4 server")
    connection.capabilities = frozenset(words)


async def _start_tls(
    connection: Connection, settings: ImapSettings, context: ssl.SSLContext
) -> None:
    wire = connection.wire
    if "STARTTLS" not in connection.capabilities:
        raise MailboxError(
            f"{settings.server}: the server does not offer STARTTLS; use security = tls (port 993)"
        )
    wire.upgrading = True
    await connection.run("STARTTLS")
    if wire.incomplete_line:
        raise MailboxError(f"{settings.server}: clear text after the answer to STARTTLS; refused")
    loop = asyncio.get_running_loop()
    try:
        wire.transport = await connection.guarded(
            loop.start_tls(wire.transport, wire, context, server_hostname=settings.host),
            "the TLS handshake",
        )
    except ssl.SSLCertVerificationError as error:
        raise _bad_certificate(settings, error) from error
    except OSError as error:
        raise MailboxLost(f"{settings.server}: no TLS connection ({error})") from error
    wire.upgrading = False
    connection.capabilities = frozenset()


async def _got(secret: SecretSource) -> str:
    try:
        return await secret()
    except MailboxError:
        raise
    except Exception as error:
        raise MailboxSignIn(f"the password or token could not be fetched: {error}") from error


async def _sign_in(connection: Connection, settings: ImapSettings, secret: str) -> Reply:
    offered = connection.capabilities
    match str(settings.auth):
        case "password":
            return await _password(connection, settings, secret)
        case ("xoauth2" | "oauthbearer") as method if f"AUTH={method.upper()}" in offered:
            if _TOKEN.fullmatch(secret) is None:
                raise MailboxSignIn(f"{settings.server}: the access token is empty or garbled")
            if method == "xoauth2":
                message = f"user={settings.user}\1auth=Bearer {secret}\1\1"
                # A refused token is answered by a challenge that wants an empty line.
                return await _authenticate(connection, "XOAUTH2", message, b"")
            host, _, port = settings.server.rpartition(":")
            user = settings.user.replace("=", "=3D").replace(",", "=2C")
            message = f"n,a={user},\1host={host}\1port={port}\1auth=Bearer {secret}\1\1"
            # Likewise, with a lone %x01 (RFC 7628 3.2.3).
            return await _authenticate(connection, "OAUTHBEARER", message, b"AQ==")
        case method:
            ways = ", ".join(sorted(word for word in offered if word.startswith("AUTH=")))
            raise MailboxSignIn(
                f"{settings.server}: no sign-in by {method} here; the server offers"
                f" {ways or 'passwords only'}"
            )


async def _password(connection: Connection, settings: ImapSettings, secret: str) -> Reply:
    """LOGIN, or SASL PLAIN where LOGIN is switched off or can't carry the characters."""
    refused = "LOGINDISABLED" in connection.capabilities
    if not refused and (settings.user + secret).isascii():
        try:
            user, password = quote(settings.user), quote(secret)
        except ValueError:
            raise MailboxSignIn(
                f"{settings.server}: user or password holds a line break or NUL"
            ) from None
        exchange = Exchange("LOGIN", connection.wire.new_tag(), user, password)
        return await connection.guarded(connection.wire.run(exchange), "LOGIN")
    if "AUTH=PLAIN" not in connection.capabilities:
        why = "passwords are switched off" if refused else "only ASCII passwords are taken"
        raise MailboxSignIn(f"{settings.server}: {why} here, and AUTH=PLAIN is not offered")
    return await _authenticate(connection, "PLAIN", f"\0{settings.user}\0{secret}", b"*")


async def _authenticate(
    connection: Connection, mechanism: str, message: str, last_word: bytes
) -> Reply:
    """AUTHENTICATE with one message; `last_word` answers any challenge after it."""
    first = b64encode(message.encode())
    at_once = "SASL-IR" in connection.capabilities
    answers = iter([] if at_once else [first])
    exchange = Exchange(
        "AUTHENTICATE",
        connection.wire.new_tag(),
        mechanism,
        *([first.decode()] if at_once else []),
        answer=lambda _: next(answers, last_word),
    )
    return await connection.guarded(connection.wire.run(exchange), "AUTHENTICATE")


def _judge(connection: Connection, reply: Reply) -> None:
    if reply.status == "OK":
        return
    error = refusal(connection.server, "sign-in", reply)
    if (
        error.code in _TEMPORARY_CODES
        or error.retry_after is not None
        or _TEMPORARY_WORDS.search(reply.text)
    ):
        raise error
    raise MailboxSignIn(str(error))
