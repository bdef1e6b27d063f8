"""Requests for money: taken at once, worked on later, and perhaps refused then.

What a request asks for is booked when it is taken, so that both doors see it; it becomes visible
as money does in these books. A request that will be refused moves nothing. Nothing makes a
repetition harmless: the same request twice is two requests.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum

from mailbridge.sandbox.books import Books
from mailbridge.sandbox.octopia.rules import Rules
from mailbridge.sandbox.orders import BookedOrder, OrderLineEntry

__all__ = ["MoneyRequest", "RequestDesk", "RequestStatus"]

_NEVER = datetime.max.replace(tzinfo=UTC)
_OPEN = frozenset({"AcceptedBySeller", "ShippedBySeller"})
"""Line states that money can be given back in."""
_STRUCK = "ShipmentRefusedBySeller"
_MOTIVES = {"MissingProduct": 132}
"""A reason's number in the older service's list; any other is "something else", 139."""


class RequestStatus(StrEnum):
    """Where a request stands; the words are assumed."""

    PENDING = "Pending"
    ACCEPTED = "Accepted"
    REFUSED = "Refused"


@dataclass(slots=True)
class MoneyRequest:
    """One request. `lines` maps references to whether shipping goes back; empty for a gesture."""

    id: str
    order: BookedOrder
    created_at: datetime
    settles_at: datetime
    reason: str
    lines: Mapping[str, bool] = field(default_factory=dict)
    amount: Decimal | None = None
    details: str = ""
    refusal: str = ""
    by_customer: bool = False

    @property
    def is_gesture(self) -> bool:
        """True for a free amount."""
        return self.amount is not None


class RequestDesk:
    """Takes requests and says what became of them."""

    def __init__(self, books: Books, rules: Rules) -> None:
        self._books = books
        self._rules = rules
        self._requests: list[MoneyRequest] = []
        self._refusals: list[str] = []

    @property
    def all(self) -> Sequence[MoneyRequest]:
        """Every request, oldest first."""
        return tuple(self._requests)

    def refuse_next(self, words: str = "Demande refusée après étude.", *, times: int = 1) -> None:
        """The next requests are taken, and refused when their time has come."""
        self._refusals += [words] * times

    def cancel(self, order: BookedOrder, lines: Mapping[str, bool], reason: str) -> MoneyRequest:
        """Take a request to give the money of these lines back."""
        made = self._take(order, reason)
        made.lines = dict(lines)
        made.refusal = made.refusal or self._refusal(order, lines)
        if not made.refusal and not order.hollow_money:
            self._strike(order, lines)
        return made

    def give(self, order: BookedOrder, amount: Decimal, reason: str, details: str) -> MoneyRequest:
        """Take a request for a gesture."""
        made = self._take(order, reason)
        made.amount, made.details = amount, details
        if not made.refusal:
            motive = _MOTIVES.get(reason, 139)
            [outcome] = self._books.orders.refund(order.number, [(amount, motive)], []).gestures
            made.refusal = outcome.error
        return made

    def status(self, request: MoneyRequest) -> RequestStatus:
        """Where it stands now."""
        if self._books.clock() < request.settles_at:
            return RequestStatus.PENDING
        return RequestStatus.REFUSED if request.refusal else RequestStatus.ACCEPTED

    def of_customers(self) -> Sequence[MoneyRequest]:
        """Cancellations that customers ask for and nobody has decided; they stand in the orders."""
        found = []
        for order in self._books.orders.all():
            waiting = [line for line in order.lines if _asked_by_customer(line)]
            if waiting:
                number = uuid.uuid5(uuid.NAMESPACE_OID, order.number)
                since = order.updated_at or order.created_at
                lines = {line.reference: True for line in waiting}
                reason = "customer-changed-mind"
                found.append(
                    MoneyRequest(str(number), order, since, _NEVER, reason, lines, by_customer=True)
                )
        return found

    def gesture_left(self, order: BookedOrder) -> Decimal:
        """What may still be given: the price with shipping, less what was given back."""
        given = sum((voucher.amount for voucher in order.vouchers), Decimal(0))
        for line in order.lines:
            if line.settles_at is not None or line.state.startswith("Refunded"):
                given += line.price + (line.shipping if line.refunded_shipping else Decimal(0))
        return max(Decimal(0), order.total + order.shipping_total - given)

    def _refusal(self, order: BookedOrder, lines: Mapping[str, bool]) -> str:
        """All or nothing: where any line is refused none is touched."""
        if order.refuses_money:
            return order.refuses_money
        for line in (order.line(reference) for reference in lines):
            if line is None or line.settles_at is not None or line.state not in _OPEN:
                return "La ligne de commande n'est pas dans un état remboursable."
            if line.refuses_money:
                return line.refuses_money
        return ""

    def _strike(self, order: BookedOrder, lines: Mapping[str, bool]) -> None:
        """Give the money of whole lines back, in the states the older door knows."""
        orders = self._books.orders
        for line in order.lines:
            if line.reference not in lines:
                continue
            line.refunded_shipping = lines[line.reference]
            line.settles_at = self._books.clock() + orders.money_lag
            if line.state == "ShippedBySeller":
                line.settles_to = "RefundedAfterShipping"
            else:
                line.state, line.settles_to = _STRUCK, "RefundedAfterShipmentRefused"
        if all(line.state in {_STRUCK, "RefundedAfterShipmentRefused"} for line in order.lines):
            order.state = _STRUCK
        order.changed(self._books.clock())
        orders.get(order.number)  # what needs no time is settled now

    def _take(self, order: BookedOrder, reason: str) -> MoneyRequest:
        lag = self._rules.request_lag
        now = self._books.clock()
        made = MoneyRequest(
            str(uuid.UUID(int=(0x5AFE << 112) | len(self._requests) + 1)),
            order,
            now,
            now + (self._books.orders.money_lag if lag is None else lag),
            reason,
            refusal=self._refusals.pop(0) if self._refusals else "",
        )
        self._requests.append(made)
        return made


def _asked_by_customer(line: OrderLineEntry) -> bool:
    return line.state == "CancellationRequestPending"
