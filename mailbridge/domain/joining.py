"""Which messages that bear ids are messages we know from an API that gave none.

Theory. When an account goes on through another API of its marketplace, every message shows up
again, now with an id. Taken for new it would be filed a second time; a new one taken for known
would never be seen. So each pair needs a ground, and grounds are tried from the surest to the
weakest, over all pairs, before the next one is tried:

1. the same words at the same moment, by the same author;
2. the same words minutes apart, or off by whole hours: one side has misread a zone, as the hour
   that comes twice in autumn invites;
3. like words (one side has them in markup, cut, or with a line of the relay's below them);
4. other words at the very moment, where nobody else of that kind spoke: an edit;
5. the same words at the same moment by another kind of author: without kinds of its own an API
   leaves them to be guessed from names;
6. the same place: between neighbours that are joined, equally many of one kind on both sides.

What no ground joins stays apart: a listed one is new, a known one is left alone.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from mailbridge.domain.discussion import AuthorKind
from mailbridge.domain.wording import comparable

__all__ = ["Ground", "Joined", "Side", "join"]

_MOMENT = timedelta(seconds=2)
"""Both sides tell fractions of a second, and not equally many digits of them."""
_NEAR = timedelta(minutes=2)
_SHIFTS = (timedelta(0), timedelta(hours=1), timedelta(hours=2))
"""A zone read wrongly is off by Paris' distance from UTC."""
_PLACE = timedelta(hours=3)
"""How far apart two messages of one place may be."""
_TELLING = 20
"""Letters that a text needs to be recognised inside a longer one."""

_MARKUP = re.compile(r"<[^<>]*>")


class Ground(StrEnum):
    """Why two messages are held to be one."""

    SAME = "same words and moment"
    WORDS = "same words"
    LIKE = "like words"
    MOMENT = "same moment"
    AUTHOR = "same words and moment, other author"
    PLACE = "same place"


@dataclass(frozen=True, slots=True)
class Side:
    """One message as one side tells it; `text` is empty where only the hash is left."""

    kind: AuthorKind
    sent_at: datetime
    text_hash: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Joined:
    """A listed message and the known one that it is, by their places in the arguments."""

    known: int
    listed: int
    ground: Ground


Rule = Callable[[Side, Side], bool]


def join(known: Sequence[Side], listed: Sequence[Side]) -> list[Joined]:
    """Pair what is one and the same, each at most once; in the order listed."""
    pairs: dict[int, Joined] = {}
    left = list(range(len(known)))
    letters = [_letters(side.text) for side in (*known, *listed)]

    def take(old: int, new: int, ground: Ground) -> None:
        pairs[new] = Joined(old, new, ground)
        left.remove(old)

    def like(old: int, new: int) -> bool:
        one, other = letters[old], letters[len(known) + new]
        short, long = sorted((one, other), key=len)
        return bool(short) and (short == long or (len(short) >= _TELLING and short in long))

    def pass_over(ground: Ground, fits: Callable[[int, int], bool]) -> None:
        found = sorted(
            (_apart(known[old], listed[new]), abs(old - new), new, old)
            for new in range(len(listed))
            if new not in pairs
            for old in left
            if fits(old, new)
        )
        for _, _, new, old in found:
            if new not in pairs and old in left:
                take(old, new, ground)

    def both(rule: Rule) -> Callable[[int, int], bool]:
        return lambda old, new: rule(known[old], listed[new])

    pass_over(Ground.SAME, both(lambda a, b: _kin(a, b) and _words(a, b) and _at_once(a, b)))
    pass_over(Ground.WORDS, both(lambda a, b: _kin(a, b) and _words(a, b) and _near(a, b)))
    pass_over(
        Ground.LIKE,
        lambda old, new: (
            _kin(known[old], listed[new]) and _near(known[old], listed[new]) and like(old, new)
        ),
    )
    for old, new in _alone(known, left, listed, pairs):
        take(old, new, Ground.MOMENT)
    pass_over(Ground.AUTHOR, both(lambda a, b: _words(a, b) and _at_once(a, b)))
    for old, new in _by_place(known, left, listed, pairs):
        take(old, new, Ground.PLACE)
    return [pairs[new] for new in sorted(pairs)]


def _kin(one: Side, other: Side) -> bool:
    return one.kind is other.kind


def _words(one: Side, other: Side) -> bool:
    return one.text_hash == other.text_hash


def _at_once(one: Side, other: Side) -> bool:
    return abs(one.sent_at - other.sent_at) <= _MOMENT


def _near(one: Side, other: Side) -> bool:
    apart = abs(one.sent_at - other.sent_at)
    return any(abs(apart - shift) <= _NEAR for shift in _SHIFTS)


def _apart(one: Side, other: Side) -> timedelta:
    return abs(one.sent_at - other.sent_at)


def _letters(text: str) -> str:
    """What is left of a text when markup, blanks and punctuation are taken away."""
    # Twice: what was markup on one side may be escaped text on the other.
    bare = _MARKUP.sub(" ", html.unescape(html.unescape(text)))
    return "".join(char for char in comparable(bare) if char.isalnum())


def _alone(
    known: Sequence[Side],
    left: Iterable[int],
    listed: Sequence[Side],
    pairs: Mapping[int, Joined],
) -> list[tuple[int, int]]:
    """Pairs of one moment and kind in which neither side could be anybody else."""
    olds = list(left)
    news = [new for new in range(len(listed)) if new not in pairs]

    def fits(old: int, new: int) -> bool:
        return _kin(known[old], listed[new]) and _at_once(known[old], listed[new])

    found = []
    for old in olds:
        here = [new for new in news if fits(old, new)]
        if len(here) == 1 and sum(fits(other, here[0]) for other in olds) == 1:
            found.append((old, here[0]))
    return found


def _by_place(
    known: Sequence[Side],
    left: Iterable[int],
    listed: Sequence[Side],
    pairs: Mapping[int, Joined],
) -> list[tuple[int, int]]:
    """Pairs between joined neighbours, where both sides have equally many of a kind there.

    The beginning of the discussion is a neighbour, its end is none: what stands there may be new.
    """
    found: list[tuple[int, int]] = []
    free = set(left)
    old_low = new_low = -1
    for new_high in sorted(pairs):
        old_high = pairs[new_high].known
        if old_high < old_low:
            continue  # joined across each other: no place can be told here
        for kind in AuthorKind:
            olds = [
                old
                for old in range(old_low + 1, old_high)
                if old in free and known[old].kind is kind
            ]
            news = [
                new
                for new in range(new_low + 1, new_high)
                if new not in pairs and listed[new].kind is kind
            ]
            together = list(zip(olds, news, strict=False))
            if len(olds) == len(news) and all(
                _apart(known[old], listed[new]) <= _PLACE for old, new in together
            ):
                found += together
        old_low, new_low = old_high, new_high
    return found
