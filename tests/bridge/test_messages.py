"""What an API of messages has and relay mail has not: files, levels, read marks, customer care."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mailbridge.sandbox.agent import SeenMail
from mailbridge.sandbox.books import BookedFile
from mailbridge.sandbox.faults import InternalError, Refusal, Rewrite, Truncated
from mailbridge.sandbox.octopia.rules import Rules
from tests.doors import Ask
from tests.shop import Shop, open_shop

pytestmark = pytest.mark.api

ANSWER = "Bonjour, votre colis arrive demain."
PHOTO = BookedFile("plateau.jpg", b"\xff\xd8\xff\xe0 un plateau")
ONLY_THERE = "elles ne sont visibles que sur le site vendeur"


def files_of(mail: SeenMail) -> list[tuple[str | None, bytes]]:
    return [
        (part.get_filename(), part.get_payload(decode=True))  # type: ignore[misc]
        for part in mail.message.iter_attachments()
    ]


async def with_a_photo(shop: Shop) -> None:
    claim = shop.world.cast.claim(text="Le plateau est fendu.")
    claim.messages[0].files = (PHOTO,)


async def newest(shop: Shop) -> SeenMail:
    return (await shop.thread(shop.world.books.discussions[-1]))[-1]


@pytest.mark.parametrize("announced", [True, False])
async def test_a_customers_photo_lies_in_the_thread(tmp_path: Path, announced: bool) -> None:
    async with open_shop(tmp_path, rules=Rules(announces_files=announced)) as shop:
        await with_a_photo(shop)
        await shop.settle()

        mail = await newest(shop)
        assert files_of(mail) == [("plateau.jpg", PHOTO.data)]
        assert "Le plateau est fendu." in mail.text
        assert ONLY_THERE not in mail.text


async def test_a_photo_that_can_not_be_had_now_is_waited_for(tmp_path: Path) -> None:
    async with open_shop(tmp_path, rules=Rules(announces_files=True)) as shop:
        shop.keeps_failing(InternalError(), Ask.BESIDE)
        await with_a_photo(shop)
        await shop.settle(1)
        assert await shop.inbox() == []
        shop.recovers()
        await shop.later(minutes=5)

        assert files_of(await newest(shop)) == [("plateau.jpg", PHOTO.data)]


async def test_words_wait_a_quarter_of_an_hour_for_their_photo_at_most(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        shop.keeps_failing(InternalError(), Ask.BESIDE)
        await with_a_photo(shop)
        for minutes in (0, 16):
            shop.clock.advance(timedelta(minutes=minutes))
            assert await shop.inbox() == []
            await shop.settle(1)

        mail = await newest(shop)
        assert files_of(mail) == []
        assert ONLY_THERE in mail.text


async def test_a_photo_that_is_refused_is_said_to_be_elsewhere(tmp_path: Path) -> None:
    async with open_shop(tmp_path, rules=Rules(announces_files=True)) as shop:
        shop.keeps_failing(Refusal("Fichier expiré", "Gone"), Ask.BESIDE)
        await with_a_photo(shop)
        await shop.settle()

        mail = await newest(shop)
        assert files_of(mail) == []
        assert ONLY_THERE in mail.text


async def test_an_answer_that_is_too_short_is_held_with_the_limits(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        agent = shop.world.agent()
        await agent.reply(await shop.first(claim), "Bonne route.")
        await shop.settle()
        held = await shop.notice("hold/text_length")
        assert "12 caractères" in held.text and "au moins 13" in held.text
        assert shop.sent == []

        await agent.reply(held, "Bonne route à vous.")
        await shop.settle()
        assert shop.sent == ["Bonne route à vous."]


async def test_a_case_that_is_escalated_is_said_once_and_stands_on_the_card(
    tmp_path: Path,
) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        assert await shop.notices() == []
        claim.graduation, claim.updated_at = "Level_1", shop.clock()
        await shop.later(minutes=5)
        (news,) = await shop.notices()
        assert "médiation, niveau 1" in news.text
        assert not news.seen

        shop.world.books.customer_writes(claim, "Vous me répondez ?")
        await shop.later(minutes=5)
        assert "médiation, niveau 1" in (await newest(shop)).text
        assert len(await shop.notices()) == 1


async def test_a_question_that_becomes_a_claim_is_one_from_then_on(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        question = shop.world.cast.order_question()
        await shop.settle()
        question.graduation, question.updated_at = "Claim", shop.clock()
        await shop.later(minutes=5)
        shown = await shop.operations.show(str(question.id))
        begun = datetime.fromisoformat(shown["waiting_since"])
        assert shown["kind"] == "claim"
        assert datetime.fromisoformat(shown["answer_due"]) == begun + timedelta(days=2)
        (news,) = await shop.notices()
        assert "réclamation" in news.text


async def test_what_was_answered_is_marked_as_read_at_the_marketplace(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        assert [m.seen for m in claim.messages] == [False]
        await shop.world.agent().reply(await shop.first(claim), ANSWER)
        await shop.settle()

        assert claim.messages[0].seen


async def test_customer_care_is_answered_where_it_wrote(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        shop.world.books.operator_writes(claim, "Merci de nous confirmer l'envoi.")
        await shop.settle()
        customer, care = await shop.thread(claim)
        agent = shop.world.agent()
        await agent.reply(care, "Bonjour, c'est confirmé.")
        await shop.settle()
        await agent.reply(customer, "Bonjour, il est en route.")
        await shop.settle()

        told = [(m.to, m.text) for m in claim.messages if m.text in shop.sent]
        assert [(str(to), text) for to, text in told] == [
            ("operator", "Bonjour, c'est confirmé."),
            ("customer", "Bonjour, il est en route."),
        ]


async def test_another_sales_channel_is_named_and_answered_the_same(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        claim.channel = "OCTFR"
        await shop.settle()
        (mail,) = await shop.inbox()
        assert "OCTFR" in mail.text
        assert str(mail.message["From"]).startswith(f"{claim.customer.name} via OCTFR")
        await shop.world.agent().reply(mail, ANSWER)
        await shop.settle()

        assert shop.sent == [ANSWER]


async def test_a_sales_channel_bears_the_name_that_the_marketplace_gives_it(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        order = shop.world.cast.order()
        order.channel = "OCTFR"
        claim = shop.world.cast.claim(order=order)
        claim.channel = "OCTFR"
        await shop.settle()
        (mail,) = await shop.inbox()
        assert str(mail.message["From"]).startswith(f"{claim.customer.name} via Octfr")
        assert "OCTFR" not in mail.text


async def test_a_bounce_of_the_marketplaces_own_mail_sends_nothing_twice(tmp_path: Path) -> None:
    """It may be of an earlier message: what was posted stands where it was posted."""
    async with open_shop(tmp_path, seller_lag=timedelta(minutes=57)) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(claim), ANSWER)
        await shop.settle(1)
        shop.world.books.robot_writes(
            claim, "----- The following addresses had permanent fatal errors -----\n<z@m.example>"
        )
        await shop.later(minutes=5)
        assert (await shop.states(claim))["deliveries"] == ["held"]
        assert "permanent fatal errors" in (await shop.notice("hold/bounced")).text

        await shop.later(hours=1)
        assert shop.sent == [ANSWER]
        assert (await shop.states(claim))["deliveries"] == ["recorded"]


async def test_what_became_of_an_answer_is_known_before_anything_else_is_asked(
    tmp_path: Path,
) -> None:
    """Its id would be lost with the machine while old messages are marked as read."""
    async with open_shop(tmp_path, seller_lag=timedelta(minutes=57)) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(claim), ANSWER)

        async def cut(*_: object) -> None:
            raise ConnectionAbortedError("the machine is switched off")

        messaging = shop.bridge.ctx.marketplace.messaging
        assert messaging is not None
        messaging.mark_seen = cut  # type: ignore[assignment, method-assign]
        with contextlib.suppress(ConnectionAbortedError):
            await shop.settle(1)
        await shop.restart()
        await shop.settle(1)

        assert (await shop.states(claim))["deliveries"] == ["submitted"]
        assert await shop.told() == []
        await shop.later(hours=1)
        assert (await shop.states(claim))["deliveries"] == ["recorded"]
        assert shop.sent == [ANSWER]


async def test_a_resend_waits_until_the_discussion_can_be_read(tmp_path: Path) -> None:
    """The first answer may stand there."""
    async with open_shop(tmp_path, seller_lag=timedelta(hours=5)) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(claim), ANSWER)
        shop.handover.lost(kept=True)
        await shop.settle()
        await shop.later(hours=4)
        notice = await shop.notice("trouble/unrecorded")

        shop.clock.advance(timedelta(hours=2))
        await shop.world.agent().reply(notice, "!renvoyer")
        shop.service.faults.once(Truncated(), "getDiscussion")
        await shop.bridge.once(None)
        assert shop.service.faults.pending == 0
        await shop.later(minutes=5)
        assert shop.sent == [ANSWER]
        assert "recorded" in (await shop.states(claim))["deliveries"]


async def test_two_discussions_of_one_number_have_a_thread_each(tmp_path: Path) -> None:
    """None of their words may be lost, whatever the numbers are worth."""
    async with open_shop(tmp_path) as shop:
        one = shop.world.cast.claim(text="Le plateau est fendu.")
        await shop.settle()
        two = shop.world.cast.order_question(text="Et ma facture ?")
        as_told = '"salesChannelExternalReference":"{}"'
        twice = Rewrite(as_told.format(two.id).encode(), as_told.format(one.id).encode())
        shop.service.faults.always(twice, "listDiscussions", "getDiscussion")
        await shop.settle()
        shop.world.books.customer_writes(two, "Allô ?")
        await shop.later(minutes=5)

        words = [mail.text for mail in await shop.inbox()]
        for text in ("Le plateau est fendu.", "Et ma facture ?", "Allô ?"):
            assert sum(text in word for word in words) == 1
        subjects = {mail.subject.removeprefix("Re: ") for mail in await shop.inbox()}
        assert len(subjects) == 2


async def test_a_file_no_mailbox_takes_does_not_keep_the_words_back(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim(text="Le plateau est fendu.")
        claim.messages[0].files = (BookedFile("film.jpg", bytes(20_000_001)),)
        await shop.settle()

        mail = await newest(shop)
        assert files_of(mail) == []
        assert "Le plateau est fendu." in mail.text and ONLY_THERE in mail.text
