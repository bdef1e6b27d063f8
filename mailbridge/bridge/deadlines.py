"""Who waits for the shop, and until when: computed anew each time from what the journal holds.

What the marketplace marks as treated is kept here as well; `domain/deadline` says what it means.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from mailbridge.bridge.context import Context
from mailbridge.domain.deadline import Urgency, Word, treated_until, waiting_since
from mailbridge.domain.discussion import Discussion, DiscussionKind, Status, Treatment
from mailbridge.journal.tables import DiscussionRow
from mailbridge.journal.transaction import Transaction

__all__ = ["Wait", "mark_treated", "marks_moved", "waits", "was_treated"]


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
        since = waiting_since(words.get(case.id, ()), case.treated_until)
        if since is None or case.status == Status.CLOSED or goes_on_elsewhere:
            continue
        due = times.due(DiscussionKind(case.kind), since)
        found.append(Wait(case.id, case.short, since, due, times.urgency(due, now)))
    return {wait.discussion: wait for wait in sorted(found, key=lambda w: (w.due, w.short))}


async def marks_moved(tx: Transaction, listed: Sequence[Discussion]) -> bool:
    """Whether these say anything new about what is treated."""
    return bool(await _moved(tx, listed))


async def mark_treated(tx: Transaction, listed: Sequence[Discussion]) -> None:
    """Keep what these say about it, once their messages are in the journal."""
    for row, one, until in await _moved(tx, listed):
        if until != row.treated_until:
            now = "treated at the marketplace" if until else "to be treated again"
            tx.note(f"discussion {now}", discussion=row.id)
        row.treatment, row.treated_until = one.treatment, until


def was_treated(listed: Discussion, now: datetime) -> bool:
    """Whether what is seen here for the first time is marked as treated, all of it."""
    words = [Word(one.author.kind, one.sent_at, seen_at=now) for one in listed.messages]
    return treated_until(listed.treatment, None, words, None, now) is not None


async def _moved(
    tx: Transaction, listed: Sequence[Discussion]
) -> list[tuple[DiscussionRow, Discussion, datetime | None]]:
    telling = {one.id: one for one in listed if one.treatment is not None}
    if not telling:
        return []
    rows = await tx.discussions.many(telling)
    words = await tx.waiting.words(list(rows))
    found = []
    for ident, row in rows.items():
        one, said = telling[ident], words.get(ident, ())
        was = Treatment(row.treatment) if row.treatment is not None else None
        until = treated_until(one.treatment, was, said, row.treated_until, tx.now)
        if (row.treatment, row.treated_until) != (one.treatment, until):
            found.append((row, one, until))
    return found
