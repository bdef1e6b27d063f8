"""Staff mails that cannot be read or sent as they are: held with a clear notice, one by one."""

from __future__ import annotations

from collections.abc import Callable
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from pathlib import Path

import pytest

from mailbridge.sandbox.agent import SeenMail
from tests.shop import Shop, open_shop

ANSWER = "Bonjour, votre colis arrive demain."


def answer_to(mail: SeenMail, shop: Shop) -> EmailMessage:
    """The header of an honest reply."""
    message = EmailMessage()
    message["From"] = f"Service client <{shop.world.address}>"
    message["To"] = parseaddr(str(mail.message["Reply-To"]))[1]
    message["Subject"] = f"Re: {mail.subject}"
    message["Message-ID"] = "<one@maison-brindille.example>"
    message["In-Reply-To"] = str(mail.message["Message-ID"])
    message["Date"] = format_datetime(shop.clock())
    return message


def two_froms(data: bytes) -> bytes:
    return b"From: Paul <paul@maison-brindille.example>\r\n" + data


def two_authors(data: bytes) -> bytes:
    return data.replace(b"From: Service client", b"From: Paul <paul@x.example>, Service client")


def no_from(data: bytes) -> bytes:
    return data.replace(b"From: Service", b"X-From: Service")


def no_boundary(data: bytes) -> bytes:
    return data.replace(b'text/plain; charset="utf-8"', b"multipart/mixed")


def unknown_charset(data: bytes) -> bytes:
    return data.replace(b'charset="utf-8"', b'charset="x-klingon"').replace(b"Bonjour", b"\xe9\xff")


def unknown_encoding(data: bytes) -> bytes:
    return data.replace(b"Content-Transfer-Encoding: 7bit", b"Content-Transfer-Encoding: x-zip")


@pytest.mark.once
@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        (two_froms, "hold/two_from"),
        (two_authors, "hold/two_from"),
        (no_from, "hold/unreadable"),
        (no_boundary, "hold/unreadable"),
        (unknown_charset, "hold/unreadable"),
        (unknown_encoding, "hold/unreadable"),
    ],
)
async def test_a_mail_that_cannot_be_read_is_held_in_its_thread_and_the_rest_goes_on(
    tmp_path: Path, broken: Callable[[bytes], bytes], kind: str
) -> None:
    async with open_shop(tmp_path) as shop:
        one, two = shop.world.cast.claim(), shop.world.cast.order_question()
        await shop.settle()
        message = answer_to(await shop.first(one), shop)
        message.set_content(ANSWER)
        data = broken(message.as_bytes(policy=message.policy.clone(linesep="\r\n")))
        imap = shop.world.mail.imap
        assert imap is not None
        await imap.append(shop.world.address, data)
        await imap.append(shop.world.address, data, folder="Sent")
        await shop.world.agent().reply(await shop.first(two), ANSWER)
        await shop.settle()
        await shop.later(minutes=1)

        assert shop.sent == [ANSWER]
        assert two.seller_texts == [ANSWER]
        told = [m for m in await shop.notices() if not m.seen]
        assert [str(m.message["X-Mailbridge-Notice-Kind"]) for m in told] == [kind]
        assert told[0].message["X-Mailbridge-Discussion"] == shop.ident(one)
        # A proper reply to the notice is all it takes.
        await shop.world.agent().reply(told[0], "Bonjour, c'est réparé.")
        await shop.settle()
        assert one.seller_texts == ["Bonjour, c'est réparé."]


async def test_a_picture_without_words(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().reply(
            await shop.first(discussion),
            "",
            quote=False,
            attachments=[("photo.jpg", b"\xff\xd8\xff", "image/jpeg")],
        )
        await shop.settle()

        assert shop.sent == []
        assert await shop.told() == ["hold/no_text"]


async def test_twenty_megabytes_of_attachments(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        message = answer_to(await shop.first(discussion), shop)
        message.set_content(ANSWER)
        message.add_attachment(
            bytes(20_000_000), maintype="application", subtype="pdf", filename="tout.pdf"
        )
        imap = shop.world.mail.imap
        assert imap is not None
        await imap.append(shop.world.address, message.as_bytes(), folder="Sent")
        await shop.settle()
        await shop.later(minutes=1)

        assert shop.sent == []
        notice = await shop.notice("hold/too_big")
        assert "27" in notice.text or "Mo" in notice.text


@pytest.mark.parametrize(
    "files",
    [
        [("facture.exe", b"MZ", "application/octet-stream")],
        [(f"photo{n}.jpg", b"\xff\xd8", "image/jpeg") for n in range(12)],
        [("photo.jpg", bytes(6_000_000), "image/jpeg")],
    ],
)
async def test_files_the_channel_would_not_take(
    tmp_path: Path, files: list[tuple[str, bytes, str]]
) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), ANSWER, attachments=files)
        await shop.settle()

        assert shop.sent == []
        notice = await shop.notice("hold/attachments")
        assert files[0][0] in notice.text


async def test_signature_files_stay_behind(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().reply(
            await shop.first(discussion),
            ANSWER,
            attachments=[
                ("paul.vcf", b"BEGIN:VCARD", "text/vcard"),
                ("smime.p7s", b"0", "application/pkcs7-signature"),
            ],
        )
        await shop.settle()

        (taken,) = shop.world.taken
        assert taken.files == ()


async def test_other_peoples_mail_in_the_inbox_is_left_alone(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        shop.world.cast.claim()
        await shop.settle()
        imap = shop.world.mail.imap
        assert imap is not None
        for data in (
            b"",
            b"\r\n",
            b"no header at all",
            b"From: a@b.example\r\nSubject: " + b"=?utf-8?q?" + b"=" * 50_000 + b"?=\r\n\r\nx",
            b"From: a@b.example\r\n" + b"X: y\r\n" * 3_000 + b"\r\nx",
            bytes(range(256)) * 50,
        ):
            await imap.append(shop.world.address, data)
        question = shop.world.cast.order_question()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(question), ANSWER)
        await shop.settle()

        assert shop.sent == [ANSWER]
        assert await shop.told() == ["receipt"]
