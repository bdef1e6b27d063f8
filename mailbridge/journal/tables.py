"""The journal's tables. A row is a fact or an intent; what may follow is `domain/`'s to say.

States are stored as the words of the state machines. Every intent names its `owner` (daemon
instance) and `epoch` (that owner's tenure of the account). Words and names of people stand only
in columns that retention clears: see `repository` of each topic and docs/journal.md.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from mailbridge.domain.discussion import AuthorKind
from mailbridge.journal.base import Base

__all__ = [
    "AccountRow",
    "AttachmentRow",
    "Base",
    "ClosingRow",
    "CopyRow",
    "DeliveryRow",
    "DiscussionRow",
    "EventRow",
    "FilingRow",
    "FlagRow",
    "FolderRow",
    "MessageRow",
    "MoneyClaimRow",
    "MoneyRow",
    "OrderRow",
    "ReplyRow",
    "SweepRow",
]


class AccountRow(Base):
    """One account, and who holds it: `epoch` rises with every tenure and fences out older ones."""

    __tablename__ = "account"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    owner: Mapped[str]
    epoch: Mapped[int]
    held_since: Mapped[datetime]
    adopted_at: Mapped[datetime | None]
    """When the mailbox was read for threads of an earlier journal; None: still to do."""
    paused_at: Mapped[datetime | None]
    paused_why: Mapped[str] = mapped_column(default="")
    probe: Mapped[str] = mapped_column(default="{}")
    """What a round trip has shown of the reply mode (JSON of `probe.Proof`)."""
    learnt: Mapped[str] = mapped_column(default="{}")
    """What the marketplace's adapter found out about its service (JSON)."""
    marketplace: Mapped[str] = mapped_column(String(20), default="")
    """The API whose ids its discussions bear, as the configuration calls it; empty: none yet."""
    moving_to: Mapped[str] = mapped_column(String(20), default="")
    """The API a move to which was begun and is not finished."""


class SweepRow(Base):
    """Until when each kind of sweep has seen everything."""

    __tablename__ = "sweep"

    account: Mapped[str] = mapped_column(String(100), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    good_until: Mapped[datetime]


class DiscussionRow(Base):
    """A discussion and its thread."""

    __tablename__ = "discussion"
    __table_args__ = (
        UniqueConstraint("account", "short"),
        Index("ix_discussion_order", "account", "order_number"),
        Index("ix_discussion_status", "account", "status"),
        Index("ix_discussion_reference", "account", "reference"),
    )

    account: Mapped[str] = mapped_column(String(100), primary_key=True)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    reference: Mapped[str] = mapped_column(String(64))
    short: Mapped[str] = mapped_column(String(24))
    kind: Mapped[str] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    title: Mapped[str]
    """Subject as the service sent it (pruned)."""
    subject: Mapped[str]
    """The thread's frozen subject (pruned)."""
    customer: Mapped[str]
    """Display name (pruned)."""
    order_number: Mapped[str | None] = mapped_column(String(64))
    product_ean: Mapped[str | None]
    product_reference: Mapped[str | None]
    claim_type: Mapped[str | None]
    topic: Mapped[str] = mapped_column(default="")
    escalation: Mapped[str | None]
    """The marketplace's word; null until it was read once: what it is then is no news."""
    sales_channel: Mapped[str] = mapped_column(default="")
    treatment: Mapped[str | None]
    """Whether the marketplace counts it as treated; null where it does not tell."""
    treated_until: Mapped[datetime | None]
    """What was first read until then is marked as treated there (`domain/deadline`)."""
    relay_address: Mapped[str | None]
    relay_confirmed_at: Mapped[datetime | None]
    relay_status: Mapped[str] = mapped_column(default="")
    folder: Mapped[str]
    """Where the thread's mails are."""
    wanted_folder: Mapped[str]
    """Where they are to be: differs from `folder` while a move is intended."""
    first_message_id: Mapped[str | None]
    started_at: Mapped[datetime | None]
    """Date header of the thread's first mail."""
    last_date: Mapped[datetime | None]
    """Date header of the newest mail of the thread."""
    twin: Mapped[str | None]
    """Id of the other discussion of the same exchange."""
    mark_read: Mapped[bool] = mapped_column(default=False)
    """The thread's mails are to be marked read (its twin goes on)."""
    reopen_for: Mapped[str | None]
    """The reply that asked to reopen it, while that is still to be done."""
    card_shown: Mapped[str] = mapped_column(default="")
    """What the newest card in the thread said of its order (JSON of `order.Showing`, pruned)."""
    card_true_at: Mapped[datetime | None]
    """When that card was last known to be true."""
    settled_at: Mapped[datetime | None]
    """When it was seen closed, or something was said in it since; retention counts from here."""
    pruned_at: Mapped[datetime | None]


class MessageRow(Base):
    """One message of a discussion. The hash and identity stay when the words are pruned."""

    __tablename__ = "message"
    __table_args__ = (Index("ix_message_hash", "account", "text_hash"),)

    account: Mapped[str] = mapped_column(String(100), primary_key=True)
    discussion: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(100), primary_key=True)
    ident: Mapped[str | None]
    raw_time: Mapped[str]
    sent_at: Mapped[datetime]
    author_kind: Mapped[str] = mapped_column(String(20))
    author_name: Mapped[str]
    text: Mapped[str]
    text_hash: Mapped[str] = mapped_column(String(32))
    seen_at: Mapped[datetime]
    edited_at: Mapped[datetime | None]
    delivery: Mapped[int | None]
    """The dispatch of ours that this message is, come back."""
    automatic: Mapped[bool] = mapped_column(default=False)
    """It is an acknowledgement of ours: nothing was answered by it."""
    files: Mapped[str] = mapped_column(default="[]")
    """Names of the files it came with (JSON, pruned); they are fetched when it is filed."""


class FilingRow(Base):
    """A mail of ours on its way into the mailbox (machine: `domain/filing`)."""

    __tablename__ = "filing"
    __table_args__ = (
        UniqueConstraint("account", "discussion", "key"),
        Index("ix_filing_due", "account", "state", "due_at"),
        Index("ix_filing_mail", "account", "message_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    account: Mapped[str] = mapped_column(String(100))
    discussion: Mapped[str] = mapped_column(String(64))
    key: Mapped[str] = mapped_column(String(120))
    """`message:<key>`, or a notice's own such as `receipt:<reply>`."""
    message_id: Mapped[str] = mapped_column(String(120))
    state: Mapped[str] = mapped_column(String(20))
    notice: Mapped[str | None]
    """The notice as JSON (pruned); None for a message of the discussion."""
    reply: Mapped[str | None] = mapped_column(String(64))
    """The staff reply a notice is about."""
    unread: Mapped[bool]
    backfill: Mapped[bool]
    """History: keeps its real date as INTERNALDATE."""
    date: Mapped[datetime | None]
    """Date header, once composed."""
    internal_date: Mapped[datetime | None]
    folder: Mapped[str | None]
    uidvalidity: Mapped[int | None]
    uid: Mapped[int | None]
    """After filing the mail's UID; while writing the UIDNEXT before the batch."""
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime]
    error: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime]
    filed_at: Mapped[datetime | None]
    owner: Mapped[str] = mapped_column(default="")
    epoch: Mapped[int] = mapped_column(default=0)


class FlagRow(Base):
    """A mail of ours that is flagged because its answer is due, or is to be.

    Flags are safe to set again, so there is no state machine: what is asked for stands here
    before it is tried, and what was done after.
    """

    __tablename__ = "flag"

    account: Mapped[str] = mapped_column(String(100), primary_key=True)
    filing: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """The mail: its row in `filing`."""
    discussion: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    """The flag, as the configuration called it then."""
    wanted: Mapped[bool]
    asked_at: Mapped[datetime | None]
    """When we went to set it, having seen that it was not there: from here on it is ours."""
    settled_at: Mapped[datetime | None]
    """When it was known to be there, set by us or found."""


class FolderRow(Base):
    """How far a watched folder has been read."""

    __tablename__ = "folder"

    account: Mapped[str] = mapped_column(String(100), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    uidvalidity: Mapped[int]
    next_uid: Mapped[int]


class ReplyRow(Base):
    """A reply by staff (machine: `domain/intake`)."""

    __tablename__ = "reply"
    __table_args__ = (
        Index("ix_reply_discussion", "account", "discussion"),
        Index("ix_reply_state", "account", "state", "due_at"),
    )

    account: Mapped[str] = mapped_column(String(100), primary_key=True)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Hash of what all copies share: discussion, From, Date to the second, In-Reply-To."""
    discussion: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(20))
    sender: Mapped[str]
    sender_name: Mapped[str]
    written_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    due_at: Mapped[datetime | None]
    """Gathering: when waiting for a better copy ends."""
    answers: Mapped[str | None]
    """Message-ID the reply is an answer to."""
    references: Mapped[str] = mapped_column("refs")
    """Message-IDs its writer had before them, separated by blanks."""
    in_sent: Mapped[bool] = mapped_column(default=False)
    lay_there: Mapped[bool] = mapped_column(default=False)
    """It already lay in its folder at the first look at it."""
    level: Mapped[int] = mapped_column(default=0)
    evidence: Mapped[str] = mapped_column(default="")
    text: Mapped[str] = mapped_column(default="")
    """Authored part without commands, from the best copy (pruned)."""
    text_hash: Mapped[str] = mapped_column(String(32), default="")
    commands: Mapped[str] = mapped_column(default="[]")
    findings: Mapped[str] = mapped_column(default="{}")
    """What reading the best copy found (JSON of `intake.Findings`, pruned)."""
    reason: Mapped[str] = mapped_column(default="")
    facts: Mapped[str] = mapped_column(default="{}")
    code_tries: Mapped[int] = mapped_column(default=0)
    code_round: Mapped[int] = mapped_column(default=0)
    code_until: Mapped[datetime | None]
    released_by: Mapped[str] = mapped_column(default="")
    customer_messages: Mapped[int] = mapped_column(default=0)
    """How many customer messages lay in the mailbox when the reply was picked up."""
    outcome: Mapped[str] = mapped_column(default="[]")
    """What is done already, as receipt lines (JSON)."""
    owner: Mapped[str] = mapped_column(default="")
    epoch: Mapped[int] = mapped_column(default=0)


class CopyRow(Base):
    """One copy of a staff mail, where it lies."""

    __tablename__ = "copy"
    __table_args__ = (
        Index("ix_copy_reply", "account", "reply"),
        Index("ix_copy_mail", "account", "message_id"),
    )

    account: Mapped[str] = mapped_column(String(100), primary_key=True)
    folder: Mapped[str] = mapped_column(String(255), primary_key=True)
    uidvalidity: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[int] = mapped_column(primary_key=True)
    reply: Mapped[str | None] = mapped_column(String(64))
    message_id: Mapped[str] = mapped_column(String(998))
    in_sent: Mapped[bool]
    marked_read: Mapped[bool] = mapped_column(default=False)
    """Done once, after its reply was judged: whoever marks it unread again is left to it."""


class AttachmentRow(Base):
    """A file a reply carries, kept until the reply is settled."""

    __tablename__ = "attachment"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    account: Mapped[str] = mapped_column(String(100), index=True)
    reply: Mapped[str] = mapped_column(String(64), index=True)
    name: Mapped[str]
    content_type: Mapped[str]
    data: Mapped[bytes]


class DeliveryRow(Base):
    """A dispatch (machine: `domain/delivery`)."""

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("account", "reply", "number"),
        Index("ix_delivery_due", "account", "state", "due_at"),
        Index("ix_delivery_hash", "account", "text_hash"),
        Index("ix_delivery_mail", "account", "message_id"),
        Index("ix_delivery_automatic", "account", "automatic", "told"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    account: Mapped[str] = mapped_column(String(100))
    discussion: Mapped[str] = mapped_column(String(64))
    reply: Mapped[str] = mapped_column(String(64))
    number: Mapped[int]
    """0 for the first dispatch of the reply, 1 and on for resends."""
    state: Mapped[str] = mapped_column(String(20))
    address: Mapped[str | None]
    message_id: Mapped[str] = mapped_column(String(120))
    text: Mapped[str]
    """What the customer reads, frame included (pruned)."""
    text_hash: Mapped[str] = mapped_column(String(32))
    attempts: Mapped[int] = mapped_column(default=0)
    renewed: Mapped[bool] = mapped_column(default=False)
    after_reading: Mapped[bool] = mapped_column(default=False)
    """A resend: the discussions that share the address are read once more before it goes."""
    recipient: Mapped[str] = mapped_column(String(20), default=AuthorKind.CUSTOMER)
    """Whom it is for, where the marketplace takes replies itself: `AuthorKind`."""
    remote_id: Mapped[str] = mapped_column(String(100), default="")
    """The message's id, where the marketplace took it and named one."""
    after_money: Mapped[bool] = mapped_column(default=False)
    """It announces a refund, and leaves only once that is proven."""
    automatic: Mapped[bool] = mapped_column(default=False)
    """An acknowledgement: nobody wrote it, and it answers nothing."""
    due_at: Mapped[datetime]
    created_at: Mapped[datetime]
    first_tried_at: Mapped[datetime | None]
    submitted_at: Mapped[datetime | None]
    recorded_at: Mapped[datetime | None]
    reply_text: Mapped[str] = mapped_column(default="")
    """The submission server's last words."""
    told: Mapped[str] = mapped_column(default="")
    """Reasons the agent has been told already, separated by blanks."""
    owner: Mapped[str] = mapped_column(default="")
    epoch: Mapped[int] = mapped_column(default=0)


class ClosingRow(Base):
    """A close (machine: `domain/closing`)."""

    __tablename__ = "closing"
    __table_args__ = (Index("ix_closing_due", "account", "state", "due_at"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    account: Mapped[str] = mapped_column(String(100))
    discussion: Mapped[str] = mapped_column(String(64))
    reply: Mapped[str | None] = mapped_column(String(64))
    """The reply that asked for it; None: the operator did."""
    state: Mapped[str] = mapped_column(String(20))
    customer_messages: Mapped[int]
    """How many customer messages were known when the close was asked for."""
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime]
    created_at: Mapped[datetime]
    asked_at: Mapped[datetime | None]
    answer: Mapped[str] = mapped_column(default="")
    told: Mapped[str] = mapped_column(default="")
    owner: Mapped[str] = mapped_column(default="")
    epoch: Mapped[int] = mapped_column(default=0)


class MoneyRow(Base):
    """A refund, cancellation or gesture (machine: `domain/refund`). Amounts in euros, as text."""

    __tablename__ = "money"
    __table_args__ = (
        Index("ix_money_due", "account", "state", "due_at"),
        Index("ix_money_order", "account", "order_number"),
        Index("ix_money_reply", "account", "reply"),
        Index("ix_money_receipt", "account", "own_receipt"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    account: Mapped[str] = mapped_column(String(100))
    discussion: Mapped[str | None] = mapped_column(String(64))
    reply: Mapped[str | None] = mapped_column(String(64))
    """The reply that asked for it; None: the operator did."""
    order_number: Mapped[str] = mapped_column(String(64))
    asked: Mapped[str]
    """What was asked for (JSON of `money.Asked`)."""
    asked_by: Mapped[str]
    """Name or address of a person of the shop (pruned)."""
    state: Mapped[str] = mapped_column(String(20))
    kind: Mapped[str] = mapped_column(String(20), default="")
    """Once planned: which movement it is."""
    amount: Mapped[str] = mapped_column(String(20), default="0")
    """Once planned: what it comes to."""
    lines: Mapped[str] = mapped_column(default="[]")
    """Once planned: references of the lines (JSON)."""
    before: Mapped[str] = mapped_column(default="")
    """The order as read just before the call (JSON, pruned)."""
    results: Mapped[str] = mapped_column(default="{}")
    """Line reference -> answer, words, request (JSON)."""
    moved: Mapped[str] = mapped_column(String(20), default="0")
    """What is proven to have moved."""
    joins: Mapped[int | None]
    """The movement that does the same, asked for earlier."""
    code_round: Mapped[int] = mapped_column(default=0)
    code_tries: Mapped[int] = mapped_column(default=0)
    code_until: Mapped[datetime | None]
    confirmed_by: Mapped[str] = mapped_column(default="")
    confirmed_at: Mapped[datetime | None]
    own_receipt: Mapped[bool] = mapped_column(default=False)
    """No reply's receipt will tell how it ended: it gets one of its own."""
    again: Mapped[bool] = mapped_column(default=False)
    """A person knows that the same was given today, and wants it once more."""
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime]
    created_at: Mapped[datetime]
    asked_at: Mapped[datetime | None]
    """When the marketplace was asked."""
    settled_at: Mapped[datetime | None]
    missed_at: Mapped[datetime | None]
    """Uncertain: when a reading first showed nothing."""
    carried: Mapped[bool] = mapped_column(default=False)
    """It was asked for through an API the account has moved away from since."""
    vouched_by: Mapped[str] = mapped_column(default="")
    """Who said that it was paid, or was not, where the marketplace shows nothing (pruned)."""
    answer: Mapped[str] = mapped_column(default="")
    """The service's last words."""
    told: Mapped[str] = mapped_column(default="")
    owner: Mapped[str] = mapped_column(default="")
    epoch: Mapped[int] = mapped_column(default=0)


class MoneyClaimRow(Base):
    """What a movement holds: a line of an order, or a gesture of the day. One holder at most."""

    __tablename__ = "money_claim"

    account: Mapped[str] = mapped_column(String(100), primary_key=True)
    order_number: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(160), primary_key=True)
    money: Mapped[int]


class OrderRow(Base):
    """An order as last read, as JSON (pruned)."""

    __tablename__ = "order_seen"

    account: Mapped[str] = mapped_column(String(100), primary_key=True)
    number: Mapped[str] = mapped_column(String(64), primary_key=True)
    data: Mapped[str]
    fetched_at: Mapped[datetime]
    changed_at: Mapped[datetime | None]
    """When it was last read otherwise than the time before."""


class EventRow(Base):
    """What happened when: one line for each move of a state machine and each operator's act."""

    __tablename__ = "event"
    __table_args__ = (Index("ix_event_discussion", "account", "discussion", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    account: Mapped[str] = mapped_column(String(100), ForeignKey("account.name"))
    discussion: Mapped[str | None] = mapped_column(String(64))
    what: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(120))
    detail: Mapped[str] = mapped_column(default="")
    """Words of ours; never a customer's or an agent's."""
    owner: Mapped[str]
    epoch: Mapped[int]
