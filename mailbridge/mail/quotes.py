"""Which lines of a text its writer wrote, and which a mail client put there.

Each line is judged in one pass: quoted by `>`, part of an attribution or a header block that
introduces a quote, or text. Quotes are taken out wherever they stand, because Thunderbird and
Roundcube put the cursor below them. Behind an introduction that no `>` follows (Outlook, webmails)
the rest is the quote. Signatures go after that, segment by segment. What is left is a part of the
lines that came in, never anything new. Time is linear: every look ahead is bounded.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mailbridge.domain.command import command_lines
from mailbridge.domain.wording import comparable, fold_line

__all__ = ["QUOTE", "Remainder", "without_quotes"]

QUOTE = "\ue000"
"""Alone on a line, where `markup` took a quoted element out: counts as a quoted line."""


@dataclass(frozen=True, slots=True)
class Remainder:
    """What is left of a text."""

    text: str
    quoted: bool
    """Whether there was a quote."""
    unmarked: tuple[str, ...] = ()
    """The lines of a quote that has no marks, up to the end: answers may stand between them."""


def without_quotes(text: str, known: str = "") -> Remainder:
    """`text` without quotes, signatures, client advertisements and disclaimers.

    `known` is the `comparable` form of texts of the discussion; with it, the tail of a quoted
    line that was wrapped without a mark is seen for what it is.
    """
    lines = text.split("\n")
    quoted, unmarked = _quoted_lines([_Line(line) for line in lines])
    if known:
        _mend_wrapped(lines, quoted, known)
    segments: list[list[str]] = [[]]
    for line, is_quoted in zip(lines, quoted, strict=True):
        if not is_quoted:
            segments[-1].append(line.rstrip())
        elif segments[-1]:
            segments.append([])
    kept = ["\n".join(_without_signature(segment)).strip("\n") for segment in segments]
    whole = "\n\n".join(piece for piece in kept if piece.strip())
    return Remainder(re.sub(r"\n{3,}", "\n\n", whole), any(quoted), tuple(lines[unmarked:]))


class _Line:
    """A line and its folded forms, made once and only where they are asked for."""

    __slots__ = ("_bare", "_flat", "raw")

    def __init__(self, raw: str) -> None:
        self.raw = raw
        self._flat: str | None = None
        self._bare: str | None = None

    @property
    def flat(self) -> str:
        if self._flat is None:
            self._flat = fold_line(self.raw[:1_000])
        return self._flat

    @property
    def bare(self) -> str:
        """Without accents, emphasis and capitals."""
        if self._bare is None:
            apart = unicodedata.normalize("NFKD", self.flat.casefold().replace("’", "'"))
            kept = "".join(c for c in apart if not unicodedata.combining(c) and c not in "*_")
            # Rules made of underscores must stay rules.
            self._bare = kept.strip() or self.flat
        return self._bare

    @property
    def quoted(self) -> bool:
        return self.raw.lstrip(" \t\u00a0").startswith(">") or self.flat == QUOTE


def _quoted_lines(lines: Sequence[_Line]) -> tuple[list[bool], int]:
    """Which lines are quoted, and where a quote without marks begins (at the end: nowhere)."""
    quoted = [False] * len(lines)
    unmarked = len(lines)
    at = 0
    while at < len(lines):
        if lines[at].quoted:
            quoted[at] = True
            at += 1
            continue
        intro = _introduction(lines, at)
        if intro is None:
            at += 1
            continue
        after = _next_words(lines, intro.end)
        if after == len(lines) or lines[after].quoted:
            # The quote behind it is marked; what follows that is text again.
            quoted[at:after] = [True] * (after - at)
            at = after
        elif intro.strong:
            quoted[at:] = [True] * (len(lines) - at)
            unmarked = after
            break
        else:
            at += 1
    return quoted, unmarked


def _next_words(lines: Sequence[_Line], at: int) -> int:
    while at < len(lines) and not lines[at].flat:
        at += 1
    return at


@dataclass(frozen=True, slots=True)
class _Introduction:
    """Lines that announce a quote, up to `end`. Only a strong one announces an unmarked quote:
    agents, too, write « Le client a écrit : »."""

    end: int
    strong: bool


def _introduction(lines: Sequence[_Line], at: int) -> _Introduction | None:
    if not lines[at].flat:
        return None
    for read in (_separator, _header_block, _attribution):
        if found := read(lines, at):
            return found
    return None


_SEPARATOR = re.compile(
    r"[-=*_ ]{2,}(?:(?:original|forwarded|transferred|reply) (?:message|e-?mail)"
    r"|(?:message|mail|e-?mail|courriel|courrier)(?: electronique)?"
    r" (?:d'origine|original|initial|transfere|transmis|reexpedie|forwarded))[-=*_ ]{2,}"
    r"|(?:debut du message (?:transfere|reexpedie)|begin forwarded message) ?:"
)
_RULE = re.compile(r"[-_=]{8,}")


def _separator(lines: Sequence[_Line], at: int) -> _Introduction | None:
    """`-----Message d'origine-----`, or a rule with a header block behind it."""
    bare = lines[at].bare
    if _RULE.fullmatch(lines[at].flat.replace(" ", "")):
        after = _next_words(lines, at + 1)
        if after - at > 4 or after == len(lines):
            return None
        block = _header_block(lines, after)
        return _Introduction(block.end, strong=True) if block else None
    if bare[:1] not in "-=*_ db" or not _SEPARATOR.fullmatch(bare):
        return None
    after = _next_words(lines, at + 1)
    further = None
    if after < len(lines) and not lines[after].quoted:
        further = _header_block(lines, after, lenient=True) or _attribution(lines, after)
    return _Introduction(further.end if further else at + 1, strong=True)


_FIELD = re.compile(
    r"(?:(?P<who>de|from|expediteur)|(?P<when>envoye(?: le)?|sent|date|message du)"
    r"|(?P<what>objet|subject|sujet)|a|to|pour|destinataires?|cc|cci|bcc|copie(?: a)?"
    r"|repondre a|reply-to|organisation|organization|importance|priorite|pieces? jointes?)"
    r" ?:(?: .*)?"
)
_ONE_LINE_BLOCK = re.compile(
    r"(?:de|from) ?: .{1,200} (?:envoye|sent|date)(?: le)? ?: .{1,100}"
    r" (?:a|to|pour) ?: .{1,300} (?:objet|subject|sujet) ?:.*"
)
_MAX_BLOCK = 16


def _header_block(
    lines: Sequence[_Line], at: int, *, lenient: bool = False
) -> _Introduction | None:
    """`De : … Envoyé : … À : … Objet : …`, one a line (values may wrap) or all on one.

    A block needs who, when and what about: « De : Lyon, À : Paris » is what agents write.
    """
    first = lines[at].bare
    if _ONE_LINE_BLOCK.fullmatch(first):
        return _Introduction(at + 1, strong=True)
    if not _FIELD.fullmatch(first):
        return None
    seen: set[str] = set()
    end, wrapped, here = at, 0, at
    while here < min(len(lines), at + _MAX_BLOCK):
        bare = lines[here].bare
        if found := _FIELD.fullmatch(bare):
            seen |= {name for name, value in found.groupdict().items() if value}
            end = here + 1
            wrapped = 0
        elif bare:
            # A value goes on on the next line, or the block is over and this is the quote.
            wrapped += 1
            if wrapped > 2:
                break
        elif wrapped:
            break
        here += 1
    if seen >= {"who", "when", "what"} or (lenient and len(seen) >= 2):
        return _Introduction(end, strong=True)
    return None


_WROTE = re.compile(
    r".{2,320}\b(?:a ecrit|wrote)\b(?: .{0,60})? ?:"
    r"|quoting .{2,200} ?:|[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{1,2}:[0-9]{2} .{2,200}<.{3,100}> ?:"
)
_DATED = re.compile(r"(?:le|on) .*[0-9].*")
_TIMED = re.compile(r"\b[0-9]{1,2}(?::|h| h )[0-9]{2}\b|<[^<>]+@[^<>]+>")
_MAX_ATTRIBUTION = 4


def _attribution(lines: Sequence[_Line], at: int) -> _Introduction | None:
    """`Le 20/11/2026 à 10:02, Marie a écrit :`, wrapped to at most four lines."""
    joined = ""
    for here in range(at, min(len(lines), at + _MAX_ATTRIBUTION)):
        line = lines[here]
        if not line.flat or line.quoted or len(joined) > 400:
            return None
        joined = f"{joined} {line.bare}".strip()
        if joined.endswith(":"):
            if not _WROTE.fullmatch(joined):
                return None
            strong = bool(_DATED.fullmatch(joined) and _TIMED.search(joined))
            return _Introduction(here + 1, strong)
        if not joined.startswith(("le ", "on ")):
            return None
    return None


def _mend_wrapped(lines: Sequence[str], quoted: list[bool], known: str) -> None:
    """Unmarked tails of long quoted lines: between two quoted lines, and known words."""
    for at in range(1, len(lines) - 1):
        if (
            quoted[at - 1]
            and quoted[at + 1]
            and not quoted[at]
            and len(lines[at - 1]) >= 60
            and (words := comparable(lines[at]))
            and words in known
        ):
            quoted[at] = True


# ------------------------------------------------------------------------------- signatures

_MAX_BARE_SIGNATURE = 15
"""Lines below a `--` that lost its blank; a longer rest is text below a rule."""

_CLIENT_LINE = re.compile(
    r"(?:envoye|expedie|ecrit)e? (?:de|depuis|a partir de|a partir d'|avec|via|par) ?"
    r"(?:mon|ma|l'application|l'appli|la messagerie|un smartphone|un mobile|outlook|courrier"
    r"|yahoo|gmail|proton|spark|bluemail|orange|sfr|free|mail|k-9|thunderbird|samsung)\b.{0,80}"
    r"|sent (?:from|with|via|using) (?:my|outlook|mail|yahoo|gmail|proton|spark|bluemail|samsung"
    r"|an? |the |k-9|thunderbird|aqua).{0,80}"
    r"|(?:obtenir|telecharger|get|download) outlook (?:pour|for) .{0,60}"
    r"|provenance ?: (?:courrier|mail) .{0,40}"
    r"|garanti sans virus\b.{0,60}|sans virus\. ?www\.avast\.com.{0,60}|virus-free\b.{0,60}"
    r"|veuillez excuser (?:ma|la) brievete.{0,20}|please excuse my brevity.{0,20}"
)
_LINK_ONLY = re.compile(r"<?https?://\S+>?")
_DISCLAIMER = re.compile(
    r"(?:ce(?:t)? (?:message|courriel|e-?mail|courrier|mail)|this (?:e-?mail|message)"
    r"|the information (?:contained )?in this|les informations contenues dans ce"
    r"|avis de confidentialite|confidentiality notice|confidentialite ?:|disclaimer\b"
    r"|(?:pensez|merci de penser|think|please consider) .{0,40}(?:environ|planete|imprim|print))"
)
_CONFIDENTIAL = re.compile(r"confiden|destinat|privile|intended|imprim|print|environ")


def _without_signature(segment: Sequence[str]) -> list[str]:
    kept = list(segment)
    card = _card_start(kept)
    for at, line in enumerate(kept):
        if line.strip() == "--" and (len(kept) - at <= _MAX_BARE_SIGNATURE or at + 1 >= card):
            kept = kept[:at]
            break
    kept = _cut(kept, _disclaimer_start)
    return _cut(kept, _client_lines_start)


def _card_start(lines: Sequence[str]) -> int:
    """From here on there are only short lines and no command: a card, not a letter."""
    at = len(lines)
    while at and len(lines[at - 1]) < 80 and not command_lines(lines[at - 1]):
        at -= 1
    return at


def _cut(lines: list[str], start: Callable[[Sequence[str]], int]) -> list[str]:
    while lines and not lines[-1].strip():
        lines.pop()
    return lines[: start(lines)]


def _client_lines_start(lines: Sequence[str]) -> int:
    end = len(lines)
    while end:
        line = _Line(lines[end - 1])
        is_link = _LINK_ONLY.fullmatch(line.bare) and end > 1
        above = _Line(lines[end - 2]) if end > 1 else line
        if not line.flat or (len(line.flat) < 200 and _CLIENT_LINE.fullmatch(_plain(line))):
            end -= 1
        elif is_link and _CLIENT_LINE.fullmatch(_plain(above)):
            end -= 2
        else:
            break
    return end


def _plain(line: _Line) -> str:
    """Without the address of a link and the stop at its end."""
    return re.sub(r"[<(\[]?https?://\S+", "", line.bare).strip(" .")


def _disclaimer_start(lines: Sequence[str]) -> int:
    """Where the last paragraphs are a gateway's disclaimer. No command is ever one."""
    first = max((at + 1 for at, line in enumerate(lines) if command_lines(line)), default=0)
    for at in range(first, len(lines)):
        above = lines[at - 1].strip() if at else ""
        if above and not _RULE.fullmatch(above):
            continue
        if not _DISCLAIMER.match(_Line(lines[at]).bare):
            continue
        if _CONFIDENTIAL.search(" ".join(_Line(one).bare for one in lines[at : at + 8])):
            return at - 1 if above else at
    return len(lines)
