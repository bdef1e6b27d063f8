"""One order as GetOrderList shows it, element by element in the recorded order.

Amounts that only matter to bookkeeping (commissions, validated totals) are derived in the
simplest way that is consistent.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from lxml import etree

from mailbridge.sandbox.orders import BookedOrder, BookedVoucher, OrderLineEntry, Person
from mailbridge.sandbox.wire import node, put

__all__ = ["write_order"]

_COMMISSION = Decimal("0.18")
_STATUS = {
    "Shipped": "Completed",
    "ShipmentRefusedBySeller": "Completed",
    "RefusedBySeller": "Cancelled",
    "CancelledByCustomer": "Cancelled",
    "AutomaticCancellation": "Cancelled",
    "WaitingForSellerAcceptation": "Waiting",
}


def write_order(
    parent: etree._Element,
    order: BookedOrder,
    *,
    relay: str | None,
    vouchers: tuple[BookedVoucher, ...],
    with_lines: bool,
    with_parcels: bool,
) -> None:
    """Append an `Order` to the list."""
    xml = node(parent, "Order")
    ship_by = order.ship_by or order.created_at + timedelta(days=3)
    deliver_by = order.deliver_by or ship_by + timedelta(days=5)
    put(xml, "ArchiveParcelList", False)
    _address(node(xml, "BillingAddress"), order.customer)
    corporation = node(xml, "Corporation")
    put(corporation, "BusinessUnitId", 1)
    put(corporation, "CorporationCode", "CDSB2C")
    put(corporation, "CorporationId", 1)
    put(corporation, "CorporationName", "Cdiscount")
    put(corporation, "IsMarketPlaceActive", True)
    put(xml, "CreationDate", order.created_at)
    _customer(node(xml, "Customer"), order, relay)
    put(xml, "HasClaims", order.has_claims)
    put(xml, "InitialTotalAmount", order.total + order.shipping_total)
    put(xml, "InitialTotalShippingChargesAmount", order.shipping_total)
    put(xml, "IsCLogistiqueOrder", order.fulfilment == "MKPFBC")
    put(xml, "LastUpdatedDate", order.updated_at or order.created_at)
    put(xml, "ModGesLog", order.fulfilment)
    put(xml, "ModifiedDate", order.modified_at or order.created_at)
    put(xml, "Offer", None)
    lines = node(xml, "OrderLineList")
    if with_lines:
        for row, line in enumerate(order.lines):
            _line(node(lines, "OrderLine"), order, row, line)
    put(xml, "OrderNumber", order.number)
    put(xml, "OrderState", order.state)
    parcels = node(xml, "ParcelList")
    if with_parcels:
        for parcel in order.parcels:
            item = node(parcels, "Parcel")
            put(item, "CustomerNum", parcel.number)
            put(item, "ExternalCarrierName", parcel.carrier)
            put(item, "ExternalCarrierTrackingUrl", parcel.tracking_url or None)
            put(item, "IsCustomerReturn", parcel.is_return)
            _parcel_items(node(item, "ParcelItemList"), order)
            put(item, "ParcelStatus", parcel.status)
            put(item, "RealCarrierCode", parcel.carrier.upper()[:3])
    put(xml, "PartnerOrderRef", None)
    shipped = order.shipped_at is not None
    put(xml, "ShippedTotalAmount", order.total + order.shipping_total if shipped else Decimal(0))
    put(xml, "ShippedTotalShippingCharges", order.shipping_total if shipped else Decimal(0))
    _address(node(xml, "ShippingAddress"), order.customer)
    put(xml, "ShippingCode", order.shipping_code)
    put(xml, "ShippingDateMax", deliver_by)
    put(xml, "ShippingDateMin", ship_by)
    put(xml, "SiteCommissionPromisedAmount", order.total * _COMMISSION)
    put(xml, "SiteCommissionShippedAmount", order.total * _COMMISSION if shipped else Decimal(0))
    put(xml, "SiteCommissionValidatedAmount", order.total * _COMMISSION)
    put(xml, "Status", _STATUS.get(order.state, "Validated"))
    put(xml, "ValidatedTotalAmount", order.total + order.shipping_total)
    put(xml, "ValidatedTotalShippingCharges", order.shipping_total)
    put(xml, "ValidationStatus", "None")
    put(xml, "VisaCegid", 243)
    _vouchers(xml, vouchers)


def _address(xml: etree._Element, person: Person) -> None:
    put(xml, "Address1", None)
    put(xml, "Address2", None)
    put(xml, "ApartmentNumber", "")
    put(xml, "Building", "")
    put(xml, "City", person.city)
    put(xml, "Civility", person.civility)
    put(xml, "CompanyName", "")
    put(xml, "Country", person.country)
    put(xml, "County", "N/A")
    put(xml, "FirstName", person.first_name)
    put(xml, "Instructions", "")
    put(xml, "LastName", person.last_name)
    put(xml, "PlaceName", "")
    put(xml, "RelayId", None)
    put(xml, "Street", person.street)
    put(xml, "ZipCode", person.zip_code)


def _customer(xml: etree._Element, order: BookedOrder, relay: str | None) -> None:
    person = order.customer
    put(xml, "Civility", person.civility)
    put(xml, "CustomerId", order.number.lower().encode().hex()[:32].ljust(32, "0"))
    put(xml, "Email", None)
    put(xml, "EncryptedEmail", relay)
    put(xml, "FirstName", person.first_name)
    put(xml, "LastName", person.last_name)
    put(xml, "MobilePhone", "")
    put(xml, "Phone", "")
    put(xml, "ShippingFirstName", person.first_name)
    put(xml, "ShippingLastName", person.last_name)


def _line(xml: etree._Element, order: BookedOrder, row: int, line: OrderLineEntry) -> None:
    ship_by = order.ship_by or order.created_at + timedelta(days=3)
    deliver_by = order.deliver_by or ship_by + timedelta(days=5)
    put(xml, "AcceptationState", line.state)
    put(xml, "CategoryCode", "13380D0501")
    put(xml, "DeliveryDateMax", deliver_by)
    put(xml, "DeliveryDateMin", deliver_by - timedelta(days=2))
    put(xml, "HasClaim", line.has_claim)
    put(xml, "InitialPrice", line.price)
    put(xml, "IsCDAV", False)
    put(xml, "IsNegotiated", None)
    put(xml, "IsProductEanGenerated", not line.ean)
    put(xml, "Name", line.name)
    node(xml, "OrderLineChildList")
    put(xml, "ProductCondition", line.condition)
    put(xml, "ProductEan", line.ean)
    put(xml, "ProductId", line.product_id or line.reference)
    put(xml, "PurchasePrice", line.price)
    put(xml, "Quantity", line.quantity)
    put(xml, "RefundShippingCharges", line.refunded_shipping)
    put(xml, "RowId", row)
    put(xml, "SellerProductId", line.reference)
    put(xml, "ShippingDateMax", ship_by)
    put(xml, "ShippingDateMin", ship_by)
    put(xml, "Sku", line.product_id or line.reference)
    put(xml, "SkuParent", None)
    put(xml, "UnitAdditionalShippingCharges", Decimal(0))
    put(xml, "UnitShippingCharges", line.shipping)


def _parcel_items(xml: etree._Element, order: BookedOrder) -> None:
    for line in order.lines:
        item = node(xml, "ParcelItem")
        put(item, "ProductName", line.name)
        put(item, "Quantity", line.quantity)
        put(item, "Sku", line.product_id or line.reference)


def _vouchers(xml: etree._Element, vouchers: tuple[BookedVoucher, ...]) -> None:
    if not vouchers:
        put(xml, "VoucherList", None)
        return
    parent = node(xml, "VoucherList")
    for voucher in vouchers:
        item = node(parent, "Voucher")
        put(item, "CreateDate", voucher.created_at)
        information = node(item, "RefundInformation")
        put(information, "Amount", voucher.amount)
        put(information, "MotiveId", voucher.motive)
        put(item, "Source", voucher.source)
