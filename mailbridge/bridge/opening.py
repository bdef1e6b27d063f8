"""Writing first about an order: the thread for it, and how it becomes a discussion.

A mail by staff to an order's address, or with `!commande NUMBER` on its first line, is a reply
in the newest open discussion about that order, and where there is none in a thread opened for
it. From there on every flow treats that thread as a discussion, until the marketplace shows one
that begins with our words: then the two are joined, and nothing is filed twice.

An order's address proves nothing (see `domain/opening`), so a stranger's mail to it is left
alone like any mail to the shop; one that only says to be by staff is held as a reply would be,
and cannot open threads in any number.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta

from mailbridge.bridge.context import Context
from mailbridge.bridge.notices import queue_notice
from mailbridge.bridge.uptake import ORDER
from mailbridge.domain.discussion import Discussion, DiscussionKind, Status
from mailbridge.domain.identity import short_id
from mailbridge.domain.notice import Done, DoneKind, HoldReason, Notice, NoticeKind
from mailbridge.domain.opening import (
    is_opening,
    nameless_opening,
    opening_id,
    opening_title,
    order_number,
    said_number,
)
from mailbridge.domain.order import Order
from mailbridge.domain.routing import First
from mailbridge.domain.thread import frozen_subject
from mailbridge.domain.wording import clean_line
from mailbridge.journal.tables import DiscussionRow, ReplyRow
from mailbridge.journal.transaction import Transaction
from mailbridge.mail.authored import authored_part
from mailbridge.mail.incoming import IncomingMail, UnreadableMail, read_mail
from mailbridge.mail.port import Fetched, MailboxSession
from mailbridge.marketplace.port import MarketplaceError, RefusedError

__all__ = [
    "Found",
    "NoWay",
    "Openings",
    "Opens",
    "address_for_order",
    "find_order",
    "open_thread",
    "reply_key",
    "tell_opened",
    "thread_for",
]

Fault = tuple[HoldReason, Mapping[str, str]]

_HOUR = timedelta(hours=1)
_KNOWN_FOR = timedelta(hours=1)
"""How long an order once read is known to be the account's, without asking again."""


@dataclass(frozen=True, slots=True)
class Opens:
    """A mail that writes first: its thread, and what its identity as a reply is made from."""

    discussion: DiscussionRow
    key: str
    number: str | None
    fault: Fault | None


@dataclass(frozen=True, slots=True)
class Found:
    """What the marketplace said of an order's number.

    `order` is None where it shows none; `asked` False where it could not be asked now.
    """

    order: Order | None
    asked: bool = True


async def find_order(ctx: Context, number: str) -> Found:
    """Look the order up, in the journal if it was just read there, else at the marketplace."""
    async with ctx.read() as tx:
        row = await tx.discussions.order(number)
    if row is not None and ctx.clock() - row.fetched_at < _KNOWN_FOR:
        return Found(ORDER.validate_json(row.data))
    try:
        orders = await ctx.marketplace.orders([number])
    except MarketplaceError as error:
        ctx.log.warning("order not given; asked again before anything is sent", error=str(error))
        return Found(ORDER.validate_json(row.data) if row else None, asked=False)
    return Found(orders.get(number))


class NoWay(Exception):
    """Nobody can be written to about this order; `reason` and `facts` as a notice tells it."""

    def __init__(self, reason: HoldReason, facts: Mapping[str, str]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.facts = facts


async def address_for_order(ctx: Context, number: str, order: Order | None = None) -> str:
    """The relay address for an order, read now unless `order` was.

    Raises NoWay where the account has no such order or the marketplace gives no address for it
    (four weeks after it was shipped), else MarketplaceError.
    """
    order = order or (await ctx.marketplace.orders([number])).get(number)
    if order is None:
        raise NoWay(HoldReason.UNKNOWN_ORDER, {"order": number})
    if order.relay_address is not None:
        return order.relay_address
    words = ""
    try:
        address = await ctx.marketplace.relay_address_for_order(number)
    except RefusedError as error:
        address, words = None, str(error)
    if address is None:
        raise NoWay(HoldReason.ORDER_UNREACHABLE, {"order": number, "words": words})
    return address


async def thread_for(tx: Transaction, number: str) -> DiscussionRow | None:
    """Where to write first about an order: its newest open discussion, else the thread that was
    opened for it; None where there is neither."""
    about = await tx.discussions.of_order(number)
    return next(
        (d for d in reversed(about) if not is_opening(d.id) and d.status != Status.CLOSED),
        await tx.discussions.get(opening_id(number)),
    )


async def open_thread(
    ctx: Context,
    tx: Transaction,
    identity: str,
    *,
    number: str | None,
    order: Order | None,
    title: str,
) -> DiscussionRow:
    """The thread of this key, made if it is not there; nothing is filed in it yet."""
    row = await tx.discussions.get(identity)
    if row is not None:
        return row
    short = short_id(identity, ctx.prefix)
    opened = Discussion(
        id=identity,
        reference=identity,
        kind=DiscussionKind.ORDER_QUESTION,
        status=Status.UNKNOWN,
        created_at=tx.now,
        subject=opening_title(title, ctx.language),
        order_number=number,
    )
    row = DiscussionRow(
        account=ctx.name,
        id=identity,
        reference=identity,
        short=short,
        kind=opened.kind,
        status=opened.status,
        created_at=tx.now,
        title=clean_line(opened.subject, 300),
        subject=frozen_subject(opened, short, language=ctx.language),
        customer=clean_line(order.customer_name, 80) if order else "",
        order_number=number,
        folder=ctx.config.mailbox.folder,
        wanted_folder=ctx.config.mailbox.folder,
        # It may never be seen closed: its words are pruned some time after they were written.
        settled_at=tx.now,
    )
    tx.discussions.add(row)
    if order is not None:
        await tx.discussions.put_order(order.number, ORDER.dump_json(order).decode(), tx.now)
    tx.note("thread opened", discussion=identity)
    await tx.flush()
    return row


async def tell_opened(
    ctx: Context, tx: Transaction, discussion: DiscussionRow, reply: ReplyRow, text: str
) -> None:
    """The first mail of a thread of ours: what was written, about which order."""
    discussion.settled_at = tx.now
    if await tx.filings.of_thread(discussion.id, "first:"):
        return
    facts = {
        "order": discussion.order_number or "",
        "by": reply.sender_name or reply.sender,
    }
    notice = Notice(NoticeKind.NEWS, done=(Done(DoneKind.WRITTEN_FIRST, facts),), text=text)
    await queue_notice(ctx, tx, discussion, notice, key=f"first:{reply.id}", reply=reply.id)


class Openings:
    """Recognises mails that write first, for one account."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def look(
        self,
        session: MailboxSession,
        folder: str,
        fetched: Fetched,
        head: IncomingMail,
        where: First,
        *,
        proven: bool,
    ) -> Opens | None:
        """The thread this mail belongs to; None for one that is no business of ours."""
        ctx = self._ctx
        if not ctx.is_staff(head.from_.address):
            return None  # a stranger's mail to the shop: a person's business
        said = where.number
        if said is None:
            said = await self._said(session, folder, fetched)
        if said is None:
            return None
        number = order_number(said)
        mail = hashlib.sha256(_identity_parts(head)).hexdigest()[:16]
        key = opening_id(number) if number else nameless_opening(mail)
        async with ctx.read() as tx:
            earlier = await tx.replies.get(reply_key(key, head))
            discussion = await tx.discussions.get(earlier.discussion) if earlier else None
        found = await find_order(ctx, number) if number else Found(None)
        fault = where.fault
        if number is None:
            fault = fault or (HoldReason.BAD_ORDER, {"number": clean_line(said, 60)})
        elif found.asked and found.order is None:
            fault = fault or (HoldReason.UNKNOWN_ORDER, {"order": number})
        if discussion is None:
            discussion = await self._thread(key, number, found.order, head, proven)
        return Opens(discussion, key, number, fault) if discussion else None

    async def _said(self, session: MailboxSession, folder: str, fetched: Fetched) -> str | None:
        """What the first line names, None where it names nothing."""
        limit = self._ctx.config.replies.max_mail_bytes
        whole = await session.fetch(folder, fetched.uid, limit=limit)
        if whole is None:
            return None
        try:
            mail = await asyncio.to_thread(read_mail, whole.data)
        except UnreadableMail:
            return None
        written = await asyncio.to_thread(authored_part, mail, [])
        return said_number(written.text, self._ctx.vocabulary)

    async def _thread(
        self,
        key: str,
        number: str | None,
        order: Order | None,
        head: IncomingMail,
        proven: bool,
    ) -> DiscussionRow | None:
        ctx = self._ctx
        async with ctx.write() as tx:
            known = await thread_for(tx, number) if number else await tx.discussions.get(key)
            if known is not None:
                return known
            limit = ctx.config.replies.notices_per_hour
            if not proven and await tx.discussions.opened_since(tx.now - _HOUR) >= limit:
                # Anybody can put a staff address into From and any number into To.
                ctx.log.warning("mail that writes first left alone: too many this hour")
                return None
            title = head.subject
            return await open_thread(ctx, tx, key, number=number, order=order, title=title)


def reply_key(thread: str, head: IncomingMail) -> str:
    """What all copies of one reply share, whoever changed the rest; `thread` is what they are
    addressed to, however that is called meanwhile."""
    parts = thread.encode() + b"\0" + _identity_parts(head)
    return hashlib.sha256(parts).hexdigest()[:24]


def _identity_parts(head: IncomingMail) -> bytes:
    date = (
        head.date.astimezone(UTC).strftime("%Y%m%d%H%M%S") if head.date else head.message_id or ""
    )
    answers = next(iter(head.in_reply_to), "")
    return "\0".join((head.from_.address.lower(), date, answers)).encode()
