"""The demo's story: what customers, agents and a forger do, and what is seen to come of it.

Nothing is acted. Each scene works the real daemon through its mailbox, as people would, and looks
at the mailbox, the relay and the marketplace's books afterwards. What is not as it should be ends
the story with `StoryFailed`; a tick is printed only for what was checked.
"""

from __future__ import annotations

import asyncio
import imaplib
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import TypeVar

from mailbridge.domain.discussion import AuthorKind
from mailbridge.sandbox.agent import Client, SeenMail
from mailbridge.sandbox.books import BookedDiscussion
from mailbridge.sandbox.daemon import Daemon
from mailbridge.sandbox.people import PRODUCTS
from mailbridge.sandbox.stage import Stage
from mailbridge.sandbox.telling import Teller
from mailbridge.sandbox.world import Taken

__all__ = ["Scene", "Story", "StoryFailed"]

_PATIENCE = 20.0
"""Seconds until something that should happen counts as not happening."""
_LOOK_EVERY = 0.15
_SWEEP_EVERY = 2.0

_PAUL = "paul@maison-brindille.example"
_INES = "ines@maison-brindille.example"
_CLOSED = "Clos"

_Found = TypeVar("_Found")


class StoryFailed(Exception):
    """Something was not as it should be; `str()` says what."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One line of the summary."""

    title: str
    seconds: float


class Story:
    """Plays the scenes one after the other."""

    def __init__(self, stage: Stage, daemon: Daemon, teller: Teller) -> None:
        self.scenes: list[Scene] = []
        self._stage = stage
        self._world = stage.world
        self._daemon = daemon
        self._tell = teller
        self._claim: BookedDiscussion
        self._question: BookedDiscussion
        self._offer: BookedDiscussion

    async def play(self) -> None:
        """All of it; raises StoryFailed and DaemonTrouble."""
        for number, (title, act) in enumerate(
            (
                ("Customers write; threads appear in the shared mailbox", self._customers_write),
                ("Paul answers from his own mail client, and adds !clos", self._paul_answers),
                ("The marketplace records the answer; the discussion closes", self._it_closes),
                ("A mistyped command is held, not guessed", self._mistyped),
                ("Two colleagues answer the same customer", self._colleagues),
                ("A forged mail from outside", self._forged),
            ),
            start=1,
        ):
            self._tell.scene(number, title)
            begun = time.monotonic()
            await act()
            self.scenes.append(Scene(title, time.monotonic() - begun))

    # --- the scenes --------------------------------------------------------------------------

    async def _customers_write(self) -> None:
        cast, tell = self._world.cast, self._tell
        shipped = cast.order(cast.customer(english=False), lines=2, shipped_days_ago=5)
        self._claim = cast.claim(
            shipped,
            claim_type="DamagedProduct",
            text="Bonjour,\n\nLe carton était enfoncé et le produit est fendu sur toute la "
            "longueur.\nJ'ai pris des photos. Que proposez-vous ?\n\nCordialement",
        )
        self._question = cast.order_question(
            cast.order(cast.customer(english=False)),
            text="Bonjour,\n\nPouvez-vous me dire quand ma commande sera expédiée ?\n"
            "Je pars en vacances samedi.",
        )
        self._offer = cast.offer_question(
            PRODUCTS[0],
            text="Bonjour, quelles sont les dimensions exactes une fois monté ?\n"
            "La fiche n'en parle pas.",
        )
        tell.say(
            f"On the marketplace, [bold]{self._claim.customer.name}[/] opens a claim, "
            f"[bold]{self._question.customer.name}[/] asks about an order and "
            f"[bold]{self._offer.customer.name}[/] about an offer."
        )
        await self._daemon.sweep()

        async def threads() -> list[SeenMail]:
            mails = await self._inbox()
            return mails if len(mails) >= 3 else []

        mails = await self._until("three threads in the mailbox", threads)
        self._check(not any(m.seen for m in mails), "the threads did not arrive unread")
        tell.folder("INBOX of support@maison-brindille.example", mails)
        await tell.pause(2)
        first = self._of(self._claim, mails)
        await self._stage.agent().mark(first)
        tell.say("\nThe first one, as the agent opens it:")
        tell.paper(
            "what the customer wrote, and the order",
            first.text,
            headers=_headers(first.message, "From", "To", "Subject"),
        )
        tell.done("The customer's words first, then the order card: nothing to look up.")
        await tell.pause(3)

    async def _paul_answers(self) -> None:
        tell = self._tell
        mail = self._of(self._claim, await self._inbox())
        typed = (
            f"Bonjour {self._claim.customer.first_name},\n\n"
            "Toutes nos excuses. Un article neuf part aujourd'hui, vous n'avez rien à\n"
            "renvoyer.\n\nCordialement,\nPaul\n\n!clos"
        )
        tell.say("He presses Reply and types:")
        written = await self._stage.agent(_PAUL).reply(mail, typed)
        quoted = written.data.count(b"\n>")
        tell.paper("Paul's reply", f"{typed}\n\n[… {quoted} quoted lines below]", style="magenta")
        await tell.pause(1.5)
        sent = await self._left(1)
        if sent.mail is not None:
            tell.say("\nWhat left for the customer, by the marketplace's relay:")
            headers = _headers(sent.mail.message, *sent.mail.message.keys())
            tell.paper("the mail to the customer", sent.text, headers=headers, style="green")
        else:
            tell.say("\nWhat left for the customer, by the marketplace's own interface:")
            tell.paper("the message to the customer", sent.text, style="green")
        self._check_clean(sent)
        tell.done("No command, no quoted line, no token, no header of Paul's mail.")
        await tell.pause(2.5)

    async def _it_closes(self) -> None:
        tell, claim = self._tell, self._claim
        await self._closes(claim)
        answer = next(m for m in claim.messages if m.kind is AuthorKind.SELLER)
        tell.say("The discussion on the marketplace now:")
        tell.paper(
            f"discussion {claim.id}: {claim.status.lower()}",
            "\n\n".join(f"{m.name}:\n{_indented(m.text)}" for m in claim.messages),
            style="green",
        )
        self._check(
            self._world.books.seller == answer.name and "!clos" not in answer.text,
            "the marketplace shows something else than the answer",
        )
        tell.done("Recorded first, closed then: a close never overtakes its answer.")

        async def tidied() -> list[SeenMail]:
            mails = await self._mails(_CLOSED)
            # The customer's mail and the receipt.
            return mails if len(mails) >= 2 and any(map(_is_notice, mails)) else []

        mails = await self._until("the closed thread in its folder", tidied)
        tell.say("")
        tell.folder(_CLOSED, mails)
        receipt = next(m for m in mails if _is_notice(m))
        tell.paper("the receipt, for the colleagues", receipt.text, style="green")
        self._check(receipt.seen, "the receipt did not arrive as read")
        tell.done("The thread has left the inbox; the receipt says what was done, and when.")
        await tell.pause(2.5)

    async def _mistyped(self) -> None:
        tell = self._tell
        mail = self._of(self._question, await self._inbox())
        agent = self._stage.agent(_INES, client=Client.ROUNDCUBE)
        await agent.mark(mail)
        text = "Bonjour,\n\nElle part demain matin, vous l'aurez vendredi.\n\nInès\n\n"
        tell.paper("Inès types", text + "!colse", style="magenta")
        known = await self._notices()
        await agent.reply(mail, text + "!colse")
        notice = await self._held(known)
        tell.held("Held: nothing went to the customer. Her mailbox says why:")
        tell.paper(_from(notice), notice.text, style="yellow")
        self._check(len(self._world.taken) == 1, "a held reply went to the customer")
        await tell.pause(3)
        tell.say("She answers the notice, and spells it right.")
        await agent.reply(notice, text + "!clos")
        await self._left(2)
        await self._closes(self._question)
        tell.done("Sent once, recorded, closed.")
        await tell.pause(1)

    async def _colleagues(self) -> None:
        tell = self._tell
        mail = self._of(self._offer, await self._inbox())
        tell.say("Paul answers the question about the offer …")
        await self._stage.agent(_PAUL).reply(
            mail, "Bonjour,\n\nElle mesure 40 cm de diamètre et 32 cm de haut.\n\nPaul"
        )
        await self._left(3)
        known = await self._notices()
        tell.say("… and Inès, who had the mail open and has not seen that:")
        await self._stage.agent(_INES).reply(
            mail, "Bonjour,\n\nEnviron 45 cm, sans le câble.\n\nBien à vous,\nInès"
        )
        notice = await self._held(known)
        tell.held("Held: the customer will not get two answers that disagree.")
        tell.paper(_from(notice), notice.text, style="yellow")
        self._check(len(self._world.taken) == 3, "a second answer went to the customer")
        await tell.pause(2.5)

    async def _forged(self) -> None:
        tell, world = self._tell, self._world
        mail = self._of(self._offer, await self._inbox())
        address = parseaddr(str(mail.message["Reply-To"]))[1]
        tell.say(
            "Somebody outside got hold of this thread's reply address and writes to it as Paul, "
            "with !clos:"
        )
        known = await self._notices()
        forged = EmailMessage(policy=SMTP)
        forged["From"] = f"Paul <{_PAUL}>"
        forged["To"] = address
        forged["Subject"] = "Re: " + mail.subject
        # Never the second of Paul's own answer, of which it would be taken for a copy.
        forged["Date"] = format_datetime(world.clock() - timedelta(seconds=90))
        forged["Message-ID"] = "<1@elsewhere.example>"
        forged["In-Reply-To"] = str(mail.message["Message-ID"])
        forged.set_content("Remboursez-vous sur http://pay.elsewhere.example/\n\n!clos\n")
        await world.mail.receive("paul@elsewhere.example", address, forged.as_bytes())
        notice = await self._held(known)
        tell.held(
            "Held: a From line proves nothing, and the shop's Sent folder knows no such mail."
        )
        tell.paper(_from(notice), notice.text, style="yellow")
        self._check(len(world.taken) == 3, "a forged mail went to the customer")
        self._check(not self._offer.closed, "a forged mail closed a discussion")
        await tell.pause(2.5)

    # --- waiting and looking -----------------------------------------------------------------

    async def _until(
        self,
        what: str,
        look: Callable[[], Awaitable[_Found]],
        *,
        sweep: bool = False,
    ) -> _Found:
        """Look until something is found; `sweep` has the marketplace read meanwhile."""
        until = time.monotonic() + _PATIENCE
        next_sweep = 0.0
        while True:
            self._daemon.check()
            if sweep and time.monotonic() >= next_sweep:
                await self._daemon.sweep()
                next_sweep = time.monotonic() + _SWEEP_EVERY
            found = await look()
            if found:
                return found
            if time.monotonic() > until:
                raise StoryFailed(f"waited {_PATIENCE:.0f} s for {what}, in vain")
            await asyncio.sleep(_LOOK_EVERY)

    async def _left(self, count: int) -> Taken:
        """The newest answer the marketplace took, once it has taken `count`."""

        async def taken() -> list[Taken]:
            accepted = self._world.taken
            return accepted if len(accepted) >= count else []

        mails = await self._until("the answer at the marketplace", taken)
        self._check(len(mails) == count, "an answer left twice")
        return mails[-1]

    async def _closes(self, discussion: BookedDiscussion) -> None:
        async def closed() -> bool:
            return discussion.closed

        await self._until("the discussion to close", closed, sweep=True)

    async def _held(self, known: list[SeenMail]) -> SeenMail:
        """The notice that has come since `known`."""
        before = {m.message["Message-ID"] for m in known}

        async def told() -> list[SeenMail]:
            return [
                m
                for m in await self._notices()
                if m.message["Message-ID"] not in before and not m.seen
            ]

        return (await self._until("a notice in the thread", told))[0]

    async def _inbox(self) -> list[SeenMail]:
        return await self._mails("INBOX")

    async def _notices(self) -> list[SeenMail]:
        return [m for m in await self._inbox() if _is_notice(m)]

    async def _mails(self, folder: str) -> list[SeenMail]:
        try:
            return await self._stage.agent().mails(folder)
        except imaplib.IMAP4.error:
            return []  # a folder that is not there yet

    def _of(self, discussion: BookedDiscussion, mails: list[SeenMail]) -> SeenMail:
        first = discussion.messages[0].text.split("\n")[-1]
        for mail in mails:
            if first in mail.text and not _is_notice(mail):
                return mail
        raise StoryFailed(f"the thread of discussion {discussion.id} is not in the inbox")

    def _check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise StoryFailed(otherwise)

    def _check_clean(self, sent: Taken) -> None:
        whole = (sent.mail.data.decode(errors="replace") if sent.mail else sent.text).lower()
        self._check("!clos" not in sent.text, "the command went to the customer")
        self._check(not re.search(r"^>", sent.text, re.MULTILINE), "a quote went to the customer")
        self._check("mb-cd" not in whole and ".invalid" not in whole, "a token left")
        if sent.mail is None:
            return
        names = {name.lower() for name in sent.mail.message}
        self._check(
            not names & {"in-reply-to", "references", "user-agent", "reply-to"},
            "a header of the agent's mail left",
        )
        self._check(
            parseaddr(str(sent.mail.message["From"]))[1] == self._world.address,
            "the mail does not come from the registered address",
        )


def _headers(message: EmailMessage, *names: str) -> list[tuple[str, str]]:
    return [
        (name, " ".join(str(message[name]).split())) for name in names if message[name] is not None
    ]


def _is_notice(mail: SeenMail) -> bool:
    return mail.message["X-Mailbridge-Notice"] is not None


def _from(mail: SeenMail) -> str:
    return f"a mail in the thread, from {str(mail.message['From']).partition(' <')[0]}"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" if line else "" for line in text.split("\n"))
