"""The service over real HTTP: contract, order of elements, tokens and everything that breaks."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from lxml import etree

from mailbridge.domain.discussion import DiscussionKind
from mailbridge.sandbox.books import Books
from mailbridge.sandbox.cdiscount import CONTRACT as OURS
from mailbridge.sandbox.cdiscount import CdiscountSimulator
from mailbridge.sandbox.clock import HandClock
from mailbridge.sandbox.faults import (
    GET_TOKEN,
    AnswerLost,
    EmptyFailure,
    ExtraElement,
    Hang,
    HtmlError,
    HtmlPage,
    InternalError,
    NilLists,
    NotAuthorized,
    RawAnswer,
    Refusal,
    ResetBefore,
    Rewrite,
    SlowDrip,
    TokenFault,
    Truncated,
    UnknownValue,
)
from mailbridge.sandbox.people import Cast
from tests.sandbox.soap import REALM, Soap

ALL = (
    "<c:orderClaimFilter><c:StatusList><c:DiscussionStateFilter>All</c:DiscussionStateFilter>"
    "</c:StatusList></c:orderClaimFilter>"
)


class TestReading:
    async def test_elements_out_of_order_are_null_without_a_word(
        self, soap: Soap, books: Books, cast: Cast
    ) -> None:
        """WCF's way: StatusList before the dates takes the dates away."""
        books.close_by_force(cast.claim())
        begin = "<c:BeginModificationDate>2019-04-26T00:00:00</c:BeginModificationDate>"
        status = (
            "<c:StatusList><c:DiscussionStateFilter>All</c:DiscussionStateFilter></c:StatusList>"
        )
        right = await soap.call(
            "GetOrderClaimList", f"<c:orderClaimFilter>{begin}{status}</c:orderClaimFilter>"
        )
        wrong = await soap.call(
            "GetOrderClaimList", f"<c:orderClaimFilter>{status}{begin}</c:orderClaimFilter>"
        )
        assert right.all("OrderClaim") == []
        assert len(wrong.all("OrderClaim")) == 1

    async def test_a_filter_before_the_header_hides_the_token(self, soap: Soap) -> None:
        await soap.sign_in()
        answer = await soap.post(
            "GetOrderClaimList",
            '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
            'xmlns:c="http://www.cdiscount.com"><s:Body><c:GetOrderClaimList>'
            "<c:orderClaimFilter/><c:headerMessage/>"
            "</c:GetOrderClaimList></s:Body></s:Envelope>",
        )
        assert answer.status == 500
        assert answer.one("faultstring") == "Token id is not correctly formatted."

    @pytest.mark.parametrize(
        "parameter",
        [
            "<c:orderClaimFilter><c:BeginCreationDate>hier</c:BeginCreationDate>"
            "</c:orderClaimFilter>",
            ALL.replace("All", "Toutes"),
        ],
    )
    async def test_values_that_cannot_be_read(self, soap: Soap, parameter: str) -> None:
        answer = await soap.call("GetOrderClaimList", parameter)
        assert answer.status == 500
        assert answer.one("faultcode") == "a:DeserializationFailed"

    async def test_no_xml_at_all(self, soap: Soap) -> None:
        answer = await soap.post("GetOrderClaimList", "<s:Envelope")
        assert (answer.status, answer.one("faultcode")) == (500, "a:DeserializationFailed")

    async def test_operations_that_are_not_served(self, soap: Soap) -> None:
        answer = await soap.call("GetDiscussionList", "<c:discussionFilter/>")
        assert (answer.status, answer.one("faultcode")) == (500, "a:ActionNotSupported")

    async def test_dates_are_paris_local_or_carry_their_zone(
        self, soap: Soap, cast: Cast, clock: HandClock
    ) -> None:
        cast.claim()  # at 11:05 in Paris, 09:05 UTC

        async def found(begin: str) -> int:
            answer = await soap.call(
                "GetOrderClaimList",
                f"<c:orderClaimFilter><c:BeginCreationDate>{begin}</c:BeginCreationDate>"
                "</c:orderClaimFilter>",
            )
            return len(answer.all("OrderClaim"))

        assert await found("2019-04-25T11:05:00") == 1
        assert await found("2019-04-25T11:05:00.01") == 0
        assert await found("2019-04-25T09:05:00Z") == 1
        assert await found("2019-04-25T09:05:01Z") == 0


class TestTokens:
    async def test_wrong_password(self, market: CdiscountSimulator, soap: Soap) -> None:
        answer = await soap.http.get(
            market.token_url, params={"realm": REALM}, auth=(market.login, "nope")
        )
        assert answer.status_code == 401

    async def test_expiry(self, soap: Soap, clock: HandClock) -> None:
        assert (await soap.call("GetOrderClaimList", ALL)).status == 200
        clock.advance(timedelta(hours=48))
        answer = await soap.call("GetOrderClaimList", ALL)
        assert answer.status == 500
        assert answer.one("faultcode") == "s:RequestTokenValidationError"
        await soap.sign_in()
        assert (await soap.call("GetOrderClaimList", ALL)).status == 200

    async def test_a_page_instead_of_a_token(self, market: CdiscountSimulator, soap: Soap) -> None:
        market.faults.once(HtmlPage(), GET_TOKEN)
        answer = await soap.http.get(
            market.token_url, params={"realm": REALM}, auth=(market.login, market.password)
        )
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (
            200,
            "text/html",
        )
        await soap.sign_in()
        market.faults.once(RawAnswer(b"<string>short</string>"), GET_TOKEN)
        assert await soap.sign_in() == "short"


class TestFaults:
    @pytest.fixture
    async def claim_id(self, books: Books, cast: Cast) -> int:
        books.seller_lag = timedelta(0)
        claim = cast.claim(text="Bonjour")
        books.seller_writes(claim, "Voici.")
        return claim.id

    async def test_token_faults_and_their_twin(
        self, market: CdiscountSimulator, soap: Soap
    ) -> None:
        await soap.sign_in()
        market.faults.once(TokenFault())
        market.faults.once(TokenFault.expired())
        market.faults.once(NotAuthorized())
        texts = [(await soap.call("GetOrderClaimList", ALL)).one("faultstring") for _ in range(3)]
        assert texts[0] == "Your token does not exist, please renew your token id."
        assert " has expired" in (texts[1] or "")
        dashed = str(uuid.UUID(soap.token))
        assert f"(Token used: '{dashed}'" in (texts[2] or "")
        assert (await soap.call("GetOrderClaimList", ALL)).status == 200

    async def test_nothing_is_done_when_the_answer_never_came_to_be(
        self, market: CdiscountSimulator, soap: Soap, claim_id: int, books: Books
    ) -> None:
        await soap.sign_in()
        for fault in (InternalError(), HtmlError(), EmptyFailure(), Refusal()):
            market.faults.once(fault, "CloseDiscussionList")
        statuses = []
        for _ in range(4):
            answer = await soap.call(
                "CloseDiscussionList",
                "<c:closeDiscussionRequest><c:DiscussionIds>"
                f"<a:long>{claim_id}</a:long></c:DiscussionIds></c:closeDiscussionRequest>",
            )
            statuses.append(answer.status)
        assert statuses == [500, 502, 200, 200]
        market.faults.once(ResetBefore(), "CloseDiscussionList")
        with pytest.raises(httpx.TransportError):
            await soap.close(claim_id)
        assert not books.discussion(claim_id).closed
        assert market.performed("CloseDiscussionList") == 0
        assert await soap.close(claim_id) == ["DiscussionClosed"]

    @pytest.mark.parametrize("fault", [AnswerLost(), HtmlError(504, after=True), Truncated()])
    async def test_it_is_done_though_the_answer_is_lost(
        self,
        market: CdiscountSimulator,
        soap: Soap,
        claim_id: int,
        books: Books,
        fault: AnswerLost | HtmlError | Truncated,
    ) -> None:
        await soap.sign_in()
        market.faults.once(fault, "CloseDiscussionList")
        with pytest.raises(
            (httpx.TransportError, etree.XMLSyntaxError, AssertionError, ValueError)
        ):
            await soap.close(claim_id)
        assert books.discussion(claim_id).closed
        assert market.performed("CloseDiscussionList") == 1
        assert await soap.close(claim_id) == ["AlreadyClosed"]

    async def test_hanging_with_and_without_effect(
        self, market: CdiscountSimulator, soap: Soap, claim_id: int, books: Books
    ) -> None:
        await soap.sign_in()
        soap.http.timeout = httpx.Timeout(0.2)
        market.faults.once(Hang(30), "CloseDiscussionList")
        with pytest.raises(httpx.ReadTimeout):
            await soap.close(claim_id)
        assert not books.discussion(claim_id).closed
        market.faults.once(Hang(30, after=True), "CloseDiscussionList")
        with pytest.raises(httpx.ReadTimeout):
            await soap.close(claim_id)
        assert books.discussion(claim_id).closed

    async def test_a_slow_drip_arrives_whole(
        self, market: CdiscountSimulator, soap: Soap, claim_id: int
    ) -> None:
        await soap.sign_in()
        market.faults.once(SlowDrip(chunk=200, pause=0.02))
        started = time.monotonic()
        answer = await soap.call("GetOrderClaimList", ALL)
        assert time.monotonic() - started > 0.08
        assert answer.all("Id") == [str(claim_id)]

    async def test_answers_of_a_later_version(
        self, market: CdiscountSimulator, soap: Soap, claim_id: int
    ) -> None:
        await soap.sign_in()
        market.faults.once(UnknownValue("Status", "Archived"))
        assert (await soap.call("GetOrderClaimList", ALL)).one("Status") == "Archived"
        market.faults.once(ExtraElement("Message"))
        answer = await soap.call("GetOrderClaimList", ALL)
        assert answer.all("NouveauChamp") == ["42", "42"]
        market.faults.once(NilLists())
        answer = await soap.call("GetOrderClaimList", ALL)
        assert answer.one("OrderClaimList") is None
        market.faults.once(Rewrite(b"<CreationDate>2019", b"<CreationDate>soon"))
        assert (await soap.call("GetOrderClaimList", ALL)).one("CreationDate") == (
            "soon-04-25T11:05:00"
        )

    async def test_rules(self, market: CdiscountSimulator, soap: Soap) -> None:
        await soap.sign_in()
        market.faults.once(InternalError(), "GetOrderList")
        market.faults.once(HtmlError(503), "GetOrderClaimList", times=2, skip=1)
        seen = [(await soap.call("GetOrderClaimList", ALL)).status for _ in range(4)]
        assert seen == [200, 503, 503, 200]
        assert market.faults.pending == 1
        market.faults.clear()
        market.faults.always(InternalError(), chance=0.5)
        seen = [(await soap.call("GetOrderClaimList", ALL)).status for _ in range(40)]
        assert {200, 500} == set(seen)


class TestModern:
    async def test_one_list_for_all_kinds_and_who_wrote(self, books: Books, cast: Cast) -> None:
        claim = cast.claim(text="Bonjour")
        cast.offer_question(text="Une question")
        books.operator_writes(claim, "Merci de répondre.")
        books.robot_writes(claim, "Message automatique")
        async with CdiscountSimulator(books, modern=True) as market, httpx.AsyncClient() as http:
            soap = Soap(market, http)
            answer = await soap.call("GetDiscussionList", "<c:discussionFilter/>")
            assert answer.all("SenderType") == ["Customer", "GrcOperator", "Automatic", "Customer"]
            assert answer.all("Sender")[2] is None
            only = await soap.call(
                "GetDiscussionList",
                "<c:discussionFilter><c:DiscussionType>Offer</c:DiscussionType>"
                "</c:discussionFilter>",
            )
            assert len(only.all("Discussion")) == 1


class TestContract:
    async def _documents(self, market: CdiscountSimulator) -> dict[str, bytes]:
        """Everything reachable from `?wsdl`, by URL."""
        found: dict[str, bytes] = {}
        waiting = [market.wsdl_url]
        async with httpx.AsyncClient() as http:
            while waiting:
                url = waiting.pop()
                if url in found:
                    continue
                answer = await http.get(url)
                assert "xml" in answer.headers["content-type"], url
                found[url] = answer.content
                for element in etree.fromstring(answer.content).iter("{*}import", "{*}include"):
                    target = element.get("location") or element.get("schemaLocation")
                    if target:
                        waiting.append(target)
        return found

    @pytest.mark.parametrize("modern", [False, True])
    async def test_our_subset(self, books: Books, modern: bool) -> None:
        async with CdiscountSimulator(books, modern=modern) as market:
            found = await self._documents(market)
            whole = b"".join(found.values())
            assert whole.count(f'location="{market.service_url}"'.encode()) == 1
            assert (b'operation name="GetDiscussionList"' in whole) is modern
            assert b"wsvc.cdiscount.com/MarketplaceAPIService.svc?" not in whole

    async def test_the_recorded_one(self, books: Books, recordings: Path) -> None:
        async with CdiscountSimulator(books, wsdl=recordings) as market:
            found = await self._documents(market)
            files = [path for path in recordings.iterdir() if path.suffix in {".wsdl", ".xsd"}]
            assert len(found) == len(files)
            assert all(url.startswith(market.service_url) for url in found)

    def test_a_folder_without_service(self, books: Books, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="no WSDL document"):
            CdiscountSimulator(books, wsdl=tmp_path)

    def test_our_subset_is_where_we_look(self) -> None:
        assert (OURS / "service.wsdl").is_file()


class TestLife:
    async def test_stopped_in_the_middle_of_a_call(self, books: Books) -> None:
        market = CdiscountSimulator(books)
        await market.start()
        port = market.port
        async with httpx.AsyncClient() as http:
            soap = Soap(market, http)
            await soap.sign_in()
            market.faults.once(Hang(60))
            call = asyncio.create_task(soap.call("GetOrderClaimList", ALL))
            await asyncio.sleep(0.1)
            await market.stop()
            with pytest.raises(httpx.TransportError):
                await call
            await market.start()
            assert market.port == port, "a daemon finds it where it was"
            assert (await soap.call("GetOrderClaimList", ALL)).status == 200
        await market.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_control_characters_do_not_break_the_answer(
        self, soap: Soap, books: Books, cast: Cast
    ) -> None:
        customer = cast.customer()
        books.open_discussion(
            DiscussionKind.CLAIM, "a\x00b\x1b[31m", customer, "Bon\x08jour\r\nligne 2\rligne 3"
        )
        answer = await soap.call("GetOrderClaimList", ALL)
        assert answer.one("Subject") == "ab[31m"
        assert answer.one("Content") == "Bonjour\r\nligne 2\r\nligne 3"
