"""IMAP answers as values: rows of an answer split into tokens, and the few shapes we read.

A row is one untagged answer as it came: text, literal, text … Values that people write (headers,
bodies) are only taken from literals or quoted strings found by position, never by searching the
text of a row, which such values could imitate. Nothing here talks to a server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.parser import BytesHeaderParser
from email.policy import compat32

__all__ = [
    "Item",
    "ListRow",
    "Row",
    "appended_uids",
    "batches",
    "fetch_items",
    "imap_date",
    "internal_date",
    "list_row",
    "message_ids",
    "namespace_row",
    "numbers",
    "response_code",
    "status_items",
    "suggested_pause",
    "tokens",
    "uid_set",
]

Row = Sequence[bytes]
"""Chunks of one untagged answer; a chunk after one that ends in `{n}` is that literal."""

Item = bytes | None | list["Item"]
"""An atom, quoted string or literal; NIL; or a parenthesised list."""

UIDS_A_COMMAND = 400
"""Above about 1,000 answers in one chunk aioimaplib's parser overflows the stack."""

_TOKEN = re.compile(
    rb"""\ *(?:
        (?P<open>\() | (?P<close>\))
        | "(?P<quoted>(?:[^"\\]|\\.)*)"
        | \{(?P<literal>\d+)\}$
        | (?P<atom>(?:BODY|BINARY)\[[^\]]*\](?:<\d+>)?|[^\s()"{]+)
    )""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(rb" ?(\d{1,2})-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)\s*")
_CODE = re.compile(r"\[([A-Za-z][A-Za-z0-9-]*)(?: [^\]]*)?\]")
_APPENDUID = re.compile(r"\[APPENDUID \d+ ([0-9:,]+)\]", re.IGNORECASE)
_BACKOFF = re.compile(r"Backoff Time:\s*(\d+)\s*milliseconds", re.IGNORECASE)


def tokens(row: Row) -> list[Item]:
    """The row's items, nested as its brackets are; raises ValueError for what is no IMAP data."""
    top: list[Item] = []
    stack = [top]
    chunks = iter(row)
    for chunk in chunks:
        position = 0
        rest = chunk.rstrip(b" ")
        while position < len(rest):
            match = _TOKEN.match(rest, position)
            if match is None:
                raise ValueError("unreadable IMAP data")
            position = match.end()
            match match.lastgroup:
                case "open":
                    inner: list[Item] = []
                    stack[-1].append(inner)
                    stack.append(inner)
                case "close":
                    if len(stack) == 1:
                        raise ValueError("unbalanced IMAP data")
                    stack.pop()
                case "quoted":
                    stack[-1].append(re.sub(rb"\\(.)", rb"\1", match["quoted"], flags=re.DOTALL))
                case "literal":
                    stack[-1].append(bytes(next(chunks, b"")))
                case _:
                    atom = match["atom"]
                    stack[-1].append(None if atom.upper() == b"NIL" else atom)
    if len(stack) != 1:
        raise ValueError("unbalanced IMAP data")
    return top


def _pairs(items: Iterable[Item]) -> Iterator[tuple[str, Item]]:
    several = iter(items)
    for name in several:
        if not isinstance(name, bytes):
            raise ValueError("a name was expected")
        yield name.decode("ascii", "replace").upper(), next(several, None)


def fetch_items(row: Row) -> dict[str, Item] | None:
    """`n FETCH (…)` as a mapping with names in capitals; None for any other row."""
    if re.match(rb"\d+ FETCH \(", row[0], re.IGNORECASE) is None:
        return None
    items = tokens(row)[2]
    return dict(_pairs(items)) if isinstance(items, list) else None


def status_items(row: Row) -> dict[str, int] | None:
    """The numbers of a STATUS row; None for any other row."""
    if not row[0].upper().startswith(b"STATUS "):
        return None
    items = tokens(row)[-1]
    if not isinstance(items, list):
        return None
    return {
        name: int(value)
        for name, value in _pairs(items)
        if isinstance(value, bytes) and value.isdigit()
    }


@dataclass(frozen=True, slots=True)
class ListRow:
    """One row of LIST; `name` is still in modified UTF-7."""

    attributes: frozenset[str]
    """In lower case, with their backslash."""
    delimiter: str
    name: str


def list_row(row: Row) -> ListRow | None:
    """A LIST row; None for any other row or a name that is not ASCII."""
    if not row[0].upper().startswith(b"LIST "):
        return None
    match tokens(row):
        case [_, list(attributes), bytes() | None as delimiter, bytes(name), *_] if name.isascii():
            return ListRow(
                frozenset(
                    a.decode("ascii", "replace").lower() for a in attributes if isinstance(a, bytes)
                ),
                (delimiter or b"").decode("ascii", "replace"),
                name.decode("ascii"),
            )
    return None


def namespace_row(row: Row) -> tuple[list[tuple[str, str]], list[str]] | None:
    """(prefix, delimiter) of the personal namespaces and the prefixes of all others (RFC 2342)."""
    if not row[0].upper().startswith(b"NAMESPACE "):
        return None

    def spaces(item: Item) -> list[tuple[str, str]]:
        found = []
        for space in item if isinstance(item, list) else []:
            match space:
                case [bytes(prefix), bytes() | None as delimiter, *_]:
                    found.append(
                        (
                            prefix.decode("ascii", "replace"),
                            (delimiter or b"").decode("ascii", "replace"),
                        )
                    )
        return found

    match tokens(row):
        case [_, personal, others, shared]:
            foreign = [prefix for prefix, _ in spaces(others) + spaces(shared)]
            return spaces(personal), foreign
    return None


def numbers(rows: Iterable[Row], name: bytes = b"SEARCH") -> list[int]:
    """All numbers of all rows that begin with `name`; servers may split a long answer."""
    found: list[int] = []
    for row in rows:
        head, _, rest = row[0].partition(b" ")
        if head.upper() == name:
            found.extend(int(word) for word in rest.split() if word.isdigit())
    return found


def internal_date(value: Item) -> datetime:
    """INTERNALDATE (RFC 3501 date-time) as an aware datetime; raises ValueError."""
    match = _DATE.fullmatch(value) if isinstance(value, bytes) else None
    if match is None:
        raise ValueError("unreadable INTERNALDATE")
    day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = match.groups()
    offset = timedelta(hours=int(zone_hours), minutes=int(zone_minutes))
    return datetime(
        int(year),
        _MONTHS.index(month.decode().title()) + 1,
        int(day),
        int(hour),
        int(minute),
        int(second),
        tzinfo=timezone(-offset if sign == b"-" else offset),
    )


def imap_date(day: datetime) -> str:
    """The day for SEARCH SINCE, in English whatever the locale."""
    return f"{day.day}-{_MONTHS[day.month - 1]}-{day.year:04d}"


def message_ids(header: bytes) -> set[str]:
    """What stands in the Message-ID fields of a header block, unfolded and stripped."""
    fields = BytesHeaderParser(policy=compat32).parsebytes(header).get_all("Message-ID") or []
    return {str(field).replace("\r", "").replace("\n", "").strip() for field in fields}


def response_code(text: str) -> str:
    """`OVERQUOTA` of `[OVERQUOTA] Quota exceeded`; empty where there is none (RFC 5530)."""
    match = _CODE.match(text)
    return match[1].upper() if match else ""


def suggested_pause(text: str) -> float | None:
    """Seconds, where Exchange says `Suggested Backoff Time: N milliseconds`."""
    match = _BACKOFF.search(text)
    return int(match[1]) / 1000 if match else None


def appended_uids(text: str, count: int) -> list[int | None]:
    """UIDs out of APPENDUID (RFC 4315 3), a set for several mails; None for each where unclear."""
    match = _APPENDUID.search(text)
    found: list[int | None] = []
    for part in match[1].split(",") if match else []:
        first, _, last = part.partition(":")
        if not first or (":" in part and not last):
            break
        low, high = sorted((int(first), int(last or first)))
        if high - low >= count:
            break
        found.extend(range(low, high + 1))
    return found if len(found) == count else [None] * count


def uid_set(uids: Iterable[int]) -> str:
    """RFC 3501 sequence-set, neighbours joined: `1:3,7`."""
    parts: list[list[int]] = []
    for uid in sorted(set(uids)):
        if parts and uid == parts[-1][-1] + 1:
            parts[-1][1:] = [uid]
        else:
            parts.append([uid])
    return ",".join(":".join(map(str, part)) for part in parts)


def batches(uids: Iterable[int], size: int = UIDS_A_COMMAND) -> Iterator[list[int]]:
    """Ascending UIDs without repeats, at most `size` at a time."""
    ascending = sorted(set(uids))
    for start in range(0, len(ascending), size):
        yield ascending[start : start + size]
