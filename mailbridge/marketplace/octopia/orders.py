"""Orders of the API, and the requests for money on them, as values of the domain.

The rule: an amount or quantity that does not parse makes this one order a fault. What is merely
absent or unknown to us (a state, a price, another currency) is shown as well as it can be, and
has the stage UNKNOWN, so that no money is moved on it.

Pure. Names and addresses other than the customer's name are not read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from decimal import Decimal

from mailbridge.domain.money import MovementKind
from mailbridge.domain.order import (
    LineStage,
    MoneyRequest,
    Order,
    OrderLine,
    OrderStage,
    Parcel,
    RequestState,
    Voucher,
)
from mailbridge.domain.wording import clean_line
from mailbridge.marketplace.octopia import models
from mailbridge.marketplace.octopia.money import motive_of

__all__ = ["cancellations", "gestures", "order", "with_requests"]

_ORDER_STAGES = {
    "processing": OrderStage.TO_ACCEPT,
    "waitingacceptance": OrderStage.TO_ACCEPT,
    "accepted": OrderStage.TO_ACCEPT,
    "inpreparation": OrderStage.TO_SHIP,
    "shipped": OrderStage.SHIPPED,
    "delivered": OrderStage.SHIPPED,
    "cancelled": OrderStage.ENDED,
    "refused": OrderStage.ENDED,
    "rejected": OrderStage.ENDED,
}
_LINE_STAGES = {
    "accepted": LineStage.TO_SHIP,
    "inpreparation": LineStage.TO_SHIP,
    "shipped": LineStage.SHIPPED,
    "delivered": LineStage.SHIPPED,
    "refunded": LineStage.REFUNDED,
    "cancelled": LineStage.CANCELLED,
    "refused": LineStage.CANCELLED,
    "rejected": LineStage.CANCELLED,
}
_REQUEST_STATES = {
    "pending": RequestState.PENDING,
    "created": RequestState.PENDING,
    "processing": RequestState.PENDING,
    "inprogress": RequestState.PENDING,
    "accepted": RequestState.DONE,
    "done": RequestState.DONE,
    "completed": RequestState.DONE,
    "validated": RequestState.DONE,
    "refused": RequestState.REFUSED,
    "rejected": RequestState.REFUSED,
    "failed": RequestState.REFUSED,
    "error": RequestState.REFUSED,
}
_BY_MARKETPLACE = "fulfillment"
_EURO = frozenset({"", "EUR"})


def order(told: models.Order) -> Order:
    """One order."""
    lines = tuple(_line(row, line) for row, line in enumerate(told.lines, start=1))
    euros = told.currency_code.strip().upper() in _EURO
    ship_by = [line.ship_by for line in lines if line.ship_by is not None]
    deliver_by = [line.deliver_by for line in lines if line.deliver_by is not None]
    priced = sum((line.price + line.shipping for line in lines), Decimal(0))
    total = told.total_price.selling_price
    return Order(
        number=told.order_id,
        state=told.status.strip(),
        created_at=told.created_at.at,
        updated_at=None if told.updated_at is None else told.updated_at.at,
        customer_name=_name(told),
        lines=lines,
        parcels=_parcels(told),
        vouchers=None,  # gestures are requests, which only a reading for money asks for
        total=priced if total is None else total,
        shipping_total=sum((line.shipping for line in lines), Decimal(0)),
        ship_by=min(
            ship_by, default=None if told.shipped_at_max is None else told.shipped_at_max.at
        ),
        deliver_by=max(deliver_by, default=None),
        shipped_by_marketplace=any(
            line.offer.supply_mode.strip().lower() == _BY_MARKETPLACE for line in told.lines
        ),
        stage=_ORDER_STAGES.get(told.status.strip().lower(), OrderStage.UNKNOWN)
        if euros
        else OrderStage.UNKNOWN,
        sales_channel=told.sales_channel.id.strip(),
        sales_channel_name=clean_line(told.sales_channel.name, 40),
    )


def _name(told: models.Order) -> str:
    """Who ordered: a discussion names nobody."""
    for address in (told.billing_address, *(line.shipping_address for line in told.lines)):
        name = clean_line(f"{address.first_name} {address.last_name}")
        if name:
            return name
    return ""


def _line(row: int, told: models.OrderLine) -> OrderLine:
    shipping = _first(told.selling_price.shipping_cost, told.offer_price.shipping_cost)
    unit = _first(told.selling_price.unit_sales_price, told.offer_price.unit_sales_price)
    status = told.status.strip()
    stage = _LINE_STAGES.get(status.lower(), LineStage.UNKNOWN)
    if stage is LineStage.CANCELLED and told.parcels:
        stage = LineStage.REFUNDED  # one word for both; what left the house is not cancelled
    return OrderLine(
        row=row,
        id=told.order_line_id,
        reference=told.offer.seller_product_id.strip(),
        name=told.offer.product_title.strip(),
        quantity=told.quantity,
        unit_price=Decimal(0) if unit is None else unit,
        state=status,
        # Without a price nobody can say what a refund of it would come to, and below nothing
        # it would pass every limit.
        stage=LineStage.UNKNOWN if unit is None or unit < 0 or (shipping or 0) < 0 else stage,
        condition=told.offer.condition.strip(),
        ean=told.offer.product_gtin.strip(),
        product_id=told.offer.product_id.strip(),
        shipping=Decimal(0) if shipping is None else shipping,
        ship_by=None if told.delivery.shipped_at_max is None else told.delivery.shipped_at_max.at,
        deliver_by=None
        if told.delivery.promised_at_max is None
        else told.delivery.promised_at_max.at,
    )


def _first(*amounts: Decimal | None) -> Decimal | None:
    return next((amount for amount in amounts if amount is not None), None)


def _parcels(told: models.Order) -> tuple[Parcel, ...]:
    """Each parcel once: one that holds several lines is told with each of them."""
    found = {
        parcel.parcel_number.strip(): Parcel(
            parcel.parcel_number.strip(), parcel.carrier_name.strip(), parcel.tracking_url.strip()
        )
        for line in told.lines
        for parcel in line.parcels or ()
        if parcel.parcel_number.strip()
    }
    return tuple(found.values())


# Requests


def cancellations(
    told: Sequence[models.CancellationRequest], about: Order, names: Collection[str]
) -> tuple[tuple[MoneyRequest, str], ...]:
    """Requests to cancel lines of this order, each with the word for who asked.

    `names` are all that the order is called by: one left out because it names the order
    otherwise would be asked for a second time.

    The lines of one request may fare differently: each state is a request of its own then.
    """
    found: list[tuple[MoneyRequest, str]] = []
    for one in told:
        if one.order_seller_id.strip() and one.order_seller_id.strip() not in names:
            continue
        whole = _state(one.status)
        states: dict[RequestState, list[models.RequestLine]] = {}
        for line in one.lines:
            states.setdefault(_state(line.status) if line.status else whole, []).append(line)
        for state, lines in states.items() or [(whole, [])]:
            ids = tuple(line.line_id for line in lines)
            said = [one.refusal_reason, *(line.refusal_reason for line in lines), one.reason]
            words = next(filter(None, (clean_line(word) for word in said)), "")
            request = MoneyRequest(
                id=one.cancellation_request_id,
                kind=_kind(ids, about),
                state=state,
                created_at=None if one.created_at is None else one.created_at.at,
                lines=ids,
                words=words,
            )
            found.append((request, one.user_type.strip().lower()))
    return tuple(found)


def _state(word: str) -> RequestState:
    return _REQUEST_STATES.get(word.strip().lower(), RequestState.UNKNOWN)


def _kind(lines: tuple[str, ...], about: Order) -> str:
    """The API has one kind of request; before shipment we call it a cancellation.

    Empty where nothing tells: a line sent without a parcel's number may end as cancelled.
    """
    stages = {line.stage for line in about.lines if not lines or line.id in lines}
    if stages & {LineStage.SHIPPED, LineStage.REFUNDED}:
        return MovementKind.REFUND
    return "" if stages <= {LineStage.CANCELLED} else MovementKind.CANCELLATION


def gestures(
    told: Sequence[models.GestureRequest], names: Collection[str]
) -> tuple[MoneyRequest, ...]:
    """Requests for a gesture on the order of these names."""
    return tuple(
        MoneyRequest(
            id=one.request_id,
            kind=MovementKind.GESTURE,
            state=_state(one.status),
            created_at=None if one.created_at is None else one.created_at.at,
            amount=one.amount,
            words=clean_line(one.refusal_reason or one.reason_details or one.reason),
        )
        for one in told
        if not one.order_id.strip() or one.order_id.strip() in names
    )


def with_requests(
    about: Order,
    asked: Sequence[tuple[MoneyRequest, str]],
    given: Sequence[MoneyRequest],
    left: Decimal | None,
) -> Order:
    """The order with what its requests say of its lines; `left` is what may still be given.

    A line is refunded when the request for it is granted, whatever its own state still says; one
    whose customer waits for an answer is held.
    """
    lines = []
    for line in about.lines:
        stage = line.stage
        for request, who in asked:
            if request.lines and line.id not in request.lines:
                continue
            if request.state is RequestState.DONE and stage is not LineStage.CANCELLED:
                shipped = request.kind == MovementKind.REFUND
                stage = LineStage.REFUNDED if shipped else LineStage.CANCELLED
            elif (
                request.state is RequestState.PENDING
                and who == "customer"
                and stage in (LineStage.TO_SHIP, LineStage.SHIPPED)
            ):
                stage = LineStage.CANCELLATION_ASKED
        lines.append(replace(line, stage=stage))
    vouchers = tuple(
        Voucher(one.amount, motive_of(one.words), one.created_at, source="gesture")
        for one in given
        if one.state is RequestState.DONE and one.amount is not None
    )
    return replace(
        about,
        lines=tuple(lines),
        requests=(*(request for request, _ in asked), *given),
        vouchers=vouchers,
        gesture_left=left,
    )
