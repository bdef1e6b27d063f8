"""The commands that staff write in their replies: the grammar, pure and closed.

A command is a whole line: `!` (or `#` where no money moves), a word of the vocabulary, and its
argument. The rule is to fail closed: a line that is nearly a command, or one that stands where
it is not obeyed, holds the whole mail. A delay costs less than a tag in a customer's mailbox or
a refund nobody meant. What a verb does, and whether it may, is decided elsewhere; where the text
comes from (quotes and signature already gone) is `mail.authored`'s business. The words themselves
are in `vocabulary`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import combinations

from mailbridge.domain.amount import leading_amount, looks_like_amount, odd_figures
from mailbridge.domain.notice import HoldReason
from mailbridge.domain.vocabulary import Verb, Vocabulary, bare_word
from mailbridge.domain.wording import clean_line, fold_line

__all__ = [
    "Command",
    "Held",
    "Parsed",
    "command_key",
    "command_lines",
    "parse",
]

_MONEY = frozenset({Verb.REFUND, Verb.GESTURE, Verb.CONFIRM})
"""Only with `!`: these move money or release what does."""
_BEFORE_TEXT = _MONEY | {Verb.NOTE, Verb.ORDER}
"""Obeyed on the first lines only: what stands further down may be a quote that was missed."""
_PLAIN = frozenset({Verb.CLOSE, Verb.REOPEN, Verb.CANCEL, Verb.RESEND})
"""Verbs that take no argument."""

_EXCLUDE = frozenset(
    frozenset(pair)
    for pair in (
        (Verb.CLOSE, Verb.REOPEN),
        (Verb.CLOSE, Verb.ORDER),
        (Verb.REOPEN, Verb.ORDER),
        (Verb.NOTE, Verb.TEMPLATE),
        (Verb.NOTE, Verb.SEND),
        (Verb.NOTE, Verb.RESEND),
        (Verb.NOTE, Verb.ORDER),
        (Verb.SEND, Verb.CANCEL),
        (Verb.SEND, Verb.RESEND),
        (Verb.SEND, Verb.ORDER),
        (Verb.CANCEL, Verb.RESEND),
        (Verb.CANCEL, Verb.CONFIRM),
        (Verb.CANCEL, Verb.REFUND),
        (Verb.CANCEL, Verb.GESTURE),
    )
)
_MAY_REPEAT = frozenset({Verb.NOTE, Verb.TEMPLATE, Verb.HELP})


@dataclass(frozen=True, slots=True)
class Command:
    """One command, its argument checked for form only."""

    verb: Verb
    argument: str = ""
    """Refund: `total` or a seller reference; send, confirm: the code, six digits or empty (send);
    template: its name; order: its number; note, help: free words; gesture: the amount."""
    line: str = ""
    """As written, cleaned, for notices."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Template: its values. Refund: `shipping` = `yes` or `no`, `cause`. Gesture: `motive`. Close:
    `template`, the title of the reply template that asks for it, if it is not the agent."""
    amount: Decimal | None = None
    """Gesture: in euros, more than zero, at most two decimals."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A text whose commands may be obeyed."""

    commands: tuple[Command, ...]
    text_without_commands: str
    """What is left for the customer (or for the note), stripped, without seams."""
    pieces: tuple[str | Command, ...] = ()
    """The same text in its order, cut where a template is asked for."""


@dataclass(frozen=True, slots=True)
class Held:
    """Nothing may be sent or done; `facts` as `HoldReason` names them."""

    reason: HoldReason
    facts: Mapping[str, str] = field(default_factory=dict)


def parse(
    text: str, vocabulary: Vocabulary | None = None, *, echoed: Sequence[str] = ()
) -> Parsed | Held:
    """Read the commands of an authored text.

    `echoed` are lines that also stand in texts of the customer or of ours: none of them is
    obeyed. Never raises; the time is linear in the length of `text`.
    """
    vocabulary = vocabulary or Vocabulary.default()
    echoes = {command_key(line) for line in echoed}
    commands: list[Command] = []
    kept: list[str | Command] = []
    seen_text = False
    for line in text.splitlines():
        read = _read(line, vocabulary)
        if read is None:
            kept.append(line.rstrip())
            seen_text = seen_text or bool(fold_line(line))
            continue
        if command_key(line) in echoes:
            return Held(HoldReason.ECHOED_COMMAND, {"line": clean_line(line)})
        if isinstance(read, Held):
            return read
        if seen_text and read.verb in _BEFORE_TEXT:
            return Held(HoldReason.MISPLACED_COMMAND, {"line": read.line})
        commands.append(read)
        if read.verb is Verb.TEMPLATE:
            kept.append(read)
    unique = _without_repeats(commands)
    if isinstance(unique, Held):
        return unique
    pieces = _pieces(kept)
    words = "\n\n".join(piece for piece in pieces if isinstance(piece, str))
    return Parsed(unique, words, pieces)


def command_key(line: str) -> str:
    """A line reduced to what the grammar sees of it, to compare two copies of one command.

    Currency words are one: a client's HTML-to-text turns `12,50 €` into `12,50 EUR`.
    """
    key = bare_word(_undecorated(fold_line(line)))
    key = re.sub(r"([!#]) ", r"\1", key, count=1)
    key = re.sub(r" ?(€|\beuros?\b|\beur\b)", "€", key)
    return key.rstrip(" .,;:!")


_COMMAND_LIKE = re.compile(r"[!#]+ ?[^\W\d_]")


def command_lines(text: str) -> tuple[str, ...]:
    """Lines that begin as a command does: a sign, then a letter. The vocabulary has no say."""
    return tuple(
        line for line in text.splitlines() if _COMMAND_LIKE.match(_undecorated(fold_line(line)))
    )


_SIGNED = re.compile(r"([!#]+)( ?)([^\W\d_][\w'’-]*)(.*)", re.DOTALL)
_TRAILING = re.compile(r"(?:^|.*?[\s.,;:!?…)])(!([^\W\d_][\w'’-]*))[\s.!]*", re.DOTALL)
_DECORATION = "-*•·–—_~`\"'«“‘([{ "
_MARKED = ("›", ">", "|")
"""A line that begins so is a quote: the customer's words as we show them, or as clients do."""


def _read(line: str, vocabulary: Vocabulary) -> Command | Held | None:
    """One line: a command, a reason to hold, or None for text."""
    flat = fold_line(line)
    if not flat or flat.startswith(_MARKED):
        return None
    bare = _undecorated(flat)
    found = _SIGNED.fullmatch(bare)
    if found is None:
        return _read_beside(flat, line, vocabulary)
    signs, gap, word, rest = found[1], found[2], bare_word(found[3]), found[4]
    verb = vocabulary.words.get(word)
    near = verb or vocabulary.near(word)
    alone = not rest.strip(" .,;:!")
    if len(signs) > 1:
        return _near(line, near) if near and (verb or alone) else None
    if verb is None:
        if near and (alone or (signs == "!" and not gap)):
            return _near(line, near)
        # « ! » and a blank end a French sentence, and re-wrapping may put both on the next
        # line; `#word` is a hashtag or a title. Only `!word` has no other reading.
        unknown = signs == "!" and not gap
        return Held(HoldReason.UNKNOWN_COMMAND, {"line": clean_line(line)}) if unknown else None
    if signs == "#" and verb in _MONEY:
        return _near(line, verb)
    return _command(verb, rest, line)


def _read_beside(flat: str, line: str, vocabulary: Vocabulary) -> Held | None:
    """Lines that are a command but for something around it: a list mark, or words before it."""
    inner = flat.strip(_DECORATION + ")]}»”’")
    if inner != flat and (found := _SIGNED.fullmatch(inner)) and found[1] == "!" and not found[2]:
        verb = vocabulary.words.get(bare_word(found[3]))
        if verb and isinstance(_command(verb, found[4], line), Command):
            return _near(line, verb)
    if "!" in flat and (ending := _TRAILING.fullmatch(flat)):
        verb = vocabulary.words.get(bare_word(ending[2]))
        return _near(line, verb) if verb else None
    return None


def _near(line: str, meant: Verb) -> Held:
    facts = {"line": clean_line(line), "meant": f"!{Vocabulary.name(meant)}"}
    return Held(HoldReason.NEAR_COMMAND, facts)


_CODE = re.compile(r"([0-9]{3}) ?([0-9]{3})")
_NAME = re.compile(r"[^\W_][\w-]{0,63}")
_NUMBER = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{3,39}")
_REFERENCE = re.compile(r"[\w./+-]{1,64}")
_VALUE = re.compile(r'([^\W\d]\w{0,40})=("[^"]*"|“[^”]*”|«[^»]*»|[^\s"“”«»]+)(?: |$)')
_TOTAL = frozenset({"total", "tout", "totalite", "all", "full"})
_PORT = re.compile(r"(?:^| )\+ ?(?:frais de port|port|frais|shipping)$", re.IGNORECASE)
_NO_PORT = re.compile(
    r" (?:sans|hors|without) (?:frais de port|port|frais|shipping)$", re.IGNORECASE
)
_CAUSE = re.compile(r" (?:motif[ =:]+)?([^\W\d_]{5,20})$", re.IGNORECASE)
_CAUSES: Mapping[str, str] = {
    "reclamation": "claim",
    "claim": "claim",
    "retractation": "withdrawal",
    "retour": "withdrawal",
    "withdrawal": "withdrawal",
    "commercial": "goodwill",
    "goodwill": "goodwill",
    "rupture": "out_of_stock",
    "stock": "out_of_stock",
}
"""Words that change why lines are refunded: the values of `money.Cause`."""
_NAMED_REFERENCE = re.compile(r"r[ée]f(?:[ée]rence)?\.?(?: ?: ?| )(?=\S)", re.IGNORECASE)


def _command(verb: Verb, rest: str, line: str) -> Command | Held:
    shown = clean_line(line, 200)
    argument = rest.removeprefix(" ").removeprefix(":").strip()
    if rest and rest[0] not in " :.,;!":
        return _bad(shown)
    trimmed = argument.rstrip(" .,;:!")
    if verb in _PLAIN:
        return _bad(shown) if trimmed else Command(verb, "", shown)
    if verb in (Verb.NOTE, Verb.HELP):
        return Command(verb, argument if trimmed else "", shown)
    if verb in (Verb.CONFIRM, Verb.SEND):
        return _coded(verb, trimmed, shown)
    if verb is Verb.ORDER:
        number = trimmed.removeprefix("n°").removeprefix("no ").strip(" #")
        return Command(verb, number, shown) if _NUMBER.fullmatch(number) else _bad(shown)
    if verb is Verb.TEMPLATE:
        return _template(argument, trimmed, shown)
    if odd_figures(line):
        return _bad(shown)
    if verb is Verb.GESTURE:
        return _gesture(trimmed, shown)
    return _refund(trimmed, shown)


def _bad(line: str, **facts: str) -> Held:
    return Held(HoldReason.BAD_ARGUMENT, {"line": line, **facts})


def _coded(verb: Verb, argument: str, line: str) -> Command | Held:
    if not argument and verb is Verb.SEND:
        return Command(verb, "", line)
    found = _CODE.fullmatch(argument)
    return Command(verb, found[1] + found[2], line) if found else _bad(line)


def _template(argument: str, trimmed: str, line: str) -> Command | Held:
    name, _, values = argument.partition(" ")
    if not values:
        name = trimmed
    if not _NAME.fullmatch(name):
        return _bad(line)
    options: dict[str, str] = {}
    at = 0
    values = values.strip()
    while at < len(values):
        found = _VALUE.match(values, at)
        if found is None or found[1] in options:
            return _bad(line)
        options[found[1]] = found[2].strip('"“”«» ') if found[2][0] in '"“«' else found[2]
        at = found.end()
    return Command(Verb.TEMPLATE, name, line, options)


def _gesture(argument: str, line: str) -> Command | Held:
    amount, after = leading_amount(argument)
    # A motive that begins with a figure would leave two readings of the amount.
    if amount is None or (after and (after[0] != " " or not after[1:2].isalpha())):
        return _bad(line, amount="yes")
    motive = after.strip()
    return Command(Verb.GESTURE, str(amount), line, {"motive": motive} if motive else {}, amount)


def _refund(argument: str, line: str) -> Command | Held:
    options: dict[str, str] = {}
    if (why := _CAUSE.search(argument)) and (cause := _CAUSES.get(bare_word(why[1]))):
        argument = argument[: why.start()].rstrip()
        options["cause"] = cause
    if port := _PORT.search(argument):
        argument = argument[: port.start()].rstrip()
        options["shipping"] = "yes"
    elif port := _NO_PORT.search(argument):
        argument = argument[: port.start()].rstrip()
        options["shipping"] = "no"
    if bare_word(argument) in _TOTAL:
        return Command(Verb.REFUND, "total", line, options)
    if named := _NAMED_REFERENCE.match(argument):
        argument = argument[named.end() :]
    elif looks_like_amount(argument):
        # A refund is of an order or of a line of it; a free amount is a gesture.
        return _bad(line, instead=f"!{Vocabulary.name(Verb.GESTURE)}")
    return Command(Verb.REFUND, argument, line, options) if _reference(argument) else _bad(line)


def _reference(text: str) -> bool:
    return _REFERENCE.fullmatch(text) is not None and any(c.isalnum() for c in text)


def _without_repeats(commands: Sequence[Command]) -> tuple[Command, ...] | Held:
    unique: list[Command] = []
    for new in commands:
        again = next((old for old in unique if _same(old, new)), None)
        if again is None:
            unique.append(new)
        elif new.verb in _MONEY:
            return _contradiction(again, new)
        if len(unique) > 30:
            return _contradiction(unique[0], new)
    for one, other in combinations(unique, 2):
        if (
            frozenset((one.verb, other.verb)) in _EXCLUDE
            or (one.verb is other.verb and one.verb not in _MAY_REPEAT)
            or (one.verb in _MONEY and other.verb in _MONEY)
        ):
            return _contradiction(one, other)
    return tuple(unique)


def _same(one: Command, other: Command) -> bool:
    # Templates keep their places, so two of one name are two.
    return (
        one.verb is other.verb is not Verb.TEMPLATE
        and one.argument == other.argument
        and one.options == other.options
    )


def _contradiction(one: Command, other: Command) -> Held:
    return Held(HoldReason.CONTRADICTION, {"line": one.line, "other": other.line})


def _pieces(kept: Sequence[str | Command]) -> tuple[str | Command, ...]:
    pieces: list[str | Command] = []
    lines: list[str] = []

    def end_of_words() -> None:
        if words := "\n".join(lines).strip("\n"):
            pieces.append(words)
        lines.clear()

    for item in kept:
        if isinstance(item, Command):
            end_of_words()
            pieces.append(item)
        elif item.strip():
            lines.append(item)
        elif lines and lines[-1]:
            # Blank lines above and below a command that is gone become one.
            lines.append("")
    end_of_words()
    return tuple(pieces)


def _undecorated(line: str) -> str:
    """Without the emphasis that clients write around a bold or coded line: `*!clos*`."""
    for _ in range(3):
        if len(line) < 3 or line[0] != line[-1] or line[0] not in "*_`":
            break
        line = line[1:-1].strip()
    return line
