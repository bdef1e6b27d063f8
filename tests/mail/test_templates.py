"""Every word staff may read: complete, in both languages, and no line of it is a command."""

from __future__ import annotations

import email
import email.policy
import re
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from inscriptis import get_text
from lxml import etree

from mailbridge.domain.command import Parsed, parse
from mailbridge.domain.discussion import Author, AuthorKind, DiscussionKind
from mailbridge.domain.identity import Identity
from mailbridge.domain.notice import MONEY_REASONS, Done, DoneKind, HoldReason, Notice, NoticeKind
from mailbridge.domain.order import LineStage, Order
from mailbridge.domain.showing import Topic
from mailbridge.domain.thread import Thread
from mailbridge.domain.vocabulary import Vocabulary
from mailbridge.mail.card import web_link
from mailbridge.mail.compose import Composed, Composer, SellerPages
from mailbridge.mail.frame import Frame, FramePart
from mailbridge.mail.rendering import TemplateBroken, Templates, shipped_folder
from mailbridge.mail.samples import (
    DONE_FACTS,
    HOLD_FACTS,
    SAMPLE_MESSAGE,
    SAMPLE_ORDER,
    SAMPLE_THREAD,
    sample_notices,
    try_templates,
)

NOW = datetime(2026, 11, 21, 11, 5, tzinfo=UTC)
NBSP = "\u00a0"


@cache
def composer(language: str = "fr", own: Path | None = None, *, by_mail: bool = True) -> Composer:
    return Composer(
        Templates(own),
        Identity([b"k" * 32], account="shop", domain="mb.boutique.example"),
        account="shop",
        mailbox_address="support@boutique.example",
        language=language,
        pages=SellerPages.of_cdiscount("https://seller.cdiscount.com"),
        by_mail=by_mail,
        closed_folder="Clos",
        channels={"CDISFR": "Cdiscount"},
        elsewhere="Octopia",
    )


def parts(made: Composed) -> tuple[str, str]:
    mail = email.message_from_bytes(made.data, policy=email.policy.default)
    text, page = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert page is not None
    shown = (text.get_content(), page.get_content())
    return shown[0].replace("\r\n", "\n"), shown[1].replace("\r\n", "\n")


def notice_parts(notice: Notice, language: str = "fr") -> tuple[str, str]:
    made = composer(language).notice_mail(SAMPLE_THREAD, notice, key="1", date=NOW)
    assert made.problem is None, made.problem
    return parts(made)


def as_quoted(text: str) -> set[str]:
    """Every line that a client may make of the text by wrapping and quoting it.

    Measured: some quote without any mark; others put `>` with or without a blank.
    """
    lines = set(text.splitlines())
    for line in text.splitlines():
        if "!" not in line and "#" not in line:
            continue
        for width in range(40, 81):
            lines.update(textwrap.wrap(line, width, break_on_hyphens=False))
    return lines | {f"> {line}" for line in lines} | {f">{line}" for line in lines}


def looks(made: Composed) -> Iterator[str]:
    text, page = parts(made)
    yield text
    yield get_text(page)


def assert_holds_no_command(made: Composed) -> None:
    for look in looks(made):
        # Some clients make plain blanks of no-break ones before they wrap.
        for line in as_quoted(look) | as_quoted(look.replace(NBSP, " ")):
            read = parse(line)
            assert isinstance(read, Parsed), read
            assert not read.commands, line


ALL_NOTICES = list(sample_notices())
HOLDS_OF_SUBMISSION = (
    HoldReason.SUBMISSION_REFUSED,
    HoldReason.SUBMISSION_DELAYED,
    HoldReason.SUBMISSION_GAVE_UP,
    HoldReason.SUBMISSION_UNCERTAIN,
)


def name(notice: Notice) -> str:
    code = "+code" if notice.code else ""
    return f"{notice.kind}-{notice.reason or '+'.join(d.kind for d in notice.done)}{code}"


def test_the_samples_leave_nothing_out() -> None:
    assert set(HOLD_FACTS) == set(HoldReason)
    assert set(DONE_FACTS) == set(DoneKind)
    assert {n.kind for n in ALL_NOTICES} == set(NoticeKind)


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("notice", ALL_NOTICES, ids=name)
def test_every_notice_is_complete_and_holds_no_command(notice: Notice, language: str) -> None:
    made = composer(language).notice_mail(SAMPLE_THREAD, notice, key="1", date=NOW)
    assert made.problem is None, made.problem
    assert_holds_no_command(made)
    text, page = parts(made)
    for shown in (text, get_text(page)):
        flat = re.sub(r"\s+", " ", shown)
        about_money = notice.kind is NoticeKind.CONFIRM or notice.reason in MONEY_REASONS
        # Facts about money are words for the templates; all of them say of which order.
        facts = {"order": notice.facts["order"]} if about_money else notice.facts
        for key, fact in facts.items():
            if notice.reason is HoldReason.MONEY_IMPOSSIBLE:
                continue  # each obstacle says what it is about, which may be no order
            if key not in ("at", "since", "date", "confirmed", "what"):
                assert fact in flat.replace("›", "").replace(NBSP, " "), key
        assert ("482913" in flat) == bool(notice.code)
        assert "None" not in flat
        assert "Undefined" not in flat
        assert "{{" not in flat


@pytest.mark.parametrize("language", ["fr", "en"])
def test_every_hold_offers_a_way_out(language: str) -> None:
    for reason, facts in HOLD_FACTS.items():
        text, _ = notice_parts(Notice(NoticeKind.HOLD, reason, facts), language)
        heading = "Que faire ?" if language == "fr" else "What you can do"
        assert heading in text.replace(NBSP, " "), reason
        assert re.search(r"^- \w", text, re.MULTILINE), reason


@pytest.mark.parametrize(
    "notice",
    [n for n in ALL_NOTICES if n.reason in MONEY_REASONS and n.facts.get("held")],
    ids=name,
)
@pytest.mark.parametrize("language", ["fr", "en"])
def test_that_the_text_is_held_too_is_said_before_the_ways_out(
    notice: Notice, language: str
) -> None:
    text, _ = notice_parts(notice, language)
    told, _, ways = text.partition("Que faire" if language == "fr" else "What you can do")
    words = "retenu lui aussi" if language == "fr" else "held as well"
    assert words not in ways
    assert words in told


@pytest.mark.parametrize(
    ("language", "words"), [("fr", "1.234 se lit de deux façons"), ("en", "read in two ways")]
)
def test_an_amount_that_is_refused_is_shown_how_to_be_written(language: str, words: str) -> None:
    facts = {"line": "!geste 1.234 €", "amount": "yes"}
    text, _ = notice_parts(Notice(NoticeKind.HOLD, HoldReason.BAD_ARGUMENT, facts), language)
    assert words in " ".join(text.replace(NBSP, " ").split())


@pytest.mark.parametrize("language", ["fr", "en"])
def test_each_reason_has_words_of_its_own(language: str) -> None:
    titles = {
        notice_parts(Notice(NoticeKind.HOLD, reason, facts), language)[0].split("\n")[0]
        for reason, facts in HOLD_FACTS.items()
    }
    assert len(titles) == len(HoldReason)


def test_only_commands_that_exist_are_named() -> None:
    known = Vocabulary.default().words
    for file in shipped_folder().rglob("*.j2"):
        source = file.read_text(encoding="utf-8")
        for command in re.findall(r"[«“]\s*!([^\s»”]+)", source):
            folded = command.translate(str.maketrans("éè", "ee"))
            assert folded in known, f"{file.name}: {command}"


def test_a_command_of_the_reply_shown_again_is_marked() -> None:
    notice = Notice(NoticeKind.HOLD, HoldReason.PAUSED, text="Bonjour,\n!clos\nPaul")
    made = composer().notice_mail(SAMPLE_THREAD, notice, key="1", date=NOW)
    for look in looks(made):
        assert "› !clos" in look.replace(NBSP, " ")
    assert_holds_no_command(made)


def test_a_code_is_shown_alone_and_its_use_told_in_words() -> None:
    facts = HOLD_FACTS[HoldReason.NOT_PROVEN]
    notice = Notice(NoticeKind.HOLD, HoldReason.NOT_PROVEN, facts, code="482913")
    text, page = notice_parts(notice)
    assert f"\nCode{NBSP}: 482913\n" in text
    assert "“!envoyer” suivi d'une espace et du code" in text
    for line in (text + get_text(page)).splitlines():
        assert not ("482913" in line and "!" in line)


def test_times_are_put_into_words_and_words_stay() -> None:
    told = Notice(NoticeKind.RECEIPT, done=(Done(DoneKind.CLOSED, {"at": NOW.isoformat()}),))
    assert f"21{NBSP}novembre 2026 à{NBSP}12:05" in notice_parts(told)[0]
    assert f"21{NBSP}November 2026 at{NBSP}12:05" in notice_parts(told, "en")[0]
    said = Notice(NoticeKind.RECEIPT, done=(Done(DoneKind.CLOSED, {"at": "21/11 à 12:05"}),))
    assert "(21/11 à 12:05)" in notice_parts(said)[0]


def test_a_fact_that_went_missing_leaves_a_gap_not_silence() -> None:
    notice = Notice(NoticeKind.HOLD, HoldReason.NOT_STAFF, {}, text="Bonjour")
    made = composer().notice_mail(SAMPLE_THREAD, notice, key="1", date=NOW)
    assert made.problem is not None
    assert made.problem.name == "mail/fr/hold.j2"
    assert made.problem.line > 0
    assert "Cette réponse vient de …," in parts(made)[0]


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("kind", list(DiscussionKind))
@pytest.mark.parametrize("author", list(AuthorKind))
def test_every_message_is_complete(language: str, kind: DiscussionKind, author: AuthorKind) -> None:
    thread = replace(SAMPLE_THREAD, kind=kind, twin="cd-7f3k2")
    message = replace(SAMPLE_MESSAGE, author=Author(author, "X"))
    for order in (SAMPLE_ORDER, None):
        made = composer(language).message_mail(
            thread, message, key="1", date=NOW, order=order, attachments_missing=True
        )
        assert made.problem is None, made.problem
        assert_holds_no_command(made)
        for look in looks(made):
            assert "None" not in look
            assert "CD-7F3K2" in look


def states(name: str, language: str = "fr") -> list[str]:
    """The keys of one table of `card.j2`."""
    source = (shipped_folder() / f"mail/{language}/card.j2").read_text(encoding="utf-8")
    table = re.search(rf"set {name} = {{(.*?)}} %}}", source, re.DOTALL)
    assert table is not None
    return re.findall(r'"([^"]+)":', table[1])


TABLES = {
    "order_states": "OrderStateEnum",
    "line_states": "AcceptationStateEnum",
    "conditions": "ProductConditionEnum",
    "parcel_states": "ParcelStatus",
    "claim_types": "ClaimType",
    "sources": "VoucherSourceActor",
}


OCTOPIA = ["octopia_states", "line_stages"]


@pytest.mark.parametrize("table", [*TABLES, *OCTOPIA, "kinds"])
def test_both_languages_know_the_same_words(table: str) -> None:
    assert states(table, "fr") == states(table, "en")


@pytest.mark.parametrize(("table", "wsdl"), TABLES.items())
def test_every_word_of_the_contract_is_known(table: str, wsdl: str, recordings: Path) -> None:
    tree = etree.parse(recordings / "xsd0.xsd")
    xs = {"xs": "http://www.w3.org/2001/XMLSchema"}
    words = tree.xpath(f"//xs:simpleType[@name='{wsdl}']//xs:enumeration/@value", namespaces=xs)
    assert isinstance(words, list)
    assert {str(w) for w in words} == set(states(table))


def card_looks(order: Order, thread: Thread = SAMPLE_THREAD) -> Iterator[str]:
    made = composer().message_mail(thread, SAMPLE_MESSAGE, key="1", date=NOW, order=order)
    return looks(made)


def card_of(order: Order, **thread: str) -> str:
    made = composer().message_mail(
        replace(SAMPLE_THREAD, claim_type=thread.get("claim_type")),
        SAMPLE_MESSAGE,
        key="1",
        date=NOW,
        order=order,
    )
    return "\n".join(parts(made))


def test_what_became_of_a_lines_money_stands_before_a_state_that_does_not_tell_it() -> None:
    line = replace(SAMPLE_ORDER.lines[0], state="Cancelled", stage=LineStage.REFUNDED)
    bare = replace(SAMPLE_ORDER, vouchers=(), lines=(line,))
    for look in card_looks(bare):
        assert "remboursée" in look
        assert "annulée" not in look
        # The order shows no amount beside it; that is no reason to say the contrary.
        assert "Aucun remboursement" not in look
    shipped = replace(line, state="Delivered", stage=LineStage.SHIPPED)
    for look in card_looks(replace(bare, lines=(shipped,))):
        assert "livrée" in look
        assert "Aucun remboursement" in look


def test_a_card_is_silent_of_refunds_that_nobody_has_read() -> None:
    for look in card_looks(replace(SAMPLE_ORDER, vouchers=None)):
        assert "Aucun remboursement" not in look
        assert "Déjà remboursé" not in look


def test_the_head_of_a_card_says_nothing_twice() -> None:
    thread = replace(SAMPLE_THREAD, escalation="Claim", sales_channel="CDISFR")
    for look in card_looks(SAMPLE_ORDER, thread):
        assert len(re.findall("réclamation", look, re.IGNORECASE)) == 2  # its kind; the line's
        assert "CDISFR" not in look
    other = replace(thread, escalation="Level_1", sales_channel="RDCFR")
    for look in card_looks(SAMPLE_ORDER, other):
        assert "médiation, niveau 1" in look
        assert "RDCFR" in look
        assert "Cdiscount" not in look


@pytest.mark.parametrize("language", ["fr", "en"])
def test_who_took_an_answer_is_named_by_what_took_it(language: str) -> None:
    """The marketplace's interface is no mail server of the shop."""
    maker = composer(language, by_mail=False)
    for notice in ALL_NOTICES:
        made = maker.notice_mail(SAMPLE_THREAD, notice, key="1", date=NOW)
        assert made.problem is None, made.problem
        about = {notice.reason, *(done.kind for done in notice.done)}
        if about & {*HOLDS_OF_SUBMISSION, DoneKind.SENT}:
            for look in looks(made):
                assert not re.search(r"serveur|server", look), name(notice)


@pytest.mark.parametrize("table", [*(t for t in TABLES if t != "sources"), "octopia_states"])
def test_no_state_is_left_in_the_services_words(table: str) -> None:
    for state in states(table):
        claim = state if table == "claim_types" else ""
        order = SAMPLE_ORDER
        match table:
            case "order_states":
                order = replace(order, state=state)
            case "octopia_states":
                line = replace(order.lines[0], state=state, stage=LineStage.UNKNOWN)
                order = replace(order, state=state, lines=(line,))
            case "line_states":
                order = replace(order, lines=(replace(order.lines[0], state=state),))
            case "conditions":
                order = replace(order, lines=(replace(order.lines[0], condition=state),))
            case "parcel_states":
                order = replace(order, parcels=(replace(order.parcels[0], status=state),))
            case _:
                pass
        shown = card_of(order, claim_type=claim)
        assert not re.search(rf"\b{re.escape(state)}\b", shown), state


def test_until_when_an_answer_is_due_is_said_with_the_day() -> None:
    due = datetime(2026, 11, 23, 11, 2, tzinfo=UTC)
    for language, words in (
        ("fr", "À répondre avant le lundi 23 novembre 2026 à 12:02"),
        ("en", "To be answered by Monday 23 November 2026 at 12:02"),
    ):
        for answer_by, there in ((due, True), (None, False)):
            made = composer(language).message_mail(
                SAMPLE_THREAD, SAMPLE_MESSAGE, key="1", date=NOW, answer_by=answer_by
            )
            for look in looks(made):
                flat = re.sub(r"\s+", " ", look.replace(NBSP, " "))
                assert (words in flat) is there


TOPICS = {
    "fr": {
        Topic.STATE: "l'état de la commande",
        Topic.LINES: "l'état d'un article",
        Topic.PARCELS: "le suivi des colis",
        Topic.REFUNDS: "les remboursements",
    },
    "en": {
        Topic.STATE: "the state of the order",
        Topic.LINES: "the state of an item",
        Topic.PARCELS: "the parcels",
        Topic.REFUNDS: "the refunds",
    },
}


@pytest.mark.parametrize("language", TOPICS)
@pytest.mark.parametrize("topic", Topic)
def test_a_changed_order_is_shown_whole_below_what_changed(language: str, topic: Topic) -> None:
    changed = Done(DoneKind.ORDER_CHANGED, {"topics": topic})
    made = composer(language).notice_mail(
        SAMPLE_THREAD,
        Notice(NoticeKind.NEWS, done=(changed,)),
        key="order:1",
        date=NOW,
        order=SAMPLE_ORDER,
    )
    assert made.problem is None
    assert_holds_no_command(made)
    for look in looks(made):
        assert "8R41233456789" in look
        flat = re.sub(r"\s+", " ", look)
        assert [t for t, words in TOPICS[language].items() if words in flat] == [topic]


def test_an_unknown_state_is_shown_as_it_came() -> None:
    order = replace(SAMPLE_ORDER, state="LostInSpace", lines=())
    text, page = parts(
        composer().message_mail(SAMPLE_THREAD, SAMPLE_MESSAGE, key="1", date=NOW, order=order)
    )
    assert "LostInSpace" in text
    assert "LostInSpace" in page


# --- a shop's own templates -----------------------------------------------------------------------


def own(folder: Path, name: str, source: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source, encoding="utf-8")
    return folder


def test_a_shop_can_change_one_phrase(tmp_path: Path) -> None:
    own(
        tmp_path,
        "mail/fr/hold.j2",
        '{% extends "shipped/mail/fr/hold.j2" %}'
        "{% block paused %}En pause\nAppelez Paul.\n{% endblock %}",
    )
    made = composer(own=tmp_path)
    paused = made.notice_mail(
        SAMPLE_THREAD, Notice(NoticeKind.HOLD, HoldReason.PAUSED), key="1", date=NOW
    )
    assert paused.problem is None
    assert parts(paused)[0].startswith("En pause\n")
    other = made.notice_mail(
        SAMPLE_THREAD, Notice(NoticeKind.HOLD, HoldReason.NO_TEXT), key="2", date=NOW
    )
    assert "elle ne contient pas de texte" in parts(other)[0]


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        ("{{ words }}\n{{ nothing_like_it }}", 2, "'nothing_like_it' is undefined"),
        ("a\nb\n{% if %}", 3, "Expected an expression"),
        ("{{ ''.__class__.__mro__ }}", 1, "unsafe"),
        ("\n{{ 1 / 0 }}", 2, "ZeroDivisionError"),
        ("{{ words + 1 }}", 1, "TypeError"),
        ('{% include "mail/none.j2" %}', 0, "mail/none.j2"),
    ],
)
def test_a_broken_one_is_passed_over_and_named(
    tmp_path: Path, source: str, line: int, says: str
) -> None:
    own(tmp_path, "mail/message.txt.j2", source)
    made = composer(own=tmp_path).message_mail(SAMPLE_THREAD, SAMPLE_MESSAGE, key="1", date=NOW)
    assert made.problem is not None
    assert made.problem.name == "mail/message.txt.j2"
    assert made.problem.line == line
    assert says in str(made.problem)
    assert "Marie" not in str(made.problem)
    assert parts(made)[0].startswith("Bonjour,")
    assert (
        made.data == composer().message_mail(SAMPLE_THREAD, SAMPLE_MESSAGE, key="1", date=NOW).data
    )


def test_a_broken_one_stops_no_other(tmp_path: Path) -> None:
    own(tmp_path, "mail/notice.txt.j2", "{{ oops }}")
    own(tmp_path, "mail/message.html.j2", "<p>À nous :</p>{{ lines(words) }}")
    made = composer(own=tmp_path).message_mail(SAMPLE_THREAD, SAMPLE_MESSAGE, key="1", date=NOW)
    assert made.problem is None
    assert parts(made)[1].startswith("<p>À nous :</p>Bonjour,<br>")


@pytest.mark.parametrize(
    "page", ["<p>!clos</p>", "a<br>！clos", "<table><tr><td>#solved</td></tr></table>", "&#33;clos"]
)
def test_one_that_prints_a_bare_command_is_passed_over(tmp_path: Path, page: str) -> None:
    own(tmp_path, "mail/message.html.j2", page)
    made = composer(own=tmp_path).message_mail(SAMPLE_THREAD, SAMPLE_MESSAGE, key="1", date=NOW)
    assert made.problem is not None
    assert "command" in made.problem.reason
    assert_holds_no_command(made)


def test_the_same_in_a_text_template_is_marked(tmp_path: Path) -> None:
    own(tmp_path, "mail/message.txt.j2", "{{ words }}\n!clos\n")
    made = composer(own=tmp_path).message_mail(SAMPLE_THREAD, SAMPLE_MESSAGE, key="1", date=NOW)
    assert f"\n›{NBSP}!clos" in parts(made)[0]


def test_what_staff_read_is_strict_when_it_is_checked(tmp_path: Path) -> None:
    own(tmp_path, "mail/card.txt.j2", "{{ nobody }}")
    with pytest.raises(TemplateBroken, match=r"mail/card\.txt\.j2, line 1"):
        Templates(tmp_path).render_strict("mail/card.txt.j2", {})


def test_a_shops_templates_are_tried_before_they_are_needed(tmp_path: Path) -> None:
    assert try_templates(composer()) == []
    own(tmp_path, "mail/card.html.j2", "{{ nobody }}")
    own(
        tmp_path,
        "mail/fr/hold.j2",
        '{% extends "shipped/mail/fr/hold.j2" %}\n{% block leak %}{{ whta }}{% endblock %}',
    )
    faults = try_templates(composer(own=tmp_path))
    assert [(f.name, f.line) for f in faults] == [("mail/card.html.j2", 1), ("mail/fr/hold.j2", 2)]


def test_a_signature_is_rendered_strictly() -> None:
    made = composer()

    def framed(text: str, greeting: str, signature: str) -> str:
        parts = FramePart(greeting, "replies.greeting"), FramePart(signature, "staff[2].signature")
        return made.frame(text, Frame(*parts, agent="Paul", shop="Brindille"), customer="Marie")

    assert framed("Merci.\n", "Bonjour {{ customer }},", "{{ agent }}\n{{ shop }}\n") == (
        "Bonjour Marie,\n\nMerci.\n\nPaul\nBrindille"
    )
    assert framed("Merci.", "", "") == "Merci."
    with pytest.raises(TemplateBroken, match=r"staff\[2\]\.signature") as broken:
        framed("x", "", "{{ name }}")
    assert "Marie" not in str(broken.value)


@pytest.mark.parametrize(
    ("written", "link"),
    [
        ("https://x.example/a?b=1#c", "https://x.example/a?b=1#c"),
        (" http://x.example:8080/é ", "http://x.example:8080/%C3%A9"),
        ("https://é.example/", "https://xn--9ca.example/"),
        ("javascript:alert(1)", ""),
        ("https://seller.cdiscount.com@evil.example/", ""),
        ("https://x.example/a b", ""),
        ("https://x.example/\"onclick='", "https://x.example/%22onclick='"),
        ("//x.example", ""),
        ("https://x.example:port/", ""),
        ("https://" + "a" * 800, ""),
    ],
)
def test_only_plain_web_links_are_shown(written: str, link: str) -> None:
    assert web_link(written) == link
