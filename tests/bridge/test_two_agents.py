"""Two people answer the same customer."""

from __future__ import annotations

from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.shop import code_in, open_shop

pytestmark = pytest.mark.once

PAUL, LEA = "paul@maison-brindille.example", "lea@maison-brindille.example"
ZOE = "zoe@maison-brindille.example"
STAFF: dict[str, Any] = {
    "staff": ({"address": PAUL, "name": "Paul"}, {"address": LEA, "name": "Léa"}),
    "replies": {"sender": "support@maison-brindille.example"},
}


def by(address: str) -> Any:
    """The mail is written from this identity."""

    def edit(message: EmailMessage) -> None:
        message.replace_header("From", f"<{address}>")

    return edit


async def test_a_second_answer_to_the_same_mail_is_held(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=STAFF) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        mail = await shop.first(discussion)
        agent = shop.world.agent()
        await agent.reply(mail, "Bonjour, nous vous remboursons.", edit=by(PAUL))
        await shop.later(minutes=3)
        await agent.reply(mail, "Bonjour, nous vous renvoyons le produit.", edit=by(LEA))
        await shop.settle()

        assert shop.sent == ["Bonjour, nous vous remboursons."]
        notice = await shop.notice("hold/colleague_answered")
        assert "Paul" in notice.text and "12:0" in notice.text
        # She has read his answer now, and means it all the same.
        await agent.reply(notice, "!envoyer", edit=by(LEA))
        await shop.settle()
        assert shop.sent[1:] == ["Bonjour, nous vous renvoyons le produit."]


async def test_both_at_the_same_moment(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=STAFF) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        mail = await shop.first(discussion)
        agent = shop.world.agent()
        await agent.reply(mail, "Bonjour, nous vous remboursons.", edit=by(PAUL))
        await agent.reply(mail, "Bonjour, nous vous renvoyons le produit.", edit=by(LEA))
        await shop.settle()

        assert len(shop.sent) == 1
        assert "hold/colleague_answered" in await shop.told()


async def test_an_answer_to_a_colleagues_answer_is_fine(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=STAFF) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        agent = shop.world.agent()
        written = await agent.reply(
            await shop.first(discussion), "Un instant, merci.", edit=by(PAUL)
        )
        await shop.later(minutes=3)
        (copy,) = [m for m in await shop.inbox() if m.message["Message-ID"] == written.message_id]

        def in_thread(message: EmailMessage) -> None:
            # « Répondre à tous » on a colleague's mail keeps its recipient.
            message.replace_header("To", str(copy.message["To"]))
            by(LEA)(message)

        await agent.reply(copy, "Nous avons trouvé : il est à Lyon.", edit=in_thread)
        await shop.settle()

        assert shop.sent == ["Un instant, merci.", "Nous avons trouvé : il est à Lyon."]


async def test_an_answer_to_the_receipt_is_fine(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=STAFF) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        agent = shop.world.agent()
        await agent.reply(await shop.first(discussion), "Un instant, merci.", edit=by(PAUL))
        await shop.settle()
        await agent.reply(await shop.notice("receipt"), "Il est à Lyon.", edit=by(LEA))
        await shop.settle()

        assert shop.sent == ["Un instant, merci.", "Il est à Lyon."]


async def test_a_newer_question_may_be_answered_by_anybody(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=STAFF) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        agent = shop.world.agent()
        await agent.reply(await shop.first(discussion), "Un instant, merci.", edit=by(PAUL))
        await shop.later(minutes=5)
        shop.world.books.customer_writes(discussion, "Et le chargeur ?")
        await shop.later(minutes=5)
        newest = (await shop.thread(discussion))[-1]
        await agent.reply(newest, "Il est dans le carton.", edit=by(LEA))
        await shop.settle()

        assert shop.sent == ["Un instant, merci.", "Il est dans le carton."]


async def test_who_answered_an_earlier_question_is_not_named_for_the_newer_one(
    tmp_path: Path,
) -> None:
    staff = (*STAFF["staff"], {"address": ZOE, "name": "Zoé"})
    async with open_shop(tmp_path, config={**STAFF, "staff": staff}) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        agent = shop.world.agent()
        await agent.reply(await shop.first(discussion), "Un instant, merci.", edit=by(PAUL))
        await shop.later(minutes=5)
        shop.world.books.customer_writes(discussion, "Et le chargeur ?")
        await shop.later(minutes=5)
        newest = (await shop.thread(discussion))[-1]
        await agent.reply(newest, "Il est dans le carton.", edit=by(LEA))
        await shop.later(minutes=3)
        await agent.reply(newest, "Nous vous en envoyons un.", edit=by(ZOE))
        await shop.settle()

        assert shop.sent == ["Un instant, merci.", "Il est dans le carton."]
        notice = await shop.notice("hold/colleague_answered")
        assert "Léa" in notice.text
        assert "Paul a" not in notice.text


async def test_a_client_whose_clock_is_slow_has_answered_all_the_same(tmp_path: Path) -> None:
    def slow(message: EmailMessage) -> None:
        by(PAUL)(message)
        message.replace_header("Date", format_datetime(shop.clock() - timedelta(days=1)))

    async with open_shop(tmp_path, config=STAFF) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        mail = await shop.first(discussion)
        agent = shop.world.agent()
        await agent.reply(mail, "Bonjour, nous vous remboursons.", edit=slow)
        await shop.later(minutes=3)
        await agent.reply(mail, "Bonjour, nous vous renvoyons le produit.", edit=by(LEA))
        await shop.settle()

        assert shop.sent == ["Bonjour, nous vous remboursons."]
        assert "Paul" in (await shop.notice("hold/colleague_answered")).text


async def test_a_note_by_a_colleague_stops_nobody(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=STAFF) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        mail = await shop.first(discussion)
        agent = shop.world.agent()
        await agent.reply(mail, "!note\nJe m'en occupe demain.", edit=by(PAUL))
        await shop.settle()
        await agent.reply(mail, "Bonjour, c'est fait.", edit=by(LEA))
        await shop.settle()

        assert shop.sent == ["Bonjour, c'est fait."]


async def test_a_held_answer_that_was_never_sent_stops_nobody(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=STAFF) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        mail = await shop.first(discussion)
        unproven = shop.world.agent(files_sent_copy=False)
        await unproven.reply(mail, "Bonjour, remboursé.", edit=by(PAUL))
        await shop.settle()
        await shop.later(minutes=1)
        await shop.world.agent().reply(mail, "Bonjour, renvoyé.", edit=by(LEA))
        await shop.settle()
        assert shop.sent == ["Bonjour, renvoyé."]

        # Released later, his is asked about again: hers has answered by now.
        notice = await shop.notice("hold/not_proven")
        await unproven.reply(notice, f"!envoyer {code_in(notice)}", edit=by(PAUL))
        await shop.settle()
        assert shop.sent == ["Bonjour, renvoyé."]
        again = await shop.notice("hold/colleague_answered")
        assert "Léa" in again.text
        await unproven.reply(again, f"!envoyer {code_in(again)}", edit=by(PAUL))
        await shop.settle()
        assert shop.sent == ["Bonjour, renvoyé.", "Bonjour, remboursé."]
