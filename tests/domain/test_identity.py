"""Names that prove where they come from: made, read back, forged, folded, and never let out."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mailbridge.domain.identity import Identity, MailName, NameKind, short_id

KEY, OLD = b"k" * 32, b"o" * 16
LONGEST_DOMAIN = "mb." + "s" * 22 + ".fr"  # the 28 octets the configuration lets through
CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"

OURS = Identity([KEY], account="brindille", domain="mb.brindille.example")

keys = st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=32)
numbers = st.integers(0, 10**18 - 1)
shorts = numbers.map(lambda n: short_id(str(n))) | st.text(max_size=30).map(short_id)


def forged(name: str, at: int) -> str:
    """The same with one character changed."""
    return name[:at] + ("b" if name[at] != "b" else "c") + name[at + 1 :]


# --- short ids --------------------------------------------------------------------------------


@given(numbers)
def test_a_number_can_be_read_back_from_its_short_id(number: int) -> None:
    digits = short_id(str(number)).removeprefix("cd-")
    value = 0
    for digit in digits:
        value = value * 32 + CROCKFORD.index(digit)
    assert value == number
    assert len(digits) <= 12


@given(st.text("0123456789aX", max_size=20), st.text("0123456789aX", max_size=20))
def test_no_two_references_share_a_short_id(one: str, two: str) -> None:
    assume(one != two)
    assert short_id(one) != short_id(two)


@pytest.mark.parametrize("number", ["7", "7731", "0"])
def test_a_leading_zero_is_another_reference(number: str) -> None:
    assert short_id(f"0{number}") != short_id(number)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_every_short_id_fits_the_grammar_that_reads_it(reference: str) -> None:
    short = short_id(reference, "oc")
    assert re.fullmatch(r"oc-[0-9a-z]{1,16}", short)
    assert OURS.read_route(OURS.route(short)) == short


def test_a_digit_of_another_script_is_no_number() -> None:
    assert short_id("٧٧") != short_id("77")
    assert short_id("77²").startswith("cd-x")


# --- Message-IDs ------------------------------------------------------------------------------


@given(st.sampled_from(NameKind), shorts, keys)
def test_a_message_id_says_what_it_was_made_from(kind: NameKind, short: str, key: str) -> None:
    assert OURS.read(OURS.message_id(kind, short, key)) == MailName(kind, short, key)


@given(shorts, st.text("0123456789abcdef", min_size=10, max_size=10))
def test_message_ids_stay_within_a_line_on_the_longest_domain(short: str, key: str) -> None:
    identity = Identity([KEY], account="brindille", domain=LONGEST_DOMAIN)
    for kind in NameKind:
        assert len(identity.message_id(kind, short, key)) <= 78
    assert len(identity.root_id(short)) <= 78
    assert len(identity.customer_id("a" * 24)) <= 78


@given(shorts, keys, st.data())
def test_a_message_id_with_one_character_changed_is_not_ours(
    short: str, key: str, data: st.DataObject
) -> None:
    name = OURS.message_id(NameKind.MESSAGE, short, key)
    at = data.draw(st.integers(1, len(name) - 2))
    assert OURS.read(forged(name, at)) is None


@given(st.text(max_size=120))
def test_reading_anything_else_is_no_error(text: str) -> None:
    assert OURS.read(text) is None
    assert OURS.read_route(text) is None
    assert not OURS.looks_ours(text)


def test_case_folding_on_the_way_does_no_harm() -> None:
    name = OURS.message_id(NameKind.NOTICE, "cd-7hk", "0a")
    assert OURS.read(f"  {name.upper()} ") == MailName(NameKind.NOTICE, "cd-7hk", "0a")
    assert OURS.read_route(OURS.route("cd-7hk").upper()) == "cd-7hk"


def test_the_name_of_one_thing_is_not_the_name_of_another() -> None:
    name = OURS.message_id(NameKind.MESSAGE, "cd-7hk", "0a")
    assert OURS.read(name.replace("<m.", "<n.")) is None
    assert OURS.read(name.replace("cd-7hk", "cd-7hj")) is None
    tag = OURS.route("cd-7hk").rpartition("-")[2]
    assert OURS.read(f"<m.cd-7hk.0a.{tag}@{OURS.domain}>") is None


def test_another_account_or_domain_proves_nothing_here() -> None:
    other = Identity([KEY], account="autre", domain=OURS.domain)
    assert OURS.read(other.message_id(NameKind.MESSAGE, "cd-7hk", "0a")) is None
    assert OURS.read_route(other.route("cd-7hk")) is None
    moved = Identity([KEY], account="brindille", domain="mb.autre.example")
    assert OURS.read(moved.message_id(NameKind.MESSAGE, "cd-7hk", "0a")) is None


def test_old_keys_still_verify_and_only_the_first_signs() -> None:
    before = Identity([OLD], account="brindille", domain=OURS.domain)
    after = Identity([KEY, OLD], account="brindille", domain=OURS.domain)
    for made in (before, after):
        assert after.read(made.message_id(NameKind.MESSAGE, "cd-7hk", "0a"))
        assert after.read_route(made.route("cd-7hk")) == "cd-7hk"
    assert after.route("cd-7hk") == OURS.route("cd-7hk") != before.route("cd-7hk")
    assert before.read(after.message_id(NameKind.MESSAGE, "cd-7hk", "0a")) is None


def test_an_id_whose_key_is_lost_still_looks_ours() -> None:
    lost = Identity([OLD], account="brindille", domain=OURS.domain)
    name = lost.message_id(NameKind.MESSAGE, "cd-7hk", "0a")
    assert OURS.read(name) is None
    assert OURS.looks_ours(name)
    assert not OURS.looks_ours(name.replace(OURS.domain, "ailleurs.example"))
    assert not OURS.looks_ours("<CAF+ab@mail.example>")


def test_a_key_too_short_to_prove_anything_is_refused() -> None:
    for keys_ in ([], [b"short"], [KEY, b"short"]):
        with pytest.raises(ValueError, match="16 octets"):
            Identity(keys_, account="brindille", domain="mb.brindille.example")


def test_the_keys_are_shown_to_nobody() -> None:
    assert "kkkk" not in repr(OURS)
    assert repr(OURS) == "Identity(account='brindille', domain='mb.brindille.example')"


def test_the_customers_mail_tells_nothing_of_the_thread() -> None:
    first, again = OURS.customer_id("f3a1" * 6), OURS.customer_id("f3a1" * 6 + ".1")
    assert first != again
    assert OURS.customer_id("f3a1" * 6) == first
    assert OURS.read(first) is None
    assert not OURS.looks_ours(first)


# --- codes ------------------------------------------------------------------------------------


@given(st.lists(st.text(max_size=20), max_size=4))
def test_a_code_has_six_digits_and_is_always_the_same(parts: list[str]) -> None:
    assert re.fullmatch(r"\d{6}", OURS.code(*parts))
    assert OURS.code(*parts) == OURS.code(*parts)


def test_a_code_is_bound_to_its_question_its_account_and_its_key() -> None:
    codes = {
        OURS.code("release", "r1", "not_proven"),
        OURS.code("release", "r2", "not_proven"),
        OURS.code("release", "r1", "too_old"),
        Identity([KEY], account="autre", domain=OURS.domain).code("release", "r1", "not_proven"),
        Identity([OLD], account="brindille", domain=OURS.domain).code(
            "release", "r1", "not_proven"
        ),
    }
    assert len(codes) == 5


# --- what must not leave ----------------------------------------------------------------------


@given(shorts, keys, st.text(max_size=40), st.text(max_size=40))
def test_no_name_of_ours_passes_the_last_check(
    short: str, key: str, before: str, after: str
) -> None:
    for name in (
        OURS.route(short),
        OURS.route(short).upper(),
        OURS.message_id(NameKind.MESSAGE, short, key),
        OURS.customer_id("0123456789ab"),
        OURS.root_id(short),
    ):
        assert OURS.leaks(f"{before} {name} {after}")


@pytest.mark.parametrize(
    "text",
    [
        "Écrivez à client-4711@brindille.invalid",
        "SUPPORT+MB-CD-7HK-ABCDEFGHIJKLMNOP@shop.example",
        "De : <n.cd-7hk.0a.abcdefghijklmnop@ailleurs.example>",
    ],
)
def test_what_only_looks_like_ours_does_not_leave_either(text: str) -> None:
    assert OURS.leaks(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Bonjour, votre colis mb-12 part demain. Écrivez à support@brindille.example.",
        "Ce bon n'est plus valide (invalid) : .invalid n'est pas une adresse",
        "Réf. CD-7HK",
    ],
)
def test_an_ordinary_answer_leaves(text: str) -> None:
    assert OURS.leaks(text) is None
