"""A marketplace conversation and its messages, as every adapter hands them over.

Values that are unknown to us (a new status, a new sender type) are kept as they came and map to
a safe member: nothing a marketplace adds may stop a message from reaching the mailbox.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

__all__ = [
    "Author",
    "AuthorKind",
    "Discussion",
    "DiscussionKind",
    "Message",
    "MessageFile",
    "Status",
    "Treatment",
]


class DiscussionKind(StrEnum):
    """What the conversation is about; decides which list it comes from and what applies to it."""

    CLAIM = "claim"
    ORDER_QUESTION = "order_question"
    OFFER_QUESTION = "offer_question"


class Status(StrEnum):
    """Where the conversation stands; `UNKNOWN` is treated as open, so that nothing is hidden."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


class Treatment(StrEnum):
    """Whether the marketplace counts it among what the shop still has to see to.

    Not whether it was answered: somebody may mark a "thank you" as treated, on its web page.
    """

    TO_TREAT = "to_treat"
    TREATED = "treated"


class AuthorKind(StrEnum):
    """Who wrote a message."""

    CUSTOMER = "customer"
    SELLER = "seller"
    OPERATOR = "operator"
    """The marketplace's own staff (SOAP `Service client Cdiscount`, REST `GrcOperator`)."""
    AUTOMATIC = "automatic"
    """A robot of the marketplace, or a sender the service left empty."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who wrote a message; `name` is raw display text from the service, never trusted."""

    kind: AuthorKind
    name: str = ""


@dataclass(frozen=True, slots=True)
class MessageFile:
    """A file a message came with; its octets are fetched when the message is filed."""

    name: str
    ident: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of a discussion.

    `ident` is the service's own id where it has one (REST), else None (SOAP has none);
    `raw_time` is the timestamp exactly as sent, which identity is built on;
    `sent_at` is the same instant, aware, in UTC; `text` is plain text with `\\n` line ends.
    """

    raw_time: str
    sent_at: datetime
    author: Author
    text: str
    ident: str | None = None
    files: tuple[MessageFile, ...] = ()
    """Without a name: there may be one, and nobody could say yet."""
    seen: bool = False
    """The marketplace shows it as read by the seller; False where it does not say."""


@dataclass(frozen=True, slots=True)
class Discussion:
    """A conversation with all the messages the service showed, oldest first.

    `id` is the service's key. `reference` is the number both Cdiscount APIs know it by (the SOAP
    id, REST's `salesChannelExternalReference`); the thread's short id is made from it.
    `raw_status` keeps a status we could not map. Times are aware and in UTC.
    """

    id: str
    reference: str
    kind: DiscussionKind
    status: Status
    created_at: datetime
    subject: str = ""
    updated_at: datetime | None = None
    closed_at: datetime | None = None
    order_number: str | None = None
    product_ean: str | None = None
    product_reference: str | None = None
    claim_type: str | None = None
    raw_status: str = ""
    topic: str = ""
    """What the customer chose it to be about, in French words where the marketplace has them."""
    escalation: str = ""
    """How far the marketplace has escalated it, in its own word; empty for not at all."""
    sales_channel: str = ""
    """Which shop window it came through; empty where there is only one."""
    treatment: Treatment | None = None
    """None where the marketplace does not tell, or tells it in a word we don't know."""
    messages: tuple[Message, ...] = ()
