"""Money: what is granted, what is refused, and when it shows."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from mailbridge.sandbox.books import Books
from mailbridge.sandbox.clock import HandClock
from mailbridge.sandbox.people import Cast
from tests.sandbox.soap import Soap

REFUSED = "ShipmentRefusedBySeller"


class TestBeforeShipment:
    def test_refusing_shipment_refunds_later(
        self, books: Books, cast: Cast, clock: HandClock
    ) -> None:
        books.orders.money_lag = timedelta(hours=2)
        order = cast.order(lines=2)
        wanted = {line.reference: REFUSED for line in order.lines}
        assert books.orders.validate(order.number, REFUSED, wanted).validated
        assert {line.state for line in order.lines} == {REFUSED}
        clock.advance(timedelta(hours=2))
        books.orders.get(order.number)
        assert {line.state for line in order.lines} == {"RefundedAfterShipmentRefused"}
        assert {line.quantity for line in order.lines} == {0}

    def test_every_line_must_be_named(self, books: Books, cast: Cast) -> None:
        order = cast.order(lines=2)
        answer = books.orders.validate(order.number, REFUSED, {order.lines[0].reference: REFUSED})
        assert not answer.validated
        assert order.lines[1].reference in answer.errors[0].message
        assert order.state == "WaitingForShipmentAcceptation"

    def test_a_wrong_reference_is_refused_line_by_line(self, books: Books, cast: Cast) -> None:
        order = cast.order()
        wanted = {order.lines[0].reference: REFUSED, "AUTRE": REFUSED}
        answer = books.orders.validate(order.number, REFUSED, wanted)
        assert not answer.validated
        assert answer.lines["AUTRE"][1][0].kind == "OrderLineNotFound"
        assert order.lines[0].state == "AcceptedBySeller", "nothing was done by halves"

    def test_one_line_shipped_one_refused(self, books: Books, cast: Cast) -> None:
        order = cast.order(lines=2)
        first, second = (line.reference for line in order.lines)
        wanted = {first: "ShippedBySeller", second: REFUSED}
        assert books.orders.validate(order.number, "Shipped", wanted).validated
        assert (order.state, order.lines[0].state) == ("Shipped", "ShippedBySeller")

    def test_too_late_once_shipped(self, books: Books, cast: Cast) -> None:
        order = cast.order(shipped_days_ago=1)
        wanted = {order.lines[0].reference: REFUSED}
        (error,) = books.orders.validate(order.number, REFUSED, wanted).errors
        assert error.kind == "OrderStateIncoherent"


class TestAfterShipment:
    def test_a_line_once(self, books: Books, cast: Cast) -> None:
        order = cast.order(shipped_days_ago=2)
        line = order.lines[0]
        line.shipping = Decimal("4.90")
        asked = [(line.reference, "ClientClaim", True)]
        first = books.orders.refund(order.number, [], asked).refunds[0]
        assert (first.value, first.error) == (line.price + Decimal("4.90"), "")
        assert line.state == "RefundedAfterShipping"
        again = books.orders.refund(order.number, [], asked).refunds[0]
        assert again.error
        assert again.value == 0

    def test_a_refund_that_shows_late_is_not_given_twice(
        self, books: Books, cast: Cast, clock: HandClock
    ) -> None:
        books.orders.money_lag = timedelta(hours=1)
        order = cast.order(shipped_days_ago=2)
        line = order.lines[0]
        asked = [(line.reference, "ClientClaim", False)]
        assert not books.orders.refund(order.number, [], asked).refunds[0].error
        assert line.state == "ShippedBySeller"
        assert books.orders.refund(order.number, [], asked).refunds[0].error
        clock.advance(timedelta(hours=1))
        books.orders.get(order.number)
        assert line.state == "RefundedAfterShipping"

    def test_a_gesture_is_given_as_often_as_it_is_asked(
        self, books: Books, cast: Cast, clock: HandClock
    ) -> None:
        books.orders.money_lag = timedelta(hours=1)
        order = cast.order()
        for _ in range(2):
            books.orders.refund(order.number, [(Decimal("5.00"), 135)], [])
        assert books.orders.visible_vouchers(order) == ()
        clock.advance(timedelta(hours=1))
        assert [each.amount for each in books.orders.visible_vouchers(order)] == [Decimal(5)] * 2

    def test_item_by_item(self, books: Books, cast: Cast) -> None:
        order = cast.order()
        gestures = [(Decimal(5), 135), (Decimal(-1), 135), (Decimal(5), 7)]
        done = books.orders.refund(order.number, gestures, [("AUTRE", "ClientClaim", False)])
        assert not done.error
        assert [bool(each.error) for each in done.gestures] == [False, True, True]
        assert [bool(each.error) for each in done.refunds] == [True]
        assert len(order.vouchers) == 1

    def test_the_marketplace_s_own_orders_only_after_shipping(
        self, books: Books, cast: Cast
    ) -> None:
        order = cast.order()
        order.fulfilment = "MKPFBC"
        assert books.orders.refund(order.number, [(Decimal(5), 135)], []).gestures[0].error

    def test_refused_by_order(self, books: Books, cast: Cast) -> None:
        order = cast.order(shipped_days_ago=2)
        order.refuses_money = "Remboursement impossible"
        asked = [(order.lines[0].reference, "ClientClaim", False)]
        done = books.orders.refund(order.number, [(Decimal(5), 135)], asked)
        assert done.gestures[0].error == done.refunds[0].error == "Remboursement impossible"
        assert order.lines[0].state == "ShippedBySeller"


async def test_the_answer_s_success_is_not_the_items_success(soap: Soap, cast: Cast) -> None:
    order = cast.order(shipped_days_ago=2)
    line = order.lines[0]
    answer = await soap.call(
        "CreateRefundVoucher",
        "<c:request><c:CommercialGestureList>"
        "<c:RefundInformation><c:Amount>12.50</c:Amount><c:MotiveId>135</c:MotiveId>"
        "</c:RefundInformation></c:CommercialGestureList>"
        f"<c:OrderNumber>{order.number}</c:OrderNumber><c:SellerRefundList>"
        "<c:SellerRefundRequest><c:Mode>Claim</c:Mode><c:Motive>ClientClaim</c:Motive>"
        f"<c:RefundOrderLine><c:SellerProductId>{line.reference}X</c:SellerProductId>"
        "</c:RefundOrderLine></c:SellerRefundRequest></c:SellerRefundList></c:request>",
    )
    assert answer.all("OperationSuccess") == ["true", "true", "false"]
    assert answer.all("Amount") == ["12.5"]
    shown = await soap.call(
        "GetOrderList",
        "<c:orderFilter><c:FetchOrderLines>true</c:FetchOrderLines>"
        f"<c:OrderReferenceList><a:string>{order.number}</a:string></c:OrderReferenceList>"
        "</c:orderFilter>",
    )
    assert (shown.one("Amount"), shown.one("MotiveId")) == ("12.5", "135")
