"""To whom a mail speaks: to a discussion, to somebody else, or to nobody of ours."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.domain.identity import Identity, NameKind
from mailbridge.domain.notice import HoldReason
from mailbridge.domain.routing import (
    Elsewhere,
    Envelope,
    Faulty,
    First,
    NotOurs,
    ReplyAddresses,
    ReplyTo,
    Route,
    route,
)

KEY, OLD = b"k" * 32, b"o" * 32
IDENTITY = Identity([KEY, OLD], account="brindille", domain="mb.shop.example")
BEFORE = Identity([OLD], account="brindille", domain="mb.shop.example")
FORGER = Identity([b"f" * 32], account="brindille", domain="mb.shop.example")

MAILBOX = "support@shop.example"
PAUL = "paul@shop.example"
SHORT, OTHER = "cd-7hk", "cd-9zz"

PLUS = ReplyAddresses(IDENTITY, mode="plus", mailbox=MAILBOX, reply_address=None)
CATCHALL = ReplyAddresses(
    IDENTITY, mode="catchall", mailbox=MAILBOX, reply_address="any@answers.shop.example"
)
ALIAS = ReplyAddresses(
    IDENTITY, mode="alias", mailbox=MAILBOX, reply_address="Clients@shop.example"
)
MODES = pytest.mark.parametrize("addresses", [PLUS, CATCHALL, ALIAS], ids=lambda a: a.of("cd-1"))


def mail_of(short: str, key: str = "0a", *, identity: Identity = IDENTITY) -> str:
    return identity.message_id(NameKind.MESSAGE, short, key)


def written(
    *recipients: str,
    answering: tuple[str, ...] = (),
    references: tuple[str, ...] = (),
    sender: str = PAUL,
) -> Envelope:
    return Envelope(sender, recipients, answering, references)


def routed(
    mail: Envelope, addresses: ReplyAddresses = PLUS, known: Mapping[str, str] | None = None
) -> Route:
    return route(mail, addresses, IDENTITY, known)


def test_each_mode_has_its_form_of_address() -> None:
    assert PLUS.of(SHORT) == f"support+{IDENTITY.route(SHORT)}@shop.example"
    assert CATCHALL.of(SHORT) == f"{IDENTITY.route(SHORT)}@answers.shop.example"
    assert ALIAS.of(SHORT) == ALIAS.of(OTHER) == "clients@shop.example"


@MODES
def test_an_answer_to_a_mail_of_the_thread_is_a_reply(addresses: ReplyAddresses) -> None:
    shown = mail_of(SHORT)
    reply = written(addresses.of(SHORT), answering=(shown,))
    assert routed(reply, addresses) == ReplyTo(SHORT, shown)


@MODES
def test_references_alone_will_do_and_the_last_one_is_answered(addresses: ReplyAddresses) -> None:
    root, shown = mail_of(SHORT, "01"), mail_of(SHORT, "02")
    reply = written(addresses.of(SHORT), references=(root, shown))
    assert routed(reply, addresses) == ReplyTo(SHORT, shown)


@MODES
def test_letter_case_means_nothing(addresses: ReplyAddresses) -> None:
    shown = mail_of(SHORT).upper()
    reply = written(addresses.of(SHORT).upper(), answering=(shown,))
    assert routed(reply, addresses) == ReplyTo(SHORT, shown)


@MODES
def test_a_forward_is_left_alone(addresses: ReplyAddresses) -> None:
    shown = mail_of(SHORT)
    forward = written("transporteur@express.example", answering=(shown,), references=(shown,))
    assert routed(forward, addresses) == Elsewhere(SHORT)


@MODES
def test_an_answer_to_the_bare_mailbox_only_is_left_alone(addresses: ReplyAddresses) -> None:
    assert routed(written(MAILBOX, answering=(mail_of(SHORT),)), addresses) == Elsewhere(SHORT)


@MODES
def test_mail_that_names_no_thread_is_no_business_of_ours(addresses: ReplyAddresses) -> None:
    assert routed(written(MAILBOX, answering=("<x@y.example>",)), addresses) == NotOurs()
    assert routed(written(), addresses) == NotOurs()


@MODES
def test_an_orders_address_is_to_write_first(addresses: ReplyAddresses) -> None:
    number = "2611201A8ZQ4"
    for to in (f"support+mb-order-{number}@shop.example", f"MB-ORDER-{number}@shop.example"):
        assert routed(written(to), addresses) == First(number.lower())
        # A copy to oneself or to the mailbox is a habit of clients.
        assert routed(written(to, PAUL, MAILBOX), addresses) == First(number.lower())


def test_the_modes_that_have_addresses_for_orders() -> None:
    assert PLUS.of_order("2611A") == "support+mb-order-2611a@shop.example"
    assert CATCHALL.of_order("2611A") == "mb-order-2611a@answers.shop.example"
    assert ALIAS.of_order("2611A") == "clients@shop.example"
    for addresses in (PLUS, CATCHALL):
        assert addresses.names_order(addresses.of_order("2611A")) == "2611a"
    assert PLUS.names_order("support+mb-order-2611a@elsewhere.example") is None
    assert PLUS.names_order("support+mb-order-@shop.example") is None


@MODES
def test_a_new_mail_by_any_door_may_name_an_order_on_its_first_line(
    addresses: ReplyAddresses,
) -> None:
    assert routed(written(MAILBOX), addresses) == First(None)
    assert routed(written("clients@shop.example"), ALIAS) == First(None)


def test_writing_first_to_several_is_told() -> None:
    order = PLUS.of_order("2611A")
    copied = routed(written(order, "compta@shop.example"))
    assert isinstance(copied, First)
    assert copied.fault == (HoldReason.OTHER_RECIPIENTS, {"addresses": "compta@shop.example"})
    two = routed(written(order, PLUS.of_order("2611B")))
    assert isinstance(two, First)
    assert two.fault == (HoldReason.TWO_DISCUSSIONS, {"ids": "2611A, 2611B"})


@MODES
def test_a_thread_and_an_order_together_are_held_in_the_thread(addresses: ReplyAddresses) -> None:
    both = written("mb-order-2611a@shop.example", answering=(mail_of(SHORT),))
    found = routed(both, addresses)
    assert isinstance(found, Faulty)
    assert (found.short, found.reason) == (SHORT, HoldReason.TWO_DISCUSSIONS)
    assert found.facts == {"ids": "CD-7HK, 2611A"}


@MODES
def test_further_recipients_hold_the_reply_and_are_named(addresses: ReplyAddresses) -> None:
    reply = written(
        addresses.of(SHORT),
        "Chef@shop.example",
        "avocat@cabinet.example",
        answering=(mail_of(SHORT),),
    )
    assert routed(reply, addresses) == Faulty(
        SHORT,
        HoldReason.OTHER_RECIPIENTS,
        {"addresses": "avocat@cabinet.example, chef@shop.example"},
    )


@MODES
def test_a_copy_to_oneself_or_to_the_shared_mailbox_is_a_habit(addresses: ReplyAddresses) -> None:
    shown = mail_of(SHORT)
    reply = written(
        addresses.of(SHORT), MAILBOX.upper(), PAUL, answering=(shown,), sender="Paul@Shop.example"
    )
    assert routed(reply, addresses) == ReplyTo(SHORT, shown)


@pytest.mark.parametrize("addresses", [PLUS, CATCHALL])
def test_the_right_address_without_the_thread_holds(addresses: ReplyAddresses) -> None:
    assert routed(written(addresses.of(SHORT)), addresses) == Faulty(SHORT, HoldReason.NO_THREAD)
    unknown = written(addresses.of(SHORT), answering=("<CAF@mail.example>",))
    assert routed(unknown, addresses) == Faulty(SHORT, HoldReason.NO_THREAD)


def test_an_address_and_an_answer_that_disagree_hold() -> None:
    reply = written(PLUS.of(SHORT), answering=(mail_of(OTHER),))
    assert routed(reply) == Faulty(SHORT, HoldReason.TWO_DISCUSSIONS, {"ids": "CD-7HK, CD-9ZZ"})


def test_two_reply_addresses_hold_even_where_one_is_answered() -> None:
    reply = written(PLUS.of(OTHER), PLUS.of(SHORT), answering=(mail_of(OTHER),))
    held = routed(reply)
    assert isinstance(held, Faulty)
    assert held.reason is HoldReason.TWO_DISCUSSIONS


def test_two_threads_answered_by_alias_hold() -> None:
    reply = written(ALIAS.of(SHORT), answering=(mail_of(SHORT), mail_of(OTHER)))
    held = routed(reply, ALIAS)
    assert isinstance(held, Faulty)
    assert held.reason is HoldReason.TWO_DISCUSSIONS


def test_what_is_answered_outweighs_what_is_only_mentioned() -> None:
    shown = mail_of(SHORT)
    reply = written(PLUS.of(SHORT), answering=(shown,), references=(mail_of(OTHER), shown))
    assert routed(reply) == ReplyTo(SHORT, shown)


def test_a_colleagues_mail_known_to_the_thread_may_be_answered() -> None:
    colleague = "<paul-1@shop.example>"
    reply = written(ALIAS.of(SHORT), answering=(colleague,))
    assert routed(reply, ALIAS) == NotOurs()
    assert routed(reply, ALIAS, {colleague: SHORT}) == ReplyTo(SHORT, colleague)


def test_old_keys_still_prove() -> None:
    shown = mail_of(SHORT, identity=BEFORE)
    old = ReplyAddresses(BEFORE, mode="plus", mailbox=MAILBOX, reply_address=None)
    assert old.of(SHORT) != PLUS.of(SHORT)
    assert routed(written(old.of(SHORT), answering=(shown,))) == ReplyTo(SHORT, shown)


def test_a_forged_address_proves_nothing() -> None:
    forged = ReplyAddresses(FORGER, mode="plus", mailbox=MAILBOX, reply_address=None).of(SHORT)
    assert PLUS.proves(forged) is None
    assert routed(written(forged)) == NotOurs()
    assert routed(written(forged, answering=(mail_of(SHORT),))) == Elsewhere(SHORT)


def test_a_forged_message_id_proves_nothing() -> None:
    shown = mail_of(SHORT, identity=FORGER)
    assert routed(written(PLUS.of(SHORT), answering=(shown,))) == Faulty(
        SHORT, HoldReason.NO_THREAD
    )
    assert routed(written(ALIAS.of(SHORT), answering=(shown,)), ALIAS) == NotOurs()


def test_the_right_tag_on_a_foreign_domain_proves_nothing() -> None:
    assert PLUS.proves(f"support+{IDENTITY.route(SHORT)}@evil.example") is None


def test_a_tag_of_another_discussion_proves_only_that_one() -> None:
    tag = IDENTITY.route(OTHER).rpartition("-")[2]
    assert PLUS.proves(f"support+mb-{SHORT}-{tag}@shop.example") is None


def test_old_threads_go_on_after_the_mode_was_changed() -> None:
    shown = mail_of(SHORT)
    from_plus = written(PLUS.of(SHORT), answering=(shown,))
    assert routed(from_plus, CATCHALL) == ReplyTo(SHORT, shown)
    assert routed(from_plus, ALIAS) == ReplyTo(SHORT, shown)


MOVED = ReplyAddresses(
    IDENTITY,
    mode="plus",
    mailbox="contact@newshop.example",
    reply_address=None,
    former_aliases=["Clients@shop.example"],
    former_domains=["shop.example", "Answers.shop.example"],
)


@MODES
def test_old_threads_go_on_at_former_addresses(addresses: ReplyAddresses) -> None:
    shown = mail_of(SHORT)
    reply = written(addresses.of(SHORT), answering=(shown,))
    elsewhere = ReplyAddresses(
        IDENTITY, mode="plus", mailbox="contact@newshop.example", reply_address=None
    )
    assert routed(reply, elsewhere) == Elsewhere(SHORT)
    assert routed(reply, MOVED) == ReplyTo(SHORT, shown)


def test_a_former_address_is_never_given_out() -> None:
    assert MOVED.of(SHORT) == f"contact+{IDENTITY.route(SHORT)}@newshop.example"


def test_a_former_domain_proves_no_more_than_its_tags() -> None:
    assert routed(written("paul@shop.example", answering=(mail_of(SHORT),)), MOVED) == (
        Elsewhere(SHORT)
    )
    forged = ReplyAddresses(FORGER, mode="plus", mailbox=MAILBOX, reply_address=None).of(SHORT)
    assert MOVED.proves(forged) is None


others = st.lists(st.sampled_from([MAILBOX, PAUL, "x@y.example", PLUS.of(OTHER)]), max_size=3)
ids = st.lists(
    st.sampled_from(["<a@b.example>", mail_of(SHORT), mail_of(OTHER), "", "<>"]), max_size=3
)


@given(others, st.booleans(), ids, ids, st.sampled_from([PLUS, CATCHALL, ALIAS, MOVED]))
def test_only_what_names_one_thread_and_nobody_else_is_a_reply(
    further: list[str],
    addressed: bool,
    answering: list[str],
    references: list[str],
    addresses: ReplyAddresses,
) -> None:
    recipients = (*further, *([addresses.of(SHORT)] if addressed else []))
    where = routed(
        written(*recipients, answering=tuple(answering), references=tuple(references)), addresses
    )
    if isinstance(where, ReplyTo):
        assert "x@y.example" not in recipients
        proven = {s for r in recipients if (s := addresses.proves(r))}
        assert proven <= {where.short}
        assert proven or any(addresses.is_alias(r) for r in recipients)
        assert mail_of(where.short) in (*answering, *references)
    if isinstance(where, NotOurs):
        assert not any(addresses.proves(r) for r in recipients)
