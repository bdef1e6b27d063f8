"""Clock times of Paris, both ways."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.marketplace.cdiscount.times import PARIS, filter_bounds, parse_time, resolve


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def one(text: str, **hints: datetime) -> datetime:
    return resolve([parse_time(text)], **hints)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2019-04-25T10:51:55", "2019-04-25T08:51:55"),
        ("2019-04-23T14:40:13.48", "2019-04-23T12:40:13.480"),
        ("2019-04-23T14:43:36.203", "2019-04-23T12:43:36.203"),
        ("2019-04-23T14:43:36.1234567", "2019-04-23T12:43:36.123456"),
        ("2019-01-15T08:00:00.5", "2019-01-15T07:00:00.500"),
        ("2019-04-25T10:51:55Z", "2019-04-25T10:51:55"),
        ("2019-04-25T10:51:55.2+05:30", "2019-04-25T05:21:55.200"),
        (" 2019-04-25T10:51:55-01:00\n", "2019-04-25T11:51:55"),
    ],
)
def test_a_time_is_paris_time_unless_it_says_otherwise(text: str, expected: str) -> None:
    assert one(text) == utc(expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hier",
        "2019-04-25",
        "2019-04-25 10:51:55",
        "2019-02-30T10:00:00",
        "2019-04-25T24:00:00",
        "2019-04-25T10:51:55.",
        "2019-04-25T10:51",
        "２019-04-25T10:51:55",
        "2019-04-25T10:51:55+0200",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_time(text)


def test_the_hour_that_happens_twice_is_first_taken_as_summer_time() -> None:
    assert one("2019-10-27T02:30:00") == utc("2019-10-27T00:30:00")


def test_but_not_if_the_discussion_was_only_opened_after_that() -> None:
    opened = utc("2019-10-27T00:45:00")
    assert one("2019-10-27T02:30:00", not_before=opened) == utc("2019-10-27T01:30:00")


def test_nor_if_the_message_before_it_is_later() -> None:
    times = [parse_time(f"2019-10-27T02:{minute}:00") for minute in ("10", "50", "20", "40")]
    assert resolve(times) == [
        utc("2019-10-27T00:10:00"),
        utc("2019-10-27T00:50:00"),
        utc("2019-10-27T01:20:00"),
        utc("2019-10-27T01:40:00"),
    ]


def test_never_in_the_future_of_the_answer_that_told_it() -> None:
    times = [parse_time("2019-10-27T02:50:00"), parse_time("2019-10-27T02:10:00")]
    answered = utc("2019-10-27T00:55:00")
    assert resolve(times, not_after=answered)[1] == utc("2019-10-27T00:10:00")


def test_the_hour_that_spring_leaves_out_goes_on_in_winter_time() -> None:
    assert one("2019-03-31T02:30:00") == utc("2019-03-31T01:30:00")


def test_order_hints_do_not_bend_times_that_are_plain() -> None:
    times = [parse_time("2019-06-01T12:00:00"), parse_time("2019-06-01T11:00:00")]
    assert resolve(times) == [utc("2019-06-01T10:00:00"), utc("2019-06-01T09:00:00")]


INSTANTS = st.datetimes(
    min_value=datetime(2018, 1, 1),  # noqa: DTZ001 (the strategy adds the zone)
    max_value=datetime(2030, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
NIGHT = st.integers(min_value=0, max_value=4 * 3600 * 1000).map(
    lambda ms: utc("2019-10-26T23:00:00") + timedelta(milliseconds=ms)
)


@given(st.one_of(INSTANTS, NIGHT), st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_filter_leaves_out_no_instant_of_its_window(
    begin: datetime, length: int, within: int
) -> None:
    end = begin + timedelta(milliseconds=length)
    instant = begin + timedelta(milliseconds=min(within, length))
    low, high = filter_bounds(begin, end)
    stored = instant.astimezone(PARIS).replace(tzinfo=None)
    assert low.tzinfo is None
    assert high.tzinfo is None
    assert low <= stored <= high


def test_a_filter_leaves_out_no_instant_of_the_night_that_has_an_hour_twice() -> None:
    night = [utc("2019-10-26T23:00:00") + n * timedelta(minutes=5) for n in range(49)]
    for first, begin in enumerate(night):
        for last, end in enumerate(night[first:], start=first):
            low, high = filter_bounds(begin, end)
            for instant in night[first : last + 1]:
                assert low <= instant.astimezone(PARIS).replace(tzinfo=None) <= high


@given(INSTANTS)
def test_a_filter_is_written_to_the_second_and_hardly_wider_than_asked(begin: datetime) -> None:
    low, high = filter_bounds(begin, begin + timedelta(hours=3))
    assert low.microsecond == high.microsecond == 0
    assert high - low <= timedelta(hours=6)


def test_a_filter_takes_any_zone() -> None:
    begin = datetime(2019, 4, 25, 12, 0, tzinfo=timezone(timedelta(hours=5)))
    low, high = filter_bounds(begin, begin + timedelta(hours=1))
    assert (low.isoformat(), high.isoformat()) == ("2019-04-25T09:00:00", "2019-04-25T10:00:00")
