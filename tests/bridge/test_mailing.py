"""One text to the customers of many orders: to each of them once, whatever happens."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailbridge.bridge.mailing import Mailing
from mailbridge.bridge.operations import OperationRefused
from mailbridge.domain.delivery import DeliveryState
from mailbridge.sandbox.faults import InternalError
from mailbridge.sandbox.orders import BookedOrder
from tests.doors import Ask
from tests.shop import Shop, open_shop

NEWS = "Bonjour, votre colis partira avec un jour de retard."


async def notify(
    shop: Shop, orders: list[BookedOrder | str], **mailing: Any
) -> list[dict[str, Any]]:
    """What became of each order, as the command line is told it."""
    told = Mailing(**{"campaign": "retard", **mailing})
    numbers = [order if isinstance(order, str) else order.number for order in orders]
    return [answer async for answer in shop.operations.notify(told, numbers)]


def kinds(answers: list[dict[str, Any]]) -> list[str]:
    return [str(answer["kind"]) for answer in answers]


async def test_each_customer_gets_the_text_about_their_order(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        orders: list[BookedOrder | str] = [shop.world.cast.order() for _ in range(3)]
        values = {"date": "jeudi"}
        answers = await notify(shop, orders, template="retard", values=values)
        assert kinds(answers) == ["planned"] * 3
        await shop.settle()
        await shop.later(minutes=1)
        await shop.settle()

        assert len(shop.sent) == 3
        for order, text in zip(orders, shop.sent, strict=True):
            assert isinstance(order, BookedOrder)
            assert order.number in text and "jeudi" in text
        assert {d.order_number for d in shop.world.books.discussions} == {
            o.number for o in orders if isinstance(o, BookedOrder)
        }
        receipts = [m for m in await shop.notices() if "Réponse enregistrée" in m.text]
        assert len(receipts) == 3


async def test_a_dry_run_shows_every_text_and_sends_none(tmp_path: Path) -> None:
    greeting = {"greeting": "Bonjour {{ customer }},"}
    async with open_shop(tmp_path, config={"replies": greeting}) as shop:
        order = shop.world.cast.order()
        (answer,) = await notify(shop, [order], text="Un jour de retard.", dry_run=True)
        assert answer["kind"] == "shown"
        assert answer["text"] == f"Bonjour {order.customer.name},\n\nUn jour de retard."
        await shop.settle()
        assert (shop.sent, await shop.inbox()) == ([], [])


async def test_nobody_is_written_to_twice_by_one_campaign(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        first, second = shop.world.cast.order(), shop.world.cast.order()
        assert kinds(await notify(shop, [first, first], text=NEWS)) == ["planned"]
        again = await notify(shop, [first, second], text=NEWS)
        assert kinds(again) == ["refused", "planned"]
        assert "--resume" in again[0]["words"]
        assert kinds(await notify(shop, [first, second], text=NEWS, resume=True)) == ["skipped"] * 2
        await shop.settle()
        await shop.later(minutes=1)
        assert shop.sent == [NEWS, NEWS]
        # Not even when its thread has become the marketplace's discussion, or after a restart.
        await shop.restart()
        assert kinds(await notify(shop, [first, second], text=NEWS, resume=True)) == ["skipped"] * 2
        other = await notify(shop, [first], text="Il est parti.", campaign="parti")
        assert kinds(other) == ["planned"]
        await shop.later(minutes=1)
        assert shop.sent == [NEWS, NEWS, "Il est parti."]


async def test_a_mailing_broken_off_goes_on(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        orders: list[BookedOrder | str] = [shop.world.cast.order() for _ in range(3)]
        numbers = [order.number for order in orders if isinstance(order, BookedOrder)]
        mailing = Mailing("retard", text=NEWS)
        async for _ in shop.operations.notify(mailing, numbers):
            break  # the operator's terminal went away
        await shop.restart()
        answers = await notify(shop, orders, text=NEWS, resume=True)
        assert kinds(answers) == ["skipped", "planned", "planned"]
        await shop.settle()
        await shop.later(minutes=1)
        assert shop.sent == [NEWS] * 3


@pytest.mark.once
async def test_the_pace_holds_over_parts_restarts_and_mailings(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        orders: list[BookedOrder | str] = [shop.world.cast.order() for _ in range(6)]
        await notify(shop, orders[:2], text=NEWS)
        await notify(shop, orders[2:4], text=NEWS)  # the next part of a long list
        await shop.restart()
        await notify(shop, orders[:5], text=NEWS, resume=True)
        await notify(shop, orders[5:], text=NEWS, campaign="autre")
        async with shop.bridge.ctx.read() as tx:
            planned = await tx.deliveries.in_state(DeliveryState.PLANNED)
        due = [delivery.due_at for delivery in planned]
        assert [later - due[0] for later in due] == [timedelta(seconds=2 * n) for n in range(6)]

        # After an hour without a daemon all are due at once, and leave as they would have; what
        # an agent writes meanwhile does not wait for them.
        shop.clock.advance(timedelta(hours=1))
        await shop.settle(rounds=2)
        assert shop.sent == [NEWS]
        claim = shop.world.cast.claim()
        await shop.settle(rounds=2)
        await shop.world.agent().reply(await shop.first(claim), "Il part ce soir.")
        await shop.settle(rounds=2)
        assert sorted(shop.sent) == sorted([*[NEWS] * 3, "Il part ce soir."])
        for _ in range(3):
            await shop.settle(rounds=2)
        assert len(shop.sent) == 7

        # Once they are gone nothing waits for them.
        shop.clock.advance(timedelta(seconds=2))
        await notify(shop, orders[:1], text=NEWS, campaign="encore")
        await shop.settle(rounds=1)
        assert len(shop.sent) == 8


@pytest.mark.parametrize(
    ("order", "mailing", "words"),
    [
        ("26/11", {"text": NEWS}, "that is no order number"),
        ("2611999XXXX9", {"text": NEWS}, "the marketplace shows no such order for brindille"),
        ("old", {"text": NEWS}, "four weeks after an order was shipped"),
        ("new", {"template": "retar"}, "there is no such template; did you mean"),
        ("new", {"template": "retard"}, "missing: date"),
        ("new", {"template": "merci"}, "is for answers only"),
        ("new", {"template": "colis"}, "needs a parcel"),
        ("new", {"text": "Bonjour\n!clos"}, "what no customer may see: command"),
        ("new", {"text": " "}, "too short"),
    ],
)
@pytest.mark.relay
async def test_what_cannot_be_written_is_refused_in_words(
    tmp_path: Path, order: str, mailing: dict[str, Any], words: str
) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        days = {"old": 40, "new": None}
        if order in days:
            order = shop.world.cast.order(shipped_days_ago=days[order]).number
        for dry_run in (True, False):
            (answer,) = await notify(shop, [order], dry_run=dry_run, **mailing)
            assert answer["kind"] == "refused"
            assert words in answer["words"]
        await shop.settle()
        assert (shop.sent, await shop.inbox()) == ([], [])


async def test_an_order_with_an_open_discussion_is_written_to_there(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        assert claim.order_number is not None
        (answer,) = await notify(shop, [claim.order_number], text=NEWS)
        assert answer["discussion"] == (await shop.operations.show(str(claim.id)))["discussion"]
        await shop.settle()
        assert claim.seller_texts == [NEWS]


@pytest.mark.relay
async def test_with_replies_off_or_the_marketplace_away_nothing_is_planned(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        order = shop.world.cast.order()
        shop.keeps_failing(InternalError(), Ask.ORDERS)
        with pytest.raises(OperationRefused, match="--resume goes on"):
            await notify(shop, [order], text=NEWS)
        await shop.reconfigure(replies={"enabled": False})
        with pytest.raises(OperationRefused, match="switched off"):
            await notify(shop, [order], text=NEWS)
