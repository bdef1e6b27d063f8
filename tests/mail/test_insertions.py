"""Answers typed into a quote that has no marks: found, and nothing else taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailbridge.mail.authored import authored_part, bodies
from mailbridge.mail.incoming import read_mail
from mailbridge.mail.insertions import insertions
from tests.mail.test_authored import CORPUS, SAMPLES, plain_mail

ANSWERED = """\
Bonjour,

Mon colis n'est toujours pas arrivé, pouvez-vous me dire où il se trouve ?

Merci d'avance,
Marie

Commande 2611201A8ZQ4 du 18/11/2026, expédiée le 19/11/2026
1 × Lampe de bureau LED, 34,90 €

Pour clore, répondez avec « !clos » seul sur une ligne."""


def reply(quote: str) -> str:
    return (
        "Voir ci-dessous.\n\nDe : Marie <cd-7f3k2@mb.invalid>\nEnvoyé : vendredi 20 novembre\n"
        f"À : Service\nObjet : Colis\n\n{quote}"
    )


def found(quote: str) -> tuple[str, ...]:
    return insertions(authored_part(plain_mail(reply(quote))).unmarked, [ANSWERED])


@pytest.mark.parametrize(
    ("above", "typed"),
    [
        ("Merci d'avance,", "Il est à Lyon."),
        ("Merci d'avance,", "Oui !"),
        ("Commande 2611201A8ZQ4", "[Paul] Livraison prévue demain."),
        ("Pour clore", "Elle sera remplacée."),
    ],
)
def test_words_between_two_lines_of_the_quoted_mail_are_found(above: str, typed: str) -> None:
    assert found(ANSWERED.replace(above, f"{typed}\n\n{above}")) == (typed,)


@pytest.mark.parametrize(
    "quote",
    [
        ANSWERED,
        ANSWERED.replace("pouvez-vous", "\npouvez-vous"),
        ANSWERED.replace("34,90 €", "34,90 EUR"),
        ANSWERED.replace("1 × ", "* 1 x\t"),
        ANSWERED.replace(
            "Merci", "[cid:image001.png@01D]\nhttps://eur03.safelinks.example/?x=1\nMerci"
        ),
        # A signature, a disclaimer, another card: below the quote, where clients put them.
        f"{ANSWERED}\n\nPaul Martin\nService client\nCordialement\nMerci d'avance,\nMarie",
        f"{ANSWERED}\n\nCe message est confidentiel.\nNe l'imprimez pas.",
        ANSWERED[: ANSWERED.index("Merci")],
        "Tout autre chose.\nQue voici.\nEt encore.",
    ],
)
def test_what_clients_do_to_a_quote_is_passed_over(quote: str) -> None:
    assert found(quote) == ()


def test_a_line_that_one_body_has_was_not_put_in() -> None:
    html = ANSWERED.replace("Commande", "Récapitulatif illustré\nCommande")
    quote = authored_part(plain_mail(reply(html))).unmarked
    assert insertions(quote, [ANSWERED]) == ("Récapitulatif illustré",)
    assert insertions(quote, [ANSWERED, html]) == ()
    assert insertions(quote, []) == ()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda p: str(p.relative_to(CORPUS))[:-4])
def test_no_real_clients_quote_looks_answered_in(sample: Path) -> None:
    mail = read_mail(sample.read_bytes())
    unmarked = authored_part(mail).unmarked
    # Some of these customers tried commands.
    asked = f"!rembourser total\n!rembourser 59,00\n{ANSWERED}"
    assert insertions(unmarked, [asked]) == ()
    assert insertions(unmarked, bodies(mail)) == ()


def test_real_quotes_without_marks_are_among_them() -> None:
    quotes = [authored_part(read_mail(s.read_bytes())).unmarked for s in SAMPLES]
    assert sum("Merci d'avance," in quote for quote in quotes) >= 8
