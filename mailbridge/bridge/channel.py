"""How a reply travels: the one thing about sending that differs between marketplaces.

The dispatch flow is the same for all; which channel it is given follows from the marketplace's
declared `reply_channel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mailbridge.bridge.context import Context
from mailbridge.bridge.opening import NoWay, address_for_order, find_order
from mailbridge.bridge.uptake import note_address
from mailbridge.domain.delivery import DeliveryState
from mailbridge.domain.discussion import AuthorKind
from mailbridge.domain.lease import Lease, LeaseState
from mailbridge.domain.notice import HoldReason
from mailbridge.domain.opening import is_opening, order_of_opening
from mailbridge.journal.tables import DiscussionRow
from mailbridge.mail.outgoing import CustomerMail, customer_mail
from mailbridge.mail.port import Accepted, Deferred, Refused, SubmissionOutcome, Uncertain
from mailbridge.marketplace.port import (
    ContractError,
    CredentialsError,
    File,
    MarketplaceError,
    Messaging,
    NotAuthorizedError,
    RefusedError,
    RelayAnswer,
    RelayStatus,
    TransientError,
)

__all__ = ["ApiMessage", "Blocked", "Channel", "Later", "Parcel", "Ready", "RelayMail"]

_SEEN_AT_ONCE = 20
"""The newest messages that are marked as read after an answer."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One reply ready to go; attachments are (name, content type, octets)."""

    discussion: DiscussionRow
    address: str
    message_id: str
    text: str
    recipient: AuthorKind = AuthorKind.CUSTOMER
    attachments: tuple[tuple[str, str, bytes], ...] = ()
    automatic: bool = False
    """No person wrote it."""


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

    @property
    def renews(self) -> bool:
        """Whether what bounced is worth another try, to an address asked for anew."""
        ...

    async def ready(self, discussion: DiscussionRow) -> Ready | Blocked | Later:
        """Whether a reply can go. Sends nothing. Raises CredentialsError only."""
        ...

    async def send(self, parcel: Parcel) -> SubmissionOutcome:
        """Hand it over once; never raises for what the other side did, never repeats."""
        ...

    async def answered(self, discussion: DiscussionRow) -> None:
        """What is done besides, once an accepted reply is written down; may be left undone."""
        ...


class ApiMessage:
    """A message that the marketplace's own interface takes.

    A bounce beside it is the marketplace's mail to the customer about it, or about an earlier
    one: the message itself stands where it was posted, and a second one would be read twice.
    """

    renews = False

    def __init__(self, ctx: Context, messaging: Messaging) -> None:
        self._ctx = ctx
        self._messaging = messaging

    async def ready(self, discussion: DiscussionRow) -> Ready | Blocked | Later:
        """Always, as there is no address that could expire; but what may have opened a
        discussion already does not open a second one."""
        if not is_opening(discussion.id):
            return Ready("")
        number = order_of_opening(discussion.id) or ""
        found = await find_order(self._ctx, number)
        if found.asked and found.order is None:
            return Blocked(HoldReason.UNKNOWN_ORDER, {"order": number})
        async with self._ctx.read() as tx:
            earlier = await tx.deliveries.of_discussion(discussion.id)
        if any(d.state == DeliveryState.UNCERTAIN for d in earlier):
            return Later("an earlier text about this order is being looked for")
        return Ready("")

    async def send(self, parcel: Parcel) -> SubmissionOutcome:
        """Post it once. An answer that cannot be read may follow a message that was taken."""
        files = [File(*attachment) for attachment in parcel.attachments]
        discussion = parcel.discussion.id
        ident = opened = ""
        try:
            if number := order_of_opening(discussion):
                title = parcel.discussion.title
                opened = await self._messaging.write_first(number, title, parcel.text, files)
            else:
                ident = await self._messaging.send(
                    discussion, parcel.text, files, to=parcel.recipient
                )
        except TransientError as error:
            return Uncertain(str(error)) if error.sent else Deferred(0, str(error))
        except CredentialsError as error:
            return Deferred(0, str(error))
        except (RefusedError, NotAuthorizedError) as error:
            return Refused(0, str(error))
        except MarketplaceError as error:
            return Uncertain(str(error))
        return Accepted("", ident, opened)

    async def answered(self, discussion: DiscussionRow) -> None:
        """What was answered has been read; a courtesy to colleagues on the seller's web page."""
        if is_opening(discussion.id):
            return
        async with self._ctx.read() as tx:
            messages = await tx.discussions.messages(discussion.id)
        idents = [m.ident for m in messages if m.ident and m.author_kind != AuthorKind.SELLER]
        try:
            await self._messaging.mark_seen(idents[-_SEEN_AT_ONCE:])
        except MarketplaceError as error:
            self._ctx.log.info("messages not marked as read", error=str(error))


class RelayMail:
    """A mail from the shop's own submission server to the discussion's relay address."""

    renews = True

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def ready(self, discussion: DiscussionRow) -> Ready | Blocked | Later:
        """The lease: an address confirmed within a day is used, any other is asked for."""
        ctx = self._ctx
        lease = Lease(discussion.relay_address, discussion.relay_confirmed_at)
        if lease.address is not None and lease.state(ctx.clock()) is LeaseState.FRESH:
            return Ready(lease.address)
        if is_opening(discussion.id):
            return await self._ready_first(discussion)
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

    async def _ready_first(self, discussion: DiscussionRow) -> Ready | Blocked | Later:
        """The address of an order that there is no discussion about."""
        ctx = self._ctx
        number = order_of_opening(discussion.id) or ""
        try:
            address = await address_for_order(ctx, number)
        except TransientError as error:
            return Later(str(error))
        except NoWay as no:
            return Blocked(no.reason, no.facts)
        except (RefusedError, NotAuthorizedError, ContractError) as error:
            return Blocked(HoldReason.MARKETPLACE_REFUSED, {"words": str(error)})
        async with ctx.write() as tx:
            row = await tx.discussions.get(discussion.id)
            if row is not None:
                note_address(tx, row, RelayAnswer(RelayStatus.OK, address))
        return Ready(address)

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
                automatic=parcel.automatic,
            )
        )
        return await ctx.submission.submit(sender, parcel.address, data)

    async def answered(self, discussion: DiscussionRow) -> None:
        """Nothing: nobody is told what was read."""
