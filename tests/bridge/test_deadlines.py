"""The response clock: what is due is shown and flagged, and no flag of an agent's is touched."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailbridge.sandbox.agent import SeenMail
from mailbridge.sandbox.books import BookedDiscussion
from tests.shop import Shop, open_shop

pytestmark = pytest.mark.once

FLAG = "\\Flagged"


def flagged(mail: SeenMail, flag: str = FLAG) -> bool:
    return flag.lower() in {f.lower() for f in mail.flags}


async def flags(shop: Shop, discussion: BookedDiscussion, folder: str = "INBOX") -> list[bool]:
    return [flagged(mail) for mail in await shop.thread(discussion, folder)]


async def test_a_claim_is_flagged_when_its_two_days_are_nearly_over(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        await shop.later(hours=44)
        assert await flags(shop, claim) == [False]
        await shop.later(hours=2)
        assert await flags(shop, claim) == [True]
        # And so it stays when the limit is over, until somebody answers.
        await shop.later(hours=9)
        assert await flags(shop, claim) == [True]

        await shop.world.agent().reply(await shop.first(claim), "Nous cherchons.")
        await shop.later(minutes=2)
        assert shop.sent == ["Nous cherchons."]
        assert await flags(shop, claim) == [False]


async def test_a_question_has_a_working_day(tmp_path: Path) -> None:
    # Friday, 17:00 in Paris: nine working hours end on Monday at 17:00.
    async with open_shop(tmp_path) as shop:
        shop.clock.set(datetime(2026, 11, 20, 16, 0, tzinfo=UTC))
        question = shop.world.cast.order_question()
        await shop.settle()
        await shop.later(hours=60)
        assert await flags(shop, question) == [False]
        await shop.later(hours=10)
        assert await flags(shop, question) == [True]
        (mail,) = await shop.thread(question)
        assert "À répondre avant le lundi 23\u00a0novembre 2026 à\u00a017:00" in mail.text


async def test_the_flag_is_on_the_newest_words_of_the_customer(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        await shop.later(hours=46)
        shop.world.books.customer_writes(claim, "Alors ?")
        await shop.later(minutes=5)
        assert await flags(shop, claim) == [False, True]
        # The newer mail says the same limit: insisting gives nobody more time.
        limits = [
            line
            for mail in await shop.thread(claim)
            for line in mail.text.splitlines()
            if line.startswith("À répondre")
        ]
        assert len(limits) == 2
        assert len(set(limits)) == 1


async def test_what_a_robot_adds_is_not_flagged(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        shop.world.books.robot_writes(claim, "Ce dossier est suivi automatiquement.")
        await shop.later(hours=46)
        assert await flags(shop, claim) == [True, False]


async def test_what_the_shop_answers_on_the_web_page_is_answered(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        await shop.later(hours=46)
        shop.world.books.seller_writes(claim, "Répondu sur le site.")
        await shop.later(minutes=5)
        customer, seller = await shop.thread(claim)
        assert not flagged(customer)
        assert "À répondre" not in seller.text


async def test_a_closed_discussion_is_no_longer_flagged(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        await shop.later(hours=46)
        assert await flags(shop, claim) == [True]
        shop.world.books.close_by_force(claim)
        await shop.later(minutes=5)
        assert await flags(shop, claim, "Clos") == [False]


@pytest.mark.api
async def test_what_is_marked_as_treated_waits_for_nobody(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim, books = shop.world.cast.claim(), shop.world.books
        await shop.settle()
        await shop.world.agent().reply(await shop.first(claim), "Il est parti ce matin.")
        await shop.settle()
        books.customer_writes(claim, "Merci !")
        await shop.later(hours=46)
        assert await flags(shop, claim) == [False, True]

        books.mark(claim)
        await shop.later(minutes=5)
        assert await flags(shop, claim) == [False, False]
        shown = await shop.operations.show(str(claim.id))
        assert (shown["treatment"], shown["answer_due"]) == ("treated", None)
        (account,) = (await shop.operations.status())["accounts"]
        due = account["answers_due"]
        assert (due["overdue"], due["soon"], due["later"], due["treated"]) == (0, 0, 0, 1)

        # Somebody takes the mark back: the customer has waited since then.
        books.mark(claim, treated=False)
        await shop.later(minutes=5)
        assert await flags(shop, claim) == [False, True]
        books.mark(claim)
        await shop.later(minutes=5)
        await shop.later(days=2)
        assert await flags(shop, claim) == [False, False]

        # The customer has another question: its time begins with it.
        books.customer_writes(claim, "Et la facture ?")
        asked = shop.clock()
        await shop.later(minutes=5)
        shown = await shop.operations.show(str(claim.id))
        assert datetime.fromisoformat(shown["waiting_since"]) - asked < timedelta(seconds=2)
        assert "À répondre" in (await shop.thread(claim))[-1].text


@pytest.mark.api
async def test_at_a_first_start_what_was_treated_long_ago_arrives_read(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        old, waiting = shop.world.cast.claim(), shop.world.cast.claim()
        shop.clock.advance(timedelta(days=2))
        new = shop.world.cast.claim()
        for claim in (old, new):
            shop.world.books.mark(claim)
        await shop.settle()
        read = [(await shop.first(claim)).seen for claim in (old, waiting, new)]
        # A mark may be older than what was said today.
        assert read == [True, False, False]
        shop.world.books.customer_writes(old, "Il est toujours cassé.")
        await shop.later(minutes=5)
        assert [mail.seen for mail in await shop.thread(old)] == [True, False]


@pytest.mark.api
async def test_a_mark_that_came_with_new_words_may_be_older_than_they_are(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim, books = shop.world.cast.claim(), shop.world.books
        await shop.settle()
        books.seller_writes(claim, "C'est parti.")
        shop.clock.advance(timedelta(minutes=1))
        books.customer_writes(claim, "Ce n'est pas le bon article.")
        claim.process_status = "Treated"  # what the shop's answer has made of it, and not yet more
        await shop.later(minutes=5)
        assert (await shop.operations.show(str(claim.id)))["answer_due"]
        # Nobody says that new words take such a mark back: one that stands says nothing of them.
        await shop.later(days=1, hours=2)
        assert (await shop.operations.show(str(claim.id)))["answer_due"]
        claim.process_status = None
        await shop.later(hours=1)
        assert (await shop.operations.show(str(claim.id)))["answer_due"]


async def test_an_agents_own_flag_is_left_alone(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        agent = shop.world.agent()
        await agent.mark(await shop.first(claim), FLAG)
        await shop.later(hours=46)
        shop.world.books.seller_writes(claim, "Répondu.")
        await shop.later(minutes=5)
        assert flagged(await shop.first(claim))


async def test_a_flag_an_agent_took_off_is_not_put_on_again(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        await shop.later(hours=46)
        await shop.world.agent().mark(await shop.first(claim), FLAG, on=False)
        await shop.later(hours=1)
        assert await flags(shop, claim) == [False]


async def test_a_daemon_that_died_while_flagging_takes_its_flag_off_later(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        await shop.later(hours=46)
        # As a crash between the mailbox's answer and the journal's last word leaves it.
        async with shop.bridge.ctx.write() as tx:
            (row,) = await tx.waiting.flags()
            row.settled_at = None
        await shop.restart()
        shop.world.books.seller_writes(claim, "Répondu.")
        await shop.later(minutes=5)
        assert await flags(shop, claim) == [False, False]
        async with shop.bridge.ctx.read() as tx:
            assert not await tx.waiting.flags()


async def test_a_keyword_instead_of_the_flag_and_none_at_all(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config={"clock": {"flag": "$label1"}}) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        await shop.later(hours=46)
        (mail,) = await shop.thread(claim)
        assert flagged(mail, "$label1") and not flagged(mail)
        await shop.reconfigure(clock={"flag": "flagged"})
        await shop.settle()
        (mail,) = await shop.thread(claim)
        assert flagged(mail) and not flagged(mail, "$label1")
        await shop.reconfigure(clock={"flag": ""})
        await shop.settle()
        (mail,) = await shop.thread(claim)
        assert not flagged(mail)


async def test_a_question_that_goes_on_as_a_claim_is_due_there(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        question = shop.world.cast.order_question()
        await shop.settle()
        claim = shop.world.books.turn_into_claim(question)
        await shop.later(hours=50)
        assert await flags(shop, question) == [False]
        # The marketplace's own staff ask as well: theirs are the newest words.
        assert await flags(shop, claim) == [False, True]


@pytest.mark.parametrize("late", [False, True])
async def test_status_counts_what_is_due(tmp_path: Path, late: bool) -> None:
    async with open_shop(tmp_path) as shop:
        claim, question = shop.world.cast.claim(), shop.world.cast.order_question()
        shop.world.books.seller_writes(question, "Demain.")
        await shop.settle()
        begun = claim.messages[0].at
        await shop.later(hours=50 if late else 46)
        (account,) = (await shop.operations.status())["accounts"]
        due = account["answers_due"]
        assert (due["overdue"], due["soon"], due["later"]) == ((1, 0, 0) if late else (0, 1, 0))
        (first,) = due["next"]
        assert first["discussion"] in (await shop.first(claim)).subject
        assert datetime.fromisoformat(first["due"]) == begun + timedelta(days=2)
