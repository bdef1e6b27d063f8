"""Orders that could not be read: what an adapter remembers of them, for `order_faults`.

Answers about orders carry only what could be read; the rest must not be forgotten for that. Kept
for the life of the adapter: what outlives it is the journal's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["OrderFaults"]

_MOST = 1000
"""More than these is no fault of single orders; memory has a bound."""


class OrderFaults:
    """What is wrong with orders, by number."""

    def __init__(self) -> None:
        self._words: dict[str, str] = {}

    @property
    def words(self) -> Mapping[str, str]:
        """As it stands."""
        return dict(self._words)

    def took(self, asked: Iterable[str], faults: Mapping[str, str]) -> None:
        """An answer about what was `asked` for or listed, and what in it could not be read."""
        for number in asked:
            self._words.pop(number, None)
        for number, words in faults.items():
            if number in self._words or len(self._words) < _MOST:
                self._words[number] = words
