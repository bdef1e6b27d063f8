"""The five state machines: the rules at the top of each file, read off its table."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from mailbridge.domain import closing, delivery, diagrams, filing, intake, refund
from mailbridge.domain.closing import ClosingEvent, ClosingState
from mailbridge.domain.delivery import DeliveryEvent, DeliveryState
from mailbridge.domain.filing import FilingEvent, FilingState
from mailbridge.domain.intake import IntakeEvent, IntakeState
from mailbridge.domain.machine import ForbiddenMove, Machine
from mailbridge.domain.refund import RefundEvent, RefundState

MACHINES: dict[str, tuple[Machine[Any, Any], type[StrEnum], type[StrEnum]]] = {
    "filing": (filing.MACHINE, FilingState, FilingEvent),
    "intake": (intake.MACHINE, IntakeState, IntakeEvent),
    "delivery": (delivery.MACHINE, DeliveryState, DeliveryEvent),
    "closing": (closing.MACHINE, ClosingState, ClosingEvent),
    "refund": (refund.MACHINE, RefundState, RefundEvent),
}
EACH = pytest.mark.parametrize(
    ("machine", "states", "events"), MACHINES.values(), ids=list(MACHINES)
)


def moves(machine: Machine[Any, Any]) -> set[tuple[Any, Any, Any]]:
    return {
        (state, event, target)
        for state, table in machine.moves.items()
        for event, target in table.items()
    }


def reachable(machine: Machine[Any, Any], start: StrEnum) -> set[StrEnum]:
    seen: set[StrEnum] = set()
    ahead = [start]
    while ahead:
        state = ahead.pop()
        if state not in seen:
            seen.add(state)
            ahead += machine.moves[state].values()
    return seen


@EACH
def test_every_state_is_in_the_table_and_can_be_reached(
    machine: Machine[Any, Any], states: type[StrEnum], events: type[StrEnum]
) -> None:
    assert set(machine.moves) == set(states)
    assert reachable(machine, machine.start) == set(states)


@EACH
def test_every_event_moves_something(
    machine: Machine[Any, Any], states: type[StrEnum], events: type[StrEnum]
) -> None:
    assert {event for _, event, _ in moves(machine)} == set(events)


@EACH
def test_every_state_leads_to_an_end(
    machine: Machine[Any, Any], states: type[StrEnum], events: type[StrEnum]
) -> None:
    for state in states:
        assert reachable(machine, state) & machine.final


@EACH
def test_what_the_table_does_not_hold_is_forbidden(
    machine: Machine[Any, Any], states: type[StrEnum], events: type[StrEnum]
) -> None:
    for state in states:
        for event in events:
            if event in machine.moves[state]:
                assert machine.next(state, event) in states
            else:
                with pytest.raises(ForbiddenMove, match=f"{machine.name}: .*{state}.*{event}"):
                    machine.next(state, event)


def test_where_nothing_is_left_to_do() -> None:
    assert filing.MACHINE.final == {FilingState.FILED, FilingState.DROPPED}
    assert intake.MACHINE.final == {
        IntakeState.SETTLED,
        IntakeState.REPLACED,
        IntakeState.CANCELLED,
        IntakeState.IGNORED,
    }
    assert delivery.MACHINE.final == {DeliveryState.RECORDED, DeliveryState.CANCELLED}
    assert closing.MACHINE.final == {
        ClosingState.CLOSED,
        ClosingState.OVERTAKEN,
        ClosingState.WITHDRAWN,
    }


# --- filing -----------------------------------------------------------------------------------


def test_a_mail_is_filed_by_an_answer_or_by_evidence_only() -> None:
    into = {event for _, event, target in moves(filing.MACHINE) if target is FilingState.FILED}
    assert into == {FilingEvent.STORED, FilingEvent.FOUND}


def test_writing_is_entered_by_begin_and_left_by_an_answer_or_evidence() -> None:
    into = {(s, e) for s, e, t in moves(filing.MACHINE) if t is FilingState.WRITING}
    assert into == {(FilingState.PLANNED, FilingEvent.BEGIN)}
    assert filing.MACHINE.moves[FilingState.WRITING] == {
        FilingEvent.STORED: FilingState.FILED,
        FilingEvent.FOUND: FilingState.FILED,
        FilingEvent.ABSENT: FilingState.PLANNED,
        FilingEvent.REFUSED: FilingState.PLANNED,
    }


def test_what_is_filed_is_filed_for_ever() -> None:
    assert reachable(filing.MACHINE, FilingState.FILED) == {FilingState.FILED}


def test_a_mail_set_aside_comes_back_by_a_persons_word_or_turns_out_to_be_there() -> None:
    assert filing.MACHINE.moves[FilingState.ASIDE] == {
        FilingEvent.RETRY: FilingState.PLANNED,
        FilingEvent.FOUND: FilingState.FILED,
    }


# --- delivery ---------------------------------------------------------------------------------


def test_a_submission_found_after_a_crash_is_uncertain() -> None:
    state = delivery.MACHINE.next(DeliveryState.SUBMITTING, DeliveryEvent.LOST)
    assert state is DeliveryState.UNCERTAIN


def test_a_dispatch_is_planned_again_only_where_it_surely_did_not_arrive() -> None:
    back = {(s, e) for s, e, t in moves(delivery.MACHINE) if t is DeliveryState.PLANNED}
    assert back == {
        (DeliveryState.SUBMITTING, DeliveryEvent.DEFERRED),
        (DeliveryState.BOUNCED, DeliveryEvent.RENEW),
        (DeliveryState.HELD, DeliveryEvent.RELEASE),
    }


def test_the_connection_is_used_from_planned_only() -> None:
    into = {(s, e) for s, e, t in moves(delivery.MACHINE) if t is DeliveryState.SUBMITTING}
    assert into == {(DeliveryState.PLANNED, DeliveryEvent.BEGIN)}


def test_recorded_is_reached_by_being_seen_and_never_left() -> None:
    into = {event for _, event, t in moves(delivery.MACHINE) if t is DeliveryState.RECORDED}
    assert into == {DeliveryEvent.SEEN}
    assert not delivery.MACHINE.moves[DeliveryState.RECORDED]


def test_uncertainty_is_left_by_evidence_or_by_a_persons_resend() -> None:
    assert delivery.MACHINE.moves[DeliveryState.UNCERTAIN] == {
        DeliveryEvent.SEEN: DeliveryState.RECORDED,
        DeliveryEvent.ACCEPTED: DeliveryState.SUBMITTED,
        DeliveryEvent.BOUNCE: DeliveryState.BOUNCED,
        DeliveryEvent.RESEND: DeliveryState.RESENT,
    }


def test_what_may_have_left_may_be_seen_late() -> None:
    assert {
        DeliveryState.SUBMITTING,
        DeliveryState.SUBMITTED,
        DeliveryState.UNCERTAIN,
        DeliveryState.BOUNCED,
        DeliveryState.HELD,
        DeliveryState.RESENT,
    } == delivery.MAY_HAVE_LEFT


def test_only_what_did_not_leave_or_came_back_is_cancelled() -> None:
    from_ = {s for s, e, _ in moves(delivery.MACHINE) if e is DeliveryEvent.CANCEL}
    assert from_ == {DeliveryState.PLANNED, DeliveryState.HELD}


def test_a_resent_dispatch_never_goes_again_itself() -> None:
    ahead = reachable(delivery.MACHINE, DeliveryState.RESENT)
    assert ahead == {DeliveryState.RESENT, DeliveryState.RECORDED}


def test_receipts_wait_for_no_end_of_a_dispatch() -> None:
    assert delivery.MACHINE.final < delivery.SETTLED
    assert delivery.SETTLED - delivery.MACHINE.final == {DeliveryState.RESENT}


# --- closing ----------------------------------------------------------------------------------


def test_a_close_is_asked_for_only_when_ready() -> None:
    into = {(s, e) for s, e, t in moves(closing.MACHINE) if t is ClosingState.ASKING}
    assert into == {(ClosingState.READY, ClosingEvent.BEGIN)}


def test_a_customer_overtakes_a_close_until_it_is_asked() -> None:
    from_ = {s for s, e, _ in moves(closing.MACHINE) if e is ClosingEvent.CUSTOMER_WROTE}
    assert from_ == {ClosingState.WAITING, ClosingState.READY}


def test_a_lost_answer_is_asked_for_again() -> None:
    state = closing.MACHINE.next(ClosingState.ASKING, ClosingEvent.LATER)
    assert state is ClosingState.READY


def test_what_an_agent_undid_stays_undone() -> None:
    assert not closing.MACHINE.moves[ClosingState.WITHDRAWN]
    assert not closing.MACHINE.moves[ClosingState.OVERTAKEN]


def test_receipts_wait_for_no_end_of_a_close_nor_for_a_refused_one() -> None:
    assert {*closing.MACHINE.final, ClosingState.REFUSED} == closing.SETTLED


# --- intake -----------------------------------------------------------------------------------


def test_a_reply_is_judged_once() -> None:
    for event in (IntakeEvent.ACCEPT, IntakeEvent.HOLD, IntakeEvent.IGNORE):
        from_ = {s for s, e, _ in moves(intake.MACHINE) if e is event}
        assert from_ == {IntakeState.GATHERING}


def test_only_a_release_lifts_a_hold() -> None:
    into = {(s, e) for s, e, t in moves(intake.MACHINE) if t is IntakeState.ACCEPTED}
    assert into == {
        (IntakeState.GATHERING, IntakeEvent.ACCEPT),
        (IntakeState.HELD, IntakeEvent.RELEASE),
    }


def test_automatic_mail_is_never_looked_at_again() -> None:
    assert reachable(intake.MACHINE, IntakeState.IGNORED) == {IntakeState.IGNORED}


# --- the page ---------------------------------------------------------------------------------


def test_the_page_of_diagrams_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "state-machines.md"
    assert page.read_text(encoding="utf-8") == diagrams.page(), (
        "python -m mailbridge.domain.diagrams > docs/state-machines.md"
    )


def test_the_page_shows_every_move_and_says_why() -> None:
    page = diagrams.page()
    for machine, _, _ in MACHINES.values():
        for state, event, target in moves(machine):
            assert f"    {state} --> {target}: {event}\n" in page
    assert page.count("Rules:") == page.count("```mermaid") == 5
