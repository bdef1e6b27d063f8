"""What every marketplace adapter must do, told as dialogues against its own simulator.

A test module derives from `MarketplaceSuite` and gives a `stage` fixture: an adapter, and hands
that move the other side. What an adapter declares it can't do (`Capabilities`) is not asked of
it. Nothing here knows how the adapter speaks. Orders and money are in `order_suite`, the hands in
`stage`.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from mailbridge.domain.discussion import AuthorKind, Discussion, DiscussionKind, Status
from mailbridge.marketplace.port import (
    CloseAnswer,
    Listing,
    NotAuthorizedError,
    RefusedError,
    RelayStatus,
    ReplyChannel,
    TransientError,
    Window,
)
from tests.marketplace.order_suite import OrderSuite
from tests.marketplace.stage import Stage

__all__ = ["MarketplaceSuite", "Stage"]

HOUR = timedelta(hours=1)
KINDS = list(DiscussionKind)


class MarketplaceSuite(OrderSuite):
    """Derive, give the fixture `stage`, and be asked."""

    async def listed(self, stage: Stage, *, back: timedelta = HOUR) -> dict[str, Discussion]:
        found = await stage.marketplace.discussions(
            Window(stage.now() - back, stage.now() + timedelta(minutes=1))
        )
        assert not found.faults
        return {one.id: one for one in found.discussions}

    # Listing

    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_new_discussion_is_listed_with_the_customers_words(
        self, stage: Stage, kind: DiscussionKind
    ) -> None:
        order = None if kind is DiscussionKind.OFFER_QUESTION else stage.order()
        ident = stage.opens(kind, "Bonjour,\nest-ce « étanche » ? 5 € & <3 📦", order=order)
        one = (await self.listed(stage))[ident]
        assert (one.kind, one.status, one.order_number) == (kind, Status.OPEN, order)
        assert one.closed_at is None
        assert one.created_at.utcoffset() == timedelta(0)
        assert abs(one.created_at - stage.now()) < timedelta(minutes=1)
        [message] = one.messages
        assert message.text == "Bonjour,\nest-ce « étanche » ? 5 € & <3 📦"
        assert message.author.kind is AuthorKind.CUSTOMER
        assert abs(message.sent_at - stage.now()) < timedelta(minutes=1)

    async def test_everybody_is_told_apart_and_stands_in_order(self, stage: Stage) -> None:
        ident = stage.opens(DiscussionKind.CLAIM, "1", order=stage.order())
        wrote = [AuthorKind.CUSTOMER, AuthorKind.SELLER, AuthorKind.OPERATOR, AuthorKind.AUTOMATIC]
        for number, author in enumerate(wrote[1:], start=2):
            stage.passes(timedelta(minutes=1))
            stage.says(ident, author, str(number))
        messages = (await self.listed(stage))[ident].messages
        assert [message.text for message in messages] == ["1", "2", "3", "4"]
        assert [message.author.kind for message in messages] == wrote
        assert sorted(message.sent_at for message in messages) == [m.sent_at for m in messages]

    async def test_the_same_words_at_the_same_moment_are_two_messages(self, stage: Stage) -> None:
        ident = stage.opens(DiscussionKind.CLAIM, "Merci", order=stage.order())
        stage.says(ident, AuthorKind.CUSTOMER, "Merci")
        messages = (await self.listed(stage))[ident].messages
        assert [message.text for message in messages] == ["Merci", "Merci"]

    async def test_two_readings_are_equal(self, stage: Stage) -> None:
        ident = stage.opens(DiscussionKind.ORDER_QUESTION, "?", order=stage.order())
        stage.says(ident, AuthorKind.SELLER, "!")
        assert await self.listed(stage) == await self.listed(stage)

    async def test_a_window_looks_at_changes(self, stage: Stage) -> None:
        old = stage.opens(DiscussionKind.CLAIM, "vieux", order=stage.order())
        revived = stage.opens(DiscussionKind.CLAIM, "vieux aussi", order=stage.order())
        stage.passes(timedelta(days=30))
        stage.says(revived, AuthorKind.CUSTOMER, "Toujours rien")
        new = stage.opens(DiscussionKind.CLAIM, "neuf", order=stage.order())
        assert (await self.listed(stage)).keys() == {revived, new}
        assert (await self.listed(stage, back=timedelta(days=60))).keys() == {old, revived, new}

    async def test_closed_ones_are_listed_unless_only_open_ones_are_wanted(
        self, stage: Stage
    ) -> None:
        closed = stage.opens(DiscussionKind.CLAIM, "a", order=stage.order())
        still_open = stage.opens(DiscussionKind.CLAIM, "b", order=stage.order())
        stage.ends(closed)
        everything = await self.listed(stage)
        assert everything[closed].status is Status.CLOSED
        assert everything[closed].closed_at is not None
        window = Window(stage.now() - HOUR, stage.now() + HOUR, frozenset({Status.OPEN}))
        found = await stage.marketplace.discussions(window)
        assert [one.id for one in found.discussions] == [still_open]

    @pytest.mark.parametrize("night", ["2019-10-26T22:00", "2020-03-28T22:00"])
    async def test_no_message_is_lost_in_the_nights_the_clocks_change(
        self, stage: Stage, night: str
    ) -> None:
        stage.passes(datetime.fromisoformat(f"{night}+00:00") - stage.now())
        ident = stage.opens(DiscussionKind.CLAIM, "0", order=stage.order())
        wrote = [stage.now()]
        for number in range(1, 31):
            stage.passes(timedelta(minutes=10))
            stage.says(ident, AuthorKind.CUSTOMER, str(number))
            wrote.append(stage.now())
            messages = (await self.listed(stage, back=timedelta(minutes=5)))[ident].messages
            assert [message.text for message in messages] == [str(n) for n in range(number + 1)]
            times = [message.sent_at for message in messages]
            assert times == sorted(times)
            # Each one as it was, but for some of the first hour that no order can tell.
            assert abs(times[-1] - wrote[-1]) <= HOUR
        assert sum(abs(a - b) > timedelta(seconds=1) for a, b in zip(times, wrote, strict=True)) < 2

    async def test_nothing_is_an_empty_listing(self, stage: Stage) -> None:
        assert await self.listed(stage) == {}

    async def test_an_empty_message_is_a_message(self, stage: Stage) -> None:
        ident = stage.opens(DiscussionKind.CLAIM, "", order=stage.order())
        [message] = (await self.listed(stage))[ident].messages
        assert message.text == ""

    async def test_a_thousand_discussions_come_whole(self, stage: Stage) -> None:
        order = stage.order()
        made = {
            stage.opens(DiscussionKind.CLAIM, f"Réclamation {number}", order=order)
            for number in range(1000)
        }
        found = await self.listed(stage)
        assert found.keys() == made
        assert len({one.messages[0].text for one in found.values()}) == 1000

    async def test_a_kind_without_the_right_does_not_hide_the_others(self, stage: Stage) -> None:
        claim = stage.opens(DiscussionKind.CLAIM, "a", order=stage.order())
        offer = stage.opens(DiscussionKind.OFFER_QUESTION, "b")
        stage.forbids(DiscussionKind.OFFER_QUESTION)
        window = Window(stage.now() - HOUR, stage.now() + HOUR)
        if not stage.rights_by_kind:
            with pytest.raises(NotAuthorizedError):
                await stage.marketplace.discussions(window)
            return
        found = await stage.marketplace.discussions(window)
        assert {one.id for one in found.discussions} == {claim}
        assert offer not in found.faults
        assert found.faults[""]

    # Reading again

    async def test_known_discussions_are_read_again_however_old(self, stage: Stage) -> None:
        order = stage.order()
        made = [
            stage.opens(kind, "?", order=None if kind is DiscussionKind.OFFER_QUESTION else order)
            for kind in KINDS
        ]
        known = await self.listed(stage)
        stage.passes(timedelta(days=90))
        for ident in made:
            stage.says(ident, AuthorKind.CUSTOMER, "Alors ?")
        stage.ends(made[0])
        stage.opens(DiscussionKind.CLAIM, "autre", order=order)
        again = await stage.marketplace.read_again([known[ident] for ident in made])
        assert not again.faults
        assert {one.id: len(one.messages) for one in again.discussions} == dict.fromkeys(made, 2)
        statuses = {one.id: one.status for one in again.discussions}
        assert statuses[made[0]] is Status.CLOSED
        assert (await stage.marketplace.read_again([])) == Listing(())

    # Relay addresses and orders

    async def test_a_relay_address_for_a_discussion(self, stage: Stage) -> None:
        if stage.marketplace.capabilities.reply_channel is not ReplyChannel.RELAY_MAIL:
            return
        ident = stage.opens(DiscussionKind.CLAIM, "?", order=stage.order())
        answers = await stage.marketplace.relay_addresses([ident, "999999999"])
        assert answers.keys() == {ident, "999999999"}
        assert answers[ident].status is RelayStatus.OK
        assert "@" in (answers[ident].address or "")
        assert answers["999999999"].address is None
        assert answers["999999999"].status in (RelayStatus.UNKNOWN, RelayStatus.NOT_FOUND)
        stage.ends(ident)
        closed = (await stage.marketplace.relay_addresses([ident]))[ident]
        assert closed.status is RelayStatus.CLOSED

    async def test_an_address_for_an_order_is_the_orders_own(self, stage: Stage) -> None:
        if stage.marketplace.capabilities.reply_channel is not ReplyChannel.RELAY_MAIL:
            return
        number = stage.order()
        address = await stage.marketplace.relay_address_for_order(number)
        orders = await stage.marketplace.orders([number])
        assert address is not None
        assert orders[number].relay_address == address
        assert await stage.marketplace.relay_address_for_order("NO-SUCH-ORDER") is None

    async def test_orders_with_lines_and_unknown_ones_left_out(self, stage: Stage) -> None:
        first, second = stage.order(), stage.order(shipped=True)
        found = await stage.marketplace.orders([first, "NO-SUCH-ORDER", second])
        assert found.keys() == {first, second}
        assert found[first].number == first
        [line] = found[first].lines
        assert line.quantity == 1
        assert str(line.unit_price.normalize()) == "1E+1"
        assert found[first].state != found[second].state
        assert len(found[second].parcels) == 1
        assert await stage.marketplace.orders([]) == {}

    async def test_replies_travel_as_declared(self, stage: Stage) -> None:
        by_api = stage.marketplace.capabilities.reply_channel is ReplyChannel.API
        assert (stage.marketplace.messaging is not None) == by_api

    # Closing

    async def test_closing_answers_for_each(self, stage: Stage) -> None:
        answered, waiting, closed = (
            stage.opens(DiscussionKind.CLAIM, "?", order=stage.order()) for _ in range(3)
        )
        stage.says(answered, AuthorKind.SELLER, "Voilà")
        stage.ends(closed)
        answers = await stage.marketplace.close([answered, waiting, closed, "999999999"])
        assert answers == {
            answered: CloseAnswer.CLOSED,
            waiting: CloseAnswer.LAST_ANSWER_NOT_OURS,
            closed: CloseAnswer.ALREADY_CLOSED,
            "999999999": CloseAnswer.NOT_FOUND,
        }
        assert (await self.listed(stage))[answered].status is Status.CLOSED
        assert await stage.marketplace.close([answered]) == {answered: CloseAnswer.ALREADY_CLOSED}
        assert await stage.marketplace.close([]) == {}

    async def test_a_close_whose_answer_is_lost_may_have_happened(self, stage: Stage) -> None:
        ident = stage.opens(DiscussionKind.CLAIM, "?", order=stage.order())
        stage.says(ident, AuthorKind.SELLER, "Voilà")
        await self.listed(stage)
        stage.fails(1, after=True)
        with pytest.raises(TransientError) as caught:
            await stage.marketplace.close([ident])
        assert caught.value.sent
        assert stage.effects() == 1  # not tried again by itself
        assert await stage.marketplace.close([ident]) == {ident: CloseAnswer.ALREADY_CLOSED}

    async def test_reopening_is_refused_where_it_is_not_declared(self, stage: Stage) -> None:
        if not stage.marketplace.capabilities.can_reopen:
            with pytest.raises(RefusedError):
                await stage.marketplace.reopen("1")

    # Trouble

    async def test_a_dead_token_is_nobodys_trouble(self, stage: Stage) -> None:
        ident = stage.opens(DiscussionKind.CLAIM, "?", order=stage.order())
        stage.says(ident, AuthorKind.SELLER, "Voilà")
        await self.listed(stage)
        stage.tokens_die()
        assert ident in await self.listed(stage)
        stage.tokens_die()
        assert await stage.marketplace.close([ident]) == {ident: CloseAnswer.CLOSED}
        stage.passes(timedelta(days=5))
        assert await self.listed(stage) == {}

    async def test_readings_survive_a_passing_failure(self, stage: Stage) -> None:
        ident = stage.opens(DiscussionKind.CLAIM, "?", order=stage.order())
        await self.listed(stage)
        stage.fails(1)
        assert ident in await self.listed(stage)

    async def test_a_failure_that_stays_is_transient(self, stage: Stage) -> None:
        await self.listed(stage)
        stage.fails(100)
        with pytest.raises(TransientError):
            await self.listed(stage)

    async def test_many_calls_at_once(self, stage: Stage) -> None:
        idents = [stage.opens(DiscussionKind.CLAIM, str(n), order=stage.order()) for n in range(10)]
        answers = await asyncio.gather(
            *(stage.marketplace.relay_addresses([ident]) for ident in idents),
            *(self.listed(stage) for _ in range(5)),
        )
        for ident, answer in zip(idents, answers[:10], strict=True):
            assert list(answer) == [ident]

    async def test_check_says_one_line(self, stage: Stage) -> None:
        stage.opens(DiscussionKind.CLAIM, "?", order=stage.order())
        line = await stage.marketplace.check()
        assert line
        assert "\n" not in line

    async def test_no_right_at_all_is_said_as_such(self, stage: Stage) -> None:
        for kind in KINDS:
            stage.forbids(kind)
        with pytest.raises(NotAuthorizedError):
            await self.listed(stage)
