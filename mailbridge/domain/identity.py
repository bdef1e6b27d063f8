"""Names that can be proven: short ids, keyed Message-IDs and reply addresses.

A Message-ID of ours carries a keyed hash (HMAC-SHA-256, 80 bits), so that an In-Reply-To naming
it proves that its writer saw a mail in the mailbox. FreeScout derived identity from guessable
ids once (GHSA-6r38-6mcf-2ww3); we never do. Old keys still verify; only the first one signs.
Everything is lower case: some systems fold the case of addresses.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Identity", "MailName", "NameKind", "short_id"]

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_TAG = 16  # base32 characters: 80 bits
_NAME = re.compile(
    r"<?([mnr])\.([a-z]{2}-[0-9a-z]{1,16})\.([0-9a-z]{1,32})\.([a-z2-7]{16})@([^<>@\s]+)>?"
)
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_ROUTE = re.compile(r"mb-([a-z]{2}-[0-9a-z]{1,16})-([a-z2-7]{16})")


class NameKind(StrEnum):
    """What a mail of ours is; the first letter of its Message-ID."""

    MESSAGE = "m"
    """Shows one message of the discussion."""
    NOTICE = "n"
    """A hold, receipt or help mail."""
    REPLY = "r"
    """What the customer gets."""


@dataclass(frozen=True, slots=True)
class MailName:
    """What a verified Message-ID of ours says."""

    kind: NameKind
    short: str
    key: str


def short_id(reference: str, prefix: str = "cd") -> str:
    """The thread's short id, such as `cd-3c2e7r`, unique for each reference.

    A decimal reference is written in base 32, so both Cdiscount APIs give the same thread; any
    other (a leading zero makes it another) is hashed. `prefix` is two letters for the
    marketplace's numbering.
    """
    if _NUMBER.fullmatch(reference):
        number, digits = int(reference), ""
        while True:
            number, rest = divmod(number, 32)
            digits = _CROCKFORD[rest] + digits
            if not number:
                return f"{prefix}-{digits}"
    digest = hashlib.sha256(reference.encode()).digest()
    return f"{prefix}-x{base64.b32encode(digest)[:12].decode().lower()}"


class Identity:
    """Makes and verifies names for one account. Holds the keys and shows them to nobody."""

    def __init__(self, keys: Sequence[bytes], *, account: str, domain: str) -> None:
        """`keys[0]` signs, all verify; `domain` is the right side of our Message-IDs."""
        if not keys or any(len(key) < 16 for key in keys):
            raise ValueError("an identity key needs at least 16 octets")
        self._keys = tuple(keys)
        self._account = account
        self.domain = domain.lower()

    def __repr__(self) -> str:
        return f"Identity(account={self._account!r}, domain={self.domain!r})"

    def _tag(self, key: bytes, *parts: str) -> str:
        text = "\0".join((self._account, *parts)).encode()
        digest = hmac.new(key, text, hashlib.sha256).digest()
        return base64.b32encode(digest)[:_TAG].decode().lower()

    def message_id(self, kind: NameKind, short: str, key: str) -> str:
        """`<m.cd-7f3k2.1a2b3c.TAG@domain>`, in angle brackets; `key` is `[0-9a-z]`, ≤ 32 long."""
        tag = self._tag(self._keys[0], kind, short, key)
        return f"<{kind}.{short}.{key}.{tag}@{self.domain}>"

    def root_id(self, short: str) -> str:
        """The phantom root in `References`: no mail has it, it only holds the thread together."""
        return f"<d.{short}@{self.domain}>"

    def customer_id(self, reply_key: str) -> str:
        """Message-ID of the mail to the customer: derived from the reply, telling nothing of it."""
        return f"<{self._tag(self._keys[0], 'customer', reply_key)}.{reply_key[:8]}@{self.domain}>"

    def read(self, message_id: str) -> MailName | None:
        """What a Message-ID of ours says, None if it is not ours or its tag is wrong."""
        found = _NAME.fullmatch(message_id.strip().lower())
        if found is None or found[5] != self.domain:
            return None
        kind, short, key, tag = found[1], found[2], found[3], found[4]
        if not self._verifies(tag, kind, short, key):
            return None
        return MailName(NameKind(kind), short, key)

    def short_in(self, message_id: str) -> str | None:
        """The short id in a Message-ID of our form and domain, verified or not."""
        found = _NAME.fullmatch(message_id.strip().lower())
        return found[2] if found is not None and found[5] == self.domain else None

    def looks_ours(self, message_id: str) -> bool:
        """True if the id has our form and domain, verified or not (a lost key)."""
        return self.short_in(message_id) is not None

    def route(self, short: str) -> str:
        """The local part (or its plus tag) of a discussion's reply address: `mb-cd-7f3k2-TAG`."""
        return f"mb-{short}-{self._tag(self._keys[0], 'route', short)}"

    def read_route(self, text: str) -> str | None:
        """The short id that a local part or plus tag proves, else None."""
        found = _ROUTE.fullmatch(text.strip().lower())
        if found is None or not self._verifies(found[2], "route", found[1]):
            return None
        return found[1]

    def code(self, *parts: str) -> str:
        """A six-digit code bound to `parts`, which the caller makes unique to one question."""
        text = "\0".join((self._account, "code", *parts)).encode()
        digest = hmac.new(self._keys[0], text, hashlib.sha256).digest()
        return f"{int.from_bytes(digest[:8], 'big') % 1_000_000:06d}"

    def leaks(self, text: str) -> str | None:
        """The first thing in `text` that must never reach a customer, described; else None."""
        low = text.lower()
        if _ROUTE.search(low) or re.search(r"\bmb-order-[0-9a-z]", low):
            return "a reply address of a discussion"
        if _NAME.search(low) or self.domain in low:
            return "a Message-ID of mailbridge"
        if ".invalid" in low and re.search(r"@[\w.-]*\.invalid\b", low):
            return "an address under .invalid"
        return None

    def _verifies(self, tag: str, *parts: str) -> bool:
        # No early exit: how many keys there are, and which one matched, is nobody's business.
        ok = False
        for key in self._keys:
            ok |= hmac.compare_digest(self._tag(key, *parts), tag)
        return ok
