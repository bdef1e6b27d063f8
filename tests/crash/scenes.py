"""The scenarios through which the power is cut: what people do, and what is configured.

At each `yield` mailbridge does all it can.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from mailbridge.sandbox.world import Door
from tests.crash.stage import Scenario
from tests.shop import Shop, code_in

__all__ = ["PATTERN", "SCENES", "Scene"]


async def three_discussions(shop: Shop) -> AsyncIterator[None]:
    cast = shop.world.cast
    cast.claim()
    cast.order_question()
    cast.offer_question()
    yield


async def a_back_fill(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.history(6)
    yield


async def a_reply_that_closes(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.claim()
    yield
    (mail,) = await shop.inbox()
    await shop.world.agent().reply(mail, "Bonjour, c'est réglé.\n!clos")
    yield


async def a_close_without_words(shop: Shop) -> AsyncIterator[None]:
    discussion = shop.world.cast.claim()
    shop.world.books.seller_writes(discussion, "Nous vous répondons ici.")
    yield
    await shop.world.agent().reply((await shop.inbox())[0], "!clos")
    yield


async def written_first(shop: Shop) -> AsyncIterator[None]:
    order = shop.world.cast.order()
    yield
    to = f"support+mb-order-{order.number.lower()}@maison-brindille.example"
    await shop.world.agent().write([to], "Retard", "Bonjour, votre colis aura un jour de retard.")
    yield
    (discussion,) = shop.world.books.discussions
    shop.world.books.customer_writes(discussion, "Merci de me prévenir.")
    yield


async def held_and_released(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.claim()
    yield
    (mail,) = await shop.inbox()
    agent = shop.world.agent(files_sent_copy=False)
    await agent.reply(mail, "Bonjour, voici notre réponse.")
    yield
    shop.clock.advance(timedelta(minutes=2))
    yield
    (notice,) = await shop.notices()
    await agent.reply(notice, f"!envoyer {code_in(notice)}")
    yield


async def a_command_mistyped(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.claim()
    yield
    (mail,) = await shop.inbox()
    agent = shop.world.agent()
    await agent.reply(mail, "Bonjour, c'est réglé.\n!colse")
    yield
    shop.clock.advance(timedelta(minutes=1))
    await agent.reply(mail, "Bonjour, c'est réglé pour de bon.\n!clos")
    yield


async def the_customer_comes_back(shop: Shop) -> AsyncIterator[None]:
    discussion = shop.world.cast.claim()
    yield
    await shop.world.agent().reply((await shop.inbox())[0], "Bonjour, voilà qui est fait.\n!clos")
    yield
    shop.clock.advance(timedelta(hours=1))
    shop.world.books.customer_writes(discussion, "Merci, mais il manque une vis.")
    yield


async def a_server_that_is_busy(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.claim()
    yield
    (mail,) = await shop.inbox()
    await shop.world.agent().reply(mail, "Bonjour, un instant.")
    shop.handover.put_off()
    yield
    shop.handover.well()
    shop.clock.advance(timedelta(minutes=5))
    yield


async def an_answer_lost_after_it_was_taken(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.claim()
    yield
    (mail,) = await shop.inbox()
    await shop.world.agent().reply(mail, "Bonjour, c'est parti.\n!clos")
    shop.handover.lost(kept=True)
    yield


async def files_lost_after_they_were_taken(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.claim()
    yield
    (mail,) = await shop.inbox()
    invoice = ("facture.pdf", b"%PDF-1.7 facture", "application/pdf")
    await shop.world.agent().reply(mail, "Bonjour, voici la facture.", attachments=[invoice])
    shop.handover.lost(kept=True)
    yield


async def an_answer_lost_on_the_way(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.claim()
    yield
    (mail,) = await shop.inbox()
    await shop.world.agent().reply(mail, "Bonjour, est-ce arrivé ?")
    shop.handover.lost(kept=False)
    yield


async def closed_and_opened_again(shop: Shop) -> AsyncIterator[None]:
    async for _ in a_reply_that_closes(shop):
        yield
    (mail,) = await shop.thread(shop.world.books.discussions[0], "Clos")
    await shop.world.agent().reply(mail, "!rouvrir")
    yield


async def a_question_turned_claim(shop: Shop) -> AsyncIterator[None]:
    question = shop.world.cast.order_question()
    yield
    shop.clock.advance(timedelta(hours=1))
    shop.world.books.turn_into_claim(question)
    yield


async def answers_that_are_due(shop: Shop) -> AsyncIterator[None]:
    answered, waiting = shop.world.cast.claim(), shop.world.cast.claim()
    yield
    shop.clock.advance(timedelta(hours=46))
    yield
    shop.world.books.seller_writes(answered, "Nous vous répondons ici.")
    shop.clock.advance(timedelta(minutes=1))
    yield
    shop.world.books.customer_writes(waiting, "Toujours rien ?")
    yield


async def a_refund_that_closes(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.claim(shop.world.cast.order(shipped_days_ago=5))
    yield
    (mail,) = await shop.inbox()
    await shop.world.agent().reply(mail, "!rembourser total\n!clos\n\nBonjour, c'est remboursé.")
    yield
    question = await shop.notice("confirm")
    await shop.world.agent().reply(question, f"!confirmer {code_in(question)}")
    yield


async def a_small_gesture(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.claim(shop.world.cast.order(shipped_days_ago=5))
    yield
    (mail,) = await shop.inbox()
    await shop.world.agent().reply(mail, "!geste 5 € retard")
    yield


async def a_gesture_refused_late(shop: Shop) -> AsyncIterator[None]:
    shop.world.octopia.rules.request_lag = timedelta(hours=1)
    shop.world.octopia.requests.refuse_next()
    shop.world.cast.claim(shop.world.cast.order(shipped_days_ago=5))
    yield
    (mail,) = await shop.inbox()
    await shop.world.agent().reply(mail, "!geste 5 € retard\n!clos\n\nBonjour, voici un geste.")
    yield
    shop.clock.advance(timedelta(hours=1, minutes=5))
    yield


async def a_digest(shop: Shop) -> AsyncIterator[None]:
    shop.world.cast.claim()
    yield
    shop.clock.advance(timedelta(hours=21))  # to Tuesday, nine o'clock in Paris
    yield


_MONEY: dict[str, Any] = {"enabled": True, "most": 500, "most_per_order": 500, "most_per_day": 500}
_PROOF = ("money asked for", "refund prove")
_LITTLE = {"money": {**_MONEY, "confirm_above": 20}}


@dataclass(frozen=True)
class Scene:
    """A scenario, and where it is worth cutting."""

    play: Scenario
    alike: int = 0
    """So many of its first steps are `a_reply_that_closes`'s, and are cut there only."""
    config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What it changes in the account's sections."""
    between: tuple[str, str] | None = None
    """Cut from the first of these writes to two behind the second (none: to the end) only: how
    mails come in and replies leave is cut in the others."""
    doors: tuple[Door, ...] = (Door.OCTOPIA, Door.CDISCOUNT)

    @property
    def name(self) -> str:
        """As tests are called."""
        return self.play.__name__


PATTERN = Scene(a_reply_that_closes)
SCENES = (
    Scene(three_discussions),
    Scene(a_back_fill),
    PATTERN,
    Scene(a_close_without_words),
    Scene(held_and_released, alike=1),
    Scene(a_command_mistyped, alike=1),
    Scene(the_customer_comes_back, alike=1),
    Scene(closed_and_opened_again, alike=2),
    Scene(a_server_that_is_busy, alike=1),
    Scene(an_answer_lost_after_it_was_taken, alike=1),
    Scene(an_answer_lost_on_the_way, alike=1),
    Scene(files_lost_after_they_were_taken, alike=1),
    Scene(a_question_turned_claim),
    Scene(answers_that_are_due),
    Scene(written_first),
    Scene(a_refund_that_closes, alike=1, config={"money": _MONEY}, between=_PROOF),
    Scene(a_small_gesture, alike=1, config=_LITTLE, between=_PROOF),
    Scene(
        a_gesture_refused_late,
        alike=1,
        config=_LITTLE,
        between=("money asked for", ""),
        doors=(Door.OCTOPIA,),
    ),
    Scene(
        a_digest,
        config={"digest": {"at": "08:00"}},
        between=("digest planned", "digest planned"),
    ),
)
