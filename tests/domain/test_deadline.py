"""Who waits for the shop, since when and until when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.domain.deadline import (
    AnswerTimes,
    Urgency,
    Word,
    treated_until,
    waiting_since,
)
from mailbridge.domain.discussion import AuthorKind, DiscussionKind, Treatment
from mailbridge.domain.workdays import WeekHours, WorkingCalendar

MONDAY = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)  # 10:00 in Paris
C, S = AuthorKind.CUSTOMER, AuthorKind.SELLER
M, A = AuthorKind.OPERATOR, AuthorKind.AUTOMATIC

TIMES = AnswerTimes(
    WorkingCalendar(ZoneInfo("Europe/Paris"), WeekHours.parse("mon-fri 09:00-18:00")),
    answer_within=timedelta(hours=9),
    claims_within=timedelta(days=2),
    soon=timedelta(hours=3),
)


def at(hours: float) -> datetime:
    return MONDAY + timedelta(hours=hours)


@pytest.mark.parametrize(
    ("said", "since"),
    [
        ([], None),
        ([(C, 0)], 0),
        ([(C, 0), (S, 1)], None),
        ([(C, 0), (S, 1), (C, 2)], 2),
        # A customer who insists does not give the shop more time.
        ([(C, 0), (C, 5)], 0),
        ([(C, 0), (S, 1), (C, 2), (M, 3)], 2),
        ([(C, 0), (S, 1), (M, 2)], 2),
        # A robot asks for nothing, unless it alone has spoken.
        ([(C, 0), (S, 1), (A, 2)], None),
        ([(A, 0)], 0),
        ([(A, 0), (C, 1)], 1),
        ([(A, 0), (S, 1)], None),
        ([(S, 0)], None),
    ],
)
def test_who_waits(said: list[tuple[AuthorKind, float]], since: float | None) -> None:
    words = [Word(author, at(hours)) for author, hours in said]
    assert waiting_since(words) == (None if since is None else at(since))


def test_a_question_that_crosses_our_reply_stays_open() -> None:
    first = Word(C, at(0), seen_at=at(0.1))
    crossing = Word(C, at(1), seen_at=at(2))  # shown an hour late
    reply = Word(S, at(1.6), written_at=at(1.5))
    assert waiting_since([first, crossing, reply]) == at(1)
    # Whoever writes on the marketplace's own page has all of it before their eyes.
    assert waiting_since([first, crossing, Word(S, at(1.6))]) is None
    assert waiting_since([first, reply]) is None


def test_an_acknowledgement_answers_nothing() -> None:
    said, heard = Word(C, at(0), seen_at=at(0.1)), Word(S, at(0.2), automatic=True)
    assert waiting_since([said, heard]) == at(0)
    assert waiting_since([said, heard, Word(S, at(1))]) is None
    # Nor does the mark that the marketplace may set because of it.
    was, now = Treatment.TO_TREAT, at(48)
    assert treated_until(Treatment.TREATED, was, [said, heard], None, now) is None
    assert treated_until(Treatment.TREATED, was, [said], None, now) == at(0.1)
    again = Word(C, at(2), seen_at=at(2))
    assert treated_until(Treatment.TREATED, was, [said, heard, again], None, now) == at(2)


WORDS = st.lists(
    st.builds(Word, st.sampled_from(AuthorKind), st.integers(0, 50).map(at)), max_size=12
)


@given(WORDS)
def test_the_shops_last_word_ends_every_wait(words: list[Word]) -> None:
    assert waiting_since([*words, Word(S, at(51))]) is None


@given(WORDS)
def test_what_waits_was_said_by_somebody_else(words: list[Word]) -> None:
    since = waiting_since(words)
    assert since is None or any(w.at == since and w.author is not S for w in words)
    assert since == waiting_since(reversed(words))


def word(author: AuthorKind, said: float, seen: float | None = None) -> Word:
    return Word(author, at(said), seen_at=at(said if seen is None else seen))


TO_TREAT, TREATED = Treatment.TO_TREAT, Treatment.TREATED


@pytest.mark.parametrize(
    ("words", "was", "mark", "before", "now", "until"),
    [
        # The customer said thank you, and somebody has marked it.
        ([word(C, 0)], TO_TREAT, TREATED, None, 2, 0),
        ([word(C, 0), Word(S, at(1)), word(C, 2)], TO_TREAT, TREATED, None, 4, 2),
        ([word(C, 0), word(M, 1)], TO_TREAT, TREATED, None, 4, 1),
        ([word(A, 0)], TO_TREAT, TREATED, None, 4, 0),
        # Read together with the words it may be about older ones.
        ([word(C, 0, 1)], TO_TREAT, TREATED, None, 1, None),
        ([word(C, 0), word(C, 5)], TO_TREAT, TREATED, None, 5, 0),
        # It stood before they were said: nobody says that new words take it back.
        ([word(C, 0), Word(S, at(1)), word(C, 2)], TREATED, TREATED, None, 90, None),
        ([word(C, 0), word(C, 5)], TREATED, TREATED, 0, 90, 0),
        # Never read before: about what is old.
        ([word(C, 0, 30)], None, TREATED, None, 30, 30),
        ([word(C, 0, 1)], None, TREATED, None, 1, None),
        # After a word of the shop it says that the shop has spoken, and no more.
        ([word(C, 0), Word(S, at(1))], TO_TREAT, TREATED, None, 9, None),
        ([word(C, 0, 2), Word(S, at(1), written_at=at(1))], TO_TREAT, TREATED, None, 9, None),
        # The mark is taken back; or the customer writes, and only that is to be treated.
        ([word(C, 0)], TREATED, TO_TREAT, 0, 2, None),
        ([word(C, 0), word(C, 5)], TREATED, TO_TREAT, 0, 6, 0),
        ([word(C, 0)], None, TO_TREAT, None, 2, None),
        ([], None, TREATED, None, 2, None),
        # Not told any more.
        ([word(C, 0)], TREATED, None, 0, 2, 0),
    ],
)
def test_how_far_a_mark_goes(
    words: list[Word],
    was: Treatment | None,
    mark: Treatment | None,
    before: float | None,
    now: float,
    until: float | None,
) -> None:
    given = None if before is None else at(before)
    expected = None if until is None else at(until)
    assert treated_until(mark, was, words, given, at(now)) == expected


def test_what_is_marked_waits_for_nobody_and_what_follows_does() -> None:
    thanks = word(C, 2, 2.5)
    assert waiting_since([word(C, 0), Word(S, at(1)), thanks], at(2.5)) is None
    assert waiting_since([thanks, word(C, 8)], at(2.5)) == at(8)


@given(
    WORDS,
    st.sampled_from([None, *Treatment]),
    st.sampled_from([None, *Treatment]),
    st.none() | st.integers(0, 60).map(at),
)
def test_the_same_mark_read_again_says_the_same(
    words: list[Word], was: Treatment | None, mark: Treatment | None, before: datetime | None
) -> None:
    seen = [Word(w.author, w.at, seen_at=w.at) for w in words]
    once = treated_until(mark, was, seen, before, at(60))
    assert treated_until(mark, mark or was, seen, once, at(60)) == once


def test_claims_have_days_and_questions_working_hours() -> None:
    friday = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)  # 17:00 in Paris
    assert TIMES.due(DiscussionKind.CLAIM, friday) == friday + timedelta(days=2)
    for kind in (DiscussionKind.ORDER_QUESTION, DiscussionKind.OFFER_QUESTION):
        assert TIMES.due(kind, friday) == datetime(2026, 11, 23, 16, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "urgency"),
    [
        (0, Urgency.LATER),
        (4.9, Urgency.LATER),
        (5, Urgency.SOON),
        (7.9, Urgency.SOON),
        (8, Urgency.OVERDUE),
        (99, Urgency.OVERDUE),
    ],
)
def test_how_near_it_is(hours: float, urgency: Urgency) -> None:
    assert TIMES.urgency(at(8), at(hours)) is urgency
