"""Threads that staff open by writing first about an order, before there is a discussion.

Such a thread is a discussion of ours under a key made from the order's number. Once the
marketplace shows a discussion that begins with our words, the thread takes that one's id and
goes on; its short id, subject and reply address stay what they were.

The address of an order (`mb-order-<number>`) holds no secret: an order's number is known to its
customer and to carriers. It says what a mail is about and proves nothing, so that a mail to it
is worth only what its origin is worth. Nothing here reads a mail or acts.
"""

from __future__ import annotations

import re

from mailbridge.domain.vocabulary import Verb, Vocabulary
from mailbridge.domain.wording import clean_line, fold_line

__all__ = [
    "OPENING_PREFIX",
    "is_opening",
    "nameless_opening",
    "opening_id",
    "opening_title",
    "order_number",
    "order_of_opening",
    "said_number",
]

OPENING_PREFIX = "order:"
"""What the key of a thread begins with that the marketplace knows nothing of; none of its own
ids do."""

_NUMBER = re.compile(r"[0-9A-Z][0-9A-Z-]{3,39}")
_FIRST = re.compile(r"[!#]+ ?([^\W\d_][\w'’-]*)(.*)", re.DOTALL)
_TITLES = {"fr": "Message au client", "en": "Message to the customer"}


def order_number(text: str) -> str | None:
    """An order's number as it is looked for, None for what cannot be one.

    In capitals: addresses lose theirs on the way.
    """
    bare = fold_line(text).strip(" .,;:!#").upper().removeprefix("N°").strip(" #")
    return bare if _NUMBER.fullmatch(bare) else None


def opening_id(number: str) -> str:
    """The key of the thread about this order."""
    return f"{OPENING_PREFIX}{number}"


def nameless_opening(name: str) -> str:
    """The key of a thread for a mail whose order cannot be told; `name` is the mail's own."""
    return f"{OPENING_PREFIX}-{name}"


def is_opening(discussion: str) -> bool:
    """Whether this is the key of a thread that the marketplace has no discussion for yet."""
    return discussion.startswith(OPENING_PREFIX)


def order_of_opening(discussion: str) -> str | None:
    """The order's number in the key of such a thread."""
    number = discussion.removeprefix(OPENING_PREFIX)
    return number if is_opening(discussion) and not number.startswith("-") else None


def said_number(text: str, vocabulary: Vocabulary) -> str | None:
    """The order that the first line names (`!commande NUMBER`), well formed or not.

    None where that line is anything else; a command that is only nearly right counts.
    """
    line = next((flat for raw in text.splitlines() if (flat := fold_line(raw))), "")
    found = _FIRST.match(line.strip("*_`"))
    if found is None:
        return None
    word = next(iter(fold_line(found[1]).casefold().split()), "")
    verb = vocabulary.words.get(word) or vocabulary.near(word)
    return found[2].strip(" :") if verb is Verb.ORDER else None


def opening_title(written: str, language: str) -> str:
    """What the thread is about: the subject its first mail was given, else a general word."""
    return clean_line(written, 300) or _TITLES.get(language, _TITLES["fr"])
