"""Every way a call was seen or is feared to fail, over a real connection."""

from __future__ import annotations

import asyncio
import gzip
import time
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from mailbridge.marketplace.cdiscount.errors import fault_error
from mailbridge.marketplace.port import (
    UNNAMED,
    ContractError,
    CredentialsError,
    Listing,
    MarketplaceError,
    NotAuthorizedError,
    RefusedError,
    TransientError,
    Window,
)
from mailbridge.marketplace.scrub import scrub
from mailbridge.marketplace.wire import Wire, inflate
from tests.marketplace.scripted import (
    LOGIN,
    PASSWORD,
    TOKEN,
    XML,
    Reply,
    ScriptedService,
    answer,
    envelope,
    error,
    fault,
    listed,
    thread,
    token_died,
)

NOW = datetime(2019, 4, 25, 12, 0, tzinfo=UTC)
WINDOW = Window(NOW - timedelta(hours=3), NOW)
DASHED = "01234567-89AB-cdef-0123-456789abcdef"
NOT_AUTHORIZED = (
    f"User is not authorized to access to this resource (Token used: '{DASHED}', "
    "Resource: (ServiceMarketplace/GetOrderList))"
)


@pytest.fixture
async def service() -> AsyncIterator[ScriptedService]:
    async with ScriptedService() as running:
        yield running


async def order_call(service: ScriptedService, reply: Reply | str, **options: object) -> None:
    """One call that only reads, answered with `reply`."""
    service.on("GetOrderList", reply)
    market = service.marketplace(**options)
    try:
        await market.orders(["1904241640CLE8Z"])
    finally:
        await market.aclose()


def no_secret_in(caught: MarketplaceError) -> None:
    shown = f"{caught} {caught!r}".lower()
    for secret in (TOKEN, DASHED.lower(), LOGIN, "boutique", PASSWORD, "clemarche", "mme martin"):
        assert secret not in shown


# Faults (HTTP 500)


async def test_no_right_to_an_operation_is_not_cured_by_a_new_token(
    service: ScriptedService,
) -> None:
    with pytest.raises(NotAuthorizedError, match="new token does not help") as caught:
        await order_call(service, fault("s:RequestTokenValidationError", NOT_AUTHORIZED))
    no_secret_in(caught.value)
    assert len(service.sign_ins) == 1
    assert len(service.asked("GetOrderList")) == 1


@pytest.mark.parametrize(
    ("code", "text", "kind", "calls"),
    [
        (
            "a:DeserializationFailed",
            "The formatter threw an exception while trying to deserialize the message",
            ContractError,
            1,
        ),
        ("a:ActionNotSupported", "The message cannot be processed", ContractError, 1),
        ("a:InternalServiceFault", "The server was unable to process", TransientError, 3),
        ("s:RequestTokenValidationError", "Words nobody has seen", TransientError, 3),
        ("", "", TransientError, 3),
    ],
)
async def test_faults(
    service: ScriptedService, code: str, text: str, kind: type[MarketplaceError], calls: int
) -> None:
    with pytest.raises(kind) as caught:
        await order_call(service, fault(code, text))
    assert text[:20] in str(caught.value)
    assert len(service.sign_ins) == 1
    assert len(service.asked("GetOrderList")) == calls


async def test_a_fault_that_comes_with_http_200_is_a_fault(service: ScriptedService) -> None:
    with pytest.raises(NotAuthorizedError):
        await order_call(
            service, fault("s:RequestTokenValidationError", NOT_AUTHORIZED, status=200)
        )


@pytest.mark.parametrize(
    "text",
    [
        "Your token does not exist, please renew your token id.",
        "Token id is not correctly formatted.",
        "Your token has expired",
    ],
)
async def test_a_token_that_died_is_renewed_once_and_the_call_made_again(
    service: ScriptedService, text: str
) -> None:
    service.on(
        "GetOrderList",
        fault("s:RequestTokenValidationError", text),
        answer("GetOrderList", "<OrderList/>"),
    )
    market = service.marketplace()
    assert await market.orders(["1"]) == {}
    await market.aclose()
    assert len(service.sign_ins) == 2


async def test_a_token_that_is_refused_fresh_from_the_sts_is_no_endless_loop(
    service: ScriptedService,
) -> None:
    with pytest.raises(TransientError, match="just issued"):
        await order_call(service, token_died(), timeout=1.0)
    assert len(service.asked("GetOrderList")) == 6  # three tries of two calls each


# Answers with HTTP 200


@pytest.mark.parametrize(
    ("reply", "kind", "words", "code"),
    [
        (
            answer("GetOrderList", success=False, message="Demande de remboursement invalide"),
            RefusedError,
            "Demande de remboursement invalide",
            "",
        ),
        (
            answer(
                "GetOrderList",
                success=False,
                message="La commande {0} n'a pas été trouvée !",
                errors=error("OrderNotFound", "x"),
            ),
            RefusedError,
            "La commande {0} n'a pas été trouvée !",
            "OrderNotFound",
        ),
        (
            answer("GetOrderList", success=False, errors=error("UnexpectedException", "Oups")),
            RefusedError,
            "Oups",
            "UnexpectedException",
        ),
        (answer("GetOrderList", success=False), RefusedError, "no reason given", ""),
        (
            answer("GetOrderList", success=False, errors=error("SellerNotAuthorized", "Non")),
            NotAuthorizedError,
            "Non",
            None,
        ),
        (
            answer("GetOrderList", success=False, errors=error("Quota", "Trop")),
            TransientError,
            "Trop",
            None,
        ),
        (
            answer("GetOrderList", success=False, errors=error("BrandNewType", "Hm")),
            RefusedError,
            "Hm",
            "BrandNewType",
        ),
    ],
)
async def test_the_service_says_no(
    service: ScriptedService,
    reply: str,
    kind: type[MarketplaceError],
    words: str,
    code: str | None,
) -> None:
    with pytest.raises(kind) as caught:
        await order_call(service, reply)
    assert words in str(caught.value)
    if code is not None:
        assert isinstance(caught.value, RefusedError)
        assert caught.value.code == code


async def test_what_the_service_says_is_scrubbed(service: ScriptedService) -> None:
    said = (
        f"Jeton {TOKEN} ({DASHED}) du vendeur BOUTIQUE, client "
        "c.0123456789abcdef0123456789abcdef@clemarche.com \n sur\tdeux lignes"
    )
    with pytest.raises(RefusedError) as caught:
        await order_call(service, answer("GetOrderList", success=False, message=said))
    no_secret_in(caught.value)
    assert str(caught.value) == "Jeton … (…) du vendeur …, client … sur deux lignes"


async def test_what_a_fault_says_is_scrubbed(service: ScriptedService) -> None:
    said = f"Seller Boutique ({LOGIN}) is unknown to z@clemarche.com"
    with pytest.raises(TransientError, match=r"Seller … \(…\) is unknown to …") as caught:
        await order_call(service, fault("s:Unknown", said))
    no_secret_in(caught.value)


def test_a_short_login_does_not_eat_holes_into_words() -> None:
    assert scrub("abaissé à bas", ["ab"]) == "abaissé à bas"


def test_long_words_are_cut_and_cost_little() -> None:
    begin = time.perf_counter()
    assert len(scrub("x" * 1_000_000)) <= 300
    assert isinstance(fault_error("s:x", "token " * 200_000), TransientError)
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize("value", ["", "maybe", "TRUE"])
async def test_success_that_is_neither_true_nor_false_is_named(
    service: ScriptedService, value: str
) -> None:
    body = answer("GetOrderList").replace(">true<", f">{value}<")
    with pytest.raises(ContractError, match="GetOrderList/OperationSuccess"):
        await order_call(service, body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (envelope(""), "lacks GetOrderListResult"),
        (answer("GetOrderClaimList"), "lacks GetOrderListResult"),
        ("<a/>", "no SOAP envelope"),
        ("", "not well-formed"),
        (answer("GetOrderList")[:-40], "not well-formed"),
        (answer("GetOrderList").encode().replace(b"BOUTIQUE", b"\xe9t\xe9"), "not well-formed"),
        (answer("GetOrderList").replace("BOUTIQUE", "\x01"), "not well-formed"),
        (
            '<!DOCTYPE a [<!ENTITY x "y">]>' + answer("GetOrderList").replace("BOUTIQUE", "&x;"),
            "document type",
        ),
        ("<a>" * 300 + "</a>" * 300, "not well-formed"),
    ],
)
async def test_an_answer_that_breaks_the_contract(
    service: ScriptedService, body: str | bytes, words: str
) -> None:
    with pytest.raises(ContractError, match=words) as caught:
        await order_call(service, Reply(body))
    assert str(caught.value).startswith("GetOrderList")
    no_secret_in(caught.value)
    assert len(service.asked("GetOrderList")) == 1


async def test_a_billion_laughs_are_not_laughed(service: ScriptedService) -> None:
    lines = ['<!ENTITY l0 "ha">'] + [f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10)]
    bomb = f"<!DOCTYPE x [{''.join(lines)}]><x a='&l9;'>&l9;</x>"
    begin = time.perf_counter()
    with pytest.raises(ContractError):
        await order_call(service, bomb)
    assert time.perf_counter() - begin < 2


async def test_an_entity_that_names_a_file_is_not_opened(service: ScriptedService) -> None:
    body = '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><x>&f;</x>'
    with pytest.raises(ContractError, match="document type") as caught:
        await order_call(service, body)
    assert "root" not in str(caught.value)


# Answers that are no SOAP


@pytest.mark.parametrize(
    ("status", "kind", "calls"),
    [
        (200, TransientError, 3),
        (302, TransientError, 3),
        (401, TransientError, 3),
        (403, TransientError, 3),
        (404, ContractError, 1),
        (415, ContractError, 1),
        (429, TransientError, 3),
        (500, TransientError, 3),
        (502, TransientError, 3),
        (503, TransientError, 3),
    ],
)
async def test_a_web_page_instead_of_an_answer(
    service: ScriptedService, status: int, kind: type[MarketplaceError], calls: int
) -> None:
    page = Reply("<html>Mme Martin</html>", status, "text/html", {"Location": "/elsewhere"})
    with pytest.raises(kind) as caught:
        await order_call(service, page)
    no_secret_in(caught.value)
    assert len(service.asked("GetOrderList")) == calls
    if isinstance(caught.value, TransientError):
        assert caught.value.sent


async def test_well_formed_markup_with_502_is_not_taken_for_a_fault(
    service: ScriptedService,
) -> None:
    with pytest.raises(TransientError, match="502"):
        await order_call(service, Reply("<html/>", 502))


async def test_http_500_with_broken_xml_may_pass(service: ScriptedService) -> None:
    with pytest.raises(TransientError, match="500"):
        await order_call(service, Reply("<s:Envelope", 500))


@pytest.mark.parametrize(
    ("said", "seconds", "calls"), [("3", 3.0, 3), ("120", 120.0, 1), ("bald", None, 3)]
)
async def test_retry_after_is_kept_and_a_long_one_not_waited_for(
    service: ScriptedService, said: str, seconds: float | None, calls: int
) -> None:
    pauses: list[float] = []

    async def sleep(pause: float) -> None:
        pauses.append(pause)

    with pytest.raises(TransientError) as caught:
        await order_call(service, Reply("", 503, "text/plain", {"Retry-After": said}), sleep=sleep)
    assert caught.value.retry_after == seconds
    assert len(service.asked("GetOrderList")) == calls
    assert pauses == {"3": [3.0, 3.0], "120": [], "bald": [0.5, 2.0]}[said]


async def test_retry_after_as_a_date_is_read_by_the_services_own_clock(
    service: ScriptedService,
) -> None:
    dates = {
        "Retry-After": "Thu, 25 Apr 2019 12:10:00 GMT",
        "Date": "Thu, 25 Apr 2019 12:00:00 GMT",
    }
    with pytest.raises(TransientError) as caught:
        await order_call(service, Reply("", 503, "text/plain", dates))
    assert caught.value.retry_after == 600


async def test_a_passing_failure_passes(service: ScriptedService) -> None:
    service.on("GetOrderList", Reply("", 502), answer("GetOrderList", "<OrderList/>"))
    market = service.marketplace()
    assert await market.orders(["1"]) == {}
    await market.aclose()


async def test_a_close_is_never_tried_twice(service: ScriptedService) -> None:
    service.on("CloseDiscussionList", Reply("", 502))
    market = service.marketplace()
    with pytest.raises(TransientError) as caught:
        await market.close(["1"])
    await market.aclose()
    assert caught.value.sent
    assert len(service.asked("CloseDiscussionList")) == 1


# The network


async def test_a_service_that_is_not_there_was_surely_not_reached() -> None:
    async with ScriptedService() as gone:
        market = gone.marketplace()
        await market.orders(["1"])  # signed in: the next call goes to the service alone
    with pytest.raises(TransientError) as caught:
        await market.close(["1"])
    await market.aclose()
    assert not caught.value.sent


async def test_a_connection_that_is_never_made_sends_nothing() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # takes the TLS hello and says nothing
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    wire = Wire(timeout=0.3)
    with pytest.raises(TransientError) as caught:
        await wire.send("POST", f"https://127.0.0.1:{port}/", headers={}, content=b"<x/>")
    await wire.aclose()
    server.close()
    assert not caught.value.sent


async def test_a_connection_cut_in_the_answer_may_have_done_it(service: ScriptedService) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": XML, "Content-Length": "5000"})
        await response.prepare(request)
        await response.write(b"<s:Envelope")
        assert request.transport is not None
        request.transport.abort()
        return response

    service.on("CloseDiscussionList", Reply(send=cut))
    market = service.marketplace()
    with pytest.raises(TransientError, match="broke") as caught:
        await market.close(["1"])
    await market.aclose()
    assert caught.value.sent


async def test_a_dripping_answer_ends_with_the_total_time(service: ScriptedService) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": XML})
        await response.prepare(request)
        for _ in range(100):
            await response.write(b" ")
            await asyncio.sleep(0.05)
        return response

    service.on("CloseDiscussionList", Reply(send=drip))
    market = service.marketplace(timeout=0.5)
    await market.orders(["1"])
    begin = time.perf_counter()
    with pytest.raises(TransientError, match=r"within 0\.5 s") as caught:
        await market.close(["1"])
    assert time.perf_counter() - begin < 1.5
    await market.aclose()
    assert caught.value.sent


async def test_a_silent_service_ends_with_the_total_time(service: ScriptedService) -> None:
    async def silent(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3)
        return web.Response()

    service.on("CloseDiscussionList", Reply(send=silent))
    market = service.marketplace(timeout=0.3)
    await market.orders(["1"])
    with pytest.raises(TransientError) as caught:
        await market.close(["1"])
    await market.aclose()
    assert caught.value.sent


async def test_an_endless_answer_is_cut_off(service: ScriptedService) -> None:
    with pytest.raises(ContractError, match="longer than 100000 octets"):
        await order_call(service, "x" * 100_001, size_limit=100_000)


async def test_a_gzip_bomb_is_not_unpacked(service: ScriptedService) -> None:
    bomb = Reply(gzip.compress(bytes(100_000_000)), headers={"Content-Encoding": "gzip"})
    begin = time.perf_counter()
    with pytest.raises(ContractError, match="once unpacked"):
        await order_call(service, bomb, size_limit=1_000_000)
    assert time.perf_counter() - begin < 2


def test_unpacking_stops_at_the_limit_and_not_after_it() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(ContractError):
            inflate(bomb, "gzip", 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("encoding", "body", "words"),
    [
        ("gzip", b"not gzip", "compression is broken"),
        ("gzip", gzip.compress(answer("GetOrderList").encode())[:-9], "ends too early"),
        ("br", b"x", "Content-Encoding"),
    ],
)
async def test_broken_compression(
    service: ScriptedService, encoding: str, body: bytes, words: str
) -> None:
    with pytest.raises(ContractError, match=words):
        await order_call(service, Reply(body, headers={"Content-Encoding": encoding}))


async def test_a_packed_answer_is_read(service: ScriptedService) -> None:
    packed = gzip.compress(answer("GetOrderList", "<OrderList/>").encode())
    await order_call(service, Reply(packed, headers={"Content-Encoding": "gzip"}))


# Lists


async def discussions(service: ScriptedService) -> Listing:
    market = service.marketplace()
    try:
        return await market.discussions(WINDOW)
    finally:
        await market.aclose()


async def test_one_list_without_the_right_does_not_hide_the_others(
    service: ScriptedService,
) -> None:
    service.on("GetOrderClaimList", fault("s:RequestTokenValidationError", NOT_AUTHORIZED))
    service.on("GetOfferQuestionList", listed("GetOfferQuestionList", thread(7, extra="")))
    found = await discussions(service)
    assert [one.id for one in found.discussions] == ["7"]
    assert "not authorized" in found.faults[""]
    assert DASHED not in found.faults[""]


async def test_no_list_at_all_raises(service: ScriptedService) -> None:
    for operation in ("GetOrderClaimList", "GetOrderQuestionList", "GetOfferQuestionList"):
        service.on(operation, fault("s:RequestTokenValidationError", NOT_AUTHORIZED))
    with pytest.raises(NotAuthorizedError):
        await discussions(service)


async def test_a_passing_failure_of_one_list_is_not_half_an_answer(
    service: ScriptedService,
) -> None:
    service.on("GetOrderClaimList", Reply("", 503))
    with pytest.raises(TransientError):
        await discussions(service)


@pytest.mark.parametrize(
    ("broken", "key", "words"),
    [
        (thread(2, created="gestern"), "2", "OrderClaim 2/CreationDate: not a date and time"),
        (thread(2, messages="<Messages><Message/></Messages>"), "2", "Message 1/Timestamp"),
        (thread("deux"), UNNAMED, "OrderClaimList/OrderClaim/Id: not a whole number"),
        (thread(""), UNNAMED, "Id: missing"),
    ],
)
async def test_a_broken_discussion_is_named_and_hides_nobody(
    service: ScriptedService, broken: str, key: str, words: str
) -> None:
    service.on("GetOrderClaimList", listed("GetOrderClaimList", thread(1), broken, thread(3)))
    found = await discussions(service)
    assert [one.id for one in found.discussions] == ["1", "3"]
    assert list(found.faults) == [key]
    assert words in found.faults[key]
    assert "gestern" not in found.faults[key]


async def test_data_and_an_error_together_give_both(service: ScriptedService) -> None:
    service.on(
        "GetOrderClaimList",
        listed("GetOrderClaimList", thread(1), success=False, message="Liste incomplète"),
    )
    found = await discussions(service)
    assert [one.id for one in found.discussions] == ["1"]
    assert found.faults == {"": "GetOrderClaimList: Liste incomplète"}


async def test_a_control_character_in_a_message_does_not_hide_the_whole_list(
    service: ScriptedService,
) -> None:
    text = thread(1).replace("colis", "co&#x1F;lis&#11; 1 &#x41;&#233;&#x1F4E6;")
    service.on("GetOrderClaimList", listed("GetOrderClaimList", text, thread(2)))
    found = await discussions(service)
    assert [one.id for one in found.discussions] == ["1", "2"]
    assert found.discussions[0].messages[0].text == "Où est mon co\ufffdlis\ufffd 1 Aé📦 ?"


async def test_wrong_credentials_are_said_once_for_all_lists(service: ScriptedService) -> None:
    service.on_sign_in(Reply("", 401, "text/html"))
    with pytest.raises(CredentialsError, match="login") as caught:
        await discussions(service)
    no_secret_in(caught.value)
    assert len(service.sign_ins) == 1
