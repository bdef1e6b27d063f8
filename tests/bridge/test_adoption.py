"""A lost journal, a lost key: the mailbox remembers."""

from __future__ import annotations

import shutil
from pathlib import Path

from mailbridge.bridge.sweep import SweepKind
from tests.shop import Shop, open_shop

ANSWER = "Bonjour, votre colis arrive demain."


async def a_shop_with_a_past(shop: Shop) -> None:
    """Three threads: one waiting, one answered, one answered and closed."""
    for _ in range(3):
        shop.world.cast.claim()
    await shop.settle()
    _, answered, closed = shop.world.books.discussions
    agent = shop.world.agent()
    await agent.reply(await shop.first(answered), ANSWER)
    await agent.reply(await shop.first(closed), f"{ANSWER}\n!clos")
    await shop.settle()
    assert closed.closed


async def everything(shop: Shop) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for folder in ("INBOX", "Clos", "Sent"):
        found += [(folder, str(mail.message["Message-ID"])) for mail in await shop.inbox(folder)]
    return sorted(found)


async def test_after_a_lost_journal_nothing_is_filed_or_sent_twice(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await a_shop_with_a_past(shop)
        before = await everything(shop)
        await shop.restart(lose_journal=True)
        await shop.settle()
        await shop.later(days=1)

        assert await everything(shop) == before
        assert len(shop.sent) == 2


async def test_after_a_lost_journal_threads_go_on(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await a_shop_with_a_past(shop)
        waiting, answered, closed = shop.world.books.discussions
        subject = (await shop.first(waiting)).subject
        await shop.restart(lose_journal=True)
        await shop.settle()

        shop.world.books.customer_writes(waiting, "Toujours rien ?")
        shop.world.books.customer_writes(closed, "Encore une question.")
        await shop.later(minutes=5)
        root, newest = await shop.thread(waiting)
        assert newest.subject == f"Re: {subject}"
        assert str(newest.message["References"]).split()[1] == root.message["Message-ID"]
        assert newest.message["Reply-To"] == root.message["Reply-To"]
        assert len(await shop.thread(closed)) == 2

        await shop.world.agent().reply(newest, "Il est parti.")
        await shop.settle()
        assert waiting.seller_texts == ["Il est parti."]
        assert answered.seller_texts == [ANSWER]


async def test_a_lost_journal_and_key(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await a_shop_with_a_past(shop)
        waiting, *_ = shop.world.books.discussions
        before = await everything(shop)
        await shop.restart(lose_journal=True, lose_key=True)
        await shop.settle()
        await shop.later(days=1)
        assert await everything(shop) == before
        assert len(shop.sent) == 2

        # What comes now is signed by the new key and can be answered.
        shop.world.books.customer_writes(waiting, "Toujours rien ?")
        await shop.later(minutes=5)
        await shop.world.agent().reply((await shop.thread(waiting))[-1], "Il est parti.")
        await shop.settle()
        assert waiting.seller_texts == ["Il est parti."]


async def test_a_lost_key_alone_never_files_twice(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await a_shop_with_a_past(shop)
        before = await everything(shop)
        await shop.restart(lose_key=True)
        await shop.settle()
        await shop.later(days=1)

        assert await everything(shop) == before
        assert len(shop.sent) == 2


async def test_a_message_said_while_the_journal_was_lost_is_filed_once(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await a_shop_with_a_past(shop)
        waiting, *_ = shop.world.books.discussions
        await shop.stop()
        shop.world.books.customer_writes(waiting, "Allô ?")
        await shop.start()
        await shop.restart(lose_journal=True)
        await shop.settle()

        assert len(await shop.thread(waiting)) == 2
        assert not (await shop.thread(waiting))[-1].seen


async def test_mails_deleted_before_the_loss_do_not_stop_the_others(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await a_shop_with_a_past(shop)
        waiting, *_ = shop.world.books.discussions
        shop.world.books.customer_writes(waiting, "Une deuxième fois")
        await shop.later(minutes=5)
        await shop.world.agent().expunge(await shop.first(waiting))
        await shop.restart(lose_journal=True)
        await shop.settle()

        texts = [mail.text for mail in await shop.thread(waiting)]
        assert sum("Une deuxième fois" in text for text in texts) == 1


async def test_a_forged_mail_is_not_adopted(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        mail = await shop.first(claim)
        # A stranger who saw one of our mails sends a copy of it with another message's key.
        forged = mail.data.replace(b"Message-ID: <m.", b"Message-ID: <m.zz-")
        await shop.world.mail.receive("villain@elsewhere.example", shop.world.address, forged)
        await shop.world.agent().expunge(mail)
        await shop.restart(lose_journal=True, lose_key=True)
        await shop.settle()

        # The message is filed anew, since nothing of ours shows it.
        assert len([m for m in await shop.thread(claim) if not m.message["Received"]]) == 1


async def test_a_backfill_after_the_loss_shows_no_duplicates(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config={"sweeps": {"since": "30d"}}) as shop:
        shop.world.cast.history(12)
        await shop.settle()
        before = await everything(shop)
        await shop.restart(lose_journal=True)
        await shop.settle()
        answers = [answer async for answer in shop.operations.backfill("brindille", 30)]
        await shop.bridge.once(SweepKind.FULL)

        assert answers[-1]["stage"] == "done"
        assert await everything(shop) == before


async def test_a_restored_journal_sends_nothing_twice(tmp_path: Path) -> None:
    """A backup from before an answer knows neither the answer nor what came of it."""
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.order_question()
        await shop.settle()
        await shop.stop()
        home, backup = shop.config.state_dir, tmp_path / "backup"
        backup.mkdir()
        for file in home.glob("journal.sqlite3*"):
            shutil.copy(file, backup)
        await shop.start()
        mail = await shop.first(discussion)
        await shop.world.agent().reply(mail, "Bonjour, votre colis arrive demain.")
        await shop.later(minutes=5)
        assert len(shop.sent) == 1
        await shop.stop()
        for file in home.glob("journal.sqlite3*"):
            file.unlink()
        for file in backup.iterdir():
            shutil.copy(file, home)
        await shop.start()
        await shop.later(minutes=5)
        assert len(shop.sent) == 1


async def test_a_thread_thrown_away_before_the_loss_comes_back_to_the_inbox(
    tmp_path: Path,
) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.order_question()
        await shop.settle()
        await shop.world.agent().delete(await shop.first(discussion))
        await shop.restart(lose_journal=True)
        await shop.settle()
        shop.world.books.customer_writes(discussion, "Allô ? Toujours rien.")
        await shop.later(minutes=10)
        assert len(await shop.inbox()) == 1
