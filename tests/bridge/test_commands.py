"""Commands in replies, one by one, and what they do together with a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailbridge.sandbox.books import BookedDiscussion
from tests.doors import Ask
from tests.shop import Shop, open_shop

ANSWER = "Bonjour, votre colis arrive demain."


async def claim(shop: Shop) -> BookedDiscussion:
    discussion = shop.world.cast.claim()
    await shop.settle()
    return discussion


@pytest.mark.once
@pytest.mark.parametrize("line", ["!clos", "!résolu", "#solved", "! clos", "*!clos*", "!CLOS."])
async def test_close_in_many_forms(tmp_path: Path, line: str) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await claim(shop)
        await shop.world.agent().reply(await shop.first(discussion), f"{ANSWER}\n\n{line}")
        await shop.settle()

        assert shop.sent == [ANSWER]
        assert discussion.closed


@pytest.mark.once
async def test_a_word_the_shop_added(tmp_path: Path) -> None:
    words = {"commands": {"close": ["termine"]}}
    async with open_shop(tmp_path, config={"replies": words}) as shop:
        discussion = await claim(shop)
        await shop.world.agent().reply(await shop.first(discussion), f"{ANSWER}\n!terminé")
        await shop.settle()

        assert discussion.closed


@pytest.mark.once
async def test_a_note_stays_inside(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await claim(shop)
        note = "!note\nClient pénible, le rappeler lundi."
        await shop.world.agent().reply(await shop.first(discussion), note)
        await shop.settle()

        assert (shop.sent, discussion.seller_texts) == ([], [])
        receipt = await shop.notice("receipt")
        assert "Client pénible" in receipt.text and "Note gardée" in receipt.text


async def test_a_note_may_close(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await claim(shop)
        shop.world.books.seller_writes(discussion, "Répondu sur le site.")
        await shop.world.agent().reply(await shop.first(discussion), "!note\n!clos\nRéglé au tél.")
        await shop.settle()

        assert shop.sent == []
        assert discussion.closed


async def test_reopen_undoes_a_close_that_is_not_done(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await claim(shop)
        order = shop.world.books.orders.get(discussion.order_number)
        assert order is not None
        order.request_cancellation()
        agent = shop.world.agent()
        await agent.reply(await shop.first(discussion), f"{ANSWER}\n!clos")
        await shop.settle()
        await agent.reply(await shop.first(discussion), "!rouvrir")
        await shop.settle()
        for line in order.lines:
            line.state = "ShippedBySeller"
        await shop.later(days=1)

        assert not discussion.closed
        assert (await shop.states(discussion))["closings"] == ["withdrawn"]
        assert "Fermeture annulée" in "".join(m.text for m in await shop.notices())


@pytest.mark.api
async def test_reopen_where_the_marketplace_can(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await claim(shop)
        agent = shop.world.agent()
        await agent.reply(await shop.first(discussion), f"{ANSWER}\n!clos")
        await shop.settle()
        assert discussion.closed
        (mail,) = await shop.thread(discussion, "Clos")
        await agent.reply(mail, "!rouvrir")
        await shop.settle()

        assert not discussion.closed
        assert len(await shop.thread(discussion)) == 1
        assert await shop.inbox("Clos") == []
        assert any("rouverte" in notice.text for notice in await shop.notices())


@pytest.mark.soap
async def test_reopen_where_the_marketplace_cannot(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await claim(shop)
        agent = shop.world.agent()
        await agent.reply(await shop.first(discussion), f"{ANSWER}\n!clos")
        await shop.settle()
        assert discussion.closed
        (mail,) = await shop.thread(discussion, "Clos")
        await agent.reply(mail, "!rouvrir")
        await shop.settle()

        # The thread is back where people work, and they know why it is still closed there.
        assert sorted(await shop.told()) == ["receipt", "trouble/cannot_reopen"]
        assert len(await shop.thread(discussion)) == 1
        assert await shop.inbox("Clos") == []


async def test_a_reply_in_a_closed_thread_still_reaches_the_customer(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await claim(shop)
        agent = shop.world.agent()
        await agent.reply(await shop.first(discussion), f"{ANSWER}\n!clos")
        await shop.settle()
        (mail,) = await shop.thread(discussion, "Clos")
        await shop.later(minutes=20)
        await agent.reply(mail, "PS : bonne réception !")
        await shop.settle()

        assert shop.sent == [ANSWER, "PS : bonne réception !"]


@pytest.mark.once
async def test_cancel_with_nothing_to_cancel_says_so(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await claim(shop)
        await shop.world.agent().reply(await shop.first(discussion), "!annuler")
        await shop.settle()

        assert await shop.told() == ["trouble/nothing_held"]


@pytest.mark.once
async def test_send_with_nothing_held_says_so(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await claim(shop)
        await shop.world.agent().reply(await shop.first(discussion), "!envoyer")
        await shop.settle()

        assert await shop.told() == ["trouble/nothing_held"]
        assert shop.sent == []


async def test_resend_of_what_is_recorded_says_so(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await claim(shop)
        agent = shop.world.agent()
        await agent.reply(await shop.first(discussion), ANSWER)
        await shop.settle()
        await agent.reply(await shop.notice("receipt"), "!renvoyer")
        await shop.settle()

        assert "trouble/nothing_to_resend" in await shop.told()
        assert shop.sent == [ANSWER]


@pytest.mark.once
async def test_help_is_a_mail_in_the_thread(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await claim(shop)
        await shop.world.agent().reply(await shop.first(discussion), "!aide")
        await shop.settle()

        page = await shop.notice("help")
        for word in ("!clos", "!rouvrir", "!note", "!envoyer", "!renvoyer", "!annuler", "!aide"):
            assert word in page.text
        assert shop.sent == []
        # An answer to the help page that quotes it all obeys none of it.
        agent = shop.world.agent()
        await agent.reply(page, "Bonjour, nous regardons.", below=True)
        await shop.settle()
        assert shop.sent == ["Bonjour, nous regardons."]
        assert not discussion.closed


@pytest.mark.once
async def test_help_beside_a_text_sends_the_text(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await claim(shop)
        await shop.world.agent().reply(await shop.first(discussion), f"!aide\n\n{ANSWER}")
        await shop.settle()

        assert shop.sent == [ANSWER]
        assert "help" in await shop.told()


@pytest.mark.once
async def test_repeated_commands_are_one(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await claim(shop)
        await shop.world.agent().reply(await shop.first(discussion), f"!clos\n{ANSWER}\n!résolu")
        await shop.settle()

        assert shop.sent == [ANSWER]
        assert shop.asked(Ask.CLOSE) == 1


@pytest.mark.once
async def test_a_command_in_the_html_part_only_is_held(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await claim(shop)

        def hidden(message: object) -> None:
            payload = message.get_body(("html",))  # type: ignore[attr-defined]
            payload.set_content("<p>Bonjour</p><p>!clos</p>", subtype="html")

        mail = await shop.first(discussion)
        await shop.world.agent().reply(mail, "Bonjour", quote=False, html=True, edit=hidden)
        await shop.settle()

        assert shop.sent == []
        assert await shop.told() == ["hold/parts_differ"]


@pytest.mark.once
async def test_a_customers_own_line_quoted_without_marks_is_not_obeyed(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim(text="Bonjour,\nvoici ma demande :\n!clos\nMerci")
        await shop.settle()
        mail = await shop.first(discussion)
        await shop.world.agent().reply(mail, "Bonjour, d'accord.\n!clos", quote=False)
        await shop.settle()

        assert shop.sent == []
        assert await shop.told() == ["hold/echoed_command"]


@pytest.mark.once
async def test_english_staff_read_english(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config={"language": "en"}) as shop:
        discussion = await claim(shop)
        await shop.world.agent().reply(await shop.first(discussion), "Hello\n!closs")
        await shop.settle()

        notice = await shop.notice("hold/near_command")
        assert "Réponse" not in notice.text
        assert "!closs" in notice.text
