"""Threads opened about an order: their keys, and the line that asks for one."""

from __future__ import annotations

import pytest

from mailbridge.domain.opening import (
    is_opening,
    nameless_opening,
    opening_id,
    opening_title,
    order_number,
    order_of_opening,
    said_number,
)
from mailbridge.domain.vocabulary import Vocabulary

WORDS = Vocabulary.default()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2611201A8ZQ4", "2611201A8ZQ4"),
        (" 2611201a8zq4. ", "2611201A8ZQ4"),
        ("n° 2611201A8ZQ4", "2611201A8ZQ4"),
        ("#2611-201A", "2611-201A"),
        ("", None),
        ("123", None),
        ("2611201A8ZQ4 et 2611201A8ZQ5", None),
        ("26/11", None),
        ("x" * 41, None),
        ("26112\u00e91A8ZQ4", None),
    ],
)
def test_what_can_be_an_orders_number(text: str, number: str | None) -> None:
    assert order_number(text) == number


def test_the_key_of_a_thread_names_its_order() -> None:
    key = opening_id("2611201A8ZQ4")
    assert is_opening(key)
    assert order_of_opening(key) == "2611201A8ZQ4"
    nameless = nameless_opening("0a1b")
    assert is_opening(nameless)
    assert order_of_opening(nameless) is None
    assert not is_opening("113156074")
    assert order_of_opening("113156074") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("!commande 2611201A8ZQ4\nBonjour", "2611201A8ZQ4"),
        ("\n\n  ! Commande : 2611201A8ZQ4\n\nBonjour", "2611201A8ZQ4"),
        ("#order 2611201A8ZQ4", "2611201A8ZQ4"),
        ("*!commande 2611201A8ZQ4*", "2611201A8ZQ4"),
        ("!comande 2611201A8ZQ4", "2611201A8ZQ4"),
        ("!commande\nBonjour", ""),
        ("Bonjour,\n!commande 2611201A8ZQ4", None),
        ("commande 2611201A8ZQ4", None),
        ("!clos", None),
        ("! voici", None),
        ("", None),
    ],
)
def test_only_the_first_line_asks_for_an_order(text: str, said: str | None) -> None:
    assert said_number(text, WORDS) == said


def test_a_thread_without_a_subject_has_a_title() -> None:
    assert opening_title("Retard\u202e de livraison", "fr") == "Retard de livraison"
    assert opening_title(" ", "fr") == "Message au client"
    assert opening_title("", "en") == "Message to the customer"
