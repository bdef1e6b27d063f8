"""Every call about orders and their money."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from mailbridge.sandbox.books import Books
from mailbridge.sandbox.octopia.asking import Answer, Asked, Problem, read_time, required
from mailbridge.sandbox.octopia.documents import (
    cancellation_document,
    gesture_document,
    line_id,
    offer_id,
    order_document,
    order_status,
    stamp,
)
from mailbridge.sandbox.octopia.pages import cursor_page, numbered_page
from mailbridge.sandbox.octopia.requests import MoneyRequest, RequestDesk, RequestStatus
from mailbridge.sandbox.octopia.rules import Rules
from mailbridge.sandbox.orders import BookedOrder, OrderLineEntry

__all__ = ["OrderCalls"]

_UNSHIPPED = {"seller-out-of-stock": "Rupture de stock", "seller-error": "Erreur du vendeur"}
_SHIPPED = {
    "seller-out-of-stock": "Rupture de stock",
    "seller-parcel-lost": "Colis perdu",
    "seller-product-damaged": "Produit abîmé",
    "seller-product-returned": "Produit retourné",
    "seller-commercial": "Geste du vendeur",
}
_GESTURE_REASONS = frozenset({"MissingProduct", "Other"})
_OPEN_TO_CANCELLATION = frozenset({"Accepted", "InPreparation", "Shipped", "Delivered"})


class OrderCalls:
    """Calls about the orders of one seller."""

    def __init__(self, books: Books, rules: Rules, seller_id: str, desk: RequestDesk) -> None:
        self._books = books
        self._rules = rules
        self._seller_id = seller_id
        self._desk = desk

    # --- orders ------------------------------------------------------------------------------

    def listed(self, asked: Asked) -> Answer:
        """GET /orders, oldest change first."""
        query = asked.query
        statuses = set(query["status"].split(",")) if "status" in query else None
        bounds = {
            name: read_time(query, name)
            for name in ("updatedAtMin", "updatedAtMax", "createdAtMin", "createdAtMax")
        }

        def wanted(order: BookedOrder) -> bool:
            changed, created = order.updated_at or order.created_at, order.created_at
            references = {order.number, order_document(order, "")["reference"]}
            return (
                (statuses is None or order_status(order) in statuses)
                and query.get("reference", order.number) in references
                and query.get("salesChannelId", order.channel) == order.channel
                and changed >= (bounds["updatedAtMin"] or changed)
                and changed <= (bounds["updatedAtMax"] or changed)
                and created >= (bounds["createdAtMin"] or created)
                and created <= (bounds["createdAtMax"] or created)
            )

        found = [order for order in self._books.orders.all() if wanted(order)]
        found.sort(key=lambda order: order.updated_at or order.created_at)
        return numbered_page(
            query,
            found,
            lambda order: order_document(order, self._seller_id),
            size=self._rules.page_size,
        )

    def get(self, asked: Asked) -> Answer:
        """GET /orders/{orderId}."""
        return Answer(order_document(self._order(asked.path["orderId"]), self._seller_id))

    # --- cancellations -----------------------------------------------------------------------

    def reasons(self, asked: Asked) -> Answer:
        """GET /cancellation-reasons."""
        required(asked.query, "salesChannel")
        status = asked.query.get("orderStatus", "Shipped")
        reasons = _SHIPPED if status in {"Shipped", "Delivered"} else _UNSHIPPED
        return Answer({"items": [{"code": c, "label": label} for c, label in reasons.items()]})

    def cancellations(self, asked: Asked) -> Answer:
        """GET /order-cancellation-requests, sellers' and customers'."""
        query = asked.query
        requests = [each for each in self._desk.all if not each.is_gesture]
        documents = [
            cancellation_document(each, self._desk.status(each))
            for each in (*requests, *self._desk.of_customers())
        ]
        found = [
            document
            for document in documents
            if all(
                query.get(name, document[name]) == document[name]
                for name in ("orderSellerId", "cancellationRequestId", "salesChannel")
            )
            and all(
                name not in query or query[name] in {line[name] for line in document["lines"]}
                for name in ("lineId", "offerId")
            )
        ]
        return numbered_page(query, found, lambda each: each, size=self._rules.page_size)

    def cancel(self, asked: Asked) -> Answer:
        """POST /order-cancellation-requests: whatever of the order can still be cancelled."""
        fields = asked.fields
        order = self._order(required(fields, self._rules.cancellation_key))
        reason = self._reason(order, fields)
        with_shipping = required(fields, "shippingCostRefund", bool)
        lines = {line.reference: with_shipping for line in order.lines if not _gone(line)}
        if not lines:
            raise Problem.of(self._rules.cancellation_key, "The order is cancelled already.")
        return self._taken("cancellationRequestId", self._desk.cancel(order, lines, reason))

    def cancel_lines(self, asked: Asked) -> Answer:
        """POST /order-partial-cancellation-requests."""
        fields = asked.fields
        order = self._order(required(fields, "orderSellerId"))
        once = required(fields, "shippingCostRefund", bool) if self._rules.shipping_once else None
        lines: dict[str, bool] = {}
        reason = ""
        for item in required(fields, "lines", list):
            if not isinstance(item, dict):
                raise Problem.of("lines", "Objects are wanted.")
            line = self._line(order, required(item, "lineId"))
            if required(item, "offerId") != offer_id(line):
                raise Problem.of("lines[0].offerId", "The offer is not the line's.")
            if _gone(line):
                raise Problem.of("lines[0].lineId", "The line is cancelled already.")
            reason = self._reason(order, item)
            shipping = required(item, "shippingCostRefund", bool) if once is None else once
            lines[line.reference] = shipping
        if not lines:
            raise Problem.missing("lines")
        return self._taken("cancellationRequestId", self._desk.cancel(order, lines, reason))

    # --- gestures ----------------------------------------------------------------------------

    def gesture_amount(self, asked: Asked) -> Answer:
        """GET /orders/{orderId}/commercial-gestures-available-amounts."""
        order = self._order(asked.path["orderId"])
        shipped = order_status(order) in {"Shipped", "Delivered"}
        left = self._desk.gesture_left(order) if shipped else Decimal(0)
        return Answer({"allowableAmount": float(left), "currencyCode": "EUR"})

    def gestures(self, asked: Asked) -> Answer:
        """GET /order-commercial-gesture-requests."""
        query = asked.query
        bounds = {
            name: (moment, name.startswith("created"), name.endswith("Min"))
            for name in ("createdAtMin", "createdAtMax", "updatedAtMin", "updatedAtMax")
            if (moment := read_time(query, name)) is not None
        }
        found = []
        for request in self._desk.all:
            if not request.is_gesture:
                continue
            status = self._desk.status(request)
            changed = request.created_at if status is RequestStatus.PENDING else request.settles_at
            if (
                query.get("orderId", request.order.number) == request.order.number
                and query.get("status", status) == status
                and all(
                    ((at >= bound) if is_min else (at <= bound))
                    for bound, by_creation, is_min in bounds.values()
                    for at in [request.created_at if by_creation else changed]
                )
            ):
                found.append(gesture_document(request, status))
        return cursor_page(query, found, lambda each: each)

    def gesture(self, asked: Asked) -> Answer:
        """GET /order-commercial-gesture-requests/{requestId}."""
        ident = asked.path["requestId"]
        for request in self._desk.all:
            if request.id == ident and request.is_gesture:
                return Answer(gesture_document(request, self._desk.status(request)))
        raise Problem.not_found(f"Request {ident}")

    def give(self, asked: Asked) -> Answer:
        """POST /order-commercial-gesture-requests."""
        fields = asked.fields
        order = self._order(required(fields, "orderId"))
        reason = required(fields, "reason")
        if reason not in _GESTURE_REASONS:
            raise Problem.of("reason", f"The value '{reason}' is not valid.")
        details = required(fields, "reasonDetails") if reason == "Other" else ""
        amount = _amount(fields)
        if order_status(order) not in {"Shipped", "Delivered"}:
            raise Problem.of("orderId", "The order is neither shipped nor delivered.")
        if amount > self._desk.gesture_left(order):
            raise Problem.of("amount", "The amount is more than the allowable amount.")
        return self._taken("requestId", self._desk.give(order, amount, reason, details))

    # --- the account -------------------------------------------------------------------------

    def seller(self, asked: Asked) -> Answer:
        """GET /sellers."""
        return Answer(
            {
                "sellerId": self._seller_id,
                "shopName": self._books.seller,
                "readAt": stamp(self._books.clock()),
            }
        )

    # --- inside ------------------------------------------------------------------------------

    def _order(self, number: str) -> BookedOrder:
        found = self._books.orders.get(number)
        if found is None:
            raise Problem.not_found(f"Order {number}")
        return found

    def _line(self, order: BookedOrder, ident: str) -> OrderLineEntry:
        for row, line in enumerate(order.lines):
            if line_id(order, row) == ident:
                return line
        raise Problem.of("lines[0].lineId", f"The value '{ident}' is not valid.")

    def _reason(self, order: BookedOrder, fields: Mapping[str, Any]) -> str:
        status = order_status(order)
        if status not in _OPEN_TO_CANCELLATION:
            complaint = f"An order that is {status} cannot be cancelled."
            raise Problem.of("orderSellerId", complaint)
        reason: str = required(fields, "reason")
        known = _SHIPPED if status in {"Shipped", "Delivered"} else _UNSHIPPED
        if reason not in known:
            raise Problem.of("reason", f"The value '{reason}' is not valid.")
        return reason

    def _taken(self, name: str, request: MoneyRequest) -> Answer:
        document = {name: request.id} if self._rules.names_created else None
        return Answer(document, self._rules.asynchronous_status)


def _gone(line: OrderLineEntry) -> bool:
    """Its money went back, as anybody can see."""
    return line.settles_at is None and line.state.startswith(("Refunded", "Refused"))


def _amount(fields: Mapping[str, Any]) -> Decimal:
    value = fields.get("amount")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Problem.missing("amount")
    amount = Decimal(str(value))
    if amount <= 0 or amount != amount.quantize(Decimal("0.01")):
        raise Problem.of("amount", f"The value '{value}' is not valid.")
    return amount
