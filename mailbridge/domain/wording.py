"""How words of others are made safe to show, and made equal to compare.

Customers, shops and marketplaces write names and texts that reach headers, terminals and
templates. Everything of theirs passes through here first.
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata

__all__ = ["clean_line", "clean_text", "comparable", "fold_line", "text_hash"]

_BREAKS = re.compile("\r\n|\r|\u2028|\u2029|\x85")
_BLANKS = re.compile(r"\s+")
_CUT = "\n[…]"
_TAGS = re.compile(r"<[^<>]{1,200}>")


def _shown(char: str) -> bool:
    """False for controls, format characters (bidi marks, zero-width) and lone surrogates.

    U+200D stays: it joins emoji. U+200C stays: Persian is written with it.
    """
    return char in "\u200c\u200d" or unicodedata.category(char) not in ("Cc", "Cf", "Cs")


def clean_line(text: str, limit: int = 100) -> str:
    """One line for a header: no controls, blanks squeezed, at most `limit` characters."""
    shown = "".join(c for c in text[: limit * 20] if c.isspace() or _shown(c))
    line = _BLANKS.sub(" ", shown).strip()
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def clean_text(text: str, limit: int = 100_000) -> str:
    """Running text with `\\n` line ends, no controls but tab and newline, at most `limit` long."""
    kept = _printable(text)
    return kept if len(kept) <= limit else kept[: limit - len(_CUT)].rstrip() + _CUT


def _printable(text: str) -> str:
    return "".join(c for c in _BREAKS.sub("\n", text) if c in "\n\t" or _shown(c))


def fold_line(line: str) -> str:
    """A line as the command grammar compares it: NFKC, no format characters, single blanks."""
    flat = unicodedata.normalize("NFKC", line)
    return _BLANKS.sub(" ", "".join(c for c in flat if unicodedata.category(c) != "Cf")).strip()


def comparable(text: str) -> str:
    """A text as two copies of it are compared, whatever the relay did on its way.

    NFKC, letter case, blanks, line ends, tags and all that `clean_text` drops are left out (so
    a text that shows nothing equals the empty one): integrators match a reply that comes back
    on exactly this (see docs/cdiscount.md). References stand for what they name, twice over: a
    store that escapes what is escaped already is common.
    """
    if "&" in text:
        text = html.unescape(html.unescape(_printable(text)))
    bare = _TAGS.sub(" ", text)
    flat = unicodedata.normalize("NFKC", bare).casefold()
    return "".join(
        c for c in flat if not c.isspace() and unicodedata.category(c) not in ("Cf", "Cc", "Cs")
    )


def text_hash(text: str) -> str:
    """Hex SHA-256 (first 32 digits) of the comparable text; equal texts have equal hashes."""
    return hashlib.sha256(comparable(text).encode("utf-8", "surrogatepass")).hexdigest()[:32]
