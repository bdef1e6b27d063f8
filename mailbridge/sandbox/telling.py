"""How the demo speaks: scenes, panels and tables for a terminal of any width and colour.

Our own sentences are English and may hold rich's markup; words of mails are shown as they are
and never read as markup. Pauses for reading are made on a terminal only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from mailbridge.sandbox.agent import SeenMail

__all__ = ["Teller", "shortened"]

_WIDEST = 96


class Teller:
    """Speaks to one console."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._width = min(console.width, _WIDEST)

    async def pause(self, seconds: float) -> None:
        """Time to read, where somebody is reading."""
        if self.console.is_terminal:
            await asyncio.sleep(seconds)

    def show(self, what: RenderableType) -> None:
        """Anything of rich's."""
        # The command's console never wraps lines by itself, for the sake of pipes.
        self.console.print(what, width=self._width, soft_wrap=False)

    def scene(self, number: int, title: str) -> None:
        """A heading."""
        self.show(Text())
        self.show(Rule(f"[bold]{number}. {title}[/]", align="left", style="cyan"))

    def say(self, words: str) -> None:
        """A sentence of ours; markup allowed."""
        self.show(Text.from_markup(words))

    def line(self, words: str) -> None:
        """A line to be copied: never broken, never read as markup."""
        self.console.print(Text(words), soft_wrap=True)

    def done(self, words: str) -> None:
        """Something that was seen to be so."""
        self.show(_marked("✓", "green", words))

    def held(self, words: str) -> None:
        """Something that was stopped."""
        self.show(_marked("■", "yellow", words))

    def event(self, moment: str, mark: str, style: str, words: str) -> None:
        """One line of a log, on a terminal cut to its width."""
        line = Text.assemble((moment, "dim"), " ", (f"{mark:<9}", style), " ", words)
        if self.console.is_terminal:
            line.truncate(self.console.width, overflow="ellipsis")
        self.console.print(line, soft_wrap=True)

    def paper(
        self,
        title: str,
        text: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        style: str = "blue",
    ) -> None:
        """A mail, or what somebody types."""
        head = Text("\n").join(
            Text.assemble((f"{name}: ", "dim"), value) for name, value in headers
        )
        parts: list[RenderableType] = [head, Text()] if head.plain else []
        body = Group(*parts, Text(text))
        self.show(Panel(body, title=title, title_align="left", border_style=style))

    def folder(self, name: str, mails: Sequence[SeenMail]) -> None:
        """A folder as a mail client lists it; unread ones bold with a dot."""
        who = 22
        # Two spaces of padding between the columns, one at the left, and the dot.
        what = self._width - who - 8
        table = Table(title=f"Folder {name}", title_justify="left", title_style="dim", box=None)
        table.add_column("", width=1)
        table.add_column("From", width=who, no_wrap=True, overflow="ellipsis")
        table.add_column("Subject", width=what, no_wrap=True, overflow="ellipsis")
        for mail in mails:
            style = "" if mail.seen else "bold"
            author = str(mail.message["From"]).partition(" <")[0].strip('"')
            table.add_row(
                Text("" if mail.seen else "●", "cyan"),
                Text(author, style),
                # The id at its end is what makes the subject one of a kind.
                Text(shortened(mail.subject, what), style),
            )
        self.show(Padding(table, (0, 0, 0, 1)))


def shortened(text: str, width: int) -> str:
    """`text` on one line, with its middle left out where it is longer than `width`."""
    line = " ".join(text.split())
    if len(line) <= width:
        return line
    tail = line[-16:] if line.endswith(")") else ""
    return line[: max(1, width - len(tail) - 1)] + "…" + tail


def _marked(mark: str, style: str, words: str) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_row(Text(mark, style), Text.from_markup(words))
    return grid
