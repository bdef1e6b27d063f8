"""An order as the thread's order card, and later the refund table, need it.

Amounts are exact decimals in euros. States keep the WSDL's words (`OrderState`,
`AcceptationState`); what they are called in French is the templates' business.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

__all__ = ["Order", "OrderLine", "Parcel", "Voucher"]


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One line; `reference` is the seller's own (WSDL `SellerProductId`), `row` its RowId."""

    row: int
    reference: str
    name: str
    quantity: int
    unit_price: Decimal
    """Purchase price of the whole line divided by the quantity (WSDL `PurchasePrice`)."""
    state: str
    condition: str = ""
    ean: str = ""
    product_id: str = ""
    shipping: Decimal = Decimal(0)
    ship_by: datetime | None = None
    deliver_by: datetime | None = None
    has_claim: bool = False


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
    vouchers: tuple[Voucher, ...] = ()
    total: Decimal = Decimal(0)
    shipping_total: Decimal = Decimal(0)
    ship_by: datetime | None = None
    deliver_by: datetime | None = None
    has_claims: bool = False
    fulfilment: str = ""
    """WSDL `ModGesLog`: MKPCDS is shipped by the seller, MKPFBC by the marketplace."""
