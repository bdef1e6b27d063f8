"""How long a relay address is trusted after the marketplace last confirmed it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from mailbridge.domain.lease import FRESH, LIFE, Lease, LeaseState

NOON = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)
ADDRESS = f"c.{'0a' * 16}@clemarche.example"
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("age", "state"),
    [
        (timedelta(0), LeaseState.FRESH),
        (FRESH, LeaseState.FRESH),
        (FRESH + SECOND, LeaseState.STALE),
        (LIFE, LeaseState.STALE),
        (LIFE + SECOND, LeaseState.EXPIRED),
        (timedelta(days=4000), LeaseState.EXPIRED),
        (-timedelta(minutes=5), LeaseState.FRESH),
    ],
)
def test_an_address_ages_from_its_last_confirmation(age: timedelta, state: LeaseState) -> None:
    assert Lease(ADDRESS, NOON - age).state(NOON) is state


def test_the_service_says_four_weeks_and_we_ask_daily() -> None:
    assert (timedelta(days=28), timedelta(days=1)) == (LIFE, FRESH)


def test_summer_time_makes_no_day_longer() -> None:
    paris = ZoneInfo("Europe/Paris")
    confirmed = datetime(2026, 3, 28, 13, 0, tzinfo=paris)
    assert Lease(ADDRESS, confirmed).state(NOON + FRESH) is LeaseState.FRESH
    assert Lease(ADDRESS, confirmed).state(NOON + FRESH + SECOND) is LeaseState.STALE


@pytest.mark.parametrize("lease", [Lease(None, NOON), Lease(ADDRESS, None), Lease(None, None)])
def test_half_a_lease_is_none(lease: Lease) -> None:
    assert lease.state(NOON) is LeaseState.MISSING
