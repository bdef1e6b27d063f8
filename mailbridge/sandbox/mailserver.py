"""The shop's mail provider in one process: submission, delivery, mailboxes.

Submission (SMTP with AUTH) takes mail from the shop's people and from the daemon, delivers local
addresses into mailboxes and hands relay addresses to the marketplace by real SMTP. What differs
between providers is a switch: plus-addresses, catch-all, aliases, a Sent copy filed by the
server, changed Message-IDs and bodies, Authentication-Results.

Delivery is an injected callable, so that Dovecot's LMTP can stand where pymap stands by default.
"""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, parseaddr
from random import Random
from types import TracebackType

import aiosmtplib

from mailbridge.sandbox.books import RELAY_DOMAIN
from mailbridge.sandbox.bounce import failure_report
from mailbridge.sandbox.clock import Clock
from mailbridge.sandbox.imapserver import FOLDERS, ImapServer, StoredMail
from mailbridge.sandbox.relay import RelayServer
from mailbridge.sandbox.smtp import ReceivedMail, SmtpServer

__all__ = ["Deliver", "Incoming", "MailServer", "Provider", "SaveSent", "lmtp_delivery"]


@dataclass(frozen=True, slots=True)
class Incoming:
    """A mail for a local mailbox. `recipient` is the address it was sent to, tag and all.

    `data` carries the Received header of the hop; Return-Path and Delivered-To are the
    delivering side's to add.
    """

    sender: str
    recipient: str
    mailbox: str
    data: bytes
    at: datetime


Deliver = Callable[[Incoming], Awaitable[None]]
SaveSent = Callable[[str, bytes], Awaitable[None]]
"""Files a Sent copy (mailbox, mail), where the server does that itself."""


@dataclass(frozen=True, slots=True)
class Provider:
    """How this provider behaves. The defaults are Postfix and Dovecot with a `+` delimiter."""

    plus: bool = True
    """`support+anything@` reaches `support@`."""
    catchall: str | None = None
    """The mailbox that takes every other address of the domain."""
    aliases: Mapping[str, str] | None = None
    """Further fixed addresses, to the mailbox each one reaches."""
    saves_sent_copy: bool = False
    """Files a copy of what was submitted, with Return-Path and its own Received line."""
    rewrites_message_id: bool = False
    """Gives submitted mail a Message-ID of its own, as Exchange was seen to do."""
    disclaimer: str = ""
    """Text put below every text part of submitted mail."""
    authenticates: bool = False
    """Writes Authentication-Results into what it delivers."""
    rejects_unknown: bool = True
    """550 at RCPT for unknown local addresses; else a DSN follows."""
    sent_folder: str = "Sent"


class MailServer:
    """Mailboxes and submission of one domain. Use as `async with`."""

    def __init__(
        self,
        accounts: Mapping[str, str],
        *,
        clock: Clock,
        rng: Random,
        provider: Provider = Provider(),
        relay: RelayServer | None = None,
        deliver: Deliver | None = None,
        save_sent: SaveSent | None = None,
        folders: Iterable[str] = FOLDERS,
        hostname: str = "mail.maison-brindille.example",
        tls: ssl.SSLContext | None = None,
        retry_every: float = 0.2,
        imap_port: int = 0,
        smtp_port: int = 0,
    ) -> None:
        """`accounts` maps each mailbox address to its password; logins are addresses.

        `deliver` and `save_sent` replace the embedded IMAP server, which is then not started.
        `tls` offers (and asks for) STARTTLS on submission. `retry_every`, in seconds, is how soon
        the relay is tried again after a temporary failure. Port 0: the system chooses.
        """
        self.clock = clock
        self.provider = provider
        self.relay = relay
        self.hostname = hostname
        self.accounts = {address.lower(): password for address, password in accounts.items()}
        self.domains = {address.partition("@")[2] for address in self.accounts}
        self.imap: ImapServer | None = None
        if deliver is None:
            self.imap = ImapServer(self.accounts, clock=clock, folders=folders, port=imap_port)
        self._deliver = deliver or self._into_imap
        self._save_sent = save_sent or self._into_sent
        self._rng = rng
        self._retry_every = retry_every
        self.submission = _Submission(self, tls, smtp_port)
        self.submitted: list[ReceivedMail] = []
        """Every mail taken for submission, as it came."""
        self.delivered: list[Incoming] = []
        """Every mail delivered to a local mailbox."""
        self.sent_away: list[tuple[str, ReceivedMail]] = []
        """Mail to addresses elsewhere (recipient, mail): it ends here."""
        self._under_way: set[asyncio.Task[None]] = set()
        if relay is not None and relay.bounce is None:
            relay.bounce = self._bounced

    # --- where it is -------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """Address of both servers."""
        return self.submission.host

    @property
    def smtp_port(self) -> int:
        """Port of the submission server."""
        return self.submission.port

    @property
    def imap_port(self) -> int:
        """Port of the embedded IMAP server; RuntimeError where delivery goes elsewhere."""
        if self.imap is None:
            raise RuntimeError("this mail server has no IMAP server of its own")
        return self.imap.port

    # --- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen with both servers."""
        if self.imap is not None:
            await self.imap.start()
        await self.submission.start()

    async def stop(self) -> None:
        """Cut everything, drop what is still under way."""
        await self.submission.stop()
        for task in list(self._under_way):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self.imap is not None:
            await self.imap.stop()

    async def __aenter__(self) -> MailServer:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def settled(self, seconds: float = 5.0) -> None:
        """Wait until nothing is under way; raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while self._under_way:
                await asyncio.wait(set(self._under_way))

    # --- a test's own hands ------------------------------------------------------------------

    async def receive(
        self, sender: str, recipient: str, data: bytes, *, dmarc: str = "fail"
    ) -> None:
        """Mail from outside, as the provider's MX would take it; KeyError: nobody here.

        `dmarc` is the verdict written where the provider writes Authentication-Results.
        """
        mailbox = self.mailbox_for(recipient)
        if mailbox is None:
            raise KeyError(recipient)
        mail = ReceivedMail(sender, (recipient,), data, self.clock(), helo="mx.elsewhere.example")
        await self._bring(mail, recipient, mailbox, data, dmarc)

    async def mails(self, mailbox: str, folder: str = "INBOX") -> list[StoredMail]:
        """What a folder of the embedded IMAP server holds."""
        if self.imap is None:
            raise RuntimeError("this mail server has no IMAP server of its own")
        return await self.imap.mails(mailbox.lower(), folder)

    def mailbox_for(self, address: str) -> str | None:
        """The mailbox an address reaches, None if it reaches none."""
        whole = address.lower()
        aliases = self.provider.aliases or {}
        if whole in self.accounts:
            return whole
        if whole in aliases:
            return aliases[whole].lower()
        local, _, domain = whole.partition("@")
        plain = f"{local.partition('+')[0]}@{domain}"
        if self.provider.plus and "+" in local:
            if plain in self.accounts:
                return plain
            if plain in aliases:
                return aliases[plain].lower()
        return self.provider.catchall if domain in self.domains else None

    # --- the way of a mail -------------------------------------------------------------------

    async def submit(self, mail: ReceivedMail) -> str:
        """Take a submitted mail; delivery goes on by itself."""
        self.submitted.append(mail)
        data = self._changed(mail.data)
        trace = self._received(mail)
        if self.provider.saves_sent_copy and mail.login:
            copy = f"Return-Path: <{mail.sender}>\r\n".encode() + trace + mail.data
            await self._save_sent(mail.login.lower(), copy)
        for recipient in mail.recipients:
            self._go(self._route(mail, recipient, trace + data))
        return "250 2.0.0 Ok: queued"

    async def _route(self, mail: ReceivedMail, recipient: str, data: bytes) -> None:
        if recipient.lower().endswith(f"@{RELAY_DOMAIN}"):
            await self._hand_over(mail, recipient, data)
            return
        mailbox = self.mailbox_for(recipient)
        if mailbox is not None:
            await self._bring(mail, recipient, mailbox, data, "pass", traced=True)
        elif recipient.lower().partition("@")[2] in self.domains:
            await self._report(mail, recipient, f"550 5.1.1 <{recipient}>: unknown user", data)
        else:
            self.sent_away.append((recipient, mail))

    async def _hand_over(self, mail: ReceivedMail, recipient: str, data: bytes) -> None:
        while self.relay is not None and self.relay.port:
            try:
                await aiosmtplib.send(
                    data,
                    sender=mail.sender,
                    recipients=[recipient],
                    hostname=self.relay.host,
                    port=self.relay.port,
                    start_tls=False,
                    timeout=10,
                )
                return
            except aiosmtplib.SMTPRecipientsRefused as error:
                refusal = error.recipients[0]
                code, line = refusal.code, f"{refusal.code} {refusal.message}"
            except aiosmtplib.SMTPResponseException as error:
                code, line = error.code, f"{error.code} {error.message}"
            except (aiosmtplib.SMTPException, OSError):
                code, line = 0, ""
            if 500 <= code < 600:
                await self._report(mail, recipient, line, data)
                return
            await asyncio.sleep(self._retry_every)
        await self._report(mail, recipient, "550 5.4.4 no route to host", data)

    async def _bring(
        self,
        mail: ReceivedMail,
        recipient: str,
        mailbox: str,
        data: bytes,
        dmarc: str,
        *,
        traced: bool = False,
    ) -> None:
        head = b"" if traced else self._received(mail)
        if self.provider.authenticates:
            author = parseaddr(str(message_from_bytes(data).get("From", "")))[1]
            head = (
                f"Authentication-Results: {self.hostname};\r\n"
                f"\tdmarc={dmarc} header.from={author.partition('@')[2]}\r\n"
            ).encode() + head
        incoming = Incoming(mail.sender, recipient, mailbox, head + data, self.clock())
        await self._deliver(incoming)
        self.delivered.append(incoming)

    async def _report(
        self, mail: ReceivedMail, recipient: str, diagnostic: str, data: bytes
    ) -> None:
        if not mail.sender:
            return  # RFC 5321 section 6.1: no report about a report
        report = failure_report(
            host=self.hostname,
            sender=mail.sender,
            recipient=recipient,
            diagnostic=diagnostic,
            data=data,
            at=self.clock(),
            ident=f"{self._rng.getrandbits(64):016x}",
        )
        await self._bounced(mail.sender, report)

    async def _bounced(self, recipient: str, data: bytes) -> None:
        mailbox = self.mailbox_for(recipient)
        if mailbox is not None:
            bounce = ReceivedMail("", (recipient,), data, self.clock(), helo=self.hostname)
            await self._bring(bounce, recipient, mailbox, data, "none")

    def _changed(self, data: bytes) -> bytes:
        if not (self.provider.rewrites_message_id or self.provider.disclaimer):
            return data
        message = message_from_bytes(data, policy=SMTP_POLICY.clone(max_line_length=998))
        assert isinstance(message, EmailMessage)  # noqa: S101 - what the policy makes
        if self.provider.rewrites_message_id:
            del message["Message-ID"]
            message["Message-ID"] = f"<{self._rng.getrandbits(96):024x}@{self.hostname}>"
        if self.provider.disclaimer:
            for part in message.walk():
                if part.get_content_type() == "text/plain":
                    text = str(part.get_content())
                    part.set_content(f"{text}\n{self.provider.disclaimer}\n")
        return message.as_bytes()

    def _received(self, mail: ReceivedMail) -> bytes:
        return (
            f"Received: from {mail.helo or 'unknown'} (unknown [127.0.0.1])\r\n"
            f"\tby {self.hostname} (Sandbox) with {mail.protocol} id "
            f"{self._rng.getrandbits(40):010X};\r\n"
            f"\t{format_datetime(mail.at)}\r\n"
        ).encode()

    async def _into_imap(self, incoming: Incoming) -> None:
        if self.imap is None:
            raise RuntimeError("no place to deliver to")
        head = (
            f"Return-Path: <{incoming.sender}>\r\n"
            f"X-Original-To: {incoming.recipient}\r\n"
            f"Delivered-To: {incoming.mailbox}\r\n"
        ).encode()
        await self.imap.append(incoming.mailbox, head + incoming.data, internal_date=incoming.at)

    async def _into_sent(self, mailbox: str, data: bytes) -> None:
        if self.imap is None:
            raise RuntimeError("no place to file the Sent copy in: give save_sent")
        await self.imap.append(mailbox, data, folder=self.provider.sent_folder, flags=("\\Seen",))

    def _go(self, way: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(way)
        self._under_way.add(task)
        task.add_done_callback(self._arrived)

    def _arrived(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and task.exception() is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a sandbox delivery failed", "exception": task.exception()}
            )


class _Submission(SmtpServer):
    """The submission server of a `MailServer` (RFC 6409)."""

    def __init__(self, provider: MailServer, tls: ssl.SSLContext | None, port: int) -> None:
        super().__init__(
            hostname=provider.hostname,
            clock=provider.clock,
            port=port,
            users=provider.accounts,
            tls=tls,
        )
        self._provider = provider

    async def recipient_refused(self, recipient: str, login: str | None) -> str | None:
        """Unknown local addresses are refused where the provider does that."""
        provider = self._provider
        local = recipient.lower().partition("@")[2] in provider.domains
        if local and provider.provider.rejects_unknown and provider.mailbox_for(recipient) is None:
            return f"550 5.1.1 <{recipient}>: Recipient address rejected: User unknown"
        return None

    async def take(self, mail: ReceivedMail) -> str:
        return await self._provider.submit(mail)


def lmtp_delivery(host: str, port: int) -> Deliver:
    """Delivery by LMTP, such as Dovecot's, which adds Return-Path and Delivered-To itself.

    The mailbox address is the recipient (the tag is resolved here); raises what smtplib raises.
    """

    def send(incoming: Incoming) -> None:
        # Named, because smtplib would ask DNS for this machine's name, which may take seconds.
        with smtplib.LMTP(host, port, local_hostname="[127.0.0.1]") as session:
            session.sendmail(incoming.sender, [incoming.mailbox], incoming.data)

    async def deliver(incoming: Incoming) -> None:
        await asyncio.to_thread(send, incoming)

    return deliver
