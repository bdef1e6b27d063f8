"""Sums of money as people write them in a command; exact, and never guessed at."""

from __future__ import annotations

import re
from decimal import Decimal

from mailbridge.domain.wording import fold_line

__all__ = ["leading_amount", "looks_like_amount", "odd_figures", "parse_amount"]

_AMOUNT = re.compile(r"([0-9]{1,3}(?: [0-9]{3})+|[0-9]{1,7})(?:[.,]([0-9]{1,2}))?")
_EUROS = re.compile(r" ?(?:€|\beuros?\b|\beur\b)(?= |$)", re.IGNORECASE)
_LIKE_AMOUNT = re.compile(r"[+-]?[0-9][0-9 .,]*")


def leading_amount(text: str) -> tuple[Decimal | None, str]:
    """The amount a text begins with (None where that is none) and what follows its currency."""
    found = _AMOUNT.match(text)
    if found is None:
        return None, text
    after = text[found.end() :]
    if currency := _EUROS.match(after):
        after = after[currency.end() :]
    return parse_amount(found[0]), after


def looks_like_amount(text: str) -> bool:
    """Rather a sum of money than a reference."""
    plain = _EUROS.sub("", text)
    if not _LIKE_AMOUNT.fullmatch(plain.strip()):
        return False
    # A long bare number is a reference (an EAN has 8 or 13 digits); `ref` before it always says so.
    return plain != text or bool(re.search(r"[., +-]", plain)) or len(plain) <= 5


def parse_amount(text: str) -> Decimal | None:
    """`12`, `12,5`, `12.50`, `1 234,50 €` as euros; None for all else, zero and `1.234` too.

    Three digits behind a dot or comma may be thousands or a slip: no guess is made.
    """
    flat = fold_line(text)
    found = _AMOUNT.fullmatch(_EUROS.sub("", flat).strip())
    if found is None or odd_figures(text):
        return None
    amount = Decimal(f"{found[1].replace(' ', '')}.{found[2] or '0'}").quantize(Decimal("0.01"))
    return amount if amount > 0 else None


def odd_figures(text: str) -> bool:
    """NFKC reads « 5² » as 52: no figure that isn't plainly one moves money."""
    return any(c.isdigit() for c in text if not c.isascii())
