"""From the marketplace's books to threads in the mailbox."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from email.utils import parseaddr
from pathlib import Path

import pytest

from mailbridge.bridge.sweep import SweepKind
from mailbridge.domain.discussion import DiscussionKind, Status
from mailbridge.marketplace.port import Window
from mailbridge.sandbox.faults import NilLists, UnknownValue
from mailbridge.sandbox.orders import Person
from mailbridge.sandbox.world import Door
from tests.doors import CONTROLS, Ask
from tests.shop import open_shop


async def test_a_list_that_shows_one_twice_files_it_once(tmp_path: Path) -> None:
    """As pages do that move while they are read."""
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        now = shop.clock()
        window = Window(now - timedelta(days=1), now, frozenset({Status.OPEN}))
        listing = await shop.bridge.ctx.marketplace.discussions(window)
        await shop.bridge.sweep.take(replace(listing, discussions=listing.discussions * 2))
        await shop.settle()
        assert len(await shop.thread(discussion)) == 1


async def test_each_kind_of_discussion_becomes_a_thread(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        cast = shop.world.cast
        claim, question, offer = cast.claim(), cast.order_question(), cast.offer_question()
        await shop.settle()

        assert len(await shop.inbox()) == 3
        for discussion in (claim, question, offer):
            (mail,) = await shop.thread(discussion)
            message = mail.message
            short = mail.subject.rpartition("(")[2].rstrip(")").lower()
            name, address = parseaddr(str(message["From"]))
            # One door names customers in their orders only.
            nobody = discussion is offer and shop.world.door is Door.OCTOPIA
            customer = "Client" if nobody else discussion.customer.name
            assert (name, address) == (f"{customer} via Cdiscount", f"{short}@mb.invalid")
            assert parseaddr(str(message["To"]))[1] == shop.world.address
            reply_to = parseaddr(str(message["Reply-To"]))[1]
            assert reply_to.startswith(f"support+mb-{short}-")
            assert message["In-Reply-To"] is None
            assert len(str(message["References"]).split()) == 1  # the phantom root
            assert not mail.seen
            assert str(discussion.messages[0].text).splitlines()[0] in mail.text
            assert not [name for name in message if name.lower().startswith("list-")]
            # The relay address stands nowhere that a client would write to.
            for name in ("From", "To", "Cc", "Reply-To", "Sender"):
                assert "clemarche" not in str(message[name])
        assert claim.order_number and claim.order_number in (await shop.first(claim)).text
        assert "Colissimo" in (await shop.first(claim)).text


async def test_one_mail_a_message_under_one_frozen_subject(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        claim.subject = "Un tout autre sujet"
        await shop.later(minutes=10)
        shop.world.books.customer_writes(claim, "Avez-vous eu mon message ?")
        shop.world.books.operator_writes(claim, "Merci de répondre au client.")
        shop.world.books.robot_writes(claim, "Ce dossier est suivi automatiquement.")
        shop.world.books.seller_writes(claim, "Réponse écrite sur le site vendeur.")
        await shop.settle()

        mails = await shop.thread(claim)
        root, *answers = mails
        assert [m.subject for m in answers] == [f"Re: {root.subject}"] * 4
        for mail in answers:
            assert mail.message["In-Reply-To"] == root.message["Message-ID"]
            assert str(mail.message["References"]).split()[1] == root.message["Message-ID"]
        assert [parseaddr(str(m.message["From"]))[0] for m in mails] == [
            f"{claim.customer.name} via Cdiscount",
            f"{claim.customer.name} via Cdiscount",
            "Service client Cdiscount",
            "Cdiscount (message automatique)",
            "Votre boutique via Cdiscount",
        ]
        # What the shop wrote itself disturbs nobody.
        assert [m.seen for m in mails] == [False, False, False, False, True]
        dates = [m.message["Date"].datetime for m in mails]
        assert dates == sorted(set(dates))


async def test_the_first_run_files_what_is_open_and_leaves_old_closed_ones(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        cast, books = shop.world.cast, shop.world.books
        waiting, answered, closed = cast.claim(), cast.order_question(), cast.offer_question()
        books.seller_writes(waiting, "Nous cherchons.")
        books.customer_writes(waiting, "Et maintenant ?")
        books.seller_writes(answered, "Oui.")
        books.seller_writes(closed, "Non.")
        books.close_by_force(closed)
        shop.clock.advance(timedelta(hours=6))
        await shop.settle()

        # Only what still waits for the shop is unread.
        assert [m.seen for m in await shop.thread(waiting)] == [True, True, False]
        assert [m.seen for m in await shop.thread(answered)] == [True, True]
        assert await shop.inbox("Clos") == []
        assert len(await shop.inbox()) == 5


async def test_since_files_closed_ones_too(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config={"sweeps": {"since": "30d"}}) as shop:
        cast, books = shop.world.cast, shop.world.books
        old, recent = cast.order_question(), cast.claim()
        books.close_by_force(old)
        shop.clock.advance(timedelta(days=40))
        books.close_by_force(recent)
        shop.clock.advance(timedelta(days=1))
        await shop.settle()

        assert await shop.inbox() == []
        assert [m.seen for m in await shop.inbox("Clos")] == [True]
        assert len(await shop.thread(recent, "Clos")) == 1


async def test_a_message_shown_late_is_not_lost(tmp_path: Path) -> None:
    async with open_shop(tmp_path, seller_lag=timedelta(minutes=57)) as shop:
        question = shop.world.cast.order_question()
        await shop.settle()
        shop.world.books.seller_writes(question, "Écrit sur le site.")
        await shop.settle()
        assert len(await shop.thread(question)) == 1
        # Meanwhile the world goes on, and every sweep sees something newer.
        shop.clock.advance(timedelta(minutes=56))
        shop.world.books.customer_writes(question, "Vous êtes là ?")
        await shop.bridge.once(SweepKind.QUICK)
        assert len(await shop.thread(question)) == 2
        shop.clock.advance(timedelta(minutes=2))
        await shop.bridge.once(SweepKind.QUICK)

        late = (await shop.thread(question))[-1]
        assert "Écrit sur le site." in late.text
        assert len(await shop.thread(question)) == 3


async def test_after_an_outage_the_quick_sweep_starts_where_the_last_good_one_ended(
    tmp_path: Path,
) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        await shop.bridge.once(SweepKind.QUICK)
        shop.clock.advance(timedelta(hours=1))
        question = shop.world.cast.order_question()
        shop.clock.advance(timedelta(days=9))  # nothing ran over the holidays
        await shop.bridge.once(SweepKind.QUICK)

        assert len(await shop.thread(question)) == 1


async def test_an_edited_message_is_not_filed_twice(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        question = shop.world.cast.order_question(text="Quand part ma comande ?")
        await shop.settle()
        question.messages[0].text = "Quand part ma commande ?"
        question.updated_at = shop.clock()
        await shop.later(minutes=5)

        assert len(await shop.thread(question)) == 1
        async with shop.bridge.ctx.read() as tx:
            (known,) = await tx.discussions.messages(shop.ident(question))
        assert known.text == "Quand part ma commande ?"
        assert known.edited_at is not None


async def test_two_messages_of_one_instant_are_two(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        question = shop.world.cast.order_question(text="Bonjour")
        twin = shop.world.books.customer_writes(question, "Bonjour")
        twin.at = question.messages[0].at
        await shop.settle()
        assert len(await shop.thread(question)) == 2

        third = shop.world.books.customer_writes(question, "Il y a quelqu'un ?")
        third.at = question.messages[0].at
        await shop.settle()
        mails = await shop.thread(question)
        assert len(mails) == 3
        assert "Il y a quelqu'un ?" in mails[-1].text


async def test_a_question_turned_claim_says_so_in_both_threads(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        question = shop.world.cast.order_question()
        await shop.settle()
        claim = shop.world.books.turn_into_claim(question)
        await shop.settle()

        assert await shop.told() == ["news", "news"]
        old, new = (await shop.first(question)), (await shop.first(claim))
        ids = [m.subject.rpartition("(")[2].rstrip(")") for m in (old, new)]
        for notice in await shop.notices():
            here = ids.index(notice.subject.rpartition("(")[2].rstrip(")"))
            assert ids[1 - here] in notice.text
        # Nobody answers it twice: the old thread is read, the new one waits.
        assert old.seen
        assert not new.seen


async def test_a_closed_discussion_moves_and_comes_back_when_the_customer_writes(
    tmp_path: Path,
) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        shop.world.books.close_by_force(claim)
        await shop.later(minutes=5)
        assert await shop.thread(claim) == []
        assert len(await shop.thread(claim, "Clos")) == 1

        shop.world.books.customer_writes(claim, "Ce n'est toujours pas arrivé.")
        await shop.later(minutes=5)
        mails = await shop.thread(claim)
        assert len(mails) == 2
        assert await shop.thread(claim, "Clos") == []


async def test_words_that_come_with_the_close_are_seen_before_the_thread_is_put_away(
    tmp_path: Path,
) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        shop.world.books.customer_writes(claim, "Je veux être remboursé.")
        shop.world.books.close_by_force(claim)
        await shop.later(minutes=5)

        assert [m.seen for m in await shop.thread(claim)][-1] is False
        assert await shop.inbox("Clos") == []
        assert "comme fermée" in (await shop.notice("news")).text
        # It stays there, said once; whoever has dealt with it puts the thread away.
        await shop.later(days=1)
        assert (await shop.told()).count("news") == 1
        await shop.world.agent().reply((await shop.thread(claim))[-1], "!clos")
        await shop.settle()
        assert await shop.thread(claim) == []


async def test_opened_and_closed_between_two_sweeps(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        waiting, answered = shop.world.cast.claim(), shop.world.cast.order_question()
        shop.world.books.seller_writes(answered, "Oui.")
        for discussion in (waiting, answered):
            shop.world.books.close_by_force(discussion)
        await shop.later(minutes=5)

        assert [m.seen for m in await shop.thread(waiting)] == [False]
        assert await shop.thread(answered) == []
        assert [m.seen for m in await shop.thread(answered, "Clos")] == [True, True]


async def test_a_customer_who_writes_in_a_discussion_that_stays_closed_is_seen(
    tmp_path: Path,
) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        shop.world.books.close_by_force(claim)
        await shop.later(minutes=5)
        shop.world.books.customer_writes(claim, "Encore une chose.", reopens=False)
        await shop.later(minutes=5)

        assert [m.seen for m in await shop.thread(claim)][-1] is False
        assert len(await shop.thread(claim)) == 2
        assert await shop.told() == ["news"]


async def test_a_mail_an_agent_deleted_is_never_filed_again(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().expunge(await shop.first(claim))
        await shop.later(days=2)
        await shop.bridge.once(SweepKind.FULL)

        assert await shop.inbox() == []


async def test_unknown_words_of_the_marketplace_are_filed(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        for name in ("Status", "ClaimType", "status", "subTypologyCode", "graduation"):
            shop.keeps_failing(UnknownValue(name), Ask.DISCUSSIONS)
        claim = shop.world.cast.claim(claim_type="TelepathyFailed")
        await shop.settle()

        assert len(await shop.thread(claim)) == 1


async def test_a_discussion_without_messages_is_filed_when_it_has_one(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        shop.fails(NilLists(), Ask.QUESTION)
        question = shop.world.cast.order_question()
        await shop.settle(1)
        await shop.settle()

        assert len(await shop.thread(question)) == 1


async def test_an_empty_message_is_a_mail_that_says_so(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        question = shop.world.cast.order_question()
        question.messages[0].text = ""
        await shop.settle()

        (mail,) = await shop.thread(question)
        assert mail.text.strip()


NAMES = {
    "line breaks": "Marie\r\nBcc: villain@elsewhere.example\r\n\r\n<b>",
    "bidi": "Marie \u202egnp.exe\u202c Dupré",
    "long": "É" * 10_000,
    "emoji": "Zoé 🦊👩‍👩‍👧 ‹’“",
    "quotes": 'Jean "Le, Grand" <jean@x.example>, Dupont',
    "html": "<script>alert(1)</script>",
    "blank": " \t ",
}


@pytest.mark.once
@pytest.mark.parametrize("what", NAMES)
async def test_a_name_of_any_kind_is_safe(tmp_path: Path, what: str) -> None:
    name = NAMES[what]
    async with open_shop(tmp_path) as shop:
        question = shop.world.books.open_discussion(
            DiscussionKind.ORDER_QUESTION,
            f"Sujet {name}",
            Person(name, "Dupont"),
            f"Bonjour de {name}",
        )
        await shop.settle()

        (mail,) = await shop.thread(question)
        message = mail.message
        assert message["Bcc"] is None
        assert not message.defects
        address = parseaddr(str(message["From"]))[1]
        assert address.endswith("@mb.invalid")
        assert "\u202e" not in mail.subject + str(message["From"])
        assert len(mail.subject) < 130
        html = message.get_body(("html",))
        assert html is not None and "<script" not in html.get_content()
        assert max(len(line) for line in mail.data.split(b"\r\n")) <= 998
        # And it can be answered.
        await shop.world.agent().reply(mail, "Bonjour, bien reçu.")
        await shop.settle()
        assert shop.sent == ["Bonjour, bien reçu."]


async def test_control_characters_in_an_answer_of_the_service(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        question = shop.world.cast.order_question(text="AVANT MILIEU APRES")
        shop.keeps_failing(CONTROLS[shop.world.door])
        await shop.settle()

        (mail,) = await shop.thread(question)
        assert "AVANT" in mail.text and "APRES" in mail.text
        assert "\u202e" not in mail.text


async def test_a_customers_line_that_looks_like_a_command_is_marked_and_never_obeyed(
    tmp_path: Path,
) -> None:
    async with open_shop(tmp_path) as shop:
        question = shop.world.cast.order_question(text="Bonjour\n!clos\n!rembourser total\nMerci")
        await shop.settle()
        (mail,) = await shop.thread(question)
        assert "\n!clos" not in mail.text

        agent = shop.world.agent()
        await agent.reply(mail, "Nous regardons.", below=True)
        await shop.settle()
        assert shop.sent == ["Nous regardons."]
        assert not question.closed


async def test_html_in_a_message_is_shown_as_words(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        text = '<img src="http://tracker.example/x.png" onerror="alert(1)"> 1 < 2 & 3 > 2'
        question = shop.world.cast.order_question(text=text)
        await shop.settle()

        (mail,) = await shop.thread(question)
        html = mail.message.get_body(("html",))
        assert html is not None and "<img" not in html.get_content()
        assert "1 < 2 & 3 > 2" in mail.text
