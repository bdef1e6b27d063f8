"""The models seen as a map: which keys there are, where each belongs, what it takes.

`loader` asks it what a misspelt or misplaced key was meant to be, `reference` writes the docs
from it. It knows the classes of `models` only by looking at them.

A table that comes in several kinds (the marketplace) is a section for each: in the paths of this
module the kind stands behind the table's name, as it does in pydantic's errors, and `written`
takes it out again.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Tag
from pydantic.fields import FieldInfo

from mailbridge.config.lines import Path
from mailbridge.config.models import Config
from mailbridge.config.secret import Secret
from mailbridge.config.section import Model

__all__ = [
    "NAME",
    "Section",
    "dotted",
    "field_at",
    "is_secret",
    "meant",
    "sections",
    "words",
    "written",
]

NAME = "*"
"""Stands in a section's path for a name the operator chose, or a place in a list."""


@dataclass(frozen=True, slots=True)
class Section:
    """One table of the file; `path` is `("accounts", NAME, "imap")` for `[accounts.shop.imap]`."""

    path: tuple[str, ...]
    model: type[Model]
    many: bool = False
    """Whether it is written `[[…]]`."""
    kind: str = ""
    """Which of several kinds of this table; then the last part of `path` as well."""

    @property
    def values(self) -> Mapping[str, FieldInfo]:
        """The keys that are no tables of their own."""
        fields = self.model.model_fields
        return {name: field for name, field in fields.items() if not _tables(field)}

    def title(self, path: Path = ()) -> str:
        """The header as it is written, with the names that `path` has at the same places."""
        names = [
            str(path[place]) if part == NAME and place < len(path) else part
            for place, part in enumerate(self.path[:-1] if self.many or self.kind else self.path)
        ]
        names = ["NAME" if name == NAME else name for name in names]
        if not names:
            return "the top of the file"
        return f"[[{dotted(names)}]]" if self.many else f"[{dotted(names)}]"


def _bare(annotation: Any) -> Any:
    """The annotation without Annotated and without `| None`."""
    if typing.get_origin(annotation) is Annotated:
        return _bare(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [one for one in typing.get_args(annotation) if one is not type(None)]
        return _bare(rest[0]) if len(rest) == 1 else annotation
    return annotation


@dataclass(frozen=True, slots=True)
class _Table:
    """What a field holds that is a table of its own, by name, in a list or in one of its kinds."""

    model: type[Model]
    named: bool = False
    many: bool = False
    kind: str = ""


def _tables(field: FieldInfo) -> tuple[_Table, ...]:
    """The tables a field stands for, one for each kind; none if it holds a plain value."""
    bare = _bare(field.annotation)
    arguments = typing.get_args(bare)
    match typing.get_origin(bare):
        case None if _is_model(bare):
            return (_Table(bare),)
        case origin if origin is dict and _is_model(arguments[1]):
            return (_Table(arguments[1], named=True),)
        case origin if origin is tuple and _is_model(arguments[0]):
            return (_Table(arguments[0], many=True),)
        case origin if origin in (typing.Union, types.UnionType) and all(map(_tag, arguments)):
            return tuple(_Table(_bare(one), kind=_tag(one)) for one in arguments)
    return ()


def _tag(annotation: Any) -> str:
    """The kind a part of a union is told by; empty if it has none."""
    if typing.get_origin(annotation) is not Annotated:
        return ""
    found = (one.tag for one in typing.get_args(annotation)[1:] if isinstance(one, Tag))
    return next(found, "")


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Model)


@cache
def sections() -> tuple[Section, ...]:
    """Every table of the file, in the order of the models, the top of the file first."""

    def walk(section: Section) -> Iterator[Section]:
        yield section
        for name, field in section.model.model_fields.items():
            for table in _tables(field):
                tail: tuple[str, ...] = (name,)
                if table.named or table.many:
                    tail = (name, NAME)
                elif table.kind:
                    tail = (name, table.kind)
                yield from walk(Section(section.path + tail, table.model, table.many, table.kind))

    return tuple(walk(Section((), Config)))


def _section_at(path: Path) -> Section | None:
    for section in sections():
        if len(section.path) == len(path) and all(
            mine in (NAME, theirs) for mine, theirs in zip(section.path, path, strict=True)
        ):
            return section
    return None


def written(path: Path) -> Path:
    """The path as the file has it: without the kinds of tables."""
    for section in sections():
        if (
            section.kind
            and len(path) >= len(section.path)
            and _shared(section, path) == len(section.path)
        ):
            place = len(section.path) - 1
            return path[:place] + path[place + 1 :]
    return path


def field_at(path: Path) -> FieldInfo | None:
    """The field a value at `path` belongs to, also for a value inside of it; None if unknown."""
    for length in range(len(path), 0, -1):
        section = _section_at(path[: length - 1])
        if section is not None:
            return section.model.model_fields.get(str(path[length - 1]))
    return None


def is_secret(path: Path) -> bool:
    """Whether the value at `path` must not be shown: a secret, a URL with a token, an unknown."""
    field = field_at(path)
    return field is None or not field.repr or _bare(field.annotation) is Secret


def words(path: Path) -> tuple[str, ...]:
    """The words a key, or one of its list, takes if it takes nothing else (an enum, a literal);
    else none."""
    in_list = isinstance(path[-1], int)
    field = field_at(path[:-1] if in_list else path)
    bare = _bare(field.annotation) if field else None
    if in_list and typing.get_origin(bare) is tuple:
        bare = _bare(typing.get_args(bare)[0])
    if typing.get_origin(bare) is Literal:
        return tuple(str(word) for word in typing.get_args(bare))
    if isinstance(bare, type) and issubclass(bare, StrEnum):
        return tuple(str(word) for word in bare)
    return ()


def _plain(key: str) -> str:
    return key.lower().replace("-", "").replace("_", "").replace(" ", "")


def meant(path: Path) -> tuple[str, tuple[str, ...]]:
    """What an unknown key was meant to be: a sentence, and the keys of its table it points at."""
    *above, last = path
    key = str(last)
    section = _section_at(tuple(above))
    if section is None:
        return "this table is not known", ()
    here = {_plain(name): name for name in section.model.model_fields}
    if (name := here.get(_plain(key))) is not None:
        return f"did you mean {name}?", (name,)
    near = difflib.get_close_matches(_plain(key), here, n=1, cutoff=0.85)
    homes = _homes(_plain(key), path)
    if not near and homes:
        return f"{homes[0][0]} belongs to {_or([title for _, title in homes])}", ()
    near = near or difflib.get_close_matches(_plain(key), here, n=1, cutoff=0.65)
    if near:
        return f"did you mean {here[near[0]]}?", (here[near[0]],)
    every = {_plain(name): name for one in sections() for name in one.model.model_fields}
    far = difflib.get_close_matches(_plain(key), every, n=1, cutoff=0.8)
    if far and (homes := _homes(far[0], path)):
        return f"did you mean {every[far[0]]}? It belongs to {_or([t for _, t in homes])}", ()
    return "allowed here: " + ", ".join(section.model.model_fields), ()


def _homes(plain: str, path: Path) -> list[tuple[str, str]]:
    """(key, section) for the sections that have the key and are nearest to `path`."""
    found = [
        (_shared(section, path), name, _place(_home(section, name), path))
        for section in sections()
        for name in section.model.model_fields
        if _plain(name) == plain
    ]
    nearest = max((shared for shared, _, _ in found), default=0)
    return [(name, title) for shared, name, title in found if shared == nearest]


def _place(section: Section, path: Path) -> str:
    return section.title(path) + (f' of kind "{section.kind}"' if section.kind else "")


def _home(section: Section, name: str) -> Section:
    """The section itself, or for the name of a table that table's own."""
    return next(
        (
            one
            for one in sections()
            if one.path[: len(section.path) + 1] == (*section.path, name)
            and one.path[len(section.path) + 1 :] in ((), (NAME,), (one.kind,))
        ),
        section,
    )


def _shared(section: Section, path: Path) -> int:
    """How many leading parts the section's path and `path` have in common."""
    count = 0
    for mine, theirs in zip(section.path, path, strict=False):
        if mine not in (NAME, theirs):
            break
        count += 1
    return count


def _or(titles: list[str]) -> str:
    return titles[0] if len(titles) == 1 else ", ".join(titles[:-1]) + " or " + titles[-1]


def dotted(path: typing.Sequence[str | int]) -> str:
    """A key path as TOML writes it; places in lists in brackets, the first one [1]."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            plain = part.isascii() and part.replace("-", "").replace("_", "").isalnum()
            quoted = part if plain else '"' + part.encode("unicode_escape").decode() + '"'
            text += f".{quoted}" if text else quoted
    return text
