"""`docs/configuration.md`, written from the models: every key, what it takes, its default.

    python -m mailbridge.config.reference > docs/configuration.md

A test fails while the file and the models differ.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic.fields import FieldInfo

from mailbridge.config import kinds, shape
from mailbridge.config.kinds import Between, Count, Kind
from mailbridge.config.secret import Secret

__all__ = ["reference"]

_HEAD = """\
# Configuration

mailbridge reads one TOML file, by default `/etc/mailbridge/config.toml`. `config.example.toml` \
shows every key in the order in which one fills it in; this page is the reference. It is written \
by `python -m mailbridge.config.reference` from the models themselves.

The whole file is checked before anything starts. Every mistake is printed at once, with line, \
key, what was found and what is allowed, and the exit status is 2; `mailbridge check` also says \
what is unwise, and tries each part for real.

## Kinds of value

| kind | how it is written |
|---|---|
| time | `"90s"`, `"2m"`, `"1h30m"`, `"28d"`, or a number of seconds |
| euros | `150`, `12.5` or `"12.50"`; a dot, at most two decimals |
| address | one bare address: `"support@shop.fr"` |
| host | `"imap.shop.fr"` or an IP address, without port |
| URL | `https://…`; `http://` to this machine itself only; no password in it |
| path | relative ones start at the folder of the configuration file |
| hours | opening hours: `"mon-fri 09:00-12:30 13:30-18:00, sat 09:00-12:00"` |
| day | `"2026-12-24"` |
| time of day | `"08:00"` |
| days | `"working"`, `"daily"`, or weekdays: `"mon-sat"`, `"mon, wed, fri"` |
| flag | `"flagged"`, an IMAP keyword such as `"$label1"`, or `""` |
| secret | see below |

## Secrets

A secret is written in one of five ways. It is read again whenever it is needed, so that a \
changed password or a fresh token needs no restart, and it is never shown.

| written | where the secret is |
|---|---|
| `{ file = "/path" }` | alone in a file, which only the daemon's user should be able to read |
| `{ credential = "name" }` | handed over by systemd: `LoadCredential=name:/path` in the unit |
| `{ env = "NAME" }` | in an environment variable |
| `{ command = ["program", "argument"] }` | the first line the program prints within 30 s; \
no shell is involved |
| `"the text itself"` | in the configuration file; works, with a warning |
"""

_KINDS: Mapping[object, str] = {
    bool: "`true` or `false`",
    int: "whole number",
    str: "text",
    timedelta: "time",
    Path: "path",
    Secret: "secret",
}


def reference() -> str:
    """The whole page."""
    return _HEAD + "".join(_section(section) for section in shape.sections())


def _section(section: shape.Section) -> str:
    title = section.title()
    heading = f"`{title}`" if title.startswith("[") else title.capitalize()
    heading += f", kind = {section.kind}" if section.kind else ""
    about = inspect.cleandoc(section.model.__doc__ or "")
    rows = [
        f"| `{name}` | {_takes(field)} | {_default(field)} | {_cell(field.description or '')} |"
        for name, field in section.values.items()
    ]
    if not rows:
        return ""
    table = "\n".join(["| key | takes | default | meaning |", "|---|---|---|---|", *rows])
    return f"\n## {heading}\n\n{about}\n\n{table}\n"


def _takes(field: FieldInfo) -> str:
    return _kind(field.annotation, field.metadata)


def _kind(annotation: Any, extra: Sequence[object] = ()) -> str:
    """The name of a kind with its limits; what stands outermost in Annotated wins."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    limits = "".join(f" {one}" for one in extra if isinstance(one, Between | Count))
    if names := [one.name for one in extra if isinstance(one, Kind)]:
        return names[-1] + limits
    if origin is Annotated:
        return _kind(arguments[0], arguments[1:]) + limits
    if origin in (typing.Union, types.UnionType):
        return _kind(next(one for one in arguments if one is not type(None))) + limits
    if origin is tuple:
        return f"list: {_kind(arguments[0])}"
    if origin is dict:
        return f"table: {_kind(arguments[1])} for each name"
    if origin is typing.Literal:
        return ", ".join(f'`"{word}"`' for word in arguments)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return ", ".join(f'`"{word}"`' for word in annotation)
    return _KINDS[annotation] + limits


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    match field.get_default(call_default_factory=True):
        case None | () | "" | {}:
            return ""
        case bool(value):
            return f"`{str(value).lower()}`"
        case timedelta() as value:
            return f'`"{kinds.duration_text(value)}"`'
        case int(value):
            return f"`{value}`"
        case value:
            return f'`"{value}"`'


def _cell(text: str) -> str:
    return (
        " ".join(text.split())
        .replace("|", "\\|")
        .replace("; None:", "; left out:")
        .replace("None:", "Left out:")
    )


if __name__ == "__main__":
    sys.stdout.write(reference())
