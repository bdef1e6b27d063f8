"""The mailbox port against real servers: one suite for all of them, then what only Dovecot can do.

`dovecot` offers everything; `courier` has its folders below `INBOX.` in a maildir; `bare` is a
Dovecot that announces nothing but IMAP4rev1, so every fallback is used; `pymap` is the embedded
server of the demo.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Literal, cast

import pytest

from mailbridge.mail.imap import ImapMailbox, ImapSession, ImapSettings
from mailbridge.mail.port import (
    Folder,
    Mailbox,
    MailboxError,
    MailboxLost,
    MailboxRefused,
    MailboxSession,
    MailboxSignIn,
    MailToFile,
    SpecialUse,
)
from mailbridge.sandbox.clock import wall_clock
from mailbridge.sandbox.imapserver import ImapServer
from tests.dovecot import PASSWORD, Dovecot, token

Bearer = Literal["xoauth2", "oauthbearer"]
# In the past: Dovecot replaces an INTERNALDATE of the future by its own time.
NOON = datetime(2025, 11, 23, 12, 0, 7, tzinfo=timezone(timedelta(hours=1)))


async def password() -> str:
    return PASSWORD


def mail(
    number: int | str, *, body: bytes = b"Bonjour,\r\n", header: str = "", flags: Sequence[str] = ()
) -> MailToFile:
    message_id = f"<m.{number}@mb.shop.example>"
    head = f"Message-ID: {message_id}\r\nSubject: Commande {number}\r\n{header}\r\n"
    return MailToFile(message_id, head.encode() + body, NOON, frozenset(flags))


@pytest.fixture(scope="module")
def courier() -> Iterator[Dovecot]:
    with Dovecot("maildir", prefix="INBOX.") as server:
        yield server


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


async def stored(session: ImapSession, folder: str = "INBOX") -> list[bytes]:
    """All mails of a folder, octet for octet, in UID order."""
    uids = await session.uids(folder)
    mails = [await session.fetch(folder, uid) for uid in uids]
    return [found.data for found in mails if found]


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
        await session.append("INBOX", [mail(1), mail(2), mail(3)])
        uids = await session.uids("INBOX")
        await session.move("INBOX", [uids[0], uids[2], 4711], "Clos")
        assert await session.uids("INBOX") == [uids[1]]
        assert await stored(session, "Clos") == [mail(1).data, mail(3).data]
        await session.move("INBOX", [uids[1]], "INBOX")
        assert await session.uids("INBOX") == [uids[1]]

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


class TestDovecot:
    """What only a real server with certificates, tokens and a process to kill can show."""

    @pytest.fixture
    def settings(self, dovecot: Dovecot, user: str) -> ImapSettings:
        return ImapSettings(
            "localhost", user, dovecot.imaps, "tls", timeout=10, ca_file=dovecot.ca_file
        )

    async def test_tls(self, settings: ImapSettings) -> None:
        async with ImapMailbox(settings, password).session() as session:
            await session.append("INBOX", [mail(1)])
            assert await stored(session) == [mail(1).data]

    async def test_starttls(self, settings: ImapSettings, dovecot: Dovecot) -> None:
        settings = replace(settings, security="starttls", port=dovecot.imap)
        async with ImapMailbox(settings, password).session() as session:
            await session.append("INBOX", [mail(1)])
            assert await stored(session) == [mail(1).data]
        assert f"user=<{settings.user}>, method=PLAIN" in dovecot.log()
        line = next(r for r in dovecot.log().splitlines() if f"user=<{settings.user}>" in r)
        assert ", TLS," in line

    @pytest.mark.parametrize("security", ["tls", "starttls"])
    async def test_an_unknown_authority_is_not_trusted(
        self, settings: ImapSettings, dovecot: Dovecot, security: Literal["tls", "starttls"]
    ) -> None:
        port = dovecot.imaps if security == "tls" else dovecot.imap
        settings = replace(settings, security=security, port=port, ca_file=None)
        with pytest.raises(MailboxError, match=r"certificate is not accepted.*ca_file") as caught:
            async with ImapMailbox(settings, password).session():
                pass
        assert type(caught.value) is MailboxError
        assert settings.user not in dovecot.log()

    async def test_a_certificate_for_another_host_is_not_accepted(
        self, settings: ImapSettings
    ) -> None:
        settings = replace(settings, host="127.0.0.2")
        with pytest.raises(MailboxError, match=r"certificate is not accepted.*127\.0\.0\.2"):
            async with ImapMailbox(settings, password).session():
                pass

    async def test_a_ca_file_that_is_none(self, settings: ImapSettings, tmp_path: Path) -> None:
        empty = tmp_path / "ca.pem"
        empty.write_text("nothing")
        for path in (empty, tmp_path / "absent.pem"):
            with pytest.raises(MailboxError, match=path.name):
                async with ImapMailbox(replace(settings, ca_file=path), password).session():
                    pass

    async def test_a_given_context_is_used(self, settings: ImapSettings, dovecot: Dovecot) -> None:
        context = ssl.create_default_context(cafile=str(dovecot.ca_file))
        settings = replace(settings, ca_file=None)
        mailbox = ImapMailbox(settings, password, ssl_context=context)
        async with mailbox.session() as session:
            assert await session.uids("INBOX") == []

    @pytest.mark.parametrize("auth", ["xoauth2", "oauthbearer"])
    async def test_a_token_signs_in_and_is_asked_for_each_time(
        self, settings: ImapSettings, auth: Bearer
    ) -> None:
        asked = 0

        async def fresh() -> str:
            nonlocal asked
            asked += 1
            return token(settings.user)

        mailbox = ImapMailbox(replace(settings, auth=auth), fresh)
        for _ in range(2):
            async with mailbox.session() as session:
                assert await session.uids("INBOX") == []
        assert asked == 2

    @pytest.mark.parametrize("auth", ["xoauth2", "oauthbearer"])
    async def test_a_refused_token_is_told_soon(self, settings: ImapSettings, auth: Bearer) -> None:
        async def stale() -> str:
            return token(settings.user, key=b"another key")

        began = time.monotonic()
        with pytest.raises(MailboxSignIn, match="AUTHENTICATIONFAILED"):
            async with ImapMailbox(replace(settings, auth=auth), stale).session():
                pass
        assert time.monotonic() - began < 5

    @pytest.mark.parametrize("name", ['paul "le chef"', "éric", "a\\b", "x y", "r&d"])
    async def test_odd_user_names(
        self, settings: ImapSettings, dovecot: Dovecot, user: str, name: str
    ) -> None:
        settings = replace(settings, user=f"{name} {user}")
        async with ImapMailbox(settings, password).session() as session:
            await session.append("INBOX", [mail(1)])
        assert f"user=<{settings.user}>" in dovecot.log()

    async def test_special_uses_come_from_the_server(self, settings: ImapSettings) -> None:
        async with ImapMailbox(settings, password).session() as session:
            found = {folder.use: folder for folder in await session.folders()}
        assert found[SpecialUse.TRASH] == Folder("Trash", SpecialUse.TRASH)
        assert found[SpecialUse.ARCHIVE] == Folder("Archive", SpecialUse.ARCHIVE)

    async def test_a_prefix_stays_out_of_sight(self, courier: Dovecot, user: str) -> None:
        settings = ImapSettings("127.0.0.1", user, courier.imap, "plain", timeout=10)
        async with ImapMailbox(settings, password).session() as session:
            await session.ensure_folder("SAV/Clos")
            await session.ensure_folder("INBOX.SAV.Clos")
            names = [folder.name for folder in await session.folders()]
            assert names.count("SAV/Clos") == 1
            assert not [name for name in names if name.startswith("INBOX.")]
            await session.append("inbox.SAV.Clos", [mail(1)])
            assert len(await session.uids("SAV/Clos")) == 1
        (folder,) = courier.root.glob(f"mail/{user}/maildir/.SAV.Clos")
        assert folder.is_dir()

    async def test_an_id_with_quotes_is_found(self, settings: ImapSettings) -> None:
        odd = '<"le \\ chef"@shop.example>'
        data = f"Message-ID: {odd}\r\n\r\n".encode()
        async with ImapMailbox(settings, password).session() as session:
            await session.append("INBOX", [MailToFile(odd, data, NOON)])
            assert await session.find("INBOX", [odd]) == {odd: 1}

    async def test_a_delivered_mail_wakes_the_wait(
        self, settings: ImapSettings, dovecot: Dovecot
    ) -> None:
        async with ImapMailbox(settings, password).session() as session:
            waiting = asyncio.ensure_future(session.wait("INBOX", 20))
            await asyncio.sleep(0.2)
            began = time.monotonic()
            await asyncio.to_thread(dovecot.deliver, settings.user, mail(1).data)
            assert await waiting is True
            # Dovecot itself gathers news for half a second.
            assert time.monotonic() - began < 5

    async def test_a_full_batch_costs_few_round_trips(
        self, settings: ImapSettings, dovecot: Dovecot
    ) -> None:
        async with ImapMailbox(settings, password).session() as session:
            wire = session._connection.wire
            first = wire.tagnum
            uids = await session.append("INBOX", [mail(number) for number in range(1000)])
            assert wire.tagnum - first == 20
            assert uids == list(range(1, 1001))

    async def test_no_secret_and_no_mail_reaches_the_log(
        self, settings: ImapSettings, user: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        secret_token = token(user)

        async def fresh() -> str:
            return secret_token

        with caplog.at_level(logging.DEBUG):
            async with ImapMailbox(settings, password).session() as session:
                await session.append("INBOX", [mail(1, body=b"le colis est perdu\r\n")])
                await stored(session)
            async with ImapMailbox(replace(settings, auth="xoauth2"), fresh).session():
                pass
        said = caplog.text
        for word in (f'"{PASSWORD}"', secret_token, "colis", "AUTHENTICATE", "LOGIN"):
            assert word not in said

    async def test_plain_text_is_for_this_machine_only(self, settings: ImapSettings) -> None:
        began = time.monotonic()
        for host in ("192.0.2.1", "2001:db8::1"):
            plain = replace(settings, host=host, security="plain")
            with pytest.raises(MailboxError, match="plain is for loopback"):
                async with ImapMailbox(plain, password).session():
                    pass
        assert time.monotonic() - began < 2

    async def test_a_name_that_leads_elsewhere_is_no_loopback(
        self, dovecot: Dovecot, user: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A server on this machine's own outward address, reached by a name.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))
                outward = cast("tuple[str, int]", probe.getsockname())[0]
            except OSError:
                outward = "127.0.0.1"
        if outward.startswith("127."):
            pytest.skip("this machine has no address but loopback")
        heard: list[bytes] = []

        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"* OK ready\r\n")
            with contextlib.suppress(ConnectionResetError):
                heard.append(await reader.read(100))
            writer.close()

        server = await asyncio.start_server(greet, outward, 0)
        port = server.sockets[0].getsockname()[1]
        resolve = socket.getaddrinfo

        def pretend(host: str, *rest: object, **more: object) -> object:
            return resolve(outward if host == "imap.shop.example" else host, *rest, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(socket, "getaddrinfo", pretend)
        settings = ImapSettings("imap.shop.example", user, port, "plain", timeout=5)
        async with server:
            with pytest.raises(MailboxError, match="plain is for loopback"):
                async with ImapMailbox(settings, password).session():
                    pass
            await asyncio.sleep(0.05)
        assert not any(heard)


class TestWhenTheServerGoes:
    """Killed and started again: every pending call ends soon, and a new session works."""

    async def test_everything_under_way_is_lost_at_once(self, user: str) -> None:
        with Dovecot() as mortal:
            settings = ImapSettings("127.0.0.1", user, mortal.imap, "plain", timeout=30)
            mailbox = ImapMailbox(settings, password)
            async with AsyncExitStack() as stack:
                watcher = await stack.enter_async_context(mailbox.session())
                worker = await stack.enter_async_context(mailbox.session())
                await worker.append("INBOX", [mail(1)])
                waiting = asyncio.ensure_future(watcher.wait("INBOX", 600))
                queued = [asyncio.ensure_future(worker.uids("INBOX")) for _ in range(3)]
                await asyncio.gather(*queued)
                await asyncio.sleep(0.1)
                began = time.monotonic()
                mortal.kill()
                with pytest.raises(MailboxLost):
                    await waiting
                with pytest.raises(MailboxLost):
                    await worker.uids("INBOX")
                assert time.monotonic() - began < 2
                with pytest.raises(MailboxLost, match="no connection"):
                    async with mailbox.session():
                        pass
            mortal.start()
            async with mailbox.session() as session:
                assert await stored(session) == [mail(1).data]
