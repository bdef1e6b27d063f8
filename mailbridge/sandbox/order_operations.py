"""The operations on orders: reading them, refusing to ship, giving money back.

Request element in, answer envelope out. Every item is answered by itself, whatever the answer as
a whole says. The effects are the books' (`orders`), discussions are in `operations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from lxml import etree

from mailbridge.sandbox.books import Books
from mailbridge.sandbox.heading import ALIAS_REFUSED, Heading, put_errors
from mailbridge.sandbox.order_xml import write_order
from mailbridge.sandbox.orders import BookedOrder, BookedParcel, LineRefusal, ValidationAnswer
from mailbridge.sandbox.wire import (
    ARRAYS,
    MSG,
    members,
    node,
    put,
    read_bool,
    read_decimal,
    read_int,
    read_list,
    read_text,
    read_time,
)

__all__ = ["OrderOperations"]

_ORDER_FILTER = (
    "BeginCreationDate",
    "BeginModificationDate",
    "CorporationCode",
    "EndCreationDate",
    "EndModificationDate",
    "FetchOrderLines",
    "FetchParcels",
    "IncludeExternalFbcSiteId",
    "OrderReferenceList",
    "OrderType",
    "PartnerOrderRef",
    "States",
)


class OrderOperations:
    """What the service can do with the orders in these books."""

    def __init__(self, books: Books, heading: Heading) -> None:
        self._books = books
        self._heading = heading

    def get_list(self, given: etree._Element | None, token: str) -> etree._Element:
        """GetOrderList."""
        found = members(given, _ORDER_FILTER)
        shown = self._selected(found)
        refused = any(self._books.alias_refused(order) for order in shown)
        # Seen: orders together with the words about the alias.
        envelope, result = self._heading.start(
            "GetOrderList", token, message=ALIAS_REFUSED if refused else ""
        )
        parent = node(result, "OrderList")
        for order in shown:
            write_order(
                parent,
                order,
                relay=self._books.relay_for_order(order),
                vouchers=self._books.orders.visible_vouchers(order),
                with_lines=read_bool(found, "FetchOrderLines"),
                with_parcels=read_bool(found, "FetchParcels"),
            )
        return envelope

    def _selected(self, found: Mapping[str, etree._Element]) -> list[BookedOrder]:
        numbers = read_list(found, "OrderReferenceList", "string", ARRAYS)
        if numbers:  # overrides every other filter
            named = (self._books.orders.get(number) for number in dict.fromkeys(numbers))
            return [order for order in named if order is not None]
        states = read_list(found, "States", "OrderStateEnum")
        begin, end = _bounds(found, "Begin"), _bounds(found, "End")
        shown = []
        for order in self._books.orders.all():
            # Seen: dates without States are not applied.
            if states is not None:
                updated = order.updated_at or order.created_at
                if (
                    order.state not in states
                    or (begin is not None and (order.created_at < begin[0] or updated < begin[1]))
                    or (end is not None and (order.created_at > end[0] or updated > end[1]))
                ):
                    continue
            shown.append(order)
        return sorted(shown, key=lambda order: order.created_at)

    def validate(self, given: etree._Element | None, token: str) -> etree._Element:
        """ValidateOrderList."""
        wanted = members(given, ("OrderList",)).get("OrderList")
        results = []
        for element in wanted.iterchildren("*") if wanted is not None else ():
            names = (
                "CarrierName",
                "OrderLineList",
                "OrderNumber",
                "OrderState",
                "TrackingNumber",
                "TrackingUrl",
            )
            found = members(element, names)
            lines: dict[str, str] = {}
            for line in (
                found["OrderLineList"].iterchildren("*") if "OrderLineList" in found else ()
            ):
                item = members(
                    line,
                    ("AcceptationState", "ProductCondition", "SellerProductId", "TypeOfReturn"),
                )
                reference = read_text(item, "SellerProductId") or ""
                lines[reference] = read_text(item, "AcceptationState") or "None"
            tracking = read_text(found, "TrackingNumber")
            parcel = None
            if tracking:
                carrier = read_text(found, "CarrierName") or ""
                parcel = BookedParcel(tracking, carrier, read_text(found, "TrackingUrl") or "")
            results.append(
                self._books.orders.validate(
                    read_text(found, "OrderNumber"),
                    read_text(found, "OrderState") or "CancelledByCustomer",
                    lines,
                    parcel=parcel,
                )
            )
        words = " ".join(
            f"{each.order_number} error: {error.message}"
            for each in results
            for error in each.errors
        )
        envelope, result = self._heading.start("ValidateOrderList", token, message=words)
        parent = node(result, "ValidateOrderResults")
        for each in results:
            _validation(node(parent, "ValidateOrderResult"), each)
        return envelope

    def refund(self, given: etree._Element | None, token: str) -> etree._Element:
        """CreateRefundVoucher."""
        found = members(given, ("CommercialGestureList", "OrderNumber", "SellerRefundList"))
        gestures = []
        for element in _items(found, "CommercialGestureList"):
            item = members(element, ("Amount", "MotiveId"))
            gestures.append(
                (read_decimal(item, "Amount") or Decimal(0), read_int(item, "MotiveId") or 0)
            )
        refunds = []
        for element in _items(found, "SellerRefundList"):
            item = members(element, ("Mode", "Motive", "RefundOrderLine"))
            line = members(
                item.get("RefundOrderLine"), ("Ean", "RefundShippingCharges", "SellerProductId")
            )
            refunds.append(
                (
                    read_text(line, "SellerProductId") or "",
                    # A missing enum member becomes the first one, as in .NET.
                    read_text(item, "Motive") or "VendorRejection",
                    read_bool(line, "RefundShippingCharges"),
                )
            )
        done = self._books.orders.refund(read_text(found, "OrderNumber"), gestures, refunds)
        errors = (LineRefusal(done.error_type, done.error),) if done.error_type else ()
        envelope, result = self._heading.start(
            "CreateRefundVoucher",
            token,
            ok=not done.error,
            message=done.error,
            errors=errors,
        )
        parent = node(result, "CommercialGestureList")
        for gesture in done.gestures:
            item_xml = node(parent, "RefundInformationMessage")
            put(item_xml, "ErrorMessage", gesture.error, MSG)
            put(item_xml, "OperationSuccess", not gesture.error, MSG)
            put(item_xml, "Amount", gesture.amount)
            put(item_xml, "MotiveId", gesture.motive)
        put(result, "OrderNumber", done.order_number)
        parent = node(result, "SellerRefundList")
        for refund in done.refunds:
            item_xml = node(parent, "SellerRefundResult")
            put(item_xml, "ErrorMessage", refund.error, MSG)
            put(item_xml, "OperationSuccess", not refund.error, MSG)
            put(item_xml, "Ean", refund.ean or None)
            put(item_xml, "Motive", refund.motive)
            put(item_xml, "SellerProductId", refund.reference)
            put(item_xml, "Value", refund.value)
        return envelope


def _validation(xml: etree._Element, each: ValidationAnswer) -> None:
    put_errors(node(xml, "Errors"), each.errors)
    put(xml, "OrderNumber", each.order_number)
    lines = node(xml, "ValidateOrderLineResults")
    for reference, (updated, errors) in each.lines.items():
        item = node(lines, "ValidateOrderLineResult")
        put_errors(node(item, "Errors"), errors)
        put(item, "SellerProductId", reference)
        put(item, "Updated", updated)
    put(xml, "Validated", each.validated)
    node(xml, "Warnings")


def _items(found: Mapping[str, etree._Element], name: str) -> list[etree._Element]:
    return list(found[name].iterchildren("*")) if name in found else []


def _bounds(found: Mapping[str, etree._Element], side: str) -> tuple[datetime, datetime] | None:
    """Dates of creation and of change; told: one without the other is of no use."""
    created = read_time(found, f"{side}CreationDate")
    changed = read_time(found, f"{side}ModificationDate")
    return None if created is None or changed is None else (created, changed)
