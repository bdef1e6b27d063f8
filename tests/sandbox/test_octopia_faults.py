"""The newer door: who is let in, and everything that may go wrong on the way."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import httpx
import pytest

from mailbridge.sandbox.clock import HandClock
from mailbridge.sandbox.faults import (
    GET_TOKEN,
    AnswerLost,
    EmptyFailure,
    ExtraElement,
    Fault,
    Hang,
    HtmlError,
    HtmlPage,
    InternalError,
    NilLists,
    NotAuthorized,
    RawAnswer,
    Refusal,
    ResetBefore,
    Rewrite,
    SlowDrip,
    Throttled,
    TokenFault,
    Truncated,
    UnknownValue,
)
from mailbridge.sandbox.octopia import OctopiaSimulator
from mailbridge.sandbox.people import Cast
from tests.sandbox.rest import Rest

ANSWER = "Bonjour, votre colis part demain."


class TestTokens:
    async def test_a_token_lasts_as_long_as_it_says(
        self, rest: Rest, octopia: OctopiaSimulator, clock: HandClock
    ) -> None:
        told = (await rest.sign_in()).json()
        assert (told["expires_in"], told["token_type"]) == (7200, "Bearer")
        clock.advance(timedelta(seconds=7199))
        assert (await rest.call("GET", "/sellers")).status_code == 200
        clock.advance(timedelta(seconds=1))
        late = await rest.call("GET", "/sellers")
        assert late.status_code == 401
        assert late.headers["Content-Type"].startswith("application/problem+json")
        await rest.sign_in()
        octopia.tokens.expire()
        assert (await rest.call("GET", "/sellers")).status_code == 401
        octopia.rules.tells_life = False
        assert "expires_in" not in (await rest.sign_in()).json()

    async def test_wrong_credentials_are_told_as_oauth_does(
        self, rest: Rest, octopia: OctopiaSimulator
    ) -> None:
        for changes in ({"client_secret": "wrong"}, {"client_id": "somebody"}):
            refused = await rest.sign_in(**changes)
            assert (refused.status_code, refused.json()["error"]) == (401, "unauthorized_client")
        refused = await rest.sign_in(grant_type="password")
        assert (refused.status_code, refused.json()["error"]) == (400, "unsupported_grant_type")
        assert octopia.performed(GET_TOKEN) == 0

    async def test_tokens_are_counted(
        self, rest: Rest, octopia: OctopiaSimulator, clock: HandClock
    ) -> None:
        octopia.rules.token_quota = 3
        for _ in range(3):
            assert (await rest.sign_in()).status_code == 200
            clock.advance(timedelta(minutes=10))
        refused = await rest.sign_in()
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1800")
        clock.advance(timedelta(minutes=50))
        assert (await rest.sign_in()).status_code == 200
        assert len(octopia.tokens.asked) == 5

    async def test_who_may_not_come_in(self, rest: Rest, octopia: OctopiaSimulator) -> None:
        await rest.sign_in()
        token = {"Authorization": f"Bearer {rest.token}"}
        for headers, status in (
            ({"SellerId": "98979"}, 401),
            ({"Authorization": "Bearer x", "SellerId": "98979"}, 401),
            ({"Authorization": f"Basic {rest.token}", "SellerId": "98979"}, 401),
            (token, 400),
            ({**token, "SellerId": "1"}, 403),
        ):
            answer = await rest.http.get(f"{octopia.api_url}/sellers", headers=headers)
            assert answer.status_code == status
            assert answer.json()["status"] == status
        octopia.rules.delegated = False
        assert (await rest.call("GET", "/sellers")).status_code == 403
        assert octopia.performed("getSeller") == 0

    async def test_bodies_that_are_none(self, rest: Rest, octopia: OctopiaSimulator) -> None:
        await rest.sign_in()
        headers = {"Authorization": f"Bearer {rest.token}", "SellerId": "98979"}
        for kind, body, status in (
            ("application/json", b"{", 400),
            ("application/json", b"[]", 400),
            ("text/plain", b"{}", 415),
        ):
            answer = await rest.http.post(
                f"{octopia.api_url}/messages",
                content=body,
                headers={**headers, "Content-Type": kind},
            )
            assert answer.status_code == status


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "status"),
        [
            (TokenFault.expired(), 401),
            (NotAuthorized(), 403),
            (InternalError(), 500),
            (EmptyFailure(), 400),
            (Refusal("Vendeur désactivé", "InactiveSeller"), 400),
            (Throttled(7), 429),
        ],
    )
    async def test_refusals_are_problems_and_nothing_is_done(
        self, rest: Rest, cast: Cast, octopia: OctopiaSimulator, fault: Fault, status: int
    ) -> None:
        claim = cast.claim()
        octopia.faults.once(fault, "sendMessage")
        refused = await rest.reply(claim.object_id, ANSWER)
        assert (refused.status_code, refused.json()["status"]) == (status, status)
        assert refused.headers.get("Retry-After") == ("7" if status == 429 else None)
        assert claim.seller_texts == []
        assert octopia.calls[-1].fault == fault
        assert octopia.performed("sendMessage") == 0
        assert (await rest.reply(claim.object_id, ANSWER)).status_code == 201

    @pytest.mark.parametrize(
        ("fault", "done"),
        [
            (ResetBefore(), False),
            (AnswerLost(), True),
            (Hang(5), False),
            (Hang(5, after=True), True),
        ],
    )
    async def test_no_answer_before_or_after_the_effect(
        self, rest: Rest, cast: Cast, octopia: OctopiaSimulator, fault: Fault, done: bool
    ) -> None:
        claim = cast.claim()
        await rest.sign_in()
        rest.http.timeout = httpx.Timeout(0.3)
        octopia.faults.once(fault, "sendMessage")
        with pytest.raises(httpx.TransportError):
            await rest.reply(claim.object_id, ANSWER)
        assert claim.seller_texts == ([ANSWER] if done else [])
        assert octopia.performed("sendMessage") == done
        await asyncio.sleep(0.05)

    @pytest.mark.parametrize(
        ("fault", "status", "done"),
        [
            (HtmlError(502), 502, False),
            (HtmlError(504, after=True), 504, True),
            (HtmlPage(), 200, False),
            (RawAnswer(b"{", 200, "application/json"), 200, False),
            (Truncated(0.5), 201, True),
        ],
    )
    async def test_answers_that_are_not_json(
        self,
        rest: Rest,
        cast: Cast,
        octopia: OctopiaSimulator,
        fault: Fault,
        status: int,
        done: bool,
    ) -> None:
        claim = cast.claim()
        octopia.faults.once(fault, "sendMessage")
        answer = await rest.reply(claim.object_id, ANSWER)
        assert answer.status_code == status
        with pytest.raises(ValueError):  # noqa: PT011 - any way of not being JSON
            answer.json()
        assert claim.seller_texts == ([ANSWER] if done else [])

    async def test_a_slow_drip_arrives_whole(
        self, rest: Rest, cast: Cast, octopia: OctopiaSimulator
    ) -> None:
        claim = cast.claim()
        octopia.faults.once(SlowDrip(chunk=100, pause=0.01), "getDiscussion")
        slow = await rest.get(f"/discussions/{claim.object_id}")
        assert slow == await rest.get(f"/discussions/{claim.object_id}")

    async def test_answers_with_something_strange_in_them(
        self, rest: Rest, cast: Cast, octopia: OctopiaSimulator
    ) -> None:
        path = f"/discussions/{cast.claim().object_id}"

        async def under(fault: Fault) -> object:
            octopia.faults.once(fault, "getDiscussion")
            return await rest.get(path)

        usual = await rest.get(path)
        message, sender = usual["messages"][0], usual["messages"][0]["sender"]
        assert await under(UnknownValue("userType")) == {
            **usual,
            "messages": [{**message, "sender": {**sender, "userType": "ValeurDeDemain"}}],
            "receivers": [{**r, "userType": "ValeurDeDemain"} for r in usual["receivers"]],
        }
        assert await under(ExtraElement("messages")) == {
            **usual,
            "messages": [{**message, "NouveauChamp": "42"}],
        }
        assert await under(NilLists()) == {**usual, "messages": None, "receivers": None}
        new = Rewrite(b'"isOpen":true', b'"isOpen":"maybe"')
        assert await under(new) == {**usual, "isOpen": "maybe"}
        assert await rest.get(path) == usual

    async def test_the_token_endpoint_fails_too(
        self, rest: Rest, octopia: OctopiaSimulator
    ) -> None:
        octopia.faults.once(Throttled(60), GET_TOKEN)
        octopia.faults.once(HtmlError(503), GET_TOKEN)
        assert (await rest.sign_in()).headers["Retry-After"] == "60"
        assert (await rest.sign_in()).status_code == 503
        assert (await rest.sign_in()).status_code == 200

    async def test_it_comes_back_where_it_was(self, rest: Rest, octopia: OctopiaSimulator) -> None:
        await rest.sign_in()
        await octopia.stop()
        with pytest.raises(httpx.ConnectError):
            await rest.call("GET", "/sellers")
        await octopia.start()
        assert (await rest.call("GET", "/sellers")).status_code == 200
