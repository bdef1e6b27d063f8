"""The order card: an order as a template may show it, every word of others cleaned.

Templates, shipped or the shop's own, get only this: no raw name, no address, no link that is not
a plain web link. What states are called is `templates/mail/<language>/card.j2`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from urllib.parse import quote, urlsplit

from mailbridge.domain.order import LineStage, Order, OrderLine, OrderStage, Parcel, Voucher
from mailbridge.domain.wording import clean_line
from mailbridge.mail.marking import mark

__all__ = ["Card", "CardLine", "CardParcel", "CardRefund", "order_card", "web_link"]

_URL_SAFE = "/%:@!$&'()*+,;=~-._?"
_MOST = 50
"""Lines, parcels and refunds shown; an order with more says how many are left out."""
_NOTHING_TO_SHIP = frozenset({OrderStage.SHIPPED, OrderStage.ENDED})
_NO_LINE_TO_SHIP = frozenset({LineStage.SHIPPED, LineStage.REFUNDED, LineStage.CANCELLED})
# A line that was paid for and will not be shipped is paid back as well.
_MONEY_BACK = frozenset({LineStage.REFUNDED, LineStage.CANCELLED})


@dataclass(frozen=True, slots=True)
class CardLine:
    """One order line; `price` is that of the whole line, in euros."""

    quantity: int
    name: str
    reference: str
    price: Decimal
    unit_price: Decimal
    condition: str
    state: str
    """The service's own word."""
    stage: LineStage
    """What it means for the line's money."""
    ship_by: datetime | None
    deliver_by: datetime | None
    has_claim: bool


@dataclass(frozen=True, slots=True)
class CardParcel:
    """One parcel; `url` is empty unless it is a plain web link."""

    number: str
    carrier: str
    url: str
    status: str
    is_return: bool


@dataclass(frozen=True, slots=True)
class CardRefund:
    """Money given back, in euros."""

    amount: Decimal
    at: datetime | None
    motive: int
    source: str


@dataclass(frozen=True, slots=True)
class Card:
    """An order, ready to show; amounts in euros, times aware."""

    number: str
    state: str
    created_at: datetime
    lines: tuple[CardLine, ...]
    parcels: tuple[CardParcel, ...]
    refunds: tuple[CardRefund, ...]
    left_out: int
    """How many lines, parcels and refunds there are besides."""
    total: Decimal
    shipping: Decimal
    refunded: Decimal
    """The sum of `refunds`."""
    nothing_back: bool
    """Surely nothing was given back so far: neither for a line (not every marketplace shows how
    much beside it) nor otherwise (not every reading tells)."""
    ship_by: datetime | None
    deliver_by: datetime | None
    by_marketplace: bool
    """The marketplace ships it (WSDL ModGesLog MKPFBC)."""
    has_claims: bool


def order_card(order: Order) -> Card:
    """What of an order is shown."""
    given = order.vouchers or ()
    counts = (len(order.lines), len(order.parcels), len(given))
    return Card(
        number=_shown(order.number, 40),
        state=_shown(order.state, 60),
        created_at=order.created_at,
        lines=tuple(_line(line) for line in order.lines[:_MOST]),
        parcels=tuple(_parcel(parcel) for parcel in order.parcels[:_MOST]),
        refunds=tuple(_refund(voucher) for voucher in given[:_MOST]),
        left_out=sum(max(0, count - _MOST) for count in counts),
        total=order.total,
        shipping=order.shipping_total,
        refunded=sum((voucher.amount for voucher in given), Decimal(0)),
        nothing_back=order.vouchers == ()
        and not any(line.stage in _MONEY_BACK for line in order.lines),
        # A promise to ship says nothing once it has been kept or can't be.
        ship_by=None if order.stage in _NOTHING_TO_SHIP else order.ship_by,
        deliver_by=order.deliver_by,
        by_marketplace=order.shipped_by_marketplace,
        has_claims=order.has_claims or any(line.has_claim for line in order.lines),
    )


def _shown(text: str, limit: int) -> str:
    return mark(clean_line(text, limit))


def _line(line: OrderLine) -> CardLine:
    return CardLine(
        quantity=line.quantity,
        name=_shown(line.name, 120) or _shown(line.ean, 40) or "–",
        reference=_shown(line.reference, 60),
        price=line.price,
        unit_price=line.unit_price,
        condition=_shown(line.condition, 40),
        state=_shown(line.state, 60),
        stage=line.stage,
        ship_by=None if line.stage in _NO_LINE_TO_SHIP else line.ship_by,
        deliver_by=line.deliver_by,
        has_claim=line.has_claim,
    )


def _parcel(parcel: Parcel) -> CardParcel:
    return CardParcel(
        number=_shown(parcel.number, 60),
        carrier=_shown(parcel.carrier, 60),
        url=web_link(parcel.tracking_url),
        status=_shown(parcel.status, 60),
        is_return=parcel.is_return,
    )


def _refund(voucher: Voucher) -> CardRefund:
    return CardRefund(
        amount=voucher.amount,
        at=voucher.created_at,
        motive=voucher.motive,
        source=_shown(voucher.source, 40),
    )


def web_link(url: str) -> str:
    """The URL in ASCII if it is a plain http(s) link of sane length, else the empty string."""
    text = url.strip()
    if not text or len(text) > 700 or any(c.isspace() or not c.isprintable() for c in text):
        return ""
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").encode("idna").decode("ascii")
        port = parts.port
    except (ValueError, UnicodeError):
        return ""
    # A link with a user part may look like another host than it leads to.
    if parts.scheme not in ("http", "https") or not host or parts.username is not None:
        return ""
    place = host if port is None else f"{host}:{port}"
    path = quote(parts.path, safe=_URL_SAFE)
    query = quote(parts.query, safe=_URL_SAFE)
    anchor = quote(parts.fragment, safe=_URL_SAFE)
    tail = (f"?{query}" if query else "") + (f"#{anchor}" if anchor else "")
    return f"{parts.scheme}://{place}{path}{tail}"
