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
from mailbridge.domain.order import Order

__all__ = [
    "AttachmentLimits",
    "Capabilities",
    "CloseAnswer",
    "ContractError",
    "CredentialsError",
    "Listing",
    "Marketplace",
    "MarketplaceError",
    "NotAuthorizedError",
    "RefusedError",
    "RelayAnswer",
    "RelayStatus",
    "ReplyChannel",
    "TransientError",
    "Window",
]


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


@dataclass(frozen=True, slots=True)
class Window:
    """Which discussions to list: changed within [`begin`, `end`] (aware), with these statuses."""

    begin: datetime
    end: datetime
    statuses: frozenset[Status] = frozenset({Status.OPEN, Status.CLOSED, Status.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Listing:
    """What a listing showed, and what in it could not be read.

    One unreadable discussion never hides the others: it is named in `faults`
    (discussion id or "" -> what is wrong) and the rest is in `discussions`.
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


class Marketplace(Protocol):
    """One seller's account at one marketplace.

    Every method may raise `MarketplaceError`; after a `TransientError` with `sent=True` the
    effect of `close` and `reopen` may have happened. All other methods only read and are safe to
    repeat. Methods may be called concurrently. Tokens are the adapter's business.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this marketplace can do; constant for the life of the object."""
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

    async def close(self, discussion_ids: Sequence[str]) -> Mapping[str, CloseAnswer]:
        """Close discussions; safe to repeat (`ALREADY_CLOSED`). Each one has its own answer."""
        ...

    async def reopen(self, discussion_id: str) -> None:
        """Reopen one discussion; only where `capabilities.can_reopen`, else RefusedError."""
        ...

    async def aclose(self) -> None:
        """Release connections; the object is not used again."""
        ...
