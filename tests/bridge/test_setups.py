"""Mail providers as they were met: from the agent's keystroke to the customer on each of them.

Every dialogue is held twice: with the mailbox on the embedded server, and on a real Dovecot that
takes deliveries by LMTP and adds its own trace fields to them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from email.utils import parseaddr
from pathlib import Path
from typing import Any

import pytest

from mailbridge.config.models import ReplyMode
from mailbridge.sandbox.clock import HandClock, wall_clock
from mailbridge.sandbox.mailserver import Provider
from mailbridge.sandbox.world import Door
from tests.mailhost import a_domain, on_dovecot
from tests.shop import Shop, code_in, open_shop

pytestmark = pytest.mark.once
ANSWER = "Bonjour,\n\nVotre colis arrive demain."

Open = Callable[..., AbstractAsyncContextManager[Shop]]


@pytest.fixture
def domain() -> str:
    return a_domain()


@pytest.fixture(params=["embedded", "dovecot"])
def shop_with(request: pytest.FixtureRequest, tmp_path: Path, domain: str) -> Open:
    """Opens a shop at a provider, its mailbox on either server."""
    where: dict[str, Any] = {"address": f"support@{domain}"}
    if request.param == "dovecot":
        server = request.getfixturevalue("dovecot")
        where = on_dovecot(server, where["address"]) | {"clock": HandClock(wall_clock())}

    @asynccontextmanager
    async def opened(provider: Provider, **mailbox: str) -> AsyncIterator[Shop]:
        account = {"mailbox": {"address": where["address"], **mailbox}}
        async with open_shop(tmp_path, provider=provider, config=account, **where) as shop:
            yield shop

    return opened


async def test_an_alias_where_the_provider_has_no_plus_addresses(
    shop_with: Open, domain: str
) -> None:
    alias = f"clients@{domain}"
    provider = Provider(plus=False, aliases={alias: f"support@{domain}"})
    async with shop_with(provider, reply_mode="alias", reply_address=alias) as shop:
        one, two = shop.world.cast.claim(), shop.world.cast.order_question()
        await shop.settle()
        for discussion in (one, two):
            mail = await shop.first(discussion)
            assert parseaddr(str(mail.message["Reply-To"]))[1] == alias
            await shop.world.agent().reply(mail, f"Réponse à {discussion.id}.\n!clos")
        await shop.settle()

        assert len(shop.sent) == 2
        assert one.seller_texts == [f"Réponse à {one.id}."]
        assert two.seller_texts == [f"Réponse à {two.id}."]
        assert one.closed and two.closed


async def test_threads_filed_with_an_alias_go_on_after_it_was_given_up(
    shop_with: Open, domain: str
) -> None:
    alias = f"clients@{domain}"
    provider = Provider(aliases={alias: f"support@{domain}"})
    async with shop_with(provider, reply_mode="alias", reply_address=alias) as shop:
        old = shop.world.cast.claim()
        await shop.settle()
        await shop.reconfigure(
            mailbox={
                "reply_mode": ReplyMode.PLUS,
                "reply_address": None,
                "former_aliases": (alias,),
            }
        )
        new = shop.world.cast.order_question()
        await shop.settle()
        for discussion in (old, new):
            await shop.world.agent().reply(
                await shop.first(discussion), f"Réponse à {discussion.id}."
            )
        await shop.settle()

        assert parseaddr(str((await shop.first(old)).message["Reply-To"]))[1] == alias
        assert parseaddr(str((await shop.first(new)).message["Reply-To"]))[1] != alias
        assert old.seller_texts == [f"Réponse à {old.id}."]
        assert new.seller_texts == [f"Réponse à {new.id}."]


async def test_a_persons_own_mail_to_the_alias_is_left_alone(shop_with: Open, domain: str) -> None:
    alias = f"clients@{domain}"
    provider = Provider(plus=False, aliases={alias: f"support@{domain}"})
    async with shop_with(provider, reply_mode="alias", reply_address=alias) as shop:
        shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().write([alias], "Planning", "Qui est là lundi ?")
        await shop.settle()
        await shop.later(minutes=5)

        assert (shop.sent, await shop.told()) == ([], [])


async def test_a_sent_copy_with_return_path_and_one_authenticated_hop(shop_with: Open) -> None:
    async with shop_with(Provider(saves_sent_copy=True)) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), f"{ANSWER}\n!clos")
        (copy,) = await shop.inbox("Sent")
        assert copy.message["Return-Path"] and "ESMTPA" in str(copy.message["Received"])
        await shop.settle()

        assert shop.sent == [ANSWER]
        assert discussion.closed
        # Our own mail to the customer, if it was one, lies in Sent, too, and is known as ours.
        by_mail = shop.world.door is Door.CDISCOUNT
        assert len(await shop.inbox("Sent")) == (2 if by_mail else 1)
        assert (await shop.states(discussion))["replies"] == ["settled"]


async def test_no_sent_copy_and_all_changed_on_delivery_is_released_by_code(
    shop_with: Open,
) -> None:
    provider = Provider(rewrites_message_id=True, disclaimer="Ce message est confidentiel.")
    async with shop_with(provider) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        agent = shop.world.agent(files_sent_copy=False)
        await agent.reply(await shop.first(discussion), ANSWER)
        await shop.settle()
        assert (shop.sent, await shop.told()) == ([], [])  # a better copy may still come
        await shop.later(minutes=1)

        notice = await shop.notice("hold/not_proven")
        assert not notice.seen
        assert "Votre colis arrive demain." in notice.text
        assert shop.sent == []

        await agent.reply(notice, f"!envoyer {code_in(notice)}")
        await shop.settle()

        (text,) = shop.sent
        assert text.startswith(ANSWER)
        assert "envoyer" not in text and code_in(notice) not in text
        assert (await shop.states(discussion))["deliveries"] == ["recorded"]


async def test_a_catch_all_domain(shop_with: Open, domain: str) -> None:
    provider = Provider(plus=False, catchall=f"support@{domain}")
    mode = {"reply_mode": "catchall", "reply_address": f"tout@{domain}"}
    async with shop_with(provider, **mode) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        mail = await shop.first(discussion)
        assert parseaddr(str(mail.message["Reply-To"]))[1].startswith("mb-cd-")
        await shop.world.agent().reply(mail, ANSWER)
        await shop.settle()

        assert shop.sent == [ANSWER]
