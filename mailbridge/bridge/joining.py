"""A thread that staff opened meets the discussion that the marketplace made of it.

Where the discussion is new to us the thread takes its id: it goes on under its own short id,
subject and address. Where it is known and has a thread already, our words were added to it: both
threads say so, and the conversation goes on in the discussion's.
"""

from __future__ import annotations

from datetime import timedelta

from mailbridge.bridge.context import Context
from mailbridge.bridge.notices import queue_notice
from mailbridge.domain.discussion import Discussion, DiscussionKind
from mailbridge.domain.notice import Done, DoneKind, Notice, NoticeKind
from mailbridge.domain.opening import is_opening, opening_id
from mailbridge.domain.plan import Plan
from mailbridge.domain.wording import clean_line
from mailbridge.journal.tables import DeliveryRow, DiscussionRow
from mailbridge.journal.transaction import Transaction

__all__ = ["complete", "join_opened", "join_shown"]


_SKEW = timedelta(minutes=15)
"""How far the marketplace's clock may be behind ours."""


async def join_shown(
    ctx: Context, tx: Transaction, listed: Discussion, row: DiscussionRow | None, todo: Plan
) -> DiscussionRow | None:
    """Join what a listed discussion shows of a thread of ours; the row it now has, if any."""
    for new in todo.new:
        delivery = await tx.deliveries.get(new.dispatch) if new.dispatch is not None else None
        if delivery is None or not is_opening(delivery.discussion):
            continue
        opened = await tx.discussions.get(delivery.discussion)
        if opened is None:
            continue
        if row is None:
            await _give_id(ctx, tx, opened, listed.id)
            row = opened
        elif row.id != opened.id:
            await _refer(ctx, tx, opened, row, delivery)
    if row is None and listed.kind is DiscussionKind.ORDER_QUESTION and listed.order_number:
        row = await _begun_by_us(ctx, tx, listed, opening_id(listed.order_number))
    return row


async def _begun_by_us(
    ctx: Context, tx: Transaction, listed: Discussion, opening: str
) -> DiscussionRow | None:
    """A question about the order that began when we wrote is the one we began.

    The service shows messages late (57 minutes were seen), so that it may show no words yet, or
    the customer's answer before ours. Should the customer have asked by themselves in that very
    hour, it is the same order and the same customer all the same.
    """
    for delivery in await tx.deliveries.unmatched([opening]):
        tried = delivery.first_tried_at or delivery.created_at
        opened = await tx.discussions.get(opening)
        if opened is not None and listed.created_at >= tried - _SKEW:
            await _give_id(ctx, tx, opened, listed.id)
            return opened
    return None


async def _give_id(ctx: Context, tx: Transaction, opened: DiscussionRow, discussion: str) -> None:
    """The thread becomes this discussion's, which nobody here has seen yet; what else there is
    to know of it comes with its first listing (`complete`)."""
    await tx.discussions.rename(opened, discussion)
    opened.settled_at = None
    opened.wanted_folder = ctx.config.mailbox.folder
    tx.note("thread joined", discussion=discussion)
    ctx.log.info("thread joined to its discussion", discussion=opened.short)


async def join_opened(
    ctx: Context, tx: Transaction, delivery: DeliveryRow, discussion: str
) -> None:
    """The marketplace has named the discussion that a dispatch opened."""
    if not is_opening(delivery.discussion):
        return
    opened = await tx.discussions.get(delivery.discussion)
    known = await tx.discussions.get(discussion)
    if opened is not None and known is not None:
        await _refer(ctx, tx, opened, known, delivery)
    elif opened is not None:
        await _give_id(ctx, tx, opened, discussion)


def complete(row: DiscussionRow, listed: Discussion) -> None:
    """What the marketplace says of a discussion whose thread was there first."""
    if not is_opening(row.reference):
        return
    row.reference, row.kind = listed.reference, listed.kind
    row.created_at = listed.created_at
    row.title = clean_line(listed.subject, 300)
    row.order_number = listed.order_number or row.order_number
    row.product_ean, row.product_reference = listed.product_ean, listed.product_reference


async def _refer(
    ctx: Context,
    tx: Transaction,
    opened: DiscussionRow,
    known: DiscussionRow,
    delivery: DeliveryRow,
) -> None:
    """Our words stand in a discussion that has a thread of its own."""
    for closing in await tx.closings.of_reply(delivery.reply):
        closing.discussion = known.id
    there = Notice(
        NoticeKind.NEWS,
        done=(Done(DoneKind.JOINED, {"other": opened.short.upper()}),),
        text=delivery.text,
    )
    await queue_notice(ctx, tx, known, there, key=f"joined:{delivery.id}")
    here = Notice(NoticeKind.NEWS, done=(Done(DoneKind.GOES_ON, {"other": known.short.upper()}),))
    await queue_notice(ctx, tx, opened, here, key=f"goes_on:{known.short}")
