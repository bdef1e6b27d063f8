"""A listing and what is known of it: what is filed, what counts as ours, what is unread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailbridge.domain.discussion import (
    Author,
    AuthorKind,
    Discussion,
    DiscussionKind,
    Message,
    Status,
)
from mailbridge.domain.history import KnownMessage
from mailbridge.domain.plan import Dispatched, Known, Plan, plan
from mailbridge.domain.wording import text_hash

NOON = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)


def said(
    text: str, *, by: AuthorKind = AuthorKind.CUSTOMER, minute: int = 0, ident: str | None = None
) -> Message:
    moment = NOON + timedelta(minutes=minute)
    return Message(moment.isoformat(), moment, Author(by, by.value), text, ident)


def shop(text: str, *, minute: int = 0) -> Message:
    return said(text, by=AuthorKind.SELLER, minute=minute)


def listing(*messages: Message, status: Status = Status.OPEN) -> Discussion:
    return Discussion(
        id="7731",
        reference="7731",
        kind=DiscussionKind.CLAIM,
        status=status,
        created_at=NOON,
        messages=messages,
    )


def sent(
    text: str, *, number: int = 1, minute: int = 0, address: str = "c.0a@clemarche.example"
) -> Dispatched:
    tried_at = NOON + timedelta(minutes=minute)
    return Dispatched(number, text_hash(text), tried_at, address=address)


def written_down(listed: Discussion, known: Known | None, todo: Plan) -> Known:
    """What the journal holds once a plan is carried out."""
    messages = {old.key: old for old in known.messages} if known else {}
    for new in todo.new:
        message = new.message
        messages[new.key] = KnownMessage(
            new.key, message.ident, message.raw_time, message.author.name, new.text_hash
        )
    for told in todo.edited:
        messages[told.key] = replace(messages[told.key], text_hash=told.text_hash, has_text=True)
    in_closed = known.in_closed_folder if known else False
    if todo.closed:
        in_closed = True
    if todo.bring_back or todo.waiting:
        in_closed = False
    return Known(listed.status, in_closed, tuple(messages.values()))


def known_from(listed: Discussion) -> Known:
    return written_down(listed, None, plan(listed, None))


words = st.sampled_from(["Merci", "Bonjour", "Votre colis part demain."])
entries = st.builds(
    said,
    words,
    by=st.sampled_from(AuthorKind),
    minute=st.integers(0, 2),
    ident=st.none() | st.sampled_from(["1", "2", "3"]),
)
listings = st.builds(
    lambda messages, status: listing(*messages, status=status),
    st.lists(entries, max_size=5),
    st.sampled_from(Status),
)
dispatches = st.lists(
    st.builds(sent, words, number=st.integers(1, 9), minute=st.integers(-60, 60)),
    max_size=3,
    unique_by=lambda d: d.id,
)


@settings(max_examples=200)
@given(st.lists(listings, min_size=1, max_size=3), dispatches, st.booleans())
def test_the_same_listing_again_asks_for_nothing(
    history: list[Discussion], out: list[Dispatched], backfill: bool
) -> None:
    known: Known | None = None
    unmatched: Sequence[Dispatched] = out
    for listed in history:
        todo = plan(listed, known, unmatched, backfill=backfill)
        recorded = {new.dispatch for new in todo.new}
        unmatched = [d for d in unmatched if d.id not in recorded]
        known = written_down(listed, known, todo)
        assert not plan(listed, known, unmatched, backfill=backfill)


@settings(max_examples=200)
@given(listings, dispatches)
def test_a_dispatch_is_one_message_and_a_message_one_dispatch(
    listed: Discussion, out: list[Dispatched]
) -> None:
    todo = plan(listed, None, out)
    ours = [new.dispatch for new in todo.new if new.dispatch is not None]
    assert len(ours) == len(set(ours))
    for new in todo.new:
        assert new.filed == (new.dispatch is None)
        assert not (new.unread and not new.filed)
        assert new.dispatch is None or new.message.author.kind is not AuthorKind.CUSTOMER


@settings(max_examples=200)
@given(listings, st.none() | st.booleans(), st.booleans())
def test_a_sellers_own_words_never_arrive_unread(
    listed: Discussion, in_closed: bool | None, backfill: bool
) -> None:
    known = None if in_closed is None else Known(Status.OPEN, in_closed, ())
    for new in plan(listed, known, backfill=backfill).new:
        assert not (new.unread and new.message.author.kind is AuthorKind.SELLER)


# --- our own words coming back ---------------------------------------------------------------


def test_our_reply_coming_back_is_recorded_and_not_filed_again() -> None:
    known = known_from(listing(said("Où est mon colis ?")))
    back = shop("<p>Il part  demain.</p>", minute=5)
    todo = plan(listing(said("Où est mon colis ?"), back), known, [sent("Il part\r\ndemain.")])
    (new,) = todo.new
    assert (new.dispatch, new.filed, new.unread) == (1, False, False)


@pytest.mark.parametrize("kind", [AuthorKind.SELLER, AuthorKind.OPERATOR, AuthorKind.AUTOMATIC])
def test_our_words_are_ours_under_any_name_but_the_customers(kind: AuthorKind) -> None:
    (new,) = plan(listing(said("Merci", by=kind)), None, [sent("Merci")]).new
    assert new.dispatch == 1


def test_a_customer_who_says_merci_after_our_merci_is_still_a_customer() -> None:
    known = known_from(listing(said("Colis reçu.")))
    todo = plan(
        listing(said("Colis reçu."), said("Merci", minute=3), shop("Merci", minute=2)),
        known,
        [sent("Merci", minute=1)],
    )
    customer, ours = todo.new
    assert (customer.dispatch, customer.filed, customer.unread) == (None, True, True)
    assert ours.dispatch == 1


def test_a_text_sent_twice_is_matched_twice_and_the_third_is_somebody_elses() -> None:
    out = [sent("Merci", number=1), sent("Merci", number=2)]
    todo = plan(listing(*(shop("Merci", minute=m) for m in (1, 2, 3))), None, out)
    assert [new.dispatch for new in todo.new] == [1, 2, None]
    assert [new.filed for new in todo.new] == [False, False, True]


def test_a_message_from_before_the_dispatch_is_not_it() -> None:
    early = shop("Merci", minute=0)
    assert plan(listing(early), None, [sent("Merci", minute=16)]).new[0].dispatch is None
    assert plan(listing(early), None, [sent("Merci", minute=15)]).new[0].dispatch == 1


def test_words_typed_on_the_marketplaces_own_page_are_filed_as_read() -> None:
    (new,) = plan(listing(shop("Tapé sur le site")), None, [sent("Autre chose")]).new
    assert (new.dispatch, new.filed, new.unread) == (None, True, False)


# --- bounces ---------------------------------------------------------------------------------


FATAL = "----- The following addresses had permanent fatal errors -----"


@pytest.mark.parametrize(
    ("words", "by"),
    [
        (f"{FATAL}\n<C.0a@clemarche.example>", AuthorKind.CUSTOMER),
        (
            f"The original message was received at 23 Nov 2026\n\n{FATAL}\n(reason: 550 5.1.1)",
            AuthorKind.CUSTOMER,
        ),
        ("Subject: Delivery Status Notification (Failure)\n5.2.1 disabled", AuthorKind.CUSTOMER),
        ("Subject: Delivery Status Notification (Failure)", AuthorKind.AUTOMATIC),
        ("undelivered mail returned to sender", AuthorKind.AUTOMATIC),
    ],
)
def test_a_bounce_in_the_discussion_is_tied_to_the_newest_reply_and_filed(
    words: str, by: AuthorKind
) -> None:
    out = [sent("Un", number=1, minute=0), sent("Deux", number=2, minute=5)]
    (new,) = plan(listing(said(words, by=by, minute=9)), None, out).new
    assert (new.bounced, new.filed, new.unread, new.dispatch) == (2, True, True, None)


def test_a_bounce_names_no_reply_that_was_tried_after_it() -> None:
    bounce = said(f"{FATAL}\n<c.0a@clemarche.example>", minute=0)
    out = [sent("Un", number=1, minute=-30), sent("Deux", number=2, minute=40)]
    assert plan(listing(bounce), None, out).new[0].bounced == 1
    assert plan(listing(bounce), None, out[1:]).new[0].bounced is None
    assert plan(listing(bounce), None).new[0].bounced is None


@pytest.mark.parametrize(
    "words",
    [
        "Bonjour, mon mail est revenu : « Undelivered Mail Returned to Sender ». Que faire ?",
        "J'ai eu ceci, avec 550 5.1.1 :\nUndelivered Mail Returned to Sender",
        f"{FATAL}\n<contact@boutique.example>\n(reason: 550 5.1.1 User unknown)",
        "Delivery Status Notification (Failure)",
    ],
)
def test_a_customer_who_quotes_a_bounce_of_their_own_gets_nothing_twice(words: str) -> None:
    (new,) = plan(listing(said(words, minute=9)), None, [sent("Un")]).new
    assert (new.bounced, new.filed, new.unread) == (None, True, True)


def test_a_bounce_that_names_an_address_is_about_what_went_there() -> None:
    out = [sent("Un", number=1), sent("Deux", number=2, minute=5, address="c.0b@clemarche.example")]
    words = f"{FATAL}\n<c.0a@clemarche.example>"
    bounce = listing(said(words, by=AuthorKind.AUTOMATIC, minute=9))
    assert plan(bounce, None, out).new[0].bounced == 1


def test_a_warning_of_delay_is_no_bounce_for_the_mail_may_still_arrive() -> None:
    words = "THIS IS A WARNING MESSAGE ONLY. YOU DO NOT NEED TO RESEND YOUR MESSAGE."
    (new,) = plan(listing(said(words, minute=9)), None, [sent("Un")]).new
    assert (new.bounced, new.filed, new.unread) == (None, True, True)


# --- read or unread --------------------------------------------------------------------------


def unread(listed: Discussion, known: Known | None = None, *, backfill: bool = False) -> list[bool]:
    return [new.unread for new in plan(listed, known, backfill=backfill).new]


def test_at_a_first_run_only_what_waits_for_the_shop_arrives_unread() -> None:
    history = listing(
        said("Bonjour ?"),
        shop("Bonjour", minute=1),
        said("Et mon colis ?", minute=2),
        said("Une réponse a été demandée", by=AuthorKind.AUTOMATIC, minute=3),
    )
    assert unread(history, backfill=True) == [False, False, True, True]
    assert unread(history) == [True, False, True, True]


def test_a_question_nobody_answered_waits_from_its_first_word() -> None:
    assert unread(listing(said("Un"), said("Deux", minute=1)), backfill=True) == [True, True]


def test_an_answered_question_waits_for_nobody() -> None:
    assert unread(listing(said("Un"), shop("Deux", minute=1)), backfill=True) == [False, False]


def test_closed_history_waits_for_nobody_and_goes_to_the_closed_folder() -> None:
    seen = listing(said("Un"), status=Status.CLOSED)
    todo = plan(seen, None, backfill=True)
    assert (todo.opened, todo.closed, todo.waiting, todo.bring_back) == (True, True, False, False)
    assert [new.unread for new in todo.new] == [False]


def test_opened_and_closed_between_two_sweeps_is_seen_unless_the_shop_answered() -> None:
    todo = plan(listing(said("Un"), said("Deux", minute=1), status=Status.CLOSED), None)
    assert (todo.closed, todo.waiting, [new.unread for new in todo.new]) == (True, True, [True] * 2)
    todo = plan(listing(said("Un"), shop("Deux", minute=1), status=Status.CLOSED), None)
    assert (todo.closed, todo.waiting, [new.unread for new in todo.new]) == (
        True,
        False,
        [False] * 2,
    )


def test_closed_together_with_words_nobody_has_read_waits_where_people_look() -> None:
    known = known_from(listing(said("Un"), shop("Deux", minute=1)))
    told = [said("Un"), shop("Deux", minute=1)]
    todo = plan(listing(*told, said("Non !", minute=2), status=Status.CLOSED), known)
    assert (todo.closed, todo.waiting, todo.new[0].unread) == (True, True, True)
    robot = said("Fermée", by=AuthorKind.AUTOMATIC, minute=2)
    assert not plan(listing(*told, robot, status=Status.CLOSED), known).waiting
    # Answered elsewhere, or read before.
    late = [*told, said("Non !", minute=2), shop("Si.", minute=3)]
    assert not plan(listing(*late, status=Status.CLOSED), known).waiting
    read = known_from(listing(said("Un")))
    assert not plan(listing(said("Un"), status=Status.CLOSED), read).waiting


def test_a_new_message_in_a_closed_discussion_is_unread_and_brings_the_thread_back() -> None:
    known = replace(known_from(listing(said("Un"), status=Status.CLOSED)), in_closed_folder=True)
    todo = plan(listing(said("Un"), said("Et encore", minute=9), status=Status.CLOSED), known)
    assert (todo.bring_back, todo.waiting) == (True, True)
    assert (todo.closed, todo.reopened) == (False, False)
    assert [new.unread for new in todo.new] == [True]


def test_words_of_the_shop_alone_leave_a_closed_thread_where_it_is() -> None:
    known = replace(known_from(listing(said("Un"), status=Status.CLOSED)), in_closed_folder=True)
    todo = plan(listing(said("Un"), shop("Deux", minute=1), status=Status.CLOSED), known)
    assert not (todo.bring_back or todo.waiting)


@pytest.mark.parametrize("status", [Status.OPEN, Status.UNKNOWN])
def test_reopened_by_whomever_comes_back(status: Status) -> None:
    known = replace(known_from(listing(said("Un"), status=Status.CLOSED)), in_closed_folder=True)
    todo = plan(listing(said("Un"), status=status), known)
    assert (todo.reopened, todo.bring_back, todo.closed) == (True, True, False)


def test_an_unknown_status_is_not_closed() -> None:
    known = known_from(listing(said("Un")))
    assert not plan(listing(said("Un"), status=Status.UNKNOWN), known)


def test_a_marketplace_that_suddenly_shows_no_messages_takes_nothing_away() -> None:
    known = known_from(listing(said("Un"), said("Deux", minute=1)))
    assert not plan(listing(), known)


def test_an_edit_is_told_once_and_makes_no_new_mail() -> None:
    known = known_from(listing(said("Un")))
    todo = plan(listing(said("Un, corrigé")), known)
    assert todo.new == ()
    assert [told.key for told in todo.edited] == [known.messages[0].key]


def test_an_id_listed_twice_shifts_nothing_of_what_waits() -> None:
    history = listing(
        said("Un", ident="1"), said("Un", ident="1"), shop("Deux", minute=1), said("?", minute=2)
    )
    assert unread(history, backfill=True) == [False, False, True]


LETTER = (
    "Bonjour Madame, votre colis est parti ce matin par Colissimo et devrait arriver chez vous "
    "jeudi. Vous pouvez le suivre au 06 12 34 56 78 ou sur notre page, et nous répondre ici si "
    "rien n'arrive d'ici là. Nous vous prions de nous excuser pour ce retard. La boutique"
)


@pytest.mark.parametrize(
    ("shown", "more"),
    [
        (LETTER.replace(" ", "\r\n"), False),
        (f"<p>{LETTER}</p>".replace("é", "&eacute;"), False),
        (LETTER.replace("'", "&amp;#39;"), False),
        (LETTER.replace("06 12 34 56 78", "** ** ** ** **"), True),
        (LETTER.replace("06 12 34 56 78", "[masqué]"), True),
        (LETTER + " Répondez sans modifier l'objet.", True),
    ],
)
def test_our_words_are_known_again_however_they_are_kept(shown: str, more: bool) -> None:
    """A reply held to be lost is sent a second time; what is shown is filed where it differs."""
    dispatch = replace(sent(LETTER), text=LETTER)
    [new] = plan(listing(shop(shown, minute=3)), None, [dispatch]).new
    assert (new.dispatch, new.filed) == (1, more)


def test_our_words_are_known_again_when_they_are_cut() -> None:
    whole = " ".join(f"{LETTER} ({part})" for part in range(20))
    dispatch = replace(sent(whole), text=whole)
    [new] = plan(listing(shop(f"{whole[:4000]}...", minute=3)), None, [dispatch]).new
    assert (new.dispatch, new.filed) == (1, True)


@pytest.mark.parametrize(
    "other",
    [
        "Bonjour Madame, votre colis est parti ce matin.",  # a part, and a short one
        LETTER.replace("parti", "perdu").replace("jeudi", "lundi")[::-1],
        "Bonjour Madame, nous n'avons plus cet article et vous remboursons la commande. " * 4,
    ],
)
def test_other_words_of_the_shops_are_not_ours(other: str) -> None:
    dispatch = replace(sent(LETTER), text=LETTER)
    [new] = plan(listing(shop(other, minute=3)), None, [dispatch]).new
    assert (new.dispatch, new.filed) == (None, True)


def test_by_its_id_it_is_ours_whatever_its_author_is_called() -> None:
    """A word for authors that nobody knows counts as the customer's; the id knows better."""
    ours = said("Bonjour !", minute=3, ident="m9")
    known = Known(Status.CLOSED, True, ())
    todo = plan(listing(ours, status=Status.CLOSED), known, [replace(sent("Salut"), ident="m9")])
    [new] = todo.new
    assert (new.dispatch, new.unread) == (1, False)
    assert new.message.author.kind is AuthorKind.SELLER
    assert not todo.bring_back


def test_an_acknowledgement_of_ours_answers_nothing() -> None:
    heard = sent("Bien reçu, merci.")
    waiting = (said("Où est-il ?"), shop("Bien reçu, merci.", minute=1))
    # Read back on the way in: what stands before it still waits.
    closed = listing(*waiting, status=Status.CLOSED)
    assert not plan(closed, None, [heard]).waiting
    assert plan(closed, None, [replace(heard, automatic=True)]).waiting
    # And so it is once the journal knows it: nobody has answered what is only shown now.
    before = known_from(listing(waiting[1]))
    (key,) = (message.key for message in before.messages)
    assert not plan(closed, before).waiting
    assert plan(closed, replace(before, acknowledged=frozenset({key}))).waiting
