"""How far a long command has come: a bar on a terminal, plain lines or nothing in a pipe.

What the commands do, and what they give step by step, is `bridge.operations`'s.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

__all__ = ["show_backfill", "steps"]


@contextmanager
def steps(console: Console, what: str, total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """A bar of so many steps; calling what it gives takes one. In a pipe there is none."""
    with _bar(console, shown=shown and console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


async def show_backfill(
    answers: AsyncIterator[dict[str, Any]], as_json: bool, console: Console
) -> None:
    """Show a back-fill under way: a bar on a terminal, plain lines in a pipe, or JSON lines."""
    if as_json:
        async for answer in answers:
            print(json.dumps(answer, ensure_ascii=False, default=str), flush=True)
        return
    if not console.is_terminal:
        async for answer in answers:
            if line := _backfill_line(answer):
                console.print(line)
        return
    with _bar(console) as progress:
        task = progress.add_task("reading the marketplace", total=None)
        base: int | None = None
        async for answer in answers:
            match answer["stage"]:
                case "read":
                    progress.update(task, description=f"{answer['discussions']} discussions")
                case "filing":
                    base = answer["filed"] if base is None else base
                    done = answer["filed"] - base
                    progress.update(
                        task,
                        description="filing mails",
                        completed=done,
                        total=done + answer["left"],
                    )
                case "done":
                    progress.update(task, description="done")
                    console.print(_backfill_line(answer))
                case _:
                    pass


def _backfill_line(answer: dict[str, Any]) -> str:
    """What a stage has to say in words; steps between its beginning and its end say nothing."""
    match answer["stage"]:
        case "reading":
            return "reading the marketplace"
        case "read":
            return f"{answer['discussions']} discussions; filing their mails"
        case "done":
            return (
                f"{answer['discussions']} discussions read, {answer['new']} new, "
                f"{answer['messages']} messages filed, {answer['faults']} unreadable"
            )
        case _:
            return ""


def _bar(console: Console, *, shown: bool = True) -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=console, disable=not shown)
