"""The marketplace's mail relay: a seller's mail becomes a message of the discussion.

It takes mail from registered addresses to relay addresses it has given out, keeps the text and
drops the rest. What happens to an address it does not know, or no longer knows, is a switch.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from email.utils import parseaddr
from enum import Enum

from inscriptis import get_text

from mailbridge.sandbox.books import RELAY_DOMAIN, BookedFile, Books
from mailbridge.sandbox.bounce import failure_report
from mailbridge.sandbox.clock import Clock
from mailbridge.sandbox.smtp import ReceivedMail, SmtpServer

__all__ = ["Bounce", "RelayServer", "RelayedMail", "Undeliverable"]

_RELAY = re.compile(rf"c\.[0-9a-f]{{32}}@{re.escape(RELAY_DOMAIN)}")

Bounce = Callable[[str, bytes], Awaitable[None]]
"""Brings a bounce (recipient, mail) to the shop's mail provider."""


class Undeliverable(Enum):
    """What the relay does with an address that does not work."""

    REJECT = "reject"
    """550 at RCPT."""
    REPORT = "report"
    """Accepts the mail, later sends a DSN."""
    MESSAGE = "message"
    """Accepts the mail, later shows a bounce text in the discussion."""


@dataclass(frozen=True, slots=True)
class RelayedMail:
    """One accepted mail; `discussion_id` is None where it reached nobody."""

    sender: str
    recipient: str
    data: bytes
    text: str
    at: datetime
    discussion_id: int | None

    @property
    def message(self) -> EmailMessage:
        """The mail, parsed."""
        return _parse(self.data)

    @property
    def files(self) -> tuple[BookedFile, ...]:
        """What is attached to it."""
        parts = [(each, each.get_payload(decode=True)) for each in self.message.iter_attachments()]
        return tuple(
            BookedFile(part.get_filename() or "", data)
            for part, data in parts
            if isinstance(data, bytes)
        )


class RelayServer(SmtpServer):
    """The relay for one seller's books."""

    def __init__(
        self,
        books: Books,
        *,
        clock: Clock | None = None,
        undeliverable: Undeliverable = Undeliverable.REJECT,
        bounce: Bounce | None = None,
    ) -> None:
        """`bounce` is needed for `Undeliverable.REPORT`."""
        super().__init__(hostname=f"mx.{RELAY_DOMAIN}", clock=clock or books.clock)
        self.books = books
        self.undeliverable = undeliverable
        self.bounce = bounce
        self.accepted: list[RelayedMail] = []
        """Every mail taken, oldest first."""
        self.refused: list[tuple[str, str]] = []
        """Address and reply line of every refusal, oldest first."""

    async def sender_refused(self, sender: str, login: str | None) -> str | None:
        """Only registered addresses may write."""
        if sender.lower() in self.books.senders:
            return None
        return self._refuse(sender, f"550 5.7.1 <{sender}>: sender is not registered")

    async def recipient_refused(self, recipient: str, login: str | None) -> str | None:
        """Only relay addresses, and working ones where the switch says reject."""
        address = recipient.lower()
        if not _RELAY.fullmatch(address):
            return self._refuse(recipient, f"550 5.1.1 <{recipient}>: no such address")
        if self.undeliverable is Undeliverable.REJECT and not self._works(address):
            return self._refuse(recipient, f"550 5.1.1 <{recipient}>: address expired or unknown")
        return None

    async def take(self, mail: ReceivedMail) -> str:
        """Write the text into the books, once for each recipient."""
        message = _parse(mail.data)
        author = parseaddr(str(message.get("From", "")))[1].lower()
        if author not in self.books.senders:
            line = f"550 5.7.1 <{author}>: From is not registered"
            self.refused.append((author, line))
            return line
        text = plain_text(message)
        for recipient in mail.recipients:
            await self._deliver(mail, recipient.lower(), text)
        return "250 2.0.0 Ok: queued"

    async def _deliver(self, mail: ReceivedMail, recipient: str, text: str) -> None:
        relay = self.books.relay(recipient)
        ident = None
        if relay is not None and self.books.relay_works(relay):
            ident = self.books.mail_arrives(relay, text).id
        elif self.undeliverable is Undeliverable.MESSAGE and relay is not None:
            self.books.bounce_arrives(relay, recipient)
        elif self.bounce is not None:
            report = failure_report(
                host=self.hostname,
                sender=mail.sender,
                recipient=recipient,
                diagnostic="550 5.1.1 address expired or unknown",
                data=mail.data,
                at=self.clock(),
                ident=f"{self.books.rng.getrandbits(64):016x}",
            )
            await self.bounce(mail.sender, report)
        self.accepted.append(
            RelayedMail(mail.sender, recipient, mail.data, text, self.clock(), ident)
        )

    def _works(self, address: str) -> bool:
        relay = self.books.relay(address)
        return relay is not None and self.books.relay_works(relay)

    def _refuse(self, address: str, line: str) -> str:
        self.refused.append((address, line))
        return line


def plain_text(message: EmailMessage) -> str:
    """The words of a mail as the marketplace would show them: text part first, stripped."""
    body = message.get_body(("plain", "html"))
    if body is None:
        return ""
    payload = body.get_payload(decode=True)
    raw = payload if isinstance(payload, bytes) else b""
    try:
        text = raw.decode(body.get_content_charset() or "utf-8", "replace")
    except LookupError:  # a charset nobody knows
        text = raw.decode("latin-1")
    if body.get_content_subtype() == "html":
        text = get_text(text)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip()


def _parse(data: bytes) -> EmailMessage:
    message = message_from_bytes(data, policy=default)
    assert isinstance(message, EmailMessage)  # noqa: S101 - what policy.default makes
    return message
