"""On which line of a TOML file each key stands.

`tomllib` says what a file means, not where. This scanner runs over text that tomllib has already
accepted, so it knows only as much grammar as it takes to follow keys, tables and brackets (TOML
1.0), and in doubt it knows a path less, never a wrong line. Values are not read here.
"""

from __future__ import annotations

import bisect
import re
import tomllib
from collections.abc import Iterator

__all__ = ["Lines", "Path"]

Path = tuple[str | int, ...]
"""Keys and, inside lists, positions from 0."""

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^\s,\]}#]+(?: [0-9][0-9:.Zz+-]+)?")  # "1979-05-27 07:32:00" has a space


class Lines:
    """The lines of one file, counted from 1."""

    def __init__(self, text: str) -> None:
        """`text` is TOML that `tomllib.loads` accepts."""
        self._known: dict[Path, int] = {}
        breaks = [found.start() for found in re.finditer("\n", text)]
        for path, offset in _Scanner(text).entries():
            self._known.setdefault(path, bisect.bisect_left(breaks, offset) + 1)

    def of(self, path: Path) -> int | None:
        """The line of this key, else of the nearest table or list around it; None if unknown."""
        for length in range(len(path), 0, -1):
            if (line := self._known.get(path[:length])) is not None:
                return line
        return None


class _Scanner:
    """One pass over the text; stops quietly where it does not understand."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def entries(self) -> Iterator[tuple[Path, int]]:
        """Each key path with the offset it starts at, in the order of the file."""
        table: Path = ()
        counts: dict[Path, int] = {}
        while True:
            self._skip(_BLANK)
            start = self._at
            if start >= len(self._text):
                return
            if self._take("[["):
                keys = self._keys()
                if keys is None:
                    return
                target = (*self._through(keys[:-1], counts), keys[-1])
                position = counts.get(target, -1) + 1
                counts[target] = position
                table = (*target, position)
                yield from _with_parents(table, start)
                self._skip_past("]]")
            elif self._take("["):
                keys = self._keys()
                if keys is None:
                    return
                table = self._through(keys, counts)
                yield from _with_parents(table, start)
                self._skip_past("]")
            else:
                before = self._at
                yield from self._pair(table)
                if self._at == before:
                    return

    def _pair(self, table: Path) -> Iterator[tuple[Path, int]]:
        start = self._at
        keys = self._keys()
        if keys is None:
            return
        path = table + keys
        yield from _with_parents(path, start, above=len(table))
        self._skip(_SPACE)
        if self._take("="):
            self._skip(_SPACE)
            yield from self._value(path)

    def _value(self, path: Path) -> Iterator[tuple[Path, int]]:
        if self._take("["):
            for position in range(len(self._text)):
                self._skip(_BLANK)
                if self._take("]"):
                    return
                start = self._at
                yield (*path, position), start
                yield from self._value((*path, position))
                self._skip(_BLANK)
                self._take(",")
                if self._at == start:
                    return
        elif self._take("{"):
            while True:
                self._skip(_BLANK)
                if self._take("}"):
                    return
                start = self._at
                yield from self._pair(path)
                self._skip(_BLANK)
                self._take(",")
                if self._at == start:
                    return
        elif not self._skip(_STRING):
            self._skip(_SCALAR)

    def _keys(self) -> tuple[str, ...] | None:
        keys: list[str] = []
        while True:
            self._skip(_SPACE)
            start = self._at
            if self._skip(_BARE_KEY):
                keys.append(self._text[start : self._at])
            elif self._skip(_STRING):
                # tomllib itself undoes the escapes of a quoted key.
                (key,) = tomllib.loads(f"{self._text[start : self._at]} = 0")
                keys.append(key)
            else:
                return None
            self._skip(_SPACE)
            if not self._take("."):
                return tuple(keys)

    @staticmethod
    def _through(keys: tuple[str, ...], counts: dict[Path, int]) -> Path:
        """`[a.b]` after `[[a]]` means the last element of `a` (TOML 1.0, array of tables)."""
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in counts:
                path = (*path, counts[path])
        return path

    def _take(self, mark: str) -> bool:
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        return True

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        found = pattern.match(self._text, self._at)
        if found is None or found.end() == self._at:
            return False
        self._at = found.end()
        return True

    def _skip_past(self, mark: str) -> None:
        end = self._text.find(mark, self._at)
        self._at = len(self._text) if end < 0 else end + len(mark)


def _with_parents(path: Path, offset: int, above: int = 0) -> Iterator[tuple[Path, int]]:
    """A dotted key or header names its parents too, unless they were named before."""
    for length in range(above + 1, len(path) + 1):
        yield path[:length], offset
