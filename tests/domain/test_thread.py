"""What all mails of a thread share: its subject, its index and its dates."""

from __future__ import annotations

import string
import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.domain.discussion import Discussion, DiscussionKind, Status
from mailbridge.domain.thread import (
    SUBJECT_LIMIT,
    frozen_subject,
    internal_date,
    next_date,
    thread_index,
)

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def discussion(subject: str, order: str | None = None) -> Discussion:
    return Discussion(
        id="7731",
        reference="7731",
        kind=DiscussionKind.CLAIM,
        status=Status.OPEN,
        created_at=NOON,
        subject=subject,
        order_number=order,
    )


def subject(title: str, order: str | None = None, short: str = "cd-7f3k2") -> str:
    return frozen_subject(discussion(title, order), short)


def test_subject_ends_with_the_id_in_round_brackets() -> None:
    assert (
        subject("Colis non reçu", "2611201A8ZQ4")
        == "Colis non reçu – commande 2611201A8ZQ4 (CD-7F3K2)"
    )
    assert subject("Colis non reçu") == "Colis non reçu (CD-7F3K2)"


def test_subject_speaks_the_configured_language() -> None:
    empty = discussion("", "A1")
    assert frozen_subject(empty, "cd-1", language="en") == "Claim – order A1 (CD-1)"
    assert frozen_subject(empty, "cd-1", language="fr") == "Réclamation – commande A1 (CD-1)"
    assert frozen_subject(empty, "cd-1", language="xx") == "Réclamation – commande A1 (CD-1)"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("Re: Re : RE[2]: Colis", "Colis"),
        ("TR: Fwd: [urgent] [x] Colis", "Colis"),
        ("Rép : Colis", "Colis"),
        ("[SPAM] Re: ", "Réclamation"),
        ("Réf : 1234", "Réf : 1234"),
        ("Remboursement : quand ?", "Remboursement : quand ?"),
        ("Ca\r\nBcc: x@y.z", "Ca Bcc: x@y.z"),
        ("\u202egnp.exe\u200b\x00", "gnp.exe"),
        ("\u200d\ufe0f", "Réclamation"),
        ("Et (CD-9ZZZZ) ?", "Et CD-9ZZZZ ?"),
        ("😡😡", "😡😡"),
    ],
)
def test_subject_is_cleaned(written: str, kept: str) -> None:
    assert subject(written) == f"{kept} (CD-7F3K2)"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (
            "Je n'ai pas reçu ma commande - Copeaux de chêne 20g - Heavy Toasted | L'ajout de  - "
            "Occasion (AUC2009863600561)",
            "Je n'ai pas reçu ma commande - Copeaux de chêne 20g - Heavy Toasted | L'ajout de",
        ),
        (
            "Mon produit est abîmé - Vase en grès émaillé vert sauge - Neuf (AUC3760100000012)",
            "Mon produit est abîmé - Vase en grès émaillé vert sauge",
        ),
        ("Produit défectueux - Lampe - Occasion - Comme neuf (AUC3760100000012)",
         "Produit défectueux - Lampe"),
        ("Détail produit Copeaux de chêne 20g - Heavy Toasted | L'ajout de ",
         "Détail produit Copeaux de chêne 20g - Heavy Toasted | L'ajout de"),
        ("[CERTIFIEE] Demande de modification d'adresse de livraison 17/10/2023 15:58:01",
         "Demande de modification d'adresse de livraison"),
        ("Livraison prévue le 17/10/2023 ?", "Livraison prévue le 17/10/2023 ?"),
        # What a person may have written stays.
        ("Reçu le 17/10/2023", "Reçu le 17/10/2023"),
        ("Ma lampe est cassée - Neuf", "Ma lampe est cassée - Neuf"),
        ("Autre question - Vase (AUC3760100000012)", "Autre question - Vase"),
        ("Ma lampe (IKEA) - Neuf et déballé", "Ma lampe (IKEA) - Neuf et déballé"),
        ("Chargeur (USB-C)", "Chargeur (USB-C)"),
        ("Pneu (20555R16)", "Pneu (20555R16)"),
        ("(AUC3760100000012)", "(AUC3760100000012)"),
    ],
)  # fmt: skip
def test_what_tells_nothing_in_a_list_is_left_out(written: str, kept: str) -> None:
    assert subject(written) == f"{kept} (CD-7F3K2)"


def test_a_title_that_is_but_the_orders_number_gives_way_to_the_kind() -> None:
    assert (
        subject("2611201A8ZQ4", "2611201A8ZQ4") == "Réclamation – commande 2611201A8ZQ4 (CD-7F3K2)"
    )


def test_a_number_that_the_title_names_is_not_repeated() -> None:
    assert subject("Où est 2611201A8ZQ4 ?", "2611201A8ZQ4") == "Où est 2611201A8ZQ4 ? (CD-7F3K2)"


def test_a_long_title_is_cut_between_letters_not_inside_them() -> None:
    family = "👨\u200d👩\u200d👧"
    for length in range(60, 110):
        long = subject("x" * length + family * 20)
        title = long.removesuffix("… (CD-7F3K2)")
        assert len(long) <= SUBJECT_LIMIT
        assert title != long
        assert not title.endswith(("\u200d", "\ufe0f"))


@given(st.text(max_size=400), st.none() | st.text(max_size=60))
def test_any_subject_is_one_short_line_with_its_id_whole(title: str, order: str | None) -> None:
    made = subject(title, order, "cd-x" + "z" * 12)
    assert len("Re: " + made) < 120
    assert made.endswith("(CD-XZZZZZZZZZZZZ)")
    assert made == made.strip()
    unseen = {c for c in made if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert unseen <= {"\u200c", "\u200d"}
    assert len(made) > len(" (CD-XZZZZZZZZZZZZ)")


def test_the_index_starts_with_the_reserved_byte_and_the_first_mails_time() -> None:
    index = thread_index(NOON, "cd-7f3k2")
    filetime = (int(NOON.timestamp()) + 11_644_473_600) * 10_000_000
    assert len(index) == 22
    assert index[0] == 1
    assert int.from_bytes(index[:6], "big") == filetime >> 16
    assert index[6:] != thread_index(NOON, "cd-7f3k3")[6:]


def test_a_later_mail_adds_five_bytes_that_tell_how_much_later() -> None:
    first = thread_index(NOON, "cd-7f3k2")
    later = thread_index(NOON, "cd-7f3k2", NOON + timedelta(hours=3))
    assert later[:22] == first
    assert len(later) == 27
    delta = int.from_bytes(later[22:26], "big")
    assert delta >> 31 == 0
    assert abs((delta << 18) / 1e7 - 3 * 3600) < 0.05
    assert later[26] & 0x0F == 0


def test_after_years_the_child_block_counts_coarser_steps() -> None:
    later = thread_index(NOON, "cd-7f3k2", NOON + timedelta(days=900))
    delta = int.from_bytes(later[22:26], "big")
    assert delta >> 31 == 1
    assert abs(((delta & 0x7FFFFFFF) << 23) / 1e7 - 900 * 86400) < 1


def test_a_mail_before_the_first_one_counts_as_together_with_it() -> None:
    assert thread_index(NOON, "cd-1", NOON - timedelta(days=1))[22:26] == bytes(4)


def test_a_mail_is_dated_when_it_was_written() -> None:
    said = NOON - timedelta(minutes=7)
    assert next_date(said, NOON, None) == said


def test_a_mail_is_never_dated_in_the_future() -> None:
    assert next_date(NOON + timedelta(hours=1), NOON, None) == NOON


def test_siblings_are_a_second_apart_at_least() -> None:
    assert next_date(NOON, NOON, NOON) == NOON + timedelta(seconds=1)
    assert next_date(NOON - timedelta(hours=1), NOON, NOON) == NOON + timedelta(seconds=1)
    half = NOON.replace(microsecond=500_000)
    assert next_date(half, half, NOON) == NOON + timedelta(seconds=1)


def test_only_what_is_late_and_unread_is_filed_as_new() -> None:
    recent, late = NOON - timedelta(minutes=90), NOON - timedelta(hours=5)
    assert internal_date(recent, NOON, unread=True) == recent
    assert internal_date(late, NOON, unread=True) == NOON
    assert internal_date(late, NOON, unread=False) == late
    assert internal_date(late, NOON, unread=True, backfill=True) == late


def test_short_ids_are_shown_in_capitals() -> None:
    assert set(subject("x")[2:]) <= set(string.ascii_uppercase + string.digits + "-()")
