"""What the marketplace shows and nobody can read is seen by the operator until it reads again."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailbridge.bridge.sweep import SweepKind
from mailbridge.ops.alert import Alerts, AlertSettings
from mailbridge.sandbox.books import BookedDiscussion
from mailbridge.sandbox.faults import Fault, Rewrite
from mailbridge.sandbox.octopia.documents import stamp
from mailbridge.sandbox.world import Door
from mailbridge.service import look_out
from tests.doors import Ask, spoils
from tests.shop import Shop, open_shop

ORDERS_SPOILT = {
    Door.CDISCOUNT: Rewrite(b"<CreationDate>", b"<CreationDate>gestern"),
    Door.OCTOPIA: Rewrite(b'"createdAt":"', b'"createdAt":"gestern '),
}


def spoils_named(door: Door, discussion: BookedDiscussion) -> Fault:
    """It can't be read, but has an id by which it can be told from others."""
    if door is Door.CDISCOUNT:
        return spoils(door, discussion)
    date = f'"createdAt":"{stamp(discussion.messages[0].at)}"'
    return Rewrite(date.encode(), b'"createdAt":"gestern"')


async def unreadable(shop: Shop) -> list[dict[str, Any]]:
    (account,) = (await shop.operations.status())["accounts"]
    found: list[dict[str, Any]] = account["unreadable"]
    return found


async def swept_until(shop: Shop) -> datetime | None:
    async with shop.bridge.ctx.read() as tx:
        return await tx.discussions.seen_until(SweepKind.WIDE)


async def test_a_discussion_that_stays_unreadable_is_told_until_it_reads_again(
    tmp_path: Path,
) -> None:
    async with open_shop(tmp_path) as shop:
        bad = shop.world.cast.claim()
        shop.clock.advance(timedelta(minutes=1))
        good = shop.world.cast.claim()
        ident = str(bad.id) if shop.world.door is Door.CDISCOUNT else bad.object_id
        shop.keeps_failing(spoils_named(shop.world.door, bad), Ask.DISCUSSIONS)
        await shop.settle()
        assert len(await shop.thread(good)) == 1
        (told,) = await unreadable(shop)
        assert (told["kind"], told["id"], told["lasts"]) == ("discussion", ident, False)
        assert told["words"]
        since = told["since"]

        # It is the same trouble after a restart, and by then one that lasts: one alert, and the
        # heart goes on beating.
        await shop.restart()
        await shop.later(hours=3)
        (told,) = await unreadable(shop)
        assert (told["since"], told["lasts"]) == (since, True)
        settings = AlertSettings(
            host="srv1", sender=shop.world.address, recipient=shop.world.address, after=0, calm=0
        )
        alerts = Alerts(settings, submission=shop.bridge.ctx.submission)
        for _ in range(2):
            await look_out([shop.bridge], alerts)
            await alerts.tell()
        assert alerts.all_well
        (alert,) = [m for m in await shop.inbox() if "srv1" in m.subject]
        assert ident in alert.text

        shop.recovers()
        await shop.later(minutes=5)
        assert await unreadable(shop) == []
        assert len(await shop.thread(bad)) == 1
        await look_out([shop.bridge], alerts)
        await alerts.tell()
        assert [m.subject for m in await shop.inbox() if "srv1" in m.subject][1:] == [
            "[mailbridge] srv1\u00a0: brindille/unreadable de nouveau en marche"
        ]


@pytest.mark.api
async def test_one_without_an_id_is_told_and_does_not_hold_the_window(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.settle()
        bad = shop.world.cast.claim()
        shop.keeps_failing(spoils(shop.world.door, bad), Ask.DISCUSSIONS)
        before = await swept_until(shop)
        await shop.later(minutes=5)
        after = await swept_until(shop)
        assert before is not None and after is not None and after > before
        (told,) = await unreadable(shop)
        assert (told["kind"], told["id"]) == ("discussion", "?")

        # Nobody can say which one reads again: it is gone when no list has shown it for hours.
        shop.recovers()
        await shop.later(hours=4)
        await shop.bridge.once(SweepKind.FULL)
        assert await unreadable(shop) == []


async def test_an_order_that_stays_unreadable_is_told_until_it_reads_again(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        claim = shop.world.cast.claim()
        shop.keeps_failing(ORDERS_SPOILT[shop.world.door], Ask.ORDERS)
        await shop.settle()
        assert len(await shop.thread(claim)) == 1  # its words came all the same
        assert ("order", claim.order_number) in {
            (told["kind"], told["id"]) for told in await unreadable(shop)
        }
        await shop.restart()
        await shop.later(hours=3)
        assert any(told["lasts"] for told in await unreadable(shop))

        # No list need show it any more: it is asked for by its number, also after a restart.
        await shop.restart()
        shop.recovers()
        await shop.later(days=5)
        assert await unreadable(shop) == []
