"""Who gets an acknowledgement: each rule alone turns a plain yes into its own no."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from mailbridge.domain.acknowledgement import (
    Case,
    Failure,
    Rules,
    Said,
    WhyNot,
    failure,
    looks_automatic,
    why_not,
)
from mailbridge.domain.delivery import DeliveryState
from mailbridge.domain.discussion import AuthorKind, DiscussionKind, Status
from mailbridge.domain.notice import HoldReason
from mailbridge.domain.workdays import WeekHours, WorkingCalendar

NOW = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)  # a Monday, noon in Paris
HOUR = timedelta(hours=1)
RULES = Rules(
    kinds=frozenset(DiscussionKind),
    max_age=4 * HOUR,
    calendar=WorkingCalendar(ZoneInfo("Europe/Paris"), WeekHours.parse("mon-fri 09:00-18:00")),
)


def said(author: AuthorKind = AuthorKind.CUSTOMER, ago: float = 0.1, **more: object) -> Said:
    return replace(Said(author, NOW - ago * HOUR, "Où est mon colis ?"), **more)  # type: ignore[arg-type]


def case(*words: Said, **more: object) -> Case:
    plain = Case(DiscussionKind.CLAIM, Status.OPEN, words or (said(),))
    return replace(plain, **more)  # type: ignore[arg-type]


def test_first_words_are_acknowledged() -> None:
    assert why_not(case(), RULES, NOW) is None


def test_so_are_several_of_them_and_words_of_robots_beside_them() -> None:
    robot = said(AuthorKind.AUTOMATIC, 30)
    assert why_not(case(robot, said(ago=1), said(ago=0.5)), RULES, NOW) is None
    assert why_not(case(said(), said(AuthorKind.AUTOMATIC, 0)), RULES, NOW) is None


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (case(status=Status.CLOSED), WhyNot.NOT_OPEN),
        (case(status=Status.UNKNOWN), WhyNot.NOT_OPEN),
        (case(we_began=True), WhyNot.WE_BEGAN),
        (case(said(AuthorKind.SELLER, 1), said()), WhyNot.ANSWERED),
        (case(said(ago=1), said(AuthorKind.SELLER, 0.5)), WhyNot.ANSWERED),
        (case(being_answered=True), WhyNot.ANSWERED),
        (case(said(AuthorKind.AUTOMATIC)), WhyNot.NOT_BY_CUSTOMER),
        (case(said(AuthorKind.OPERATOR)), WhyNot.NOT_BY_CUSTOMER),
        (case(said(ago=1), said(AuthorKind.OPERATOR, 0.5)), WhyNot.NOT_BY_CUSTOMER),
        (case(said(ago=4.1)), WhyNot.LATE),
        (case(said(ago=30), said()), WhyNot.LATE),
        (case(said(past=True)), WhyNot.LATE),
        (case(said(ago=1, past=True), said()), WhyNot.LATE),
        (case(said(AuthorKind.AUTOMATIC, 30, past=True), said()), WhyNot.LATE),
        (case(said(text="Réponse automatique : absent jusqu'au 3")), WhyNot.AUTOMATIC),
        (case(today=1), WhyNot.ENOUGH),
        (case(said(filed=False)), WhyNot.NOT_FILED),
    ],
)
def test_each_rule_alone_says_no(asked: Case, why: WhyNot) -> None:
    assert why_not(asked, RULES, NOW) is why


def test_up_to_the_limit_words_are_young_enough() -> None:
    assert why_not(case(said(ago=4)), RULES, NOW) is None
    assert why_not(case(said(ago=4)), RULES, NOW + timedelta(seconds=1)) is WhyNot.LATE


def test_words_from_a_clock_before_ours_are_young() -> None:
    assert why_not(case(said(ago=-0.2)), RULES, NOW) is None


def test_only_the_kinds_asked_for() -> None:
    claims = replace(RULES, kinds=frozenset({DiscussionKind.CLAIM}))
    assert why_not(case(), claims, NOW) is None
    assert why_not(case(kind=DiscussionKind.OFFER_QUESTION), claims, NOW) is WhyNot.KIND


@pytest.mark.parametrize(
    ("at", "why"),
    [
        (datetime(2026, 11, 23, 8, 0, tzinfo=UTC), WhyNot.AT_WORK),  # nine o'clock sharp
        (datetime(2026, 11, 23, 7, 59, tzinfo=UTC), None),
        (datetime(2026, 11, 23, 16, 59, tzinfo=UTC), WhyNot.AT_WORK),
        (datetime(2026, 11, 23, 17, 0, tzinfo=UTC), None),  # the day is over
        (datetime(2026, 11, 22, 11, 0, tzinfo=UTC), None),  # a Sunday
        (datetime(2026, 11, 11, 11, 0, tzinfo=UTC), None),  # Armistice, a Wednesday
    ],
)
def test_outside_of_working_hours_is_when_it_was_written(at: datetime, why: WhyNot | None) -> None:
    nights = replace(RULES, only_outside_hours=True)
    written = replace(said(), at=at)
    assert why_not(case(written), nights, at + HOUR) is why
    assert why_not(case(written), RULES, at + HOUR) is None


@pytest.mark.parametrize(
    "text",
    [
        "Réponse automatique : je suis absente jusqu'au 30 novembre.",
        "RE: Absence du bureau\nBonjour",
        "Automatic reply: Colis",
        "Out of the office until Monday",
        "Bonjour,\n\nceci est un message automatique, merci de ne pas y répondre.",
        "Ce message a été envoyé automatiquement.",
        "Merci de ne pas répondre à ce mail.",
        "   ----- The following addresses had permanent fatal errors -----\n<c@clemarche.com>",
        "Je suis actuellement en congés.",
        "This is an automated response.",
    ],
)
def test_words_of_machines_are_known(text: str) -> None:
    assert looks_automatic(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Bonjour, la boîte automatique ne se ferme plus.",
        "J'ai reçu une réponse automatique de votre part, mais pas mon colis.",
        "Merci de répondre à ce message.",
        "Le livreur est passé pendant mon absence.",
        "Vous n'accusez pas réception de mon message.",
    ],
)
def test_words_of_people_are_not_taken_for_theirs(text: str) -> None:
    assert not looks_automatic(text)


@pytest.mark.parametrize(
    ("reason", "state", "told"),
    [
        (HoldReason.SUBMISSION_DELAYED, DeliveryState.PLANNED, None),
        (HoldReason.SUBMISSION_UNCERTAIN, DeliveryState.UNCERTAIN, None),
        (HoldReason.SUBMISSION_REFUSED, DeliveryState.HELD, Failure.REFUSED),
        (HoldReason.NO_ADDRESS, DeliveryState.HELD, Failure.REFUSED),
        (HoldReason.SUBMISSION_GAVE_UP, DeliveryState.CANCELLED, Failure.UNREACHABLE),
        (HoldReason.UNRECORDED, DeliveryState.SUBMITTED, Failure.UNRECORDED),
        (HoldReason.UNRECORDED, DeliveryState.UNCERTAIN, Failure.UNSURE),
        (HoldReason.BOUNCED, DeliveryState.HELD, Failure.BOUNCED),
    ],
)
def test_what_may_still_go_well_is_not_told(
    reason: HoldReason, state: DeliveryState, told: Failure | None
) -> None:
    assert failure(reason, state) is told
