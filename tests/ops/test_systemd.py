"""What the service manager hears, over real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailbridge.ops.supervisor import PartState, PartStatus
from mailbridge.ops.systemd import Notifier, Watchdog


class Manager:
    """Stands in for systemd: a datagram socket, by path or in the abstract namespace."""

    def __init__(self, address: str) -> None:
        self.environ = {"NOTIFY_SOCKET": address}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def heard(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    path = str(tmp_path / "notify") if request.param == "path" else f"@mb-{uuid.uuid4()}"
    manager = Manager(path)
    yield manager
    manager.close()


def test_a_life_from_ready_to_stopping(manager: Manager) -> None:
    notifier = Notifier(manager.environ)
    assert notifier.ready("2 accounts")
    assert notifier.status("filing")
    assert notifier.watchdog()
    assert notifier.stopping()
    assert manager.heard() == [
        "READY=1\nSTATUS=2 accounts",
        "STATUS=filing",
        "WATCHDOG=1",
        "STOPPING=1",
    ]


def test_a_status_cannot_say_anything_else(manager: Manager) -> None:
    Notifier(manager.environ).status("fine\nSTOPPING=1\n" + "x" * 500)
    [heard] = manager.heard()
    assert heard.startswith("STATUS=fine STOPPING=1 xxx")
    assert "\n" not in heard
    assert len(heard) == len("STATUS=") + 200


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    assert not Notifier({}).ready()
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    assert not Notifier({"NOTIFY_SOCKET": "/x" * 200}).ready()


def test_a_manager_that_does_not_read_does_not_block_us(manager: Manager) -> None:
    notifier = Notifier(manager.environ)
    told = [notifier.status("x") for _ in range(2_000)]
    assert told[0]
    assert not told[-1]


@pytest.mark.parametrize(
    ("environ", "period"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdogs_period(environ: dict[str, str], period: float | None) -> None:
    assert Notifier(environ).watchdog_period == period


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_it_is_fed_only_while_every_part_moves(manager: Manager) -> None:
    clock = Clock()
    dog = Watchdog(Notifier(manager.environ), monotonic=clock)
    dog.expect("shop: sweep", within=300)
    dog.expect("shop: inbox", within=60)
    assert dog.feed()

    clock.now += 59
    assert dog.feed()
    clock.now += 2  # the inbox is late, the sweep is not
    assert dog.late() == ["shop: inbox"]
    assert not dog.feed()

    dog.beat("shop: inbox")
    dog.beat("nobody")
    assert dog.feed()
    assert manager.heard() == [
        "WATCHDOG=1",
        "WATCHDOG=1",
        "STATUS=no progress: shop: inbox",
        "WATCHDOG=1",
    ]


def test_a_part_known_to_be_down_is_excused_until_it_is_back(manager: Manager) -> None:
    clock = Clock()
    dog = Watchdog(Notifier(manager.environ), monotonic=clock)
    dog.expect("inbox", within=60)
    now = datetime(2024, 5, 1, tzinfo=UTC)
    dog.follow(PartState("inbox", PartStatus.WAITING, now))
    clock.now += 1_000
    dog.beat("inbox")  # a straggler's
    clock.now += 1_000
    assert dog.late() == []

    dog.follow(PartState("inbox", PartStatus.STARTING, now))
    assert dog.late() == []
    clock.now += 61
    assert dog.late() == ["inbox"]

    dog.follow(PartState("unknown to it", PartStatus.RUNNING, now))
    clock.now += 1_000
    assert dog.late() == ["inbox"]


async def test_run_feeds_twice_a_period(manager: Manager) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise asyncio.CancelledError

    notifier = Notifier(manager.environ | {"WATCHDOG_USEC": "20000000"})
    with pytest.raises(asyncio.CancelledError):
        await Watchdog(notifier, sleep=sleep).run()
    assert pauses == [10.0, 10.0, 10.0]
    assert manager.heard() == ["WATCHDOG=1"] * 3


async def test_run_ends_where_no_watchdog_is_wanted(manager: Manager) -> None:
    await Watchdog(Notifier(manager.environ)).run()
    assert manager.heard() == []
