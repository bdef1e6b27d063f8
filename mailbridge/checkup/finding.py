"""What a check found, as values, and the notebook in which each part writes.

A part writes down what it has found before it tries the next thing, so that what breaks in the
middle hides nothing. Words are for the operator, in English; `report` puts them on a terminal.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeVar

from mailbridge.daemon import classify
from mailbridge.ops.redaction import Redactor

__all__ = ["Finding", "Notes", "State"]

T = TypeVar("T")


class State(StrEnum):
    """How good or bad a finding is."""

    OK = "ok"
    INFO = "info"
    """Neither good nor bad, or not tried, with the reason."""
    WARN = "warn"
    """It works, and is unwise or costs something."""
    BAD = "bad"
    """It does not work, or will not when it is needed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried. `part` is `machine`, `journal` … or `ACCOUNT/mailbox` …"""

    part: str
    what: str
    state: State
    words: str
    """What was found, in one line; no secret, and no address of a stranger."""
    way_out: str = ""
    """What to do; empty where nothing is to be done, or where `words` say it."""

    @property
    def bad(self) -> bool:
        """Whether a person must act before this works."""
        return self.state is State.BAD

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "state": str(self.state)}


class Notes:
    """The findings of one part."""

    def __init__(self, part: str, redactor: Redactor) -> None:
        self.part = part
        self.findings: list[Finding] = []
        self._redactor = redactor

    def ok(self, what: str, words: str) -> None:
        """It works."""
        self._add(what, State.OK, words, "")

    def info(self, what: str, words: str, way_out: str = "") -> None:
        """Worth knowing."""
        self._add(what, State.INFO, words, way_out)

    def warn(self, what: str, words: str, way_out: str = "") -> None:
        """It works, but."""
        self._add(what, State.WARN, words, way_out)

    def bad(self, what: str, words: str, way_out: str = "") -> None:
        """It does not work."""
        self._add(what, State.BAD, words, way_out)

    def _add(self, what: str, state: State, words: str, way_out: str) -> None:
        # Servers are quoted here, and some repeat what they were sent.
        shown = " ".join(self._redactor.text(words).split())
        self.findings.append(Finding(self.part, what, state, shown, way_out))

    async def attempt(self, work: Awaitable[T]) -> T | None:
        """Await what writes into these notes; what it raises becomes the last of them."""
        try:
            return await work
        except Exception as error:
            # Any: one part's trouble never hides what the others found.
            self.bad("attempt", f"broken off: {classify(error).words}")
            return None
