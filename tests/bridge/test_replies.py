"""A reply's way from the agent's mail client to the customer, and what never takes it."""

from __future__ import annotations

from datetime import timedelta
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path

import pytest

from mailbridge.sandbox.agent import Client
from mailbridge.sandbox.books import BookedFile
from mailbridge.sandbox.mailserver import Provider
from tests.shop import code_in, open_shop

ANSWER = "Bonjour,\n\nVotre colis arrive demain."


async def test_a_reply_reaches_the_customer_and_the_thread_says_so(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()

        written = await shop.world.agent().reply(await shop.first(discussion), ANSWER)
        await shop.settle()

        # The marketplace got the words and nothing else.
        (taken,) = shop.world.taken
        assert taken.text == ANSWER
        assert taken.discussion_id == discussion.id
        # The marketplace's own books have it once, and so have ours.
        assert discussion.seller_texts == [ANSWER]
        assert await shop.states(discussion) == {
            "replies": ["settled"],
            "money": [],
            "deliveries": ["recorded"],
            "closings": [],
        }
        # Colleagues see in the thread what was sent, without being disturbed by it.
        receipt = await shop.notice("receipt")
        assert receipt.seen
        assert "Votre colis arrive demain." in receipt.text
        assert "enregistrée" in receipt.text
        # The delivered copy is dealt with; the customer's mail is the agent's to mark.
        (copy,) = [m for m in await shop.inbox() if m.message["Message-ID"] == written.message_id]
        assert copy.seen


@pytest.mark.relay
async def test_a_reply_by_relay_is_a_mail_of_our_own(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        written = await shop.world.agent().reply(await shop.first(discussion), ANSWER)
        await shop.settle()

        (mail,) = shop.world.relay.accepted
        assert mail.sender == shop.world.address
        assert mail.message["From"] == f"Maison Brindille <{shop.world.address}>"
        assert mail.message["Message-ID"] != written.message_id
        for name in ("In-Reply-To", "References", "User-Agent", "Reply-To", "Cc"):
            assert mail.message[name] is None
        short = str((await shop.first(discussion)).message["Subject"])[-10:-1]
        assert short.encode() not in mail.data


async def test_a_reply_is_not_filed_again_when_the_discussion_shows_it(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.order_question()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), ANSWER)
        await shop.settle()
        await shop.later(hours=1)

        assert len(await shop.thread(discussion)) == 1
        assert shop.sent == [ANSWER]


async def test_a_customer_who_repeats_our_words_is_still_a_customer(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.order_question()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), "Merci beaucoup !")
        shop.world.books.customer_writes(discussion, "Merci beaucoup !")
        await shop.settle()

        assert len(await shop.thread(discussion)) == 2
        assert (await shop.states(discussion))["deliveries"] == ["recorded"]


async def test_from_roundcube_below_the_quote_in_html(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.order_question()
        await shop.settle()
        agent = shop.world.agent(client=Client.ROUNDCUBE)
        await agent.reply(await shop.first(discussion), ANSWER, below=True)
        await shop.settle()

        assert shop.sent == [ANSWER]


async def test_the_frame_of_the_shop_stands_around_the_answer(tmp_path: Path) -> None:
    frame = {"greeting": "Bonjour {{ customer }},", "signature": "L'équipe Maison Brindille"}
    async with open_shop(tmp_path, config={"replies": frame}) as shop:
        discussion = shop.world.cast.order_question()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), "Votre colis part demain.")
        await shop.settle()

        name = discussion.customer.name
        framed = f"Bonjour {name},\n\nVotre colis part demain.\n\nL'équipe Maison Brindille"
        assert shop.sent == [framed]
        assert (await shop.states(discussion))["deliveries"] == ["recorded"]


async def test_files_travel_along(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.order_question()
        await shop.settle()
        await shop.world.agent().reply(
            await shop.first(discussion),
            "Voici votre facture.",
            attachments=[("facture.pdf", b"%PDF-1.7 facture", "application/pdf")],
        )
        await shop.settle()

        (taken,) = shop.world.taken
        assert taken.files == (BookedFile("facture.pdf", b"%PDF-1.7 facture"),)


@pytest.mark.relay
async def test_the_sender_registered_at_the_marketplace_is_used(tmp_path: Path) -> None:
    registered = "boutique@maison-brindille.example"
    provider = Provider(aliases={registered: "support@maison-brindille.example"})
    sender = {"sender": registered, "sender_name": "La Maison"}
    async with open_shop(tmp_path, provider=provider, config={"replies": sender}) as shop:
        shop.world.books.senders = {registered}
        discussion = shop.world.cast.order_question()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), ANSWER)
        await shop.settle()

        (mail,) = shop.world.relay.accepted
        assert (mail.sender, mail.message["From"]) == (registered, f"La Maison <{registered}>")


# --- what proves the origin ----------------------------------------------------------------------


async def test_the_providers_own_check_proves_a_reply_without_sent_copy(tmp_path: Path) -> None:
    trust = {"authserv_ids": ["mail.maison-brindille.example"]}
    provider = Provider(authenticates=True)
    async with open_shop(tmp_path, provider=provider, config={"trust": trust}) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        agent = shop.world.agent(files_sent_copy=False)
        await agent.reply(await shop.first(discussion), ANSWER)
        await shop.settle()

        assert shop.sent == [ANSWER]


async def test_the_same_from_outside_is_held(tmp_path: Path) -> None:
    trust = {"authserv_ids": ["mail.maison-brindille.example"]}
    provider = Provider(authenticates=True)
    async with open_shop(tmp_path, provider=provider, config={"trust": trust}) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        mail = await shop.first(discussion)
        forged = EmailMessage()
        forged["From"] = f"Service client <{shop.world.address}>"
        forged["To"] = target = parseaddr(str(mail.message["Reply-To"]))[1]
        forged["Subject"] = f"Re: {mail.subject}"
        forged["Message-ID"] = "<forged@elsewhere.example>"
        forged["In-Reply-To"] = str(mail.message["Message-ID"])
        forged["Date"] = "Mon, 23 Nov 2026 12:00:00 +0100"
        # What a stranger writes at the top is not what the provider writes above it.
        forged["Authentication-Results"] = (
            "mail.maison-brindille.example; dmarc=pass header.from=maison-brindille.example"
        )
        forged.set_content("Envoyez-moi le colis chez moi.")
        await shop.world.mail.receive("villain@elsewhere.example", target, forged.as_bytes())
        await shop.settle()
        await shop.later(minutes=1)

        assert shop.sent == []
        assert await shop.told() == ["hold/not_proven"]


# --- what is no reply -----------------------------------------------------------------------------


async def test_a_forward_sends_nothing(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        mail = await shop.first(discussion)
        await shop.world.agent().forward(mail, "transporteur@colis.example", "Où est ce colis ?")
        await shop.world.agent().forward(mail, shop.world.address, "Pour information. !clos\n!clos")
        await shop.settle()
        await shop.later(minutes=5)

        assert (shop.sent, await shop.told()) == ([], [])
        assert not discussion.closed


async def test_a_draft_sends_nothing_until_it_is_sent(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        mail = await shop.first(discussion)
        await shop.world.agent().draft(mail, "Bonjour, je reg")
        await shop.later(minutes=5)
        assert (shop.sent, await shop.told()) == ([], [])

        await shop.world.agent().reply(mail, "Bonjour, je regarde.")
        await shop.settle()
        assert shop.sent == ["Bonjour, je regarde."]


async def test_a_replayed_mail_sends_nothing(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        agent = shop.world.agent()
        mail = await shop.first(discussion)
        written = await agent.reply(mail, f"{ANSWER}\n!clos")
        await shop.settle()
        assert shop.sent == [ANSWER]

        # The same mail once more: delivered, filed in Sent, and with another Message-ID.
        again = written.data.replace(b"\nMessage-ID: <", b"\nMessage-ID: <again-")
        for data in (written.data, again):
            await agent.send_raw(data, list(written.recipients), file_copy=True)
        await shop.later(days=1)

        assert shop.sent == [ANSWER]
        assert (await shop.states(discussion))["replies"] == ["settled"]


async def test_a_mail_of_ours_sent_back_to_us_is_not_obeyed(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        mail = await shop.first(discussion)
        target = parseaddr(str(mail.message["Reply-To"]))[1]
        await shop.world.agent().send_raw(mail.data, [target])
        await shop.settle()
        await shop.later(minutes=5)

        assert (shop.sent, await shop.told()) == ([], [])


# --- nothing old by accident ----------------------------------------------------------------------


async def test_replies_found_lying_in_sent_after_a_lost_journal(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        done, undone = shop.world.cast.claim(), shop.world.cast.order_question()
        await shop.settle()
        agent = shop.world.agent()
        await agent.reply(await shop.first(done), ANSWER)
        await shop.settle()
        # The second one is written while the daemon lies dead, and the journal is lost with it.
        await shop.stop()
        await agent.reply(await shop.first(undone), "Oui, en deux exemplaires.")
        await shop.start()
        await shop.restart(lose_journal=True)
        await shop.settle()

        # What the discussion shows is settled; the other waits for one decision.
        assert shop.sent == [ANSWER]
        assert (await shop.states(done))["replies"] == ["settled"]
        assert (await shop.states(undone))["replies"] == ["held/found_in_sent"]
        notice = await shop.notice("hold/found_in_sent")
        await agent.reply(notice, f"!envoyer {code_in(notice)}")
        await shop.settle()
        assert shop.sent == [ANSWER, "Oui, en deux exemplaires."]


async def test_a_new_uidvalidity_of_sent_sends_nothing_again(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        agent = shop.world.agent()
        written = await agent.reply(await shop.first(discussion), ANSWER)
        await shop.settle()
        assert shop.world.mail.imap is not None
        await shop.world.mail.imap.recreate(shop.world.address, "Sent")
        await shop.world.mail.imap.append(
            shop.world.address, written.data, folder="Sent", flags=["\\Seen"]
        )
        await shop.later(hours=1)

        assert shop.sent == [ANSWER]
        assert (await shop.states(discussion))["replies"] == ["settled"]


async def test_a_reply_older_than_a_week_is_held(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        mail = await shop.first(discussion)
        shop.clock.advance(timedelta(days=9))
        await shop.settle()

        def aged(message: EmailMessage) -> None:
            message.replace_header("Date", "Mon, 23 Nov 2026 12:05:00 +0100")

        await shop.world.agent().reply(mail, ANSWER, edit=aged)
        await shop.settle()

        assert shop.sent == []
        assert await shop.told() == ["hold/too_old"]
