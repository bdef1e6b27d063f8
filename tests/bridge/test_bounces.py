"""Mail that no person wrote: bounces of our dispatches, absence messages, robots."""

from __future__ import annotations

from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from pathlib import Path

import pytest

from mailbridge.sandbox.books import BookedDiscussion
from mailbridge.sandbox.relay import Undeliverable
from tests.shop import Shop, open_shop

ANSWER = "Bonjour, votre colis arrive demain."


async def sent_to_a_dead_address(shop: Shop, times: int = 1) -> BookedDiscussion:
    """A reply handed over to an address that stopped working since it was confirmed."""
    discussion = shop.world.cast.claim()
    await shop.settle()
    address = shop.world.books.relay_for_discussion(discussion.id)[1]
    assert address is not None
    shop.world.books.expire_relay(address)
    await shop.world.agent().reply(await shop.first(discussion), ANSWER)
    await shop.settle(times)
    return discussion


@pytest.mark.relay
@pytest.mark.parametrize("how", list(Undeliverable))
async def test_a_bounce_renews_the_address_and_sends_once_more(
    tmp_path: Path, how: Undeliverable
) -> None:
    async with open_shop(tmp_path, undeliverable=how) as shop:
        discussion = await sent_to_a_dead_address(shop)
        await shop.settle()

        assert discussion.seller_texts == [ANSWER]
        assert (await shop.states(discussion))["deliveries"] == ["recorded"]
        assert "hold" not in "".join(await shop.told())
        if how is Undeliverable.MESSAGE:
            # The bounce is part of the discussion, so people can read it.
            assert "permanent fatal errors" in (await shop.thread(discussion))[-1].text


@pytest.mark.relay
async def test_a_second_bounce_is_held_with_the_servers_words(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        books = shop.world.books
        books.relay_works = lambda relay: False  # type: ignore[method-assign]
        discussion = shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), ANSWER)
        await shop.settle()
        await shop.later(hours=4)

        assert len(shop.world.relay.refused) == 2
        notice = await shop.notice("hold/bounced")
        assert "550 5.1.1" in notice.text
        assert (await shop.states(discussion))["deliveries"] == ["held"]


async def test_a_forged_bounce_changes_nothing(tmp_path: Path) -> None:
    async with open_shop(tmp_path, seller_lag=timedelta(minutes=57)) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), ANSWER)
        await shop.settle()
        report = EmailMessage()
        report["From"] = "Mail Delivery System <MAILER-DAEMON@villain.example>"
        report["To"] = shop.world.address
        report["Subject"] = "Undelivered Mail Returned to Sender"
        report["Message-ID"] = "<b@villain.example>"
        report["Date"] = format_datetime(shop.clock())
        report.set_content(
            "Your message\nMessage-ID: <aaaaaaaaaaaaaaaa.00000000@mb.maison-brindille.example>\n"
            "could not be delivered: 550 5.1.1 unknown user"
        )
        await shop.world.mail.receive("", shop.world.address, report.as_bytes())
        await shop.settle()

        assert (await shop.states(discussion))["deliveries"] == ["submitted"]
        assert shop.sent == [ANSWER]


def absence(**fields: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Service client <support@maison-brindille.example>"
    message["Message-ID"] = "<absence@maison-brindille.example>"
    for name, value in fields.items():
        message[name.replace("_", "-")] = value
    message.set_content("Je suis absente jusqu'au 30 novembre.\n!clos")
    return message


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"Auto_Submitted": "auto-replied"}, []),
        ({"Precedence": "bulk"}, []),
        ({"X_Autoreply": "yes"}, []),
        ({"List_Id": "<info.maison-brindille.example>"}, []),
        ({"Return_Path": "<>"}, []),
        ({"Subject": "Réponse automatique : Absence"}, ["hold/maybe_automatic"]),
    ],
)
async def test_automatic_mail_is_never_sent_or_obeyed(
    tmp_path: Path, fields: dict[str, str], told: list[str]
) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        mail = await shop.first(discussion)
        message = absence(**({"Subject": f"Re: {mail.subject}"} | fields))
        message["To"] = target = parseaddr(str(mail.message["Reply-To"]))[1]
        message["In-Reply-To"] = str(mail.message["Message-ID"])
        message["Date"] = format_datetime(shop.clock())
        # Even from a staff member's own account, with a clean Sent copy.
        await shop.world.agent().send_raw(message.as_bytes(), [target], file_copy=True)
        await shop.settle()
        await shop.later(minutes=2)

        assert shop.sent == []
        assert not discussion.closed
        assert await shop.told() == told
