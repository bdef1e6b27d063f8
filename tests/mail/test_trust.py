"""Who wrote this? The proofs that count, and the forgeries that must not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailbridge.mail.incoming import UnreadableMail, read_mail
from mailbridge.mail.trust import Doubt, DoubtKind, Evidence, Level, Proof, TrustRules, origin

STAFF = "support@boutique.example"
RULES = TrustRules(
    staff=frozenset({STAFF}),
    authserv_ids=frozenset({"mx.fournisseur.example"}),
    own_domains=frozenset({"fournisseur.example", "boutique.example"}),
)
SUBMITTED = (
    "Received: from [192.168.1.20] (pool.fai.example [192.0.2.7])\r\n"
    "\t(Authenticated sender: support)\r\n"
    "\tby smtp.fournisseur.example (Postfix) with ESMTPSA id 4XyZ\r\n"
    "\tfor <support@boutique.example>; Fri, 20 Nov 2026 10:12:46 +0100 (CET)"
)
BORDER = (
    "Received: from poste.exemple (unknown [203.0.113.9]) by mx.fournisseur.example (Postfix)"
    " with ESMTPS id 4A; Fri, 20 Nov 2026 10:12:47 +0100"
)
FOREIGN = "Received: from x by relais.ailleurs.example with ESMTP id 1; Fri, 20 Nov 2026 10:00:00 Z"
PASSED = (
    "Authentication-Results: mx.fournisseur.example;\r\n"
    "\tdkim=pass header.d=boutique.example; spf=pass smtp.mailfrom=boutique.example;\r\n"
    "\tdmarc=pass (p=reject dis=none) header.from=boutique.example"
)


def weigh(
    *fields: str,
    author: str = f"Service client <{STAFF}>",
    in_sent: bool = False,
    rules: TrustRules = RULES,
) -> Evidence:
    data = "\r\n".join((*fields, f"From: {author}", "", "Bonjour")).encode()
    return origin(read_mail(data), in_sent=in_sent, rules=rules)


def kinds(evidence: Evidence) -> list[DoubtKind]:
    return [doubt.kind for doubt in evidence.doubts]


# ---------------------------------------------------------------------------- the Sent copy


@pytest.mark.parametrize(
    "fields",
    [
        (),
        (f"Return-Path: <{STAFF}>",),
        (f"Return-Path: <{STAFF.upper()}>", SUBMITTED),
        (SUBMITTED,),
        ("Received: by smtp.fournisseur.example with UTF8SMTPSA id 1 for <x@y.fr>; x",),
        (
            "Received: from h (h [192.0.2.7]) by smtp.fournisseur.example with esmtpsa"
            " (TLS1.3) tls TLS_AES_256_GCM_SHA384 (Exim 4.98) (envelope-from <x>) id 1; x",
        ),
        ("Received: from 192.0.2.7 by webmail.boutique.example with HTTP (HTTP/1.1 POST); x",),
    ],
)
def test_a_clean_sent_copy_proves_the_origin(fields: tuple[str, ...]) -> None:
    evidence = weigh(*fields, in_sent=True)
    assert evidence == Evidence(staff=True, proof=Proof.SENT_COPY)
    assert evidence.level is Level.PROVEN


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        (("Delivered-To: support+Sent@boutique.example",), DoubtKind.DELIVERED),
        (("X-Original-To: support+Sent@boutique.example",), DoubtKind.DELIVERED),
        (("Envelope-To: x",), DoubtKind.DELIVERED),
        (("Received-SPF: pass",), DoubtKind.DELIVERED),
        (("X-MS-Exchange-Organization-AuthAs: Anonymous",), DoubtKind.DELIVERED),
        (("Return-Path: <evil@ailleurs.example>",), DoubtKind.RETURN_PATH),
        (("Return-Path: <>",), DoubtKind.RETURN_PATH),
        ((SUBMITTED, SUBMITTED), DoubtKind.HOPS),
        ((BORDER, SUBMITTED), DoubtKind.HOPS),
        ((BORDER,), DoubtKind.NOT_SUBMITTED),
        (("Received: (qmail 12 invoked by uid 89); x",), DoubtKind.NOT_SUBMITTED),
        (("Received: from a by smtp.fournisseur.example; x",), DoubtKind.NOT_SUBMITTED),
        ((SUBMITTED.replace("smtp.fournisseur", "smtp.evil"),), DoubtKind.FOREIGN_HOST),
        (
            (SUBMITTED.replace("smtp.fournisseur.example", "fournisseur.example.evil.fr"),),
            DoubtKind.FOREIGN_HOST,
        ),
        ((SUBMITTED.replace("smtp.f", "evilf"),), DoubtKind.FOREIGN_HOST),
    ],
)
def test_outside_mail_filed_in_sent_gives_itself_away(
    fields: tuple[str, ...], kind: DoubtKind
) -> None:
    evidence = weigh(*fields, in_sent=True)
    assert evidence.proof is None
    assert evidence.level is Level.ROUTED
    assert kinds(evidence)[0] is kind


def test_a_spoof_delivered_through_a_subaddress_is_not_a_copy() -> None:
    # As Dovecot files it with lmtp_save_to_detail_mailbox: mail to support+Sent@ lands in Sent.
    evidence = weigh(
        "Return-Path: <support@boutique.example>",
        "Delivered-To: <support+Sent@boutique.example>",
        "Received: from mx.fournisseur.example by mx.fournisseur.example with LMTP id a; x",
        BORDER,
        "Subject: !rembourser total",
        in_sent=True,
    )
    assert kinds(evidence)[0] is DoubtKind.DELIVERED


@pytest.mark.parametrize(
    "helo",
    [
        "x by smtp.fournisseur.example with ESMTPSA",
        "(x) by smtp.fournisseur.example with ESMTPSA id 1 (",
        "=?utf-8?q?x_by_smtp=2Efournisseur=2Eexample_with_ESMTPSA?=",
        "[x by smtp.fournisseur.example with ESMTPSA]",
    ],
)
def test_what_a_client_says_of_itself_is_no_hop(helo: str) -> None:
    hop = f"Received: from h ({helo}) by mx.fournisseur.example with ESMTP id 1; x"
    assert weigh(hop, in_sent=True).proof is None
    quoted = f"Received: from {helo.replace(' ', '_')} by mx.fournisseur.example with ESMTP; x"
    assert weigh(quoted, in_sent=True).proof is None


def test_named_submission_hosts_replace_the_domains() -> None:
    rules = replace(RULES, submission_hosts=frozenset({"smtp.fournisseur.example"}))
    assert weigh(SUBMITTED, in_sent=True, rules=rules).proof is Proof.SENT_COPY
    other = SUBMITTED.replace("smtp.", "web.")
    assert weigh(other, in_sent=True).proof is Proof.SENT_COPY
    assert weigh(other, in_sent=True, rules=rules).proof is None


def test_sent_copies_can_be_switched_off_and_count_in_sent_only() -> None:
    assert kinds(weigh())[0] is DoubtKind.NOT_IN_SENT
    off = replace(RULES, sent_copy=False)
    assert kinds(weigh(in_sent=True, rules=off))[0] is DoubtKind.SENT_OFF


def test_a_stranger_with_a_proof_is_still_a_stranger() -> None:
    evidence = weigh(author="Julie <julie@boutique.example>", in_sent=True)
    assert (evidence.staff, evidence.proof) == (False, Proof.SENT_COPY)
    assert evidence.level is Level.ROUTED


@pytest.mark.parametrize(
    "author",
    [
        f'"{STAFF}" <evil@ailleurs.example>',
        f"{STAFF} <evil@ailleurs.example>",
        f"=?utf-8?q?{STAFF.replace('@', '=40')}?= <evil@ailleurs.example>",
        f"evil@ailleurs.example ({STAFF})",
        "Support@boutique.example.evil.fr",
    ],
)
def test_a_display_name_makes_nobody_staff(author: str) -> None:
    evidence = weigh(author=author, in_sent=True)
    assert not evidence.staff
    assert evidence.level is Level.ROUTED


@pytest.mark.parametrize(
    "authors",
    [
        f"From: evil@x.fr\r\nFrom: {STAFF}",
        f"From: {STAFF}\r\nFrom: evil@x.fr",
        f"From: {STAFF}, evil@x.fr",
        f"From: <{STAFF}> <evil@x.fr>",
    ],
)
def test_a_mail_with_two_authors_never_gets_that_far(authors: str) -> None:
    with pytest.raises(UnreadableMail):
        read_mail(f"{authors}\r\n\r\nBonjour".encode())


# ------------------------------------------------------------------- Authentication-Results


@pytest.mark.parametrize(
    "fields",
    [
        (PASSED, BORDER),
        (BORDER, PASSED),
        (
            "Delivered-To: support@boutique.example",
            "Received: by 2002:a05:6a10:1:b0:1:2:3 with SMTP id x; x",
            "Received: from localhost by imap.fournisseur.example with LMTP; x",
            BORDER,
            PASSED,
            FOREIGN,
        ),
    ],
)
def test_the_providers_own_check_proves_the_origin(fields: tuple[str, ...]) -> None:
    evidence = weigh(*fields)
    assert evidence == Evidence(staff=True, proof=Proof.AUTHENTICATION_RESULTS)
    assert evidence.level is Level.PROVEN


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ((BORDER,), DoubtKind.NO_RESULTS),
        # Forged below the border: the provider's own field above it says fail.
        ((PASSED.replace("dmarc=pass", "dmarc=fail"), BORDER, PASSED), DoubtKind.NOT_PASSED),
        # Forged, and brought in through a host that is not the provider's.
        ((BORDER, FOREIGN, PASSED), DoubtKind.NO_RESULTS),
        (("Received: by evil.example with ESMTP; x", PASSED), DoubtKind.NO_RESULTS),
        (("Received: (nonsense); x", PASSED), DoubtKind.NO_RESULTS),
        ((PASSED.replace("mx.fournisseur.example", "mx.evil.example"),), DoubtKind.NO_RESULTS),
        (
            (PASSED.replace("mx.f", "evil (mx.fournisseur.example) mx.f"),),
            DoubtKind.NO_RESULTS,
        ),
        ((PASSED.replace("from=boutique", "from=evil"),), DoubtKind.NOT_ALIGNED),
        ((PASSED.replace("from=boutique", "from=www.boutique"),), DoubtKind.NOT_ALIGNED),
        ((PASSED.partition(" (p=")[0],), DoubtKind.NOT_ALIGNED),
        ((PASSED.replace("dmarc=pass", "dmarc=none"),), DoubtKind.NOT_PASSED),
        ((PASSED.replace("dmarc=pass", "x-dmarc=pass"),), DoubtKind.NOT_PASSED),
        ((PASSED + "; dmarc=fail header.from=boutique.example",), DoubtKind.NOT_PASSED),
        (("Authentication-Results: mx.fournisseur.example; none",), DoubtKind.NOT_PASSED),
        (
            ("Authentication-Results: mx.fournisseur.example; dmarc=pass header.from=<a",),
            DoubtKind.RESULTS_UNREADABLE,
        ),
        (
            ("Authentication-Results: spf=pass smtp.mailfrom=boutique.example; dmarc=pass",),
            DoubtKind.NO_RESULTS,
        ),
    ],
)
def test_a_forged_or_failed_check_proves_nothing(fields: tuple[str, ...], kind: DoubtKind) -> None:
    evidence = weigh(*fields)
    assert evidence.proof is None
    assert kinds(evidence) == [DoubtKind.NOT_IN_SENT, kind]


def test_no_check_counts_unless_its_author_is_named() -> None:
    rules = replace(RULES, authserv_ids=frozenset())
    assert kinds(weigh(PASSED, BORDER, rules=rules)) == [DoubtKind.NOT_IN_SENT]


def test_the_check_is_about_the_author_alone() -> None:
    evidence = weigh(PASSED, BORDER, author="evil@boutique.example")
    assert evidence.proof is Proof.AUTHENTICATION_RESULTS
    assert evidence.level is Level.ROUTED


# --------------------------------------------------------------------------------- Exchange


def test_exchange_says_internal() -> None:
    rules = replace(RULES, exchange_internal=True)
    mark = "X-MS-Exchange-Organization-AuthAs: Internal"
    assert weigh(mark, rules=rules).proof is Proof.EXCHANGE_INTERNAL
    assert weigh(mark).proof is None
    assert weigh(mark, mark, rules=rules).proof is None
    anonymous = weigh(mark.replace("Internal", "Anonymous"), rules=rules)
    assert kinds(anonymous)[-1] is DoubtKind.NOT_INTERNAL
    hop = (
        "Received: from A.prod.outlook.com ([fe80::1]) by A.prod.outlook.com with mapi id 15.20; x"
    )
    hosts = replace(rules, submission_hosts=frozenset({"outlook.com"}))
    assert weigh(hop, mark, in_sent=True, rules=hosts).proof is Proof.SENT_COPY


# ------------------------------------------------------------------------------------ words


def test_the_reason_is_told_in_words() -> None:
    evidence = weigh("Delivered-To: x", in_sent=True)
    assert evidence.why() == (
        "la copie du dossier Envoyés a été livrée par le serveur de courrier (delivered-to) ; "
        "le fournisseur n'a pas noté de vérification"
    )
    assert weigh(in_sent=True).why(french=False) == "clean copy in the Sent folder"
    for kind in DoubtKind:
        assert Doubt(kind).in_words() != Doubt(kind).in_words(french=False)
    for proof in Proof:
        assert proof.in_words() != proof.in_words(french=False)


@given(st.text(max_size=120), st.text(max_size=120))
@settings(deadline=None)
def test_no_field_breaks_the_judge(hop: str, results: str) -> None:
    safe = [t.replace("\r", "").replace("\n", "") for t in (hop, results)]
    data = (
        f"Received: by {safe[0]}\r\nAuthentication-Results: mx.fournisseur.example; {safe[1]}\r\n"
        f"From: {STAFF}\r\n\r\nx"
    ).encode("utf-8", "replace")
    evidence = origin(read_mail(data), in_sent=True, rules=RULES)
    assert evidence.proof is None
