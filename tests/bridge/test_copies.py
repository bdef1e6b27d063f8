"""The copies of one reply: what the client filed in Sent and what came back to the shared inbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailbridge.sandbox.agent import SeenMail
from tests.shop import Shop, open_shop

ANSWER = "Bonjour, votre colis arrive demain."

pytestmark = pytest.mark.once


async def delivered(shop: Shop, text: str = ANSWER) -> list[SeenMail]:
    """Copies of replies with this text in the inbox."""
    return [
        m
        for m in await shop.inbox()
        if m.text.startswith(text) and not m.message["X-Mailbridge-Reference"]
    ]


async def test_of_a_held_reply_the_notice_is_the_news_and_its_copy_is_read(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        agent = shop.world.agent(files_sent_copy=False)
        await agent.reply(await shop.first(discussion), ANSWER)
        await shop.settle()
        # Who wrote it may still be proven by a Sent copy: nothing is decided yet.
        assert [m.seen for m in await delivered(shop)] == [False]

        await shop.later(minutes=1)
        assert not (await shop.notice("hold/not_proven")).seen
        assert [m.seen for m in await delivered(shop)] == [True]


async def test_a_copy_that_comes_after_its_reply_was_sent_is_read_too(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        written = await shop.world.agent().reply(await shop.first(discussion), ANSWER)
        await shop.settle()
        assert shop.sent == [ANSWER]
        assert [m.seen for m in await delivered(shop)] == [True]

        # By a list or a second route, minutes later.
        assert shop.world.mail.imap is not None
        await shop.world.mail.imap.append(shop.world.address, written.data)
        await shop.later(minutes=5)
        assert [m.seen for m in await delivered(shop)] == [True, True]
        assert shop.sent == [ANSWER]


async def test_who_marks_a_copy_unread_again_is_left_to_it(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        agent = shop.world.agent()
        await agent.reply(await shop.first(discussion), ANSWER)
        await shop.settle()
        (copy,) = await delivered(shop)
        assert copy.seen
        await agent.mark(copy, on=False)
        await shop.later(minutes=5)
        assert [m.seen for m in await delivered(shop)] == [False]
