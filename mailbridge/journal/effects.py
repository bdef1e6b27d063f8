"""Intents and what became of them: mails to file, dispatches, closes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mailbridge.domain.closing import SETTLED, ClosingState
from mailbridge.domain.delivery import MAY_HAVE_LEFT, DeliveryState
from mailbridge.domain.filing import FilingState
from mailbridge.journal.tables import ClosingRow, DeliveryRow, FilingRow, ReplyRow

__all__ = ["Closings", "Deliveries", "Filings"]


class Filings:
    """Mails of ours on their way into the mailbox."""

    def __init__(self, session: AsyncSession, account: str, now: datetime) -> None:
        self._session = session
        self._account = account
        self._now = now

    async def get(self, discussion: str, key: str) -> FilingRow | None:
        """By its key, unique within the discussion."""
        query = select(FilingRow).where(
            FilingRow.account == self._account,
            FilingRow.discussion == discussion,
            FilingRow.key == key,
        )
        return await self._session.scalar(query)

    async def by_ids(self, ids: Collection[int]) -> list[FilingRow]:
        """In the order of their ids."""
        query = select(FilingRow).where(FilingRow.id.in_(ids)).order_by(FilingRow.id)
        return list(await self._session.scalars(query))

    async def by_mail(self, message_id: str) -> FilingRow | None:
        """By Message-ID."""
        query = select(FilingRow).where(
            FilingRow.account == self._account, FilingRow.message_id == message_id
        )
        return await self._session.scalar(query)

    async def due(self, limit: int) -> list[FilingRow]:
        """Planned and due, oldest first: the order of a thread is the order of its ids."""
        query = (
            select(FilingRow)
            .where(
                FilingRow.account == self._account,
                FilingRow.state == FilingState.PLANNED,
                FilingRow.due_at <= self._now,
            )
            .order_by(FilingRow.id)
            .limit(limit)
        )
        return list(await self._session.scalars(query))

    async def in_state(self, state: FilingState) -> list[FilingRow]:
        """All in this state, oldest first."""
        query = (
            select(FilingRow)
            .where(FilingRow.account == self._account, FilingRow.state == state)
            .order_by(FilingRow.id)
        )
        return list(await self._session.scalars(query))

    async def filed(self, discussion: str) -> list[FilingRow]:
        """The thread's mails, in the order they were filed."""
        query = (
            select(FilingRow)
            .where(
                FilingRow.account == self._account,
                FilingRow.discussion == discussion,
                FilingRow.state == FilingState.FILED,
            )
            .order_by(FilingRow.id)
        )
        return list(await self._session.scalars(query))

    async def highest_uid(self, folder: str, uidvalidity: int) -> int:
        """The highest UID of a mail of ours known to lie in this folder, 0 for none."""
        query = select(func.max(FilingRow.uid)).where(
            FilingRow.account == self._account,
            FilingRow.folder == folder,
            FilingRow.uidvalidity == uidvalidity,
            FilingRow.state == FilingState.FILED,
        )
        return await self._session.scalar(query) or 0

    async def next_due(self) -> datetime | None:
        """When the next planned mail is due."""
        query = select(func.min(FilingRow.due_at)).where(
            FilingRow.account == self._account, FilingRow.state == FilingState.PLANNED
        )
        return await self._session.scalar(query)

    async def of_thread(self, discussion: str, keys: str) -> list[FilingRow]:
        """Those of a thread whose key begins so, in whatever state, oldest first."""
        query = (
            select(FilingRow)
            .where(
                FilingRow.account == self._account,
                FilingRow.discussion == discussion,
                FilingRow.key.startswith(keys, autoescape=True),
            )
            .order_by(FilingRow.id)
        )
        return list(await self._session.scalars(query))

    async def notices_since(self, discussion: str, since: datetime) -> int:
        """How many notices that ask for a person's eye this discussion got."""
        query = select(func.count()).where(
            FilingRow.account == self._account,
            FilingRow.discussion == discussion,
            FilingRow.notice.is_not(None),
            FilingRow.unread,
            FilingRow.created_at >= since,
        )
        return await self._session.scalar(query) or 0

    def add(self, row: FilingRow) -> None:
        """A new intent."""
        self._session.add(row)

    async def forget_words(self, discussion: str) -> None:
        """Retention: clear what notices said, and what was said of a mail that failed."""
        of_discussion = (
            FilingRow.account == self._account,
            FilingRow.discussion == discussion,
        )
        await self._session.execute(
            update(FilingRow).where(*of_discussion, FilingRow.notice.is_not(None)).values(notice="")
        )
        await self._session.execute(update(FilingRow).where(*of_discussion).values(error=""))


class Deliveries:
    """Dispatches."""

    def __init__(self, session: AsyncSession, account: str, now: datetime) -> None:
        self._session = session
        self._account = account
        self._now = now

    async def get(self, identity: int) -> DeliveryRow | None:
        """By its number."""
        return await self._session.get(DeliveryRow, identity)

    async def of_reply(self, reply: str) -> list[DeliveryRow]:
        """The dispatch of a reply and its resends, oldest first."""
        query = (
            select(DeliveryRow)
            .where(DeliveryRow.account == self._account, DeliveryRow.reply == reply)
            .order_by(DeliveryRow.number)
        )
        return list(await self._session.scalars(query))

    async def of_discussion(self, discussion: str) -> list[DeliveryRow]:
        """All dispatches of a discussion, oldest first."""
        query = (
            select(DeliveryRow)
            .where(DeliveryRow.account == self._account, DeliveryRow.discussion == discussion)
            .order_by(DeliveryRow.id)
        )
        return list(await self._session.scalars(query))

    async def by_mail(self, message_id: str) -> DeliveryRow | None:
        """By the Message-ID of the mail to the customer."""
        query = select(DeliveryRow).where(
            DeliveryRow.account == self._account, DeliveryRow.message_id == message_id
        )
        return await self._session.scalar(query)

    async def in_state(self, *states: DeliveryState) -> list[DeliveryRow]:
        """All in these states, oldest first."""
        query = (
            select(DeliveryRow)
            .where(DeliveryRow.account == self._account, DeliveryRow.state.in_(states))
            .order_by(DeliveryRow.id)
        )
        return list(await self._session.scalars(query))

    async def last_due(self, sender_name: str) -> datetime | None:
        """When the last of this sender's dispatches that were never tried yet is due."""
        query = (
            select(DeliveryRow.due_at)
            .join(
                ReplyRow,
                (ReplyRow.account == DeliveryRow.account) & (ReplyRow.id == DeliveryRow.reply),
            )
            .where(
                DeliveryRow.account == self._account,
                DeliveryRow.state == DeliveryState.PLANNED,
                DeliveryRow.attempts == 0,
                ReplyRow.sender_name == sender_name,
            )
            # From the end of the index: a list of thousands asks this for each of its mails.
            .order_by(DeliveryRow.due_at.desc())
            .limit(1)
        )
        return await self._session.scalar(query)

    async def due(
        self, *, by: str | None = None, not_by: str | None = None, at_most: int | None = None
    ) -> list[DeliveryRow]:
        """Planned and due, of this sender or of all but one: oldest first, the first `at_most`."""
        query = (
            select(DeliveryRow)
            .where(*self._waiting(by, not_by), DeliveryRow.due_at <= self._now)
            .order_by(DeliveryRow.id)
            .limit(at_most)
        )
        return list(await self._session.scalars(query))

    async def next_due(
        self, *, by: str | None = None, not_by: str | None = None
    ) -> datetime | None:
        """When the next planned dispatch is due, of this sender or of all but one."""
        query = select(func.min(DeliveryRow.due_at)).where(*self._waiting(by, not_by))
        return await self._session.scalar(query)

    def _waiting(self, by: str | None, not_by: str | None) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = [
            DeliveryRow.account == self._account,
            DeliveryRow.state == DeliveryState.PLANNED,
            DeliveryRow.after_money.is_(False),
        ]
        if by is not None:
            found.append(_sent_by(by))
        if not_by is not None:
            found.append(~_sent_by(not_by))
        return found

    async def unmatched(self, discussions: Sequence[str]) -> list[DeliveryRow]:
        """Dispatches of these discussions that a message may turn out to be, oldest first."""
        query = (
            select(DeliveryRow)
            .where(
                DeliveryRow.account == self._account,
                DeliveryRow.discussion.in_(discussions),
                DeliveryRow.state.in_(MAY_HAVE_LEFT),
            )
            .order_by(DeliveryRow.id)
        )
        return list(await self._session.scalars(query))

    def add(self, row: DeliveryRow) -> None:
        """A new intent."""
        self._session.add(row)

    async def forget_words(self, discussion: str) -> None:
        """Retention: clear the texts sent, and where to."""
        await self._session.execute(
            update(DeliveryRow)
            .where(DeliveryRow.account == self._account, DeliveryRow.discussion == discussion)
            .values(text="", reply_text="", address=None)
        )


def _sent_by(sender_name: str) -> ColumnElement[bool]:
    return exists().where(
        ReplyRow.account == DeliveryRow.account,
        ReplyRow.id == DeliveryRow.reply,
        ReplyRow.sender_name == sender_name,
    )


class Closings:
    """Closes."""

    def __init__(self, session: AsyncSession, account: str, now: datetime) -> None:
        self._session = session
        self._account = account
        self._now = now

    async def get(self, identity: int) -> ClosingRow | None:
        """By its number."""
        return await self._session.get(ClosingRow, identity)

    async def of_reply(self, reply: str) -> list[ClosingRow]:
        """What a reply asked for."""
        query = (
            select(ClosingRow)
            .where(ClosingRow.account == self._account, ClosingRow.reply == reply)
            .order_by(ClosingRow.id)
        )
        return list(await self._session.scalars(query))

    async def of_discussion(self, discussion: str) -> list[ClosingRow]:
        """All closes of a discussion, oldest first."""
        query = (
            select(ClosingRow)
            .where(ClosingRow.account == self._account, ClosingRow.discussion == discussion)
            .order_by(ClosingRow.id)
        )
        return list(await self._session.scalars(query))

    async def of_nobody(self) -> list[ClosingRow]:
        """Settled closes that no reply asked for and nobody was told of yet, oldest first."""
        query = (
            select(ClosingRow)
            .where(
                ClosingRow.account == self._account,
                ClosingRow.reply.is_(None),
                ClosingRow.state.in_(SETTLED),
                ClosingRow.told == "",
            )
            .order_by(ClosingRow.id)
        )
        return list(await self._session.scalars(query))

    async def in_state(self, *states: ClosingState) -> list[ClosingRow]:
        """All in these states, oldest first."""
        query = (
            select(ClosingRow)
            .where(ClosingRow.account == self._account, ClosingRow.state.in_(states))
            .order_by(ClosingRow.id)
        )
        return list(await self._session.scalars(query))

    async def due(self) -> list[ClosingRow]:
        """Ready and due, oldest first."""
        query = (
            select(ClosingRow)
            .where(
                ClosingRow.account == self._account,
                ClosingRow.state == ClosingState.READY,
                ClosingRow.due_at <= self._now,
            )
            .order_by(ClosingRow.id)
        )
        return list(await self._session.scalars(query))

    async def next_due(self) -> datetime | None:
        """When the next ready close is due."""
        query = select(func.min(ClosingRow.due_at)).where(
            ClosingRow.account == self._account, ClosingRow.state == ClosingState.READY
        )
        return await self._session.scalar(query)

    def add(self, row: ClosingRow) -> None:
        """A new intent."""
        self._session.add(row)
