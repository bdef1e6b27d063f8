"""What must not stand in a log: secrets, working addresses, customers' addresses.

The rule: a log line may be sent to anybody who helps. What lets somebody act (passwords, tokens,
reply addresses, tags of Message-IDs, one-time codes, relay addresses) is cut down to what is
needed to find it again; of a stranger's e-mail address the first letter and the domain stay. It
is a net under the callers, who should not log such things to begin with. Text of messages is
never logged at all, so nothing here looks for it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, MutableMapping
from datetime import date, timedelta
from typing import Any

__all__ = ["Redactor"]

_SECRET_KEYS = re.compile(
    r"(?i)(?:^|[_-])(?:pass(?:word|wd)?|pwd|secret|token|authorization|cookie|credentials?"
    r"|api[_-]?key)$"
)
_ONE_TIME_CODE = re.compile(r"\d{6}")  # a reply code of SMTP or HTTP has three digits
# No rule can start inside a run it has just walked over, so that hostile text costs linear time.
# Order matters: a relay address is shortened before its 32 hex digits are taken for a token.
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), put)
    for pattern, put in (
        # JSON web tokens, then bearer and basic credentials, and URLs with a user and password.
        (r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?", "[token]"),
        (r"(?i)\b(bearer|basic)\s+[\w+/.~-]{16,}=*", r"\1 [secret]"),
        (r"(?i)\b(authorization\s*:\s*)[^\r\n]+", r"\1[secret]"),
        (r"(?i)((?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://)[^/\s@]*:[^/\s@]*@", r"\1[secret]@"),
        (
            r"(?i)\b((?:pass(?:word|wd)?|pwd|secret|(?:[a-z]+_)?token|mot de passe)[\"']?"
            r"\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|[^\s\"',;&}]+)",
            r"\1[secret]",
        ),
        # Relay addresses: c.<32 hex>@clemarche.com, told apart by their first digits.
        (r"(?i)\b([a-z]\.[0-9a-f]{4})[0-9a-f]{28}(?=@)", r"\1…"),
        # Reply addresses and Message-IDs of ours: the id stays, the keyed tag goes.
        (r"(?i)\b(mb-[a-z]{2}-[0-9a-z]{1,16}-)[a-z2-7]{16}\b", r"\1…"),
        (r"(?i)\b([mnr]\.[a-z]{2}-[0-9a-z]{1,16}\.[0-9a-z]{1,32}\.)[a-z2-7]{16}(?=@)", r"\1…"),
        # Access tokens of the marketplaces: 32 hex digits or more, or a dashed UUID.
        (
            r"(?i)(?<![0-9a-z])([0-9a-f]{4})[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}"
            r"-[0-9a-f]{12}(?![0-9a-z])",
            r"\1…",
        ),
        (r"(?i)(?<![0-9a-z])([0-9a-f]{4})[0-9a-f]{28,}(?![0-9a-z])", r"\1…"),
    )
)
_ATEXT = r"[\w.!#$%&'*+/=?^`{|}~-]"
_ADDRESS = re.compile(rf"(?<!{_ATEXT})({_ATEXT}){_ATEXT}*+@([\w-]+(?:\.[\w-]+)*)")
_LIMIT = 2_000  # characters of one value
_LONGEST = 20_000  # characters that are looked at; of a traceback, the last ones


class Redactor:
    """Makes values fit for a log; also a structlog processor.

    `own` are the shop's addresses (mailboxes, staff), which stay readable.
    """

    def __init__(self, own: Collection[str] = ()) -> None:
        self._own = frozenset(address.lower() for address in own)
        self._learned: set[str] = set()

    def __repr__(self) -> str:
        return f"Redactor({len(self._own)} own addresses)"

    def learn(self, secret: str) -> None:
        """Hide this very word wherever it turns up; words under six characters are not kept.

        Whoever fetches a password or token calls this with it: no rule knows a password's form.
        """
        if len(secret) >= 6:
            self._learned.add(secret)

    def text(self, text: str) -> str:
        """The text without what must not be seen; line ends are kept, other controls are not."""
        for secret in sorted(self._learned, key=len, reverse=True):
            text = text.replace(secret, "[secret]")
        for pattern, put in _RULES:
            text = pattern.sub(put, text)
        text = _ADDRESS.sub(self._address, text)
        return "".join(
            c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs")
        )

    def value(self, key: str, value: object) -> object:
        """A value as it may be logged; `key` alone can make it a secret."""
        if value is None or isinstance(value, bool):
            return value
        if _SECRET_KEYS.search(key):
            return "[secret]"
        if key == "code" and isinstance(value, str) and _ONE_TIME_CODE.fullmatch(value.strip()):
            return "[secret]"
        match value:
            case int() | float():
                return value
            case date() | timedelta():
                return str(value)
            case str():
                return _line(self.text(value[:_LONGEST]))
            case bytes() | bytearray() | memoryview():
                return f"[{len(value)} bytes]"
            case Mapping():
                return {_line(self.text(str(k))): self.value(str(k), v) for k, v in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self.value(key, item) for item in value]
            case BaseException():
                return _line(self.text(f"{type(value).__name__}: {value}"[:_LONGEST]))
            case _:
                return _line(self.text(str(value)[:_LONGEST]))

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
        """structlog processor; `exception` is a traceback and keeps its lines."""
        return {
            key: self.text(str(value)[-_LONGEST:]) if key == "exception" else self.value(key, value)
            for key, value in event.items()
        }

    def _address(self, found: re.Match[str]) -> str:
        if found[0].lower() in self._own:
            return found[0]
        return f"{found[1]}…@{found[2]}"


def _line(text: str) -> str:
    """One line: an event must not be able to write another event below itself."""
    flat = " ".join(text.split())
    return flat if len(flat) <= _LIMIT else flat[: _LIMIT - 1] + "…"
