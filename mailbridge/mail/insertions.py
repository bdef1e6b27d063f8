"""Words typed between the lines of a quote that has no marks (Outlook, webmails).

Behind an unmarked introduction all is taken for the quote, so answers written into it would be
lost without a word. Here they are found, to be told, never to be sent: what is theirs and what is
the quote's cannot be told apart for certain. A line counts only between two lines of the mail
that was answered, in its order, and only if most of its words are not of that mail: what clients
change in a quote (tables, links, pictures) stays unremarked, and so do signatures and disclaimers
below it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mailbridge.domain.wording import comparable

__all__ = ["insertions"]

_MAX_LINES = 600
_ANCHOR = 6
"""Letters and signs that make a line worth finding again."""
_NO_WORDS = re.compile(r"https?://\S+|\[(?:cid|image)\b[^\]]*\]|<[^<>]*>|\S+@\S+")
_WORD = re.compile(r"[^\W_]{2,}")


def insertions(quote: Sequence[str], answered: Sequence[str]) -> tuple[str, ...]:
    """The lines of an unmarked `quote` that its writer put in.

    `answered` are the bodies of the mail that is quoted, as text: a line is put in where none of
    them has it. Nothing is found without them.
    """
    vocabulary = {word for text in answered for word in _words(text)}
    lines = quote[:_MAX_LINES]
    found = [_between(lines, comparable(text), vocabulary) for text in answered if text.strip()]
    if not found:
        return ()
    everywhere = set.intersection(*found)
    return tuple(line.strip() for at, line in enumerate(lines) if at in everywhere)


def _between(lines: Sequence[str], whole: str, vocabulary: set[str]) -> set[int]:
    """Indices of strange lines that stand between two lines of the mail."""
    found: set[int] = set()
    strange: list[int] = []
    position, begun = 0, False
    for at, line in enumerate(lines):
        key = comparable(line)
        where = whole.find(key, position) if len(key) >= _ANCHOR else -1
        if where >= 0:
            found.update(strange)
            strange.clear()
            position, begun = where + len(key), True
        elif begun and key and key not in whole and _is_strange(line, vocabulary):
            strange.append(at)
    return found


def _is_strange(line: str, vocabulary: set[str]) -> bool:
    words = _words(line)
    words = [w for w in words if len(w) > 3] or words  # « il est » stands in every mail
    return sum(word not in vocabulary for word in words) * 2 > len(words)


def _words(text: str) -> list[str]:
    return _WORD.findall(_NO_WORDS.sub(" ", text).casefold())
