"""What the marketplace keeps, and the rules it keeps it by."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

from mailbridge.domain.discussion import DiscussionKind
from mailbridge.sandbox.books import (
    Books,
    CloseRule,
    CloseStatus,
    ListFilter,
    MailStatus,
    TokenState,
)
from mailbridge.sandbox.clock import HandClock
from mailbridge.sandbox.people import Cast
from mailbridge.sandbox.wire import stamp

ALL = ListFilter(statuses=frozenset({"All"}))
CLAIMS = (DiscussionKind.CLAIM,)


class TestVisibility:
    def test_a_seller_message_shows_late_though_the_date_moved(
        self, books: Books, cast: Cast, clock: HandClock
    ) -> None:
        claim = cast.claim()
        clock.advance(timedelta(minutes=10))
        answered = books.seller_writes(claim, "Nous cherchons.")

        assert claim.updated_at == answered.at + timedelta(milliseconds=14)
        assert [message.text for message in books.visible(claim)] == [claim.messages[0].text]

        clock.advance(timedelta(minutes=57))
        assert books.visible(claim)[-1].text == "Nous cherchons."
        assert claim.messages == sorted(claim.messages, key=lambda message: message.at)
        assert claim.updated_at == answered.at + timedelta(milliseconds=14)

    def test_a_first_message_does_not_move_the_date(self, books: Books, cast: Cast) -> None:
        claim = cast.claim()
        assert claim.created_at == claim.updated_at == claim.messages[0].at

    def test_times_are_kept_to_the_millisecond_and_shown_in_paris(
        self, books: Books, cast: Cast, clock: HandClock
    ) -> None:
        clock.set(datetime(2019, 4, 23, 13, 43, 26, 410_999, tzinfo=UTC))
        assert stamp(cast.claim().created_at) == "2019-04-23T15:43:26.41"
        clock.set(datetime(2019, 1, 23, 13, 43, 26, 999, tzinfo=UTC))
        assert stamp(cast.claim().created_at) == "2019-01-23T14:43:26"

    def test_the_autumn_hour_happens_twice(self) -> None:
        first = datetime(2019, 10, 27, 0, 30, tzinfo=UTC)
        assert stamp(first) == stamp(first + timedelta(hours=1)) == "2019-10-27T02:30:00"

    def test_nothing_lies_in_the_future_under_a_clock_that_stands(
        self, books: Books, cast: Cast, clock: HandClock
    ) -> None:
        claim = cast.claim()
        books.customer_writes(claim, "Bonjour ?")
        assert claim.messages[0].at == claim.messages[1].at == claim.updated_at == clock()


class TestListing:
    def test_without_a_status_list_closed_ones_are_left_out(self, books: Books, cast: Cast) -> None:
        there, gone = cast.claim(), cast.claim()
        books.close_by_force(gone)
        assert books.listed(CLAIMS, ListFilter()) == [there]
        assert books.listed(CLAIMS, ALL) == sorted([there, gone], key=lambda each: each.id)
        closed = ListFilter(statuses=frozenset({"Closed"}))
        assert books.listed(CLAIMS, closed) == [gone]

    def test_a_claim_may_be_told_by_its_order_before_a_list_shows_it(
        self, books: Books, cast: Cast, clock: HandClock
    ) -> None:
        order = cast.order()
        clock.advance(timedelta(hours=1))
        claim = books.open_discussion(
            DiscussionKind.CLAIM, "?", order.customer, "?", order_number=order.number
        )
        claim.listed_at = clock() + timedelta(minutes=90)
        assert (order.has_claims, order.updated_at) == (True, clock())
        assert books.listed(CLAIMS, ALL) == []
        assert books.listed(CLAIMS, replace(ALL, order_numbers=frozenset({order.number}))) == [
            claim
        ]
        clock.advance(timedelta(minutes=90))
        assert books.listed(CLAIMS, ALL) == [claim]

    def test_without_dates_only_the_last_three_weeks_are_looked_at(
        self, books: Books, cast: Cast, clock: HandClock
    ) -> None:
        claim = cast.claim()
        begin = clock()
        clock.advance(timedelta(days=22))
        assert books.listed(CLAIMS, ALL) == []
        dated = ListFilter(begin_modification=begin, statuses=frozenset({"All"}))
        assert books.listed(CLAIMS, dated) == [claim]
        books.customer_writes(claim, "Toujours rien ?")
        assert books.listed(CLAIMS, ALL) == [claim]

    def test_a_window_keeps_what_changed_in_it(
        self, books: Books, cast: Cast, clock: HandClock
    ) -> None:
        early = cast.claim()
        clock.advance(timedelta(days=2))
        late = cast.claim()
        day = timedelta(days=1)
        window = ListFilter(
            begin_modification=clock() - day,
            end_modification=clock() + day,
            statuses=frozenset({"All"}),
        )
        assert books.listed(CLAIMS, window) == [late]
        books.seller_writes(early, "Bonjour")
        assert set(books_ids(books, window)) == {early.id, late.id}

    def test_filters_by_order_product_and_customer_care(self, books: Books, cast: Cast) -> None:
        one, two = cast.claim(), cast.claim()
        offer = cast.offer_question()
        books.operator_writes(two, "Merci de répondre au client.")
        number = frozenset({one.order_number or ""})
        assert books.listed(CLAIMS, ListFilter(order_numbers=number)) == [one]
        assert books.listed(CLAIMS, ListFilter(only_operator=True)) == [two]
        ean = frozenset({offer.product_ean or ""})
        kinds = (DiscussionKind.OFFER_QUESTION,)
        assert books.listed(kinds, ListFilter(eans=ean)) == [offer]
        assert books.listed(kinds, ListFilter(references=frozenset({"AUTRE"}))) == []


def books_ids(books: Books, query: ListFilter) -> list[int]:
    return [discussion.id for discussion in books.listed(CLAIMS, query)]


class TestClosing:
    def test_only_after_an_answer_that_is_recorded(
        self, books: Books, cast: Cast, clock: HandClock
    ) -> None:
        claim = cast.claim()
        assert books.close(claim.id) is CloseStatus.LAST_ANSWER
        books.seller_writes(claim, "Voici.")
        assert books.close(claim.id) is CloseStatus.LAST_ANSWER, "not visible, not recorded"
        clock.advance(timedelta(minutes=57))
        assert books.close(claim.id) is CloseStatus.CLOSED
        assert claim.closed_at == claim.updated_at == clock()
        assert books.close(claim.id) is CloseStatus.ALREADY_CLOSED

    def test_the_customer_had_the_last_word(
        self, books: Books, cast: Cast, clock: HandClock
    ) -> None:
        """Recorded: closed 15 seconds after the customer's message, with an answer before it."""
        books.seller_lag = timedelta(0)
        claim = cast.claim()
        books.seller_writes(claim, "Voici.")
        books.customer_writes(claim, "Et le reste ?")
        books.close_rule = CloseRule.LAST_WORD
        assert books.close(claim.id) is CloseStatus.LAST_ANSWER
        books.close_rule = CloseRule.NEVER_ANSWERED
        assert books.close(claim.id) is CloseStatus.CLOSED

    def test_not_while_a_cancellation_is_pending(self, books: Books, cast: Cast) -> None:
        books.seller_lag = timedelta(0)
        order = cast.order()
        question = cast.order_question(order)
        books.seller_writes(question, "Je regarde.")
        order.request_cancellation()
        assert books.close(question.id) is CloseStatus.CANCEL_PENDING
        order.settle_cancellation()
        assert books.close(question.id) is CloseStatus.CLOSED

    def test_what_is_not_there(self, books: Books) -> None:
        assert books.close(-1) is CloseStatus.NOT_FOUND

    def test_a_customer_who_writes_again_opens_it(self, books: Books, cast: Cast) -> None:
        claim = cast.claim()
        books.close_by_force(claim)
        books.customer_writes(claim, "Ce n'est pas réglé.")
        assert (claim.status, claim.closed_at) == ("Open", None)


class TestRelay:
    def test_two_discussions_of_one_order_share_one_address(self, books: Books, cast: Cast) -> None:
        order = cast.order(shipped_days_ago=3)
        question, claim = cast.order_question(order), cast.claim(order)
        status, address = books.relay_for_discussion(question.id)
        assert status is MailStatus.SUCCESS
        assert books.relay_for_discussion(claim.id) == (MailStatus.SUCCESS, address)
        assert books.relay_for_order(order) == address
        assert books.relay_for_discussion(cast.claim().id)[1] != address

    def test_mail_goes_to_the_one_most_recently_written_in(
        self, books: Books, cast: Cast, clock: HandClock
    ) -> None:
        order = cast.order(shipped_days_ago=3)
        question = cast.order_question(order)
        clock.advance(timedelta(minutes=1))
        claim = cast.claim(order)
        relay = books.relay(books.relay_for_order(order) or "")
        assert relay is not None
        assert books.mail_arrives(relay, "Bonjour") is claim
        clock.advance(timedelta(minutes=1))
        books.customer_writes(question, "Et ma question ?")
        assert books.mail_arrives(relay, "Bien sûr") is question
        assert claim.seller_texts == ["Bonjour"]
        assert question.seller_texts == ["Bien sûr"]

    def test_writing_first_opens_an_order_question(
        self, books: Books, cast: Cast, clock: HandClock
    ) -> None:
        order = cast.order()
        relay = books.relay(books.relay_for_order(order) or "")
        assert relay is not None
        opened = books.mail_arrives(relay, "Votre commande aura deux jours de retard.")
        assert (opened.kind, opened.subject) == (DiscussionKind.ORDER_QUESTION, order.number)
        assert opened.seller_texts == ["Votre commande aura deux jours de retard."]

    def test_the_lease(self, books: Books, cast: Cast, clock: HandClock) -> None:
        question = cast.order_question(cast.order())
        address = books.relay_for_discussion(question.id)[1] or ""
        clock.advance(timedelta(days=27))
        assert books.relay_for_discussion(question.id)[1] == address, "stable, and renewed"
        clock.advance(timedelta(days=27))
        relay = books.relay(address)
        assert relay is not None
        assert books.relay_works(relay)
        clock.advance(timedelta(days=2))
        assert not books.relay_works(relay)
        assert books.relay_for_discussion(question.id)[1] != address

    def test_an_address_that_stopped_working(self, books: Books, cast: Cast) -> None:
        claim = cast.claim()
        address = books.relay_for_discussion(claim.id)[1] or ""
        books.expire_relay(address)
        renewed = books.relay_for_discussion(claim.id)[1]
        assert renewed not in (None, address)

    def test_no_alias_four_weeks_after_shipping(
        self, books: Books, cast: Cast, clock: HandClock
    ) -> None:
        order = cast.order(shipped_days_ago=27)
        claim = cast.claim(order)
        assert books.relay_for_order(order) is not None
        clock.advance(timedelta(days=2))
        assert books.relay_for_order(order) is None
        assert books.relay_for_discussion(claim.id) == (MailStatus.UNKNOWN, None)


class TestTokens:
    def test_a_life_of_48_hours(self, books: Books, clock: HandClock) -> None:
        assert books.issue_token(books.login, "wrong") is None
        token = books.issue_token(books.login, books.password) or ""
        other = books.issue_token(books.login, books.password) or ""
        assert token != other, "several may live side by side"
        clock.advance(timedelta(hours=47, minutes=59))
        assert books.token_state(token) is TokenState.VALID
        clock.advance(timedelta(minutes=1))
        assert books.token_state(token) is TokenState.EXPIRED

    def test_on_demand(self, books: Books) -> None:
        token = books.issue_token(books.login, books.password) or ""
        books.expire_tokens()
        assert books.token_state(token) is TokenState.EXPIRED
        assert books.token_state("f" * 32) is TokenState.UNKNOWN
        assert books.token_state("not a token") is TokenState.MALFORMED


def test_a_question_turned_claim_is_one_exchange_under_two_ids(
    books: Books, cast: Cast, clock: HandClock
) -> None:
    question = cast.order_question(text="Où est mon colis ?")
    clock.advance(timedelta(days=1))
    claim = books.turn_into_claim(question)
    assert claim.id != question.id
    assert claim.order_number == question.order_number
    assert (claim.messages[0].text, claim.messages[0].at) == (
        "Où est mon colis ?",
        question.messages[0].at,
    )


def test_the_same_seed_tells_the_same_story(clock: HandClock) -> None:
    def told(seed: int) -> list[tuple[int, str, str]]:
        books = Books(clock, Random(seed))
        cast = Cast(books, Random(seed))
        return [(each.id, each.subject, each.messages[0].text) for each in cast.history(60)]

    assert told(3) == told(3)
    assert told(3) != told(4)
