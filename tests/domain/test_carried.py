"""Money that was asked for through an API the account has moved away from: what proves it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from mailbridge.domain.money import MovementKind
from mailbridge.domain.order import (
    LineStage,
    MoneyRequest,
    Order,
    OrderLine,
    OrderStage,
    RequestState,
    Voucher,
)
from mailbridge.domain.refund import Proof, Sought, as_told_here, evidence

ASKED = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
FIVE = Decimal(5)
GESTURE = Sought(MovementKind.GESTURE, amount=FIVE, motive=139)


def line(stage: LineStage, ident: str) -> OrderLine:
    return OrderLine(1, "REF-1", "Lampe", 1, Decimal(20), "any", stage=stage, id=ident)


BEFORE = Order("N1", "Shipped", ASKED - timedelta(days=9), stage=OrderStage.SHIPPED)
"""As SOAP told it: one voucher, for a motive that REST has no word for."""
BEFORE = replace(
    BEFORE,
    lines=(line(LineStage.SHIPPED, ""),),
    vouchers=(Voucher(FIVE, 135, ASKED - timedelta(days=2)),),
)


def request(state: RequestState, minutes: float | None) -> MoneyRequest:
    at = None if minutes is None else ASKED + timedelta(minutes=minutes)
    return MoneyRequest("r1", MovementKind.GESTURE, state, at, amount=FIVE)


def proof(now: Order, sought: Sought = GESTURE) -> Proof:
    return evidence(sought, as_told_here(BEFORE, now, ASKED), now).proof


def test_a_gesture_of_before_in_the_other_api_s_words_proves_nothing() -> None:
    old = Voucher(FIVE, 139, ASKED - timedelta(days=2))
    now = replace(BEFORE, vouchers=(old,))
    assert evidence(GESTURE, BEFORE, now).proof is Proof.SHOWN, "why the dates are needed"
    assert proof(now) is Proof.NOT_SHOWN
    assert proof(replace(now, requests=(request(RequestState.DONE, -2880),))) is Proof.NOT_SHOWN


@pytest.mark.parametrize("minutes", [None, -60])
def test_what_is_old_or_has_no_date_proves_nothing(minutes: float | None) -> None:
    at = None if minutes is None else ASKED + timedelta(minutes=minutes)
    assert proof(replace(BEFORE, vouchers=(Voucher(FIVE, 139, at),))) is Proof.NOT_SHOWN
    now = replace(BEFORE, vouchers=(), requests=(request(RequestState.DONE, minutes),))
    assert proof(now) is Proof.NOT_SHOWN


def test_a_gesture_that_came_since_is_the_proof() -> None:
    new = Voucher(FIVE, 139, ASKED + timedelta(minutes=1))
    old = replace(new, created_at=ASKED - timedelta(days=2))
    assert proof(replace(BEFORE, vouchers=(old, new))) is Proof.SHOWN
    assert proof(replace(BEFORE, vouchers=(replace(new, amount=Decimal(6)),))) is Proof.NOT_SHOWN
    now = replace(BEFORE, vouchers=(), requests=(request(RequestState.DONE, 1),))
    assert proof(now) is Proof.SHOWN


def test_a_line_is_found_again_by_the_seller_s_own_reference() -> None:
    sought = Sought(MovementKind.REFUND, lines=["REF-1"])
    now = replace(BEFORE, lines=(line(LineStage.SHIPPED, "N1-1"),))
    assert proof(now, sought) is Proof.NOT_SHOWN
    assert proof(replace(now, lines=(line(LineStage.REFUNDED, "N1-1"),)), sought) is Proof.SHOWN
