"""The automatic acknowledgement: once, early, never to a robot, and no answer of the shop's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailbridge.bridge.sweep import SweepKind
from mailbridge.journal.journal import Tenure
from mailbridge.journal.transaction import Transaction
from mailbridge.sandbox.books import BookedDiscussion
from tests.mover import move, old_shop
from tests.shop import Shop, open_shop

HEARD = "Votre message nous est bien parvenu."
ANSWER = "Bonjour, votre colis arrive demain."


def on(**more: Any) -> dict[str, Any]:
    return {"acknowledgement": {"template": "accuse", **more}}


async def begun(shop: Shop, words: str = "") -> BookedDiscussion:
    """A shop that has been at work for a while, and a customer who writes to it now."""
    await shop.settle(1)
    claim = shop.world.cast.claim()
    if words:
        claim.messages[0].text = words
    await shop.settle()
    return claim


async def news(shop: Shop) -> list[str]:
    """What the thread says of acknowledgements, oldest first; none of it is unread."""
    told = [n for n in await shop.notices() if "Accusé de réception" in n.text]
    assert all(notice.seen for notice in told)
    return [notice.text for notice in told]


async def why_not(shop: Shop, discussion: BookedDiscussion) -> str:
    shown = await shop.operations.show(str(discussion.id))
    (why,) = [e["detail"] for e in shown["events"] if e["what"] == "not acknowledged"]
    return str(why)


async def test_first_words_are_acknowledged_and_still_wait_for_an_answer(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=on(values={"delai": "deux jours"})) as shop:
        claim = await begun(shop)
        (said,) = claim.seller_texts
        assert HEARD in said and "sous deux jours" in said and claim.customer.name in said

        # Staff find it in the thread, read, below the customer's words, which are not.
        (told,) = await news(shop)
        assert "envoyé" in told and HEARD in told
        words, notice = await shop.inbox()
        assert not words.seen and notice.seen
        shown = await shop.operations.show(str(claim.id))
        assert [(d["automatic"], d["state"]) for d in shown["deliveries"]] == [(True, "recorded")]

        # The customer insists, and the clock goes on.
        await shop.later(minutes=30)
        shop.world.books.customer_writes(claim, "Alors ?")
        await shop.later(hours=46)
        assert len(shop.sent) == 1
        shown = await shop.operations.show(str(claim.id))
        assert datetime.fromisoformat(shown["waiting_since"]) == claim.messages[0].at
        first, newest = await shop.thread(claim)
        assert "\\Flagged" in newest.flags
        assert "À répondre avant" in newest.text

        # No figure counts it as an answer.
        async with shop.bridge.ctx.read() as tx:
            begun_at, now = claim.messages[0].at - timedelta(days=1), shop.clock()
            assert await tx.happened.first_answers(begun_at, now) == []

        # Nobody has answered yet: whoever does is not held, though they open our mail about it.
        assert first.message["Message-ID"] == words.message["Message-ID"]
        await shop.world.agent().reply(notice, f"{ANSWER}\n!clos")
        await shop.settle()
        assert claim.seller_texts[1:] == [ANSWER]
        assert claim.closed
        assert "hold" not in " ".join(await shop.told("Clos"))


@pytest.mark.relay
async def test_the_mail_says_that_no_person_wrote_it(tmp_path: Path) -> None:
    frame = {"replies": {"greeting": "Chère cliente,", "signature": "{{ agent }} de {{ shop }}"}}
    async with open_shop(tmp_path, config=on() | frame) as shop:
        claim = await begun(shop)
        await shop.world.agent().reply(await shop.first(claim), ANSWER)
        await shop.settle()
        heard, answer = (mail.message for mail in shop.world.relay.accepted)
        assert heard["Auto-Submitted"] == "auto-replied"
        assert heard["X-Auto-Response-Suppress"] == "All"
        assert answer["Auto-Submitted"] is None and answer["X-Auto-Response-Suppress"] is None
        # Nor does it stand in the frame of somebody's answers.
        text = shop.sent[0]
        assert text.startswith(f"Bonjour {claim.customer.name},") and " de Maison" not in text
        assert shop.sent[1].startswith("Chère cliente,")


@pytest.mark.api
async def test_nothing_is_marked_as_read_at_the_marketplace(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=on()) as shop:
        claim = await begun(shop)
        assert len(shop.sent) == 1
        assert shop.world.octopia.performed("markMessage") == 0
        await shop.world.agent().reply(await shop.first(claim), ANSWER)
        await shop.settle()
        assert shop.world.octopia.performed("markMessage") > 0


@pytest.mark.once
async def test_off_by_default(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await begun(shop)
        assert shop.sent == [] and await shop.told() == []


@pytest.mark.once
async def test_whoever_is_there_at_a_first_start_gets_none(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=on()) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        shop.world.books.customer_writes(claim, "Bonjour ?")
        await shop.later(minutes=5)
        assert shop.sent == []
        assert await why_not(shop, claim) == "late"


async def test_after_a_lost_journal_it_is_known_again(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=on()) as shop:
        claim = await begun(shop)
        before = [str(mail.message["Message-ID"]) for mail in await shop.inbox()]
        await shop.restart(lose_journal=True)
        await shop.settle()
        shop.world.books.customer_writes(claim, "Alors ?")
        await shop.later(hours=46)
        assert len(shop.sent) == 1
        *known, added = [str(mail.message["Message-ID"]) for mail in await shop.inbox()]
        assert known == before and added in str((await shop.thread(claim))[-1].message)
        # What the marketplace shows as the shop's is known as nobody's answer.
        shown = await shop.operations.show(str(claim.id))
        assert datetime.fromisoformat(shown["waiting_since"]) == claim.messages[0].at
        assert "\\Flagged" in (await shop.thread(claim))[-1].flags


@pytest.mark.once
async def test_after_an_outage_nobody_gets_a_late_one(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=on()) as shop:
        await shop.settle(1)
        old = shop.world.cast.claim()
        shop.clock.advance(timedelta(hours=5))
        fresh = shop.world.cast.order_question()
        shop.clock.advance(timedelta(hours=1))
        await shop.settle()
        assert len(await shop.thread(old)) == 1
        assert old.seller_texts == [] and len(fresh.seller_texts) == 1
        assert await why_not(shop, old) == "late"


@pytest.mark.once
async def test_after_a_move_to_the_other_api_nobody_gets_a_late_one(tmp_path: Path) -> None:
    async with old_shop(tmp_path, config=on()) as shop:
        heard = await begun(shop)
        silent = shop.world.cast.claim()
        shop.clock.advance(timedelta(hours=5))
        await move(shop)
        shop.world.books.customer_writes(heard, "Alors ?")
        await shop.later(minutes=5)
        await shop.later(minutes=5)
        assert len(await shop.thread(silent)) == 1
        assert len(shop.sent) == 1 and len(heard.seller_texts) == 1
        shown = await shop.operations.show(str(heard.id))
        assert datetime.fromisoformat(shown["waiting_since"]) == heard.messages[0].at
        # Whoever writes from now on does.
        assert len((await begun(shop)).seller_texts) == 1


@pytest.mark.once
@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("Réponse automatique : je suis absente jusqu'au 30.", "automatic"),
        ("Ceci est un message automatique, merci de ne pas y répondre.", "automatic"),
    ],
)
async def test_robots_are_not_answered(tmp_path: Path, words: str, why: str) -> None:
    async with open_shop(tmp_path, config=on()) as shop:
        claim = await begun(shop, words)
        assert shop.sent == [] and await why_not(shop, claim) == why


@pytest.mark.once
async def test_one_a_day_about_an_order_and_for_a_name(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=on()) as shop:
        question = await begun(shop)
        cast, books = shop.world.cast, shop.world.books
        order = next(o for o in books.orders.all() if o.number == question.order_number)
        again = cast.order_question(order)
        namesake = cast.order_question(cast.order(customer=question.customer))
        other = cast.order_question()
        await shop.settle()
        assert [len(d.seller_texts) for d in (question, again, namesake, other)] == [1, 0, 0, 1]
        assert await why_not(shop, again) == await why_not(shop, namesake) == "enough"


@pytest.mark.once
async def test_only_when_nobody_works(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=on(only_outside_hours=True)) as shop:
        at_noon = await begun(shop)
        assert shop.sent == [] and await why_not(shop, at_noon) == "at_work"
        shop.clock.set(datetime(2026, 11, 23, 19, 30, tzinfo=UTC))
        assert len((await begun(shop)).seller_texts) == 1


@pytest.mark.once
async def test_none_while_nothing_may_leave_and_no_late_one_after(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=on()) as shop:
        await shop.settle(1)
        await shop.operations.pause("brindille")
        claim, question = shop.world.cast.claim(), None
        await shop.later(hours=3)
        question = shop.world.cast.order_question()
        await shop.later(hours=2)
        assert shop.sent == []
        await shop.operations.resume("brindille")
        await shop.settle()
        assert claim.seller_texts == [] and len(question.seller_texts) == 1


@pytest.mark.once
async def test_whoever_is_written_to_first_gets_none(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=on()) as shop:
        await shop.settle(1)
        order = shop.world.cast.order()
        to = f"support+mb-order-{order.number.lower()}@maison-brindille.example"
        await shop.world.agent().write([to], "Retard", "Bonjour, un jour de retard.")
        await shop.settle()
        (discussion,) = shop.world.books.discussions
        shop.world.books.customer_writes(discussion, "Merci de me prévenir.")
        await shop.later(minutes=5)
        assert shop.sent == ["Bonjour, un jour de retard."]


@pytest.mark.once
async def test_an_agent_who_answers_first_makes_it_needless(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=on()) as shop:
        await shop.settle(1)
        claim = shop.world.cast.claim()
        shop.handover.put_off()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(claim), ANSWER)
        await shop.settle()
        shop.handover.well()
        await shop.later(minutes=10)
        assert shop.sent == [ANSWER]
        assert (await shop.states(claim))["deliveries"] == ["cancelled", "recorded"]
        assert await news(shop) == []


@pytest.mark.once
async def test_one_that_nobody_knows_about_is_left_alone(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=on()) as shop:
        await shop.settle(1)
        shop.handover.lost(kept=False)
        claim = shop.world.cast.claim()
        await shop.settle()
        await shop.later(hours=4)
        await shop.later(days=1)
        assert shop.sent == []
        (told,) = await news(shop)
        assert "peut-être pas arrivé" in told
        # It does not stand between the customer and an answer, nor among what a person must mend.
        assert (await shop.operations.status())["accounts"][0]["stuck"] == []
        await shop.world.agent().reply(await shop.first(claim), ANSWER)
        await shop.settle()
        assert shop.sent == [ANSWER]


class PowerCut(BaseException):
    """Nothing in the product may catch and survive it."""


def cut_at(shop: Shop, move: str, *, written: bool) -> None:
    """The daemon dies at the first write that notes this move, once it is `written` or before."""
    journal, write = shop.bridge.ctx.journal, shop.bridge.ctx.journal.write
    dead = False

    @asynccontextmanager
    async def dying(tenure: Tenure) -> AsyncIterator[Transaction]:
        nonlocal dead
        if dead:
            raise PowerCut
        async with write(tenure) as tx:
            yield tx
            dead = any(move in noted for noted in tx.noted)
            if dead and not written:
                raise PowerCut
        if dead:
            raise PowerCut

    journal.write = dying  # type: ignore[method-assign]


@pytest.mark.once
@pytest.mark.parametrize(
    ("move", "written", "leaves"),
    [
        ("acknowledgement planned", False, 1),
        ("acknowledgement planned", True, 1),
        # Nobody can know that it never left, and nobody asks a person about a courtesy.
        ("delivery begin", True, 0),
        ("delivery accepted", False, 1),
        ("notice news", False, 1),
    ],
)
async def test_cut_off_anywhere_it_leaves_once_or_not_at_all(
    tmp_path: Path, move: str, written: bool, leaves: int
) -> None:
    async with open_shop(tmp_path, config=on()) as shop:
        await shop.settle(1)
        claim = shop.world.cast.claim()
        cut_at(shop, move, written=written)
        with pytest.raises(PowerCut):
            await shop.settle()
        await shop.restart()
        await shop.settle()
        await shop.later(hours=4)
        assert len(claim.seller_texts) == leaves
        (told,) = await news(shop)  # once, whatever it was
        assert (HEARD in told) == bool(leaves)


async def test_lost_on_its_way_and_arrived(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=on()) as shop:
        await shop.settle(1)
        shop.world.books.seller_lag = timedelta(minutes=57)
        shop.handover.lost(kept=True)
        claim = shop.world.cast.claim()
        await shop.settle()
        assert (await shop.states(claim))["deliveries"] == ["uncertain"]
        assert await news(shop) == []
        await shop.later(minutes=58)
        assert (await shop.states(claim))["deliveries"] == ["recorded"]
        (told,) = await news(shop)
        assert HEARD in told
        assert len(shop.sent) == 1


async def test_refused_it_is_told_once_and_quietly(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=on()) as shop:
        await shop.settle(1)
        shop.handover.refused("Quota dépassé")
        claim = shop.world.cast.claim()
        await shop.settle()
        await shop.later(days=1)
        (told,) = await news(shop)
        assert "non envoyé" in told and "Quota dépassé" in told
        assert "votre réponse" not in told
        assert shop.sent == []
        assert await shop.told() == ["news"]
        # « Resend » is about answers: it does not mean this.
        await shop.world.agent().reply(await shop.first(claim), "!renvoyer")
        await shop.settle()
        assert shop.sent == []
        assert "trouble/nothing_to_resend" in await shop.told()


@pytest.mark.once
async def test_put_off_for_too_long_it_is_dropped(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=on()) as shop:
        await shop.settle(1)
        shop.handover.put_off()
        claim = shop.world.cast.claim()
        await shop.settle()
        await shop.later(hours=2)
        assert await shop.told() == []  # it may still go well
        await shop.later(hours=3)
        shop.handover.well()
        await shop.later(hours=2)
        assert shop.sent == []
        assert (await shop.states(claim))["deliveries"] == ["cancelled"]
        (told,) = await news(shop)
        assert "trop tard" in told


@pytest.mark.relay
async def test_one_that_comes_back_is_not_sent_once_more(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=on()) as shop:
        shop.world.books.relay_works = lambda relay: False  # type: ignore[method-assign]
        claim = await begun(shop)
        await shop.later(hours=1)
        assert len(shop.world.relay.refused) == 1
        assert (await shop.states(claim))["deliveries"] == ["held"]
        assert "sans être distribué" in (await news(shop))[-1]


@pytest.mark.once
async def test_nobody_hears_that_it_arrived_before_it_has(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=on()) as shop:
        await shop.settle(1)
        claim = shop.world.cast.claim()
        await shop.bridge.sweep.run(SweepKind.QUICK)
        await shop.bridge.outgoing()
        assert shop.sent == []
        await shop.settle()
        assert len(claim.seller_texts) == 1


@pytest.mark.once
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ hello }} {{ nom }}", "nom"),
        ("Oui.", "4 characters"),
        ("Écrivez “!clos”\n!clos", "what a customer must never see"),
    ],
)
async def test_a_template_that_fails_sends_nothing_until_it_is_mended(
    tmp_path: Path, source: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "templates" / "replies"
    own.mkdir(parents=True)
    file = own / "accuse.txt.j2"
    head = '+++\ntitle = "Reçu"\nlanguage = "fr"\n+++\n'
    file.write_text(head + source, encoding="utf-8")
    async with open_shop(
        tmp_path / "home", config=on(), top={"templates_dir": tmp_path / "templates"}
    ) as shop:
        claim = await begun(shop)
        assert shop.sent == [] and await shop.told() == []
        logged = capsys.readouterr().out
        assert words in logged
        assert logged.count("customers are not acknowledged") == 1
        file.write_text(f"{head}Votre message est bien arrivé.", encoding="utf-8")
        await shop.later(minutes=5)
        assert claim.seller_texts == ["Votre message est bien arrivé."]
