"""Discussions, their messages, the orders behind them, and how far the sweeps have seen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mailbridge.domain.discussion import AuthorKind, Status
from mailbridge.domain.filing import FilingState
from mailbridge.domain.opening import OPENING_PREFIX
from mailbridge.journal.base import Base
from mailbridge.journal.tables import DiscussionRow, FilingRow, MessageRow, OrderRow, SweepRow

__all__ = ["Discussions"]

_CHUNK = 500
"""SQLite takes a limited number of variables in one statement."""


def _chunks(values: Iterable[str]) -> Iterable[list[str]]:
    unique = list(dict.fromkeys(values))
    for start in range(0, len(unique), _CHUNK):
        yield unique[start : start + _CHUNK]


class Discussions:
    """Repository of one account."""

    def __init__(self, session: AsyncSession, account: str) -> None:
        self._session = session
        self._account = account

    async def get(self, discussion: str) -> DiscussionRow | None:
        """By the marketplace's id."""
        return await self._session.get(DiscussionRow, (self._account, discussion))

    async def many(self, ids: Collection[str]) -> dict[str, DiscussionRow]:
        """Those of these ids that are known."""
        found: dict[str, DiscussionRow] = {}
        for chunk in _chunks(ids):
            query = select(DiscussionRow).where(
                DiscussionRow.account == self._account, DiscussionRow.id.in_(chunk)
            )
            found |= {row.id: row for row in await self._session.scalars(query)}
        return found

    async def by_short(self, short: str) -> DiscussionRow | None:
        """By the thread's short id, in any letter case."""
        query = select(DiscussionRow).where(
            DiscussionRow.account == self._account, DiscussionRow.short == short.lower()
        )
        return await self._session.scalar(query)

    async def by_references(self, references: Collection[str]) -> dict[str, DiscussionRow]:
        """Those of these that are known, by the number that all of the marketplace's APIs have."""
        found: dict[str, DiscussionRow] = {}
        for chunk in _chunks(references):
            query = select(DiscussionRow).where(
                DiscussionRow.account == self._account, DiscussionRow.reference.in_(chunk)
            )
            found |= {row.reference: row for row in await self._session.scalars(query)}
        return found

    async def by_reference(self, reference: str) -> DiscussionRow | None:
        """By the number people know it by, which is not every marketplace's id of it."""
        query = select(DiscussionRow).where(
            DiscussionRow.account == self._account, DiscussionRow.reference == reference
        )
        return (await self._session.scalars(query)).first()

    async def of_order(self, order_number: str) -> list[DiscussionRow]:
        """All discussions about one order, oldest first."""
        query = (
            select(DiscussionRow)
            .where(
                DiscussionRow.account == self._account,
                DiscussionRow.order_number == order_number,
            )
            .order_by(DiscussionRow.created_at)
        )
        return list(await self._session.scalars(query))

    async def not_closed(self) -> list[DiscussionRow]:
        """All of the marketplace's that the journal still holds open."""
        query = select(DiscussionRow).where(
            DiscussionRow.account == self._account,
            DiscussionRow.status != Status.CLOSED,
            DiscussionRow.id.not_like(f"{OPENING_PREFIX}%"),
        )
        return list(await self._session.scalars(query))

    async def opened_since(self, since: datetime) -> int:
        """How many threads were opened by writing first and are that still."""
        query = select(func.count()).where(
            DiscussionRow.account == self._account,
            DiscussionRow.id.like(f"{OPENING_PREFIX}%"),
            DiscussionRow.created_at >= since,
        )
        return await self._session.scalar(query) or 0

    async def rename(self, row: DiscussionRow, discussion: str) -> None:
        """Give a thread, and all that belongs to it, the id of a discussion not yet known."""
        await self._session.flush()
        for table in Base.metadata.sorted_tables:
            name = "twin" if table is DiscussionRow.__table__ else "discussion"
            if name in table.c:
                await self._session.execute(
                    table.update()
                    .where(table.c.account == self._account, table.c[name] == row.id)
                    .values({name: discussion})
                )
        row.id = discussion
        await self._session.flush()

    async def to_move(self) -> list[DiscussionRow]:
        """Threads that lie in another folder than they should."""
        query = select(DiscussionRow).where(
            DiscussionRow.account == self._account,
            DiscussionRow.folder != DiscussionRow.wanted_folder,
        )
        return list(await self._session.scalars(query))

    async def to_reopen(self) -> list[DiscussionRow]:
        """Discussions an agent asked to reopen, while that is still to be done."""
        query = select(DiscussionRow).where(
            DiscussionRow.account == self._account, DiscussionRow.reopen_for.is_not(None)
        )
        return list(await self._session.scalars(query))

    async def to_mark_read(self) -> list[DiscussionRow]:
        """Threads whose mails are to be marked read."""
        query = select(DiscussionRow).where(
            DiscussionRow.account == self._account, DiscussionRow.mark_read
        )
        return list(await self._session.scalars(query))

    async def sharing_address(self, address: str) -> list[DiscussionRow]:
        """All discussions a relay address serves."""
        query = select(DiscussionRow).where(
            DiscussionRow.account == self._account, DiscussionRow.relay_address == address
        )
        return list(await self._session.scalars(query))

    def add(self, row: DiscussionRow) -> None:
        """A discussion seen for the first time."""
        self._session.add(row)

    async def messages(self, discussion: str) -> list[MessageRow]:
        """All messages of a discussion, oldest first."""
        return (await self.messages_of([discussion])).get(discussion, [])

    async def messages_of(self, ids: Collection[str]) -> dict[str, list[MessageRow]]:
        """Messages of several discussions, each list oldest first."""
        found: dict[str, list[MessageRow]] = {}
        for chunk in _chunks(ids):
            query = (
                select(MessageRow)
                .where(MessageRow.account == self._account, MessageRow.discussion.in_(chunk))
                .order_by(MessageRow.sent_at, MessageRow.key)
            )
            for row in await self._session.scalars(query):
                found.setdefault(row.discussion, []).append(row)
        return found

    async def message(self, discussion: str, key: str) -> MessageRow | None:
        """One message by its identity."""
        return await self._session.get(MessageRow, (self._account, discussion, key))

    def add_message(self, row: MessageRow) -> None:
        """A message seen for the first time."""
        self._session.add(row)

    async def customer_messages(self, discussion: str) -> int:
        """How many messages by the customer are known."""
        query = select(func.count()).where(
            MessageRow.account == self._account,
            MessageRow.discussion == discussion,
            MessageRow.author_kind == AuthorKind.CUSTOMER,
        )
        return await self._session.scalar(query) or 0

    async def customer_messages_filed(self, discussion: str) -> int:
        """How many of them lie in the mailbox, where staff can have read them."""
        query = select(func.count()).where(
            MessageRow.account == self._account,
            MessageRow.discussion == discussion,
            MessageRow.author_kind == AuthorKind.CUSTOMER,
            select(FilingRow.id)
            .where(
                FilingRow.account == MessageRow.account,
                FilingRow.discussion == MessageRow.discussion,
                FilingRow.key == "message:" + MessageRow.key,
                FilingRow.state == FilingState.FILED,
            )
            .exists(),
        )
        return await self._session.scalar(query) or 0

    async def order(self, number: str) -> OrderRow | None:
        """An order as last read."""
        return await self._session.get(OrderRow, (self._account, number))

    async def orders(self, numbers: Collection[str]) -> dict[str, OrderRow]:
        """Those of these orders that have been read."""
        found: dict[str, OrderRow] = {}
        for chunk in _chunks(numbers):
            query = select(OrderRow).where(
                OrderRow.account == self._account, OrderRow.number.in_(chunk)
            )
            found |= {row.number: row for row in await self._session.scalars(query)}
        return found

    async def put_order(self, number: str, data: str, fetched_at: datetime) -> None:
        """Remember an order as just read."""
        row = await self.order(number)
        if row is None:
            row = OrderRow(account=self._account, number=number, data="")
            self._session.add(row)
        if row.data != data:
            row.data, row.changed_at = data, fetched_at
        row.fetched_at = fetched_at

    async def of_orders(self, numbers: Collection[str]) -> dict[str, list[DiscussionRow]]:
        """The discussions about these orders, oldest first; orders without any are left out."""
        found: dict[str, list[DiscussionRow]] = {}
        for chunk in _chunks(numbers):
            query = (
                select(DiscussionRow)
                .where(
                    DiscussionRow.account == self._account, DiscussionRow.order_number.in_(chunk)
                )
                .order_by(DiscussionRow.created_at)
            )
            for row in await self._session.scalars(query):
                found.setdefault(row.order_number or "", []).append(row)
        return found

    async def with_stale_card(self, settled: datetime, old: datetime) -> list[DiscussionRow]:
        """Open discussions whose order was read otherwise since their newest card was made: it
        has stayed so since `settled`, or the card was last true at `old`, or earlier."""
        query = (
            select(DiscussionRow)
            .join(
                OrderRow,
                and_(
                    OrderRow.account == DiscussionRow.account,
                    OrderRow.number == DiscussionRow.order_number,
                ),
            )
            .where(
                DiscussionRow.account == self._account,
                DiscussionRow.status != Status.CLOSED,
                DiscussionRow.card_shown != "",
                OrderRow.changed_at > DiscussionRow.card_true_at,
                or_(OrderRow.changed_at <= settled, DiscussionRow.card_true_at <= old),
            )
        )
        return list(await self._session.scalars(query))

    async def stale_orders(self, read_before: datetime) -> list[str]:
        """Numbers of the orders of open discussions that were last read before then, or never."""
        query = (
            select(DiscussionRow.order_number)
            .outerjoin(
                OrderRow,
                and_(
                    OrderRow.account == DiscussionRow.account,
                    OrderRow.number == DiscussionRow.order_number,
                ),
            )
            .where(
                DiscussionRow.account == self._account,
                DiscussionRow.status != Status.CLOSED,
                DiscussionRow.order_number.is_not(None),
                or_(OrderRow.fetched_at.is_(None), OrderRow.fetched_at < read_before),
            )
            .distinct()
        )
        return sorted(number for number in await self._session.scalars(query) if number)

    async def seen_until(self, kind: str) -> datetime | None:
        """Until when this kind of sweep has seen everything."""
        row = await self._session.get(SweepRow, (self._account, kind))
        return row.good_until if row else None

    async def saw_until(self, kind: str, moment: datetime) -> None:
        """This kind of sweep has seen everything until `moment`."""
        await self._session.merge(SweepRow(account=self._account, kind=kind, good_until=moment))

    async def prunable(self, before: datetime, limit: int = 200) -> Sequence[DiscussionRow]:
        """Closed long ago and still with words in it, be it for the second time."""
        query = (
            select(DiscussionRow)
            .where(
                DiscussionRow.account == self._account,
                DiscussionRow.settled_at < before,
                or_(
                    DiscussionRow.pruned_at.is_(None),
                    DiscussionRow.pruned_at <= DiscussionRow.settled_at,
                ),
            )
            .limit(limit)
        )
        return (await self._session.scalars(query)).all()

    def note_words(self, row: DiscussionRow, now: datetime) -> None:
        """There are new words in it: if it is closed, all are pruned that much later.

        Not before, because they may still be needed: a reply that is held goes out as it stood.
        """
        if row.settled_at is not None:
            row.settled_at = now

    async def prune(self, row: DiscussionRow, now: datetime) -> None:
        """Clear the words, names and addresses of one discussion; identities and hashes stay.

        The order goes with the last discussion that is about it.
        """
        row.title = row.customer = ""
        row.subject = f"({row.short.upper()})"
        row.relay_address = row.relay_confirmed_at = None
        row.card_shown = ""
        row.pruned_at = now
        await self._session.execute(
            update(MessageRow)
            .where(MessageRow.account == self._account, MessageRow.discussion == row.id)
            .values(text="", author_name="")
        )
        if row.order_number:
            about = await self.of_order(row.order_number)
            order = await self.order(row.order_number)
            if order is not None and all(d.pruned_at is not None for d in about):
                await self._session.delete(order)
