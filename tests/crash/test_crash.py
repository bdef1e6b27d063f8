"""Scenarios stopped at every journal write, on either side of it, and resumed.

In the end everybody must see the same as if nothing had happened: the mailbox, the relay and the
marketplace's books. Where a reply may have left when the power went, a person is asked, and what
they decide leads to the same books.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailbridge.sandbox.smtp import DropAfterDot, Reply
from mailbridge.sandbox.smtp import Stage as At
from tests.crash.power import End, Fuse, Scenario, Stage
from tests.shop import Shop, code_in


async def three_discussions(shop: Shop) -> AsyncIterator[None]:
    cast = shop.world.cast
    cast.claim()
    cast.order_question()
    cast.offer_question()
    yield


async def a_back_fill(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.history(6)
    yield


async def a_reply_that_closes(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.claim()
    yield
    (mail,) = await shop.inbox()
    await shop.world.agent().reply(mail, "Bonjour, c'est réglé.\n!clos")
    yield


async def a_close_without_words(shop: Shop) -> AsyncIterator[None]:
    discussion = shop.world.cast.claim()
    shop.world.books.seller_writes(discussion, "Nous vous répondons ici.")
    yield
    await shop.world.agent().reply((await shop.inbox())[0], "!clos")
    yield


async def written_first(shop: Shop) -> AsyncIterator[None]:
    order = shop.world.cast.order()
    yield
    to = f"support+mb-order-{order.number.lower()}@maison-brindille.example"
    await shop.world.agent().write([to], "Retard", "Bonjour, votre colis aura un jour de retard.")
    yield
    (discussion,) = shop.world.books.discussions
    shop.world.books.customer_writes(discussion, "Merci de me prévenir.")
    yield


async def held_and_released(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.claim()
    yield
    (mail,) = await shop.inbox()
    agent = shop.world.agent(files_sent_copy=False)
    await agent.reply(mail, "Bonjour, voici notre réponse.")
    yield
    shop.clock.advance(timedelta(minutes=2))
    yield
    (notice,) = await shop.notices()
    code = notice.message["X-Mailbridge-Notice"] and _code(notice.text)
    await agent.reply(notice, f"!envoyer {code}")
    yield


async def a_command_mistyped(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.claim()
    yield
    (mail,) = await shop.inbox()
    agent = shop.world.agent()
    await agent.reply(mail, "Bonjour, c'est réglé.\n!colse")
    yield
    shop.clock.advance(timedelta(minutes=1))
    await agent.reply(mail, "Bonjour, c'est réglé pour de bon.\n!clos")
    yield


async def the_customer_comes_back(shop: Shop) -> AsyncIterator[None]:
    discussion = shop.world.cast.claim()
    yield
    await shop.world.agent().reply((await shop.inbox())[0], "Voilà.\n!clos")
    yield
    shop.clock.advance(timedelta(hours=1))
    shop.world.books.customer_writes(discussion, "Merci, mais il manque une vis.")
    yield


async def a_server_that_is_busy(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.claim()
    yield
    (mail,) = await shop.inbox()
    await shop.world.agent().reply(mail, "Bonjour, un instant.")
    shop.world.mail.submission.faults.once(Reply(At.RCPT, "451 4.3.2 try later"))
    yield
    shop.clock.advance(timedelta(minutes=5))
    yield


async def an_answer_lost_after_the_dot(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.claim()
    yield
    (mail,) = await shop.inbox()
    await shop.world.agent().reply(mail, "Bonjour, c'est parti.\n!clos")
    shop.world.mail.submission.faults.once(DropAfterDot(kept=True))
    yield


async def a_question_turned_claim(shop: Shop) -> AsyncIterator[None]:
    question = shop.world.cast.order_question()
    yield
    shop.clock.advance(timedelta(hours=1))
    shop.world.books.turn_into_claim(question)
    yield


async def answers_that_are_due(shop: Shop) -> AsyncIterator[None]:
    answered, waiting = shop.world.cast.claim(), shop.world.cast.claim()
    yield
    shop.clock.advance(timedelta(hours=46))
    yield
    shop.world.books.seller_writes(answered, "Nous vous répondons ici.")
    shop.clock.advance(timedelta(minutes=1))
    yield
    shop.world.books.customer_writes(waiting, "Toujours rien ?")
    yield


async def a_refund_that_closes(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.claim(shop.world.cast.order(shipped_days_ago=5))
    yield
    (mail,) = await shop.inbox()
    await shop.world.agent().reply(mail, "!rembourser total\n!clos\n\nBonjour, c'est remboursé.")
    yield
    question = await shop.notice("confirm")
    await shop.world.agent().reply(question, f"!confirmer {code_in(question)}")
    yield


async def a_small_gesture(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.claim(shop.world.cast.order(shipped_days_ago=5))
    yield
    (mail,) = await shop.inbox()
    await shop.world.agent().reply(mail, "!geste 5 € retard")
    yield


async def a_digest(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.claim()
    yield
    shop.clock.advance(timedelta(hours=21))  # to Tuesday, nine o'clock in Paris
    yield


MONEY: dict[str, Any] = {"enabled": True, "most": 500, "most_per_order": 500, "most_per_day": 500}
CONFIG: dict[Scenario, dict[str, dict[str, Any]]] = {
    a_refund_that_closes: {"money": MONEY},
    a_small_gesture: {"money": {**MONEY, "confirm_above": 20}},
    a_digest: {"digest": {"at": "08:00"}},
}
"""What a scenario changes in the account's sections."""

BETWEEN: dict[Scenario, tuple[str, str]] = {
    a_refund_that_closes: ("money asked for", "refund prove"),
    a_small_gesture: ("money asked for", "refund prove"),
    a_digest: ("digest planned", "digest planned"),
}
"""These are cut from the first of these writes to just behind the second: how mails come in and
replies leave is cut in the others."""

SCENARIOS: dict[str, Scenario] = {
    f.__name__: f
    for f in (
        three_discussions,
        a_back_fill,
        a_reply_that_closes,
        a_close_without_words,
        held_and_released,
        a_command_mistyped,
        the_customer_comes_back,
        a_server_that_is_busy,
        an_answer_lost_after_the_dot,
        a_question_turned_claim,
        a_refund_that_closes,
        a_small_gesture,
        answers_that_are_due,
        written_first,
        a_digest,
    )
}

OPEN_ALIKE = {
    held_and_released,
    a_command_mistyped,
    the_customer_comes_back,
    a_server_that_is_busy,
    an_answer_lost_after_the_dot,
    a_refund_that_closes,
    a_small_gesture,
}
"""Their first step is `a_reply_that_closes`'s, and is cut there only."""

SLICES = 4
"""Each scenario's stops are dealt out to so many tests, for runs on several cores."""

_in_peace: dict[Scenario, tuple[Fuse, End]] = {}
"""One run of each scenario without a cut, for all its slices in this process."""


def _code(text: str) -> str:
    return next(w for w in text.split() if w.isdigit() and len(w) == 6)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(SLICES))
@pytest.mark.parametrize("name", SCENARIOS)
async def test_resuming_after_a_cut_ends_like_never_stopping(
    name: str, part: int, tmp_path: Path
) -> None:
    scenario = SCENARIOS[name]
    whole, expected = await _left_in_peace(scenario, tmp_path)
    assert len(whole.stops()) > whole.writes > 2
    stops = whole.stops(opening=scenario not in OPEN_ALIKE)
    if scenario in OPEN_ALIKE:
        other, _ = await _left_in_peace(a_reply_that_closes, tmp_path)
        assert whole.opening_moves == other.opening_moves
    if scenario in BETWEEN:
        first, last = (
            next(at for at, what in whole.what.items() if words in what)
            for words in BETWEEN[scenario]
        )
        stops = [(at, phase) for at, phase in stops if first <= at <= last + 2]
    for at, phase in stops[part::SLICES]:
        home = tmp_path / f"{at}-{phase}"
        end = await Stage(home, Fuse(at, phase), **CONFIG.get(scenario, {})).play(scenario)
        _compare(end, expected, f"{name} stopped {phase} write {at} ({whole.what[at]})")


async def _left_in_peace(scenario: Scenario, home: Path) -> tuple[Fuse, End]:
    if scenario not in _in_peace:
        fuse = Fuse()
        stage = Stage(home / f"{scenario.__name__}-whole", fuse, **CONFIG.get(scenario, {}))
        end = await stage.play(scenario)
        _in_peace[scenario] = fuse, end
    return _in_peace[scenario]


def _compare(end: End, expected: End, where: str) -> None:
    assert end.relay == expected.relay, where
    assert end.books == expected.books, where
    assert end.money == expected.money, where
    assert not [mail for mail, times in end.ids.items() if times > 1], where
    # A person may be asked about a reply that may have left, or money that may have moved; and
    # an open discussion is told in time that its order has changed.
    beside = ("trouble/", "hold/money_") + ((": news",) if any(expected.money) else ())
    assert _settled(end, beside) == _settled(expected, beside), where


def _settled(end: End, beside: tuple[str, ...]) -> dict[tuple[str, str], int]:
    return {
        mail: times
        for mail, times in end.mails.items()
        if not any(kind in mail[1] for kind in beside)
    }
