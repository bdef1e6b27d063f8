"""The hand of a staff member: what their mail client does to the shared mailbox, and no more.

Reads by IMAP, answers by SMTP, files its own Sent copy, as Thunderbird or Roundcube do. Quoting,
header order and identifiers follow those two. It knows nothing of mailbridge: it obeys Reply-To
and References like any client.
"""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import re
import smtplib
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.policy import default
from email.utils import format_datetime, getaddresses, parseaddr
from enum import Enum
from random import Random
from typing import TypeVar
from zoneinfo import ZoneInfo

from pymap.parsing.modutf7 import modutf7_encode

from mailbridge.sandbox.clock import Clock
from mailbridge.sandbox.relay import plain_text

__all__ = ["Agent", "Client", "SeenMail", "WrittenMail"]

# Long ids must not be folded: the email package would encode the words of References.
_POLICY = SMTP_POLICY.clone(max_line_length=998)
_PARIS = ZoneInfo("Europe/Paris")
_UID = re.compile(rb"UID (\d+)")
_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
_Result = TypeVar("_Result")


class Client(Enum):
    """Which program the person uses."""

    THUNDERBIRD = "thunderbird"
    ROUNDCUBE = "roundcube"


@dataclass(frozen=True, slots=True)
class SeenMail:
    """A mail as the client shows it."""

    folder: str
    uid: int
    flags: frozenset[str]
    data: bytes

    @property
    def message(self) -> EmailMessage:
        """The mail, parsed."""
        message = message_from_bytes(self.data, policy=default)
        assert isinstance(message, EmailMessage)  # noqa: S101 - what policy.default makes
        return message

    @property
    def subject(self) -> str:
        """Decoded."""
        return str(self.message.get("Subject", ""))

    @property
    def text(self) -> str:
        """The text part, or the HTML part as text."""
        return plain_text(self.message)

    @property
    def seen(self) -> bool:
        """True once read."""
        return "\\Seen" in self.flags


@dataclass(frozen=True, slots=True)
class WrittenMail:
    """A mail the agent wrote, byte for byte as it was handed to the servers."""

    message_id: str
    recipients: tuple[str, ...]
    data: bytes
    submitted: bool
    filed: bool


class Agent:
    """One person of the shop's staff at their mail client. All methods open what they need."""

    def __init__(
        self,
        *,
        address: str,
        user: str,
        password: str,
        imap: tuple[str, int],
        smtp: tuple[str, int],
        clock: Clock,
        rng: Random,
        name: str = "Service client",
        client: Client = Client.THUNDERBIRD,
        sent_folder: str = "Sent",
        drafts_folder: str = "Drafts",
        trash_folder: str = "Trash",
        files_sent_copy: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`address` is the identity written from, `user` the login of the shared mailbox.

        `tls`: use STARTTLS for submission with this context (IMAP is spoken in the clear).
        """
        self.address = address
        self.name = name
        self.client = client
        self.files_sent_copy = files_sent_copy
        self.sent_folder = sent_folder
        self.drafts_folder = drafts_folder
        self.trash_folder = trash_folder
        self._user = user
        self._password = password
        self._imap_at = imap
        self._smtp_at = smtp
        self._clock = clock
        self._rng = rng
        self._tls = tls

    # --- reading -----------------------------------------------------------------------------

    async def mails(self, folder: str = "INBOX") -> list[SeenMail]:
        """All mails of a folder, by UID."""
        return await self._imap(lambda box: _fetch(box, folder, b"1:*"))

    async def newest(self, containing: str = "", *, folder: str = "INBOX") -> SeenMail:
        """The newest mail with these words in its subject or text; raises LookupError."""
        for mail in reversed(await self.mails(folder)):
            if containing in mail.subject or containing in mail.text:
                return mail
        raise LookupError(f"no mail with {containing!r} in {folder}")

    async def thread(self, mail: SeenMail, *, folder: str | None = None) -> list[SeenMail]:
        """The mails that share the first id of `References` (or are named by it), by UID."""
        root = _root(mail.message)
        every = await self.mails(folder or mail.folder)
        return [other for other in every if _root(other.message) == root]

    async def wait_for(
        self,
        wanted: str | Callable[[SeenMail], bool],
        *,
        folder: str = "INBOX",
        seconds: float = 10.0,
    ) -> SeenMail:
        """Look again and again until such a mail is there; raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while True:
                for mail in reversed(await self.mails(folder)):
                    if isinstance(wanted, str):
                        if wanted in mail.subject or wanted in mail.text:
                            return mail
                    elif wanted(mail):
                        return mail
                await asyncio.sleep(0.05)

    async def folders(self) -> Sequence[str]:
        """Raw names of all folders, in modified UTF-7."""

        def work(box: imaplib.IMAP4) -> list[str]:
            _, rows = box.list()
            return [bytes(row).decode().rpartition(' "/" ')[2].strip('"') for row in rows if row]  # type: ignore[arg-type]

        return await self._imap(work)

    # --- writing -----------------------------------------------------------------------------

    async def reply(
        self,
        mail: SeenMail,
        text: str,
        *,
        to_all: bool = False,
        cc: Sequence[str] = (),
        below: bool = False,
        quote: bool = True,
        html: bool = False,
        attachments: Sequence[tuple[str, bytes, str]] = (),
        edit: Callable[[EmailMessage], None] | None = None,
    ) -> WrittenMail:
        """Answer a mail. `below` writes under the quote (both clients' default setting).

        `attachments` are (file name, content, MIME type); `edit` may change the finished mail
        in any way (another From, an added recipient) before it leaves.
        """
        parent = mail.message
        target = str(parent.get("Reply-To") or parent.get("From", ""))
        recipients = [target]
        copies = list(cc)
        if to_all:
            own = {self.address.lower(), parseaddr(target)[1].lower()}
            for name, address in getaddresses(
                [str(value) for key in ("To", "Cc") for value in parent.get_all(key, [])]
            ):
                if address.lower() not in own:
                    copies.append(f"{name} <{address}>" if name else address)
        body = text
        if quote:
            body = self._quoted(parent, text, below=below)
        message = self._new(recipients, copies, _prefixed("Re: ", str(parent.get("Subject", ""))))
        _answer_to(message, parent)
        self._fill(message, body, html=html, attachments=attachments)
        return await self._send(message, edit)

    async def forward(self, mail: SeenMail, to: str, text: str = "") -> WrittenMail:
        """Forward a mail inline; like real clients it keeps the thread's references."""
        parent = mail.message
        message = self._new([to], [], _prefixed("Fwd: ", str(parent.get("Subject", ""))))
        _answer_to(message, parent)
        title = (
            "-------- Message transféré --------"
            if self.client is Client.THUNDERBIRD
            else "-------- Message original --------"
        )
        head = [title]
        for label, key in (
            ("Sujet", "Subject"),
            ("Date", "Date"),
            ("De", "From"),
            ("Répondre à", "Reply-To"),
            ("Pour", "To"),
        ):
            if parent.get(key):
                head.append(f"{label} : {parent[key]}")
        self._fill(message, "\n".join([text, "", *head, "", plain_text(parent)]))
        return await self._send(message, None)

    async def write(
        self, to: Sequence[str], subject: str, text: str, *, cc: Sequence[str] = ()
    ) -> WrittenMail:
        """A new mail that answers nothing."""
        message = self._new(list(to), list(cc), subject)
        self._fill(message, text)
        return await self._send(message, None)

    async def draft(self, mail: SeenMail, text: str) -> WrittenMail:
        """Begin an answer and leave it in the drafts folder."""
        parent = mail.message
        message = self._new(
            [str(parent.get("Reply-To") or parent.get("From", ""))],
            [],
            _prefixed("Re: ", str(parent.get("Subject", ""))),
        )
        _answer_to(message, parent)
        self._fill(message, self._quoted(parent, text, below=False))
        data = message.as_bytes(policy=_POLICY)
        await self._imap(
            lambda box: _append(box, self.drafts_folder, "(\\Draft \\Seen)", self._clock(), data)
        )
        return WrittenMail(str(message["Message-ID"]), (), data, submitted=False, filed=True)

    async def send_raw(
        self, data: bytes, recipients: Sequence[str], *, file_copy: bool | None = None
    ) -> WrittenMail:
        """Submit and file any bytes: a mail of another client, or a broken one."""
        copy = self.files_sent_copy if file_copy is None else file_copy
        await self._submit(list(recipients), data)
        if copy:
            await self._file(data)
        ident = str(message_from_bytes(data).get("Message-ID", ""))
        return WrittenMail(ident, tuple(recipients), data, submitted=True, filed=copy)

    async def file_sent_copy(self, mail: WrittenMail) -> None:
        """File the copy of a mail that was submitted without one: some clients take their time."""
        await self._file(mail.data)

    # --- tidying -----------------------------------------------------------------------------

    async def move(self, mail: SeenMail, folder: str) -> None:
        """Move one mail, creating the folder where needed."""

        def work(box: imaplib.IMAP4) -> None:
            box.create(_name(folder))
            _select(box, mail.folder)
            _ok(box.uid("MOVE", str(mail.uid), _name(folder)))

        await self._imap(work)

    async def move_thread(self, mail: SeenMail, folder: str) -> None:
        """Move every mail of the thread that lies in the same folder."""
        for each in await self.thread(mail):
            await self.move(each, folder)

    async def delete(self, mail: SeenMail) -> None:
        """Move to the trash, as clients do."""
        await self.move(mail, self.trash_folder)

    async def expunge(self, mail: SeenMail) -> None:
        """Delete for good."""

        def work(box: imaplib.IMAP4) -> None:
            _select(box, mail.folder)
            _ok(box.uid("STORE", str(mail.uid), "+FLAGS", "(\\Deleted)"))
            _ok(box.uid("EXPUNGE", str(mail.uid)))

        await self._imap(work)

    async def mark(self, mail: SeenMail, flag: str = "\\Seen", *, on: bool = True) -> None:
        """Set or clear a flag or keyword."""

        def work(box: imaplib.IMAP4) -> None:
            _select(box, mail.folder)
            _ok(box.uid("STORE", str(mail.uid), "+FLAGS" if on else "-FLAGS", f"({flag})"))

        await self._imap(work)

    # --- inside ------------------------------------------------------------------------------

    def _new(self, to: list[str], cc: list[str], subject: str) -> EmailMessage:
        message = EmailMessage(policy=_POLICY)
        domain = self.address.partition("@")[2]
        ident = f"{self._rng.getrandbits(128):032x}"
        now = self._clock().astimezone(_PARIS)
        if self.client is Client.THUNDERBIRD:
            dashed = "-".join((ident[:8], ident[8:12], ident[12:16], ident[16:20], ident[20:]))
            message["Message-ID"] = f"<{dashed}@{domain}>"
            message["Date"] = format_datetime(now)
            message["User-Agent"] = "Mozilla Thunderbird"
        else:
            message["Date"] = format_datetime(now)
            message["Message-ID"] = f"<{ident}@{domain}>"
            message["User-Agent"] = "Roundcube Webmail/1.6.5"
        message["From"] = f"{self.name} <{self.address}>"
        message["To"] = ", ".join(to)
        if cc:
            message["Cc"] = ", ".join(cc)
        message["Subject"] = subject
        return message

    def _fill(
        self,
        message: EmailMessage,
        text: str,
        *,
        html: bool = False,
        attachments: Sequence[tuple[str, bytes, str]] = (),
    ) -> None:
        message.set_content(text, cte="quoted-printable")
        if html:
            escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", "<br>\n")
            message.add_alternative(f"<html><body><p>{escaped}</p></body></html>", subtype="html")
        for name, content, kind in attachments:
            main, _, sub = kind.partition("/")
            message.add_attachment(content, maintype=main, subtype=sub, filename=name)

    def _quoted(self, parent: EmailMessage, text: str, *, below: bool) -> str:
        written = parent["Date"].datetime if parent["Date"] is not None else self._clock()
        local = written.astimezone(_PARIS)
        who = parseaddr(str(parent.get("From", "")))
        name = who[0] or who[1]
        if self.client is Client.THUNDERBIRD:
            intro = f"Le {local:%d/%m/%Y à %H:%M}, {name} a écrit :"
        else:
            intro = f"Le {local:%Y-%m-%d %H:%M}, {name} a écrit :"
        quote = "\n".join(f"> {line}" if line else ">" for line in plain_text(parent).split("\n"))
        if below:
            return f"{intro}\n{quote}\n\n{text}\n"
        return f"{text}\n\n{intro}\n{quote}\n"

    async def _send(
        self, message: EmailMessage, edit: Callable[[EmailMessage], None] | None
    ) -> WrittenMail:
        if edit is not None:
            edit(message)
        data = message.as_bytes(policy=_POLICY)
        headers = [str(value) for key in ("To", "Cc", "Bcc") for value in message.get_all(key, [])]
        recipients = [address for _, address in getaddresses(headers) if address]
        await self._submit(recipients, data)
        if self.files_sent_copy:
            await self._file(data)
        return WrittenMail(
            str(message.get("Message-ID", "")),
            tuple(recipients),
            data,
            submitted=True,
            filed=self.files_sent_copy,
        )

    async def _submit(self, recipients: list[str], data: bytes) -> None:
        def work() -> None:
            # Thunderbird greets with its address too; a name would have to be asked of DNS.
            with smtplib.SMTP(*self._smtp_at, local_hostname="[127.0.0.1]", timeout=10) as server:
                if self._tls is not None:
                    server.starttls(context=self._tls)
                server.login(self._user, self._password)
                server.sendmail(self.address, recipients, data)

        await asyncio.to_thread(work)

    async def _file(self, data: bytes) -> None:
        await self._imap(
            lambda box: _append(box, self.sent_folder, "(\\Seen)", self._clock(), data)
        )

    async def _imap(self, work: Callable[[imaplib.IMAP4], _Result]) -> _Result:
        def inside() -> _Result:
            box = imaplib.IMAP4(*self._imap_at, timeout=10)
            try:
                box.login(self._user, self._password)
                return work(box)
            finally:
                # Dovecot was seen to hang up without an answer to LOGOUT; the work is done.
                with contextlib.suppress(imaplib.IMAP4.abort, OSError):
                    box.logout()

        return await asyncio.to_thread(inside)


def _name(folder: str) -> str:
    return '"' + modutf7_encode(folder).decode().replace("\\", "\\\\").replace('"', '\\"') + '"'


def _ok(answer: tuple[str, object]) -> None:
    if answer[0] != "OK":
        raise imaplib.IMAP4.error(str(answer))


def _select(box: imaplib.IMAP4, folder: str) -> None:
    _ok(box.select(_name(folder)))


def _append(box: imaplib.IMAP4, folder: str, flags: str, moment: datetime, data: bytes) -> None:
    when = imaplib.Time2Internaldate(time.localtime(moment.timestamp()))
    _ok(box.append(_name(folder), flags, when, data))


def _fetch(box: imaplib.IMAP4, folder: str, uids: bytes) -> list[SeenMail]:
    _select(box, folder)
    kind, rows = box.uid("FETCH", uids.decode(), "(UID FLAGS BODY.PEEK[])")
    if kind != "OK":
        raise imaplib.IMAP4.error(str(rows))
    found = []
    for row in rows:
        if not isinstance(row, tuple):
            continue
        uid, flags = _UID.search(row[0]), _FLAGS.search(row[0])
        if uid is not None and flags is not None:
            names = frozenset(flags[1].decode().split())
            found.append(SeenMail(folder, int(uid[1]), names, bytes(row[1])))
    return sorted(found, key=lambda mail: mail.uid)


def _root(message: EmailMessage) -> str:
    references = str(message.get("References", "")).split()
    return references[0] if references else str(message.get("Message-ID", "")).strip()


def _prefixed(prefix: str, subject: str) -> str:
    return subject if subject.lower().startswith(prefix.lower()) else prefix + subject


def _answer_to(message: EmailMessage, parent: EmailMessage) -> None:
    ident = str(parent.get("Message-ID", "")).strip()
    references = str(parent.get("References", "")).split()
    message["In-Reply-To"] = ident
    message["References"] = " ".join([*references, ident])
