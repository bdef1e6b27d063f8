"""Up to a signed-in IMAP session: servers that are not there, refuse, or must not be trusted."""

from __future__ import annotations

import asyncio
import socket

import pytest

from mailbridge.mail.imap import ImapMailbox, ImapSettings
from mailbridge.mail.port import MailboxError, MailboxLost, MailboxRefused, MailboxSignIn
from tests.mail.imap_peer import LOGOUT, ImapPeer, at_most, session_with

SOON = 0.5
"""Seconds: the time limit given where the server will not answer."""


async def opened(mailbox: ImapMailbox) -> None:
    async with mailbox.session():
        raise AssertionError("it opened")


class TestTheServerIsNotThere:
    async def test_nobody_listens(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]

            async def secret() -> str:
                raise AssertionError("nobody to tell")

            settings = ImapSettings("127.0.0.1", "support", port, "plain")
            with pytest.raises(MailboxLost, match=f"127.0.0.1:{port}: no connection"):
                await opened(ImapMailbox(settings, secret))

    @pytest.mark.parametrize("end", ["DROP", "RESET"])
    async def test_it_closes_before_the_greeting(self, end: str) -> None:
        async with ImapPeer(end) as peer:
            with at_most(4), pytest.raises(MailboxLost, match=r"closed by the server|lost"):
                await opened(peer.mailbox())

    async def test_it_hangs_before_the_greeting(self) -> None:
        async with ImapPeer("END") as peer:
            with at_most(4), pytest.raises(MailboxLost, match=r"no answer .* within 0\.5 s"):
                await opened(peer.mailbox(timeout=SOON))

    async def test_it_greets_with_bye(self) -> None:
        async with ImapPeer("S: * BYE [UNAVAILABLE] Maintenance", "END") as peer:
            with at_most(4), pytest.raises(MailboxLost, match="Maintenance"):
                await opened(peer.mailbox())

    async def test_it_speaks_another_protocol(self) -> None:
        async with ImapPeer("S: 220 smtp.example ESMTP", "END") as peer:
            with at_most(4), pytest.raises(MailboxLost, match="could not be understood"):
                await opened(peer.mailbox())

    async def test_it_is_no_imap4(self) -> None:
        async with ImapPeer(
            "S: * OK", "C: CAPABILITY", "S: * CAPABILITY IMAP2", "S: # OK", "END"
        ) as peer:
            with pytest.raises(MailboxError, match="no IMAP4 server"):
                await opened(peer.mailbox())

    async def test_opening_is_cancelled(self) -> None:
        async with ImapPeer("S: * OK", "C: CAPABILITY", "END") as peer:
            task = asyncio.ensure_future(opened(peer.mailbox()))
            await peer.spoken_to.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


class TestSignIn:
    READY = """
        S: * OK ready
        C: CAPABILITY
    """

    async def test_capabilities_are_asked_again_and_words_of_an_ok_are_none(self) -> None:
        # pymap and others put the list into the OK, where the library reads the text along.
        async with session_with(
            "S: * OK [CAPABILITY IMAP4rev1 IDLE] welcome MOVE",
            """
            C: CAPABILITY
            S: * CAPABILITY IMAP4rev1
            S: # OK
            C: LOGIN "support" "secret"
            S: # OK [CAPABILITY IMAP4rev1 LITERAL+ X] you are in UIDPLUS
            C: CAPABILITY
            S: * CAPABILITY imap4rev1 move
            S: # OK UIDPLUS
            C: LIST "" ""
            S: # OK
            """,
            LOGOUT,
        ) as session:
            assert session.capabilities == {"IMAP4REV1", "MOVE"}

    @pytest.mark.parametrize("at_once", [True, False])
    async def test_xoauth2_the_challenge_is_answered(self, at_once: bool) -> None:
        first = "dXNlcj1zdXBwb3J0AWF1dGg9QmVhcmVyIHRvay5lbgEB"
        words = f"C: AUTHENTICATE XOAUTH2 {first}"
        if not at_once:
            words = f"C: AUTHENTICATE XOAUTH2\nS: +\nc: {first}"
        async with ImapPeer(
            self.READY,
            f"S: * CAPABILITY IMAP4rev1 AUTH=XOAUTH2 {'SASL-IR' if at_once else ''}",
            "S: # OK",
            words,
            """
            S: + eyJzdGF0dXMiOiI0MDAifQ==
            c:
            S: # NO AUTHENTICATE failed.
            END
            """,
        ) as peer:
            with at_most(4), pytest.raises(MailboxSignIn, match="AUTHENTICATE failed") as caught:
                await opened(peer.mailbox(auth="xoauth2", secret="tok.en"))
            assert "tok.en" not in str(caught.value)
            assert first not in str(caught.value)

    async def test_oauthbearer_the_challenge_is_answered(self) -> None:
        async with ImapPeer(
            self.READY,
            """
            S: * CAPABILITY IMAP4rev1 AUTH=OAUTHBEARER SASL-IR
            S: # OK
            C: AUTHENTICATE OAUTHBEARER bixhPXM9M0RlPTJDLA…
            S: + eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0=
            c: AQ==
            S: # NO
            END
            """,
        ) as peer:
            with at_most(4), pytest.raises(MailboxSignIn):
                await opened(peer.mailbox(auth="oauthbearer", secret="tok", user="s=e,"))

    async def test_a_way_that_is_not_offered(self) -> None:
        async with ImapPeer(
            self.READY, "S: * CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=LOGIN", "S: # OK", "END"
        ) as peer:
            with pytest.raises(MailboxSignIn, match=r"xoauth2 here.*AUTH=LOGIN, AUTH=PLAIN"):
                await opened(peer.mailbox(auth="xoauth2", secret="tok"))

    async def test_a_token_with_a_line_break_is_not_sent(self) -> None:
        async with ImapPeer(
            self.READY, "S: * CAPABILITY IMAP4rev1 AUTH=XOAUTH2", "S: # OK", "END"
        ) as peer:
            with pytest.raises(MailboxSignIn, match="garbled") as caught:
                await opened(peer.mailbox(auth="xoauth2", secret="tok\r\nA1 DELETE INBOX"))
            assert "DELETE" not in str(caught.value)

    async def test_a_password_with_a_line_break_is_not_sent(self) -> None:
        async with ImapPeer(self.READY, "S: * CAPABILITY IMAP4rev1", "S: # OK", "END") as peer:
            with pytest.raises(MailboxSignIn, match="line break") as caught:
                await opened(peer.mailbox(secret="pass\r\nA1 DELETE INBOX"))
            assert "DELETE" not in str(caught.value)

    @pytest.mark.parametrize("plain", ["LOGINDISABLED AUTH=PLAIN SASL-IR", "AUTH=PLAIN"])
    async def test_plain_where_login_will_not_do(self, plain: str) -> None:
        # "\0support\0é", base64
        first = "AHN1cHBvcnQAw6k="
        words = f"C: AUTHENTICATE PLAIN {first}"
        if "SASL-IR" not in plain:
            words = f"C: AUTHENTICATE PLAIN\nS: +\nc: {first}"
        async with session_with(
            self.READY,
            f"S: * CAPABILITY IMAP4rev1 {plain}",
            "S: # OK",
            words,
            "S: # OK",
            "C: CAPABILITY",
            "S: * CAPABILITY IMAP4rev1",
            "S: # OK",
            'C: LIST "" ""',
            "S: # OK",
            LOGOUT,
            secret="é",
        ):
            pass

    async def test_passwords_are_switched_off(self) -> None:
        async with ImapPeer(
            self.READY, "S: * CAPABILITY IMAP4rev1 LOGINDISABLED", "S: # OK", "END"
        ) as peer:
            with pytest.raises(MailboxSignIn, match="switched off"):
                await opened(peer.mailbox())

    @pytest.mark.parametrize(
        ("answer", "pause"),
        [
            ("NO [UNAVAILABLE] backend down", None),
            ("NO [ALERT] Too many simultaneous connections. (Failure)", None),
            (
                "BAD Request is throttled. Suggested Backoff Time: 84251 milliseconds",
                84.251,
            ),
        ],
    )
    async def test_a_busy_server_is_no_wrong_password(
        self, answer: str, pause: float | None
    ) -> None:
        async with ImapPeer(
            self.READY,
            "S: * CAPABILITY IMAP4rev1",
            "S: # OK",
            'C: LOGIN "support" "secret"',
            f"S: # {answer}",
            "END",
        ) as peer:
            with pytest.raises(MailboxRefused) as caught:
                await opened(peer.mailbox())
            assert caught.value.retry_after == pause

    async def test_the_secret_cannot_be_fetched(self) -> None:
        async with ImapPeer(self.READY, "S: * CAPABILITY IMAP4rev1", "S: # OK", "END") as peer:

            async def failing() -> str:
                raise RuntimeError("token command ended with status 1")

            mailbox = ImapMailbox(peer.mailbox()._settings, failing)
            with pytest.raises(MailboxSignIn, match="ended with status 1"):
                await opened(mailbox)

    async def test_preauth_needs_no_password(self) -> None:
        async with session_with(
            "S: * PREAUTH you are in",
            "C: CAPABILITY",
            "S: * CAPABILITY IMAP4rev1",
            "S: # OK",
            'C: LIST "" ""',
            "S: # OK",
            LOGOUT,
        ) as session:
            assert session.capabilities == {"IMAP4REV1"}


class TestStartTls:
    READY = """
        S: * OK ready
        C: CAPABILITY
    """

    async def test_it_is_not_offered(self) -> None:
        async with ImapPeer(self.READY, "S: * CAPABILITY IMAP4rev1", "S: # OK", "END") as peer:
            with pytest.raises(MailboxError, match="does not offer STARTTLS"):
                await opened(peer.mailbox(security="starttls"))

    async def test_it_is_refused(self) -> None:
        async with ImapPeer(
            self.READY,
            "S: * CAPABILITY IMAP4rev1 STARTTLS",
            "S: # OK",
            "C: STARTTLS",
            "S: # NO not today",
            "END",
        ) as peer:
            with pytest.raises(MailboxRefused, match="not today"):
                await opened(peer.mailbox(security="starttls"))

    async def test_preauth_cannot_avoid_it(self) -> None:
        async with ImapPeer("S: * PREAUTH trust me", "END") as peer:
            with pytest.raises(MailboxError, match="before STARTTLS"):
                await opened(peer.mailbox(security="starttls"))

    @pytest.mark.parametrize(
        "smuggled", [b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n", b"X1 OK\r\n", b"* CAPA"]
    )
    async def test_nothing_is_smuggled_in_behind_its_answer(self, smuggled: bytes) -> None:
        async with ImapPeer(
            self.READY,
            "S: * CAPABILITY IMAP4rev1 STARTTLS",
            "S: # OK",
            "C: STARTTLS",
            b"# OK go\r\n" + smuggled,
        ) as peer:
            with pytest.raises(MailboxError, match=r"understood|clear text"):
                await opened(peer.mailbox(security="starttls"))

    async def test_no_handshake_follows(self) -> None:
        async with ImapPeer(
            self.READY,
            "S: * CAPABILITY IMAP4rev1 STARTTLS",
            "S: # OK",
            "C: STARTTLS",
            "S: # OK go",
            "PAUSE 0.1",
            "DROP",
        ) as peer:
            with at_most(4), pytest.raises(MailboxLost):
                await opened(peer.mailbox(security="starttls"))
