"""`mailbridge settle` at the terminal: what is settled is shown, and a person is asked first."""

from __future__ import annotations

import os
import pty
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from mailbridge.ops.control import CommandFailed
from mailbridge.repayment import settle

GESTURE = {
    "order": "2611201A8ZQ4", "kind": "gesture", "amount": "5.00", "state": "granted",
    "asked_at": "2026-11-22T10:00:00+00:00", "unshown": True,
}  # fmt: skip
OTHER = GESTURE | {"order": "2611201A8ZQ5"}
WATCHED = GESTURE | {"unshown": False, "amount": "7.00"}


class Daemon:
    """Answers as a daemon does, and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    async def __call__(self, command: str, **given: Any) -> dict[str, Any]:
        if command == "status":
            return {"accounts": [{"moving": [OTHER, WATCHED]}, {"moving": [GESTURE]}]}
        assert command == "settle"
        self.told.append(given)
        return {"order": given["order"], "amount": "5.00", "state": "proven"}


@contextmanager
def typed(words: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A terminal at which somebody types this."""
    ours, theirs = pty.openpty()
    try:
        with open(theirs, closefd=False) as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            os.write(ours, f"{words}\n".encode())
            yield
    finally:
        os.close(ours)
        os.close(theirs)


def asked(order: str = "2611201A8ZQ4", *, yes: bool = False) -> Namespace:
    return Namespace(order=order, word="paid", yes=yes, json=False)


@pytest.mark.parametrize("words", ["oui", "2611201A8ZQ4"])
async def test_it_shows_the_money_and_asks(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon, page = Daemon(), StringIO()
    with typed(words, monkeypatch):
        await settle(asked(), daemon, Console(file=page, width=80))
    assert daemon.told == [{"order": "2611201A8ZQ4", "word": "paid"}]
    flat = " ".join(page.getvalue().split())
    assert "movement gesture" in flat and "amount 5.00 EUR" in flat
    assert "if paid it counts as given, and the text" in flat


async def test_without_a_word_nothing_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon, page = Daemon(), Console(file=StringIO())
    with typed("non", monkeypatch), pytest.raises(CommandFailed, match="not confirmed"):
        await settle(asked(), daemon, page)
    monkeypatch.setattr(sys, "stdin", StringIO())
    with pytest.raises(CommandFailed, match="nobody to ask here: give --yes"):
        await settle(asked(), daemon, page)
    assert daemon.told == []
    await settle(asked(yes=True), daemon, page)
    assert len(daemon.told) == 1


async def test_what_nobody_waits_for_is_the_daemons_to_refuse() -> None:
    daemon = Daemon()
    await settle(asked("N1"), daemon, Console(file=StringIO()))
    assert daemon.told == [{"order": "N1", "word": "paid"}]
