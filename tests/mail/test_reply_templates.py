"""Reply templates by themselves: those that come with mailbridge, and what a shop may get wrong."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from mailbridge.domain.command import Parsed, parse
from mailbridge.domain.identity import Identity
from mailbridge.mail.outgoing import check_outgoing
from mailbridge.mail.rendering import TemplateBroken, Templates, front_matter
from mailbridge.mail.reply_catalogue import Catalogue, Need, ReplyTemplate, Unknown
from mailbridge.mail.reply_rendering import BadValues, Lacking, RenderedReply, render_reply
from mailbridge.mail.reply_samples import sample_case, stand_ins, try_replies
from mailbridge.mail.reply_values import ReplyValues, order_value, reply_values
from mailbridge.mail.samples import SAMPLE_ORDER, SAMPLE_THREAD

PARIS = ZoneInfo("Europe/Paris")
NBSP = "\u00a0"
IDENTITY = Identity([b"k" * 32], account="shop", domain="mb.boutique.example")
SHIPPED = Catalogue(Templates())
CASE = sample_case("Maison Brindille", agent="Paul")
HEAD = '+++\ntitle = "Essai"\nlanguage = "fr"\n+++\n'

TWINS = {
    "abime": "damaged",
    "annulation": "cancelled",
    "colis": "parcel",
    "enquete": "inquiry",
    "erreur": "wrong-item",
    "facture": "invoice",
    "manquant": "missing",
    "merci": "thanks",
    "panne": "faulty",
    "recu": "received",
    "accuse": "acknowledged",
    "rembourse": "refunded",
    "reponse": "answer",
    "retard": "delay",
    "retour": "return",
    "rupture": "out-of-stock",
    "trop-tard": "too-late",
}


def own(folder: Path, text: str, name: str = "essai") -> Catalogue:
    """A shop with one template of its own."""
    place = folder / "replies"
    place.mkdir(exist_ok=True)
    (place / f"{name}.txt.j2").write_text(text, encoding="utf-8")
    return Catalogue(Templates(folder))


def found(catalogue: Catalogue, name: str) -> ReplyTemplate:
    template = catalogue.find(name)
    assert isinstance(template, ReplyTemplate)
    return template


def text_of(
    catalogue: Catalogue, name: str, values: ReplyValues = CASE, **given: str
) -> RenderedReply | Lacking | BadValues:
    return render_reply(catalogue, found(catalogue, name), given, values, zone=PARIS)


def rendered(catalogue: Catalogue, name: str, values: ReplyValues = CASE, **given: str) -> str:
    made = text_of(catalogue, name, values, **given)
    assert isinstance(made, RenderedReply), made
    return made.text


# --- those that come with mailbridge --------------------------------------------------------------


def test_each_has_a_twin_in_the_other_language() -> None:
    listing = SHIPPED.listed()
    assert listing.faults == ()
    by_name = {template.name: template for template in listing.templates}
    french = {name for name, template in by_name.items() if template.language == "fr"}
    assert french == TWINS.keys()
    assert by_name.keys() - french == set(TWINS.values())
    for one, other in TWINS.items():
        left, right = by_name[one], by_name[other]
        assert (left.needs, left.closes) == (right.needs, right.closes), one
        assert [(v.source, v.default is None) for v in left.variables] == [
            (v.source, v.default is None) for v in right.variables
        ], one


@pytest.mark.parametrize("optional", [False, True], ids=["short", "with everything"])
@pytest.mark.parametrize("name", [*TWINS, *TWINS.values()])
def test_each_reads_like_a_letter(name: str, optional: bool) -> None:
    template = found(SHIPPED, name)
    case = CASE if Need.ORDER in template.needs else sample_case("Brindille", with_order=False)
    given = dict.fromkeys(stand_ins(template, optional=optional), "bientôt")
    text = rendered(SHIPPED, name, case, **given)

    assert 13 <= len(text) <= 5000
    assert not re.search(r"  |\t|[ \u00a0]$|\n\n\n|^[ \u00a0]", text, re.MULTILINE)
    assert not re.search(r"[{}%]|None|Undefined|\(\)|\.\.", text)
    assert not re.search(r" [.,;:!?]", text)
    assert check_outgoing(text, IDENTITY) is None
    for line in text.splitlines():
        read = parse(line)
        assert isinstance(read, Parsed)
        assert read.commands == ()
    paragraphs = text.split("\n\n")
    assert re.fullmatch(r"(Bonjour|Hello) Marie Dupré,", paragraphs[0])
    assert re.match(r"Bien cordialement,\n|Kind regards,\n", paragraphs[-1])
    if template.language == "fr":
        bare = re.sub(r"https?://\S+", "", text)
        assert re.findall(rf"[^{NBSP}][;:!?»]", bare) == []
    else:
        assert NBSP not in re.sub(rf"\d{NBSP}(?=[A-Z])", "", text)


def test_only_thanks_close() -> None:
    closing = {template.name for template in SHIPPED.listed().templates if template.closes}
    assert closing == {"merci", "thanks"}


def test_a_text_holds_what_the_order_says() -> None:
    text = rendered(SHIPPED, "colis")
    assert f"commande 2611201A8ZQ4 du 15{NBSP}novembre 2026" in text
    assert "Colissimo, sous le numéro de suivi 8R41233456789." in text
    assert f"au plus tard le 22{NBSP}novembre 2026" in text
    assert f"38,70{NBSP}€" in rendered(SHIPPED, "facture")
    assert "€38.70" in rendered(SHIPPED, "invoice")


def test_a_refund_names_an_amount_only_if_the_agent_does() -> None:
    """What the order shows may be an older refund, or not yet the one the reply asks for."""
    assert "€" not in rendered(SHIPPED, "rembourse")
    assert f"d'un montant de 24,90{NBSP}€." in rendered(SHIPPED, "rembourse", montant="24,90")


def test_only_the_claimed_lines_are_meant() -> None:
    assert "(Coque souple pour iPhone 15, noire, avec protection d'écran)" in (
        rendered(SHIPPED, "abime")
    )
    lines = tuple(
        replace(line, name=f"Article {n}", has_claim=False)
        for n, line in enumerate((*SAMPLE_ORDER.lines, *SAMPLE_ORDER.lines, SAMPLE_ORDER.lines[0]))
    )
    case = replace(CASE, order=order_value(replace(SAMPLE_ORDER, lines=lines)))
    assert "(Article 0, Article 1, Article 2 et 2 autres articles)" in (
        rendered(SHIPPED, "abime", case)
    )
    case = replace(CASE, order=order_value(replace(SAMPLE_ORDER, lines=lines[:2])))
    assert "(Article 0 and Article 1)" in rendered(SHIPPED, "damaged", case)


def test_what_is_not_there_is_asked_for() -> None:
    bare = replace(CASE, order=order_value(replace(SAMPLE_ORDER, parcels=())))
    made = text_of(SHIPPED, "enquete", bare)
    assert isinstance(made, BadValues)
    assert [variable.name for variable in made.missing] == ["transporteur", "suivi"]
    assert made.completed({}) == 'enquete transporteur="…" suivi="…"'
    assert text_of(SHIPPED, "colis", bare) == Lacking(found(SHIPPED, "colis"), Need.PARCEL)
    none = replace(CASE, order=None)
    assert text_of(SHIPPED, "colis", none) == Lacking(found(SHIPPED, "colis"), Need.ORDER)


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("colsi", "colis"),
        ("rembourser", "rembourse"),
        ("livraison", "retard"),
        ("stock", "rupture"),
    ],
)
def test_a_name_that_is_nearly_one(asked: str, near: str) -> None:
    unknown = SHIPPED.find(asked)
    assert isinstance(unknown, Unknown)
    assert near in unknown.near


def test_a_name_may_have_its_accents_and_capitals() -> None:
    assert found(SHIPPED, "Remboursé").name == "rembourse"
    assert found(SHIPPED, "trop_tard").name == "trop-tard"


def test_a_name_like_nothing_has_no_near_ones() -> None:
    assert SHIPPED.find("xyzzy") == Unknown(())


# --- what a customer may be told --------------------------------------------------------------


def test_no_address_and_no_odd_link_gets_in() -> None:
    parcel = replace(
        SAMPLE_ORDER.parcels[0],
        tracking_url="javascript:alert(1)",
        carrier="UPS\r\nBcc: x@example.org",
    )
    relay = SAMPLE_THREAD.relay_address or ""
    order = replace(SAMPLE_ORDER, parcels=(parcel,), customer_name=relay)
    values = reply_values(
        customer=relay,
        shop="Brindille",
        agent="paul@boutique.example",
        marketplace="Cdiscount",
        kind="claim",
        title=f"Re: {relay}",
        claim="",
        started_at=SAMPLE_THREAD.started_at,
        order=order,
    )
    text = rendered(SHIPPED, "colis", values)
    assert text.startswith("Bonjour,\n")
    assert "@" not in text + values.discussion.title + values.agent.name
    assert "UPS Bcc:" in text
    assert "javascript" not in text


# --- the shop's own ---------------------------------------------------------------------------


def test_the_shops_own_wins_and_says_so(tmp_path: Path) -> None:
    catalogue = own(tmp_path, HEAD + "Merci à tous.\n", "merci")
    assert rendered(catalogue, "merci") == "Merci à tous."
    assert found(catalogue, "merci").own
    assert not found(catalogue, "colis").own


def test_filters_speak_the_templates_language(tmp_path: Path) -> None:
    text = "{{ order.date | day }} / {{ order.date | moment }} / {{ order.total | money }} / "
    text += "{{ lines | map(attribute='reference') | listed }}"
    french = rendered(own(tmp_path, HEAD + text), "essai")
    assert french.replace(NBSP, " ") == (
        "15 novembre 2026 / 15 novembre 2026 à 12:02 / 38,70 € / COQ-IP15-NOIR et CAB-USBC-2M"
    )
    english = rendered(own(tmp_path, HEAD.replace('"fr"', '"en"') + text), "essai")
    assert english.replace(NBSP, " ") == (
        "15 November 2026 / 15 November 2026 at 12:02 / €38.70 / COQ-IP15-NOIR and CAB-USBC-2M"
    )


def test_a_value_given_in_words_stays_as_it_is(tmp_path: Path) -> None:
    head = HEAD.replace("+++\n", "", 1).replace(
        "+++", '[variables]\nq = "quand"\nm = "montant"\n+++'
    )
    catalogue = own(tmp_path, f"+++\n{head}" + "{{ q | day }}, {{ m | money }}")
    assert rendered(catalogue, "essai", q="demain", m="à voir") == "demain, à voir"
    assert rendered(catalogue, "essai", q="demain", m="12,5") == f"demain, 12,50{NBSP}€"


def test_an_empty_amount_counts_as_missing(tmp_path: Path) -> None:
    head = HEAD[:-4] + '[variables]\nm = { say = "montant", from = "order.refunded" }\n+++\n'
    catalogue = own(tmp_path, head + "{{ m | money }}")
    assert rendered(catalogue, "essai") == f"9,90{NBSP}€"
    assert CASE.order is not None
    case = replace(CASE, order=replace(CASE.order, refunded=Decimal(0)))
    assert isinstance(text_of(catalogue, "essai", case), BadValues)
    unknown = replace(CASE, order=replace(CASE.order, refunded=None))
    assert isinstance(text_of(catalogue, "essai", unknown), BadValues)


def test_front_matter_keeps_line_numbers() -> None:
    head, body = front_matter("\ufeff+++\na = 1\n+++\nBonjour\n")
    assert head == "a = 1"
    assert body == "\n\n\nBonjour\n"
    assert front_matter("Bonjour\n+++\n+++\n")[0] is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Bonjour", r"line 1: begins without front matter"),
        ("+++\ntitle = x\n+++\n", r"line 2: front matter is not TOML: .*texts stand in quotes"),
        ('+++\nlanguage = "fr"\n+++\n', r"line 1: title: is missing: a few words"),
        ('+++\ntitle = "X"\nlanguage = "de"\n+++\n', r'line 3: language: "de"; allowed: "fr" or'),
        ('+++\ntitel = "X"\n+++\n', r"line 2: titel: no such key; did you mean title\?"),
        ('+++\ntitle = 3\nlanguage = "fr"\n+++\n', r"line 2: title: allowed: text in quotes"),
        (HEAD[:-4] + 'closes = "oui"\n+++\n', r"line 4: closes: allowed: true or false"),
        (HEAD[:-4] + 'needs = "order"\n+++\n', r'line 4: needs: allowed: a list .* \["order"\]'),
        (HEAD[:-4] + 'needs = ["colis"]\n+++\n', r"line 4: needs: found 'colis'; allowed"),
        (HEAD[:-4] + "variables = 3\n+++\n", r"line 4: variables: allowed: a table"),
        (
            HEAD[:-4] + '[variables]\nDelai = "x"\n+++\n',
            r"line 5: variables\.Delai: allowed: lower",
        ),
        (HEAD[:-4] + '[variables]\norder = "x"\n+++\n', r"variables\.order: is always there"),
        (HEAD[:-4] + "[variables]\nx = 3\n+++\n", r"line 5: variables\.x: allowed: a description"),
        (
            HEAD[:-4] + '[variables]\nx = { say = "x", form = "y" }\n+++\n',
            r"line 5: variables\.x\.form: no such key; did you mean from\?",
        ),
        (
            HEAD[:-4] + '[variables]\nx = { say = "x", from = "parcel." }\n+++\n',
            r"line 5: variables\.x\.from: not a Jinja2 expression",
        ),
        (
            HEAD[:-4] + '[variables]\nx = { say = "x", from = "colis.number" }\n+++\n',
            r"line 5: variables\.x\.from: asks for colis; there are agent",
        ),
        (HEAD + "\n{{ delai }}", r"line 6: nothing gives a value to delai; describe it under"),
        (HEAD + "Bonjour\n{{ order. }}", r"line 6: expected name or number"),
        (HEAD + "{% if order %}", r"Unexpected end of template"),
    ],
)
def test_a_mistake_is_told_with_file_line_key_and_way_out(
    tmp_path: Path, text: str, why: str
) -> None:
    catalogue = own(tmp_path, text)
    with pytest.raises(TemplateBroken, match=rf"^template replies/essai\.txt\.j2, .*{why}"):
        catalogue.find("essai")
    assert [fault.name for fault in catalogue.listed().faults] == ["replies/essai.txt.j2"]


def test_files_that_cannot_be_templates(tmp_path: Path) -> None:
    catalogue = own(tmp_path, HEAD + "x" * 70_000)
    place = tmp_path / "replies"
    (place / "latin.txt.j2").write_bytes(HEAD.encode() + "é".encode("latin-1"))
    (place / "Été_2026.txt.j2").write_text(HEAD + "Oui")
    (place / "notes.txt").write_text("Oui")
    (place / "essai.txt.j2~").write_text("an editor's copy")
    (place / "_pied.txt.j2").write_text("a part that others include")
    told = " ".join(str(fault) for fault in catalogue.listed().faults)
    assert len(catalogue.listed().faults) == 4
    assert "essai.txt.j2: is larger than 64 KB" in told
    assert "latin.txt.j2: is not UTF-8" in told
    assert "rename it to ete-2026.txt.j2" in told
    assert "rename it to notes.txt.j2" in told


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{ order.nombre }}", "no attribute 'nombre'"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ order.__class__ }}", "unsafe"),
        ("{{ customer | attr('__init__') }}", "unsafe|no attribute"),
        ("{{ hello.format.__globals__ }}", "unsafe"),
        ("{{ '{0.__class__}'.format(order) }}", "unsafe|no attribute"),
        ("{{ day.__globals__ }}", "unsafe"),
        ("{{ [1] * 999999999 }}", "may not use"),
        ("{{ 'x' * 999999999 }}", "may not use"),
        ("{{ 9 ** 999999999 }}", "may not use"),
        ("{% for i in range(99999999) %}x{% endfor %}", "Range|Overflow"),
        ('{% include "../../../../etc/hostname" %}', "no template"),
        ('{% include "/etc/hostname" %}', "no template"),
        ("{# nothing #}", "gives no text"),
    ],
)
def test_a_template_cannot_leave_its_values(tmp_path: Path, text: str, why: str) -> None:
    catalogue = own(tmp_path, HEAD + text)
    with pytest.raises(TemplateBroken, match=why) as broken:
        rendered(catalogue, "essai")
    assert "Marie" not in str(broken.value)


def test_what_an_agent_gives_is_never_a_template() -> None:
    text = rendered(SHIPPED, "reponse", reponse="{{ ''.__class__ }}{% raw %}")
    assert "{{ ''.__class__ }}{% raw %}" in text


def test_a_field_that_is_not_there_is_a_fault_and_not_a_missing_value(tmp_path: Path) -> None:
    head = HEAD[:-4] + '[variables]\nx = { say = "x", from = "order.nombre" }\n+++\n'
    catalogue = own(tmp_path, head + "{{ x }}")
    with pytest.raises(TemplateBroken, match=r"variables\.x\.from: there is no 'nombre'"):
        rendered(catalogue, "essai")


def test_templates_are_tried_on_invented_cases(tmp_path: Path) -> None:
    assert try_replies(SHIPPED, IDENTITY, PARIS) == []
    # Written with an order in mind, and not saying so.
    catalogue = own(tmp_path, HEAD + "Votre commande {{ order.number }} est partie.")
    (fault,) = try_replies(catalogue, IDENTITY, PARIS)
    assert (fault.name, fault.line) == ("replies/essai.txt.j2", 5)
    own(tmp_path, HEAD + "Écrivez à cd-1@mb.invalid, merci.")
    (fault,) = try_replies(catalogue, IDENTITY, PARIS)
    assert "must never see" in fault.reason
