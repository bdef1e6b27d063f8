"""The header block of every mail of ours, and the marks by which our own mails are read again.

Headers are written by hand, octet for octet: `email.policy.SMTP` RFC-2047-encodes a `References`
or `In-Reply-To` whose ids are longer than a line, which destroys threading, and writes an
international domain as an encoded word, which is no address. Values come in as plain text and
leave as 7-bit lines of at most 998 octets (RFC 5322 2.1.1), encoded words at most 75 long
(RFC 2047 2). A value with a line break in it is a fault of ours and raises ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.header import Header
from email.message import Message as ParsedMail
from typing import Final
from urllib.parse import quote, unquote

__all__ = [
    "Headers",
    "MailMarks",
    "address",
    "ascii_domain",
    "read_marks",
]

_ATEXT_WORDS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}")
_MSG_ID = re.compile(r"<[\x21-\x3b\x3d\x3f-\x7e]+>")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_ENCODED_LINE = 75


def ascii_domain(addr_spec: str) -> str:
    """The address with its domain in A-labels (RFC 5890).

    Raises ValueError for what is no address that every server takes: a non-ASCII or quoted
    local part (that would need SMTPUTF8), one over 64 octets, or a domain IDNA refuses.
    """
    local, at, domain = addr_spec.rpartition("@")
    if not at or not _LOCAL.fullmatch(local):
        raise ValueError("not a mail address that can be written in ASCII")
    try:
        encoded = domain.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError("the domain of a mail address is not valid") from None
    if not re.fullmatch(r"[A-Za-z0-9.-]+", encoded):
        raise ValueError("the domain of a mail address is not valid")
    return f"{local}@{encoded}"


def address(display: str, addr_spec: str) -> str:
    """`"Marie Dupré" <x@y>` for a header, encoded; the bare address where `display` is empty.

    Raises ValueError as `ascii_domain` does, and for line breaks.
    """
    _one_line(display)
    spec = ascii_domain(addr_spec)
    if not display:
        return spec
    if not display.isascii():
        # An encoded word never stands inside quotes (RFC 2047 5); one a line, with its blank.
        return f"{_encoded(display, 12)}\r\n <{spec}>"
    if _ATEXT_WORDS.fullmatch(display):
        return f"{display} <{spec}>"
    quoted = display.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{spec}>'


class Headers:
    """Collects header lines in order and gives them out as octets."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def text(self, name: str, value: str) -> None:
        """An unstructured header (Subject, Thread-Topic), encoded where it is not ASCII."""
        _one_line(value)
        if value.isascii():
            self._lines.append(_folded(name, value))
        else:
            # `Re: ` stays readable: not every reader decodes before it looks for the mark.
            mark = "Re: " if value.startswith("Re: ") else ""
            encoded = _encoded(value.removeprefix(mark), len(name) + 2 + len(mark))
            self._lines.append(f"{name}: {mark}{encoded}")

    def raw(self, name: str, value: str) -> None:
        """A structured value that is ASCII already and short, written as it is."""
        _one_line(value)
        if not value.isascii() or len(value) > 900:
            raise ValueError(f"{name} is not a short ASCII value")
        self._lines.append(f"{name}: {value}")

    def address(self, name: str, display: str, addr_spec: str) -> None:
        """One mailbox (RFC 5322 3.4)."""
        self._lines.append(f"{name}: {address(display, addr_spec)}")

    def ids(self, name: str, ids: Sequence[str]) -> None:
        """Message-IDs, one a line and never encoded; raises ValueError for anything else."""
        for one in ids:
            if not _MSG_ID.fullmatch(one) or len(one) > 900:
                raise ValueError(f"{name} would hold something that is no Message-ID")
        self._lines.append(f"{name}: " + "\r\n ".join(ids))

    def date(self, name: str, moment: datetime) -> None:
        """RFC 5322 3.3, in the moment's own zone, whatever the process's locale is."""
        if moment.utcoffset() is None:
            raise ValueError(f"{name} needs a time with a zone")
        self._lines.append(
            f"{name}: {_DAYS[moment.weekday()]}, {moment.day:02d} {_MONTHS[moment.month - 1]} "
            f"{moment:%Y %H:%M:%S %z}"
        )

    def __bytes__(self) -> bytes:
        return "".join(f"{line}\r\n" for line in self._lines).encode("ascii")


def _one_line(value: str) -> None:
    if "\r" in value or "\n" in value or "\0" in value:
        raise ValueError("a header value holds a line break")


def _folded(name: str, value: str) -> str:
    """Folded at blanks below 78 where there are any; `value` has no long words of others."""
    line, lines = f"{name}:", []
    for word in value.split(" "):
        if len(line) + 1 + len(word) > 78 and line.strip() and line != f"{name}:" and word:
            lines.append(line)
            line = ""
        line += f" {word}"
    return "\r\n".join([*lines, line])


def _encoded(value: str, used: int) -> str:
    """Encoded words of whole characters, one a line; `used` columns are taken on the first."""
    header = Header(value, "utf-8", maxlinelen=_ENCODED_LINE, header_name="x" * max(used - 2, 1))
    return header.encode(linesep="\r\n")


# --- marks --------------------------------------------------------------------------------------

_LONGEST = 900
_SAFE = "@.:+-_/, ()'*~#"
_ACCOUNT: Final = "X-Mailbridge-Account"
_DISCUSSION: Final = "X-Mailbridge-Discussion"
_REFERENCE: Final = "X-Mailbridge-Reference"
_KIND: Final = "X-Mailbridge-Kind"
_ORDER: Final = "X-Mailbridge-Order"
_CLAIM: Final = "X-Mailbridge-Claim"
_CUSTOMER: Final = "X-Mailbridge-Customer"
_TWIN: Final = "X-Mailbridge-Twin"
_STARTED: Final = "X-Mailbridge-Started"
_RELAY: Final = "X-Mailbridge-Relay"
_CONFIRMED: Final = "X-Mailbridge-Relay-Confirmed"
_MESSAGE: Final = "X-Mailbridge-Message"
_IDENT: Final = "X-Mailbridge-Ident"
_TIME: Final = "X-Mailbridge-Time"
_SENT_AT: Final = "X-Mailbridge-Sent-At"
_AUTHOR: Final = "X-Mailbridge-Author"
_AUTHOR_NAME: Final = "X-Mailbridge-Author-Name"
_HASH: Final = "X-Mailbridge-Text-Hash"
_NOTICE: Final = "X-Mailbridge-Notice"
_NOTICE_KIND: Final = "X-Mailbridge-Notice-Kind"


@dataclass(frozen=True, slots=True)
class MailMarks:
    """What a mail of ours says about itself in `X-Mailbridge-*`: the journal's row, in short.

    A lost journal is rebuilt from these (docs/threads.md). Values are kept exactly: what is not
    plain ASCII is percent-encoded, never RFC 2047, so that the same octets come back.
    """

    account: str
    discussion: str
    reference: str
    kind: str
    customer: str
    started_at: datetime
    order: str = ""
    claim: str = ""
    twin: str = ""
    relay: str = ""
    relay_confirmed_at: datetime | None = None
    message: str = ""
    """The journal's key of the message shown; empty on a notice."""
    ident: str = ""
    """The service's own id of the message, where it has one."""
    raw_time: str = ""
    sent_at: datetime | None = None
    author: str = ""
    """`AuthorKind` of the message shown."""
    author_name: str = ""
    """As the service wrote it: part of the message's identity."""
    text_hash: str = ""
    """Of the message shown; on a receipt, of the answer it is about."""
    notice: str = ""
    """The journal's key of the notice; empty on a message."""
    notice_kind: str = ""
    """`NoticeKind`, or `kind/reason`."""

    def write(self, headers: Headers) -> None:
        """Append the marks; empty ones are left out."""
        for name, value in (
            (_ACCOUNT, self.account),
            (_DISCUSSION, self.discussion),
            (_REFERENCE, self.reference),
            (_KIND, self.kind),
            (_ORDER, self.order),
            (_CLAIM, self.claim),
            (_CUSTOMER, self.customer),
            (_TWIN, self.twin),
            (_STARTED, _stamp(self.started_at)),
            (_RELAY, self.relay),
            (_CONFIRMED, _stamp(self.relay_confirmed_at)),
            (_MESSAGE, self.message),
            (_IDENT, self.ident),
            (_TIME, self.raw_time),
            (_SENT_AT, _stamp(self.sent_at)),
            (_AUTHOR, self.author),
            (_AUTHOR_NAME, self.author_name),
            (_HASH, self.text_hash),
            (_NOTICE, self.notice),
            (_NOTICE_KIND, self.notice_kind),
        ):
            if value:
                headers.raw(name, _exact(value))


def read_marks(mail: ParsedMail) -> MailMarks | None:
    """The marks of a parsed mail or header block; None if it has none or they are broken.

    They prove nothing: anybody can write such headers. Only a verified Message-ID does.
    """

    def get(name: str) -> str:
        return unquote("".join(str(mail.get(name, "")).splitlines())).strip()

    started = _moment(get(_STARTED))
    if started is None or not get(_ACCOUNT) or not get(_DISCUSSION):
        return None
    return MailMarks(
        account=get(_ACCOUNT),
        discussion=get(_DISCUSSION),
        reference=get(_REFERENCE),
        kind=get(_KIND),
        customer=get(_CUSTOMER),
        started_at=started,
        order=get(_ORDER),
        claim=get(_CLAIM),
        twin=get(_TWIN),
        relay=get(_RELAY),
        relay_confirmed_at=_moment(get(_CONFIRMED)),
        message=get(_MESSAGE),
        ident=get(_IDENT),
        raw_time=get(_TIME),
        sent_at=_moment(get(_SENT_AT)),
        author=get(_AUTHOR),
        author_name=get(_AUTHOR_NAME),
        text_hash=get(_HASH),
        notice=get(_NOTICE),
        notice_kind=get(_NOTICE_KIND),
    )


def _exact(value: str) -> str:
    """Percent-encoded; cut between characters where a header line could not hold it."""
    whole = quote(value.strip(), safe=_SAFE, errors="replace")
    if len(whole) <= _LONGEST:
        return whole
    encoded = [quote(char, safe=_SAFE, errors="replace") for char in value.strip()]
    while sum(map(len, encoded)) > _LONGEST:
        encoded = encoded[: len(encoded) * 9 // 10]
    return "".join(encoded).rstrip()


def _stamp(moment: datetime | None) -> str:
    return moment.astimezone(UTC).isoformat() if moment else ""


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.utcoffset() is not None else None
