"""Orders as values of the domain, and the words by which the service tells how far they are.

The rule: an amount, a number or a time must parse, or this order is a fault and the others go
on; a state we have no name for stays UNKNOWN, and then no money is moved on it.

Pure. Which orders are asked for is `adapter`'s business, their money is `money`'s.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from mailbridge.domain.order import (
    LineStage,
    Order,
    OrderLine,
    OrderStage,
    Parcel,
    Voucher,
)
from mailbridge.marketplace.cdiscount.envelope import judge
from mailbridge.marketplace.cdiscount.mapping import Context, instant, joined, relay_address
from mailbridge.marketplace.cdiscount.reading import Node
from mailbridge.marketplace.cdiscount.times import resolve
from mailbridge.marketplace.port import UNNAMED, ContractError

__all__ = ["STATES", "order", "orders"]

# Enumerations `OrderStateEnum` and `AcceptationStateEnum`. What is blocked, being changed or new
# to us stays UNKNOWN: no money is moved on it.
_ORDER_STAGES = {
    "WaitingForSellerAcceptation": OrderStage.TO_ACCEPT,
    "AcceptedBySeller": OrderStage.TO_ACCEPT,
    "PaymentInProgress": OrderStage.TO_ACCEPT,
    "ValidatedFianet": OrderStage.TO_ACCEPT,
    "WaitingForShipmentAcceptation": OrderStage.TO_SHIP,
    "Shipped": OrderStage.SHIPPED,
    "AvailableOnStore": OrderStage.SHIPPED,
    "NonPickedUpByCustomer": OrderStage.SHIPPED,
    "PickedUp": OrderStage.SHIPPED,
    "CancelledByCustomer": OrderStage.ENDED,
    "RefusedBySeller": OrderStage.ENDED,
    "AutomaticCancellation": OrderStage.ENDED,
    "PaymentRefused": OrderStage.ENDED,
    "ShipmentRefusedBySeller": OrderStage.ENDED,
    "RefusedNoShipment": OrderStage.ENDED,
    "ServiceCanceled": OrderStage.ENDED,
}
_LINE_STAGES = {
    "AcceptedBySeller": LineStage.TO_SHIP,
    "ShippedBySeller": LineStage.SHIPPED,
    "RefundedAfterShipping": LineStage.REFUNDED,
    "RefundedAfterShipmentRefused": LineStage.REFUNDED,
    "RefundedAfterCustomerCancellation": LineStage.REFUNDED,
    "RefusedBySeller": LineStage.CANCELLED,
    "ShipmentRefusedBySeller": LineStage.CANCELLED,
    "CancelledBeforeNotificationByCustomer": LineStage.CANCELLED,
    "CancelledBeforePaymentByCustomer": LineStage.CANCELLED,
    "CancelledAfterPaymentByCustomer": LineStage.CANCELLED,
    "PaymentRefused": LineStage.CANCELLED,
    "CancellationRequestPending": LineStage.CANCELLATION_ASKED,
}
STATES = (
    *_ORDER_STAGES,
    "PendingShipmentForAssociatedProduct",
    "BlockedWaitingForTreatment",
    "BlockedWaitingForProof",
    "BlockedRepeatedLitigationSuspicion",
    "BlockedFraudSuspicion",
    "BlockedConfirmed",
    "FinishedGenerixUpdate",
    "BlockedRepeatedLitigationSuspicionConfirmation",
    "BlockedFraudSuspicionConfirmation",
    "CegidDown",
    "BlockedAutomaticCds",
    "BeingCancelled",
    "BeingModified",
    "RequestGoingToGnx",
    "PartialInGnx",
    "BeingValidatedFianet",
    "BlockedMarketplaceService",
)
"""Every state an order can be in (`OrderStateEnum` less None)."""


def orders(result: Node, context: Context) -> tuple[dict[str, Order], dict[str, str]]:
    """Orders by number, and faults by number.

    Orders and an error may come together (an alias that is no longer given): orders win.
    """
    nodes = list(result.items("OrderList", "Order"))
    if not nodes:
        judge(result, context.secrets)
    found: dict[str, Order] = {}
    faults: list[tuple[str, str]] = []
    for node in nodes:
        try:
            value = order(node, context)
            found[value.number] = value
        except ContractError as error:
            faults.append((node.text("OrderNumber").strip() or UNNAMED, str(error)))
    return found, joined(faults)


def order(node: Node, context: Context) -> Order:
    """One order; ContractError where a number, amount or time of it does not parse."""
    number = node.text("OrderNumber").strip()
    if not number:
        raise node.broken("OrderNumber", "missing")
    node.where = f"Order {number}"
    created_raw = node.time("CreationDate")
    if created_raw is None:
        raise node.broken("CreationDate", "missing")
    created = resolve([created_raw], not_after=context.now)[0]
    customer = node.child("Customer")
    return Order(
        number=number,
        state=node.text("OrderState").strip(),
        created_at=created,
        updated_at=instant(node, "LastUpdatedDate", created, context)
        or instant(node, "ModifiedDate", created, context),
        customer_name="" if customer is None else _name(customer),
        relay_address=None if customer is None else relay_address(customer.text("EncryptedEmail")),
        lines=tuple(_line(item) for item in node.items("OrderLineList", "OrderLine")),
        parcels=tuple(_parcel(item) for item in node.items("ParcelList", "Parcel")),
        vouchers=tuple(
            _voucher(item, created, context) for item in node.items("VoucherList", "Voucher")
        ),
        total=node.decimal("InitialTotalAmount") or Decimal(0),
        shipping_total=node.decimal("InitialTotalShippingChargesAmount") or Decimal(0),
        # The order's own ShippingDateMax was seen to hold the delivery promise.
        ship_by=min(_promises(node, "ShippingDateMax"), default=None),
        deliver_by=max(_promises(node, "DeliveryDateMax"), default=None)
        or _promise(node, "ShippingDateMax"),
        has_claims=node.boolean("HasClaims") or False,
        shipped_by_marketplace=node.text("ModGesLog").strip() == "MKPFBC",
        stage=_ORDER_STAGES.get(node.text("OrderState").strip(), OrderStage.UNKNOWN),
    )


def _promises(node: Node, name: str) -> list[datetime]:
    times = (_promise(line, name) for line in node.items("OrderLineList", "OrderLine"))
    return [time for time in times if time is not None]


def _promise(node: Node, name: str) -> datetime | None:
    """A time that may lie in the future, so that no clock bounds it."""
    time = node.time(name)
    return None if time is None else resolve([time])[0]


def _name(customer: Node) -> str:
    return f"{customer.text('FirstName').strip()} {customer.text('LastName').strip()}".strip()


def _line(node: Node) -> OrderLine:
    node.where = f"OrderLine {node.text('SellerProductId').strip() or '?'}"
    quantity = node.integer("Quantity") or 0
    price = node.decimal("PurchasePrice") or Decimal(0)
    further = max(quantity - 1, 0) * (node.decimal("UnitAdditionalShippingCharges") or Decimal(0))
    return OrderLine(
        row=node.integer("RowId") or 0,
        reference=node.text("SellerProductId").strip(),
        name=node.text("Name").strip(),
        quantity=quantity,
        # A refused line was seen with Quantity 0 and its price still standing.
        unit_price=price / max(quantity, 1),
        state=node.text("AcceptationState").strip(),
        stage=_LINE_STAGES.get(node.text("AcceptationState").strip(), LineStage.UNKNOWN),
        condition=node.text("ProductCondition").strip(),
        ean=node.text("ProductEan").strip(),
        product_id=node.text("ProductId").strip(),
        shipping=(node.decimal("UnitShippingCharges") or Decimal(0)) + further,
        ship_by=_promise(node, "ShippingDateMax"),
        deliver_by=_promise(node, "DeliveryDateMax"),
        has_claim=node.boolean("HasClaim") or False,
    )


def _parcel(node: Node) -> Parcel:
    return Parcel(
        number=node.text("CustomerNum").strip(),
        carrier=node.text("ExternalCarrierName").strip() or node.text("RealCarrierCode").strip(),
        tracking_url=node.text("ExternalCarrierTrackingUrl").strip(),
        status=node.text("ParcelStatus").strip(),
        is_return=node.boolean("IsCustomerReturn") or False,
    )


def _voucher(node: Node, created: datetime, context: Context) -> Voucher:
    refund = node.child("RefundInformation")
    amount = None if refund is None else refund.decimal("Amount")
    motive = None if refund is None else refund.integer("MotiveId")
    if amount is None or motive is None:
        raise node.broken("RefundInformation", "without amount or motive")
    return Voucher(
        amount=amount,
        motive=motive,
        created_at=instant(node, "CreateDate", created, context),
        source=node.text("Source").strip(),
    )
