"""The token: got, kept, renewed ahead of time, renewed when it dies, and never shown."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import pytest
from aiohttp import web

from mailbridge.marketplace.cdiscount.token import RENEW_AFTER, StsTokens
from mailbridge.marketplace.port import CredentialsError, TransientError
from mailbridge.marketplace.wire import Wire
from tests.marketplace.recorded import needs_recordings, recording
from tests.marketplace.scripted import LOGIN, PASSWORD, TOKEN, Reply, ScriptedService, token_xml

START = datetime(2019, 4, 25, 12, 0, tzinfo=UTC)
OTHER = "f" * 32
CHALLENGE = Reply(
    "<!DOCTYPE html><html><head><title>Welcome on Cdiscount STS</title></head></html>",
    content_type="text/html",
)


class Desk:
    """A token source, its service and a clock to turn."""

    def __init__(self, service: ScriptedService) -> None:
        self.service = service
        self.now = START
        self.passwords = [PASSWORD]
        self.wire = Wire(timeout=5)
        self.source = StsTokens(
            self.wire,
            token_url=f"{service.url}/sts/",
            realm="https://wsvc.cdiscount.com/MarketplaceAPIService.svc",
            login=LOGIN,
            password=self.password,
            clock=lambda: self.now,
        )

    async def password(self) -> str:
        return self.passwords[-1]

    @property
    def sign_ins(self) -> int:
        return len(self.service.sign_ins)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with ScriptedService() as service:
        desk = Desk(service)
        yield desk
        await desk.source.aclose()
        await desk.wire.aclose()


def said(value: str) -> Reply:
    return Reply(token_xml(value), content_type="text/plain")


async def test_the_first_token_is_asked_for_with_login_password_and_realm(desk: Desk) -> None:
    token = await desk.source.current()
    assert (token.value, token.since, token.renew_after) == (TOKEN, START, RENEW_AFTER)
    request = desk.service.sign_ins[0]
    kind, _, basic = request.headers["Authorization"].partition(" ")
    assert kind == "Basic"
    assert base64.b64decode(basic).decode() == f"{LOGIN}:{PASSWORD}"
    assert unquote(request.path_qs) == (
        "/sts/?realm=https://wsvc.cdiscount.com/MarketplaceAPIService.svc"
    )
    assert TOKEN not in repr(token)


async def test_it_is_kept_for_forty_hours_and_then_renewed(desk: Desk) -> None:
    desk.service.on_sign_in(said(TOKEN), said(OTHER))
    await desk.source.current()
    desk.now = START + timedelta(hours=39, minutes=59)
    assert (await desk.source.current()).value == TOKEN
    desk.now = START + timedelta(hours=40)
    assert (await desk.source.current()).value == OTHER
    assert desk.sign_ins == 2


async def test_when_renewing_ahead_of_time_fails_the_old_one_goes_on(desk: Desk) -> None:
    desk.service.on_sign_in(said(TOKEN), Reply("", 503))
    await desk.source.current()
    desk.now = START + timedelta(hours=41)
    for _ in range(3):
        assert (await desk.source.current()).value == TOKEN
    assert desk.sign_ins == 2  # not once a call
    desk.now += timedelta(minutes=11)
    assert (await desk.source.current()).value == TOKEN
    assert desk.sign_ins == 3


async def test_but_not_past_its_end(desk: Desk) -> None:
    desk.service.on_sign_in(said(TOKEN), Reply("", 503))
    await desk.source.current()
    desk.now = START + timedelta(hours=47, minutes=45)
    with pytest.raises(TransientError):
        await desk.source.current()


async def test_a_clock_set_back_does_not_make_a_token_young_for_ever(desk: Desk) -> None:
    desk.service.on_sign_in(said(TOKEN), said(OTHER))
    await desk.source.current()
    desk.now = START - timedelta(days=300)
    assert (await desk.source.current()).value == OTHER


async def test_many_callers_sign_in_once(desk: Desk) -> None:
    tokens = await asyncio.gather(*(desk.source.current() for _ in range(20)))
    assert desk.sign_ins == 1
    assert {token.value for token in tokens} == {TOKEN}


async def test_many_callers_share_one_refusal_and_the_next_call_tries_again(desk: Desk) -> None:
    desk.service.on_sign_in(Reply("no", 401, "text/html"), said(TOKEN))
    answers = await asyncio.gather(
        *(desk.source.current() for _ in range(20)), return_exceptions=True
    )
    assert {type(one) for one in answers} == {CredentialsError}
    assert desk.sign_ins == 1
    desk.passwords.append("new one")  # the operator mends it: no restart needed
    assert (await desk.source.current()).value == TOKEN


async def test_many_callers_refused_together_renew_once(desk: Desk) -> None:
    desk.service.on_sign_in(said(TOKEN), said(OTHER))
    old = await desk.source.current()
    renewed = await asyncio.gather(*(desk.source.renewed(old) for _ in range(20)))
    assert {token.value for token in renewed} == {OTHER}
    assert (await desk.source.renewed(old)).value == OTHER  # somebody else already did
    assert desk.sign_ins == 2


async def test_a_caller_that_gives_up_does_not_fail_the_others(desk: Desk) -> None:
    go_on = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return web.Response(text=token_xml())

    desk.service.on_sign_in(Reply(send=slow))
    first = asyncio.create_task(desk.source.current())
    second = asyncio.create_task(desk.source.current())
    await asyncio.sleep(0.05)
    first.cancel()
    await asyncio.sleep(0)
    go_on.set()
    assert (await second).value == TOKEN
    assert first.cancelled()


@pytest.mark.parametrize(
    "reply",
    [
        CHALLENGE,
        Reply("<html><body/></html>", content_type="text/html"),
        Reply("Welcome", content_type="text/plain"),
        Reply(token_xml()[:-5], content_type="text/plain"),
        Reply("x" * 20_000, content_type="text/plain"),
        Reply("", 503),
        Reply("", 302, headers={"Location": "/elsewhere"}),
    ],
)
async def test_a_page_instead_of_a_token_is_no_verdict_on_the_password(
    desk: Desk, reply: Reply
) -> None:
    desk.service.on_sign_in(reply)
    with pytest.raises(TransientError) as caught:
        await desk.source.current()
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "reply",
    [
        Reply("<html/>", 401, "text/html"),
        Reply("", 403),
        said(""),
        said("abc"),
        said("g" * 32),
        said(TOKEN + "0"),
    ],
)
async def test_wrong_credentials(desk: Desk, reply: Reply) -> None:
    desk.service.on_sign_in(reply)
    with pytest.raises(CredentialsError) as caught:
        await desk.source.current()
    for secret in (PASSWORD, LOGIN, TOKEN):
        assert secret not in str(caught.value)


@needs_recordings
async def test_the_recorded_answer_holds_a_token(desk: Desk) -> None:
    desk.service.on_sign_in(
        Reply(recording("token-issue.response.200.xml"), content_type="text/plain")
    )
    assert (await desk.source.current()).value == "0" * 32
