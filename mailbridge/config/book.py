"""Where the checks between keys write what they find.

Each remark names the key to change first, then the keys it also rests on: if one of those was
wrong already, the remark would be about a stand-in (see `loader`) and is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable

from mailbridge.config.lines import Path as KeyPath

__all__ = ["Book"]


class Book:
    """Collects remarks as (key path, text)."""

    def __init__(self, faulty: Iterable[KeyPath] = ()) -> None:
        """`faulty`: the key paths whose values stand in for wrong ones."""
        self._faulty = tuple(faulty)
        self.mistakes: list[tuple[KeyPath, str]] = []
        self.warnings: list[tuple[KeyPath, str]] = []

    def mistake(self, path: KeyPath, text: str, *rests_on: KeyPath) -> None:
        """Something that cannot work."""
        if self._sound(path, *rests_on):
            self.mistakes.append((path, text))

    def warning(self, path: KeyPath, text: str, *rests_on: KeyPath) -> None:
        """Something that works, but hardly as meant."""
        if self._sound(path, *rests_on):
            self.warnings.append((path, text))

    def _sound(self, *paths: KeyPath) -> bool:
        return not any(
            path[: len(wrong)] == wrong or wrong[: len(path)] == path
            for path in paths
            for wrong in self._faulty
        )
