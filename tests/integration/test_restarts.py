"""Daemon, mailbox, submission and marketplace are killed while work is under way, and come back.

One story, because a back-fill is what takes time: a thousand discussions are filed (fewer through
the newer API), staff answer, customers write on. In the end each message lies in the mailbox once,
each answer reached its customer once, and its discussion is closed.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from email.message import EmailMessage
from functools import partial
from pathlib import Path

import pytest

from mailbridge.sandbox.faults import Hang
from mailbridge.sandbox.world import Door
from tests.doors import Ask, operations
from tests.integration.place import Place, open_place
from tests.requirements import find_contract

LONG = 30.0
"""Seconds for which a server is silent that is killed meanwhile."""
Doing = Callable[[], Awaitable[None]]
MESSAGE, NOTICE_KIND = "X-Mailbridge-Message", "X-Mailbridge-Notice-Kind"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("door", "many"), [(Door.CDISCOUNT, 1000), (Door.OCTOPIA, 300)])
async def test_nothing_is_lost_or_doubled_whoever_is_killed(
    tmp_path: Path, door: Door, many: int
) -> None:
    contract = find_contract() if door is Door.CDISCOUNT else None
    async with open_place(tmp_path, door, contract) as place:
        day = Day(place, many)
        await day.the_back_fill_is_disturbed()
        await day.so_are_the_answers()
        await day.doubts_are_decided()
        await place.until_quiet(seconds=150)
        await place.until_moved(day.answers)
        print(f"{day.mails} mails filed in {day.seconds:.1f} s, all deaths included;", end=" ")
        print(f"the daemon held {place.weigh()} MiB at most")

        mails = [mail for mail in await place.mails() if mail["X-Mailbridge-Account"]]
        ids = Counter(str(mail["Message-ID"]) for mail in mails)
        assert [ident for ident, times in ids.items() if times > 1] == []
        assert day.filed(mails) == day.to_be_filed()
        # Each answer left once, arrived once, and its agent was told once.
        words = Counter(day.answers.values())
        assert Counter(answer.text for answer in place.world.taken) == words
        books = place.world.books
        assert Counter(t for d in books.discussions for t in d.seller_texts if t in words) == words
        assert {place.ident(d) for d in books.discussions if d.closed} == day.answers.keys()
        assert day.receipts(mails) == Counter(day.answers.keys())


class Day:
    """What staff and customers do while servers die."""

    def __init__(self, place: Place, many: int) -> None:
        """Three days ago so many customers wrote; some were answered on the web."""
        self.place = place
        self.answers: dict[str, str] = {}
        """What was answered in which discussion."""
        self.mails = 0
        self.seconds = 0.0
        place.clock.behind = timedelta(days=3)
        self._past = place.world.cast.history(many, closed_share=0)
        place.clock.behind = timedelta(0)
        self._talkative = iter(self._past[100:])

    # --- the story ----------------------------------------------------------------------------

    async def the_back_fill_is_disturbed(self) -> None:
        place = self.place
        self.mails = sum(len(d.messages) for d in self._past)
        begun = time.monotonic()
        await place.start()
        asked, lists = place.marketplace.calls, operations(place.world.door, Ask.DISCUSSIONS)
        await place.until(lambda: any(c.operation in lists for c in asked), "a list is asked for")
        await place.kill_marketplace()
        await place.until_filed(self.mails // 6)
        await place.kill_daemon()
        # With no server to take it this one has surely not left, and goes by itself in a minute.
        await self._answer(place.close_the_exit)
        await place.until(lambda: bool(_outcomes(place)), "the daemon has tried to send")
        await place.open_the_exit()
        assert _outcomes(place) == ["deferred"]
        await place.until_filed(self.mails // 2)
        await place.kill_dovecot()
        await place.until_filed(self.mails)
        self.seconds = time.monotonic() - begun

    async def so_are_the_answers(self) -> None:
        place = self.place
        for kill in (place.kill_daemon, place.kill_dovecot):
            await self._answer()
            await self._meanwhile(kill)
        # Closed, but nobody was told so.
        market, (close,) = place.marketplace, operations(place.world.door, Ask.CLOSE)
        market.faults.once(Hang(LONG, after=True), close)
        before = market.performed(close)
        await self._answer()
        await place.until(
            lambda: market.performed(close) > before, "one more is closed", seconds=60
        )
        await self._meanwhile(place.kill_marketplace)
        # What a fault on the way out meets must be what it is meant for.
        await self._until_arrived(*self.answers.values())
        # Taken, but nobody was told so: by the daemon's death, then by the server's.
        for kill in (place.kill_daemon, place.kill_the_exit):
            words = await self._answer(partial(place.silence_the_exit, LONG, kept=True))
            await self._until_arrived(words)
            await self._meanwhile(kill)
        # Swallowed without a word.
        await self._answer(partial(place.silence_the_exit, LONG, kept=False))
        await place.until(lambda: place.exit_is_silent, "the server is silent")
        await self._meanwhile(place.kill_the_exit)

    async def doubts_are_decided(self) -> None:
        """The operator has sent again what may have left and did not arrive."""
        place = self.place
        for ident, words in self.answers.items():
            while not self._arrived(words):
                shown = await place.ask("show", discussion=ident)
                await place.world.mail.settled()
                if shown["deliveries"][-1]["state"] == "uncertain" and not self._arrived(words):
                    await place.ask("resend", discussion=ident)
                await asyncio.sleep(0.2)

    # --- what people do -----------------------------------------------------------------------

    async def _answer(self, before: Doing | None = None) -> str:
        """The next customer in the mailbox is answered for good; the words of it.

        `before` comes between the agent's sending and the daemon's.
        """
        discussion = self._past[len(self.answers)]
        words = f"Bonjour, voici notre réponse numéro {len(self.answers)}."
        mail = await self.place.first(discussion)
        await self.place.reply(mail, f"{words}\n!clos", before=before)
        self.answers[self.place.ident(discussion)] = words
        return words

    async def _meanwhile(self, kill: Doing) -> None:
        """Customers write before and after a server dies."""
        self._write()
        await kill()
        self._write()

    def _write(self) -> None:
        cast = self.place.world.cast
        cast.follow_up(next(self._talkative))
        cast.discussion()

    # --- what is to be seen -------------------------------------------------------------------

    def to_be_filed(self) -> Counter[str]:
        """Discussion -> messages, less what staff wrote by mail."""
        return Counter(
            {
                self.place.ident(d): len(d.messages) - (self.place.ident(d) in self.answers)
                for d in self.place.world.books.discussions
            }
        )

    @staticmethod
    def filed(mails: Iterable[EmailMessage]) -> Counter[str]:
        """Discussion -> mails that show a message of it."""
        return Counter(str(m["X-Mailbridge-Discussion"]) for m in mails if m[MESSAGE])

    @staticmethod
    def receipts(mails: Iterable[EmailMessage]) -> Counter[str]:
        """Discussion -> receipts."""
        return Counter(
            str(m["X-Mailbridge-Discussion"]) for m in mails if m[NOTICE_KIND] == "receipt"
        )

    async def _until_arrived(self, *answers: str) -> None:
        await self.place.until(
            lambda: all(map(self._arrived, answers)), f"the relay has {answers}", seconds=90
        )

    def _arrived(self, words: str) -> bool:
        return any(answer.text == words for answer in self.place.world.taken)


def _outcomes(place: Place) -> list[object]:
    return [event["outcome"] for event in place.heard("reply handed over")]
