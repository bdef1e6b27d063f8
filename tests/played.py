"""Mails that real clients sent, played in a scenario: their bytes, bound to its thread.

A recording (tests/corpus) names what was there when it was made: the ids of the mails it answers,
the discussion's reply address, a one-time code. These are exchanged for the scenario's, and not
another byte is touched: structure, charsets, folding, quote and date stay the client's. The order
it is about is booked as it was then, by `book`, and the clock goes on to the recorded date.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, timedelta
from decimal import Decimal
from email.utils import parseaddr
from pathlib import Path

from mailbridge.mail.incoming import read_mail
from mailbridge.sandbox.agent import SeenMail
from mailbridge.sandbox.orders import BookedOrder, BookedParcel, OrderLineEntry
from mailbridge.sandbox.people import PRODUCTS
from tests.shop import Shop

__all__ = ["book", "play", "recorded"]

_CORPUS = Path(__file__).parent / "corpus"
_ID = re.compile(rb"<([dmn])\.[a-z0-9-]+(?:\.[a-z0-9]+)*@mb\.maison-brindille\.example>")
_ANSWERS = re.compile(rb"^In-Reply-To:[^\n]*(?:\n[ \t][^\n]*)*", re.MULTILINE)
_TO = re.compile(rb"support\+mb-cd-[a-z0-9-]+@maison-brindille\.example")
_CODE = re.compile(rb"!confirmer (\d{6})\b")


def recorded(name: str) -> bytes:
    """The mail as it was sent, such as `roundcube/rembourser-html-fr`."""
    return (_CORPUS / f"{name}.eml").read_bytes()


def book(
    shop: Shop, number: str, references: Sequence[str], *, shipped: bool = True
) -> BookedOrder:
    """The order a recording is about: its number and lines, some days old."""
    now = shop.clock()
    known = {product.reference: product for product in PRODUCTS}
    order = BookedOrder(
        number=number,
        customer=shop.world.cast.customer(english=False),
        created_at=now - timedelta(days=6),
        lines=[
            OrderLineEntry(
                reference,
                known[reference].name,
                known[reference].price,
                ean=known[reference].ean,
                product_id=f"AUC{known[reference].ean}",
                shipping=Decimal("4.90"),
            )
            for reference in references
        ],
    )
    shop.world.books.orders.add(order)
    if shipped:
        shop.world.books.orders.ship(order, BookedParcel("6A00000000001", "Colissimo"))
        order.shipped_at = order.updated_at = order.modified_at = now - timedelta(days=5)
    return order


async def play(shop: Shop, name: str, answered: SeenMail | None = None, *, code: str = "") -> None:
    """Send a recording as its client did, with its Sent copy, and let mailbridge work.

    `answered` is the mail of the scenario that it answers, None for one that answers nothing;
    `code` the code that it confirms.
    """
    data = recorded(name)
    if answered is not None:
        data = _bound(data, answered)
    data = _with_code(data, code)
    mail = read_mail(data)
    assert mail.date is not None
    if mail.date.astimezone(UTC) > shop.clock():
        shop.clock.advance(mail.date.astimezone(UTC) - shop.clock())
    to = [address.address for address in mail.to]
    await shop.world.agent().send_raw(data, to)
    await shop.settle()


def _bound(data: bytes, answered: SeenMail) -> bytes:
    """The recording as an answer to this mail: ids in the header, and the reply address."""
    ident = str(answered.message["Message-ID"]).strip().encode()
    line = str(answered.message["References"] or "").split()
    root, first = line[0].encode(), line[1].encode() if len(line) > 1 else ident
    head, end, body = data.partition(_blank(data))
    named = {b"d": root, b"m": first, b"n": ident}
    field = _ANSWERS.search(head)
    assert field is not None and b"<d." in head, "no answer in a thread of ours"
    # A colleague's mail may have been answered instead: its id is nobody's here, and stays.
    if answers := _ID.search(field[0]):
        named[answers[1]] = ident
    head = _ID.sub(lambda match: named[match[1]], head)
    target = parseaddr(str(answered.message["Reply-To"]))[1].encode()
    head, count = _TO.subn(target, head)
    assert count == 1, "not one reply address"
    return head + end + body


def _with_code(data: bytes, code: str) -> bytes:
    shown = _CODE.search(data)
    assert bool(shown) == bool(code), "the code does not belong to this recording"
    return data.replace(shown[1], code.encode()) if shown else data


def _blank(data: bytes) -> bytes:
    return b"\r\n\r\n" if b"\r\n\r\n" in data else b"\n\n"
