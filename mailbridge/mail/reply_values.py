"""What a reply template may use: customer, shop, agent, discussion and order, as plain values.

These words go to a customer, so nothing internal is among them: no address, relay or other, no
id of ours, no link that is not a plain web link, no name the customer would not know. Words of
others are one line each, without controls. Values have fields and nothing that can be called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from mailbridge.domain.order import LineStage, Order, OrderLine, Parcel
from mailbridge.domain.wording import clean_line
from mailbridge.mail.card import web_link

__all__ = ["NAMES", "OrderValue", "ReplyValues", "order_value", "reply_values"]

_ADDRESS = re.compile(r"\S+@\S+")
_NAME_LIMIT = 80


@dataclass(frozen=True, slots=True)
class Named:
    """Somebody or something with a name; shown as it."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class DiscussionValue:
    """What the discussion is about."""

    kind: str
    """`claim`, `order_question` or `offer_question`."""
    title: str
    """The customer's or the marketplace's subject; empty where there is none."""
    claim: str
    """The marketplace's word for the kind of claim, such as `DamagedProduct`; may be empty."""
    started_at: datetime


@dataclass(frozen=True, slots=True)
class LineValue:
    """One order line; prices in euros, `price` that of the whole line."""

    name: str
    reference: str
    quantity: int
    price: Decimal
    unit_price: Decimal
    ship_by: datetime | None
    deliver_by: datetime | None
    claimed: bool
    refunded: bool

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class ParcelValue:
    """One parcel; `url` is the carrier's page, empty unless it is a plain web link."""

    number: str
    carrier: str
    url: str
    is_return: bool

    def __str__(self) -> str:
        return self.number


@dataclass(frozen=True, slots=True)
class OrderValue:
    """An order; amounts in euros, times aware."""

    number: str
    date: datetime
    total: Decimal
    shipping: Decimal
    refunded: Decimal | None
    """All that was given back so far; None where that is not known."""
    ship_by: datetime | None
    deliver_by: datetime | None
    by_marketplace: bool
    """The marketplace ships it."""
    lines: tuple[LineValue, ...]
    parcels: tuple[ParcelValue, ...]

    def __str__(self) -> str:
        return self.number


@dataclass(frozen=True, slots=True)
class ReplyValues:
    """Everything about the case at hand."""

    customer: Named
    shop: Named
    agent: Named
    marketplace: str
    discussion: DiscussionValue
    order: OrderValue | None = None

    @property
    def parcel(self) -> ParcelValue | None:
        """The parcel on its way to the customer, the last one where there are several."""
        parcels = self.order.parcels if self.order else ()
        return next((p for p in reversed(parcels) if p.number and not p.is_return), None)

    @property
    def articles(self) -> tuple[LineValue, ...]:
        """The lines that the discussion is about: the claimed ones, else all."""
        lines = self.order.lines if self.order else ()
        return tuple(line for line in lines if line.claimed) or lines

    def context(self) -> Mapping[str, Any]:
        """The same under the names by which templates know it."""
        return {
            "customer": self.customer,
            "shop": self.shop,
            "agent": self.agent,
            "marketplace": self.marketplace,
            "discussion": self.discussion,
            "order": self.order,
            "lines": self.order.lines if self.order else (),
            "articles": self.articles,
            "parcels": self.order.parcels if self.order else (),
            "parcel": self.parcel,
        }


NAMES = frozenset(
    {
        "customer", "shop", "agent", "marketplace", "discussion", "order", "lines", "articles",
        "parcels", "parcel", "hello", "bye", "day", "moment", "money", "listed",
    }
)  # fmt: skip
"""What every template finds without asking for it; the last four are filters, too."""


def reply_values(
    *,
    customer: str,
    shop: str,
    agent: str,
    marketplace: str,
    kind: str,
    title: str,
    claim: str,
    started_at: datetime,
    order: Order | None,
) -> ReplyValues:
    """The values of one case; names and titles raw as they come, in any number of lines."""
    told = order_value(order) if order else None
    return ReplyValues(
        customer=Named(_name(customer) or (_name(order.customer_name) if order else "")),
        shop=Named(_name(shop)),
        agent=Named(_name(agent)),
        marketplace=marketplace,
        discussion=DiscussionValue(
            kind, _words(title, 200), _words(claim, 60), started_at=started_at
        ),
        order=told,
    )


def order_value(order: Order) -> OrderValue:
    """An order as a customer may be told of it."""
    return OrderValue(
        number=_words(order.number, 40),
        date=order.created_at,
        total=order.total,
        shipping=order.shipping_total,
        refunded=None
        if order.vouchers is None
        else sum((voucher.amount for voucher in order.vouchers), Decimal(0)),
        ship_by=order.ship_by,
        deliver_by=order.deliver_by,
        by_marketplace=order.shipped_by_marketplace,
        lines=tuple(_line(line) for line in order.lines),
        parcels=tuple(_parcel(parcel) for parcel in order.parcels),
    )


def _line(line: OrderLine) -> LineValue:
    return LineValue(
        name=_words(line.name, _NAME_LIMIT) or _words(line.ean, 40),
        reference=_words(line.reference, 60),
        quantity=line.quantity,
        price=line.price,
        unit_price=line.unit_price,
        ship_by=line.ship_by,
        deliver_by=line.deliver_by,
        claimed=line.has_claim,
        refunded=line.stage is LineStage.REFUNDED,
    )


def _parcel(parcel: Parcel) -> ParcelValue:
    return ParcelValue(
        number=_words(parcel.number, 60),
        carrier=_words(parcel.carrier, 60),
        url=web_link(parcel.tracking_url),
        is_return=parcel.is_return,
    )


def _words(text: str, limit: int) -> str:
    """One line of another's without anything that looks like an address."""
    return clean_line(_ADDRESS.sub("", text), limit)


def _name(text: str) -> str:
    """A name, or nothing where an address stands in its place."""
    return "" if "@" in text else clean_line(text, _NAME_LIMIT)
