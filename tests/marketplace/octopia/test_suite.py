"""The suite of every marketplace, for the Octopia adapter against its simulator.

Whatever goes over the wire is held against the contract as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest

from mailbridge.domain.discussion import AuthorKind, Discussion, DiscussionKind, Status
from mailbridge.domain.money import (
    Allowed,
    Asked,
    GestureMotive,
    Movement,
    MovementKind,
    plan_movement,
)
from mailbridge.domain.order import LineStage, RequestState
from mailbridge.marketplace.octopia import OctopiaMarketplace
from mailbridge.marketplace.port import (
    CloseAnswer,
    File,
    ItemAnswer,
    NotAuthorizedError,
    RefusedError,
)
from mailbridge.sandbox.books import BookedDiscussion, BookedFile, BookedMessage, Books
from mailbridge.sandbox.clock import HandClock
from mailbridge.sandbox.faults import AnswerLost, HtmlError, NotAuthorized, Truncated
from mailbridge.sandbox.octopia import OctopiaSimulator, PatchKey, Rules
from mailbridge.sandbox.orders import BookedOrder, BookedParcel, OrderLineEntry, Person
from tests.marketplace.suite import MarketplaceSuite, Stage
from tests.octopia import ContractWatch

START = datetime(2019, 4, 25, 12, 0, 0, 177_000, tzinfo=UTC)
LAG = timedelta(minutes=90)
MUCH = Decimal(1000)
ALLOWED = Allowed(
    kinds=frozenset(MovementKind),
    motives=frozenset(GestureMotive),
    single_lines_before_shipment=True,
    gesture_before_shipment=False,
    most=MUCH,
    most_per_order=MUCH,
    most_per_day=MUCH,
)
EFFECTS = (
    "changeDiscussion",
    "openDiscussion",
    "requestCancellation",
    "requestGesture",
    "requestPartialCancellation",
    "sendMessage",
)


class OctopiaStage:
    """Hands on the simulator's books."""

    rights_by_kind = False
    claims_show_in_orders = False
    settles_in = LAG

    def __init__(
        self, simulator: OctopiaSimulator, clock: HandClock, learnt: Mapping[str, str]
    ) -> None:
        self.simulator = simulator
        self.books = simulator.books
        self._clock = clock
        self._orders = 0
        self.learnt: list[tuple[str, str]] = []

        async def secret() -> str:
            return simulator.client_secret

        async def no_pause(seconds: float) -> None:
            await asyncio.sleep(0)

        self.marketplace = OctopiaMarketplace(
            client_id=simulator.client_id,
            client_secret=secret,
            seller_id=simulator.seller_id,
            api_url=simulator.api_url,
            token_url=simulator.token_url,
            clock=clock,
            learnt=learnt,
            on_variant=lambda *pair: self.learnt.append(pair),
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
        made = self.books.orders.add(
            BookedOrder(f"23101710{self._orders:02}ABCDE", self._customer(), self.now(), entries)
        )
        if shipped:
            self.ships(made.number)
        return made.number

    def ships(self, order: str) -> None:
        self.books.orders.ship(self._booked(order), BookedParcel("6A1", "Colissimo"))

    def opens(
        self,
        kind: DiscussionKind,
        text: str,
        *,
        order: str | None = None,
        unlisted_for: timedelta = timedelta(0),
    ) -> str:
        offer = kind is DiscussionKind.OFFER_QUESTION
        made = self.books.open_discussion(
            kind,
            "Détail produit Carafe",
            self._customer(),
            text,
            order_number=order,
            product_ean="2009863600561" if offer else None,
            product_reference="REF-1" if offer else None,
        )
        return made.object_id

    def says(self, discussion_id: str, author: AuthorKind, text: str) -> None:
        writers: dict[AuthorKind, Callable[[BookedDiscussion, str], BookedMessage]] = {
            AuthorKind.CUSTOMER: self.books.customer_writes,
            AuthorKind.SELLER: self.books.seller_writes,
            AuthorKind.OPERATOR: self.books.operator_writes,
            AuthorKind.AUTOMATIC: self.books.robot_writes,
        }
        writers[author](self.discussion(discussion_id), text)

    def ends(self, discussion_id: str) -> None:
        self.books.close_by_force(self.discussion(discussion_id))

    def tokens_die(self) -> None:
        self.simulator.tokens.expire()

    def fails(self, times: int, *, after: bool = False) -> None:
        for operation in EFFECTS:
            fault = AnswerLost() if after else HtmlError(502)
            self.simulator.faults.once(fault, operation, times=times)
        if not after:
            self.simulator.faults.once(HtmlError(502), "listDiscussions", times=times)

    def forbids(self, kind: DiscussionKind) -> None:
        self.simulator.faults.always(NotAuthorized(), "listDiscussions")

    def garbles(self) -> None:
        for operation in EFFECTS:
            self.simulator.faults.once(Truncated(), operation)

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
        return sum(map(self.simulator.performed, EFFECTS))

    def discussion(self, ident: str) -> BookedDiscussion:
        [found] = [one for one in self.books.discussions if one.object_id == ident]
        return found

    def _booked(self, number: str) -> BookedOrder:
        order = self.books.orders.get(number)
        assert order is not None
        return order

    @staticmethod
    def _customer() -> Person:
        return Person("Zoé", "Martin")


NOTHING_LEARNT: Mapping[str, str] = {}
OTHER_WAY = {"reply": "receivers", "patch": "op", "order_key": "orderId", "shipping": "order"}


def other_way() -> Rules:
    """Wherever sources contradict each other or are silent, the service is the other one."""
    return Rules(
        receiver_list=True,
        patch_key=PatchKey.OP,
        cancellation_key="orderId",
        shipping_once=True,
        html_bodies=True,
        announces_files=True,
        newest_first=True,
        asynchronous_status=202,
        tells_life=False,
    )


async def staged(
    rules: Rules, learnt: Mapping[str, str] = NOTHING_LEARNT
) -> AsyncIterator[OctopiaStage]:
    clock = HandClock(START)
    simulator = OctopiaSimulator(Books(clock, Random(7), money_lag=LAG), rules=rules)
    watch = ContractWatch(simulator)
    async with simulator:
        stage = OctopiaStage(simulator, clock, learnt)
        yield stage
        await stage.marketplace.aclose()
    assert watch.faults == []


class TestAsDescribed(MarketplaceSuite):
    """With the defaults of the contract."""

    @pytest.fixture
    async def stage(self) -> AsyncIterator[Stage]:
        async for stage in staged(Rules()):
            yield stage


class TestTheOtherWay(MarketplaceSuite):
    """With a service that is the other one in each doubt, known to be so."""

    @pytest.fixture
    async def stage(self) -> AsyncIterator[Stage]:
        async for stage in staged(other_way(), OTHER_WAY):
            yield stage
            assert stage.learnt == []


@pytest.fixture
async def stranger() -> AsyncIterator[OctopiaStage]:
    """A service that is the other one in each doubt, and nobody knows yet."""
    async for stage in staged(other_way()):
        yield stage


async def test_every_doubt_is_settled_by_the_first_refusal(stranger: OctopiaStage) -> None:
    market = stranger.marketplace
    number = stranger.order(shipped=True, lines=2)
    ident = stranger.opens(DiscussionKind.CLAIM, "Cassée !", order=number)
    sent = await market.messaging.send(
        ident, "Bonjour, voici la réponse.", [], to=AuthorKind.CUSTOMER
    )
    [_, answer] = stranger.discussion(ident).messages
    assert (answer.ident, answer.text) == (sent, "Bonjour, voici la réponse.")
    assert await market.close([ident]) == {ident: CloseAnswer.CLOSED}
    for wish in (Asked(reference="REF-1"), Asked()):
        order = await market.order_for_money(number)
        assert order is not None
        movement = plan_movement(wish, order, ALLOWED)
        assert isinstance(movement, Movement)
        assert {one.answer for one in (await market.move_money(movement)).values()} == {
            ItemAnswer.PENDING
        }
        number = stranger.order(shipped=True)
    assert dict(stranger.learnt) == dict(market.learnt) == OTHER_WAY
    # What is known is not asked twice.
    calls = len(stranger.simulator.calls)
    await market.reopen(ident)
    assert [call.operation for call in stranger.simulator.calls[calls:]] == [
        "getDiscussion",
        "changeDiscussion",
    ]


async def test_a_check_learns_how_changes_are_written(stranger: OctopiaStage) -> None:
    ident = stranger.opens(DiscussionKind.CLAIM, "Bonjour", order=stranger.order())
    assert "patch=opt" in await stranger.marketplace.check()
    assert stranger.learnt == []  # nothing was read by the seller, so there was nothing to try
    [message] = stranger.discussion(ident).messages
    message.seen = True
    line = await stranger.marketplace.check()
    assert stranger.learnt == [("patch", "op")]
    assert "patch=op" in line
    assert "the service wants patch = op" in line


async def test_files_travel_both_ways(stranger: OctopiaStage) -> None:
    market = stranger.marketplace
    ident = stranger.opens(DiscussionKind.CLAIM, "Voyez la photo", order=stranger.order())
    photo = File("Ma photo.JPG", "image/jpeg", b"\xff\xd8 picture")
    [booked] = stranger.discussion(ident).messages
    booked.files = (BookedFile("colis abîmé.jpg", photo.data),)
    [message] = (await market.read_again([known(ident)])).discussions[0].messages
    assert [one.name for one in message.files] == ["colis abîmé.jpg"]
    assert message.ident is not None
    [file] = await market.messaging.files(ident, message.ident)
    assert file == File("colis abîmé.jpg", "image/jpeg", photo.data)
    await market.messaging.send(ident, "Voici la notice.", [photo], to=AuthorKind.CUSTOMER)
    [sent] = stranger.discussion(ident).messages[-1].files
    assert (sent.name, sent.data) == ("Ma photo.jpg", photo.data)


async def test_the_seller_writes_first(stranger: OctopiaStage) -> None:
    number = stranger.order(shipped=True)
    ident = await stranger.marketplace.messaging.write_first(
        number, "Votre commande", "Votre colis part demain.", []
    )
    made = stranger.discussion(ident)
    assert (made.order_number, made.subject, made.topic) == (
        number,
        "Votre commande",
        "sellerInformation",
    )
    assert [message.text for message in made.messages][-1] == "Votre colis part demain."
    stranger.simulator.rules.may_open.clear()
    with pytest.raises(RefusedError, match="CDISFR"):
        await stranger.marketplace.messaging.write_first(number, "x", "Votre colis est là.", [])


async def test_customer_care_is_answered_where_it_takes_part(stranger: OctopiaStage) -> None:
    ident = stranger.opens(DiscussionKind.ORDER_QUESTION, "?", order=stranger.order())
    send = stranger.marketplace.messaging.send
    with pytest.raises(RefusedError, match="GrcOperator"):
        await send(ident, "Bonjour cher collègue.", [], to=AuthorKind.OPERATOR)
    stranger.says(ident, AuthorKind.OPERATOR, "Qu'en dites-vous ?")
    await send(ident, "Bonjour cher collègue.", [], to=AuthorKind.OPERATOR)
    assert stranger.discussion(ident).messages[-1].to is AuthorKind.OPERATOR


async def test_without_delegation_nothing_is_possible(stranger: OctopiaStage) -> None:
    stranger.simulator.rules.delegated = False
    with pytest.raises(NotAuthorizedError, match="seller_id"):
        await stranger.marketplace.check()


async def test_a_message_is_marked_as_read(stranger: OctopiaStage) -> None:
    ident = stranger.opens(DiscussionKind.CLAIM, "Bonjour", order=stranger.order())
    [message] = (await stranger.marketplace.read_again([known(ident)])).discussions[0].messages
    assert message.ident is not None
    assert not message.seen
    await stranger.marketplace.messaging.mark_seen([message.ident, "no-such-message"])
    [message] = (await stranger.marketplace.read_again([known(ident)])).discussions[0].messages
    assert message.seen


async def test_a_customers_own_request_holds_the_line(stranger: OctopiaStage) -> None:
    number = stranger.order()
    order = stranger.books.orders.get(number)
    assert order is not None
    order.request_cancellation()
    read = await stranger.marketplace.order_for_money(number)
    assert read is not None
    assert [line.stage for line in read.lines] == [LineStage.CANCELLATION_ASKED]


async def test_a_request_refused_later_is_told_in_its_words(stranger: OctopiaStage) -> None:
    number = stranger.order(shipped=True)
    stranger.simulator.requests.refuse_next("Hors délai.")
    order = await stranger.marketplace.order_for_money(number)
    assert order is not None
    assert order.gesture_left is not None
    movement = plan_movement(Asked(gesture=Decimal("4.50")), order, ALLOWED)
    assert isinstance(movement, Movement)
    [result] = (await stranger.marketplace.move_money(movement)).values()
    stranger.passes(LAG)
    order = await stranger.marketplace.order_for_money(number)
    assert order is not None
    [request] = order.requests
    assert (request.id, request.state, request.words) == (
        result.request,
        RequestState.REFUSED,
        "Hors délai.",
    )
    assert order.vouchers == ()


def known(ident: str) -> Discussion:
    return Discussion(ident, ident, DiscussionKind.CLAIM, Status.OPEN, START)
