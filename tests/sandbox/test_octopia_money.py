"""The newer door: orders, and money that is asked for now and moved, or refused, later."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from mailbridge.sandbox.books import Books
from mailbridge.sandbox.clock import HandClock
from mailbridge.sandbox.octopia import OctopiaSimulator
from mailbridge.sandbox.orders import BookedOrder, BookedParcel
from mailbridge.sandbox.people import Cast
from tests.sandbox.rest import Rest

LATER = timedelta(minutes=20)


@pytest.fixture
def books(books: Books) -> Books:
    books.orders.money_lag = LATER
    return books


def whole(order: BookedOrder, **changes: Any) -> dict[str, Any]:
    return {
        "orderSellerId": order.number,
        "reason": "seller-out-of-stock",
        "shippingCostRefund": True,
        **changes,
    }


async def partial(rest: Rest, order: BookedOrder, row: int) -> dict[str, Any]:
    line = (await rest.get(f"/orders/{order.number}"))["lines"][row]
    return {
        "orderSellerId": order.number,
        "lines": [
            {
                "lineId": line["orderLineId"],
                "offerId": line["offer"]["id"],
                "reason": "seller-out-of-stock",
                "shippingCostRefund": False,
            }
        ],
    }


async def statuses(rest: Rest, order: BookedOrder) -> list[str]:
    found = await rest.whole("/order-cancellation-requests", orderSellerId=order.number)
    return [each["status"] for each in found]


class TestOrders:
    async def test_an_order(self, rest: Rest, cast: Cast, books: Books) -> None:
        order = cast.order(lines=2)
        shown = await rest.get(f"/orders/{order.number}")
        line = order.lines[0]
        assert shown["status"] == "InPreparation"
        assert shown["billingAddress"]["lastName"] == order.customer.last_name
        assert shown["totalPrice"]["sellingPrice"] == float(order.total)
        assert shown["lines"][0]["offer"]["sellerProductId"] == line.reference
        assert shown["lines"][0]["sellingPrice"]["unitSalesPrice"] == float(line.price)
        claim = cast.claim(order)
        told = await rest.get(f"/discussions/{claim.object_id}")
        assert told["customerId"] == shown["customer"]["reference"]
        books.orders.ship(order, BookedParcel("6A1", "Colissimo", "https://tracking.example/6A1"))
        shown = await rest.get(f"/orders/{order.number}")
        assert (shown["status"], shown["lines"][1]["status"]) == ("Shipped", "Shipped")
        assert shown["lines"][0]["parcels"][0]["parcelNumber"] == "6A1"
        assert (await rest.call("GET", "/orders/NONE")).status_code == 404

    async def test_orders_of_other_channels_have_two_numbers(
        self, rest: Rest, cast: Cast, books: Books
    ) -> None:
        order = books.orders.add(
            BookedOrder("1055472612-A", cast.customer(), books.clock(), [], channel="RAKUFR")
        )
        [found] = await rest.whole("/orders", reference="1055472612")
        assert (found["orderId"], found["reference"]) == (order.number, "1055472612")
        assert found["salesChannel"]["id"] == "RAKUFR"
        assert await rest.whole("/orders", salesChannelId="CDISFR") == []

    async def test_changed_orders(self, rest: Rest, cast: Cast, clock: HandClock) -> None:
        old = cast.order(age=timedelta(days=30))
        new = cast.order(shipped_days_ago=1)
        since = "2019-04-20T00:00:00Z"
        found = await rest.whole("/orders", updatedAtMin=since, pageSize=1)
        assert [each["orderId"] for each in found] == [new.number]
        found = await rest.whole("/orders", status="InPreparation,Shipped", pageSize=1)
        assert [each["orderId"] for each in found] == [old.number, new.number]


class TestCancellations:
    async def test_a_request_is_pending_until_its_time_has_come(
        self, rest: Rest, cast: Cast, clock: HandClock
    ) -> None:
        order = cast.order()
        made = await rest.call("POST", "/order-cancellation-requests", whole(order))
        assert made.status_code == 201
        assert await statuses(rest, order) == ["Pending"]
        assert (await rest.get(f"/orders/{order.number}"))["status"] == "InPreparation"
        clock.advance(LATER)
        [done] = await rest.whole(
            "/order-cancellation-requests",
            cancellationRequestId=made.json()["cancellationRequestId"],
        )
        assert (done["status"], done["userType"]) == ("Accepted", "Seller")
        shown = await rest.get(f"/orders/{order.number}")
        assert (shown["status"], shown["lines"][0]["status"]) == ("Cancelled", "Cancelled")
        assert shown["lines"][0]["quantity"] == 1
        assert order.lines[0].state == "RefundedAfterShipmentRefused"  # the older door's word
        again = await rest.call("POST", "/order-cancellation-requests", whole(order))
        assert again.status_code == 400

    async def test_one_line_after_shipment(self, rest: Rest, cast: Cast, clock: HandClock) -> None:
        order = cast.order(lines=2, shipped_days_ago=3)
        body = await partial(rest, order, 1)
        made = await rest.call("POST", "/order-partial-cancellation-requests", body)
        assert made.status_code == 201
        clock.advance(LATER)
        assert await statuses(rest, order) == ["Accepted"]
        lines = (await rest.get(f"/orders/{order.number}"))["lines"]
        assert [line["status"] for line in lines] == ["Shipped", "Cancelled"]
        assert order.lines[1].state == "RefundedAfterShipping"
        assert order.lines[1].refunded_shipping is False

    async def test_the_same_twice_is_two_requests_and_the_second_fails_late(
        self, rest: Rest, cast: Cast, clock: HandClock
    ) -> None:
        order = cast.order(shipped_days_ago=3)
        body = whole(order)
        for _ in range(2):
            made = await rest.call("POST", "/order-cancellation-requests", body)
            assert made.status_code == 201
        assert await statuses(rest, order) == ["Pending", "Pending"]
        clock.advance(LATER)
        assert await statuses(rest, order) == ["Accepted", "Refused"]

    async def test_refused_late_nothing_moves(
        self, rest: Rest, cast: Cast, clock: HandClock, octopia: OctopiaSimulator
    ) -> None:
        order = cast.order(shipped_days_ago=3)
        octopia.requests.refuse_next("Le colis est déjà remboursé par le transporteur.")
        made = await rest.call("POST", "/order-cancellation-requests", whole(order))
        assert made.status_code == 201
        assert await statuses(rest, order) == ["Pending"]
        clock.advance(LATER)
        [refused] = await rest.whole("/order-cancellation-requests", orderSellerId=order.number)
        assert refused["status"] == "Refused"
        assert refused["refusalReason"].startswith("Le colis est déjà")
        assert order.lines[0].state == "ShippedBySeller"

    async def test_a_customers_request_is_listed_too(self, rest: Rest, cast: Cast) -> None:
        order = cast.order()
        order.request_cancellation()
        [shown] = await rest.whole("/order-cancellation-requests", orderSellerId=order.number)
        assert (shown["userType"], shown["status"]) == ("Customer", "Pending")

    async def test_what_is_wrong_is_named(
        self, rest: Rest, cast: Cast, octopia: OctopiaSimulator
    ) -> None:
        order = cast.order(lines=2)
        fresh = cast.order()
        fresh.state = "WaitingForSellerAcceptation"
        line = (await partial(rest, order, 0))["lines"][0]
        once = {name: value for name, value in line.items() if name != "shippingCostRefund"}
        path, lines = "/order-cancellation-requests", "/order-partial-cancellation-requests"
        for where, body, field in (
            (path, whole(order, reason="because"), "reason"),
            (path, whole(order, orderSellerId=None, orderId=order.number), "orderSellerId"),
            (path, whole(order, shippingCostRefund=None), "shippingCostRefund"),
            (path, whole(fresh), "orderSellerId"),
            (lines, {"orderSellerId": order.number, "lines": [once]}, "shippingCostRefund"),
            (
                lines,
                {"orderSellerId": order.number, "lines": [{**line, "offerId": "x"}]},
                "lines[0].offerId",
            ),
        ):
            refused = await rest.call("POST", where, body)
            assert (refused.status_code, list(refused.json()["errors"])) == (400, [field])
        octopia.rules.cancellation_key = "orderId"
        octopia.rules.shipping_once = True
        body = {"orderSellerId": order.number, "lines": [once], "shippingCostRefund": True}
        assert (await rest.call("POST", lines, body)).status_code == 201
        body = whole(order, orderId=order.number)
        del body["orderSellerId"]
        assert (await rest.call("POST", path, body)).status_code == 201
        reasons = await rest.get(
            "/cancellation-reasons", salesChannel="CDISFR", userType="Seller", orderStatus="Shipped"
        )
        assert {"code": "seller-out-of-stock", "label": "Rupture de stock"} in reasons["items"]


class TestGestures:
    @staticmethod
    def body(order: BookedOrder, **changes: Any) -> dict[str, Any]:
        return {
            "orderId": order.number,
            "reason": "Other",
            "reasonDetails": "Retard de livraison",
            "amount": 12.5,
            **changes,
        }

    async def test_within_the_amount_and_only_later(
        self, rest: Rest, cast: Cast, books: Books, clock: HandClock
    ) -> None:
        order = cast.order(shipped_days_ago=3)
        amounts = f"/orders/{order.number}/commercial-gestures-available-amounts"
        before = (await rest.get(amounts))["allowableAmount"]
        assert before == float(order.total)
        made = await rest.call("POST", "/order-commercial-gesture-requests", self.body(order))
        ident = made.json()["requestId"]
        path = f"/order-commercial-gesture-requests/{ident}"
        assert (await rest.get(path))["status"] == "Pending"
        clock.advance(LATER)
        assert (await rest.get(path))["status"] == "Accepted"
        assert [(v.amount, v.motive) for v in books.orders.visible_vouchers(order)] == [
            (Decimal("12.5"), 139)
        ]
        assert (await rest.get(amounts))["allowableAmount"] == float(order.total - Decimal("12.5"))
        too_much = self.body(order, amount=before)
        refused = await rest.call("POST", "/order-commercial-gesture-requests", too_much)
        assert list(refused.json()["errors"]) == ["amount"]

    async def test_refused_late_nothing_moves(
        self, rest: Rest, cast: Cast, clock: HandClock
    ) -> None:
        order = cast.order(shipped_days_ago=3)
        order.refuses_money = "Le client a été remboursé autrement."
        made = await rest.call("POST", "/order-commercial-gesture-requests", self.body(order))
        assert made.status_code == 201
        clock.advance(LATER)
        [shown] = await rest.whole("/order-commercial-gesture-requests", orderId=order.number)
        assert (shown["status"], shown["refusalReason"]) == ("Refused", order.refuses_money)
        assert order.vouchers == []

    async def test_what_is_wrong_is_named(self, rest: Rest, cast: Cast) -> None:
        order, waiting = cast.order(shipped_days_ago=3), cast.order()
        for body, field in (
            (self.body(order, reason="Whim"), "reason"),
            (self.body(order, reasonDetails=None), "reasonDetails"),
            (self.body(order, amount=0), "amount"),
            (self.body(order, amount=1.005), "amount"),
            (self.body(order, amount="5"), "amount"),
            (self.body(waiting), "orderId"),
        ):
            refused = await rest.call("POST", "/order-commercial-gesture-requests", body)
            assert (refused.status_code, list(refused.json()["errors"])) == (400, [field])
        assert order.vouchers == []
        amounts = f"/orders/{waiting.number}/commercial-gestures-available-amounts"
        assert (await rest.get(amounts))["allowableAmount"] == 0

    async def test_pages_go_by_cursor(self, rest: Rest, cast: Cast) -> None:
        order = cast.order(shipped_days_ago=3)
        for _ in range(5):
            body = self.body(order, amount=1)
            await rest.call("POST", "/order-commercial-gesture-requests", body)
        found = await rest.whole("/order-commercial-gesture-requests", limit=2)
        assert len({each["requestId"] for each in found}) == 5
        bad = await rest.call("GET", "/order-commercial-gesture-requests", cursor="???")
        assert list(bad.json()["errors"]) == ["cursor"]
