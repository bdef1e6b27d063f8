"""The shop's submission server (RFC 6409), spoken to over aiosmtplib.

The rule: an outcome is known, never guessed. aiosmtplib raises the same errors before and after
the final dot, so `smtp_wire` gives the commands one by one, and the step reached decides what an
error means:

- before MAIL nothing is about this mail: whatever goes wrong, `Deferred`. That holds for a
  refused sign-in too, with the server's code: the operator mends the password and the mail must
  then go.
- from MAIL up to the dot: 5xx `Refused`, everything else `Deferred`. A server that asks for a
  sign-in here (530 and its kin, RFC 4954 section 6) is the operator's matter again: `Deferred`.
- after the dot: a reply decides, 2xx, 4xx or 5xx by its first digit (RFC 5321 section 4.2);
  no reply, or none that can be read: `Uncertain`.

One connection is kept between mails. It is thrown away after a cancellation, a time limit, a
421, an unreadable or an unasked reply: aiosmtplib then pairs the next command with the answer to
the last, which was seen to report one mail's 554 for another.

What goes into a mail, when to try again and what to tell staff do not live here.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Iterator

import aiosmtplib
from aiosmtplib import SMTPException, SMTPResponseException

from mailbridge.domain.wording import clean_line
from mailbridge.mail.port import (
    Accepted,
    Deferred,
    Refused,
    SubmissionOutcome,
    SubmissionUnavailable,
    Uncertain,
)
from mailbridge.mail.smtp_wire import (
    Connection,
    SecretSource,
    SignIn,
    SmtpSettings,
    Step,
    TlsMode,
    Unready,
    tls_context,
)

__all__ = ["SignIn", "SmtpSettings", "SmtpSubmission", "TlsMode"]

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDR_SPEC = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{20,}={0,2}")

_LINE_LIMIT = 998  # octets without CRLF (RFC 5322 section 2.1.1)
_REPLY_LIMIT = 300  # characters of a server's words that are passed on
_WANTS_SIGN_IN = frozenset({530, 534, 535, 538})
_ABOUT_THIS_MAIL = frozenset({Step.SENDER, Step.RECIPIENT, Step.DATA, Step.BODY})
# A refusal at one of these leaves the dialogue in step; the next mail starts with RSET.
_IN_STEP = frozenset({Step.SENDER, Step.RECIPIENT, Step.DATA, Step.FINAL})
_ADVICE = {
    Step.CONNECT: "check host, port and security, and that a firewall lets this machine out",
    Step.SECURE: 'check security and port: servers on port 465 want security = "tls"',
    Step.SIGN_IN: "check user, auth and the password or token",
}


class SmtpSubmission:
    """One submission server and the connection kept to it; implements `Submission`.

    `submit` may be called concurrently; mails go out one after the other.
    """

    def __init__(self, settings: SmtpSettings, *, secret: SecretSource | None = None) -> None:
        """`secret` gives the password or access token, anew at each connection.

        What it raises is reported as "no password or token" with the text of the exception,
        which must therefore hold no secret itself.
        """
        if settings.sign_in is not SignIn.NONE and secret is None:
            raise ValueError("this SMTP sign-in needs a password or token")
        self._settings = settings
        self._secret = secret
        self._lock = asyncio.Lock()
        self._connection: Connection | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._context: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        host, port = self._settings.address
        return f"SmtpSubmission({host}:{port}, {self._settings.security})"

    async def submit(self, sender: str, recipient: str, data: bytes) -> SubmissionOutcome:
        """Hand over one mail to one recipient; see `Submission.submit`.

        Addresses that are no plain ASCII addr-spec, 8-bit content and lines above 998 octets
        are `Refused` with code 0 without asking the server. In the server's words the
        recipient's address is shortened, for they end up in logs and mails.
        """
        if fault := _unfit(sender, recipient, data):
            return Refused(0, fault)
        async with self._lock:
            self._stop_idle_timer()
            try:
                async with asyncio.timeout(self._settings.total_timeout):
                    connection = await self._ready()
                    reply = await connection.hand_over(sender, recipient, data)
            except (SMTPException, OSError) as error:
                outcome = self._settle(error, recipient)
            except BaseException:
                self._discard()
                raise
            else:
                outcome = Accepted(_shown(reply, recipient))
            if self._connection is not None and not self._connection.in_step:
                self._discard()
            self._start_idle_timer()
            return outcome

    async def check(self) -> str:
        """Connect, secure, sign in, leave; one line that says what was found.

        Raises `SubmissionUnavailable` with the step, the reason and what to do. Uses a
        connection of its own, so that it says something about now.
        """
        connection: Connection | None = None
        host, port = self._settings.address
        try:
            async with asyncio.timeout(self._settings.total_timeout):
                connection = await self._new_connection()
                await connection.open(self._secret)
                found = connection.found()
        except (SMTPException, OSError) as error:
            step = connection.step if connection else Step.CONNECT
            code, words = _read(error)
            said = f"{code} {words}" if code > 0 else words
            # The chain is cut: a server's raw words may hold what we sent it.
            raise SubmissionUnavailable(
                f"{host}:{port} {step}: {_shown(said, hide_blobs=True)}; {_ADVICE[step]}"
            ) from None
        else:
            connection.leave()
            return f"{host}:{port}, {found}"
        finally:
            if connection is not None and connection.is_open:
                connection.abort()

    async def aclose(self) -> None:
        """Close the kept connection; never raises, never hangs."""
        self._stop_idle_timer()
        if not self._lock.locked():
            self._leave()
        elif self._connection is not None:
            # Not forgotten: `submit` reads from it how far its mail had come.
            self._connection.abort()

    async def _ready(self) -> Connection:
        """The kept connection if it still answers, else a new one."""
        if self._connection is not None:
            if await self._connection.answers():
                return self._connection
            self._discard()
        self._connection = await self._new_connection()
        await self._connection.open(self._secret)
        return self._connection

    async def _new_connection(self) -> Connection:
        if self._settings.security is not TlsMode.PLAIN and self._context is None:
            # Reading the system's certificates takes 20 ms: not on the event loop.
            self._context = await asyncio.to_thread(tls_context, self._settings.ca_file)
        return Connection(self._settings, self._context)

    def _settle(self, error: Exception, recipient: str) -> SubmissionOutcome:
        """What an error means at the step it came, and whether the connection may be kept."""
        step = self._connection.step if self._connection else Step.CONNECT
        code, words = _read(error)
        replied = 400 <= code < 600
        if not (replied and code != 421 and step in _IN_STEP):
            self._discard()
        if not replied:
            words = f"{words}, {step}"
        elif step is Step.SIGN_IN:
            words = f"sign-in refused: {words}"
        shown = _shown(words, recipient, hide_blobs=step is Step.SIGN_IN)
        if step is Step.FINAL and not replied:
            return Uncertain(shown)
        about_this_mail = step is Step.FINAL or (
            step in _ABOUT_THIS_MAIL and code not in _WANTS_SIGN_IN
        )
        if code >= 500 and replied and about_this_mail:
            return Refused(code, shown)
        return Deferred(code if replied else 0, shown)

    def _start_idle_timer(self) -> None:
        if self._connection is not None:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(self._settings.idle, self._leave)

    def _stop_idle_timer(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.leave()

    def _discard(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()


def _unfit(sender: str, recipient: str, data: bytes) -> str:
    """Why this must not reach the server, or nothing."""
    for role, address in (("sender", sender), ("recipient", recipient)):
        local = address.rpartition("@")[0]
        if not _ADDR_SPEC.fullmatch(address) or len(local) > 64 or len(address) > 254:
            return f"the {role} is not a plain e-mail address"
    if not data.isascii():
        return "the mail holds 8-bit content"
    if max(len(line.rstrip(b"\r")) for line in data.split(b"\n")) > _LINE_LIMIT:
        return "the mail holds a line of more than 998 octets"
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The root cause first: aiosmtplib wraps a bad certificate as a failed connection."""
    if error.__cause__ is not None:
        yield from _causes(error.__cause__)
    yield error


def _read(error: Exception) -> tuple[int, str]:
    """Reply code (below 100 where there was no readable reply) and plain words."""
    for cause in _causes(error):
        match cause:
            case SMTPResponseException():
                return cause.code, cause.message or "no words"
            case Unready():
                return 0, cause.message
            case ssl.SSLCertVerificationError():
                return 0, (
                    f"the server's certificate is not accepted ({cause.verify_message});"
                    " host must be a name in it, and a private authority needs ca_file"
                )
            case ssl.SSLError():
                return 0, f"TLS failed ({cause.reason or 'no reason given'})"
            case socket.gaierror():
                return 0, "the host name is not found"
            case ConnectionRefusedError():
                return 0, "connection refused"
            case aiosmtplib.SMTPServerDisconnected() | ConnectionError():
                return 0, "connection lost"
            case TimeoutError():
                return 0, "no answer in time"
            case OSError():
                return 0, os.strerror(cause.errno) if cause.errno else clean_line(str(cause))
    return 0, clean_line(str(error)) or type(error).__name__


def _shown(words: str, recipient: str = "", *, hide_blobs: bool = False) -> str:
    """A server's words for logs and mails: one line, addresses and credentials shortened.

    `hide_blobs` hides what looks like base64: some servers repeat the AUTH line they refuse.
    """
    line = clean_line(words, 2000)
    if hide_blobs:
        line = _BASE64.sub("…", line)
    local, _, domain = recipient.rpartition("@")
    if local:
        short = local[: 6 if len(local) > 12 else 1] + "…"
        line = re.sub(re.escape(recipient), f"{short}@{domain}", line, flags=re.IGNORECASE)
        if len(local) > 12:
            line = re.sub(re.escape(local), short, line, flags=re.IGNORECASE)
    return clean_line(line, _REPLY_LIMIT)
