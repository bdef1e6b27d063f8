"""What an agent writes, and what is understood: the examples agents will meet first."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailbridge.domain.amount import parse_amount
from mailbridge.domain.command import Command, Held, Parsed, command_key, command_lines, parse
from mailbridge.domain.notice import HoldReason
from mailbridge.domain.vocabulary import Verb, Vocabulary
from mailbridge.domain.wording import fold_line


def obeyed(text: str) -> Parsed:
    read = parse(text)
    assert isinstance(read, Parsed), read
    return read


def held(text: str, *, echoed: tuple[str, ...] = ()) -> Held:
    read = parse(text, echoed=echoed)
    assert isinstance(read, Held), read
    return read


def verbs(text: str) -> list[Verb]:
    return [command.verb for command in obeyed(text).commands]


@pytest.mark.parametrize(
    ("reply", "expected", "left"),
    [
        (
            "Bonjour,\nVotre colis part demain.\n!clos",
            [Verb.CLOSE],
            "Bonjour,\nVotre colis part demain.",
        ),
        ("!clos\n\nBonjour, c'est réglé.", [Verb.CLOSE], "Bonjour, c'est réglé."),
        ("!clos", [Verb.CLOSE], ""),
        ("Merci !\n!Clos", [Verb.CLOSE], "Merci !"),
        ("Merci.\n! clos", [Verb.CLOSE], "Merci."),
        ("Merci.\n\u00a0!clos\u202f", [Verb.CLOSE], "Merci."),
        ("Merci.\n!\u200bclos", [Verb.CLOSE], "Merci."),
        ("Merci.\n*!clos*", [Verb.CLOSE], "Merci."),
        ("`!clos`", [Verb.CLOSE], ""),
        ("Fait.\n!résolu", [Verb.CLOSE], "Fait."),
        ("Fait.\n#résolu", [Verb.CLOSE], "Fait."),
        ("Fait.\n！ＣＬＯＳ", [Verb.CLOSE], "Fait."),
        ("Done.\n#solved.", [Verb.CLOSE], "Done."),
        ("Fait.\n!clos !", [Verb.CLOSE], "Fait."),
        (
            "Bonjour,\n!clos\nCordialement,\nPaul",
            [Verb.CLOSE],
            "Bonjour,\nCordialement,\nPaul",
        ),
        ("Un.\n\n!clos\n\nDeux.", [Verb.CLOSE], "Un.\n\nDeux."),
        (
            "!note\nClient agressif, rappeler lundi.",
            [Verb.NOTE],
            "Client agressif, rappeler lundi.",
        ),
        (
            "!note\n!clos\nDéjà remboursé par téléphone.",
            [Verb.NOTE, Verb.CLOSE],
            "Déjà remboursé par téléphone.",
        ),
        ("!modèle suivi-colis", [Verb.TEMPLATE], ""),
        (
            "Bonjour Marie,\n!modele excuses_retard\n!clos",
            [Verb.TEMPLATE, Verb.CLOSE],
            "Bonjour Marie,",
        ),
        ("!rembourser total.\nTout est remboursé.", [Verb.REFUND], "Tout est remboursé."),
        ("!confirmer 482913", [Verb.CONFIRM], ""),
        ("!clos\n!clos", [Verb.CLOSE], ""),
        ("!rouvrir", [Verb.REOPEN], ""),
        ("!annuler", [Verb.CANCEL], ""),
        ("#annuler", [Verb.CANCEL], ""),
        ("!renvoyer", [Verb.RESEND], ""),
        ("!aide", [Verb.HELP], ""),
        ("#help", [Verb.HELP], ""),
        ("!envoyer", [Verb.SEND], ""),
    ],
)
def test_a_command_on_a_line_of_its_own_is_obeyed(
    reply: str, expected: list[Verb], left: str
) -> None:
    read = obeyed(reply)

    assert [command.verb for command in read.commands] == expected
    assert read.text_without_commands == left


@pytest.mark.parametrize(
    "reply",
    [
        "Écrivez !clos pour fermer.",
        "Écrivez « !clos » pour fermer.",
        "Votre commande #2611201A8ZQ4 est partie.",
        "#2611201A8ZQ4",
        "#1234 est parti hier",
        "# urgent\nRappelez-moi",
        "#urgent\nRappelez-moi",
        "Merci !",
        "Merci\n!",
        "Votre dossier est traité\n! Merci de votre patience.",
        "!!! Attention, point relais fermé",
        "J'ai demandé au service de rembourser 12,50 €",
        "clos",
        "Le dossier est\nclos !",
        "> !clos\nMerci",
        "› !rembourser total\nMerci",
        "Le prix est de 5 € !",
        "1! = 1",
        "#",
        "!?",
        "!)",
    ],
)
def test_a_sign_in_a_sentence_is_text(reply: str) -> None:
    read = obeyed(reply)

    assert read.commands == ()
    assert read.text_without_commands == reply


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("!colos", HoldReason.NEAR_COMMAND),
        ("#resoluu", HoldReason.NEAR_COMMAND),
        ("Merci.\n!!clos", HoldReason.NEAR_COMMAND),
        ("Merci.\n- !clos", HoldReason.NEAR_COMMAND),
        ("Merci.\n« !clos »", HoldReason.NEAR_COMMAND),
        ("Merci, c'est réglé. !clos", HoldReason.NEAR_COMMAND),
        ("#rembourser total", HoldReason.NEAR_COMMAND),
        ("#confirmer 482913", HoldReason.NEAR_COMMAND),
        ("#rembourser 12,50", HoldReason.NEAR_COMMAND),
        ("!importantissime", HoldReason.UNKNOWN_COMMAND),
        ("Merci.\n!rappeler le client", HoldReason.UNKNOWN_COMMAND),
        ("!rembourser", HoldReason.BAD_ARGUMENT),
        ("!rembourser 1.234", HoldReason.BAD_ARGUMENT),
        ("!rembourser 12,50 € s'il le demande", HoldReason.BAD_ARGUMENT),
        ("!rembourser 1\u202f234,50\u00a0€\n!clos", HoldReason.BAD_ARGUMENT),
        ("!rembourser 12.50 EUR\nNous vous remboursons.", HoldReason.BAD_ARGUMENT),
        ("!rembourser 10\n!rembourser 100", HoldReason.BAD_ARGUMENT),
        ("!clos demain", HoldReason.BAD_ARGUMENT),
        ("!clos ?", HoldReason.BAD_ARGUMENT),
        ("!clos!note", HoldReason.BAD_ARGUMENT),
        ("!annuler tout", HoldReason.BAD_ARGUMENT),
        ("!confirmer", HoldReason.BAD_ARGUMENT),
        ("!confirmer 48291", HoldReason.BAD_ARGUMENT),
        ("!envoyer demain", HoldReason.BAD_ARGUMENT),
        ("!modèle ../../etc/passwd", HoldReason.BAD_ARGUMENT),
        ("!commande", HoldReason.BAD_ARGUMENT),
        ("Nous vous remboursons.\n!rembourser total", HoldReason.MISPLACED_COMMAND),
        ("Bonjour,\n!geste 12,50\nCordialement", HoldReason.MISPLACED_COMMAND),
        ("Merci.\n!confirmer 482913", HoldReason.MISPLACED_COMMAND),
        ("Bonjour,\n!note\nAgressif.", HoldReason.MISPLACED_COMMAND),
        ("Bonjour,\n!commande 2611201A8ZQ4", HoldReason.MISPLACED_COMMAND),
        ("!clos\n!rouvrir", HoldReason.CONTRADICTION),
        ("!geste 10\n!geste 100", HoldReason.CONTRADICTION),
        ("!geste 10\n!geste 10", HoldReason.CONTRADICTION),
        ("!rembourser total\n!geste 5", HoldReason.CONTRADICTION),
        ("!note\n!envoyer", HoldReason.CONTRADICTION),
        ("!note\n!modèle excuses", HoldReason.CONTRADICTION),
        ("!envoyer 111111\n!envoyer 222222", HoldReason.CONTRADICTION),
        ("!annuler\n!envoyer", HoldReason.CONTRADICTION),
    ],
)
def test_what_is_nearly_a_command_holds_the_mail(reply: str, reason: HoldReason) -> None:
    assert held(reply).reason is reason


def test_the_hold_says_which_line_and_what_was_meant() -> None:
    assert held("Bonjour\n!colos").facts == {"line": "!colos", "meant": "!clos"}
    assert held("!rembourser 12,50 €").facts == {
        "line": "!rembourser 12,50 €",
        "instead": "!geste",
    }
    assert held("!clos\nMerci\n!rouvrir").facts == {"line": "!clos", "other": "!rouvrir"}


def test_the_customers_own_line_is_never_obeyed() -> None:
    read = held("Bonjour\n!clos", echoed=("* !Clos *", "!CLOS."))
    assert read.reason is HoldReason.ECHOED_COMMAND
    assert read.facts == {"line": "!clos"}
    # A line that is no command does no harm, whoever wrote it first.
    assert isinstance(parse("#urgent", echoed=("#urgent",)), Parsed)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("12", "12.00"),
        ("12,5", "12.50"),
        ("12,50 €", "12.50"),
        ("12.50€", "12.50"),
        ("12.50 EUR", "12.50"),
        ("12 euros", "12.00"),
        ("1\u202f234,50\u00a0€", "1234.50"),
        ("0,01", "0.01"),
    ],
)
def test_amounts_are_exact(text: str, amount: str) -> None:
    assert parse_amount(text) == Decimal(amount)
    (command,) = obeyed(f"!geste {text}\nAvec nos excuses.").commands
    assert command.amount == Decimal(amount)
    assert command.argument == amount
    assert command.options == {}


@pytest.mark.parametrize(
    "text",
    [
        "1.234",
        "12,505",
        "-5",
        "+5",
        "0",
        "0,00",
        "1.234,50",
        "12€50",
        "€12",
        "12 50",
        "1 23,50",
        "12,50 12",
        "5²",
        "½",
        "٥",
        "5 $",
        "99999999",
        "douze",
    ],
)
def test_an_amount_with_two_readings_or_none_is_refused(text: str) -> None:
    assert held(f"!geste {text}").reason is HoldReason.BAD_ARGUMENT
    assert parse_amount(text) is None


def test_a_gesture_has_a_motive() -> None:
    (command,) = obeyed("!geste 12,50 € retard de livraison").commands
    assert command.verb is Verb.GESTURE
    assert command.options == {"motive": "retard de livraison"}
    (bare,) = obeyed("!geste : 12,50 Retard").commands
    assert (bare.amount, bare.options) == (Decimal("12.50"), {"motive": "Retard"})


@pytest.mark.parametrize(
    ("line", "argument", "options"),
    [
        ("!rembourser total", "total", {}),
        ("!rembourser Tout", "total", {}),
        ("!rembourser total + port", "total", {"shipping": "yes"}),
        ("!rembourser SKU-12/AB", "SKU-12/AB", {}),
        ("!rembourser SKU12 +port", "SKU12", {"shipping": "yes"}),
        ("!rembourser réf. 1024", "1024", {}),
        ("!rembourser ref : 12.50", "12.50", {}),
        ("!rembourser 4006381333931", "4006381333931", {}),
        ("!refund total", "total", {}),
    ],
)
def test_a_refund_names_the_order_or_one_line_of_it(
    line: str, argument: str, options: dict[str, str]
) -> None:
    (command,) = obeyed(line).commands
    assert (command.verb, command.argument, command.options) == (Verb.REFUND, argument, options)


def test_codes_and_numbers() -> None:
    assert obeyed("!envoyer 482913").commands[0].argument == "482913"
    assert obeyed("!envoyer 482 913.").commands[0].argument == "482913"
    assert obeyed("!envoyer").commands[0].argument == ""
    assert obeyed("!commande 2611201A8ZQ4\nBonjour").commands[0].argument == "2611201A8ZQ4"
    assert obeyed("!commande n° 2611201A8ZQ4").commands[0].argument == "2611201A8ZQ4"
    assert obeyed("!note rappeler lundi").commands[0].argument == "rappeler lundi"


def test_a_template_keeps_its_place_and_its_values() -> None:
    read = obeyed('Bonjour,\n!modèle retard jours=3 motif="grève à Lyon"\nBien à vous.\n!clos')

    before, template, after = read.pieces
    assert (before, after) == ("Bonjour,", "Bien à vous.")
    assert isinstance(template, Command)
    assert template.argument == "retard"
    assert template.options == {"jours": "3", "motif": "grève à Lyon"}
    for broken in ('a="x', "a=1 a=2", "jours", "=3", 'a="b"c'):
        assert held(f"!modèle retard {broken}").reason is HoldReason.BAD_ARGUMENT


def test_a_shop_may_add_words() -> None:
    vocabulary = Vocabulary.default().with_words({"close": ["Terminé"], "clos": ["fini"]})

    for word in ("!termine", "#fini", "!TERMINÉ"):
        read = parse(word, vocabulary)
        assert isinstance(read, Parsed)
        assert read.commands[0].verb is Verb.CLOSE
    assert isinstance(parse("!fini"), Held)


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ({"closing": ["x"]}, "closing: no such command"),
        ({"close": ["tout fini"]}, "not a single word"),
        ({"close": ["12"]}, "not a single word"),
        ({"close": [""]}, "not a single word"),
        ({"close": ["annuler"]}, "already stands for cancel"),
    ],
)
def test_a_wrong_word_is_told(further: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Vocabulary.default().with_words(further)


def test_two_copies_of_a_command_compare_equal() -> None:
    assert command_key("*! Geste 12,50 €*") == command_key("!geste 12,50 EUR.")
    assert command_key("!geste 12,50 euros") == command_key("!geste\u00a012,50€")
    assert command_key("!geste 12,50") != command_key("!geste 12,55")
    assert command_key("!clos") != command_key("#clos")
    assert command_lines("a\n*!clos*\n#1\n# urgent\nb !x") == ("*!clos*", "# urgent")


@given(
    st.text(
        alphabet=st.sampled_from("!# \n\tclosnteé*>_.€0123456789,\u00a0\u200b+=\"'"), max_size=200
    )
)
@settings(deadline=None)
def test_whatever_is_written_no_command_stays_in_the_text(text: str) -> None:
    read = parse(text)
    if isinstance(read, Parsed):
        again = parse(read.text_without_commands)
        # What is left is plain text: read once more, it asks for nothing.
        assert isinstance(again, Parsed)
        assert again.commands == ()
        lines = {line.rstrip() for line in text.splitlines()}
        assert all(line in lines or not line for line in read.text_without_commands.splitlines())
    else:
        assert fold_line(read.facts["line"]) or read.reason is HoldReason.CONTRADICTION
