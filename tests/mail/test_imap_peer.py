"""A signed-in IMAP session whose server drops, hangs or says goodbye, also in the midst of IDLE."""

from __future__ import annotations

import asyncio

import pytest

from mailbridge.mail import imap_guard, imap_wire
from mailbridge.mail.port import MailboxLost
from tests.mail.imap_peer import LOGOUT, SELECTED, at_most, opening, session_with

SOON = 0.5
"""Seconds: the time limit given where the server will not answer."""


class TestTheServerGoesAway:
    """Every pending call ends soon, and every later one at once, with the same reason."""

    @pytest.mark.parametrize(
        ("ending", "reason"),
        [
            ("DROP", "closed by the server"),
            ("RESET", "connection lost"),
            ("S: * BYE Server shutting down.", "Server shutting down"),
            ("S: OTHER1 OK done", "could not be understood"),
            ("S: * SEARCH 1 2\nS: OTHER2 NO you", "could not be understood"),
        ],
    )
    async def test_in_the_middle_of_a_command(self, ending: str, reason: str) -> None:
        async with session_with(
            opening(), SELECTED, "C: UID SEARCH UID 1:* UNDELETED", ending
        ) as session:
            with at_most(4), pytest.raises(MailboxLost, match=reason):
                await session.uids("INBOX")
            with at_most(0.5), pytest.raises(MailboxLost, match=reason):
                await session.state("INBOX")

    async def test_it_never_answers(self) -> None:
        async with session_with(
            opening(), SELECTED, "C: UID SEARCH UID 1:* UNDELETED", "END", limit=SOON
        ) as session:
            waiting = asyncio.ensure_future(session.uids("INBOX"))
            await asyncio.sleep(0)
            with at_most(4), pytest.raises(MailboxLost, match="no answer to SEARCH INBOX"):
                await session.state("INBOX")
            with pytest.raises(MailboxLost, match="no answer to SEARCH INBOX"):
                await waiting

    async def test_it_drips_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(imap_guard, "PATIENCE", 3)
        async with session_with(
            opening(),
            SELECTED,
            "C: UID SEARCH UID 1:* UNDELETED",
            "DRIP * 9 EXISTS",
            limit=SOON,
        ) as session:
            with at_most(4), pytest.raises(MailboxLost, match="no answer"):
                await session.uids("INBOX")

    async def test_slow_is_not_gone(self) -> None:
        async with session_with(
            opening(),
            SELECTED,
            "C: UID SEARCH UID 1:* UNDELETED",
            *(["S: * 9 EXISTS", "PAUSE 0.15"] * 5),
            "S: * SEARCH 4",
            "S: # OK",
            LOGOUT,
            limit=SOON,
        ) as session:
            assert await session.uids("INBOX") == [4]

    async def test_logout_is_not_waited_for(self) -> None:
        with at_most(4):
            async with session_with(opening(), "C: LOGOUT", "END", limit=SOON):
                pass

    async def test_a_line_without_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(imap_wire, "LONGEST_LINE", 10_000)
        endless = b"* SEARCH" + b" 1" * 20_000
        async with session_with(opening(), SELECTED, "C: UID SEARCH …", endless, "END") as session:
            with at_most(4), pytest.raises(MailboxLost, match="could not be understood"):
                await session.uids("INBOX")

    async def test_a_literal_beyond_all_measure(self) -> None:
        async with session_with(
            opening(),
            SELECTED,
            "C: UID FETCH 1…",
            "S: * 1 FETCH (UID 1 BODY[] {99999999999}",
            "END",
        ) as session:
            with at_most(4), pytest.raises(MailboxLost, match="could not be understood"):
                await session.fetch("INBOX", 1)


class TestIdle:
    async def test_the_server_never_says_idling(self) -> None:
        async with session_with(opening("IDLE"), SELECTED, "C: IDLE", "END", limit=SOON) as session:
            with at_most(4), pytest.raises(MailboxLost, match="no answer to IDLE"):
                await session.wait("INBOX", 600)

    @pytest.mark.parametrize("end", ["DROP", "RESET", "S: * BYE Logged out for inactivity"])
    @pytest.mark.parametrize("idling", ["S: + idling", "PAUSE 0"])
    async def test_the_server_goes(self, end: str, idling: str) -> None:
        async with session_with(
            opening("IDLE"), SELECTED, "C: IDLE", idling, "PAUSE 0.05", end
        ) as session:
            with at_most(4), pytest.raises(MailboxLost):
                await session.wait("INBOX", 600)

    async def test_done_is_never_answered(self) -> None:
        async with session_with(
            opening("IDLE"),
            SELECTED,
            "C: IDLE",
            "S: + idling",
            "c: DONE",
            "END",
            limit=SOON,
        ) as session:
            with at_most(4), pytest.raises(MailboxLost, match="no answer to DONE"):
                await session.wait("INBOX", 0.1)

    async def test_news_and_signs_of_life(self) -> None:
        async with session_with(
            opening("IDLE"),
            SELECTED,
            """
            C: IDLE
            S: + idling
            S: * OK Still here
            c: DONE
            S: # OK
            C: IDLE
            S: + idling
            S: * 4 EXISTS
            c: DONE
            S: * 1 RECENT
            S: # OK
            C: IDLE
            S: + idling
            S: * 2 FETCH (FLAGS (\\Seen))
            c: DONE
            S: # OK
            """,
            LOGOUT,
        ) as session:
            assert await session.wait("INBOX", 0.2) is False
            assert await session.wait("INBOX", 5) is True
            assert await session.wait("INBOX", 5) is True

    async def test_it_is_renewed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(imap_guard, "RENEW_IDLE", 0.1)
        once = "C: IDLE\nS: + idling\nc: DONE\nS: # OK\n"
        async with session_with(opening("IDLE"), SELECTED, once * 3, LOGOUT) as session:
            assert await session.wait("INBOX", 0.25) is False

    async def test_it_gives_way_and_goes_on(self) -> None:
        async with session_with(
            opening("IDLE"),
            SELECTED,
            """
            C: IDLE
            S: + idling
            c: DONE
            S: # OK
            C: NOOP
            S: # OK
            C: UID SEARCH UID 1:* UNDELETED
            S: * SEARCH 1
            S: # OK
            C: IDLE
            S: + idling
            PAUSE 0.05
            S: * 4 EXISTS
            c: DONE
            S: # OK
            """,
            LOGOUT,
        ) as session:
            waiting = asyncio.ensure_future(session.wait("INBOX", 600))
            await asyncio.sleep(0.05)
            assert await session.uids("INBOX") == [1]
            with at_most(4):
                assert await waiting is True

    async def test_news_told_during_another_command_count(self) -> None:
        async with session_with(
            opening("IDLE"),
            SELECTED,
            """
            C: UID SEARCH UID 1:* UNDELETED
            S: * SEARCH 1
            S: * 4 EXISTS
            S: # OK
            """,
            LOGOUT,
        ) as session:
            await session.uids("INBOX")
            assert await session.wait("INBOX", 600) is True

    @pytest.mark.parametrize("end", ["S: # NO not now", "S: + idling\nS: # OK enough"])
    async def test_a_server_that_will_not_idle_is_polled(
        self, end: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(imap_guard, "POLL", 0.1)
        async with session_with(
            opening("IDLE"),
            SELECTED,
            "C: IDLE",
            end,
            """
            C: NOOP
            S: # OK
            C: NOOP
            S: * 4 EXISTS
            S: # OK
            """,
            LOGOUT,
        ) as session:
            assert await session.wait("INBOX", 5) is True

    @pytest.mark.parametrize("offered", ["", "IDLE"])
    async def test_without_idle_it_is_polled(
        self, offered: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(imap_guard, "POLL", 0.1)
        async with session_with(
            opening(offered),
            SELECTED,
            "C: NOOP",
            "S: * 4 EXISTS",
            "S: # OK",
            LOGOUT,
            idle=not offered,
        ) as session:
            assert await session.wait("INBOX", 5) is True

    async def test_a_loss_while_waiting_without_idle(self) -> None:
        async with session_with(opening(), SELECTED, "PAUSE 0.1", "RESET") as session:
            with at_most(4), pytest.raises(MailboxLost):
                await session.wait("INBOX", 600)
