"""What happened in an account between two moments: counted, and what could not be done.

A message counts when it was first read here, if it was not said long before: what a first run or
a recovered journal takes over is history. An acknowledgement answers nothing. Money counts when
the order had shown it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from mailbridge.domain.closing import ClosingState
from mailbridge.domain.discussion import AuthorKind, Status
from mailbridge.domain.opening import OPENING_PREFIX
from mailbridge.domain.refund import RefundState
from mailbridge.journal.tables import ClosingRow, DiscussionRow, MessageRow, MoneyRow

__all__ = ["Happened"]

_ASKING = (AuthorKind.CUSTOMER, AuthorKind.OPERATOR)

_ENDED_BADLY = (
    RefundState.REFUSED,
    RefundState.ABSENT,
    RefundState.PARTLY,
    RefundState.WITHDRAWN,
)

_LATE = timedelta(hours=3)
"""How late a message may be shown (57 minutes were seen) and still count as of that day."""


class Happened:
    """Repository of one account; spans are from `since`, included, to `until`, left out."""

    def __init__(self, session: AsyncSession, account: str) -> None:
        self._session = session
        self._account = account

    async def messages(self, since: datetime, until: datetime) -> dict[str, int]:
        """Author kind -> how many messages, acknowledgements left out."""
        query = (
            select(MessageRow.author_kind, func.count())
            .where(
                MessageRow.account == self._account,
                MessageRow.seen_at >= since,
                MessageRow.seen_at < until,
                MessageRow.sent_at >= since - _LATE,
                MessageRow.automatic.is_(False),
            )
            .group_by(MessageRow.author_kind)
        )
        return {row[0]: row[1] for row in await self._session.execute(query)}

    async def opened(self, since: datetime, until: datetime) -> int:
        """Discussions that began."""
        query = select(func.count()).where(
            DiscussionRow.account == self._account,
            DiscussionRow.id.not_like(f"{OPENING_PREFIX}%"),
            DiscussionRow.created_at >= since,
            DiscussionRow.created_at < until,
        )
        return await self._session.scalar(query) or 0

    async def closed(self, since: datetime, until: datetime) -> int:
        """Discussions that were closed, and still are."""
        query = select(func.count()).where(
            DiscussionRow.account == self._account,
            DiscussionRow.status == Status.CLOSED,
            DiscussionRow.closed_at >= since,
            DiscussionRow.closed_at < until,
        )
        return await self._session.scalar(query) or 0

    async def money(self, since: datetime, until: datetime) -> list[tuple[str, Decimal]]:
        """Kind and amount of each movement that was proven, in whole or in part."""
        query = select(MoneyRow.kind, MoneyRow.moved).where(
            MoneyRow.account == self._account,
            MoneyRow.state.in_((RefundState.PROVEN, RefundState.PARTLY)),
            MoneyRow.joins.is_(None),
            MoneyRow.settled_at >= since,
            MoneyRow.settled_at < until,
        )
        found = [(row[0], Decimal(row[1])) for row in await self._session.execute(query)]
        return [(kind, moved) for kind, moved in found if moved]

    async def first_answers(
        self, since: datetime, until: datetime
    ) -> list[tuple[datetime, datetime]]:
        """When it was first asked and first answered, of the discussions first answered then."""
        asked = (
            select(MessageRow.discussion, func.min(MessageRow.sent_at).label("at"))
            .where(MessageRow.account == self._account, MessageRow.author_kind.in_(_ASKING))
            .group_by(MessageRow.discussion)
            .subquery()
        )
        said = (
            select(MessageRow.discussion, func.min(MessageRow.sent_at).label("at"))
            .where(
                MessageRow.account == self._account,
                MessageRow.author_kind == AuthorKind.SELLER,
                MessageRow.automatic.is_(False),
            )
            .group_by(MessageRow.discussion)
            .having(
                and_(
                    func.min(MessageRow.sent_at) >= since,
                    func.min(MessageRow.sent_at) < until,
                )
            )
            .subquery()
        )
        query = select(asked.c.at, said.c.at).where(
            asked.c.discussion == said.c.discussion,
            # One that the shop began has no first answer.
            asked.c.at < said.c.at,
        )
        return [(row[0], row[1]) for row in await self._session.execute(query)]

    async def refused_closings(self, since: datetime) -> list[ClosingRow]:
        """Closes last asked for since then that the marketplace refused, oldest first."""
        query = (
            select(ClosingRow)
            .where(
                ClosingRow.account == self._account,
                ClosingRow.state == ClosingState.REFUSED,
                ClosingRow.asked_at >= since,
            )
            .order_by(ClosingRow.id)
        )
        return list(await self._session.scalars(query))

    async def failed_money(self, since: datetime) -> list[MoneyRow]:
        """Movements that ended since then otherwise than they were asked for, oldest first."""
        query = (
            select(MoneyRow)
            .where(
                MoneyRow.account == self._account,
                MoneyRow.state.in_(_ENDED_BADLY),
                func.coalesce(MoneyRow.settled_at, MoneyRow.missed_at) >= since,
            )
            .order_by(MoneyRow.id)
        )
        return list(await self._session.scalars(query))
