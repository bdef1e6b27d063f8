"""The suite of every marketplace, for the Cdiscount adapter against its simulator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest

from mailbridge.domain.discussion import AuthorKind, DiscussionKind
from mailbridge.marketplace.cdiscount import CdiscountMarketplace
from mailbridge.sandbox.books import BookedDiscussion, BookedMessage, Books
from mailbridge.sandbox.cdiscount import CdiscountSimulator
from mailbridge.sandbox.clock import HandClock
from mailbridge.sandbox.faults import AnswerLost, HtmlError, NotAuthorized, Truncated
from mailbridge.sandbox.orders import BookedOrder, BookedParcel, OrderLineEntry, Person
from tests.marketplace.recorded import needs_recordings
from tests.marketplace.suite import MarketplaceSuite, Stage
from tests.requirements import CONTRACT

START = datetime(2019, 4, 25, 12, 0, 0, 177_000, tzinfo=UTC)
LAG = timedelta(minutes=90)
EFFECTS = ("CloseDiscussionList", "ValidateOrderList", "CreateRefundVoucher")
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
        self.claims_show_in_orders = True
        self.settles_in = LAG
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

    def order(self, *, shipped: bool = False, lines: int = 1) -> str:
        self._orders += 1
        entries = [
            OrderLineEntry(f"REF-{number}", "Carafe", Decimal(10), shipping=Decimal(5))
            for number in range(1, lines + 1)
        ]
        made = self._books.orders.add(
            BookedOrder(f"19042510{self._orders:02}ABCDE", self._customer(), self.now(), entries)
        )
        if shipped:
            self.ships(made.number)
        return made.number

    def ships(self, order: str) -> None:
        self._books.orders.ship(self._booked(order), BookedParcel("6A1", "Colissimo"))

    def opens(
        self,
        kind: DiscussionKind,
        text: str,
        *,
        order: str | None = None,
        unlisted_for: timedelta = timedelta(0),
    ) -> str:
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
        made.listed_at = self.now() + unlisted_for
        return str(made.id)

    def says(self, discussion_id: str, author: AuthorKind, text: str) -> None:
        writers: dict[AuthorKind, Callable[[BookedDiscussion, str], BookedMessage]] = {
            AuthorKind.CUSTOMER: self._books.customer_writes,
            AuthorKind.SELLER: self._books.seller_writes,
            AuthorKind.OPERATOR: self._books.operator_writes,
            AuthorKind.AUTOMATIC: self._books.robot_writes,
        }
        writers[author](self._discussion(discussion_id), text)

    def ends(self, discussion_id: str) -> None:
        self._books.close_by_force(self._discussion(discussion_id))

    def tokens_die(self) -> None:
        self._books.expire_tokens()

    def fails(self, times: int, *, after: bool = False) -> None:
        self._simulator.faults.once(AnswerLost() if after else HtmlError(502), times=times)

    def forbids(self, kind: DiscussionKind) -> None:
        operation = OPERATIONS[kind] if self.rights_by_kind else "GetDiscussionList"
        self._simulator.faults.always(NotAuthorized(), operation)

    def garbles(self) -> None:
        self._simulator.faults.once(Truncated())

    def refuses_money(self, order: str, reference: str | None = None) -> None:
        booked = self._booked(order)
        if reference is None:
            booked.refuses_money = "Opération impossible"
            return
        line = booked.line(reference)
        assert line is not None
        line.refuses_money = "Opération impossible"

    def was_given_back(self, order: str, reference: str) -> None:
        line = self._booked(order).line(reference)
        assert line is not None
        line.state = "RefundedAfterCustomerCancellation"

    def moved(self, order: str) -> tuple[frozenset[str], Decimal]:
        booked = self._booked(order)
        lines = {line.reference for line in booked.lines if line.settles_to}
        return frozenset(lines), sum((each.amount for each in booked.vouchers), Decimal(0))

    def effects(self) -> int:
        return sum(map(self._simulator.performed, EFFECTS))

    def _booked(self, number: str) -> BookedOrder:
        order = self._books.orders.get(number)
        assert order is not None
        return order

    def _discussion(self, ident: str) -> BookedDiscussion:
        return self._books.discussion(int(ident))

    @staticmethod
    def _customer() -> Person:
        return Person("Zoé", "Martin")


async def staged(wsdl: str, *, modern: bool = False) -> AsyncIterator[Stage]:
    clock = HandClock(START)
    books = Books(clock, Random(7), money_lag=LAG)
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
