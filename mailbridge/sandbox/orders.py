"""Orders as the marketplace keeps them, and what it allows to be done with their money.

Rule: every request is judged item by item, as the service does, and the words of its refusals
are the recorded ones where a recording exists. Amounts are exact decimals in euros. How an order
looks in XML is `wire`'s business; discussions are in `books`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from mailbridge.sandbox.clock import Clock

__all__ = [
    "BookedOrder",
    "BookedParcel",
    "BookedVoucher",
    "GestureOutcome",
    "LineRefusal",
    "OrderBook",
    "OrderLineEntry",
    "Person",
    "RefundAnswer",
    "RefundOutcome",
    "ValidationAnswer",
]

PENDING_CANCELLATION = "CancellationRequestPending"

# What a seller may ask for, by the state the order is in (seen: anything else is answered with
# OrderStateIncoherent and OperationSuccess=true).
_ALLOWED: Mapping[str, frozenset[str]] = {
    "WaitingForSellerAcceptation": frozenset({"AcceptedBySeller", "RefusedBySeller"}),
    "WaitingForShipmentAcceptation": frozenset({"Shipped", "ShipmentRefusedBySeller"}),
}
_LINE_STATES: Mapping[str, frozenset[str]] = {
    "AcceptedBySeller": frozenset({"AcceptedBySeller", "RefusedBySeller"}),
    "RefusedBySeller": frozenset({"RefusedBySeller"}),
    "Shipped": frozenset({"ShippedBySeller", "ShipmentRefusedBySeller"}),
    "ShipmentRefusedBySeller": frozenset({"ShipmentRefusedBySeller"}),
}
# What a line that the seller does not mean may be given again: the state it has, once nothing is
# open any more. What is still to be shipped can't be left so (our choice; the rule is unknown).
_SETTLED = frozenset(
    {
        "RefusedBySeller",
        "RefundedAfterShipping",
        "ShipmentRefusedBySeller",
        "RefundedAfterShipmentRefused",
        "CancelledBeforeNotificationByCustomer",
        "CancelledBeforePaymentByCustomer",
        "CancelledAfterPaymentByCustomer",
        "RefundedAfterCustomerCancellation",
        "PaymentRefused",
    }
)
_CANCELLED = "ShipmentRefusedBySeller"
_GESTURE_MOTIVES = range(131, 140)


@dataclass(frozen=True, slots=True)
class Person:
    """A customer; everything in it is invented."""

    first_name: str
    last_name: str
    civility: str = "MRS"
    street: str = "3 rue des Lilas"
    zip_code: str = "31000"
    city: str = "Toulouse"
    country: str = "FR"
    english: bool = False

    @property
    def name(self) -> str:
        """The display name that stands in `Sender`."""
        return f"{self.first_name} {self.last_name}"


@dataclass(slots=True)
class OrderLineEntry:
    """One line. `price` is the price of the whole line, `shipping` its shipping charge."""

    reference: str
    name: str
    price: Decimal
    quantity: int = 1
    ean: str = ""
    product_id: str = ""
    condition: str = "New"
    state: str = "AcceptedBySeller"
    shipping: Decimal = Decimal(0)
    has_claim: bool = False
    settles_at: datetime | None = None
    """When `settles_to` becomes visible: the service works on refunds in its own time."""
    settles_to: str = ""
    refunded_shipping: bool | None = None
    refuses_money: str | None = None
    """Refuse to refund or cancel this line with these words."""
    ordered: int = 0
    """How many there were before the line was struck; 0 as long as `quantity` says so."""


@dataclass(frozen=True, slots=True)
class BookedParcel:
    """A parcel on its way."""

    number: str
    carrier: str
    tracking_url: str = ""
    status: str = "On Going Delivery"
    is_return: bool = False


@dataclass(frozen=True, slots=True)
class BookedVoucher:
    """Money given back; shown in the order from `visible_at` on."""

    amount: Decimal
    motive: int
    created_at: datetime
    visible_at: datetime
    source: str = "Seller"


@dataclass(slots=True)
class BookedOrder:
    """One order; tests may change any field, the next answer shows it."""

    number: str
    customer: Person
    created_at: datetime
    lines: list[OrderLineEntry]
    state: str = "WaitingForShipmentAcceptation"
    updated_at: datetime | None = None
    modified_at: datetime | None = None
    shipped_at: datetime | None = None
    ship_by: datetime | None = None
    deliver_by: datetime | None = None
    parcels: list[BookedParcel] = field(default_factory=list)
    vouchers: list[BookedVoucher] = field(default_factory=list)
    fulfilment: str = "MKPCDS"
    shipping_code: str = "TRK"
    channel: str = "CDISFR"
    """The sales channel it came through."""
    refuses_money: str | None = None
    """Refuse every refund, cancellation and gesture with these words."""
    hollow_money: bool = False
    """Grant money in words and do nothing: a success that is a failure, told by nothing but what
    the order shows afterwards."""

    @property
    def total(self) -> Decimal:
        """Price of all lines without shipping."""
        return sum((line.price for line in self.lines), Decimal(0))

    @property
    def shipping_total(self) -> Decimal:
        """Shipping of all lines."""
        return sum((line.shipping for line in self.lines), Decimal(0))

    @property
    def has_claims(self) -> bool:
        """True if a claim is open on any line."""
        return any(line.has_claim for line in self.lines)

    @property
    def cancel_pending(self) -> bool:
        """True while the customer's request to cancel a line is being dealt with."""
        return any(line.state == PENDING_CANCELLATION for line in self.lines)

    def request_cancellation(self) -> None:
        """The customer asks to cancel: every line waits (closing is refused meanwhile)."""
        for line in self.lines:
            line.state = PENDING_CANCELLATION

    def settle_cancellation(self, state: str = "AcceptedBySeller") -> None:
        """The request is dealt with: lines that waited get `state`."""
        for line in self.lines:
            if line.state == PENDING_CANCELLATION:
                line.state = state

    def changed(self, at: datetime) -> None:
        """Something of it changed at this time; never back in time."""
        self.updated_at = self.modified_at = max(self.updated_at or self.created_at, at)

    def line(self, reference: str) -> OrderLineEntry | None:
        """The line with this seller reference."""
        return next((line for line in self.lines if line.reference == reference), None)


@dataclass(frozen=True, slots=True)
class LineRefusal:
    """An `Error`: its ErrorType and words."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class ValidationAnswer:
    """One `ValidateOrderResult`; `lines` maps references to (updated, errors)."""

    order_number: str
    validated: bool
    errors: tuple[LineRefusal, ...] = ()
    lines: Mapping[str, tuple[bool, tuple[LineRefusal, ...]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GestureOutcome:
    """One `RefundInformationMessage`."""

    amount: Decimal
    motive: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class RefundOutcome:
    """One `SellerRefundResult`."""

    reference: str
    ean: str
    motive: str
    value: Decimal = Decimal(0)
    error: str = ""


@dataclass(frozen=True, slots=True)
class RefundAnswer:
    """The whole answer of CreateRefundVoucher; `error` refuses the request as such."""

    order_number: str | None
    gestures: tuple[GestureOutcome, ...] = ()
    refunds: tuple[RefundOutcome, ...] = ()
    error: str = ""
    error_type: str = ""


class OrderBook:
    """All orders, by number."""

    def __init__(self, clock: Clock, *, money_lag: timedelta = timedelta(0)) -> None:
        """`money_lag`: how long a refund or voucher stays invisible after it was granted."""
        self._clock = clock
        self.money_lag = money_lag
        self._orders: dict[str, BookedOrder] = {}

    def __len__(self) -> int:
        return len(self._orders)

    def add(self, order: BookedOrder) -> BookedOrder:
        """Book an order; a number already booked raises ValueError."""
        if order.number in self._orders:
            raise ValueError(f"order {order.number} is already booked")
        self._orders[order.number] = order
        return order

    def get(self, number: str | None) -> BookedOrder | None:
        """The order as it stands now, None if unknown."""
        order = self._orders.get(number or "")
        if order is not None:
            self._settle(order)
        return order

    def all(self) -> Sequence[BookedOrder]:
        """Every order as it stands now."""
        for order in self._orders.values():
            self._settle(order)
        return tuple(self._orders.values())

    def visible_vouchers(self, order: BookedOrder) -> tuple[BookedVoucher, ...]:
        """Vouchers the service shows by now."""
        now = self._clock()
        return tuple(voucher for voucher in order.vouchers if voucher.visible_at <= now)

    def ship(self, order: BookedOrder, parcel: BookedParcel | None = None) -> None:
        """The seller ships what is not refused."""
        order.shipped_at = self._clock()
        order.state = "Shipped"
        for line in order.lines:
            if line.state in {"AcceptedBySeller", "None"}:
                line.state = "ShippedBySeller"
        if parcel is not None:
            order.parcels.append(parcel)
        self._touch(order)

    def claimed(self, number: str | None) -> None:
        """A claim was opened: the order shows it at once, and counts as changed (our choice)."""
        order = self.get(number)
        if order is not None and order.lines:
            if not order.has_claims:
                order.lines[0].has_claim = True
            self._touch(order)

    # --- ValidateOrderList -------------------------------------------------------------------

    def validate(
        self,
        number: str | None,
        state: str,
        lines: Mapping[str, str],
        *,
        parcel: BookedParcel | None = None,
    ) -> ValidationAnswer:
        """Ask for a new order state; `lines` gives the wanted state of each line by reference.

        All lines must be named (the service's rule): one left out refuses the whole order.
        """
        order = self.get(number)
        if order is None:
            words = f"La commande {number} n'a pas été trouvée !"
            return ValidationAnswer(number or "", False, (LineRefusal("OrderNotFound", words),))
        if state not in _ALLOWED.get(order.state, frozenset()) or order.cancel_pending:
            # Word for word as recorded.
            words = (
                f"Le passage à l'état {state} est impossible à ce stade de la commande "
                f'"{order.number}".'
            )
            return ValidationAnswer(
                order.number, False, (LineRefusal("OrderStateIncoherent", words),)
            )
        if order.refuses_money and state == _CANCELLED:
            refusal = LineRefusal("OrderUpdateNotAuthorized", order.refuses_money)
            return ValidationAnswer(order.number, False, (refusal,))
        results: dict[str, tuple[bool, tuple[LineRefusal, ...]]] = {}
        for reference, wanted in lines.items():
            line = order.line(reference)
            if line is None:
                refusal = LineRefusal("OrderLineNotFound", f"Ligne {reference} introuvable.")
                results[reference] = (False, (refusal,))
            elif wanted == line.state and wanted in _SETTLED:
                continue
            elif line.refuses_money and wanted == _CANCELLED:
                refusal = LineRefusal("OrderLineUpdateNotAuthorized", line.refuses_money)
                results[reference] = (False, (refusal,))
            elif wanted not in _LINE_STATES[state]:
                refusal = LineRefusal(
                    "OrderLineIncoherentState",
                    f"L'état {wanted} de la ligne {reference} est incompatible avec {state}.",
                )
                results[reference] = (False, (refusal,))
        missing = [line.reference for line in order.lines if line.reference not in lines]
        if missing:
            words = f"Toutes les lignes doivent être renseignées : {', '.join(missing)}."
            return ValidationAnswer(
                order.number, False, (LineRefusal("MissingField", words),), results
            )
        if results:
            return ValidationAnswer(
                order.number, False, (LineRefusal("OrderLineError", "Lignes refusées."),), results
            )
        if not order.hollow_money:
            self._apply(order, state, lines, parcel)
        return ValidationAnswer(order.number, True, (), dict.fromkeys(lines, (True, ())))

    def _apply(
        self,
        order: BookedOrder,
        state: str,
        lines: Mapping[str, str],
        parcel: BookedParcel | None,
    ) -> None:
        now = self._clock()
        for line in order.lines:
            if line.state == lines[line.reference]:
                continue
            line.state = lines[line.reference]
            if line.state == "ShipmentRefusedBySeller":
                line.settles_to = "RefundedAfterShipmentRefused"
                line.settles_at = now + self.money_lag
        shipped = any(line.state == "ShippedBySeller" for line in order.lines)
        order.state = state
        if state == "Shipped":
            order.state = "Shipped" if shipped else "ShipmentRefusedBySeller"
            if shipped:
                order.shipped_at = now
                if parcel is not None:
                    order.parcels.append(parcel)
        self._touch(order)

    # --- CreateRefundVoucher -----------------------------------------------------------------

    def refund(
        self,
        number: str | None,
        gestures: Sequence[tuple[Decimal, int]],
        refunds: Sequence[tuple[str, str, bool]],
    ) -> RefundAnswer:
        """Gestures are (amount, motive id); refunds are (line reference, motive, with shipping).

        No idempotency: the same request twice gives the money twice where it is allowed.
        """
        if not number or not (gestures or refunds):
            return RefundAnswer(number or None, error="Demande de remboursement invalide")
        order = self.get(number)
        if order is None:
            words = f"La commande {number} n'a pas été trouvée !"
            return RefundAnswer(number, error=words, error_type="OrderNotFound")
        return RefundAnswer(
            order.number,
            tuple(self._gesture(order, amount, motive) for amount, motive in gestures),
            tuple(self._refund_line(order, *refund) for refund in refunds),
        )

    def _gesture(self, order: BookedOrder, amount: Decimal, motive: int) -> GestureOutcome:
        error = order.refuses_money or ""
        if not error and motive not in _GESTURE_MOTIVES:
            error = f"Le motif {motive} n'est pas autorisé."
        if not error and amount <= 0:
            error = "Le montant doit être positif."
        if not error and order.fulfilment == "MKPFBC" and order.shipped_at is None:
            error = "Geste commercial impossible avant l'expédition."
        if not error and not order.hollow_money:
            now = self._clock()
            order.vouchers.append(BookedVoucher(amount, motive, now, now + self.money_lag))
            self._touch(order)
        return GestureOutcome(amount, motive, error)

    def _refund_line(
        self, order: BookedOrder, reference: str, motive: str, with_shipping: bool
    ) -> RefundOutcome:
        line = order.line(reference)
        if line is None:
            return RefundOutcome(reference, "", motive, error=f"Ligne {reference} introuvable.")
        error = order.refuses_money or line.refuses_money or ""
        if not error and (line.state != "ShippedBySeller" or line.settles_at is not None):
            error = "La ligne de commande n'est pas dans un état remboursable."
        if error:
            return RefundOutcome(reference, line.ean, motive, error=error)
        value = line.price + (line.shipping if with_shipping else Decimal(0))
        if order.hollow_money:
            return RefundOutcome(reference, line.ean, motive, value)
        line.settles_to = "RefundedAfterShipping"
        line.settles_at = self._clock() + self.money_lag
        line.refunded_shipping = with_shipping
        self._touch(order)
        self._settle(order)
        return RefundOutcome(reference, line.ean, motive, value)

    def _settle(self, order: BookedOrder) -> None:
        now = self._clock()
        for line in order.lines:
            if line.settles_at is not None and line.settles_at <= now:
                order.changed(line.settles_at)
                line.state = line.settles_to
                line.settles_at = None
                if line.state == "RefundedAfterShipmentRefused":
                    line.ordered = line.quantity
                    line.quantity = 0  # as recorded: what will not be shipped counts nothing
        for voucher in order.vouchers:
            if voucher.visible_at <= now:
                order.changed(voucher.visible_at)

    def _touch(self, order: BookedOrder) -> None:
        order.changed(self._clock())
