"""The mail to the customer: what the agent wrote and nothing else."""

from __future__ import annotations

import email
import email.policy
from datetime import datetime
from email.message import EmailMessage
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.domain.identity import Identity, NameKind
from mailbridge.domain.notice import HoldReason, Notice, NoticeKind
from mailbridge.domain.vocabulary import Vocabulary
from mailbridge.mail.compose import Composer
from mailbridge.mail.outgoing import (
    _NAMES,
    CustomerMail,
    Leak,
    check_outgoing,
    customer_mail,
    neutral_subject,
)
from mailbridge.mail.rendering import Templates
from mailbridge.mail.samples import SAMPLE_THREAD

IDENTITY = Identity([b"k" * 32], account="shop", domain="mb.boutique.example")
RELAY = "c.0123456789abcdef0123456789abcdef@clemarche.example"
PARIS = ZoneInfo("Europe/Paris")
TEXT = "Bonjour Marie,\n\nvotre colis part demain.\n\nPaul"


def mail(
    text: str = TEXT,
    *,
    attachments: tuple[tuple[str, str, bytes], ...] = (),
    subject: str = SAMPLE_THREAD.subject,
    sender_name: str = "Boutique Éléphant",
) -> bytes:
    return customer_mail(
        CustomerMail(
            sender="contact@boutique.example",
            sender_name=sender_name,
            recipient=RELAY,
            subject=subject,
            message_id=IDENTITY.customer_id("abc123"),
            date=datetime(2026, 11, 21, 12, 0, tzinfo=PARIS),
            text=text,
            attachments=attachments,
        )
    )


def parsed(data: bytes) -> EmailMessage:
    return email.message_from_bytes(data, _class=EmailMessage, policy=email.policy.default)


def test_the_customer_gets_a_plain_new_mail() -> None:
    made = parsed(mail())
    assert made["From"] == "Boutique Éléphant <contact@boutique.example>"
    assert made["To"] == RELAY
    assert made["Subject"] == "Re: Colis non reçu – commande 2611201A8ZQ4"
    assert made["Date"] == "Sat, 21 Nov 2026 12:00:00 +0100"
    assert made["Message-ID"] == IDENTITY.customer_id("abc123")
    assert made.get_content_type() == "text/plain"
    assert made.get_content().replace("\r\n", "\n") == f"{TEXT}\n"
    assert {name.lower() for name in made} == {
        "from", "to", "subject", "date", "message-id", "mime-version", "content-type",
        "content-transfer-encoding",
    }  # fmt: skip


def test_nothing_of_ours_is_in_it() -> None:
    data = mail()
    assert b"mb-" not in data
    assert b".invalid" not in data
    assert b"mailbridge" not in data.lower()
    assert b"CD-" not in data
    assert b"X-" not in data


def test_the_same_reply_makes_the_same_octets() -> None:
    assert mail() == mail()


@pytest.mark.parametrize(
    ("frozen", "neutral"),
    [
        ("Colis – commande 26A (CD-7F3K2)", "Re: Colis – commande 26A"),
        ("Et (bleu) ? (CD-7F3K2)", "Re: Et (bleu) ?"),
        ("Colis", "Re: Colis"),
        ("(CD-7F3K2)", "Re:"),
    ],
)
def test_the_subject_tells_nothing_of_our_ids(frozen: str, neutral: str) -> None:
    assert neutral_subject(frozen) == neutral


def test_files_go_along_with_names_that_every_client_reads() -> None:
    made = parsed(
        mail(
            attachments=(
                ("Étiquette retour.pdf", "application/pdf", b"%PDF" * 100),
                ("../../etc/passwd\r\nX: y", "text/html; charset=x", b"\x00\xff"),
                ("\u202egnp.exe", "message/rfc822", b"Subject: x\r\n\r\n"),
            )
        )
    )
    text, *files = made.iter_parts()
    assert text.get_content().replace("\r\n", "\n") == f"{TEXT}\n"
    assert [f.get_filename() for f in files] == ["Étiquette retour.pdf", "passwdX: y", "gnp.exe"]
    assert [f.get_content_type() for f in files] == [
        "application/pdf",
        "application/octet-stream",
        "application/octet-stream",
    ]
    assert [f.get_content() for f in files] == [b"%PDF" * 100, b"\x00\xff", b"Subject: x\r\n\r\n"]
    assert b'name="Etiquette retour.pdf"' in mail(
        attachments=(("Étiquette retour.pdf", "application/pdf", b""),)
    )


@given(st.text(max_size=400), st.text(max_size=50), st.text(max_size=50))
def test_any_words_leave_as_seven_bit_lines(text: str, name: str, file: str) -> None:
    data = mail(text, sender_name=name, attachments=((file, file, b"x"),), subject=name)
    assert data.isascii()
    assert max(map(len, data.split(b"\r\n"))) < 998
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert not parsed(data).defects


def test_an_address_that_cannot_be_written_sends_nothing() -> None:
    with pytest.raises(ValueError, match="mail address"):
        customer_mail(
            CustomerMail(
                "contact@b.example", "", "a\r\nb@c", "x", "<a@b>", datetime.now(PARIS), "x"
            )
        )


def test_what_is_said_to_customers_stays_out_of_reprs() -> None:
    shown = repr(
        CustomerMail("a@b.c", "", RELAY, "x", "<a@b>", datetime.now(PARIS), "secret words")
    )
    assert "secret" not in shown
    assert RELAY not in shown


# --- the last check -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "Vous avez payé 12,50 € le 21/11, commande #2611201A8ZQ4 !",
        "# urgent\nMerci !",
        "Écrivez-nous au 01 48 29 13 00.",
        "Code postal 48291, référence 4829131",
        "› comme convenu",
        "https://boutique.example/retours#aide",
    ],
)
def test_ordinary_answers_leave(text: str) -> None:
    assert check_outgoing(text, IDENTITY, ["482913"]) is None


@pytest.mark.parametrize(
    ("text", "leak"),
    [
        (f"Écrivez à support+{IDENTITY.route('cd-7f3k2')}@boutique.example", Leak.REPLY_ADDRESS),
        (f"SUPPORT+{IDENTITY.route('cd-7f3k2').upper()}@X.Y", Leak.REPLY_ADDRESS),
        (IDENTITY.message_id(NameKind.NOTICE, "cd-1", "a"), Leak.MESSAGE_ID),
        ("De : Marie <cd-7f3k2@mb.invalid>", Leak.INVALID_ADDRESS),
        ("Code : 482913", Leak.CODE),
        ("le 482 913.", Leak.CODE),
        ("12 482913", Leak.CODE),
        ("Merci.\n!clos", Leak.COMMAND),
        ("Merci.\n›\u00a0!clos", Leak.COMMAND),
        ("> !rembourser total", Leak.COMMAND),
        ("Merci.\n！clos", Leak.COMMAND),
        ("!clos demain", Leak.COMMAND),
        ("#resoluu", Leak.COMMAND),
    ],
)
def test_what_is_ours_does_not(text: str, leak: Leak) -> None:
    assert check_outgoing(text, IDENTITY, ["482913"]) is leak


def test_the_shops_own_words_for_commands_are_known() -> None:
    words = Vocabulary.default().with_words({"close": ["termine"]})
    assert check_outgoing("!termine", IDENTITY, vocabulary=words) is Leak.COMMAND


def test_every_leak_that_identity_finds_has_a_name() -> None:
    found = {
        IDENTITY.leaks(text)
        for text in (IDENTITY.route("cd-1"), IDENTITY.root_id("cd-1"), "a@mb.invalid")
    }
    assert found == set(_NAMES)


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("leak", list(Leak))
def test_the_agent_is_told_what_it_was_in_words(leak: Leak, language: str) -> None:
    composer = Composer(
        Templates(), IDENTITY, account="shop", mailbox_address="s@b.example", language=language
    )
    notice = Notice(NoticeKind.HOLD, HoldReason.LEAK, {"what": leak})
    made = composer.notice_mail(
        SAMPLE_THREAD, notice, key="1", date=datetime(2026, 11, 21, tzinfo=PARIS)
    )
    assert made.problem is None
    body = parsed(made.data).get_body(("plain",))
    assert body is not None
    assert leak in (Leak.CODE, Leak.COMMAND) or leak.value not in body.get_content()
    assert "interne" in body.get_content() or "internal" in body.get_content()
