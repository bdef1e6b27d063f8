"""The bearer token: asked for seldom, obeyed as to its life, never shown."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from mailbridge.domain.discussion import (
    AuthorKind,
    Discussion,
    DiscussionKind,
    MessageFile,
    Status,
)
from mailbridge.marketplace.port import (
    ContractError,
    CredentialsError,
    MarketplaceError,
    TransientError,
    Window,
)
from tests.marketplace.octopia.scripted import (
    BROKEN,
    CLIENT,
    IDENT,
    SECRET,
    SELLER,
    TOKEN,
    Reply,
    ScriptedApi,
    html,
    problem,
    said,
    talk,
    token,
)


async def test_client_id_and_secret_buy_a_token_that_every_call_carries(api: ScriptedApi) -> None:
    market = api.marketplace()
    await market.orders(["1"])
    assert api.sign_ins == [
        {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET}
    ]
    for call in api.calls:
        assert call.headers["Authorization"] == f"Bearer {TOKEN}"
        assert call.headers["SellerId"] == SELLER


@pytest.mark.parametrize(
    ("life", "still_good", "renewed"),
    [
        (7200, 6470, 6490),
        (None, 6470, 6490),
        ("nonsense", 6470, 6490),
        (300, 235, 245),
        (-5, 10, 16),
        (1e300, 77_000, 78_000),
    ],
)
async def test_its_life_is_obeyed_and_it_is_renewed_ahead(
    api: ScriptedApi, life: Any, still_good: int, renewed: int
) -> None:
    api.on_sign_in(token(expires_in=life), token("another-token", expires_in=7200))
    market = api.marketplace()
    start = api.now
    await market.orders(["1"])
    api.now = start + timedelta(seconds=still_good)
    await market.orders(["1"])
    assert len(api.sign_ins) == 1
    api.now = start + timedelta(seconds=renewed)
    await market.orders(["1"])
    assert len(api.sign_ins) == 2
    assert api.calls[-1].headers["Authorization"] == "Bearer another-token"


async def test_the_old_one_goes_on_while_renewing_fails(api: ScriptedApi) -> None:
    api.on_sign_in(token(), Reply(None, 503))
    market = api.marketplace()
    await market.orders(["1"])
    api.now += timedelta(seconds=6600)
    for _ in range(5):
        await market.orders(["1"])
    assert len(api.sign_ins) == 2  # not once a call
    api.now += timedelta(seconds=600)
    with pytest.raises(TransientError) as caught:
        await market.orders(["1"])
    assert not caught.value.sent


async def test_many_calls_sign_in_once(api: ScriptedApi) -> None:
    market = api.marketplace()
    await asyncio.gather(*(market.orders([str(n)]) for n in range(30)))
    assert len(api.sign_ins) == 1


async def test_a_refused_token_is_renewed_once_and_the_call_made_again(api: ScriptedApi) -> None:
    api.on_sign_in(token(), token("another-token"))
    api.on("GET", f"/discussions/{IDENT}", problem(401), talk())
    api.on("POST", "/messages", problem(401), Reply({"messageId": "m9"}, 201))
    market = api.marketplace()
    sent = await market.messaging.send(IDENT, "Bonjour, voici.", [], to=AuthorKind.CUSTOMER)
    assert sent == "m9"
    assert len(api.sign_ins) == 3
    assert len(api.asked("POST", "/messages")) == 2


async def test_a_new_token_refused_as_well_is_the_operators_business(api: ScriptedApi) -> None:
    api.on("GET", "/discussions", problem(401))
    market = api.marketplace()
    with pytest.raises(CredentialsError, match="client_id"):
        await market.discussions(Window(api.now - timedelta(hours=1), api.now))
    assert len(api.sign_ins) == 2


async def test_one_kind_of_call_refused_for_ever_does_not_use_up_the_tokens(
    api: ScriptedApi,
) -> None:
    """Five hundred an hour are all there are, and other accounts may need them."""
    api.on("GET", f"/discussions/{IDENT}", talk(said("?", attachments=None)))
    api.on("GET", "/attachments", problem(401))
    market = api.marketplace()
    for _ in range(40):
        with pytest.raises(CredentialsError):
            await market.messaging.files(IDENT, "m1")
    assert len(api.sign_ins) == 11
    # What is not refused goes on, and knows that there may be a file.
    known = Discussion(IDENT, "1", DiscussionKind.CLAIM, Status.OPEN, api.now, "")
    [found] = (await market.read_again([known])).discussions
    assert found.messages[0].files == (MessageFile("", "0"),)
    api.now += timedelta(minutes=10)
    with pytest.raises(CredentialsError):
        await market.messaging.files(IDENT, "m1")
    assert len(api.sign_ins) == 12


@pytest.mark.parametrize(
    "reply",
    [
        Reply({"error": "unauthorized_client", "error_description": f"secret {SECRET}"}, 401),
        Reply({"error": "invalid_client"}, 400),
        Reply({"error": f"{SECRET}"}, 400),
        Reply(None, 401),
    ],
)
async def test_wrong_credentials(api: ScriptedApi, reply: Reply) -> None:
    api.on_sign_in(reply)
    market = api.marketplace()
    with pytest.raises(CredentialsError) as caught:
        await market.orders(["1"])
    assert SECRET not in str(caught.value)
    assert len(api.sign_ins) == 1
    assert api.calls == []


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(None, 503), TransientError),
        (Reply({"error": "temporarily_unavailable"}, 400), TransientError),
        (html(200), TransientError),
        (html(403), TransientError),
        (html(400), TransientError),
        (BROKEN, TransientError),
        (Reply({"access_token": None}), TransientError),
        (Reply({"access_token": "two words\r\nX: y"}), TransientError),
        (Reply({"access_token": ["x"]}), TransientError),
        (Reply(raw=b'{"access_token": "' + b"x" * 200_000 + b'"}'), TransientError),
        (Reply(raw=b"[" * 100_000), TransientError),
        (Reply({"error": "Realm does not exist"}, 404), ContractError),
    ],
)
async def test_no_token_is_no_verdict_on_the_secret(
    api: ScriptedApi, reply: Reply, kind: type[MarketplaceError]
) -> None:
    api.on_sign_in(reply)
    with pytest.raises(kind) as caught:
        await api.marketplace().orders(["1"])
    assert SECRET not in str(caught.value)


async def test_what_the_sign_in_asks_us_to_wait_is_kept(api: ScriptedApi) -> None:
    api.on_sign_in(Reply({"error": "slow_down"}, 429, {"Retry-After": "120"}))
    with pytest.raises(TransientError) as caught:
        await api.marketplace().orders(["1"])
    assert caught.value.retry_after == 120
    assert len(api.sign_ins) == 1


async def test_nothing_shows_the_token(api: ScriptedApi) -> None:
    echo = problem(403, f"Bearer {TOKEN}", detail=f"{TOKEN[:40]} for {CLIENT}")
    api.on("GET", "/discussions", echo)
    with pytest.raises(MarketplaceError) as caught:
        await api.marketplace().discussions(Window(api.now - timedelta(hours=1), api.now))
    assert "eyJ" not in str(caught.value)
    assert CLIENT not in str(caught.value)
