"""Writing what a sweep found into the journal: the plan of one discussion, in one transaction.

Nothing here talks to anybody. What the plan asks of the outside world (mails to file, threads to
move) is left as intents for the flows that do it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from pydantic import TypeAdapter

from mailbridge.bridge.context import Context
from mailbridge.bridge.joining import complete
from mailbridge.bridge.notices import queue_notice
from mailbridge.domain.closing import MACHINE as CLOSING
from mailbridge.domain.closing import ClosingEvent, ClosingState
from mailbridge.domain.delivery import MACHINE as DELIVERY
from mailbridge.domain.delivery import DeliveryEvent, DeliveryState
from mailbridge.domain.discussion import AuthorKind, Discussion, DiscussionKind, Message, Status
from mailbridge.domain.filing import FilingState
from mailbridge.domain.history import Told
from mailbridge.domain.identity import NameKind, short_id
from mailbridge.domain.notice import Done, DoneKind, Notice, NoticeKind
from mailbridge.domain.order import Order
from mailbridge.domain.plan import NewMessage, Plan
from mailbridge.domain.showing import Showing
from mailbridge.domain.thread import frozen_subject
from mailbridge.domain.wording import clean_line, clean_text, text_hash
from mailbridge.journal.tables import DeliveryRow, DiscussionRow, FilingRow, MessageRow
from mailbridge.journal.transaction import Transaction
from mailbridge.marketplace.port import CloseAnswer, RelayAnswer

__all__ = ["ORDER", "Uptake", "known_discussion", "note_address", "note_bounce", "shown_channel"]

ORDER = TypeAdapter(Order)
"""How the journal keeps an order as last read."""


class Uptake:
    """Applies plans to the journal."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def apply(
        self,
        tx: Transaction,
        listed: Discussion,
        row: DiscussionRow | None,
        todo: Plan,
        *,
        backfill: bool,
        address: RelayAnswer | None,
        begun: datetime,
    ) -> int:
        """Carry out one plan; the number of our own replies it showed to be recorded.

        Orders that were read after `begun` are as the marketplace at hand tells them.
        """
        layout = self._ctx.config.mailbox
        if row is None:
            row = await self._open(tx, listed, address, waiting=todo.waiting)
        complete(row, listed)
        row.status = listed.status
        row.updated_at, row.closed_at = listed.updated_at, listed.closed_at
        if listed.kind is DiscussionKind.CLAIM:
            row.kind = listed.kind  # a question that becomes a claim may keep its id
        row.claim_type = listed.claim_type or row.claim_type
        row.topic = clean_line(listed.topic, 80)
        row.sales_channel = await self._channel(tx, listed)
        level = clean_line(listed.escalation, 40)
        if todo.joined:
            await self._go_on(tx, row, todo.joined, begun)
        else:
            await self._escalate(tx, row, level)
        row.escalation = level
        recorded = 0
        for new in todo.new:
            recorded += await self._add(tx, row, new, backfill)
        for told in todo.edited:
            known = await tx.discussions.message(row.id, told.key)
            if known is not None:
                known.text = clean_text(told.message.text)
                known.text_hash, known.edited_at = told.text_hash, tx.now
                tx.note("message edited", discussion=row.id, subject=told.key)
        if todo.new or todo.edited:
            tx.discussions.note_words(row, tx.now)
        if todo.closed:
            row.settled_at = tx.now
            row.wanted_folder = layout.folder if todo.waiting else layout.closed_folder
            tx.note("discussion closed", discussion=row.id)
            await self._settle_closings(tx, row)
        if todo.reopened:
            row.settled_at = None
            tx.note("discussion reopened", discussion=row.id)
        if todo.bring_back:
            row.wanted_folder = layout.folder
            tx.note("thread brought back", discussion=row.id)
        if todo.waiting:
            news = Notice(NoticeKind.NEWS, done=(Done(DoneKind.CUSTOMER_AGAIN),))
            await queue_notice(self._ctx, tx, row, news, key=f"waiting:{todo.new[-1].key}")
        by_customer = any(new.message.author.kind is AuthorKind.CUSTOMER for new in todo.new)
        if by_customer and not backfill and self._ctx.config.acknowledgement is not None:
            await tx.acknowledgements.consider(row.id)
        await tx.flush()
        return recorded

    async def _escalate(self, tx: Transaction, row: DiscussionRow, level: str) -> None:
        """The marketplace takes the case further: said in the thread, for it shortens the time."""
        told = row.escalation is not None and bool(await tx.discussions.messages(row.id))
        if level and level != row.escalation and told:
            news = Notice(NoticeKind.NEWS, done=(Done(DoneKind.ESCALATED, {"level": level}),))
            await queue_notice(self._ctx, tx, row, news, key=f"escalated:{level}")

    async def _open(
        self,
        tx: Transaction,
        listed: Discussion,
        address: RelayAnswer | None,
        *,
        waiting: bool,
    ) -> DiscussionRow:
        ctx = self._ctx
        layout = ctx.config.mailbox
        short = short_id(listed.reference, ctx.prefix)
        closed = listed.status is Status.CLOSED
        folder = layout.closed_folder if closed and not waiting else layout.folder
        row = DiscussionRow(
            account=ctx.name,
            id=listed.id,
            reference=listed.reference,
            short=short,
            kind=listed.kind,
            status=listed.status,
            created_at=listed.created_at,
            title=clean_line(listed.subject, 300),
            subject=frozen_subject(listed, short, language=ctx.language),
            customer=await self._customer(tx, listed),
            order_number=listed.order_number,
            product_ean=listed.product_ean,
            product_reference=listed.product_reference,
            folder=folder,
            wanted_folder=folder,
        )
        if address is not None:
            note_address(tx, row, address)
        tx.discussions.add(row)
        tx.note("discussion opened", discussion=row.id, detail=f"{listed.kind} {listed.status}")
        await tx.flush()
        await self._join_twin(tx, row, listed)
        return row

    async def _channel(self, tx: Transaction, listed: Discussion) -> str:
        code = clean_line(listed.sales_channel, 40)
        if not code or not listed.order_number or self._ctx.composer.window(code) != code:
            return code
        seen = await tx.discussions.order(listed.order_number)
        order = ORDER.validate_json(seen.data) if seen else None
        same = order is not None and order.sales_channel == listed.sales_channel
        return shown_channel(self._ctx, order) if order is not None and same else code

    async def _customer(self, tx: Transaction, listed: Discussion) -> str:
        for message in listed.messages:
            if message.author.kind is AuthorKind.CUSTOMER and message.author.name.strip():
                return clean_line(message.author.name, 80)
        order = await tx.discussions.order(listed.order_number) if listed.order_number else None
        return clean_line(ORDER.validate_json(order.data).customer_name, 80) if order else ""

    async def _join_twin(self, tx: Transaction, row: DiscussionRow, listed: Discussion) -> None:
        """A question turned claim shows up under two ids: both threads say so, and the old
        one is marked read, so that nobody answers it twice."""
        if (
            listed.kind is not DiscussionKind.CLAIM
            or not listed.order_number
            or not listed.messages
        ):
            return
        first = text_hash(listed.messages[0].text)
        for other in await tx.discussions.of_order(listed.order_number):
            if other.kind == DiscussionKind.CLAIM or other.status == Status.CLOSED:
                continue
            messages = await tx.discussions.messages(other.id)
            if not messages or messages[0].text_hash != first:
                continue
            row.twin, other.twin, other.mark_read = other.id, row.id, True
            for one, two in ((row, other), (other, row)):
                news = Notice(
                    NoticeKind.NEWS, done=(Done(DoneKind.TWIN, {"other": two.short.upper()}),)
                )
                await queue_notice(self._ctx, tx, one, news, key=f"twin:{two.short}")
            return

    async def _add(
        self, tx: Transaction, row: DiscussionRow, new: NewMessage, backfill: bool
    ) -> int:
        ctx = self._ctx
        message = new.message
        delivery = await tx.deliveries.get(new.dispatch) if new.dispatch is not None else None
        tx.discussions.add_message(
            MessageRow(
                account=ctx.name,
                discussion=row.id,
                key=new.key,
                ident=message.ident,
                raw_time=message.raw_time,
                sent_at=message.sent_at,
                author_kind=message.author.kind,
                author_name=message.author.name[:200],
                text=clean_text(message.text),
                text_hash=new.text_hash,
                seen_at=tx.now,
                delivery=new.dispatch,
                automatic=delivery is not None and delivery.automatic,
                files=_names(message),
            )
        )
        if delivery is not None:
            tx.move(
                delivery,
                DELIVERY,
                DeliveryEvent.SEEN,
                discussion=delivery.discussion,
                subject=str(delivery.id),
            )
            delivery.recorded_at = tx.now
        if new.bounced is not None:
            bounced = await tx.deliveries.get(new.bounced)
            if bounced is not None:
                note_bounce(tx, bounced, clean_line(message.text, 300))
        if new.filed:
            key = f"message:{new.key}"
            tx.filings.add(
                FilingRow(
                    account=ctx.name,
                    discussion=row.id,
                    key=key,
                    message_id=ctx.mail_id(NameKind.MESSAGE, row.short, key),
                    state=FilingState.PLANNED,
                    unread=new.unread,
                    backfill=backfill,
                    due_at=tx.now,
                    created_at=tx.now,
                )
            )
        return int(new.dispatch is not None)

    async def _go_on(
        self, tx: Transaction, row: DiscussionRow, joined: Sequence[Told], begun: datetime
    ) -> None:
        """A thread goes on through another API: its messages have ids now; their keys, and so
        their mails, stay what they are. What only the former API did not say is no news."""
        for told in joined:
            known = await tx.discussions.message(row.id, told.key)
            if known is None:
                continue
            known.ident = told.message.ident
            if row.pruned_at is None:
                known.files = _names(told.message)
            tx.note("message joined", discussion=row.id, subject=told.key, detail=told.ground or "")
        if row.card_shown:
            seen = await tx.discussions.order(row.order_number or "")
            now = (
                Showing.of(ORDER.validate_json(seen.data))
                if seen is not None and seen.fetched_at >= begun
                else None
            )
            row.card_shown = Showing.from_json(row.card_shown).carried(now).to_json()

    async def _settle_closings(self, tx: Transaction, row: DiscussionRow) -> None:
        """Closed on the marketplace, by whoever: a close that still waits is done."""
        for closing in await tx.closings.of_discussion(row.id):
            subject = str(closing.id)
            if closing.state == ClosingState.WAITING:
                tx.move(closing, CLOSING, ClosingEvent.PROCEED, discussion=row.id, subject=subject)
            if closing.state == ClosingState.READY:
                tx.move(
                    closing,
                    CLOSING,
                    ClosingEvent.CONFIRMED,
                    discussion=row.id,
                    subject=subject,
                    detail="found closed",
                )
                closing.answer = CloseAnswer.ALREADY_CLOSED


def _names(message: Message) -> str:
    return json.dumps([clean_line(f.name, 120) for f in message.files])


def note_address(tx: Transaction, row: DiscussionRow, answer: RelayAnswer) -> None:
    """Keep what the marketplace answered about a discussion's relay address."""
    row.relay_status = answer.status
    if answer.address is not None:
        row.relay_address, row.relay_confirmed_at = answer.address, tx.now


def note_bounce(tx: Transaction, delivery: DeliveryRow, words: str) -> bool:
    """A bounce names this dispatch; False where its state says that this is old news."""
    if DeliveryEvent.BOUNCE not in DELIVERY.moves[DeliveryState(delivery.state)]:
        return False
    tx.move(
        delivery,
        DELIVERY,
        DeliveryEvent.BOUNCE,
        discussion=delivery.discussion,
        subject=str(delivery.id),
    )
    delivery.reply_text = words
    return True


def shown_channel(ctx: Context, order: Order) -> str:
    """An order's sales channel as people are told it: its code where we know how customers call
    it, else the marketplace's own name for it, where it says one."""
    code = clean_line(order.sales_channel, 40)
    unknown = bool(code) and ctx.composer.window(code) == code
    return (clean_line(order.sales_channel_name, 40) if unknown else "") or code


def known_discussion(row: DiscussionRow) -> Discussion:
    """The journal's view of a discussion, enough for the marketplace to read it again."""
    return Discussion(
        id=row.id,
        reference=row.reference,
        kind=DiscussionKind(row.kind),
        status=Status(row.status),
        created_at=row.created_at,
        subject=row.title,
        updated_at=row.updated_at,
        closed_at=row.closed_at,
        order_number=row.order_number,
        product_ean=row.product_ean,
        product_reference=row.product_reference,
        claim_type=row.claim_type,
    )
