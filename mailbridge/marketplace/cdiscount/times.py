"""Between the service's clock times and instants.

The service writes and reads clock times of Paris without saying so: no offset, and 0 to 3 (by
its serializer up to 7) digits of a second. Two rules follow.

*Reading.* In the autumn night 02:00 to 03:00 happens twice. Which one is meant is decided from
what surely holds: the messages of a discussion are in order, none is older than its discussion,
none is newer than the answer that carries it (its HTTP Date). Where both readings fit, the first
(summer time) is taken. It is only ever used for show and for windows: a message's identity is
built on the text of the timestamp, so a wrong guess can't double it.

*Writing.* A filter is compared with stored clock times, so it must never exclude an instant by
its clock time: a bound that falls into the hour that happens twice is moved to the edge of that
hour. A clock time that does not exist (spring) is read as if winter time had gone on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

__all__ = ["PARIS", "filter_bounds", "parse_time", "resolve"]

PARIS = ZoneInfo("Europe/Paris")
SKEW = timedelta(minutes=5)
"""How far the service's stamps may run ahead of its own HTTP Date."""

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,12}))?(Z|[+-]\d\d:\d\d)?", re.ASCII
)


def parse_time(text: str) -> datetime:
    """An `xs:dateTime` as it came: naive, or aware where it says `Z` or an offset.

    Digits past the microsecond are dropped. Raises ValueError for anything else.
    """
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise ValueError("not a date and time")
    year, month, day, hour, minute, second = (int(found[n]) for n in range(1, 7))
    micro = int((found[7] or "0")[:6].ljust(6, "0"))
    naive = datetime(year, month, day, hour, minute, second, micro)  # noqa: DTZ001
    if found[8] is None:
        return naive
    if found[8] == "Z":
        return naive.replace(tzinfo=UTC)
    sign = -1 if found[8][0] == "-" else 1
    offset = timedelta(hours=int(found[8][1:3]), minutes=int(found[8][4:6]))
    return (naive - sign * offset).replace(tzinfo=UTC)


def resolve(
    times: Iterable[datetime],
    *,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
) -> list[datetime]:
    """The instants (UTC) of clock times that stand in order, each decided as told above.

    `not_before` and `not_after` are aware. Order is a hint, not a law: times that go backwards
    keep their own reading.
    """
    result: list[datetime] = []
    floor = not_before
    ceiling = None if not_after is None else not_after + SKEW
    for time in times:
        instant = _instant(time, floor, ceiling)
        result.append(instant)
        floor = instant if floor is None else max(floor, instant)
    return result


def _instant(time: datetime, floor: datetime | None, ceiling: datetime | None) -> datetime:
    if time.tzinfo is not None:
        return time.astimezone(UTC)
    first, second = (_utc(time, fold) for fold in (0, 1))
    if second <= first:  # once only, or (second < first) in the hour that spring leaves out
        return first
    wants_second = floor is not None and first < floor <= second
    return second if wants_second and (ceiling is None or second <= ceiling) else first


def _utc(time: datetime, fold: int) -> datetime:
    return time.replace(tzinfo=PARIS, fold=fold).astimezone(UTC)


def filter_bounds(begin: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Naive Paris times, to the second, that leave out no instant of [`begin`, `end`] (aware)."""
    low = _clock(begin)
    high = _clock(end + timedelta(seconds=1) if end.microsecond else end)
    if _happens_twice(low):
        low = low.replace(minute=0, second=0)
    if _happens_twice(high):
        high = high.replace(minute=0, second=0) + timedelta(hours=1)
    return low, high


def _clock(instant: datetime) -> datetime:
    return instant.astimezone(PARIS).replace(microsecond=0, tzinfo=None, fold=0)


def _happens_twice(time: datetime) -> bool:
    return _utc(time, 0) < _utc(time, 1)
