"""Working hours: what is written on the door, holidays, and days on which the clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.domain.workdays import (
    Holidays,
    WeekHours,
    WorkingCalendar,
    easter,
    french_holidays,
)

PARIS = ZoneInfo("Europe/Paris")
OFFICE = WeekHours.parse("mon-fri 09:00-12:30 13:30-18:00")
NIGHT = WeekHours.parse("sun 01:30-02:15 02:30-03:30, wed 8:00-9:00")
ALWAYS = WeekHours.parse("mon-sun 00:00-24:00")


def paris(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=PARIS)


@pytest.mark.parametrize(
    "sunday",
    ["1818-03-22", "1943-04-25", "1961-04-02", "2000-04-23", "2008-03-23", "2019-04-21",
     "2024-03-31", "2025-04-20", "2026-04-05", "2027-03-28", "2038-04-25", "2285-03-22"],
)  # fmt: skip
def test_easter_of_known_years(sunday: str) -> None:
    day = date.fromisoformat(sunday)
    assert easter(day.year) == day


@given(st.integers(1583, 4099))
def test_easter_is_a_sunday_between_its_limits(year: int) -> None:
    assert easter(year).weekday() == 6
    assert date(year, 3, 22) <= easter(year) <= date(year, 4, 25)


def test_the_holidays_of_a_year_as_the_ministry_prints_them() -> None:
    assert sorted(map(str, french_holidays(2026))) == [
        "2026-01-01", "2026-04-06", "2026-05-01", "2026-05-08", "2026-05-14", "2026-05-25",
        "2026-07-14", "2026-08-15", "2026-11-01", "2026-11-11", "2026-12-25",
    ]  # fmt: skip
    more = french_holidays(2026, alsace=True) - french_holidays(2026)
    assert more == {date(2026, 4, 3), date(2026, 12, 26)}


def test_two_holidays_on_one_day_are_one() -> None:
    # Ascension Day of 2008 was the first of May.
    assert len(french_holidays(2008)) == 10


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("mon-fri 09:00-18:00", "mon-fri 09:00-18:00"),
        ("lun-ven 9:00-12:30 13:30-18:00, sam 9:00-12:00",
         "mon-fri 09:00-12:30 13:30-18:00, sat 09:00-12:00"),
        ("MON 08:00-10:00,tue 08:00 - 10:00", "mon-tue 08:00-10:00"),
        ("wed 14:00-16:00, wed 08:00-10:00", "wed 08:00-10:00 14:00-16:00"),
        ("mon-sun 00:00-24:00", "mon-sun 00:00-24:00"),
        ("mon 09:00-10:00, wed 09:00-10:00", "mon 09:00-10:00, wed 09:00-10:00"),
    ],
)  # fmt: skip
def test_hours_as_people_write_them(text: str, plain: str) -> None:
    assert str(WeekHours.parse(text)) == plain
    assert WeekHours.parse(plain) == WeekHours.parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a day"),
        ("always", "is not a day"),
        ("mon", "is not a day"),
        ("xyz 09:00-10:00", "is not a day"),
        ("fri-mon 09:00-18:00", "a week starts on Monday"),
        ("mon 18:00-09:00", "ends before it begins"),
        ("mon 09:00-25:00", "not a time of day"),
        ("mon 09:75-10:00", "not a time of day"),
        ("mon 09:00-12:00 11:00-13:00", "overlap"),
        ("mon 09:00-12:00, mon-fri 11:00-13:00", "overlap"),
        ("mon 9-18", "is not a day"),
    ],
)
def test_hours_that_make_no_sense(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        WeekHours.parse(text)


@pytest.mark.parametrize(
    ("start", "work", "end"),
    [
        # Inside a day, over lunch, over night, over a weekend, over a holiday (11 November).
        ("2026-11-23 10:00", 2, "2026-11-23 12:00"),
        ("2026-11-23 10:00", 4, "2026-11-23 15:00"),
        ("2026-11-23 17:00", 2, "2026-11-24 10:00"),
        ("2026-11-20 17:00", 2, "2026-11-23 10:00"),
        ("2026-11-10 17:00", 2, "2026-11-12 10:00"),
        # Asked out of hours: time runs from the opening, and ends at the closing.
        ("2026-11-21 03:00", 8, "2026-11-23 18:00"),
        ("2026-11-23 20:00", 1, "2026-11-24 10:00"),
        ("2026-11-23 12:45", 1, "2026-11-23 14:30"),
    ],
)
def test_working_time_after_a_moment(start: str, work: int, end: str) -> None:
    calendar = WorkingCalendar(PARIS, OFFICE)
    assert calendar.after(paris(start), timedelta(hours=work)) == paris(end)


def test_further_days_on_which_the_shop_is_closed() -> None:
    calendar = WorkingCalendar(PARIS, OFFICE, closed_on=frozenset({date(2026, 11, 24)}))
    assert calendar.after(paris("2026-11-23 17:00"), timedelta(hours=2)) == paris(
        "2026-11-25 10:00"
    )


def test_alsace_rests_on_good_friday_and_others_do_not() -> None:
    friday = date(2026, 4, 3)
    for holidays, works in (
        (Holidays.ALSACE, False),
        (Holidays.FRANCE, True),
        (Holidays.NONE, True),
    ):
        assert WorkingCalendar(PARIS, OFFICE, holidays).works_on(friday) is works
    assert WorkingCalendar(PARIS, OFFICE, Holidays.NONE).works_on(date(2026, 11, 11))


def test_a_day_lasts_as_long_as_it_lasts_when_the_clocks_change() -> None:
    calendar = WorkingCalendar(PARIS, ALWAYS, Holidays.NONE)
    spring, autumn = paris("2026-03-29 00:00"), paris("2026-10-25 00:00")
    assert calendar.between(spring, paris("2026-03-30 00:00")) == timedelta(hours=23)
    assert calendar.between(autumn, paris("2026-10-26 00:00")) == timedelta(hours=25)
    assert calendar.after(spring, timedelta(hours=4)) == paris("2026-03-29 05:00")
    assert calendar.after(autumn, timedelta(hours=4)) == datetime(2026, 10, 25, 2, 0, tzinfo=UTC)


def test_hours_that_the_clocks_skip_are_not_worked() -> None:
    night = WorkingCalendar(PARIS, WeekHours.parse("sun 02:00-03:00 03:00-04:00"), Holidays.NONE)
    # On 29 March 2026 the clocks go from 02:00 to 03:00.
    assert list(night.spans(date(2026, 3, 29))) == [
        (datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 3, 29, 2, tzinfo=UTC))
    ]


def test_no_working_time_is_never_waited_for_in_vain() -> None:
    closed = frozenset(date(2026, 1, 1) + timedelta(days=n) for n in range(11 * 366))
    calendar = WorkingCalendar(PARIS, OFFICE, closed_on=closed)
    with pytest.raises(ValueError, match="no working time"):
        calendar.after(paris("2026-01-05 10:00"), timedelta(hours=1))


MOMENTS = st.timedeltas(timedelta(0), timedelta(days=16 * 365)).map(
    lambda since: datetime(2020, 1, 1, tzinfo=UTC) + since
)  # with every change of the clocks in between
WORK = st.timedeltas(timedelta(0), timedelta(hours=100))
CALENDARS = st.builds(
    WorkingCalendar,
    st.just(PARIS),
    st.sampled_from([OFFICE, ALWAYS, NIGHT]),
    st.sampled_from(Holidays),
)


@given(CALENDARS, MOMENTS, WORK)
def test_the_time_between_is_the_work_asked_for(
    calendar: WorkingCalendar, start: datetime, work: timedelta
) -> None:
    end = calendar.after(start, work)
    assert end >= start
    assert calendar.between(start, end) == work


@given(CALENDARS, MOMENTS, WORK, WORK)
def test_work_done_in_two_goes_ends_when_it_would_in_one(
    calendar: WorkingCalendar, start: datetime, one: timedelta, two: timedelta
) -> None:
    assert calendar.after(calendar.after(start, one), two) == calendar.after(start, one + two)


@given(MOMENTS, WORK)
def test_where_somebody_is_always_there_working_time_is_time(
    start: datetime, work: timedelta
) -> None:
    assert WorkingCalendar(PARIS, ALWAYS, Holidays.NONE).after(start, work) == start + work


@given(MOMENTS, WORK)
def test_a_limit_never_falls_out_of_hours(start: datetime, work: timedelta) -> None:
    calendar = WorkingCalendar(PARIS, OFFICE)
    end = calendar.after(start, work).astimezone(PARIS)
    if work:
        assert calendar.works_on(end.date())
        assert "09:00" < f"{end:%H:%M:%S.%f}" <= "18:00:00.000000"
