"""How values become words on a page: dates, amounts, lines of others, and our own phrases.

A phrase of a notice is written once a language, in a small form (see `parse_phrase`), and shown
in text and in HTML from the same words. All of it is pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from enum import StrEnum
from html import unescape
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from mailbridge.domain.wording import clean_line
from mailbridge.mail.marking import MARK, could_be_command, guard, mark

__all__ = [
    "Block",
    "BlockKind",
    "Phrase",
    "Wording",
    "bare_command_in",
    "fact_line",
    "parse_phrase",
]

_NBSP = "\u00a0"
_NARROW = "\u202f"
_MONTHS = {
    "fr": (
        "janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre",
        "octobre", "novembre", "décembre",
    ),
    "en": (
        "January", "February", "March", "April", "May", "June", "July", "August", "September",
        "October", "November", "December",
    ),
}  # fmt: skip

_WEEKDAYS = {
    "fr": ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"),
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
}

# A command named in our own words: “!clos”. No blank of any kind stands between sign and quote
# mark, because clients were seen to make plain blanks of no-break ones and then wrap there.
_NAMED = re.compile(r"“[!#][^\s”]+”")


class BlockKind(StrEnum):
    """What a block of a phrase is."""

    PARAGRAPH = "paragraph"
    QUOTE = "quote"
    """Words of others, in a box of their own."""
    WAY = "way"
    """One way out."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a phrase."""

    kind: BlockKind
    text: str


@dataclass(frozen=True, slots=True)
class Phrase:
    """What a notice says: a title, what happened and why, and each way out."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def told(self) -> tuple[Block, ...]:
        """What happened and why."""
        return tuple(b for b in self.blocks if b.kind is not BlockKind.WAY)

    @property
    def ways(self) -> tuple[Block, ...]:
        """What the reader can do now."""
        return tuple(b for b in self.blocks if b.kind is BlockKind.WAY)


def parse_phrase(text: str) -> Phrase:
    """Read a rendered phrase.

    Its first line is the title; `- ` starts a way out, `> ` words of others; other lines make
    paragraphs, which a blank line ends. A line goes on where the next one is indented.
    """
    title = ""
    blocks: list[Block] = []
    joins = False
    for raw in text.strip("\n").split("\n"):
        line = raw.strip()
        if not line:
            joins = False
            continue
        if not title:
            title = line
            continue
        if line.startswith("- "):
            blocks.append(Block(BlockKind.WAY, line[2:].strip()))
        elif line.startswith("> "):
            blocks.append(Block(BlockKind.QUOTE, line[2:].strip()))
        elif joins:
            last = blocks.pop()
            blocks.append(Block(last.kind, f"{last.text} {line}"))
        else:
            blocks.append(Block(BlockKind.PARAGRAPH, line))
        joins = blocks[-1].kind is not BlockKind.QUOTE
    return Phrase(title, tuple(blocks))


def bare_command_in(html: str) -> str | None:
    """Says so if a rendered page shows a line that could be a command; for the shop's own."""
    visible = re.sub(r"(?is)<(style|script|head)\b.*?</\1>", "", html)
    lines = re.sub(r"(?i)<br\b[^>]*>|</?(?:p|div|t[dhr]|table|li|[uo]l|h\d)\b[^>]*>", "\n", visible)
    shown = unescape(re.sub(r"<[^>]*>", "", lines))
    if any(could_be_command(line) for line in shown.split("\n")):
        return "shows a line that starts with a command sign; put words before it"
    return None


class Wording:
    """Words for one language and zone; its methods are what templates call."""

    def __init__(self, language: str, zone: ZoneInfo) -> None:
        self.language = language if language in _MONTHS else "fr"
        self._zone = zone

    @property
    def functions(self) -> dict[str, Callable[..., str]]:
        """What templates find under these names."""
        return {
            "day": self.day,
            "moment": self.moment,
            "deadline": self.deadline,
            "weekday_of": self.weekday_of,
            "when": self.when,
            "money": self.money,
            "euros": self.euros,
            "said": self.said,
            "rich": self.rich,
            "quoted": self.quoted,
            "lines": self.lines,
        }

    def day(self, moment: datetime) -> str:
        """`21 novembre 2026`, `21 November 2026`."""
        local = moment.astimezone(self._zone)
        number = "1er" if local.day == 1 and self.language == "fr" else str(local.day)
        month = _MONTHS[self.language][local.month - 1]
        return f"{number}{_NBSP}{month} {local.year}"

    def moment(self, moment: datetime) -> str:
        """`21 novembre 2026 à 10:02`, `21 November 2026 at 10:02`."""
        clock = f"{moment.astimezone(self._zone):%H:%M}"
        return f"{self.day(moment)} {'à' if self.language == 'fr' else 'at'}{_NBSP}{clock}"

    def deadline(self, moment: datetime) -> str:
        """`lundi 23 novembre 2026 à 10:02`: a moment by which something is to be done."""
        return f"{self._weekday(moment)} {self.moment(moment)}"

    def weekday_of(self, moment: datetime) -> str:
        """`lundi 23 novembre 2026`: the day a moment belongs to."""
        return f"{self._weekday(moment)} {self.day(moment)}"

    def _weekday(self, moment: datetime) -> str:
        return _WEEKDAYS[self.language][moment.astimezone(self._zone).weekday()]

    def when(self, fact: object) -> str:
        """A fact that tells a time: ISO 8601 with a zone is put into words, words stay."""
        text = str(fact)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return text
        return self.moment(moment) if moment.utcoffset() is not None else text

    def money(self, amount: Decimal) -> str:
        """`1 234,50 €`, `€1,234.50`."""
        exact = amount.quantize(Decimal("0.01"), ROUND_HALF_UP)
        figures = f"{exact:,.2f}"
        if self.language == "en":
            return f"-€{figures[1:]}" if exact < 0 else f"€{figures}"
        return figures.replace(",", _NARROW).replace(".", ",") + f"{_NBSP}€"

    def euros(self, fact: object) -> str:
        """A fact that tells an amount, such as `12.50`; words stay."""
        try:
            return self.money(Decimal(str(fact)))
        except InvalidOperation:
            return str(fact)

    def spaced(self, text: str) -> str:
        """Our own words with the no-break spaces that French wants, commands tied to words."""
        if self.language == "fr":
            text = re.sub(r"« ", f"«{_NBSP}", text)
            text = re.sub(r" ([»:;?!])", rf"{_NBSP}\1", text)
        return guard(text)

    def said(self, text: str) -> str:
        """Words for the text part: our own or another's, nothing in them passes for a command."""
        return self.spaced(text)

    @staticmethod
    def quoted(text: str) -> str:
        """One line of another's, marked whatever it is; literal, no spacing of ours."""
        marked = mark(text)
        return marked if marked.startswith(MARK) else MARK + marked

    def rich(self, text: str) -> Markup:
        """Our own words for the HTML part; a command named in them stays in one piece."""
        out, end, plain = Markup(), 0, self.spaced(text)
        for found in _NAMED.finditer(plain):
            named = Markup('<span style="white-space:nowrap">{}</span>').format(found[0])
            out += escape(plain[end : found.start()]) + named
            end = found.end()
        return out + escape(plain[end:])

    @staticmethod
    def lines(text: str) -> Markup:
        """Words of others for the HTML part: marked, literal, `<br>` between lines.

        `white-space: pre-line` is lost when Roundcube quotes; `<br>` is not.
        """
        shown = [_indented(line) for line in mark(text).split("\n")]
        return Markup("<br>\n").join(shown)


def _indented(line: str) -> Markup:
    flat = line.replace("\t", "    ").rstrip()
    body = flat.lstrip(" ")
    return escape(_NBSP * min(len(flat) - len(body), 40) + body)


_LITERAL = frozenset({"line", "other", "meant", "instead"})
"""Facts that are commands: shown in a box or in quote marks, which guard them."""


def fact_line(name: str, value: object) -> str:
    """A fact as one line, whatever it is made of; marked unless it is a command by its nature."""
    line = clean_line(str(value), 600)
    return line if name in _LITERAL else mark(line)
