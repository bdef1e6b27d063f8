"""Staff write first about an order: from their mail client, and how its thread goes on."""

from __future__ import annotations

from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest

from mailbridge.bridge.sweep import SweepKind
from mailbridge.sandbox.agent import SeenMail
from mailbridge.sandbox.mailserver import Provider
from mailbridge.sandbox.orders import BookedOrder
from mailbridge.sandbox.smtp import DropAfterDot
from tests.shop import Shop, code_in, open_shop

SUPPORT = "support@maison-brindille.example"
NEWS = "Bonjour, votre colis partira avec un jour de retard. Toutes nos excuses."
ALIAS = {"reply_mode": "alias", "reply_address": "clients@maison-brindille.example"}


def address(order: BookedOrder | str) -> str:
    number = order if isinstance(order, str) else order.number
    return f"support+mb-order-{number.lower()}@maison-brindille.example"


async def write(shop: Shop, order: BookedOrder | str, text: str = NEWS) -> None:
    """A new mail to the order's address, and all that mailbridge does about it."""
    await shop.world.agent().write([address(order)], "Retard de livraison", text)
    await shop.settle()


def plain(mail: SeenMail) -> str:
    return " ".join(mail.text.replace("\u00a0", " ").split())


async def opened(shop: Shop) -> SeenMail:
    """The mail with which a thread that staff opened begins."""
    (mail,) = [m for m in await shop.notices() if "Message au client au sujet" in plain(m)]
    return mail


async def test_a_mail_to_the_orders_address_reaches_the_customer(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        order = shop.world.cast.order()
        await write(shop, order)

        assert shop.sent == [NEWS]
        (discussion,) = shop.world.books.discussions
        assert (discussion.order_number, discussion.seller_texts) == (order.number, [NEWS])
        # Its thread: what was written, with the order's card, and that it is recorded.
        first = await opened(shop)
        assert first.seen
        assert NEWS in plain(first)
        assert order.lines[0].name in plain(first)
        assert f"Retard de livraison – commande {order.number} (CD-" in first.subject
        receipt = await shop.notice("receipt")
        assert "Réponse enregistrée" in plain(receipt)
        assert len(await shop.inbox()) == 3  # and the agent's own mail, delivered
        assert (await shop.world.agent().thread(first))[-1].uid == receipt.uid


async def test_a_full_sweep_is_the_first_to_show_it(tmp_path: Path) -> None:
    """By then the thread may have the discussion's id, and not yet its reference."""
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        await shop.world.agent().write([address(shop.world.cast.order())], "Retard", NEWS)
        while not shop.sent:
            await shop.bridge.once(None)
            await shop.world.mail.settled()
        for _ in range(2):
            await shop.bridge.once(SweepKind.FULL)

        (discussion,) = shop.world.books.discussions
        assert (await shop.states(discussion))["deliveries"] == ["recorded"]
        assert "Réponse enregistrée" in plain(await shop.notice("receipt"))


async def test_the_customers_answer_arrives_in_the_same_thread(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        await write(shop, shop.world.cast.order())
        first = await opened(shop)
        (discussion,) = shop.world.books.discussions
        shop.world.books.customer_writes(discussion, "Merci de me prévenir.")
        await shop.later(minutes=5)

        (answer,) = await shop.thread(discussion)
        assert not answer.seen and "Merci de me prévenir." in answer.text
        assert answer.subject == f"Re: {first.subject}"
        assert answer.uid in {m.uid for m in await shop.world.agent().thread(first)}
        # It goes on like any other: answered, closed, nothing said twice.
        await shop.world.agent().reply(answer, "Avec plaisir.\n!clos")
        await shop.settle()
        assert shop.sent == [NEWS, "Avec plaisir."]
        assert discussion.closed
        states = await shop.states(discussion)
        assert (states["replies"], states["deliveries"]) == (["settled"] * 2, ["recorded"] * 2)


async def test_staff_write_again_before_the_marketplace_shows_anything(tmp_path: Path) -> None:
    async with open_shop(tmp_path, seller_lag=timedelta(hours=1)) as shop:
        await shop.settle()
        await write(shop, shop.world.cast.order())
        await shop.world.agent().reply(await opened(shop), "PS : il est parti ce matin.")
        await shop.settle()
        assert shop.sent == [NEWS, "PS : il est parti ce matin."]

        await shop.later(hours=2)
        (discussion,) = shop.world.books.discussions
        assert (await shop.states(discussion))["deliveries"] == ["recorded", "recorded"]
        assert await shop.thread(discussion) == []


@pytest.mark.parametrize("to", [SUPPORT, ALIAS["reply_address"]])
async def test_with_the_command_on_the_first_line(tmp_path: Path, to: str) -> None:
    provider = Provider(plus=False, aliases={ALIAS["reply_address"]: SUPPORT})
    async with open_shop(tmp_path, config={"mailbox": ALIAS}, provider=provider) as shop:
        await shop.settle()
        order = shop.world.cast.order()
        text = f"!commande {order.number}\n\n{NEWS}"
        await shop.world.agent().write([to], "Retard", text)
        await shop.settle()

        assert shop.sent == [NEWS]
        assert "Réponse enregistrée" in plain(await shop.notice("receipt"))


async def test_a_closing_command_waits_for_the_discussion_to_be_there(tmp_path: Path) -> None:
    async with open_shop(tmp_path, seller_lag=timedelta(minutes=57)) as shop:
        await shop.settle()
        await write(shop, shop.world.cast.order(), f"{NEWS}\n!clos")
        (discussion,) = shop.world.books.discussions
        assert not discussion.closed
        await shop.later(hours=1)
        assert discussion.closed


async def test_an_open_discussion_about_the_order_is_where_it_goes(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        assert claim.order_number is not None
        await write(shop, claim.order_number)

        assert claim.seller_texts == [NEWS]
        assert len(shop.world.books.discussions) == 1
        receipt = await shop.notice("receipt")
        assert receipt.message["X-Mailbridge-Reference"] == str(claim.id)
        assert NEWS in plain(receipt)


@pytest.mark.relay
async def test_words_that_land_in_another_thread_are_told_in_both(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(claim), "C'est réglé.\n!clos")
        await shop.settle()
        assert claim.closed
        await shop.later(hours=1)
        assert claim.order_number is not None
        await write(shop, claim.order_number)

        # The relay put it into the closed claim: the only one there is about the order.
        assert claim.seller_texts[-1] == NEWS
        told = {plain(m) for m in [*await shop.notices(), *await shop.notices("Clos")]}
        assert any("La conversation continue dans le fil" in words for words in told)
        assert any("s'ajoute à cette discussion" in words and NEWS in words for words in told)


@pytest.mark.relay
async def test_an_order_shipped_long_ago_is_refused_with_the_reason(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        order = shop.world.cast.order(shipped_days_ago=40)
        await write(shop, order)

        assert shop.sent == []
        notice = await shop.notice("hold/order_unreachable")
        assert not notice.seen
        assert order.number in plain(notice)
        assert "plus de quatre semaines" in plain(notice)


@pytest.mark.api
async def test_where_answers_are_messages_the_marketplace_names_the_discussion(
    tmp_path: Path,
) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        order = shop.world.cast.order()
        await shop.world.agent().write([address(order)], "Retard de livraison", NEWS)
        await shop.settle(1)

        # Its thread is the discussion's before any list has shown it.
        (discussion,) = shop.world.books.discussions
        assert (discussion.subject, discussion.seller_texts) == ("Retard de livraison", [NEWS])
        shown = await shop.operations.show(discussion.object_id)
        assert [d["state"] for d in shown["deliveries"]] == ["submitted"]
        await shop.settle()
        assert (await shop.states(discussion))["deliveries"] == ["recorded"]
        assert shop.sent == [NEWS]


async def test_an_order_that_nobody_knows(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        await write(shop, "2611999XXXX9")
        assert shop.sent == []
        assert "ne connaît pas la commande 2611999XXXX9" in plain(
            await shop.notice("hold/unknown_order")
        )


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("!commande", "hold/bad_order"),
        ("!commande 12/7 b", "hold/bad_order"),
        ("!comande {number}", "hold/near_command"),
    ],
)
async def test_a_number_that_is_none(tmp_path: Path, line: str, kind: str) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        order = shop.world.cast.order()
        text = f"{line.format(number=order.number)}\n\n{NEWS}"
        await shop.world.agent().write([SUPPORT], "Retard", text)
        await shop.settle()
        assert shop.sent == []
        await shop.notice(kind)


async def test_mail_to_the_shop_that_names_no_order_is_left_alone(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        await shop.world.agent().write([SUPPORT], "Note", "Pense à appeler le transporteur.")
        await shop.settle()
        assert await shop.notices() == []
        (mail,) = await shop.inbox()
        assert not mail.seen


async def test_a_stranger_who_knows_the_number_opens_nothing(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        order = shop.world.cast.order()
        mail = EmailMessage()
        mail["From"], mail["To"] = "client@example.org", address(order)
        mail["Subject"], mail["Message-ID"] = "Bonjour", "<1@example.org>"
        mail.set_content("Remboursez-moi !")
        await shop.world.agent().send_raw(mail.as_bytes(), [address(order)], file_copy=False)
        await shop.settle()
        assert (shop.sent, await shop.notices()) == ([], [])


async def test_without_proof_of_origin_it_is_held_and_released_by_code(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        order = shop.world.cast.order()
        agent = shop.world.agent(files_sent_copy=False)
        await agent.write([address(order)], "Retard", NEWS)
        await shop.settle()
        await shop.later(minutes=2)
        assert shop.sent == []
        notice = await shop.notice("hold/not_proven")
        await agent.reply(notice, f"!envoyer {code_in(notice)}")
        await shop.later(minutes=2)
        assert shop.sent == [NEWS]


async def test_forged_mails_open_only_so_many_threads(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        agent = shop.world.agent(files_sent_copy=False)
        for number in range(25):
            await agent.write([address(f"2611{number:04d}ABCD")], "x", NEWS)
        await shop.settle()
        await shop.later(minutes=2)
        limit = shop.config.accounts["brindille"].replies.notices_per_hour
        assert len(await shop.notices()) == limit < 25


@pytest.mark.parametrize("line", ["!rembourser total", "!rouvrir", "!renvoyer"])
async def test_a_first_mail_holds_text_only(tmp_path: Path, line: str) -> None:
    money = {"enabled": True, "most": 500, "most_per_order": 500, "most_per_day": 1000}
    async with open_shop(tmp_path, config={"money": money}) as shop:
        await shop.settle()
        await write(shop, shop.world.cast.order(), f"{line}\n{NEWS}")
        assert shop.sent == []
        assert line in plain(await shop.notice("hold/first_mail"))


async def test_nothing_to_close_yet(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config={"replies": {"delay": 600}}) as shop:
        await shop.settle()
        await write(shop, shop.world.cast.order())
        assert shop.sent == []
        await shop.world.agent().reply(await opened(shop), "!clos")
        await shop.settle()
        await shop.notice("hold/no_discussion")


async def test_another_order_in_a_thread_is_held(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        other = shop.world.cast.order()
        text = f"!commande {other.number}\n{NEWS}"
        await shop.world.agent().reply(await shop.first(claim), text)
        await shop.settle()
        assert shop.sent == []
        await shop.notice("hold/order_in_thread")


async def test_templates_for_orders_and_those_for_answers_only(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        order = shop.world.cast.order(shipped_days_ago=2)
        await write(shop, order, "!modèle colis")
        assert order.number in shop.sent[0]
        await write(shop, shop.world.cast.order(), "!modèle merci")
        assert len(shop.sent) == 1
        assert "fait pour répondre" in plain(await shop.notice("hold/template_needs"))


async def test_two_people_who_write_first_about_one_order(tmp_path: Path) -> None:
    staff = [{"address": SUPPORT, "name": "Service client"}]
    staff.append({"address": "paul@maison-brindille.example", "name": "Paul"})
    async with open_shop(tmp_path, config={"staff": staff}, seller_lag=timedelta(hours=1)) as shop:
        await shop.settle()
        order = shop.world.cast.order()
        await write(shop, order)
        shop.clock.advance(timedelta(minutes=20))
        paul = shop.world.agent(address="paul@maison-brindille.example", name="Paul")
        await paul.write([address(order)], "Retard", "Bonjour, un retard est annoncé, désolés.")
        await shop.settle()
        assert shop.sent == [NEWS]
        await shop.notice("hold/colleague_answered")


async def test_an_uncertain_first_mail_is_settled_by_the_order(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        await shop.world.agent().write([address(shop.world.cast.order())], "Retard", NEWS)
        shop.world.mail.submission.faults.once(DropAfterDot(kept=True))
        await shop.settle()
        await shop.later(minutes=5)
        # Whatever the server said, the marketplace shows it: once.
        (discussion,) = shop.world.books.discussions
        assert discussion.seller_texts == [NEWS]
        assert (await shop.states(discussion))["deliveries"] == ["recorded"]


async def test_a_lost_journal_knows_the_thread_and_its_discussion_again(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        await write(shop, shop.world.cast.order())
        before = await shop.notices()
        await shop.restart(lose_journal=True)
        await shop.settle()
        (discussion,) = shop.world.books.discussions
        shop.world.books.customer_writes(discussion, "Merci.")
        await shop.later(minutes=5)

        (answer,) = await shop.thread(discussion)
        assert answer.subject.removeprefix("Re: ") == before[0].subject
        assert shop.sent == [NEWS]
        assert len(await shop.notices()) == len(before)
