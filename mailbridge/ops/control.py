"""The daemon's ear for its own commands: a Unix socket in the runtime directory.

One request a connection, one JSON object a line:

    client   {"command": "show", "arguments": {"discussion": "cd-3c2e7r"}}
    server   {"item": {...}}        once for each thing the handler gives
             {"alive": true}        every few seconds while it works, so that silence means trouble
             {"end": true}          or {"error": "...", "kind": "..."}; a stream without is cut off

The rule: only root and the user the daemon runs as are heard (SO_PEERCRED), whatever the file's
mode says. A command that gives one answer is carried out to its end even if its client leaves;
one that streams is closed then. What the commands are does not live here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import structlog

__all__ = [
    "CommandFailed",
    "ControlBusy",
    "ControlClient",
    "ControlDenied",
    "ControlError",
    "ControlLost",
    "ControlServer",
    "ControlUnusable",
    "DaemonNotRunning",
    "Handler",
    "StaleSocket",
]

log = structlog.get_logger(__name__)

Answer = dict[str, Any]
Handler = Callable[[str, dict[str, Any]], Awaitable[AsyncIterator[Answer] | Answer]]
"""Carries out a command. Raises `CommandFailed` with words for the person who asked."""

_REQUEST_LIMIT = 64 * 1024
_LINE_LIMIT = 4 * 1024 * 1024
_PATH_LIMIT = 107  # octets: sun_path of unix(7) is 108 with its final zero
_AT_ONCE = 8


class ControlError(Exception):
    """Base of what goes wrong between a command and the daemon; `str()` says what to do."""


class DaemonNotRunning(ControlError):
    """There is no socket: the daemon is not running, or with another runtime directory."""


class StaleSocket(DaemonNotRunning):
    """There is a socket and nobody behind it: the daemon was killed, or is just starting."""


class ControlDenied(ControlError):
    """This user may not speak to the daemon."""


class ControlBusy(ControlError):
    """Too many commands at once; try again."""


class ControlLost(ControlError):
    """No end came, in time or at all: the command may have been carried out."""


class ControlUnusable(ControlError):
    """The socket can't be made or used as asked: path, directory, or a message too big or odd."""


class CommandFailed(ControlError):
    """The daemon says no, in words for the person who asked."""


class _Kind(StrEnum):
    """Why the daemon ended a command with an error."""

    FAILED = "failed"
    DENIED = "denied"
    BUSY = "busy"
    REQUEST = "request"
    INTERNAL = "internal"


class ControlServer:
    """`async with ControlServer(path, handler):` listens until the block is left."""

    def __init__(
        self,
        path: Path,
        handler: Handler,
        *,
        request_timeout: float = 5.0,
        write_timeout: float = 10.0,
        alive_every: float = 3.0,
    ) -> None:
        """Times are in seconds; `write_timeout` is for a client that does not read."""
        self._path = path
        self._handler = handler
        self._request_timeout = request_timeout
        self._write_timeout = write_timeout
        self._alive_every = alive_every
        self._server: asyncio.Server | None = None
        self._inode: int | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; raises `ControlUnusable` with the reason where that can't be done safely.

        The directory is made with mode 0700 where it is missing. The socket appears under its
        name with mode 0600 and already answered, and takes the place of a stale one.
        """
        making = self._path.with_name(self._path.name + "~")
        _check_length(making)
        _safe_directory(self._path.parent)
        if await _answered(self._path):
            raise ControlUnusable(f"another mailbridge answers at {self._path}; stop it first")
        with contextlib.suppress(FileNotFoundError):
            making.unlink()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.bind(str(making))
            making.chmod(0o600)
            self._inode = making.stat().st_ino
            self._server = await asyncio.start_unix_server(
                self._accept, sock=sock, limit=_REQUEST_LIMIT
            )
            making.rename(self._path)
        except OSError as error:
            if self._server is not None:
                self._server.close()
                self._server = None
            sock.close()
            raise ControlUnusable(
                f"no socket at {self._path}: {error.strerror or type(error).__name__}"
            ) from None

    async def aclose(self) -> None:
        """Stop listening, end what is under way, remove the socket; safe to repeat."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:  # not a successor's
                self._path.unlink()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def __aenter__(self) -> ControlServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A plain function with a task of ours: closing then waits for what is under way.
        talk = asyncio.get_running_loop().create_task(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, _Line(writer, self._write_timeout))
        except (OSError, _Gone):
            log.info("control client left")
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, line: _Line) -> None:
        pid, uid = line.peer()
        if uid not in (0, os.geteuid()):
            log.warning("control client refused", pid=pid, uid=uid)
            await line.fail(_Kind.DENIED, "only root and the daemon's own user are heard")
            return
        if len(self._talks) > _AT_ONCE:
            await line.fail(_Kind.BUSY, f"{_AT_ONCE} commands are under way")
            return
        try:
            async with asyncio.timeout(self._request_timeout):
                command, arguments = _request(await reader.readline())
        except TimeoutError:
            await line.fail(_Kind.REQUEST, "no request came in time")
            return
        except ValueError as error:  # asyncio's own for a line above the limit is one too
            await line.fail(_Kind.REQUEST, f"not a request of ours: {error}")
            return
        log.info("command", command=command, pid=pid, uid=uid)
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await self._carry_out(command, arguments, line, gone)
        except CommandFailed as error:
            await line.fail(_Kind.FAILED, str(error))
        except (OSError, _Gone):
            raise
        except Exception:
            log.exception("command failed", command=command)
            await line.fail(_Kind.INTERNAL, "unexpected error; the daemon's log has it")
        else:
            await line.put({"end": True})
        finally:
            gone.cancel()

    async def _carry_out(
        self, command: str, arguments: dict[str, Any], line: _Line, gone: asyncio.Future[bytes]
    ) -> None:
        # What a handler raises is its own, never taken for a lost client.
        answer = await self._await(_guarded(self._handler(command, arguments)), line, None)
        if isinstance(answer, dict):
            await line.put({"item": answer})
            return
        try:
            while True:
                item = await self._await(_guarded(anext(answer)), line, gone)
                await line.put({"item": item})
        except StopAsyncIteration:
            pass
        finally:
            if isinstance(answer, AsyncGenerator):
                await answer.aclose()

    async def _await(
        self, work: Awaitable[Any], line: _Line, gone: asyncio.Future[bytes] | None
    ) -> Any:
        """The result of `work`, with signs of life meanwhile.

        With `gone`, the client's leaving ends the work; without, the work goes on to its end.
        """
        task = asyncio.ensure_future(work)
        watched: set[asyncio.Future[Any]] = {task} if gone is None else {task, gone}
        client_left = False
        try:
            while not task.done():
                await asyncio.wait(
                    watched, timeout=self._alive_every, return_when=asyncio.FIRST_COMPLETED
                )
                if task.done():
                    break
                if gone is not None and gone.done():
                    raise _Gone
                if not client_left:
                    try:
                        await line.put({"alive": True})
                    except (OSError, _Gone):
                        if gone is not None:
                            raise
                        client_left = True
            return _unwrapped(task.result())
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


class ControlClient:
    """Asks the daemon behind this socket."""

    def __init__(self, path: Path, *, timeout: float = 15.0) -> None:
        """`timeout`: seconds without a sign of life after which the daemon counts as hung."""
        self._path = path
        self._timeout = timeout

    async def call(self, command: str, **arguments: Any) -> AsyncGenerator[Answer, None]:
        """Give the command and yield what comes back; raises `ControlError`.

        Leave it with `contextlib.aclosing` where the loop may be broken off.
        """
        request = json.dumps({"command": command, "arguments": arguments}).encode() + b"\n"
        if len(request) > _REQUEST_LIMIT:
            raise ControlUnusable("the command is too long")
        reader, writer = await self._connect()
        try:
            with contextlib.suppress(ConnectionError):  # refused unread: the answer says why
                writer.write(request)
                await writer.drain()
            while True:
                reply = await self._reply(reader)
                match reply:
                    case {"item": dict(item)}:
                        yield item
                    case {"alive": True}:
                        continue
                    case {"end": True}:
                        return
                    case {"error": str(words), "kind": str(kind)}:
                        raise _error(kind, words)
                    case _:
                        raise ControlUnusable("the daemon's answer is not one of ours")
        finally:
            writer.close()

    async def ask(self, command: str, **arguments: Any) -> Answer:
        """The one answer of a command that gives one; raises `ControlError`."""
        async with contextlib.aclosing(self.call(command, **arguments)) as answers:
            found = [answer async for answer in answers]
        if len(found) != 1:
            raise ControlUnusable(f"{len(found)} answers where one was expected")
        return found[0]

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        _check_length(self._path)
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.open_unix_connection(str(self._path), limit=_LINE_LIMIT)
        except (FileNotFoundError, NotADirectoryError):
            raise DaemonNotRunning(
                f"mailbridge is not running (no socket at {self._path}); start it, or name its"
                " configuration file if it runs with another runtime_dir"
            ) from None
        except ConnectionRefusedError:
            raise StaleSocket(
                f"mailbridge is not running (nobody answers at {self._path});"
                " start it: it replaces the socket left behind"
            ) from None
        except PermissionError:
            raise ControlDenied(
                f"no permission to use {self._path}: ask as root or as the daemon's user"
            ) from None
        except TimeoutError:
            raise ControlLost("the daemon does not answer") from None
        except OSError as error:
            raise ControlUnusable(f"{self._path}: {error.strerror}") from None

    async def _reply(self, reader: asyncio.StreamReader) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                line = await reader.readline()
        except TimeoutError:
            raise ControlLost(
                f"the daemon has been silent for {self._timeout:g} s;"
                " the command may still be carried out"
            ) from None
        except ValueError:
            raise ControlUnusable("the daemon's answer is too long") from None
        except ConnectionError:
            line = b""
        if not line.endswith(b"\n"):
            raise ControlLost("the daemon went away; the command may have been carried out")
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            raise ControlUnusable("the daemon's answer is not one of ours") from None


class _Gone(Exception):
    """The client left."""


class _Raised:
    """An exception of the handler's, carried past the handling of lost clients."""

    def __init__(self, error: Exception) -> None:
        self.error = error


async def _guarded(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except Exception as error:
        return _Raised(error)


def _unwrapped(result: Any) -> Any:
    if not isinstance(result, _Raised):
        return result
    if isinstance(result.error, CommandFailed | StopAsyncIteration):
        raise result.error
    raise RuntimeError("the handler failed") from result.error


class _Line:
    """The server's side of one connection: writes objects, within a time limit."""

    def __init__(self, writer: asyncio.StreamWriter, timeout: float) -> None:
        self._writer = writer
        self._timeout = timeout

    def peer(self) -> tuple[int, int]:
        """Process and user at the other end, as the kernel knows them (SO_PEERCRED, unix(7))."""
        sock = self._writer.get_extra_info("socket")
        found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, uid, _gid = struct.unpack("3i", found)
        return pid, uid

    async def put(self, message: dict[str, Any]) -> None:
        """Raises `_Gone` for a client that left or does not read."""
        data = json.dumps(message, ensure_ascii=False, default=str).encode() + b"\n"
        if len(data) > _LINE_LIMIT:
            raise CommandFailed("the answer is too long; ask for less")
        try:
            self._writer.write(data)
            async with asyncio.timeout(self._timeout):
                await self._writer.drain()
        except (TimeoutError, OSError):
            self._writer.transport.abort()
            raise _Gone from None

    async def fail(self, kind: _Kind, words: str) -> None:
        await self.put({"error": words, "kind": kind})


def _request(line: bytes) -> tuple[str, dict[str, Any]]:
    if not line.endswith(b"\n"):
        raise ValueError("cut off")
    try:
        request = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    match request:
        case {"command": str(command), "arguments": dict(arguments)}:
            return command, arguments
    raise ValueError("no command in it")


def _error(kind: str, words: str) -> ControlError:
    match kind:
        case _Kind.FAILED:
            return CommandFailed(words)
        case _Kind.DENIED:
            return ControlDenied(words)
        case _Kind.BUSY:
            return ControlBusy(f"the daemon is busy ({words}); try again in a moment")
        case _Kind.REQUEST:
            return ControlUnusable(words)
        case _:
            return CommandFailed(words)


def _check_length(path: Path) -> None:
    length = len(os.fsencode(path))
    if length > _PATH_LIMIT:
        raise ControlUnusable(
            f"the socket's path has {length} octets and the system allows {_PATH_LIMIT}"
            f" ({path}): choose a shorter runtime_dir"
        )


def _safe_directory(directory: Path) -> None:
    """Made for us alone if missing; an existing one nobody else may write to."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError as error:
        raise ControlUnusable(
            f"runtime directory {directory}: {error.strerror}; make it, or set runtime_dir"
        ) from None
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ControlUnusable(
            f"runtime directory {directory} can be written by others"
            f" (mode {status.st_mode & 0o7777:04o}, owner {status.st_uid}): give it mode 0700"
        )


async def _answered(path: Path) -> bool:
    try:
        async with asyncio.timeout(1.0):
            _, writer = await asyncio.open_unix_connection(str(path))
    except TimeoutError:
        return True  # somebody listens and is busy
    except OSError:
        return False
    writer.close()
    return True
