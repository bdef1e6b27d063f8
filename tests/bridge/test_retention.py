"""Words and names leave the journal some time after a discussion closed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailbridge.bridge.sweep import SweepKind
from tests.shop import open_shop

ANSWER = "Bonjour Mme Zyxwvut, votre colis arrive demain."


async def test_words_are_forgotten_and_nothing_is_filed_or_sent_again(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim(text="Je suis Zyxwvut, 3 rue des Lilas.")
        await shop.settle()
        await shop.world.agent().reply(await shop.first(claim), f"{ANSWER}\n!clos")
        await shop.settle()
        assert claim.closed
        await shop.later(days=179)
        await shop.bridge.keep_house()
        kept = [path.read_bytes() for path in tmp_path.glob("journal.sqlite3*")]
        assert any(b"Zyxwvut" in data for data in kept)

        await shop.later(days=3)
        await shop.bridge.keep_house()
        await shop.stop()
        for path in tmp_path.glob("journal.sqlite3*"):
            data = path.read_bytes()
            assert b"Zyxwvut" not in data, path.name
            assert claim.customer.last_name.encode() not in data, path.name
        await shop.start()
        before = len(await shop.inbox("Clos"))
        claim.updated_at = shop.clock()
        await shop.settle()
        await shop.bridge.once(SweepKind.WIDE)

        assert len(await shop.inbox("Clos")) == before
        assert await shop.inbox() == []
        assert shop.sent == [ANSWER]


async def test_a_customer_who_writes_after_that_is_heard(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        shop.world.books.close_by_force(claim)
        await shop.settle()
        await shop.later(days=182)
        await shop.bridge.keep_house()
        shop.world.books.customer_writes(claim, "Bonjour, me revoilà.")
        await shop.settle()

        newest = (await shop.thread(claim))[-1]
        assert "me revoilà" in newest.text
        assert not newest.seen


@pytest.mark.parametrize("edited", [False, True])
async def test_what_is_said_in_a_forgotten_discussion_is_forgotten_in_its_turn(
    tmp_path: Path, edited: bool
) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim(text="Où est mon colis ?")
        await shop.settle()
        shop.world.books.close_by_force(claim)
        await shop.settle()
        await shop.later(days=182)
        await shop.bridge.keep_house()
        if edited:
            claim.messages[0].text = "Où est le colis de Zyxwvut ?"
            claim.updated_at = shop.clock()
        else:
            shop.world.books.customer_writes(claim, "Ici Zyxwvut.", reopens=False)
        await shop.settle()
        # An edit is no new message; a new message is filed.
        filed = await shop.thread(claim, "Clos") + await shop.thread(claim)
        assert len(filed) == (1 if edited else 2)

        for days, kept in ((179, True), (2, False)):
            await shop.later(days=days)
            await shop.bridge.keep_house()
            async with shop.bridge.ctx.read() as tx:
                texts = [m.text for m in await tx.discussions.messages(shop.ident(claim))]
            assert any("Zyxwvut" in text for text in texts) is kept
