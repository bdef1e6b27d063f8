"""IMAP against a real Dovecot: certificates, tokens, delivery, and a process to kill."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

import pytest

from mailbridge.mail.imap import ImapMailbox, ImapSettings
from mailbridge.mail.port import (
    Folder,
    MailboxError,
    MailboxLost,
    MailboxSignIn,
    MailToFile,
    SpecialUse,
)
from tests.dovecot import PASSWORD, Dovecot, token
from tests.mail.mailboxes import NOON, mail, password, stored
from tests.requirements import optional

Bearer = Literal["xoauth2", "oauthbearer"]


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
            optional("this machine has no address but loopback")
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
