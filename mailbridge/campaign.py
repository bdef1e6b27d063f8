"""`mailbridge notify` at the terminal: lists of order numbers in, what became of each out.

The daemon is asked for a part of a long list at a time, so that a request stays small and a
mailing that is broken off has done whole parts; what it has done it knows itself.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from mailbridge.ops.control import CommandFailed
from mailbridge.progress import steps

__all__ = ["add_arguments", "notify"]

Answer = dict[str, Any]
Ask = Callable[[dict[str, Any]], AsyncIterator[Answer]]

_PART = 200
"""Orders in one request: far below the size a request may have."""

_COMMENT = re.compile(r"#.*")
_WORDS = {
    "planned": "written to",
    "shown": "would be written to",
    "skipped": "written to before, passed over",
    "refused": "refused",
}


def add_arguments(parser: ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "values", nargs="*", metavar="ORDER | KEY=VALUE", help="order numbers; a template's values"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--template", metavar="NAME", help="a reply template (see: templates list)")
    what.add_argument("--text", metavar="WORDS", help="this text instead; - for standard input")
    parser.add_argument(
        "--file", type=Path, metavar="FILE", help="order numbers, the first word of each line"
    )
    parser.add_argument("--account", help="look for the orders in this account only")
    parser.add_argument(
        "--campaign",
        metavar="NAME",
        help="in one campaign no order is written to twice (default: the template's name)",
    )
    parser.add_argument("--dry-run", action="store_true", help="show each text, send nothing")
    parser.add_argument("--resume", action="store_true", help="pass over who was written to before")
    parser.add_argument("--json", action="store_true", help="one line of JSON an order")


async def notify(arguments: Namespace, ask: Ask, console: Console) -> bool:
    """Write first about all orders named; True if none was refused.

    Raises CommandFailed for what makes no sense, and what `ask` raises.
    """
    numbers, values = _split(arguments.values)
    numbers += _listed(arguments.file) if arguments.file else []
    numbers = list(dict.fromkeys(numbers))
    if not numbers:
        raise CommandFailed("no order named; give numbers, or a list by --file")
    text = sys.stdin.read() if arguments.text == "-" else arguments.text or ""
    if arguments.text is not None and not text.strip():
        raise CommandFailed("--text: there is no text")
    if values and not arguments.template:
        raise CommandFailed(f"{next(iter(values))}=…: only a template takes values")
    call: dict[str, Any] = {
        "campaign": arguments.campaign or arguments.template or _name_of(text),
        "template": arguments.template or "",
        "values": values,
        "text": text,
        "dry_run": arguments.dry_run,
        "resume": arguments.resume,
    }
    if arguments.account:
        call["account"] = arguments.account
    counted: Counter[str] = Counter()
    outcomes = _outcomes(ask, call, numbers)
    if arguments.json:
        async for outcome in outcomes:
            counted[outcome["kind"]] += 1
            print(json.dumps(outcome, ensure_ascii=False), flush=True)
    else:
        with steps(console, "writing", len(numbers), shown=not arguments.dry_run) as step:
            async for outcome in outcomes:
                counted[outcome["kind"]] += 1
                _show(outcome, console)
                step()
        told = [f"{counted[kind]} {words}" for kind, words in _WORDS.items() if counted[kind]]
        console.print(", ".join(told))
    return not counted["refused"]


async def _outcomes(
    ask: Ask, call: dict[str, Any], numbers: Sequence[str]
) -> AsyncIterator[Answer]:
    for start in range(0, len(numbers), _PART):
        async for outcome in ask({**call, "numbers": numbers[start : start + _PART]}):
            yield outcome


def _show(outcome: Answer, console: Console) -> None:
    """Refusals and dry runs, order by order; what goes well is counted at the end."""
    match outcome["kind"]:
        case "refused":
            words = Text(f"{outcome['order']}: ").append(outcome["words"], "yellow")
            console.print(words)
        case "shown":
            thread = outcome.get("discussion") or "a new thread"
            console.print(Text(f"--- {outcome['order']} ({outcome['account']}, {thread})", "bold"))
            console.print(Text(outcome["text"]))
            console.print()
        case _:
            pass


def _split(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Order numbers, and `KEY=VALUE` words."""
    numbers = [word for word in words if "=" not in word]
    values = dict(word.split("=", 1) for word in words if "=" in word)
    if "" in values:
        raise CommandFailed("give values as KEY=VALUE")
    return numbers, values


def _listed(path: Path) -> list[str]:
    """The first word of each line that has one; `#` begins a comment, as in a CSV `;` a column."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CommandFailed(f"{path}: {why}") from None
    return list(_first_words(lines))


def _first_words(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        words = re.split(r"[\s;,]+", _COMMENT.sub("", line).replace('"', " ").strip())
        if words[0]:
            yield words[0]


def _name_of(text: str) -> str:
    """A campaign's name for a text that was given none: the same words are the same campaign."""
    return f"text-{hashlib.sha256(text.strip().encode()).hexdigest()[:12]}"
