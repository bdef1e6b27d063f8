"""SQLite called where it is needed instead of by a thread, for flows that run one after another.

A round of all flows makes some 450 calls that SQLite answers in microseconds; the way to
aiosqlite's thread and back took more than a quarter of a scenario's time. Where nothing runs side
by side nothing could happen meanwhile, so that both ways lead to the same. What does run side by
side (marked `side_by_side`), the journal's own tests and every test with a daemon use the thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import aiosqlite
import pytest

__all__ = ["inline_sqlite"]


@contextmanager
def inline_sqlite() -> Iterator[None]:
    """Connections opened and used inside need no thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aiosqlite.Connection, "_connect", _connect)
        patch.setattr(aiosqlite.Connection, "_execute", _execute)
        yield


async def _connect(self: Any) -> Any:
    if self._connection is None:
        self._connection = self._connector()
    return self


async def _execute(self: Any, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
    if not self._running or not self._connection:
        raise ValueError("Connection closed")
    return call(*args, **named)
