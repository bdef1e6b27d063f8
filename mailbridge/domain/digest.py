"""The daily digest: when it is due, and what stands in it, in which order, cut where.

Rules kept here:
1. A digest belongs to a local day of the shop, and its name is that day's: whatever happens to
   clocks, there is at most one mail of each name.
2. It is due at one moment of its day and may come later on that day, never on another: what was
   true yesterday morning helps nobody. A local time that the clocks skip is due when they have
   jumped; one that comes twice is due the first time.
3. It reaches back to when the one before it was due, so that no weekend's figures are lost.
4. Lists begin with what is most urgent and end with a number where they would not be read.
5. Where nothing waits and nothing happened there is none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from statistics import median
from typing import Generic, TypeVar

from mailbridge.domain.deadline import Urgency
from mailbridge.domain.money import MovementKind
from mailbridge.domain.workdays import WorkingCalendar, day_name, weekday

__all__ = [
    "HOME",
    "SHORT",
    "Answer",
    "Days",
    "Digest",
    "DigestTimes",
    "Figures",
    "Listed",
    "Movement",
    "MovementNeed",
    "Sums",
    "Trouble",
    "arrange",
    "day_of",
    "key_of",
    "typical",
]

HOME = "digest"
"""Stands where a discussion's id stands; no marketplace calls one so."""
SHORT = "mb-digest"
"""Stands where a discussion's short id stands; no marketplace's numbering begins with `mb`."""

_KEY = "digest:"
_DAY = timedelta(days=1)
_BACK = 31
"""Days a digest reaches back at most: a shop that was closed for longer wants no history."""
_AHEAD = 400
_DAYS = re.compile(r"([a-z]{3})(?:\s*-\s*([a-z]{3}))?")

_MOST_ANSWERS = 30
_MOST = 15
"""Entries of any other list."""

_T = TypeVar("_T")


def key_of(day: date) -> str:
    """The journal's key of a day's digest."""
    return f"{_KEY}{day.isoformat()}"


def day_of(key: str) -> date:
    """The day a key names; raises ValueError for what `key_of` never gave."""
    return date.fromisoformat(key.removeprefix(_KEY))


# --- when --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Days:
    """On which days there is a digest: the shop's working days, every day, or some weekdays."""

    words: str
    weekdays: frozenset[int] = frozenset()
    """Monday is 0; empty for the first two."""

    @classmethod
    def parse(cls, text: str) -> Days:
        """Read `working`, `daily`, or weekdays such as `mon-sat` or `mon, wed, fri`.

        Raises ValueError, whose words say what is wrong.
        """
        low = text.strip().lower()
        if low in ("working", "daily"):
            return cls(low)
        chosen: set[int] = set()
        for part in (part.strip() for part in low.split(",")):
            found = _DAYS.fullmatch(part)
            first = weekday(found[1]) if found else None
            last = weekday(found[2]) if found and found[2] else first
            if first is None or last is None:
                raise ValueError(f'"{part}" is not a day, or days')
            if last < first:
                raise ValueError(f'"{part}" ends before it begins; a week starts on Monday')
            chosen.update(range(first, last + 1))
        return cls(", ".join(day_name(day) for day in sorted(chosen)), frozenset(chosen))

    def __str__(self) -> str:
        """The same days in a form that `parse` reads."""
        return self.words

    def include(self, day: date, calendar: WorkingCalendar) -> bool:
        """Whether there is a digest on this local day."""
        if self.words == "daily":
            return True
        if self.weekdays:
            return day.weekday() in self.weekdays and not calendar.is_off(day)
        return calendar.works_on(day)


@dataclass(frozen=True, slots=True)
class DigestTimes:
    """When a shop gets its digests; all moments are aware, those given back in UTC."""

    calendar: WorkingCalendar
    at: time
    """Local, without a zone."""
    days: Days

    def moment(self, day: date) -> datetime | None:
        """When the digest of a local day is due; None if there is none on that day."""
        if not self.days.include(day, self.calendar):
            return None
        return datetime.combine(day, self.at, self.calendar.zone).astimezone(UTC)

    def current(self, now: datetime) -> date | None:
        """The day whose digest is due and not yet out of date."""
        day = now.astimezone(self.calendar.zone).date()
        moment = self.moment(day)
        return day if moment is not None and moment <= now else None

    def next_after(self, now: datetime) -> datetime:
        """When the next one is due; in a year where the calendar knows none."""
        today = now.astimezone(self.calendar.zone).date()
        for ahead in range(_AHEAD):
            moment = self.moment(today + ahead * _DAY)
            if moment is not None and moment > now:
                return moment
        return now + _AHEAD * _DAY

    def since(self, day: date) -> datetime:
        """Since when a day's digest tells: the moment of the one before it."""
        for back in range(1, _BACK + 1):
            moment = self.moment(day - back * _DAY)
            if moment is not None:
                return moment
        return datetime.combine(day - _BACK * _DAY, self.at, self.calendar.zone).astimezone(UTC)


# --- what --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listed(Generic[_T]):
    """A list as it is shown, and how many more there are."""

    shown: tuple[_T, ...] = ()
    more: int = 0

    def __len__(self) -> int:
        return len(self.shown) + self.more


@dataclass(frozen=True, slots=True)
class Answer:
    """A discussion that waits for the shop."""

    discussion: str
    due: datetime
    urgency: Urgency


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is held or uncertain, or could not be done."""

    discussion: str | None
    reason: str
    """A member of `notice.HoldReason`, or empty where none was told."""
    at: datetime
    facts: Mapping[str, str] = field(default_factory=dict)
    by: str = ""
    """Whose it is: a person of the shop."""


class MovementNeed(StrEnum):
    """What money waits for."""

    CONFIRMATION = "confirmation"
    """A person's."""
    WORD = "word"
    """A person's, who has looked whether it was paid: nothing will ever show it here."""
    ANSWER = "answer"
    """The marketplace's: it has not been asked yet, or does not answer."""
    PROOF = "proof"


@dataclass(frozen=True, slots=True)
class Movement:
    """Money that waits; `kind` is None while it is not planned yet."""

    discussion: str | None
    order: str
    kind: MovementKind | None
    amount: Decimal
    need: MovementNeed
    at: datetime
    by: str = ""


@dataclass(frozen=True, slots=True)
class Sums:
    """Money that moved, in euros."""

    count: int = 0
    amount: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Figures:
    """What happened since the digest before."""

    received: int = 0
    """Messages by customers and by the marketplace's staff."""
    answered: int = 0
    """Messages by the shop, wherever they were written."""
    opened: int = 0
    closed: int = 0
    refunds: Sums = Sums()
    """Refunds and cancellations that are proven."""
    gestures: Sums = Sums()
    first_answer: timedelta | None = None
    """Median working time from a customer's first words to the shop's first answer."""

    @property
    def nothing(self) -> bool:
        """Whether nothing happened at all."""
        return not (
            self.received
            or self.answered
            or self.opened
            or self.closed
            or self.refunds.count
            or self.gestures.count
        )


@dataclass(frozen=True, slots=True)
class Digest:
    """One day's digest."""

    day: date
    at: datetime
    """As of when."""
    since: datetime
    """What `figures` and `failed` reach back to."""
    figures: Figures
    counts: Mapping[Urgency, int]
    """How many discussions wait, however many are shown."""
    answers: Listed[Answer] = Listed()
    held: Listed[Trouble] = Listed()
    money: Listed[Movement] = Listed()
    failed: Listed[Trouble] = Listed()
    unfiled: int = 0
    """Mails that could not be put into the mailbox."""
    read_until: datetime | None = None
    """Set where the marketplace could not be read lately: until when it was."""

    @property
    def waiting(self) -> int:
        """How many discussions wait for the shop."""
        return len(self.answers)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to say."""
        listed = len(self.answers) + len(self.held) + len(self.money) + len(self.failed)
        return not (listed or self.unfiled or self.read_until) and self.figures.nothing

    @property
    def discussions(self) -> frozenset[str]:
        """All that are shown."""
        entries: tuple[Answer | Trouble | Movement, ...] = (
            *self.answers.shown,
            *self.held.shown,
            *self.money.shown,
            *self.failed.shown,
        )
        return frozenset(entry.discussion for entry in entries if entry.discussion)


def arrange(
    day: date,
    at: datetime,
    since: datetime,
    *,
    figures: Figures,
    answers: Iterable[Answer] = (),
    held: Iterable[Trouble] = (),
    money: Iterable[Movement] = (),
    failed: Iterable[Trouble] = (),
    unfiled: int = 0,
    read_until: datetime | None = None,
) -> Digest:
    """Put everything in its order and cut the lists."""
    waiting = sorted(answers, key=lambda a: (a.due, a.discussion))
    urgencies = [answer.urgency for answer in waiting]
    return Digest(
        day=day,
        at=at,
        since=since,
        figures=figures,
        counts={urgency: urgencies.count(urgency) for urgency in Urgency},
        answers=_cut(waiting, _MOST_ANSWERS),
        # What has waited longest may have been given up; what is new is what a person looks for.
        held=_cut(sorted(held, key=lambda t: t.at, reverse=True), _MOST),
        # Money first by what a person can do about it.
        money=_cut(sorted(money, key=lambda m: (_NEEDS.index(m.need), m.at)), _MOST),
        failed=_cut(sorted(failed, key=lambda t: t.at, reverse=True), _MOST),
        unfiled=unfiled,
        read_until=read_until,
    )


_NEEDS = tuple(MovementNeed)


def _cut(entries: Sequence[_T], most: int) -> Listed[_T]:
    # Nobody is sent elsewhere for a single entry: it takes the line that would say so.
    if len(entries) <= most + 1:
        return Listed(tuple(entries))
    return Listed(tuple(entries[:most]), len(entries) - most)


def typical(
    answered: Collection[tuple[datetime, datetime]], calendar: WorkingCalendar
) -> timedelta | None:
    """The median working time from first words to first answers; None where there are none."""
    times = [calendar.between(asked, said).total_seconds() for asked, said in answered]
    return timedelta(seconds=median(times)) if times else None
