"""The form all four state machines share: a table of allowed moves and nothing else.

A machine is data. `next` is the only way a state changes, so a row of the journal can never hold
a state that its table does not reach. Each machine's own file holds its theory and its table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

__all__ = ["ForbiddenMove", "Machine"]

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


class ForbiddenMove(Exception):
    """A move the table does not allow: a fault of ours, never of the outside world."""


@dataclass(frozen=True, slots=True)
class Machine(Generic[S, E]):
    """`moves[state][event]` is the next state; `final` states have no moves out."""

    name: str
    start: S
    moves: Mapping[S, Mapping[E, S]]

    def next(self, state: S, event: E) -> S:
        """The state after `event`; raises ForbiddenMove where the table has no such move."""
        try:
            return self.moves[state][event]
        except KeyError:
            raise ForbiddenMove(f"{self.name}: no move from {state} on {event}") from None

    @property
    def final(self) -> frozenset[S]:
        """States in which nothing is left to do."""
        return frozenset(state for state, moves in self.moves.items() if not moves)

    def diagram(self) -> str:
        """The table as a Mermaid state diagram, for `docs/`."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.start}"]
        lines += [
            f"    {state} --> {target}: {event}"
            for state, moves in self.moves.items()
            for event, target in moves.items()
        ]
        lines += [f"    {state} --> [*]" for state in self.moves if state in self.final]
        return "\n".join(lines) + "\n"
