"""Secrets: where each one lives, and how it is fetched when it is needed.

A `Secret` is the address of a secret, not the secret: the daemon reads it again at each sign-in,
so that a changed password or a fresh token needs no restart. No repr, error or warning of this
module ever holds a secret's text. Which keys are secrets is the business of `models`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from mailbridge.config.kinds import resolve

__all__ = [
    "Command",
    "Credential",
    "Environment",
    "File",
    "Inline",
    "Secret",
    "SecretError",
    "Source",
]

_LARGEST = 64 * 1024
"""Octets. No password or token is longer; a wrong path (a log, a disk) is."""
_COMMAND_SECONDS = 30.0
_STDERR_SHOWN = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,254}")  # systemd's credential names, less "/"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN_LIKE = re.compile(r"(?=\S*\d)(?=\S*[A-Za-z])[A-Za-z0-9+/=_.~-]{16,}")

_ALLOWED = (
    'allowed: { file = "/path" }, { env = "NAME" }, { credential = "name" } (of systemd), '
    '{ command = ["program", "argument"] }, or the text itself in quotes'
)


class SecretError(Exception):
    """A secret could not be read; `str()` says which, why and the way out, never its text."""


@dataclass(frozen=True, slots=True, repr=False)
class Inline:
    """The text stands in the configuration file itself."""

    text: str


@dataclass(frozen=True, slots=True)
class File:
    """A file that holds the secret and nothing else."""

    path: Path


@dataclass(frozen=True, slots=True)
class Environment:
    """A variable of the daemon's environment."""

    name: str


@dataclass(frozen=True, slots=True)
class Credential:
    """A file of this name in `$CREDENTIALS_DIRECTORY` (systemd LoadCredential=)."""

    name: str


@dataclass(frozen=True, slots=True, repr=False)
class Command:
    """A program whose first line of output is the secret; run without a shell."""

    argv: tuple[str, ...]


Source = Inline | File | Environment | Credential | Command


class Secret:
    """Where one secret lives. Equal if the places are; shows the kind of place only."""

    __slots__ = ("_source",)

    def __init__(self, source: Source) -> None:
        self._source = source

    def __repr__(self) -> str:
        return f"Secret({type(self._source).__name__.lower()})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._source == other._source

    def __hash__(self) -> int:
        return hash(self._source)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")

    @property
    def inline(self) -> bool:
        """Whether the text stands in the configuration file itself."""
        return isinstance(self._source, Inline)

    @property
    def place(self) -> str:
        """Where it lives, fit for logs: never the text, and of a command only the program."""
        match self._source:
            case Inline():
                return "the configuration file"
            case File(path):
                return f"the file {path}"
            case Environment(name):
                return f"the environment variable {name}"
            case Credential(name):
                return f"the systemd credential {name}"
            case Command(argv):
                return f"the command {argv[0]}"

    def warning(self) -> str | None:
        """What is unwise about the place, and the way out; None if nothing is."""
        match self._source:
            case Inline():
                return (
                    "a secret in the configuration file is copied with every backup of it; better "
                    "a { file = … } of its own or a { credential = … } of systemd"
                )
            case File(path):
                with contextlib.suppress(OSError):
                    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                        return f"{path} is open to other users of this machine: chmod 600 {path}"
        return None

    async def read(self, environ: Mapping[str, str] | None = None) -> str:
        """The secret as it is now: one line, without its line end.

        `environ` stands for the process environment. Raises SecretError. A command is given 30 s
        and its first line counts; a file of several lines is refused, since it is the wrong file
        more often than not (see `read_lines`).
        """
        lines = await self.read_lines(environ)
        if len(lines) > 1 and not isinstance(self._source, Command):
            raise SecretError(
                f"{self.place} holds {len(lines)} lines, a secret is one: keep only that line"
            )
        return lines[0]

    async def read_lines(self, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """All lines that are not empty, at least one: for keys, of which old ones stay valid.

        Raises SecretError like `read`.
        """
        variables = os.environ if environ is None else environ
        match self._source:
            case Inline(text):
                data = text
            case File(path):
                data = await asyncio.to_thread(_read_file, path, self.place)
            case Environment(name):
                if name not in variables:
                    raise SecretError(f"{self.place} is not set: set it where mailbridge starts")
                data = variables[name]
            case Credential(name):
                data = await asyncio.to_thread(_read_credential, name, self.place, variables)
            case Command(argv):
                data = await _run(argv, self.place, variables)
        if "\0" in data:
            raise SecretError(f"{self.place} holds a NUL: is it the right one?")
        # Only line ends are cut off: a password may begin or end with a space.
        lines = tuple(line for line in re.split(r"\r\n|\n|\r", data) if line)
        if not lines:
            match self._source:
                case Command():
                    raise SecretError(f"{self.place} printed nothing: try it by hand")
                case _:
                    raise SecretError(f"{self.place} is empty: put the secret there")
        return lines

    @classmethod
    def from_toml(cls, value: object, info: ValidationInfo | None = None) -> Secret:
        """The secret a TOML value describes.

        Raises PydanticCustomError, whose text never holds the value.
        """
        match value:
            case Secret():
                return value
            case str() if value.strip():
                return cls(Inline(value))
            case str():
                raise _wrong("empty; " + _ALLOWED)
            case dict():
                return cls(_source_of(value, info))
        raise _wrong(_ALLOWED)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls.from_toml, serialization=core_schema.plain_serializer_function_ser_schema(repr)
        )


def _wrong(text: str) -> PydanticCustomError:
    return PydanticCustomError("secret", "{text}", {"text": text})


def _source_of(table: Mapping[str, object], info: ValidationInfo | None) -> Source:
    known = ("file", "env", "credential", "command")
    if len(table) != 1 or next(iter(table)) not in known:
        # Names of unknown keys are not shown: somebody may have written the secret as a key.
        raise _wrong(
            ("two places for one secret; " if len(table.keys() & set(known)) > 1 else "") + _ALLOWED
        )
    match dict(table):
        case {"file": str(path)} if path.strip() and "\0" not in path:
            return File(resolve(Path(path), info) if info else Path(path))
        case {"env": str(name)} if _VARIABLE.fullmatch(name):
            return Environment(name)
        case {"credential": str(name)} if _NAME.fullmatch(name):
            return Credential(name)
        case {"command": [*argv]} if _is_argv(argv):
            return Command(tuple(str(word) for word in argv))
        case {"file": _}:
            raise _wrong('allowed: file = "/path/of/a/file"')
        case {"env": _}:
            raise _wrong('allowed: env = "NAME", the name of a variable, without $')
        case {"credential": _}:
            raise _wrong('allowed: credential = "name", as in LoadCredential=name:/path')
    raise _wrong(
        'allowed: command = ["program", "argument", …], each word in quotes of its own; '
        "no shell is involved"
    )


def _is_argv(words: Sequence[object]) -> bool:
    return (
        bool(words)
        and all(isinstance(word, str) and "\0" not in word for word in words)
        and bool(str(words[0]).strip())
    )


def _read_file(path: Path, place: str) -> str:
    try:
        # A FIFO or a terminal would keep the daemon waiting for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise SecretError(f"{place} is not a regular file")
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise SecretError(f"{place} does not exist") from None
    except PermissionError:
        raise SecretError(
            f"{place} may not be read by this user: hand it over with LoadCredential= in the "
            "unit, or make the daemon's user its owner"
        ) from None
    except OSError as error:
        raise SecretError(f"{place} cannot be read: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise SecretError(f"{place} is bigger than {_LARGEST} octets: is it the right one?")
    return _text(data, place)


def _read_credential(name: str, place: str, environ: Mapping[str, str]) -> str:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise SecretError(
            f"{place} is only there when systemd starts mailbridge with "
            f"LoadCredential={name}:/path; to try it by hand: "
            "systemd-run --pty -p LoadCredential=…, or set CREDENTIALS_DIRECTORY"
        )
    path = Path(folder) / name
    if not path.exists():
        raise SecretError(f"{place} was not handed over: add LoadCredential={name}:/path")
    return _read_file(path, place)


def _text(data: bytes, place: str) -> str:
    try:
        return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError:
        # Not chained: the original error carries the octets.
        raise SecretError(f"{place} is not text in UTF-8") from None


async def _run(argv: Sequence[str], place: str, environ: Mapping[str, str]) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environ),
            start_new_session=True,
        )
    except OSError as error:
        raise SecretError(f"{place} cannot be started: {error.strerror}") from None
    try:
        async with asyncio.timeout(_COMMAND_SECONDS):
            out, complaint, status = await asyncio.gather(
                _drain(process.stdout), _drain(process.stderr), process.wait()
            )
    except TimeoutError:
        raise SecretError(
            f"{place} had not ended after {_COMMAND_SECONDS:.0f} s: does it ask something?"
        ) from None
    finally:
        # The whole group, also on cancellation: a helper of the program may outlive it. Reading
        # the pipes to their end lets asyncio close them; a helper in a group of its own that
        # holds them open is not waited for.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.gather(_drain(process.stdout), _drain(process.stderr), process.wait())
    if status != 0:
        said = _shown(complaint, out)
        raise SecretError(
            f"{place} ended with status {status}"
            + (f": {said}" if said else "; its words are not shown, they may hold the secret")
        )
    if len(out) > _LARGEST:
        raise SecretError(f"{place} printed more than {_LARGEST} octets: is it the right one?")
    return _text(out, place)


async def _drain(stream: asyncio.StreamReader | None) -> bytes:
    """All that comes, of which just over the limit is kept: a full pipe would stop the program."""
    kept = b""
    while stream is not None and (chunk := await stream.read(_LARGEST)):
        kept += chunk[: _LARGEST + 1 - len(kept)]
    return kept


def _shown(complaint: bytes, out: bytes) -> str:
    """The last line of stderr, if nothing in it could be a secret; else empty."""
    lines = complaint.decode("utf-8", "replace").strip().splitlines()
    said = lines[-1].strip() if lines else ""
    printed = out.decode("utf-8", "replace").split()
    if not said or len(said) > _STDERR_SHOWN or not said.isprintable() or "\ufffd" in said:
        return ""
    if _TOKEN_LIKE.search(said) or any(word in said for word in printed):
        return ""
    return said
