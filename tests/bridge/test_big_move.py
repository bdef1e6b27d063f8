"""Five hundred open discussions go to the other API while everybody goes on writing."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from mailbridge.sandbox.agent import SeenMail
from mailbridge.sandbox.world import Door
from tests.mover import configured_for, migrate, old_shop
from tests.shop import Shop

COUNT = 500
LAG = timedelta(minutes=57)

_REFERENCE = re.compile(rb"^X-Mailbridge-Reference: (\d+)\r?$", re.MULTILINE)
_MESSAGE = re.compile(rb"^X-Mailbridge-Message: ", re.MULTILINE)

pytestmark = pytest.mark.soap  # where the move begins


async def filed(shop: Shop) -> list[tuple[str, SeenMail]]:
    """Every mail that shows a message, with its discussion's number. Not parsed: they are many."""
    found = []
    for folder in ("INBOX", "Clos"):
        for mail in await shop.inbox(folder):
            reference = _REFERENCE.search(mail.data)
            if reference is not None and _MESSAGE.search(mail.data):
                found.append((reference[1].decode(), mail))
    return found


def expected(shop: Shop) -> Counter[str]:
    """How many messages of others each discussion has in the marketplace's books."""
    return Counter(
        {
            str(d.id): sum(m.text not in d.seller_texts for m in d.messages)
            for d in shop.world.books.discussions
        }
    )


@pytest.mark.timeout(300)
async def test_nothing_is_lost_and_nothing_twice(tmp_path: Path) -> None:
    async with old_shop(tmp_path, seller_lag=LAG) as shop:
        rng, cast = Random(11), shop.world.cast
        discussions = [cast.discussion() for _ in range(COUNT)]
        for one in discussions[::3]:
            shop.clock.advance(timedelta(seconds=40))
            cast.follow_up(one)
        shop.clock.advance(timedelta(days=4))
        await shop.settle(1)
        mails = dict(await filed(shop))
        assert len(mails) == COUNT
        answers: dict[str, list[str]] = {}

        async def answer(number: int, close: bool) -> None:
            one = str(discussions[number].id)
            words = f"Bonjour, réponse au dossier {number}, merci de patienter."
            answers[one] = [words]
            await shop.world.agent().reply(mails[one], f"{words}\n!clos" if close else words)

        # Before the move: answered, recorded, and every other one closed.
        numbers = rng.sample(range(COUNT), 60)
        for number in numbers[:20]:
            await answer(number, close=number % 2 == 0)
        await shop.settle(1)
        shop.clock.advance(LAG)
        await shop.settle(1)
        assert any(d.closed for d in discussions)
        # On their way while the account moves: sent by relay mail, and not shown yet.
        for number in numbers[20:40]:
            await answer(number, close=number % 2 == 0)
        await shop.settle(1)
        # In between, seen by nobody: staff answer, customers write on.
        await shop.stop()
        for number in numbers[40:]:
            await answer(number, close=False)
        for one in discussions[::25]:
            cast.follow_up(one)

        configured_for(shop, Door.OCTOPIA)
        report = await migrate(shop)
        assert not report.odd
        assert sum(report.joined.values()) == report.messages > COUNT
        assert report.unfinished["answers on their way"] == 20
        await shop.start()
        await shop.settle(1)
        for one in discussions[::40]:
            cast.follow_up(one)
        shop.clock.advance(timedelta(hours=1))
        await shop.settle(2)

        for one in discussions:
            assert one.seller_texts == answers.get(str(one.id), []), one.id
        assert Counter(number for number, _ in await filed(shop)) == expected(shop)
        async with shop.bridge.ctx.read() as tx:
            tally = await tx.tally()
        assert tally["deliveries"] == {"recorded": 60}
        assert tally["replies"] == {"settled": 60}
        assert len(shop.world.octopia.sent) == 20
