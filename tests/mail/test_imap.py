"""The mailbox port against real servers: one suite for all of them.

`dovecot` offers everything; `courier` has its folders below `INBOX.` in a maildir; `bare` is a
Dovecot that announces nothing but IMAP4rev1, so every fallback is used; `pymap` is the embedded
server of the demo.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mailbridge.mail.imap import ImapMailbox, ImapSession, ImapSettings
from mailbridge.mail.port import (
    Folder,
    Mailbox,
    MailboxLost,
    MailboxRefused,
    MailboxSession,
    MailboxSignIn,
    MailToFile,
    SpecialUse,
)
from mailbridge.sandbox.clock import wall_clock
from mailbridge.sandbox.imapserver import ImapServer
from tests.dovecot import PASSWORD, Dovecot
from tests.mail.mailboxes import NOON, mail, password, stored


@pytest.fixture(scope="module")
def bare() -> Iterator[Dovecot]:
    with Dovecot("maildir", offered="IMAP4rev1") as server:
        yield server


@pytest.fixture(params=["dovecot", "courier", "bare", "pymap"])
async def mailbox(request: pytest.FixtureRequest, user: str) -> AsyncIterator[ImapMailbox]:
    """A fresh mailbox on each kind of server."""
    if request.param == "pymap":
        async with ImapServer({user: PASSWORD}, clock=wall_clock) as server:
            yield ImapMailbox(
                ImapSettings("127.0.0.1", user, server.port, "plain", timeout=10), password
            )
        return
    dovecot: Dovecot = request.getfixturevalue(request.param)
    yield ImapMailbox(ImapSettings("127.0.0.1", user, dovecot.imap, "plain", timeout=10), password)


@pytest.fixture
async def session(mailbox: ImapMailbox) -> AsyncIterator[ImapSession]:
    async with mailbox.session() as opened:
        yield opened


class TestEveryServer:
    """What the port promises, wherever the mailbox is."""

    def test_it_is_what_the_port_asks_for(self, mailbox: ImapMailbox) -> None:
        port: Mailbox = mailbox
        assert port is mailbox

    async def test_the_session_is_too(self, session: ImapSession) -> None:
        port: MailboxSession = session
        assert "IMAP4REV1" in port.capabilities

    # --- folders ---

    async def test_a_folder_is_created_once_and_listed_by_the_name_given(
        self, session: ImapSession
    ) -> None:
        await session.ensure_folder("Clos")
        await session.ensure_folder("Clos")
        names = [folder.name for folder in await session.folders()]
        assert names.count("Clos") == 1
        assert names.count("INBOX") == 1

    @pytest.mark.parametrize(
        "name", ["Réglés", "SAV/Été 2026", "R&D", 'le "bon"', "a * b", "日本", "100 {5}"]
    )
    async def test_a_name_as_a_person_writes_it_goes_round(
        self, session: ImapSession, name: str
    ) -> None:
        await session.ensure_folder(name)
        assert name in [folder.name for folder in await session.folders()]
        await session.append(name, [mail(1)])
        assert await session.find(name, ["<m.1@mb.shop.example>"])

    async def test_sent_folders_are_known(self, session: ImapSession) -> None:
        await session.ensure_folder("Éléments envoyés")
        found = {folder.name: folder for folder in await session.folders()}
        assert found["Sent"].use is SpecialUse.SENT
        assert found["Éléments envoyés"] == Folder("Éléments envoyés", SpecialUse.SENT, True)
        assert found["INBOX"].use is None

    async def test_the_prefix_of_the_server_may_be_written_too(
        self, session: ImapSession, mailbox: ImapMailbox
    ) -> None:
        await session.ensure_folder("Clos")
        async with mailbox.session() as other:
            await other.append("Clos", [mail(1)])
        assert len(await session.uids("inbox")) == 0
        assert len(await session.uids("Clos")) == 1

    async def test_state_tells_the_next_uid_also_of_the_selected_folder(
        self, session: ImapSession, mailbox: ImapMailbox
    ) -> None:
        before = await session.state("INBOX")
        await session.uids("INBOX")
        async with mailbox.session() as other:
            await other.append("INBOX", [mail(1), mail(2)])
        after = await session.state("INBOX")
        assert after.uidvalidity == before.uidvalidity
        assert after.uidnext == before.uidnext + 2

    async def test_a_folder_that_is_not_there_is_refused_and_the_session_goes_on(
        self, session: ImapSession
    ) -> None:
        with pytest.raises(MailboxRefused, match="Nulle part"):
            await session.uids("Nulle part")
        with pytest.raises(MailboxRefused, match="APPEND Nulle part refused"):
            await session.append("Nulle part", [mail(1)])
        with pytest.raises(MailboxRefused):
            await session.state("Nulle part")
        assert await session.uids("INBOX") == []

    # --- storing ---

    async def test_mails_are_stored_in_order_and_octet_for_octet(
        self, session: ImapSession
    ) -> None:
        hostile = [
            mail(1, body="Été – 😀\r\n".encode()),
            mail(2, body=b"* 7 FETCH (UID 9)\r\nA1 OK done\r\n+ go on\r\n.\r\n)\r\n{5}\r\n"),
            mail(3, body=b""),
            mail(4, body=b"x" * 100_000 + b"\r\n"),
            mail(5, body=b'(((\r\n"\\\r\n'),
        ]
        uids = await session.append("INBOX", hostile)
        assert await stored(session) == [m.data for m in hostile]
        known = await session.find("INBOX", [m.message_id for m in hostile])
        assert list(known.values()) == sorted(known.values())
        assert uids in ([*known.values()], [None] * 5)

    async def test_flags_keywords_and_date_are_kept(self, session: ImapSession) -> None:
        await session.append("INBOX", [mail(1, flags=["\\Seen", "$Mailbridge"]), mail(2)])
        first, second = await session.headers("INBOX", await session.uids("INBOX"))
        assert first.flags >= {"\\Seen", "$Mailbridge"}
        assert not second.flags & {"\\Seen", "$Mailbridge"}
        assert first.internal_date == NOON
        assert first.size == len(mail(1).data)

    async def test_large_batches_are_cut(self, session: ImapSession) -> None:
        mails = [mail(number, body=b"x" * 100_000 + b"\r\n") for number in range(60)]
        big = mail("big", body=(b"y" * 98 + b"\r\n") * 15_000)
        mails.insert(30, big)
        await session.append("INBOX", mails)
        uids = await session.uids("INBOX")
        headers = await session.headers("INBOX", uids)
        assert [f.data.split(b"\r\n")[0] for f in headers] == [
            m.data.split(b"\r\n")[0] for m in mails
        ]
        found = await session.fetch("INBOX", uids[30])
        assert found is not None
        assert found.data == big.data

    async def test_commands_called_at_once_do_not_mix(self, session: ImapSession) -> None:
        mails = [mail(number, body=b"x" * number * 7) for number in range(20)]
        await session.ensure_folder("Clos")
        await asyncio.gather(
            *(session.append("INBOX", [m]) for m in mails),
            *(session.uids("Clos") for _ in range(5)),
            session.append("Clos", [mail("clos")]),
        )
        assert sorted(await stored(session)) == sorted(m.data for m in mails)
        assert await stored(session, "Clos") == [mail("clos").data]

    async def test_a_flag_that_is_none_is_our_own_mistake(self, session: ImapSession) -> None:
        with pytest.raises(ValueError, match="no IMAP flag"):
            await session.append("INBOX", [mail(1, flags=["é) INBOX"])])
        assert await session.uids("INBOX") == []

    # --- finding ---

    async def test_only_the_exact_id_is_found(self, session: ImapSession) -> None:
        await session.append(
            "INBOX",
            [
                mail("10"),
                mail("1"),
                mail("101"),
                mail("1", body=b"again\r\n"),
                mail("Z"),
            ],
        )
        uids = await session.uids("INBOX")
        asked = ["<m.1@mb.shop.example>", "m.10@mb.shop.example", "<m.z@mb.shop.example>"]
        asked += ["<m.2@mb.shop.example>", "<é@x>", "", "<a>\r\nX"]
        assert await session.find("INBOX", asked) == {asked[0]: uids[3]}
        assert await session.find("INBOX", asked[:1], from_uid=uids[3] + 1) == {}
        assert await session.find("INBOX", []) == {}

    async def test_many_ids_are_found_at_once(self, session: ImapSession) -> None:
        mails = [mail(number) for number in range(90)]
        await session.append("INBOX", mails)
        asked = [m.message_id for m in mails] + ["<absent@x>"]
        found = await session.find("INBOX", asked)
        assert list(found) != []
        assert found == dict(zip(asked, await session.uids("INBOX"), strict=False))

    async def test_a_folded_id_is_found(self, session: ImapSession) -> None:
        long_id = "<" + "o" * 70 + "@outlook.example>"
        data = f"Subject: x\r\nMessage-ID:\r\n {long_id}\r\n\r\n".encode()
        await session.append("INBOX", [MailToFile(long_id, data, NOON)])
        assert len(await session.find("INBOX", [long_id])) == 1

    async def test_mails_with_a_header_are_found(self, session: ImapSession) -> None:
        ours = mail(2, header="X-Mailbridge-Discussion: cd-7f3k2\r\n")
        await session.append("INBOX", [mail(1), ours, mail(3), ours])
        uids = await session.uids("INBOX")
        found = await session.find_header("INBOX", "X-Mailbridge-Discussion")
        assert found == [uids[1], uids[3]]
        later = await session.find_header("INBOX", "X-Mailbridge-Discussion", from_uid=uids[1] + 1)
        assert later == [uids[3]]

    async def test_deleted_mails_are_no_longer_listed_but_still_known(
        self, session: ImapSession
    ) -> None:
        await session.append("INBOX", [mail(1), mail(2)])
        first, second = await session.uids("INBOX")
        await session.add_flags("INBOX", [first], ["\\Deleted"])
        assert await session.uids("INBOX") == [second]
        assert await session.find("INBOX", [mail(1).message_id]) == {mail(1).message_id: first}

    async def test_beyond_the_last_uid_there_is_nothing(self, session: ImapSession) -> None:
        await session.append("INBOX", [mail(1)])
        (uid,) = await session.uids("INBOX")
        assert await session.uids("INBOX", from_uid=uid) == [uid]
        assert await session.uids("INBOX", from_uid=uid + 1) == []

    async def test_mails_since_a_day(self, session: ImapSession) -> None:
        old = replace(mail(1), internal_date=datetime(2025, 3, 1, 12, tzinfo=UTC))
        await session.append("INBOX", [old, mail(2)])
        uids = await session.uids("INBOX")
        assert await session.uids_since("INBOX", datetime(2025, 11, 23, tzinfo=UTC)) == uids[1:]
        assert await session.uids_since("INBOX", datetime(2025, 3, 1, tzinfo=UTC)) == uids
        assert await session.uids_since("INBOX", datetime(2025, 11, 24, tzinfo=UTC)) == []

    async def test_what_another_client_stored_is_seen_at_once(
        self, session: ImapSession, mailbox: ImapMailbox
    ) -> None:
        assert await session.uids("INBOX") == []
        async with mailbox.session() as other:
            await other.append("INBOX", [mail(1)])
            (uid,) = await session.uids("INBOX")
            await other.append("INBOX", [mail(2)])
        assert await session.find("INBOX", [mail(2).message_id]) != {}
        assert await session.fetch("INBOX", uid) is not None

    # --- reading and changing ---

    async def test_headers_of_many_mails_whatever_the_order_asked(
        self, session: ImapSession
    ) -> None:
        await session.append("INBOX", [mail(number) for number in range(450)])
        uids = await session.uids("INBOX")
        gone = max(uids) + 50
        headers = await session.headers("INBOX", [gone, *reversed(uids), uids[0]])
        assert [found.uid for found in headers] == uids
        assert (
            headers[7].data == b"Message-ID: <m.7@mb.shop.example>\r\nSubject: Commande 7\r\n\r\n"
        )

    async def test_reading_leaves_a_mail_unread(self, session: ImapSession) -> None:
        await session.append("INBOX", [mail(1)])
        (uid,) = await session.uids("INBOX")
        await session.headers("INBOX", [uid])
        found = await session.fetch("INBOX", uid)
        assert found is not None
        assert found.data == mail(1).data
        again = await session.fetch("INBOX", uid)
        assert again is not None
        assert "\\Seen" not in again.flags

    async def test_no_more_is_read_than_asked(self, session: ImapSession) -> None:
        await session.append("INBOX", [mail(1, body=b"x" * 5000)])
        (uid,) = await session.uids("INBOX")
        found = await session.fetch("INBOX", uid, limit=100)
        assert found is not None
        assert found.data == mail(1, body=b"x" * 5000).data[:100]
        assert found.size > 5000

    async def test_a_mail_that_is_gone_is_none(self, session: ImapSession) -> None:
        assert await session.fetch("INBOX", 4711) is None
        assert await session.headers("INBOX", [4711]) == ()
        assert await session.headers("INBOX", []) == ()

    async def test_flags_are_set_and_cleared(self, session: ImapSession) -> None:
        await session.append("INBOX", [mail(1), mail(2)])
        first, second = await session.uids("INBOX")
        await session.add_flags("INBOX", [first, second, 4711], ["\\Seen", "$Mailbridge"])
        await session.remove_flags("INBOX", [second], ["\\Seen"])
        one, two = await session.headers("INBOX", [first, second])
        assert one.flags >= {"\\Seen", "$Mailbridge"}
        assert "$Mailbridge" in two.flags
        assert "\\Seen" not in two.flags

    async def test_mails_are_moved(self, session: ImapSession) -> None:
        await session.ensure_folder("Clos")
        await session.append("INBOX", [mail(1, flags=["\\Seen", "$Mailbridge"]), mail(2), mail(3)])
        uids = await session.uids("INBOX")
        await session.move("INBOX", [uids[0], uids[2], 4711], "Clos")
        assert await session.uids("INBOX") == [uids[1]]
        assert await stored(session, "Clos") == [mail(1).data, mail(3).data]
        read, unread = await session.headers("Clos", await session.uids("Clos"))
        assert read.flags >= {"\\Seen", "$Mailbridge"}
        assert not unread.flags & {"\\Seen", "$Mailbridge"}
        await session.move("INBOX", [uids[1]], "INBOX")
        assert await session.uids("INBOX") == [uids[1]]

    async def test_what_is_discarded_is_gone_and_nothing_else(self, session: ImapSession) -> None:
        await session.append("INBOX", [mail(1), mail(2), mail(3)])
        uids = await session.uids("INBOX")
        await session.add_flags("INBOX", [uids[2]], ["\\Deleted"])  # somebody else's doing
        await session.discard("INBOX", [uids[0], 4711])
        await session.remove_flags("INBOX", [uids[2]], ["\\Deleted"])
        assert await session.uids("INBOX") == uids[1:]

    async def test_a_move_to_nowhere_moves_nothing(self, session: ImapSession) -> None:
        await session.append("INBOX", [mail(1)])
        uids = await session.uids("INBOX")
        with pytest.raises(MailboxRefused, match="INBOX to Nulle part"):
            await session.move("INBOX", uids, "Nulle part")
        assert await session.uids("INBOX") == uids

    # --- waiting ---

    async def test_waiting_ends_when_a_mail_comes(
        self, session: ImapSession, mailbox: ImapMailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mailbridge.mail.imap_guard.POLL", 0.2)  # for the server without IDLE
        async with mailbox.session() as other:
            waiting = asyncio.ensure_future(session.wait("INBOX", 20))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            began = time.monotonic()
            await other.append("INBOX", [mail(1)])
            assert await waiting is True
            assert time.monotonic() - began < 5
        assert len(await session.uids("INBOX")) == 1

    async def test_waiting_ends_with_the_clock(self, session: ImapSession) -> None:
        began = time.monotonic()
        assert await session.wait("INBOX", 0.3) is False
        assert 0.25 < time.monotonic() - began < 2
        assert await session.uids("INBOX") == []

    async def test_a_command_during_the_wait_runs_at_once(
        self, session: ImapSession, mailbox: ImapMailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mailbridge.mail.imap_guard.POLL", 0.2)
        async with mailbox.session() as other:
            waiting = asyncio.ensure_future(session.wait("INBOX", 20))
            await asyncio.sleep(0.1)
            async with asyncio.timeout(2):
                await session.state("Sent")
                await session.uids("INBOX")
            await asyncio.sleep(0.1)
            assert not waiting.done()
            await other.append("INBOX", [mail(1)])
            assert await waiting is True

    async def test_a_command_in_another_folder_ends_the_wait_with_perhaps(
        self, session: ImapSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mailbridge.mail.imap_guard.POLL", 0.2)
        waiting = asyncio.ensure_future(session.wait("INBOX", 20))
        await asyncio.sleep(0.1)
        await session.uids("Sent")
        async with asyncio.timeout(5):
            assert await waiting is True

    # --- the end ---

    async def test_after_the_end_every_call_says_so(self, mailbox: ImapMailbox) -> None:
        async with mailbox.session() as session:
            await session.aclose()
            await session.aclose()
            for _ in range(2):
                with pytest.raises(MailboxLost, match="session is closed"):
                    await session.uids("INBOX")
            with pytest.raises(MailboxLost):
                await session.wait("INBOX", 5)

    async def test_a_cancelled_command_ends_the_session(self, mailbox: ImapMailbox) -> None:
        async with mailbox.session() as session:
            running = asyncio.ensure_future(session.append("INBOX", [mail(1)] * 400))
            await asyncio.sleep(0.01)
            assert running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            with pytest.raises(MailboxLost, match="given up"):
                await session.uids("INBOX")
        async with mailbox.session() as session:
            # Whatever was stored is whole.
            assert set(await stored(session)) <= {mail(1).data}

    async def test_a_wrong_password_is_a_matter_for_a_person(
        self, mailbox: ImapMailbox, user: str
    ) -> None:
        async def wrong() -> str:
            return "wrong"

        with pytest.raises(MailboxSignIn, match="sign-in refused"):
            async with ImapMailbox(mailbox._settings, wrong).session():
                pass
