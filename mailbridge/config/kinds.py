"""The kinds of value a configuration holds that TOML has no type for: times, addresses, hosts.

Each kind turns what a person writes into one canonical form, or refuses it with one sentence
that says which form is allowed; `loader` adds where it stands and what was found. Nothing here
reads a file, the network or the clock.
"""

from __future__ import annotations

import ipaddress
import re
import typing
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import idna
from pydantic import (
    AfterValidator,
    BeforeValidator,
    GetCoreSchemaHandler,
    Strict,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from mailbridge.domain.digest import Days
from mailbridge.domain.workdays import WeekHours

__all__ = [
    "BASE_DIR",
    "Between",
    "Count",
    "DigestDays",
    "Duration",
    "EmailAddress",
    "Euros",
    "Flag",
    "Folder",
    "Host",
    "HttpUrl",
    "Kind",
    "Line",
    "LocalPath",
    "Port",
    "Switch",
    "TimeOfDay",
    "Weekly",
    "Word",
    "YearDay",
    "duration_text",
    "http_url",
    "is_loopback",
    "resolve",
]

BASE_DIR = "base_dir"
"""Key of the validation context: the folder that relative paths start from."""

_PART = re.compile(r"([0-9]+)\s*(w|d|h|m|s)")
_WHOLE = re.compile(r"(?:[0-9]+\s*[wdhms]\s*)+")
_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_LONGEST = timedelta(days=3650)
_EUROS = 'allowed: an amount in euros with a dot and at most two decimals, such as 150 or "12.50"'
_DURATION = 'allowed: a time such as "90s", "2m", "1h30m" or "28d", or a number of seconds'

# RFC 5322 3.2.3 dot-atom. Quoted local parts and RFC 6531 ones are left out on purpose: the relay
# and half of the mail servers an agent's reply crosses do not carry them.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_KEYWORD = re.compile(r"[A-Za-z0-9$!#&'+,./:;<=>?@^_`|~-]{1,60}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind is called in the docs; pydantic passes it over."""

    name: str


def _wrong(kind: str, text: str) -> PydanticCustomError:
    # The text goes in as a value: a brace in it must not be taken for a placeholder.
    return PydanticCustomError(kind, "{text}", {"text": text})


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        parts = _PART.findall(value)
        units = [unit for _, unit in parts]
        if units != sorted(set(units), key="wdhms".index):
            raise _wrong("duration", _DURATION + ", each unit once, the biggest first")
        seconds = sum(int(number) * _UNITS[unit] for number, unit in parts)
    else:
        raise _wrong("duration", _DURATION)
    if not 0 <= seconds <= _LONGEST.total_seconds():
        raise _wrong("duration", _DURATION + ", from 0s to 3650d")
    return timedelta(seconds=seconds)


Duration = Annotated[timedelta, Kind("time"), BeforeValidator(_duration)]
"""A length of time: "90s", "2m", "1h30m", "28d", or an integer of seconds."""


def duration_text(value: timedelta) -> str:
    """The shortest TOML form of a time in whole seconds, such as `1h30m`; `0s` for none."""
    rest, words = int(value.total_seconds()), ""
    for unit in "dhms":
        count, rest = divmod(rest, _UNITS[unit])
        words += f"{count}{unit}" if count else ""
    return words or "0s"


@dataclass(frozen=True, slots=True)
class Between:
    """Limits of a `Duration` field, both ends allowed, written as in TOML.

    They are for people: a timedelta made in code (a test's, the demo's) is taken as it is.
    """

    least: str
    most: str

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        low, high = _duration(self.least), _duration(self.most)

        def check(written: object, inner: ValidatorFunctionWrapHandler) -> timedelta:
            value: timedelta = inner(written)
            if not isinstance(written, timedelta) and not low <= value <= high:
                raise _wrong("range", f"allowed: a time {self}")
            return value

        return core_schema.no_info_wrap_validator_function(check, handler(source))

    def __str__(self) -> str:
        return f"from {self.least} to {self.most}"


def _euros(value: object) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _wrong("euros", _EUROS)
    try:
        amount = Decimal(str(value).strip())
    except InvalidOperation:
        raise _wrong("euros", _EUROS) from None
    if not amount.is_finite() or amount != amount.quantize(Decimal("0.01")):
        raise _wrong("euros", _EUROS)
    if not 0 <= amount <= 1_000_000:
        raise _wrong("euros", _EUROS + ", from 0 to 1000000")
    return amount.quantize(Decimal("0.01"))


Euros = Annotated[Decimal, Kind("euros"), BeforeValidator(_euros)]
"""A sum of money in euros, exact: 150, 12.5 or "12.50"."""


def is_loopback(host: str) -> bool:
    """Whether traffic to `host` stays on this machine (RFC 6761 6.3 for the names)."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        name = host.lower()
        return name == "localhost" or name.endswith(".localhost")


def _domain(text: str) -> str | None:
    """A host name in lower-case ASCII (IDNA 2008), None if it is none."""
    name = text.lower()
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            return None
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    # "192.0.2" and "1.2.3.4.5" are broken addresses, not names (RFC 1123 2.1).
    return None if labels[-1].isdigit() else name


def _email(value: object) -> str:
    allowed = 'allowed: one bare address such as "support@shop.fr"'
    if not isinstance(value, str):
        raise _wrong("email", allowed)
    local, at, domain = value.strip().rpartition("@")
    if not at:
        raise _wrong("email", allowed)
    if "<" in value:
        raise _wrong("email", allowed + ", without a name and without < >")
    if not local.isascii():
        raise _wrong("email", allowed + "; no accents before the @")
    if not _LOCAL.fullmatch(local):
        raise _wrong("email", allowed)
    if len(local) > 64:
        raise _wrong("email", allowed + "; at most 64 characters before the @")
    name = _domain(domain)
    if name is None:
        raise _wrong("email", allowed + "; what follows the @ is no domain")
    if len(local) + len(name) > 253:
        raise _wrong("email", allowed + "; at most 254 characters")
    return f"{local}@{name}"


EmailAddress = Annotated[str, Kind("address"), BeforeValidator(_email)]
"""An addr-spec in ASCII; the domain in lower case and IDNA, local part at most 64 octets."""


def _host(value: object) -> str:
    allowed = 'allowed: a host name such as "imap.shop.fr", or an IP address'
    if not isinstance(value, str) or not value.strip():
        raise _wrong("host", allowed)
    text = value.strip().removesuffix(".")
    if "/" in text:
        raise _wrong("host", allowed + ', without "://" and without a path')
    try:
        return ipaddress.ip_address(text.strip("[]")).compressed
    except ValueError:
        pass
    if ":" in text:
        raise _wrong("host", allowed + "; the port has a key of its own")
    name = _domain(text)
    if name is None:
        raise _wrong("host", allowed)
    return name


Host = Annotated[str, Kind("host"), BeforeValidator(_host)]
"""A host name (lower case, IDNA) or an IP address without brackets."""


def http_url(value: object) -> str:
    """`value` if it is a URL that `HttpUrl` allows; raises PydanticCustomError."""
    allowed = 'allowed: a URL such as "https://host/path"'
    if not isinstance(value, str) or _CONTROL.search(value) or " " in value.strip():
        raise _wrong("url", allowed)
    text = value.strip()
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise _wrong("url", allowed) from None
    if parts.scheme not in ("http", "https") or not host:
        raise _wrong("url", allowed)
    if parts.username is not None or parts.password is not None:
        raise _wrong("url", allowed + "; no user name or password in it")
    if ":" not in host and not host.replace(".", "").isdigit() and _domain(host) is None:
        raise _wrong("url", allowed)
    if parts.scheme == "http" and not is_loopback(host):
        raise _wrong("url", allowed + "; http:// only to this machine itself (localhost)")
    return text


HttpUrl = Annotated[str, Kind("URL"), BeforeValidator(http_url)]
"""An absolute URL: https, or http to a loopback address; never with a user name in it."""


def _line(value: str) -> str:
    if _CONTROL.search(value):
        raise _wrong("line", "allowed: one line of text, without control characters")
    return value


Line = Annotated[str, AfterValidator(_line)]
"""One line of text. A line break here could end up as a header of its own."""


def _word(value: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{1,100}", value):
        raise _wrong("word", "allowed: one word of plain letters, digits and signs")
    return value


Word = Annotated[str, AfterValidator(_word)]
"""One word in ASCII: what another system gave out as a name, to be sent back unchanged."""


def _folder(value: str) -> str:
    if not value.strip() or _CONTROL.search(value):
        raise _wrong("folder", "allowed: the name of a folder, in one line and not empty")
    return value


Folder = Annotated[str, Kind("folder"), AfterValidator(_folder)]
"""An IMAP folder's name as people see it, in Unicode."""


def _flag(value: str) -> str:
    # RFC 3501 9: a keyword is an atom. Of the system flags only this one is a person's to set.
    if value and not _KEYWORD.fullmatch(value):
        raise _wrong("flag", 'allowed: "flagged", a keyword such as "$label1", or "" for none')
    return value


Flag = Annotated[str, Kind("flag"), AfterValidator(_flag)]
"""`flagged` (IMAP's system flag), an IMAP keyword, or empty."""


def _weekly(value: str) -> str:
    try:
        return str(WeekHours.parse(value))
    except ValueError as error:
        raise _wrong(
            "hours", f'{error}; allowed: hours such as "mon-fri 09:00-18:00, sat 09:00-12:00"'
        ) from None


Weekly = Annotated[str, Kind("hours"), AfterValidator(_weekly)]
"""Opening hours of a week, as `domain.workdays.WeekHours` reads them."""


def _time_of_day(value: object) -> str:
    # TOML has times of its own; both ways of writing one are taken.
    try:
        moment = value if isinstance(value, time) else time.fromisoformat(str(value))
    except ValueError:
        moment = None
    whole = moment is not None and not (moment.second or moment.microsecond or moment.tzinfo)
    if moment is None or not whole:
        raise _wrong("time of day", 'allowed: a time of day such as "08:00"')
    return f"{moment:%H:%M}"


TimeOfDay = Annotated[str, Kind("time of day"), BeforeValidator(_time_of_day)]
"""A local time in hours and minutes, `00:00` to `23:59`."""


def _digest_days(value: str) -> str:
    try:
        return str(Days.parse(value))
    except ValueError as error:
        raise _wrong(
            "days", f'{error}; allowed: "working", "daily", or weekdays such as "mon-sat"'
        ) from None


DigestDays = Annotated[str, Kind("days"), AfterValidator(_digest_days)]
"""Days on which something is done, as `domain.digest.Days` reads them."""


def _year_day(value: object) -> str:
    # TOML has dates of its own; both ways of writing one are taken.
    try:
        return str(value if isinstance(value, date) else date.fromisoformat(str(value)))
    except ValueError:
        raise _wrong("day", 'allowed: a day such as "2026-12-24"') from None


YearDay = Annotated[str, Kind("day"), BeforeValidator(_year_day)]
"""One day of one year, in ISO 8601."""


def resolve(path: Path, info: ValidationInfo) -> Path:
    """`path`, taken from the configuration file's folder if it is relative; `~` is expanded."""
    base: object = (info.context or {}).get(BASE_DIR)
    try:
        path = path.expanduser()
    except RuntimeError:
        raise _wrong("path", "allowed: a path; `~` has no meaning for this user") from None
    return base / path if isinstance(base, Path) else path


def _path(value: Path, info: ValidationInfo) -> Path:
    if "\0" in str(value) or str(value) == ".":
        raise _wrong("path", 'allowed: a path such as "/etc/mailbridge/ca.pem"')
    return resolve(value, info)


LocalPath = Annotated[Path, AfterValidator(_path)]
"""A path; relative ones start at the folder of the configuration file."""

Switch = Annotated[bool, Strict()]
"""`true` or `false`, nothing that looks like them."""


@dataclass(frozen=True, slots=True)
class Count:
    """Limits of a whole-number field, both ends allowed. "7" and true are no numbers."""

    least: int
    most: int

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def check(value: object) -> object:
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not whole or not self.least <= typing.cast(int, value) <= self.most:
                raise _wrong("number", f"allowed: a whole number {self}")
            return value

        return core_schema.no_info_before_validator_function(check, handler(source))

    def __str__(self) -> str:
        return f"from {self.least} to {self.most}"


Port = Annotated[int, Count(1, 65535)]
"""A TCP port."""
