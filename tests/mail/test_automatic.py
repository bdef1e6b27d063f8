"""Robots, lists, absences and bounces, and the people who must not be taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailbridge.mail.automatic import (
    Automatic,
    Bounce,
    BounceAction,
    MaybeAutomatic,
    automatic,
    bounce,
)
from mailbridge.mail.incoming import read_mail

OURS = "<abcdefghij234567.1a2b3c4d@mb.boutique.example>"


def mail(*fields: str, author: str = "support@boutique.example", body: str = "Bonjour") -> bytes:
    head = (f"From: {author}", "Subject: Re: Colis (CD-7F3K2)", *fields)
    return ("\r\n".join(head) + "\r\n\r\n" + body.replace("\n", "\r\n")).encode()


@pytest.mark.parametrize(
    "field",
    [
        "Auto-Submitted: auto-replied",
        "Auto-Submitted: auto-generated (vacation)",
        "auto-submitted: AUTO-NOTIFIED; owner-email=x",
        "Precedence: bulk",
        "Precedence: Junk",
        "Precedence: list",
        "Precedence: auto_reply",
        "X-Autoreply: yes",
        "X-Auto-Reply-From: x@y.fr",
        "X-Autorespond: Re: colis",
        "X-Autoresponder: 1",
        "List-Id: <liste.exemple.fr>",
        "List-Unsubscribe: <mailto:x@y.fr>",
        "Return-Path: <>",
        "Content-Type: multipart/report; report-type=disposition-notification; boundary=b",
    ],
)
def test_a_robots_mail_is_known_by_its_header(field: str) -> None:
    body = "--b\r\n\r\nx\r\n--b--" if "boundary" in field else "Bonjour"
    found = automatic(read_mail(mail(field, body=body)))
    assert isinstance(found, Automatic)
    assert found.sign.lower().startswith(field.partition(":")[0].lower())
    assert not found.ours


@pytest.mark.parametrize(
    "author",
    [
        "MAILER-DAEMON@mx.fr",
        "postmaster@x.fr",
        "no-reply@x.fr",
        "noreply+1@x.fr",
        "Bounces=1@x.fr",
        "ne-pas-repondre@x.fr",
        "do-not-reply@x.fr",
    ],
)
def test_a_robots_mail_is_known_by_its_author(author: str) -> None:
    assert isinstance(automatic(read_mail(mail(author=author))), Automatic)


@pytest.mark.parametrize(
    "field",
    [
        "Auto-Submitted: no",
        "Auto-Submitted: No (written by hand)",
        "X-Auto-Response-Suppress: All",
        "X-Auto-Response-Suppress: DR, OOF, AutoReply",
        "Precedence: first-class",
        "Return-Path: <support@boutique.example>",
        "X-Automation-Test: 1",
        "Received: from a by b; x",
    ],
)
def test_a_person_is_not_a_robot(field: str) -> None:
    assert automatic(read_mail(mail(field))) is None


def test_no_does_not_outweigh_another_sign() -> None:
    found = automatic(read_mail(mail("Auto-Submitted: no", "Precedence: bulk")))
    assert isinstance(found, Automatic)


def test_a_person_called_bounceur_is_a_person() -> None:
    assert automatic(read_mail(mail(author="noreplyon@x.fr"))) is None


@pytest.mark.parametrize(
    "subject",
    [
        "Réponse automatique : Colis non reçu",
        "=?utf-8?q?R=C3=A9ponse_automatique=C2=A0:_Colis?=",
        "Automatic reply: Colis",
        "Absence du bureau : Re: Colis",
        "Out of Office: Colis",
        "Message d’absence",
    ],
)
def test_a_subject_alone_only_holds(subject: str) -> None:
    data = f"From: support@boutique.example\r\nSubject: {subject}\r\n\r\nx".encode()
    found = automatic(read_mail(data))
    assert isinstance(found, MaybeAutomatic)
    assert found.sign.startswith("subject: ")


def test_our_own_mail_and_loops() -> None:
    found = automatic(read_mail(mail("X-Mailbridge-Discussion: cd-7f3k2")))
    assert isinstance(found, Automatic)
    assert found.ours
    hops = ["Received: from a by b; x"] * 31
    assert isinstance(automatic(read_mail(mail(*hops))), Automatic)
    assert automatic(read_mail(mail(*hops[:30]))) is None


def report(*fields: str, original: str = f"Message-ID: {OURS}") -> bytes:
    status = "\r\n".join(("Reporting-MTA: dns; mx.boutique.example", "", *fields))
    return (
        "From: MAILER-DAEMON@mx.boutique.example (Mail Delivery System)\r\n"
        "Subject: Undelivered Mail Returned to Sender\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
        "--b\r\nContent-Type: text/plain\r\n\r\nThis is the mail system.\r\n"
        f"--b\r\nContent-Type: message/delivery-status\r\n\r\n{status}\r\n\r\n"
        f"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: Re\r\n{original}\r\n\r\nBonjour\r\n"
        "--b--\r\n"
    ).encode()


def read_bounce(data: bytes) -> Bounce:
    found = bounce(read_mail(data))
    assert found is not None
    return found


def test_a_delivery_report_says_what_became_of_our_mail() -> None:
    found = read_bounce(
        report(
            "Final-Recipient: rfc822; c.0123@clemarche.com",
            "Action: failed",
            "Status: 5.1.1",
            "Diagnostic-Code: smtp; 550 5.1.1 <c.0123@clemarche.com>: Recipient\r\n"
            " address\x07 unknown",
        )
    )
    assert found == Bounce(
        action=BounceAction.FAILED,
        message_id=OURS,
        recipient="c.0123@clemarche.com",
        status="5.1.1",
        diagnostic="550 5.1.1 <c.0123@clemarche.com>: Recipient address unknown",
    )
    assert "clemarche" not in repr(found)
    assert isinstance(automatic(read_mail(report("Action: failed"))), Automatic)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("delayed", BounceAction.DELAYED),
        ("Failed (really)", BounceAction.FAILED),
        ("delivered", BounceAction.DELIVERED),
        ("relayed", BounceAction.DELIVERED),
        ("expanded", BounceAction.DELIVERED),
    ],
)
def test_only_failed_is_a_failure(action: str, expected: BounceAction) -> None:
    fields = (f"Action: {action}", "Final-Recipient: rfc822;a@b.fr", "Status: 4.4.1 (x)")
    assert read_bounce(report(*fields)).action is expected


def test_the_worst_of_several_recipients_counts() -> None:
    found = read_bounce(
        report(
            "Final-Recipient: rfc822; a@b.fr", "Action: delayed", "Status: 4.0.0", "",
            "Final-Recipient: rfc822; c@d.fr", "Action: failed", "Status: 5.7.1",
        )
    )  # fmt: skip
    assert (found.action, found.recipient, found.status) == (
        BounceAction.FAILED,
        "c@d.fr",
        "5.7.1",
    )


def test_the_header_alone_names_our_mail() -> None:
    data = report("Action: failed").replace(b"message/rfc822", b"text/rfc822-headers")
    assert read_bounce(data).message_id == OURS
    assert read_bounce(report("Action: failed", original="X: y")).message_id is None


@pytest.mark.parametrize(
    ("subject", "body", "action", "status", "recipient"),
    [
        (
            "Mail delivery failed: returning message to sender",
            "A message that you sent could not be delivered.\n\n  c.0123@clemarche.com\n"
            "    host mx.cd [1.2.3.4]: 550 5.1.1 User unknown\n\n"
            f"------ This is a copy of the message ------\n\nMessage-ID: {OURS}\n\nBonjour 4.0.0\n",
            BounceAction.FAILED,
            "5.1.1",
            "c.0123@clemarche.com",
        ),
        (
            "failure notice",
            "Hi. This is the qmail-send program.\n\n<c.0123@clemarche.com>:\n"
            "554 rejected by policy\n\n--- Below this line is a copy of the message.\n\n"
            f"Received: x\nMessage-Id: {OURS}\n",
            BounceAction.FAILED,
            "",
            "c.0123@clemarche.com",
        ),
        (
            "Warning: message 1abc delayed 24 hours",
            f"<c.0123@clemarche.com>: 421 try again later\nMessage-ID: {OURS}\n",
            BounceAction.DELAYED,
            "",
            "c.0123@clemarche.com",
        ),
        (
            "Échec de la remise",
            "----- The following addresses had permanent fatal errors -----\n"
            f"<c.0123@clemarche.com>\n(reason: 550 5.2.1 mailbox disabled)\nMessage-ID: {OURS}",
            BounceAction.FAILED,
            "5.2.1",
            "c.0123@clemarche.com",
        ),
    ],
)
def test_a_report_in_prose(
    subject: str, body: str, action: BounceAction, status: str, recipient: str
) -> None:
    data = f"From: <Mailer-Daemon@mx.fr>\r\nSubject: {subject}\r\n\r\n{body}".encode()
    found = read_bounce(data)
    assert found.message_id == OURS
    assert (found.action, found.status, found.recipient) == (action, status, recipient)


def test_x_failed_recipients_is_enough() -> None:
    data = mail("X-Failed-Recipients: c.0123@clemarche.com", f"In-Reply-To: {OURS}")
    found = read_bounce(data)
    assert (found.recipient, found.message_id) == ("c.0123@clemarche.com", OURS)


def test_a_persons_words_about_a_bounce_are_no_bounce() -> None:
    data = b"From: support@boutique.example\r\nSubject: Undelivered mail\r\n\r\n550 5.1.1 non"
    assert bounce(read_mail(data)) is None
    assert bounce(read_mail(mail(author="postmaster@x.fr"))) is None


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_no_report_breaks_the_reader(data: bytes) -> None:
    status = b"\r\nAction: failed\r\nFinal-Recipient: " + data + b"\r\nStatus: " + data
    head = b"From: mailer-daemon@x.fr\r\nSubject: failure notice\r\n"
    kind = b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n"
    part = b"Content-Type: message/delivery-status\r\n\r\n"
    bounce(read_mail(head + kind + part + status + b"\r\n--b--"))
    bounce(read_mail(head + b"Content-Type: text/plain; charset=latin-1\r\n\r\n" + data))
