"""Which movement of money applies to an order: the table, row by row."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.domain.money import (
    Allowed,
    Asked,
    Cause,
    GestureMotive,
    Impossible,
    Movement,
    MovementKind,
    Obstacle,
    Spent,
    gesture_motive,
    plan_movement,
)
from mailbridge.domain.order import (
    LineStage,
    MoneyRequest,
    Order,
    OrderLine,
    OrderStage,
    RequestState,
    Voucher,
)

NOON = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
ANY = Allowed(
    kinds=frozenset(MovementKind),
    motives=frozenset(GestureMotive),
    single_lines_before_shipment=False,
    gesture_before_shipment=True,
    most=Decimal(500),
    most_per_order=Decimal(500),
    most_per_day=Decimal(1000),
)
CANCEL, REFUND, GESTURE = MovementKind.CANCELLATION, MovementKind.REFUND, MovementKind.GESTURE
TOTAL = Asked()
LAMP = Asked(reference="LAMPE")
TEN = Asked(gesture=Decimal(10))

LINE = OrderLine(
    row=0,
    reference="LAMPE",
    name="Lampe de bureau",
    quantity=3,
    unit_price=Decimal(10) / 3,
    state="AcceptedBySeller",
    shipping=Decimal("4.99"),
    stage=LineStage.TO_SHIP,
)
VASE = replace(
    LINE, row=1, reference="VASE-2", name="Vase", quantity=1, unit_price=Decimal("25.50"),
    shipping=Decimal(0),
)  # fmt: skip


def order(stage: OrderStage, *lines: OrderLine, **more: object) -> Order:
    """An order of these lines, the lamp and the vase if none is named."""
    order = Order(
        number="2411231100AB1CD",
        state=stage.name.title(),
        created_at=NOON,
        lines=lines or (LINE, VASE),
        total=Decimal("40.49"),
        stage=stage,
    )
    return replace(order, **more)  # type: ignore[arg-type]


def at(line: OrderLine, stage: LineStage) -> OrderLine:
    return replace(line, stage=stage, state=stage.name.title())


SENT, SENT_VASE = at(LINE, LineStage.SHIPPED), at(VASE, LineStage.SHIPPED)
UNSHIPPED = order(OrderStage.TO_SHIP)
SHIPPED = order(OrderStage.SHIPPED, SENT, SENT_VASE)
GIFT = Voucher(Decimal(10), 135, NOON)
GIVEN = replace(SHIPPED, vouchers=(GIFT,))


def plan(
    asked: Asked, order: Order, spent: Spent | None = None, **allowed: object
) -> Movement | Impossible:
    rules = replace(ANY, **allowed)  # type: ignore[arg-type]
    return plan_movement(asked, order, rules, spent or Spent())


# --- what is possible -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "order", "kind", "lines", "amount", "with_shipping"),
    [
        # Before shipment the whole order is cancelled, always with its shipping.
        (TOTAL, UNSHIPPED, CANCEL, ["LAMPE", "VASE-2"], "40.49", True),
        (replace(TOTAL, with_shipping=True), UNSHIPPED, CANCEL, ["LAMPE", "VASE-2"], "40.49", True),
        # An order of one line, and one whose other line needs no call any more.
        (LAMP, order(OrderStage.TO_SHIP, LINE), CANCEL, ["LAMPE"], "14.99", True),
        (LAMP, order(OrderStage.TO_SHIP, LINE, at(VASE, LineStage.CANCELLED)), CANCEL, ["LAMPE"],
         "14.99", True),
        (TOTAL, order(OrderStage.TO_SHIP, LINE, at(VASE, LineStage.REFUNDED)), CANCEL, ["LAMPE"],
         "14.99", True),
        # After shipment each line by itself, its shipping only if wanted.
        (TOTAL, SHIPPED, REFUND, ["LAMPE", "VASE-2"], "35.50", False),
        (replace(TOTAL, with_shipping=True), SHIPPED, REFUND, ["LAMPE", "VASE-2"], "40.49", True),
        (LAMP, SHIPPED, REFUND, ["LAMPE"], "10.00", False),
        (replace(LAMP, with_shipping=True), SHIPPED, REFUND, ["LAMPE"], "14.99", True),
        (Asked(reference="vase-2 "), SHIPPED, REFUND, ["VASE-2"], "25.50", False),
        # What was given back before is no part of it.
        (TOTAL, order(OrderStage.SHIPPED, SENT, at(VASE, LineStage.REFUNDED)), REFUND, ["LAMPE"],
         "10.00", False),
        (TEN, SHIPPED, GESTURE, [], "10", False),
        (TEN, UNSHIPPED, GESTURE, [], "10", False),
        (Asked(gesture=Decimal("40.49")), SHIPPED, GESTURE, [], "40.49", False),
    ],
)  # fmt: skip
def test_the_one_movement_that_does_it(
    asked: Asked, order: Order, kind: MovementKind, lines: list[str], amount: str,
    with_shipping: bool,
) -> None:  # fmt: skip
    found = plan(asked, order)
    assert isinstance(found, Movement)
    assert found.kind is kind
    assert [x.reference for x in found.lines] == lines
    assert str(found.amount) == amount
    assert found.with_shipping is with_shipping
    assert found.order is order


def test_a_marketplace_that_cancels_single_lines() -> None:
    found = plan(LAMP, UNSHIPPED, single_lines_before_shipment=True)
    assert isinstance(found, Movement)
    assert [x.reference for x in found.lines] == ["LAMPE"]


@pytest.mark.parametrize("state", [RequestState.PENDING, RequestState.UNKNOWN])
def test_a_line_that_was_asked_for_elsewhere_is_not_asked_for_again(state: RequestState) -> None:
    """On the seller's web page, by a colleague: both requests could be granted."""
    asked = MoneyRequest("R1", REFUND, state, lines=("L1",))
    lamp, vase = replace(SENT, id="L1"), replace(SENT_VASE, id="L2")
    shown = order(OrderStage.SHIPPED, lamp, vase, requests=(asked,))
    refused = plan(LAMP, shown)
    assert isinstance(refused, Impossible)
    assert refused.obstacle is Obstacle.UNDER_WAY
    rest = plan(TOTAL, shown)
    assert isinstance(rest, Movement)
    assert [line.reference for line in rest.lines] == ["VASE-2"]

    whole = plan(TOTAL, replace(shown, requests=(replace(asked, lines=()),)))
    assert isinstance(whole, Impossible)
    for harmless in (
        replace(asked, state=RequestState.REFUSED),
        replace(asked, kind=GESTURE, lines=()),
        replace(asked, lines=("L2",)),
    ):
        assert isinstance(plan(LAMP, replace(shown, requests=(harmless,))), Movement)


def test_a_line_somebody_else_has_asked_for_is_left_out() -> None:
    found = plan(TOTAL, SHIPPED, Spent(lines=frozenset({"LAMPE"})))
    assert isinstance(found, Movement)
    assert [x.reference for x in found.lines] == ["VASE-2"]
    assert found.amount == Decimal("25.50")


@pytest.mark.parametrize("cause", Cause)
def test_the_cause_is_carried_to_the_call(cause: Cause) -> None:
    for stage in (UNSHIPPED, SHIPPED):
        found = plan(replace(TOTAL, cause=cause), stage)
        assert isinstance(found, Movement)
        assert found.cause is cause


@pytest.mark.parametrize("motive", GestureMotive)
def test_the_motive_is_carried_to_the_call(motive: GestureMotive) -> None:
    found = plan(replace(TEN, motive=motive), SHIPPED)
    assert isinstance(found, Movement)
    assert found.motive is motive


# --- what is impossible -----------------------------------------------------------------------

_BACK = at(LINE, LineStage.REFUNDED), at(VASE, LineStage.CANCELLED)
_WAITS = at(LINE, LineStage.CANCELLATION_ASKED)
_HELD = Spent(lines=frozenset({"LAMPE", "VASE-2"}))

IMPOSSIBLE = [
    (Obstacle.OTHER_ORDER, Asked(reference="CHAISE"), SHIPPED, {},
     {"reference": "CHAISE", "known": "LAMPE, VASE-2"}),
    (Obstacle.AMBIGUOUS_LINE, LAMP, order(OrderStage.SHIPPED, SENT, replace(SENT, row=1)), {},
     {"reference": "LAMPE"}),
    (Obstacle.AMBIGUOUS_LINE, TOTAL, order(OrderStage.SHIPPED, SENT, replace(SENT, row=1)), {},
     {"reference": "LAMPE"}),
    (Obstacle.ALREADY_REFUNDED, TOTAL, order(OrderStage.SHIPPED, *_BACK), {},
     {"items": "LAMPE, VASE-2"}),
    (Obstacle.ALREADY_REFUNDED, LAMP, order(OrderStage.SHIPPED, *_BACK), {}, {"items": "LAMPE"}),
    (Obstacle.UNDER_WAY, TOTAL, SHIPPED, {"spent": _HELD}, {"items": "LAMPE, VASE-2"}),
    (Obstacle.UNDER_WAY, LAMP, SHIPPED, {"spent": _HELD}, {"items": "LAMPE"}),
    (Obstacle.CANCELLATION_ASKED, TOTAL, order(OrderStage.TO_SHIP, _WAITS, VASE), {},
     {"items": "LAMPE"}),
    (Obstacle.ORDER_ENDED, TOTAL, order(OrderStage.ENDED), {}, {"state": "Ended"}),
    (Obstacle.ORDER_ENDED, TEN, order(OrderStage.ENDED), {}, {"state": "Ended"}),
    (Obstacle.NOT_ACCEPTED, TOTAL, order(OrderStage.TO_ACCEPT), {}, {"state": "To_Accept"}),
    (Obstacle.NOT_ACCEPTED, TEN, order(OrderStage.TO_ACCEPT), {}, {"state": "To_Accept"}),
    (Obstacle.STATE_UNKNOWN, TOTAL, order(OrderStage.UNKNOWN), {}, {"state": "Unknown"}),
    (Obstacle.STATE_UNKNOWN, TEN, order(OrderStage.UNKNOWN), {}, {"state": "Unknown"}),
    (Obstacle.STATE_UNKNOWN, TOTAL, replace(SHIPPED, lines=()), {}, {"state": "Shipped"}),
    # A line that is not where its order is says nothing about which call applies.
    (Obstacle.STATE_UNKNOWN, LAMP, order(OrderStage.SHIPPED, LINE, SENT_VASE), {},
     {"state": "AcceptedBySeller"}),
    (Obstacle.STATE_UNKNOWN, TOTAL, order(OrderStage.TO_SHIP, LINE, at(VASE, LineStage.UNKNOWN)),
     {}, {"state": "Unknown"}),
    (Obstacle.SHIPPED_BY_MARKETPLACE, TOTAL, replace(UNSHIPPED, shipped_by_marketplace=True), {},
     {}),
    (Obstacle.ONE_OF_SEVERAL, LAMP, UNSHIPPED, {}, {"others": "VASE-2"}),
    (Obstacle.ONE_OF_SEVERAL, LAMP, order(OrderStage.TO_SHIP, LINE, at(VASE, LineStage.SHIPPED)),
     {}, {"others": "VASE-2"}),
    (Obstacle.NOT_OFFERED, TOTAL, UNSHIPPED, {"kinds": frozenset({REFUND, GESTURE})},
     {"movement": "cancellation"}),
    (Obstacle.NOT_OFFERED, TOTAL, SHIPPED, {"kinds": frozenset({CANCEL, GESTURE})},
     {"movement": "refund"}),
    (Obstacle.NOT_OFFERED, TEN, SHIPPED, {"kinds": frozenset({CANCEL, REFUND})},
     {"movement": "gesture"}),
    (Obstacle.BEFORE_SHIPMENT, TEN, UNSHIPPED, {"gesture_before_shipment": False}, {}),
    (Obstacle.BEFORE_SHIPMENT, TEN, replace(UNSHIPPED, shipped_by_marketplace=True), {}, {}),
    (Obstacle.MOTIVE, TEN, SHIPPED, {"motives": frozenset({GestureMotive.LATE})},
     {"motive": "139", "allowed": "135"}),
    (Obstacle.NOTHING_LEFT, Asked(gesture=Decimal("40.50")), SHIPPED, {},
     {"movement": "gesture", "amount": "40.50", "left": "40.49"}),
    # Services refund whole lines only: after a gesture that can be more than was paid.
    (Obstacle.NOTHING_LEFT, replace(TOTAL, with_shipping=True), GIVEN, {},
     {"movement": "refund", "amount": "40.49", "left": "30.49"}),
    (Obstacle.NOTHING_LEFT, replace(LAMP, with_shipping=True),
     replace(GIVEN, lines=(SENT, at(VASE, LineStage.REFUNDED))), {},
     {"movement": "refund", "amount": "14.99", "left": "4.99"}),
    (Obstacle.NOTHING_LEFT, TOTAL, SHIPPED, {"spent": Spent(gestures=Decimal(5))},
     {"movement": "refund", "amount": "35.50", "left": "35.49"}),
    (Obstacle.NOTHING_LEFT, TOTAL, replace(UNSHIPPED, vouchers=(GIFT,)), {},
     {"movement": "cancellation", "amount": "40.49", "left": "30.49"}),
    (Obstacle.OVER_LIMIT, LAMP, SHIPPED, {"most": Decimal("9.99")},
     {"amount": "10.00", "limit": "9.99"}),
    (Obstacle.OVER_ORDER_LIMIT, LAMP, SHIPPED,
     {"most_per_order": Decimal("14.99"), "spent": Spent(order=Decimal(5))},
     {"amount": "10.00", "spent": "5", "limit": "14.99"}),
    (Obstacle.OVER_DAY_LIMIT, LAMP, SHIPPED,
     {"most_per_day": Decimal(99), "spent": Spent(day=Decimal(90))},
     {"amount": "10.00", "spent": "90", "limit": "99"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("obstacle", "asked", "order", "rules", "facts"),
    IMPOSSIBLE,
    ids=[f"{row[0]}-{n}" for n, row in enumerate(IMPOSSIBLE)],
)
def test_why_nothing_may_be_asked(
    obstacle: Obstacle, asked: Asked, order: Order, rules: dict[str, object],
    facts: dict[str, str],
) -> None:  # fmt: skip
    assert plan(asked, order, **rules) == Impossible(obstacle, facts)  # type: ignore[arg-type]


def test_the_rows_name_every_obstacle_that_an_order_can_be() -> None:
    """The two others are met before there is an order to look at."""
    named = {row[0] for row in IMPOSSIBLE}
    assert set(Obstacle) - named == {Obstacle.NO_ORDER, Obstacle.ORDER_UNKNOWN}


def test_limits_are_reached_exactly() -> None:
    spent = Spent(order=Decimal(5), day=Decimal(90))
    limits = {"most": Decimal(10), "most_per_order": Decimal(15), "most_per_day": Decimal(100)}
    assert isinstance(plan(LAMP, SHIPPED, spent, **limits), Movement)


# --- what is left to give ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "spent", "left"),
    [
        (SHIPPED, Spent(), "40.49"),
        # A line given back is gone with its shipping, and so is one that is asked for.
        (order(OrderStage.SHIPPED, at(LINE, LineStage.REFUNDED), SENT_VASE), Spent(), "25.50"),
        (SHIPPED, Spent(lines=frozenset({"VASE-2"})), "14.99"),
        (replace(SHIPPED, vouchers=(Voucher(Decimal("12.50"), 135, NOON),)), Spent(), "27.99"),
        (SHIPPED, Spent(gestures=Decimal("12.50")), "27.99"),
        (replace(SHIPPED, gesture_left=Decimal(3)), Spent(), "3"),
        (replace(SHIPPED, gesture_left=Decimal(300)), Spent(), "40.49"),
        # Struck lines count nothing, so the order's own total speaks.
        (replace(SHIPPED, lines=()), Spent(), "40.49"),
        (replace(SHIPPED, vouchers=(Voucher(Decimal(99), 135, NOON),)), Spent(), "0"),
    ],
)  # fmt: skip
def test_a_gesture_is_within_what_is_left_to_the_cent(
    order: Order, spent: Spent, left: str
) -> None:
    amount = Decimal(left)
    over = plan(Asked(gesture=amount + Decimal("0.01")), order, spent)
    assert isinstance(over, Impossible)
    assert over.obstacle is Obstacle.NOTHING_LEFT
    assert Decimal(over.facts["left"]) == amount
    if amount:
        assert isinstance(plan(Asked(gesture=amount), order, spent), Movement)


@pytest.mark.parametrize(
    ("asked", "order"),
    [
        # A line beside the gesture, and all lines without the shipping that the gesture ate into.
        (LAMP, GIVEN),
        (replace(LAMP, with_shipping=True), GIVEN),
        (TOTAL, replace(SHIPPED, vouchers=(replace(GIFT, amount=Decimal("4.99")),))),
        # The refund of the other line, which the service may show as a voucher once more.
        (replace(LAMP, with_shipping=True),
         order(OrderStage.SHIPPED, SENT, at(VASE, LineStage.REFUNDED),
               vouchers=(Voucher(Decimal("25.50"), 0, NOON),))),
    ],
)  # fmt: skip
def test_a_line_is_refunded_as_long_as_no_more_goes_back_than_was_paid(
    asked: Asked, order: Order
) -> None:
    assert isinstance(plan(asked, order), Movement)


_STAGED = st.builds(
    lambda row, stage, cents, quantity, shipping: replace(
        LINE,
        row=row,
        reference=f"R{row}",
        stage=stage,
        unit_price=Decimal(cents) / 100 / quantity,
        quantity=quantity,
        shipping=Decimal(shipping) / 100,
    ),
    st.integers(0, 5), st.sampled_from(LineStage), st.integers(1, 20000), st.integers(1, 7),
    st.integers(0, 900),
)  # fmt: skip


@given(
    st.lists(_STAGED, max_size=5, unique_by=lambda x: x.row),
    st.sampled_from(OrderStage),
    st.one_of(st.none(), st.sampled_from([f"R{n}" for n in range(6)])),
    st.booleans(),
    st.frozensets(st.sampled_from([f"R{n}" for n in range(6)])),
    st.integers(0, 600),
    st.integers(0, 30000),
)
def test_whatever_the_order_a_plan_takes_no_line_twice_and_keeps_the_limits(
    lines: list[OrderLine],
    stage: OrderStage,
    reference: str | None,
    with_shipping: bool,
    held: frozenset[str],
    already: int,
    cents: int,
) -> None:
    asked = Asked(reference=reference, with_shipping=with_shipping)
    spent = Spent(order=Decimal(already), day=Decimal(already), lines=held)
    given = Decimal(cents) / 100
    vouchers = (Voucher(given, int(GestureMotive.LATE), NOON),) if cents else ()
    found = plan(asked, replace(SHIPPED, stage=stage, lines=tuple(lines), vouchers=vouchers), spent)
    if isinstance(found, Impossible):
        return
    assert found.lines
    assert all(x.stage in (LineStage.TO_SHIP, LineStage.SHIPPED) for x in found.lines)
    assert held.isdisjoint(x.reference for x in found.lines)
    prices = sum((x.price + (x.shipping if found.with_shipping else 0) for x in found.lines), 0)
    assert found.amount == prices
    assert found.amount == found.amount.quantize(Decimal("0.01"))
    gone = [x for x in lines if x.stage in (LineStage.REFUNDED, LineStage.CANCELLED)]
    gone += [x for x in lines if x not in gone and x.reference in held]
    paid, back = (sum(x.price + x.shipping for x in which) for which in (lines, gone))
    assert back + given + found.amount <= paid
    assert found.amount <= ANY.most
    assert already + found.amount <= ANY.most_per_order


# --- motives ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "motive"),
    [
        *[(str(int(m)), m) for m in GestureMotive],
        ("motif 135", GestureMotive.LATE),
        ("Motif : 137.", GestureMotive.SHIPPING_FEES),
        ("retard", GestureMotive.LATE),
        ("pour le RETARD de livraison", GestureMotive.LATE),
        ("livraison en retard", GestureMotive.LATE),
        ("frais de livraison", GestureMotive.SHIPPING_FEES),
        ("livraison", None),
        ("retards", GestureMotive.LATE),
        ("délai", GestureMotive.LATE),
        ("abîmé", GestureMotive.DAMAGED_OR_MISSING),
        ("produit cassé", GestureMotive.DAMAGED_OR_MISSING),
        ("accessoire manquant", GestureMotive.DAMAGED_OR_MISSING),
        ("rupture de stock", GestureMotive.MISSING_STOCK),
        ("erreur de taille", GestureMotive.WRONG_ITEM),
        ("frais", GestureMotive.FEES),
        ("frais de port", GestureMotive.SHIPPING_FEES),
        ("frais de retour", GestureMotive.RETURN_FEES),
        ("retour", GestureMotive.RETURN_FEES),
        ("garantie", GestureMotive.WARRANTY),
        ("rétractation", GestureMotive.WARRANTY),
        ("autre", GestureMotive.OTHER),
        ("geste commercial", GestureMotive.OTHER),
        ("late delivery", GestureMotive.LATE),
        ("missing part", GestureMotive.DAMAGED_OR_MISSING),
        ("130", None),
        ("140", None),
        ("135135", None),
        ("", None),
        ("parce que", None),
        ("apport", None),
        ("transport", None),
    ],
)
def test_a_motive_by_its_number_or_a_word(words: str, motive: GestureMotive | None) -> None:
    assert gesture_motive(words) is motive


@pytest.mark.parametrize("asked", [TEN, TOTAL])
def test_nothing_moves_on_an_order_whose_refunds_nobody_has_read(asked: Asked) -> None:
    read = order(OrderStage.SHIPPED, at(LINE, LineStage.SHIPPED))
    assert isinstance(plan_movement(asked, read, ANY), Movement)
    made = plan_movement(asked, replace(read, vouchers=None), ANY)
    assert isinstance(made, Impossible)
    assert made.obstacle is Obstacle.STATE_UNKNOWN
