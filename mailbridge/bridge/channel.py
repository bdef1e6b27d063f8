"""How a reply travels: the one thing about sending that differs between marketplaces.

The dispatch flow is the same for all; which channel it is given follows from the marketplace's
declared `reply_channel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mailbridge.bridge.context import Context
from mailbridge.bridge.uptake import note_address
from mailbridge.domain.lease import Lease, LeaseState
from mailbridge.domain.notice import HoldReason
from mailbridge.journal.tables import DiscussionRow
from mailbridge.mail.outgoing import CustomerMail, customer_mail
from mailbridge.mail.port import SubmissionOutcome
from mailbridge.marketplace.port import (
    ContractError,
    NotAuthorizedError,
    RefusedError,
    RelayAnswer,
    RelayStatus,
    TransientError,
)

__all__ = ["Blocked", "Channel", "Later", "Parcel", "Ready", "RelayMail"]


@dataclass(frozen=True, slots=True)
class Parcel:
    """One reply ready to go; attachments are (name, content type, octets)."""

    discussion: DiscussionRow
    address: str
    message_id: str
    text: str
    attachments: tuple[tuple[str, str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Ready:
    """It can go now, to this address."""

    address: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """It cannot go until a person does something."""

    reason: HoldReason
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Later:
    """It cannot go now, but may by itself; `words` say why."""

    words: str


class Channel(Protocol):
    """One way to the customer."""

    async def ready(self, discussion: DiscussionRow) -> Ready | Blocked | Later:
        """Whether a reply can go. Sends nothing. Raises CredentialsError only."""
        ...

    async def send(self, parcel: Parcel) -> SubmissionOutcome:
        """Hand it over once; never raises for what the other side did, never repeats."""
        ...


class RelayMail:
    """A mail from the shop's own submission server to the discussion's relay address."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def ready(self, discussion: DiscussionRow) -> Ready | Blocked | Later:
        """The lease: an address confirmed within a day is used, any other is asked for."""
        ctx = self._ctx
        lease = Lease(discussion.relay_address, discussion.relay_confirmed_at)
        if lease.address is not None and lease.state(ctx.clock()) is LeaseState.FRESH:
            return Ready(lease.address)
        try:
            answers = await ctx.marketplace.relay_addresses([discussion.id])
        except TransientError as error:
            return Later(str(error))
        except (RefusedError, NotAuthorizedError, ContractError) as error:
            return Blocked(HoldReason.MARKETPLACE_REFUSED, {"words": str(error)})
        answer = answers.get(discussion.id, RelayAnswer(RelayStatus.UNKNOWN, None))
        async with ctx.write() as tx:
            row = await tx.discussions.get(discussion.id)
            if row is not None:
                note_address(tx, row, answer)
        if answer.address is not None:
            return Ready(answer.address)
        if lease.state(ctx.clock()) is LeaseState.EXPIRED and lease.confirmed_at is not None:
            facts = {"confirmed": ctx.stamp(lease.confirmed_at)}
            return Blocked(HoldReason.ADDRESS_EXPIRED, facts)
        return Blocked(HoldReason.NO_ADDRESS, {"answer": answer.status})

    async def send(self, parcel: Parcel) -> SubmissionOutcome:
        """Build the mail anew and hand it to the submission server."""
        ctx = self._ctx
        replies = ctx.config.replies
        sender = replies.sender or ctx.config.mailbox.address
        data = customer_mail(
            CustomerMail(
                sender=sender,
                sender_name=replies.sender_name or next(iter(ctx.config.shop_names), ""),
                recipient=parcel.address,
                subject=parcel.discussion.subject,
                message_id=parcel.message_id,
                date=ctx.clock().astimezone(ctx.zone),
                text=parcel.text,
                attachments=parcel.attachments,
            )
        )
        return await ctx.submission.submit(sender, parcel.address, data)
