"""A journal in a folder of its own, and this daemon's hold on one account."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mailbridge.journal.journal import Journal, Tenure
from tests.journal.rows import BRINDILLE, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The journal's file."""
    return tmp_path / "journal.sqlite"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture
async def journal(url: str, clock: Clock) -> AsyncIterator[Journal]:
    opened = await Journal.open(url, clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
async def tenure(journal: Journal) -> Tenure:
    return await journal.take(BRINDILLE, "here:1")
