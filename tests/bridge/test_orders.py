"""Orders, both ways: claims no list has shown, and cards that stay true without a flood."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from mailbridge.bridge.sweep import SweepKind
from mailbridge.domain.discussion import DiscussionKind
from mailbridge.sandbox.books import BookedDiscussion
from mailbridge.sandbox.faults import InternalError
from mailbridge.sandbox.orders import BookedOrder, BookedParcel
from tests.doors import Ask
from tests.shop import Shop, open_shop


async def cards(shop: Shop) -> list[str]:
    """The texts of the mails that brought a card up to date, oldest first."""
    return [mail.text for mail in await shop.notices() if "La commande a changé" in mail.text]


def order_of(shop: Shop, discussion: BookedDiscussion) -> BookedOrder:
    order = shop.world.books.orders.get(discussion.order_number)
    assert order is not None
    return order


@pytest.mark.soap  # the other door's orders say nothing of claims
async def test_a_claim_that_no_list_shows_is_found_by_its_order(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        claim = shop.world.cast.claim(shop.world.cast.order(shipped_days_ago=2))
        claim.listed_at = shop.clock() + timedelta(hours=1)
        await shop.settle(1)
        (mail,) = await shop.thread(claim)
        assert not mail.seen
        # When the lists show it as well, nothing comes twice.
        await shop.later(hours=2)
        assert len(await shop.thread(claim)) == 1


@pytest.mark.soap  # the other door's orders say nothing of claims
async def test_a_claim_that_shows_itself_late_is_sought_again(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        order = shop.world.cast.order(shipped_days_ago=2)
        shop.world.books.orders.claimed(order.number)
        await shop.settle()
        assert await shop.inbox() == []
        claim = shop.world.cast.claim(order)
        claim.listed_at = shop.clock() + timedelta(hours=6)
        await shop.later(minutes=10)
        assert await shop.thread(claim) == []
        await shop.later(minutes=15)
        assert len(await shop.thread(claim)) == 1


async def test_a_claim_closed_long_ago_is_not_dug_out(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        shop.world.books.close_by_force(claim)
        shop.clock.advance(timedelta(days=3))
        await shop.settle()
        shop.world.books.orders.ship(order_of(shop, claim), BookedParcel("8R1", "Colissimo"))
        await shop.later(hours=1)
        assert await shop.inbox() == []
        assert await shop.inbox("Clos") == []


async def test_a_quick_sweep_makes_one_call_and_no_more(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        shop.world.cast.claim()
        await shop.settle()
        before = shop.asked(Ask.ORDERS)
        shop.clock.advance(timedelta(minutes=6))
        await shop.bridge.once(SweepKind.QUICK)
        assert shop.asked(Ask.ORDERS) == before + 1
        shop.clock.advance(timedelta(minutes=2))
        await shop.bridge.once(SweepKind.QUICK)
        assert shop.asked(Ask.ORDERS) == before + 1


async def test_orders_that_are_not_given_stop_nothing(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        shop.keeps_failing(InternalError(), Ask.ORDERS)
        question = shop.world.cast.offer_question()
        await shop.settle()
        assert len(await shop.thread(question)) == 1


async def test_a_changed_order_brings_the_thread_one_read_mail_with_the_new_card(
    tmp_path: Path,
) -> None:
    async with open_shop(tmp_path) as shop:
        question = shop.world.cast.order_question()
        await shop.settle()
        assert "à expédier" in (await shop.first(question)).text
        order = order_of(shop, question)
        parcel = BookedParcel("8R41233456789", "Colissimo", "https://track.example/8R41233456789")
        shop.world.books.orders.ship(order, parcel)
        await shop.later(minutes=5)
        assert await cards(shop) == []  # it may go on changing
        await shop.later(minutes=15)
        (mail,) = await shop.notices()
        assert mail.seen
        assert "l'état de la commande, l'état d'un article, le suivi des colis" in mail.text
        for words in ("expédiée", "8R41233456789", "https://track.example/8R41233456789"):
            assert words in mail.text
        # And never again for the same state.
        await shop.later(days=2)
        assert len(await cards(shop)) == 1


async def test_many_changes_are_no_flood(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        question = shop.world.cast.order_question()
        await shop.settle()
        order = order_of(shop, question)
        shop.world.books.orders.ship(order)
        for number in range(8):
            await shop.later(minutes=8)
            order.parcels.append(BookedParcel(f"8R{number}", "Colissimo"))
            order.updated_at = order.modified_at = shop.clock()
            await shop.later(minutes=1)
            await shop.later(minutes=11)
        assert len(await cards(shop)) == 1
        await shop.later(hours=6)
        first, last = await cards(shop)
        assert "8R7" not in first
        assert "8R7" in last


async def test_words_of_the_customer_carry_the_new_card_by_themselves(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        question = shop.world.cast.order_question()
        await shop.settle()
        shop.world.books.orders.ship(order_of(shop, question), BookedParcel("8R9", "Colissimo"))
        shop.world.books.customer_writes(question, "C'est parti ?")
        await shop.later(minutes=1)
        assert "8R9" in (await shop.thread(question))[-1].text
        await shop.later(hours=1)
        assert await cards(shop) == []


async def test_an_order_of_a_closed_discussion_is_left_alone(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        question = shop.world.cast.order_question()
        await shop.settle()
        shop.world.books.close_by_force(question)
        await shop.later(minutes=5)
        shop.world.books.orders.ship(order_of(shop, question))
        await shop.later(hours=1)
        assert await shop.notices() == [] == await shop.notices("Clos")


@pytest.mark.soap  # the other door's lists of orders say nothing of gestures
async def test_money_given_back_elsewhere_is_shown(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        order = order_of(shop, claim)
        shop.world.books.orders.refund(order.number, [(Decimal("4.50"), 135)], [])
        await shop.later(minutes=1)
        await shop.later(minutes=20)
        (text,) = await cards(shop)
        assert "les remboursements" in text
        assert "4,50\u00a0€" in text and "retard de livraison" in text


async def test_a_receipt_for_money_shows_the_order_after_it(tmp_path: Path) -> None:
    limits = {"enabled": True, "most": 50, "most_per_order": 50, "most_per_day": 50}
    async with open_shop(tmp_path, config={"money": {**limits, "confirm_above": 50}}) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(claim), "!geste 4,50 € retard")
        await shop.later(minutes=2)
        receipt = await shop.notice("receipt")
        assert "Déjà remboursé : 4,50\u00a0€" in receipt.text.replace("\u00a0:", " :")
        # Nobody has to be told the same twice.
        await shop.later(hours=8)
        assert await cards(shop) == []


async def test_the_operator_sees_and_refreshes_orders(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        order = order_of(shop, claim)
        (shown,) = (await shop.operations.orders([]))["orders"]
        assert (shown["number"], shown["stage"]) == (order.number, "shipped")
        assert shown["lines"][0]["reference"] == order.lines[0].reference
        (discussion,) = shown["discussions"]
        assert discussion["kind"] == DiscussionKind.CLAIM
        assert discussion["discussion"] in (await shop.first(claim)).subject
        assert discussion["answer_due"] is not None
        assert claim.customer.last_name not in str(shown)

        order.parcels.append(BookedParcel("8R5", "Colissimo"))
        again = await shop.operations.orders([order.number], refresh=True)
        assert "8R5" in [p["number"] for p in again["orders"][0]["parcels"]]
        assert again["unknown"] == []
        # One that no thread shows is read, and kept nowhere.
        other = shop.world.cast.order()
        answer = await shop.operations.orders([other.number, "NOPE"], refresh=True)
        assert [o["number"] for o in answer["orders"]] == [other.number]
        assert answer["unknown"] == ["NOPE"]
        assert (await shop.operations.orders([other.number]))["unknown"] == [other.number]
