"""What stands in the marketplace's books: discussions, their messages, relay addresses."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from mailbridge.domain.discussion import AuthorKind, DiscussionKind
from mailbridge.sandbox.orders import Person

__all__ = ["BookedDiscussion", "BookedFile", "BookedMessage", "RelayAddress"]


@dataclass(frozen=True, slots=True)
class BookedFile:
    """A file that came with a message; `name` bears its extension."""

    name: str
    data: bytes


@dataclass(slots=True)
class BookedMessage:
    """One message; the service shows it from `visible_at` on. SOAP has no id for it."""

    at: datetime
    kind: AuthorKind
    name: str
    text: str
    visible_at: datetime
    files: tuple[BookedFile, ...] = ()
    to: AuthorKind | None = None
    """Whom the seller wrote to, None for the customer. The web page and REST know customer care
    as well."""
    seen: bool = False
    """The seller has marked it as read."""
    ident: str = ""
    """REST's id, given when it is first shown there."""


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
    channel: str = "CDISFR"
    """The sales channel it came through. SOAP only knows Cdiscount's own."""
    graduation: str | None = None
    """How far it is escalated, in REST's words; None: what follows from its kind."""
    topic: str | None = None
    """REST's sub-typology; None: what follows from kind and claim type."""
    process_status: str | None = None
    """REST's ToTreat or Treated as marked on the web page; None: what follows from the last
    message."""
    named: int = 0
    """How many messages REST has given an id."""

    @property
    def closed(self) -> bool:
        """True once closed."""
        return self.status == "Closed"

    @property
    def seller_texts(self) -> list[str]:
        """All the seller ever wrote here, visible or not yet: what the customer got."""
        return [message.text for message in self.messages if _to_customer(message)]

    @property
    def object_id(self) -> str:
        """REST's id: 24 hexadecimal digits, made of `id` and so the same in every run."""
        return f"{self.id * 2_654_435_761 % 2**32:08x}{self.id:016x}"

    def name_messages(self) -> None:
        """Give every message that has none yet the id REST shows it by, in their order."""
        for message in self.messages:
            if not message.ident:
                self.named += 1
                message.ident = f"{self.object_id[:8]}{self.id:08x}{self.named:08x}"


@dataclass(slots=True)
class RelayAddress:
    """One relay address and who it reaches."""

    address: str
    order_number: str | None
    discussion_id: int | None
    expires_at: datetime
    revoked: bool = False


def _to_customer(message: BookedMessage) -> bool:
    return message.kind is AuthorKind.SELLER and message.to in {None, AuthorKind.CUSTOMER}
