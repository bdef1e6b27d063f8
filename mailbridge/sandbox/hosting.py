"""A sandbox that stays up: customers write now and then, and each event is told in one line.

Events are taken from where they happen: customers from here, answers from the relay, closings
from the marketplace's books, and what was held from the log of the daemon, where there is one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from random import Random
from typing import Any

from rich.table import Table
from rich.text import Text

from mailbridge.domain.discussion import AuthorKind, DiscussionKind
from mailbridge.domain.identity import short_id
from mailbridge.sandbox.books import BookedDiscussion
from mailbridge.sandbox.daemon import Daemon
from mailbridge.sandbox.settings import STAFF
from mailbridge.sandbox.stage import Stage
from mailbridge.sandbox.telling import Teller, shortened

__all__ = ["Hosting", "show_mail_settings"]

_BETWEEN = (30.0, 50.0)
"""Seconds from one customer to the next."""
_LOOK_EVERY = 0.3
_MOST_WAITING = 15
"""No new discussions while this many wait for an answer: the person may be at lunch."""
_MOST_FOLLOW_UPS = 2
_KINDS: Mapping[DiscussionKind, str] = {
    DiscussionKind.CLAIM: "opens a claim",
    DiscussionKind.ORDER_QUESTION: "asks about an order",
    DiscussionKind.OFFER_QUESTION: "asks about an offer",
}


class Hosting:
    """Keeps one sandbox lively, and tells."""

    def __init__(self, stage: Stage, teller: Teller, rng: Random) -> None:
        self._world = stage.world
        self._tell = teller
        self._rng = rng
        self._accepted = 0
        self._refused = 0
        self._closed: set[int] = set()
        self._follow_ups: dict[int, int] = {}
        self._news = False
        """Something has happened on the marketplace that the daemon has not been told of."""

    async def run(self, daemon: Daemon | None, *, at_start: int = 3) -> None:
        """Go on for ever; raises DaemonTrouble. `at_start`: so many customers write at once.

        With a `daemon` the marketplace is read at each event instead of every half minute.
        """
        cast = self._world.cast
        self._closed = {d.id for d in self._world.books.discussions if d.closed}
        self._accepted = len(self._world.taken)
        for make in (cast.claim, cast.order_question, cast.offer_question)[:at_start]:
            self._wrote(make())
        next_customer = time.monotonic() + self._rng.uniform(*_BETWEEN)
        while True:
            if time.monotonic() >= next_customer:
                next_customer = time.monotonic() + self._rng.uniform(*_BETWEEN)
                self._customer()
            self._look()
            if daemon is not None:
                daemon.check()
                if self._news:
                    self._news = False
                    await daemon.sweep()
            await asyncio.sleep(_LOOK_EVERY)

    def heard(self, event: Mapping[str, Any]) -> None:
        """A line of the daemon's log."""
        self._look()  # what it tells of has happened by now
        thread = str(event.get("discussion", "")).upper()
        match event.get("event"):
            case "mails filed":
                many = "mail" if event.get("count") == 1 else "mails"
                words = f"{event.get('count')} {many} in {event.get('folder')}"
                self._line("filed", "", words)
            case "reply accepted":
                why = f" ({event['evidence']})" if event.get("evidence") else ""
                self._line("accepted", "magenta", f"{thread}: the agent's reply{why}")
            case "reply held":
                reason = event.get("reason")
                self._line("held", "yellow", f"{thread}: {reason}; the notice in the thread says")
            case "sweep done" if event.get("recorded"):
                self._line("recorded", "green", "the daemon saw the answer in the discussion")
            case "thread moved":
                self._line("moved", "", f"{thread} to {event.get('folder')}")
            case other if event.get("level") in ("warning", "error", "critical"):
                self._line("trouble", "red", str(other))
            case _:
                pass

    # --- customers ---------------------------------------------------------------------------

    def _customer(self) -> None:
        """One customer does something, if there is anything sensible to do."""
        discussions = self._world.books.discussions
        answered = [
            d
            for d in discussions
            if d.messages
            and d.messages[-1].kind is AuthorKind.SELLER
            and self._follow_ups.get(d.id, 0) < _MOST_FOLLOW_UPS
        ]
        if answered and self._rng.random() < 0.5:
            discussion = self._rng.choice(answered[-10:])
            self._follow_ups[discussion.id] = self._follow_ups.get(discussion.id, 0) + 1
            self._world.cast.follow_up(discussion)
            self._news = True
            self._closed.discard(discussion.id)
            words = shortened(discussion.messages[-1].text, 60)
            self._line(
                "customer", "cyan", f"{_name(discussion)} {discussion.customer.name}: {words}"
            )
            return
        waiting = [
            d
            for d in discussions
            if not d.closed and d.messages and d.messages[-1].kind is AuthorKind.CUSTOMER
        ]
        if len(waiting) >= _MOST_WAITING:
            return
        self._wrote(self._world.cast.discussion())

    def _wrote(self, discussion: BookedDiscussion) -> None:
        self._news = True
        words = f"{discussion.customer.name} {_KINDS[discussion.kind]}"
        self._line("customer", "cyan", f"{_name(discussion)} {words}: {discussion.subject}")

    # --- what came of it ---------------------------------------------------------------------

    def _look(self) -> None:
        """Tell what happened since the last look."""
        relay, books = self._world.relay, self._world.books
        taken = self._world.taken
        new, self._accepted = taken[self._accepted :], len(taken)
        for mail in new:
            self._news = True
            words = shortened(mail.text, 60)
            if mail.discussion_id is None:
                self._line("lost", "red", f"an answer reached nobody: {words}")
                continue
            discussion = books.discussion(mail.discussion_id)
            name = discussion.customer.name
            self._line("answered", "green", f"{_name(discussion)} reached {name}: {words}")
        refused, self._refused = relay.refused[self._refused :], len(relay.refused)
        for address, line in refused:
            self._line("refused", "red", f"the relay refused {address}: {line}")
        for discussion in books.discussions:
            if discussion.closed and discussion.id not in self._closed:
                self._closed.add(discussion.id)
                self._line("closed", "green", f"{_name(discussion)} on the marketplace")

    def _line(self, mark: str, style: str, words: str) -> None:
        self._tell.event(f"{self._world.clock().astimezone():%H:%M:%S}", mark, style, words)


def show_mail_settings(stage: Stage, teller: Teller) -> None:
    """What a person types into their mail client."""
    world = stage.world
    host, port = world.imap
    teller.say("\n[bold]For your mail client[/]")
    table = Table.grid(padding=(0, 2))
    for name, value in (
        ("address", f"{STAFF[world.address]} <{world.address}>"),
        ("user", world.address),
        ("password", world.password),
        ("IMAP", f"{host}, port {port}, no encryption, normal password"),
        ("SMTP", f"{world.mail.host}, port {world.mail.smtp_port}, the same"),
        ("sent mails", "are kept in Sent; they are the proof of origin"),
        ("closed threads", "move to Clos, a folder that is made for the first of them"),
    ):
        table.add_row(f"  {name}", Text(value))
    teller.show(table)
    teller.say(
        "In Thunderbird choose “Configure manually”, connection security “None” and “Password, "
        "transmitted insecurely”: it all stays on this machine."
    )


def _name(discussion: BookedDiscussion) -> str:
    return short_id(str(discussion.id)).upper()
