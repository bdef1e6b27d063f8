"""A movement of money as a request, and its answer item by item.

The rule: only what the answer plainly grants is GRANTED, only what it plainly refuses is REFUSED,
and all else (not named, contradicting itself, granted with words of trouble) is UNKNOWN, because
the service was seen to call a failure a success and knows no way to ask twice safely. A request
that can't say exactly what is meant is never built.

Pure. Which movement applies to an order is `domain/money`'s business, whether it really happened
is read from the order (`orders`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mailbridge.domain.money import Cause, GestureMotive, Movement, MovementKind
from mailbridge.domain.order import OrderLine
from mailbridge.marketplace.cdiscount.envelope import judge
from mailbridge.marketplace.cdiscount.mapping import Context
from mailbridge.marketplace.cdiscount.reading import Node
from mailbridge.marketplace.port import (
    ItemAnswer,
    ItemResult,
    MoneyRules,
    RefusedError,
    TransientError,
)
from mailbridge.marketplace.scrub import scrub

__all__ = ["GESTURE", "RULES", "Request", "answers", "request"]

RULES = MoneyRules(
    kinds=frozenset(MovementKind),
    motives=frozenset(GestureMotive),
    # ValidateOrderList wants a state for every line of the order.
    single_lines_before_shipment=False,
    gesture_before_shipment=True,
)
GESTURE = ""
"""The port's key for the one item of a gesture."""

_REFUSED_STATE = "ShipmentRefusedBySeller"
# WSDL `SellerRefundRequestMode` and `RefundMotive`.
_CAUSES = {
    Cause.CLAIM: ("Claim", "ClientClaim"),
    Cause.WITHDRAWAL: ("Retraction", "ClientRetraction"),
    Cause.GOODWILL: ("Claim", "VendorInitiatedRefund"),
    Cause.OUT_OF_STOCK: ("Claim", "ProductStockUnavailable"),
}


@dataclass(frozen=True, slots=True)
class Request:
    """Which operation to call, and its parameters."""

    operation: str
    parts: Mapping[str, Any]


def request(movement: Movement) -> Request:
    """The call that asks for a movement; RefusedError where it could not be said exactly."""
    match movement.kind:
        case MovementKind.CANCELLATION:
            return _cancellation(movement)
        case MovementKind.REFUND:
            _lines(movement)
            return _voucher(movement, refunds=[_refund(movement, x) for x in movement.lines])
        case MovementKind.GESTURE:
            if movement.motive is None or movement.amount <= 0:
                raise RefusedError("a gesture needs an amount and a motive")
            # Never in the form 1E+1, which xs:decimal does not know.
            gesture = {"Amount": f"{movement.amount:f}", "MotiveId": int(movement.motive)}
            return _voucher(movement, gestures=[gesture])


def _lines(movement: Movement) -> None:
    """Lines go by the seller's reference only: it must be there, and mean one line."""
    references = [line.reference for line in movement.lines]
    if not references:
        raise RefusedError("no line of the order was named")
    if "" in references or len(set(references)) < len(references):
        raise RefusedError("a line has no seller reference of its own, so it can't be named")


def _cancellation(movement: Movement) -> Request:
    _lines(movement)
    chosen = {_key(line) for line in movement.lines}
    every = [line for line in movement.order.lines if line.reference]
    if not chosen <= {_key(line) for line in every}:
        raise RefusedError("a line named is none of this order's")
    order = {
        "OrderLineList": {
            "ValidateOrderLine": [_validated(line, _key(line) in chosen) for line in every]
        },
        "OrderNumber": movement.order.number,
        "OrderState": _REFUSED_STATE,
    }
    message = {"OrderList": {"ValidateOrder": [order]}}
    return Request("ValidateOrderList", {"validateOrderListMessage": message})


def _key(line: OrderLine) -> tuple[int, str]:
    return line.row, line.reference


def _validated(line: OrderLine, chosen: bool) -> dict[str, str]:
    asked = {
        "AcceptationState": _REFUSED_STATE if chosen else line.state,
        "SellerProductId": line.reference,
    }
    # An enumeration: an empty one would not be understood, a missing one is.
    return {**asked, "ProductCondition": line.condition} if line.condition else asked


def _refund(movement: Movement, line: OrderLine) -> dict[str, Any]:
    mode, motive = _CAUSES[movement.cause]
    return {
        "Mode": mode,
        "Motive": motive,
        "RefundOrderLine": {
            "RefundShippingCharges": movement.with_shipping,
            "SellerProductId": line.reference,
        },
    }


def _voucher(
    movement: Movement,
    *,
    gestures: Iterable[Mapping[str, Any]] = (),
    refunds: Iterable[Mapping[str, Any]] = (),
) -> Request:
    # Both lists stand in the recorded request, the unused one empty.
    parts = {
        "CommercialGestureList": {"RefundInformation": list(gestures)},
        "OrderNumber": movement.order.number,
        "SellerRefundList": {"SellerRefundRequest": list(refunds)},
    }
    return Request("CreateRefundVoucher", {"request": parts})


# Answers


def answers(result: Node, movement: Movement, context: Context) -> dict[str, ItemResult]:
    """What was said about each item asked for, by line reference or `GESTURE`.

    Raises RefusedError (or NotAuthorizedError) where the whole request was refused; ContractError
    for an answer that does not parse, after which the money may have moved.
    """
    if movement.kind is MovementKind.CANCELLATION:
        return _cancelled(result, movement, context)
    return _given(result, movement, context)


def _cancelled(result: Node, movement: Movement, context: Context) -> dict[str, ItemResult]:
    results = list(result.items("ValidateOrderResults", "ValidateOrderResult"))
    if not results:
        _refused_whole(result, context)
    ours = [x for x in results if x.text("OrderNumber").strip() == movement.order.number]
    granted_whole = result.boolean("OperationSuccess") is not False
    found: dict[str, list[ItemResult]] = {}
    for order in ours:
        validated = order.boolean("Validated")
        of_order = _errors(order, context) or _words(result, "ErrorMessage", context)
        said: set[str] = set()
        for line in order.items("ValidateOrderLineResults", "ValidateOrderLineResult"):
            reference = line.text("SellerProductId").strip()
            said.add(reference)
            updated = line.boolean("Updated")
            errors = _errors(line, context)
            if updated is False:
                judged = ItemResult(ItemAnswer.REFUSED, errors or of_order)
            elif updated and validated and granted_whole and not errors:
                judged = ItemResult(ItemAnswer.GRANTED)
            else:
                judged = ItemResult(ItemAnswer.UNKNOWN, errors or of_order)
            found.setdefault(reference, []).append(judged)
        if validated is False:
            # Recorded so: the order alone is named, with an empty list of lines.
            for x in movement.lines:
                if x.reference not in said:
                    refusal = ItemResult(ItemAnswer.REFUSED, of_order)
                    found.setdefault(x.reference, []).append(refusal)
    return {x.reference: _one(found.get(x.reference, ())) for x in movement.lines}


def _given(result: Node, movement: Movement, context: Context) -> dict[str, ItemResult]:
    gestures = list(result.items("CommercialGestureList", "RefundInformationMessage"))
    refunds = list(result.items("SellerRefundList", "SellerRefundResult"))
    if not gestures and not refunds:
        _refused_whole(result, context)
    number = result.text("OrderNumber").strip()
    if number and number != movement.order.number:
        raise result.broken("OrderNumber", "another order's than the one asked about")
    granted_whole = result.boolean("OperationSuccess") is not False
    if movement.kind is MovementKind.GESTURE:
        ours = [
            _item(node, granted_whole, context)
            for node in gestures
            if node.decimal("Amount") == movement.amount
            and node.integer("MotiveId") == movement.motive
        ]
        return {GESTURE: _one(ours)}
    found: dict[str, list[ItemResult]] = {}
    for node in refunds:
        judged = _item(node, granted_whole, context)
        found.setdefault(node.text("SellerProductId").strip(), []).append(judged)
    return {x.reference: _one(found.get(x.reference, ())) for x in movement.lines}


def _item(node: Node, granted_whole: bool, context: Context) -> ItemResult:
    success = node.boolean("OperationSuccess")
    words = _words(node, "ErrorMessage", context)
    if success is False:
        return ItemResult(ItemAnswer.REFUSED, words)
    granted = success and granted_whole and not words
    return ItemResult(ItemAnswer.GRANTED if granted else ItemAnswer.UNKNOWN, words)


def _one(judged: Iterable[ItemResult]) -> ItemResult:
    """One answer out of all that were given about one item: a doubled one must agree."""
    every = list(judged)
    if every and len({each.answer for each in every}) == 1:
        return every[0]
    return ItemResult(ItemAnswer.UNKNOWN, "; ".join(x.words for x in every if x.words))


def _refused_whole(result: Node, context: Context) -> None:
    """Raise for an answer without an item; one that claims success all the same passes."""
    try:
        judge(result, context.secrets)
    except TransientError as error:
        # Quota: the service said that it did nothing.
        raise TransientError(str(error), sent=False, retry_after=error.retry_after) from None


def _errors(node: Node, context: Context) -> str:
    said = (_words(each, "Message", context) for each in node.items("Errors", "Error"))
    return "; ".join(dict.fromkeys(filter(None, said)))


def _words(node: Node, name: str, context: Context) -> str:
    return scrub(node.text(name).strip(), context.secrets)
