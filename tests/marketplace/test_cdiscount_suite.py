"""The suite of every marketplace, for the Cdiscount adapter against its simulator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest

from mailbridge.domain.discussion import AuthorKind, DiscussionKind
from mailbridge.marketplace.cdiscount import CdiscountMarketplace
from mailbridge.sandbox.books import BookedDiscussion, Books
from mailbridge.sandbox.cdiscount import CdiscountSimulator
from mailbridge.sandbox.clock import HandClock
from mailbridge.sandbox.faults import AnswerLost, HtmlError, NotAuthorized
from mailbridge.sandbox.orders import BookedOrder, BookedParcel, OrderLineEntry, Person
from tests.marketplace.recorded import needs_recordings
from tests.marketplace.suite import MarketplaceSuite, Stage
from tests.requirements import CONTRACT

START = datetime(2019, 4, 25, 12, 0, 0, 177_000, tzinfo=UTC)
OPERATIONS = {
    DiscussionKind.CLAIM: "GetOrderClaimList",
    DiscussionKind.ORDER_QUESTION: "GetOrderQuestionList",
    DiscussionKind.OFFER_QUESTION: "GetOfferQuestionList",
}


class CdiscountStage:
    """Hands on the simulator's books."""

    def __init__(
        self, simulator: CdiscountSimulator, clock: HandClock, wsdl: str, *, modern: bool
    ) -> None:
        self.rights_by_kind = not modern
        self._simulator = simulator
        self._books = simulator.books
        self._clock = clock
        self._orders = 0

        async def password() -> str:
            return simulator.password

        async def no_pause(seconds: float) -> None:
            await asyncio.sleep(0)

        self.marketplace = CdiscountMarketplace(
            login=simulator.login,
            password=password,
            token_url=simulator.token_url,
            service_url=simulator.service_url,
            clock=clock,
            wsdl=wsdl,
            shop_names=("MAISON brindille",),
            timeout=20,
            sleep=no_pause,
        )

    def now(self) -> datetime:
        return self._clock()

    def passes(self, time: timedelta) -> None:
        self._clock.advance(time)

    def order(self, *, shipped: bool = False) -> str:
        self._orders += 1
        line = OrderLineEntry("REF-1", "Carafe", Decimal(10), shipping=Decimal(5))
        made = self._books.orders.add(
            BookedOrder(f"19042510{self._orders:02}ABCDE", self._customer(), self.now(), [line])
        )
        if shipped:
            self._books.orders.ship(made, BookedParcel("6A1", "Colissimo"))
        return made.number

    def opens(self, kind: DiscussionKind, text: str, *, order: str | None = None) -> str:
        offer = kind is DiscussionKind.OFFER_QUESTION
        made = self._books.open_discussion(
            kind,
            "Détail produit Carafe",
            self._customer(),
            text,
            order_number=order,
            product_ean="2009863600561" if offer else None,
            product_reference="REF-1" if offer else None,
        )
        return str(made.id)

    def says(self, discussion_id: str, author: AuthorKind, text: str) -> None:
        write = {
            AuthorKind.CUSTOMER: self._books.customer_writes,
            AuthorKind.SELLER: self._books.seller_writes,
            AuthorKind.OPERATOR: self._books.operator_writes,
            AuthorKind.AUTOMATIC: self._books.robot_writes,
        }[author]
        write(self._discussion(discussion_id), text)

    def ends(self, discussion_id: str) -> None:
        self._books.close_by_force(self._discussion(discussion_id))

    def tokens_die(self) -> None:
        self._books.expire_tokens()

    def fails(self, times: int, *, after: bool = False) -> None:
        self._simulator.faults.once(AnswerLost() if after else HtmlError(502), times=times)

    def forbids(self, kind: DiscussionKind) -> None:
        operation = OPERATIONS[kind] if self.rights_by_kind else "GetDiscussionList"
        self._simulator.faults.always(NotAuthorized(), operation)

    def effects(self) -> int:
        return self._simulator.performed("CloseDiscussionList")

    def _discussion(self, ident: str) -> BookedDiscussion:
        return self._books.discussion(int(ident))

    @staticmethod
    def _customer() -> Person:
        return Person("Zoé", "Martin")


async def staged(wsdl: str, *, modern: bool = False) -> AsyncIterator[Stage]:
    clock = HandClock(START)
    books = Books(clock, Random(7))
    async with CdiscountSimulator(books, modern=modern) as simulator:
        where = simulator.wsdl_url if wsdl == "url" else wsdl
        stage = CdiscountStage(simulator, clock, where, modern=modern)
        yield stage
        await stage.marketplace.aclose()


class TestThreeLists(MarketplaceSuite):
    """As served in 2019, with the contract we ship."""

    @pytest.fixture
    async def stage(self) -> AsyncIterator[Stage]:
        async for stage in staged("builtin"):
            yield stage


class TestOneList(MarketplaceSuite):
    """As served since 2020, with the contract we ship."""

    @pytest.fixture
    async def stage(self) -> AsyncIterator[Stage]:
        async for stage in staged("builtin-2020", modern=True):
            yield stage


class TestServedContract(MarketplaceSuite):
    """With the contract the service gives out itself."""

    @pytest.fixture
    async def stage(self) -> AsyncIterator[Stage]:
        async for stage in staged("url"):
            yield stage


@needs_recordings
class TestRecordedContract(MarketplaceSuite):
    """With the recorded contract of the real service, from a folder."""

    @pytest.fixture
    async def stage(self) -> AsyncIterator[Stage]:
        async for stage in staged(str(CONTRACT / "service.wsdl")):
            yield stage
