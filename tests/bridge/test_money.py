"""Refunds, cancellations and gestures: from an agent's mail to the marketplace's books."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mailbridge.sandbox.agent import Agent
from mailbridge.sandbox.books import BookedDiscussion
from mailbridge.sandbox.faults import AnswerLost, InternalError
from mailbridge.sandbox.orders import BookedOrder
from mailbridge.sandbox.world import Door
from tests.doors import UNREADABLE, Ask
from tests.shop import Shop, code_in, open_shop

WORDS = "Bonjour, votre remboursement est en route."
LIMITS = {"enabled": True, "most": 500, "most_per_order": 500, "most_per_day": 1000}
STAFF = {"address": "support@maison-brindille.example", "name": "Service client"}
PAUL = {"address": "paul@maison-brindille.example", "name": "Paul"}


def till(
    home: Path, *, money: dict[str, Any] | None = None, **world: Any
) -> AbstractAsyncContextManager[Shop]:
    """A shop that has switched refunds on."""
    config = {"money": {**LIMITS, **(money or {})}, "staff": (STAFF, PAUL)}
    return open_shop(home, config=config, **world)


async def shipped(shop: Shop, lines: int = 1) -> tuple[BookedDiscussion, BookedOrder]:
    """A claim about a shipped order, in the mailbox."""
    order = shop.world.cast.order(lines=lines, shipped_days_ago=5)
    discussion = shop.world.cast.claim(order, claim_type="DamagedProduct")
    await shop.settle()
    return discussion, order


async def unshipped(shop: Shop, lines: int = 1) -> tuple[BookedDiscussion, BookedOrder]:
    """A question about an order that still has to be shipped."""
    order = shop.world.cast.order(lines=lines)
    discussion = shop.world.cast.order_question(order)
    await shop.settle()
    return discussion, order


async def ask(shop: Shop, discussion: BookedDiscussion, text: str) -> None:
    await shop.world.agent().reply(await shop.first(discussion), text)
    await shop.settle()


async def confirm(shop: Shop, kind: str = "confirm") -> None:
    question = await shop.notice(kind)
    await shop.world.agent().reply(question, f"!confirmer {code_in(question)}")
    await shop.settle()


def paul(shop: Shop, **given: Any) -> Agent:
    """A colleague."""
    return shop.world.agent(PAUL["name"], address=PAUL["address"], **given)


def given_for(shop: Shop, order: BookedOrder) -> str:
    """The motive of the only gesture of an order: a number, or words."""
    if shop.world.door is Door.CDISCOUNT:
        return str(order.vouchers[0].motive)
    (request,) = shop.world.octopia.requests.all
    return request.details


def calls(shop: Shop) -> int:
    return shop.asked(Ask.MONEY)


async def test_a_line_is_refunded_once_confirmed_and_only_then_is_it_announced(
    tmp_path: Path,
) -> None:
    async with till(tmp_path) as shop:
        discussion, order = await shipped(shop)
        line = order.lines[0]
        await ask(shop, discussion, f"!rembourser {line.reference} +port\n!clos\n\n{WORDS}")
        assert calls(shop) == 0
        assert shop.sent == []
        question = await shop.notice("confirm")
        assert f"{line.price + line.shipping:.2f}".replace(".", ",") in question.text
        assert "frais de port compris" in question.text

        await confirm(shop)
        assert line.state == "RefundedAfterShipping"
        assert line.refunded_shipping
        assert shop.sent == [WORDS]
        await shop.settle()
        assert discussion.closed
        receipt = await shop.notice("receipt", "Clos")
        assert "Remboursé" in receipt.text
        assert calls(shop) == 1


async def test_the_whole_order_before_shipment_is_cancelled(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        discussion, order = await unshipped(shop, lines=2)
        await ask(shop, discussion, "!rembourser total")
        question = await shop.notice("confirm")
        assert "annule" in question.text
        assert "ne pourra plus être expédiée" in question.text
        await confirm(shop)
        assert {x.state for x in order.lines} == {"RefundedAfterShipmentRefused"}
        assert order.state == "ShipmentRefusedBySeller"
        assert "Annulé et remboursé" in (await shop.notice("receipt")).text


@pytest.mark.api
async def test_one_of_several_lines_before_shipment_is_cancelled(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        discussion, order = await unshipped(shop, lines=2)
        await ask(shop, discussion, f"!rembourser {order.lines[0].reference}\n\n{WORDS}")
        await confirm(shop)
        assert [line.state for line in order.lines] == [
            "RefundedAfterShipmentRefused",
            "AcceptedBySeller",
        ]
        assert shop.sent == [WORDS]


@pytest.mark.soap
async def test_one_of_several_lines_before_shipment_is_impossible(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        discussion, order = await unshipped(shop, lines=2)
        await ask(shop, discussion, f"!rembourser {order.lines[0].reference}\n\n{WORDS}")
        held = await shop.notice("hold/money_impossible")
        assert order.lines[1].reference in held.text
        assert shop.sent == []
        assert calls(shop) == 0
        # The text may still go, if a person wants that.
        await shop.world.agent().reply(held, "!envoyer")
        await shop.settle()
        assert shop.sent == [WORDS]


async def test_a_gesture_below_the_limit_needs_no_code(tmp_path: Path) -> None:
    async with till(tmp_path, money={"confirm_above": 20}) as shop:
        discussion, order = await shipped(shop)
        await ask(shop, discussion, f"!geste 12,50 € retard\n\n{WORDS}")
        assert [v.amount for v in order.vouchers] == [Decimal("12.50")]
        assert (
            given_for(shop, order)
            == {Door.CDISCOUNT: "135", Door.OCTOPIA: "Retard de livraison"}[shop.world.door]
        )
        assert shop.sent == [WORDS]
        # Slices of one order add up to what must be confirmed.
        await shop.world.agent().reply(await shop.first(discussion), "!geste 10 € retard")
        await shop.settle()
        assert len(order.vouchers) == 1
        await shop.notice("confirm")


@pytest.mark.api
async def test_a_gesture_stays_on_the_card_where_no_list_of_orders_tells_it(
    tmp_path: Path,
) -> None:
    async with till(tmp_path, money={"confirm_above": 20}) as shop:
        discussion, _ = await shipped(shop)
        # Before anything was read about money a card says nothing of it.
        assert "Aucun remboursement" not in (await shop.first(discussion)).text
        await ask(shop, discussion, f"!geste 12,50 € retard\n\n{WORDS}")
        await shop.later(hours=1)
        receipt = await shop.notice("receipt")
        assert "12,50" in receipt.text.partition("Commande")[2]
        assert "Aucun remboursement" not in receipt.text
        # Nor does the order "change" when it is next seen in a list.
        await shop.later(hours=12)
        changed = [n for n in await shop.notices() if "La commande a changé" in n.text]
        assert changed == []


async def test_money_is_off_unless_switched_on(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion, _ = await shipped(shop)
        await ask(shop, discussion, f"!rembourser total\n\n{WORDS}")
        await shop.notice("hold/money_off")
        assert shop.sent == []
        assert calls(shop) == 0


async def test_a_wrong_code_moves_nothing_and_three_of_them_end_it(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        discussion, _ = await shipped(shop)
        await ask(shop, discussion, "!rembourser total")
        question = await shop.notice("confirm")
        right = code_in(question)
        wrong = f"{(int(right) + 1) % 1_000_000:06d}"
        for _ in range(3):
            await shop.world.agent().reply(question, f"!confirmer {wrong}")
            await shop.later(seconds=2)
        await shop.notice("trouble/bad_code")
        await shop.world.agent().reply(question, f"!confirmer {right}")
        await shop.settle()
        assert calls(shop) == 0


async def test_no_cancel_above_a_quoted_question_moves_nothing(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        discussion, _ = await shipped(shop)
        await ask(shop, discussion, "!rembourser total")
        await shop.world.agent().reply(await shop.notice("confirm"), "non, annulez")
        await shop.settle()
        await shop.notice("hold/confirmation_text")
        assert calls(shop) == 0
        assert shop.sent == []

        await shop.world.agent().reply(await shop.notice("confirm"), "!annuler")
        await shop.settle()
        assert (await shop.states(discussion))["money"] == ["withdrawn"]
        assert calls(shop) == 0


async def test_two_agents_who_ask_for_the_same_get_one_refund(tmp_path: Path) -> None:
    async with till(tmp_path, money={"confirm_above": 400}) as shop:
        discussion, order = await shipped(shop)
        first = await shop.first(discussion)
        reference = order.lines[0].reference
        await shop.world.agent().reply(first, f"!rembourser {reference}")
        await paul(shop).reply(first, f"!rembourser {reference}")
        await shop.settle(5)
        assert shop.asked(Ask.MONEY) == 1
        receipts = [
            m.text
            for m in await shop.notices()
            if str(m.message["X-Mailbridge-Notice-Kind"]) == "receipt"
        ]
        assert sum("Remboursé" in text for text in receipts) == 1
        assert sum("Déjà fait à la demande de" in text for text in receipts) == 1


async def test_an_answer_lost_after_the_money_moved_is_settled_by_the_order(
    tmp_path: Path,
) -> None:
    async with till(tmp_path) as shop:
        discussion, order = await shipped(shop)
        await ask(shop, discussion, f"!rembourser total\n\n{WORDS}")
        shop.fails(AnswerLost(), Ask.MONEY)
        await confirm(shop)
        await shop.notice("hold/money_uncertain")
        await shop.later(minutes=10)
        assert (await shop.states(discussion))["money"] == ["proven"]
        assert shop.asked(Ask.MONEY) == 1
        assert order.lines[0].state == "RefundedAfterShipping"
        assert shop.sent == [WORDS]


async def test_what_never_happened_is_said_after_two_readings_and_only_a_person_asks_again(
    tmp_path: Path,
) -> None:
    async with till(tmp_path) as shop:
        discussion, order = await shipped(shop)
        await ask(shop, discussion, f"!geste 15 € autre\n\n{WORDS}")
        shop.fails(InternalError(), Ask.MONEY)
        await confirm(shop)
        assert (await shop.states(discussion))["money"] == ["uncertain"]
        await shop.later(hours=1)
        assert (await shop.states(discussion))["money"] == ["uncertain"]
        await shop.later(hours=2)
        assert (await shop.states(discussion))["money"] == ["absent"]
        assert order.vouchers == []
        assert shop.sent == []

        await confirm(shop, "hold/money_absent")
        await shop.settle()
        assert [v.amount for v in order.vouchers] == [Decimal(15)]
        assert (await shop.states(discussion))["money"] == ["proven"]


async def test_a_voucher_that_appears_late_is_waited_for(tmp_path: Path) -> None:
    async with till(tmp_path, money_lag=timedelta(minutes=50)) as shop:
        discussion, _ = await shipped(shop)
        await ask(shop, discussion, f"!geste 15 € autre\n\n{WORDS}")
        await confirm(shop)
        assert (await shop.states(discussion))["money"] == ["granted"]
        assert shop.sent == []
        await shop.later(minutes=30)
        assert shop.sent == []
        await shop.later(minutes=40)
        assert (await shop.states(discussion))["money"] == ["proven"]
        assert shop.sent == [WORDS]


async def test_a_success_that_is_a_failure_is_a_failure(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        discussion, order = await shipped(shop)
        order.refuses_money = "Le vendeur n'est pas autorisé à rembourser."
        await ask(shop, discussion, f"!rembourser total\n!clos\n\n{WORDS}")
        await confirm(shop)
        refused = await shop.notice("hold/money_refused")
        assert "n'est pas autorisé à rembourser" in refused.text
        assert shop.sent == []
        assert not discussion.closed


async def test_the_order_changed_between_question_and_confirmation(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        discussion, order = await unshipped(shop)
        await ask(shop, discussion, "!rembourser total")
        shop.world.books.orders.ship(order)
        await confirm(shop)
        # What was confirmed was a cancellation; a refund is another thing, and asked about anew.
        assert calls(shop) == 0
        assert (await shop.states(discussion))["money"] == ["waiting"]
        await confirm(shop)
        assert order.lines[0].state == "RefundedAfterShipping"


async def test_limits_hold(tmp_path: Path) -> None:
    async with till(tmp_path, money={"most": 10, "most_per_order": 10}) as shop:
        discussion, _ = await shipped(shop)
        await ask(shop, discussion, "!geste 10,50 €")
        assert "limite" in (await shop.notice("trouble/money_impossible")).text
        assert calls(shop) == 0


async def test_a_mail_that_cannot_be_proven_asks_for_no_money(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        discussion, _ = await shipped(shop)
        stranger = paul(shop, files_sent_copy=False)
        await stranger.reply(await shop.first(discussion), "!rembourser total")
        await shop.settle()
        await shop.later(minutes=2)
        await shop.notice("hold/not_proven")
        assert (await shop.states(discussion))["money"] == []
        assert calls(shop) == 0


async def test_a_question_nobody_answers_lapses(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        discussion, _ = await shipped(shop)
        await ask(shop, discussion, f"!rembourser total\n\n{WORDS}")
        question = await shop.notice("confirm")
        await shop.later(hours=25)
        await shop.notice("hold/money_lapsed")
        await shop.world.agent().reply(question, f"!confirmer {code_in(question)}")
        await shop.settle()
        assert calls(shop) == 0
        assert shop.sent == []


async def test_a_truncated_answer_is_never_asked_again(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        discussion, _ = await shipped(shop)
        await ask(shop, discussion, "!rembourser total")
        shop.fails(UNREADABLE[shop.world.door], Ask.MONEY)
        await confirm(shop)
        await shop.later(minutes=10)
        assert shop.asked(Ask.MONEY) == 1
        assert (await shop.states(discussion))["money"] == ["proven"]


async def test_a_text_waits_again_for_money_that_is_asked_for_again(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        discussion, order = await shipped(shop)
        await ask(shop, discussion, f"!rembourser total\n\n{WORDS}")
        shop.fails(InternalError(), Ask.MONEY)
        await confirm(shop)
        await shop.later(hours=3)
        assert (await shop.states(discussion))["deliveries"] == ["held"]
        order.refuses_money = "Pas maintenant."
        await confirm(shop, "hold/money_absent")
        assert shop.sent == []

        order.refuses_money = None
        await ask(shop, discussion, f"!rembourser total\n\n{WORDS}")
        shop.fails(InternalError(), Ask.MONEY)
        await confirm(shop)
        await shop.later(hours=3)
        await confirm(shop, "hold/money_absent")
        await shop.settle()
        assert order.lines[0].state == "RefundedAfterShipping"
        assert shop.sent == [WORDS]


async def test_a_close_without_text_waits_for_its_money(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        discussion, order = await shipped(shop)
        shop.world.books.seller_writes(discussion, "Nous vous remboursons.")
        await ask(shop, discussion, "!rembourser total\n!clos")
        assert not discussion.closed
        await confirm(shop)
        assert order.lines[0].state == "RefundedAfterShipping"
        assert discussion.closed
        assert shop.sent == []


async def test_a_close_without_text_is_dropped_with_its_money(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        discussion, order = await shipped(shop)
        shop.world.books.seller_writes(discussion, "Nous vous remboursons.")
        order.refuses_money = "Remboursement impossible."
        await ask(shop, discussion, "!rembourser total\n!clos")
        await confirm(shop)
        await shop.later(hours=1)
        assert not discussion.closed
        assert (await shop.states(discussion))["closings"] == ["withdrawn"]
