"""An account goes on through another API: threads, answers, closes and money go on with it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from mailbridge.bridge import till
from mailbridge.bridge.moving import MoveRefused
from mailbridge.bridge.operations import OperationRefused
from mailbridge.domain.joining import Ground
from mailbridge.domain.money import Asked, GestureMotive
from mailbridge.journal.journal import NotMoved
from mailbridge.sandbox.books import BookedDiscussion
from mailbridge.sandbox.faults import InternalError
from mailbridge.sandbox.octopia import Rules
from mailbridge.sandbox.world import Door
from tests.bridge.test_money import LIMITS
from tests.crash.power import Fuse, Phase, PowerCut
from tests.doors import Ask
from tests.mover import configured_for, migrate, move, old_shop
from tests.shop import Shop, code_in

ANSWER = "Bonjour, votre colis arrive demain."
MONEY = {"money": {**LIMITS, "confirm_above": 500}}
WORDS = "Bonjour, votre remboursement est en route."

pytestmark = pytest.mark.soap  # where the move begins


async def everything(shop: Shop) -> Counter[str]:
    """Every mail of ours, wherever it lies."""
    return Counter(
        [
            str(mail.message["Message-ID"])
            for folder in ("INBOX", "Clos")
            for mail in await shop.inbox(folder)
            if mail.message["X-Mailbridge-Account"]
        ]
    )


async def settled(shop: Shop) -> Counter[str]:
    """What lies there once a day has passed, with every sweep there is."""
    await shop.settle()
    await shop.later(minutes=30)
    await shop.later(days=1)
    return await everything(shop)


async def three(shop: Shop) -> tuple[BookedDiscussion, BookedDiscussion, BookedDiscussion]:
    """A claim that waits, a question that was answered, an offer's question that was closed."""
    cast = shop.world.cast
    waiting, answered, closed = cast.claim(), cast.order_question(), cast.offer_question()
    shop.clock.advance(timedelta(minutes=5))
    await shop.settle()
    agent = shop.world.agent()
    await agent.reply(await shop.first(answered), ANSWER)
    await agent.reply(await shop.first(closed), f"{ANSWER}\n!clos")
    await shop.settle()
    assert closed.closed
    return waiting, answered, closed


@pytest.mark.parametrize("html", [False, True], ids=["text", "html"])
async def test_threads_go_on_and_nothing_is_filed_twice(tmp_path: Path, html: bool) -> None:
    async with old_shop(tmp_path, rules=Rules(html_bodies=html)) as shop:
        waiting, answered, _ = await three(shop)
        before = await everything(shop)

        report = await move(shop)
        assert (report.open, report.shown, report.missing) == (2, 2, [])
        assert sum(report.joined.values()) == report.messages == 3
        assert not report.odd
        assert await settled(shop) == before

        shop.world.books.customer_writes(waiting, "Toujours rien ?")
        await shop.later(minutes=5)
        root, newest = await shop.thread(waiting)
        assert newest.subject == f"Re: {root.subject}"
        assert newest.message["Reply-To"] == root.message["Reply-To"]
        await shop.world.agent().reply(newest, "Il est parti ce matin.\n!clos")
        await shop.world.agent().reply(await shop.first(answered), "Est-il bien arrivé ?")
        await shop.later(minutes=5)
        assert waiting.seller_texts == ["Il est parti ce matin."]
        assert answered.seller_texts == [ANSWER, "Est-il bien arrivé ?"]
        assert {m.text for m in shop.world.octopia.sent} == {
            "Il est parti ce matin.",
            "Est-il bien arrivé ?",
        }
        assert waiting.closed


async def test_a_dry_run_says_what_will_be_and_changes_nothing(tmp_path: Path) -> None:
    async with old_shop(tmp_path, seller_lag=timedelta(minutes=57)) as shop:
        waiting, answered, other = (shop.world.cast.claim() for _ in range(3))
        await shop.settle()
        await shop.world.agent().reply(await shop.first(answered), f"{ANSWER}\n!clos")
        await shop.settle()
        await shop.stop()
        shop.world.books.customer_writes(waiting, "Toujours rien ?")
        shop.world.books.discussion(other.id).channel = "AUTREXX"
        shop.clock.advance(timedelta(hours=1))
        configured_for(shop, Door.OCTOPIA, marketplace={"sales_channels": ["CDISFR"]})
        file = tmp_path / "journal.sqlite3"
        with sqlite3.connect(file) as journal:
            before = [row for row in journal.iterdump() if '"account"' not in row]

        report = await migrate(shop, dry_run=True)
        assert (report.sought, report.shown, report.new, report.recorded) == (3, 2, 1, 1)
        assert report.joined == {Ground.SAME: 2}
        assert report.unfinished == {
            "answers being judged or held": 1,
            "answers on their way": 1,
            "closes": 1,
        }
        assert [odd.words for odd in report.missing] == ["open"]
        assert not report.done
        with sqlite3.connect(file) as journal:
            assert [row for row in journal.iterdump() if '"account"' not in row] == before

        done = await migrate(shop)
        assert done.done
        assert (done.joined, done.new) == (report.joined, report.new)
        await shop.start()
        await shop.settle()
        assert answered.closed


async def test_no_old_id_stays_behind_for_what_has_moved(tmp_path: Path) -> None:
    async with old_shop(tmp_path) as shop:
        waiting, answered, _ = await three(shop)
        await move(shop)
        with sqlite3.connect(tmp_path / "journal.sqlite3") as journal:
            tables = [
                name
                for (name,) in journal.execute(
                    "select name from sqlite_master where type = 'table'"
                )
            ]
            for table in tables:
                told = journal.execute(f"select * from {table}")
                names = [column[0] for column in told.description]
                for row in told:
                    for name, value in zip(names, row, strict=True):
                        if (table, name) in {("discussion", "reference"), ("event", "detail")}:
                            continue
                        assert value not in {str(waiting.id), str(answered.id)}, (table, name)


async def test_an_answer_on_its_way_and_its_close_go_on(tmp_path: Path) -> None:
    async with old_shop(tmp_path, seller_lag=timedelta(minutes=57)) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), f"{ANSWER}\n!clos")
        await shop.settle()
        assert (await shop.states(discussion))["closings"] == ["waiting"]

        await move(shop)
        await shop.settle()
        assert (await shop.states(discussion))["deliveries"] == ["submitted"]
        await shop.later(hours=1)
        assert (await shop.states(discussion))["deliveries"] == ["recorded"]
        assert discussion.closed
        assert discussion.seller_texts == [ANSWER]
        assert "Clos" in await shop.world.agent().folders()
        assert len(await shop.thread(discussion, "Clos")) == 1


async def test_a_copy_that_is_delivered_after_the_move_is_no_second_answer(
    tmp_path: Path,
) -> None:
    async with old_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        written = await shop.world.agent(files_sent_copy=False).reply(
            await shop.first(discussion), ANSWER
        )
        await shop.later(minutes=1)
        await shop.later(minutes=1)
        assert (await shop.states(discussion))["replies"] == ["held/not_proven"]
        await move(shop)
        await shop.world.agent().file_sent_copy(written)
        await shop.later(minutes=1)
        assert (await shop.states(discussion))["replies"] == ["settled"]
        assert discussion.seller_texts == [ANSWER]


async def test_money_that_was_granted_is_proven_by_the_other_api(tmp_path: Path) -> None:
    async with old_shop(tmp_path, config=MONEY, money_lag=timedelta(hours=3)) as shop:
        order = shop.world.cast.order(shipped_days_ago=5)
        discussion = shop.world.cast.claim(order)
        await shop.settle()
        await shop.world.agent().reply(
            await shop.first(discussion), f"!rembourser total\n!clos\n\n{WORDS}"
        )
        await shop.settle()
        assert (await shop.states(discussion))["money"] == ["granted"]
        assert shop.sent == []

        report = await move(shop)
        assert report.unfinished["movements of money"] == 1
        await shop.settle()
        assert (await shop.states(discussion))["money"] == ["granted"]
        await shop.later(hours=4)
        await shop.settle()
        assert (await shop.states(discussion))["money"] == ["proven"]
        assert [m.text for m in shop.world.octopia.sent] == [WORDS]
        assert discussion.closed
        assert order.lines[0].state == "RefundedAfterShipping"


async def test_a_gesture_that_the_other_api_does_not_show_is_never_called_absent(
    tmp_path: Path,
) -> None:
    async with old_shop(tmp_path, config=MONEY) as shop:
        order = shop.world.cast.order(shipped_days_ago=5)
        discussion = shop.world.cast.claim(order)
        await shop.settle()
        shop.world.market.faults.once(InternalError(), "CreateRefundVoucher")
        await shop.world.agent().reply(await shop.first(discussion), f"!geste 5 €\n\n{WORDS}")
        await shop.settle()
        assert (await shop.states(discussion))["money"] == ["uncertain"]
        await move(shop)
        for _ in range(4):
            await shop.later(hours=9)
        assert (await shop.states(discussion))["money"] == ["uncertain"]
        assert shop.sent == []
        await shop.notice("hold/money_unshown")
        assert "hold/money_absent" not in await shop.told()


@pytest.mark.parametrize("paid", [True, False])
async def test_a_persons_word_settles_a_gesture_that_the_other_api_never_shows(
    tmp_path: Path, paid: bool
) -> None:
    async with old_shop(tmp_path, config=MONEY, money_lag=timedelta(days=30)) as shop:
        order = shop.world.cast.order(shipped_days_ago=5)
        discussion = shop.world.cast.claim(order)
        await shop.settle()
        agent = shop.world.agent()
        await agent.reply(await shop.first(discussion), f"!geste 5 €\n!clos\n\n{WORDS}")
        await shop.settle()
        assert (await shop.states(discussion))["money"] == ["granted"]
        await move(shop)
        await shop.later(hours=30)

        # It waits for a person, and the operator sees that it does.
        (account,) = (await shop.operations.status())["accounts"]
        assert [(m["state"], m["unshown"]) for m in account["moving"]] == [("granted", True)]
        question = await shop.notice("hold/money_unshown")
        code = code_in(question)
        assert WORDS in question.text
        assert "“!confirmer” suivi d'une espace et du code" in " ".join(question.text.split())
        assert "“!annuler” seul sur une ligne" in " ".join(question.text.split())
        assert shop.sent == []

        await agent.reply(question, f"!confirmer {code}" if paid else "!annuler")
        await shop.later(minutes=5)
        await shop.settle()
        (account,) = (await shop.operations.status())["accounts"]
        assert account["moving"] == []
        if paid:
            assert (await shop.states(discussion))["money"] == ["proven"]
            assert shop.sent == [WORDS]
            assert discussion.closed
            receipt = await shop.notice("receipt", "Clos")
            assert "Service client l'a constaté" in " ".join(receipt.text.split())
            # The log of events is kept for good, so it names nobody.
            shown = await shop.operations.show(shop.ident(discussion))
            details = [str(event["detail"]) for event in shown["events"]]
            assert "said by a person" in details
            assert not [detail for detail in details if "Service client" in detail]
            return
        assert (await shop.states(discussion))["money"] == ["absent"]
        assert shop.sent == []
        told = await shop.notice("hold/money_absent")
        assert "Service client a regardé" in told.text
        # It was not: so it may be asked for here, with the code of this notice.
        await agent.reply(told, f"!confirmer {code_in(told)}")
        await shop.later(minutes=5)
        assert shop.performed(Ask.GESTURE) == 1
        # What the order shows by then is its own evidence, and nobody's who saw nothing.
        await shop.later(days=31)
        assert (await shop.states(discussion))["money"] == ["proven"]
        (receipt,) = [n for n in await shop.notices("Clos") if "Geste commercial" in n.text]
        assert "le montre" in " ".join(receipt.text.split())
        assert "l'a constaté" not in receipt.text


async def test_words_to_the_question_whether_it_was_paid_reach_no_customer(tmp_path: Path) -> None:
    async with old_shop(tmp_path, config=MONEY, money_lag=timedelta(days=30)) as shop:
        order = shop.world.cast.order(shipped_days_ago=5)
        discussion = shop.world.cast.claim(order)
        await shop.settle()
        agent = shop.world.agent()
        await agent.reply(await shop.first(discussion), f"!geste 5 €\n\n{WORDS}")
        await shop.settle()
        await move(shop)
        await shop.later(hours=30)
        question = await shop.notice("hold/money_unshown")
        await agent.reply(question, "C'est bon, je l'ai vu chez Cdiscount, il a été payé le 12.")
        await shop.later(minutes=5)
        assert shop.sent == []
        told = await shop.notice("hold/confirmation_text")
        assert "Rien n'a été remboursé" not in told.text and "elle attend toujours" in told.text
        assert (await shop.states(discussion))["money"] == ["granted"]
        await agent.reply(told, f"!confirmer {code_in(question)}")
        await shop.later(minutes=5)
        assert (await shop.states(discussion))["money"] == ["proven"]
        assert shop.sent == [WORDS]


async def test_a_person_is_asked_as_well_where_the_order_cannot_be_read(tmp_path: Path) -> None:
    """Nobody says that the API knows every order that the service knew."""
    async with old_shop(tmp_path, config=MONEY, money_lag=timedelta(days=30)) as shop:
        order = shop.world.cast.order(shipped_days_ago=5)
        discussion = shop.world.cast.claim(order)
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), f"!geste 5 €\n\n{WORDS}")
        await shop.settle()
        await move(shop)
        shop.keeps_failing(InternalError(), Ask.ORDERS)
        await shop.later(hours=30)
        await shop.notice("hold/money_unshown")
        assert (await shop.states(discussion))["money"] == ["granted"]
        told = await shop.operations.settle(order.number, paid=True)
        assert told["state"] == "proven"


async def test_the_question_is_asked_again_once_its_code_has_lapsed(tmp_path: Path) -> None:
    async with old_shop(
        tmp_path, config=MONEY | {"digest": {"at": "08:00"}}, money_lag=timedelta(days=30)
    ) as shop:
        order = shop.world.cast.order(shipped_days_ago=5)
        discussion = shop.world.cast.claim(order)
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), f"!geste 5 €\n\n{WORDS}")
        await shop.settle()
        await move(shop)
        await shop.later(hours=30)
        old = await shop.notice("hold/money_unshown")
        await shop.later(hours=14, minutes=5)
        assert "incertain : le fil demande si l'argent a été rendu" in " ".join(
            (await shop.notice("digest")).text.split()
        )
        await shop.later(hours=12)
        new = await shop.notice("hold/money_unshown")
        assert code_in(new) != code_in(old)
        await shop.world.agent().reply(old, f"!confirmer {code_in(old)}")
        await shop.later(minutes=5)
        assert (await shop.states(discussion))["money"] == ["granted"]
        await shop.world.agent().reply(new, f"!confirmer {code_in(new)}")
        await shop.later(minutes=5)
        assert (await shop.states(discussion))["money"] == ["proven"]


@pytest.mark.parametrize(("paid", "state"), [(True, "proven"), (False, "absent")])
async def test_money_without_a_thread_is_settled_by_the_operator(
    tmp_path: Path, *, paid: bool, state: str
) -> None:
    async with old_shop(tmp_path, config=MONEY, money_lag=timedelta(days=30)) as shop:
        order = shop.world.cast.order(shipped_days_ago=5)
        await shop.settle()
        asked = Asked(gesture=Decimal("5.00"), motive=GestureMotive.LATE)
        seen = await till.foresee(shop.bridge, order.number, asked)
        await till.have_done(shop.bridge, order.number, asked, seen)
        await shop.settle()
        await move(shop)
        await shop.later(hours=30)
        (account,) = (await shop.operations.status())["accounts"]
        assert [m["unshown"] for m in account["moving"]] == [True]
        told = await shop.operations.settle(order.number, paid=paid)
        assert told == {"order": order.number, "amount": "5.00", "state": state}
        await shop.later(hours=3)
        assert shop.performed(Ask.GESTURE) == 0  # never asked for again


async def test_the_operator_settles_it_as_well(tmp_path: Path) -> None:
    async with old_shop(tmp_path, config=MONEY, money_lag=timedelta(days=30)) as shop:
        order = shop.world.cast.order(shipped_days_ago=5)
        discussion = shop.world.cast.claim(order)
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), f"!geste 5 €\n\n{WORDS}")
        await shop.settle()
        await move(shop)
        # The order may show it still: nobody is asked yet.
        with pytest.raises(OperationRefused, match="no money there waits"):
            await shop.operations.settle(order.number, paid=True)
        await shop.later(hours=30)
        told = await shop.operations.settle(order.number, paid=True)
        assert told == {"order": order.number, "amount": "5.00", "state": "proven"}
        await shop.later(minutes=5)
        assert shop.sent == [WORDS]
        assert "mailbridge settle l'a constaté" in " ".join(
            (await shop.notice("receipt")).text.split()
        )


async def test_a_closed_thread_joins_when_its_customer_comes_back(tmp_path: Path) -> None:
    async with old_shop(tmp_path) as shop:
        _, _, closed = await three(shop)
        await move(shop)
        before = await settled(shop)
        shop.world.books.customer_writes(closed, "Encore une question.")
        await shop.later(minutes=5)
        first, *_, newest = await shop.thread(closed)
        assert newest.subject == f"Re: {first.subject}"
        assert sum((await everything(shop) - before).values()) == 1


async def test_after_a_lost_journal_threads_of_both_apis_are_one(tmp_path: Path) -> None:
    async with old_shop(tmp_path) as shop:
        waiting, answered, _ = await three(shop)
        await move(shop)
        shop.world.books.customer_writes(waiting, "Toujours rien ?")
        await shop.later(minutes=5)
        await shop.world.agent().reply((await shop.thread(waiting))[-1], "Il est parti hier.")
        before = await settled(shop)
        await shop.restart(lose_journal=True)
        assert await settled(shop) == before
        assert sorted(shop.sent) == sorted([ANSWER, ANSWER, "Il est parti hier."])
        shop.world.books.customer_writes(answered, "Merci !")
        await shop.later(minutes=5)
        assert len(await shop.thread(answered)) == 2


async def test_a_daemon_refuses_the_other_api_until_the_account_has_moved(
    tmp_path: Path,
) -> None:
    async with old_shop(tmp_path) as shop:
        await three(shop)
        await shop.stop()
        configured_for(shop, Door.OCTOPIA)
        with pytest.raises(NotMoved, match="mailbridge migrate brindille --to octopia"):
            await shop.start()
        await shop.stop()
        await migrate(shop)
        configured_for(shop, Door.CDISCOUNT)
        with pytest.raises(NotMoved, match="octopia"):
            await shop.start()
        await shop.stop()
        configured_for(shop, Door.OCTOPIA)
        await shop.start()


async def test_another_seller_s_account_is_noticed_before_anything_changes(
    tmp_path: Path,
) -> None:
    async with old_shop(tmp_path) as shop:
        await three(shop)
        await shop.stop()
        configured_for(shop, Door.OCTOPIA, marketplace={"sales_channels": ["AUTREXX"]})
        with pytest.raises(MoveRefused, match="2 of 2 open discussions"):
            await migrate(shop)
        configured_for(shop, Door.CDISCOUNT)
        await shop.start()
        await shop.settle()


async def test_moving_again_joins_nothing_and_loses_nothing(tmp_path: Path) -> None:
    async with old_shop(tmp_path) as shop:
        await three(shop)
        before = await everything(shop)
        await move(shop)
        report = await move(shop)
        assert (report.already, report.joined, report.new) == (2, {}, 0)
        assert await settled(shop) == before


async def test_a_case_that_was_a_claim_all_along_is_no_news(tmp_path: Path) -> None:
    async with old_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        await move(shop)
        await shop.later(hours=7)
        assert await shop.told() == []
        claim.graduation = "Level_1"
        shop.world.books.operator_writes(claim, "Merci de répondre sous 48 h.")
        await shop.later(minutes=5)
        assert len(await shop.told()) == 1


async def test_a_move_that_is_cut_off_anywhere_is_finished_by_the_next(tmp_path: Path) -> None:
    async with old_shop(tmp_path) as shop:
        waiting, _, _ = await three(shop)
        before = await everything(shop)
        await shop.stop()
        shop.world.books.customer_writes(waiting, "Toujours rien ?")
        configured_for(shop, Door.OCTOPIA)
        cuts = 0
        while True:
            fuse = Fuse(at=cuts + 1, phase=Phase.BEFORE)
            try:
                await migrate(shop, fit=fuse.fit)
            except PowerCut:
                cuts += 1
            else:
                break
            if cuts > 1:
                for door in (Door.CDISCOUNT, Door.OCTOPIA):
                    configured_for(shop, door)
                    with pytest.raises(NotMoved, match="begun and not finished"):
                        await shop.start()
                    await shop.stop()
        assert cuts >= 3
        await shop.start()
        assert sum((await settled(shop) - before).values()) == 1
        assert len(await shop.thread(waiting)) == 2
