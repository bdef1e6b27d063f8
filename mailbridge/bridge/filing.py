"""Journal to mailbox: what is planned is filed, in batches, and threads move where they belong.

An APPEND cannot be repeated blindly: one whose answer was lost may be stored. So the journal
says `writing` before the first octet leaves, and what is found there afterwards (a crash, a lost
connection, a refused batch) is looked for in the mailbox by its Message-ID before anything is
written again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mailbridge.bridge.context import Context
from mailbridge.bridge.digests import Digests
from mailbridge.bridge.rendering import Files, Rendered, Renderer, RenderFault
from mailbridge.domain.digest import HOME as DIGEST
from mailbridge.domain.filing import MACHINE, FilingEvent, FilingState
from mailbridge.domain.intake import IntakeState
from mailbridge.journal.tables import DiscussionRow, FilingRow, ReplyRow
from mailbridge.journal.transaction import Transaction
from mailbridge.mail.port import MailboxRefused, MailboxSession, SpecialUse

__all__ = ["Filing", "FolderBusy", "whereabouts"]

_BATCH = 50
_POISON = 5
"""Tries after which one mail is set aside."""

_SEEN = "\\Seen"


class FolderBusy(Exception):
    """The server wants a pause or has no room: no mail's own fault; try all later.

    `seconds` is how long it asked for, None where it did not say.
    """

    def __init__(self, message: str, seconds: float | None = None):
        super().__init__(message)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class _Batch:
    """Mails for one folder, and the folder's UIDVALIDITY and UIDNEXT just before."""

    folder: str
    uidvalidity: int
    uidnext: int
    mails: Sequence[Rendered]


class Filing:
    """Files planned mails and moves threads, over one session at a time."""

    def __init__(self, ctx: Context, digests: Digests) -> None:
        self._ctx = ctx
        self._digests = digests
        self._renderer = Renderer(ctx)
        # What one run is writing must not look like an interrupted one's to a back-fill beside it.
        self._alone = asyncio.Lock()

    async def run(self, session: MailboxSession) -> int:
        """Do all that is due; the number of mails filed.

        Raises MailboxLost (what was under way is settled by the next run), FolderBusy.
        """
        async with self._alone:
            await self.settle_doubts(session)
            filed = 0
            while batch := await self._due():
                filed += await self._file(session, batch)
            await self.move_threads(session)
            return filed

    async def some(self, session: MailboxSession) -> int:
        """One batch of what is due, for back-fills that show their progress; 0 at the end."""
        async with self._alone:
            await self.settle_doubts(session)
            batch = await self._due()
            return await self._file(session, batch) if batch else 0

    async def settle_doubts(self, session: MailboxSession) -> None:
        """Look for every mail that was being written when we last knew."""
        ctx = self._ctx
        async with ctx.read() as tx:
            doubtful = await tx.filings.in_state(FilingState.WRITING)
        if not doubtful:
            return
        found = await self._look_for(session, doubtful)
        async with ctx.write() as tx:
            for row in await tx.filings.by_ids([r.id for r in doubtful]):
                if row.state == FilingState.WRITING:
                    self._settle(tx, row, found.get(row.message_id))
        ctx.log.info("filing resumed", found=len(found), again=len(doubtful) - len(found))

    async def _look_for(
        self, session: MailboxSession, rows: Sequence[FilingRow]
    ) -> dict[str, tuple[str, int, int]]:
        """Message-ID -> (folder, UIDVALIDITY, UID), wherever an agent may have put it since."""
        layout = self._ctx.config.mailbox
        found: dict[str, tuple[str, int, int]] = {}
        by_folder: dict[tuple[str, int | None], list[FilingRow]] = defaultdict(list)
        for row in rows:
            by_folder[row.folder or layout.folder, row.uidvalidity].append(row)
        for (folder, uidvalidity), group in by_folder.items():
            state = await session.state(folder)
            first = 1
            if state.uidvalidity == uidvalidity:
                # Nothing of ours can lie below the UIDNEXT noted before the batch.
                first = min(row.uid or 1 for row in group)
            uids = await session.find(folder, [r.message_id for r in group], from_uid=first)
            found |= {mid: (folder, state.uidvalidity, uid) for mid, uid in uids.items()}
        missing = [r.message_id for r in rows if r.message_id not in found]
        for folder in await self._places(session):
            if not missing:
                break
            uids = await session.find(folder, missing)
            if uids:
                state = await session.state(folder)
                found |= {mid: (folder, state.uidvalidity, uid) for mid, uid in uids.items()}
                missing = [m for m in missing if m not in uids]
        return found

    async def _places(self, session: MailboxSession) -> list[str]:
        layout = self._ctx.config.mailbox
        folders = await session.folders()
        there = {f.name for f in folders}
        trash = layout.trash_folder or next(
            (f.name for f in folders if f.use is SpecialUse.TRASH), None
        )
        places = [layout.folder, layout.closed_folder, *([trash] if trash else [])]
        return [p for p in dict.fromkeys(places) if p in there]

    def _settle(self, tx: Transaction, row: FilingRow, place: tuple[str, int, int] | None) -> None:
        if place is None:
            self._move(tx, row, FilingEvent.ABSENT)
            return
        row.folder, row.uidvalidity, row.uid = place
        row.filed_at = tx.now
        self._move(tx, row, FilingEvent.FOUND)

    @staticmethod
    def _move(tx: Transaction, row: FilingRow, event: FilingEvent, detail: str = "") -> None:
        tx.move(row, MACHINE, event, discussion=row.discussion, subject=row.key, detail=detail)

    async def _due(self) -> list[FilingRow]:
        async with self._ctx.read() as tx:
            rows = await tx.filings.due(_BATCH)
        # A mail that failed before goes alone, so that it cannot take others down with it.
        if rows and rows[0].attempts:
            return rows[:1]
        return [r for r in rows if not r.attempts]

    async def _file(self, session: MailboxSession, rows: Sequence[FilingRow]) -> int:
        # A journal restored from a backup may not know of today's digest: it costs one look a day.
        again = [r for r in rows if r.attempts or r.discussion == DIGEST]
        if again:
            found = await self._look_for(session, again)
            if found:
                async with self._ctx.write() as tx:
                    for row in await tx.filings.by_ids([r.id for r in again]):
                        if row.message_id in found:
                            self._settle(tx, row, found[row.message_id])
                rows = [r for r in rows if r.message_id not in found]
        by_folder: dict[str, list[FilingRow]] = defaultdict(list)
        async with self._ctx.read() as tx:
            threads = await tx.discussions.many({r.discussion for r in rows})
        files = await self._renderer.fetch_files(rows)
        waiting = [r for r in rows if self._ctx.marketplace.messaging and r.id not in files]
        if waiting:
            await self._put_off(waiting)
        for row in rows:
            # One that is gone was joined to its discussion since: its mails come next.
            if row.discussion == DIGEST:
                by_folder[self._ctx.config.mailbox.folder].append(row)
            elif row not in waiting and row.discussion in threads:
                by_folder[threads[row.discussion].wanted_folder].append(row)
        filed = 0
        for folder, group in by_folder.items():
            await session.ensure_folder(folder)
            state = await session.state(folder)
            mails = await self._begin(folder, state.uidvalidity, state.uidnext, group, files)
            if mails:
                batch = _Batch(folder, state.uidvalidity, state.uidnext, mails)
                filed += await self._append(session, batch)
        return filed

    async def _begin(
        self,
        folder: str,
        uidvalidity: int,
        uidnext: int,
        rows: Sequence[FilingRow],
        files: Files,
    ) -> list[Rendered]:
        """Put the mails into words and say in the journal that they are about to be written."""
        ctx = self._ctx
        mails: list[Rendered] = []
        async with ctx.write() as tx:
            planned = await tx.filings.by_ids([r.id for r in rows])
            gathered = await self._renderer.gather(tx, planned, files)
            for row in planned:
                if row.discussion == DIGEST:
                    rendered = await self._digests.render(tx, row)
                else:
                    rendered = await self._renderer.render(tx, row, gathered)
                if rendered is None:
                    continue
                if isinstance(rendered, RenderFault):
                    self._failed(tx, row, rendered.words)
                    continue
                row.folder, row.uidvalidity, row.uid = folder, uidvalidity, uidnext
                row.date, row.internal_date = rendered.date, rendered.mail.internal_date
                self._move(tx, row, FilingEvent.BEGIN)
                mails.append(rendered)
        return mails

    async def _put_off(self, rows: Sequence[FilingRow]) -> None:
        """Their files cannot be had now; the words wait a little for them."""
        async with self._ctx.write() as tx:
            for row in await tx.filings.by_ids([r.id for r in rows]):
                row.due_at = tx.now + timedelta(minutes=2)

    async def _append(self, session: MailboxSession, batch: _Batch) -> int:
        ctx = self._ctx
        try:
            uids = await session.append(batch.folder, [m.mail for m in batch.mails])
        except MailboxRefused as error:
            await self._refused(session, batch, error)
            return 0
        async with ctx.write() as tx:
            rows = {r.id: r for r in await tx.filings.by_ids([m.row for m in batch.mails])}
            for rendered, uid in zip(batch.mails, uids, strict=True):
                row = rows[rendered.row]
                row.uid, row.uidvalidity, row.filed_at = uid, batch.uidvalidity, tx.now
                self._move(tx, row, FilingEvent.STORED)
        ctx.log.info("mails filed", count=len(batch.mails), folder=batch.folder)
        return len(batch.mails)

    async def _refused(self, session: MailboxSession, batch: _Batch, error: MailboxRefused) -> None:
        """A refused batch may be stored in part: look, then count a try against the rest."""
        ctx = self._ctx
        async with ctx.read() as tx:
            rows = await tx.filings.by_ids([m.row for m in batch.mails])
        found = await self._look_for(session, rows)
        general = error.retry_after is not None or error.code in ("OVERQUOTA", "UNAVAILABLE")
        async with ctx.write() as tx:
            for row in await tx.filings.by_ids([r.id for r in rows]):
                if row.message_id in found:
                    self._settle(tx, row, found[row.message_id])
                    continue
                self._move(tx, row, FilingEvent.REFUSED, str(error))
                if not general:
                    self._failed(tx, row, str(error))
        if general:
            raise FolderBusy(str(error), error.retry_after)

    def _failed(self, tx: Transaction, row: FilingRow, words: str) -> None:
        """Count a try; set the mail aside after too many, so that it stops nobody else."""
        row.attempts += 1
        row.error = words[:300]
        row.due_at = tx.now + timedelta(seconds=15 * 4 ** min(row.attempts, 5))
        if row.attempts >= _POISON:
            self._move(tx, row, FilingEvent.SET_ASIDE, words)
            self._ctx.log.error(
                "mail set aside after several tries", discussion=row.discussion, error=words
            )

    async def next_due(self) -> datetime | None:
        """When the next planned mail is due."""
        async with self._ctx.read() as tx:
            return await tx.filings.next_due()

    async def move_threads(self, session: MailboxSession) -> None:
        """Move whole threads to the folder they belong in, and mark the outdated read.

        Both are safe to repeat: a mail that is no longer where it was is simply not moved, and
        one that has arrived already is not copied there again.
        """
        ctx = self._ctx
        async with ctx.read() as tx:
            threads = await tx.discussions.to_move()
            unread = await tx.discussions.to_mark_read()
        for thread in threads:
            await self._move_thread(session, thread)
        for thread in unread:
            async with ctx.read() as tx:
                mails = await tx.filings.filed(thread.id)
            for folder, uids in (await whereabouts(session, mails)).items():
                await session.add_flags(folder, sorted(uids.values()), [_SEEN])
            async with ctx.write() as tx:
                row = await tx.discussions.get(thread.id)
                if row is not None:
                    row.mark_read = False

    async def _move_thread(self, session: MailboxSession, thread: DiscussionRow) -> None:
        ctx = self._ctx
        source, target = thread.folder, thread.wanted_folder
        async with ctx.read() as tx:
            mails = [m for m in await tx.filings.filed(thread.id) if m.folder == source]
            copies = await tx.replies.copies_in(thread.id, source)
            replies = await tx.replies.of_discussion(thread.id)
        await session.ensure_folder(target)
        places = (await whereabouts(session, mails)).get(source, {})
        # Clients that write their flags late (NeoMutt does when it leaves the folder) would come
        # after the move: what an agent answered, an agent has read.
        answered = _answered(mails, replies)
        if known := sorted(places[m.id] for m in answered if m.id in places):
            await session.add_flags(source, known, [_SEEN])
        state = await session.state(source)
        copies = [c for c in copies if c.uidvalidity == state.uidvalidity and not c.in_sent]
        # A move that was cut off may have left mails in both folders: ours are finished here,
        # and what staff wrote is theirs to tidy.
        wanted = [m.message_id for m in mails] + [c.message_id for c in copies]
        already = await _alive(session, target, wanted)
        done = {places[m.id] for m in mails if m.id in places and m.message_id in already}
        uids = {c.uid for c in copies if c.message_id not in already}
        uids |= set(places.values()) - done
        if done:
            await session.discard(source, sorted(done))
        if uids:
            await session.move(source, sorted(uids), target)
        there = (await session.state(target)).uidvalidity
        moved = await session.find(target, [c.message_id for c in copies if c.message_id])
        async with ctx.write() as tx:
            for copy in copies:
                if copy.message_id in moved:
                    await tx.replies.copy_moved(copy, target, there, moved[copy.message_id])
            row = await tx.discussions.get(thread.id)
            if row is not None:
                row.folder = target
            for mail in await tx.filings.by_ids([m.id for m in mails]):
                mail.folder, mail.uid, mail.uidvalidity = target, None, None
            tx.note("thread moved", discussion=thread.id, subject=target)
        ctx.log.info("thread moved", discussion=thread.short, folder=target, mails=len(uids))


def _answered(mails: Sequence[FilingRow], replies: Iterable[ReplyRow]) -> list[FilingRow]:
    """Those that replies answer, and the discussion's messages that came before them."""
    answers = {r.answers for r in replies if r.state in (IntakeState.ACCEPTED, IntakeState.SETTLED)}
    last = max((m.id for m in mails if m.message_id in answers), default=0)
    return [
        m
        for m in mails
        if m.message_id in answers or (m.id < last and m.key.startswith("message:"))
    ]


async def _alive(session: MailboxSession, folder: str, message_ids: Sequence[str]) -> set[str]:
    """Which of these mails lie in the folder, those marked \\Deleted left out."""
    found = await session.find(folder, [i for i in message_ids if i])
    if not found:
        return set()
    uids = set(await session.uids(folder, from_uid=min(found.values())))
    return {message_id for message_id, uid in found.items() if uid in uids}


async def whereabouts(
    session: MailboxSession, mails: Iterable[FilingRow]
) -> dict[str, dict[int, int]]:
    """Folder -> number of the filing -> UID as it is now; bound anew by Message-ID where
    UIDVALIDITY moved. A mail that is not where we left it is left out then."""
    by_folder: dict[str, list[FilingRow]] = defaultdict(list)
    for mail in mails:
        if mail.folder:
            by_folder[mail.folder].append(mail)
    places: dict[str, dict[int, int]] = {}
    for folder, group in by_folder.items():
        state = await session.state(folder)
        uids = {
            m.id: m.uid for m in group if m.uid is not None and m.uidvalidity == state.uidvalidity
        }
        unsure = [m for m in group if m.id not in uids]
        if unsure:
            found = await session.find(folder, [m.message_id for m in unsure])
            uids |= {m.id: found[m.message_id] for m in unsure if m.message_id in found}
        places[folder] = uids
    return places
