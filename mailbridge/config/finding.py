"""What is wrong or unwise in a configuration, as values, and how a found value is shown.

A finding speaks to the person who edits the file: where, what was found, what is allowed. Values
of secrets never come here: who makes a finding leaves them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ConfigError", "Finding", "shown"]

_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake or warning; `where` is a key path such as `accounts.shop.imap.port`."""

    where: str
    """Empty where the file as a whole is meant."""
    text: str
    line: int | None = None
    """From 1; None where no line is to blame."""
    column: int | None = None

    def render(self, path: Path) -> str:
        """One line in the form compilers use, which editors and terminals follow."""
        place = ":".join(str(part) for part in (path, self.line, self.column) if part is not None)
        return f"{place}: {self.where}: {self.text}" if self.where else f"{place}: {self.text}"


class ConfigError(Exception):
    """The configuration cannot be used; holds every mistake at once, in the file's order."""

    def __init__(self, path: Path, mistakes: Sequence[Finding]) -> None:
        self.path = path
        self.mistakes = tuple(mistakes)
        super().__init__(path, self.mistakes)

    def __str__(self) -> str:
        return "\n".join(mistake.render(self.path) for mistake in self.mistakes)


def shown(value: object) -> str:
    """A found value as a person wrote it, in at most 60 characters and one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            text = value.encode("unicode_escape").decode() if not value.isprintable() else value
            text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
            return f'"{text}"'
        case int() | float():
            text = str(value) if abs(value) < 10**_LONGEST else "a huge number"
            return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
        case dict():
            return "a table"
        case list():
            return "a list"
    return "a date or time"
