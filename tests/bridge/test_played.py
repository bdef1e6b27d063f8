"""The seller's workflow, row by row, in mails that real clients sent (`tests.played`).

From the recorded `.eml` to the marketplace's books and the receipt in the thread, at both doors;
at the older one on the recorded contract.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mailbridge.mail.authored import authored_part
from mailbridge.mail.incoming import read_mail
from mailbridge.sandbox.books import BookedDiscussion
from mailbridge.sandbox.orders import BookedOrder
from mailbridge.sandbox.world import Door
from tests.bridge.test_money import calls, till
from tests.played import book, play, recorded
from tests.requirements import find_contract
from tests.shop import Shop, code_in

Open = Callable[..., AbstractAsyncContextManager[Shop]]

REFUNDED = {"RefundedAfterShipping"}
CANCELLED = {"RefundedAfterShipmentRefused"}
UNTOUCHED = {"ShippedBySeller"}


@pytest.fixture
def open_till(door: Door, tmp_path: Path) -> Open:
    """A shop that refunds."""
    wsdl: dict[str, Any] = {"wsdl": find_contract()} if door is Door.CDISCOUNT else {}

    def open_one(**given: Any) -> AbstractAsyncContextManager[Shop]:
        return till(tmp_path, **wsdl, **given)

    return open_one


def words_of(name: str) -> str:
    """What a recording says to the customer: all below its command lines."""
    lines = authored_part(read_mail(recorded(name))).text.split("\n")
    return "\n".join(x for x in lines if not x.startswith("!")).strip()


def plain(text: str) -> str:
    return " ".join(text.replace("\N{NO-BREAK SPACE}", " ").split())


async def begin(
    shop: Shop, number: str, *references: str, shipped: bool = True
) -> tuple[BookedDiscussion, BookedOrder]:
    """The customer's claim, or question before shipment, in the mailbox."""
    order = book(shop, number, references, shipped=shipped)
    cast = shop.world.cast
    discussion = (
        cast.claim(order, claim_type="DamagedProduct") if shipped else cast.order_question(order)
    )
    await shop.settle()
    return discussion, order


async def asked(shop: Shop, discussion: BookedDiscussion, name: str) -> None:
    """The recording as the answer to the customer's mail: nothing has moved or gone out yet."""
    await play(shop, name, await shop.first(discussion))
    assert calls(shop) == 0
    assert shop.sent == []


async def confirmed(shop: Shop, name: str) -> None:
    question = await shop.notice("confirm")
    await play(shop, name, question, code=code_in(question))
    await shop.settle()


# --- identify, address, answer, close -------------------------------------------------------------


async def test_an_answer_reaches_the_customer_and_closes(open_till: Open) -> None:
    async with open_till() as shop:
        discussion, _ = await begin(shop, "2611201105HBL2H", "VASE-GRES", shipped=False)
        answer = "roundcube/carte-html-dessous-fr"
        await play(shop, answer, await shop.first(discussion))
        assert shop.sent == [words_of(answer)]
        assert discussion.seller_texts == [words_of(answer)]
        assert discussion.closed
        assert "Discussion fermée" in (await shop.notice("receipt", "Clos")).text


# --- money ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "references", "shipped", "ask", "confirm", "states", "receipt"),
    [
        pytest.param(
            "261117140214LA9", ["COUV-24P"], False, "roundcube/rembourser-total-html-fr",
            "roundcube/confirmer-total-html-fr", [CANCELLED], "Annulé et remboursé",
            id="before-shipment",
        ),
        pytest.param(
            "261117140214LA9", ["COUV-24P"], True, "roundcube/rembourser-total-html-fr",
            "thunderbird/confirmer-html-fr", [REFUNDED], "Remboursé", id="after-shipment",
        ),
        pytest.param(
            "2611171301MG4VK", ["TAP-BERB-160", "RIDEAU-LIN"], True,
            "roundcube/rembourser-html-fr", "roundcube/confirmer-texte-fr",
            [REFUNDED, UNTOUCHED], "Remboursé", id="one-line-with-shipping",
        ),
    ],
)  # fmt: skip
async def test_a_refund_is_asked_for_confirmed_and_closes(
    open_till: Open,
    number: str,
    references: list[str],
    shipped: bool,
    ask: str,
    confirm: str,
    states: list[set[str]],
    receipt: str,
) -> None:
    async with open_till() as shop:
        discussion, order = await begin(shop, number, *references, shipped=shipped)
        await asked(shop, discussion, ask)
        await confirmed(shop, confirm)
        assert [{line.state} for line in order.lines] == states
        if shipped:
            assert order.lines[0].refunded_shipping
        assert calls(shop) == 1
        assert shop.sent == [words_of(ask)]
        assert discussion.closed
        assert receipt in (await shop.notice("receipt", "Clos")).text


@pytest.mark.parametrize(
    ("number", "references", "ask", "confirm", "amount"),
    [
        pytest.param(
            "2611171401548NM", ["MIR-ROND-60", "CHV-CHENE"], "roundcube/geste-html-fr",
            "roundcube/confirmer-html-fr", "12.50", id="roundcube",
        ),
        pytest.param(
            "2611181406VXA2H", ["BOUIL-1L7"], "thunderbird/geste-texte-fr",
            "thunderbird/confirmer-html-fr", "8.00", id="thunderbird",
        ),
    ],
)  # fmt: skip
async def test_a_gesture_is_given(
    open_till: Open, number: str, references: list[str], ask: str, confirm: str, amount: str
) -> None:
    async with open_till() as shop:
        discussion, order = await begin(shop, number, *references)
        await asked(shop, discussion, ask)
        await confirmed(shop, confirm)
        assert [v.amount for v in order.vouchers] == [Decimal(amount)]
        assert shop.sent == [words_of(ask)]
        folder = "Clos" if "\n!clos" in authored_part(read_mail(recorded(ask))).text else "INBOX"
        assert discussion.closed is (folder == "Clos")
        assert "Geste commercial accordé" in (await shop.notice("receipt", folder)).text


@pytest.mark.once
@pytest.mark.parametrize(
    ("number", "references", "ask", "line"),
    [
        ("2611181405BAPPD", ["COUV-24P", "VASE-GRES"], "roundcube/rembourser-port-texte-fr", 1),
        ("2611171401548NM", ["MIR-ROND-60", "CHV-CHENE"],
         "thunderbird/rembourser-port-html-fr", 1),
        ("2611171401548NM", ["MIR-ROND-60", "CHV-CHENE"],
         "roundcube/rembourser-dessous-html-fr", 0),
    ],
)  # fmt: skip
async def test_one_line_is_refunded_wherever_it_is_typed(
    tmp_path: Path, number: str, references: list[str], ask: str, line: int
) -> None:
    async with till(tmp_path) as shop:
        discussion, order = await begin(shop, number, *references)
        await asked(shop, discussion, ask)
        await confirmed(shop, "roundcube/confirmer-html-fr")
        refunded, left = order.lines[line], order.lines[1 - line]
        assert (refunded.state, left.state) == ("RefundedAfterShipping", "ShippedBySeller")
        assert refunded.refunded_shipping is ("port" in ask)
        assert shop.sent == [words_of(ask)]


@pytest.mark.once
async def test_a_gesture_below_the_quoted_receipt_of_a_note(tmp_path: Path) -> None:
    """Where Roundcube puts the cursor, and in answer to the newest mail of the thread."""
    async with till(tmp_path) as shop:
        discussion, order = await begin(shop, "2611161404SWQ8U", "TAP-BERB-160")
        await asked(shop, discussion, "roundcube/note-html-fr")
        await play(shop, "roundcube/geste-dessous-html-fr", await shop.notice("receipt"))
        await confirmed(shop, "roundcube/confirmer-html-fr")
        assert [v.amount for v in order.vouchers] == [Decimal("15.00")]
        assert shop.sent == [words_of("roundcube/geste-dessous-html-fr")]


# --- what moves nothing ---------------------------------------------------------------------------


@pytest.mark.once
@pytest.mark.parametrize(
    ("answer", "told", "state"),
    [
        # Neither sent to the customer nor taken for a yes or a no.
        ("roundcube/non-annulez-html-fr", "hold/", "waiting"),
        ("thunderbird/non-annulez-texte-fr", "hold/", "waiting"),
        ("roundcube/annuler-texte-fr", "receipt", "withdrawn"),
    ],
)
async def test_a_question_that_is_not_confirmed_moves_nothing(
    tmp_path: Path, answer: str, told: str, state: str
) -> None:
    async with till(tmp_path) as shop:
        discussion, order = await begin(shop, "2611171401548NM", "MIR-ROND-60", "CHV-CHENE")
        await asked(shop, discussion, "roundcube/geste-html-fr")
        before = len(await shop.told())
        await play(shop, answer, await shop.notice("confirm"))
        assert any(kind.startswith(told) for kind in (await shop.told())[before:])
        assert (await shop.states(discussion))["money"] == [state]
        assert (calls(shop), order.vouchers, shop.sent) == (0, [], [])


@pytest.mark.once
async def test_who_is_told_that_words_confirm_nothing_can_say_no_there(tmp_path: Path) -> None:
    """The notice about the words is the newest mail of the thread: it is the one answered."""
    async with till(tmp_path) as shop:
        discussion, order = await begin(shop, "2611171401548NM", "MIR-ROND-60", "CHV-CHENE")
        await asked(shop, discussion, "roundcube/geste-html-fr")
        question = await shop.notice("confirm")
        await play(shop, "thunderbird/non-annulez-texte-fr", question)
        notice = await shop.notice("hold/confirmation_text")
        assert "elle attend toujours" in notice.text
        await play(shop, "roundcube/annuler-texte-fr", notice)
        assert (await shop.states(discussion))["money"] == ["withdrawn"]
        receipts = [n.text for n in await shop.notices() if "Abandonné : 12,50" in plain(n.text)]
        assert len(receipts) == 1
        assert "n'est pas parti non plus" in plain(receipts[0])
        # The code is worth nothing any more.
        await play(shop, "roundcube/confirmer-html-fr", question, code=code_in(question))
        assert (calls(shop), order.vouchers, shop.sent) == (0, [], [])


@pytest.mark.once
async def test_who_is_told_that_words_confirm_nothing_can_confirm_there(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        discussion, order = await begin(shop, "2611171401548NM", "MIR-ROND-60", "CHV-CHENE")
        await asked(shop, discussion, "roundcube/geste-html-fr")
        question = await shop.notice("confirm")
        await play(shop, "roundcube/non-annulez-html-fr", question)
        notice = await shop.notice("hold/confirmation_text")
        await play(shop, "roundcube/confirmer-html-fr", notice, code=code_in(question))
        assert [v.amount for v in order.vouchers] == [Decimal("12.50")]


@pytest.mark.once
async def test_an_amount_of_two_meanings_is_held(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        discussion, order = await begin(shop, "2611181406VXA2H", "BOUIL-1L7")
        await asked(shop, discussion, "roundcube/geste-montant-html-fr")
        held = await shop.notice("hold/bad_argument")
        assert "1.234 se lit de deux façons" in plain(held.text)
        assert (calls(shop), order.vouchers) == (0, [])


# --- templates, notes, writing first --------------------------------------------------------------


async def test_a_template_is_filled_in_once_nothing_is_missing(open_till: Open) -> None:
    async with open_till() as shop:
        discussion, order = await begin(
            shop, "2611201403N9QU7", "ETAG-MUR-80", "RIDEAU-LIN", shipped=False
        )
        await play(shop, "roundcube/modele-html-fr", await shop.first(discussion))
        assert shop.sent == []
        held = await shop.notice("hold/template_values")
        await play(shop, "roundcube/modele-date-html-fr", held)
        (text,) = shop.sent
        assert "jeudi 26 novembre" in text
        assert text.endswith("N'hésitez pas à revenir vers nous.")
        assert order.number in text
        assert discussion.seller_texts == [text]
        assert "Réponse enregistrée" in (await shop.notice("receipt")).text


async def test_a_note_stays_inside(open_till: Open) -> None:
    async with open_till() as shop:
        discussion, _ = await begin(shop, "2611161404SWQ8U", "TAP-BERB-160")
        await play(shop, "roundcube/note-html-fr", await shop.first(discussion))
        assert shop.sent == []
        assert words_of("roundcube/note-html-fr")[:40] in (await shop.notice("receipt")).text


@pytest.mark.parametrize(
    ("number", "mail"),
    [
        ("2611191407N48NJ", "roundcube/commande-adresse-html-fr"),
        ("2611201408VBPM1", "roundcube/commande-ligne-texte-fr"),
    ],
    ids=["address", "command"],
)
async def test_staff_write_first(open_till: Open, number: str, mail: str) -> None:
    async with open_till() as shop:
        order = book(shop, number, ["PLAID-LAINE"])
        await shop.settle()
        await play(shop, mail)
        assert shop.sent == [words_of(mail)]
        (discussion,) = shop.world.books.discussions
        assert (discussion.order_number, discussion.seller_texts) == (
            order.number,
            [words_of(mail)],
        )
        assert "Réponse enregistrée" in (await shop.notice("receipt")).text
