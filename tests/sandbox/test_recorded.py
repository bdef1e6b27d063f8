"""Recorded requests, sent as they were, get the recorded answers from the same books.

What was masked in the recordings (names, texts, tokens) is put into the books masked; what the
books do not keep is named in `_OURS`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from mailbridge.domain.discussion import AuthorKind, DiscussionKind
from mailbridge.sandbox.books import BookedDiscussion, BookedMessage, Books, RelayAddress
from mailbridge.sandbox.clock import HandClock
from mailbridge.sandbox.orders import BookedOrder, OrderLineEntry, Person
from mailbridge.sandbox.wire import PARIS
from tests.requirements import CONTRACT
from tests.sandbox.soap import Soap, shape

pytestmark = pytest.mark.usefixtures("recordings")

_SOMEBODY = Person(
    "FIRSTNAME", "LASTNAME", "CIVILITY", street="STREET", zip_code="ZIPCODE", city="CITY",
    country="COUNTRY",
)  # fmt: skip
_PRODUCT = "Copeaux de chêne 20g - Heavy Toasted | L'ajout de "


def _paris(text: str) -> datetime:
    whole, _, fraction = text.partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction:0<6}").replace(tzinfo=PARIS)


def _recorded(name: str, status: int = 200) -> bytes:
    return (CONTRACT / "recorded" / f"{name}.response.{status}.xml").read_bytes()


@pytest.fixture
def books(books: Books) -> Books:
    books.login = "SELLERLOGIN"
    return books


def _same(answer: bytes, recorded: bytes, token: str) -> None:
    assert shape(answer.replace(token.encode(), b"TOKENID")) == shape(recorded)


async def test_a_claim(soap: Soap, books: Books, clock: HandClock) -> None:
    """The claim of 25 April, ten minutes old."""
    moment = _paris("2019-04-25T10:51:55.177")
    clock.set(moment)
    claim = books.open_discussion(
        DiscussionKind.CLAIM,
        f"Je n'ai pas reçu ma commande - {_PRODUCT} - Occasion (AUC2009863600561)",
        Person("SENDER", ""),
        "CONTENT",
        order_number="1904241640CLE8Z",
        claim_type="PackageNotReceived",
        ident=113323416,
    )
    claim.messages[0].name = "SENDER"
    answer = await soap.replay("get-order-claim-list")
    _same(answer.body, _recorded("get-order-claim-list"), soap.token)


async def test_a_closed_offer_question(soap: Soap, books: Books, clock: HandClock) -> None:
    """Times with three, two and no digits of fraction; line ends as carriage returns."""
    clock.set(_paris("2019-04-25T16:02:00"))
    created, closed = _paris("2019-04-23T14:40:13.48"), _paris("2019-04-23T14:56:01.22")
    texts = (
        ("2019-04-23T14:40:13.48", "Pourriez-vous me faire une réduction de 9995€12 étant donné "
         "que c'est mon anniversaire ?\nMerci d'avance !"),
        ("2019-04-23T14:43:36.203", "CONTENT"),
        ("2019-04-23T14:55:46", "D'après vous, on peut aller jusqu'à 80% ?\nOu c'est encore "
         "vraiment trop demandé ?"),
    )  # fmt: skip
    question = books.open_discussion(
        DiscussionKind.OFFER_QUESTION,
        f"Détail produit {_PRODUCT}",
        _SOMEBODY,
        None,
        product_ean="2009863600561",
        product_reference="PRES1",
        ident=113157784,
    )
    question.created_at, question.updated_at, question.closed_at = created, closed, closed
    question.status = "Closed"
    question.messages = [
        BookedMessage(_paris(at), AuthorKind.CUSTOMER, "SENDER", text, _paris(at))
        for at, text in texts
    ]
    answer = await soap.replay("get-offer-question-list-by-status")
    _same(answer.body, _recorded("get-offer-question-list-by-status"), soap.token)
    assert b"?&#xD;\nMerci" in answer.body


async def test_an_order(soap: Soap, books: Books) -> None:
    """Every element of an order in its place."""
    order = BookedOrder(
        number="1904240959CN8HI",
        customer=_SOMEBODY,
        created_at=_paris("2019-04-24T09:59:05.753"),
        updated_at=_paris("2019-04-24T13:44:13.607"),
        modified_at=_paris("2019-04-24T12:22:15.957"),
        state="ShipmentRefusedBySeller",
        lines=[
            OrderLineEntry(
                "PRES1",
                _PRODUCT,
                Decimal(1),
                quantity=0,
                product_id="AUC2009863600561",
                condition="AverageState",
                state="RefundedAfterShipmentRefused",
            )
        ],
    )
    books.orders.add(order)
    answer = await soap.replay("get-order-list-by-number")
    ours, theirs = shape(answer.body), shape(_recorded("get-order-list-by-number"))
    assert [tag for tag, _ in ours] == [tag for tag, _ in theirs]
    free = {
        "TokenId", "Building", "CustomerId", "EncryptedEmail", "MobilePhone", "ShippingFirstName",
        "ShippingLastName", "DeliveryDateMax", "DeliveryDateMin", "ShippingDateMax",
        "ShippingDateMin", "InitialPrice",
    }  # fmt: skip
    for (tag, our), (_, their) in zip(ours, theirs, strict=True):
        if tag.partition("}")[2] not in free:
            assert our == their, tag


async def test_no_order_question(soap: Soap) -> None:
    answer = await soap.replay("get-order-question-list-empty")
    _same(answer.body, _recorded("get-order-question-list-empty"), soap.token)


def _discussion(books: Books, ident: int, *, closed: bool) -> BookedDiscussion:
    discussion = books.open_discussion(
        DiscussionKind.OFFER_QUESTION, "Autre question", _SOMEBODY, "Bonjour", ident=ident
    )
    if closed:
        books.close_by_force(discussion)
    return discussion


async def test_closing_what_is_closed(soap: Soap, books: Books) -> None:
    _discussion(books, 113157784, closed=True)
    answer = await soap.replay("close-discussion-list-already-closed")
    _same(answer.body, _recorded("close-discussion-list-already-closed"), soap.token)


async def test_closing_what_is_not_there(soap: Soap) -> None:
    answer = await soap.replay("close-discussion-list-not-found")
    _same(answer.body, _recorded("close-discussion-list-not-found"), soap.token)


async def test_the_relay_of_a_closed_discussion(soap: Soap, books: Books) -> None:
    """Still given after closing, at the same address as before."""
    discussion = _discussion(books, 113163877, closed=False)
    before = books.relay_for_discussion(discussion.id)[1]
    books.close_by_force(discussion)
    answer = await soap.replay("get-discussion-mail-list-closed-discussion")
    assert before is not None
    recorded = _recorded("get-discussion-mail-list-closed-discussion").replace(
        b"c.cccccccccccccccccccccccccccccc03@clemarche.com", before.encode()
    )
    _same(answer.body, recorded, soap.token)


async def test_the_relay_of_an_unknown_discussion(soap: Soap) -> None:
    answer = await soap.replay("get-discussion-mail-list-unknown-discussion")
    _same(answer.body, _recorded("get-discussion-mail-list-unknown-discussion"), soap.token)


async def test_an_address_for_an_order(soap: Soap, books: Books, clock: HandClock) -> None:
    number = "1904291413BT4WY"
    books.orders.add(
        BookedOrder(number, _SOMEBODY, clock(), [OrderLineEntry("A", "A", Decimal(9))])
    )
    answer = await soap.replay("generate-discussion-mail-guid")
    order = books.orders.get(number)
    assert order is not None
    address = books.relay_for_order(order)
    assert address is not None
    recorded = _recorded("generate-discussion-mail-guid").replace(
        b"c.dddddddddddddddddddddddddddddd04@clemarche.com", address.encode()
    )
    _same(answer.body, recorded, soap.token)
    relay = books.relay(address)
    assert isinstance(relay, RelayAddress)
    assert relay.expires_at == clock() + timedelta(weeks=4)


async def test_an_address_for_an_unknown_order(soap: Soap) -> None:
    answer = await soap.replay("generate-discussion-mail-guid-unknown-order")
    _same(answer.body, _recorded("generate-discussion-mail-guid-unknown-order"), soap.token)


async def test_an_impossible_transition(soap: Soap, books: Books, clock: HandClock) -> None:
    """Success that failed: OperationSuccess=true, Validated=false."""
    line = OrderLineEntry("PRES1", _PRODUCT, Decimal(1), state="RefundedAfterShipmentRefused")
    books.orders.add(
        BookedOrder("1904240959CN8HI", _SOMEBODY, clock(), [line], state="ShipmentRefusedBySeller")
    )
    answer = await soap.replay("validate-order-list-refused-transition")
    _same(answer.body, _recorded("validate-order-list-refused-transition"), soap.token)


async def test_an_invalid_refund(soap: Soap) -> None:
    answer = await soap.replay("create-refund-voucher-invalid")
    _same(answer.body, _recorded("create-refund-voucher-invalid"), soap.token)


async def test_an_unknown_token(soap: Soap) -> None:
    soap.token = "0" * 32
    answer = await soap.replay("token-expired-fault")
    assert answer.status == 500
    assert shape(answer.body) == shape(_recorded("token-expired-fault", 500))


async def test_a_token(soap: Soap) -> None:
    token = await soap.sign_in()
    assert len(token) == len("0" * 32)
    assert set(token) <= set("0123456789abcdef")
