"""A mail as read: header fields, the two bodies and the files, as one frozen value.

The rule: what cannot be read surely is `UnreadableMail` and held, never guessed at. Work is
bounded before it begins, so no mail, however built, stalls the daemon. What of the body its
writer wrote is `authored`'s business, whether it is trusted `trust`'s.
"""

from __future__ import annotations

import mimetypes
import re
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes
from email.message import Message
from email.policy import Compat32

from mailbridge.domain.notice import HoldReason
from mailbridge.domain.wording import clean_line
from mailbridge.mail.fields import (
    Address,
    decode_field,
    decode_octets,
    parse_addresses,
    parse_date,
    parse_ids,
    unfolded,
)
from mailbridge.mail.flowed import unflow

__all__ = ["Address", "Attachment", "IncomingMail", "UnreadableMail", "read_headers", "read_mail"]


class _Policy(Compat32):
    """`policy.default` parses every field by a grammar that raises on hostile input and is
    quadratic in its length; this one leaves fields as text, and `fields` reads them."""

    def header_fetch_parse(self, name: str, value: str) -> str:
        return unfolded(value)


_POLICY = _Policy(mangle_from_=False)
# What the standard library was seen to raise on mails made to break it.
_FAULTS = (ValueError, TypeError, LookupError, AttributeError, AssertionError, RecursionError)

_MAX_PARTS = 200
_MAX_DEPTH = 20
_MAX_DELIMITERS = 3_000
_MAX_LINES = 500_000
_MAX_WORK = 8_000_000
"""Lines times nesting words: what the library's parser does grows with this product."""
_MAX_BLOCKS = 3_000
"""Blank lines in a mail that has a delivery status: each makes a message of its own there."""
_MAX_FIELDS = 2_000
_MAX_FIELD = 60_000


class UnreadableMail(Exception):
    """The mail must be held. `what` is one word for the log and the notice:

    `from` (none, or none that is an address), `two_from`, `fields` (too many), `structure`
    (MIME that cannot be parsed), `parts` (too many, or nested too deeply), `charset`,
    `encoding` (a transfer encoding nobody knows).

    `head` is the header where that could be read: enough to know which thread the mail is of,
    and so where to say that it is held. Its From is the first one, or empty.
    """

    def __init__(
        self,
        what: str,
        reason: HoldReason = HoldReason.UNREADABLE,
        head: IncomingMail | None = None,
    ) -> None:
        super().__init__(f"unreadable mail: {what}")
        self.what = what
        self.reason = reason
        self.head = head


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part that is not the body; `message/*` parts are here too, as they stood."""

    name: str = field(repr=False)
    """A bare file name, cleaned; made from the type where the mail gave none."""
    content_type: str
    """Lower case, without parameters."""
    data: bytes = field(repr=False)
    inline: bool = False
    """Its disposition is inline, or it has none and is part of a multipart/related."""
    content_id: str | None = None
    """Without angle brackets."""
    related: bool = False
    """Part of a multipart/related: it only has a place where the HTML names it."""


@dataclass(frozen=True, slots=True, repr=False)
class IncomingMail:
    """One mail. Words are decoded but not cleaned; addresses are as written."""

    fields: tuple[tuple[str, str], ...]
    """Every header field in its order: lower-case name, unfolded value. Encoded words are
    decoded, but for trace fields (Received, Return-Path, Authentication-Results …)."""
    from_: Address
    message_id: str | None = None
    in_reply_to: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()
    date: datetime | None = None
    """Aware."""
    subject: str = ""
    content_type: str = "text/plain"
    plain: str | None = None
    """Line ends are `\\n`; format=flowed already made whole. None where there is no such part."""
    html: str | None = None
    attachments: tuple[Attachment, ...] = ()

    def __repr__(self) -> str:
        return f"IncomingMail(message_id={self.message_id!r})"

    def header(self, name: str) -> str | None:
        """The first field of this name, decoded; None where there is none."""
        return next(iter(self.headers(name)), None)

    def headers(self, name: str) -> tuple[str, ...]:
        """All fields of this name, topmost first."""
        low = name.lower()
        return tuple(value for key, value in self.fields if key == low)

    def has(self, name: str) -> bool:
        """True if there is such a field, even an empty one."""
        low = name.lower()
        return any(key == low for key, _ in self.fields)


def read_mail(data: bytes) -> IncomingMail:
    """The whole mail. Raises `UnreadableMail`; takes time linear in the length of `data`."""
    _bound(data)
    try:
        message = message_from_bytes(data, policy=_POLICY)
    except _FAULTS as error:
        raise UnreadableMail("structure") from error
    parts = _Parts()
    parts.take(message)
    return _mail(
        message,
        plain="\n".join(parts.plain) if parts.plain else None,
        html=_one_document(parts.html),
        attachments=tuple(parts.attachments),
    )


_DOCUMENT_TAG = re.compile(r"</?(?:html|body|!doctype)\b[^>]{0,2000}>", re.IGNORECASE)


def _one_document(documents: list[str]) -> str | None:
    """Apple Mail writes one HTML document before a file and another behind it."""
    if len(documents) <= 1:
        return documents[0] if documents else None
    return "\n<hr>\n".join(_DOCUMENT_TAG.sub("", text) for text in documents)


_END_OF_HEADER = re.compile(rb"\r?\n\r?\n|\r\r")


def read_headers(data: bytes) -> IncomingMail:
    """The header alone, whether or not a body follows it. Raises `UnreadableMail`."""
    end = _END_OF_HEADER.search(data)
    head = data[: end.end()] if end else data
    _bound(head)
    if len(head) > _MAX_FIELDS * 1_000:
        raise UnreadableMail("fields")
    try:
        message = message_from_bytes(head, policy=_POLICY)
    except _FAULTS as error:
        raise UnreadableMail("structure") from error
    return _mail(message)


# The library reads parameters in quadratic time: half a million semicolons took it 45 s.
_LONG_TYPE = re.compile(
    rb"^content-(?:type|disposition)[ \t]*:(?:[^\r\n]|\r?\n[ \t]){2000}",
    re.IGNORECASE | re.MULTILINE,
)


def _bound(data: bytes) -> None:
    """Refuse what would keep the parser busy, by counting what it works on."""
    if _LONG_TYPE.search(data):
        raise UnreadableMail("structure")
    if len(re.findall(rb"(?:^|[\r\n])--", data)) > _MAX_DELIMITERS:
        raise UnreadableMail("parts")
    nested = len(re.findall(rb"boundary|message/", data, re.IGNORECASE))
    lines = max(data.count(b"\n"), data.count(b"\r"))
    if lines > _MAX_LINES or (nested + 1) * lines > _MAX_WORK:
        raise UnreadableMail("parts")
    if re.search(rb"delivery-status|global-delivery", data, re.IGNORECASE):
        blocks = len(re.findall(rb"\n\r?\n|\r\r", data))
        if blocks > _MAX_BLOCKS:
            raise UnreadableMail("parts")


# Evidence of origin is read from these. Encoded words have no place in them, and a host name
# that decodes to ` by mail.shop.fr with ESMTPSA` must stay what it is.
_TRACE = frozenset(
    {"received", "return-path", "authentication-results", "delivered-to", "message-id"}
    | {"x-original-to", "x-received", "received-spf", "auto-submitted", "content-type"}
)


def _mail(
    message: Message,
    *,
    plain: str | None = None,
    html: str | None = None,
    attachments: tuple[Attachment, ...] = (),
) -> IncomingMail:
    raw: dict[str, list[str]] = {}
    fields: list[tuple[str, str]] = []
    for key, value in message.raw_items():
        if len(fields) >= _MAX_FIELDS:
            raise UnreadableMail("fields")
        name, text = key.lower(), str(value)[:_MAX_FIELD]
        raw.setdefault(name, []).append(text)
        plain_field = name in _TRACE or name.startswith(("arc-", "x-ms-exchange-"))
        fields.append((name, unfolded(text) if plain_field else decode_field(text)))

    def addresses(name: str) -> tuple[Address, ...]:
        return tuple(a for text in raw.get(name, ()) for a in parse_addresses(text))

    def ids(name: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(i for text in raw.get(name, ()) for i in parse_ids(text)))

    authors = addresses("from")
    dates = raw.get("date", ())
    mail = IncomingMail(
        fields=tuple(fields),
        from_=authors[0] if authors else Address("", ""),
        message_id=next(iter(ids("message-id")), None),
        in_reply_to=ids("in-reply-to"),
        references=ids("references"),
        to=addresses("to"),
        cc=addresses("cc"),
        bcc=addresses("bcc"),
        reply_to=addresses("reply-to"),
        date=parse_date(dates[0]) if len(dates) == 1 else None,
        subject=next((value for key, value in fields if key == "subject"), ""),
        content_type=_content_type(message),
        plain=plain,
        html=html,
        attachments=attachments,
    )
    # RFC 5322 section 3.6: one From. With two, or two authors in it, clients and filters
    # disagree on who wrote the mail.
    if len(raw.get("from", ())) > 1 or len(authors) > 1:
        raise UnreadableMail("two_from", HoldReason.TWO_FROM, mail)
    if not authors or not authors[0].valid:
        raise UnreadableMail("from", head=mail)
    return mail


_META = re.compile(rb"<meta[^>]{0,200}charset=[\"']?([\w-]{1,40})", re.IGNORECASE)


class _Parts:
    """Gathers bodies and files from the tree of parts."""

    def __init__(self) -> None:
        self.plain: list[str] = []
        self.html: list[str] = []
        self.attachments: list[Attachment] = []
        self._seen = 0

    def take(self, part: Message, parent: str = "", depth: int = 0) -> None:
        self._seen += 1
        if self._seen > _MAX_PARTS or depth > _MAX_DEPTH:
            raise UnreadableMail("parts")
        kind = _content_type(part)
        if kind.startswith("multipart/"):
            children = part.get_payload()
            if not isinstance(children, list):
                raise UnreadableMail("structure")
            # A second text/plain in a multipart/alternative says the same again.
            first_plain = True
            for child in children:
                if not isinstance(child, Message):
                    raise UnreadableMail("structure")
                again = kind == "multipart/alternative" and _content_type(child) == "text/plain"
                if again and not first_plain:
                    continue
                first_plain = first_plain and not again
                self.take(child, kind, depth + 1)
            return
        disposition = _word(_parameterless(part, "content-disposition"))
        name = _file_name(part)
        if kind in ("text/plain", "text/html") and disposition != "attachment" and not name:
            self._body(part, kind)
            return
        related = parent == "multipart/related"
        self.attachments.append(
            Attachment(
                name=name or self._made_name(kind),
                content_type=kind,
                data=_octets(part),
                inline=disposition == "inline" or (related and disposition != "attachment"),
                content_id=_content_id(part),
                related=related,
            )
        )

    def _body(self, part: Message, kind: str) -> None:
        data = _octets(part)
        charset = _parameter(part, "charset")
        if kind == "text/html" and not charset:
            found = _META.search(data[:4_000])
            charset = found[1].decode("ascii") if found else ""
        try:
            text = decode_octets(data, charset)
        except ValueError as error:
            raise UnreadableMail("charset") from error
        text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        if kind == "text/html":
            self.html.append(text)
            return
        if _parameter(part, "format").lower() == "flowed":
            text = unflow(text, delsp=_parameter(part, "delsp").lower() == "yes")
        self.plain.append(text)

    def _made_name(self, kind: str) -> str:
        ending = ".eml" if kind == "message/rfc822" else mimetypes.guess_extension(kind) or ".bin"
        return f"fichier-{len(self.attachments) + 1}{ending}"


def _content_type(part: Message) -> str:
    try:
        return part.get_content_type()
    except _FAULTS:
        return "application/octet-stream"


def _parameterless(part: Message, name: str) -> str:
    try:
        return str(part.get(name, "")).partition(";")[0]
    except _FAULTS:
        return ""


def _word(text: str) -> str:
    return text.strip().lower()


def _parameter(part: Message, name: str) -> str:
    """A parameter of Content-Type, empty for none."""
    try:
        value = part.get_param(name, "")
    except _FAULTS:
        return ""
    if isinstance(value, tuple):
        value = value[2]
    return str(value).strip()


def _file_name(part: Message) -> str:
    """The bare name, cleaned; empty where the part gives none."""
    try:
        given = part.get_filename("")
    except _FAULTS:
        given = "?"
    # RFC 2231 is the rule; many mailers write RFC 2047 words or raw octets instead.
    name = decode_field(str(given or ""))
    name = re.split(r"[/\\]", name)[-1]
    return clean_line(re.sub(r'[<>:"|?*]', "_", name), 120).strip(". ")


def _content_id(part: Message) -> str | None:
    try:
        text = str(part.get("content-id", ""))
    except _FAULTS:
        return None
    return text.strip().strip("<>").strip()[:300] or None


_ENCODINGS = frozenset(
    {"", "7bit", "8bit", "binary", "quoted-printable", "base64"}
    | {"x-uuencode", "uuencode", "uue", "x-uue"}
)


def _octets(part: Message) -> bytes:
    """The part's content as octets, its transfer encoding undone."""
    if _content_type(part).startswith("message/") or part.is_multipart():
        return _nested(part)
    if _word(_parameterless(part, "content-transfer-encoding")) not in _ENCODINGS:
        raise UnreadableMail("encoding")
    try:
        data = part.get_payload(decode=True)
    except _FAULTS as error:
        raise UnreadableMail("encoding") from error
    return data if isinstance(data, bytes) else b""


def _nested(part: Message) -> bytes:
    """A message/* part: the mail or the blocks of fields in it (RFC 3464 section 2.1)."""
    payload = part.get_payload()
    if not isinstance(payload, list):
        return str(payload).encode("utf-8", "surrogateescape")
    try:
        return b"\r\n".join(m.as_bytes() for m in payload if isinstance(m, Message))
    except _FAULTS:
        return b""
