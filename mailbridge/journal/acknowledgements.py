"""Acknowledgements: one row for each discussion whose customer may get one, and what came of it.

The row is the discussion's one chance: its primary key cannot be held twice, and it is never
deleted. What was sent is an ordinary dispatch, marked as automatic.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Index, String, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from mailbridge.domain.delivery import DeliveryState
from mailbridge.journal.base import Base
from mailbridge.journal.tables import DeliveryRow, DiscussionRow

__all__ = ["AcknowledgementRow", "Acknowledgements"]


class AcknowledgementRow(Base):
    """The acknowledgement of one discussion: to be judged, refused, or dispatched."""

    __tablename__ = "acknowledgement"
    __table_args__ = (Index("ix_acknowledgement_open", "account", "settled_at"),)

    account: Mapped[str] = mapped_column(String(100), primary_key=True)
    discussion: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
    """When it was decided."""
    why_not: Mapped[str] = mapped_column(String(40), default="")
    """Settled without one: the rule against it (`domain/acknowledgement`)."""
    delivery: Mapped[int | None]
    """Settled with one: its dispatch; None where an earlier journal sent it."""


class Acknowledgements:
    """Repository of one account."""

    def __init__(self, session: AsyncSession, account: str, now: datetime) -> None:
        self._session = session
        self._account = account
        self._now = now

    async def get(self, discussion: str) -> AcknowledgementRow | None:
        """That of one discussion."""
        return await self._session.get(AcknowledgementRow, (self._account, discussion))

    async def to_judge(self) -> Sequence[AcknowledgementRow]:
        """Those nothing has been decided about, oldest first."""
        query = (
            select(AcknowledgementRow)
            .where(
                AcknowledgementRow.account == self._account,
                AcknowledgementRow.settled_at.is_(None),
            )
            .order_by(AcknowledgementRow.created_at, AcknowledgementRow.discussion)
        )
        return (await self._session.scalars(query)).all()

    async def sent_since(self, discussion: DiscussionRow, since: datetime) -> int:
        """How many were sent in other discussions about the same order, or with a customer of
        the same name."""
        same = [
            column == value
            for column, value in (
                (DiscussionRow.order_number, discussion.order_number),
                (DiscussionRow.customer, discussion.customer),
            )
            if value
        ]
        if not same:
            return 0
        query = (
            select(func.count())
            .select_from(AcknowledgementRow)
            .join(
                DiscussionRow,
                (DiscussionRow.account == AcknowledgementRow.account)
                & (DiscussionRow.id == AcknowledgementRow.discussion),
            )
            .where(
                AcknowledgementRow.account == self._account,
                AcknowledgementRow.discussion != discussion.id,
                AcknowledgementRow.settled_at >= since,
                AcknowledgementRow.why_not == "",
                or_(*same),
            )
        )
        return await self._session.scalar(query) or 0

    async def to_tell(self) -> Sequence[DeliveryRow]:
        """Dispatches that went out and that staff have not been told of, oldest first."""
        query = (
            select(DeliveryRow)
            .where(
                DeliveryRow.account == self._account,
                DeliveryRow.automatic,
                DeliveryRow.told == "",
                DeliveryRow.state.in_((DeliveryState.SUBMITTED, DeliveryState.RECORDED)),
            )
            .order_by(DeliveryRow.id)
        )
        return (await self._session.scalars(query)).all()

    async def consider(self, discussion: str) -> None:
        """Its customer may get one; nothing changes where that came up before."""
        if await self.get(discussion) is None:
            self._session.add(
                AcknowledgementRow(
                    account=self._account, discussion=discussion, created_at=self._now
                )
            )

    async def sent_before(self, discussion: str) -> None:
        """An earlier journal sent it, or tried to: there is none to come."""
        await self.consider(discussion)
        await self._session.flush()
        row = await self.get(discussion)
        if row is not None and row.settled_at is None:
            row.settled_at = self._now
