"""A movement of money: the rules at the top of its file read off the table, and what proves it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

import pytest

from mailbridge.domain.money import MovementKind
from mailbridge.domain.order import (
    LineStage,
    MoneyRequest,
    Order,
    OrderLine,
    OrderStage,
    RequestState,
    Voucher,
)
from mailbridge.domain.refund import (
    ACTIVE,
    HOLDS_CLAIM,
    MACHINE,
    SETTLED,
    Evidence,
    Proof,
    RefundEvent,
    RefundState,
    Sought,
    evidence,
)

NOON = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
S, E = RefundState, RefundEvent


def entering(state: RefundState) -> set[tuple[RefundState, RefundEvent]]:
    return {
        (s, e)
        for s, table in MACHINE.moves.items()
        for e, target in table.items()
        if target is state
    }


def ahead(start: RefundState) -> set[RefundState]:
    seen: set[RefundState] = set()
    todo = [start]
    while todo:
        state = todo.pop()
        if state not in seen:
            seen.add(state)
            todo += MACHINE.moves[state].values()
    return seen


# --- the table --------------------------------------------------------------------------------


def test_the_marketplace_is_asked_from_ready_only() -> None:
    assert entering(S.ASKING) == {(S.READY, E.BEGIN)}


def test_what_was_being_asked_for_when_the_power_went_is_uncertain() -> None:
    assert MACHINE.next(S.ASKING, E.LOST) is S.UNCERTAIN
    assert entering(S.UNCERTAIN) == {(S.ASKING, E.LOST)}


def test_only_what_was_surely_not_sent_is_asked_for_again_by_itself() -> None:
    back = {(s, e) for s, e in entering(S.READY) if s not in (S.ASKED, S.WAITING)}
    assert back == {(S.ASKING, E.PUT_OFF)}


def test_uncertainty_is_left_by_evidence_or_the_word_of_who_has_looked() -> None:
    assert MACHINE.moves[S.UNCERTAIN] == {
        E.PROVE: S.PROVEN,
        E.PROVE_PART: S.PARTLY,
        E.REFUSE: S.REFUSED,
        E.MISS: S.ABSENT,
        E.AFFIRM: S.PROVEN,
        E.DENY: S.ABSENT,
    }
    assert entering(S.ABSENT) == {(S.UNCERTAIN, E.MISS), (S.UNCERTAIN, E.DENY), (S.GRANTED, E.DENY)}


def test_after_the_services_yes_only_the_order_speaks_or_who_has_looked() -> None:
    people = {E.AFFIRM, E.DENY}
    assert set(MACHINE.moves[S.GRANTED]) == {E.PROVE, E.PROVE_PART, E.REFUSE} | people


def test_what_never_happened_is_asked_again_by_a_persons_word_from_the_start() -> None:
    assert entering(S.ASKED) == {(S.ABSENT, E.RETRY)}
    # And is believed, should it turn out to have happened all the same.
    assert MACHINE.next(S.ABSENT, E.PROVE) is S.PROVEN


def test_nothing_is_proven_without_having_been_asked_for_or_joined() -> None:
    for state in (S.PROVEN, S.PARTLY):
        assert {s for s, _ in entering(state)} == {S.GRANTED, S.UNCERTAIN, S.ABSENT, S.JOINED}


def test_a_person_drops_it_until_it_is_asked_for() -> None:
    from_ = {s for s, _ in entering(S.WITHDRAWN)}
    assert from_ == {S.ASKED, S.WAITING, S.READY, S.ABSENT}


def test_what_joined_another_never_asks_by_itself() -> None:
    assert ahead(S.JOINED) == {S.JOINED, S.PROVEN, S.PARTLY, S.REFUSED}


def test_ends() -> None:
    assert {S.PROVEN, S.PARTLY, S.REFUSED, S.WITHDRAWN} == MACHINE.final
    assert {*MACHINE.final, S.ABSENT} == SETTLED


def test_what_may_have_moved_counts_as_spent_and_keeps_others_away() -> None:
    may_have_moved = {s for s in S if s not in MACHINE.final and s is not S.ABSENT} & ahead(
        S.ASKING
    ) - {S.READY, S.WAITING, S.JOINED, S.ASKED}
    assert may_have_moved == ACTIVE
    assert {*ACTIVE, S.READY, S.PROVEN, S.PARTLY} == HOLDS_CLAIM


# --- evidence ---------------------------------------------------------------------------------


def order(
    *stages: LineStage,
    vouchers: Sequence[tuple[str, int]] = (),
    requests: Sequence[MoneyRequest] = (),
) -> Order:
    """Lines A, B, … (ids a, b, …) in these stages."""
    return Order(
        number="2411231100AB1CD",
        state="Shipped",
        created_at=NOON,
        lines=tuple(
            OrderLine(
                row=row,
                reference="ABC"[row],
                name="Lampe",
                quantity=1,
                unit_price=Decimal(10),
                state=stage,
                stage=stage,
                id="abc"[row],
            )
            for row, stage in enumerate(stages)
        ),
        vouchers=tuple(Voucher(Decimal(amount), motive, NOON) for amount, motive in vouchers),
        stage=OrderStage.SHIPPED,
        requests=tuple(requests),
    )


def request(
    id_: str,
    state: RequestState,
    *lines: str,
    kind: MovementKind | Literal[""] = MovementKind.REFUND,
    amount: str | None = None,
    words: str = "",
) -> MoneyRequest:
    return MoneyRequest(
        id_, kind, state, NOON, lines, None if amount is None else Decimal(amount), words
    )


SHIPPED, TO_SHIP = LineStage.SHIPPED, LineStage.TO_SHIP
REFUNDED, CANCELLED = LineStage.REFUNDED, LineStage.CANCELLED
DONE, PENDING = RequestState.DONE, RequestState.PENDING
REFUSED, ODD = RequestState.REFUSED, RequestState.UNKNOWN
BOTH = Sought(MovementKind.REFUND, ("A", "B"))
BEFORE = order(SHIPPED, SHIPPED)


@pytest.mark.parametrize(
    ("stages", "found"),
    [
        ((SHIPPED, SHIPPED), Evidence(Proof.NOT_SHOWN)),
        ((REFUNDED, SHIPPED), Evidence(Proof.PART, frozenset("A"))),
        ((REFUNDED, REFUNDED), Evidence(Proof.SHOWN, frozenset("AB"))),
        # After shipment a line that is cancelled is something else, and proves no refund.
        ((CANCELLED, CANCELLED), Evidence(Proof.NOT_SHOWN)),
        ((LineStage.UNKNOWN, REFUNDED), Evidence(Proof.PART, frozenset("B"))),
    ],
)
def test_a_refund_is_proven_by_its_lines(stages: tuple[LineStage, ...], found: Evidence) -> None:
    assert evidence(BOTH, BEFORE, order(*stages)) == found


@pytest.mark.parametrize(
    ("stage", "proof"),
    [
        (CANCELLED, Proof.SHOWN),
        (REFUNDED, Proof.SHOWN),
        (TO_SHIP, Proof.NOT_SHOWN),
        (SHIPPED, Proof.NOT_SHOWN),
        (LineStage.CANCELLATION_ASKED, Proof.NOT_SHOWN),
    ],
)
def test_a_cancellation_is_proven_by_a_line_that_will_not_be_shipped(
    stage: LineStage, proof: Proof
) -> None:
    sought = Sought(MovementKind.CANCELLATION, ("A",))
    assert evidence(sought, order(TO_SHIP), order(stage)).proof is proof


def test_a_line_that_nobody_asked_for_proves_nothing() -> None:
    sought = Sought(MovementKind.REFUND, ("A",))
    found = evidence(sought, BEFORE, order(SHIPPED, REFUNDED))
    assert found == Evidence(Proof.NOT_SHOWN)


@pytest.mark.parametrize(
    ("before", "after", "proof"),
    [
        ([], [("15", 135)], Proof.SHOWN),
        ([("15", 135)], [("15", 135)], Proof.NOT_SHOWN),
        ([("15", 135)], [("15", 135), ("15", 135)], Proof.SHOWN),
        ([], [("15", 139)], Proof.NOT_SHOWN),
        ([], [("15.01", 135)], Proof.NOT_SHOWN),
        ([("15", 135)], [], Proof.NOT_SHOWN),
    ],
)
def test_a_gesture_is_proven_by_one_voucher_more_of_its_amount_and_motive(
    before: list[tuple[str, int]], after: list[tuple[str, int]], proof: Proof
) -> None:
    sought = Sought(MovementKind.GESTURE, amount=Decimal(15), motive=135)
    found = evidence(sought, order(SHIPPED, vouchers=before), order(SHIPPED, vouchers=after))
    assert found == Evidence(proof)


@pytest.mark.parametrize(
    ("requests", "found"),
    [
        ([request("1", PENDING, "a", "b")], Evidence(Proof.PENDING)),
        ([request("1", ODD, "a", "b")], Evidence(Proof.PENDING)),
        ([request("1", DONE, "a", "b")], Evidence(Proof.SHOWN, frozenset("AB"))),
        ([request("1", DONE)], Evidence(Proof.SHOWN, frozenset("AB"))),
        ([request("1", REFUSED, "a", "b", words="trop tard")],
         Evidence(Proof.REFUSED, words="trop tard")),
        ([request("1", DONE, "a"), request("2", PENDING, "b")],
         Evidence(Proof.PENDING, frozenset("A"))),
        ([request("1", DONE, "a"), request("2", REFUSED, "b", words="non")],
         Evidence(Proof.PART, frozenset("A"), "non", ended=True)),
        # Carried out for one line; of the other nothing is known.
        ([request("1", DONE, "a")], Evidence(Proof.PART, frozenset("A"))),
        # Neither says for which line: nobody is told that all went well.
        ([request("1", DONE), request("2", REFUSED)], Evidence(Proof.PENDING)),
        ([request("1", DONE, "c")], Evidence(Proof.NOT_SHOWN)),
        ([request("1", DONE, "a", "b", kind=MovementKind.CANCELLATION)],
         Evidence(Proof.NOT_SHOWN)),
        # The service has one kind of request, and nothing told which it was.
        ([request("1", DONE, "a", "b", kind="")], Evidence(Proof.SHOWN, frozenset("AB"))),
        ([request("1", PENDING, "a", "b", kind="")], Evidence(Proof.PENDING)),
    ],
)  # fmt: skip
def test_requests_tell_what_lines_do_not_show_yet(
    requests: list[MoneyRequest], found: Evidence
) -> None:
    now = order(SHIPPED, SHIPPED, LineStage.SHIPPED, requests=requests)
    assert evidence(BOTH, order(SHIPPED, SHIPPED, SHIPPED), now) == found


def test_a_refused_request_leaves_what_a_line_shows() -> None:
    now = order(REFUNDED, SHIPPED, requests=[request("1", REFUSED, "b", words="non")])
    found = Evidence(Proof.PART, frozenset("A"), "non", ended=True)
    assert evidence(BOTH, BEFORE, now) == found


def test_an_old_request_is_nobodys_proof() -> None:
    old = request("1", DONE, "a", "b")
    before = order(SHIPPED, SHIPPED, requests=[old])
    now = order(SHIPPED, SHIPPED, requests=[old])
    assert evidence(BOTH, before, now) == Evidence(Proof.NOT_SHOWN)


def test_a_request_named_in_the_answer_is_the_only_one_that_counts() -> None:
    sought = Sought(MovementKind.REFUND, ("A", "B"), requests=("2",))
    now = order(
        SHIPPED,
        SHIPPED,
        requests=[request("1", DONE, "a", "b"), request("2", PENDING, "a", "b")],
    )
    assert evidence(sought, BEFORE, now).proof is Proof.PENDING


@pytest.mark.parametrize(
    ("requests", "proof"),
    [
        ([("15", DONE)], Proof.SHOWN),
        ([("15", PENDING)], Proof.PENDING),
        ([("15", REFUSED)], Proof.REFUSED),
        ([("15", DONE), ("15", REFUSED)], Proof.SHOWN),
        ([("12", DONE)], Proof.NOT_SHOWN),
    ],
)
def test_a_gestures_request_is_known_by_its_amount(
    requests: list[tuple[str, RequestState]], proof: Proof
) -> None:
    sought = Sought(MovementKind.GESTURE, amount=Decimal(15), motive=135)
    shown = [
        request(str(n), state, kind=MovementKind.GESTURE, amount=amount)
        for n, (amount, state) in enumerate(requests)
    ]
    found = evidence(sought, order(SHIPPED), order(SHIPPED, requests=shown))
    assert found.proof is proof
