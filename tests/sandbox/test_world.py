"""One round through everything, without the daemon."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from random import Random

import httpx

from mailbridge.sandbox.clock import HandClock
from mailbridge.sandbox.mailserver import Provider
from mailbridge.sandbox.world import Door, World
from tests.sandbox.rest import Rest
from tests.sandbox.soap import Soap


async def test_a_customer_writes_and_is_answered(clock: HandClock) -> None:
    async with (
        World(clock=clock, rng=Random(1), seller_lag=timedelta(hours=1)) as world,
        httpx.AsyncClient() as http,
    ):
        soap = Soap(world.market, http)
        claim = world.cast.claim(text="Où est mon colis ?")
        assert await soap.close(claim.id) == ["UnauthorizedLastAnswer"]
        status, address = await soap.relay(claim.id)
        assert (status, address is not None) == ("Success", True)

        await world.agent("Paul").write([address or ""], "Votre colis", "Il part demain.")
        await world.mail.settled()
        clock.advance(timedelta(hours=1))
        shown = await soap.call(
            "GetOrderClaimList",
            "<c:orderClaimFilter><c:StatusList><c:DiscussionStateFilter>Open"
            "</c:DiscussionStateFilter></c:StatusList></c:orderClaimFilter>",
        )
        assert shown.all("Content") == ["Où est mon colis ?", "Il part demain."]
        assert shown.all("Sender") == [claim.customer.name, world.books.seller]
        assert await soap.close(claim.id) == ["DiscussionClosed"]
        assert (await soap.relay(claim.id)) == ("DiscussionClosed", address)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_one_marketplace_behind_two_doors(clock: HandClock) -> None:
    async with (
        World(clock=clock, rng=Random(1), marketplace=Door.OCTOPIA) as world,
        httpx.AsyncClient() as http,
    ):
        assert world.door is Door.OCTOPIA
        soap, rest = Soap(world.market, http), Rest(world.octopia, http)
        claim = world.cast.claim(text="Où est mon colis ?")
        _, address = await soap.relay(claim.id)
        await world.agent("Paul").write([address or ""], "Votre colis", "Il part demain.")
        await world.mail.settled()
        assert (await rest.reply(claim.object_id, "Il est parti ce matin.")).status_code == 201
        words = ["Où est mon colis ?", "Il part demain.", "Il est parti ce matin."]
        shown = await soap.call("GetOrderClaimList", "<c:orderClaimFilter/>")
        assert shown.all("Content") == words
        whole = await rest.get(f"/discussions/{claim.object_id}")
        assert [message["body"] for message in whole["messages"]] == words
        assert shown.all("Id") == [whole["salesChannelExternalReference"]]
        assert (await rest.turn(claim.object_id, open_=False)).status_code == 204
        assert await soap.close(claim.id) == ["AlreadyClosed"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_one_sent_copy_whoever_files_it(clock: HandClock) -> None:
    for provider in (Provider(), Provider(saves_sent_copy=True)):
        async with World(clock=clock, rng=Random(1), provider=provider) as world:
            await world.agent().write(["friend@elsewhere.example"], "Bonjour", "Texte")
            await world.mail.settled()
            assert len(await world.mail.mails(world.address, "Sent")) == 1


async def test_a_thousand_discussions(clock: HandClock) -> None:
    async with (
        World(clock=clock, rng=Random(1)) as world,
        httpx.AsyncClient(timeout=20) as http,
    ):
        world.cast.history(1000)
        soap = Soap(world.market, http)
        found = 0
        for operation, parameter, item in (
            ("GetOrderClaimList", "orderClaimFilter", "OrderClaim"),
            ("GetOrderQuestionList", "orderQuestionFilter", "OrderQuestion"),
            ("GetOfferQuestionList", "offerQuestionFilter", "OfferQuestion"),
        ):
            answer = await soap.call(
                operation,
                f"<c:{parameter}><c:StatusList><c:DiscussionStateFilter>All"
                f"</c:DiscussionStateFilter></c:StatusList></c:{parameter}>",
            )
            found += len(answer.all(item))
        assert found == 1000
