"""Notices as the journal keeps them: the same words again, whatever they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.domain.notice import Done, DoneKind, HoldReason, Notice, NoticeKind

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
facts = st.dictionaries(words, words, max_size=3)
notices = st.builds(
    Notice,
    kind=st.sampled_from(NoticeKind),
    reason=st.none() | st.sampled_from(HoldReason),
    facts=facts,
    done=st.lists(st.builds(Done, st.sampled_from(DoneKind), facts), max_size=3).map(tuple),
    text=words,
    code=st.from_regex(r"\A(\d{6})?\Z"),
)


@given(notices)
def test_what_the_journal_gives_back_is_what_it_was_given(notice: Notice) -> None:
    again = Notice.from_json(notice.to_json())
    assert again == notice
    assert again.to_json() == notice.to_json()


@pytest.mark.parametrize(
    "data",
    [
        "",
        "null",
        "[]",
        "7",
        "{}",
        '{"kind": "hold"}',
        '{"kind": "shout", "reason": null, "facts": {}, "done": [], "text": "", "code": ""}',
        '{"kind": "hold", "reason": "mood", "facts": {}, "done": [], "text": "", "code": ""}',
    ],
)
def test_what_it_was_never_given_is_an_error_that_can_be_caught(data: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        Notice.from_json(data)


def test_only_what_asks_for_a_person_arrives_unread() -> None:
    assert {kind for kind in NoticeKind if Notice(kind).unread} == {
        NoticeKind.HOLD,
        NoticeKind.TROUBLE,
        NoticeKind.CONFIRM,
        NoticeKind.PROBE,
    }
