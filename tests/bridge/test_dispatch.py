"""Handing a reply over: refused, put off, lost in the middle, and never sent twice."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path

import pytest

from mailbridge.sandbox.books import BookedDiscussion
from mailbridge.sandbox.faults import HtmlError
from mailbridge.sandbox.mailserver import Provider
from mailbridge.sandbox.smtp import HangAfterDot, Reply, Stage
from mailbridge.sandbox.world import Door
from tests.shop import Shop, open_shop

ANSWER = "Bonjour, votre colis arrive demain."


async def answered(shop: Shop, text: str = ANSWER) -> BookedDiscussion:
    """An order question in the mailbox, and a reply to it that mailbridge has not seen yet."""
    discussion = shop.world.cast.order_question()
    await shop.settle()
    await shop.world.agent().reply(await shop.first(discussion), text)
    return discussion


async def test_refused_for_now_is_tried_again_on_a_schedule(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop)
        shop.handover.put_off()
        await shop.settle(1)
        assert (await shop.states(discussion))["deliveries"] == ["planned"]
        await shop.later(minutes=10)
        assert await shop.told() == []  # no agent needs to know yet

        await shop.later(minutes=30)
        notice = await shop.notice("trouble/submission_delayed")
        assert not notice.seen
        words = {Door.CDISCOUNT: "451 4.3.2 Try again later", Door.OCTOPIA: "HTTP 429"}
        assert words[shop.world.door] in notice.text
        await shop.later(hours=1)
        assert await shop.told() == ["trouble/submission_delayed"]  # said once

        shop.handover.well()
        await shop.later(hours=1)
        assert shop.sent == [ANSWER]
        assert (await shop.told())[-1] == "receipt"


async def test_after_a_day_it_is_held_and_a_person_may_send_it(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop)
        shop.handover.put_off()
        await shop.settle(1)
        for _ in range(26):
            await shop.later(hours=1)
        assert (await shop.states(discussion))["deliveries"] == ["held"]
        notice = await shop.notice("hold/submission_gave_up")
        assert shop.sent == []

        shop.handover.well()
        await shop.later(hours=5)
        assert shop.sent == []  # nobody said so
        await shop.world.agent().reply(notice, "!envoyer")
        await shop.settle()
        assert shop.sent == [ANSWER]
        assert (await shop.states(discussion))["deliveries"] == ["recorded"]


async def test_refused_for_good_is_held_with_the_servers_words(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop)
        shop.handover.refused("Quota d'envoi dépassé")
        await shop.settle()
        await shop.later(hours=2)

        notice = await shop.notice("hold/submission_refused")
        assert "Quota d'envoi dépassé" in notice.text
        assert ANSWER in notice.text
        assert shop.sent == []
        assert (await shop.states(discussion))["deliveries"] == ["held"]

        await shop.world.agent().reply(notice, "!envoyer")
        await shop.settle()
        assert shop.sent == [ANSWER]


async def test_a_corrected_reply_takes_the_place_of_a_refused_one(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop)
        shop.handover.refused("Contenu refusé")
        await shop.settle()
        notice = await shop.notice("hold/submission_refused")
        await shop.world.agent().reply(notice, "Bonjour, il arrive demain.")
        await shop.settle()

        assert shop.sent == ["Bonjour, il arrive demain."]
        assert (await shop.states(discussion))["deliveries"] == ["cancelled", "recorded"]


async def test_lost_after_the_dot_but_delivered_is_never_sent_twice(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop, f"{ANSWER}\n!clos")
        shop.world.books.seller_lag = timedelta(minutes=57)
        shop.handover.lost(kept=True)
        await shop.settle()
        assert (await shop.states(discussion))["deliveries"] == ["uncertain"]
        assert await shop.told() == ["trouble/submission_uncertain"]
        assert not discussion.closed

        await shop.later(minutes=58)
        assert shop.sent == [ANSWER]
        assert (await shop.states(discussion))["deliveries"] == ["recorded"]
        assert discussion.closed
        assert "receipt" in await shop.told("Clos")


async def test_lost_after_the_dot_and_not_delivered_waits_for_a_person(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop)
        shop.handover.lost(kept=False)
        await shop.settle()
        await shop.later(hours=1)
        assert await shop.told() == ["trouble/submission_uncertain"]
        await shop.later(hours=2, minutes=5)

        notice = await shop.notice("trouble/unrecorded")
        assert ANSWER in notice.text
        assert shop.sent == []
        await shop.later(days=2)
        assert (await shop.told()).count("trouble/unrecorded") == 1
        assert shop.sent == []

        await shop.world.agent().reply(notice, "!renvoyer")
        await shop.settle()
        assert shop.sent == [ANSWER]
        assert (await shop.states(discussion))["deliveries"] == ["resent", "recorded"]
        assert (await shop.told())[-1] == "receipt"


async def test_resending_reads_the_discussion_once_more(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop)
        shop.handover.lost(kept=False)
        await shop.settle()
        await shop.later(hours=4)
        notice = await shop.notice("trouble/unrecorded")
        await shop.world.agent().reply(notice, "!renvoyer")
        # Meanwhile somebody said the same in the seller's web page.
        shop.world.books.seller_writes(discussion, ANSWER)
        await shop.settle()

        assert shop.sent == []
        assert discussion.seller_texts == [ANSWER]
        assert "recorded" in (await shop.states(discussion))["deliveries"]


async def test_a_resend_that_is_called_off_ends_the_close_as_well(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop, f"{ANSWER}\n!clos")
        shop.handover.lost(kept=False)
        await shop.settle()
        await shop.later(hours=4)
        notice = await shop.notice("trouble/unrecorded")
        shop.keeps_failing(HtmlError(503))
        agent = shop.world.agent()
        await agent.reply(notice, "!renvoyer")
        await shop.bridge.once(None)
        assert (await shop.states(discussion))["deliveries"] == ["resent", "planned"]
        shop.clock.advance(timedelta(seconds=20))
        await agent.reply(notice, "!annuler")
        await shop.bridge.once(None)
        shop.recovers()
        await shop.later(hours=1)

        assert shop.sent == []
        assert await shop.states(discussion) == {
            "replies": ["settled"] * 3,
            "money": [],
            "deliveries": ["resent", "cancelled"],
            "closings": ["withdrawn"],
        }


async def test_a_resend_that_gives_way_to_new_words_ends_the_close_as_well(
    tmp_path: Path,
) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop, f"{ANSWER}\n!clos")
        shop.handover.lost(kept=False)
        await shop.settle()
        await shop.later(hours=4)
        await shop.world.agent().reply(await shop.notice("trouble/unrecorded"), "!renvoyer")
        shop.handover.refused("Contenu refusé")
        await shop.settle()
        refused = await shop.notice("hold/submission_refused")
        await shop.world.agent().reply(refused, "Bonjour, il arrive demain.")
        await shop.settle()

        assert shop.sent == ["Bonjour, il arrive demain."]
        assert await shop.states(discussion) == {
            "replies": ["settled"] * 3,
            "money": [],
            "deliveries": ["resent", "cancelled", "recorded"],
            "closings": ["withdrawn"],
        }


@pytest.mark.relay
async def test_no_answer_at_all_after_the_dot(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config={"smtp": {"timeout": 5}}) as shop:
        discussion = await answered(shop)
        shop.world.mail.submission.faults.once(HangAfterDot(7, kept=True))
        await shop.settle()

        assert shop.sent == [ANSWER]
        assert (await shop.states(discussion))["deliveries"] == ["recorded"]


@pytest.mark.relay
async def test_the_providers_sent_copy_settles_what_is_uncertain(tmp_path: Path) -> None:
    async with open_shop(tmp_path, provider=Provider(saves_sent_copy=True)) as shop:
        shop.world.relay.faults.always(Reply(Stage.RCPT, "451 4.3.0 not now"))
        discussion = await answered(shop)
        shop.handover.lost(kept=True)
        await shop.bridge.once(None)
        assert (await shop.states(discussion))["deliveries"] == ["uncertain"]
        await shop.bridge.once(None)
        assert (await shop.states(discussion))["deliveries"] == ["submitted"]
        assert "hold" not in "".join(await shop.told())

        shop.world.relay.faults.clear()
        await shop.settle()
        assert (await shop.states(discussion))["deliveries"] == ["recorded"]


async def test_stopped_in_the_middle_of_handing_over(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await answered(shop)
        outgoing = shop.bridge.dispatch

        async def cut(*_: object) -> None:
            raise ConnectionAbortedError("the machine is switched off")

        outgoing._settle = cut  # type: ignore[assignment, method-assign]
        with contextlib.suppress(ConnectionAbortedError):
            await shop.settle(1)
        await shop.world.mail.settled()
        await shop.restart()
        await shop.settle()

        assert shop.sent == [ANSWER]
        assert (await shop.states(discussion))["deliveries"] == ["recorded"]


async def test_an_unrecorded_reply_that_shows_up_late_is_recorded(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        shop.world.books.seller_lag = timedelta(hours=5)
        discussion = await answered(shop)
        await shop.settle()
        await shop.later(hours=4)
        assert await shop.told() == ["trouble/unrecorded"]
        await shop.later(hours=2)

        assert (await shop.states(discussion))["deliveries"] == ["recorded"]
        assert (await shop.told())[-1] == "receipt"


# --- an optional delay ----------------------------------------------------------------------------


async def test_within_the_delay_a_reply_can_be_cancelled(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config={"replies": {"delay": "5m"}}) as shop:
        discussion = await answered(shop)
        await shop.settle()
        assert shop.sent == []
        await shop.world.agent().reply(await shop.first(discussion), "!annuler")
        await shop.settle()
        await shop.later(minutes=10)

        assert shop.sent == []
        assert (await shop.states(discussion))["deliveries"] == ["cancelled"]
        assert "arrêtée" in (await shop.notice("receipt")).text


async def test_within_the_delay_deleting_the_sent_copy_stops_it(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config={"replies": {"delay": "5m"}}) as shop:
        discussion = await answered(shop, f"{ANSWER}\n!clos")
        await shop.settle()
        (copy,) = await shop.inbox("Sent")
        await shop.world.agent().delete(copy)
        await shop.later(minutes=6)

        assert shop.sent == []
        assert (await shop.states(discussion))["deliveries"] == ["cancelled"]
        assert not discussion.closed
        receipt = await shop.notice("receipt")
        assert "arrêtée" in receipt.text


async def test_a_reply_whose_sent_copy_stays_goes_after_the_delay(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config={"replies": {"delay": "5m"}}) as shop:
        discussion = await answered(shop)
        await shop.settle()
        await shop.later(minutes=6)

        assert shop.sent == [ANSWER]
        assert (await shop.states(discussion))["deliveries"] == ["recorded"]


async def test_a_sent_copy_in_a_folder_made_anew_still_counts(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config={"replies": {"delay": "5m"}}) as shop:
        await answered(shop)
        await shop.settle()
        (copy,) = await shop.inbox("Sent")
        imap = shop.world.mail.imap
        assert imap is not None
        await imap.recreate(shop.world.address, "Sent")
        await imap.append(shop.world.address, copy.data, folder="Sent")
        await shop.later(minutes=6)

        assert shop.sent == [ANSWER]


async def test_with_the_mailbox_out_of_reach_a_delayed_reply_waits(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config={"replies": {"delay": "5m"}}) as shop:
        discussion = await answered(shop)
        await shop.settle()
        imap = shop.world.mail.imap
        assert imap is not None
        await imap.stop()
        shop.clock.advance(shop.bridge.ctx.config.replies.delay * 2)
        await shop.bridge.outgoing()
        assert shop.sent == []
        assert (await shop.states(discussion))["deliveries"] == ["planned"]
        await imap.start()
        await shop.later(minutes=5)

        assert shop.sent == [ANSWER]
