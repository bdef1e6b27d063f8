"""What the marketplace shows and nobody here can read: noted, told to the operator, forgotten.

One bad discussion or order stops no other, so its customer is heard of by nobody unless this is
said. It goes by itself as soon as it reads again. One that no reading meets any more (closed and
out of every window, or an order that is gone) can't be waited for: it is forgotten after a while.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from mailbridge.bridge.context import Context
from mailbridge.journal.transaction import Transaction

__all__ = ["Unreadable", "UnreadableKind", "note_faults", "still_unreadable", "unmet"]

_LASTS = timedelta(hours=2)
"""Unreadable for so long is no passing trouble: wide sweeps have met it again by then."""


class UnreadableKind(StrEnum):
    """What it is."""

    DISCUSSION = "discussion"
    ORDER = "order"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One thing that could not be read at the last try; `key` is the port's (`Listing`)."""

    kind: UnreadableKind
    key: str
    short: str
    """Of the thread, where the discussion has one."""
    since: datetime
    tried_at: datetime
    words: str
    lasts: bool
    """It is time that a person looks."""


async def note_faults(
    ctx: Context, kind: UnreadableKind, faults: Mapping[str, str], read: Collection[str]
) -> None:
    """Take note of what a reading showed: key -> why it can't be read, and keys of what can."""
    async with ctx.read() as tx:
        known = {row.key for row in await tx.unreadable.all(kind)}
    readable = known & set(read) - set(faults)
    if not faults and not readable:
        return
    async with ctx.write() as tx:
        for key in await tx.unreadable.met(kind, faults):
            tx.note(f"{kind} unreadable", subject=key)
        await _forget(tx, kind, readable, "reads again")


async def unmet(ctx: Context, kind: UnreadableKind, since: datetime) -> None:
    """Forget what no reading has met since then."""
    async with ctx.read() as tx:
        gone = {row.key for row in await tx.unreadable.all(kind) if row.last_seen < since}
    if gone:
        async with ctx.write() as tx:
            await _forget(tx, kind, gone, "not met any more")


async def _forget(tx: Transaction, kind: UnreadableKind, keys: Collection[str], why: str) -> None:
    await tx.unreadable.forget(kind, keys)
    for key in sorted(keys):
        tx.note(f"{kind} no more unreadable", subject=key, detail=why)


async def still_unreadable(ctx: Context, tx: Transaction) -> list[Unreadable]:
    """All of it, the oldest first."""
    rows = await tx.unreadable.all()
    threads = await tx.discussions.many([row.key for row in rows])
    return [
        Unreadable(
            kind=UnreadableKind(row.kind),
            key=row.key,
            short=threads[row.key].short.upper()
            if row.kind == UnreadableKind.DISCUSSION and row.key in threads
            else "",
            since=row.first_seen,
            tried_at=row.last_seen,
            words=row.words,
            lasts=ctx.clock() - row.first_seen >= _LASTS,
        )
        for row in rows
    ]
