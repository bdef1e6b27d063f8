"""How discussions, messages, orders and requests look as JSON.

Odd things that are on record are kept: `updatedAt` may lie before `createdAt`, fractions of a
second have as many digits as they need, a discussion names no customer.
"""

from __future__ import annotations

import base64
import html
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from mailbridge.domain.discussion import AuthorKind, DiscussionKind
from mailbridge.sandbox.entries import BookedDiscussion, BookedMessage
from mailbridge.sandbox.octopia.asking import Json
from mailbridge.sandbox.octopia.requests import MoneyRequest, RequestStatus
from mailbridge.sandbox.octopia.rules import Rules
from mailbridge.sandbox.orders import PENDING_CANCELLATION, BookedOrder, OrderLineEntry, Person

__all__ = [
    "attachment_document",
    "cancellation_document",
    "customer_id",
    "discussion_document",
    "gesture_document",
    "line_id",
    "message_document",
    "offer_id",
    "order_document",
    "order_status",
    "process_status",
    "stamp",
    "topic",
]

CHANNELS = {"CDISFR": "Cdiscount"}
_BACK = timedelta(milliseconds=93)
"""How much earlier than its creation the one sample on record was changed."""
_USER_TYPES = {
    AuthorKind.CUSTOMER: "Customer",
    AuthorKind.SELLER: "Seller",
    AuthorKind.OPERATOR: "GrcOperator",
    AuthorKind.AUTOMATIC: "Automatic",
}
_TOPICS = {
    "PackageNotReceived": "orderNotShipped",
    "DamagedProduct": "productIsDamaged",
    "MissingAccessories": "missingItemInProduct",
    "WrongProductReference": "wrongProductReceived",
    "ProductNotWorking": "productIsNotWorking",
    "WishToWithdraw": "orderCancellation",
}
_ORDER = {
    "WaitingForSellerAcceptation": "WaitingAcceptance",
    "WaitingForShipmentAcceptation": "InPreparation",
    "AcceptedBySeller": "Accepted",
    "RefusedBySeller": "Refused",
    "Shipped": "Shipped",
    "ShipmentRefusedBySeller": "Cancelled",
    "CancelledByCustomer": "Cancelled",
    "AutomaticCancellation": "Cancelled",
    "PaymentInProgress": "Processing",
    "PaymentRefused": "Rejected",
}
_LINE = {
    "None": "WaitingAcceptance",
    "AcceptedBySeller": "InPreparation",
    "RefusedBySeller": "Refused",
    "ShippedBySeller": "Shipped",
    "ShipmentRefusedBySeller": "Cancelled",
    PENDING_CANCELLATION: "InPreparation",
}
_SUPPLY = {"MKPFBC": "Fulfillment"}
_COMMISSION = Decimal("0.18")


def stamp(moment: datetime) -> str:
    """`2023-10-17T13:58:01.32Z`: UTC, zeros at the end of the fraction left out."""
    utc = moment.astimezone(UTC)
    fraction = f"{utc.microsecond:06d}".rstrip("0")
    return utc.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "") + "Z"


def customer_id(person: Person) -> str:
    """Twelve characters, the same for the same customer."""
    number = zlib.crc32(f"{person.name}|{person.street}|{person.city}".encode())
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[digit] + digits
    return digits.rjust(12, "0")


# --- discussions -----------------------------------------------------------------------------


def topic(discussion: BookedDiscussion) -> str:
    """The sub-typology."""
    if discussion.topic is not None:
        return discussion.topic
    if discussion.kind is DiscussionKind.OFFER_QUESTION:
        return "productInformation"
    return _TOPICS.get(discussion.claim_type or "", "orderModification")


def process_status(discussion: BookedDiscussion, shown: Sequence[BookedMessage]) -> str:
    """ToTreat while the last word, of anybody but a robot, is not the seller's; else as marked on
    the web page."""
    if discussion.process_status is not None:
        return discussion.process_status
    said = [message for message in shown if message.kind is not AuthorKind.AUTOMATIC] or shown
    waits = not discussion.closed and said and said[-1].kind is not AuthorKind.SELLER
    return "ToTreat" if waits else "Treated"


def graduation(discussion: BookedDiscussion) -> str:
    """How far it is escalated."""
    if discussion.graduation is not None:
        return discussion.graduation
    return "Claim" if discussion.kind is DiscussionKind.CLAIM else "Discussion"


def discussion_document(
    discussion: BookedDiscussion, shown: Sequence[BookedMessage], seller_id: str
) -> Json:
    """What lists and details have in common."""
    number = discussion.order_number
    offer = discussion.kind is DiscussionKind.OFFER_QUESTION
    document: Json = {
        "discussionId": discussion.object_id,
        "subject": discussion.subject,
        "orderReference": None if number is None else _reference(number),
        "orderSellerId": number,
        "salesChannelExternalReference": str(discussion.id),
        "isOpen": not discussion.closed,
        "graduation": graduation(discussion),
        "subTypologyCode": topic(discussion),
        "typologyCode": "Offer" if offer else "Order",
        "createdAt": stamp(discussion.created_at),
        "updatedAt": stamp(changed_at(discussion)),
        "status": process_status(discussion, shown),
        "customerId": customer_id(discussion.customer),
        "sellerId": seller_id,
        "salesChannel": discussion.channel,
    }
    if offer:
        document["offerId"] = discussion.product_reference
        document["productId"] = discussion.product_ean
    return document


def changed_at(discussion: BookedDiscussion) -> datetime:
    """`updatedAt`; of a discussion that was only opened it lies before `createdAt`."""
    if discussion.updated_at == discussion.created_at:
        return discussion.updated_at - _BACK
    return discussion.updated_at


def message_document(
    discussion: BookedDiscussion, message: BookedMessage, rules: Rules, seller_id: str
) -> Json:
    """One message; its discussion has named it before."""
    users = {
        AuthorKind.CUSTOMER: customer_id(discussion.customer),
        AuthorKind.SELLER: seller_id,
    }
    document: Json = {
        "messageId": message.ident,
        "body": _html(message.text) if rules.html_bodies else message.text,
        "createdAt": stamp(message.at),
        "sender": {"userId": users.get(message.kind), "userType": _USER_TYPES[message.kind]},
        "hasRead": message.seen,
        "salesChannelExternalReference": str(discussion.id),
    }
    if rules.announces_files:
        document["attachments"] = [
            {"attachmentName": name, "fileFormat": ending}
            for name, ending in (_parted(file.name) for file in message.files)
        ]
    return document


def attachment_document(message: BookedMessage, number: int) -> Json:
    """One file that a message came with."""
    file = message.files[number]
    name, ending = _parted(file.name)
    return {
        "messageId": message.ident,
        "attachmentName": name,
        "fileFormat": ending,
        "content": base64.b64encode(file.data).decode(),
    }


def _parted(name: str) -> tuple[str, str]:
    stem, dot, ending = name.rpartition(".")
    return (stem, ending) if dot else (name, "")


def _html(text: str) -> str:
    paragraphs = html.escape(text, quote=False).split("\n\n")
    return "".join(f"<p>{part.replace(chr(10), '<br />')}</p>" for part in paragraphs)


# --- orders ----------------------------------------------------------------------------------


def line_id(order: BookedOrder, row: int) -> str:
    """The service's own id of a line."""
    return f"{order.number}-{row + 1}"


def offer_id(line: OrderLineEntry) -> str:
    """The service's own id of what was bought."""
    return f"{zlib.crc32(line.reference.encode()):010d}"


def order_status(order: BookedOrder) -> str:
    """In the service's words, or the books' own where there is none."""
    lines = [_line_status(line) for line in order.lines]
    if lines and set(lines) == {"Cancelled"}:
        return "Cancelled"
    if order.state == "ShipmentRefusedBySeller":
        return "InPreparation"  # asked for, and not yet worked on
    return _ORDER.get(order.state, order.state)


def _line_status(line: OrderLineEntry) -> str:
    if line.settles_at is not None:
        return "InPreparation" if line.state == "ShipmentRefusedBySeller" else "Shipped"
    if line.state.startswith("Refunded"):
        return "Cancelled"
    return _LINE.get(line.state, line.state)


def order_document(order: BookedOrder, seller_id: str) -> Json:
    """One order."""
    ship_by = order.ship_by or order.created_at + timedelta(days=3)
    price = float(order.total + order.shipping_total)
    return {
        "orderId": order.number,
        "reference": _reference(order.number),
        "businessOrder": False,
        "salesChannel": {
            "id": order.channel,
            "name": CHANNELS.get(order.channel, order.channel.title()),
        },
        "seller": {"id": seller_id},
        "customer": {"reference": customer_id(order.customer)},
        "createdAt": stamp(order.created_at),
        "purchasedAt": stamp(order.created_at),
        "updatedAt": stamp(order.updated_at or order.created_at),
        "shippedAtMax": stamp(ship_by),
        "status": order_status(order),
        "payment": {"method": "CreditCard"},
        "currencyCode": "EUR",
        "billingAddress": _address(order.customer),
        "totalPrice": {"offerPrice": price, "sellingPrice": price},
        "serviceFees": 0,
        "lines": [_line(order, row, line) for row, line in enumerate(order.lines)],
    }


def _line(order: BookedOrder, row: int, line: OrderLineEntry) -> Json:
    ship_by = order.ship_by or order.created_at + timedelta(days=3)
    deliver_by = order.deliver_by or ship_by + timedelta(days=5)
    quantity = line.quantity or line.ordered or 1
    price: Json = {
        "unitSalesPrice": float(line.price / quantity),
        "shippingCost": float(line.shipping),
        "commission": float(line.price * _COMMISSION),
        "taxes": [],
    }
    total = float(line.price + line.shipping)
    return {
        "orderLineId": line_id(order, row),
        "status": _line_status(line),
        "quantity": quantity,
        "totalPrice": {"offerPrice": total, "sellingPrice": total},
        "offerPrice": price,
        "sellingPrice": price,
        "offer": {
            "id": offer_id(line),
            "sellerProductId": line.reference,
            "supplyMode": _SUPPLY.get(order.fulfilment, "Seller"),
            "productId": line.product_id or None,
            "productTitle": line.name,
            "productGtin": line.ean or None,
            "condition": line.condition,
        },
        "delivery": {
            "mode": "Tracked",
            "promisedAtMin": stamp(deliver_by - timedelta(days=2)),
            "promisedAtMax": stamp(deliver_by),
            "shippedAtMax": stamp(ship_by),
        },
        "shippingAddress": {**_address(order.customer), "phone": None, "email": None},
        "parcels": [
            {
                "parcelNumber": parcel.number,
                "carrierName": parcel.carrier,
                "trackingUrl": parcel.tracking_url or None,
            }
            for parcel in order.parcels
        ],
    }


def _reference(number: str) -> str:
    """`1055472612-A` is one seller's part of what the customer knows as `1055472612`."""
    return number[:-2] if number[-2:-1] == "-" else number


def _address(person: Person) -> Json:
    return {
        "civility": person.civility.title(),
        "firstName": person.first_name,
        "lastName": person.last_name,
        "addressLine1": person.street,
        "postalCode": person.zip_code,
        "city": person.city,
        "countryCode": person.country,
    }


# --- requests for money ----------------------------------------------------------------------


def cancellation_document(request: MoneyRequest, status: RequestStatus) -> Json:
    """One request to cancel, whole or partial."""
    rows = {line.reference: row for row, line in enumerate(request.order.lines)}
    refusal = request.refusal if status is RequestStatus.REFUSED else None
    return {
        "cancellationRequestId": request.id,
        "orderSellerId": request.order.number,
        "salesChannel": request.order.channel,
        "userType": "Customer" if request.by_customer else "Seller",
        "status": status,
        "reason": request.reason,
        "shippingCostRefund": all(request.lines.values()),
        "createdAt": stamp(request.created_at),
        "updatedAt": stamp(_changed(request, status)),
        "refusalReason": refusal,
        "lines": [
            {
                "lineId": line_id(request.order, rows[reference]),
                "offerId": offer_id(request.order.lines[rows[reference]]),
                "status": status,
                "refusalReason": refusal,
            }
            for reference in request.lines
        ],
    }


def gesture_document(request: MoneyRequest, status: RequestStatus) -> Json:
    """One request for a gesture."""
    return {
        "requestId": request.id,
        "orderId": request.order.number,
        "status": status,
        "reason": request.reason,
        "reasonDetails": request.details or None,
        "amount": float(request.amount or 0),
        "createdAt": stamp(request.created_at),
        "updatedAt": stamp(_changed(request, status)),
        "refusalReason": request.refusal if status is RequestStatus.REFUSED else None,
    }


def _changed(request: MoneyRequest, status: RequestStatus) -> datetime:
    return request.created_at if status is RequestStatus.PENDING else request.settles_at
