"""Which messages of a discussion are new, which are known, which were edited.

Where the service gives messages an id, that is their identity. The SOAP service gives none, so
there it is: the discussion, the timestamp exactly as sent, and an ordinal among twins (two
messages of one timestamp). Which twin is which is settled by equal author and text, then equal
text, then equal author. A text that changed under a known identity is an edit: it updates, it
never makes a second mail. What is known from an API without ids and listed by one with ids is
known again as `joining` says, and has its id from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mailbridge.domain.discussion import AuthorKind, Message
from mailbridge.domain.joining import Ground, Side, join
from mailbridge.domain.wording import text_hash

__all__ = ["Change", "KnownMessage", "Told", "reconcile"]


@dataclass(frozen=True, slots=True)
class KnownMessage:
    """What the journal remembers of a message; enough to recognise it."""

    key: str
    ident: str | None
    raw_time: str
    author_name: str | None
    """As the service sent it, or its beginning; None: forgotten by retention."""
    text_hash: str
    has_text: bool = True
    """False after a recovery: only the hash is known, and the words are to be taken in again."""
    author_kind: AuthorKind = AuthorKind.CUSTOMER
    sent_at: datetime | None = None
    text: str = ""
    """Kind, time and words join it with a listed message that has an id, where it has none; it
    is never joined without its time."""


class Change(StrEnum):
    """What a listing says of one message."""

    NEW = "new"
    SAME = "same"
    EDITED = "edited"


@dataclass(frozen=True, slots=True)
class Told:
    """One message as listed, with its identity."""

    key: str
    change: Change
    message: Message
    text_hash: str
    ground: Ground | None = None
    """Why it is held to be a message that was known without its id; None: it was not."""


def reconcile(known: Sequence[KnownMessage], listed: Sequence[Message]) -> list[Told]:
    """Give each listed message its identity, in the order listed.

    An id listed twice (a page read while messages were added) is one message: the first stands.
    A known message that is not listed is left alone: the service was seen to show messages late
    and out of order, and nothing ever shown is taken back.
    """
    listed = _without_repeats(listed)
    hashes = [text_hash(message.text) for message in listed]
    matched: dict[int, KnownMessage] = {}
    free = list(known)
    by_ident = {old.ident: old for old in known if old.ident}
    for index, message in enumerate(listed):
        if message.ident and (old := by_ident.get(message.ident)):
            matched[index] = old
            free.remove(old)
    grounds = _join(free, listed, hashes, matched)
    for rule in (_equal, _same_text, _same_author):
        for index, message in enumerate(listed):
            if index in matched or message.ident:
                continue
            for old in free:
                if old.raw_time == message.raw_time and rule(old, message, hashes[index]):
                    matched[index] = old
                    free.remove(old)
                    break
    taken = {old.key for old in known}
    told: list[Told] = []
    for index, message in enumerate(listed):
        if index in matched:
            old = matched[index]
            same = old.text_hash == hashes[index] and old.has_text
            change = Change.SAME if same else Change.EDITED
            told.append(Told(old.key, change, message, hashes[index], grounds.get(index)))
            continue
        key = _free_key(message, taken)
        taken.add(key)
        told.append(Told(key, Change.NEW, message, hashes[index]))
    return told


def _join(
    free: list[KnownMessage],
    listed: Sequence[Message],
    hashes: Sequence[str],
    matched: dict[int, KnownMessage],
) -> dict[int, Ground]:
    """Match listed messages whose id is not known with known ones that have none."""
    nameless = [old for old in free if not old.ident and old.sent_at is not None]
    places = [
        index for index, message in enumerate(listed) if message.ident and index not in matched
    ]
    if not nameless or not places:
        return {}
    pairs = join(
        [
            Side(old.author_kind, old.sent_at, old.text_hash, old.text)
            for old in nameless
            if old.sent_at is not None
        ],
        [Side(listed[i].author.kind, listed[i].sent_at, hashes[i], listed[i].text) for i in places],
    )
    grounds: dict[int, Ground] = {}
    for pair in pairs:
        index, old = places[pair.listed], nameless[pair.known]
        matched[index], grounds[index] = old, pair.ground
        free.remove(old)
    return grounds


def _without_repeats(listed: Sequence[Message]) -> list[Message]:
    kept: list[Message] = []
    idents: set[str] = set()
    for message in listed:
        if message.ident:
            if message.ident in idents:
                continue
            idents.add(message.ident)
        kept.append(message)
    return kept


_NAME = 60
"""Letters of a name that are compared: the journal and a mail's header keep no more of a long one
than they can hold."""


def _equal(old: KnownMessage, message: Message, digest: str) -> bool:
    return old.text_hash == digest and _same_author(old, message, digest)


def _same_text(old: KnownMessage, _message: Message, digest: str) -> bool:
    return old.text_hash == digest


def _same_author(old: KnownMessage, message: Message, _digest: str) -> bool:
    # A forgotten name is anybody's: better a twin taken for an edit than old words filed again.
    name = message.author.name
    return old.author_name is None or _start(old.author_name) == _start(name)


def _start(name: str) -> str:
    return name.strip()[:_NAME].rstrip()


def _free_key(message: Message, taken: set[str]) -> str:
    if message.ident:
        return f"id:{message.ident}"
    ordinal = 0
    while (key := f"at:{message.raw_time}#{ordinal}") in taken:
        ordinal += 1
    return key
