"""Money over SOAP: what is asked word for word, and what each answer means for each item."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mailbridge.domain.money import Cause, GestureMotive, Movement, MovementKind
from mailbridge.domain.order import LineStage, Order, OrderLine, OrderStage
from mailbridge.marketplace.cdiscount import money
from mailbridge.marketplace.cdiscount.envelope import unwrap
from mailbridge.marketplace.cdiscount.mapping import Context
from mailbridge.marketplace.cdiscount.reading import Node, parse
from mailbridge.marketplace.port import (
    ContractError,
    ItemAnswer,
    ItemResult,
    NotAuthorizedError,
    RefusedError,
    TransientError,
)
from mailbridge.sandbox.cdiscount import CONTRACT
from tests.marketplace.recorded import needs_recordings, recording
from tests.marketplace.scripted import (
    FRAMEWORK,
    LOGIN,
    TOKEN,
    Reply,
    ScriptedService,
    answer,
    error,
    fault,
    token_died,
    token_xml,
)
from tests.marketplace.test_adapter import market, sent

NOW = datetime(2019, 5, 14, 12, 0, tzinfo=UTC)
CONTEXT = Context(NOW, secrets=(LOGIN,))
GRANTED, REFUSED, UNKNOWN = ItemAnswer.GRANTED, ItemAnswer.REFUSED, ItemAnswer.UNKNOWN


def line(row: int, reference: str, state: str = "ShippedBySeller", **other: Any) -> OrderLine:
    return OrderLine(row, reference, "Carafe", 1, Decimal(10), state, "New", **other)


A, B = line(0, "REF-A"), line(1, "REF-B")
ORDER = Order("A1", "Shipped", NOW, lines=(A, B), stage=OrderStage.SHIPPED)
REFUND = Movement(MovementKind.REFUND, ORDER, (A, B), amount=Decimal(20))
GESTURE = Movement(MovementKind.GESTURE, ORDER, amount=Decimal("12.50"), motive=GestureMotive.LATE)
TO_SHIP = Order(
    "A1",
    "WaitingForShipmentAcceptation",
    NOW,
    lines=(
        line(0, "REF-A", "AcceptedBySeller", stage=LineStage.TO_SHIP),
        replace(line(1, "REF-B", "RefundedAfterCustomerCancellation"), condition="LikeNew"),
        line(2, "REF-C", "AcceptedBySeller", stage=LineStage.TO_SHIP),
    ),
    stage=OrderStage.TO_SHIP,
)
CANCELLATION = Movement(MovementKind.CANCELLATION, TO_SHIP, (TO_SHIP.lines[0], TO_SHIP.lines[2]))


def said(operation: str, inner: str, **more: Any) -> Node:
    return unwrap(parse(answer(operation, inner, **more).encode()), operation)


def item(name: str, inner: str, success: str = "true", words: str = "") -> str:
    flag = f'<OperationSuccess xmlns="{FRAMEWORK}">{success}</OperationSuccess>' if success else ""
    return f'<{name}><ErrorMessage xmlns="{FRAMEWORK}">{words}</ErrorMessage>{flag}{inner}</{name}>'


def refund_of(reference: str, success: str = "true", words: str = "") -> str:
    inner = (
        f"<Ean/><Motive>ClientClaim</Motive><SellerProductId>{reference}</SellerProductId>"
        "<Value>10</Value>"
    )
    return item("SellerRefundResult", inner, success, words)


def gesture_of(
    amount: str = "12.5", motive: int = 135, success: str = "true", words: str = ""
) -> str:
    inner = f"<Amount>{amount}</Amount><MotiveId>{motive}</MotiveId>"
    return item("RefundInformationMessage", inner, success, words)


def vouchers(*, gestures: str = "", refunds: str = "", number: str = "A1", **more: Any) -> str:
    inner = (
        f"<CommercialGestureList>{gestures}</CommercialGestureList>"
        f"<OrderNumber>{number}</OrderNumber><SellerRefundList>{refunds}</SellerRefundList>"
    )
    return answer("CreateRefundVoucher", inner, **more)


def validated(
    *lines: str, validated: str = "true", errors: str = "", number: str = "A1", **more: Any
) -> str:
    flag = f"<Validated>{validated}</Validated>" if validated else ""
    inner = (
        f"<ValidateOrderResults><ValidateOrderResult><Errors>{errors}</Errors>"
        f"<OrderNumber>{number}</OrderNumber><ValidateOrderLineResults>{''.join(lines)}"
        f"</ValidateOrderLineResults>{flag}<Warnings/></ValidateOrderResult>"
        "</ValidateOrderResults>"
    )
    return answer("ValidateOrderList", inner, **more)


def updated(reference: str, word: str = "true", errors: str = "") -> str:
    return (
        f"<ValidateOrderLineResult><Errors>{errors}</Errors>"
        f"<SellerProductId>{reference}</SellerProductId><Updated>{word}</Updated>"
        "</ValidateOrderLineResult>"
    )


def judged(body: str, movement: Movement) -> dict[str, ItemResult]:
    operation = money.request(movement).operation
    return money.answers(unwrap(parse(body.encode()), operation), movement, CONTEXT)


def verdicts(body: str, movement: Movement) -> dict[str, ItemAnswer]:
    return {key: each.answer for key, each in judged(body, movement).items()}


@pytest.fixture
async def service() -> AsyncIterator[ScriptedService]:
    async with ScriptedService() as running:
        yield running


# What is asked


async def asked(service: ScriptedService, movement: Movement) -> dict[str, Any]:
    async with market(service) as made:
        # The script answers nothing about the items, which is nobody's refusal.
        results = await made.move_money(movement)
    assert {each.answer for each in results.values()} == {UNKNOWN}
    [(_, request)] = service.calls
    return sent(request)


async def test_a_cancellation_names_every_line(service: ScriptedService) -> None:
    request = await asked(service, CANCELLATION)
    order = request["OrderList"]["ValidateOrder"]
    assert (order["OrderNumber"], order["OrderState"]) == ("A1", "ShipmentRefusedBySeller")
    assert order["OrderLineList"]["ValidateOrderLine"] == [
        {
            "AcceptationState": "ShipmentRefusedBySeller",
            "ProductCondition": "New",
            "SellerProductId": "REF-A",
        },
        {
            "AcceptationState": "RefundedAfterCustomerCancellation",
            "ProductCondition": "LikeNew",
            "SellerProductId": "REF-B",
        },
        {
            "AcceptationState": "ShipmentRefusedBySeller",
            "ProductCondition": "New",
            "SellerProductId": "REF-C",
        },
    ]


@pytest.mark.parametrize(
    ("cause", "mode", "motive"),
    [
        (Cause.CLAIM, "Claim", "ClientClaim"),
        (Cause.WITHDRAWAL, "Retraction", "ClientRetraction"),
        (Cause.GOODWILL, "Claim", "VendorInitiatedRefund"),
        (Cause.OUT_OF_STOCK, "Claim", "ProductStockUnavailable"),
    ],
)
async def test_a_refund_says_why(
    service: ScriptedService, cause: Cause, mode: str, motive: str
) -> None:
    shipping = cause is Cause.WITHDRAWAL
    movement = replace(REFUND, lines=(B,), cause=cause, with_shipping=shipping)
    assert await asked(service, movement) == {
        "CommercialGestureList": "",
        "OrderNumber": "A1",
        "SellerRefundList": {
            "SellerRefundRequest": {
                "Mode": mode,
                "Motive": motive,
                "RefundOrderLine": {
                    "RefundShippingCharges": "true" if shipping else "false",
                    "SellerProductId": "REF-B",
                },
            }
        },
    }


@pytest.mark.parametrize("amount", ["12.50", "10", "1E+1"])
async def test_a_gesture_is_an_exact_amount(service: ScriptedService, amount: str) -> None:
    request = await asked(service, replace(GESTURE, amount=Decimal(amount)))
    assert request == {
        "CommercialGestureList": {
            "RefundInformation": {"Amount": f"{Decimal(amount):f}", "MotiveId": "135"}
        },
        "OrderNumber": "A1",
        "SellerRefundList": "",
    }


@pytest.mark.parametrize(
    "movement",
    [
        replace(REFUND, lines=()),
        replace(REFUND, lines=(A, replace(B, reference="REF-A"))),
        replace(REFUND, lines=(replace(A, reference=""),)),
        replace(CANCELLATION, lines=()),
        replace(CANCELLATION, lines=(line(7, "REF-A"),)),
        replace(GESTURE, amount=Decimal(0)),
        replace(GESTURE, amount=Decimal(-5)),
        replace(GESTURE, motive=None),
    ],
)
async def test_what_cannot_be_said_exactly_is_not_said(
    service: ScriptedService, movement: Movement
) -> None:
    async with market(service) as made:
        with pytest.raises(RefusedError):
            await made.move_money(movement)
    assert service.calls == []


# What the answer says of a cancellation


def test_a_cancellation_granted() -> None:
    body = validated(updated("REF-A"), updated("REF-B"), updated("REF-C"))
    assert judged(body, CANCELLATION) == {
        "REF-A": ItemResult(GRANTED),
        "REF-C": ItemResult(GRANTED),
    }


@needs_recordings
def test_the_recorded_success_that_is_a_failure() -> None:
    body = recording("validate-order-list-refused-transition.response.200.xml").decode()
    order = Order("1904240959CN8HI", "Shipped", NOW, lines=(line(0, "PRES1"),))
    movement = Movement(MovementKind.CANCELLATION, order, order.lines)
    result = judged(body, movement)["PRES1"]
    assert result.answer is REFUSED
    assert result.words.startswith("Le passage à l'état ShipmentRefusedBySeller est impossible")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (validated(updated("REF-A"), updated("REF-C", "false")), [GRANTED, REFUSED]),
        (validated(updated("REF-A")), [GRANTED, UNKNOWN]),
        (validated(updated("ref-a"), updated("REF-C")), [UNKNOWN, GRANTED]),
        (validated(validated="false"), [REFUSED, REFUSED]),
        # Contradictions are nobody's promise.
        (validated(updated("REF-A"), validated="false"), [UNKNOWN, REFUSED]),
        (validated(updated("REF-A"), updated("REF-A", "false")), [UNKNOWN, UNKNOWN]),
        (validated(updated("REF-A", errors=error("X", "Hm"))), [UNKNOWN, UNKNOWN]),
        (validated(updated("REF-A"), updated("REF-C"), success=False), [UNKNOWN, UNKNOWN]),
        (validated(updated("REF-A"), updated("REF-C"), validated=""), [UNKNOWN, UNKNOWN]),
        (validated(updated("REF-A"), updated("REF-C"), number="B2"), [UNKNOWN, UNKNOWN]),
        (validated(updated("REF-A", "")), [UNKNOWN, UNKNOWN]),
        (answer("ValidateOrderList", "<ValidateOrderResults/>"), [UNKNOWN, UNKNOWN]),
        (answer("ValidateOrderList", '<ValidateOrderResults i:nil="true"/>'), [UNKNOWN, UNKNOWN]),
    ],
)  # fmt: skip
def test_a_cancellation_line_by_line(body: str, expected: list[ItemAnswer]) -> None:
    assert list(verdicts(body, CANCELLATION).values()) == expected


def test_a_lines_own_words_come_before_the_orders() -> None:
    of_line = updated("REF-C", "false", error("X", "Ligne déjà expédiée"))
    body = validated(of_line, validated="false", errors=error("Y", "Lignes refusées"))
    results = judged(body, CANCELLATION)
    assert results["REF-A"] == ItemResult(REFUSED, "Lignes refusées")
    assert results["REF-C"] == ItemResult(REFUSED, "Ligne déjà expédiée")


# What the answer says of refunds and gestures


@pytest.mark.parametrize(
    ("refunds", "expected"),
    [
        (refund_of("REF-A") + refund_of("REF-B"), [GRANTED, GRANTED]),
        (refund_of("REF-B", "false", "Non") + refund_of("REF-A"), [GRANTED, REFUSED]),
        (refund_of("REF-A"), [GRANTED, UNKNOWN]),
        (refund_of("REF-A", "") + refund_of("REF-B", "true", "Erreur"), [UNKNOWN, UNKNOWN]),
        (refund_of("REF-A") + refund_of("REF-A", "false"), [UNKNOWN, UNKNOWN]),
        (refund_of("REF-X"), [UNKNOWN, UNKNOWN]),
        ("", [UNKNOWN, UNKNOWN]),
    ],
)
def test_a_refund_line_by_line(refunds: str, expected: list[ItemAnswer]) -> None:
    assert list(verdicts(vouchers(refunds=refunds), REFUND).values()) == expected


@pytest.mark.parametrize(
    ("gestures", "expected"),
    [
        (gesture_of(), GRANTED),
        (gesture_of("12.50"), GRANTED),
        (gesture_of(success="false", words="Non"), REFUSED),
        (gesture_of(success=""), UNKNOWN),
        (gesture_of("12.40"), UNKNOWN),
        (gesture_of(motive=139), UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_a_gesture_is_one_item(gestures: str, expected: ItemAnswer) -> None:
    assert verdicts(vouchers(gestures=gestures), GESTURE) == {"": expected}


def test_items_that_succeed_in_an_answer_that_fails_are_unclear() -> None:
    body = vouchers(refunds=refund_of("REF-A") + refund_of("REF-B", "false"), success=False)
    assert list(verdicts(body, REFUND).values()) == [UNKNOWN, REFUSED]


def test_words_are_fit_to_show() -> None:
    words = f"Refus&#xD;\nde {LOGIN} (jeton {TOKEN}) pour zoe@example.org"
    [result] = judged(vouchers(gestures=gesture_of(success="false", words=words)), GESTURE).values()
    assert result.answer is REFUSED
    for secret in (LOGIN, TOKEN, "zoe@", "\n"):
        assert secret not in result.words


# Whole answers


@needs_recordings
def test_the_recorded_refusal_of_a_whole_request() -> None:
    body = recording("create-refund-voucher-invalid.response.200.xml").decode()
    with pytest.raises(RefusedError, match="Demande de remboursement invalide"):
        judged(body, GESTURE)


def test_a_whole_refusal_keeps_its_kind() -> None:
    with pytest.raises(NotAuthorizedError):
        judged(vouchers(success=False, errors=error("InactiveSellerError")), REFUND)
    with pytest.raises(TransientError) as caught:
        judged(vouchers(success=False, errors=error("Quota")), REFUND)
    assert not caught.value.sent


@pytest.mark.parametrize(
    "body",
    [
        vouchers(refunds=refund_of("REF-A", "peut-être")),
        vouchers(gestures=gesture_of("12,5")),
        vouchers(refunds=refund_of("REF-A"), number="B2"),
        answer("CreateRefundVoucher").replace("true", ""),
    ],
)
def test_an_answer_that_does_not_parse_breaks_the_contract(body: str) -> None:
    movement = GESTURE if "12,5" in body else REFUND
    with pytest.raises(ContractError):
        judged(body, movement)


# Once, and what may have happened


async def test_money_is_asked_once_more_only_with_a_new_token(service: ScriptedService) -> None:
    service.on("CreateRefundVoucher", token_died(), vouchers(gestures=gesture_of()))
    async with market(service) as made:
        assert await made.move_money(GESTURE) == {"": ItemResult(GRANTED)}
    assert len(service.asked("CreateRefundVoucher")) == 2


@pytest.mark.parametrize(
    "reply",
    [
        fault("a:InternalServiceFault", "The server was unable to process the request"),
        Reply("<html>502</html>", 502, "text/html"),
        Reply("<html>Welcome</html>", 200, "text/html"),
    ],
)
async def test_trouble_after_the_request_went_out_may_have_moved_money(
    service: ScriptedService, reply: Reply
) -> None:
    service.on("CreateRefundVoucher", reply)
    async with market(service) as made:
        with pytest.raises(TransientError) as caught:
            await made.move_money(GESTURE)
    assert caught.value.sent
    assert len(service.asked("CreateRefundVoucher")) == 1


async def test_a_cut_answer_may_have_moved_money(service: ScriptedService) -> None:
    body = vouchers(gestures=gesture_of())
    service.on("CreateRefundVoucher", body[: len(body) // 2])
    async with market(service) as made:
        with pytest.raises(ContractError):
            await made.move_money(GESTURE)
    assert len(service.asked("CreateRefundVoucher")) == 1


async def test_a_token_refused_twice_moved_nothing(service: ScriptedService) -> None:
    service.on("CreateRefundVoucher", token_died())
    service.on_sign_in(token_xml("1" * 32), token_xml("2" * 32))
    async with market(service) as made:
        with pytest.raises(TransientError) as caught:
            await made.move_money(GESTURE)
    assert not caught.value.sent


async def test_without_a_sign_in_nothing_is_asked(service: ScriptedService) -> None:
    service.on_sign_in(Reply("<html>Welcome on Cdiscount STS</html>", 200, "text/html"))
    async with market(service) as made:
        with pytest.raises(TransientError) as caught:
            await made.move_money(GESTURE)
    assert not caught.value.sent
    assert service.calls == []


async def test_a_contract_without_the_operation_is_a_refusal(
    service: ScriptedService, tmp_path: Path
) -> None:
    """A ContractError would mean that the money may have moved."""
    shutil.copytree(CONTRACT, tmp_path, dirs_exist_ok=True)
    wsdl = tmp_path / "service.wsdl"
    text = wsdl.read_text()
    start = text.index('    <wsdl:operation name="CreateRefundVoucher">')
    end = text.index("</wsdl:operation>", start) + len("</wsdl:operation>\n")
    wsdl.write_text(text[:start] + text[end:])
    async with market(service, wsdl=str(wsdl)) as made:
        with pytest.raises(RefusedError, match=r"nothing was asked: .* lacks CreateRefundVoucher"):
            await made.move_money(GESTURE)
    assert service.calls == []
