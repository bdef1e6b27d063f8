"""The daily digest: one mail a day on what waits, whatever happens to daemon, clock and journal."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mailbridge.bridge.sweep import SweepKind
from mailbridge.domain.filing import FilingState
from mailbridge.sandbox.agent import SeenMail
from mailbridge.sandbox.faults import InternalError
from tests.doors import CLOSE_UNKNOWN, Ask
from tests.shop import Shop, open_shop

pytestmark = pytest.mark.once

PARIS = ZoneInfo("Europe/Paris")
ON: dict[str, Any] = {"digest": {"at": "08:00"}}
ANSWER = "Bonjour, votre colis est en route."
LIMITS = {"enabled": True, "most": 500, "most_per_order": 500, "most_per_day": 1000}


def paris(day: int, hour: int = 8, minute: int = 0, *, month: int = 11) -> datetime:
    """A moment of 2026 in Paris; 23 November is a Monday."""
    return datetime(2026, month, day, hour, minute, tzinfo=PARIS).astimezone(UTC)


async def until(shop: Shop, moment: datetime) -> None:
    """Time passes till then, and mailbridge goes on."""
    shop.clock.set(moment)
    await shop.settle(1)


async def digests(shop: Shop, folder: str = "INBOX") -> list[SeenMail]:
    mails = await shop.inbox(folder)
    return [m for m in mails if m.message["X-Mailbridge-Notice-Kind"] == "digest"]


async def days(shop: Shop) -> list[str]:
    """Of which days digests lie in the inbox, as they lie there."""
    names = [str(m.message["X-Mailbridge-Notice"]) for m in await digests(shop)]
    return [name.removeprefix("digest:") for name in names]


def html_of(mail: SeenMail) -> str:
    part = mail.message.get_body(("html",))
    assert part is not None
    return str(part.get_content())


async def test_in_the_morning_it_says_what_waits(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=ON) as shop:
        shop.clock.set(paris(20, 14))  # a Friday
        question, claim = shop.world.cast.order_question(), shop.world.cast.claim()
        await shop.settle()
        await until(shop, paris(20, 17))
        answered = shop.world.cast.claim()
        await shop.settle()
        agent = shop.world.agent()
        await agent.reply(await shop.first(answered), f"{ANSWER}\n!clos")
        await shop.settle()
        await until(shop, paris(21, 9))  # nobody works on Saturdays
        await until(shop, paris(22, 9))
        await until(shop, paris(23, 7, 59))
        assert await days(shop) == []

        await until(shop, paris(23))
        (mail,) = await digests(shop)
        assert mail.subject == (
            f"Point du lundi 23 novembre 2026 – {shop.world.books.seller} : "
            "1 en retard, 1 autre à répondre"
        )
        late, soon = (await shop.first(claim)).subject, (await shop.first(question)).subject
        text = mail.text.replace("\u00a0", " ")
        # The claim's two days ended on Sunday; the question has nine working hours.
        assert text.index("En retard (1)") < text.index(late) < text.index("À répondre (1)")
        assert text.index("À répondre (1)") < text.index(soon) < text.index("Depuis le vendredi 20")
        assert "il fallait répondre avant le dimanche 22 novembre 2026 à" in text
        assert (await shop.first(claim)).message["From"].addresses[0].display_name[:4] in text
        assert "Messages reçus : 3" in text
        assert "Réponses de la boutique : 1" in text
        assert "Discussions fermées : 1" in text
        assert late.split(" – ")[0] in html_of(mail).replace("&#39;", "'")
        # It wants to be read, belongs to no thread, and answers to nobody's discussion.
        assert "\\Seen" not in mail.flags
        assert mail.message["References"] is None
        assert mail.message["Reply-To"].addresses[0].addr_spec == shop.world.address


async def test_there_is_none_unless_it_is_asked_for(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        shop.world.cast.claim()
        await shop.settle()
        await until(shop, paris(24))
        assert await days(shop) == []


async def test_one_a_day_however_often_mailbridge_starts(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=ON) as shop:
        shop.world.cast.claim()
        await shop.settle()
        # Down over two mornings: the day's own comes late, the day before's never.
        await shop.stop()
        shop.clock.set(paris(25, 10, 20))
        await shop.start()
        await shop.settle(1)
        assert await days(shop) == ["2026-11-25"]
        await shop.restart()
        await until(shop, paris(25, 11))
        # A clock that is set back, or another time in the configuration, asks for no second.
        await until(shop, paris(25, 7))
        await shop.reconfigure(digest={"at": "14:00"})
        await until(shop, paris(25, 23))
        assert await days(shop) == ["2026-11-25"]
        # A clock that ran ahead brings no second of the days it has been through.
        await until(shop, paris(27, 15))
        await until(shop, paris(26, 15))
        await until(shop, paris(27, 16))
        assert await days(shop) == ["2026-11-25", "2026-11-27", "2026-11-26"]


async def test_a_lost_journal_brings_no_second(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=ON) as shop:
        shop.world.cast.claim()
        await shop.settle()
        await until(shop, paris(24))
        (mail,) = await digests(shop)
        await shop.restart(lose_journal=True, lose_key=True)
        await until(shop, paris(24, 9))
        assert await days(shop) == ["2026-11-24"]
        # Even where an agent has thrown it away for good.
        await shop.world.agent().expunge(mail)
        await shop.restart(lose_journal=True)
        await until(shop, paris(24, 10))
        assert await days(shop) == []
        await until(shop, paris(25))
        assert await days(shop) == ["2026-11-25"]


async def test_a_restored_journal_finds_it_wherever_it_was_put(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=ON) as shop:
        shop.world.cast.claim()
        await shop.settle()
        await until(shop, paris(24))
        (mail,) = await digests(shop)
        await shop.world.agent().delete(mail)
        # As a backup made in the night knows it.
        async with shop.bridge.ctx.write() as tx:
            row = await tx.filings.get("digest", "digest:2026-11-24")
            assert row is not None
            row.key = "digest:2026-11-01"
            row.message_id = "<gone@shop.example>"
        await shop.restart()
        await until(shop, paris(24, 9))
        assert await days(shop) == []
        (only,) = await digests(shop, shop.world.agent().trash_folder)
        assert only.message["Message-ID"] == mail.message["Message-ID"]


@pytest.mark.parametrize(
    ("day", "month", "hours"),
    [(25, 10, [(1, 59), (2, 30), (3, 10)]), (29, 3, [(1, 59), (3, 10), (3, 40)])],
    ids=["an hour comes twice", "an hour is left out"],
)
async def test_the_night_the_clocks_change(
    tmp_path: Path, day: int, month: int, hours: list[tuple[int, int]]
) -> None:
    async with open_shop(tmp_path, config={"digest": {"at": "02:15", "days": "daily"}}) as shop:
        shop.clock.set(paris(day - 1, 12, month=month))
        shop.world.cast.claim()
        await shop.settle()
        seen: list[int] = []
        for hour, minute in hours:
            await until(shop, paris(day, hour, minute, month=month))
            seen.append(len(await digests(shop)))
        assert seen == ([0, 1, 1] if month == 10 else [0, 0, 1])
        await until(shop, paris(day + 1, 2, 15, month=month))
        assert len(await digests(shop)) == 2


async def test_a_quiet_day_has_none_and_stays_quiet(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=ON) as shop:
        await shop.settle()
        await until(shop, paris(24))
        shop.world.cast.claim()
        await until(shop, paris(24, 8, 5))
        assert await days(shop) == []
        await until(shop, paris(25))
        assert await days(shop) == ["2026-11-25"]


async def test_what_is_held_what_failed_and_money_that_waits(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config={**ON, "money": LIMITS, "language": "en"}) as shop:
        cast, agent = shop.world.cast, shop.world.agent()
        held, shut = cast.claim(), cast.claim()
        paid = cast.claim(cast.order(shipped_days_ago=5), claim_type="DamagedProduct")
        asked = cast.claim(cast.order(shipped_days_ago=5), claim_type="DamagedProduct")
        await shop.settle()
        await agent.reply(await shop.first(held), f"{ANSWER}\n!colse")
        await agent.reply(await shop.first(asked), "!geste 5 €")
        await agent.reply(await shop.first(paid), "!geste 12,50 €")
        await shop.settle()
        questions = {m.subject: m for m in await shop.notices() if "confirm" in m.text}
        (question,) = [m for s, m in questions.items() if (await shop.first(paid)).subject in s]
        code = next(w for w in question.text.split() if w.isdigit() and len(w) == 6)
        await agent.reply(question, f"!confirmer {code}")
        await shop.settle()
        shop.fails(CLOSE_UNKNOWN[shop.world.door], Ask.CLOSE)
        await agent.reply(await shop.first(shut), f"{ANSWER}\n!clos")
        await shop.settle()

        await until(shop, paris(24))
        (mail,) = await digests(shop)
        text = mail.text.replace("\u00a0", " ")
        told, waits, failed = (
            text.index(words)
            for words in (
                "Replies held or uncertain (1)",
                "Money that waits (1)",
                "not be done (1)",
            )
        )
        assert told < text.index("Reply held: a command is misspelt") < waits
        assert waits < text.index("Commercial gesture of €5.00, order ") < failed
        assert waits < text.index("waits for somebody of the shop to confirm it") < failed
        assert failed < text.index("does not know it")
        assert "Commercial gestures: 1 (€12.50)" in text
        # No code, and nothing to obey, leaves its thread.
        assert not [w for w in text.split() if w.isdigit() and len(w) == 6]
        assert "!colse" not in text


async def test_a_marketplace_that_is_down_is_waited_for_and_then_named(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=ON) as shop:
        shop.world.cast.claim()
        await shop.settle()
        shop.keeps_failing(InternalError(), Ask.DISCUSSIONS)
        await shop.stop()
        shop.clock.set(paris(24, 8, 30))
        await shop.start()
        for minute in (30, 35, 39):
            shop.clock.set(paris(24, 8, minute))
            await shop.bridge.digests.run()
        async with shop.bridge.ctx.read() as tx:
            assert await tx.filings.in_state(FilingState.PLANNED) == []
        shop.clock.set(paris(24, 8, 41))
        await shop.bridge.once(None)
        (mail,) = await digests(shop)
        assert "ne répond plus depuis le 23" in mail.text


async def test_a_marketplace_that_is_read_seldom_is_not_called_down(tmp_path: Path) -> None:
    seldom = {"sweeps": {"quick_every": "45m"}}
    async with open_shop(tmp_path, config=ON | seldom) as shop:
        shop.world.cast.claim()
        await shop.settle()
        await until(shop, paris(24, 7, 20))
        shop.clock.set(paris(24, 8, 1))
        await shop.bridge.once(None)
        (mail,) = await digests(shop)
        assert "ne répond plus" not in mail.text


async def test_what_staff_write_below_it_stays_among_them(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=ON) as shop:
        claim = shop.world.cast.claim()
        await shop.settle()
        await until(shop, paris(24))
        (mail,) = await digests(shop)
        agent = shop.world.agent()
        await agent.reply(mail, "Paul, tu prends la première ?")
        await agent.reply(mail, "!clos\n\nBonjour, c'est réglé.")
        await agent.forward(mail, shop.world.address, "Pour information")
        await until(shop, paris(24, 9))
        await shop.later(minutes=10)
        assert shop.sent == []
        assert not claim.closed
        assert await shop.told() == ["digest"]


async def test_a_digest_that_comes_too_late_is_not_filed(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config=ON) as shop:
        shop.world.cast.claim()
        await shop.settle()
        shop.clock.set(paris(24, 23, 50))
        await shop.bridge.sweep.run(SweepKind.QUICK)
        await shop.bridge.digests.run()
        await until(shop, paris(25, 0, 10))
        assert await days(shop) == []
        await until(shop, paris(25))
        assert await days(shop) == ["2026-11-25"]
