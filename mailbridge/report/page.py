"""The parts of a page on a terminal: titles, grids, lists, lines, and how values are worded.

The rule: colour repeats what a word says already, so that nothing is lost in a pipe, a log or to
a colour-blind eye. All values are shown as text and never as markup; moments are shown in this
machine's zone. What is shown is what `bridge.operations` and `checkup` give; nothing is added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

__all__ = [
    "Answer",
    "count",
    "grid",
    "joined",
    "line",
    "listing",
    "moment",
    "plain",
    "section",
    "show",
    "title",
]

Answer = Mapping[str, Any]
"""What an operation gives."""


def grid(*widths: int) -> Table:
    """Columns of these widths, and one for words that takes the rest of the line."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for width in widths:
        table.add_column(width=width, overflow="fold")
    table.add_column(ratio=1, overflow="fold")
    table.expand = True
    return table


def listing(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    """As wide as its words, the last column wrapped, headed by small words."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for head in heads:
        table.add_column(Text(head), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def title(console: Console, words: str) -> None:
    line(console)
    line(console, words, "bold")


def show(console: Console, what: RenderableType) -> None:
    # `soft_wrap` of the console is for lines; tables wrap in their columns.
    console.print(Padding(what, (0, 0, 0, 2)), soft_wrap=False)


def line(console: Console, words: str = "", style: str = "") -> None:
    console.print(Text(words, style), soft_wrap=False)


def moment(text: str | None) -> str:
    """An ISO 8601 moment in this machine's zone; a dash for none."""
    if not text:
        return "-"
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")


def plain(name: str) -> str:
    """A word of our vocabulary, as one says it: `not_proven` is `not proven`."""
    return name.replace("_", " ")


def joined(*words: str) -> str:
    return "; ".join(word for word in words if word)


def count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def section(
    console: Console, head: str, heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]
) -> None:
    """A titled list; nothing where there are no rows."""
    rows = list(rows)
    if rows:
        title(console, head)
        show(console, listing(heads, rows))
