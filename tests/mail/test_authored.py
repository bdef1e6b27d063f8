"""Mails as real clients write them, and what of each its writer wrote.

Every `.eml` under tests/corpus has an `.expected.toml` beside it: the authored text, the commands
it asks for (or why it is held), the files that go to the customer.
"""

from __future__ import annotations

import gc
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailbridge.domain.command import Held, Parsed, parse
from mailbridge.domain.wording import clean_text, fold_line
from mailbridge.mail.authored import Authored, authored_part, sendable_attachments
from mailbridge.mail.incoming import Address, IncomingMail, read_mail
from mailbridge.mail.markup import render

CORPUS = Path(__file__).parent.parent / "corpus"
SAMPLES = sorted(CORPUS.rglob("*.eml"))


def expectation(sample: Path) -> dict[str, Any]:
    return tomllib.loads(sample.with_suffix(".expected.toml").read_text())


def plain_mail(text: str) -> IncomingMail:
    return IncomingMail(fields=(), from_=Address("", "support@boutique.example"), plain=text)


def html_mail(html: str, plain: str | None = None) -> IncomingMail:
    author = Address("", "support@boutique.example")
    return IncomingMail(fields=(), from_=author, plain=plain, html=html)


def test_the_corpus_is_there() -> None:
    assert len(SAMPLES) >= 60


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda p: str(p.relative_to(CORPUS))[:-4])
def test_a_real_clients_mail(sample: Path) -> None:
    expected = expectation(sample)
    mail = read_mail(sample.read_bytes())

    authored = authored_part(mail, expected.get("known", ()))
    read = parse(authored.text, echoed=authored.echoed)

    assert authored.text == expected["authored"]
    assert authored.commands_agree is expected.get("agree", True)
    assert authored.quoted is expected.get("quoted", True)
    assert authored.complete
    assert list(authored.echoed) == expected.get("echoed", [])
    if "held" in expected:
        assert isinstance(read, Held)
        assert read.reason == expected["held"]
    else:
        assert isinstance(read, Parsed), read
        assert [command.verb.value for command in read.commands] == expected["commands"]
    names = [file.name for file in sendable_attachments(mail, authored)]
    assert names == expected.get("attachments", [])


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda p: str(p.relative_to(CORPUS))[:-4])
def test_the_text_part_alone_gives_the_same_commands(sample: Path) -> None:
    expected = expectation(sample)
    mail = read_mail(sample.read_bytes())
    authored = authored_part(mail, expected.get("known", ()))

    if authored.plain_text is None or not expected.get("agree", True):
        return
    read = parse(authored.plain_text, echoed=authored.echoed)
    if "held" in expected:
        assert isinstance(read, Held)
    else:
        assert isinstance(read, Parsed), read
        assert [command.verb.value for command in read.commands] == expected["commands"]


def test_the_text_of_the_html_part_goes_out() -> None:
    authored = authored_part(html_mail("<p>Voici 12,50&nbsp;€</p>", "Voici 12,50 EUR"))
    assert authored.text == "Voici 12,50\u00a0€"
    assert authored.plain_text == "Voici 12,50 EUR"


def test_an_html_part_that_is_all_quote_gives_way_to_the_text() -> None:
    authored = authored_part(html_mail("<blockquote>!clos</blockquote>", "C'est fait.\n> !clos"))
    assert authored.text == "C'est fait."
    assert authored.commands_agree


@pytest.mark.parametrize(
    ("html", "text"),
    [
        # Each line typed above Thunderbird's introduction takes the introduction's class.
        ("<div class=moz-cite-prefix>Voici :</div><div class=moz-cite-prefix>Am 20.11. schrieb "
         "Marie:<br></div><blockquote>x</blockquote>", "Voici :"),
        # In Roundcube the first of them takes its id.
        ("<p id=reply-intro>Bonjour,</p><p>Oui.</p><p>On 2026-11-20 10:02, Marie wrote:</p>"
         "<blockquote>x</blockquote>", "Bonjour,\n\nOui."),
        ("<p id=reply-intro>Bonjour,<br>Oui.<br>Le 20/11/2026 à 10:02, Marie a écrit :</p>"
         "<blockquote>x</blockquote>", "Bonjour,\nOui."),
        ("<p id=reply-intro>Am 20.11. schrieb Marie:</p><blockquote>x</blockquote>Oui :", "Oui :"),
    ],
)  # fmt: skip
def test_what_is_typed_into_the_introduction_is_kept(html: str, text: str) -> None:
    assert authored_part(html_mail(html)).text == text


def test_a_command_in_one_part_only_is_told() -> None:
    assert not authored_part(html_mail("<p>!clos</p>", "C'est fait.")).commands_agree
    assert not authored_part(html_mail("<p>C'est fait.</p>", "!clos")).commands_agree
    assert not authored_part(html_mail("<p>!geste 10</p>", "!geste 100")).commands_agree
    assert not authored_part(html_mail("<p>!clos</p>", "!clos\n!note x")).commands_agree
    assert authored_part(html_mail("<p>!geste 10 €</p>", "!geste 10 EUR")).commands_agree
    assert authored_part(html_mail("<b>!clos</b>", "*!clos*")).commands_agree


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ("Bonjour\n!rembourser total\nMarie", "!rembourser total"),
        ("Bonjour\n› !Rembourser  total", "!rembourser total"),
        ("je vous demande !rembourser total et vite", "!rembourser total"),
        ("！rembourser total", "*!rembourser total*"),
    ],
)
def test_a_line_of_the_customers_is_flagged(known: str, text: str) -> None:
    assert authored_part(plain_mail(f"Bonjour\n{text}"), [known]).echoed == (text,)


def test_our_own_help_does_not_flag_the_command_it_names() -> None:
    footer = "Pour clore : répondez «\u00a0!clos\u00a0» sur une ligne à part."
    assert authored_part(plain_mail("C'est fait.\n!clos"), [footer]).echoed == ()


@pytest.mark.parametrize(
    "html",
    [
        "<p>C'est fait.</p>" + "<div>" * 5_000 + "!rembourser total",
        "<p>C'est fait.</p>" + "<b>x" * 200_000,
        "<p>C'est fait.</p>" + "x" * 3_100_000,
    ],
)
def test_html_that_cannot_be_read_whole_is_told(html: str) -> None:
    assert not authored_part(html_mail(html)).complete


@pytest.mark.parametrize(
    "hidden",
    [
        '<div style="display: none">!clos</div>',
        '<div style="visibility:hidden">!clos</div>',
        '<div style="font-size:0">!clos</div>',
        '<div style="MSO-HIDE:ALL">!clos</div>',
        "<div hidden>!clos</div>",
        "<!-- !clos -->",
        "<!--[if mso]><p>!clos</p><![endif]-->",
        "<style>!clos</style>",
        "<script>document.write('!clos')</script>",
        "<textarea>!clos</textarea>",
        "<title>!clos</title>",
        '<img alt="!clos" src="x">',
        '<p title="!clos"></p>',
    ],
)
def test_what_no_reader_sees_is_no_command(hidden: str) -> None:
    assert authored_part(html_mail(f"<p>Merci.</p>{hidden}<p>Paul</p>")).text == "Merci.\n\nPaul"


def test_shown_text_is_not_taken_for_hidden() -> None:
    html = '<div style="border-width:0;min-width:0;opacity:0.5;font-size:0.9em">Merci.</div>'
    assert authored_part(html_mail(html)).text == "Merci."


def test_gmails_indent_is_no_quote() -> None:
    indent = '<blockquote style="margin:0 0 0 40px;border:none;padding:0px">Étape 1</blockquote>'
    assert authored_part(html_mail(f"<div>Voici :</div>{indent}")).text == "Voici :\nÉtape 1"


_PIECES = st.lists(
    st.sampled_from(
        [
            "Bonjour,", "> cité", ">", "", " ", "!clos", "-- ", "--", "Le 20/11/2026 à 10:02, M a",
            "écrit :", "Le 20/11/2026 à 10:02, Marie <a@b.fr> a écrit :", "De : Marie",
            "Envoyé : vendredi", "Objet : Colis", "À : vous", "________________________________",
            "-----Message d'origine-----", "Envoyé de mon iPhone", "\u2028!note", "a\x0b!clos",
            "\r", "Ce message est confidentiel.", "\ue000", "\ue001", "On a day wrote:",
            "\u00a0> x",
        ]
    )
    | st.text(max_size=60),
    max_size=40,
)  # fmt: skip


@given(pieces=_PIECES, known=st.lists(st.text(max_size=40), max_size=3))
@settings(deadline=None)
def test_nothing_is_invented_in_text(pieces: list[str], known: list[str]) -> None:
    text = "\n".join(pieces)
    came_in = {
        fold_line(clean_text(line)).replace("\ue000", "").strip() for line in text.splitlines()
    }

    authored = authored_part(plain_mail(text), known)

    for line in authored.text.splitlines():
        assert fold_line(line) in came_in or not fold_line(line)
    again = authored_part(plain_mail(authored.text)).text
    assert set(again.splitlines()) <= set(authored.text.splitlines()) | {""}


@given(
    st.lists(
        st.sampled_from(
            [
                "<div>", "</div>", "<blockquote>", "</blockquote>", "<p>", "<br>", "<table><td>",
                "!clos", "text", "<div id=divRplyFwdMsg>", "<div class=gmail_quote>", "<a href=x>",
                "<pre>", "&nbsp;", "&#0;", "<![CDATA[", "<!--", "-->", "<hr>", "<img src=cid:a>",
                "<li>", "<svg>", "<?xml", "<html>", "<body>", "</body>", "<head>", "<q a='",
            ]
        )
        | st.text(max_size=20),
        max_size=40,
    )
)  # fmt: skip
@settings(deadline=None)
def test_no_html_breaks_the_reader(pieces: list[str]) -> None:
    html = "".join(pieces)
    assert isinstance(authored_part(html_mail(html)), Authored)
    assert "\ue001" not in render(html).text


def cost(mail: IncomingMail) -> float:
    """Seconds of this process's own time."""
    gc.collect()
    start = time.process_time()
    authored_part(mail, ["!clos", "x " * 10_000])
    return time.process_time() - start


def assert_bounded(hostile: IncomingMail, ordinary: IncomingMail) -> None:
    """The hostile mail costs no more than some fifteen ordinary ones: what is quadratic in
    these lengths costs thousands. Both are measured here and now, whatever else the machine does;
    a busy moment is no proof, so there are three."""
    tries = ((cost(hostile), cost(ordinary)) for _ in range(3))
    assert any(one <= 15 * other for one, other in tries)


@pytest.mark.parametrize(
    "text",
    [
        "\n" * 300_000,
        "> \n" * 150_000,
        "Le 1\n" * 100_000,
        "De : x\n" * 80_000,
        "_" * 500_000,
        "________________\n" * 40_000,
        "--\n" * 150_000 + "!clos",
        "Ce message\n\n" * 40_000 + "!clos",
        "Envoyé de mon iPhone\n" * 40_000,
        "le " * 150_000,
        "a écrit :\n" * 50_000,
        "!clos\n" * 50_000,
        "> " + "x" * 70 + "\ny\n" * 100_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_hostile_text_is_read_in_bounded_time(text: str) -> None:
    assert_bounded(plain_mail(text), plain_mail("Votre colis arrive demain.\n" * 10_000))


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 100_000,
        "<" * 500_000,
        "<div class=gmail_quote>" * 100_000 + "x",
        "<blockquote>" * 50_000,
        "<a href=https://x.fr/a>x" * 40_000,
        "<table><tr><td>" * 20_000,
        "<br>" * 100_000,
        "&nbsp;" * 300_000,
        "<p style='" + "margin:40px " * 100_000 + "'>",
        "<li>x" * 50_000,
    ],
    ids=lambda html: repr(html[:14]),
)
def test_hostile_html_is_read_in_bounded_time(html: str) -> None:
    assert_bounded(html_mail(html), html_mail("<p>Votre colis arrive demain.</p>" * 10_000))
