"""What mailbridge asks of a marketplace, and what a marketplace declares it can do.

Differences between marketplaces are `Capabilities`, read by the flows as data; a flow never asks
which marketplace it talks to. Every adapter passes the port suite in `tests/marketplace/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from mailbridge.domain.attachment import AttachmentLimits
from mailbridge.domain.discussion import AuthorKind, Discussion, Status
from mailbridge.domain.money import GestureMotive, Movement, MovementKind
from mailbridge.domain.order import Order

__all__ = [
    "UNNAMED",
    "AttachmentLimits",
    "Capabilities",
    "CloseAnswer",
    "ContractError",
    "CredentialsError",
    "File",
    "ItemAnswer",
    "ItemResult",
    "Listing",
    "Marketplace",
    "MarketplaceError",
    "Messaging",
    "MoneyRules",
    "NotAuthorizedError",
    "RefusedError",
    "RelayAnswer",
    "RelayStatus",
    "ReplyChannel",
    "TransientError",
    "Window",
]


UNNAMED = "?"
"""Stands in faults for what a list shows without an id: nobody can ask for it again."""


class MarketplaceError(Exception):
    """Something the marketplace did; `str()` is fit for an agent or operator to read.

    Holds no token, password, customer text or whole response body.
    """


class CredentialsError(MarketplaceError):
    """Login or password are wrong. Asking again is useless until the operator mends them."""


class NotAuthorizedError(MarketplaceError):
    """The account may not do this operation. A new token does not help; the operator must act."""


class TransientError(MarketplaceError):
    """Network, overload, HTML instead of XML, 5xx: the same call may work later.

    `sent` is False only when the request surely did not reach the service, so that for calls
    with an effect "it may have happened" stays visible.
    """

    def __init__(self, message: str, *, sent: bool = True, retry_after: float | None = None):
        super().__init__(message)
        self.sent = sent
        self.retry_after = retry_after
        """Seconds the service asked us to wait, if it did."""


class RefusedError(MarketplaceError):
    """The service understood and said no (`OperationSuccess=false`); `code` is its ErrorType."""

    def __init__(self, message: str, *, code: str = ""):
        super().__init__(message)
        self.code = code


class ContractError(MarketplaceError):
    """The answer broke the contract: malformed, too big, or a value that does not parse.

    The message names the element concerned. A human should look; retrying is harmless.
    """


class ReplyChannel(StrEnum):
    """How an answer travels to the customer."""

    RELAY_MAIL = "relay_mail"
    API = "api"


@dataclass(frozen=True, slots=True)
class MoneyRules:
    """What of the refund table this marketplace allows."""

    kinds: frozenset[MovementKind] = frozenset()
    motives: frozenset[GestureMotive] = frozenset()
    """Motives a gesture may be given for."""
    single_lines_before_shipment: bool = False
    """One line of several can be cancelled by itself. False: every line needs a state in the
    same call, so the others' must be ones that can be repeated unchanged."""
    gesture_before_shipment: bool = False


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What differs between marketplaces, as data."""

    reply_channel: ReplyChannel
    can_reopen: bool
    message_ids: bool
    """Messages carry an id of their own; else identity is time, ordinal, author and text."""
    author_kinds: frozenset[AuthorKind]
    """The kinds the service tells apart by itself (SOAP before 2020 only sends a name)."""
    incoming_attachments: bool
    """False: the thread says that photos can only be seen on the seller's web page."""
    outgoing_attachments: AttachmentLimits
    text_min: int = 0
    text_max: int | None = None
    """Length limits of a reply in characters."""
    money: MoneyRules = MoneyRules()


@dataclass(frozen=True, slots=True)
class Window:
    """Which discussions to list: changed within [`begin`, `end`] (aware), with these statuses."""

    begin: datetime
    end: datetime
    statuses: frozenset[Status] = frozenset({Status.OPEN, Status.CLOSED, Status.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Listing:
    """What a listing showed, and what in it could not be read.

    One unreadable discussion never hides the others: it is named in `faults` and the rest is in
    `discussions`. The key of a fault is the discussion's id; UNNAMED for those listed without an
    id that can be read; "" for a whole list, without which the window has not been seen.
    """

    discussions: tuple[Discussion, ...]
    faults: Mapping[str, str] = field(default_factory=dict)


class RelayStatus(StrEnum):
    """How the service answered for one relay address."""

    OK = "ok"
    CLOSED = "closed"
    """The discussion is closed; the address may still be given, and then still works."""
    NOT_FOUND = "not_found"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RelayAnswer:
    """One relay address; `address` is None unless the service gave one that is well formed."""

    status: RelayStatus
    address: str | None


class CloseAnswer(StrEnum):
    """The service's answers to a close, one a discussion."""

    CLOSED = "closed"
    ALREADY_CLOSED = "already_closed"
    NOT_FOUND = "not_found"
    LAST_ANSWER_NOT_OURS = "last_answer_not_ours"
    """WSDL `UnauthorizedLastAnswer`: the last word recorded is not the seller's."""
    CANCEL_PENDING = "cancel_pending"
    """WSDL `UnauthorizedCancelPending`: a cancellation request is being dealt with."""
    UNKNOWN = "unknown"
    """An answer we have no name for: neither done nor surely refused."""


class ItemAnswer(StrEnum):
    """The service's answer about one line or gesture."""

    GRANTED = "granted"
    PENDING = "pending"
    """Taken as a request; it may still be refused later (`Order.requests`)."""
    REFUSED = "refused"
    UNKNOWN = "unknown"
    """Not named in the answer, or in words we have no name for."""


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What was answered about one line or gesture; `words` are the service's, fit to show."""

    answer: ItemAnswer
    words: str = ""
    request: str = ""
    """Id of the request to follow, where there is one."""


@dataclass(frozen=True, slots=True)
class File:
    """A file on its way from or to a customer."""

    name: str
    content_type: str
    data: bytes = field(repr=False)


class Messaging(Protocol):
    """Replies that the marketplace takes itself, instead of by relay mail.

    After a TransientError with `sent=True`, or a ContractError, the effect of `send` and
    `write_first` may have happened; after a RefusedError it surely has not.
    """

    async def send(
        self, discussion_id: str, text: str, files: Sequence[File], *, to: AuthorKind
    ) -> str:
        """Send one message to the customer or to the marketplace's staff (OPERATOR), once; its
        id, empty where the answer names none."""
        ...

    async def write_first(
        self, order_number: str, subject: str, text: str, files: Sequence[File]
    ) -> str:
        """Open a discussion about an order with a first message, once; its id."""
        ...

    async def files(self, discussion_id: str, message_id: str) -> Sequence[File]:
        """The files a message came with; safe to repeat."""
        ...

    async def mark_seen(self, message_ids: Sequence[str]) -> None:
        """Mark messages as read by the seller; safe to repeat."""
        ...


class Marketplace(Protocol):
    """One seller's account at one marketplace.

    Every method may raise `MarketplaceError`; after a `TransientError` with `sent=True` the
    effect of `close`, `reopen` and `move_money` may have happened, and after a `ContractError`
    that of `move_money` as well. All other methods only read and are safe to repeat. Methods may
    be called concurrently. Tokens are the adapter's business.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this marketplace can do; constant for the life of the object."""
        ...

    @property
    def learnt(self) -> Mapping[str, str]:
        """What it found out about its service by being refused, to be handed back to the next
        object after a restart; empty where there is nothing to find out."""
        ...

    @property
    def order_faults(self) -> Mapping[str, str]:
        """Orders that could not be read when they were last asked for or listed: number, or
        UNNAMED, -> what is wrong. What `orders` is asked for leaves it if it reads now."""
        ...

    @property
    def messaging(self) -> Messaging | None:
        """How replies travel where `capabilities.reply_channel` is API, else None."""
        ...

    async def check(self) -> str:
        """Sign in and read something small; return one line that says what was found."""
        ...

    async def discussions(self, window: Window) -> Listing:
        """All discussions of every kind changed in the window, messages included."""
        ...

    async def read_again(self, known: Sequence[Discussion]) -> Listing:
        """These discussions as they stand now; one the service no longer shows is left out."""
        ...

    async def relay_addresses(self, discussion_ids: Sequence[str]) -> Mapping[str, RelayAnswer]:
        """The relay address of each discussion; one the answer leaves out maps to UNKNOWN."""
        ...

    async def relay_address_for_order(self, order_number: str) -> str | None:
        """An address to write first about an order; None where the service gives none."""
        ...

    async def orders(self, numbers: Sequence[str]) -> Mapping[str, Order]:
        """These orders as they stand now; unknown numbers are left out."""
        ...

    async def changed_orders(self, window: Window) -> Sequence[Order]:
        """Orders changed in the window (its statuses are not looked at), lines included."""
        ...

    async def discussions_of_orders(self, numbers: Sequence[str]) -> Listing:
        """All discussions about these orders, open or not, messages included."""
        ...

    async def order_for_money(self, number: str) -> Order | None:
        """This order read afresh, with all that shows whether money has moved: line states,
        vouchers, `requests` and `gesture_left` where there are such. None if unknown."""
        ...

    def call_of(self, movement: Movement) -> str:
        """The service's own name for what `move_money` would call, for operators; RefusedError
        where the movement can't be said exactly."""
        ...

    async def move_money(self, movement: Movement) -> Mapping[str, ItemResult]:
        """Ask for one movement, once: line reference -> answer, "" for a gesture.

        Never repeated by the adapter, except with a new token where the service refused the old
        one (then it did nothing). A RefusedError, and a TransientError with `sent=False`, mean
        that nothing moved.
        """
        ...

    async def close(self, discussion_ids: Sequence[str]) -> Mapping[str, CloseAnswer]:
        """Close discussions; safe to repeat (`ALREADY_CLOSED`). Each one has its own answer."""
        ...

    async def reopen(self, discussion_id: str) -> None:
        """Reopen one discussion; only where `capabilities.can_reopen`, else RefusedError."""
        ...

    async def aclose(self) -> None:
        """Release connections; the object is not used again."""
        ...
