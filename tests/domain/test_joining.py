"""Messages that show up again with ids: which of them are known, and on what ground."""

from __future__ import annotations

import html
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mailbridge.domain.discussion import Author, AuthorKind, Message
from mailbridge.domain.history import Change, KnownMessage, reconcile
from mailbridge.domain.joining import Ground, Side, join
from mailbridge.domain.wording import text_hash

NOON = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
C, S, O = AuthorKind.CUSTOMER, AuthorKind.SELLER, AuthorKind.OPERATOR  # noqa: E741

LONG = "Bonjour, mon colis n'est toujours pas arrivé alors que je l'attends depuis lundi."


def side(text: str, at: float = 0, kind: AuthorKind = C, *, words: bool = True) -> Side:
    """Something said `at` minutes after noon; without `words` only the hash is known."""
    return Side(kind, NOON + timedelta(minutes=at), text_hash(text), text if words else "")


def grounds(known: Sequence[Side], listed: Sequence[Side]) -> list[tuple[int, int, Ground]]:
    return [(pair.known, pair.listed, pair.ground) for pair in join(known, listed)]


def test_equal_words_at_one_moment_are_one_message() -> None:
    known = [side("Bonjour"), side("Merci", 1), side("Merci", 2)]
    listed = [side("Bonjour", 0.01), side("Merci", 1.005), side("Merci", 2), side("Merci", 9)]
    assert grounds(known, listed) == [(i, i, Ground.SAME) for i in range(3)]


def test_a_hash_is_enough_where_the_words_were_forgotten() -> None:
    assert grounds([side(LONG, words=False)], [side(LONG)]) == [(0, 0, Ground.SAME)]


def test_a_zone_misread_by_whole_hours_parts_nothing_and_swaps_nothing_for_good() -> None:
    known = [side("Bonjour", 0), side("Merci", 60), side("Et alors ?", 90)]
    listed = [side("Bonjour", -60), side("Merci", 0), side("Et alors ?", 30)]
    assert grounds(known, listed) == [(i, i, Ground.WORDS) for i in range(3)]


def test_the_same_thanks_half_an_hour_later_are_new() -> None:
    assert grounds([side("Merci")], [side("Merci"), side("Merci", 30)]) == [(0, 0, Ground.SAME)]
    assert grounds([side("Merci")], [side("Merci", 30)]) == []


def test_words_in_markup_cut_or_with_more_below_them_are_like() -> None:
    for shown, ground in (
        (f"<p>{html.escape(LONG)}</p>", Ground.WORDS),
        (html.escape(html.escape(LONG)), Ground.WORDS),
        (LONG[:60], Ground.LIKE),
        (f"{LONG}\n\nCe message a été transmis par Cdiscount.", Ground.LIKE),
    ):
        assert grounds([side(LONG)], [side(shown, 1)]) == [(0, 0, ground)], shown
    assert grounds([side("Non")], [side("Non merci", 1)]) == [], "too short to tell"


def test_other_words_at_the_very_moment_are_an_edit_if_nobody_else_spoke() -> None:
    assert grounds([side("Mon n° est 06…")], [side("Mon n° est ###")]) == [(0, 0, Ground.MOMENT)]
    assert grounds([side("A")], [side("B"), side("D")]) == [], "which of the two?"
    assert grounds([side("A", kind=S)], [side("B")]) == [], "another author"


def test_a_kind_that_was_guessed_from_a_name_does_not_part_equal_words() -> None:
    assert grounds([side(LONG, kind=C)], [side(LONG, kind=S)]) == [(0, 0, Ground.AUTHOR)]
    assert grounds([side(LONG, kind=C)], [side(LONG, 1, kind=S)]) == []


def test_the_sender_s_own_words_come_before_a_guess() -> None:
    # The customer says "Merci" in the second in which the shop does.
    known = [side("Merci", 0, S), side("Merci", 0, C)]
    assert grounds(known, [side("Merci", 0, C), side("Merci", 0, S)]) == [
        (1, 0, Ground.SAME),
        (0, 1, Ground.SAME),
    ]


def test_what_stands_between_joined_neighbours_has_its_place() -> None:
    known = [side("Bonjour"), side("AAA", 10, S), side("Merci", 20)]
    listed = [side("Bonjour"), side("ZZZ", 50, S), side("Merci", 20)]
    assert grounds(known, listed)[1] == (1, 1, Ground.PLACE)
    assert len(grounds(known, [*listed[:2], side("Q", 55, S), listed[2]])) == 2, "two for one"
    assert len(grounds(known[:2], listed[:2])) == 1, "at the end it may be a new one"
    assert len(grounds(known, [listed[0], side("ZZZ", 500, S), listed[2]])) == 2, "too far"


said = st.builds(
    side,
    st.sampled_from(["Merci", "merci !", LONG, f"<b>{LONG}</b>", ""]),
    st.sampled_from([0, 0.01, 1, 60, 61, 400]),
    st.sampled_from([C, S, O]),
)


@given(st.lists(said, max_size=8), st.lists(said, max_size=8))
def test_nobody_is_joined_twice(known: list[Side], listed: list[Side]) -> None:
    pairs = join(known, listed)
    assert len({pair.known for pair in pairs}) == len(pairs) == len({p.listed for p in pairs})


@given(st.lists(said, max_size=8))
def test_what_both_sides_tell_alike_is_joined_whole(told: list[Side]) -> None:
    pairs = join(told, told)
    assert len(pairs) == len(told)
    assert {pair.ground for pair in pairs} <= {Ground.SAME}
    assert all(told[p.known].text_hash == told[p.listed].text_hash for p in pairs)


@given(st.lists(said, max_size=8), said)
def test_something_new_at_the_end_stays_new(told: list[Side], news: Side) -> None:
    later = Side(news.kind, NOON + timedelta(days=1), news.text_hash, news.text)
    assert len(told) not in {pair.listed for pair in join(told, [*told, later])}


# --- in the history ---------------------------------------------------------------------------


def message(text: str, at: float, kind: AuthorKind, ident: str | None) -> Message:
    moment = NOON + timedelta(minutes=at)
    return Message(moment.isoformat(), moment, Author(kind), text, ident)


def remembered(text: str, at: float, kind: AuthorKind = C) -> KnownMessage:
    moment = NOON + timedelta(minutes=at)
    return KnownMessage(
        f"at:{at}", None, str(at), "Jean", text_hash(text), True, kind, moment, text
    )


def test_a_joined_message_keeps_its_key_and_is_nothing_new() -> None:
    known = [remembered("Bonjour", 0), remembered("Voici", 1, S)]
    listed = [message("Bonjour", 0, C, "a"), message("Voici", 1, S, "b"), message("Ok", 2, C, "c")]
    told = reconcile(known, listed)
    assert [(t.key, t.change, t.ground) for t in told] == [
        ("at:0", Change.SAME, Ground.SAME),
        ("at:1", Change.SAME, Ground.SAME),
        ("id:c", Change.NEW, None),
    ]


def test_a_message_without_a_time_to_go_by_is_never_joined() -> None:
    bare = KnownMessage("k", None, "raw", "Jean", text_hash("Bonjour"))
    assert reconcile([bare], [message("Bonjour", 0, C, "a")])[0].change is Change.NEW
