"""Words and names leave the journal some time after a discussion closed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailbridge.bridge.sweep import SweepKind
from tests.shop import Shop, open_shop

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


@pytest.mark.relay
async def test_a_thread_of_ours_that_nobody_answered_is_forgotten_too(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        order = shop.world.cast.order()
        await shop.world.agent().write(
            [f"support+mb-order-{order.number.lower()}@maison-brindille.example"], "Colis", ANSWER
        )
        shop.handover.refused("no such customer")
        await shop.settle()
        assert not shop.world.books.discussions
        assert any(ANSWER in m.text for m in await shop.notices())

        for days, kept in ((179, True), (3, False)):
            await shop.later(days=days)
            await shop.bridge.keep_house()
            assert (b"Zyxwvut" in await written_down(shop, tmp_path)) is kept
        data = await written_down(shop, tmp_path)
        assert order.customer.last_name.encode() not in data
        assert order.lines[0].name.encode() not in data


@pytest.mark.once
async def test_what_staff_write_in_a_forgotten_thread_is_kept_and_forgotten_in_its_turn(
    tmp_path: Path,
) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        shop.world.books.close_by_force(claim)
        await shop.settle()
        await shop.later(days=179)
        # Held until somebody says so: its words must not go before that.
        agent = shop.world.agent(files_sent_copy=False)
        (mail,) = await shop.thread(claim, "Clos")
        await agent.reply(mail, ANSWER)
        await shop.settle()
        await shop.later(minutes=1)
        assert (await shop.states(claim))["replies"] == ["held/not_proven"]

        for days, kept in ((2, True), (177, True), (2, False)):
            await shop.later(days=days)
            await shop.bridge.keep_house()
            assert (b"Zyxwvut" in await written_down(shop, tmp_path)) is kept

        await agent.reply(mail, f"Encore une fois : {ANSWER}")
        await shop.settle()
        await shop.later(minutes=1)
        for days, kept in ((179, True), (2, False)):
            await shop.later(days=days)
            await shop.bridge.keep_house()
            assert (b"Zyxwvut" in await written_down(shop, tmp_path)) is kept


async def written_down(shop: Shop, home: Path) -> bytes:
    """The whole journal as it lies on the disk once its daemon has stopped."""
    await shop.stop()
    data = b"".join(path.read_bytes() for path in home.glob("journal.sqlite3*"))
    await shop.start()
    return data
