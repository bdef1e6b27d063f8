"""The response clock: which discussions wait for the shop, since when, and until when.

Rules kept here:
1. A discussion waits while something was said that no word of the shop has answered. It waits
   since the oldest such word: a customer who insists does not gain time for the shop.
2. A word of the shop answers what was said before it. One written here answers only what could
   have been read when it was written: a question that crosses it stays open.
3. What robots say asks for nothing, unless nobody else has spoken yet.
4. Claims have the marketplace's own limit, in days of the calendar; all else the shop's promise,
   in working hours.
5. What somebody of the shop has marked as treated at the marketplace waits for nobody, up to the
   words they could have read, until the mark is taken back. The mark is evidence only where the
   other side spoke last: after a word of the shop it says no more than that word does, and rule 2
   knows better. And it must have been seen to be set, after these words were read here: nobody says
   that new words take it back, and one that stood before them, or is told together with them, may
   be about older ones. An open question that has no limit is worse than a limit too many.
6. An automatic acknowledgement answers nothing. The marketplace may take it for an answer all the
   same, so a mark that follows it is no evidence either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from mailbridge.domain.discussion import AuthorKind, DiscussionKind, Treatment
from mailbridge.domain.workdays import WorkingCalendar

__all__ = ["AnswerTimes", "Urgency", "Word", "treated_until", "waiting_since"]

_OLD = timedelta(days=1)
"""How old words must be for a mark that was never read before, as at a first start."""


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
    automatic: bool = False
    """Of the shop: an acknowledgement."""

    def answers(self, other: Word) -> bool:
        """Whether this word of the shop came after `other`, and could be about it."""
        if self.at < other.at or self.automatic:
            return False
        crossed = (
            self.written_at is not None
            and other.seen_at is not None
            and self.written_at < other.seen_at
        )
        return not crossed


def waiting_since(words: Iterable[Word], treated: datetime | None = None) -> datetime | None:
    """When the oldest word was said that the shop has not answered; None if nothing waits.

    `treated`: what was first read until then was marked as treated (`treated_until`).
    """
    shop, others = _sides(words)
    return min(
        (
            word.at
            for word in others
            if not _covered(word, treated) and not any(answer.answers(word) for answer in shop)
        ),
        default=None,
    )


def treated_until(
    mark: Treatment | None,
    was: Treatment | None,
    words: Iterable[Word],
    before: datetime | None,
    now: datetime,
) -> datetime | None:
    """Until when what was first read here is marked as treated, by the `mark` as it stands now.

    `was` is the mark at the last reading, None where there was none, and `before` what this gave
    then. The same reading again gives the same.
    """
    shop, others = _sides(words)
    newest = max(others, key=lambda word: word.at, default=None)
    match mark:
        case Treatment.TREATED if newest is not None and newest.seen_at is not None:
            answered = any(word.at >= newest.at for word in shop)
            seen = [word.seen_at for word in others if word.seen_at is not None]
            match was:
                case Treatment.TO_TREAT:
                    readable = [moment for moment in seen if moment < now]
                case None if now - newest.at >= _OLD:
                    readable = seen
                case _:
                    readable = []
            return before if answered else max(readable, default=before)
        case Treatment.TO_TREAT if all(_covered(word, before) for word in others):
            return None  # nobody has said anything since: the mark itself was taken back
        case _:
            return before


def _sides(words: Iterable[Word]) -> tuple[list[Word], list[Word]]:
    """What the shop said, and what asks for an answer."""
    said = list(words)
    shop = [word for word in said if word.author is AuthorKind.SELLER]
    others = [word for word in said if word.author in (AuthorKind.CUSTOMER, AuthorKind.OPERATOR)]
    return shop, others if others or shop else said


def _covered(word: Word, treated: datetime | None) -> bool:
    return treated is not None and word.seen_at is not None and word.seen_at <= treated


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
