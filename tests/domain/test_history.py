"""What the service shows, in whatever order and as late as it likes, and what is recognised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from mailbridge.domain.discussion import Author, AuthorKind, Message
from mailbridge.domain.history import Change, KnownMessage, Told, reconcile
from mailbridge.domain.wording import text_hash

NOON = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)


def said(text: str, *, by: str = "Jean", minute: int = 0, ident: str | None = None) -> Message:
    kind = AuthorKind.SELLER if by == "Boutique" else AuthorKind.CUSTOMER
    moment = NOON + timedelta(minutes=minute)
    return Message(f"2026-11-23T12:{minute:02}:00", moment, Author(kind, by), text, ident)


def taken_in(known: Sequence[KnownMessage], told: Sequence[Told]) -> list[KnownMessage]:
    """What the journal knows after it has written down what a listing told."""
    by_key = {old.key: old for old in known}
    for entry in told:
        message = entry.message
        match entry.change:
            case Change.NEW:
                assert entry.key not in by_key
                by_key[entry.key] = KnownMessage(
                    entry.key,
                    message.ident,
                    message.raw_time,
                    message.author.name,
                    entry.text_hash,
                )
            case Change.EDITED:
                by_key[entry.key] = replace(
                    by_key[entry.key], text_hash=entry.text_hash, has_text=True
                )
            case Change.SAME:
                assert by_key[entry.key].text_hash == entry.text_hash
    return list(by_key.values())


def changes(known: Sequence[KnownMessage], *listed: Message) -> list[Change]:
    return [entry.change for entry in reconcile(known, listed)]


def after(*listed: Message) -> list[KnownMessage]:
    return taken_in((), reconcile((), listed))


def test_a_name_too_long_to_be_kept_whole_is_known_again_when_the_text_is_edited() -> None:
    name = "Société " + "Très Longue " * 40
    (old,) = after(said("Un", by=name))
    for kept in (name[:200], name[:80].strip(), f"{name} "):
        assert changes([replace(old, author_name=kept)], said("Un !", by=name)) == [Change.EDITED]
    assert changes([replace(old, author_name="Société")], said("Un !", by=name)) == [Change.NEW]


def test_an_edit_of_forgotten_words_is_no_new_message() -> None:
    (old,) = after(said("Un"))
    forgotten = replace(old, author_name=None)
    assert changes([forgotten], said("Un !")) == [Change.EDITED]
    assert changes([forgotten], said("Un")) == [Change.SAME]
    assert changes([forgotten], said("Un !"), said("Un")) == [Change.NEW, Change.SAME]
    assert changes([replace(old, author_name="")], said("Un !")) == [Change.NEW]


messages = st.builds(
    said,
    st.sampled_from(["Merci", "merci !", "Bonjour", "Où est mon colis ?", ""]),
    by=st.sampled_from(["Jean", "Boutique", ""]),
    minute=st.integers(0, 2),
)
"""Few texts, authors and minutes, so that twins are the rule."""

with_ids = st.builds(
    said,
    st.sampled_from(["Merci", "Bonjour"]),
    by=st.sampled_from(["Jean", "Boutique"]),
    minute=st.integers(0, 1),
    ident=st.none() | st.sampled_from(["a", "b", "c", "d"]),
)
"""With and without ids of the service, some of them listed twice."""


@given(st.lists(st.lists(with_ids, max_size=6), max_size=4))
def test_what_was_just_taken_in_is_the_same_when_listed_again(
    listings: list[list[Message]],
) -> None:
    known: list[KnownMessage] = []
    for listed in listings:
        known = taken_in(known, reconcile(known, listed))
        assert set(changes(known, *listed)) <= {Change.SAME}


@given(st.lists(with_ids, max_size=6), st.lists(with_ids, max_size=8))
def test_no_two_listed_messages_get_one_key(before: list[Message], listed: list[Message]) -> None:
    known = after(*before)
    told = reconcile(known, listed)
    keys = [entry.key for entry in told]
    assert len(keys) == len(set(keys))
    new = {entry.key for entry in told if entry.change is Change.NEW}
    assert not new & {old.key for old in known}


@given(st.lists(messages, max_size=7), st.randoms(use_true_random=False))
def test_the_order_of_a_listing_says_nothing(listed: list[Message], random: Random) -> None:
    known = after(*listed)
    shuffled = list(listed)
    random.shuffle(shuffled)
    told = reconcile(known, shuffled)
    assert {entry.change for entry in told} <= {Change.SAME}
    assert {(e.key, e.text_hash) for e in told} == {(k.key, k.text_hash) for k in known}


@settings(max_examples=200)
@given(st.data())
def test_messages_shown_late_and_out_of_order_are_each_taken_in_once(data: st.DataObject) -> None:
    everything = data.draw(st.lists(messages, max_size=6))
    shown: list[Message] = []
    known: list[KnownMessage] = []
    for message in data.draw(st.permutations(everything)):
        shown.append(message)
        known = taken_in(known, reconcile(known, data.draw(st.permutations(shown))))
    assert Counter((k.raw_time, k.author_name, k.text_hash) for k in known) == Counter(
        (m.raw_time, m.author.name, text_hash(m.text)) for m in everything
    )


@settings(max_examples=200)
@given(st.data())
def test_an_edit_updates_and_never_makes_a_second_message(data: st.DataObject) -> None:
    listed = data.draw(st.lists(messages, min_size=1, max_size=6))
    known = after(*listed)
    index = data.draw(st.integers(0, len(listed) - 1))
    edited = list(listed)
    edited[index] = replace(listed[index], text="Tout autre chose")
    told = reconcile(known, data.draw(st.permutations(edited)))
    assert Counter(entry.change for entry in told) == Counter(
        {Change.EDITED: 1, Change.SAME: len(listed) - 1}
    )
    assert {entry.key for entry in told} == {old.key for old in known}


def test_twins_of_one_second_are_told_apart_by_who_wrote_what() -> None:
    ours, theirs = said("Merci", by="Boutique"), said("Merci", by="Jean")
    known = after(ours)
    first, second = reconcile(known, [theirs, ours])
    assert (first.change, second.change) == (Change.NEW, Change.SAME)
    assert (second.key, first.key) == ("at:2026-11-23T12:00:00#0", "at:2026-11-23T12:00:00#1")


def test_one_twin_edited_leaves_the_other_alone() -> None:
    known = after(said("Bonjour"), said("Mon colis ?"))
    told = reconcile(known, [said("Bonjour"), said("Mon colis s'il vous plaît ?")])
    assert [(t.key[-1], t.change) for t in told] == [("0", Change.SAME), ("1", Change.EDITED)]


def test_an_author_whose_name_the_service_changed_is_still_the_same_message() -> None:
    known = after(said("Bonjour", by="Jean"))
    assert changes(known, said("Bonjour", by="JEAN D.")) == [Change.SAME]


def test_words_of_a_relay_that_only_moved_blanks_and_tags_are_no_edit() -> None:
    known = after(said("Bonjour,\nmerci"))
    assert changes(known, said("<p>Bonjour,</p>\r\n<p>Merci</p>")) == [Change.SAME]


def test_a_message_that_is_no_longer_listed_is_left_alone() -> None:
    known = after(said("Bonjour"), said("Encore moi", minute=1))
    assert changes(known, said("Encore moi", minute=1)) == [Change.SAME]
    assert changes(known) == []


def test_the_services_own_id_is_the_identity_whatever_else_changes() -> None:
    known = after(said("Bonjour", ident="81"))
    (told,) = reconcile(known, [said("Bonsoir", by="Jeanne", minute=9, ident="81")])
    assert (told.key, told.change) == ("id:81", Change.EDITED)


def test_two_ids_are_two_messages_even_in_one_second_with_one_text() -> None:
    known = after(said("Merci", ident="81"))
    assert changes(known, said("Merci", ident="82"), said("Merci", ident="81")) == [
        Change.NEW,
        Change.SAME,
    ]
    assert changes(known, said("Merci", ident="82")) == [Change.NEW]


def test_an_id_listed_on_two_pages_is_one_message() -> None:
    twice = [said("Bonjour", ident="81"), said("Bonjour", ident="81"), said("Merci", ident="82")]
    assert [t.key for t in reconcile((), twice)] == ["id:81", "id:82"]
    assert changes(after(*twice), *twice) == [Change.SAME, Change.SAME]


def test_after_a_recovery_the_words_are_taken_in_again_under_the_same_key() -> None:
    recovered = [replace(old, has_text=False) for old in after(said("Bonjour"))]
    (told,) = reconcile(recovered, [said("Bonjour")])
    assert (told.key, told.change) == ("at:2026-11-23T12:00:00#0", Change.EDITED)
    assert changes(taken_in(recovered, [told]), said("Bonjour")) == [Change.SAME]
