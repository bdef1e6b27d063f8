"""Movements of money, and who holds which line of an order.

A claim is a row whose primary key is what must not be paid twice: the database itself refuses a
second holder. These rows are never pruned; only names and the order as read are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mailbridge.domain.refund import MACHINE, SETTLED, RefundState
from mailbridge.journal.tables import MoneyClaimRow, MoneyRow

__all__ = ["Movements"]


class Movements:
    """The movements of one account."""

    def __init__(self, session: AsyncSession, account: str, now: datetime) -> None:
        self._session = session
        self._account = account
        self._now = now

    async def get(self, identity: int) -> MoneyRow | None:
        """By its number."""
        return await self._session.get(MoneyRow, identity)

    async def of_reply(self, reply: str) -> list[MoneyRow]:
        """What a reply asked for, oldest first."""
        return await self._list(MoneyRow.reply == reply)

    async def of_discussion(self, discussion: str) -> list[MoneyRow]:
        """All movements of a discussion, oldest first."""
        return await self._list(MoneyRow.discussion == discussion)

    async def of_order(self, order_number: str) -> list[MoneyRow]:
        """All movements on an order, oldest first."""
        return await self._list(MoneyRow.order_number == order_number)

    async def in_state(self, *states: RefundState) -> list[MoneyRow]:
        """All in these states, oldest first."""
        return await self._list(MoneyRow.state.in_(states))

    async def due(self, *states: RefundState) -> list[MoneyRow]:
        """In these states and due, oldest first."""
        return await self._list(MoneyRow.state.in_(states), MoneyRow.due_at <= self._now)

    async def to_receipt(self) -> list[MoneyRow]:
        """Those at their end that want a receipt of their own."""
        return await self._list(MoneyRow.own_receipt.is_(True), MoneyRow.state.in_(MACHINE.final))

    async def confirmed_since(self, moment: datetime) -> list[MoneyRow]:
        """Confirmed at `moment` or later, whatever became of them."""
        return await self._list(MoneyRow.confirmed_at >= moment)

    async def next_due(self, *states: RefundState) -> datetime | None:
        """When the next one in these states is due."""
        query = select(func.min(MoneyRow.due_at)).where(
            MoneyRow.account == self._account, MoneyRow.state.in_(states)
        )
        return await self._session.scalar(query)

    def add(self, row: MoneyRow) -> None:
        """A new intent."""
        self._session.add(row)

    async def holders(self, order_number: str) -> dict[str, int]:
        """What of an order is held, and by which movement."""
        query = select(MoneyClaimRow).where(
            MoneyClaimRow.account == self._account, MoneyClaimRow.order_number == order_number
        )
        return {row.key: row.money for row in await self._session.scalars(query)}

    async def claim(self, row: MoneyRow, keys: Collection[str]) -> None:
        """Hold these keys for a movement; the database refuses one that is held already."""
        await self._session.flush()
        for key in keys:
            self._session.add(
                MoneyClaimRow(
                    account=self._account, order_number=row.order_number, key=key, money=row.id
                )
            )
        await self._session.flush()

    async def let_go(self, row: MoneyRow, keys: Collection[str] | None = None) -> None:
        """Give back what a movement holds; None gives back everything."""
        query = delete(MoneyClaimRow).where(
            MoneyClaimRow.account == self._account, MoneyClaimRow.money == row.id
        )
        if keys is not None:
            query = query.where(MoneyClaimRow.key.in_(keys))
        await self._session.execute(query)

    async def carry_over(self) -> None:
        """All that was ever asked for was asked through an API the account moves away from."""
        await self._session.execute(
            update(MoneyRow)
            .where(MoneyRow.account == self._account, MoneyRow.asked_at.is_not(None))
            .values(carried=True)
        )

    async def forget_words(self, discussion: str) -> None:
        """Retention: clear names and the order as read; amounts, lines and answers stay.

        What is not settled keeps both: without the order as read nothing could ever prove it.
        """
        await self._session.execute(
            update(MoneyRow)
            .where(
                MoneyRow.account == self._account,
                MoneyRow.discussion == discussion,
                MoneyRow.state.in_(SETTLED),
            )
            .values(asked_by="", confirmed_by="", vouched_by="", before="")
        )

    async def _list(self, *conditions: ColumnElement[bool]) -> list[MoneyRow]:
        query = (
            select(MoneyRow)
            .where(MoneyRow.account == self._account, *conditions)
            .order_by(MoneyRow.id)
        )
        found: Sequence[MoneyRow] = (await self._session.scalars(query)).all()
        return list(found)
