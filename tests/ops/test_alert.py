"""A person hears of trouble once, and of its end once, without the broken part's help."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from zoneinfo import ZoneInfo

import httpx
import pytest

from mailbridge.mail.smtp import SignIn, SmtpSettings, SmtpSubmission, TlsMode
from mailbridge.ops.alert import Alerts, AlertSettings
from mailbridge.ops.supervisor import PartState, PartStatus
from tests.mail.smtp_peer import DROP, HANG, Act, SmtpPeer, say

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SETTINGS = AlertSettings(
    host="srv1",
    sender="mailbridge@shop.example",
    recipient="patron@ailleurs.example",
    after=900,
    calm=120,
    timezone=ZoneInfo("Europe/Paris"),
)


class Time:
    def __init__(self) -> None:
        self.passed = 0.0

    def clock(self) -> datetime:
        return NOON + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed


def submission_to(peer: SmtpPeer) -> SmtpSubmission:
    return SmtpSubmission(
        SmtpSettings(
            host="127.0.0.1",
            port=peer.port,
            security=TlsMode.PLAIN,
            sign_in=SignIn.NONE,
            timeout=0.2,
            final_timeout=0.2,
        )
    )


@asynccontextmanager
async def alerting(
    peer: SmtpPeer, time: Time, settings: AlertSettings = SETTINGS
) -> AsyncIterator[Alerts]:
    submission = submission_to(peer)
    yield Alerts(settings, submission=submission, clock=time.clock, monotonic=time.monotonic)
    await submission.aclose()


def state(kind: PartStatus, error: str = "", name: str = "shop: inbox") -> PartState:
    return PartState(name, kind, NOON, error)


def mails(peer: SmtpPeer) -> list[EmailMessage]:
    policy = email.policy.default
    return [email.message_from_bytes(mail.data, policy=policy) for mail in peer.mails]


def subjects(peer: SmtpPeer) -> list[str]:
    return [str(mail["Subject"]) for mail in mails(peer)]


async def test_one_mail_when_it_has_lasted_and_one_when_it_is_over() -> None:
    time = Time()
    async with SmtpPeer() as peer, alerting(peer, time) as alerts:
        alerts.observe(state(PartStatus.WAITING, "sign-in refused"))
        time.passed = 899
        await alerts.tell()
        assert peer.mails == []

        for _ in range(50):  # it goes on failing: still one trouble, still one mail
            time.passed += 10
            alerts.observe(state(PartStatus.STARTING, "sign-in refused"))
            alerts.observe(state(PartStatus.WAITING, "sign-in refused"))
            await alerts.tell()
        assert subjects(peer) == ["[mailbridge] srv1\u00a0: shop: inbox en panne"]

        alerts.observe(state(PartStatus.RUNNING))
        time.passed += 119
        await alerts.tell()
        assert len(peer.mails) == 1
        time.passed += 1
        await alerts.tell()
        await alerts.tell()
    assert subjects(peer)[1:] == ["[mailbridge] srv1\u00a0: shop: inbox de nouveau en marche"]


async def test_the_mail_says_what_since_when_and_what_to_do() -> None:
    time = Time()
    async with SmtpPeer() as peer, alerting(peer, time) as alerts:
        alerts.observe(state(PartStatus.WAITING, "sign-in\r\nBcc: refused"))
        time.passed = 900
        await alerts.tell()
    [mail] = mails(peer)
    assert peer.mails[0].recipient == mail["To"] == "patron@ailleurs.example"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"].endswith("@shop.example>")
    assert mail["Date"] == "Wed, 01 May 2024 12:15:00 +0000"
    assert mail["Bcc"] is None
    assert peer.mails[0].data.isascii()
    text = mail.get_content().replace("\r\n", "\n")
    assert "Sur srv1, mailbridge a besoin d'un coup d'œil\u00a0:" in text
    assert (
        "- shop: inbox\u00a0: sign-in Bcc: refused\n  depuis le 01/05/2024 à 14:00 (CEST)" in text
    )
    assert "    mailbridge status\n" in text


async def test_what_stops_nothing_is_told_with_its_beginning_and_the_heart_goes_on() -> None:
    time = Time()
    async with SmtpPeer() as peer, alerting(peer, time) as alerts:
        since = NOON - timedelta(hours=2)
        for _ in range(3):
            alerts.trouble("shop/unreadable", "1 order", since=since, heart_stops=False)
            time.passed += 450
        await alerts.tell()
        assert alerts.all_well
        alerts.observe(state(PartStatus.WAITING))
        time.passed += 900
        assert not alerts.all_well
    [mail] = mails(peer)
    assert (
        "- shop/unreadable\u00a0: 1 order\r\n  depuis le 01/05/2024 à 12:00" in mail.get_content()
    )


async def test_in_english() -> None:
    time = Time()
    settings = AlertSettings(
        host="srv1", sender="a@shop.example", recipient="b@example.org", language="en", after=0
    )
    async with SmtpPeer() as peer, alerting(peer, time, settings) as alerts:
        alerts.observe(state(PartStatus.STARTING))
        await alerts.tell()
    [mail] = mails(peer)
    assert mail["Subject"] == "[mailbridge] srv1: shop: inbox down"
    assert "- shop: inbox: does not come up\r\n  since 2024-05-01 12:00 (UTC)" in mail.get_content()


async def test_a_part_that_comes_and_goes_is_one_trouble() -> None:
    time = Time()
    async with SmtpPeer() as peer, alerting(peer, time) as alerts:
        for _ in range(40):  # up for a minute, down for a minute, for 80 minutes
            alerts.observe(state(PartStatus.RUNNING))
            time.passed += 60
            await alerts.tell()
            alerts.observe(state(PartStatus.WAITING, "connection lost"))
            time.passed += 60
            await alerts.tell()
    assert subjects(peer) == ["[mailbridge] srv1\u00a0: shop: inbox en panne"]


async def test_a_short_trouble_is_never_told() -> None:
    time = Time()
    async with SmtpPeer() as peer, alerting(peer, time) as alerts:
        alerts.observe(state(PartStatus.WAITING, "connection lost"))
        time.passed = 600
        alerts.observe(state(PartStatus.RUNNING))
        time.passed = 2_000
        await alerts.tell()
        # and a later one counts from its own beginning
        alerts.observe(state(PartStatus.WAITING, "connection lost"))
        time.passed = 2_800
        await alerts.tell()
    assert peer.mails == []


async def test_troubles_due_together_make_one_mail() -> None:
    time = Time()
    async with SmtpPeer() as peer, alerting(peer, time) as alerts:
        for name in ("shop: inbox", "shop: sent", "other: inbox"):
            alerts.observe(state(PartStatus.WAITING, "connection lost", name))
        time.passed = 901
        await alerts.tell()
        await alerts.tell()
    [mail] = mails(peer)
    assert mail["Subject"] == "[mailbridge] srv1\u00a0: 3 parties en panne"
    assert mail.get_content().count("connection lost") == 3


@pytest.mark.parametrize("act", [say("451 later"), say("550 no")])
async def test_an_alert_that_does_not_get_out_is_tried_again_with_growing_pauses(
    act: Act,
) -> None:
    time = Time()
    async with SmtpPeer({"RCPT": [act, act]}) as peer, alerting(peer, time) as alerts:
        alerts.observe(state(PartStatus.WAITING, "connection lost"))
        time.passed = 900
        await alerts.tell()
        time.passed += 59
        await alerts.tell()
        assert sum(line.startswith("RCPT") for line in peer.heard) == 1
        time.passed += 1
        await alerts.tell()
        time.passed += 299
        await alerts.tell()
        assert sum(line.startswith("RCPT") for line in peer.heard) == 2
        time.passed += 1
        await alerts.tell()
        await alerts.tell()
    assert len(peer.mails) == 1


async def test_an_alert_that_may_have_got_out_is_not_repeated() -> None:
    time = Time()
    async with SmtpPeer({"dot": [DROP]}) as peer, alerting(peer, time) as alerts:
        alerts.observe(state(PartStatus.WAITING, "connection lost"))
        time.passed = 900
        await alerts.tell()
        time.passed += 7_200
        await alerts.tell()
    assert len(peer.mails) == 1


class Beats:
    """A heartbeat service, over real HTTP."""

    def __init__(self, status: int = 200) -> None:
        self.asked: list[str] = []
        self.status = status
        self.url = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Beats]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(request.split(b"\r\n")[0].decode())
            writer.write(f"HTTP/1.1 {self.status} x\r\nContent-Length: 0\r\n".encode())
            writer.write(b"Connection: close\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/0f8fad5b-d9cb-469f-a165-70867728950e"
        yield self
        server.close()


async def test_the_heart_beats_while_all_is_well_and_stops_with_a_lasting_trouble() -> None:
    time = Time()
    async with Beats().serving() as beats, httpx.AsyncClient() as http:
        settings = AlertSettings(host="srv1", heartbeat_url=beats.url, after=900)
        alerts = Alerts(settings, http=http, clock=time.clock, monotonic=time.monotonic)
        assert await alerts.beat()
        alerts.observe(state(PartStatus.WAITING, "connection lost"))
        time.passed = 899
        assert await alerts.beat()
        assert len(beats.asked) == 2
        assert beats.asked[0].startswith("GET /0f8fad5b")

        time.passed = 900
        assert not alerts.all_well
        assert await alerts.beat()
        assert len(beats.asked) == 2
        await alerts.tell()  # no mail configured: nothing happens

        alerts.observe(state(PartStatus.RUNNING))
        await alerts.beat()
        assert len(beats.asked) == 3


async def test_a_heartbeat_that_is_not_heard_is_said_and_not_raised(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Beats(status=503).serving() as beats, httpx.AsyncClient() as http:
        settings = AlertSettings(host="srv1", heartbeat_url=beats.url)
        assert not await Alerts(settings, http=http).beat()
    async with httpx.AsyncClient() as http:
        assert not await Alerts(settings, http=http).beat()
        odd = AlertSettings(host="srv1", heartbeat_url="http://[::1")
        assert not await Alerts(odd, http=http).beat()
    said = capsys.readouterr().out + caplog.text
    assert said.count("heartbeat not heard") == 3
    assert "0f8fad5b-d9cb" not in said


async def test_run_tells_and_beats_until_cancelled_whatever_fails() -> None:
    time = Time()
    alive = 0
    sleeps: set[float] = set()

    def sign() -> None:
        nonlocal alive
        alive += 1

    async def sleep(seconds: float) -> None:
        sleeps.add(seconds)
        time.passed += 450
        await asyncio.sleep(0.001)

    async with SmtpPeer() as peer, Beats(status=500).serving() as beats:
        settings = AlertSettings(
            host="srv1",
            sender="a@shop.example",
            recipient="b@example.org",
            heartbeat_url=beats.url,
        )
        async with httpx.AsyncClient() as http:
            submission = submission_to(peer)
            alerts = Alerts(
                settings,
                submission=submission,
                http=http,
                clock=time.clock,
                monotonic=time.monotonic,
                sleep=sleep,
            )
            alerts.trouble("journal", "disk full")
            running = asyncio.create_task(alerts.run(sign))
            async with asyncio.timeout(2):
                await peer.reached("dot")
                # the heart was not heard: asked again sooner than every 300 s
                while 30.0 not in sleeps:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            await submission.aclose()
    assert alive > 1
    assert sleeps <= {15.0, 30.0, 300.0}
    assert beats.asked


async def test_a_mail_server_that_hangs_does_not_stop_the_heart() -> None:
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0.001)

    async with SmtpPeer({"MAIL": [HANG]}) as peer, Beats().serving() as beats:
        settings = AlertSettings(
            host="srv1",
            sender="a@shop.example",
            recipient="b@example.org",
            heartbeat_url=beats.url,
            after=60,
        )
        time = Time()
        async with httpx.AsyncClient() as http:
            submission = SmtpSubmission(
                SmtpSettings(
                    host="127.0.0.1",
                    port=peer.port,
                    security=TlsMode.PLAIN,
                    sign_in=SignIn.NONE,
                )
            )
            alerts = Alerts(
                settings,
                submission=submission,
                http=http,
                clock=time.clock,
                monotonic=time.monotonic,
                sleep=sleep,
            )
            alerts.trouble("journal", "disk full")
            time.passed = 60
            running = asyncio.create_task(alerts.run(lambda: None))
            await peer.reached("MAIL")
            alerts.well("journal")
            before = len(beats.asked)
            async with asyncio.timeout(2):
                while len(beats.asked) < before + 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await submission.aclose()
    assert peer.mails == []


async def test_a_fault_of_ours_in_telling_does_not_end_it() -> None:
    time = Time()
    turns = 0

    async def sleep(seconds: float) -> None:
        nonlocal turns
        turns += 1
        time.passed += 1_000
        await asyncio.sleep(0)

    def no_id(domain: str) -> str:
        raise RuntimeError("a fault")

    async with SmtpPeer() as peer:
        submission = submission_to(peer)
        alerts = Alerts(
            SETTINGS,
            submission=submission,
            clock=time.clock,
            monotonic=time.monotonic,
            sleep=sleep,
            new_id=no_id,
        )
        alerts.trouble("journal", "disk full")
        running = asyncio.create_task(alerts.run(lambda: None))
        async with asyncio.timeout(2):
            while turns < 4:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await submission.aclose()


@pytest.mark.parametrize(
    "changes",
    [{"language": "de"}, {"recipient": "a@b.example"}, {"heartbeat_every": 0.0}, {"after": -1.0}],
)
def test_settings_are_checked(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="alert"):
        AlertSettings(host="srv1", **changes)  # type: ignore[arg-type]
