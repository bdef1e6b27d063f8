"""Whether a staff reply is obeyed, waited for, held or ignored: the rules, in their order.

Fail closed: whatever is not plainly right is held with a reason, and a hold costs a delay where
a mistake would cost a customer. A better copy of the same mail (from a Sent folder) may still
come, so nothing is held while that is worth waiting for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mailbridge.domain.notice import HoldReason
from mailbridge.domain.wording import comparable

__all__ = [
    "Accept",
    "Case",
    "Colleague",
    "Hold",
    "Ignore",
    "Verdict",
    "Wait",
    "judge",
    "nearly_equal",
]

_TWIN_TIME = timedelta(minutes=10)
_TWIN_SHARE = 0.05
_TWIN_EDITS = 100
"""Nearly equal: fewer letters added and taken away than this share of both, and than this many."""


@dataclass(frozen=True, slots=True)
class Colleague:
    """Another reply with a text in this discussion, accepted or under way."""

    sender: str
    name: str
    written_at: datetime
    answers: str
    message_ids: frozenset[str]
    """Its own Message-IDs (copies may differ) and those of the receipts about it."""
    text: str


@dataclass(frozen=True, slots=True)
class Case:
    """All that is known of one reply when it is judged. Times are aware."""

    now: datetime
    sender: str
    written_at: datetime
    answers: str
    references: frozenset[str]
    text: str
    has_commands: bool
    sends: bool
    """There is a text and no note: something would go to the customer."""
    answers_question: bool = False
    """It answers a question about money: its words are meant for us, not for the customer."""
    about_doubt: bool = False
    """The question is whether money was paid that nothing shows."""
    fault: tuple[HoldReason, Mapping[str, str]] | None = None
    """What reading the mail, or its commands, found wrong."""
    routed: tuple[HoldReason, Mapping[str, str]] | None = None
    """What is wrong with whom it is addressed to."""
    automatic: str = ""
    """The sign that it is automatic mail, empty for none."""
    maybe_automatic: str = ""
    is_staff: bool = False
    proven: bool = False
    """Evidence of origin (level 1) or the right one-time code."""
    why_not_proven: str = ""
    wait_until: datetime | None = None
    """Until when a better copy may still come; None: not worth waiting."""
    max_age: timedelta = timedelta(days=7)
    was_lying_in_sent: bool = False
    replies_on: bool = True
    paused: bool = False
    others: Sequence[Colleague] = ()
    """Those whose answer may be to the same question."""
    text_min: int = 0
    text_max: int | None = None
    attachments: str = ""
    """What breaks the channel's attachment limits, in words; empty for nothing."""
    attachment_limit: str = ""
    leak: str = ""
    waived: frozenset[HoldReason] = frozenset()
    """Holds that a person has lifted by having it sent as it stands."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Carry it out."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing is done; `code` tells whether a one-time code may release it."""

    reason: HoldReason
    facts: Mapping[str, str] = field(default_factory=dict)
    code: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Judge again at `until`, or when another copy is seen."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Ignore:
    """Automatic mail: never sent on, obeyed or answered."""

    sign: str


Verdict = Accept | Hold | Wait | Ignore


def judge(case: Case) -> Verdict:
    """The rules, first match decides; holds that a person waived are passed over."""
    if case.automatic:
        return Ignore(case.automatic)
    trusted = case.proven and case.is_staff
    if not trusted and case.wait_until is not None and case.now < case.wait_until:
        return Wait(case.wait_until)
    return next((h for h in _holds(case) if h.reason not in case.waived), Accept())


def _holds(case: Case) -> Iterator[Hold]:
    """All that speaks against it, in the order in which it is told."""
    for fault in (case.routed, case.fault):
        if fault is not None:
            reason, facts = fault
            yield Hold(reason, facts)
    if case.was_lying_in_sent:
        yield Hold(HoldReason.FOUND_IN_SENT, {"date": case.written_at.isoformat()}, code=True)
    if case.now - case.written_at > case.max_age:
        facts = {"date": case.written_at.isoformat(), "days": str(case.max_age.days)}
        yield Hold(HoldReason.TOO_OLD, facts, code=True)
    if not case.text.strip() and not case.has_commands:
        yield Hold(HoldReason.NO_TEXT)
    if case.answers_question and case.sends:
        facts = {"doubt": "yes" if case.about_doubt else ""}
        yield Hold(HoldReason.CONFIRMATION_TEXT, facts)
    if case.maybe_automatic:
        yield Hold(HoldReason.MAYBE_AUTOMATIC, {"sign": case.maybe_automatic}, code=True)
    if case.paused:
        yield Hold(HoldReason.PAUSED)
    if not case.replies_on:
        yield Hold(HoldReason.REPLIES_OFF)
    if case.sends:
        yield from _content(case)
        yield from _colleagues(case)
    if not case.is_staff:
        yield Hold(HoldReason.NOT_STAFF, {"sender": case.sender}, code=True)
    if not case.proven:
        facts = {"sender": case.sender, "why": case.why_not_proven}
        yield Hold(HoldReason.NOT_PROVEN, facts, code=True)


def _content(case: Case) -> Iterator[Hold]:
    length = len(case.text.strip())
    if length < case.text_min or (case.text_max is not None and length > case.text_max):
        facts = {"length": str(length), "min": str(case.text_min), "max": str(case.text_max or "")}
        yield Hold(HoldReason.TEXT_LENGTH, facts)
    if case.attachments:
        facts = {"names": case.attachments, "limit": case.attachment_limit}
        yield Hold(HoldReason.ATTACHMENTS, facts)
    if case.leak:
        yield Hold(HoldReason.LEAK, {"what": case.leak})


def _colleagues(case: Case) -> Iterator[Hold]:
    for other in case.others:
        near = abs(case.written_at - other.written_at) <= _TWIN_TIME
        if near and other.answers == case.answers and nearly_equal(case.text, other.text):
            yield Hold(HoldReason.NEAR_DUPLICATE, {"at": other.written_at.isoformat()}, code=True)
    for other in case.others:
        if (
            other.sender.lower() != case.sender.lower()
            and not (case.references & other.message_ids)
            and case.answers not in other.message_ids
        ):
            facts = {"who": other.name or other.sender, "at": other.written_at.isoformat()}
            yield Hold(HoldReason.COLLEAGUE_ANSWERED, facts, code=True)


def nearly_equal(one: str, two: str) -> bool:
    """Equal but for a few characters: a double click, or a correction sent at once."""
    a, b = comparable(one), comparable(two)
    if a == b:
        return True
    if min(len(a), len(b)) < 20:
        return False
    share = math.ceil(_TWIN_SHARE * (len(a) + len(b)))
    return _edits_below(min(share, _TWIN_EDITS), a, b)


def _edits_below(limit: int, a: str, b: str) -> bool:
    """Whether fewer letters than `limit`, added or taken away, turn one text into the other.

    The greedy walk of Myers (An O(ND) Difference Algorithm, 1986): on each diagonal of the two
    texts, how far into `a` so many edits lead. Quick where texts are alike, and bounded by
    `limit` where they are not; difflib is quadratic, or blind to frequent letters.
    """
    reached = {1: 0}
    for edits in range(limit):
        for diagonal in range(-edits, edits + 1, 2):
            down = diagonal == -edits or (
                diagonal != edits and reached[diagonal - 1] < reached[diagonal + 1]
            )
            x = reached[diagonal + 1] if down else reached[diagonal - 1] + 1
            y = x - diagonal
            while x < len(a) and y < len(b) and a[x] == b[y]:
                x, y = x + 1, y + 1
            reached[diagonal] = x
            if x >= len(a) and y >= len(b):
                return True
    return False
