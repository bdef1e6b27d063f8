"""Closing: the last step of a reply, and every answer the service has for it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mailbridge.sandbox.books import BookedDiscussion, CloseRule
from mailbridge.sandbox.faults import AnswerLost, HtmlError, InternalError, Refusal
from tests.doors import CLOSE_UNCLEAR, CLOSE_UNKNOWN, Ask, spoils
from tests.shop import Shop, open_shop

ANSWER = "Bonjour, votre colis arrive demain."


async def answered(shop: Shop, text: str = f"{ANSWER}\n!clos") -> BookedDiscussion:
    """A claim in the mailbox, and a reply to it that mailbridge has not seen yet."""
    discussion = shop.world.cast.claim()
    await shop.settle()
    await shop.world.agent().reply(await shop.first(discussion), text)
    return discussion


async def test_closed_once_the_reply_is_recorded(tmp_path: Path) -> None:
    async with open_shop(tmp_path, seller_lag=timedelta(minutes=57)) as shop:
        discussion = await answered(shop)
        await shop.settle()
        assert shop.sent == [ANSWER]
        assert (await shop.states(discussion))["closings"] == ["waiting"]
        assert shop.asked(Ask.CLOSE) == 0

        await shop.later(hours=1)
        assert discussion.closed
        # The whole thread, reply and receipt with it, lies in the closed folder.
        assert await shop.inbox() == []
        receipt = await shop.notice("receipt", "Clos")
        assert "Discussion fermée" in receipt.text
        assert receipt.seen
        assert len(await shop.inbox("Clos")) == 3


async def test_without_text_nothing_is_sent_and_the_close_goes_ahead(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        shop.world.books.seller_writes(discussion, "Nous vous avons répondu.")
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), "!clos")
        await shop.settle()

        assert shop.sent == []
        assert discussion.closed
        assert "Discussion fermée" in (await shop.notice("receipt", "Clos")).text


async def test_last_answer_not_ours_without_a_reply_under_way_is_told_at_once(
    tmp_path: Path,
) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop, "!clos")
        await shop.settle()

        assert "trouble/close_last_answer" in await shop.told()
        assert (await shop.states(discussion))["closings"] == ["refused"]
        assert not discussion.closed
        # The reply that asked for it is settled, and what failed has been said.
        await shop.later(days=1)
        assert shop.asked(Ask.CLOSE) == 1


async def test_last_answer_not_ours_while_a_reply_is_under_way_waits(tmp_path: Path) -> None:
    async with open_shop(tmp_path, seller_lag=timedelta(minutes=57)) as shop:
        discussion = await answered(shop, ANSWER)
        await shop.settle()
        # A colleague closes before the marketplace shows the answer.
        await shop.world.agent().reply(await shop.first(discussion), "!clos")
        await shop.settle()
        assert (await shop.states(discussion))["closings"] == ["ready"]
        assert not any("close" in kind for kind in await shop.told())

        await shop.later(hours=1)
        assert discussion.closed


async def test_a_pending_cancellation_is_told_once_and_waited_for(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop)
        order = shop.world.books.orders.get(discussion.order_number)
        assert order is not None
        order.request_cancellation()
        await shop.settle()
        assert not discussion.closed
        for _ in range(6):
            await shop.later(hours=7)
        assert (await shop.told()).count("trouble/close_cancel_pending") == 1
        assert shop.asked(Ask.CLOSE) > 3

        for line in order.lines:
            line.state = "ShippedBySeller"
        await shop.later(hours=7)
        assert discussion.closed
        assert "receipt" in await shop.told("Clos")


async def test_a_pending_cancellation_is_given_up_after_two_weeks(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop)
        order = shop.world.books.orders.get(discussion.order_number)
        assert order is not None
        order.request_cancellation()
        await shop.settle()
        await shop.later(days=14, hours=1)

        assert "trouble/close_gave_up" in await shop.told()
        assert (await shop.states(discussion))["closings"] == ["refused"]


async def test_a_discussion_the_service_does_not_know(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop)
        shop.fails(CLOSE_UNKNOWN[shop.world.door], Ask.CLOSE)
        await shop.settle()
        assert shop.service.faults.pending == 0

        told = await shop.told() + await shop.told("Clos")
        assert "trouble/close_not_found" in told
        assert shop.sent == [ANSWER]
        assert (await shop.states(discussion))["closings"] == ["refused"]


async def test_an_answer_nobody_has_heard_of(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await answered(shop)
        shop.fails(CLOSE_UNCLEAR[shop.world.door], Ask.CLOSE)
        await shop.settle()

        assert "trouble/close_unclear" in await shop.told() + await shop.told("Clos")


async def test_closed_by_somebody_else_meanwhile(tmp_path: Path) -> None:
    async with open_shop(tmp_path, seller_lag=timedelta(minutes=57)) as shop:
        discussion = await answered(shop)
        await shop.settle()
        shop.world.books.close_by_force(discussion)
        await shop.later(hours=1)

        assert (await shop.states(discussion))["closings"] == ["closed"]
        assert shop.asked(Ask.CLOSE) == 0
        assert "déjà fermée" in (await shop.notice("receipt", "Clos")).text


async def test_the_answer_is_lost_though_the_close_was_done(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop)
        shop.fails(AnswerLost(), Ask.CLOSE)
        await shop.settle()
        await shop.later(minutes=5)

        assert discussion.closed
        assert (await shop.states(discussion))["closings"] == ["closed"]
        assert (await shop.told("Clos")).count("receipt") == 1


async def test_the_marketplace_is_down_in_between(tmp_path: Path) -> None:
    async with open_shop(tmp_path, seller_lag=timedelta(minutes=57)) as shop:
        discussion = await answered(shop)
        await shop.settle()
        shop.fails(HtmlError(503), Ask.CLOSE)
        shop.fails(InternalError(), Ask.CLOSE)
        await shop.later(minutes=58)
        assert not discussion.closed
        for _ in range(3):
            await shop.later(minutes=10)

        assert discussion.closed
        assert not any("trouble" in kind for kind in await shop.told("Clos"))


async def test_a_refused_close_is_told_in_the_services_words(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await answered(shop)
        shop.fails(Refusal("Vendeur désactivé", "InactiveSellerError"), Ask.CLOSE)
        await shop.settle()

        notice = await shop.notice("trouble/marketplace_refused")
        assert "Vendeur désactivé" in notice.text


async def test_a_customer_who_wrote_meanwhile_keeps_it_open(tmp_path: Path) -> None:
    async with open_shop(tmp_path, seller_lag=timedelta(minutes=57)) as shop:
        discussion = await answered(shop)
        await shop.settle()
        shop.world.books.customer_writes(discussion, "Attendez, j'ai une autre question !")
        await shop.later(hours=1)

        assert not discussion.closed
        assert (await shop.states(discussion))["closings"] == ["overtaken"]
        receipt = await shop.notice("receipt")
        assert "laissée ouverte" in receipt.text
        assert not (await shop.thread(discussion))[-1].seen


async def test_a_customer_who_writes_in_the_last_second_is_seen(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop)
        await shop.bridge.once(None)
        await shop.world.mail.settled()
        # No sweep has seen this one: only the reading just before the close does.
        shop.world.books.customer_writes(discussion, "Attendez !")
        await shop.settle()

        assert not discussion.closed
        assert (await shop.states(discussion))["closings"] == ["overtaken"]


@pytest.mark.api
async def test_what_can_not_be_read_is_not_closed_over(tmp_path: Path) -> None:
    async with open_shop(tmp_path, seller_lag=timedelta(minutes=57)) as shop:
        discussion = await answered(shop)
        await shop.settle()
        await shop.later(minutes=56)
        assert (await shop.states(discussion))["closings"] == ["waiting"]
        # The reading just before the close meets a word of the customer's it can't understand.
        shop.clock.advance(timedelta(minutes=2))
        assert await shop.bridge.sweep.read_again([shop.ident(discussion)])
        shop.keeps_failing(spoils(shop.world.door, discussion), Ask.DISCUSSIONS)
        shop.world.books.customer_writes(discussion, "Attendez !")
        await shop.settle()
        assert not discussion.closed
        assert (await shop.states(discussion))["closings"] == ["ready"]

        shop.recovers()
        await shop.later(minutes=15)
        assert not discussion.closed
        assert (await shop.states(discussion))["closings"] == ["overtaken"]


@pytest.mark.api
async def test_a_discussion_that_stays_unreadable_is_a_persons_to_close(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop, "!clos")
        shop.keeps_failing(spoils(shop.world.door, discussion), Ask.DISCUSSIONS)
        await shop.settle()
        await shop.later(hours=23)
        assert "trouble/marketplace_refused" not in await shop.told()
        await shop.later(hours=2)
        assert "trouble/marketplace_refused" in await shop.told()
        assert not discussion.closed
        assert (await shop.states(discussion))["closings"] == ["refused"]


async def test_the_last_word_rule(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        shop.world.books.close_rule = CloseRule.LAST_WORD
        discussion = shop.world.cast.claim()
        shop.world.books.seller_writes(discussion, "Réponse.")
        shop.world.books.customer_writes(discussion, "Merci, et ?")
        await shop.settle()
        await shop.world.agent().reply((await shop.thread(discussion))[-1], "!clos")
        await shop.settle()
        assert "trouble/close_last_answer" in await shop.told()

        await shop.world.agent().reply((await shop.thread(discussion))[-1], f"{ANSWER}\n!clos")
        await shop.settle()
        assert discussion.closed


async def test_a_move_cut_off_in_the_middle_is_finished_and_not_repeated(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop, ANSWER)
        await shop.settle()
        # A server that died between copying and expunging leaves the thread in both folders.
        async with shop.bridge.ctx.mailbox.session() as session:
            await session.ensure_folder("Clos")
        assert shop.world.mail.imap is not None
        for mail in await shop.inbox():
            await shop.world.mail.imap.append(shop.world.address, mail.data, folder="Clos")
        shop.world.books.close_by_force(discussion)
        await shop.settle()

        ids = [str(m.message["Message-ID"]) for m in await shop.inbox("Clos")]
        assert len(ids) == len(set(ids)) == 3
        # Ours are gone from the inbox; the agent's own mail is left to the agent.
        assert [m.message["X-Mailbridge-Account"] for m in await shop.inbox()] == [None]


@pytest.mark.once
async def test_flags_come_along_when_a_thread_moves_and_what_was_answered_is_read(
    tmp_path: Path,
) -> None:
    async with open_shop(tmp_path) as shop:
        # An agent's label; and a client that has not yet written that the mail was read.
        discussion = await answered(shop)
        agent = shop.world.agent()
        await agent.mark(await shop.first(discussion), "$label2")
        assert not (await shop.first(discussion)).seen
        await shop.settle()
        assert discussion.closed
        (closed,) = await shop.thread(discussion, "Clos")
        assert closed.seen
        assert "$label2" in {flag.lower() for flag in closed.flags}
        assert all(m.seen for m in await shop.inbox("Clos"))

        shop.world.books.customer_writes(discussion, "Il manque une pièce.")
        await shop.settle()
        first, second = await shop.thread(discussion)
        assert first.seen
        assert "$label2" in {flag.lower() for flag in first.flags}
        assert not second.seen


@pytest.mark.once
async def test_what_nobody_answered_stays_unread_when_its_thread_moves(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        shop.world.books.close_by_force(discussion)
        await shop.settle()

        assert [m.seen for m in await shop.thread(discussion, "Clos")] == [False]


async def test_moving_the_thread_closes_where_it_is_switched_on(tmp_path: Path) -> None:
    mailbox = {"address": "support@maison-brindille.example", "close_by_move": True}
    async with open_shop(tmp_path, config={"mailbox": mailbox}) as shop:
        discussion = await answered(shop, ANSWER)
        await shop.settle()
        await shop.world.agent().move_thread(await shop.first(discussion), "Clos")
        await shop.settle()

        assert discussion.closed
        assert "Discussion fermée" in "".join(m.text for m in await shop.notices("Clos"))
        assert shop.sent == [ANSWER]


async def test_our_own_moves_close_nothing(tmp_path: Path) -> None:
    mailbox = {"address": "support@maison-brindille.example", "close_by_move": True}
    async with open_shop(tmp_path, config={"mailbox": mailbox}) as shop:
        discussion = await answered(shop, ANSWER)
        await shop.settle()
        shop.world.books.close_by_force(discussion)
        await shop.settle()
        assert len(await shop.inbox("Clos")) == 3
        # Reopened by the customer, the thread comes back and stays open.
        shop.world.books.customer_writes(discussion, "Encore moi.")
        await shop.later(minutes=5)

        assert not discussion.closed
        assert await shop.inbox("Clos") == []
        assert shop.asked(Ask.CLOSE) == 0


async def test_moving_means_nothing_where_it_is_off(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop, ANSWER)
        await shop.settle()
        await shop.world.agent().move_thread(await shop.first(discussion), "Clos")
        await shop.settle()

        assert not discussion.closed


async def test_a_thread_that_was_moved_too_early_says_so(tmp_path: Path) -> None:
    mailbox = {"address": "support@maison-brindille.example", "close_by_move": True}
    async with open_shop(tmp_path, config={"mailbox": mailbox}) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().move_thread(await shop.first(discussion), "Clos")
        await shop.settle()

        # Nobody answered: the marketplace refuses, and the notice is where people look.
        assert not discussion.closed
        assert "trouble/close_last_answer" in await shop.told()


async def test_the_operator_closes(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop, ANSWER)
        await shop.settle()
        await shop.operations.close(str(discussion.id))
        await shop.settle()

        assert discussion.closed
        assert (await shop.told("Clos")).count("receipt") == 2
