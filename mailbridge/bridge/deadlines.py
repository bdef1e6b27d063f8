"""Who waits for the shop, and until when: computed anew each time from what the journal holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from mailbridge.bridge.context import Context
from mailbridge.domain.deadline import Urgency, waiting_since
from mailbridge.domain.discussion import DiscussionKind, Status
from mailbridge.journal.transaction import Transaction

__all__ = ["Wait", "waits"]


@dataclass(frozen=True, slots=True)
class Wait:
    """One open discussion that waits for the shop."""

    discussion: str
    short: str
    since: datetime
    due: datetime
    urgency: Urgency


async def waits(
    ctx: Context, tx: Transaction, ids: Collection[str] | None = None
) -> Mapping[str, Wait]:
    """Who waits for an answer, by discussion: among these, or among all; nearest limit first."""
    times, now = ctx.answer_times, ctx.clock()
    words = await tx.waiting.words(ids)
    found: list[Wait] = []
    for row in (await tx.discussions.many(words)).values():
        # An exchange that goes on under a claim's number is answered there.
        goes_on_elsewhere = row.twin is not None and row.kind != DiscussionKind.CLAIM
        since = waiting_since(words[row.id])
        if since is None or row.status == Status.CLOSED or goes_on_elsewhere:
            continue
        due = times.due(DiscussionKind(row.kind), since)
        found.append(Wait(row.id, row.short, since, due, times.urgency(due, now)))
    return {wait.discussion: wait for wait in sorted(found, key=lambda w: (w.due, w.short))}
