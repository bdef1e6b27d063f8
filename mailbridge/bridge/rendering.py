"""From a planned filing to the mail itself, out of what the journal knows at that moment.

A mail is put into words only when it is about to be written, so that its order card is the
newest; its Message-ID was fixed when it was planned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mailbridge.bridge.context import Context
from mailbridge.bridge.deadlines import Wait, waits
from mailbridge.bridge.uptake import ORDER
from mailbridge.domain.discussion import (
    Author,
    AuthorKind,
    DiscussionKind,
    Message,
    Status,
    Treatment,
)
from mailbridge.domain.notice import DoneKind, Notice
from mailbridge.domain.order import Order
from mailbridge.domain.showing import Showing
from mailbridge.domain.thread import Thread, internal_date, next_date
from mailbridge.journal.tables import DiscussionRow, FilingRow
from mailbridge.journal.transaction import Transaction
from mailbridge.mail.compose import Composed
from mailbridge.mail.port import MailToFile
from mailbridge.mail.rendering import TemplateBroken
from mailbridge.marketplace.port import (
    ContractError,
    CredentialsError,
    File,
    NotAuthorizedError,
    RefusedError,
    TransientError,
)

__all__ = ["RenderFault", "Rendered", "Renderer", "thread_of"]


_WITH_CARD = frozenset(
    {
        DoneKind.ORDER_CHANGED,
        DoneKind.REFUNDED,
        DoneKind.ORDER_CANCELLED,
        DoneKind.GESTURE_GIVEN,
        DoneKind.SAME_MONEY,
        DoneKind.WRITTEN_FIRST,
    }
)
"""What is told together with the order as it stands after it."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A mail ready to be filed; `row` is the filing's number, `date` its Date header."""

    row: int
    date: datetime
    mail: MailToFile


@dataclass(frozen=True, slots=True)
class RenderFault:
    """Why a mail could not be put into words."""

    words: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """What is read at once for a batch of mails, while the batch is rendered."""

    waits: Mapping[str, Wait]
    files: Files
    held: tuple[object, ...]
    """Rows the transaction is to keep: it hands out what somebody still holds."""


Files = Mapping[int, tuple[File, ...] | None]
"""Filing's number -> the files of its message; None where they cannot be had."""

_PATIENCE = timedelta(minutes=15)
"""How long a message waits for the files it came with."""
_MOST = 20_000_000
"""Octets of files in one mail: in base64 that is about what mailboxes take."""
_TRIES = 2
"""After so many refusals by the mailbox a mail goes without its files: the words matter more."""


class Renderer:
    """Puts planned mails of one account into words."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._told: set[str] = set()

    async def render(
        self, tx: Transaction, row: FilingRow, gathered: Gathered
    ) -> Rendered | RenderFault:
        """Render one; also moves the thread's last date and first mail on, within `tx`."""
        discussion = await tx.discussions.get(row.discussion)
        if discussion is None:
            return RenderFault("its discussion is not in the journal")
        try:
            if row.notice is not None:
                return await self._notice(tx, row, discussion)
            return await self._message(tx, row, discussion, gathered)
        except (TemplateBroken, ValueError, KeyError) as error:
            return RenderFault(f"{type(error).__name__}: {error}")

    async def fetch_files(self, rows: Sequence[FilingRow]) -> Files:
        """Fetch what the messages of a batch came with; a message left out must wait for it.

        A file that cannot be had for long enough, or is too big for a mail, is given up: None
        stands for such a message, and its mail says where the file can be seen.
        """
        ctx = self._ctx
        messaging = ctx.marketplace.messaging
        if messaging is None:
            return {}
        fetched: dict[int, tuple[File, ...] | None] = {}
        for row in rows:
            async with ctx.read() as tx:
                key = row.key.removeprefix("message:")
                known = await tx.discussions.message(row.discussion, key)
            if known is None or row.notice is not None or not known.ident or known.files == "[]":
                fetched[row.id] = ()
                continue
            if row.attempts >= _TRIES:
                fetched[row.id] = None
                continue
            try:
                files = await messaging.files(row.discussion, known.ident)
                light = sum(len(file.data) for file in files) <= _MOST
                fetched[row.id] = tuple(files) if light else None
            except (TransientError, CredentialsError) as error:
                if ctx.clock() - row.created_at >= _PATIENCE:
                    fetched[row.id] = None
                ctx.log.warning("files of a message not given", error=str(error))
            except (RefusedError, NotAuthorizedError, ContractError) as error:
                fetched[row.id] = None
                ctx.log.warning("files of a message refused", error=str(error))
        return fetched

    async def gather(self, tx: Transaction, rows: Sequence[FilingRow], files: Files) -> Gathered:
        """Read at once what these mails are made of; keep the answer while they are rendered.

        The transaction hands out what it still holds: without this every mail costs three reads,
        and each of those writes what the mail before it changed.
        """
        threads = await tx.discussions.many({r.discussion for r in rows})
        numbers = {d.order_number for d in threads.values() if d.order_number}
        held = (
            threads,
            await tx.discussions.messages_of(list(threads)),
            await tx.discussions.orders(numbers),
        )
        return Gathered(await waits(self._ctx, tx, list(threads)), files, held)

    async def _message(
        self, tx: Transaction, row: FilingRow, discussion: DiscussionRow, gathered: Gathered
    ) -> Rendered | RenderFault:
        ctx = self._ctx
        key = row.key.removeprefix("message:")
        known = await tx.discussions.message(discussion.id, key)
        if known is None:
            return RenderFault("its message is not in the journal")
        date = next_date(known.sent_at, tx.now, discussion.last_date)
        thread = await thread_of(ctx, tx, discussion, date)
        order = await self._order(tx, discussion)
        wait = gathered.waits.get(discussion.id)
        files = gathered.files.get(row.id, ())
        asks = known.author_kind != AuthorKind.SELLER
        answer_by = wait.due if wait and asks and known.sent_at >= wait.since else None
        message = Message(
            raw_time=known.raw_time,
            sent_at=known.sent_at,
            author=Author(AuthorKind(known.author_kind), known.author_name),
            text=known.text,
            ident=known.ident,
        )
        composed = ctx.composer.message_mail(
            thread,
            message,
            key=key,
            date=date.astimezone(ctx.zone),
            order=order,
            answer_by=answer_by,
            attachments_missing=files is None
            or not ctx.marketplace.capabilities.incoming_attachments,
            files=[(f.name, f.content_type, f.data) for f in files or ()],
            message_id=row.message_id,
        )
        return self._done(tx, row, discussion, composed, date)

    async def _notice(
        self, tx: Transaction, row: FilingRow, discussion: DiscussionRow
    ) -> Rendered | RenderFault:
        ctx = self._ctx
        notice = Notice.from_json(row.notice or "")
        date = next_date(tx.now, tx.now, discussion.last_date)
        thread = await thread_of(ctx, tx, discussion, date)
        reply = await tx.replies.get(row.reply) if row.reply else None
        with_card = any(done.kind in _WITH_CARD for done in notice.done)
        order = await self._order(tx, discussion) if with_card else None
        composed = ctx.composer.notice_mail(
            thread,
            notice,
            key=row.key,
            date=date.astimezone(ctx.zone),
            in_reply_to=reply.answers if reply else None,
            order=order,
            message_id=row.message_id,
        )
        return self._done(tx, row, discussion, composed, date)

    async def _order(self, tx: Transaction, discussion: DiscussionRow) -> Order | None:
        """The order to show, noted as shown: from here on the thread's newest card."""
        if not discussion.order_number:
            return None
        seen = await tx.discussions.order(discussion.order_number)
        if seen is None:
            return None
        order = ORDER.validate_json(seen.data)
        discussion.card_shown = Showing.of(order).to_json()
        discussion.card_true_at = tx.now
        return order

    def _done(
        self,
        tx: Transaction,
        row: FilingRow,
        discussion: DiscussionRow,
        composed: Composed,
        date: datetime,
    ) -> Rendered:
        if composed.problem is not None and str(composed.problem) not in self._told:
            self._told.add(str(composed.problem))
            self._ctx.log.error("template broken, shipped one used", problem=str(composed.problem))
        discussion.last_date = date
        if discussion.first_message_id is None:
            discussion.first_message_id = row.message_id
            discussion.started_at = date
        flags = frozenset() if row.unread else frozenset({"\\Seen"})
        arrived = internal_date(date, tx.now, unread=row.unread, backfill=row.backfill)
        return Rendered(row.id, date, MailToFile(row.message_id, composed.data, arrived, flags))


async def thread_of(
    ctx: Context, tx: Transaction, discussion: DiscussionRow, date: datetime
) -> Thread:
    """What all mails of a thread are made with; `date` begins it where it has not begun."""
    twin = await tx.discussions.get(discussion.twin) if discussion.twin else None
    return Thread(
        discussion_id=discussion.id,
        reference=discussion.reference,
        short=discussion.short,
        kind=DiscussionKind(discussion.kind),
        subject=discussion.subject,
        customer=discussion.customer,
        reply_address=ctx.addresses.of(discussion.short),
        started_at=discussion.started_at or date,
        first_message_id=discussion.first_message_id,
        order_number=discussion.order_number,
        relay_address=discussion.relay_address,
        relay_confirmed_at=discussion.relay_confirmed_at,
        claim_type=discussion.claim_type,
        topic=discussion.topic,
        escalation=discussion.escalation or "",
        sales_channel=discussion.sales_channel,
        treated=discussion.treatment == Treatment.TREATED and discussion.status != Status.CLOSED,
        twin=twin.short if twin else None,
    )
