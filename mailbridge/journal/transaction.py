"""One transaction on one account: the repositories, and the only place where a state moves."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeVar

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from mailbridge.domain.machine import Machine
from mailbridge.journal.acknowledgements import Acknowledgements
from mailbridge.journal.discussions import Discussions
from mailbridge.journal.effects import Closings, Deliveries, Filings
from mailbridge.journal.happened import Happened
from mailbridge.journal.money import Movements
from mailbridge.journal.replies import Folders, Replies
from mailbridge.journal.tables import (
    AccountRow,
    ClosingRow,
    DeliveryRow,
    DiscussionRow,
    EventRow,
    FilingRow,
    MoneyRow,
    ReplyRow,
)
from mailbridge.journal.unreadable import Unreadables
from mailbridge.journal.waiting import Waiting

__all__ = ["Transaction"]

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


class Intent(Protocol):
    """A row that a state machine governs."""

    state: str
    owner: str
    epoch: int


class Transaction:
    """What flows see of the journal. Rows given out may be changed until the block ends."""

    def __init__(
        self, session: AsyncSession, account: str, owner: str, epoch: int, now: datetime
    ) -> None:
        self._session = session
        self._account = account
        self._owner = owner
        self._epoch = epoch
        self.now = now
        self.noted: list[str] = []
        """What has been noted in this transaction."""
        self.discussions = Discussions(session, account)
        self.filings = Filings(session, account, now)
        self.replies = Replies(session, account)
        self.deliveries = Deliveries(session, account, now)
        self.closings = Closings(session, account, now)
        self.money = Movements(session, account, now)
        self.folders = Folders(session, account)
        self.waiting = Waiting(session, account)
        self.acknowledgements = Acknowledgements(session, account, now)
        self.happened = Happened(session, account)
        self.unreadable = Unreadables(session, account, now)

    def move(
        self,
        row: Intent,
        machine: Machine[S, E],
        event: E,
        *,
        discussion: str | None,
        subject: str,
        detail: str = "",
    ) -> S:
        """Move a row by its machine's table and note it; raises ForbiddenMove."""
        states = type(machine.start)
        state = machine.next(states(row.state), event)
        row.state = state
        row.owner, row.epoch = self._owner, self._epoch
        self.note(f"{machine.name} {event}", discussion=discussion, subject=subject, detail=detail)
        return state

    def note(
        self, what: str, *, discussion: str | None = None, subject: str = "", detail: str = ""
    ) -> None:
        """Add a line to the event log; `detail` holds words of ours only."""
        self.noted.append(what)
        self._session.add(
            EventRow(
                at=self.now,
                account=self._account,
                discussion=discussion,
                what=what,
                subject=subject,
                detail=detail[:500],
                owner=self._owner,
                epoch=self._epoch,
            )
        )

    async def tally(self) -> dict[str, dict[str, int]]:
        """Table -> state -> number of rows, for `status`."""
        tables = {
            "discussions": (DiscussionRow.account, DiscussionRow.status),
            "filings": (FilingRow.account, FilingRow.state),
            "replies": (ReplyRow.account, ReplyRow.state),
            "deliveries": (DeliveryRow.account, DeliveryRow.state),
            "closings": (ClosingRow.account, ClosingRow.state),
            "money": (MoneyRow.account, MoneyRow.state),
        }
        counted: dict[str, dict[str, int]] = {}
        for name, (account, state) in tables.items():
            query = select(state, func.count()).where(account == self._account).group_by(state)
            counted[name] = {row[0]: row[1] for row in await self._session.execute(query)}
        return counted

    async def account(self) -> AccountRow:
        """The account's own row."""
        return await self._session.get_one(AccountRow, self._account)

    async def events(self, discussion: str) -> list[EventRow]:
        """The log of one discussion, oldest first."""
        query = (
            select(EventRow)
            .where(EventRow.account == self._account, EventRow.discussion == discussion)
            .order_by(EventRow.id)
        )
        return list(await self._session.scalars(query))

    async def event_count(self) -> int:
        """How many lines the account's log has: unchanged means that nothing moved."""
        query = select(func.count()).where(EventRow.account == self._account)
        return await self._session.scalar(query) or 0

    async def flush(self) -> None:
        """Send pending rows, so that generated ids can be read."""
        await self._session.flush()
