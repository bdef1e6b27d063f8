"""An order as the thread's order card and the refund table need it.

Amounts are exact decimals in euros. `state` keeps the marketplace's own word; what it is called
in French is the templates' business. `stage` is what decisions are taken by, and is the same for
every marketplace: a state that an adapter does not know is UNKNOWN, and then nothing is done.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum

__all__ = [
    "LineStage",
    "MoneyRequest",
    "Order",
    "OrderLine",
    "OrderStage",
    "Parcel",
    "RequestState",
    "Voucher",
]


_CENT = Decimal("0.01")


class OrderStage(StrEnum):
    """How far an order has come."""

    TO_ACCEPT = "to_accept"
    """Waits for the seller to accept it, or for the payment."""
    TO_SHIP = "to_ship"
    SHIPPED = "shipped"
    """Shipped, delivered or picked up, as a whole or in part."""
    ENDED = "ended"
    """Cancelled or refused: it will never be shipped."""
    UNKNOWN = "unknown"


class LineStage(StrEnum):
    """How far one line has come; what it means for its money."""

    TO_SHIP = "to_ship"
    SHIPPED = "shipped"
    REFUNDED = "refunded"
    """Its money is on its way back or was given back; the proof of a refund."""
    CANCELLED = "cancelled"
    """Will not be shipped. The proof of a cancellation by the seller."""
    CANCELLATION_ASKED = "cancellation_asked"
    """The customer asked to cancel it, and nobody has decided yet."""
    UNKNOWN = "unknown"


class RequestState(StrEnum):
    """Where a request for money stands, on marketplaces that work on them in their own time."""

    PENDING = "pending"
    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MoneyRequest:
    """A request for money the marketplace shows for an order, whoever made it.

    `kind` is the word of `money.MovementKind`; `lines` are the ids of the lines concerned,
    empty for the whole order or a gesture.
    """

    id: str
    kind: str
    state: RequestState
    created_at: datetime | None = None
    lines: tuple[str, ...] = ()
    amount: Decimal | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One line; `reference` is the seller's own (WSDL `SellerProductId`), `row` its RowId."""

    row: int
    reference: str
    name: str
    quantity: int
    unit_price: Decimal
    """Purchase price of the whole line divided by the quantity (WSDL `PurchasePrice`), and not
    rounded: what is shown and what is asked for is made of `price`."""
    state: str
    condition: str = ""
    ean: str = ""
    product_id: str = ""
    shipping: Decimal = Decimal(0)
    ship_by: datetime | None = None
    deliver_by: datetime | None = None
    has_claim: bool = False
    stage: LineStage = LineStage.UNKNOWN
    id: str = ""
    """The service's own id of the line; empty where it has none (SOAP)."""

    @property
    def price(self) -> Decimal:
        """Of the whole line, without shipping, in euros and cents."""
        # Three for 10 € are 3.333… each, and 10 € all the same.
        return (self.unit_price * self.quantity).quantize(_CENT, ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class Parcel:
    """A shipped parcel; `tracking_url` is the carrier's page and may be empty."""

    number: str
    carrier: str
    tracking_url: str = ""
    status: str = ""
    is_return: bool = False


@dataclass(frozen=True, slots=True)
class Voucher:
    """Money already given back, read from the order: the proof of a refund."""

    amount: Decimal
    motive: int
    created_at: datetime | None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """One order, as last read. Times are aware and in UTC."""

    number: str
    state: str
    created_at: datetime
    updated_at: datetime | None = None
    customer_name: str = ""
    relay_address: str | None = None
    """WSDL `Customer/EncryptedEmail`; None when the service no longer gives it."""
    lines: tuple[OrderLine, ...] = ()
    parcels: tuple[Parcel, ...] = ()
    vouchers: tuple[Voucher, ...] | None = ()
    """None: this reading does not tell whether there are any."""
    total: Decimal = Decimal(0)
    shipping_total: Decimal = Decimal(0)
    ship_by: datetime | None = None
    deliver_by: datetime | None = None
    has_claims: bool = False
    shipped_by_marketplace: bool = False
    """WSDL `ModGesLog` MKPFBC, REST supplyMode Fulfillment."""
    stage: OrderStage = OrderStage.UNKNOWN
    sales_channel: str = ""
    """Its code; empty where there are none."""
    sales_channel_name: str = ""
    """As the marketplace calls it, where it says."""
    requests: tuple[MoneyRequest, ...] = ()
    """Only in an order read for its money, and only where the marketplace has such requests."""
    gesture_left: Decimal | None = None
    """What the marketplace still allows as a gesture; None where it does not say."""

    def after(self, before: Order) -> Order:
        """This reading, with what only one for money tells kept from the one `before` it.

        Where gestures and refunds are requests, no list of orders tells them: a list read after
        them would take them off the card again. What was given stays given; that nothing was, is
        true only of the moment when it was read.
        """
        vouchers = self.vouchers if self.vouchers is not None else before.vouchers or None
        if self.requests or not before.requests:
            return replace(self, vouchers=vouchers)
        known = {line.row: line for line in before.lines}
        return replace(
            self,
            lines=tuple(
                replace(line, stage=told.stage)
                if (told := known.get(line.row)) is not None
                and told.stage in (LineStage.REFUNDED, LineStage.CANCELLED)
                and told.state == line.state
                else line
                for line in self.lines
            ),
            vouchers=vouchers,
            requests=before.requests,
            gesture_left=before.gesture_left,
        )
