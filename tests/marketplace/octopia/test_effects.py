"""What changes something: messages, closing, money. Once, and never the other way by guess."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from mailbridge.domain.discussion import AuthorKind
from mailbridge.domain.money import Cause, GestureMotive, Movement, MovementKind
from mailbridge.domain.order import LineStage, Order, OrderStage, RequestState
from mailbridge.marketplace.octopia import OctopiaMarketplace
from mailbridge.marketplace.port import (
    CloseAnswer,
    ContractError,
    CredentialsError,
    File,
    ItemAnswer,
    ItemResult,
    MarketplaceError,
    NotAuthorizedError,
    RefusedError,
    TransientError,
    Window,
)
from tests.marketplace.octopia.scripted import (
    BROKEN,
    IDENT,
    NUMBER,
    Reply,
    ScriptedApi,
    html,
    line,
    order,
    page,
    problem,
    said,
    talk,
)

TEXT = "Bonjour Madame Martin, le colis est parti."
DONE = Reply({"messageId": "m9"}, 201)
WANTS_LIST = problem(400, "Validation failed", {"receivers": ["The field is required."]})
WANTS_WORD = problem(400, "Validation failed", {"$.receiver": ["The field is required."]})


async def send(market: OctopiaMarketplace, text: str = TEXT, *files: File) -> str:
    return await market.messaging.send(IDENT, text, files, to=AuthorKind.CUSTOMER)


@pytest.fixture
def open_talk(api: ScriptedApi) -> ScriptedApi:
    """A discussion that can be answered."""
    api.shows(talk(said("Où est mon colis ?")))
    api.on("POST", "/messages", DONE)
    return api


# Sending


async def test_a_message_as_the_newer_pages_describe_it(open_talk: ScriptedApi) -> None:
    photo = File("Bon de retour.v2.PDF", "application/pdf", b"%PDF")
    assert await send(open_talk.marketplace(), f"{TEXT}\r\nMerci", photo) == "m9"
    assert open_talk.sent("POST", "/messages") == [
        {
            "discussionId": IDENT,
            "body": f"{TEXT}\nMerci",
            "receiver": "Customer",
            "attachments": [
                {"content": "JVBERg==", "name": "Bon de retour.v2", "fileFormat": "pdf"}
            ],
        }
    ]


@pytest.mark.parametrize(
    ("answer", "ident"),
    [({"messageId": 288}, "288"), ({"id": " m9 "}, "m9"), ({"messageId": True}, ""), ([], "")],
)
async def test_the_id_of_a_message_is_the_one_that_listings_show(
    open_talk: ScriptedApi, answer: Any, ident: str
) -> None:
    open_talk.on("POST", "/messages", Reply(answer, 201))
    assert await send(open_talk.marketplace()) == ident


async def test_files_of_one_name_stay_apart(open_talk: ScriptedApi) -> None:
    files = [File(name, "image/png", b"x") for name in ("image.png", "image.PNG", "image.jpg")]
    await send(open_talk.marketplace(), TEXT, *files)
    [sent] = open_talk.sent("POST", "/messages")
    assert [(file["name"], file["fileFormat"]) for file in sent["attachments"]] == [
        ("image", "png"),
        ("image-2", "png"),
        ("image", "jpg"),
    ]


async def test_a_message_as_it_was_sent_in_2023(open_talk: ScriptedApi) -> None:
    market = open_talk.marketplace(variants={"reply": "receivers"})
    await send(market)
    assert open_talk.sent("POST", "/messages") == [
        {
            "discussionId": IDENT,
            "body": TEXT,
            "salesChannel": "CDISFR",
            "salesChannelExternalDiscussionReference": NUMBER,
            "receivers": [{"userId": "0000000403YZ", "userType": "Customer"}],
        }
    ]


async def test_a_400_that_names_the_field_switches_for_good(open_talk: ScriptedApi) -> None:
    open_talk.on("POST", "/messages", WANTS_LIST, DONE)
    market = open_talk.marketplace()
    assert await send(market) == "m9"
    assert open_talk.learnt == [("reply", "receivers")]
    assert market.learnt == {"reply": "receivers"}
    await send(market)
    shapes = [set(body) & {"receiver", "receivers"} for body in open_talk.sent("POST", "/messages")]
    assert shapes == [{"receiver"}, {"receivers"}, {"receivers"}]
    # What was learnt is handed in again after a restart.
    await send(open_talk.marketplace(learnt=market.learnt))
    assert "receivers" in open_talk.sent("POST", "/messages")[-1]


async def test_and_back_again_where_the_service_changes(open_talk: ScriptedApi) -> None:
    open_talk.on("POST", "/messages", WANTS_WORD, DONE)
    market = open_talk.marketplace(learnt={"reply": "receivers"})
    assert await send(market) == "m9"
    assert market.learnt == {}
    assert open_talk.learnt == [("reply", "receiver")]


@pytest.mark.parametrize(
    ("answer", "kind", "may_be_sent"),
    [
        (problem(500), TransientError, True),
        (problem(503, "receivers"), TransientError, True),
        (html(200), TransientError, True),
        (html(502), TransientError, True),
        (BROKEN, TransientError, True),
        (Reply(raw=b'{"messageId": "m'), ContractError, True),
        (problem(429), TransientError, False),
        (problem(409, "Conflict", {"receivers": ["?"]}), RefusedError, False),
        (problem(400, "Bad", {"body": ["receivers is a word of the text"]}), RefusedError, False),
        (problem(400, "Something is wrong"), RefusedError, False),
        (problem(403), NotAuthorizedError, False),
        (problem(404), RefusedError, False),
    ],
)
async def test_anything_else_is_never_tried_again(
    open_talk: ScriptedApi, answer: Reply, kind: type[MarketplaceError], may_be_sent: bool
) -> None:
    open_talk.on("POST", "/messages", answer)
    with pytest.raises(kind) as caught:
        await send(open_talk.marketplace())
    assert len(open_talk.sent("POST", "/messages")) == 1
    assert open_talk.learnt == []
    if isinstance(caught.value, TransientError):
        assert caught.value.sent is may_be_sent


async def test_refused_both_ways_is_refused_and_teaches_nothing(open_talk: ScriptedApi) -> None:
    not_eligible = problem(400, "Bad", {"receiver": ["'Customer' is not eligible."]})
    open_talk.on("POST", "/messages", not_eligible, WANTS_WORD)
    market = open_talk.marketplace()
    with pytest.raises(RefusedError, match="not eligible"):
        await send(market)
    assert len(open_talk.sent("POST", "/messages")) == 2
    assert market.learnt == {}


async def test_silence_after_the_switch_teaches_nothing(open_talk: ScriptedApi) -> None:
    open_talk.on("POST", "/messages", WANTS_LIST, BROKEN)
    market = open_talk.marketplace()
    with pytest.raises(TransientError) as caught:
        await send(market)
    assert caught.value.sent
    assert market.learnt == {}


async def test_what_is_configured_is_never_switched(open_talk: ScriptedApi) -> None:
    open_talk.on("POST", "/messages", WANTS_LIST)
    with pytest.raises(RefusedError, match="receivers"):
        await send(open_talk.marketplace(variants={"reply": "receiver"}))
    assert len(open_talk.sent("POST", "/messages")) == 1


async def test_a_refusal_repeats_no_word_of_ours(open_talk: ScriptedApi) -> None:
    echo = problem(400, f"Bad body '{TEXT}'", {"body": [f'"{TEXT}"', "too rude"]}, detail=TEXT)
    open_talk.on("POST", "/messages", echo)
    with pytest.raises(RefusedError) as caught:
        await send(open_talk.marketplace())
    assert "Martin" not in str(caught.value)
    assert "body" in str(caught.value)
    assert "too rude" in str(caught.value)
    assert caught.value.code == "400"


async def test_nor_a_part_of_them(open_talk: ScriptedApi) -> None:
    long = "Bonjour Madame Martin, votre colis est parti hier soir de notre entrepôt de Lille."
    echo = problem(400, "Bad", {"body": [f"The value '{long[:60]}' is cut off"]})
    open_talk.on("POST", "/messages", echo)
    with pytest.raises(RefusedError, match=r"body: The value … is cut off"):
        await send(open_talk.marketplace(), long)


@pytest.mark.parametrize("trouble", [problem(503), Reply(raw=b"{"), BROKEN, html()])
async def test_trouble_before_the_message_left_is_no_doubt(
    api: ScriptedApi, trouble: Reply
) -> None:
    api.on("GET", f"/discussions/{IDENT}", trouble)
    with pytest.raises((TransientError, RefusedError)) as caught:
        await send(api.marketplace())
    assert not isinstance(caught.value, TransientError) or not caught.value.sent
    assert api.asked("POST", "/messages") == []


@pytest.mark.parametrize(
    ("text", "files", "words"),
    [
        ("Merci", (), "too short"),
        (" " * 50, (), "too short"),
        ("x" * 5_001, (), "too long"),
        (TEXT, (File("a.exe", "", b"x"),), "a.exe"),
        (TEXT, (File("a", "", b"x"),), "a"),
        (TEXT, (File("a.png", "", b"x"),) * 4, "3"),
        (TEXT, (File("a.png", "", b"x" * 4_000_001),), "4.0"),
        (TEXT, (File("a.png", "", b""),), "empty"),
    ],
)
async def test_what_the_service_would_refuse_is_not_even_asked(
    open_talk: ScriptedApi, text: str, files: tuple[File, ...], words: str
) -> None:
    with pytest.raises(RefusedError, match=words):
        await send(open_talk.marketplace(), text, *files)
    assert open_talk.calls == []


@pytest.mark.parametrize("limit", ["x" * 13, "é" * 5_000])
async def test_the_limits_themselves_are_allowed(open_talk: ScriptedApi, limit: str) -> None:
    assert await send(open_talk.marketplace(), limit) == "m9"


@pytest.mark.parametrize("receivers", [None, [], "absent"])
async def test_where_recipients_are_not_said_the_customer_is_one(
    api: ScriptedApi, receivers: Any
) -> None:
    told = talk(said("?"), receivers=receivers)
    if receivers == "absent":
        del told["receivers"]
    api.shows(told)
    api.on("POST", "/messages", Reply(None, 204))
    assert await send(api.marketplace(variants={"reply": "receivers"})) == ""
    [body] = api.sent("POST", "/messages")
    assert body["receivers"] == [{"userId": "0000000403YZ", "userType": "Customer"}]


async def test_nobody_but_those_named_is_written_to(api: ScriptedApi) -> None:
    api.shows(talk(said("?"), receivers=[{"userType": "GrcOperator"}]))
    with pytest.raises(RefusedError, match="only to: GrcOperator"):
        await send(api.marketplace())


# Closing


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (problem(409, "Conflict", detail="The seller has not answered."), "last"),
        (problem(400, "", {"isOpen": ["Vous n'avez pas répondu au client"]}), "last"),
        (problem(409, "Conflict", detail="A cancellation request is pending."), "cancel"),
        (problem(409, "Already closed"), "already"),
        (problem(409, "Discussion déjà clôturée"), "already"),
        (problem(409, "A cancellation was already asked for"), "cancel"),
        (problem(404, "Not Found"), "unknown id"),
        (problem(409, "Conflict"), "last"),  # by who wrote last
    ],
)
async def test_a_refused_close_says_why(api: ScriptedApi, answer: Reply, expected: str) -> None:
    api.shows(talk(said("?")))
    api.on("PATCH", f"/discussions/{IDENT}", answer)
    assert await api.marketplace().close([IDENT]) == {
        IDENT: {
            "last": CloseAnswer.LAST_ANSWER_NOT_OURS,
            "cancel": CloseAnswer.CANCEL_PENDING,
            "already": CloseAnswer.ALREADY_CLOSED,
            "unknown id": CloseAnswer.NOT_FOUND,
        }[expected]
    }


async def test_a_close_refused_in_words_nobody_knows_keeps_them(api: ScriptedApi) -> None:
    api.shows(talk(said("?")))
    api.on("PATCH", f"/discussions/{IDENT}", problem(400, "Vendeur désactivé"))
    with pytest.raises(RefusedError, match="Vendeur désactivé"):
        await api.marketplace().close([IDENT])


async def test_a_change_without_effect_is_not_called_done(api: ScriptedApi) -> None:
    """A service that passes over the key it does not know says yes to everything."""
    api.shows(talk(said("?")))
    api.on("PATCH", f"/discussions/{IDENT}", Reply(None, 204))
    market = api.marketplace()
    assert await market.close([IDENT]) == {IDENT: CloseAnswer.UNKNOWN}
    assert len(api.asked("PATCH", f"/discussions/{IDENT}")) == 1
    api.shows(talk(said("?"), isOpen=False))
    with pytest.raises(RefusedError, match="stays closed"):
        await market.reopen(IDENT)


async def test_once_seen_to_work_it_is_not_looked_at_again(api: ScriptedApi) -> None:
    api.on("GET", f"/discussions/{IDENT}", talk(), talk(isOpen=False), talk())
    api.on("PATCH", f"/discussions/{IDENT}", Reply(None, 204))
    market = api.marketplace()
    for _ in range(2):
        assert await market.close([IDENT]) == {IDENT: CloseAnswer.CLOSED}
    assert len(api.asked("GET", f"/discussions/{IDENT}")) == 3
    assert api.sent("PATCH", f"/discussions/{IDENT}")[0] == [
        {"opt": "replace", "path": "/isOpen", "value": "false"}
    ]


# Orders


async def fetched(api: ScriptedApi, told: dict[str, Any]) -> Order:
    api.on("GET", f"/orders/{told['orderId']}", told)
    found = await api.marketplace().orders([told["orderId"]])
    return found[told["orderId"]]


async def test_an_order_and_its_lines(api: ScriptedApi) -> None:
    found = await fetched(api, order(line(), line("L2", "REF-2", quantity=1)))
    assert (found.stage, found.customer_name) == (OrderStage.SHIPPED, "Zoé Martin")
    assert (found.total, found.shipping_total) == (Decimal("29.6"), Decimal("9.8"))
    first = found.lines[0]
    assert (first.id, first.reference, first.row) == ("L1", "REF-1", 1)
    assert (first.unit_price, first.price) == (Decimal("12.35"), Decimal("24.70"))
    assert (first.shipping, first.stage) == (Decimal("4.9"), LineStage.SHIPPED)
    assert [parcel.number for parcel in found.parcels] == ["6A1"]


@pytest.mark.parametrize(
    ("fields", "stage"),
    [
        ({"status": "WaitingAcceptance"}, OrderStage.TO_ACCEPT),
        ({"status": "InPreparation"}, OrderStage.TO_SHIP),
        ({"status": "delivered"}, OrderStage.SHIPPED),
        ({"status": "Rejected"}, OrderStage.ENDED),
        ({"status": "OnTheMoon"}, OrderStage.UNKNOWN),
        ({"status": None}, OrderStage.UNKNOWN),
        ({"currencyCode": "PLN"}, OrderStage.UNKNOWN),
        ({"currencyCode": None}, OrderStage.SHIPPED),
    ],
)
async def test_how_far_an_order_is(
    api: ScriptedApi, fields: dict[str, Any], stage: OrderStage
) -> None:
    assert (await fetched(api, order(**fields))).stage is stage


@pytest.mark.parametrize(
    ("fields", "stage"),
    [
        ({"status": "Cancelled", "parcels": []}, LineStage.CANCELLED),
        ({"status": "Cancelled"}, LineStage.REFUNDED),  # it had left the house
        ({"status": "Vanished"}, LineStage.UNKNOWN),
        ({"sellingPrice": None, "offerPrice": {}}, LineStage.UNKNOWN),
        ({"sellingPrice": {"unitSalesPrice": -3, "shippingCost": 0}}, LineStage.UNKNOWN),
    ],
)
async def test_how_far_a_line_is(
    api: ScriptedApi, fields: dict[str, Any], stage: LineStage
) -> None:
    assert (await fetched(api, order(line(**fields)))).lines[0].stage is stage


@pytest.mark.parametrize(
    "fields",
    [
        {"quantity": "two"},
        {"quantity": 1.5},
        {"quantity": None},
        {"sellingPrice": {"unitSalesPrice": "abc"}},
        {"sellingPrice": {"unitSalesPrice": 1e300}},
        {"sellingPrice": {"unitSalesPrice": True}},
        {"sellingPrice": {"unitSalesPrice": "1E+9999999"}},
        {"sellingPrice": {"unitSalesPrice": "-1E+9999999"}},
        {"orderLineId": None},
    ],
)
async def test_money_that_does_not_parse_is_a_fault_of_the_order(
    api: ScriptedApi, fields: dict[str, Any]
) -> None:
    api.on("GET", "/orders/A", order(line(**fields), number="A"))
    api.on("GET", "/orders/B", order(number="B"))
    market = api.marketplace()
    assert (await market.orders(["A", "B", "C"])).keys() == {"B"}
    with pytest.raises(ContractError, match=r"order A: lines\.0\."):
        await market.orders(["A"])
    assert await market.orders(["C"]) == {}


async def test_an_order_is_found_by_what_the_customer_knows(api: ScriptedApi) -> None:
    api.on("GET", "/orders", page(order(number="1055472612-A", reference="1055472612")))
    found = await api.marketplace().orders(["1055472612"])
    assert found["1055472612"].number == "1055472612-A"
    assert api.asked("GET", "/orders")[0].url.params["reference"] == "1055472612"


async def test_changed_orders_leave_out_what_can_not_be_read(api: ScriptedApi) -> None:
    api.on("GET", "/orders", page(order(number="A"), {"orderId": "B"}, order(number="C")))
    now = api.now
    found = await api.marketplace().changed_orders(Window(now - timedelta(hours=1), now))
    assert [each.number for each in found] == ["A", "C"]


# Money


async def movement(api: ScriptedApi, kind: MovementKind, told: dict[str, Any]) -> Movement:
    found = await fetched(api, told)
    if kind is MovementKind.GESTURE:
        return Movement(kind, found, amount=Decimal("4.10"), motive=GestureMotive.LATE)
    return Movement(kind, found, found.lines, with_shipping=True, cause=Cause.CLAIM)


REASONS = page(
    {"code": "seller-out-of-stock", "label": "Rupture de stock"},
    {"code": "x7", "label": "Réclamation du client"},
    {"code": "seller-other", "label": "Autre"},
)


async def test_a_whole_order_is_one_request(api: ScriptedApi) -> None:
    asked = await movement(api, MovementKind.REFUND, order(line(), line("L2", "REF-2")))
    api.on("GET", "/cancellation-reasons", REASONS)
    api.on("POST", "/order-cancellation-requests", Reply({"cancellationRequestId": "R1"}, 201))
    answers = await api.marketplace().move_money(asked)
    pending = ItemResult(ItemAnswer.PENDING, request="R1")
    assert answers == {"REF-1": pending, "REF-2": pending}
    assert api.sent("POST", "/order-cancellation-requests") == [
        {"orderSellerId": "2310171354KBDRE", "reason": "x7", "shippingCostRefund": True}
    ]
    assert dict(api.asked("GET", "/cancellation-reasons")[0].url.params) == {
        "salesChannel": "CDISFR",
        "userType": "Seller",
        "orderStatus": "Shipped",
    }


async def test_one_line_of_several(api: ScriptedApi) -> None:
    asked = await movement(api, MovementKind.REFUND, order(line(), line("L2", "REF-2")))
    asked = replace(asked, lines=asked.lines[1:], with_shipping=False, cause=Cause.GOODWILL)
    api.on("GET", "/cancellation-reasons", REASONS)
    where = "/order-partial-cancellation-requests"
    once = problem(400, "Bad", {"shippingCostRefund": ["required"]})
    api.on("POST", where, once, Reply(None, 202))
    answers = await api.marketplace().move_money(asked)
    assert answers == {"REF-2": ItemResult(ItemAnswer.PENDING)}
    each = {"lineId": "L2", "offerId": "offer-L2", "reason": "seller-other"}
    assert api.sent("POST", where) == [
        {"orderSellerId": "2310171354KBDRE", "lines": [each | {"shippingCostRefund": False}]},
        {"orderSellerId": "2310171354KBDRE", "shippingCostRefund": False, "lines": [each]},
    ]
    assert api.learnt == [("shipping", "order")]


async def test_a_gesture_says_its_motive_in_words(api: ScriptedApi) -> None:
    asked = await movement(api, MovementKind.GESTURE, order())
    api.on("POST", "/order-commercial-gesture-requests", Reply({"requestId": "G1"}, 201))
    answers = await api.marketplace().move_money(asked)
    assert answers == {"": ItemResult(ItemAnswer.PENDING, request="G1")}
    assert api.sent("POST", "/order-commercial-gesture-requests") == [
        {
            "orderId": "2310171354KBDRE",
            "reason": "Other",
            "reasonDetails": "Retard de livraison",
            "amount": 4.1,
        }
    ]


async def test_a_configured_reason_wins_and_must_exist(api: ScriptedApi) -> None:
    asked = await movement(api, MovementKind.REFUND, order())
    api.on("GET", "/cancellation-reasons", REASONS)
    api.on("POST", "/order-cancellation-requests", Reply(None, 201))
    await api.marketplace(refund_reasons={"claim": "seller-other"}).move_money(asked)
    assert api.sent("POST", "/order-cancellation-requests")[0]["reason"] == "seller-other"
    with pytest.raises(RefusedError, match="does not offer the configured reason gone"):
        await api.marketplace(refund_reasons={"claim": "gone"}).move_money(asked)


async def test_without_a_fitting_reason_nothing_is_asked(api: ScriptedApi) -> None:
    asked = await movement(api, MovementKind.REFUND, order())
    api.on("GET", "/cancellation-reasons", page({"code": "seller-out-of-stock"}))
    with pytest.raises(RefusedError, match=r"seller-out-of-stock.*refund_reasons"):
        await api.marketplace().move_money(asked)
    assert api.sent("POST", "/order-cancellation-requests") == []


async def test_a_line_that_is_gone_is_not_guessed_at(api: ScriptedApi) -> None:
    asked = await movement(api, MovementKind.REFUND, order())
    api.on("GET", "/orders/2310171354KBDRE", order(line("L7")))
    with pytest.raises(RefusedError, match="no longer has these lines: REF-1"):
        await api.marketplace().move_money(asked)


@pytest.mark.parametrize(
    ("answer", "kind", "moved"),
    [
        (BROKEN, TransientError, True),
        (problem(500), TransientError, True),
        (html(), TransientError, True),
        (problem(429), TransientError, False),
        (problem(400, "Bad", {"amount": ["too much"]}), RefusedError, False),
        (problem(401), CredentialsError, False),
    ],
)
async def test_money_is_asked_for_once(
    api: ScriptedApi, answer: Reply, kind: type[MarketplaceError], moved: bool
) -> None:
    asked = await movement(api, MovementKind.GESTURE, order())
    api.on("POST", "/order-commercial-gesture-requests", answer)
    with pytest.raises(kind) as caught:
        await api.marketplace().move_money(asked)
    again = kind is CredentialsError  # with a new token, the old one having been refused
    assert len(api.asked("POST", "/order-commercial-gesture-requests")) == 1 + again
    if isinstance(caught.value, TransientError):
        assert caught.value.sent is moved


async def test_requests_say_what_became_of_each_line(api: ScriptedApi) -> None:
    lines = [line(f"L{n}", f"REF-{n}") for n in range(1, 5)]
    api.on("GET", "/orders/2310171354KBDRE", order(*lines))
    api.on(
        "GET",
        "/order-cancellation-requests",
        page(
            {
                "cancellationRequestId": "R1",
                "orderSellerId": "2310171354KBDRE",
                "userType": "Seller",
                "status": "Pending",
                "lines": [
                    {"lineId": "L1", "status": "Accepted"},
                    {"lineId": "L2", "status": "Refused", "refusalReason": "Hors délai"},
                    {"lineId": "L3", "status": "Mulled over"},
                ],
            },
            {
                "cancellationRequestId": "R2",
                "userType": "Customer",
                "status": "Pending",
                "lines": [{"lineId": "L4"}],
            },
            {"cancellationRequestId": "R3", "orderSellerId": "another", "status": "Accepted"},
        ),
    )
    gesture = {"requestId": "G1", "orderId": "2310171354KBDRE", "status": "Accepted"}
    words = {"reason": "Other", "reasonDetails": "Garantie", "amount": 3.5}
    api.on("GET", "/order-commercial-gesture-requests", page(gesture | words))
    api.on(
        "GET",
        "/orders/2310171354KBDRE/commercial-gestures-available-amounts",
        Reply({"allowableAmount": 7.25}),
    )
    found = await api.marketplace().order_for_money("2310171354KBDRE")
    assert found is not None
    assert [each.stage for each in found.lines] == [
        LineStage.REFUNDED,
        LineStage.SHIPPED,
        LineStage.SHIPPED,
        LineStage.CANCELLATION_ASKED,
    ]
    told = {(each.id, each.lines): (each.state, each.words) for each in found.requests}
    assert told == {
        ("R1", ("L1",)): (RequestState.DONE, ""),
        ("R1", ("L2",)): (RequestState.REFUSED, "Hors délai"),
        ("R1", ("L3",)): (RequestState.UNKNOWN, ""),
        ("R2", ("L4",)): (RequestState.PENDING, ""),
        ("G1", ()): (RequestState.DONE, "Garantie"),
    }
    [voucher] = found.vouchers or ()
    assert (voucher.amount, voucher.motive) == (Decimal("3.5"), GestureMotive.WARRANTY)
    assert found.gesture_left == Decimal("7.25")


async def test_a_request_is_the_orders_by_either_of_its_names(api: ScriptedApi) -> None:
    """One that is not seen would be held to be absent, and asked for a second time."""
    two = {"number": "655f0e7b", "reference": "1055472612-A"}
    api.on("GET", "/orders/655f0e7b", order(**two))
    pending = {"cancellationRequestId": "R1", "status": "Pending", "lines": [{"lineId": "L1"}]}

    async def by_reference(request: httpx.Request) -> httpx.Response:
        mine = request.url.params["orderSellerId"] == "1055472612-A"
        told = [pending | {"orderSellerId": "1055472612-A"}] if mine else []
        return httpx.Response(
            200,
            headers={"Content-Type": "application/json"},
            stream=httpx.ByteStream(json.dumps({"items": told}).encode()),
        )

    api.on("GET", "/order-cancellation-requests", Reply(does=by_reference))
    found = await api.marketplace().order_for_money("655f0e7b")
    assert found is not None
    assert [each.id for each in found.requests] == ["R1"]


async def test_the_services_own_reason_is_read_as_the_motive_that_says_it(
    api: ScriptedApi,
) -> None:
    api.on("GET", "/orders/2310171354KBDRE", order())
    done = {"orderId": "2310171354KBDRE", "status": "Accepted", "amount": 5}
    given = (
        done | {"requestId": "G1", "reason": "MissingProduct"},
        done | {"requestId": "G2", "reason": "Other", "reasonDetails": "Parce que"},
    )
    api.on("GET", "/order-commercial-gesture-requests", page(*given))
    found = await api.marketplace().order_for_money("2310171354KBDRE")
    assert found is not None
    assert [voucher.motive for voucher in found.vouchers or ()] == [
        GestureMotive.DAMAGED_OR_MISSING,
        GestureMotive.OTHER,
    ]


async def test_requests_that_can_not_be_read_are_no_empty_list(api: ScriptedApi) -> None:
    api.on("GET", "/orders/2310171354KBDRE", order())
    api.on("GET", "/order-cancellation-requests", page({"status": "Accepted"}))
    with pytest.raises(ContractError, match="cancellationRequestId"):
        await api.marketplace().order_for_money("2310171354KBDRE")
    api.on("GET", "/order-cancellation-requests", problem(500))
    with pytest.raises(TransientError):
        await api.marketplace().order_for_money("2310171354KBDRE")


async def test_what_the_service_asks_us_to_wait_is_waited_for_or_told(api: ScriptedApi) -> None:
    slow = Reply({"title": "Too Many Requests"}, 429, {"Retry-After": "7"})
    api.on("GET", "/orders/1", slow, order(number="1"))
    assert "1" in await api.marketplace().orders(["1"])
    assert api.pauses == [7.0]
    api.on("GET", "/orders/1", Reply(None, 429, {"Retry-After": "90"}))
    with pytest.raises(TransientError) as caught:
        await api.marketplace().orders(["1"])
    assert caught.value.retry_after == 90
    assert api.pauses == [7.0]


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("9" * 400, 3600),
        ("86400", 3600),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
        ("Tue, 17 Oct 2023 14:01:30 GMT", 90),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("-5", None),
        ("soon", None),
    ],
)
async def test_nobody_sleeps_for_longer_than_an_hour(
    api: ScriptedApi, told: str, seconds: float | None
) -> None:
    headers = {"Retry-After": told, "Date": "Tue, 17 Oct 2023 14:00:00 GMT"}
    api.on("GET", "/orders/1", Reply(None, 429, headers))
    with pytest.raises(TransientError) as caught:
        await api.marketplace().orders(["1"])
    assert caught.value.retry_after == seconds
