"""When a card that was shown is outdated: refunds may be unknown, none, or these."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from mailbridge.domain.order import MoneyRequest, Order, OrderStage, RequestState, Voucher
from mailbridge.domain.showing import Showing, Topic

NOON = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
UNKNOWN = Order("N1", "Shipped", NOON, stage=OrderStage.SHIPPED, vouchers=None)
NONE = replace(UNKNOWN, vouchers=())
THESE = replace(UNKNOWN, vouchers=(Voucher(Decimal(5), 135, NOON),))
MORE = replace(UNKNOWN, vouchers=(*(THESE.vouchers or ()), Voucher(Decimal(7), 139, NOON)))


@pytest.mark.parametrize(
    ("before", "now", "news"),
    [
        (UNKNOWN, UNKNOWN, False),
        (UNKNOWN, NONE, False),
        (NONE, UNKNOWN, False),
        (THESE, UNKNOWN, False),
        (UNKNOWN, THESE, True),
        (NONE, THESE, True),
        (THESE, MORE, True),
        (THESE, NONE, True),
    ],
)
def test_refunds_are_news_once_something_is_known(before: Order, now: Order, news: bool) -> None:
    shown = Showing.from_json(Showing.of(before).to_json())
    assert shown.changed(Showing.of(now)) == ((Topic.REFUNDS,) if news else ())


def test_a_card_of_another_api_compares_no_refunds() -> None:
    assert Showing.of(NONE).carried(None).changed(Showing.of(THESE)) == ()


@pytest.mark.parametrize(
    ("before", "now", "kept"),
    [
        (THESE, UNKNOWN, THESE),
        (THESE, NONE, NONE),
        # That there was none was true when it was read.
        (NONE, UNKNOWN, UNKNOWN),
        (UNKNOWN, UNKNOWN, UNKNOWN),
    ],
)
@pytest.mark.parametrize("asked", [False, True], ids=["no request", "a request"])
def test_what_was_given_stays_given(before: Order, now: Order, kept: Order, asked: bool) -> None:
    requests = (MoneyRequest("r1", "refund", RequestState.REFUSED),) if asked else ()
    assert now.after(replace(before, requests=requests)).vouchers == kept.vouchers
