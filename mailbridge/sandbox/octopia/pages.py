"""Long lists in pieces: by number of the page, or by a cursor."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from mailbridge.sandbox.octopia.asking import Answer, Json, Problem

__all__ = ["cursor_page", "numbered_page"]

_MOST = 100
_MOST_BY_CURSOR = 1000
_Item = TypeVar("_Item")


def numbered_page(
    query: Mapping[str, str],
    items: Sequence[_Item],
    show: Callable[[_Item], Json],
    *,
    size: int,
) -> Answer:
    """`pageIndex` from 1 and `pageSize`; there is no total. Raises Problem."""
    index = _number(query, "pageIndex", 1, None)
    size = _number(query, "pageSize", size, _MOST)
    start = (index - 1) * size
    more = start + size < len(items)
    document: Json = {
        "itemsPerPage": size,
        "items": [show(item) for item in items[start : start + size]],
    }
    return Answer(document, next={"pageIndex": str(index + 1)} if more else None)


def cursor_page(
    query: Mapping[str, str], items: Sequence[_Item], show: Callable[[_Item], Json]
) -> Answer:
    """`limit` and an opaque `cursor`. Raises Problem."""
    size = _number(query, "limit", 50, _MOST_BY_CURSOR)
    try:
        start = int(base64.urlsafe_b64decode(query["cursor"])) if "cursor" in query else 0
    except (binascii.Error, ValueError):
        raise Problem.of("cursor", "The cursor is not valid.") from None
    document: Json = {
        "itemsPerPage": size,
        "items": [show(item) for item in items[start : start + size]],
    }
    if start + size >= len(items):
        return Answer(document)
    cursor = base64.urlsafe_b64encode(str(start + size).encode()).decode()
    return Answer(document, next={"cursor": cursor})


def _number(query: Mapping[str, str], name: str, default: int, most: int | None) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise Problem.of(name, f"The value '{text}' is not valid.")
    if most is not None and int(text) > most:
        raise Problem.of(name, f"The field {name} must be between 1 and {most}.")
    return int(text)
