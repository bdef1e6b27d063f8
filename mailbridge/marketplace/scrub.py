"""A service's own words made fit to show: they may hold a token, an address, a customer's words.

Whatever of an answer goes into an error or the log passes through here first.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from mailbridge.domain.wording import clean_line

__all__ = ["scrub"]

# 32 hexadecimal digits, a dashed UUID, a JSON web token (RFC 7519), whole or cut off.
_TOKEN = re.compile(
    r"\b[0-9a-f]{32}\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
    r"|(?<![\w-])eyJ[\w-]{8,}(?:\.[\w-]*){0,4}",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\s<>\"'(),;:]+")
_LOOKED_AT = 100_000
"""Characters: of more, nothing would be shown."""


def scrub(text: str, secrets: Collection[str] = ()) -> str:
    """One line of at most 300 characters: no token, no address, none of `secrets`."""
    text = text[:_LOOKED_AT]
    # A short login ("ab") would eat holes into ordinary words.
    for secret in sorted((s for s in secrets if len(s) >= 4), key=len, reverse=True):
        text = re.sub(re.escape(secret), "…", text, flags=re.IGNORECASE)
    without_tokens = _TOKEN.sub("…", text)
    return clean_line(_WORD.sub(_no_address, without_tokens), 300)


def _no_address(word: re.Match[str]) -> str:
    return "…" if "@" in word[0] else word[0]
