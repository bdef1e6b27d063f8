"""A shop's working hours: which minutes of which days somebody is there to answer.

Hours are written as a person would on a door (`mon-fri 09:00-12:30 13:30-18:00, sat 09:00-12:00`)
and are local times of the shop's zone: a span that a change of the clocks shortens or lengthens
counts as long as it really lasts. Public holidays are France's, computed for any year. All pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from functools import cache
from itertools import pairwise

__all__ = [
    "Holidays",
    "Span",
    "WeekHours",
    "WorkingCalendar",
    "day_name",
    "easter",
    "french_holidays",
    "weekday",
]

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FRENCH = ("lun", "mar", "mer", "jeu", "ven", "sam", "dim")
_NUMBERS = {name: n for names in (_DAYS, _FRENCH) for n, name in enumerate(names)}
_DAY = r"[a-z]{3}"
_TIME = r"\d{1,2}:\d{2}"
_RULE = re.compile(rf"({_DAY})(?:\s*-\s*({_DAY}))?((?:\s+{_TIME}\s*-\s*{_TIME})+)")
_HOURS = re.compile(rf"({_TIME})\s*-\s*({_TIME})")
_FULL_DAY = timedelta(days=1)
_FAR = 3660
"""Days after which working time that was not found is no longer looked for."""


class Holidays(StrEnum):
    """Which public holidays nobody works on."""

    NONE = "none"
    FRANCE = "france"
    ALSACE = "alsace"
    """France's, with Good Friday and 26 December (Alsace and Moselle, code du travail L3134-13)."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Part of a local day, as times since its midnight; `end` may be 24:00."""

    begin: timedelta
    end: timedelta

    def __str__(self) -> str:
        return f"{_clock(self.begin)}-{_clock(self.end)}"


@dataclass(frozen=True, slots=True)
class WeekHours:
    """The spans of each weekday, Monday first, ascending and apart from each other."""

    days: tuple[tuple[Span, ...], ...]

    @classmethod
    def parse(cls, text: str) -> WeekHours:
        """Read `mon-fri 09:00-18:00, sat 09:00-12:00`, with English or French names of days.

        Raises ValueError, whose words say what is wrong.
        """
        days: list[list[Span]] = [[] for _ in _DAYS]
        for rule in (part.strip().lower() for part in text.split(",")):
            found = _RULE.fullmatch(rule)
            if found is None or any(d not in _NUMBERS for d in found.group(1, 2) if d):
                raise ValueError(f'"{rule}" is not a day, or days, with hours')
            first = _NUMBERS[found[1]]
            last = _NUMBERS[found[2]] if found[2] else first
            if last < first:
                raise ValueError(f'"{rule}" ends before it begins; a week starts on Monday')
            for begin, end in _HOURS.findall(found[3]):
                span = Span(_time(begin), _time(end))
                if span.end <= span.begin:
                    raise ValueError(f'"{begin}-{end}" ends before it begins')
                for day in range(first, last + 1):
                    days[day].append(span)
        for spans in days:
            spans.sort()
            for one, two in pairwise(spans):
                if two.begin < one.end:
                    raise ValueError(f'"{one}" and "{two}" overlap')
        return cls(tuple(tuple(spans) for spans in days))

    def __str__(self) -> str:
        """The same hours in the form that `parse` reads; days with equal hours are joined."""
        rules: list[str] = []
        start = 0
        while start < len(self.days):
            end = start
            while end + 1 < len(self.days) and self.days[end + 1] == self.days[start]:
                end += 1
            if self.days[start]:
                names = _DAYS[start] if end == start else f"{_DAYS[start]}-{_DAYS[end]}"
                rules.append(" ".join([names, *map(str, self.days[start])]))
            start = end + 1
        return ", ".join(rules)


@dataclass(frozen=True, slots=True)
class WorkingCalendar:
    """When a shop works. Moments are aware; what is given back is in UTC."""

    zone: tzinfo
    hours: WeekHours
    holidays: Holidays = Holidays.FRANCE
    closed_on: frozenset[date] = frozenset()
    """Further days on which nobody works."""

    def works_on(self, day: date) -> bool:
        """Whether anybody works at all on this local day."""
        return bool(self.hours.days[day.weekday()]) and not self.is_off(day)

    def is_off(self, day: date) -> bool:
        """Whether this local day is a holiday, or one of the further days without work."""
        if day in self.closed_on:
            return True
        match self.holidays:
            case Holidays.NONE:
                return False
            case Holidays.FRANCE:
                return day in french_holidays(day.year)
            case Holidays.ALSACE:
                return day in french_holidays(day.year, alsace=True)

    def spans(self, day: date) -> Iterator[tuple[datetime, datetime]]:
        """When they work on this local day: begin and end, ascending and apart."""
        if not self.works_on(day):
            return
        earliest = datetime.min.replace(tzinfo=UTC)
        for span in self.hours.days[day.weekday()]:
            # Where the clocks jump, a local time may be missing: spans must stay in order.
            begin = max(self._moment(day, span.begin), earliest)
            end = self._moment(day, span.end)
            if end > begin:
                yield begin, end
                earliest = end

    def works_at(self, moment: datetime) -> bool:
        """Whether somebody works at this moment."""
        day = moment.astimezone(self.zone).date()
        return any(begin <= moment < end for begin, end in self.spans(day))

    def after(self, start: datetime, work: timedelta) -> datetime:
        """The moment at which `work` of working time has passed since `start`.

        Raises ValueError where there is not that much working time in ten years.
        """
        left = work
        if left <= timedelta(0):
            return start.astimezone(UTC)
        day = start.astimezone(self.zone).date()
        for _ in range(_FAR):
            for begin, end in self.spans(day):
                begin = max(begin, start)
                if end <= begin:
                    continue
                if left <= end - begin:
                    return (begin + left).astimezone(UTC)
                left -= end - begin
            day += _FULL_DAY
        raise ValueError("there is no working time to wait for")

    def between(self, begin: datetime, end: datetime) -> timedelta:
        """How much working time lies between two moments; zero if `end` is not the later one."""
        total = timedelta(0)
        day = begin.astimezone(self.zone).date()
        last = end.astimezone(self.zone).date()
        while day <= last:
            for start, stop in self.spans(day):
                total += max(timedelta(0), min(stop, end) - max(start, begin))
            day += _FULL_DAY
        return total

    def _moment(self, day: date, since_midnight: timedelta) -> datetime:
        local = datetime.combine(day, time()) + since_midnight
        return local.replace(tzinfo=self.zone).astimezone(UTC)


def weekday(name: str) -> int | None:
    """The number of a day by its first three letters, English or French; Monday is 0."""
    return _NUMBERS.get(name)


def day_name(number: int) -> str:
    """The first three letters of a day's English name; Monday is 0."""
    return _DAYS[number]


@cache
def french_holidays(year: int, *, alsace: bool = False) -> frozenset[date]:
    """The eleven public holidays of France (code du travail L3133-1); two more in Alsace."""
    sunday = easter(year)
    fixed = ((1, 1), (5, 1), (5, 8), (7, 14), (8, 15), (11, 1), (11, 11), (12, 25))
    days = {date(year, month, day) for month, day in fixed}
    # Easter Monday, Ascension Day, Whit Monday.
    days |= {sunday + timedelta(days=after) for after in (1, 39, 50)}
    if alsace:
        days |= {sunday - timedelta(days=2), date(year, 12, 26)}
    return frozenset(days)


def easter(year: int) -> date:
    """Easter Sunday of a Gregorian year (Meeus, Astronomical Algorithms, chapter 8)."""
    century, rest = divmod(year, 100)
    golden = year % 19
    leap, skipped = divmod(century, 4)
    moon = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - leap - moon + 15) % 30
    weekday = (32 + 2 * skipped + 2 * (rest // 4) - epact - rest % 4) % 7
    shift = (golden + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * shift + 114, 31)
    return date(year, month, day + 1)


def _time(text: str) -> timedelta:
    hours, _, minutes = text.partition(":")
    since = timedelta(hours=int(hours), minutes=int(minutes))
    if int(minutes) > 59 or since > _FULL_DAY:
        raise ValueError(f'"{text}" is not a time of day')
    return since


def _clock(since: timedelta) -> str:
    minutes = since // timedelta(minutes=1)
    return f"{minutes // 60:02}:{minutes % 60:02}"
