"""The response clock: which discussions wait for the shop, since when, and until when.

Rules kept here:
1. A discussion waits while something was said that no word of the shop has answered. It waits
   since the oldest such word: a customer who insists does not gain time for the shop.
2. A word of the shop answers what was said before it. One written here answers only what could
   have been read when it was written: a question that crosses it stays open.
3. What robots say asks for nothing, unless nobody else has spoken yet.
4. Claims have the marketplace's own limit, in days of the calendar; all else the shop's promise,
   in working hours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from mailbridge.domain.discussion import AuthorKind, DiscussionKind
from mailbridge.domain.workdays import WorkingCalendar

__all__ = ["AnswerTimes", "Urgency", "Word", "waiting_since"]


class Urgency(StrEnum):
    """How near the limit is."""

    LATER = "later"
    SOON = "soon"
    OVERDUE = "overdue"


@dataclass(frozen=True, slots=True)
class Word:
    """Something said in a discussion; times are aware."""

    author: AuthorKind
    at: datetime
    """When it was said, by the marketplace's clock; of a reply on its way, when it left."""
    seen_at: datetime | None = None
    """Of others: when it was first read here."""
    written_at: datetime | None = None
    """Of the shop: when a reply was taken up here; None where it was written elsewhere."""

    def answers(self, other: Word) -> bool:
        """Whether this word of the shop came after `other`, and could be about it."""
        if self.at < other.at:
            return False
        crossed = (
            self.written_at is not None
            and other.seen_at is not None
            and self.written_at < other.seen_at
        )
        return not crossed


def waiting_since(words: Iterable[Word]) -> datetime | None:
    """When the oldest word was said that the shop has not answered; None if nothing waits."""
    said = list(words)
    shop = [word for word in said if word.author is AuthorKind.SELLER]
    others = [word for word in said if word.author in (AuthorKind.CUSTOMER, AuthorKind.OPERATOR)]
    if not others and not shop:
        others = said
    unanswered = (w.at for w in others if not any(answer.answers(w) for answer in shop))
    return min(unanswered, default=None)


@dataclass(frozen=True, slots=True)
class AnswerTimes:
    """Within which time a shop answers."""

    calendar: WorkingCalendar
    answer_within: timedelta
    """Working time, for questions."""
    claims_within: timedelta
    """Time by the calendar, for claims."""
    soon: timedelta
    """How long before its end a limit counts as near."""

    def due(self, kind: DiscussionKind, since: datetime) -> datetime:
        """Until when a discussion that waits since then is to be answered."""
        if kind is DiscussionKind.CLAIM:
            return since + self.claims_within
        return self.calendar.after(since, self.answer_within)

    def urgency(self, due: datetime, now: datetime) -> Urgency:
        """How near a limit is now."""
        if now >= due:
            return Urgency.OVERDUE
        return Urgency.SOON if due - now <= self.soon else Urgency.LATER
