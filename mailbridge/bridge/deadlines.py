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
    found: list[Wait] = []
    cases = await tx.waiting.cases(ids)
    # Read in parts: thousands at once would keep the event loop from everybody else.
    words = await tx.waiting.words([case.id for case in cases])
    for case in cases:
        # An exchange that goes on under a claim's number is answered there.
        goes_on_elsewhere = case.twin is not None and case.kind != DiscussionKind.CLAIM
        since = waiting_since(words.get(case.id, ()))
        if since is None or case.status == Status.CLOSED or goes_on_elsewhere:
            continue
        due = times.due(DiscussionKind(case.kind), since)
        found.append(Wait(case.id, case.short, since, due, times.urgency(due, now)))
    return {wait.discussion: wait for wait in sorted(found, key=lambda w: (w.due, w.short))}
