"""What is held, what a hold says, and how a person releases it."""

from __future__ import annotations

from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest

from mailbridge.sandbox.agent import Agent, SeenMail
from mailbridge.sandbox.books import BookedDiscussion
from tests.shop import Shop, code_in, open_shop

pytestmark = pytest.mark.once
ANSWER = "Bonjour, votre colis arrive demain."


async def held_for_proof(shop: Shop) -> tuple[BookedDiscussion, Agent, SeenMail]:
    """A reply whose Sent copy nobody can see, held by now; and the notice that says so."""
    discussion = shop.world.cast.claim()
    await shop.settle()
    agent = shop.world.agent(files_sent_copy=False)
    await agent.reply(await shop.first(discussion), ANSWER)
    await shop.settle()
    await shop.later(minutes=1)
    return discussion, agent, await shop.notice("hold/not_proven")


async def test_the_code_is_good_for_one_time(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        _, agent, notice = await held_for_proof(shop)
        await agent.reply(notice, f"!envoyer {code_in(notice)}")
        await shop.settle()
        assert shop.sent == [ANSWER]

        await shop.later(minutes=1)
        await agent.reply(notice, f"!envoyer {code_in(notice)}")
        await shop.settle()
        await shop.later(minutes=1)
        assert shop.sent == [ANSWER]
        # The code proves nothing any more: an order nobody signed is held like any other.
        assert (await shop.told())[-1] in ("hold/not_proven", "trouble/bad_code")


async def test_a_code_may_be_grouped_and_stand_above_the_quoted_notice(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        _, agent, notice = await held_for_proof(shop)
        code = code_in(notice)
        await agent.reply(notice, f"!envoyer {code[:3]} {code[3:]}", quote=True)
        await shop.settle()

        assert shop.sent == [ANSWER]


async def test_three_wrong_codes_end_it(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion, agent, notice = await held_for_proof(shop)
        right = code_in(notice)
        wrong = f"{(int(right) + 1) % 1_000_000:06d}"
        for _ in range(3):
            await agent.reply(notice, f"!envoyer {wrong}")
            await shop.later(minutes=1)
        assert (await shop.told()).count("trouble/bad_code") == 3

        await agent.reply(notice, f"!envoyer {right}")
        await shop.later(minutes=1)
        assert shop.sent == []
        # A Sent copy of the order would still do: proof beats the code.
        await shop.world.agent().reply(notice, "!envoyer")
        await shop.settle()
        assert shop.sent == [ANSWER]
        assert discussion.seller_texts == [ANSWER]


async def test_a_code_expires(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        _, agent, notice = await held_for_proof(shop)
        await shop.later(hours=25)
        await agent.reply(notice, f"!envoyer {code_in(notice)}")
        await shop.settle()

        assert shop.sent == []
        assert (await shop.told())[-1] == "trouble/bad_code"


async def test_a_code_of_one_discussion_opens_no_other(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        _, agent, notice = await held_for_proof(shop)
        other = shop.world.cast.order_question()
        await shop.settle()
        await agent.reply(await shop.first(other), f"!envoyer {code_in(notice)}")
        await shop.settle()
        await shop.later(minutes=1)

        assert shop.sent == []


async def test_a_sent_copy_that_turns_up_later_lifts_the_hold(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        agent = shop.world.agent(files_sent_copy=False)
        written = await agent.reply(await shop.first(discussion), ANSWER)
        await shop.settle()
        await shop.later(minutes=1)
        assert await shop.told() == ["hold/not_proven"]

        assert shop.world.mail.imap is not None
        await shop.world.mail.imap.append(shop.world.address, written.data, folder="Sent")
        await shop.settle()
        assert shop.sent == [ANSWER]
        assert (await shop.states(discussion))["replies"] == ["settled"]


async def test_a_new_reply_replaces_what_is_held(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion, _, notice = await held_for_proof(shop)
        await shop.world.agent().reply(notice, "Bonjour, il est parti hier.")
        await shop.settle()

        assert shop.sent == ["Bonjour, il est parti hier."]
        assert (await shop.states(discussion))["replies"] == ["replaced", "settled"]


async def test_cancel_drops_what_is_held(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion, _, notice = await held_for_proof(shop)
        await shop.world.agent().reply(notice, "!annuler")
        await shop.settle()

        assert shop.sent == []
        assert (await shop.states(discussion))["replies"] == ["cancelled", "settled"]
        assert (await shop.told())[-1] == "receipt"


async def test_somebody_who_is_not_on_the_list(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()

        def from_another(message: EmailMessage) -> None:
            message.replace_header("From", "Stagiaire <stage@maison-brindille.example>")

        agent = shop.world.agent()
        await agent.reply(await shop.first(discussion), ANSWER, edit=from_another)
        await shop.settle()
        await shop.later(minutes=1)
        notice = await shop.notice("hold/not_staff")
        assert "stage@maison-brindille.example" in notice.text
        assert shop.sent == []

        await agent.reply(notice, "!envoyer")
        await shop.settle()
        assert shop.sent == [ANSWER]


async def test_further_recipients_are_asked_about(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        agent = shop.world.agent()
        await agent.reply(await shop.first(discussion), ANSWER, cc=["chef@depot.example"])
        await shop.settle()

        notice = await shop.notice("hold/other_recipients")
        assert "chef@depot.example" in notice.text
        assert shop.sent == []
        await agent.reply(notice, "!envoyer")
        await shop.settle()
        assert shop.sent == [ANSWER]


async def test_lifting_one_hold_does_not_lift_another(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        agent = shop.world.agent()
        text = f"{ANSWER}\n!abracadabra"
        await agent.reply(await shop.first(discussion), text, cc=["chef@depot.example"])
        await shop.settle()
        await agent.reply(await shop.notice("hold/other_recipients"), "!envoyer")
        await shop.settle()

        # The line nobody understood would have gone to the customer.
        assert shop.sent == []
        assert "!abracadabra" in (await shop.notice("hold/unknown_command")).text


async def test_a_copy_to_the_mailbox_itself_is_a_habit_of_clients(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        mail = await shop.first(discussion)
        await shop.world.agent().reply(mail, ANSWER, to_all=True, cc=[shop.world.address])
        await shop.settle()

        assert shop.sent == [ANSWER]


async def test_two_discussions_named_at_once(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        one, two = shop.world.cast.claim(), shop.world.cast.order_question()
        await shop.settle()
        other = str((await shop.first(two)).message["Reply-To"])

        def readdressed(message: EmailMessage) -> None:
            message.replace_header("To", other)

        await shop.world.agent().reply(await shop.first(one), ANSWER, edit=readdressed)
        await shop.settle()
        await shop.later(minutes=1)

        assert shop.sent == []
        assert await shop.told() == ["hold/two_discussions"]


async def test_the_address_alone_is_no_answer(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        target = str((await shop.first(discussion)).message["Reply-To"])
        agent = shop.world.agent()
        await agent.write([target], "Votre commande", ANSWER)
        await shop.settle()
        notice = await shop.notice("hold/no_thread")
        assert shop.sent == []

        await agent.reply(notice, "!envoyer")
        await shop.settle()
        assert shop.sent == [ANSWER]


async def test_an_address_with_a_forged_tag_is_nobodys(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        short = (await shop.first(discussion)).subject.rpartition("(")[2].rstrip(")").lower()
        await shop.world.agent().write(
            [f"support+mb-{short}-aaaaaaaaaaaaaaaa@maison-brindille.example"], "Bonjour", ANSWER
        )
        await shop.settle()
        await shop.later(minutes=1)

        assert (shop.sent, await shop.told()) == ([], [])


async def test_a_near_duplicate_is_asked_about(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        agent = shop.world.agent()
        mail = await shop.first(discussion)
        text = "Bonjour, votre colis partira lundi avec le transporteur habituel. Cordialement"
        await agent.reply(mail, text)
        await shop.later(minutes=2)
        await agent.reply(mail, text.replace("lundi", "Lundi !"))
        await shop.settle()

        assert shop.sent == [text]
        assert "hold/near_duplicate" in await shop.told()
        # A different answer by the same person is nobody's mistake.
        await agent.reply(mail, "PS : voici le numéro de suivi : 6A123.")
        await shop.settle()
        assert len(shop.sent) == 2


@pytest.mark.once
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("!closs", "hold/near_command"),
        ("Merci\n!abracadabra", "hold/unknown_command"),
        ("Merci\n!clos maintenant", "hold/bad_argument"),
        ("Merci\n!clos\n!rouvrir", "hold/contradiction"),
        ("Bonjour,\n!note\ngardé", "hold/misplaced_command"),
        ("!rembourser total\n\nVoilà.", "hold/money_off"),
        ("!modèle retard\n", "hold/template_values"),
        ("L'adresse est support+mb-cd-3btxb5-aaaaaaaaaaaaaaaa@x.example", "hold/leak"),
    ],
)
async def test_a_text_that_is_not_plainly_right(tmp_path: Path, text: str, kind: str) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), text)
        await shop.settle()

        assert shop.sent == []
        assert await shop.told() == [kind]
        assert not discussion.closed
        # `send` does not help here, and says so; a corrected reply does.
        agent = shop.world.agent()
        await agent.reply(await shop.notice(kind), "!envoyer")
        await shop.settle()
        assert shop.sent == []
        await agent.reply(await shop.notice(kind), "Bonjour, voici la bonne réponse.")
        await shop.settle()
        assert shop.sent == ["Bonjour, voici la bonne réponse."]


async def test_a_code_in_a_text_does_not_leave(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        _, _, notice = await held_for_proof(shop)
        await shop.world.agent().reply(notice, f"Bonjour, le code est {code_in(notice)}.")
        await shop.settle()

        assert shop.sent == []
        assert "hold/leak" in await shop.told()


async def test_nothing_but_a_quote(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), "")
        await shop.settle()

        assert await shop.told() == ["hold/no_text"]


async def test_shadow_mode_holds_and_says_so(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config={"replies": {"enabled": False}}) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), f"{ANSWER}\n!clos")
        await shop.settle()

        assert shop.sent == []
        assert not discussion.closed
        assert await shop.told() == ["hold/replies_off"]
        # Switched on, the notice's own way out works.
        await shop.reconfigure(replies={"enabled": True})
        await shop.world.agent().reply(await shop.notice("hold/replies_off"), "!envoyer")
        await shop.settle()
        assert shop.sent == [ANSWER]
        assert discussion.closed


async def test_send_does_not_get_round_shadow_mode(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config={"replies": {"enabled": False}}) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        await shop.world.agent().reply(await shop.first(discussion), ANSWER)
        await shop.settle()
        await shop.world.agent().reply(await shop.notice("hold/replies_off"), "!envoyer")
        await shop.settle()
        with pytest.raises(Exception, match="replies"):
            await shop.operations.release(str(discussion.id))
        await shop.settle()

        assert shop.sent == []


async def test_a_paused_account_files_and_holds(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        await shop.operations.pause("brindille", "essai")
        await shop.world.agent().reply(await shop.first(discussion), ANSWER)
        shop.world.books.customer_writes(discussion, "Allô ?")
        await shop.settle()
        assert shop.sent == []
        assert await shop.told() == ["hold/paused"]
        assert len(await shop.thread(discussion)) == 2

        await shop.operations.resume("brindille")
        await shop.operations.release(str(discussion.id))
        await shop.settle()
        assert shop.sent == [ANSWER]


async def test_a_flood_of_notices_is_limited(tmp_path: Path) -> None:
    async with open_shop(tmp_path, config={"replies": {"notices_per_hour": 2}}) as shop:
        discussion = shop.world.cast.claim()
        await shop.settle()
        mail = await shop.first(discussion)
        for number in range(12):
            await shop.world.agent().reply(mail, f"Essai {number}\n!inconnu{number}x")
            await shop.settle(1)
        assert len(await shop.told()) == 2

        await shop.later(minutes=61)
        assert len(await shop.told()) == 8
        await shop.later(hours=3)
        assert len(await shop.told()) == 8


async def test_an_answer_between_the_lines_of_an_unmarked_quote_is_held(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        words = "Bonjour, où est mon colis ?\n\nEst-il perdu ?"
        inside, above = (shop.world.cast.claim(text=words) for _ in range(2))
        await shop.settle()

        def outlook(typed: str, mail: SeenMail) -> Callable[[EmailMessage], None]:
            quote = mail.text.replace("Est-il perdu ?", f"{typed}\n\nEst-il perdu ?", 1)
            head = f"De : {mail.message['From']}\nEnvoyé : lundi 23 novembre 2026 12:00\n"
            head += f"À : {mail.message['To']}\nObjet : {mail.message['Subject']}\n\n"

            def edit(message: EmailMessage) -> None:
                message.set_content(f"Bonjour, voir ci-dessous.\n\n{head}{quote}")

            return edit

        agent = shop.world.agent()
        for discussion, typed in ((inside, "Il arrive demain matin."), (above, "")):
            mail = await shop.first(discussion)
            await agent.reply(mail, "", edit=outlook(typed, mail))
        await shop.settle()

        assert inside.seller_texts == []
        assert above.seller_texts == ["Bonjour, voir ci-dessous."]
        notice = await shop.notice("hold/text_in_quote")
        assert "Il arrive demain matin." in notice.text
        await agent.reply(notice, "!envoyer")
        await shop.settle()
        assert inside.seller_texts == ["Bonjour, voir ci-dessous."]
