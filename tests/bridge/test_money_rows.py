"""Each row of the seller's workflow with money, and all that must move none.

From an agent's mail to the marketplace's books and the receipt in the thread; at the older door
on the recorded contract.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from mailbridge.sandbox.books import BookedDiscussion
from mailbridge.sandbox.orders import BookedOrder
from mailbridge.sandbox.world import Door
from tests.bridge.test_money import (
    WORDS,
    ask,
    calls,
    confirm,
    given_for,
    paul,
    shipped,
    till,
    unshipped,
)
from tests.requirements import find_contract
from tests.shop import Shop

Open = Callable[..., AbstractAsyncContextManager[Shop]]


@pytest.fixture
def open_till(door: Door, tmp_path: Path) -> Open:
    """A shop that refunds."""
    wsdl: dict[str, Any] = {"wsdl": find_contract()} if door is Door.CDISCOUNT else {}

    def open_one(**given: Any) -> AbstractAsyncContextManager[Shop]:
        return till(tmp_path, **wsdl, **given)

    return open_one


def gifts(order: BookedOrder) -> list[Decimal]:
    return [v.amount for v in order.vouchers]


# --- the workflow -------------------------------------------------------------------------------


async def test_before_shipment_the_order_is_cancelled(open_till: Open) -> None:
    async with open_till() as shop:
        discussion, order = await unshipped(shop, lines=2)
        await ask(shop, discussion, f"!rembourser total\n!clos\n\n{WORDS}")
        await confirm(shop)
        await shop.settle()
        assert {x.state for x in order.lines} == {"RefundedAfterShipmentRefused"}
        assert shop.sent == [WORDS]
        assert discussion.closed
        assert "Annulé et remboursé" in (await shop.notice("receipt", "Clos")).text


@pytest.mark.parametrize(
    ("command", "shares", "shipping"),
    [
        ("!rembourser {0}", [True, False], False),
        ("!rembourser {0} +port", [True, False], True),
        ("!rembourser total", [True, True], True),
        ("!rembourser total sans port", [True, True], False),
    ],
)
async def test_after_shipment_lines_are_refunded(
    open_till: Open, command: str, shares: list[bool], shipping: bool
) -> None:
    async with open_till() as shop:
        discussion, order = await shipped(shop, lines=2)
        line = command.format(*(x.reference for x in order.lines))
        await ask(shop, discussion, f"{line}\n\n{WORDS}")
        await confirm(shop)
        await shop.settle()
        back = [x.state == "RefundedAfterShipping" for x in order.lines]
        assert back == shares
        assert {
            bool(x.refunded_shipping) for x in order.lines if x.refunded_shipping is not None
        } == {shipping}
        assert shop.sent == [WORDS]
        assert "Remboursé" in (await shop.notice("receipt")).text


async def test_a_gesture_is_given(open_till: Open) -> None:
    async with open_till() as shop:
        discussion, order = await shipped(shop)
        await ask(shop, discussion, f"!geste 12,50 € retard\n\n{WORDS}")
        await confirm(shop)
        await shop.settle()
        assert gifts(order) == [Decimal("12.50")]
        said = {Door.CDISCOUNT: "135", Door.OCTOPIA: "Retard de livraison"}
        assert given_for(shop, order) == said[shop.world.door]
        assert shop.sent == [WORDS]
        assert (
            "Geste commercial accordé\N{NO-BREAK SPACE}: 12,50"
            in (await shop.notice("receipt")).text
        )


# --- what must move nothing ---------------------------------------------------------------------


async def nothing(shop: Shop, discussion: BookedDiscussion, order: BookedOrder, told: str) -> None:
    assert told in await shop.told()
    assert calls(shop) == 0
    assert order.vouchers == []
    assert shop.sent == []
    assert not discussion.closed


@pytest.mark.once
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("!geste 1.234", "hold/bad_argument"),
        ("!geste 12,505 €", "hold/bad_argument"),
        ("!geste -5 €", "hold/bad_argument"),
        ("!geste 0 €", "hold/bad_argument"),
        ("!geste 5²", "hold/bad_argument"),
        ("!geste", "hold/bad_argument"),
        ("!geste 5 € parce que", "hold/unknown_motive"),
        ("!geste 499,99 €", "hold/money_impossible"),
        ("!rembourser 12,50 €", "hold/bad_argument"),
        ("!rembourser AUTRE-REF", "hold/money_impossible"),
        ("#rembourser total", "hold/near_command"),
    ],
)
async def test_what_makes_no_sense_is_held_with_its_text(
    tmp_path: Path, line: str, told: str
) -> None:
    async with till(tmp_path) as shop:
        discussion, order = await shipped(shop)
        with capture_logs() as logs:
            await ask(shop, discussion, f"{line}\n!clos\n\n{WORDS}")
        await nothing(shop, discussion, order, told)
        assert any(log["event"] == "reply held" for log in logs)


async def test_a_reference_of_another_order_is_not_this_orders(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        discussion, order = await shipped(shop)
        other = shop.world.cast.order(lines=2, shipped_days_ago=3)
        reference = next(
            x.reference for x in other.lines if x.reference != order.lines[0].reference
        )
        await ask(shop, discussion, f"!rembourser {reference}")
        await nothing(shop, discussion, order, "trouble/money_impossible")
        assert other.lines[0].state == other.lines[1].state == "ShippedBySeller"


async def test_gestures_and_refunds_together_never_pass_what_was_paid(tmp_path: Path) -> None:
    async with till(tmp_path, money={"confirm_above": 400}) as shop:
        discussion, order = await shipped(shop)
        line = order.lines[0]
        await ask(shop, discussion, "!geste 10 € retard")
        assert gifts(order) == [Decimal(10)]

        await ask(shop, discussion, f"!rembourser total\n!clos\n\n{WORDS}")
        held = await shop.notice("hold/money_impossible")
        left = line.price + line.shipping - 10
        assert f"{left:.2f}".replace(".", ",") in held.text
        assert "“!geste”" in held.text
        assert line.state == "ShippedBySeller"
        assert shop.sent == []
        assert not discussion.closed

        # What is left can be given.
        await shop.world.agent().reply(held, f"!geste {left} € autre\n\n{WORDS}")
        await shop.settle()
        assert sum(gifts(order)) == line.price + line.shipping
        assert shop.sent == [WORDS]


async def test_a_command_of_the_customers_is_nobodys(tmp_path: Path) -> None:
    """Quoted without marks, as some clients do, it stands among the agent's own words."""
    async with till(tmp_path, money={"confirm_above": 400}) as shop:
        order = shop.world.cast.order(shipped_days_ago=5)
        words = "!rembourser total\nRendez-moi mon argent."
        discussion = shop.world.cast.claim(order, text=words)
        await shop.settle()
        first = await shop.first(discussion)
        answer = f"{words}\n\nBonjour, nous regardons cela."
        await shop.world.agent().reply(first, answer, quote=False)
        await shop.settle()
        await nothing(shop, discussion, order, "hold/echoed_command")


@pytest.mark.once
@pytest.mark.parametrize(
    "address", ["support@maison-brindille.example", "attaquant@ailleurs.example"]
)
async def test_a_forged_mail_moves_nothing(tmp_path: Path, address: str) -> None:
    async with till(tmp_path, money={"confirm_above": 400}) as shop:
        discussion, order = await shipped(shop)

        def forged(mail: EmailMessage) -> None:
            del mail["From"]
            mail["From"] = f"Service client <{address}>"

        thief = paul(shop, files_sent_copy=False)
        text = f"!geste 40 € autre\n!clos\n\n{WORDS}"
        with capture_logs() as logs:
            await thief.reply(await shop.first(discussion), text, edit=forged)
            await shop.settle()
            await shop.later(minutes=2)
        staff = address.startswith("support")
        await nothing(shop, discussion, order, f"hold/not_{'proven' if staff else 'staff'}")
        assert any(log["event"] == "reply held" for log in logs)
        assert (await shop.states(discussion))["money"] == []


async def test_a_forged_mail_released_by_its_text_still_asks_about_its_money(
    tmp_path: Path,
) -> None:
    """The notice shows the text only: who sends it as it stands has not seen the gesture."""
    async with till(tmp_path, money={"confirm_above": 400}) as shop:
        discussion, order = await shipped(shop)
        thief = paul(shop, files_sent_copy=False)
        await thief.reply(await shop.first(discussion), f"!geste 20 € autre\n\n{WORDS}")
        await shop.settle()
        await shop.later(minutes=2)
        await shop.world.agent().reply(await shop.notice("hold/not_proven"), "!envoyer")
        await shop.settle()
        assert gifts(order) == []
        assert shop.sent == []
        question = await shop.notice("confirm")
        assert "20,00" in question.text
        await shop.world.agent().reply(question, "!annuler")
        await shop.settle()
        assert calls(shop) == 0


async def test_a_confirmation_held_meanwhile_confirms_no_other_question(tmp_path: Path) -> None:
    """The code is compared again when the mail is released: the order had changed by then."""
    async with till(tmp_path) as shop:
        discussion, order = await unshipped(shop)
        await ask(shop, discussion, "!rembourser total")
        await shop.operations.pause("brindille")
        await confirm(shop)
        assert "hold/paused" in await shop.told()
        held = await shop.notice("hold/paused")
        await shop.operations.resume("brindille")
        shop.world.books.orders.ship(order)
        await confirm(shop)
        assert (await shop.states(discussion))["money"] == ["waiting"]
        await shop.world.agent().reply(held, "!envoyer")
        await shop.settle()
        await shop.notice("trouble/nothing_to_confirm")
        assert (await shop.states(discussion))["money"] == ["waiting"]
        assert calls(shop) == 0
