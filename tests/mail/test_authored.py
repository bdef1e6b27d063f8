"""Mails as real clients write them, and what of each its writer wrote.

Every `.eml` under tests/corpus has an `.expected.toml` beside it: the authored text, the commands
it asks for (or why it is held), the files that go to the customer.
"""

from __future__ import annotations

import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailbridge.domain.command import Held, Parsed, parse
from mailbridge.domain.wording import fold_line
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
