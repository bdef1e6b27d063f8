"""A power cut at the nth journal write.

The cut comes either just before a write reaches the disk (its transaction is rolled back, what
was done in the world since the write before stays done) or just after it (nothing that follows
it is done). From then on the old process writes nothing; a new one opens the same journal.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from mailbridge.journal.journal import Journal, Tenure
from mailbridge.journal.transaction import Transaction

__all__ = ["Cut", "Fuse", "Phase", "PowerCut"]


class Phase(StrEnum):
    """On which side of the write the cut comes."""

    BEFORE = "before"
    AFTER = "after"


class PowerCut(BaseException):
    """Not an Exception: nothing in the product may catch and survive it."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One moment at which the power may go."""

    at: int
    """At which journal write, the first is 1."""
    phase: Phase
    what: str
    """The moves this write holds."""

    def __str__(self) -> str:
        return f"stopped {self.phase} write {self.at} ({self.what})"


@dataclass
class Fuse:
    """Counts journal writes and blows at one of them."""

    at: int | None = None
    phase: Phase = Phase.AFTER
    writes: int = 0
    blown: bool = False
    what: dict[int, str] = field(default_factory=dict)
    """Of each write the moves it held."""

    def cuts(self) -> list[Cut]:
        """All cuts worth trying."""
        return [
            Cut(at, phase, self.what[at])
            for at in range(1, self.writes + 1)
            for phase in self._worth(at)
        ]

    def _worth(self, at: int) -> tuple[Phase, ...]:
        """Which cuts at this write differ from one at its neighbours: nothing is done in the
        world between two writes, except after one that says it is about to be done."""
        begins = " begin" in self.what[at]
        return (Phase.BEFORE, Phase.AFTER) if begins else (Phase.BEFORE,)

    def fit(self, journal: Journal) -> None:
        """From now on writes of this journal go through the fuse."""
        real = journal.write

        @asynccontextmanager
        async def write(tenure: Tenure) -> AsyncIterator[Transaction]:
            if self.blown:
                raise PowerCut
            async with real(tenure) as tx:
                yield tx
                self.writes += 1
                self.what[self.writes] = ", ".join(tx.noted)
                if self.writes == self.at and self.phase is Phase.BEFORE:
                    self.blown = True
                    raise PowerCut
            if self.writes == self.at:
                self.blown = True
                raise PowerCut

        journal.write = write  # type: ignore[method-assign]
