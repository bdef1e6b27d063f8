"""Rules by which a reply is obeyed, waited for, held or ignored, and their order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailbridge.domain.notice import HoldReason
from mailbridge.domain.verdict import (
    Accept,
    Case,
    Colleague,
    Hold,
    Ignore,
    Verdict,
    Wait,
    judge,
    nearly_equal,
)

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
ANSWER = "Bonjour, votre colis est parti ce matin. Cordialement"
FAULT = (HoldReason.OTHER_RECIPIENTS, {"addresses": "chef@shop.example"})

GOOD = Case(
    now=NOON,
    sender="anne@shop.example",
    written_at=NOON - 5 * MINUTE,
    answers="<m1@mb.shop.example>",
    references=frozenset({"<root@mb.shop.example>", "<m1@mb.shop.example>"}),
    text=ANSWER,
    has_commands=False,
    sends=True,
    is_staff=True,
    proven=True,
)

PAUL = Colleague(
    sender="paul@shop.example",
    name="Paul",
    written_at=NOON - 58 * MINUTE,
    answers="<m1@mb.shop.example>",
    message_ids=frozenset({"<paul-1@shop.example>", "<n1@mb.shop.example>"}),
    text="Bonjour, je regarde cela tout de suite.",
)


def verdict(**changes: Any) -> Verdict:
    return judge(replace(GOOD, **changes))


def reason(**changes: Any) -> HoldReason | None:
    given_verdict = verdict(**changes)
    return given_verdict.reason if isinstance(given_verdict, Hold) else None


def test_a_proven_staff_reply_with_nothing_wrong_is_obeyed() -> None:
    assert verdict() == Accept()


# Every rule, in its order: each line is found wrong although all lines below it are wrong too.
WRONG: list[tuple[dict[str, Any], Verdict]] = [
    ({"automatic": "Auto-Submitted"}, Ignore("Auto-Submitted")),
    ({"proven": False, "wait_until": NOON + MINUTE}, Wait(NOON + MINUTE)),
    ({"fault": FAULT}, Hold(*FAULT)),
    (
        {"was_lying_in_sent": True, "written_at": NOON - 9 * DAY},
        Hold(HoldReason.FOUND_IN_SENT, {"date": "2026-11-14T12:00:00+00:00"}, code=True),
    ),
    (
        {"written_at": NOON - 9 * DAY},
        Hold(HoldReason.TOO_OLD, {"date": "2026-11-14T12:00:00+00:00", "days": "7"}, code=True),
    ),
    ({"text": " \n "}, Hold(HoldReason.NO_TEXT)),
    (
        {"maybe_automatic": "subject"},
        Hold(HoldReason.MAYBE_AUTOMATIC, {"sign": "subject"}, code=True),
    ),
    ({"paused": True}, Hold(HoldReason.PAUSED)),
    ({"replies_on": False}, Hold(HoldReason.REPLIES_OFF)),
    (
        {"text_max": 10},
        Hold(HoldReason.TEXT_LENGTH, {"length": str(len(ANSWER)), "min": "0", "max": "10"}),
    ),
    (
        {"attachments": "virus.exe", "attachment_limit": "jpg, pdf"},
        Hold(HoldReason.ATTACHMENTS, {"names": "virus.exe", "limit": "jpg, pdf"}),
    ),
    ({"leak": "a code"}, Hold(HoldReason.LEAK, {"what": "a code"})),
    (
        {"others": (PAUL,)},
        Hold(
            HoldReason.COLLEAGUE_ANSWERED,
            {"who": "Paul", "at": "2026-11-23T11:02:00+00:00"},
            code=True,
        ),
    ),
    (
        {"is_staff": False, "proven": False},
        Hold(HoldReason.NOT_STAFF, {"sender": "anne@shop.example"}, code=True),
    ),
    (
        {"proven": False, "why_not_proven": "no dmarc"},
        Hold(HoldReason.NOT_PROVEN, {"sender": "anne@shop.example", "why": "no dmarc"}, code=True),
    ),
]


@pytest.mark.parametrize("rank", range(len(WRONG)))
def test_the_first_rule_that_matches_decides(rank: int) -> None:
    changes: dict[str, Any] = {}
    for wrong, _ in reversed(WRONG[rank:]):
        changes |= wrong
    assert verdict(**changes) == WRONG[rank][1]


@pytest.mark.parametrize(("wrong", "expected"), WRONG[2:])
def test_each_rule_alone_keeps_a_reply_from_being_obeyed(
    wrong: dict[str, Any], expected: Verdict
) -> None:
    assert verdict(**wrong) == expected


times = st.integers(-30, 3).map(lambda days: NOON + days * DAY)
texts = st.sampled_from([ANSWER, ANSWER + "!", "Autre réponse, tout à fait différente.", "", " "])
colleagues = st.builds(
    Colleague,
    sender=st.sampled_from(["anne@shop.example", "paul@shop.example"]),
    name=st.sampled_from(["", "Paul"]),
    written_at=times,
    answers=st.sampled_from(["", "<m1@mb.shop.example>"]),
    message_ids=st.sampled_from([frozenset[str](), frozenset({"<m1@mb.shop.example>"})]),
    text=texts,
)
cases = st.builds(
    Case,
    now=st.just(NOON),
    sender=st.sampled_from(["anne@shop.example", "inconnu@evil.example"]),
    written_at=times,
    answers=st.sampled_from(["", "<m1@mb.shop.example>"]),
    references=st.just(frozenset[str]()),
    text=texts,
    has_commands=st.booleans(),
    sends=st.booleans(),
    fault=st.none() | st.just(FAULT),
    automatic=st.sampled_from(["", "Auto-Submitted"]),
    maybe_automatic=st.sampled_from(["", "subject"]),
    is_staff=st.booleans(),
    proven=st.booleans(),
    wait_until=st.none() | times,
    was_lying_in_sent=st.booleans(),
    replies_on=st.booleans(),
    paused=st.booleans(),
    others=st.lists(colleagues, max_size=2),
    text_min=st.sampled_from([0, 20]),
    text_max=st.sampled_from([None, 10, 4000]),
    attachments=st.sampled_from(["", "virus.exe"]),
    leak=st.sampled_from(["", "a code"]),
)


@settings(max_examples=500)
@given(cases)
def test_nothing_is_obeyed_but_proven_staff_without_a_fault(case: Case) -> None:
    if judge(case) == Accept():
        assert case.is_staff
        assert case.proven
        assert case.fault is None
        assert not case.automatic
        assert not case.maybe_automatic
        assert not case.was_lying_in_sent
        assert case.now - case.written_at <= case.max_age
        assert case.text.strip() or case.has_commands
        assert case.replies_on
        assert not case.paused
        if case.sends:
            assert not case.leak
            assert not case.attachments
            length = len(case.text.strip())
            assert case.text_min <= length <= (case.text_max or length)


@settings(max_examples=300)
@given(cases)
def test_waiting_ends_and_automatic_mail_gets_no_answer(case: Case) -> None:
    match judge(case):
        case Wait(until):
            assert until > case.now
            assert not isinstance(judge(replace(case, now=until)), Wait)
        case Ignore():
            assert case.automatic
        case Hold() | Accept():
            assert not case.automatic


@settings(max_examples=300)
@given(cases)
def test_taking_proof_away_never_helps(case: Case) -> None:
    for worse in (replace(case, proven=False), replace(case, is_staff=False)):
        assert judge(worse) != Accept()


# --- waiting ----------------------------------------------------------------------------------


def test_nothing_is_waited_for_once_staff_is_proven() -> None:
    assert verdict(wait_until=NOON + MINUTE) == Accept()


def test_a_fault_is_told_only_when_no_better_copy_can_come() -> None:
    waiting = {"proven": False, "fault": FAULT, "wait_until": NOON + MINUTE}
    assert verdict(**waiting) == Wait(NOON + MINUTE)
    assert verdict(**{**waiting, "wait_until": NOON}) == Hold(*FAULT)


def test_a_stranger_is_waited_for_too_for_a_sent_copy_may_prove_him_staff() -> None:
    assert verdict(is_staff=False, wait_until=NOON + MINUTE) == Wait(NOON + MINUTE)


# --- text and age -----------------------------------------------------------------------------


def test_seven_days_to_the_second() -> None:
    assert verdict(written_at=NOON - 7 * DAY) == Accept()
    assert reason(written_at=NOON - 7 * DAY - timedelta(seconds=1)) is HoldReason.TOO_OLD


def test_commands_alone_are_enough_and_are_not_measured() -> None:
    changes = {"text": "", "has_commands": True, "sends": False, "text_min": 20}
    assert verdict(**changes) == Accept()
    assert verdict(**changes, leak="a code", attachments="virus.exe") == Accept()


def test_the_channels_bounds_belong_to_the_text() -> None:
    length = len(ANSWER)
    assert verdict(text_min=length, text_max=length) == Accept()
    assert reason(text_min=length + 1) is HoldReason.TEXT_LENGTH
    assert reason(text_max=length - 1) is HoldReason.TEXT_LENGTH


# --- colleagues -------------------------------------------------------------------------------


def test_an_answer_that_knew_the_colleagues_is_no_second_answer() -> None:
    knew = GOOD.references | {"<n1@mb.shop.example>"}
    assert verdict(others=(PAUL,), references=knew) == Accept()
    assert verdict(others=(PAUL,), answers="<paul-1@shop.example>") == Accept()


def test_ones_own_second_answer_is_ones_own_business() -> None:
    mine = replace(PAUL, sender="ANNE@shop.example")
    assert verdict(others=(mine,)) == Accept()


def test_a_note_or_a_command_is_no_second_answer() -> None:
    assert verdict(others=(PAUL,), sends=False, has_commands=True) == Accept()


def test_a_colleague_without_a_name_is_named_by_address() -> None:
    held = verdict(others=(replace(PAUL, name=""),))
    assert isinstance(held, Hold)
    assert held.facts["who"] == "paul@shop.example"


@pytest.mark.parametrize("sender", ["anne@shop.example", "paul@shop.example"])
@pytest.mark.parametrize("minutes", [-10, 0, 10])
def test_nearly_the_same_reply_within_ten_minutes_is_held(sender: str, minutes: int) -> None:
    twin = replace(
        PAUL,
        sender=sender,
        written_at=GOOD.written_at + minutes * MINUTE,
        text=ANSWER.replace("matin", "matin-là"),
    )
    assert reason(others=(twin,)) is HoldReason.NEAR_DUPLICATE


@pytest.mark.parametrize(
    "other",
    [
        {"written_at": GOOD.written_at - 11 * MINUTE},
        {"written_at": GOOD.written_at + 11 * MINUTE},
        {"answers": "<m0@mb.shop.example>"},
        {"text": "Bonjour, il manque votre adresse."},
    ],
)
def test_later_elsewhere_or_otherwise_it_is_no_duplicate(other: dict[str, Any]) -> None:
    twin = replace(PAUL, sender=GOOD.sender, written_at=GOOD.written_at, text=ANSWER)
    assert reason(others=(twin,)) is HoldReason.NEAR_DUPLICATE
    assert verdict(others=(replace(twin, **other),)) == Accept()


PLAIN = "la commande est au transporteur et le remboursement est en cours de traitement "


@pytest.mark.parametrize("times_over", [1, 5, 20, 100, 200])
def test_one_letter_makes_no_other_reply_however_long_it_is(times_over: int) -> None:
    text = PLAIN * times_over
    middle = len(text) // 3
    assert nearly_equal(text, text[:middle] + "x" + text[middle + 1 :])
    assert nearly_equal(text[:middle] + text[middle + 1 :], text)
    assert nearly_equal(text, f"  {text.upper()}\r\n")


def test_two_corrections_in_one_mail_make_no_other_reply() -> None:
    text = PLAIN * 20
    corrected = f"x{text[:200]}q{text[200:900]}ww{text[900:]}."
    assert nearly_equal(text, corrected)


def test_short_words_are_the_same_or_not() -> None:
    assert nearly_equal("Merci !", "merci!")
    assert not nearly_equal("Oui, demain.", "Non, demain.")


@pytest.mark.parametrize("times_over", [1, 5, 20, 100])
def test_other_words_of_the_same_letters_are_another_reply(times_over: int) -> None:
    text = PLAIN * times_over
    assert not nearly_equal(text, text[::-1])
    assert not nearly_equal(text, text + text)


def test_a_paragraph_more_makes_another_reply_of_a_long_one() -> None:
    text = PLAIN * 400
    assert nearly_equal(text, text[:5_000] + "x" * 99 + text[5_000:])
    assert not nearly_equal(text, text[:5_000] + "x" * 100 + text[5_000:])


@settings(max_examples=200)
@given(st.text("abc", min_size=20, max_size=60), st.data())
def test_fewer_than_one_letter_in_twenty_is_the_measure(text: str, data: st.DataObject) -> None:
    allowed = (len(text) - 1) // 20
    changed = text
    for _ in range(allowed):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed = changed[:at] + "x" + changed[at + 1 :]
    assert nearly_equal(text, changed)
    assert nearly_equal(changed, text)
    assert not nearly_equal(text, "x" * len(text))


@given(st.text("ab", max_size=40), st.text("ab", max_size=40))
def test_who_comes_first_says_nothing(one: str, two: str) -> None:
    assert nearly_equal(one, one)
    assert nearly_equal(one, two) == nearly_equal(two, one)
