"""The sandbox's time: one clock shared by every server of a scenario.

Nothing in the sandbox asks the machine for the time of day; it calls a `Clock`. Tests hand in a
`HandClock` and move it; the demo hands in `wall_clock`. Waiting (timeouts, hangs) stays real.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

__all__ = ["Clock", "HandClock", "wall_clock"]

Clock = Callable[[], datetime]
"""Gives the present as an aware datetime."""


def wall_clock() -> datetime:
    """The machine's time, in UTC."""
    return datetime.now(UTC)


class HandClock:
    """A clock that moves only when it is told to."""

    def __init__(self, start: datetime) -> None:
        """`start` must be aware."""
        self._now = _aware(start)

    def __call__(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> datetime:
        """Move on and return the new time; a negative `by` raises ValueError."""
        if by < timedelta(0):
            raise ValueError("a clock does not run backwards; use set()")
        self._now += by
        return self._now

    def set(self, moment: datetime) -> None:
        """Jump to an aware moment, also into the past (a machine whose clock was wrong)."""
        self._now = _aware(moment)


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("the sandbox works with aware times only")
    return moment.astimezone(UTC)
