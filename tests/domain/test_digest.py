"""When a digest is due, what stands in it, and where its lists are cut."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.domain.deadline import Urgency
from mailbridge.domain.digest import (
    Answer,
    Days,
    DigestTimes,
    Figures,
    Movement,
    MovementNeed,
    Sums,
    Trouble,
    arrange,
    day_of,
    key_of,
    typical,
)
from mailbridge.domain.money import MovementKind
from mailbridge.domain.workdays import Holidays, WeekHours, WorkingCalendar

PARIS = ZoneInfo("Europe/Paris")
CALENDAR = WorkingCalendar(
    PARIS,
    WeekHours.parse("mon-fri 09:00-18:00"),
    Holidays.FRANCE,
    frozenset({date(2026, 12, 24)}),
)
AT = datetime(2026, 11, 23, 7, 0, tzinfo=UTC)
SINCE = AT - timedelta(days=3)


def times(at: str = "08:00", days: str = "working") -> DigestTimes:
    return DigestTimes(CALENDAR, time.fromisoformat(at), Days.parse(days))


def local(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=PARIS)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("working", "working"),
        (" Daily", "daily"),
        ("mon-sat", "mon, tue, wed, thu, fri, sat"),
        ("lun, mer, ven", "mon, wed, fri"),
        ("fri, mon-tue, mon", "mon, tue, fri"),
    ],
)
def test_days_as_people_write_them(text: str, plain: str) -> None:
    assert str(Days.parse(text)) == plain
    assert Days.parse(plain) == Days.parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a day"),
        ("always", "is not a day"),
        ("mon-xyz", "is not a day"),
        ("mon,", "is not a day"),
        ("mon-fri 08:00-09:00", "is not a day"),
        ("sat-mon", "a week starts on Monday"),
    ],
)
def test_days_that_make_no_sense(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Days.parse(text)


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        # Wednesday 23 December to Monday 28, in a year where the shop is closed on the 24th.
        ("working", [23, 28]),
        ("mon-sat", [23, 26, 28]),
        ("sun", [27]),
        ("daily", [23, 24, 25, 26, 27, 28]),
    ],
)
def test_on_which_days_there_is_one(days: str, expected: Sequence[int]) -> None:
    due = times(days=days)
    there = [day for day in range(23, 29) if due.moment(date(2026, 12, day)) is not None]
    assert there == expected
    assert [due.current(local(2026, 12, day, 8)) for day in range(23, 29)] == [
        date(2026, 12, day) if day in expected else None for day in range(23, 29)
    ]


def test_it_is_due_from_its_moment_to_midnight() -> None:
    due, monday = times(), date(2026, 11, 23)
    assert due.current(local(2026, 11, 23, 7, 59)) is None
    assert due.current(local(2026, 11, 23, 8)) == monday
    assert due.current(local(2026, 11, 23, 23, 59)) == monday
    assert due.current(local(2026, 11, 24, 0, 0)) is None
    assert due.next_after(local(2026, 11, 23, 7, 59)) == local(2026, 11, 23, 8)
    assert due.next_after(local(2026, 11, 23, 8)) == local(2026, 11, 24, 8)
    assert due.next_after(local(2026, 11, 27, 8)) == local(2026, 11, 30, 8)


def test_it_reaches_back_to_the_one_before() -> None:
    due = times()
    assert due.since(date(2026, 11, 24)) == local(2026, 11, 23, 8)
    assert due.since(date(2026, 11, 23)) == local(2026, 11, 20, 8)
    # The clocks were changed between Friday and Monday: eight o'clock stays eight o'clock.
    assert due.since(date(2026, 10, 26)) == local(2026, 10, 23, 8)
    closed = DigestTimes(
        WorkingCalendar(PARIS, WeekHours(((),) * 7)), time(8), Days.parse("working")
    )
    assert closed.since(date(2026, 11, 24)) == local(2026, 10, 24, 8)
    assert closed.current(local(2026, 11, 24, 9)) is None
    assert closed.next_after(AT) > AT


@given(
    st.integers(0, 2 * 365 * 24 * 60).map(lambda m: AT + timedelta(minutes=m)),
    st.times().map(lambda t: t.replace(second=0, microsecond=0)),
)
def test_each_local_day_has_one_moment_and_it_comes_on_that_day(now: datetime, at: time) -> None:
    due = DigestTimes(CALENDAR, at, Days.parse("daily"))
    following = due.next_after(now)
    assert following > now
    day = following.astimezone(PARIS).date()
    assert due.moment(day) == following
    assert due.current(following) == day
    assert due.since(day) <= now
    assert timedelta(hours=22) < following - due.since(day) < timedelta(hours=26)


def test_a_day_is_found_in_its_key() -> None:
    day = date(2026, 11, 23)
    assert day_of(key_of(day)) == day
    with pytest.raises(ValueError, match="isoformat"):
        day_of("receipt:1")


def answer(name: str, hours: int) -> Answer:
    due = AT + timedelta(hours=hours)
    urgency = Urgency.OVERDUE if hours <= 0 else Urgency.SOON if hours <= 3 else Urgency.LATER
    return Answer(name, due, urgency)


def test_what_is_overdue_stands_first_and_long_lists_end_with_a_number() -> None:
    waiting = [answer(f"{n:03}", n - 20) for n in range(100)]
    digest = arrange(AT.date(), AT, SINCE, figures=Figures(), answers=reversed(waiting))
    assert digest.answers.shown == tuple(waiting[:30])
    assert (digest.answers.more, digest.waiting) == (70, 100)
    assert digest.counts == {Urgency.OVERDUE: 21, Urgency.SOON: 3, Urgency.LATER: 76}
    assert digest.discussions == {a.discussion for a in waiting[:30]}


def test_a_list_is_not_cut_for_a_single_entry() -> None:
    for count, shown, more in ((15, 15, 0), (16, 16, 0), (17, 15, 2)):
        held = [Trouble(str(n), "paused", AT) for n in range(count)]
        listed = arrange(AT.date(), AT, SINCE, figures=Figures(), held=held).held
        assert (len(listed.shown), listed.more, len(listed)) == (shown, more, count)


def test_the_newest_trouble_stands_first_and_money_a_person_can_move() -> None:
    old, new = Trouble("1", "paused", SINCE), Trouble("2", "paused", AT)
    money = [
        Movement("1", "A", MovementKind.REFUND, Decimal(5), need, at)
        for need in reversed(MovementNeed)
        for at in (AT, SINCE)
    ]
    digest = arrange(
        AT.date(), AT, SINCE, figures=Figures(), held=[old, new], failed=[old, new], money=money
    )
    assert digest.held.shown == digest.failed.shown == (new, old)
    assert [(m.need, m.at) for m in digest.money.shown] == [
        (need, at) for need in MovementNeed for at in (SINCE, AT)
    ]


@pytest.mark.parametrize(
    "figures",
    [
        Figures(received=1),
        Figures(answered=1),
        Figures(opened=1),
        Figures(closed=1),
        Figures(refunds=Sums(1, Decimal(5))),
        Figures(gestures=Sums(1, Decimal(5))),
    ],
)
def test_a_day_on_which_something_happened_is_told(figures: Figures) -> None:
    assert not arrange(AT.date(), AT, SINCE, figures=figures).empty


def test_a_day_with_nothing_is_not_told() -> None:
    quiet = Figures()
    assert arrange(AT.date(), AT, SINCE, figures=quiet).empty
    trouble = [Trouble(None, "paused", AT)]
    assert not arrange(AT.date(), AT, SINCE, figures=quiet, held=trouble).empty
    assert not arrange(AT.date(), AT, SINCE, figures=quiet, failed=trouble).empty
    assert not arrange(AT.date(), AT, SINCE, figures=quiet, answers=[answer("1", 9)]).empty
    assert not arrange(AT.date(), AT, SINCE, figures=quiet, unfiled=1).empty
    assert not arrange(AT.date(), AT, SINCE, figures=quiet, read_until=SINCE).empty


def test_the_first_answer_is_told_in_working_time() -> None:
    friday = local(2026, 11, 20, 17)
    answered = [
        (friday, local(2026, 11, 23, 10)),  # two hours of work
        (friday, local(2026, 11, 20, 17, 30)),
        (friday, local(2026, 11, 24, 10)),
    ]
    assert typical(answered, CALENDAR) == timedelta(hours=2)
    assert typical(answered[:2], CALENDAR) == timedelta(minutes=75)
    assert typical([], CALENDAR) is None
