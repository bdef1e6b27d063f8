"""The relay address: how fresh it must be, and what happens where there is none."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mailbridge.sandbox.faults import HtmlError, Refusal
from tests.shop import open_shop

pytestmark = pytest.mark.relay

ANSWER = "Bonjour, votre colis arrive demain."
MAILS = "GetDiscussionMailList"


async def test_confirmed_within_a_day_is_not_asked_again(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        asked = shop.world.market.performed(MAILS)
        await shop.later(hours=23)
        await shop.world.agent().reply(await shop.first(discussion), ANSWER)
        await shop.settle()

        assert shop.sent == [ANSWER]
        assert shop.world.market.performed(MAILS) == asked


async def test_confirmed_longer_ago_is_asked_again(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        asked = shop.world.market.performed(MAILS)
        old = shop.world.books.relay_for_discussion(discussion.id)[1]
        assert old is not None
        shop.world.books.expire_relay(old)
        await shop.later(hours=25)
        await shop.world.agent().reply(await shop.first(discussion), ANSWER)
        await shop.settle()

        assert shop.world.market.performed(MAILS) == asked + 1
        assert [m.recipient for m in shop.world.relay.accepted] != [old]
        assert shop.sent == [ANSWER]


async def test_no_address_is_told(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        order = shop.world.cast.order(shipped_days_ago=40)
        discussion = shop.world.cast.claim(order)
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), ANSWER)
        await shop.settle()

        assert shop.sent == []
        notice = await shop.notice("hold/no_address")
        assert not notice.seen
        assert (await shop.states(discussion))["deliveries"] == ["held"]


async def test_an_address_that_was_not_confirmed_for_four_weeks_is_not_used(
    tmp_path: Path,
) -> None:
    async with open_shop(tmp_path) as shop:
        order = shop.world.cast.order(shipped_days_ago=1)
        discussion = shop.world.cast.claim(order)
        await shop.settle()
        await shop.later(days=29)
        await shop.world.agent().reply(await shop.first(discussion), ANSWER)
        await shop.settle()

        assert shop.sent == []
        assert "hold/address_expired" in await shop.told()


async def test_a_closed_discussions_address_is_still_used(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        shop.world.books.close_by_force(discussion)
        await shop.later(hours=26)
        (mail,) = await shop.thread(discussion, "Clos")
        await shop.world.agent().reply(mail, ANSWER)
        await shop.settle()

        assert shop.sent == [ANSWER]


async def test_the_marketplace_cannot_be_asked_now(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        shop.clock.advance(timedelta(hours=25))
        shop.world.market.faults.always(HtmlError(503), MAILS)
        await shop.world.agent().reply(await shop.first(discussion), ANSWER)
        await shop.settle()
        assert (await shop.states(discussion))["deliveries"] == ["planned"]
        shop.recovers()
        await shop.later(minutes=10)

        assert shop.sent == [ANSWER]


async def test_the_marketplace_refuses_the_address(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        shop.clock.advance(timedelta(hours=25))
        shop.world.market.faults.once(Refusal("Vendeur désactivé", "InactiveSellerError"), MAILS)
        await shop.world.agent().reply(await shop.first(discussion), ANSWER)
        await shop.settle()

        assert "Vendeur désactivé" in (await shop.notice("hold/marketplace_refused")).text


async def test_two_discussions_of_one_order_share_an_address(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        order = shop.world.cast.order()
        one = shop.world.cast.order_question(order, text="Première question")
        two = shop.world.cast.claim(order, text="Autre chose")
        await shop.settle()
        # The marketplace puts the answer where somebody wrote last: not where it was asked.
        shop.world.books.customer_writes(two, "J'attends.")
        await shop.world.agent().reply(await shop.first(one), ANSWER)
        await shop.settle()

        assert shop.sent == [ANSWER]
        assert two.seller_texts == [ANSWER]
        assert (await shop.states(one))["deliveries"] == ["recorded"]
        # It is ours wherever it shows up, and is not filed as somebody else's.
        assert len(await shop.thread(two)) == 2
