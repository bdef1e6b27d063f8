"""One bad discussion, mail, folder or server never stops the others."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mailbridge.bridge.sweep import SweepKind
from mailbridge.mail.port import MailboxError
from mailbridge.marketplace.port import MarketplaceError
from mailbridge.sandbox.faults import Hang, HtmlError, InternalError, NotAuthorized
from mailbridge.sandbox.octopia.rules import PatchKey, Rules
from mailbridge.sandbox.world import Door
from tests.doors import Ask, spoils
from tests.shop import open_shop

ANSWER = "Bonjour, votre colis arrive demain."


async def test_a_discussion_that_cannot_be_read_stops_no_other(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        bad, good = shop.world.cast.claim(), shop.world.cast.claim()
        shop.keeps_failing(spoils(shop.world.door, bad), Ask.DISCUSSIONS)
        await shop.settle()
        assert len(await shop.thread(good)) == 1

        shop.recovers()
        await shop.later(minutes=5)
        assert len(await shop.thread(bad)) == 1


@pytest.mark.soap  # the other door has one list
async def test_a_list_the_account_may_not_read_stops_no_other(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim, question = shop.world.cast.claim(), shop.world.cast.order_question()
        shop.keeps_failing(NotAuthorized(), Ask.CLAIMS)
        await shop.settle()
        assert len(await shop.thread(question)) == 1
        assert await shop.thread(claim) == []

        shop.recovers()
        await shop.later(minutes=5)
        assert len(await shop.thread(claim)) == 1


async def test_threads_go_without_order_card_where_orders_are_not_given(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        shop.keeps_failing(NotAuthorized(), Ask.ORDERS)
        claim = shop.world.cast.claim()
        await shop.settle()

        assert len(await shop.thread(claim)) == 1


@pytest.mark.parametrize("ask", [Ask.ORDERS, Ask.BESIDE])
async def test_what_is_beside_the_point_does_not_keep_the_words_back(
    tmp_path: Path, ask: Ask
) -> None:
    async with open_shop(tmp_path) as shop:
        shop.keeps_failing(InternalError(), ask)
        claim = shop.world.cast.claim()
        for _ in range(2):
            try:
                await shop.settle(1)
            except MarketplaceError:
                assert await shop.inbox() == []
            shop.clock.advance(timedelta(minutes=16))

        assert len(await shop.thread(claim)) == 1


async def test_the_marketplace_is_down_for_a_while(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        shop.keeps_failing(HtmlError(502))
        shop.world.books.customer_writes(claim, "Vous êtes là ?")
        with pytest.raises(MarketplaceError):
            await shop.bridge.once(SweepKind.QUICK)
        # Replies by mail go out all the same.
        await shop.world.agent().reply(await shop.first(claim), ANSWER)
        await shop.bridge.once(None)
        assert shop.sent == ([ANSWER] if shop.world.door is Door.CDISCOUNT else [])

        shop.recovers()
        await shop.later(hours=20)
        assert len(await shop.thread(claim)) == 2
        assert shop.sent == [ANSWER]


async def test_the_mailbox_is_down_for_a_while(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        imap = shop.world.mail.imap
        assert imap is not None
        await shop.settle()
        await imap.stop()
        claim = shop.world.cast.claim()
        with pytest.raises(MailboxError):
            await shop.bridge.once(SweepKind.QUICK)
        await imap.start()
        await shop.settle()

        assert len(await shop.thread(claim)) == 1


async def test_a_connection_cut_while_filing_files_nothing_twice(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        imap = shop.world.mail.imap
        assert imap is not None
        shop.world.cast.history(8, closed_share=0)
        real = shop.bridge.filing._append

        async def cut(session: object, batch: object) -> int:
            count = await real(session, batch)  # type: ignore[arg-type]
            imap.cut()
            return count

        shop.bridge.filing._append = cut  # type: ignore[method-assign]
        with pytest.raises(MailboxError):
            await shop.settle(1)
        shop.bridge.filing._append = real  # type: ignore[method-assign]
        await shop.settle()

        ids = [m.message["Message-ID"] for m in await shop.inbox()]
        assert (
            len(ids) == len(set(ids)) == sum(len(d.messages) for d in shop.world.books.discussions)
        )


async def test_a_mail_that_cannot_be_put_into_words_is_set_aside(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        bad = shop.world.cast.claim()
        await shop.bridge.sweep.run(SweepKind.FULL)
        async with shop.bridge.ctx.write() as tx:
            (message,) = await tx.discussions.messages(shop.ident(bad))
            kind, message.author_kind = message.author_kind, "ghost"
        good = shop.world.cast.order_question()
        await shop.settle()
        assert len(await shop.thread(good)) == 1
        for _ in range(8):
            await shop.later(hours=6)

        status = await shop.operations.status()
        (aside,) = status["accounts"][0]["set_aside"]
        assert aside["error"]
        assert await shop.thread(bad) == []
        # Mended, it can be tried again.
        async with shop.bridge.ctx.write() as tx:
            (message,) = await tx.discussions.messages(shop.ident(bad))
            message.author_kind = kind
        assert (await shop.operations.retry())["retried"] == 1
        await shop.settle()
        assert len(await shop.thread(bad)) == 1


async def test_a_reply_to_a_thread_the_journal_does_not_know_stops_nobody(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        ctx = shop.bridge.ctx
        await shop.world.agent().write([ctx.addresses.of("cd-zzzzz")], "?", "Bonjour")
        await shop.world.agent().reply(await shop.first(claim), ANSWER)
        await shop.settle()

        assert shop.sent == [ANSWER]


async def test_a_slow_marketplace_is_waited_for(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        shop.fails(Hang(1.0), Ask.CLAIMS)
        claim = shop.world.cast.claim()
        await shop.settle()

        assert len(await shop.thread(claim)) == 1


async def test_a_narrowed_answer_closes_nothing(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        question = shop.world.cast.offer_question()
        await shop.settle()
        # The marketplace suddenly shows nothing: that is no news about anything.
        question.listed_at = shop.clock() + timedelta(days=30)
        await shop.later(days=2)
        await shop.bridge.once(SweepKind.FULL)

        assert len(await shop.thread(question)) == 1
        assert (await shop.operations.show(str(question.id)))["status"] == "open"


@pytest.mark.api
async def test_what_was_learnt_about_the_service_outlives_a_restart(tmp_path: Path) -> None:
    rules = Rules(patch_key=PatchKey.OP)
    async with open_shop(tmp_path, rules=rules) as shop:
        discussion = shop.world.cast.claim()
        shop.world.books.seller_writes(discussion, "Nous vous avons répondu.")
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), "!clos")
        await shop.settle()
        assert discussion.closed
        learnt = dict(shop.bridge.ctx.marketplace.learnt)
        assert learnt
        await shop.bridge.keep_house()
        await shop.restart()
        assert dict(shop.bridge.ctx.marketplace.learnt) == learnt
