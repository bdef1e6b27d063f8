"""What `check` has found, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.text import Text

from mailbridge.checkup.finding import Finding, State
from mailbridge.report.page import count, grid, line, show, title

__all__ = ["show_check"]

_COLOURS = {
    State.OK: "green",
    State.INFO: "cyan",
    State.WARN: "yellow",
    State.BAD: "bold red",
}
_WORDS = {State.OK: "ok", State.INFO: "info", State.WARN: "warn", State.BAD: "BAD"}
_WHAT = 18
"""Characters: the longest name of a thing that is tried, `evidence of origin`."""


def show_check(findings: Sequence[Finding], console: Console) -> None:
    """Everything that was found, part by part, and a line that sums it up."""
    for part, group in groupby(findings, key=lambda f: f.part):
        title(console, part)
        table = grid(5, _WHAT)
        for one in group:
            # Key paths are longer than the column: they get a line of their own.
            short = len(one.what) <= _WHAT
            words = Text(one.words if short else f"{one.what}\n{one.words}")
            if one.way_out:
                words.append(f"\n-> {one.way_out}", style="bold" if one.bad else "")
            what = Text(one.what if short else "")
            table.add_row(Text(_WORDS[one.state], _COLOURS[one.state]), what, words)
        show(console, table)
    counted = {state: sum(f.state is state for f in findings) for state in State}
    bad, warned = counted[State.BAD], counted[State.WARN]
    line(console)
    if bad:
        summary = f"{count(bad, 'thing')} must be mended"
        line(console, summary + (f", {count(warned, 'warning')}" if warned else ""), "bold red")
    elif warned:
        line(console, f"works, with {count(warned, 'warning')}", "yellow")
    else:
        line(console, "all is well", "green")
