"""Submission: what each event at each step means, and that one mail never gets another's answer."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from mailbridge.mail.port import Accepted, Deferred, Refused, SubmissionUnavailable, Uncertain
from mailbridge.mail.smtp import SignIn, SmtpSettings, SmtpSubmission, TlsMode
from tests.mail.smtp_peer import DROP, HANG, RESET, Act, SmtpPeer, Then, say

SHOP = "support@shop.example"
RELAY = "c.1a2b3c4d5e6f708192a3b4c5d6e7f809@clemarche.com"
MAIL = b"From: support@shop.example\r\nSubject: Votre commande\r\n\r\nBonjour,\r\n.\r\n..fin\r\n"
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

PASSWORD = "correct horse \u00e9"


def to(peer: SmtpPeer, **changes: Any) -> SmtpSubmission:
    """A submission to the scripted peer, impatient as tests are."""
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": peer.port,
        "security": TlsMode.PLAIN,
        "sign_in": SignIn.NONE,
        "timeout": 0.15,
        "final_timeout": 0.15,
        "total_timeout": 3.0,
        "idle": 30.0,
    }
    return SmtpSubmission(SmtpSettings(**(values | changes)))


def a_secret(word: str) -> Callable[[], Awaitable[str]]:
    async def secret() -> str:
        return word

    return secret


# --- the ordinary way ---------------------------------------------------------------------------


async def test_a_mail_arrives_byte_for_byte_and_the_servers_words_come_back() -> None:
    async with SmtpPeer({"dot": [say("250 2.0.0 Ok: queued as 4F2A")]}) as peer:
        submission = to(peer)
        assert await submission.submit(SHOP, RELAY, MAIL) == Accepted("2.0.0 Ok: queued as 4F2A")
        [mail] = peer.mails
        assert (mail.sender, mail.recipient) == (SHOP, RELAY)
        assert mail.data == MAIL.replace(b"\r\n.", b"\r\n..")  # dots stuffed on the wire
        await submission.aclose()
        await peer.all_gone()
    assert peer.heard[-1] == "QUIT"


async def test_bare_line_ends_cannot_smuggle_a_second_mail() -> None:
    hostile = b"Subject: x\r\n\r\nBonjour\n.\nMAIL FROM:<evil@example.org>\n"
    async with SmtpPeer() as peer:
        submission = to(peer)
        assert isinstance(await submission.submit(SHOP, RELAY, hostile), Accepted)
        await submission.aclose()
    assert b"\n" not in peer.mails[0].data.replace(b"\r\n", b"")
    assert len(peer.mails) == 1


async def test_a_mail_that_begins_with_a_dot() -> None:
    async with SmtpPeer() as peer:
        submission = to(peer)
        assert isinstance(await submission.submit(SHOP, RELAY, b".\r\nrest"), Accepted)
        await submission.aclose()
    assert peer.mails[0].data == b"..\r\nrest\r\n"


async def test_the_size_is_announced_where_the_server_has_size() -> None:
    async with SmtpPeer(offers=["SIZE 1000"]) as peer:
        submission = to(peer)
        await submission.submit(SHOP, RELAY, MAIL)
        await submission.aclose()
    assert f"MAIL FROM:<{SHOP}> SIZE={len(MAIL)}" in peer.heard

    async with SmtpPeer(offers=[]) as peer:
        submission = to(peer)
        await submission.submit(SHOP, RELAY, MAIL)
        await submission.aclose()
    assert f"MAIL FROM:<{SHOP}>" in peer.heard


async def test_two_mails_share_one_connection_and_start_clean() -> None:
    async with SmtpPeer() as peer:
        submission = to(peer)
        await submission.submit(SHOP, RELAY, MAIL)
        await submission.submit(SHOP, "b@example.org", MAIL)
        await submission.aclose()
    assert peer.connections == 1
    assert peer.heard.count("RSET") == 1
    assert [mail.recipient for mail in peer.mails] == [RELAY, "b@example.org"]


async def test_mails_submitted_together_go_out_one_after_the_other() -> None:
    async with SmtpPeer() as peer:
        submission = to(peer)
        names = [f"a{n}@example.org" for n in range(12)]
        outcomes = await asyncio.gather(*(submission.submit(SHOP, to_, MAIL) for to_ in names))
        assert all(isinstance(outcome, Accepted) for outcome in outcomes)
        await submission.aclose()
    assert [mail.recipient for mail in peer.mails] == names
    assert peer.connections == 1


async def test_an_idle_connection_is_closed_with_quit_and_the_next_mail_opens_another() -> None:
    async with SmtpPeer() as peer:
        submission = to(peer, idle=0.05)
        await submission.submit(SHOP, RELAY, MAIL)
        await peer.all_gone()
        assert peer.heard[-1] == "QUIT"
        assert isinstance(await submission.submit(SHOP, RELAY, MAIL), Accepted)
        await submission.aclose()
    assert peer.connections == 2


@pytest.mark.parametrize(
    "act", [DROP, RESET, HANG, say("421 idle", then=Then.DROP), say("250 a", "250 b"), say("hm")]
)
async def test_a_kept_connection_that_went_bad_is_replaced_before_the_mail(act: Act) -> None:
    async with SmtpPeer({"RSET": [act]}) as peer:
        submission = to(peer)
        await submission.submit(SHOP, RELAY, MAIL)
        assert isinstance(await submission.submit(SHOP, "b@example.org", MAIL), Accepted)
        await submission.aclose()
    assert peer.connections == 2
    assert [mail.recipient for mail in peer.mails] == [RELAY, "b@example.org"]


async def test_a_kept_connection_that_hangs_never_makes_the_next_mail_uncertain() -> None:
    """The last mail got as far as its dot; that says nothing about the one that never began."""
    async with SmtpPeer({"RSET": [HANG]}) as peer:
        submission = to(peer, timeout=5.0, total_timeout=0.2)
        assert isinstance(await submission.submit(SHOP, RELAY, MAIL), Accepted)
        outcome = await submission.submit(SHOP, "b@example.org", MAIL)
        assert outcome == Deferred(0, "no answer in time, while connecting")
    assert len(peer.mails) == 1


# --- what a reply code means at each step -------------------------------------------------------


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "dot"])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("450 4.2.0 greylisted", Deferred(450, "4.2.0 greylisted")),
        ("421 4.3.2 shutting down", Deferred(421, "4.3.2 shutting down")),
        ("554 5.7.1 policy", Refused(554, "5.7.1 policy")),
    ],
)
async def test_a_code_about_the_mail_decides(
    step: str, line: str, expected: Deferred | Refused
) -> None:
    async with SmtpPeer({step: [say(line)]}) as peer:
        submission = to(peer)
        assert await submission.submit(SHOP, RELAY, MAIL) == expected
        # and the next mail is judged on its own
        assert isinstance(await submission.submit(SHOP, "b@example.org", MAIL), Accepted)
        await submission.aclose()
    assert peer.connections == (2 if line.startswith("421") else 1)


@pytest.mark.parametrize("step", ["greeting", "EHLO"])
async def test_a_refusal_before_the_mail_is_not_about_the_mail(step: str) -> None:
    async with SmtpPeer({step: [say("554 5.7.1 your address is blocked")]}) as peer:
        outcome = await to(peer).submit(SHOP, RELAY, MAIL)
    assert outcome == Deferred(554, "5.7.1 your address is blocked")


async def test_a_server_that_wants_a_sign_in_is_the_operators_matter() -> None:
    async with SmtpPeer({"MAIL": [say("530 5.7.57 Client not authenticated")]}) as peer:
        submission = to(peer)
        outcome = await submission.submit(SHOP, RELAY, MAIL)
        await submission.aclose()
    assert outcome == Deferred(530, "5.7.57 Client not authenticated")


async def test_any_2xx_after_the_dot_is_acceptance() -> None:
    async with SmtpPeer({"dot": [say("259 taken")]}) as peer:
        submission = to(peer)
        assert await submission.submit(SHOP, RELAY, MAIL) == Accepted("taken")
        await submission.aclose()


async def test_a_multi_line_refusal_becomes_one_clean_line() -> None:
    lines = [f"550-5.1.1 <{RELAY.upper()}>:", "550-\x1b[31mno\u202e such", "550 user c.1a2b here"]
    async with SmtpPeer({"RCPT": [say(*lines)]}) as peer:
        submission = to(peer)
        outcome = await submission.submit(SHOP, RELAY, MAIL)
        await submission.aclose()
    assert outcome == Refused(550, "5.1.1 <c.1a2b…@clemarche.com>: [31mno such user c.1a2b here")


async def test_the_recipient_never_stands_in_full_in_the_servers_words() -> None:
    local = RELAY.partition("@")[0]
    for line in (f"550 <{RELAY}> unknown", f"250 {local} queued"):
        async with SmtpPeer({"dot": [say(line)]}) as peer:
            submission = to(peer)
            outcome = await submission.submit(SHOP, RELAY, MAIL)
            await submission.aclose()
        assert "c.1a2b…" in repr(outcome)
        assert local not in repr(outcome)


async def test_endless_words_are_cut() -> None:
    async with SmtpPeer({"RCPT": [say("550 " + "bla " * 1500)]}) as peer:
        submission = to(peer)
        outcome = await submission.submit(SHOP, RELAY, MAIL)
        await submission.aclose()
    assert isinstance(outcome, Refused)
    assert len(outcome.reply) <= 300


# --- silence, loss and garbage ------------------------------------------------------------------

BEFORE_THE_DOT = ["greeting", "EHLO", "MAIL", "RCPT", "DATA"]


@pytest.mark.parametrize("step", BEFORE_THE_DOT)
@pytest.mark.parametrize("act", [DROP, RESET, HANG, say("250-half", then=Then.DROP)])
async def test_lost_or_silent_before_the_dot_is_surely_not_sent(step: str, act: Act) -> None:
    async with SmtpPeer({step: [act]}) as peer:
        submission = to(peer)
        outcome = await submission.submit(SHOP, RELAY, MAIL)
        assert isinstance(outcome, Deferred)
        assert outcome.code == 0
        assert isinstance(await submission.submit(SHOP, "b@example.org", MAIL), Accepted)
        await submission.aclose()
    assert [mail.recipient for mail in peer.mails] == ["b@example.org"]


@pytest.mark.parametrize(
    ("step", "garbage"),
    [
        *((step, garbage) for step in BEFORE_THE_DOT for garbage in ("<html>", "", "99")),
        ("greeting", "250"),
        ("DATA", "250"),
        ("RCPT", "354"),
    ],
)
async def test_an_unreadable_reply_before_the_dot_closes_the_connection(
    step: str, garbage: str
) -> None:
    async with SmtpPeer({step: [say(garbage)]}) as peer:
        submission = to(peer)
        outcome = await submission.submit(SHOP, RELAY, MAIL)
        assert isinstance(outcome, Deferred)
        assert outcome.code == 0
        assert isinstance(await submission.submit(SHOP, "b@example.org", MAIL), Accepted)
        await submission.aclose()
    assert peer.connections == 2
    assert len(peer.mails) == 1


@pytest.mark.parametrize(
    "act",
    [
        DROP,
        RESET,
        HANG,
        say("<html>"),
        say("354 more?"),
        say("25"),
        say("250-half", then=Then.DROP),
        say("250-half", then=Then.HANG),
        Act(b"\xff\xfe\r\n"),
        Act(b"250" + b"x" * 40_000),
    ],
)
async def test_no_readable_reply_after_the_dot_is_uncertain(act: Act) -> None:
    """The peer has stored the mail each time: only evidence can tell."""
    async with SmtpPeer({"dot": [act]}) as peer:
        submission = to(peer)
        outcome = await submission.submit(SHOP, RELAY, MAIL)
        assert isinstance(outcome, Uncertain)
        assert outcome.detail.endswith("after the final dot")
        assert isinstance(await submission.submit(SHOP, "b@example.org", MAIL), Accepted)
        await submission.aclose()
    assert [mail.recipient for mail in peer.mails] == [RELAY, "b@example.org"]
    assert peer.connections == 2


BIG = b"Subject: photos\r\n\r\n" + (b"x" * 76 + b"\r\n") * 200_000


async def test_a_big_mail_cut_off_in_its_body_is_surely_not_sent() -> None:
    """15 MB: more than the buffers in between hold, so the dot has not been written yet."""
    async with SmtpPeer({"body": [RESET]}) as peer:
        outcome = await to(peer).submit(SHOP, RELAY, BIG)
    assert outcome == Deferred(0, "connection lost, before the final dot")
    assert not peer.mails


async def test_a_server_that_stops_reading_in_the_body_is_given_up_before_the_dot() -> None:
    stopped = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        for reply in (b"250 peer", b"250 ok", b"250 ok", b"354 go"):
            await reader.readline()
            writer.write(reply + b"\r\n")
        await stopped.wait()
        writer.transport.abort()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    peer = SmtpPeer(port=server.sockets[0].getsockname()[1])
    outcome = await to(peer).submit(SHOP, RELAY, BIG)
    stopped.set()
    server.close()
    assert outcome == Deferred(0, "no answer in time, before the final dot")


async def test_a_server_that_has_had_enough_in_the_body_is_heard() -> None:
    """aiosmtplib alone drops a reply that comes while the body is still being written."""
    async with SmtpPeer({"body": [say("552 5.3.4 too big", then=Then.HANG)]}) as peer:
        submission = to(peer, timeout=5.0)
        assert await submission.submit(SHOP, RELAY, BIG) == Refused(552, "5.3.4 too big")
    assert not peer.mails


async def test_an_acceptance_before_the_dot_is_none() -> None:
    async with SmtpPeer({"body": [say("250 2.0.0 queued", then=Then.HANG)]}) as peer:
        outcome = await to(peer, timeout=5.0).submit(SHOP, RELAY, BIG)
    assert outcome == Deferred(0, "2.0.0 queued, before the final dot")
    assert not peer.mails


async def test_a_big_mail_arrives_whole() -> None:
    async with SmtpPeer() as peer:
        submission = to(peer, timeout=10.0, final_timeout=10.0, total_timeout=20.0)
        assert isinstance(await submission.submit(SHOP, RELAY, BIG), Accepted)
        await submission.aclose()
    assert peer.mails[0].data == BIG


async def test_dripping_replies_end_at_the_total_limit() -> None:
    """Each reply comes within its own limit; together they would take too long."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in (b"220 hi", b"250 peer", b"250 ok", b"250 ok", b"250 ok"):
            await asyncio.sleep(0.08)
            writer.write(reply + b"\r\n")
            if not await reader.readline():
                break
        writer.close()

    server = await asyncio.start_server(slow, "127.0.0.1", 0)
    peer = SmtpPeer(port=server.sockets[0].getsockname()[1])
    outcome = await to(peer, total_timeout=0.2).submit(SHOP, RELAY, MAIL)
    server.close()
    assert isinstance(outcome, Deferred)
    assert outcome.reply.startswith("no answer in time")


async def test_nobody_listens() -> None:
    async with SmtpPeer() as peer:
        pass
    outcome = await to(peer).submit(SHOP, RELAY, MAIL)
    assert outcome == Deferred(0, "connection refused, while connecting")


async def test_a_host_name_that_does_not_exist() -> None:
    async with SmtpPeer() as peer:
        outcome = await to(peer, host="nowhere.invalid", timeout=5.0).submit(SHOP, RELAY, MAIL)
    assert isinstance(outcome, Deferred)
    assert outcome.code == 0


# --- one mail never gets another's answer -------------------------------------------------------


@pytest.mark.parametrize("step", ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "body", "dot"])
async def test_after_a_cancellation_the_next_mail_gets_its_own_answer(step: str) -> None:
    async with SmtpPeer({step: [HANG]}) as peer:
        submission = to(peer, timeout=5.0, final_timeout=5.0)
        first = asyncio.create_task(submission.submit(SHOP, "first@example.org", MAIL))
        await peer.reached(step)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert isinstance(await submission.submit(SHOP, "second@example.org", MAIL), Accepted)
        await submission.aclose()
    assert peer.mails[-1].recipient == "second@example.org"
    assert peer.connections == 2


async def test_a_late_refusal_of_a_cancelled_mail_is_not_the_next_mails() -> None:
    release = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        while line := await reader.readline():
            if line.startswith(b"RCPT TO:<first"):
                await release.wait()
                writer.write(b"554 5.7.1 first is refused\r\n")
            elif line.startswith(b"DATA"):
                writer.write(b"354 go\r\n")
            elif line == b".\r\n" or line[:4] in (b"EHLO", b"MAIL", b"RCPT", b"RSET"):
                writer.write(b"250 ok\r\n")
        writer.close()

    server = await asyncio.start_server(late, "127.0.0.1", 0)
    submission = to(SmtpPeer(port=server.sockets[0].getsockname()[1]), timeout=5.0)
    first = asyncio.create_task(submission.submit(SHOP, "first@example.org", MAIL))
    await asyncio.sleep(0.05)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    release.set()
    assert await submission.submit(SHOP, "second@example.org", MAIL) == Accepted("ok")
    await submission.aclose()
    server.close()


@pytest.mark.parametrize("step", ["EHLO", "MAIL", "RCPT", "DATA"])
async def test_two_replies_in_one_packet_are_not_paired_with_what_follows(step: str) -> None:
    polite = {"EHLO": "250 peer", "DATA": "354 go"}.get(step, "250 ok")
    async with SmtpPeer({step: [say(polite, "550 whose is this?")]}) as peer:
        submission = to(peer)
        outcome = await submission.submit(SHOP, RELAY, MAIL)
        assert isinstance(outcome, Deferred)
        assert outcome.reply.startswith("a reply nobody asked for")
        assert isinstance(await submission.submit(SHOP, "b@example.org", MAIL), Accepted)
        await submission.aclose()
    assert [mail.recipient for mail in peer.mails] == ["b@example.org"]


async def test_a_second_reply_after_the_dot_does_not_meet_the_next_mail() -> None:
    async with SmtpPeer({"dot": [say("250 queued", "554 and no")]}) as peer:
        submission = to(peer)
        assert await submission.submit(SHOP, RELAY, MAIL) == Accepted("queued")
        assert isinstance(await submission.submit(SHOP, "b@example.org", MAIL), Accepted)
        await submission.aclose()
    assert peer.connections == 2


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("RCPT", Deferred(0, "connection lost, at RCPT")),
        ("dot", Uncertain("connection lost, after the final dot")),
    ],
)
async def test_closing_in_the_middle_of_a_mail_does_not_hang_and_knows_how_far_it_came(
    step: str, expected: Deferred | Uncertain
) -> None:
    async with SmtpPeer({step: [HANG]}) as peer:
        submission = to(peer, timeout=5.0, final_timeout=5.0)
        running = asyncio.create_task(submission.submit(SHOP, RELAY, MAIL))
        await peer.reached(step)
        async with asyncio.timeout(1):
            await submission.aclose()
            assert await running == expected


# --- what never reaches the server --------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nobody",
        "a@b>\r\nRCPT TO:<evil@example.org",
        "a@b\n",
        "Paul <paul@example.org>",
        "paul dupont@example.org",
        "zoé@example.org",
        "paul@exämple.org",
        '"a b"@example.org',
        "a..b@example.org",
        ".a@example.org",
        "a@-example.org",
        "a@example.org>",
        "a@b@c.org",
        "x" * 65 + "@example.org",
        "a@" + "b." * 130 + "org",
    ],
)
async def test_only_plain_addresses_reach_the_server(address: str) -> None:
    async with SmtpPeer() as peer:
        submission = to(peer)
        assert await submission.submit(SHOP, address, MAIL) == Refused(
            0, "the recipient is not a plain e-mail address"
        )
        assert await submission.submit(address, RELAY, MAIL) == Refused(
            0, "the sender is not a plain e-mail address"
        )
    assert peer.connections == 0


async def test_content_the_transport_would_spoil_is_refused_here() -> None:
    async with SmtpPeer() as peer:
        submission = to(peer)
        eight_bit = await submission.submit(SHOP, RELAY, "Été\r\n".encode())
        assert eight_bit == Refused(0, "the mail holds 8-bit content")
        long_line = await submission.submit(SHOP, RELAY, b"x" * 999 + b"\r\n")
        assert long_line == Refused(0, "the mail holds a line of more than 998 octets")
        assert peer.connections == 0
        at_limit = b"x" * 998 + b"\r\n"
        assert isinstance(await submission.submit(SHOP, RELAY, at_limit), Accepted)
        await submission.aclose()


@pytest.mark.parametrize(
    "changes",
    [
        {"host": ""},
        {"host": "smtp.example.org\r\nX"},
        {"user": ""},
        {"timeout": 0.0},
        {"helo": "a b"},
    ],
)
def test_unsafe_settings_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"SMTP|sign-in|EHLO"):
        SmtpSettings(**({"host": "smtp.example.org", "user": SHOP} | changes))


def test_a_sign_in_needs_a_secret_and_nothing_shows_it() -> None:
    settings = SmtpSettings(host="smtp.example.org", user=SHOP)
    with pytest.raises(ValueError, match="password or token"):
        SmtpSubmission(settings)
    assert repr(SmtpSubmission(settings, secret=a_secret(PASSWORD))) == (
        "SmtpSubmission(smtp.example.org:465, tls)"
    )
    assert SmtpSettings(host="h", user="u", security=TlsMode.STARTTLS).address == ("h", 587)


async def test_plain_goes_to_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judged by the address reached, whatever the name says."""
    async with SmtpPeer() as peer:
        monkeypatch.setattr(
            "aiosmtplib.SMTP.get_transport_info", lambda self, key: ("192.0.2.7", 25)
        )
        outcome = await to(peer).submit(SHOP, RELAY, MAIL)
    assert isinstance(outcome, Deferred)
    assert "this machine only" in outcome.reply
    assert peer.heard == []


# --- real servers: TLS and sign-in --------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="module")
def served(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    return context


class Inbox:
    """An aiosmtpd handler that keeps what it takes; bearer mechanisms as hooks."""

    def __init__(self, token: str = "") -> None:
        self.mails: list[tuple[str, list[str], bytes]] = []
        self.sign_ins: list[str] = []
        self._token = token

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        assert isinstance(envelope.content, bytes)
        assert envelope.mail_from is not None
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 2.0.0 queued"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        self.sign_ins.append(mechanism)
        right = LoginPassword(SHOP.encode(), PASSWORD.encode())
        return AuthResult(success=data == right, handled=False)

    async def auth_XOAUTH2(self, server: SMTP, args: list[str]) -> AuthResult:  # noqa: N802
        return await self._bearer(server, args, f"user={SHOP}\x01auth=Bearer {self._token}\x01\x01")

    async def auth_OAUTHBEARER(  # noqa: N802
        self, server: SMTP, args: list[str]
    ) -> AuthResult:
        assert server.transport is not None
        port = server.transport.get_extra_info("sockname")[1]
        return await self._bearer(
            server,
            args,
            f"n,a={SHOP},\x01host=localhost\x01port={port}\x01auth=Bearer {self._token}\x01\x01",
        )

    async def _bearer(self, server: SMTP, args: list[str], expected: str) -> AuthResult:
        if len(args) == 2:
            said = base64.b64decode(args[1])
            self.sign_ins.append("one line")
        else:
            answer = await server.challenge_auth("")
            assert isinstance(answer, bytes)
            said = answer
            self.sign_ins.append("after a challenge")
        if said.decode() == expected:
            return AuthResult(success=True)
        farewell = await server.challenge_auth(json.dumps({"status": "invalid_token"}))
        self.sign_ins.append(f"farewell {farewell!r}")
        return AuthResult(success=False, handled=False)


@asynccontextmanager
async def serving(
    inbox: Inbox, *, tls: ssl.SSLContext | None = None, starttls: ssl.SSLContext | None = None
) -> Any:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(
            inbox,
            hostname="real",
            tls_context=starttls,
            require_starttls=starttls is not None,
            auth_required=tls is not None or starttls is not None,
            auth_require_tls=tls is None,
            authenticator=getattr(inbox, "authenticate", None),
            loop=loop,
        ),
        "localhost",
        0,
        ssl=tls,
        family=2,
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


Settings = Callable[..., SmtpSettings]


@pytest.fixture
def settings_for(ca_file: Path) -> Settings:
    def build(port: int, **changes: Any) -> SmtpSettings:
        values: dict[str, Any] = {
            "host": "localhost",
            "port": port,
            "user": SHOP,
            "ca_file": ca_file,
            "timeout": 5.0,
        }
        return SmtpSettings(**(values | changes))

    return build


@pytest.mark.parametrize("security", [TlsMode.TLS, TlsMode.STARTTLS])
async def test_password_over_both_kinds_of_tls(
    security: TlsMode, served: ssl.SSLContext, settings_for: Settings
) -> None:
    inbox = Inbox()
    implicit = security is TlsMode.TLS
    server = serving(inbox, tls=served) if implicit else serving(inbox, starttls=served)
    async with server as port:
        submission = SmtpSubmission(
            settings_for(port, security=security), secret=a_secret(PASSWORD)
        )
        assert await submission.submit(SHOP, RELAY, MAIL) == Accepted("2.0.0 queued")
        assert await submission.submit(SHOP, "b@example.org", MAIL) == Accepted("2.0.0 queued")
        found = await submission.check()
        await submission.aclose()
    assert inbox.mails[0] == (SHOP, [RELAY], MAIL)
    assert len(inbox.mails) == 2
    assert found == f"localhost:{port}, TLS 1.3, signed in (PLAIN), mails up to 33 MB"


@pytest.mark.parametrize("sign_in", [SignIn.XOAUTH2, SignIn.OAUTHBEARER])
@pytest.mark.parametrize(("length", "way"), [(40, "one line"), (500, "after a challenge")])
async def test_bearer_tokens_short_and_long(
    sign_in: SignIn, length: int, way: str, served: ssl.SSLContext, settings_for: Settings
) -> None:
    """aiosmtpd refuses command lines above 512 octets, as RFC 4954 lets a server do."""
    inbox = Inbox("t" * length)
    async with serving(inbox, tls=served) as port:
        submission = SmtpSubmission(
            settings_for(port, sign_in=sign_in), secret=a_secret("t" * length)
        )
        assert isinstance(await submission.submit(SHOP, RELAY, MAIL), Accepted)
        await submission.aclose()
    assert inbox.sign_ins == [way]


@pytest.mark.parametrize(
    ("sign_in", "farewell"),
    [(SignIn.XOAUTH2, "farewell b''"), (SignIn.OAUTHBEARER, r"farewell b'\x01'")],
)
async def test_a_refused_token_is_deferred_after_the_proper_farewell(
    sign_in: SignIn, farewell: str, served: ssl.SSLContext, settings_for: Settings
) -> None:
    inbox = Inbox("good")
    async with serving(inbox, tls=served) as port:
        submission = SmtpSubmission(settings_for(port, sign_in=sign_in), secret=a_secret("stale"))
        outcome = await submission.submit(SHOP, RELAY, MAIL)
    assert outcome == Deferred(535, "sign-in refused: 5.7.8 Authentication credentials invalid")
    assert inbox.sign_ins == ["one line", farewell]


async def test_a_wrong_password_is_tried_once_and_the_mail_waits(
    served: ssl.SSLContext, settings_for: Settings
) -> None:
    asked: list[str] = []

    async def secret() -> str:
        asked.append("asked")
        return PASSWORD if len(asked) > 1 else "wrong"

    inbox = Inbox()
    async with serving(inbox, tls=served) as port:
        submission = SmtpSubmission(settings_for(port), secret=secret)
        outcome = await submission.submit(SHOP, RELAY, MAIL)
        assert outcome == Deferred(535, "sign-in refused: 5.7.8 Authentication credentials invalid")
        # the operator has mended it: the secret is asked for anew
        assert isinstance(await submission.submit(SHOP, RELAY, MAIL), Accepted)
        await submission.aclose()
    assert len(asked) == 2
    assert inbox.sign_ins == ["PLAIN", "PLAIN"]  # LOGIN is offered too, and not tried


async def test_a_mechanism_that_is_offered_but_not_had_leads_to_the_next() -> None:
    acts = {"AUTH": [say("504 5.5.4 no PLAIN today"), say("334 UGFzc3dvcmQ6")]}
    async with SmtpPeer(acts, offers=["AUTH PLAIN LOGIN"]) as peer:
        settings = SmtpSettings(host="127.0.0.1", port=peer.port, security=TlsMode.PLAIN, user=SHOP)
        submission = SmtpSubmission(settings, secret=a_secret(PASSWORD))
        assert isinstance(await submission.submit(SHOP, RELAY, MAIL), Accepted)
        assert (await submission.check()).endswith("signed in (PLAIN)")
        await submission.aclose()
    assert [line.split()[1] for line in peer.heard if line.startswith("AUTH")][:2] == [
        "PLAIN",
        "LOGIN",
    ]


async def test_a_server_that_repeats_the_auth_line_does_not_leak_it() -> None:
    blob = base64.b64encode(f"\0{SHOP}\0{PASSWORD}".encode()).decode()
    acts = {"AUTH": [say(f"500 unknown command: AUTH PLAIN {blob}")] * 2}
    async with SmtpPeer(acts, offers=["AUTH PLAIN"]) as peer:
        settings = SmtpSettings(host="127.0.0.1", port=peer.port, security=TlsMode.PLAIN, user=SHOP)
        submission = SmtpSubmission(settings, secret=a_secret(PASSWORD))
        outcome = await submission.submit(SHOP, RELAY, MAIL)
        with pytest.raises(SubmissionUnavailable) as caught:
            await submission.check()
    assert outcome == Deferred(500, "sign-in refused: unknown command: AUTH PLAIN …")
    assert blob not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_no_password_goes_out_where_starttls_is_missing(settings_for: Settings) -> None:
    async with SmtpPeer(offers=["AUTH PLAIN LOGIN"]) as peer:
        submission = SmtpSubmission(
            settings_for(peer.port, security=TlsMode.STARTTLS), secret=a_secret(PASSWORD)
        )
        outcome = await submission.submit(SHOP, RELAY, MAIL)
        with pytest.raises(SubmissionUnavailable, match="offers no STARTTLS; check security"):
            await submission.check()
    assert outcome == Deferred(0, "the server offers no STARTTLS, while starting TLS")
    assert all(line.startswith("EHLO") for line in peer.heard)


@pytest.mark.parametrize("security", [TlsMode.TLS, TlsMode.STARTTLS])
@pytest.mark.parametrize("fault", ["foreign authority", "other name"])
async def test_a_bad_certificate_stops_everything(
    security: TlsMode, fault: str, authority: trustme.CA, settings_for: Settings
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issuer = trustme.CA() if fault == "foreign authority" else authority
    name = "localhost" if fault == "foreign authority" else "smtp.other.example"
    issuer.issue_cert(name).configure_cert(context)
    inbox = Inbox()
    implicit = security is TlsMode.TLS
    server = serving(inbox, tls=context) if implicit else serving(inbox, starttls=context)
    async with server as port:
        submission = SmtpSubmission(
            settings_for(port, security=security), secret=a_secret(PASSWORD)
        )
        outcome = await submission.submit(SHOP, RELAY, MAIL)
        with pytest.raises(SubmissionUnavailable, match="certificate is not accepted"):
            await submission.check()
    assert isinstance(outcome, Deferred)
    assert "certificate is not accepted" in outcome.reply
    assert not inbox.mails


async def test_tls_spoken_to_a_server_that_speaks_none(settings_for: Settings) -> None:
    async with SmtpPeer() as peer:
        submission = SmtpSubmission(settings_for(peer.port), secret=a_secret(PASSWORD))
        outcome = await submission.submit(SHOP, RELAY, MAIL)
    assert isinstance(outcome, Deferred)
    assert outcome.reply.startswith("TLS failed")


async def test_a_mechanism_the_server_has_not(
    served: ssl.SSLContext, settings_for: Settings
) -> None:
    class OldInbox:
        pass

    inbox: Any = OldInbox()
    async with serving(inbox, tls=served) as port:
        submission = SmtpSubmission(
            settings_for(port, sign_in=SignIn.XOAUTH2), secret=a_secret("token")
        )
        with pytest.raises(SubmissionUnavailable) as caught:
            await submission.check()
    assert str(caught.value) == (
        f"localhost:{port} while signing in: the server offers no XOAUTH2"
        " (it offers LOGIN PLAIN); check user, auth and the password or token"
    )


async def test_a_secret_that_cannot_be_had_defers_the_mail(
    served: ssl.SSLContext, settings_for: Settings
) -> None:
    async def broken() -> str:
        raise RuntimeError("token command ended with status 3")

    async with serving(Inbox(), tls=served) as port:
        outcome = await SmtpSubmission(settings_for(port), secret=broken).submit(SHOP, RELAY, MAIL)
    assert outcome == Deferred(
        0, "no password or token: token command ended with status 3, while signing in"
    )


async def test_a_ca_file_that_cannot_be_read(settings_for: Settings, tmp_path: Path) -> None:
    async with SmtpPeer() as peer:
        settings = settings_for(peer.port, ca_file=tmp_path / "missing.pem")
        submission = SmtpSubmission(settings, secret=a_secret(PASSWORD))
        outcome = await submission.submit(SHOP, RELAY, MAIL)
        with pytest.raises(SubmissionUnavailable, match="No such file"):
            await submission.check()
    assert isinstance(outcome, Deferred)
    assert "missing.pem" in outcome.reply


async def test_check_says_what_it_found_on_this_machine() -> None:
    async with SmtpPeer() as peer:
        submission = to(peer)
        found = await submission.check()
        await peer.all_gone()
    assert found == f"127.0.0.1:{peer.port}, no TLS (this machine), no sign-in, mails up to 30 MB"
    assert peer.heard == ["EHLO [127.0.0.1]", "QUIT"]
