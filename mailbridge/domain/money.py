"""Which movement of money applies to an order, and what forbids it: one table, pure.

Theory. An agent asks for an end ("refund this line", "12,50 € for the delay"); which call of the
marketplace reaches it depends on how far the order has come. Before shipment there is no refund,
only a cancellation: the order is never shipped and its money goes back. After shipment whole
lines are refunded; a free amount is a commercial gesture. The services know no quantities, so
there is no part of a line.

Rules kept here:
1. What is not plainly possible is impossible, with a reason a person can act on.
2. Money that is asked for and not yet settled counts as spent.
3. Amounts are exact decimals in euros; nothing is rounded.
What the marketplace at hand allows is given as data (`Allowed`); how a movement is confirmed,
carried out and proven is `domain/refund` and the flows' business.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum, StrEnum

from mailbridge.domain.order import LineStage, Order, OrderLine, OrderStage, RequestState
from mailbridge.domain.wording import fold_line

__all__ = [
    "Allowed",
    "Asked",
    "Cause",
    "GestureMotive",
    "Impossible",
    "Movement",
    "MovementKind",
    "Obstacle",
    "Spent",
    "gesture_motive",
    "plan_movement",
]


class MovementKind(StrEnum):
    """The three ways in which a seller's money moves."""

    CANCELLATION = "cancellation"
    """Before shipment: these lines are never shipped, and their price goes back."""
    REFUND = "refund"
    """After shipment: the price of whole lines, perhaps with their shipping charges."""
    GESTURE = "gesture"
    """A free amount."""


class Cause(StrEnum):
    """Why lines are refunded; adapters word it as their service wants it."""

    CLAIM = "claim"
    WITHDRAWAL = "withdrawal"
    """The customer's right to send goods back within fourteen days."""
    GOODWILL = "goodwill"
    """The seller's own initiative."""
    OUT_OF_STOCK = "out_of_stock"


class GestureMotive(IntEnum):
    """What a gesture is for; the numbers are the marketplace's own (WSDL `MotiveId`)."""

    MISSING_STOCK = 131
    DAMAGED_OR_MISSING = 132
    WRONG_ITEM = 133
    FEES = 134
    LATE = 135
    RETURN_FEES = 136
    SHIPPING_FEES = 137
    WARRANTY = 138
    OTHER = 139


_MOTIVE_WORDS: Mapping[GestureMotive, tuple[str, ...]] = {
    GestureMotive.MISSING_STOCK: ("rupture", "stock", "indisponible", "out of stock"),
    GestureMotive.DAMAGED_OR_MISSING: (
        "abime", "casse", "endommage", "manquant", "accessoire", "damaged", "missing",
    ),
    GestureMotive.WRONG_ITEM: ("erreur", "reference", "couleur", "taille", "wrong"),
    GestureMotive.FEES: ("frais", "fees"),
    GestureMotive.LATE: ("retard", "delai", "late", "delay"),
    GestureMotive.RETURN_FEES: ("frais de retour", "retour", "return"),
    # « livraison » alone may be its price or its delay: not guessed.
    GestureMotive.SHIPPING_FEES: (
        "frais de port", "port", "frais de livraison", "frais d'envoi", "frais d'expedition",
        "shipping fee", "shipping cost", "shipping charge",
    ),
    GestureMotive.WARRANTY: ("garantie", "retractation", "warranty"),
    GestureMotive.OTHER: ("autre", "commercial", "other"),
}  # fmt: skip


_MOTIVES = frozenset(GestureMotive)


def gesture_motive(words: str) -> GestureMotive | None:
    """The motive that a number or French or English words name; None for no such motive.

    A word may stand for the motive whose words it begins (`abîmé`, `retards`): the longest
    words found in the text decide.
    """
    text = " ".join(fold_line(words).split())
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    text = text.casefold().removeprefix("motif").strip(" :=.")
    if text.isdecimal():
        return GestureMotive(int(text)) if int(text) in _MOTIVES else None
    found = [
        (len(word), -motive, motive)
        for motive, known in _MOTIVE_WORDS.items()
        for word in known
        if re.search(rf"\b{word}", text)
    ]
    return max(found)[2] if found else None


@dataclass(frozen=True, slots=True)
class Movement:
    """What is asked of the marketplace in one call. `order` is the order as last read."""

    kind: MovementKind
    order: Order
    lines: tuple[OrderLine, ...] = ()
    """Cancellation, refund: the lines concerned."""
    with_shipping: bool = False
    """Refund: their shipping charges too."""
    cause: Cause = Cause.CLAIM
    amount: Decimal = Decimal(0)
    """Gesture: in euros. Else what the lines come to."""
    motive: GestureMotive | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asked for, before the order is known."""

    reference: str | None = None
    """Refund: one line by the seller's reference; None for the whole order."""
    with_shipping: bool = False
    cause: Cause = Cause.CLAIM
    gesture: Decimal | None = None
    """A gesture's amount; None asks for a refund."""
    motive: GestureMotive = GestureMotive.OTHER


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the marketplace and the configuration allow."""

    kinds: frozenset[MovementKind]
    motives: frozenset[GestureMotive]
    single_lines_before_shipment: bool
    gesture_before_shipment: bool
    most: Decimal
    """For one movement, in euros."""
    most_per_order: Decimal
    most_per_day: Decimal


@dataclass(frozen=True, slots=True)
class Spent:
    """Money already asked for through mailbridge and not refused: settled or under way."""

    order: Decimal = Decimal(0)
    day: Decimal = Decimal(0)
    """The whole account's, since midnight in the seller's zone."""
    lines: frozenset[str] = frozenset()
    """References of this order's lines that another request holds."""
    gestures: Decimal = Decimal(0)
    """Gestures on this order that its vouchers may not show."""


class Obstacle(StrEnum):
    """Why a movement is impossible; the comment names its facts."""

    NO_ORDER = "no_order"  # the discussion is about no order
    ORDER_UNKNOWN = "order_unknown"  # number: the marketplace does not show it
    OTHER_ORDER = "other_order"  # reference, known: no such line in this order
    AMBIGUOUS_LINE = "ambiguous_line"  # reference: two lines bear it
    ALREADY_REFUNDED = "already_refunded"  # items
    UNDER_WAY = "under_way"  # items: somebody has asked for them already
    CANCELLATION_ASKED = "cancellation_asked"  # items: the customer's own request comes first
    ORDER_ENDED = "order_ended"  # state
    NOT_ACCEPTED = "not_accepted"  # state: to be refused, not refunded
    STATE_UNKNOWN = "state_unknown"  # state
    SHIPPED_BY_MARKETPLACE = "shipped_by_marketplace"  # before shipment that is not the seller's
    ONE_OF_SEVERAL = "one_of_several"  # others: their state can't be repeated in the call
    NOT_OFFERED = "not_offered"  # movement: this marketplace has no such call
    BEFORE_SHIPMENT = "before_shipment"  # a gesture is only possible after shipment
    MOTIVE = "motive"  # motive, allowed
    NOTHING_LEFT = "nothing_left"  # movement, amount, left: more than was paid, less what went back
    OVER_LIMIT = "over_limit"  # amount, limit: of one movement
    OVER_ORDER_LIMIT = "over_order_limit"  # amount, spent, limit
    OVER_DAY_LIMIT = "over_day_limit"  # amount, spent, limit


@dataclass(frozen=True, slots=True)
class Impossible:
    """Nothing may be asked; `facts` are plain words and figures for the notice."""

    obstacle: Obstacle
    facts: Mapping[str, str] = field(default_factory=dict)


_REPEATABLE = frozenset({LineStage.CANCELLED, LineStage.REFUNDED})
"""States of other lines that a call before shipment may name again without changing them: what
is still to be shipped can't be told to be so (the call would have to ship it)."""
_GIVEN_BACK = frozenset({LineStage.REFUNDED, LineStage.CANCELLED})


def plan_movement(
    asked: Asked, order: Order, allowed: Allowed, spent: Spent = Spent()
) -> Movement | Impossible:
    """The one movement that does what was asked, or why there is none."""
    if order.vouchers is None:
        # Read for its card, not for its money: nobody can say what is left of it.
        return Impossible(Obstacle.STATE_UNKNOWN, {"state": order.state})
    movement = (
        _refund(asked, order, allowed, spent)
        if asked.gesture is None
        else _gesture(asked.gesture, asked.motive, order, allowed, spent)
    )
    if isinstance(movement, Impossible):
        return movement
    return _over_paid(movement, spent) or _over_limits(movement, allowed, spent) or movement


def _refund(asked: Asked, order: Order, allowed: Allowed, spent: Spent) -> Movement | Impossible:
    wanted = order.lines
    if asked.reference is not None:
        wanted = tuple(x for x in order.lines if _same(x.reference, asked.reference))
        if not wanted:
            known = ", ".join(x.reference for x in order.lines if x.reference)
            facts = {"reference": asked.reference, "known": known}
            return Impossible(Obstacle.OTHER_ORDER, facts)
        if len(wanted) > 1:
            return Impossible(Obstacle.AMBIGUOUS_LINE, {"reference": asked.reference})
    elif not order.lines:
        return Impossible(Obstacle.STATE_UNKNOWN, {"state": order.state})
    open_lines = tuple(x for x in wanted if x.stage not in _GIVEN_BACK)
    if not open_lines:
        return Impossible(Obstacle.ALREADY_REFUNDED, {"items": _named(wanted)})
    if len({x.reference for x in open_lines}) < len(open_lines):
        return Impossible(Obstacle.AMBIGUOUS_LINE, {"reference": _twice(open_lines)})
    free = tuple(
        x for x in open_lines if x.reference not in spent.lines and not _asked_for(x, order)
    )
    if not free:
        return Impossible(Obstacle.UNDER_WAY, {"items": _named(open_lines)})
    waiting = [x for x in free if x.stage is LineStage.CANCELLATION_ASKED]
    if waiting:
        return Impossible(Obstacle.CANCELLATION_ASKED, {"items": _named(waiting)})
    match order.stage:
        case OrderStage.TO_SHIP:
            return _cancellation(free, asked, order, allowed)
        case OrderStage.SHIPPED:
            return _after_shipment(free, asked, order, allowed)
        case OrderStage.TO_ACCEPT:
            return Impossible(Obstacle.NOT_ACCEPTED, {"state": order.state})
        case OrderStage.ENDED:
            return Impossible(Obstacle.ORDER_ENDED, {"state": order.state})
        case OrderStage.UNKNOWN:
            return Impossible(Obstacle.STATE_UNKNOWN, {"state": order.state})


def _asked_for(line: OrderLine, order: Order) -> bool:
    """Whether the seller has a request for this line under way already, made elsewhere perhaps;
    one in a state nobody knows counts as such. A customer's own has a stage of its own."""
    return line.stage is not LineStage.CANCELLATION_ASKED and any(
        request.kind != MovementKind.GESTURE
        and request.state in (RequestState.PENDING, RequestState.UNKNOWN)
        and (not request.lines or line.id in request.lines)
        for request in order.requests
    )


def _cancellation(
    lines: tuple[OrderLine, ...], asked: Asked, order: Order, allowed: Allowed
) -> Movement | Impossible:
    if MovementKind.CANCELLATION not in allowed.kinds:
        return Impossible(Obstacle.NOT_OFFERED, {"movement": MovementKind.CANCELLATION})
    if order.shipped_by_marketplace:
        return Impossible(Obstacle.SHIPPED_BY_MARKETPLACE)
    odd = [x for x in lines if x.stage is not LineStage.TO_SHIP]
    if odd:
        return Impossible(Obstacle.STATE_UNKNOWN, {"state": odd[0].state})
    chosen = {x.reference for x in lines}
    others = [x for x in order.lines if x.reference not in chosen and x.stage not in _REPEATABLE]
    if others and not allowed.single_lines_before_shipment:
        return Impossible(Obstacle.ONE_OF_SEVERAL, {"others": _named(others)})
    amount = sum((x.price + x.shipping for x in lines), Decimal(0))
    return Movement(
        MovementKind.CANCELLATION,
        order,
        lines,
        with_shipping=True,
        cause=asked.cause,
        amount=amount,
    )


def _after_shipment(
    lines: tuple[OrderLine, ...], asked: Asked, order: Order, allowed: Allowed
) -> Movement | Impossible:
    if MovementKind.REFUND not in allowed.kinds:
        return Impossible(Obstacle.NOT_OFFERED, {"movement": MovementKind.REFUND})
    odd = [x for x in lines if x.stage is not LineStage.SHIPPED]
    if odd:
        return Impossible(Obstacle.STATE_UNKNOWN, {"state": odd[0].state})
    amount = sum((x.price for x in lines), Decimal(0))
    if asked.with_shipping:
        amount += sum((x.shipping for x in lines), Decimal(0))
    return Movement(
        MovementKind.REFUND,
        order,
        lines,
        with_shipping=asked.with_shipping,
        cause=asked.cause,
        amount=amount,
    )


def _gesture(
    amount: Decimal, motive: GestureMotive, order: Order, allowed: Allowed, spent: Spent
) -> Movement | Impossible:
    if MovementKind.GESTURE not in allowed.kinds:
        return Impossible(Obstacle.NOT_OFFERED, {"movement": MovementKind.GESTURE})
    if motive not in allowed.motives:
        names = ", ".join(str(m.value) for m in sorted(allowed.motives))
        return Impossible(Obstacle.MOTIVE, {"motive": str(motive.value), "allowed": names})
    match order.stage:
        case OrderStage.SHIPPED:
            pass
        case OrderStage.TO_SHIP:
            if order.shipped_by_marketplace or not allowed.gesture_before_shipment:
                return Impossible(Obstacle.BEFORE_SHIPMENT)
        case OrderStage.TO_ACCEPT:
            return Impossible(Obstacle.NOT_ACCEPTED, {"state": order.state})
        case OrderStage.ENDED:
            return Impossible(Obstacle.ORDER_ENDED, {"state": order.state})
        case OrderStage.UNKNOWN:
            return Impossible(Obstacle.STATE_UNKNOWN, {"state": order.state})
    return Movement(MovementKind.GESTURE, order, amount=amount, motive=motive)


def _over_paid(movement: Movement, spent: Spent) -> Impossible | None:
    """All that an order is ever given back stays within what was paid for it."""
    order, amount = movement.order, movement.amount
    left = _left(order, spent)
    if movement.kind is MovementKind.GESTURE and order.gesture_left is not None:
        left = min(left, order.gesture_left)
    if amount <= left:
        return None
    facts = {"movement": str(movement.kind), "amount": str(amount), "left": str(left)}
    return Impossible(Obstacle.NOTHING_LEFT, facts)


def _left(order: Order, spent: Spent) -> Decimal:
    """What of the order's price has not been given back, shipping charges included.

    Of a line given back nobody tells whether its shipping charges were: they count as if.
    """
    back = sum((x.price + x.shipping for x in order.lines if _gone(x, spent.lines)), Decimal(0))
    gestures, others = Decimal(0), Decimal(0)
    for voucher in order.vouchers or ():
        if voucher.motive in _MOTIVES:
            gestures += voucher.amount
        else:
            others += voucher.amount
    price = sum((x.price + x.shipping for x in order.lines), Decimal(0)) or order.total
    # A voucher without a gesture's motive may be a line's refund once more, or one of its own.
    return max(Decimal(0), price - max(back, others) - gestures - spent.gestures)


def _gone(line: OrderLine, held: Collection[str]) -> bool:
    return line.stage in _GIVEN_BACK or line.reference in held


def _over_limits(movement: Movement, allowed: Allowed, spent: Spent) -> Impossible | None:
    amount = movement.amount
    if amount > allowed.most:
        facts = {"amount": str(amount), "limit": str(allowed.most)}
        return Impossible(Obstacle.OVER_LIMIT, facts)
    for obstacle, already, limit in (
        (Obstacle.OVER_ORDER_LIMIT, spent.order, allowed.most_per_order),
        (Obstacle.OVER_DAY_LIMIT, spent.day, allowed.most_per_day),
    ):
        if already + amount > limit:
            facts = {"amount": str(amount), "spent": str(already), "limit": str(limit)}
            return Impossible(obstacle, facts)
    return None


def _same(one: str, other: str) -> bool:
    return one.strip().casefold() == other.strip().casefold()


def _named(lines: Collection[OrderLine]) -> str:
    return ", ".join(x.reference or x.name for x in lines)


def _twice(lines: Collection[OrderLine]) -> str:
    seen: set[str] = set()
    for line in lines:
        if line.reference in seen:
            return line.reference
        seen.add(line.reference)
    return ""
