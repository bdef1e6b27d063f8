"""Staff replies, their copies and files, and how far the watched folders have been read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mailbridge.domain.intake import IntakeState
from mailbridge.journal.tables import AttachmentRow, CopyRow, FolderRow, ReplyRow

__all__ = ["Folders", "Replies"]


class Folders:
    """Watched folders."""

    def __init__(self, session: AsyncSession, account: str) -> None:
        self._session = session
        self._account = account

    async def get(self, name: str) -> FolderRow | None:
        """How far a folder has been read; None before its first look."""
        return await self._session.get(FolderRow, (self._account, name))

    async def read_to(self, name: str, uidvalidity: int, next_uid: int) -> None:
        """Everything below `next_uid` has been dealt with."""
        await self._session.merge(
            FolderRow(account=self._account, name=name, uidvalidity=uidvalidity, next_uid=next_uid)
        )

    async def forget(self) -> None:
        """Every folder is to be looked at as if for the first time."""
        await self._session.execute(delete(FolderRow).where(FolderRow.account == self._account))


class Replies:
    """Staff replies."""

    def __init__(self, session: AsyncSession, account: str) -> None:
        self._session = session
        self._account = account

    async def get(self, reply: str) -> ReplyRow | None:
        """By its key."""
        return await self._session.get(ReplyRow, (self._account, reply))

    async def of_discussion(self, discussion: str) -> list[ReplyRow]:
        """All replies in a discussion, in the order they were written."""
        query = (
            select(ReplyRow)
            .where(ReplyRow.account == self._account, ReplyRow.discussion == discussion)
            .order_by(ReplyRow.written_at, ReplyRow.id)
        )
        return list(await self._session.scalars(query))

    async def in_state(self, *states: IntakeState) -> list[ReplyRow]:
        """All in these states, in the order they were seen."""
        query = (
            select(ReplyRow)
            .where(ReplyRow.account == self._account, ReplyRow.state.in_(states))
            .order_by(ReplyRow.seen_at, ReplyRow.id)
        )
        return list(await self._session.scalars(query))

    async def next_due(self) -> datetime | None:
        """When waiting for a better copy ends for the next reply."""
        query = select(func.min(ReplyRow.due_at)).where(
            ReplyRow.account == self._account, ReplyRow.state == IntakeState.GATHERING
        )
        return await self._session.scalar(query)

    def add(self, row: ReplyRow) -> None:
        """A reply seen for the first time."""
        self._session.add(row)

    async def copies(self, reply: str) -> list[CopyRow]:
        """All copies of a reply; those in a Sent folder first."""
        query = (
            select(CopyRow)
            .where(CopyRow.account == self._account, CopyRow.reply == reply)
            .order_by(CopyRow.in_sent.desc(), CopyRow.folder, CopyRow.uid)
        )
        return list(await self._session.scalars(query))

    async def copies_in(self, discussion: str, folder: str) -> list[CopyRow]:
        """Copies of a discussion's replies that lie in this folder."""
        query = (
            select(CopyRow)
            .join(ReplyRow, (ReplyRow.account == CopyRow.account) & (ReplyRow.id == CopyRow.reply))
            .where(
                CopyRow.account == self._account,
                ReplyRow.discussion == discussion,
                CopyRow.folder == folder,
            )
        )
        return list(await self._session.scalars(query))

    async def copy_known(self, folder: str, uidvalidity: int, uid: int) -> CopyRow | None:
        """The copy at this place, if it has been seen."""
        return await self._session.get(CopyRow, (self._account, folder, uidvalidity, uid))

    async def copies_by_mail(self, message_ids: Sequence[str]) -> list[CopyRow]:
        """Copies that carry one of these Message-IDs."""
        query = select(CopyRow).where(
            CopyRow.account == self._account, CopyRow.message_id.in_(message_ids)
        )
        return list(await self._session.scalars(query))

    async def copies_to_mark(self) -> list[CopyRow]:
        """Delivered copies of judged replies that were not marked read yet."""
        query = (
            select(CopyRow)
            .join(ReplyRow, (ReplyRow.account == CopyRow.account) & (ReplyRow.id == CopyRow.reply))
            .where(
                CopyRow.account == self._account,
                CopyRow.in_sent.is_(False),
                CopyRow.marked_read.is_(False),
                ReplyRow.state != IntakeState.GATHERING,
            )
            .order_by(CopyRow.folder, CopyRow.uidvalidity, CopyRow.uid)
        )
        return list(await self._session.scalars(query))

    async def copies_marked(self, rows: Sequence[CopyRow]) -> None:
        """These are marked read, or cannot be."""
        for row in rows:
            known = await self.copy_known(row.folder, row.uidvalidity, row.uid)
            if known is not None:
                known.marked_read = True

    async def add_copy(self, row: CopyRow) -> None:
        """A copy seen; seeing it again changes nothing."""
        if await self.copy_known(row.folder, row.uidvalidity, row.uid) is None:
            self._session.add(row)

    async def copy_moved(self, row: CopyRow, folder: str, uidvalidity: int, uid: int) -> None:
        """A copy lies elsewhere now."""
        await self._session.execute(
            delete(CopyRow).where(
                CopyRow.account == self._account,
                CopyRow.folder == row.folder,
                CopyRow.uidvalidity == row.uidvalidity,
                CopyRow.uid == row.uid,
            )
        )
        await self._session.merge(
            CopyRow(
                account=self._account,
                folder=folder,
                uidvalidity=uidvalidity,
                uid=uid,
                reply=row.reply,
                message_id=row.message_id,
                in_sent=row.in_sent,
                marked_read=row.marked_read,
            )
        )

    async def attachments(self, reply: str) -> list[AttachmentRow]:
        """The files of a reply, in their order."""
        query = (
            select(AttachmentRow)
            .where(AttachmentRow.account == self._account, AttachmentRow.reply == reply)
            .order_by(AttachmentRow.id)
        )
        return list(await self._session.scalars(query))

    async def keep_attachments(self, reply: str, rows: Sequence[AttachmentRow]) -> None:
        """Replace what is kept of a reply's files."""
        await self.drop_attachments(reply)
        self._session.add_all(rows)

    async def drop_attachments(self, reply: str) -> None:
        """Forget a reply's files."""
        await self._session.execute(
            delete(AttachmentRow).where(
                AttachmentRow.account == self._account, AttachmentRow.reply == reply
            )
        )

    async def forget_words(self, discussion: str) -> None:
        """Retention: clear what staff wrote, who they are, and files that nobody sent."""
        replies = select(ReplyRow.id).where(
            ReplyRow.account == self._account, ReplyRow.discussion == discussion
        )
        await self._session.execute(
            delete(AttachmentRow).where(
                AttachmentRow.account == self._account, AttachmentRow.reply.in_(replies)
            )
        )
        await self._session.execute(
            update(ReplyRow)
            .where(ReplyRow.account == self._account, ReplyRow.discussion == discussion)
            .values(
                text="",
                sender="",
                sender_name="",
                released_by="",
                facts="{}",
                findings="{}",
                commands="[]",
                outcome="[]",
            )
        )
