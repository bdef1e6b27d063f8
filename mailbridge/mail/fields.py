"""Header fields and text of mails others wrote: from octets to words, addresses, ids and dates.

The standard library's parser of structured fields (`policy.default`) raises on hostile headers
and takes quadratic time on long ones, so fields are read here: in linear time, and never by
raising for what merely looks odd. Addresses are cut out before encoded words are decoded: an
encoded word may hold any character, `<` and `,` too (RFC 2047 section 5 rule 3).
"""

from __future__ import annotations

import base64
import binascii
import codecs
import quopri
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from mailbridge.domain.wording import clean_line

__all__ = [
    "Address",
    "decode_field",
    "decode_octets",
    "parse_addresses",
    "parse_date",
    "parse_ids",
    "unfolded",
]


@dataclass(frozen=True, slots=True)
class Address:
    """A display name (decoded, cleaned) and an addr-spec as written, never decoded."""

    name: str
    address: str

    @property
    def valid(self) -> bool:
        """True for one plain addr-spec: a local part, one `@`, a domain, no blanks."""
        return _ADDR_SPEC.fullmatch(self.address) is not None and len(self.address) <= 320

    def __repr__(self) -> str:
        return "Address(…)"


_ADDR_SPEC = re.compile(r'[^\s<>()\[\]\\,;:@"\x00-\x1f]+@[\w-]+(?:\.[\w-]+)*')

# Names that mailers write for what Python knows by another name, or not at all.
_CHARSETS = {
    "ansi_x3.4-1968": "ascii",
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "iso_8859-1": "cp1252",
    "iso-8859-8-i": "iso-8859-8",
    "ks_c_5601-1987": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "latin-1": "cp1252",
    "latin1": "cp1252",
    "unicode-1-1-utf-7": "utf-7",
    "us-ascii": "ascii",
    "utf8mb4": "utf-8",
    "x-gbk": "gb18030",
    "x-sjis": "cp932",
    "shift_jis": "cp932",
}
# Python also has codecs that are no charsets (rot13, idna, unicode_escape); idna is quadratic.
_ALLOWED = re.compile(
    r"utf-(?:7|8|16|32)(?:-[lb]e)?|utf-8-sig|ascii|iso8859-\d{1,2}|cp\d{3,5}|koi8-[rtu]|mac-\w+"
    r"|gb18030|big5(?:hkscs)?|euc_(?:jp|kr)|iso2022_(?:jp|kr)\w*|tis-620|hz|johab|kz1048"
)


def decode_octets(data: bytes, charset: str | None) -> str:
    """Text in the charset a mailer declared, where that is a charset and fits.

    What is declared as nothing, as ASCII or as UTF-8 and is neither is read as Windows-1252,
    which is what such mailers write. Raises ValueError for a charset nobody knows, unless the
    octets are plain UTF-8, and for octets that the charset does not have.
    """
    name = (charset or "").strip(" \"'").lower()
    name = _CHARSETS.get(name, name) or "ascii"
    try:
        codec = codecs.lookup(name).name
    except (LookupError, ValueError):
        codec = ""
    if not _ALLOWED.fullmatch(codec):
        return _utf8(data, f"unknown charset {clean_line(name, 40)!r}")
    try:
        if codec == "cp1252":
            return _western(data)
        return data.decode(codec)
    except UnicodeError:
        if codec == "ascii":
            try:
                return data.decode("utf-8")
            except UnicodeError:
                return _western(data)
        if codec == "utf-8":
            return _western(data)
        return _utf8(data, f"octets that {codec} does not have")


def _utf8(data: bytes, fault: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeError:
        raise ValueError(fault) from None


def _western(data: bytes) -> str:
    # Five octets mean nothing in Windows-1252; as in browsers, they are then controls.
    try:
        return data.decode("cp1252")
    except UnicodeError:
        return data.decode("latin-1")


def unfolded(raw: str) -> str:
    """A raw field (ASCII with surrogate escapes for 8-bit octets) on one line, not yet decoded."""
    flat = re.sub(r"[\r\n]+[ \t]*", " ", raw).strip()
    if flat.isascii():
        return flat
    return decode_octets(flat.encode("utf-8", "surrogateescape"), None)


_WORD = re.compile(r"=\?([^?\s*]{1,60})(?:\*[^?\s]{0,20})?\?([bBqQ])\?([^?]{0,4000})\?=")


def decode_field(raw: str) -> str:
    """A raw field in words: unfolded, encoded words decoded wherever they stand (RFC 2047).

    Words that cannot be decoded stay as they are.
    """
    return _decode_words(unfolded(raw))


def _decode_words(text: str) -> str:
    if "=?" not in text:
        return text
    out: list[str] = []
    octets, charset, end = b"", "", 0

    def flush() -> None:
        nonlocal octets
        if octets:
            try:
                out.append(decode_octets(octets, charset))
            except ValueError:
                out.append(octets.decode("ascii", "replace"))
        octets = b""

    for found in _WORD.finditer(text):
        between = text[end : found.start()]
        data = _word_octets(found[2], found[3])
        if data is None:
            continue
        # Blanks between two words are no part of the text; a character may be cut in two by them.
        if not (end and not between.strip()) or found[1].lower() != charset:
            flush()
        if not end or between.strip():
            out.append(between)
        octets, charset, end = octets + data, found[1].lower(), found.end()
    flush()
    out.append(text[end:])
    return "".join(out)


def _word_octets(encoding: str, text: str) -> bytes | None:
    if encoding in "qQ":
        return quopri.decodestring(text.encode("utf-8").replace(b"_", b" "))
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None


def parse_addresses(raw: str) -> tuple[Address, ...]:
    """All addresses of a raw field, in order (RFC 5322 section 3.4; groups give their members).

    What cannot be read as one mailbox is kept whole as an address that is not `valid`, so that
    nothing named there goes unseen.
    """
    return tuple(
        address for piece in _pieces(unfolded(raw)) if (address := _mailbox(piece)) is not None
    )


# (kind, text): "text" outside of everything, "quote", "comment", "angle".
_Token = tuple[str, str]


def _pieces(text: str) -> list[list[_Token]]:
    """The field cut at its commas and semicolons; each piece as tokens. Linear."""
    pieces: list[list[_Token]] = [[]]
    at = 0
    plain: list[str] = []

    def end_of_plain() -> None:
        if plain:
            pieces[-1].append(("text", "".join(plain)))
            plain.clear()

    while at < len(text):
        char = text[at]
        if char == '"':
            end_of_plain()
            inner, at = _quoted(text, at + 1)
            pieces[-1].append(("quote", inner))
        elif char == "(":
            end_of_plain()
            inner, at = _comment(text, at + 1)
            pieces[-1].append(("comment", inner))
        elif char == "<":
            end_of_plain()
            close = text.find(">", at)
            close = len(text) if close < 0 else close
            pieces[-1].append(("angle", text[at + 1 : close].strip()))
            at = close + 1
        elif char in ",;":
            end_of_plain()
            pieces.append([])
            at += 1
        elif char == ":" and not any(kind == "angle" for kind, _ in pieces[-1]):
            # A group's name; its members follow.
            plain.clear()
            pieces[-1].clear()
            at += 1
        else:
            plain.append(char)
            at += 1
    end_of_plain()
    return pieces


def _quoted(text: str, at: int) -> tuple[str, int]:
    inner: list[str] = []
    while at < len(text) and text[at] != '"':
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
        inner.append(text[at])
        at += 1
    return "".join(inner), at + 1


def _comment(text: str, at: int) -> tuple[str, int]:
    depth, start = 1, at
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == "(":
            depth += 1
        elif text[at] == ")":
            depth -= 1
            if not depth:
                return text[start:at], at + 1
        at += 1
    return text[start:], at


def _mailbox(tokens: list[_Token]) -> Address | None:
    angles = [i for i, (kind, _) in enumerate(tokens) if kind == "angle"]
    words = [(kind, text) for kind, text in tokens if kind in ("text", "quote") and text.strip()]
    if not angles:
        if not words:
            return None
        name = " ".join(text for kind, text in tokens if kind == "comment")
        address = "".join(f'"{t}"' if kind == "quote" else t for kind, t in words).strip()
        return Address(clean_line(_decode_words(name), 200), address)
    after = [text for kind, text in tokens[angles[0] + 1 :] if kind != "comment" and text.strip()]
    if after:
        whole = " ".join(f"<{t}>" if kind == "angle" else t for kind, t in tokens)
        return Address("", whole.strip())
    name = " ".join(_decode_words(text.strip()) for _, text in words)
    # RFC 5322 section 4.4: a route before the address is obsolete and is left out.
    address = tokens[angles[0]][1]
    if address.startswith("@") and ":" in address:
        address = address.rpartition(":")[2]
    return Address(clean_line(name, 200), address)


_ID = re.compile(r"<[^<>\s]{1,900}>")


def parse_ids(raw: str) -> tuple[str, ...]:
    """Message-IDs of a raw field, with angle brackets, each once, in order.

    Some mailers encode long ids as RFC 2047 words; those are read as well.
    """
    return tuple(dict.fromkeys(_ID.findall(decode_field(raw))))


def parse_date(raw: str) -> datetime | None:
    """An aware time, None for what is no date. `-0000` (RFC 5322 section 3.3) is UTC."""
    try:
        date = parsedate_to_datetime(unfolded(raw)[:200])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
