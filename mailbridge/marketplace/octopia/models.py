"""What of the API's answers is read, as it comes.

The rule: unknown fields are passed over, and a field that is only shown is empty when it is
absent, null or of another type. What identity, order or money is built on must parse: `Ident`,
`Moment` and `Amount` raise, and the one discussion or order concerned becomes a fault. No error
shows a value.

Words of enumerations stay words here; what they mean is `mapping`'s and `orders`' business.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from mailbridge.marketplace.port import ContractError

__all__ = [
    "Address",
    "Attachment",
    "CancellationRequest",
    "Coded",
    "Discussion",
    "GestureAmount",
    "GestureRequest",
    "Listed",
    "Message",
    "Moment",
    "Order",
    "OrderLine",
    "Receiver",
    "Typology",
    "read",
]

_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,12}))?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)
_YEARS = range(1900, 2200)
"""Beyond them a date is a fault, and arithmetic with it might overflow."""
_LARGEST = Decimal(10_000_000)


class Moment(NamedTuple):
    """A time as sent, and the instant (UTC)."""

    raw: str
    at: datetime


def _text(value: object) -> str:
    match value:
        case bool():
            return ""
        case str():
            # JSON may hold half a character (RFC 8259 section 8.2), which can't be written.
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case int() | Decimal():
            return str(value)
        case _:
            return ""


def _ident(value: object) -> str:
    text = _text(value).strip()
    if not text or len(text) > 200:
        raise ValueError("missing, or no identifier")
    return text


def _moment(value: object) -> Moment:
    """RFC 3339; what has no offset is UTC, as all the rest is."""
    raw = _text(value).strip()
    found = _MOMENT.fullmatch(raw)
    if found is None:
        raise ValueError("not a date and time")
    micro = (found[3] or "0")[:6].ljust(6, "0")
    zone = (found[4] or "Z").replace("Z", "+00:00")
    try:
        at = datetime.fromisoformat(f"{found[1]}T{found[2]}.{micro}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("not a date and time") from None
    if at.year not in _YEARS:
        raise ValueError("not a date of our time")
    return Moment(raw, at)


def _maybe_moment(value: object) -> Moment | None:
    try:
        return _moment(value)
    except ValueError:
        return None


def _amount(value: object) -> Decimal | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise ValueError("not an amount")
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise ValueError("not an amount") from None
    # Compared, not computed with: `abs` of 1E+9999999 overflows.
    if not amount.is_finite() or not -_LARGEST <= amount <= _LARGEST:
        raise ValueError("not an amount")
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or not -12 <= exponent <= 6:
        raise ValueError("not an amount")
    return amount


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("not a whole number")
    if not 0 <= value <= 1_000_000 or value != int(value):
        raise ValueError("not a whole number")
    return int(value)


def _flag(value: object) -> bool | None:
    match value:
        case bool():
            return value
        case str():
            return {"true": True, "false": False}.get(value.strip().lower())
        case _:
            return None


def _list(value: object) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError("not a list")
    return value


def _maybe_list(value: object) -> list[Any] | None:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else None


def _maybe_object(value: object) -> object:
    return value if isinstance(value, dict) else {}


Text = Annotated[str, BeforeValidator(_text)]
Ident = Annotated[str, BeforeValidator(_ident)]
Flag = Annotated[bool | None, BeforeValidator(_flag)]
Amount = Annotated[Decimal | None, BeforeValidator(_amount)]
Count = Annotated[int, BeforeValidator(_count)]
Must = Annotated[Moment, BeforeValidator(_moment)]
May = Annotated[Moment | None, BeforeValidator(_maybe_moment)]

R = TypeVar("R", bound="_Answer")


class _Answer(BaseModel):
    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
    )


def read(model: type[R], data: object, where: str) -> R:
    """`data` as this model; ContractError names the field, and never shows a value."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise ContractError(f"{where}: {place or 'it'}: {reason}") from None


# Discussions


class Sender(_Answer):
    user_id: Text = ""
    user_type: Text = ""


class Named(_Answer):
    """A file's name, as a message announces it."""

    name: Text = Field("", validation_alias=AliasChoices("attachmentName", "name"))
    file_format: Text = ""


class Message(_Answer):
    message_id: Ident
    body: Text = ""
    created_at: Must
    sender: Annotated[Sender, BeforeValidator(_maybe_object)] = Sender()
    has_read: Flag = None
    attachments: Annotated[tuple[Named, ...] | None, BeforeValidator(_maybe_list)] = None
    """None: the message does not say."""


class Receiver(_Answer):
    """Somebody the next answer may go to."""

    user_id: Text = ""
    user_type: Text = ""


class Listed(_Answer):
    """What must be known of a listed discussion before it is read."""

    discussion_id: Ident
    sales_channel: Text = ""


class Discussion(_Answer):
    discussion_id: Ident
    subject: Text = ""
    order_reference: Text = ""
    order_seller_id: Text = ""
    offer_id: Text = ""
    product_id: Text = ""
    sales_channel_external_reference: Text = ""
    is_open: Flag = None
    graduation: Text = ""
    typology_code: Text = ""
    sub_typology_code: Text = ""
    created_at: Must
    updated_at: May = None
    closed_at: May = None
    status: Text = ""
    customer_id: Text = ""
    seller_id: Text = ""
    sales_channel: Text = ""
    messages: Annotated[tuple[Message, ...], BeforeValidator(_list)] = ()
    receivers: Annotated[tuple[Receiver, ...] | None, BeforeValidator(_maybe_list)] = Field(
        None, validation_alias=AliasChoices("receivers", "eligibleRecipients", "recipients")
    )
    """None: it is not said."""


class Attachment(_Answer):
    """A file that came with a message."""

    content: Text = ""
    attachment_name: Text = Field("", validation_alias=AliasChoices("attachmentName", "name"))
    file_format: Text = ""


class Typology(_Answer):
    sub_typology_code: Ident = Field(
        validation_alias=AliasChoices("subTypologyCode", "subtypologyCode", "code")
    )
    typology_code: Text = ""
    label: Text = ""


class Coded(_Answer):
    """A reason that may be given."""

    code: Ident = Field(validation_alias=AliasChoices("code", "reason", "reasonCode"))
    label: Text = ""


# Orders


class Channel(_Answer):
    id: Text = ""
    name: Text = ""


class Price(_Answer):
    offer_price: Amount = None
    selling_price: Amount = None


class LinePrice(_Answer):
    unit_sales_price: Amount = None
    shipping_cost: Amount = None


class Offer(_Answer):
    id: Text = ""
    seller_product_id: Text = ""
    supply_mode: Text = ""
    product_id: Text = ""
    product_title: Text = ""
    product_gtin: Text = ""
    condition: Text = ""


class Delivery(_Answer):
    promised_at_max: May = None
    shipped_at_max: May = None


class Parcel(_Answer):
    parcel_number: Text = ""
    carrier_name: Text = ""
    tracking_url: Text = ""


class Address(_Answer):
    first_name: Text = ""
    last_name: Text = ""


_Part = BeforeValidator(_maybe_object)


class OrderLine(_Answer):
    order_line_id: Ident
    status: Text = ""
    quantity: Count
    total_price: Annotated[Price, _Part] = Price()
    offer_price: Annotated[LinePrice, _Part] = LinePrice()
    selling_price: Annotated[LinePrice, _Part] = LinePrice()
    offer: Annotated[Offer, _Part] = Offer()
    delivery: Annotated[Delivery, _Part] = Delivery()
    shipping_address: Annotated[Address, _Part] = Address()
    parcels: Annotated[tuple[Parcel, ...] | None, BeforeValidator(_maybe_list)] = None


class Order(_Answer):
    order_id: Ident
    reference: Text = ""
    sales_channel: Annotated[Channel, _Part] = Channel()
    created_at: Must
    updated_at: May = None
    shipped_at_max: May = None
    status: Text = ""
    currency_code: Text = ""
    billing_address: Annotated[Address, _Part] = Address()
    total_price: Annotated[Price, _Part] = Price()
    lines: Annotated[tuple[OrderLine, ...], BeforeValidator(_list)] = ()


# Money


class RequestLine(_Answer):
    line_id: Ident
    status: Text = ""
    refusal_reason: Text = ""


class CancellationRequest(_Answer):
    cancellation_request_id: Ident
    order_seller_id: Text = ""
    user_type: Text = ""
    status: Text = ""
    reason: Text = ""
    created_at: May = None
    refusal_reason: Text = ""
    lines: Annotated[tuple[RequestLine, ...], BeforeValidator(_list)] = ()


class GestureRequest(_Answer):
    request_id: Ident
    order_id: Text = ""
    status: Text = ""
    reason: Text = ""
    reason_details: Text = ""
    amount: Amount = None
    created_at: May = None
    refusal_reason: Text = ""


class GestureAmount(_Answer):
    """What may still be given as a gesture."""

    allowable_amount: Amount = None
