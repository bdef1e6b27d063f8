"""What the adapter asks for, and how it joins what it gets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from aiohttp import web
from lxml import etree

from mailbridge.domain.discussion import AuthorKind, Discussion, DiscussionKind, Status
from mailbridge.marketplace.cdiscount import CdiscountMarketplace
from mailbridge.marketplace.port import (
    CloseAnswer,
    ContractError,
    Marketplace,
    RefusedError,
    RelayStatus,
    ReplyChannel,
    Window,
)
from tests.marketplace.scripted import (
    Reply,
    ScriptedService,
    answer,
    listed,
    message,
    thread,
    token_xml,
)

NOW = datetime(2019, 4, 25, 12, 0, tzinfo=UTC)
WINDOW = Window(NOW - timedelta(hours=3), NOW)
THREE = ("GetOrderClaimList", "GetOrderQuestionList", "GetOfferQuestionList")


@pytest.fixture
async def service() -> AsyncIterator[ScriptedService]:
    async with ScriptedService() as running:
        yield running


@contextlib.asynccontextmanager
async def market(service: ScriptedService, **options: Any) -> AsyncIterator[CdiscountMarketplace]:
    made = service.marketplace(**options)
    try:
        yield made
    finally:
        await made.aclose()


def sent(request: etree._Element) -> dict[str, Any]:
    """The last parameter of a request, by local names; lists of one name become lists."""

    def value(element: etree._Element) -> Any:
        if len(element) == 0:
            return element.text or ""
        found: dict[str, Any] = {}
        for child in element:
            found.setdefault(str(etree.QName(child).localname), []).append(value(child))
        return {name: each[0] if len(each) == 1 else each for name, each in found.items()}

    result: dict[str, Any] = value(request[-1])
    return result


async def test_it_is_a_marketplace_that_answers_by_relay_mail(service: ScriptedService) -> None:
    async with market(service) as made:
        port: Marketplace = made
        able = port.capabilities
    assert able.reply_channel is ReplyChannel.RELAY_MAIL
    assert not able.can_reopen
    assert not able.message_ids
    assert AuthorKind.SELLER not in able.author_kinds
    assert able.outgoing_attachments.max_files == 3
    async with market(service, wsdl="builtin-2020") as newer:
        assert newer.capabilities.author_kinds == frozenset(AuthorKind)


async def test_a_window_is_sent_to_all_three_lists_in_paris_time(service: ScriptedService) -> None:
    async with market(service) as made:
        await made.discussions(WINDOW)
    assert sorted(name for name, _ in service.calls) == sorted(THREE)
    for operation in THREE:
        [request] = service.asked(operation)
        assert sent(request) == {
            "BeginModificationDate": "2019-04-25T11:00:00",
            "EndModificationDate": "2019-04-25T14:00:00",
            "StatusList": {"DiscussionStateFilter": "All"},
        }


@pytest.mark.parametrize(
    ("statuses", "words"),
    [
        ({Status.OPEN}, "Open"),
        ({Status.CLOSED}, "Closed"),
        ({Status.OPEN, Status.UNKNOWN}, ["Open", "NotProcessed"]),
        ({Status.OPEN, Status.CLOSED}, "All"),
        (set(), "All"),
    ],
)
async def test_the_statuses_are_always_said(
    service: ScriptedService, statuses: set[Status], words: Any
) -> None:
    async with market(service) as made:
        await made.discussions(Window(NOW, NOW, frozenset(statuses)))
    request = sent(service.asked("GetOrderClaimList")[0])
    assert request["StatusList"]["DiscussionStateFilter"] == words


async def test_the_header_is_the_one_the_service_was_seen_to_accept(
    service: ScriptedService,
) -> None:
    async with market(service, partner="Agence") as made:
        await made.orders(["1"])
    [request] = service.asked("GetOrderList")
    names = [str(etree.QName(each).localname) for each in request[0].iter()]
    assert names == [
        "headerMessage",
        *("Context", "CatalogID", "SiteID", "Localization", "Country", "Security"),
        *("DomainRightsList", "IssuerID", "SessionID", "TokenId", "UserName", "Version"),
    ]
    assert [each.text for each in request[0].iter() if each.text] == [
        *("1", "100", "Fr", "0123456789abcdef0123456789abcdef", "Agence", "1.0"),
    ]


async def test_discussions_of_all_kinds_are_joined(service: ScriptedService) -> None:
    for number, operation in enumerate(THREE, start=1):
        service.on(operation, listed(operation, thread(number, extra="")))
    async with market(service) as made:
        found = await made.discussions(WINDOW)
    assert {one.id: one.kind for one in found.discussions} == {
        "1": DiscussionKind.CLAIM,
        "2": DiscussionKind.ORDER_QUESTION,
        "3": DiscussionKind.OFFER_QUESTION,
    }
    assert not found.faults


# The one list of 2020


async def test_the_one_list_is_asked_alone_while_there_is_nothing(
    service: ScriptedService,
) -> None:
    async with market(service, wsdl="builtin-2020") as made:
        assert (await made.discussions(WINDOW)).discussions == ()
    [(operation, request)] = service.calls
    assert operation == "GetDiscussionList"
    assert sent(request)["DiscussionType"] == "All"
    assert sent(request)["BeginModificationDate"] == "2019-04-25T11:00:00"


async def test_the_kind_comes_from_the_lists_by_type_and_the_author_from_sender_type(
    service: ScriptedService,
) -> None:
    def one(number: int) -> str:
        written = message("Bonjour", sender="Ma Boutique", type_="Customer")
        claim_type = "<ClaimType>PackageNotReceived</ClaimType>"
        return thread(number, messages=written, extra=f"<OrderNumber>A</OrderNumber>{claim_type}")

    everything = listed("GetDiscussionList", *map(one, (1, 2, 3, 4)))
    by_type = {"Offer": (2,), "Arbitration": (3,), "Claim": (1,)}
    service.on(
        "GetDiscussionList",
        everything,
        *(listed("GetDiscussionList", *map(one, numbers)) for numbers in by_type.values()),
    )
    async with market(service, wsdl="builtin-2020") as made:
        found = await made.discussions(WINDOW)
    asked = [sent(request)["DiscussionType"] for request in service.asked("GetDiscussionList")]
    kinds = {one.id: one.kind for one in found.discussions}
    assert asked[0] == "All"
    assert sorted(asked[1:]) == ["Arbitration", "Claim", "Offer"]
    order_of_answers = dict(zip(asked[1:], by_type.values(), strict=True))
    for type_, numbers in order_of_answers.items():
        expected = DiscussionKind.OFFER_QUESTION if type_ == "Offer" else DiscussionKind.CLAIM
        assert kinds[str(numbers[0])] is expected
    assert kinds["4"] is DiscussionKind.ORDER_QUESTION
    for each in found.discussions:
        assert (each.claim_type is not None) == (each.kind is DiscussionKind.CLAIM)
        assert each.messages[0].author.kind is AuthorKind.CUSTOMER


async def test_a_type_that_is_refused_costs_the_kind_and_not_the_discussion(
    service: ScriptedService,
) -> None:
    service.on(
        "GetDiscussionList",
        listed("GetDiscussionList", thread(1)),
        answer("GetDiscussionList", success=False, message="Type inconnu"),
    )
    async with market(service, wsdl="builtin-2020") as made:
        found = await made.discussions(WINDOW)
    assert [one.id for one in found.discussions] == ["1"]
    assert found.faults[""] == "GetDiscussionList by type: Type inconnu"


# Reading again


def known(
    ident: str, kind: DiscussionKind, created: datetime, order: str | None = None
) -> Discussion:
    return Discussion(ident, ident, kind, Status.OPEN, created, order_number=order)


async def test_known_discussions_are_found_by_creation_and_order_number(
    service: ScriptedService,
) -> None:
    service.on("GetOrderClaimList", listed("GetOrderClaimList", thread(1), thread(99)))
    wanted = [
        known("1", DiscussionKind.CLAIM, NOW, "A"),
        known("2", DiscussionKind.CLAIM, NOW - timedelta(days=40), "B"),
        known("3", DiscussionKind.OFFER_QUESTION, NOW - timedelta(days=2)),
    ]
    async with market(service) as made:
        found = await made.read_again(wanted)
    assert [one.id for one in found.discussions] == ["1"]
    [claims] = service.asked("GetOrderClaimList")
    assert sent(claims) == {
        "BeginCreationDate": "2019-03-16T12:59:00",
        "EndCreationDate": "2019-04-25T14:01:00",
        "StatusList": {"DiscussionStateFilter": "All"},
        "OrderNumberList": {"string": ["A", "B"]},
    }
    [offers] = service.asked("GetOfferQuestionList")
    assert sent(offers) == {
        "BeginCreationDate": "2019-04-23T13:59:00",
        "EndCreationDate": "2019-04-23T14:01:00",
        "StatusList": {"DiscussionStateFilter": "All"},
    }
    assert service.asked("GetOrderQuestionList") == []


async def test_many_questions_without_an_order_take_few_calls(service: ScriptedService) -> None:
    created = [NOW - timedelta(days=day) for day in range(100)]
    wanted = [known(str(n), DiscussionKind.OFFER_QUESTION, at) for n, at in enumerate(created)]
    async with market(service) as made:
        await made.read_again(wanted)
    asked = [sent(request) for request in service.asked("GetOfferQuestionList")]
    assert len(asked) == 8
    for at in created:
        local = (at + timedelta(hours=2)).isoformat()[:19]
        if at > datetime(2019, 4, 1, tzinfo=UTC):
            assert any(a["BeginCreationDate"] <= local <= a["EndCreationDate"] for a in asked)


async def test_nothing_known_is_nothing_asked(service: ScriptedService) -> None:
    async with market(service) as made:
        assert (await made.read_again([])).discussions == ()
    assert service.calls == []
    assert service.sign_ins == []


async def test_reading_again_with_the_one_list(service: ScriptedService) -> None:
    service.on("GetDiscussionList", listed("GetDiscussionList", thread(1), thread(2)))
    async with market(service, wsdl="builtin-2020") as made:
        found = await made.read_again([known("2", DiscussionKind.CLAIM, NOW, "A")])
    assert [one.id for one in found.discussions] == ["2"]
    assert sent(service.calls[0][1])["OrderNumberList"] == {"string": "A"}


# Addresses, orders, closing


async def test_relay_addresses_are_asked_in_batches_and_strange_ids_not_at_all(
    service: ScriptedService,
) -> None:
    async with market(service) as made:
        answers = await made.relay_addresses([*map(str, range(1, 251)), "x1", "-5"])
    sizes = [
        len(sent(request)["DiscussionIds"]["long"])
        for request in service.asked("GetDiscussionMailList")
    ]
    assert sizes == [100, 100, 50]
    assert answers["x1"].status is answers["-5"].status is RelayStatus.NOT_FOUND
    assert answers["250"].status is RelayStatus.UNKNOWN
    assert len(answers) == 252


async def test_orders_are_asked_by_number_with_lines_and_parcels(service: ScriptedService) -> None:
    def order(number: str) -> str:
        return (
            f"<Order><CreationDate>2019-04-24T09:00:00</CreationDate>"
            f"<OrderNumber>{number}</OrderNumber></Order>"
        )

    inner = f"<OrderList>{order('A')}{order('Z')}</OrderList>"
    service.on("GetOrderList", answer("GetOrderList", inner))
    async with market(service) as made:
        found = await made.orders(["A", "B", "A"])
    assert list(found) == ["A"]
    [request] = service.asked("GetOrderList")
    assert sent(request) == {
        "FetchOrderLines": "true",
        "FetchParcels": "true",
        "OrderReferenceList": {"string": ["A", "B"]},
    }


async def test_an_order_that_cannot_be_read_raises_when_it_is_the_only_one(
    service: ScriptedService,
) -> None:
    inner = "<OrderList><Order><OrderNumber>A</OrderNumber></Order></OrderList>"
    service.on("GetOrderList", answer("GetOrderList", inner))
    async with market(service) as made:
        with pytest.raises(ContractError, match="Order A/CreationDate"):
            await made.orders(["A"])


async def test_an_address_for_an_order(service: ScriptedService) -> None:
    namespace = (
        "http://schemas.datacontract.org/2004/07/"
        "Cdiscount.Service.Marketplace.API.External.Contract.Data.Mail"
    )
    inner = f'<a:MailGuid xmlns:a="{namespace}">c.1@clemarche.com</a:MailGuid>'
    service.on("GenerateDiscussionMailGuid", answer("GenerateDiscussionMailGuid", inner))
    async with market(service) as made:
        assert await made.relay_address_for_order("A1") == "c.1@clemarche.com"
    assert sent(service.calls[0][1]) == {"ScopusId": "A1"}


async def test_closing_asks_once_for_all_and_answers_for_each(service: ScriptedService) -> None:
    items = "".join(
        f"<CloseDiscussionResult><DiscussionId>{n}</DiscussionId>"
        f"<OperationStatus>{word}</OperationStatus></CloseDiscussionResult>"
        for n, word in ((1, "DiscussionClosed"), (2, "UnauthorizedLastAnswer"))
    )
    inner = f"<CloseDiscussionResultList>{items}</CloseDiscussionResultList>"
    service.on("CloseDiscussionList", answer("CloseDiscussionList", inner))
    async with market(service) as made:
        answers = await made.close(["1", "2", "3", "abc"])
        assert await made.close(["abc"]) == {"abc": CloseAnswer.NOT_FOUND}
    assert answers == {
        "1": CloseAnswer.CLOSED,
        "2": CloseAnswer.LAST_ANSWER_NOT_OURS,
        "3": CloseAnswer.UNKNOWN,
        "abc": CloseAnswer.NOT_FOUND,
    }
    assert len(service.asked("CloseDiscussionList")) == 1


async def test_reopening_is_refused_without_asking(service: ScriptedService) -> None:
    async with market(service) as made:
        with pytest.raises(RefusedError, match="can't reopen"):
            await made.reopen("1")
    assert service.calls == []


async def test_check_says_what_it_found(service: ScriptedService) -> None:
    service.on("GetOrderClaimList", listed("GetOrderClaimList", thread(1), thread("x")))
    async with market(service, shop_names=()) as made:
        line = await made.check()
    assert line.startswith("signed in; WSDL shipped with mailbridge, builtin, three lists; 1 disc")
    assert "1 fault(s): OrderClaimList" not in line  # the operation is named instead
    assert "GetOrderClaimList/OrderClaimList/OrderClaim/Id: not a whole number" in line
    assert "shop_names is empty" in line


async def test_at_most_four_calls_at_once(service: ScriptedService) -> None:
    running: list[int] = [0, 0]

    async def slow(request: web.Request) -> web.StreamResponse:
        running[0] += 1
        running[1] = max(running)
        await asyncio.sleep(0.05)
        running[0] -= 1
        return web.Response(body=answer("GetOrderList").encode(), content_type="text/xml")

    service.on("GetOrderList", Reply(send=slow))
    async with market(service) as made:
        await asyncio.gather(*(made.orders([str(n)]) for n in range(10)))
    assert running[1] == 4


# The event loop


@pytest.fixture
def small_heap() -> Iterator[None]:
    """Keeps the collector off the test suite's own objects: walking them all takes 50 ms."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@contextlib.asynccontextmanager
async def lag_probe() -> AsyncIterator[list[float]]:
    """How late a timer of 2 ms fires, in seconds, while the body runs."""
    lags: list[float] = []

    async def probe() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.002)
            lags.append(time.perf_counter() - before - 0.002)

    task = asyncio.create_task(probe())
    try:
        yield lags
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def long_answer() -> bytes:
    """500 claims with 4 messages each: 1.6 MB."""
    text = "J'attends toujours mon colis, pouvez-vous me répondre ? " * 12
    messages = "".join(
        f"<Message><Content>{text}</Content><Sender>Mme Martin</Sender>"
        f"<Timestamp>2019-04-25T10:5{n}:55.177</Timestamp></Message>"
        for n in range(4)
    )
    one = [thread(n, messages=f"<Messages>{messages}</Messages>") for n in range(500)]
    return listed("GetOrderClaimList", *one).encode()


@pytest.mark.usefixtures("small_heap")
async def test_neither_loading_nor_reading_stalls_the_event_loop() -> None:
    big = long_answer()
    assert len(big) > 1_500_000

    def respond(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, stream=httpx.ByteStream(token_xml().encode()))
        operation = request.headers["SOAPAction"].rstrip('"').rpartition("/")[2]
        body = big if operation == "GetOrderClaimList" else listed(operation).encode()
        xml = {"Content-Type": "text/xml"}
        return httpx.Response(200, stream=httpx.ByteStream(body), headers=xml)

    worst = []
    for _ in range(3):  # the machine may be busy: the best of three is ours
        transport = httpx.MockTransport(respond)
        made = ScriptedService().marketplace(
            transport=transport, token_url="http://sts.test/", service_url="http://api.test/"
        )
        async with lag_probe() as lags:
            found = await made.discussions(WINDOW)  # loads the contract, too
        await made.aclose()
        assert len(found.discussions) == 500
        assert len(lags) > 5
        worst.append(max(lags))
    assert min(worst) < 0.05
