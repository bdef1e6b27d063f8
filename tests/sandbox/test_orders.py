"""Money: what is granted, what is refused, and when it shows."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from mailbridge.sandbox.books import Books
from mailbridge.sandbox.clock import HandClock
from mailbridge.sandbox.people import Cast
from mailbridge.sandbox.wire import MAIL
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

    def test_a_line_that_is_settled_is_named_as_it_is(self, books: Books, cast: Cast) -> None:
        order = cast.order(lines=2)
        first, second = order.lines
        first.state = "RefundedAfterCustomerCancellation"
        wanted = {first.reference: first.state, second.reference: REFUSED}
        answer = books.orders.validate(order.number, REFUSED, wanted)
        assert answer.lines == {first.reference: (True, ()), second.reference: (True, ())}
        books.orders.get(order.number)
        assert first.state == "RefundedAfterCustomerCancellation"
        assert second.state == "RefundedAfterShipmentRefused"

    def test_a_line_still_to_be_shipped_cannot_be_left_so(self, books: Books, cast: Cast) -> None:
        order = cast.order(lines=2)
        first, second = order.lines
        wanted = {first.reference: first.state, second.reference: REFUSED}
        answer = books.orders.validate(order.number, REFUSED, wanted)
        assert not answer.validated
        assert answer.lines[first.reference][1][0].kind == "OrderLineIncoherentState"

    def test_refused_by_line(self, books: Books, cast: Cast) -> None:
        order = cast.order(lines=2)
        order.lines[0].refuses_money = "Déjà préparée"
        wanted = {line.reference: REFUSED for line in order.lines}
        answer = books.orders.validate(order.number, REFUSED, wanted)
        assert not answer.validated
        assert [each.message for each in answer.lines[order.lines[0].reference][1]] == [
            "Déjà préparée"
        ]
        assert order.state == "WaitingForShipmentAcceptation"

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

    def test_one_line_refused_the_other_granted(self, books: Books, cast: Cast) -> None:
        order = cast.order(lines=2, shipped_days_ago=2)
        order.lines[0].refuses_money = "Délai dépassé"
        asked = [(line.reference, "ClientClaim", False) for line in order.lines]
        done = books.orders.refund(order.number, [], asked)
        assert [each.error for each in done.refunds] == ["Délai dépassé", ""]
        assert [line.state for line in order.lines] == ["ShippedBySeller", "RefundedAfterShipping"]

    def test_a_success_that_is_a_failure(self, books: Books, cast: Cast) -> None:
        shipped, waiting = cast.order(shipped_days_ago=2), cast.order()
        shipped.hollow_money = waiting.hollow_money = True
        line = shipped.lines[0]
        asked = [(line.reference, "ClientClaim", False)]
        done = books.orders.refund(shipped.number, [(Decimal(5), 135)], asked)
        assert done.gestures[0].error == done.refunds[0].error == ""
        wanted = {waiting.lines[0].reference: REFUSED}
        assert books.orders.validate(waiting.number, REFUSED, wanted).validated
        assert (shipped.vouchers, line.state) == ([], "ShippedBySeller")
        assert waiting.lines[0].state == "AcceptedBySeller"

    def test_what_shows_late_counts_as_a_change_when_it_shows(
        self, books: Books, cast: Cast, clock: HandClock
    ) -> None:
        books.orders.money_lag = timedelta(hours=1)
        order = cast.order(shipped_days_ago=2)
        shows = clock() + timedelta(hours=1)
        books.orders.refund(order.number, [(Decimal(5), 135)], [])
        clock.advance(timedelta(hours=3))
        books.orders.get(order.number)
        assert order.updated_at == shows


async def test_the_alias_is_refused_four_weeks_after_shipping(
    soap: Soap, cast: Cast, clock: HandClock
) -> None:
    order = cast.order(shipped_days_ago=20)
    asked = (
        "<c:orderFilter><c:OrderReferenceList>"
        f"<a:string>{order.number}</a:string></c:OrderReferenceList></c:orderFilter>"
    )
    guid = f'<c:request><g:ScopusId xmlns:g="{MAIL}">{order.number}</g:ScopusId></c:request>'
    before = (await soap.call("GetOrderList", asked)).one("EncryptedEmail")
    assert before
    assert (await soap.call("GenerateDiscussionMailGuid", guid)).one("MailGuid") == before
    clock.advance(timedelta(days=9))
    soap.token = ""
    shown = await soap.call("GetOrderList", asked)
    assert shown.one("OrderNumber") == order.number, "the order is shown all the same"
    assert shown.one("EncryptedEmail") is None
    assert "4 semaines" in (shown.one("ErrorMessage") or "")
    refused = await soap.call("GenerateDiscussionMailGuid", guid)
    assert (refused.one("OperationSuccess"), refused.one("MailGuid")) == ("false", None)
    assert "4 semaines" in (refused.one("ErrorMessage") or "")


@pytest.mark.parametrize(
    ("dates", "found"),
    [
        ({"BeginCreationDate": "2019-04-01", "BeginModificationDate": "2019-04-20"}, 1),
        ({"EndCreationDate": "2019-04-10", "EndModificationDate": "2019-04-30"}, 1),
        ({"BeginModificationDate": "2019-04-20"}, 2),
        ({"EndCreationDate": "2019-04-10"}, 2),
    ],
)
async def test_dates_of_orders_count_in_pairs(
    soap: Soap, cast: Cast, clock: HandClock, dates: dict[str, str], found: int
) -> None:
    """Told of the real service: one kind of date needs the other kind's beside it."""
    for age, changed in ((30, 30), (10, 1)):
        order = cast.order(age=timedelta(days=age))
        order.updated_at = clock() - timedelta(days=changed)
    filled = "".join(f"<c:{name}>{day}T00:00:00</c:{name}>" for name, day in dates.items())
    states = "<c:OrderStateEnum>WaitingForShipmentAcceptation</c:OrderStateEnum>"
    answer = await soap.call(
        "GetOrderList", f"<c:orderFilter>{filled}<c:States>{states}</c:States></c:orderFilter>"
    )
    assert len(answer.all("OrderNumber")) == found


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
