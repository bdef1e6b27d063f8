"""The reply templates there are: mailbridge's, and before them those of the shop's own folder.

A template is a file `replies/NAME.txt.j2`: front matter (TOML between two lines `+++`) that says
what it is and needs, then the text for the customer. A file of the shop's own replaces the
shipped one of its name, and is never replaced by it: one that is broken cannot be used until it
is mended, because its words go to a customer. Files are read anew each time they are asked for,
so that a change counts from the next reply on. How a text is made of them is `reply_rendering`'s.
"""

from __future__ import annotations

import difflib
import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from mailbridge.domain.wording import clean_line
from mailbridge.mail.rendering import TemplateBroken, Templates, front_matter
from mailbridge.mail.reply_values import NAMES

__all__ = ["Catalogue", "Listing", "Need", "ReplyTemplate", "Unknown", "Variable"]

_END = ".txt.j2"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
_VARIABLE = re.compile(r"[a-z][a-z0-9_]{0,30}")
_LARGEST = 64 * 1024
_LANGUAGES = ("fr", "en")
_KEYS = ("title", "language", "needs", "closes", "variables")
_ALWAYS = ", ".join(sorted(NAMES))
_TOML_PLACE = re.compile(r" \(at line (\d+), column \d+\)$")


class Need(StrEnum):
    """What must be known of a discussion before a template can be used."""

    ORDER = "order"
    """The discussion is about an order, and the order has been read."""
    PARCEL = "parcel"
    """The order has a parcel under way to the customer or delivered, with its number."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A value that a template takes behind its name: `transporteur=Colissimo`."""

    name: str
    say: str
    """What it is, for the agent who has to give it."""
    source: str = ""
    """Where it comes from if it is not given: a Jinja2 expression, empty for nowhere."""
    default: str | None = None
    """What stands in for it if it comes from nowhere; None: it must be given."""


@dataclass(frozen=True, slots=True)
class ReplyTemplate:
    """One template, its front matter read and checked."""

    name: str
    title: str
    language: str
    """Of its text: `fr` or `en`."""
    needs: frozenset[Need] = frozenset()
    closes: bool = False
    """Using it asks to close the discussion, as if `!clos` stood in the reply."""
    variables: tuple[Variable, ...] = ()
    speaks_of_discussion: bool = False
    """Its words are made with something of the discussion."""
    own: bool = False
    """It is the shop's, not mailbridge's."""

    @property
    def needs_discussion(self) -> bool:
        """Whether it is for answers only: it speaks of the discussion, or closes it."""
        return self.closes or self.speaks_of_discussion

    @property
    def file(self) -> str:
        """Its path below the templates folder, as Jinja2 and people know it."""
        return f"replies/{self.name}{_END}"


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no template of this name; `near` are names that may have been meant."""

    near: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """Every template that can be used, by language and name, and what is wrong with others."""

    templates: tuple[ReplyTemplate, ...]
    faults: tuple[TemplateBroken, ...]


class Catalogue:
    """Finds reply templates; safe to share."""

    def __init__(self, templates: Templates) -> None:
        self.templates = templates

    def find(self, name: str) -> ReplyTemplate | Unknown:
        """The template of this name, whatever its accents, capitals and dashes.

        Raises TemplateBroken if there is one and it cannot be used.
        """
        wanted = _folded(name)
        paths = self._paths()
        if wanted in paths:
            return self._read(wanted, paths[wanted])
        return Unknown(self._near(wanted, paths))

    def listed(self) -> Listing:
        """All of them, the misnamed ones among the faults."""
        found: list[ReplyTemplate] = []
        faults: list[TemplateBroken] = []
        for name, path in self._paths(faults).items():
            try:
                found.append(self._read(name, path))
            except TemplateBroken as broken:
                faults.append(broken)
        order = sorted(found, key=lambda t: (_LANGUAGES.index(t.language), t.name))
        return Listing(tuple(order), tuple(faults))

    def _paths(self, faults: list[TemplateBroken] | None = None) -> dict[str, Path]:
        """Name to file; the shop's own win."""
        paths: dict[str, Path] = {}
        for folder in self.templates.folders:
            for path in sorted((folder / "replies").glob("*")):
                name = path.name.removesuffix(_END)
                if path.name.startswith((".", "_")) or path.name.endswith("~"):
                    continue  # an editor's leavings, and parts that others include
                if name != path.name and _NAME.fullmatch(name):
                    paths.setdefault(name, path)
                elif faults is not None:
                    faults.append(_misnamed(path))
        return paths

    def _near(self, wanted: str, paths: Mapping[str, Path]) -> tuple[str, ...]:
        close = difflib.get_close_matches(wanted, paths, n=3, cutoff=0.6)
        told = [n for n in paths if len(wanted) > 2 and (n in wanted or wanted in n)]
        titles = [
            t.name
            for t in self.listed().templates
            if len(wanted) > 3 and wanted in _folded(t.title).split("-")
        ]
        return tuple(dict.fromkeys((*close, *told, *titles)))[:4]

    def _read(self, name: str, path: Path) -> ReplyTemplate:
        file = f"replies/{name}{_END}"
        try:
            octets = path.read_bytes()
            source = octets.decode()
        except OSError as error:
            raise TemplateBroken(file, 0, f"cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise TemplateBroken(file, 0, "is not UTF-8; save it in that encoding") from None
        if len(octets) > _LARGEST:
            raise TemplateBroken(file, 0, f"is larger than {_LARGEST // 1024} KB")
        own = len(self.templates.folders) > 1 and path.is_relative_to(self.templates.folders[0])
        template = _Head(file, source).template(name, own=own)
        used = self.templates.names_used(file)
        undeclared = used - NAMES
        undeclared -= {variable.name for variable in template.variables}
        for missing in sorted(undeclared):
            line = _line_of(source, rf"\b{re.escape(missing)}\b")
            way = f"describe it under [variables]; always there are {_ALWAYS}"
            raise TemplateBroken(file, line, f"nothing gives a value to {missing}; {way}")
        for variable in template.variables:
            used |= self._check_source(file, source, variable)
        return replace(template, speaks_of_discussion="discussion" in used)

    def _check_source(self, file: str, source: str, variable: Variable) -> frozenset[str]:
        """The names it asks for; raises TemplateBroken for what is not one of ours."""
        used: frozenset[str] = frozenset()
        if not variable.source:
            return used
        try:
            used = self.templates.expression_names(variable.source)
            strange = used - NAMES
            what = f"asks for {min(strange)}; there are {_ALWAYS}" if strange else ""
        except ValueError as error:
            what = f"not a Jinja2 expression: {error}"
        if what:
            line = _line_of(source, rf"^\s*{variable.name}\s*=|^\[variables\.{variable.name}\]")
            raise TemplateBroken(file, line, f"variables.{variable.name}.from: {what}")
        return used


class _Head:
    """The front matter of one file; every mistake is told with its line, key and way out."""

    def __init__(self, file: str, source: str) -> None:
        self._file = file
        self._source = source

    def template(self, name: str, *, own: bool) -> ReplyTemplate:
        """What it says; raises TemplateBroken for the first mistake."""
        data = self._parsed()
        self._known(data, _KEYS, "")
        language = self._text(data, "language", 'the language of its text, "fr" or "en"')
        if language not in _LANGUAGES:
            raise self._fault("language", f'"{language}"; allowed: "fr" or "en"')
        closes = data.get("closes", False)
        if not isinstance(closes, bool):
            raise self._fault("closes", "allowed: true or false, without quotes")
        return ReplyTemplate(
            name=name,
            title=self._text(data, "title", "a few words for agents, in quotes"),
            language=language,
            needs=frozenset(self._needs(data.get("needs", []))),
            closes=closes,
            variables=tuple(self._variables(data.get("variables", {}))),
            own=own,
        )

    def _parsed(self) -> dict[str, Any]:
        head, _ = front_matter(self._source)
        if head is None:
            reason = (
                'begins without front matter; first lines: +++, title = "…", language = "fr", +++'
            )
            raise TemplateBroken(self._file, 1, reason)
        try:
            return tomllib.loads(head)
        except tomllib.TOMLDecodeError as error:
            place = _TOML_PLACE.search(str(error))
            line = int(place[1]) + 1 if place else 0
            what = _TOML_PLACE.sub("", str(error))
            reason = f"front matter is not TOML: {what}; texts stand in quotes"
            raise TemplateBroken(self._file, line, reason) from None

    def _needs(self, told: Any) -> Iterator[Need]:
        allowed = f"allowed: a list of {', '.join(Need)}"
        if not isinstance(told, list):
            raise self._fault("needs", f'{allowed}, such as ["order"]')
        for each in told:
            if each not in [str(need) for need in Need]:
                raise self._fault("needs", f"found {each!r}; {allowed}")
            yield Need(each)
            if each == Need.PARCEL:
                yield Need.ORDER

    def _variables(self, told: Any) -> Iterator[Variable]:
        if not isinstance(told, dict):
            raise self._fault("variables", 'allowed: a table, such as delai = "combien de jours"')
        for name, value in told.items():
            key = f"variables.{name}"
            if not _VARIABLE.fullmatch(name):
                raise self._fault(key, "allowed: lower-case letters without accents, digits, _")
            if name in NAMES:
                raise self._fault(key, "is always there, with another meaning; take another name")
            table = {"say": value} if isinstance(value, str) else value
            if not isinstance(table, dict):
                raise self._fault(key, 'allowed: a description in quotes, or { say = "…", … }')
            self._known(table, ("say", "from", "default"), f"{key}.")
            default = table.get("default")
            if default is not None and not isinstance(default, str):
                raise self._fault(key, "default: allowed: text in quotes")
            yield Variable(
                name=name,
                say=self._text(table, "say", "what it is, for agents, in quotes", f"{key}."),
                source=self._text(table, "from", "", f"{key}.") if "from" in table else "",
                default=default,
            )

    def _known(self, table: Mapping[str, Any], keys: tuple[str, ...], at: str) -> None:
        for key in table:
            if key not in keys:
                near = difflib.get_close_matches(key, keys, n=1)
                meant = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(keys)}"
                raise self._fault(f"{at}{key}", f"no such key; {meant}")

    def _text(self, table: Mapping[str, Any], key: str, what: str, at: str = "") -> str:
        value = table.get(key)
        if value is None:
            raise self._fault(f"{at}{key}", f"is missing: {what}")
        if not isinstance(value, str) or not clean_line(value):
            raise self._fault(f"{at}{key}", f"allowed: text in quotes{what and ', '}{what}")
        return clean_line(value, 200)

    def _fault(self, key: str, reason: str) -> TemplateBroken:
        """Names the line of the key, or of the nearest table that is there."""
        parts = [re.escape(part) for part in key.split(".")]
        line = 0
        while parts and not line:
            line = _line_of(self._source, rf"^\s*(?:\[[^\]]*\b)?\"?{parts[-1]}\"?\]?\s*(?:=|$)")
            parts.pop()
        return TemplateBroken(self._file, line or 1, f"{key}: {reason}")


def _line_of(source: str, pattern: str) -> int:
    """The first line in which a pattern is found, 0 for none."""
    wanted = re.compile(pattern)
    return next((i for i, line in enumerate(source.split("\n"), 1) if wanted.search(line)), 0)


def _folded(name: str) -> str:
    """Lower case without accents, dashes between words."""
    apart = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(c for c in apart if not unicodedata.combining(c))
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def _misnamed(path: Path) -> TemplateBroken:
    better = _folded(path.name.partition(".")[0]) or "excuses"
    reason = f"is not named as a reply template; rename it to {better}{_END}"
    return TemplateBroken(f"replies/{clean_line(path.name)}", 0, reason)
