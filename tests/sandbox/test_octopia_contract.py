"""Simulator and contract say the same; and the watch that holds them together really looks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from openapi_spec_validator import validate

from mailbridge.sandbox.books import BookedFile, Books
from mailbridge.sandbox.faults import GET_TOKEN, RawAnswer, Rewrite
from mailbridge.sandbox.octopia import OctopiaSimulator, PatchKey, Rules
from mailbridge.sandbox.people import Cast
from tests.octopia import ContractWatch, contract, operations
from tests.sandbox.rest import Rest

ANSWER = "Bonjour, votre colis part demain."


@pytest.fixture
def books(books: Books) -> Books:
    books.seller_lag = timedelta(0)
    return books


@pytest_asyncio.fixture
async def watched(books: Books) -> AsyncIterator[tuple[Rest, ContractWatch]]:
    """A client, and what the watch finds; unlike `octopia` nothing is asserted at the end."""
    simulator = OctopiaSimulator(books)
    watch = ContractWatch(simulator)
    async with simulator, httpx.AsyncClient(timeout=5) as http:
        yield Rest(simulator, http), watch


def test_the_contract_is_one() -> None:
    validate(contract())
    for method, path in operations().values():
        operation = contract()["paths"][path][method.lower()]
        assert operation["x-evidence"] in {"documented", "seen", "sdk", "assumed"}


@pytest.mark.parametrize(
    "rules",
    [
        Rules(),
        Rules(
            receiver_list=True,
            patch_key=PatchKey.OP,
            cancellation_key="orderId",
            shipping_once=True,
            html_bodies=True,
            announces_files=True,
            newest_first=True,
            names_created=False,
            asynchronous_status=202,
            tells_life=False,
        ),
    ],
    ids=["default", "otherwise"],
)
async def test_a_walk_through_every_call(books: Books, cast: Cast, rules: Rules) -> None:
    order, shipped = cast.order(lines=2), cast.order(lines=2, shipped_days_ago=2)
    claim = cast.claim(shipped)
    books.operator_writes(claim, "Merci de répondre.")
    books.customer_writes(claim, "Voici.", files=[BookedFile("photo.jpg", b"\xff\xd8")])
    cast.offer_question()
    simulator = OctopiaSimulator(books, rules=rules)
    watch = ContractWatch(simulator)
    async with simulator, httpx.AsyncClient(timeout=5) as http:
        rest = Rest(simulator, http)
        await rest.whole("/discussions", pageSize=1, includeMessages="LastMessage", isOpen=True)
        whole = await rest.get(f"/discussions/{claim.object_id}")
        await rest.whole("/attachments", messageId=whole["messages"][0]["messageId"])
        await rest.get("/typologies", salesChannel="CDISFR")
        await rest.get("/sales-channel-configurations/CDISFR")
        await rest.get("/sellers")

        to: dict[str, Any] = {"receiver": "Customer"}
        step: dict[str, Any] = {"opt": "replace", "path": "/hasRead", "value": "true"}
        close: dict[str, Any] = {"opt": "replace", "path": "/isOpen", "value": "false"}
        reply = dict(to)
        if rules.receiver_list:
            to = {"receivers": [whole["receivers"][0]]}
            reply = {**to, "salesChannel": "CDISFR"}
        if rules.patch_key is PatchKey.OP:
            step = {"op": "replace", "path": "/hasRead", "value": True}
            close = {"op": "replace", "path": "/isOpen", "value": False}
        file = {"content": "eA==", "name": "facture", "fileFormat": "pdf"}
        made = [
            await rest.call(
                "POST",
                "/messages",
                {
                    "discussionId": claim.object_id,
                    "body": ANSWER,
                    "attachments": [file],
                    **reply,
                },
            ),
            await rest.call(
                "POST",
                "/discussions",
                {
                    "subject": "Votre commande",
                    "orderId": order.number,
                    "salesChannel": "CDISFR",
                    "subtypologyCode": "sellerInformation",
                    "message": {"body": ANSWER, **to},
                },
            ),
            await rest.call("PATCH", f"/messages/{whole['messages'][0]['messageId']}", [step]),
            await rest.call("PATCH", f"/discussions/{claim.object_id}", [close]),
        ]

        await rest.whole("/orders", pageSize=1)
        line = (await rest.get(f"/orders/{shipped.number}"))["lines"][0]
        await rest.get("/cancellation-reasons", salesChannel="CDISFR")
        await rest.get(f"/orders/{shipped.number}/commercial-gestures-available-amounts")
        wanted = {"lineId": line["orderLineId"], "offerId": line["offer"]["id"]}
        shipping = {"shippingCostRefund": False}
        wanted["reason"] = "seller-out-of-stock"
        lines = (
            {"lines": [wanted], **shipping}
            if rules.shipping_once
            else {"lines": [{**wanted, **shipping}]}
        )
        made += [
            await rest.call(
                "POST",
                "/order-cancellation-requests",
                {rules.cancellation_key: order.number, "reason": "seller-error", **shipping},
            ),
            await rest.call(
                "POST",
                "/order-partial-cancellation-requests",
                {"orderSellerId": shipped.number, **lines},
            ),
            await rest.call(
                "POST",
                "/order-commercial-gesture-requests",
                {"orderId": shipped.number, "reason": "MissingProduct", "amount": 1},
            ),
        ]
        assert [answer.status_code // 100 for answer in made] == [2] * 7
        await rest.whole("/order-cancellation-requests")
        [gesture] = await rest.whole("/order-commercial-gesture-requests")
        await rest.get(f"/order-commercial-gesture-requests/{gesture['requestId']}")

        assert watch.faults == []
        well = {name for name, status in watch.seen if status < 300}
        assert well == {*operations(), GET_TOKEN} - {"getToken"}

        # Every call has a way to go wrong that is described as well.
        simulator.tokens.expire()
        for method, path in operations().values():
            if path.startswith("/auth"):
                continue
            there = path.format_map(dict.fromkeys(_NAMES, "x"))
            refused = await rest.call(method, there, None if method == "GET" else {})
            assert refused.status_code == 401
        assert watch.faults == []


_NAMES = ("discussionId", "messageId", "salesChannelId", "orderId", "requestId")


class TestTheWatch:
    """It is worth nothing unless it finds what is wrong."""

    async def test_an_answer_that_is_not_as_described(
        self, watched: tuple[Rest, ContractWatch], cast: Cast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rest, watch = watched
        claim = cast.claim()
        monkeypatch.setattr(
            "mailbridge.sandbox.octopia.discussions.message_document",
            lambda *_: {"messageId": "1", "createdAt": "yesterday", "sender": {}},
        )
        await rest.get(f"/discussions/{claim.object_id}")
        [fault] = watch.faults
        assert "createdAt" in fault
        assert "userType" in fault

    async def test_requests_that_are_not_as_described(
        self, watched: tuple[Rest, ContractWatch], cast: Cast
    ) -> None:
        rest, watch = watched
        claim = cast.claim()
        # The simulator is lenient about all of these; the contract is not.
        await rest.call("GET", "/discussions", colour="blue")
        await rest.call("GET", "/discussions", updatedAtMin="2019-04-25 01:00")
        await rest.reply(claim.object_id, ANSWER, salesChannelEternalReference="1")
        step = {"opt": "replace", "path": "/isOpen", "value": False}
        await rest.call("PATCH", f"/discussions/{claim.object_id}", [step])
        assert len(watch.faults) == 4
        assert "colour" in watch.faults[0]
        assert "updatedAtMin" in watch.faults[1]

    async def test_what_a_fault_has_spoiled_is_not_looked_at(
        self, watched: tuple[Rest, ContractWatch], cast: Cast
    ) -> None:
        rest, watch = watched
        cast.claim()
        rest.market.faults.once(Rewrite(b'"items"', b'"things"'), "listDiscussions")
        rest.market.faults.once(RawAnswer(b"{", 200, "application/json"), "listDiscussions")
        await rest.get("/discussions")
        await rest.call("GET", "/discussions")
        assert watch.faults == []
