"""What one listed discussion asks for, given what the journal knows: plan first, then act.

The plan is a value: the sweep writes it to the journal in one transaction, and the other flows
carry it out from there. Nothing is concluded from absence: a marketplace that suddenly shows
nothing is suspicious, not "all closed".
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from difflib import SequenceMatcher

from mailbridge.domain.discussion import AuthorKind, Discussion, Message, Status
from mailbridge.domain.history import Change, KnownMessage, Told, reconcile
from mailbridge.domain.wording import comparable

__all__ = ["Dispatched", "Known", "NewMessage", "Plan", "plan"]

_SKEW = timedelta(minutes=15)
"""How far the marketplace's clock may be behind ours when it records our reply."""

_TELLING = 20
"""Letters that our words need to be recognised inside a longer message."""

_LONG = 400
"""Letters that a message needs to be recognised as the beginning of our words."""

_SEVERAL, _ALIKE = 10, 0.85
"""So many words need to be there, and so much of them to be the same, where some were altered."""

_BOUNCE = re.compile(
    r"The following addresses had permanent fatal errors"
    r"|Delivery Status Notification \(Failure\)|Undelivered Mail Returned to Sender",
    re.IGNORECASE,
)
"""The relay's own bounces come back as messages of the discussion (sendmail's and Postfix's
words, as integrators filter them). Not among them: "THIS IS A WARNING MESSAGE ONLY", sendmail's
word on a mail it still tries to deliver; to send that one again would double it."""

_REPORT = re.compile(
    rf"\W*(?:subject: *|the original message was received at|{_BOUNCE.pattern})", re.IGNORECASE
)
_ADDRESS = re.compile(r"\b[\w.+-]{1,64}@[\w.-]{1,255}")
_STATUS = re.compile(r"\b5\.\d{1,3}\.\d{1,3}\b|\b55\d\b")


@dataclass(frozen=True, slots=True)
class Known:
    """What the journal holds of the discussion."""

    status: Status
    in_closed_folder: bool
    messages: tuple[KnownMessage, ...]
    acknowledged: frozenset[str] = frozenset()
    """Keys of messages that are automatic acknowledgements: nothing was answered by them."""


@dataclass(frozen=True, slots=True)
class Dispatched:
    """A reply of ours that is not yet recorded, of this discussion or one that shares its
    relay address."""

    id: int
    text_hash: str
    tried_at: datetime
    text: str = ""
    """Empty once pruned."""
    ident: str = ""
    """The message's id, where the marketplace gave one when it took the reply."""
    address: str = ""
    """Where it went; empty once pruned."""
    automatic: bool = False
    """An acknowledgement."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to add, and how it is filed.

    `dispatch` names the reply of ours that it is: then it is filed only if something was added
    to our words on their way. `bounced` names the reply that a bounce inside the discussion is
    about: it is filed, for a person to read.
    """

    key: str
    message: Message
    text_hash: str
    filed: bool
    unread: bool
    dispatch: int | None = None
    bounced: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All that changes. An empty plan is falsy."""

    opened: bool
    new: tuple[NewMessage, ...] = ()
    edited: tuple[Told, ...] = ()
    joined: tuple[Told, ...] = ()
    """Known so far without the id that the marketplace gives them now."""
    closed: bool = False
    """It became closed, or is closed at first sight."""
    waiting: bool = False
    """It is closed, with words of the customer behind the seller's last ones that nobody has had
    in the mailbox: its thread belongs where people look."""
    reopened: bool = False
    bring_back: bool = False
    """The customer wrote in a thread that lies in the closed folder."""

    def __bool__(self) -> bool:
        return bool(
            self.opened
            or self.new
            or self.edited
            or self.joined
            or self.closed
            or self.waiting
            or self.reopened
            or self.bring_back
        )


def plan(
    listed: Discussion,
    known: Known | None,
    dispatched: Sequence[Dispatched] = (),
    *,
    backfill: bool = False,
    treated: bool = False,
) -> Plan:
    """What to do about one listed discussion.

    `backfill`: only what still waits for the seller arrives unread, and a closed discussion waits
    for nobody. At any other time one that is first seen closed was opened and closed between two
    sweeps: what the seller has not answered in it is to be seen. `treated`: of history, what is
    marked as treated at the marketplace (`deadline.treated_until`) waits for nobody either.
    """
    is_closed = listed.status is Status.CLOSED
    was_closed = known is not None and known.status is Status.CLOSED
    told = reconcile(known.messages if known else (), listed.messages)
    returned = _returned(told, dispatched)
    robots = known.acknowledged if known else frozenset()
    robots |= {key for key, ours in returned.items() if ours.automatic}
    waiting_from = _waiting_from(told, robots)
    new: list[NewMessage] = []
    waiting = False
    for position, entry in enumerate(told):
        if entry.change is not Change.NEW:
            continue
        message = entry.message
        if (ours := returned.get(entry.key)) is not None:
            more = ours.text_hash != entry.text_hash
            if message.author.kind is AuthorKind.CUSTOMER:
                # By its id it is ours, so the word for its author was one we do not know.
                message = replace(message, author=replace(message.author, kind=AuthorKind.SELLER))
            new.append(
                NewMessage(entry.key, message, entry.text_hash, more, False, dispatch=ours.id)
            )
            continue
        unanswered = position >= waiting_from and not (backfill and (is_closed or treated))
        history = backfill or (known is None and is_closed)
        unread = message.author.kind is not AuthorKind.SELLER and (unanswered or not history)
        by_customer = message.author.kind is AuthorKind.CUSTOMER
        waiting |= is_closed and unanswered and by_customer
        bounced = _bounced(message, dispatched)
        new.append(NewMessage(entry.key, message, entry.text_hash, True, unread, bounced=bounced))
    customer_wrote = any(n.message.author.kind is AuthorKind.CUSTOMER for n in new)
    return Plan(
        opened=known is None,
        new=tuple(new),
        edited=tuple(t for t in told if t.change is Change.EDITED),
        joined=tuple(t for t in told if t.ground is not None),
        closed=is_closed and not was_closed,
        waiting=waiting,
        reopened=was_closed and not is_closed,
        bring_back=known is not None
        and known.in_closed_folder
        and (customer_wrote or (was_closed and not is_closed)),
    )


def _returned(told: Sequence[Told], dispatched: Sequence[Dispatched]) -> dict[str, Dispatched]:
    """Key -> the reply of ours that a new message is, come back."""
    unmatched = list(dispatched)
    returned: dict[str, Dispatched] = {}
    for entry in told:
        if entry.change is not Change.NEW:
            continue
        ours = _ours(entry.message, entry.text_hash, unmatched)
        if ours is not None:
            unmatched.remove(ours)
            returned[entry.key] = ours
    return returned


def _waiting_from(told: Sequence[Told], robots: Set[str]) -> int:
    """Index of the first message after the seller's last word; a robot's is none."""
    for index in range(len(told) - 1, -1, -1):
        entry = told[index]
        if entry.message.author.kind is AuthorKind.SELLER and entry.key not in robots:
            return index + 1
    return 0


def _ours(message: Message, digest: str, dispatched: Sequence[Dispatched]) -> Dispatched | None:
    if message.ident and (named := [d for d in dispatched if d.ident == message.ident]):
        return named[0]
    # A customer who answers "Merci" to our "Merci" is still a customer, whatever the texts.
    if message.author.kind is AuthorKind.CUSTOMER:
        return None
    possible = [d for d in dispatched if message.sent_at >= d.tried_at - _SKEW]
    for candidate in possible:
        if candidate.text_hash == digest:
            return candidate
    if message.author.kind is not AuthorKind.SELLER:
        return None
    # Providers were seen to put a disclaimer below all that leaves.
    shown = comparable(message.text)
    for candidate in possible:
        words = comparable(candidate.text)
        if len(words) >= _TELLING and words in shown:
            return candidate
    return next((d for d in possible if _altered(d.text, message.text)), None)


def _altered(sent: str, shown: str) -> bool:
    """Whether what is shown is what we sent, but cut short or with a few words struck out.

    Nobody says that a marketplace keeps a reply as it came: where it hides telephone numbers or
    links, or cuts what is long, a reply held to be lost would be sent a second time.
    """
    short, whole = comparable(shown).rstrip(".…[]()"), comparable(sent)
    if len(short) >= _LONG and whole.startswith(short):
        return True
    ours, theirs = sent.split(), shown.split()
    if len(ours) < _SEVERAL or not len(ours) * 0.8 <= len(theirs) <= len(ours) * 1.25:
        return False
    same = SequenceMatcher(None, ours, theirs, autojunk=False)
    return same.quick_ratio() >= _ALIKE and same.ratio() >= _ALIKE


def _bounced(message: Message, dispatched: Sequence[Dispatched]) -> int | None:
    """The reply that this message says was not delivered."""
    text = message.text[:4000]
    if not dispatched or not _BOUNCE.search(text):
        return None
    named = {a.lower() for a in _ADDRESS.findall(text)}
    possible = [d for d in dispatched if d.address.lower() in named] or dispatched
    if message.author.kind is AuthorKind.CUSTOMER and not _is_report(text, named, dispatched):
        return None
    earlier = [d for d in possible if d.tried_at <= message.sent_at + _SKEW]
    return max(earlier, key=lambda d: d.tried_at).id if earlier else None


def _is_report(text: str, named: Set[str], dispatched: Sequence[Dispatched]) -> bool:
    """Whether a machine wrote this, though the service shows it as the customer's.

    Where kinds are guessed from names, whoever is not known is a customer. But customers quote
    what their own mail programs tell them, and to send an answer again for that would double it:
    so the report names where our reply went (a customer never sees that address), or it names
    nobody, begins as a report and has a permanent failure's code.
    """
    if named:
        return any(d.address.lower() in named for d in dispatched)
    return bool(_REPORT.match(text) and _STATUS.search(text))
