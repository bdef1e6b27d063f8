"""How words of others are shown so that no line of theirs can pass for a command.

A customer who writes a command waits for a client that quotes without `>` (Roundcube's top
posting and Outlook's plain text do): the line then stands in the agent's answer as if the agent
had written it. Every line that could be one gets a visible mark, and a sign in the middle of a
line is tied to the word before it, so that re-wrapping cannot move it to the front.
What is a command is `domain.command`'s business; here the net is wider on purpose.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["MARK", "could_be_command", "guard", "mark"]

_NBSP = "\u00a0"

MARK = f"›{_NBSP}"
"""Stands before a line that could pass for a command; wrapping cannot part the two.

The command grammar reads a line that begins so as a quote.
"""

_SIGNS = "!#\u203c\u2049\ufe15\ufe57\ufe5f\uff01\uff03"  # all that NFKC turns into `!…` or `#…`
_SIGN_INSIDE = re.compile(rf"(?<=\S)[^\S\n]+(?=[*_`~]*[{_SIGNS}])")
_WORD_INSIDE = re.compile(rf"(?<=[^\s›])[^\S\n]+(?=[*_`~]*[{_SIGNS}]+[^\W\d_])")

# Seen as blank, or taken off around a line before commands are read (emphasis, quotes, lists).
_LEADING = frozenset("*_`~>|-•·–—'\"«“‘([{\u2800\u3164\u115f\u1160\uffa0")


def could_be_command(line: str) -> bool:
    """True if the first thing a reader sees in this line is a `!` or `#` of any width."""
    for char in unicodedata.normalize("NFKC", line):
        if char in "!#":
            return True
        if not (char.isspace() or char in _LEADING or unicodedata.category(char)[0] in "CMZ"):
            return False
    return False


def mark(text: str) -> str:
    """Words of others (line ends `\n`), with every line that could be a command marked.

    A sign with a letter behind it is marked in the middle of a line too: a client that makes
    plain blanks of no-break ones and wraps could begin a line with it. Idempotent.
    """
    return guard(_WORD_INSIDE.sub(f"{_NBSP}›", text))


def guard(text: str) -> str:
    """Words of ours: signs are tied to the word before them, a line that begins with one marked.

    Idempotent, and it changes nothing that `mark` gave out.
    """
    return "\n".join(_guard_line(line) for line in text.split("\n"))


def _guard_line(line: str) -> str:
    tied = _SIGN_INSIDE.sub(_NBSP, line)
    return MARK + tied.lstrip() if could_be_command(tied) else tied
