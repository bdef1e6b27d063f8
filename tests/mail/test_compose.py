"""The mails of a thread as a client and a server see them, whatever the customer wrote."""

from __future__ import annotations

import base64
import email
import email.policy
import re
import textwrap
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inscriptis import get_text

from mailbridge.domain.command import Parsed, parse
from mailbridge.domain.discussion import Author, AuthorKind, Message
from mailbridge.domain.identity import Identity, NameKind
from mailbridge.domain.notice import Done, DoneKind, HoldReason, Notice, NoticeKind
from mailbridge.domain.order import LineStage, Order, OrderLine, OrderStage, Parcel
from mailbridge.domain.thread import Thread
from mailbridge.domain.wording import text_hash
from mailbridge.mail.compose import DAEMON_NAME, Composed, Composer, SellerPages
from mailbridge.mail.frame import Frame, FramePart
from mailbridge.mail.headers import Headers, MailMarks, address, read_marks
from mailbridge.mail.marking import _SIGNS, MARK, guard, mark
from mailbridge.mail.mime import multipart, text_part
from mailbridge.mail.rendering import Templates
from mailbridge.mail.samples import SAMPLE_MESSAGE, SAMPLE_ORDER, SAMPLE_THREAD

NOW = datetime(2026, 11, 21, 11, 5, tzinfo=UTC)
IDENTITY = Identity([b"k" * 32], account="shop", domain="mb.boutique.example")
COMPOSER = Composer(
    Templates(),
    IDENTITY,
    account="shop",
    mailbox_address="support@boutique.example",
    mailbox_name="Service client",
    pages=SellerPages.of_cdiscount("https://seller.cdiscount.com"),
)
FIRST = replace(SAMPLE_THREAD, first_message_id=None)


def parsed(made: Composed | bytes) -> EmailMessage:
    data = made if isinstance(made, bytes) else made.data
    return email.message_from_bytes(data, _class=EmailMessage, policy=email.policy.default)


def raw_header(made: Composed, name: str) -> str:
    """The header as its octets stand, unfolded."""
    head = made.data.split(b"\r\n\r\n", 1)[0].decode("ascii")
    found = re.search(rf"^{name}: ([^\r]*(?:\r\n[ \t][^\r]*)*)", head, re.MULTILINE)
    assert found is not None, name
    return re.sub(r"\r\n[ \t]", " ", found[1])


def bodies(made: Composed) -> tuple[str, str]:
    mail = parsed(made)
    text, page = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert page is not None
    shown = text.get_content(), page.get_content()
    return shown[0].replace("\r\n", "\n"), shown[1].replace("\r\n", "\n")


def filed(
    text: str = "Bonjour", *, thread: Thread = SAMPLE_THREAD, key: str = "1", name: str = "Marie"
) -> Composed:
    message = replace(SAMPLE_MESSAGE, text=text, author=Author(AuthorKind.CUSTOMER, name))
    return COMPOSER.message_mail(thread, message, key=key, date=NOW, order=SAMPLE_ORDER)


# --- headers --------------------------------------------------------------------------------------


def test_a_mail_of_the_thread_answers_its_first_one() -> None:
    mail = parsed(filed())
    first = SAMPLE_THREAD.first_message_id
    assert mail["From"] == "Marie Dupré via Cdiscount <cd-1dzb1h@mb.invalid>"
    assert mail["To"] == "Service client <support@boutique.example>"
    assert mail["Reply-To"] == f"Marie Dupré via Cdiscount <{SAMPLE_THREAD.reply_address}>"
    assert mail["Subject"] == "Re: Colis non reçu – commande 2611201A8ZQ4 (CD-1DZB1H)"
    assert mail["Thread-Topic"] == SAMPLE_THREAD.subject
    assert mail["Message-ID"] == IDENTITY.message_id(NameKind.MESSAGE, "cd-1dzb1h", "1")
    assert mail["In-Reply-To"] == first
    assert mail["References"] == f"<d.cd-1dzb1h@mb.boutique.example> {first}"
    assert parsedate_to_datetime(mail["Date"]) == NOW
    assert mail["Date"].endswith("+0100")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Auto-Response-Suppress"] == "All"
    assert not [h for h in mail if h.lower().startswith(("list-", "precedence"))]
    assert len(mail.keys()) == len({h.lower() for h in mail})


def test_the_answer_mark_is_not_encoded() -> None:
    assert raw_header(filed(), "Subject").startswith("Re: =?utf-8?q?Colis")


def test_the_first_mail_stands_bare_under_the_phantom_root() -> None:
    mail = parsed(filed(thread=FIRST))
    assert mail["Subject"] == SAMPLE_THREAD.subject
    assert mail["In-Reply-To"] is None
    assert mail["References"] == "<d.cd-1dzb1h@mb.boutique.example>"
    assert len(base64.b64decode(mail["Thread-Index"])) == 22


def test_the_first_mail_made_again_after_a_crash_is_the_same() -> None:
    made = filed(thread=FIRST)
    again = filed(thread=replace(FIRST, first_message_id=made.message_id))
    assert again.data == made.data


def test_the_thread_index_of_all_mails_begins_alike() -> None:
    first = base64.b64decode(parsed(filed(thread=FIRST))["Thread-Index"])
    later = base64.b64decode(parsed(filed())["Thread-Index"])
    assert later[:22] == first
    assert len(later) == 27


def test_references_are_never_encoded_however_long_they_are() -> None:
    long = f"<{'a' * 200}@mail.example.com>"
    thread = replace(SAMPLE_THREAD, first_message_id=long)
    notice = Notice(NoticeKind.HELP)
    made = COMPOSER.notice_mail(thread, notice, key="2", date=NOW, in_reply_to=f"<{'b' * 300}@x.y>")
    assert raw_header(made, "References") == f"<d.cd-1dzb1h@mb.boutique.example> {long}"
    assert raw_header(made, "In-Reply-To") == f"<{'b' * 300}@x.y>"


def test_a_notice_answers_the_mail_it_speaks_of_in_the_same_thread() -> None:
    notice = Notice(NoticeKind.HOLD, HoldReason.PAUSED)
    reply = "<reply@boutique.example>"
    made = COMPOSER.notice_mail(SAMPLE_THREAD, notice, key="h1", date=NOW, in_reply_to=reply)
    mail = parsed(made)
    assert mail["From"] == f"{DAEMON_NAME} <cd-1dzb1h@mb.invalid>"
    assert mail["Reply-To"] == f"Marie Dupré via Cdiscount <{SAMPLE_THREAD.reply_address}>"
    assert mail["In-Reply-To"] == reply
    assert mail["References"] == parsed(filed())["References"]
    assert mail["Message-ID"] == IDENTITY.message_id(NameKind.NOTICE, "cd-1dzb1h", "h1")
    assert mail["Subject"] == parsed(filed())["Subject"]


def test_an_international_domain_is_written_in_ascii() -> None:
    assert address("", "support@été.example") == "support@xn--t-9fab.example"
    made = filed(thread=replace(SAMPLE_THREAD, reply_address="support+mb-x@été.example"))
    assert raw_header(made, "Reply-To").endswith("<support+mb-x@xn--t-9fab.example>")


@pytest.mark.parametrize(
    "spec", ["été@boutique.example", "a b@x.y", "x@", "@x.y", "a" * 65 + "@x.y", "a@b\r\nBcc: c@d"]
)
def test_an_address_that_cannot_be_written_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match="mail address"):
        address("Marie", spec)


@pytest.mark.parametrize(
    "write",
    [
        lambda headers: headers.text("Subject", "a\r\nBcc: x@y.z"),
        lambda headers: headers.raw("X-A", "a\nBcc: x@y.z"),
        lambda headers: headers.address("From", "a\nBcc: x@y.z", "a@b.c"),
        lambda headers: headers.ids("References", ["<a@b>\r\nBcc: x@y.z"]),
        lambda headers: headers.ids("References", ["a@b"]),
    ],
)
def test_no_header_takes_a_line_break(write: Callable[[Headers], None]) -> None:
    with pytest.raises(ValueError, match=r"line break|Message-ID"):
        write(Headers())


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=300))
def test_any_one_line_text_survives_the_header(value: str) -> None:
    headers = Headers()
    headers.text("Subject", value)
    data = bytes(headers)
    assert all(len(line) <= 78 or value.isascii() for line in data.split(b"\r\n"))
    if not value.isascii() and not re.search(r"=\?.*\?=", value):
        read = email.message_from_bytes(data + b"\r\n", policy=email.policy.default)["Subject"]
        assert re.sub(r"\s+", " ", str(read)).strip() == re.sub(r"\s+", " ", value).strip()


# --- marks ----------------------------------------------------------------------------------------


def test_a_lost_journal_can_be_rebuilt_from_the_marks() -> None:
    message = Message(
        raw_time="2026-11-21T12:02:00.1234567",
        sent_at=NOW,
        author=Author(AuthorKind.OPERATOR, "Service client Cdiscount é\u202e"),
        text="Bonjour",
        ident="9f/3\r\n=?",
    )
    made = COMPOSER.message_mail(
        SAMPLE_THREAD, message, key="at:2026-11-21T12:02:00.1234567#1", date=NOW, message_id="<a@b>"
    )
    assert read_marks(parsed(made)) == MailMarks(
        account="shop",
        discussion="48211937",
        reference="48211937",
        kind="claim",
        customer="Marie Dupré",
        started_at=SAMPLE_THREAD.started_at,
        order="2611201A8ZQ4",
        claim="PackageNotReceived",
        relay=str(SAMPLE_THREAD.relay_address),
        relay_confirmed_at=SAMPLE_THREAD.relay_confirmed_at,
        message="at:2026-11-21T12:02:00.1234567#1",
        ident="9f/3\r\n=?",
        raw_time="2026-11-21T12:02:00.1234567",
        sent_at=NOW,
        author="operator",
        author_name="Service client Cdiscount é\u202e",
        text_hash=text_hash("Bonjour"),
    )


def test_a_notice_says_what_it_is() -> None:
    notice = Notice(NoticeKind.HOLD, HoldReason.PAUSED)
    made = COMPOSER.notice_mail(
        SAMPLE_THREAD, notice, key="hold:1:paused", date=NOW, message_id="<a@b>"
    )
    marks = read_marks(parsed(made))
    assert marks is not None
    assert (marks.notice, marks.notice_kind, marks.message) == (
        "hold:1:paused",
        "hold/paused",
        "",
    )


def test_a_mail_without_marks_has_none() -> None:
    assert read_marks(parsed(b"Subject: x\r\n\r\n")) is None
    assert read_marks(parsed(b"X-Mailbridge-Account: shop\r\n\r\n")) is None


@given(st.text(max_size=2000))
def test_any_value_makes_a_header_that_is_short_and_reads_back(value: str) -> None:
    headers = Headers()
    marks = MailMarks("shop", "1", "1", "claim", "Marie", NOW, author_name=value)
    marks.write(headers)
    data = bytes(headers)
    assert max(map(len, data.split(b"\r\n"))) < 998
    read = read_marks(parsed(data + b"\r\n"))
    assert read is not None
    expected = value.encode("utf-8", "replace").decode().strip()
    assert expected.startswith(read.author_name)
    assert read.author_name == expected or len(value) > 60


# --- body -----------------------------------------------------------------------------------------


def test_the_customers_words_come_first_then_the_order_then_help() -> None:
    for shown in bodies(filed("Où est mon colis ?")):
        words = shown.index("Où est mon colis ?")
        card = shown.index("2611201A8ZQ4", words)
        assert words < card < shown.index("!clos")


def test_the_card_tells_the_order() -> None:
    text, page = bodies(filed())
    for shown in (text, get_text(page)):
        flat = re.sub(r"[\s\u00a0\u202f]+", " ", shown)
        for told in (
            "colis non reçu",
            "expédiée",
            "passée le 15 novembre 2026",
            "2 × Coque souple pour iPhone 15, noire, avec protection d'écran",
            "24,90 €",
            "12,45 € l'unité",
            "COQ-IP15-NOIR",
            "remboursée après expédition",
            "8R41233456789",
            "Colissimo",
            "livré",
            "Déjà remboursé",
            "9,90 €",
            "38,70 €",
            "Adresse du client confirmée le 21 novembre 2026.",
        ):
            assert told.lower() in flat.lower(), told
    assert 'href="https://www.laposte.fr/outils/suivre-vos-envois?code=8R41233456789"' in page
    assert 'href="https://seller.cdiscount.com/Messages"' in page
    assert str(SAMPLE_THREAD.relay_address) not in text + page


@pytest.mark.parametrize(
    ("stage", "of_the_line", "told"),
    [
        (OrderStage.TO_SHIP, LineStage.TO_SHIP, 1),
        (OrderStage.UNKNOWN, LineStage.UNKNOWN, 1),
        (OrderStage.SHIPPED, LineStage.SHIPPED, 0),
        (OrderStage.ENDED, LineStage.CANCELLED, 0),
        # Shipped in part: one line's promise is still to be kept.
        (OrderStage.SHIPPED, LineStage.TO_SHIP, 1),
    ],
)
def test_a_promise_to_ship_is_told_until_it_is_kept(
    stage: OrderStage, of_the_line: LineStage, told: int
) -> None:
    line = replace(SAMPLE_ORDER.lines[0], stage=of_the_line, ship_by=SAMPLE_ORDER.ship_by)
    order = replace(SAMPLE_ORDER, stage=stage, lines=(line,))
    mail = COMPOSER.message_mail(SAMPLE_THREAD, SAMPLE_MESSAGE, key="1", date=NOW, order=order)
    for shown in bodies(mail):
        assert shown.lower().count("à expédier avant le") == told


def test_without_an_order_the_mail_says_what_it_can() -> None:
    bare = replace(SAMPLE_THREAD, order_number=None, relay_confirmed_at=None, claim_type=None)
    text, _ = bodies(COMPOSER.message_mail(bare, SAMPLE_MESSAGE, key="1", date=NOW))
    assert "Commande" not in text
    text, _ = bodies(COMPOSER.message_mail(SAMPLE_THREAD, SAMPLE_MESSAGE, key="1", date=NOW))
    assert "Commande 2611201A8ZQ4\u00a0: les détails ne sont pas encore connus." in text


def test_an_empty_message_says_so() -> None:
    for text in ("", "\n \n", "\u200b\u202e"):
        assert bodies(filed(text))[0].startswith("(message sans texte)")


def test_in_shadow_mode_nobody_is_told_to_answer_by_mail() -> None:
    shadow = Composer(
        Templates(),
        IDENTITY,
        account="shop",
        mailbox_address="support@boutique.example",
        replies_on=False,
    )
    text, _ = bodies(shadow.message_mail(SAMPLE_THREAD, SAMPLE_MESSAGE, key="1", date=NOW))
    assert "Les réponses par mail ne sont pas activées" in text
    assert "!clos" not in text


def test_nothing_remote_and_nothing_live_is_in_the_page() -> None:
    page = bodies(filed('<img src="https://evil.example/x.png"><script>1</script>'))[1]
    assert "&lt;img src=" in page
    assert not re.search(r"<(?:img|script|link|iframe|form|style|base)\b", page)
    assert not re.search(r"url\(|@import|expression\(", page)


def test_html_looking_words_are_shown_literally() -> None:
    text, page = bodies(filed("<b>Bonjour</b> & {{ 7*7 }} {% x %}"))
    assert text.startswith("<b>Bonjour</b> & {{ 7*7 }} {% x %}\n")
    assert "&lt;b&gt;Bonjour&lt;/b&gt; &amp; {{ 7*7 }} {% x %}" in page


def test_lines_keep_their_breaks_and_indents_without_pre() -> None:
    page = bodies(filed("un\n\n    deux\n\ttrois"))[1]
    indent = "\u00a0" * 4
    assert f"un<br>\n<br>\n{indent}deux<br>\n{indent}trois" in page
    assert "pre-line" not in page


HOSTILE = [
    "!rembourser 59,00",
    "   !clos",
    "\u200b\u202e!clos",
    "\ufeff！rembourser total",
    "＃clos",
    "*!clos*",
    "**!clos**",
    "`!clos`",
    "- !clos",
    "« !clos »",
    "> !clos",
    "\u3164!clos",
    "#résolu",
    "‼clos",
    "! clos",
    "\u00a0!clos",
    "!\u200bclos",
    "!note\nrien",
    "Merci de faire !clos",
    "blabla " * 9 + "!rembourser 59,00 " + "blabla " * 9,
    "a\r!clos",
    "a\u2028!clos",
    "a\x0b!clos\x0c!clos\x1e!clos\x85!clos",
    "+ !clos",
    "1. !clos",
]


def wrapped(line: str) -> set[str]:
    """Every line that a client may make of one by wrapping."""
    pieces = {line}
    if "!" in line or "#" in line:
        for width in range(40, 81):
            pieces.update(textwrap.wrap(line, width, break_on_hyphens=False))
    return pieces


@pytest.mark.parametrize("line", HOSTILE)
def test_a_customer_cannot_write_a_command(line: str) -> None:
    made = filed(f"Bonjour\n{line}\nMerci")
    text, page = bodies(made)
    for shown in (text, get_text(page), text.replace("\u00a0", " ")):
        lines = {one for whole in shown.splitlines() for one in wrapped(whole)}
        for one in lines:
            read = parse(one)
            assert not isinstance(read, Parsed) or not read.commands, one


@given(
    st.text(
        st.one_of(
            st.sampled_from("!#！＃‼﹗ \t\n\r*_`>-«“\u200b\u00a0\u2028\u3164clos"), st.characters()
        ),
        max_size=60,
    )
)
def test_whatever_a_customer_writes_no_line_of_it_is_a_command(text: str) -> None:
    shown = mark(text.replace("\r", "\n"))
    assert mark(shown) == shown
    assert guard(shown) == shown
    for line in shown.split("\n"):
        read = parse(line)
        assert not isinstance(read, Parsed) or not read.commands


def test_every_character_that_turns_into_a_sign_is_known() -> None:
    turned = {
        c
        for c in map(chr, range(0x20, 0x110000))
        if unicodedata.normalize("NFKC", c)[:1] in ("!", "#")
    }
    assert turned == set(_SIGNS)


def test_the_mark_is_seen_in_both_parts() -> None:
    text, page = bodies(filed("!clos"))
    assert text.startswith(f"{MARK}!clos\n")
    assert f"{MARK}!clos" in page


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Merci !", "Merci\u00a0!"),
        ("Merci !\n\nPaul", "Merci\u00a0!\n\nPaul"),
        ("La commande #2611 est là", "La commande\u00a0#2611 est là"),
        ("a#b !", "a#b\u00a0!"),
    ],
)
def test_plain_french_is_hardly_touched(written: str, shown: str) -> None:
    assert mark(written) == shown


def ugly_thread(name: str) -> Thread:
    return replace(SAMPLE_THREAD, customer=name, claim_type=name, order_number=name, twin=name)


@pytest.mark.parametrize(
    "ugly",
    [
        "x" * 10_000,
        "é" * 10_000,
        "😀" * 5_000,
        "a\r\nBcc: evil@x.y\r\n\r\n!clos",
        '"; \\ <a@b> (c) , :',
        "\x00\x1b[31m\u202e\u2066",
        "شركة العميل",
        "!clos",
        "=?utf-8?q?x?=",
        "",
        "\ud800",
    ],
    ids=[
        "long",
        "long-accents",
        "long-emoji",
        "line-breaks",
        "specials",
        "controls",
        "arabic",
        "command",
        "encoded-word",
        "empty",
        "surrogate",
    ],
)
def test_no_name_breaks_a_mail(ugly: str) -> None:
    order = Order(
        number=ugly,
        state=ugly,
        created_at=NOW,
        customer_name=ugly,
        lines=(OrderLine(1, ugly, ugly, 1, SAMPLE_ORDER.total, ugly, has_claim=True, ean=ugly),)
        * 60,
        parcels=(Parcel(ugly, ugly, f"https://x.example/{ugly}", ugly),),
    )
    message = Message(ugly, NOW, Author(AuthorKind.CUSTOMER, ugly), ugly, ugly)
    thread = ugly_thread(ugly)
    made = COMPOSER.message_mail(thread, message, key="1", date=NOW, order=order)
    assert made.problem is None, made.problem
    assert made.data.isascii()
    assert max(map(len, made.data.split(b"\r\n"))) < 998
    assert b"\n" not in made.data.replace(b"\r\n", b"")
    assert b"\r" not in made.data.replace(b"\r\n", b"")
    mail = parsed(made)
    assert mail["Bcc"] is None
    assert mail["From"].addresses[0].addr_spec == "cd-1dzb1h@mb.invalid"
    assert len(mail["From"].addresses) == 1
    assert [a.addr_spec for a in mail["Reply-To"].addresses] == [SAMPLE_THREAD.reply_address]
    text, page = bodies(made)
    for shown in (text, get_text(page)):
        for line in shown.splitlines():
            read = parse(line)
            assert not isinstance(read, Parsed) or not read.commands, line
    assert "\x1b" not in text + page
    assert "\u202e" not in text + page


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=300), st.text(max_size=80))
def test_any_words_make_a_sound_mail(text: str, name: str) -> None:
    made = COMPOSER.message_mail(
        ugly_thread(name),
        replace(SAMPLE_MESSAGE, text=text, author=Author(AuthorKind.CUSTOMER, name)),
        key="1",
        date=NOW,
    )
    assert made.data.isascii()
    assert max(map(len, made.data.split(b"\r\n"))) < 998
    mail = parsed(made)
    assert not mail.defects
    assert all(not part.defects for part in mail.walk())
    assert [p.get_content_type() for p in mail.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]


def test_from_says_who_speaks_and_reply_to_who_is_answered() -> None:
    for kind, display in {
        AuthorKind.SELLER: "Votre boutique via Cdiscount",
        AuthorKind.OPERATOR: "Service client Cdiscount",
        AuthorKind.AUTOMATIC: "Cdiscount (message automatique)",
    }.items():
        message = replace(SAMPLE_MESSAGE, author=Author(kind))
        mail = parsed(COMPOSER.message_mail(SAMPLE_THREAD, message, key="1", date=NOW))
        assert mail["From"].addresses[0].display_name == display
        assert mail["Reply-To"].addresses[0].display_name == "Marie Dupré via Cdiscount"


@pytest.mark.parametrize(
    ("code", "window", "service"),
    [
        ("", "Cdiscount", "Cdiscount"),
        ("CDISFR", "Cdiscount", "Cdiscount"),
        ("cdisfr", "Cdiscount", "Cdiscount"),
        ("RDCFR", "RDCFR", "Octopia"),
        ("R\r\nX: y", "R X: y", "Octopia"),
    ],
)
def test_mails_of_another_sales_channel_name_it(code: str, window: str, service: str) -> None:
    composer = Composer(
        Templates(),
        IDENTITY,
        account="shop",
        mailbox_address="support@boutique.example",
        channels={"CDISFR": "Cdiscount"},
        elsewhere="Octopia",
    )
    thread = replace(SAMPLE_THREAD, sales_channel=code)
    for kind, display in {
        AuthorKind.CUSTOMER: f"Marie Dupré via {window}",
        AuthorKind.SELLER: f"Votre boutique via {window}",
        AuthorKind.OPERATOR: f"Service client {window}",
        AuthorKind.AUTOMATIC: f"{window} (message automatique)",
    }.items():
        message = replace(SAMPLE_MESSAGE, author=Author(kind), text="Bonjour")
        made = composer.message_mail(thread, message, key="1", date=NOW)
        assert parsed(made)["From"].addresses[0].display_name == display
        assert parsed(made)["Reply-To"].addresses[0].display_name == f"Marie Dupré via {window}"
        assert ("Cdiscount" in bodies(made)[0]) is (
            service == "Cdiscount" and kind in (AuthorKind.OPERATOR, AuthorKind.AUTOMATIC)
        )
    receipt = Notice(NoticeKind.RECEIPT, done=(Done(DoneKind.RECORDED, {"at": NOW.isoformat()}),))
    told = bodies(composer.notice_mail(thread, receipt, key="r", date=NOW))[0]
    assert f"Réponse enregistrée par {service}" in told
    frame = Frame(
        FramePart("Merci de votre achat chez {{ marketplace }}.", "greeting"),
        FramePart("", "signature"),
    )
    assert composer.frame("Bonjour", frame, customer="Marie", channel=code).startswith(
        f"Merci de votre achat chez {window}."
    )


# --- MIME -----------------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n"), max_size=400))
def test_any_text_survives_its_encoding(text: str) -> None:
    part = email.message_from_bytes(text_part(text), _class=EmailMessage, policy=email.policy.SMTP)
    assert part.get_content().replace("\r\n", "\n").rstrip("\n") == text.rstrip("\n")
    assert max(map(len, text_part(text).split(b"\r\n"))) <= 76


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("plain", b"7bit"),
        ("déjà vu", b"quoted-printable"),
        ("x" * 500, b"quoted-printable"),
        ("مرحبا بكم", b"base64"),
    ],
)
def test_the_encoding_fits_the_text(text: str, encoding: bytes) -> None:
    assert b"Content-Transfer-Encoding: " + encoding in text_part(text)


def test_the_same_mail_has_the_same_octets() -> None:
    assert filed().data == filed().data
    one = multipart("mixed", [text_part("a")], seed="1")
    assert one == multipart("mixed", [text_part("a")], seed="1")
    assert one != multipart("mixed", [text_part("a")], seed="2")


def test_a_late_mail_says_when_it_was_written() -> None:
    message = replace(SAMPLE_MESSAGE, sent_at=NOW - timedelta(days=3))
    text, _ = bodies(COMPOSER.message_mail(SAMPLE_THREAD, message, key="1", date=NOW))
    assert "Écrit le 18\u00a0novembre 2026 à\u00a012:05" in text
