"""What every adapter must do about orders and money, told as dialogues against its simulator.

Part of `suite.MarketplaceSuite`. A marketplace may answer at once (GRANTED, REFUSED) or take a
request and work on it (PENDING, then `Order.requests`); it may refuse one item or the whole. What
is asked of all of them is that answers and orders tell the truth about what the books hold.
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from mailbridge.domain.discussion import DiscussionKind, Status
from mailbridge.domain.money import Allowed, Asked, Movement, MovementKind, plan_movement
from mailbridge.domain.order import LineStage, Order, OrderStage, RequestState
from mailbridge.marketplace.port import (
    ContractError,
    ItemAnswer,
    ItemResult,
    Listing,
    RefusedError,
    ReplyChannel,
    TransientError,
    Window,
)
from tests.marketplace.stage import Stage

__all__ = ["OrderSuite"]

HOUR = timedelta(hours=1)
MUCH = Decimal(10_000)
NOTHING: tuple[frozenset[str], Decimal] = (frozenset(), Decimal(0))
KINDS = list(MovementKind)


async def read(stage: Stage, number: str) -> Order:
    order = await stage.marketplace.order_for_money(number)
    assert order is not None
    return order


async def planned(stage: Stage, kind: MovementKind, number: str) -> Movement:
    """What the refund table makes of a request for this kind of movement of the whole order."""
    rules = stage.marketplace.capabilities.money
    allowed = Allowed(
        kinds=rules.kinds,
        motives=rules.motives,
        single_lines_before_shipment=rules.single_lines_before_shipment,
        gesture_before_shipment=rules.gesture_before_shipment,
        most=MUCH,
        most_per_order=MUCH,
        most_per_day=MUCH,
    )
    wish = Asked()
    if kind is MovementKind.GESTURE:
        wish = Asked(gesture=Decimal("4.50"), motive=min(rules.motives))
    movement = plan_movement(wish, await read(stage, number), allowed)
    assert isinstance(movement, Movement), movement
    assert movement.kind is kind
    return movement


def offered(stage: Stage, kind: MovementKind) -> bool:
    return kind in stage.marketplace.capabilities.money.kinds


def ordered(stage: Stage, kind: MovementKind, *, lines: int = 1) -> str:
    """An order as far as this kind of movement needs it."""
    return stage.order(shipped=kind is not MovementKind.CANCELLATION, lines=lines)


def wanted(movement: Movement) -> tuple[frozenset[str], Decimal]:
    """What the books hold when the movement was carried out, as `Stage.moved` says it."""
    if movement.kind is MovementKind.GESTURE:
        return frozenset(), movement.amount
    return frozenset(line.reference for line in movement.lines), Decimal(0)


def items(movement: Movement) -> set[str]:
    return {line.reference for line in movement.lines} or {""}


def shown(order: Order, movement: Movement) -> bool:
    """Whether the order as read proves the movement."""
    for request in order.requests:
        same = movement.kind is not MovementKind.GESTURE or request.amount == movement.amount
        if request.kind == movement.kind and same and request.state is RequestState.DONE:
            return True
    if movement.kind is MovementKind.GESTURE:
        return any(
            (voucher.amount, voucher.motive) == (movement.amount, movement.motive)
            for voucher in order.vouchers or ()
        )
    back = {LineStage.REFUNDED, LineStage.CANCELLED}
    stages = {line.reference: line.stage for line in order.lines}
    return all(stages[line.reference] in back for line in movement.lines)


async def asked(stage: Stage, movement: Movement) -> dict[str, ItemResult]:
    """What was answered about each item; refused as a whole, every item is."""
    try:
        return dict(await stage.marketplace.move_money(movement))
    except RefusedError as error:
        return {key: ItemResult(ItemAnswer.REFUSED, str(error)) for key in items(movement)}


async def granted(stage: Stage, number: str, results: dict[str, ItemResult]) -> frozenset[str]:
    """The items that were granted in the end; every other one must have been refused in words."""
    requests = {request.id: request for request in (await read(stage, number)).requests}
    found = set()
    for key, result in results.items():
        match result.answer:
            case ItemAnswer.GRANTED:
                found.add(key)
            case ItemAnswer.PENDING:
                request = requests[result.request]
                if request.state is RequestState.DONE:
                    found.add(key)
                else:
                    assert request.state is RequestState.REFUSED
                    assert request.words
            case ItemAnswer.REFUSED:
                assert result.words
            case ItemAnswer.UNKNOWN:
                pytest.fail(f"nothing was said about {key!r}")
    return frozenset(found)


class OrderSuite:
    """Derived by `MarketplaceSuite`, which is given the fixture `stage`."""

    # Orders both ways

    async def changed(self, stage: Stage, *, back: timedelta = HOUR) -> dict[str, Order]:
        window = Window(stage.now() - back, stage.now() + timedelta(minutes=1))
        return {order.number: order for order in await stage.marketplace.changed_orders(window)}

    async def test_changed_orders_come_with_their_lines(self, stage: Stage) -> None:
        old, shipped = stage.order(), stage.order()
        stage.passes(timedelta(days=30))
        stage.ships(shipped)
        new = stage.order(lines=2)
        found = await self.changed(stage)
        assert found.keys() == {shipped, new}
        assert (found[shipped].stage, found[new].stage) == (OrderStage.SHIPPED, OrderStage.TO_SHIP)
        assert [line.reference for line in found[new].lines] == ["REF-1", "REF-2"]
        assert {line.stage for line in found[shipped].lines} == {LineStage.SHIPPED}
        assert (await self.changed(stage, back=timedelta(days=60))).keys() == {old, shipped, new}

    async def test_no_order_changed_is_nothing(self, stage: Stage) -> None:
        assert await self.changed(stage) == {}

    @pytest.mark.parametrize("night", ["2019-10-26T23:30", "2020-03-29T00:30"])
    async def test_no_order_is_lost_in_the_nights_the_clocks_change(
        self, stage: Stage, night: str
    ) -> None:
        stage.passes(datetime.fromisoformat(f"{night}+00:00") - stage.now())
        for _ in range(12):
            stage.passes(timedelta(minutes=10))
            number = stage.order()
            assert number in await self.changed(stage, back=timedelta(minutes=5))

    async def test_a_claim_is_found_by_its_order_before_the_lists_show_it(
        self, stage: Stage
    ) -> None:
        number = stage.order(shipped=True)
        stage.passes(timedelta(days=5))
        claim = stage.opens(DiscussionKind.CLAIM, "?", order=number, unlisted_for=2 * HOUR)
        if stage.claims_show_in_orders:
            assert (await self.changed(stage))[number].has_claims
            assert (await read(stage, number)).has_claims
        found = await stage.marketplace.discussions_of_orders([number])
        assert not found.faults
        [one] = found.discussions
        assert (one.id, one.kind, one.order_number) == (claim, DiscussionKind.CLAIM, number)
        assert [message.text for message in one.messages] == ["?"]

    async def test_all_discussions_of_an_order_however_old(self, stage: Stage) -> None:
        number, other = stage.order(), stage.order()
        question = stage.opens(DiscussionKind.ORDER_QUESTION, "a", order=number)
        closed = stage.opens(DiscussionKind.CLAIM, "b", order=number)
        theirs = stage.opens(DiscussionKind.CLAIM, "c", order=other)
        stage.opens(DiscussionKind.OFFER_QUESTION, "d")
        stage.ends(closed)
        stage.passes(timedelta(days=300))
        found = await stage.marketplace.discussions_of_orders([number, number])
        assert {one.id: one.status for one in found.discussions} == {
            question: Status.OPEN,
            closed: Status.CLOSED,
        }
        both = await stage.marketplace.discussions_of_orders([other, "NO-SUCH-ORDER", number])
        assert {one.id for one in both.discussions} == {question, closed, theirs}

    async def test_discussions_of_no_order(self, stage: Stage) -> None:
        stage.opens(DiscussionKind.CLAIM, "?", order=stage.order())
        silent = stage.order()
        assert await stage.marketplace.discussions_of_orders([]) == Listing(())
        assert await stage.marketplace.discussions_of_orders([silent]) == Listing(())
        assert await stage.marketplace.discussions_of_orders(["NO-SUCH-ORDER"]) == Listing(())

    async def test_no_relay_address_long_after_shipping(self, stage: Stage) -> None:
        if stage.marketplace.capabilities.reply_channel is not ReplyChannel.RELAY_MAIL:
            return
        number = stage.order(shipped=True)
        assert await stage.marketplace.relay_address_for_order(number)
        stage.passes(timedelta(days=29))
        with contextlib.suppress(RefusedError):
            assert await stage.marketplace.relay_address_for_order(number) is None
        # The order is readable all the same.
        assert (await stage.marketplace.orders([number]))[number].relay_address is None

    # An order for its money

    async def test_an_order_says_how_far_it_has_come(self, stage: Stage) -> None:
        waiting, shipped = stage.order(lines=2), stage.order(shipped=True)
        order = await read(stage, waiting)
        assert (order.number, order.stage) == (waiting, OrderStage.TO_SHIP)
        assert [line.stage for line in order.lines] == [LineStage.TO_SHIP] * 2
        assert {line.price for line in order.lines} == {Decimal(10)}
        assert {line.shipping for line in order.lines} == {Decimal(5)}
        order = await read(stage, shipped)
        assert order.stage is OrderStage.SHIPPED
        assert [line.stage for line in order.lines] == [LineStage.SHIPPED]
        assert (order.vouchers, order.requests) == ((), ())
        assert await stage.marketplace.order_for_money("NO-SUCH-ORDER") is None

    # Money

    @pytest.mark.parametrize("kind", KINDS)
    async def test_money_granted_is_moved_once_and_shows(
        self, stage: Stage, kind: MovementKind
    ) -> None:
        if not offered(stage, kind):
            return
        number, other = ordered(stage, kind, lines=2), ordered(stage, kind)
        movement = await planned(stage, kind, number)
        results = await asked(stage, movement)
        assert results.keys() == items(movement)
        assert {each.answer for each in results.values()} <= {
            ItemAnswer.GRANTED,
            ItemAnswer.PENDING,
        }
        stage.passes(stage.settles_in)
        assert shown(await read(stage, number), movement)
        assert await granted(stage, number, results) == items(movement)
        assert (stage.moved(number), stage.moved(other)) == (wanted(movement), NOTHING)
        assert stage.effects() == 1

    @pytest.mark.parametrize("kind", [MovementKind.REFUND, MovementKind.GESTURE])
    async def test_what_does_not_show_yet_may_have_moved(
        self, stage: Stage, kind: MovementKind
    ) -> None:
        if not offered(stage, kind) or not stage.settles_in:
            return
        number = ordered(stage, kind)
        movement = await planned(stage, kind, number)
        await stage.marketplace.move_money(movement)
        assert not shown(await read(stage, number), movement)
        stage.passes(stage.settles_in)
        assert shown(await read(stage, number), movement)

    async def test_a_gesture_before_shipment_where_it_is_allowed(self, stage: Stage) -> None:
        rules = stage.marketplace.capabilities.money
        if not offered(stage, MovementKind.GESTURE) or not rules.gesture_before_shipment:
            return
        number = stage.order()
        movement = await planned(stage, MovementKind.GESTURE, number)
        await stage.marketplace.move_money(movement)
        stage.passes(stage.settles_in)
        order = await read(stage, number)
        assert shown(order, movement)
        assert order.stage is OrderStage.TO_SHIP
        assert stage.moved(number) == wanted(movement)

    @pytest.mark.parametrize("kind", KINDS)
    async def test_money_refused_is_refused_in_words(
        self, stage: Stage, kind: MovementKind
    ) -> None:
        if not offered(stage, kind):
            return
        number = ordered(stage, kind, lines=2)
        movement = await planned(stage, kind, number)
        stage.refuses_money(number)
        results = await asked(stage, movement)
        stage.passes(stage.settles_in)
        assert await granted(stage, number, results) == set()
        assert stage.moved(number) == NOTHING
        assert not shown(await read(stage, number), movement)

    @pytest.mark.parametrize("kind", [MovementKind.CANCELLATION, MovementKind.REFUND])
    async def test_each_line_has_its_own_answer(self, stage: Stage, kind: MovementKind) -> None:
        if not offered(stage, kind):
            return
        number = ordered(stage, kind, lines=3)
        movement = await planned(stage, kind, number)
        stage.refuses_money(number, "REF-2")
        results = await asked(stage, movement)
        assert results.keys() == {"REF-1", "REF-2", "REF-3"}
        stage.passes(stage.settles_in)
        lines = await granted(stage, number, results)
        assert "REF-2" not in lines
        assert stage.moved(number) == (lines, Decimal(0))

    @pytest.mark.parametrize("kind", [MovementKind.CANCELLATION, MovementKind.REFUND])
    async def test_a_line_given_back_before_is_left_alone(
        self, stage: Stage, kind: MovementKind
    ) -> None:
        if not offered(stage, kind):
            return
        number = ordered(stage, kind, lines=2)
        stage.was_given_back(number, "REF-1")
        movement = await planned(stage, kind, number)
        assert items(movement) == {"REF-2"}
        before = (await read(stage, number)).lines[0]
        results = await asked(stage, movement)
        stage.passes(stage.settles_in)
        assert await granted(stage, number, results) == {"REF-2"}
        assert stage.moved(number) == wanted(movement)
        assert (await read(stage, number)).lines[0] == before

    async def test_a_line_is_not_given_back_twice(self, stage: Stage) -> None:
        kind = MovementKind.REFUND
        if not offered(stage, kind):
            return
        number = ordered(stage, kind)
        movement = await planned(stage, kind, number)
        await stage.marketplace.move_money(movement)
        results = await asked(stage, movement)
        stage.passes(stage.settles_in)
        assert await granted(stage, number, results) == set()
        assert stage.moved(number) == wanted(movement)

    @pytest.mark.parametrize("happened", [True, False])
    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_lost_answer_says_that_it_may_have_happened(
        self, stage: Stage, kind: MovementKind, happened: bool
    ) -> None:
        if not offered(stage, kind):
            return
        number = ordered(stage, kind)
        movement = await planned(stage, kind, number)
        stage.fails(1, after=happened)
        with pytest.raises(TransientError) as caught:
            await stage.marketplace.move_money(movement)
        assert caught.value.sent
        assert stage.effects() == happened  # not tried again by itself
        stage.passes(stage.settles_in)
        assert shown(await read(stage, number), movement) is happened
        assert stage.moved(number) == (wanted(movement) if happened else NOTHING)

    @pytest.mark.parametrize("kind", KINDS)
    async def test_an_answer_that_cannot_be_read_may_hide_a_success(
        self, stage: Stage, kind: MovementKind
    ) -> None:
        if not offered(stage, kind):
            return
        number = ordered(stage, kind)
        movement = await planned(stage, kind, number)
        stage.garbles()
        with pytest.raises(ContractError):
            await stage.marketplace.move_money(movement)
        assert stage.effects() == 1
        stage.passes(stage.settles_in)
        assert shown(await read(stage, number), movement)

    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_dead_token_does_not_double_money(
        self, stage: Stage, kind: MovementKind
    ) -> None:
        if not offered(stage, kind):
            return
        number = ordered(stage, kind)
        movement = await planned(stage, kind, number)
        stage.tokens_die()
        results = await stage.marketplace.move_money(movement)
        assert results.keys() == items(movement)
        assert stage.effects() == 1
        assert stage.moved(number) == wanted(movement)
