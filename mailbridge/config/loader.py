"""From a TOML file to a checked `Config`, or to every mistake in it at once.

One pass must be enough: a mistake in one key hides no other. So what does not fit the models is
reported, replaced by something that does, and the checks across keys (`checks`) run all the
same; what they say about a replaced value is dropped. Values of secrets and of unknown keys are
never shown. Secrets are not read here but for `unreadable_secrets`.
"""

from __future__ import annotations

import copy
import difflib
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mailbridge.config import checks, shape
from mailbridge.config.book import Book
from mailbridge.config.finding import ConfigError, Finding, shown
from mailbridge.config.kinds import BASE_DIR
from mailbridge.config.lines import Lines
from mailbridge.config.lines import Path as KeyPath
from mailbridge.config.models import Account, Config
from mailbridge.config.secret import Secret, SecretError
from mailbridge.config.section import Model

__all__ = ["ConfigError", "Finding", "Loaded", "load", "unreadable_secrets"]

_LARGEST = 1024 * 1024
_SYNTAX = re.compile(r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|.*)\)")

_FORMS = {
    "bool_type": "true or false, without quotes",
    "dict_type": "a table",
    "list_type": 'a list, such as ["one", "two"]',
    "model_type": "a table",
    "path_type": "a path in quotes",
    "string_too_short": "text in quotes, not empty",
    "string_type": "text in quotes",
    "too_short": "at least one table [accounts.NAME]",
    "tuple_type": 'a list, such as ["one", "two"]',
}


# For each required key: what is said where it is missing, and what stands in for a missing or
# wrong value, so that the other checks can run. A test compares this with the models.
_REQUIRED: Mapping[str, tuple[str, object]] = {
    "accounts": ("at least one table [accounts.NAME]", None),
    "address": ('an address, such as "support@shop.fr"', "stand-in@stand-in.invalid"),
    "client_id": ('the client id of the API credentials, such as "shop-1234"', "stand-in"),
    "client_secret": ('a secret, such as { file = "/path" }', {"env": "STAND_IN"}),
    "host": ('the name of a server, such as "mail.shop.fr"', "stand-in.invalid"),
    "imap": ("a table {title}", {}),
    "login": ('the API account, such as "shop-api"', "stand-in-api"),
    "mailbox": ("a table {title}", {}),
    "marketplace": ("a table {title}", {}),
    "password": ('a secret, such as { file = "/path" }', {"env": "STAND_IN"}),
    "seller_id": ('the seller\'s number, such as "98979"', "stand-in"),
    "smtp": ("a table {title}", {}),
    "template": ('the name of a reply template, such as "accuse"', "stand-in"),
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be used, and what is unwise in it."""

    config: Config
    warnings: tuple[Finding, ...]
    path: Path


def load(path: Path, environ: Mapping[str, str] | None = None) -> Loaded:
    """Read and check the whole file; raises ConfigError with every mistake.

    `environ` stands for the process environment, of which systemd's STATE_DIRECTORY and
    RUNTIME_DIRECTORY replace the defaults of `state_dir` and `runtime_dir`.
    """
    text, is_open = _read(path)
    data = _parse(path, text)
    lines = Lines(text)
    context = {BASE_DIR: path.absolute().parent}
    config, mistakes, faulty = _validate(data, lines, context)
    if config is None:
        raise ConfigError(path, _sorted(mistakes))
    config = _with_directories(config, data, os.environ if environ is None else environ)
    book = Book(faulty)
    checks.check(config, book)
    mistakes += [_finding(lines, where, text) for where, text in book.mistakes]
    if mistakes:
        raise ConfigError(path, _sorted(mistakes))
    warnings = [_finding(lines, where, text) for where, text in book.warnings]
    inline = False
    for where, secret in _secrets(config, ()):
        inline |= secret.inline
        if (unwise := secret.warning()) is not None:
            warnings.append(_finding(lines, where, unwise))
    if inline and is_open:
        unwise = f"holds secrets and is open to other users of this machine: chmod 600 {path}"
        warnings.append(Finding("", unwise))
    return Loaded(config, tuple(_sorted(warnings)), path)


async def unreadable_secrets(
    config: Config, environ: Mapping[str, str] | None = None
) -> tuple[Finding, ...]:
    """Read every secret of the enabled accounts once; what could not be read, and why."""
    findings = []
    for where, secret in _secrets(config, ()):
        try:
            await secret.read_lines(environ)
        except SecretError as error:
            findings.append(Finding(shape.dotted(where), str(error)))
    return tuple(findings)


def _read(path: Path) -> tuple[str, bool]:
    """The text, and whether other users of the machine can read it."""

    def refused(text: str, line: int | None = None) -> ConfigError:
        return ConfigError(path, [Finding("", text, line)])

    try:
        if path.is_dir():
            raise refused("is a folder; give the path of the TOML file itself")
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise refused(
            "does not exist; start from config.example.toml, or name another with --config"
        ) from None
    except PermissionError:
        raise refused(
            "may not be read by this user; let its group read it, or run as its owner"
        ) from None
    except OSError as error:
        raise refused(f"cannot be read: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise refused("is bigger than 1 MiB; is it the right file?")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise refused("is in UTF-16; save it as UTF-8")
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise refused("is not UTF-8 from here on; save it as UTF-8", line) from None
    return text, bool(mode & (stat.S_IRGRP | stat.S_IROTH))


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(path, [Finding("", "lists or tables lie too deep in one another")]) from (
            None
        )
    except ValueError as error:  # TOMLDecodeError, or int() on thousands of digits
        found = _SYNTAX.fullmatch(str(error))
        what = found["what"] if found else str(error)
        what = "this key stands there twice" if what == "Cannot overwrite a value" else what
        at = (int(found["line"]), int(found["column"])) if found and found["line"] else None
        line, column = at or (text.count("\n") + 1, None)
        raise ConfigError(
            path, [Finding("", f"not valid TOML: {what}{_syntax_hint(text, line)}", line, column)]
        ) from None


def _syntax_hint(text: str, line: int) -> str:
    """The way out of what people write most often where TOML wants something else."""
    lines = text.splitlines()
    written = lines[line - 1] if line <= len(lines) else ""
    value = written.partition("=")[2].strip()
    if value in ("True", "False", "yes", "no", "on", "off"):
        return "; write true or false"
    if any(quote in value for quote in "“”«»’"):
        return "; the quotes must be straight ones"
    if re.fullmatch(r"[^\"'\[{\s#]+(?:\s*#.*)?", value) and not value.isdigit():
        return "; text stands in quotes"
    if re.match(r'"[A-Za-z]:\\|"\\\\', value):
        return "; a backslash in double quotes is doubled, or use single quotes"
    return ""


def _validate(
    data: dict[str, Any], lines: Lines, context: Mapping[str, object]
) -> tuple[Config | None, list[Finding], frozenset[KeyPath]]:
    """The configuration, as repaired as it had to be; what was wrong; and where."""
    try:
        return Config.model_validate(data, context=context), [], frozenset()
    except ValidationError as error:
        errors = error.errors(include_url=False)
    mistakes, faulty = _explain(errors, lines)
    repaired = copy.deepcopy(data)
    for _ in range(6):  # a table that was replaced lacks its own required keys, and so on down
        for one in errors:
            _repair(repaired, shape.written(one["loc"]), one["type"])
        try:
            return Config.model_validate(repaired, context=context), mistakes, faulty
        except ValidationError as error:
            errors = error.errors(include_url=False)
    return None, mistakes, faulty


def _explain(errors: list[ErrorDetails], lines: Lines) -> tuple[list[Finding], frozenset[KeyPath]]:
    """What to say about each error, and the keys that other checks had better not judge."""
    faulty: set[KeyPath] = {shape.written(one["loc"]) for one in errors}
    findings = []
    misspelt: set[KeyPath] = set()
    for one in errors:
        if one["type"] != "extra_forbidden":
            continue
        path = shape.written(one["loc"])
        sentence, names = shape.meant(one["loc"])
        misspelt.update((*path[:-1], name) for name in names)
        findings.append(_finding(lines, path, f"unknown key; {sentence}"))
    for one in errors:
        path = shape.written(one["loc"])
        if one["type"] == "extra_forbidden":
            continue  # said above
        if one["type"] == "union_tag_invalid":
            findings.append(_unknown_kind(lines, (*path, "kind"), one))
        elif one["type"] != "missing":
            said = _found(one["loc"], one) + _allowed(one["loc"], one)
            findings.append(_finding(lines, path, said))
        elif path not in misspelt:
            allowed = _REQUIRED[str(path[-1])][0].replace("{title}", f"[{shape.dotted(path)}]")
            findings.append(_finding(lines, path, f"is missing; allowed: {allowed}"))
    return findings, frozenset(faulty | misspelt)


def _unknown_kind(lines: Lines, path: KeyPath, error: ErrorDetails) -> Finding:
    """A table of a kind that is not known: what its other keys mean can't be said either."""
    table = error["input"]
    if not isinstance(table, dict):
        return _finding(lines, path[:-1], f"found {shown(table)}; allowed: {_FORMS['model_type']}")
    kinds = [kind.strip("' ") for kind in error.get("ctx", {})["expected_tags"].split(",")]
    near = difflib.get_close_matches(str(table.get("kind")).lower(), kinds, n=1, cutoff=0.6)
    allowed = ", ".join(f'"{kind}"' for kind in kinds)
    hint = f"; did you mean {near[0]}?" if near else ""
    return _finding(lines, path, f"found {shown(table.get('kind'))}; allowed: {allowed}{hint}")


def _found(path: KeyPath, error: ErrorDetails) -> str:
    value = error["input"]
    if shape.is_secret(path):
        return ""
    if error["type"] == "url" and isinstance(value, str):
        # What follows the host may be a key (heartbeat services have it there), and so may what
        # stands before an @.
        head = re.match(r"\s*\w*(?:://)?[^/?#@]*(?![^/?#]*@)", value)
        value = head[0] + "…" if head and len(head[0]) < len(value) else value
        value = "…" if "@" in value else value
    return f"found {shown(value)}; "


def _allowed(path: KeyPath, error: ErrorDetails) -> str:
    kind, words = error["type"], shape.words(path)
    if words:
        near = difflib.get_close_matches(str(error["input"]).lower(), words, n=1, cutoff=0.6)
        return (
            "allowed: "
            + ", ".join(f'"{word}"' for word in words)
            + (f"; did you mean {near[0]}?" if near else "")
        )
    if kind in _FORMS:
        return f"allowed: {_FORMS[kind]}"
    return error["msg"]


def _repair(data: dict[str, Any], path: KeyPath, error: str) -> None:
    """Take the wrong value out, or put a stand-in for the missing one in."""
    here: Any = data
    for place, part in enumerate(path[:-1]):
        inner = here.get(part) if isinstance(here, dict) else None
        if not isinstance(inner, dict | list) and place < len(path) - 1:
            return
        if isinstance(inner, list):
            # The elements of a list have no defaults: with one wrong the list goes, or a table
            # of it (a member of staff) is mended.
            element = inner[int(path[place + 1])] if len(path) > place + 2 else None
            if not isinstance(element, dict):
                here.pop(part)
                return
            _repair(element, path[place + 2 :], error)
            return
        here = inner
    if error == "union_tag_invalid":
        here[path[-1]] = {}  # its own required keys are put in next
    elif error == "missing":
        here[path[-1]] = copy.deepcopy(_REQUIRED[str(path[-1])][1])
    else:
        here.pop(path[-1], None)


def _with_directories(
    config: Config, data: Mapping[str, object], environ: Mapping[str, str]
) -> Config:
    given = {"state_dir": "STATE_DIRECTORY", "runtime_dir": "RUNTIME_DIRECTORY"}
    # systemd separates several directories by colons (systemd.exec(5)); the unit asks for one.
    found = {
        key: Path(environ[variable].split(":")[0])
        for key, variable in given.items()
        if key not in data and environ.get(variable)
    }
    return config.model_copy(update=found)


def _secrets(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, Secret]]:
    """Every secret of the configuration with its key path, those of disabled accounts left out."""
    match value:
        case Secret():
            yield path, value
        case Account(enabled=False):
            return
        case Model():
            for name in type(value).model_fields:
                yield from _secrets(getattr(value, name), (*path, name))
        case dict():
            for name, inner in value.items():
                yield from _secrets(inner, (*path, name))


def _finding(lines: Lines, path: KeyPath, text: str) -> Finding:
    return Finding(shape.dotted(path), text, lines.of(path))


def _sorted(findings: list[Finding]) -> list[Finding]:
    """In the file's order; what concerns no line comes first."""
    return sorted(findings, key=lambda finding: finding.line or 0)
