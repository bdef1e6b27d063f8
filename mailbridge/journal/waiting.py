"""Who waits for an answer, and which mails bear our flag because of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from mailbridge.domain.deadline import Word
from mailbridge.domain.delivery import DeliveryState
from mailbridge.domain.discussion import AuthorKind, Status, Treatment
from mailbridge.domain.filing import FilingState
from mailbridge.journal.tables import DeliveryRow, DiscussionRow, FilingRow, FlagRow, MessageRow

__all__ = ["Case", "Waiting"]

_ON_ITS_WAY = (DeliveryState.SUBMITTING, DeliveryState.SUBMITTED, DeliveryState.UNCERTAIN)
"""Left, perhaps, and not yet a message of the discussion."""

_ASKING = (AuthorKind.CUSTOMER, AuthorKind.OPERATOR)

_CHUNK = 200


@dataclass(frozen=True, slots=True)
class Case:
    """What of a discussion decides until when it is to be answered."""

    id: str
    short: str
    kind: str
    status: str
    twin: str | None
    treated_until: datetime | None


class Waiting:
    """Repository of one account."""

    def __init__(self, session: AsyncSession, account: str) -> None:
        self._session = session
        self._account = account

    async def cases(self, ids: Collection[str] | None = None) -> list[Case]:
        """These discussions, or all that are open."""
        query = select(
            DiscussionRow.id,
            DiscussionRow.short,
            DiscussionRow.kind,
            DiscussionRow.status,
            DiscussionRow.twin,
            DiscussionRow.treated_until,
        ).where(DiscussionRow.account == self._account)
        if ids is None:
            queries = [query.where(DiscussionRow.status != Status.CLOSED)]
        else:
            queries = [query.where(DiscussionRow.id.in_(part)) for part in _parts(ids)]
        return [Case(*row) for one in queries for row in await self._session.execute(one)]

    async def words(self, ids: Collection[str]) -> dict[str, list[Word]]:
        """What was said in these discussions; replies of ours on their way count as said."""
        said: dict[str, list[Word]] = {}
        for part in _parts(ids):
            messages = (
                select(
                    MessageRow.discussion,
                    MessageRow.author_kind,
                    MessageRow.sent_at,
                    MessageRow.seen_at,
                    DeliveryRow.created_at,
                    MessageRow.automatic,
                    DeliveryRow.message_id,
                )
                .outerjoin(DeliveryRow, DeliveryRow.id == MessageRow.delivery)
                .where(MessageRow.account == self._account, MessageRow.discussion.in_(part))
            )
            for row in await self._session.execute(messages):
                # What an earlier journal sent was taken up nobody knows when.
                written = row.created_at if row.message_id else None
                author = _author(row.author_kind)
                word = Word(author, row.sent_at, row.seen_at, written, row.automatic)
                said.setdefault(row.discussion, []).append(word)
            leaving = select(
                DeliveryRow.discussion,
                DeliveryRow.created_at,
                DeliveryRow.submitted_at,
                DeliveryRow.first_tried_at,
                DeliveryRow.automatic,
            ).where(
                DeliveryRow.account == self._account,
                DeliveryRow.state.in_(_ON_ITS_WAY),
                DeliveryRow.discussion.in_(part),
            )
            for gone in await self._session.execute(leaving):
                left = gone.submitted_at or gone.first_tried_at or gone.created_at
                word = Word(
                    AuthorKind.SELLER,
                    left,
                    written_at=gone.created_at,
                    automatic=gone.automatic,
                )
                said.setdefault(gone.discussion, []).append(word)
        return said

    async def treated(self) -> int:
        """How many open discussions somebody has marked as treated at the marketplace."""
        query = select(func.count()).where(
            DiscussionRow.account == self._account,
            DiscussionRow.status != Status.CLOSED,
            DiscussionRow.treatment == Treatment.TREATED,
            DiscussionRow.treated_until.is_not(None),
        )
        return await self._session.scalar(query) or 0

    async def newest_mails(self, ids: Collection[str]) -> dict[str, int]:
        """For each discussion the filing that shows the newest words of a person's that is not
        the shop's, or of a robot's where there is no other."""
        asking = case((MessageRow.author_kind.in_(_ASKING), FilingRow.id))
        newest: dict[str, int] = {}
        for part in _parts(ids):
            query = (
                select(
                    FilingRow.discussion,
                    func.coalesce(func.max(asking), func.max(FilingRow.id)),
                )
                .join(
                    MessageRow,
                    and_(
                        MessageRow.account == FilingRow.account,
                        MessageRow.discussion == FilingRow.discussion,
                        FilingRow.key == "message:" + MessageRow.key,
                    ),
                )
                .where(
                    FilingRow.account == self._account,
                    FilingRow.discussion.in_(part),
                    FilingRow.state == FilingState.FILED,
                    MessageRow.author_kind != AuthorKind.SELLER,
                )
                .group_by(FilingRow.discussion)
            )
            newest |= {row[0]: row[1] for row in await self._session.execute(query)}
        return newest

    async def flags(self) -> Sequence[FlagRow]:
        """All mails that bear our flag, or are to."""
        query = select(FlagRow).where(FlagRow.account == self._account).order_by(FlagRow.filing)
        return (await self._session.scalars(query)).all()

    async def flag(self, filing: int) -> FlagRow | None:
        """The flag of one mail."""
        return await self._session.get(FlagRow, (self._account, filing))

    def add_flag(self, row: FlagRow) -> None:
        """A new wish."""
        self._session.add(row)

    async def drop_flag(self, row: FlagRow) -> None:
        """The mail bears our flag no more."""
        await self._session.delete(row)


def _author(kind: str) -> AuthorKind:
    # One row that cannot be read must not hide what all the others wait for.
    return AuthorKind(kind) if kind in set(AuthorKind) else AuthorKind.AUTOMATIC


def _parts(ids: Collection[str]) -> list[list[str]]:
    unique = list(dict.fromkeys(ids))
    return [unique[start : start + _CHUNK] for start in range(0, len(unique), _CHUNK)]
