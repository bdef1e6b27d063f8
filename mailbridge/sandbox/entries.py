"""What stands in the marketplace's books: discussions, their messages, relay addresses."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from mailbridge.domain.discussion import AuthorKind, DiscussionKind
from mailbridge.sandbox.orders import Person

__all__ = ["BookedDiscussion", "BookedMessage", "RelayAddress"]


@dataclass(slots=True)
class BookedMessage:
    """One message; the service shows it from `visible_at` on and has no id for it."""

    at: datetime
    kind: AuthorKind
    name: str
    text: str
    visible_at: datetime


@dataclass(slots=True)
class BookedDiscussion:
    """One discussion; tests may change any field, the next answer shows it.

    `status` is the WSDL's word (`Open`, `Closed`, `NotProcessed`), or any other to try one.
    """

    id: int
    kind: DiscussionKind
    subject: str
    customer: Person
    created_at: datetime
    updated_at: datetime
    status: str = "Open"
    closed_at: datetime | None = None
    order_number: str | None = None
    product_ean: str | None = None
    product_reference: str | None = None
    claim_type: str | None = None
    messages: list[BookedMessage] = field(default_factory=list)
    listed_at: datetime | None = None
    """Until then only a listing that names its order shows it; its order's HasClaims tells of a
    claim all the same."""

    @property
    def closed(self) -> bool:
        """True once closed."""
        return self.status == "Closed"

    @property
    def seller_texts(self) -> list[str]:
        """All the seller ever wrote here, visible or not yet: what the customer got."""
        return [message.text for message in self.messages if message.kind is AuthorKind.SELLER]


@dataclass(slots=True)
class RelayAddress:
    """One relay address and who it reaches."""

    address: str
    order_number: str | None
    discussion_id: int | None
    expires_at: datetime
    revoked: bool = False
