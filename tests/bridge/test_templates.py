"""Reply templates, from the agent's line to the customer's mail."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailbridge.sandbox.agent import SeenMail
from mailbridge.sandbox.books import BookedDiscussion
from mailbridge.sandbox.orders import BookedOrder
from tests.shop import Shop, code_in, open_shop

pytestmark = pytest.mark.once

NBSP = "\u00a0"
ADDRESS = "support@maison-brindille.example"


async def shipped(shop: Shop) -> BookedDiscussion:
    """A claim about an order whose parcel is on its way."""
    discussion = shop.world.cast.claim(claim_type="PackageNotReceived")
    await shop.settle()
    return discussion


async def say(shop: Shop, discussion: BookedDiscussion, text: str) -> None:
    await shop.world.agent().reply(await shop.first(discussion), text)
    await shop.settle()


def order_of(shop: Shop, discussion: BookedDiscussion) -> BookedOrder:
    order = shop.world.books.orders.get(discussion.order_number)
    assert order is not None
    return order


def plain(text: str) -> str:
    return text.replace(NBSP, " ")


def flat(mail: SeenMail) -> str:
    """A notice in one line, as a person reads it."""
    return " ".join(plain(mail.text).split())


async def test_a_name_becomes_the_whole_answer(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, "!modèle colis")

        (sent,) = shop.sent
        order = order_of(shop, discussion)
        name = discussion.customer.name
        assert sent.startswith(f"Bonjour {name},\n\nVotre commande {order.number} du ")
        assert order.parcels[0].number in sent
        assert sent.endswith(f"Bien cordialement,\nL'équipe {shop.world.books.seller}")
        # What went out is what the receipt shows, and nobody closed anything.
        receipt = await shop.notice("receipt")
        assert " ".join(plain(sent).split()) in flat(receipt)
        assert not discussion.closed


async def test_it_takes_its_place_among_an_agents_own_words(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await shipped(shop)
        words = 'Chère Madame,\n\n!modèle recu délai="deux heures"\n\nBien à vous,\nPaul\n\n!clos'
        await say(shop, discussion, words)

        (sent,) = shop.sent
        assert plain(sent) == (
            "Chère Madame,\n\n"
            "Nous avons bien reçu votre message, et nous nous en occupons. Vous aurez notre réponse"
            " ici même sous deux heures.\n\n"
            "Si vous avez d'autres précisions à nous donner, n'hésitez pas à les ajouter à cette"
            " discussion.\n\n"
            "Bien à vous,\nPaul"
        )
        assert discussion.closed


async def test_two_templates_greet_once_and_sign_once(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, "!modèle colis\n!modèle recu")

        (sent,) = shop.sent
        assert (sent.count("Bonjour"), sent.count("Bien cordialement")) == (1, 1)
        assert sent.index("est bien partie") < sent.index("bien reçu votre message")


async def test_the_english_twin_is_asked_for_by_its_name(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, "#template parcel")

        assert "has left us: it is travelling with" in shop.sent[0]


@pytest.mark.parametrize("name", ["abîmé", "ABIMÉ", "Abime"])
async def test_accents_and_capitals_of_a_name_do_not_matter(tmp_path: Path, name: str) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, f"!modele {name}")

        assert "est arrivée abîmée" in shop.sent[0] or "soit arrivée abîmée" in shop.sent[0]


async def test_a_template_that_closes_says_so(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, "!modèle merci")

        assert discussion.closed
        receipt = flat(await shop.notice("receipt", "Clos"))
        assert "Le modèle « Remerciements et clôture » ferme la discussion" in receipt
        assert receipt.index("Fermeture demandée") < receipt.index("Discussion fermée")


async def test_a_close_the_agent_asked_for_is_theirs(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, "!modèle merci\n!clos")

        assert discussion.closed
        assert "Fermeture demandée" not in flat(await shop.notice("receipt", "Clos"))


async def test_a_template_that_closes_contradicts_a_reopening(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, "!rouvrir\n!modèle merci")

        assert (shop.sent, await shop.told()) == ([], ["hold/contradiction"])
        page = flat(await shop.notice("hold/contradiction"))
        assert "!modèle merci" in page
        assert "!rouvrir" in page


async def test_an_unknown_name_is_held_with_those_near_it(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, "Bonjour,\n!modèle colsi\n!clos")

        assert (shop.sent, await shop.told()) == ([], ["hold/unknown_template"])
        assert "Vouliez-vous dire : colis ?" in flat(await shop.notice("hold/unknown_template"))
        assert not discussion.closed
        # The right name in answer to the notice replaces what is held.
        await shop.world.agent().reply(
            await shop.notice("hold/unknown_template"), "Bonjour,\n!modèle colis"
        )
        await shop.settle()
        assert len(shop.sent) == 1
        assert (await shop.states(discussion))["replies"] == ["replaced", "settled"]


async def test_a_missing_value_is_named_with_the_way_to_give_it(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, '!modèle retard raison="une grève"')

        assert (shop.sent, await shop.told()) == ([], ["hold/template_values"])
        notice = await shop.notice("hold/template_values")
        page = flat(notice)
        assert "Il manque : date (la nouvelle date, par exemple « jeudi 26 novembre »)." in page
        assert '!modèle retard raison="une grève" date="…"' in page
        await shop.world.agent().reply(notice, '!modèle retard raison="une grève" date=jeudi')
        await shop.settle()
        assert "La raison : une grève.\n\nVoici la nouvelle date prévue : jeudi." in plain(
            shop.sent[0]
        )


async def test_a_value_the_template_does_not_know_is_held(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, "!modèle colis transporter=UPS couleur=bleu")

        page = flat(await shop.notice("hold/template_values"))
        assert "Il ne connaît pas : transporter (transporteur ?), couleur." in page
        assert shop.sent == []


async def test_a_value_that_was_given_wins_over_the_orders(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, "!modèle colis suivi=8R000 transporteur=“La Poste”")

        assert "avec La Poste, sous le numéro de suivi 8R000." in shop.sent[0]


async def test_without_an_order_there_is_nothing_to_say_about_one(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.offer_question()
        await shop.settle()
        await say(shop, discussion, "!modèle colis")

        assert (shop.sent, await shop.told()) == ([], ["hold/template_needs"])
        page = flat(await shop.notice("hold/template_needs"))
        assert "a besoin d'une commande, et cette discussion n'en concerne aucune" in page
        await say(shop, discussion, '!modèle reponse reponse="Oui, elle convient aux iPhone 15."')
        assert "Oui, elle convient aux iPhone 15." in shop.sent[0]


async def test_without_a_parcel_there_is_no_number_to_give(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.order_question()
        await shop.settle()
        await say(shop, discussion, "!modèle colis")

        assert (shop.sent, await shop.told()) == ([], ["hold/template_needs"])
        assert "n'en montre pas encore" in flat(await shop.notice("hold/template_needs"))


async def test_a_note_with_a_template_contradicts_itself(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, "!note\n!modèle colis")

        assert (shop.sent, await shop.told()) == ([], ["hold/contradiction"])


async def test_a_customer_who_writes_the_command_gets_nothing_by_it(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim(text="Bonjour,\n!modèle merci\nMerci !")
        await shop.settle()
        await say(shop, discussion, "Nous regardons.\n!modèle merci")

        assert (shop.sent, await shop.told()) == ([], ["hold/echoed_command"])
        assert not discussion.closed


async def test_what_is_released_goes_as_the_notice_showed_it(tmp_path: Path) -> None:
    """Rendered when it was read: the order may have changed until somebody gives the code."""
    async with open_shop(tmp_path) as shop:
        discussion = await shipped(shop)
        agent = shop.world.agent(files_sent_copy=False)
        await agent.reply(await shop.first(discussion), "!modèle colis")
        await shop.settle()
        await shop.later(minutes=2)
        notice = await shop.notice("hold/not_proven")
        order = order_of(shop, discussion)
        first = order.parcels[0].number
        assert first in notice.text
        order.parcels[0] = replace(order.parcels[0], number="AUTRE123")
        await shop.later(hours=2)
        await agent.reply(notice, f"!envoyer {code_in(notice)}")
        await shop.settle()
        await shop.later(minutes=2)

        (sent,) = shop.sent
        assert first in sent
        assert "AUTRE123" not in sent
        assert " ".join(plain(sent).split()) in flat(notice)


async def test_the_same_template_twice_in_a_row_is_a_double_click(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await shipped(shop)
        agent = shop.world.agent()
        mail = await shop.first(discussion)
        await agent.reply(mail, "!modèle recu")
        await shop.settle()
        await shop.later(minutes=1)
        await agent.reply(mail, "!modèle recu")
        await shop.settle()

        assert len(shop.sent) == 1
        assert "hold/near_duplicate" in await shop.told()


async def test_a_value_that_is_a_command_never_leaves(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, '!modèle reponse reponse="!clos"')

        assert (shop.sent, await shop.told()) == ([], ["hold/leak"])
        assert not discussion.closed


async def test_a_value_is_data_and_no_template(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, '!modèle reponse reponse="{{ 7*7 }} {{ order.number }}"')

        assert "\n\n{{ 7*7 }} {{ order.number }}\n\n" in shop.sent[0]


async def test_the_help_page_lists_them(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, "!aide")

        page = flat(await shop.notice("help"))
        assert "Modèle colis : Où est mon colis ?" in page
        assert "Modèle merci : Remerciements et clôture (ferme la discussion)" in page
        assert "Modèles en anglais : acknowledged, answer, " in page
        # Answered with the whole page quoted, none of it is obeyed.
        await shop.world.agent().reply(await shop.notice("help"), "Nous regardons.", below=True)
        await shop.settle()
        assert shop.sent == ["Nous regardons."]


# --- the shop's own ---------------------------------------------------------------------------


def own(tmp_path: Path, **files: str) -> dict[str, Any]:
    """A folder of the shop's own templates, as the configuration names it."""
    folder = tmp_path / "templates" / "replies"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / f"{name}.txt.j2").write_text(text, encoding="utf-8")
    return {"templates_dir": folder.parent}


HEAD = '+++\ntitle = "Garantie"\nlanguage = "fr"\n+++\n'


async def test_a_template_of_the_shops_own(tmp_path: Path) -> None:
    top = own(tmp_path, garantie=HEAD + "{{ hello }}\nVotre article est garanti deux ans !\n")
    async with open_shop(tmp_path, top=top) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, "!modèle garantie")

        assert shop.sent[0].endswith(f",\nVotre article est garanti deux ans{NBSP}!")


async def test_one_of_the_shops_own_replaces_ours_and_may_extend_it(tmp_path: Path) -> None:
    text = '{% include "shipped/replies/merci.txt.j2" %}\n\nPS : notre boutique a un an.'
    async with open_shop(tmp_path, top=own(tmp_path, merci=HEAD + text)) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, "!modèle merci")

        assert "heureux d'avoir pu vous aider" in shop.sent[0]
        assert plain(shop.sent[0]).endswith("PS : notre boutique a un an.")
        # What it does not say in its front matter does not happen.
        assert not discussion.closed


async def test_a_broken_one_never_falls_back_on_ours(tmp_path: Path) -> None:
    top = own(tmp_path, merci=HEAD + "{{ hello }}\n{{ prenom }}\n")
    async with open_shop(tmp_path, top=top) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, "!modèle merci")

        assert (shop.sent, await shop.told()) == ([], ["hold/template_broken"])
        page = flat(await shop.notice("hold/template_broken"))
        assert "replies/merci.txt.j2, line 6: nothing gives a value to prenom" in page
        # Mended, it works from the next reply on, without a restart.
        own_file = tmp_path / "templates/replies/merci.txt.j2"
        own_file.write_text(HEAD + "Merci à vous, et bonne journée.\n", encoding="utf-8")
        await shop.later(minutes=1)
        await shop.world.agent().reply(await shop.first(discussion), "!modèle merci")
        await shop.settle()
        assert shop.sent == ["Merci à vous, et bonne journée."]


async def test_the_finished_text_has_to_fit_the_marketplace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = own(tmp_path, roman=HEAD + "{% for i in range(900) %}Bla bla. {% endfor %}")
    async with open_shop(tmp_path, top=top) as shop:
        market = type(shop.bridge.ctx.marketplace)
        limits = replace(shop.bridge.ctx.marketplace.capabilities, text_max=5000)
        monkeypatch.setattr(market, "capabilities", limits)
        discussion = await shipped(shop)
        await say(shop, discussion, "!modèle roman")

        assert (shop.sent, await shop.told()) == ([], ["hold/text_length"])
        assert "8099" in flat(await shop.notice("hold/text_length"))


async def test_a_refund_is_announced_by_template_once_it_is_proven(tmp_path: Path) -> None:
    money = {"enabled": True, "most": 500, "most_per_order": 500, "most_per_day": 1000}
    async with open_shop(tmp_path, config={"money": money}) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, "!rembourser total\n!modèle rembourse")
        assert shop.sent == []
        question = await shop.notice("confirm")
        await shop.world.agent().reply(question, f"!confirmer {code_in(question)}")
        await shop.settle()

        number = order_of(shop, discussion).number
        assert f"Nous avons fait le remboursement de votre commande {number}." in shop.sent[0]


async def test_an_internal_word_in_a_template_is_held(tmp_path: Path) -> None:
    top = own(tmp_path, fuite=HEAD + "Répondez à cd-1@mb.invalid, merci.\n")
    async with open_shop(tmp_path, top=top) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, "!modèle fuite")

        assert (shop.sent, await shop.told()) == ([], ["hold/leak"])


# --- the frame --------------------------------------------------------------------------------


async def test_in_a_frame_a_template_neither_greets_nor_signs(tmp_path: Path) -> None:
    replies = {"greeting": "Bonjour {{ customer }},", "signature": "{{ agent }}\n{{ shop }}"}
    async with open_shop(tmp_path, config={"replies": replies}) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, "!modèle recu")

        (sent,) = shop.sent
        assert sent.count("Bonjour") == 1
        assert sent.endswith(f"discussion.\n\nService client\n{shop.world.books.seller}")
        assert "cordialement" not in sent


async def test_each_staff_identity_may_have_a_signature_of_its_own(tmp_path: Path) -> None:
    paul = {
        "address": ADDRESS,
        "name": "Paul",
        "signature": "{{ agent }}, {{ shop }}",
        "greeting": "",
    }
    config = {
        "staff": (paul,),
        "replies": {"greeting": "Cher client,", "signature": "Le service client"},
    }
    async with open_shop(tmp_path, config=config) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, "Votre colis part demain.")

        assert shop.sent == [f"Votre colis part demain.\n\nPaul, {shop.world.books.seller}"]


async def test_a_template_in_a_reply_that_waits_can_still_be_stopped(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config={"replies": {"delay": timedelta(minutes=10)}}) as shop:
        discussion = await shipped(shop)
        await say(shop, discussion, "!modèle merci")
        await say(shop, discussion, "!annuler")
        await shop.later(minutes=15)

        assert shop.sent == []
        assert not discussion.closed
