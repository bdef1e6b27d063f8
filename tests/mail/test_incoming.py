"""Mails as octets, and the value read from them; and the mails that must not be read."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailbridge.domain.notice import HoldReason
from mailbridge.mail.authored import authored_part, sendable_attachments
from mailbridge.mail.fields import decode_field, parse_addresses, parse_date, parse_ids
from mailbridge.mail.flowed import unflow
from mailbridge.mail.incoming import IncomingMail, UnreadableMail, read_headers, read_mail

CORPUS = Path(__file__).parent.parent / "corpus"
FROM = b"From: Service <support@boutique.example>\r\n"


def refused(data: bytes) -> UnreadableMail:
    with pytest.raises(UnreadableMail) as caught:
        read_mail(data)
    return caught.value


def test_a_mail_is_read_field_by_field() -> None:
    mail = read_mail(
        b"Return-Path: <support@boutique.example>\r\n"
        b"Received: from a by b; Fri, 20 Nov 2026 10:00:00 +0100\r\n"
        b"Received: from c by d; Fri, 20 Nov 2026 09:59:00 +0100\r\n"
        b"From: =?iso-8859-1?Q?St=E9phanie?= <Support@Boutique.example>\r\n"
        b"To: \"Marie, via Cdiscount\" <a@b.fr>, c@d.fr\r\n"
        b"Cc: groupe: e@f.fr, <g@h.fr>;\r\n"
        b"Reply-To: x@y.fr\r\n"
        b"Subject: =?utf-8?q?Colis_non?=\r\n =?utf-8?q?_re=C3=A7u?=\r\n"
        b"Date: Fri, 20 Nov 2026 10:12:45 +0100\r\n"
        b"Message-ID: <1@x>\r\n"
        b"In-Reply-To: <m.1@mb>\r\n"
        b"References: <d.1@mb>\r\n <m.1@mb>\r\n"
        b"\r\nBonjour\r\n"
    )  # fmt: skip
    assert mail.from_.name == "Stéphanie"
    assert mail.from_.address == "Support@Boutique.example"
    assert [a.address for a in mail.to] == ["a@b.fr", "c@d.fr"]
    assert mail.to[0].name == "Marie, via Cdiscount"
    assert [a.address for a in mail.cc] == ["e@f.fr", "g@h.fr"]
    assert [a.address for a in mail.reply_to] == ["x@y.fr"]
    assert mail.subject == "Colis non reçu"
    assert mail.date == datetime(2026, 11, 20, 9, 12, 45, tzinfo=UTC)
    assert mail.date.utcoffset() == timedelta(hours=1)
    assert mail.message_id == "<1@x>"
    assert mail.in_reply_to == ("<m.1@mb>",)
    assert mail.references == ("<d.1@mb>", "<m.1@mb>")
    assert mail.plain == "Bonjour\n"
    assert mail.html is None
    assert [h.split()[1] for h in mail.headers("RECEIVED")] == ["a", "c"]
    assert mail.header("return-path") == "<support@boutique.example>"
    assert mail.has("Return-Path")
    assert not mail.has("Delivered-To")
    assert mail.header("Delivered-To") is None
    assert "support" not in repr(mail).lower()


@pytest.mark.parametrize("sample", sorted(CORPUS.rglob("*.eml")), ids=lambda p: p.stem)
def test_every_sample_is_read_and_its_header_alone_gives_the_same(sample: Path) -> None:
    data = sample.read_bytes()
    mail, head = read_mail(data), read_headers(data)
    assert mail.from_.address in ("support@boutique.example", "support@maison-brindille.example")
    assert mail.date is not None
    assert mail.message_id
    assert head.fields == mail.fields
    assert (head.from_, head.to, head.in_reply_to) == (mail.from_, mail.to, mail.in_reply_to)
    assert (head.plain, head.html, head.attachments) == (None, None, ())


@pytest.mark.parametrize(
    ("header", "what", "reason"),
    [
        (b"From: a@b.fr\r\nFrom: support@boutique.example\r\n", "two_from", HoldReason.TWO_FROM),
        (b"From: a@b.fr, support@boutique.example\r\n", "two_from", HoldReason.TWO_FROM),
        (b"From: g: a@b.fr, c@d.fr;\r\n", "two_from", HoldReason.TWO_FROM),
        (b"From: <a@b.fr> <support@boutique.example>\r\n", "from", HoldReason.UNREADABLE),
        (b"From: a@b.fr support@boutique.example\r\n", "from", HoldReason.UNREADABLE),
        (b"From: \r\n", "from", HoldReason.UNREADABLE),
        (b"From: Marie\r\n", "from", HoldReason.UNREADABLE),
        (b"From: <support@boutique.example@evil.fr>\r\n", "from", HoldReason.UNREADABLE),
        (b"From: <support@boutique.example\r\n evil.fr>\r\n", "from", HoldReason.UNREADABLE),
        (b"To: a@b.fr\r\n", "from", HoldReason.UNREADABLE),
        (b"garbage\r\nFrom: a@b.fr\r\n", "from", HoldReason.UNREADABLE),
        (b"", "from", HoldReason.UNREADABLE),
        (b"From: a@b.fr\r\n" + b"X: y\r\n" * 3_000, "fields", HoldReason.UNREADABLE),
    ],
)
def test_a_mail_without_one_plain_author_is_held(
    header: bytes, what: str, reason: HoldReason
) -> None:
    fault = refused(header + b"\r\nBonjour\r\n")
    assert (fault.what, fault.reason) == (what, reason)
    with pytest.raises(UnreadableMail):
        read_headers(header)


@pytest.mark.parametrize(
    ("field", "name", "address"),
    [
        ('"support@boutique.example" <evil@x.fr>', "support@boutique.example", "evil@x.fr"),
        ("support@boutique.example <evil@x.fr>", "support@boutique.example", "evil@x.fr"),
        ("=?utf-8?q?support=40boutique=2Eexample?= <e@x.fr>", "support@boutique.example", "e@x.fr"),
        ("=?utf-8?q?a=3Cs=40b=2Ec=3E=2C?= <evil@x.fr>", "a<s@b.c>,", "evil@x.fr"),
        ("evil@x.fr (support@boutique.example)", "support@boutique.example", "evil@x.fr"),
        ('"a\\"b, c" <e@x.fr> (x)', 'a"b, c', "e@x.fr"),
        ("<@relay.fr,@b.fr:e@x.fr>", "", "e@x.fr"),
    ],
)
def test_a_display_name_is_never_the_address(field: str, name: str, address: str) -> None:
    (read,) = parse_addresses(field)
    assert (read.name, read.address, read.valid) == (name, address, True)


def test_an_encoded_address_is_not_decoded() -> None:
    (read,) = parse_addresses("=?utf-8?q?support=40boutique=2Eexample?=")
    assert not read.valid


def test_what_is_no_address_is_still_seen() -> None:
    read = parse_addresses('a@b.fr; "x" <c@d.fr>, oops, <e@f.fr> tail, undisclosed-recipients:;')
    assert [(a.address, a.valid) for a in read] == [
        ("a@b.fr", True),
        ("c@d.fr", True),
        ("oops", False),
        ("<e@f.fr>  tail", False),
    ]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("=?utf-8?b?w6k=?=", "é"),
        ("=?utf-8?b?w6k?=", "é"),
        ("=?utf-8?q?=C3?= =?utf-8?q?=A9?=", "é"),
        ("a=?utf-8?q?=C3=A9?=b", "aéb"),
        ("=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
        ('"=?iso-8859-15?Q?12_=A4?="', '"12 €"'),
        ("=?utf-8*fr?q?=C3=A9?=", "é"),
        ("=?x-none?q?abc?=", "abc"),
        ("=?utf-8?q?caf\udcc3\udca9?=", "café"),
        ("=?utf-8?b?a?=", "=?utf-8?b?a?="),
        ("caf\udce9", "café"),
        ("caf\udcc3\udca9", "café"),
        ("a\r\n b", "a b"),
    ],
)
def test_encoded_words_are_read_wherever_they_stand(raw: str, words: str) -> None:
    assert decode_field(raw) == words


def test_trace_fields_are_never_decoded() -> None:
    trick = b"Received: from =?utf-8?q?x_by_mail=2Eshop_with_ESMTPSA?= by mx.evil with SMTP; x\r\n"
    mail = read_mail(trick + FROM + b"\r\nx")
    assert mail.header("received") == trick.decode()[10:].strip()


def test_ids_and_dates() -> None:
    assert parse_ids("<a@b> <a@b>\r\n\t<c@d> oops") == ("<a@b>", "<c@d>")
    assert parse_ids("=?utf-8?q?=3Ca=40b=3E?=") == ("<a@b>",)
    assert parse_date("Fri, 20 Nov 2026 10:12:45 -0000") == datetime(
        2026, 11, 20, 10, 12, 45, tzinfo=UTC
    )
    for broken in ("", "demain", "Fri, 99 Nov 2026 10:12:45 +0100", "1 Jan 99999 0:0:0 +9999"):
        assert parse_date(broken) is None
    mail = read_mail(FROM + b"In-Reply-To: <a@b>\r\nIn-Reply-To: <c@d>\r\n\r\nx")
    assert mail.in_reply_to == ("<a@b>", "<c@d>")


@pytest.mark.parametrize(
    ("charset", "octets", "text"),
    [
        (b"utf-8", "é€".encode(), "é€"),
        (b"utf8", "é".encode(), "é"),
        (b"iso-8859-1", b"\xe9\x80", "é€"),
        (b"iso-8859-15", b"\xe9\xa4", "é€"),
        (b"windows-1252", b"\xe9\x80\x81", "é\x80\x81"),
        (b"us-ascii", b"\xe9", "é"),
        (b"us-ascii", "é".encode(), "é"),
        (b"utf-8", b"caf\xe9", "café"),
        (b"", "é".encode(), "é"),
        (b"x-unknown", b"abc", "abc"),
        (b"idna", b"abc", "abc"),
        (b"gb2312", "中".encode("gb18030"), "中"),
        (b"shift_jis", "日本".encode("cp932"), "日本"),
    ],
)
def test_charsets(charset: bytes, octets: bytes, text: str) -> None:
    kind = b"Content-Type: text/plain; charset=" + charset
    mail = read_mail(FROM + kind + b"\r\n\r\n" + octets)
    assert mail.plain == text


@pytest.mark.parametrize("charset", [b"x-unknown", b"rot13", b"idna", b"unicode_escape", b"utf-16"])
def test_a_charset_that_fits_nothing_is_held(charset: bytes) -> None:
    kind = b"Content-Type: text/plain; charset=" + charset
    assert refused(FROM + kind + b"\r\n\r\ncaf\xe9s").what == "charset"


def test_an_unknown_transfer_encoding_is_held() -> None:
    assert refused(FROM + b"Content-Transfer-Encoding: x-rot\r\n\r\nabc").what == "encoding"


def test_a_multipart_without_parts_is_held() -> None:
    assert refused(FROM + b"Content-Type: multipart/mixed\r\n\r\nabc").what == "structure"


def nested(levels: int) -> bytes:
    return b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (i, i)
        for i in range(levels)
    )


@pytest.mark.parametrize(
    "bomb",
    [
        FROM + nested(60) + b"Content-Type: text/plain\r\n\r\nx",
        FROM + nested(3_000) + b"Content-Type: text/plain\r\n\r\nx",
        FROM + nested(90) + b"\r\n" + b"x\r\n" * 300_000,
        FROM + b"Content-Type: message/rfc822\r\n\r\n" * 2_000 + b"x",
        FROM + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 250,
        FROM + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 500_000,
        FROM + b"Content-Type: message/delivery-status\r\n\r\n" + b"a: b\r\n\r\n" * 100_000,
        FROM + b"\r\n" + b"\n" * 5_000_000,
        FROM + b"Content-Type: text/plain; " + b";" * 1_000_000 + b"\r\n\r\nx",
        FROM + b"Content-Disposition: inline" + b";\r\n a=b" * 300_000 + b"\r\n\r\nx",
        FROM + b"X: y\r\n" * 300_000 + b"\r\nx",
    ],
    ids=range(11),
)
def test_a_bomb_is_refused_in_time(bomb: bytes) -> None:
    start = time.process_time()
    assert refused(bomb).reason is HoldReason.UNREADABLE
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "big",
    [
        FROM + b"To: " + b"(" * 2_000_000 + b"\r\n\r\nx",
        FROM + b"To: " + b"a@b.fr, " * 200_000 + b"\r\n\r\nx",
        FROM + b"Subject: " + b"=?utf-8?q?a?= " * 200_000 + b"\r\n\r\nx",
        FROM + b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + (b"A" * 76 + b"\r\n") * 260_000,
    ],
    ids=range(4),
)  # fmt: skip
def test_a_big_mail_is_read_in_time(big: bytes) -> None:
    start = time.process_time()
    read_mail(big)
    assert time.process_time() - start < 5


def mixed(*parts: bytes, kind: bytes = b"mixed") -> IncomingMail:
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
    head = b"Content-Type: multipart/" + kind + b"; boundary=b\r\n\r\n"
    return read_mail(FROM + head + body)


PDF = b"Content-Type: application/pdf; name=a.pdf\r\nContent-Disposition: attachment\r\n\r\n%PDF"


def names(mail: IncomingMail) -> list[str]:
    return [file.name for file in sendable_attachments(mail, authored_part(mail))]


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (b"attachment; filename*=iso-8859-1''d%E9tail.pdf", "détail.pdf"),
        (b"attachment; filename*0*=utf-8''d%C3%A9; filename*1=tail.pdf", "détail.pdf"),
        (b'attachment; filename="=?utf-8?q?d=C3=A9tail=2Epdf?="', "détail.pdf"),
        (b'attachment; filename="d\xc3\xa9tail.pdf"', "détail.pdf"),
        (b'attachment; filename="../../etc/pass\x00wd"', "passwd"),
        (b'attachment; filename="C:\\\\x\\\\a.pdf"', "a.pdf"),
        (b'attachment; filename="a\xe2\x80\xaefdp.exe"', "afdp.exe"),
        (b'attachment; filename*=x; filename*0="a"; filename*1*=b', "fichier-1.pdf"),
        (b"attachment", "fichier-1.pdf"),
    ],
)
def test_file_names_are_bare_and_clean(disposition: bytes, name: str) -> None:
    part = b"Content-Type: application/pdf\r\nContent-Disposition: " + disposition + b"\r\n\r\nx"
    (file,) = mixed(b"\r\nBonjour", part).attachments
    assert file.name == name or (name == "fichier-1.pdf" and "/" not in file.name)
    assert file.data == b"x"


def test_parts_of_the_mail_are_not_files_of_the_message() -> None:
    def part(kind: str, name: str) -> bytes:
        return (
            f"Content-Type: {kind}; name={name}\r\nContent-Disposition: attachment\r\n\r\nx"
        ).encode()

    mail = mixed(
        b"\r\nBonjour",
        part("application/pkcs7-signature", "smime.p7s"),
        part("application/octet-stream", "winmail.dat"),
        part("application/ms-tnef", "x.bin"),
        part("text/calendar", "rdv.ics"),
        part("text/vcard", "paul.vcf"),
        part("application/octet-stream", "smime.p7m"),
        b"Content-Type: message/rfc822\r\n\r\nFrom: a@b.fr\r\n\r\n!clos",
        PDF,
    )
    assert len(mail.attachments) == 8
    assert mail.plain == "Bonjour"
    assert names(mail) == ["a.pdf"]


def test_pictures_go_only_where_the_authored_part_shows_them() -> None:
    def image(cid: str, disposition: str) -> bytes:
        return (
            f"Content-Type: image/png; name={cid}.png\r\nContent-ID: <{cid}>\r\n"
            f"Content-Disposition: {disposition}\r\n\r\npng"
        ).encode()

    html = (
        b"Content-Type: text/html\r\n\r\n<p>Voici <img src='cid:mine'></p>"
        b"<blockquote><img src='cid:theirs'><img src='CID:outlook'></blockquote>"
    )
    parts = (
        image("mine", "inline"),
        image("theirs", "inline"),
        image("outlook", "attachment"),
        image("nowhere", "inline"),
        image("real", "attachment"),
    )
    assert names(mixed(html, *parts)) == ["mine.png", "real.png"]
    assert names(mixed(html, *parts, kind=b"related")) == ["mine.png", "real.png"]
    # A phone's text mail: the picture has no other place than beside the text.
    assert names(mixed(b"\r\nVoici", image("photo", "inline"))) == ["photo.png"]


def test_the_mail_inside_a_mail_is_no_text_of_it() -> None:
    mail = mixed(b"\r\nPour info", b"Content-Type: message/rfc822\r\n\r\nFrom: x@y.fr\r\n\r\n!clos")
    assert mail.plain == "Pour info"
    assert mail.attachments[0].data.endswith(b"!clos")


@pytest.mark.parametrize(
    ("text", "delsp", "whole"),
    [
        ("un \ndeux\ntrois", False, "un deux\ntrois"),
        ("un \ndeux", True, "undeux"),
        ("> un \n> deux\ntrois", False, "> un deux\ntrois"),
        ("> un \n>> deux", False, "> un \n>> deux"),
        ("fin \n!clos \nPaul", False, "fin \n!clos \nPaul"),
        ("fin \n*!clos*", False, "fin \n*!clos*"),
        (" de\n From", False, "de\nFrom"),
        ("fin \n-- \nPaul", False, "fin \n-- \nPaul"),
        ("", False, ""),
    ],
)
def test_flowed_text_is_made_whole_and_commands_stay_alone(
    text: str, delsp: bool, whole: str
) -> None:
    assert unflow(text, delsp=delsp) == whole


@given(st.binary(max_size=300), st.sampled_from([b"", b"\r\n", b"\r\n\r\n", b": "]))
@settings(deadline=None)
def test_no_octets_raise_anything_else(data: bytes, join: bytes) -> None:
    for mail in (
        data,
        FROM + data,
        FROM + b"Content-Type: multipart/mixed; boundary=b" + join + data + b"\r\n--b\r\n" + data,
        FROM + b"Content-Type: " + data + b"\r\nContent-Disposition: " + data + b"\r\n\r\nx",
        b"From: " + data + b"\r\nDate: " + data + b"\r\n\r\nx",
    ):
        try:
            read = read_mail(mail)
        except UnreadableMail:
            continue
        assert read.from_.valid
        authored_part(read)
