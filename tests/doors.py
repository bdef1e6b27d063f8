"""One marketplace, two doors: what a scenario says in plain words, as each API calls it.

Scenarios in tests/bridge run through both (see the conftest there). They say what mailbridge asks
for (`Ask`) and what becomes of an answer that is handed over (`Handover`), and never an
operation's name; what is of one door by nature is marked `relay` or `api`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum

from mailbridge.sandbox.books import BookedDiscussion
from mailbridge.sandbox.faults import (
    AnswerLost,
    Fault,
    FaultPlan,
    RawAnswer,
    Refusal,
    ResetBefore,
    Rewrite,
    Throttled,
    Truncated,
)
from mailbridge.sandbox.smtp import DropAfterDot, Reply, Stage
from mailbridge.sandbox.world import Door, World

__all__ = [
    "CLOSE_UNCLEAR",
    "CLOSE_UNKNOWN",
    "CONTROLS",
    "UNREADABLE",
    "Ask",
    "Handover",
    "door",
    "operations",
    "spoils",
    "through",
]

_door: ContextVar[Door] = ContextVar("door", default=Door.CDISCOUNT)


def door() -> Door:
    """The door through which shops are opened now."""
    return _door.get()


@contextmanager
def through(which: Door) -> Iterator[None]:
    """Shops opened inside use this door."""
    token = _door.set(which)
    try:
        yield
    finally:
        _door.reset(token)


class Ask(StrEnum):
    """What mailbridge asks a marketplace for."""

    CLAIMS = "claims"
    """A list that has the claims in it."""
    DISCUSSIONS = "discussions"
    """All lists of discussions, and the reading of single ones."""
    QUESTION = "question"
    """What shows the messages of a question about an order."""
    ORDERS = "orders"
    BESIDE = "beside"
    """What a thread can do without: relay addresses, files, the names of topics."""
    CLOSE = "close"
    GESTURE = "gesture"
    MONEY = "money"
    """Any call that moves money."""
    ABOUT_MONEY = "about money"
    """Those, and what is read before and after them."""


_OPERATIONS: Mapping[Door, Mapping[Ask, tuple[str, ...]]] = {
    Door.CDISCOUNT: {
        Ask.CLAIMS: ("GetOrderClaimList",),
        Ask.DISCUSSIONS: ("GetOrderClaimList", "GetOrderQuestionList", "GetOfferQuestionList"),
        Ask.QUESTION: ("GetOrderQuestionList",),
        Ask.ORDERS: ("GetOrderList",),
        Ask.BESIDE: ("GetDiscussionMailList",),
        Ask.CLOSE: ("CloseDiscussionList",),
        Ask.GESTURE: ("CreateRefundVoucher",),
        Ask.MONEY: ("CreateRefundVoucher", "ValidateOrderList"),
        Ask.ABOUT_MONEY: ("CreateRefundVoucher", "ValidateOrderList", "GetOrderList"),
    },
    Door.OCTOPIA: {
        Ask.CLAIMS: ("listDiscussions",),
        Ask.DISCUSSIONS: ("listDiscussions", "getDiscussion"),
        Ask.QUESTION: ("getDiscussion",),
        Ask.ORDERS: ("listOrders", "getOrder"),
        Ask.BESIDE: ("listAttachments", "listTypologies"),
        Ask.CLOSE: ("changeDiscussion",),
        Ask.GESTURE: ("requestGesture",),
        Ask.MONEY: ("requestGesture", "requestCancellation", "requestPartialCancellation"),
        Ask.ABOUT_MONEY: (
            "requestGesture",
            "requestCancellation",
            "requestPartialCancellation",
            "getOrder",
            "getGestureAmount",
            "listCancellationReasons",
            "listCancellations",
            "listGestures",
        ),
    },
}


def operations(which: Door, ask: Ask) -> tuple[str, ...]:
    """The operations that answer it, as the door's API calls them."""
    return _OPERATIONS[which][ask]


_CLOSED = b">DiscussionClosed</OperationStatus>"

CLOSE_UNKNOWN: Mapping[Door, Fault] = {
    Door.CDISCOUNT: Rewrite(_CLOSED, b">DiscussionNotFound</OperationStatus>"),
    Door.OCTOPIA: RawAnswer(
        json.dumps({"title": "Not Found", "status": 404}).encode(), 404, "application/problem+json"
    ),
}
"""The service does not know the discussion that is to be closed."""

CLOSE_UNCLEAR: Mapping[Door, Fault] = {
    Door.CDISCOUNT: Rewrite(_CLOSED, b">EnAttente</OperationStatus>"),
    Door.OCTOPIA: RawAnswer(b"", 204),  # says yes and does nothing
}
"""Whether the discussion is closed can't be told from the answer."""

CONTROLS: Mapping[Door, Fault] = {
    Door.CDISCOUNT: Rewrite(b" MILIEU ", b"&#13;&#133;&#8238;"),
    Door.OCTOPIA: Rewrite(b" MILIEU ", rb"\r\u0085\u202e\u0000\ud800"),
}
"""` MILIEU ` becomes control characters, as the format can carry them."""

UNREADABLE: Mapping[Door, Fault] = {
    Door.CDISCOUNT: Rewrite(b"<OperationSuccess>true", b"<OperationSuccess>maybe"),
    Door.OCTOPIA: Truncated(),
}
"""The effect was done, and the answer can't be read."""


def spoils(which: Door, discussion: BookedDiscussion) -> Fault:
    """One field of this discussion can't be read any more, the others' are well."""
    soap = f"<Id>{discussion.id}</Id>"
    rest = '"discussionId":'
    return {
        Door.CDISCOUNT: Rewrite(
            # The first one of two counts, and the date of creation stands before the id.
            soap.encode(),
            f"{soap}<LastUpdatedDate>gestern</LastUpdatedDate>".encode(),
        ),
        Door.OCTOPIA: Rewrite(f'{rest}"{discussion.object_id}"'.encode(), f"{rest}null".encode()),
    }[which]


class Handover:
    """What becomes of answers on their way to the customer: by SMTP, or by a call of the API."""

    def __init__(self, world: World, service: FaultPlan) -> None:
        self._mail = world.mail.submission.faults
        self._service = service
        self._by_mail = world.door is Door.CDISCOUNT

    def refused(self, words: str) -> None:
        """The next one is refused for good, in these words."""
        if self._by_mail:
            self._mail.once(Reply(Stage.DOT, f"554 5.7.1 {words}"))
        else:
            self._once(Refusal(words, "Bad Request"))

    def put_off(self) -> None:
        """None is taken for now, until `well`."""
        if self._by_mail:
            self._mail.always(Reply(Stage.RCPT, "451 4.3.2 Try again later"))
        else:
            self._service.always(Throttled(None), _SEND)

    def lost(self, *, kept: bool) -> None:
        """Of the next one nobody hears whether it arrived. `kept`: it did."""
        if self._by_mail:
            self._mail.once(DropAfterDot(kept=kept))
        else:
            self._once(AnswerLost() if kept else ResetBefore())

    def well(self) -> None:
        """All goes well again."""
        self._mail.clear()
        self._service.clear()

    def _once(self, fault: Fault) -> None:
        self._service.once(fault, _SEND)


_SEND = "sendMessage"
