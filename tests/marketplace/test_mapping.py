"""Answers as values: what was recorded, what may come, what is missing."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from importlib import resources

import pytest

from mailbridge.domain.discussion import AuthorKind, DiscussionKind, Status
from mailbridge.marketplace import cdiscount
from mailbridge.marketplace.cdiscount import mapping, orders
from mailbridge.marketplace.cdiscount.envelope import unwrap, verdict
from mailbridge.marketplace.cdiscount.errors import TokenRefused
from mailbridge.marketplace.cdiscount.mapping import Context, author, relay_address, shop_key
from mailbridge.marketplace.cdiscount.reading import Node, parse
from mailbridge.marketplace.port import (
    UNNAMED,
    CloseAnswer,
    ContractError,
    Listing,
    RefusedError,
    RelayAnswer,
    RelayStatus,
)
from tests.marketplace.recorded import needs_recordings, recording
from tests.marketplace.scripted import answer, listed, message, thread

NOW = datetime(2019, 5, 14, 12, 0, tzinfo=UTC)
CONTEXT = Context(NOW, frozenset({shop_key("Ma Boutique")}))
CLAIMS = ("OrderClaimList", "OrderClaim")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def result(body: bytes | str, operation: str) -> Node:
    return unwrap(parse(body.encode() if isinstance(body, str) else body), operation)


def recorded(name: str, operation: str) -> Node:
    return result(recording(f"{name}.response.200.xml"), operation)


def claims(*threads: str, context: Context = CONTEXT) -> Listing:
    body = listed("GetOrderClaimList", *threads)
    return mapping.listing(result(body, "GetOrderClaimList"), CLAIMS, DiscussionKind.CLAIM, context)


# Recorded answers


@needs_recordings
def test_the_recorded_claim() -> None:
    node = recorded("get-order-claim-list", "GetOrderClaimList")
    found = mapping.listing(node, CLAIMS, DiscussionKind.CLAIM, CONTEXT)
    [claim] = found.discussions
    assert not found.faults
    assert claim.id == claim.reference == "113323416"
    assert (claim.kind, claim.status) == (DiscussionKind.CLAIM, Status.OPEN)
    assert claim.created_at == claim.updated_at == utc("2019-04-25T08:51:55.177")
    assert claim.closed_at is None
    assert claim.order_number == "1904241640CLE8Z"
    assert claim.claim_type == "PackageNotReceived"
    assert claim.subject.startswith("Je n'ai pas reçu ma commande - Copeaux de chêne")
    [only] = claim.messages
    assert (only.raw_time, only.sent_at) == ("2019-04-25T10:51:55.177", claim.created_at)
    assert only.author.kind is AuthorKind.CUSTOMER
    assert only.ident is None


@needs_recordings
def test_the_recorded_question_about_an_offer() -> None:
    node = recorded("get-offer-question-list-by-status", "GetOfferQuestionList")
    names = ("OfferQuestionList", "OfferQuestion")
    [question] = mapping.listing(node, names, DiscussionKind.OFFER_QUESTION, CONTEXT).discussions
    assert question.status is Status.CLOSED
    assert question.closed_at == question.updated_at == utc("2019-04-23T12:56:01.220")
    assert question.product_ean == "2009863600561"
    assert question.product_reference == "PRES1"
    assert (question.order_number, question.claim_type) == (None, None)
    assert [one.raw_time for one in question.messages] == [
        "2019-04-23T14:40:13.48",
        "2019-04-23T14:43:36.203",
        "2019-04-23T14:55:46",
    ]
    assert question.messages[0].text == (
        "Pourriez-vous me faire une réduction de 9995€12 étant donné que c'est mon "
        "anniversaire ?\nMerci d'avance !"
    )


@needs_recordings
def test_the_recorded_empty_list() -> None:
    node = recorded("get-order-question-list-empty", "GetOrderQuestionList")
    names = ("OrderQuestionList", "OrderQuestion")
    found = mapping.listing(node, names, DiscussionKind.ORDER_QUESTION, CONTEXT)
    assert found == Listing((), {})


@needs_recordings
def test_the_recorded_relay_addresses() -> None:
    closed = recorded("get-discussion-mail-list-closed-discussion", "GetDiscussionMailList")
    address = "c.cccccccccccccccccccccccccccccc03@clemarche.com"
    assert mapping.relay_answers(closed, ["113163877", "9"], CONTEXT) == {
        "113163877": RelayAnswer(RelayStatus.CLOSED, address),
        "9": RelayAnswer(RelayStatus.UNKNOWN, None),
    }
    unknown = recorded("get-discussion-mail-list-unknown-discussion", "GetDiscussionMailList")
    assert set(mapping.relay_answers(unknown, ["1", "2"], CONTEXT).values()) == {
        RelayAnswer(RelayStatus.UNKNOWN, None)
    }


@needs_recordings
def test_the_recorded_address_for_an_order_and_the_silent_no() -> None:
    operation = "GenerateDiscussionMailGuid"
    given = recorded("generate-discussion-mail-guid", operation)
    assert mapping.mail_guid(given, CONTEXT) == "c.dddddddddddddddddddddddddddddd04@clemarche.com"
    refused = recorded("generate-discussion-mail-guid-unknown-order", operation)
    assert mapping.mail_guid(refused, CONTEXT) is None


@needs_recordings
def test_the_recorded_closings() -> None:
    already = recorded("close-discussion-list-already-closed", "CloseDiscussionList")
    assert mapping.close_answers(already, ["113157784"], CONTEXT) == {
        "113157784": CloseAnswer.ALREADY_CLOSED
    }
    unknown = recorded("close-discussion-list-not-found", "CloseDiscussionList")
    assert mapping.close_answers(unknown, ["-1", "-2", "-3"], CONTEXT) == {
        "-1": CloseAnswer.NOT_FOUND,
        "-2": CloseAnswer.NOT_FOUND,
        "-3": CloseAnswer.UNKNOWN,
    }


@needs_recordings
def test_the_recorded_order() -> None:
    found, faults = orders.orders(recorded("get-order-list-by-number", "GetOrderList"), CONTEXT)
    assert not faults
    order = found["1904240959CN8HI"]
    assert order.state == "ShipmentRefusedBySeller"
    assert order.created_at == utc("2019-04-24T07:59:05.753")
    assert order.updated_at == utc("2019-04-24T11:44:13.607")
    assert order.customer_name == "FIRSTNAME LASTNAME"
    assert order.relay_address == "c.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb02@clemarche.com"
    assert (order.total, order.shipping_total) == (Decimal(1), Decimal(0))
    assert not order.shipped_by_marketplace
    assert order.ship_by == utc("2019-05-10T08:22:59.367")
    assert order.deliver_by == utc("2019-05-15T07:58:52.197")
    assert (order.parcels, order.vouchers, order.has_claims) == ((), (), False)
    [line] = order.lines
    assert line.reference == "PRES1"
    assert line.state == "RefundedAfterShipmentRefused"
    assert (line.quantity, line.unit_price, line.row) == (0, Decimal(1), 0)
    assert line.name.startswith("Copeaux de chêne 20g")
    assert (line.condition, line.ean, line.product_id) == (
        "AverageState",
        "",
        "AUC2009863600561",
    )


@needs_recordings
def test_the_recorded_refusals() -> None:
    refund = verdict(recorded("create-refund-voucher-invalid", "CreateRefundVoucher"))
    assert isinstance(refund, RefusedError)
    assert str(refund) == "Demande de remboursement invalide"
    # Success that failed: only the order's own `Validated` tells (see docs/cdiscount.md).
    assert verdict(recorded("validate-order-list-refused-transition", "ValidateOrderList")) is None


@needs_recordings
def test_the_recorded_fault() -> None:
    with pytest.raises(TokenRefused):
        result(recording("token-expired-fault.response.500.xml"), "GetOfferQuestionList")


# Who wrote


@pytest.mark.parametrize(
    ("sender", "type_", "kind"),
    [
        ("Ma Boutique", "", AuthorKind.SELLER),
        ("  ma  BOUTIQUE ", "", AuthorKind.SELLER),
        ("maboutique", "", AuthorKind.SELLER),
        ("Ma Boutique 2", "", AuthorKind.CUSTOMER),
        ("Service client Cdiscount", "", AuthorKind.OPERATOR),
        ("SERVICE CLIENT CDISCOUNT", "", AuthorKind.OPERATOR),
        ("", "", AuthorKind.AUTOMATIC),
        (" \t", "", AuthorKind.AUTOMATIC),
        ("Mme Martin", "", AuthorKind.CUSTOMER),
        ("Mme Martin", "Seller", AuthorKind.SELLER),
        ("Ma Boutique", "Customer", AuthorKind.CUSTOMER),
        ("x", "GrcOperator", AuthorKind.OPERATOR),
        ("x", "Automatic", AuthorKind.AUTOMATIC),
        ("Ma Boutique", "Carrier", AuthorKind.SELLER),
        ("Mme Martin", "Carrier", AuthorKind.CUSTOMER),
    ],
)
def test_who_wrote(sender: str, type_: str, kind: AuthorKind) -> None:
    written = author(sender, type_, CONTEXT.shops)
    assert (written.kind, written.name) == (kind, sender)


# What may come


def test_null_and_empty_fields_and_lists() -> None:
    bare = (
        "<CreationDate>2019-04-25T10:00:00</CreationDate><Id>5</Id>"
        '<LastUpdatedDate i:nil="true"/><Messages i:nil="true"/><Subject i:nil="true"/>'
    )
    empty = message("", sender="") + "<CreationDate>2019-04-25T10:00:00</CreationDate><Id>6</Id>"
    nil = (
        '<Messages><Message><Content i:nil="true"/><Sender i:nil="true"/>'
        "<Timestamp>2019-04-25T10:00:00</Timestamp></Message><Message i:nil='true'/></Messages>"
        "<CreationDate>2019-04-25T10:00:00</CreationDate><Id>7</Id>"
    )
    first, second, third = claims(bare, empty, nil).discussions
    assert first.messages == ()
    assert (first.status, first.raw_status, first.subject) == (Status.UNKNOWN, "", "")
    assert first.updated_at is None
    for one in (second, third):
        [only] = one.messages
        assert (only.text, only.author.kind) == ("", AuthorKind.AUTOMATIC)


@pytest.mark.parametrize("form", ["<OrderClaimList/>", '<OrderClaimList i:nil="true"/>', ""])
def test_three_ways_to_write_an_empty_list(form: str) -> None:
    node = result(answer("GetOrderClaimList", form), "GetOrderClaimList")
    assert mapping.listing(node, CLAIMS, DiscussionKind.CLAIM, CONTEXT) == Listing((), {})


def test_unknown_words_are_kept_and_unknown_elements_passed_over() -> None:
    extra = (
        "<Mood>Angry</Mood><OrderNumber> A1 </OrderNumber><ClaimType>LostByDrone</ClaimType>"
        "<Deep><Id>99</Id></Deep>"
    )
    [one] = claims(thread(8, status="NotProcessed", extra=extra)).discussions
    assert (one.id, one.order_number) == ("8", "A1")
    assert (one.status, one.raw_status) == (Status.UNKNOWN, "NotProcessed")
    assert one.claim_type == "LostByDrone"


def test_elements_in_another_order_are_read_all_the_same() -> None:
    body = (
        "<ClaimType>Other</ClaimType><Id>9</Id><Status>Closed</Status>"
        "<CreationDate>2019-04-25T10:00:00</CreationDate>"
    )
    [one] = claims(body).discussions
    assert (one.id, one.status, one.claim_type) == ("9", Status.CLOSED, "Other")


def test_a_date_before_all_dates_is_no_date() -> None:
    body = thread(1).replace(
        '<CloseDate i:nil="true"/>', "<CloseDate>0001-01-01T00:00:00</CloseDate>"
    )
    assert claims(body).discussions[0].closed_at is None
    found = claims(thread(2, created="0001-01-01T00:00:00"))
    assert found.faults["2"] == "OrderClaim 2/CreationDate: missing"


def test_two_unreadable_ones_without_id_share_a_line() -> None:
    found = claims(thread("x"), thread("y"))
    assert found.faults[UNNAMED].count("not a whole number") == 2


@pytest.mark.parametrize("ident", ["1.5", "0x10", "１", "9" * 40, "1 2"])
def test_what_is_no_id(ident: str) -> None:
    assert claims(thread(ident)).faults


def test_messages_stand_oldest_first_whatever_the_service_does() -> None:
    newest_first = "".join(
        f"<Message><Content>{n}</Content><Timestamp>2019-04-{n}T10:00:00</Timestamp></Message>"
        for n in (25, 24, 23)
    )
    body = thread(created="2019-04-23T10:00:00", messages=f"<Messages>{newest_first}</Messages>")
    [one] = claims(body).discussions
    assert [m.text for m in one.messages] == ["23", "24", "25"]


def test_twins_keep_their_order() -> None:
    twins = "".join(
        f"<Message><Content>{n}</Content><Timestamp>2019-04-25T10:51:55.177</Timestamp></Message>"
        for n in "abc"
    )
    [one] = claims(thread(messages=f"<Messages>{twins}</Messages>")).discussions
    assert [m.text for m in one.messages] == ["a", "b", "c"]


def test_the_autumn_hour_is_told_by_the_messages_around_it() -> None:
    times = ("01:58:00", "02:58:00", "02:03:00", "03:01:00")
    messages = "".join(
        f"<Message><Content>{t}</Content><Timestamp>2019-10-27T{t}</Timestamp></Message>"
        for t in times
    )
    body = thread(created="2019-10-27T01:58:00", messages=f"<Messages>{messages}</Messages>")
    later = Context(utc("2019-10-28T00:00:00"))
    [one] = claims(body, context=later).discussions
    assert [m.text for m in one.messages] == list(times)
    assert [m.sent_at for m in one.messages] == [
        utc("2019-10-26T23:58:00"),
        utc("2019-10-27T00:58:00"),
        utc("2019-10-27T01:03:00"),
        utc("2019-10-27T02:01:00"),
    ]


def test_a_first_message_may_be_some_milliseconds_older_than_its_discussion() -> None:
    body = thread(
        created="2019-10-27T03:00:00.005", messages=message("?", time="2019-10-27T02:59:59.99")
    )
    [one] = claims(body, context=Context(utc("2019-10-28T00:00:00"))).discussions
    assert one.messages[0].sent_at == utc("2019-10-27T01:59:59.990")


def test_line_ends_become_one_kind() -> None:
    [one] = claims(thread(messages=message("a&#xD;\nb&#xD;c\nd"))).discussions
    assert one.messages[0].text == "a\nb\nc\nd"


@pytest.mark.parametrize(
    ("extra", "kind"),
    [
        ("<OrderNumber>A</OrderNumber><ProductEAN>1</ProductEAN>", DiscussionKind.ORDER_QUESTION),
        ("<ProductEAN>1</ProductEAN>", DiscussionKind.OFFER_QUESTION),
        ("<ClaimType>PackageNotReceived</ClaimType>", DiscussionKind.ORDER_QUESTION),
    ],
)
def test_the_one_list_does_not_say_the_kind(extra: str, kind: DiscussionKind) -> None:
    body = listed("GetDiscussionList", thread(extra=extra))
    found = mapping.listing(
        result(body, "GetDiscussionList"), ("DiscussionList", "Discussion"), None, CONTEXT
    )
    [one] = found.discussions
    assert (one.kind, one.claim_type) == (kind, None)


@pytest.mark.parametrize(
    ("text", "works"),
    [
        ("c.0123456789abcdef0123456789abcdef@clemarche.com", True),
        (" reply+x@relay.octopia.com\n", True),
        ("noreply@clemarche.com", False),
        ("NoReply@clemarche.com", False),
        ("", False),
        ("nobody", False),
        ("a@b", False),
        ("a b@clemarche.com", False),
        ("<c.1@clemarche.com>", False),
        ("c.1@clemarche.com, d@x.fr", False),
        ("c.1@clemarche.com>\r\nRCPT TO:<evil@x.fr", False),
        ("é@clemarche.com", False),
        ("c.1@clémarche.com", False),
        (".c@clemarche.com", False),
        ("c@x.invalid", False),
        ("x" * 300 + "@clemarche.com", False),
    ],
)
def test_a_relay_address_is_one_plain_address(text: str, works: bool) -> None:
    assert relay_address(text) == (text.strip() if works else None)


def relays(status: str, address: str) -> RelayAnswer:
    item = (
        f"<DiscussionMail><DiscussionId>1</DiscussionId><MailAddress>{address}</MailAddress>"
        f"<OperationStatus>{status}</OperationStatus></DiscussionMail>"
        "<DiscussionMail><DiscussionId>x</DiscussionId></DiscussionMail>"
    )
    body = answer("GetDiscussionMailList", f"<DiscussionMailList>{item}</DiscussionMailList>")
    answers = mapping.relay_answers(result(body, "GetDiscussionMailList"), ["1"], CONTEXT)
    return answers["1"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("Success", RelayStatus.OK),
        ("DiscussionClosed", RelayStatus.CLOSED),
        ("DiscussionNotFound", RelayStatus.NOT_FOUND),
        ("UnknownError", RelayStatus.UNKNOWN),
        ("OnHoliday", RelayStatus.UNKNOWN),
        ("", RelayStatus.UNKNOWN),
    ],
)
def test_relay_statuses(status: str, expected: RelayStatus) -> None:
    assert relays(status, "c.1@clemarche.com") == RelayAnswer(expected, "c.1@clemarche.com")
    assert relays(status, "noreply@clemarche.com") == RelayAnswer(expected, None)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("DiscussionClosed", CloseAnswer.CLOSED),
        ("AlreadyClosed", CloseAnswer.ALREADY_CLOSED),
        ("DiscussionNotFound", CloseAnswer.NOT_FOUND),
        ("UnauthorizedLastAnswer", CloseAnswer.LAST_ANSWER_NOT_OURS),
        ("UnauthorizedCancelPending", CloseAnswer.CANCEL_PENDING),
        ("Eventually", CloseAnswer.UNKNOWN),
    ],
)
def test_close_answers(status: str, expected: CloseAnswer) -> None:
    item = (
        f"<CloseDiscussionResult><DiscussionId>1</DiscussionId>"
        f"<OperationStatus>{status}</OperationStatus></CloseDiscussionResult>"
    )
    body = answer(
        "CloseDiscussionList", f"<CloseDiscussionResultList>{item}</CloseDiscussionResultList>"
    )
    node = result(body, "CloseDiscussionList")
    assert mapping.close_answers(node, ["1"], CONTEXT) == {"1": expected}


def test_a_close_that_failed_as_a_whole_raises() -> None:
    body = answer("CloseDiscussionList", success=False, message="Vendeur désactivé")
    with pytest.raises(RefusedError, match="Vendeur désactivé"):
        mapping.close_answers(result(body, "CloseDiscussionList"), ["1"], CONTEXT)


def test_an_address_that_is_refused_with_words_raises_them() -> None:
    operation = "GenerateDiscussionMailGuid"
    body = answer(operation, success=False, message="Demande de création de discussion invalide")
    with pytest.raises(RefusedError, match="création de discussion invalide"):
        mapping.mail_guid(result(body, operation), CONTEXT)
    assert mapping.mail_guid(result(answer(operation), operation), CONTEXT) is None


# Orders

ORDER = """<Order><CreationDate>2019-04-24T09:59:05.753</CreationDate>
<Customer><EncryptedEmail>c.1@clemarche.com</EncryptedEmail><FirstName>Zoé</FirstName></Customer>
<HasClaims>true</HasClaims><InitialTotalAmount>30.50</InitialTotalAmount>
<InitialTotalShippingChargesAmount>5</InitialTotalShippingChargesAmount>
<OrderLineList><OrderLine><AcceptationState>ShippedBySeller</AcceptationState>
<PurchasePrice>10</PurchasePrice><Quantity>3</Quantity><RowId>2</RowId>
<SellerProductId>REF-1</SellerProductId><UnitAdditionalShippingCharges>0.5</UnitAdditionalShippingCharges>
<UnitShippingCharges>4</UnitShippingCharges></OrderLine></OrderLineList>
<OrderNumber>A1</OrderNumber><OrderState>Shipped</OrderState>
<ParcelList><Parcel><CustomerNum>6A123</CustomerNum><ExternalCarrierName i:nil="true"/>
<ExternalCarrierTrackingUrl>https://suivi.example/6A123</ExternalCarrierTrackingUrl>
<IsCustomerReturn>false</IsCustomerReturn><ParcelStatus>On Going Delivery</ParcelStatus>
<RealCarrierCode>COL</RealCarrierCode></Parcel></ParcelList>
<VoucherList><Voucher><CreateDate>2019-05-02T11:00:00</CreateDate><RefundInformation>
<Amount>4.90</Amount><MotiveId>135</MotiveId></RefundInformation><Source>Seller</Source></Voucher>
</VoucherList></Order>"""


def order_list(*items: str, success: bool = True, text: str = "") -> Node:
    inner = f"<OrderList>{''.join(items)}</OrderList>"
    body = answer("GetOrderList", inner, success=success, message=text)
    return result(body, "GetOrderList")


def test_an_order_with_all_that_the_card_shows() -> None:
    found, faults = orders.orders(order_list(ORDER), CONTEXT)
    assert not faults
    order = found["A1"]
    assert order.has_claims
    assert (order.total, order.shipping_total) == (Decimal("30.50"), Decimal(5))
    assert order.customer_name == "Zoé"
    [line] = order.lines
    assert (line.quantity, line.price) == (3, Decimal(10))
    assert round(line.unit_price, 2) == Decimal("3.33")
    assert (line.shipping, line.row, line.has_claim) == (Decimal("5.0"), 2, False)
    [parcel] = order.parcels
    assert (parcel.number, parcel.carrier, parcel.status) == ("6A123", "COL", "On Going Delivery")
    assert parcel.tracking_url == "https://suivi.example/6A123"
    [voucher] = order.vouchers or ()
    assert (voucher.amount, voucher.motive, voucher.source) == (Decimal("4.90"), 135, "Seller")
    assert voucher.created_at == utc("2019-05-02T09:00:00")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("30.50", "30,50", "Order A1/InitialTotalAmount: not a decimal number"),
        ("30.50", "NaN", "Order A1/InitialTotalAmount: not a decimal number"),
        ("30.50", "1e9", "Order A1/InitialTotalAmount: not a decimal number"),
        ("<Quantity>3", "<Quantity>three", "OrderLine REF-1/Quantity: not a whole number"),
        ("<Amount>4.90</Amount>", "", "RefundInformation: without amount or motive"),
        ("<HasClaims>true", "<HasClaims>oui", "Order A1/HasClaims: neither true nor false"),
        ("2019-04-24T09:59:05.753", "", "Order A1/CreationDate: missing"),
    ],
)
def test_a_broken_order_is_named_and_hides_nobody(old: str, new: str, words: str) -> None:
    assert old in ORDER
    other = ORDER.replace("A1<", "B2<")
    found, faults = orders.orders(order_list(ORDER.replace(old, new), other), CONTEXT)
    assert list(found) == ["B2"]
    assert words in faults["A1"]
    assert "three" not in faults["A1"]


def test_orders_that_come_with_an_error_are_kept() -> None:
    words = "Vous ne pouvez obtenir les alias de clients dont la commande est expédiée"
    found, _ = orders.orders(order_list(ORDER, success=False, text=words), CONTEXT)
    assert list(found) == ["A1"]
    with pytest.raises(RefusedError, match="obtenir les alias"):
        orders.orders(order_list(success=False, text=words), CONTEXT)


def test_orders_are_asked_for_in_every_state_of_the_contract() -> None:
    schema = (resources.files(cdiscount) / "contract" / "orders.xsd").read_text()
    _, _, start = schema.partition('simpleType name="OrderStateEnum">')
    listed, _, _ = start.partition("</xs:simpleType>")
    assert set(re.findall(r'value="(\w+)"', listed)) - {"None"} == set(orders.STATES)


def test_an_order_without_a_number_is_a_fault() -> None:
    _, faults = orders.orders(order_list(ORDER.replace(">A1<", "><")), CONTEXT)
    assert "OrderNumber: missing" in faults[UNNAMED]


def test_a_nil_result_breaks_the_contract() -> None:
    body = answer("GetOrderList").replace(
        "<GetOrderListResult ", '<GetOrderListResult i:nil="true" '
    )
    with pytest.raises(ContractError, match="lacks GetOrderListResult"):
        result(body, "GetOrderList")
