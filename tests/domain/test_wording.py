"""Words of others made safe to show, and copies of one text recognised as one."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailbridge.domain.attachment import AttachmentLimits, attachment_fault
from mailbridge.domain.wording import clean_line, clean_text, comparable, fold_line, text_hash

FAMILY = "👨\u200d👩\u200d👧"
BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"


def hidden(text: str) -> set[str]:
    """Controls, format characters and lone halves that a reader would not see."""
    joiners = "\u200c\u200d"
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in joiners}


# --- one line ---------------------------------------------------------------------------------


@given(st.text(st.characters(), max_size=300), st.integers(2, 120))
def test_a_line_is_one_line_without_anything_hidden(text: str, limit: int) -> None:
    line = clean_line(text, limit)
    assert len(line) <= limit
    assert not hidden(line)
    assert line == line.strip()
    assert "  " not in line
    assert len(line.splitlines()) <= 1


@given(st.text(st.characters(), max_size=80))
def test_a_clean_line_stays_as_it_is(text: str) -> None:
    assert clean_line(clean_line(text)) == clean_line(text)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("Jean\r\nBcc: x@y.example", "Jean Bcc: x@y.example"),
        ("Jean\x00\x1b[31m D.", "Jean[31m D."),
        (f"{BIDI}moc.elpmaxe{BIDI}", "moc.elpmaxe"),
        ("a \u200b b \x00 c", "a b c"),
        ("Élise\u00a0\u202fN.", "Élise N."),
        ("un\u2028deux\u2029trois\x85quatre\x0bcinq", "un deux trois quatre cinq"),
        (f"Famille {FAMILY} !", f"Famille {FAMILY} !"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\ud83d seul", "seul"),
        ("\t \r\n", ""),
    ],
)
def test_names_and_subjects(sent: str, shown: str) -> None:
    assert clean_line(sent) == shown


def test_ten_thousand_characters_are_cut_with_a_mark() -> None:
    line = clean_line("e\u0301" * 5_000)
    assert len(line) == 100
    assert line.endswith("…")
    assert clean_line("x" * 100) == "x" * 100


# --- running text -----------------------------------------------------------------------------


@given(st.text(st.characters(), max_size=300), st.integers(10, 320))
def test_a_text_keeps_its_lines_and_nothing_hidden(text: str, limit: int) -> None:
    clean = clean_text(text, limit)
    assert hidden(clean) <= {"\n", "\t"}
    assert len(clean) <= limit
    if len(text) <= limit:
        assert clean == clean_text(clean, limit)
        assert clean.count("\n") == len(re.findall("\r\n|[\r\n\x85\u2028\u2029]", text))


def test_a_long_text_is_cut_and_says_so() -> None:
    assert clean_text("mot " * 10_000, 100).endswith("mot\n[…]")
    assert clean_text("x" * 100, 100) == "x" * 100


@pytest.mark.parametrize("text", [f"Merci {FAMILY}", "Prix : 12,50 €\tTTC", "می\u200cخواهم"])
def test_what_people_write_stays(text: str) -> None:
    assert clean_text(text) == text


# --- equal texts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copy",
    [
        "Bonjour,\r\nvotre colis  part demain.",
        "bonjour, VOTRE colis part demain.",
        "<p>Bonjour,</p>\n<p>votre colis part&#32;demain.</p>".replace("&#32;", " "),
        "Bonjour,\u00a0votre\u202fcolis\tpart\u200b demain.",
        "  Bonjour, votre colis part de\u00admain.\n\n",
        "Bonjour, votre ｃｏｌｉｓ part demain.",
        "Bonjour,<br/>votre colis part demain.\x00",
    ],
)
def test_a_copy_is_the_same_whatever_the_relay_did(copy: str) -> None:
    assert text_hash(copy) == text_hash("Bonjour,\nvotre colis part demain.")


@pytest.mark.parametrize(
    "other",
    [
        "Bonjour, votre colis part demain",
        "Bonjour, votre colis partira demain.",
        "Bonjour, votre colis part demain. 👍",
        "",
    ],
)
def test_other_words_are_another_text(other: str) -> None:
    assert text_hash(other) != text_hash("Bonjour, votre colis part demain.")


def test_accents_tell_texts_apart_and_their_form_does_not() -> None:
    assert comparable("é") == comparable("e\u0301") != comparable("e")
    assert comparable("STRASSE") == comparable("straße")


def test_a_lone_less_than_is_no_tag() -> None:
    assert comparable("3 < 5, 7 de moins") == "3<5,7demoins"
    assert comparable("<> ou ->") == "<>ou->"


@given(st.text(st.characters(), max_size=80), st.text(st.characters(), max_size=80))
def test_equal_hashes_mean_equal_texts(one: str, two: str) -> None:
    assert (text_hash(one) == text_hash(two)) == (comparable(one) == comparable(two))
    assert re.fullmatch(r"[0-9a-f]{32}", text_hash(one))


@given(st.text(st.characters(exclude_characters="<>"), max_size=200))
@example("\ud800")
@example("\u200b\x00")
def test_storing_a_text_cleaned_does_not_change_its_hash(text: str) -> None:
    assert text_hash(clean_text(text)) == text_hash(text)


@given(st.text(st.characters(), max_size=100))
@example("\ud800")
@example("<br>")
def test_a_text_that_shows_nothing_has_the_hash_of_the_empty_one(text: str) -> None:
    if not clean_text(text).strip():
        assert text_hash(text) == text_hash("")


@given(st.text(st.characters(), max_size=100))
def test_a_folded_line_has_single_blanks_and_no_format_characters(text: str) -> None:
    line = fold_line(text)
    assert "  " not in line
    assert line == line.strip()
    assert not any(unicodedata.category(c) == "Cf" for c in line)


# --- attachments ------------------------------------------------------------------------------

LIMITS = AttachmentLimits(
    max_files=3, max_total_bytes=4_000_000, extensions=frozenset({"pdf", "jpg"})
)


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ([], None),
        ([("Facture.PDF", 4_000_000)], None),
        ([("a.pdf", 1), ("b.jpg", 1), ("c.tar.pdf", 1)], None),
        ([("a.pdf", 1), ("virus.exe", 1)], ("virus.exe", "jpg, pdf")),
        ([("pdf", 1), ("a.pdf.", 1)], ("pdf, a.pdf.", "jpg, pdf")),
        ([(f"{n}.pdf", 1) for n in range(4)], ("0.pdf, 1.pdf, 2.pdf, 3.pdf", "max. 3")),
        ([("a.pdf", 2_500_000), ("b.pdf", 2_000_000)], ("a.pdf, b.pdf", "4.5 > 4.0 Mo")),
    ],
)
def test_what_the_channel_would_not_take_is_named_with_its_limit(
    files: list[tuple[str, int]], fault: tuple[str, str] | None
) -> None:
    assert attachment_fault(files, LIMITS) == fault


def test_a_channel_without_limits_takes_anything() -> None:
    assert attachment_fault([("x", 10**9)] * 50, AttachmentLimits()) is None


def test_a_channel_that_takes_no_files_says_so() -> None:
    assert attachment_fault([("a.pdf", 1)], AttachmentLimits(max_files=0)) == ("a.pdf", "max. 0")
