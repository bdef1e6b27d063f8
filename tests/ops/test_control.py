"""Commands to the daemon, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailbridge.ops.control import (
    CommandFailed,
    ControlBusy,
    ControlClient,
    ControlDenied,
    ControlError,
    ControlLost,
    ControlServer,
    ControlUnusable,
    DaemonNotRunning,
    Handler,
    StaleSocket,
)


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A short path of our own: pytest's are too long for a socket at times."""
    directory = Path(tempfile.mkdtemp(prefix="mb-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def path(runtime: Path) -> Path:
    return runtime / "control.sock"


class Daemon:
    """A handler with one command of each kind."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(
        self, command: str, arguments: dict[str, Any]
    ) -> AsyncIterator[dict[str, Any]] | dict[str, Any]:
        match command:
            case "status":
                return {"running": True, **arguments}
            case "backfill":
                return self._backfill(arguments["count"])
            case "show":
                raise CommandFailed("no discussion cd-9 in account shop")
            case "bug":
                raise ValueError("jean@orange.fr")
            case "reset":
                raise ConnectionResetError("an IMAP server's, not the client's")
            case "slow":
                self.begun.set()
                await self.go_on.wait()
                self.done.append("slow")
                return {"slow": "done"}
            case "huge":
                return {"text": "x" * 5_000_000}
            case _:
                raise CommandFailed(f"unknown command {command}")

    async def _backfill(self, count: int) -> AsyncIterator[dict[str, Any]]:
        try:
            for n in range(count):
                yield {"filed": n}
                if n == 2:
                    self.begun.set()
                    await self.go_on.wait()
            self.done.append("backfill")
        finally:
            self.done.append("closed")


async def answers(client: ControlClient, command: str, **arguments: Any) -> list[dict[str, Any]]:
    return [answer async for answer in client.call(command, **arguments)]


async def until_done(daemon: Daemon, count: int) -> None:
    async with asyncio.timeout(2):
        while len(daemon.done) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_question_and_its_answer(path: Path) -> None:
    async with ControlServer(path, Daemon()):
        client = ControlClient(path)
        assert await client.ask("status", accounts=["été"]) == {
            "running": True,
            "accounts": ["été"],
        }
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()


async def test_progress_streams_as_it_happens(path: Path) -> None:
    daemon = Daemon()
    async with ControlServer(path, daemon, alive_every=0.02):
        stream = ControlClient(path, timeout=0.3).call("backfill", count=4)
        assert [await anext(stream) for _ in range(3)] == [{"filed": n} for n in range(3)]
        await daemon.begun.wait()
        # longer than the client would bear a silent daemon: signs of life come meanwhile
        later = asyncio.get_running_loop().call_later(0.4, daemon.go_on.set)
        assert [answer async for answer in stream] == [{"filed": 3}]
        later.cancel()
    assert daemon.done == ["backfill", "closed"]


async def test_the_daemons_no_comes_in_its_words(path: Path) -> None:
    async with ControlServer(path, Daemon()):
        with pytest.raises(CommandFailed, match=r"^no discussion cd-9 in account shop$"):
            await ControlClient(path).ask("show", discussion="cd-9")


@pytest.mark.parametrize("command", ["bug", "reset"])
async def test_an_unexpected_error_tells_the_client_nothing_private(
    path: Path, command: str
) -> None:
    async with ControlServer(path, Daemon()):
        with pytest.raises(CommandFailed, match="unexpected error; the daemon's log has it"):
            await ControlClient(path).ask(command)
        assert await ControlClient(path).ask("status") == {"running": True}


async def test_a_single_answer_is_asked_of_a_stream(path: Path) -> None:
    daemon = Daemon()
    async with ControlServer(path, daemon):
        with pytest.raises(ControlUnusable, match="2 answers where one was expected"):
            await ControlClient(path).ask("backfill", count=2)


async def test_a_command_is_carried_out_to_its_end_though_its_client_left(path: Path) -> None:
    daemon = Daemon()
    async with ControlServer(path, daemon, alive_every=0.01):
        asking = asyncio.create_task(ControlClient(path).ask("slow"))
        await daemon.begun.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await asyncio.sleep(0.05)
        daemon.go_on.set()
        await until_done(daemon, 1)
    assert daemon.done == ["slow"]


async def test_a_stream_is_closed_when_its_client_leaves(path: Path) -> None:
    daemon = Daemon()
    async with ControlServer(path, daemon):
        async with contextlib.aclosing(ControlClient(path).call("backfill", count=9)) as stream:
            await anext(stream)
            await daemon.begun.wait()
        await until_done(daemon, 1)
    assert daemon.done == ["closed"]


async def test_half_a_goodbye_is_a_goodbye(path: Path) -> None:
    daemon = Daemon()
    async with ControlServer(path, daemon, alive_every=0.01):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b'{"command": "backfill", "arguments": {"count": 9}}\n')
        await daemon.begun.wait()
        writer.write_eof()
        await until_done(daemon, 1)
        async with asyncio.timeout(1):
            assert b'"end"' not in await reader.read()
        writer.close()
    assert daemon.done == ["closed"]


async def test_nobody_there(runtime: Path, path: Path) -> None:
    with pytest.raises(DaemonNotRunning, match=r"not running \(no socket at"):
        await ControlClient(path).ask("status")
    with pytest.raises(DaemonNotRunning):
        await ControlClient(runtime / "none" / "control.sock").ask("status")


async def test_a_socket_left_behind_is_told_apart_and_replaced(path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    with pytest.raises(StaleSocket, match="it replaces the socket left behind"):
        await ControlClient(path).ask("status")
    async with ControlServer(path, Daemon()):
        assert await ControlClient(path).ask("status") == {"running": True}


async def test_a_second_daemon_does_not_take_the_socket_of_a_living_one(path: Path) -> None:
    async with ControlServer(path, Daemon()):
        with pytest.raises(ControlUnusable, match="another mailbridge answers"):
            await ControlServer(path, Daemon()).start()
        assert await ControlClient(path).ask("status") == {"running": True}


async def test_closing_leaves_a_successors_socket_alone(path: Path) -> None:
    first = ControlServer(path, Daemon())
    await first.start()
    path.unlink()
    async with ControlServer(path, Daemon()):
        await first.aclose()
        await first.aclose()
        assert await ControlClient(path).ask("status") == {"running": True}


async def test_a_path_too_long_is_said_so(tmp_path: Path) -> None:
    long = tmp_path / ("d" * 120) / "control.sock"
    with pytest.raises(ControlUnusable, match="octets and the system allows 107"):
        await ControlServer(long, Daemon()).start()
    with pytest.raises(ControlUnusable, match="choose a shorter runtime_dir"):
        await ControlClient(long).ask("status")


async def test_the_directory_is_ours_alone(runtime: Path) -> None:
    async with ControlServer(runtime / "new" / "control.sock", Daemon()):
        assert (runtime / "new").stat().st_mode & 0o777 == 0o700
    shared = runtime / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(ControlUnusable, match=r"can be written by others \(mode 0777"):
        await ControlServer(shared / "control.sock", Daemon()).start()
    (runtime / "file").write_text("")
    with pytest.raises(ControlUnusable, match="runtime directory"):
        await ControlServer(runtime / "file" / "control.sock", Daemon()).start()


async def test_another_user_is_not_heard_whatever_the_files_mode(
    runtime: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ControlServer(path, Daemon()):
        runtime.chmod(0o755)
        path.chmod(0o666)
        if os.geteuid() == 0:  # the kernel notes the effective user at connect(2)
            client = socket.socket(socket.AF_UNIX)
            os.seteuid(65534)
            try:
                client.connect(str(path))
            finally:
                os.seteuid(0)
            client.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=client)
            answer = json.loads(await reader.readline())
            writer.close()
            assert answer == {
                "error": "only root and the daemon's own user are heard",
                "kind": "denied",
            }
        else:
            monkeypatch.setattr(os, "geteuid", lambda: 65534)
            with pytest.raises(ControlDenied):
                await ControlClient(path).ask("status")


async def test_too_many_at_once(path: Path) -> None:
    daemon = Daemon()
    async with ControlServer(path, daemon):
        client = ControlClient(path)
        slow = [asyncio.create_task(client.ask("slow")) for _ in range(8)]
        await daemon.begun.wait()
        await asyncio.sleep(0.02)
        with pytest.raises(ControlBusy, match="8 commands are under way"):
            await client.ask("status")
        daemon.go_on.set()
        assert await asyncio.gather(*slow) == [{"slow": "done"}] * 8
        assert await client.ask("status") == {"running": True}


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"GET / HTTP/1.1\n", "not a request of ours"),
        (b'{"command": 1, "arguments": {}}\n', "no command in it"),
        (b"[" * 50_000 + b"\n", "not a request of ours"),
        (b"x" * 70_000 + b"\n", "not a request of ours"),
        (b"\xff\n", "not a request of ours"),
        (b"", "no request came in time"),
    ],
)
async def test_odd_requests_get_an_answer_and_harm_nobody(
    path: Path, sent: bytes, words: str
) -> None:
    async with ControlServer(path, Daemon(), request_timeout=0.1):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(sent)
        answer = json.loads(await reader.readline())
        assert words in answer["error"]
        assert answer["kind"] == "request"
        writer.close()
        assert await ControlClient(path).ask("status") == {"running": True}


async def test_a_command_too_long_is_not_sent(path: Path) -> None:
    with pytest.raises(ControlUnusable, match="too long"):
        await ControlClient(path).ask("status", text="x" * 70_000)


async def test_an_answer_too_long_is_said_so(path: Path) -> None:
    async with ControlServer(path, Daemon()):
        with pytest.raises(CommandFailed, match="ask for less"):
            await ControlClient(path).ask("huge")


async def test_a_client_that_does_not_read_is_dropped(path: Path) -> None:
    closed = asyncio.Event()

    async def handler(command: str, arguments: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        async def flood() -> AsyncIterator[dict[str, Any]]:
            try:
                while True:
                    yield {"text": "x" * 100_000}
            finally:
                closed.set()

        return flood()

    async with ControlServer(path, handler, write_timeout=0.1):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(path))
        client.send(b'{"command": "flood", "arguments": {}}\n')
        async with asyncio.timeout(2):
            await closed.wait()
        client.close()


@contextlib.asynccontextmanager
async def answering(path: Path, *lines: bytes, stay: bool = False) -> AsyncIterator[None]:
    """Something that is no daemon of ours."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.writelines(lines)
        if stay:
            await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(talk, str(path))
    yield
    server.close()


@pytest.mark.parametrize(
    ("lines", "stay", "error", "words"),
    [
        ([], False, ControlLost, "went away"),
        ([b'{"item": {}}\n'], False, ControlLost, "may have been carried out"),
        ([b'{"item": {}'], False, ControlLost, "went away"),
        ([], True, ControlLost, "silent for 0.1 s"),
        ([b"220 smtp.example.org\n"], False, ControlUnusable, "not one of ours"),
        ([b'{"item": 7}\n'], False, ControlUnusable, "not one of ours"),
        ([b"[" * 50_000 + b"\n"], False, ControlUnusable, "not one of ours"),
        ([b"x" * 5_000_000 + b"\n"], False, ControlUnusable, "too long"),
    ],
)
async def test_a_daemon_that_goes_away_hangs_or_raves(
    path: Path, lines: list[bytes], stay: bool, error: type[ControlError], words: str
) -> None:
    async with answering(path, *lines, stay=stay):
        with pytest.raises(error, match=words):
            await answers(ControlClient(path, timeout=0.1), "status")


async def test_a_daemon_that_stops_in_the_middle_leaves_no_doubt_that_it_is_unknown(
    path: Path,
) -> None:
    daemon = Daemon()
    server = ControlServer(path, daemon)
    await server.start()
    asking = asyncio.create_task(ControlClient(path).ask("slow"))
    await daemon.begun.wait()
    await server.aclose()
    with pytest.raises(ControlLost):
        await asking
    assert daemon.done == []


def test_a_daemon_is_a_handler() -> None:
    handler: Handler = Daemon()
    assert callable(handler)
