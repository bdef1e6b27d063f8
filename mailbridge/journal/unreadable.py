"""What of the marketplace could not be read, from its first failure until it reads again.

One row for each discussion or order, and it goes by itself: what stands here is how things stand,
also after a restart. The words are ours or the service's, never a customer's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import String, delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from mailbridge.domain.wording import clean_line
from mailbridge.journal.base import Base

__all__ = ["UnreadableRow", "Unreadables"]


class UnreadableRow(Base):
    """A discussion or an order that could not be read."""

    __tablename__ = "unreadable"

    account: Mapped[str] = mapped_column(String(100), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    """The marketplace's number or id of it; what stands for one that has none is the port's."""
    first_seen: Mapped[datetime]
    last_seen: Mapped[datetime]
    words: Mapped[str]
    """Why, at the last try."""


class Unreadables:
    """Repository of one account."""

    def __init__(self, session: AsyncSession, account: str, now: datetime) -> None:
        self._session = session
        self._account = account
        self._now = now

    async def all(self, kind: str | None = None) -> list[UnreadableRow]:
        """Of this kind or of all, the oldest first."""
        query = select(UnreadableRow).where(UnreadableRow.account == self._account)
        if kind is not None:
            query = query.where(UnreadableRow.kind == kind)
        order = (UnreadableRow.first_seen, UnreadableRow.kind, UnreadableRow.key)
        return list(await self._session.scalars(query.order_by(*order)))

    async def met(self, kind: str, faults: Mapping[str, str]) -> list[str]:
        """These could not be read just now: key -> why. Gives the keys of those that are new."""
        known = {row.key: row for row in await self.all(kind)}
        new: list[str] = []
        for name, said in faults.items():
            key, words = clean_line(name, 64), clean_line(said, 300)
            row = known.get(key)
            if row is None:
                row = UnreadableRow(account=self._account, kind=kind, key=key, first_seen=self._now)
                self._session.add(row)
                known[key] = row
                new.append(key)
            row.last_seen, row.words = self._now, words
        return new

    async def forget(self, kind: str, keys: Collection[str]) -> None:
        """These read again, or are gone."""
        for key in keys:
            await self._session.execute(
                delete(UnreadableRow).where(
                    UnreadableRow.account == self._account,
                    UnreadableRow.kind == kind,
                    UnreadableRow.key == key,
                )
            )
