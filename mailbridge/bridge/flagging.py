"""The flag on mails whose answer is due soon or late, and never an agent's own.

What is to be flagged is computed anew each time; what is flagged is remembered. A flag is ours
from the moment the journal says that we go to set it, having seen that it was not there; one that
was there before us, or a mail that is no longer where we put it, is left alone, and one that an
agent took off is not put on again. Setting and clearing are safe to repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from mailbridge.bridge.context import Context
from mailbridge.bridge.deadlines import waits
from mailbridge.bridge.filing import whereabouts
from mailbridge.domain.deadline import Urgency
from mailbridge.journal.tables import FlagRow
from mailbridge.journal.transaction import Transaction
from mailbridge.mail.port import MailboxRefused, MailboxSession

__all__ = ["Flagging"]

_SYSTEM_FLAG = "flagged"
_PAUSE = timedelta(hours=1)
"""How long a mailbox that refuses the flag is not asked again."""


class Flagging:
    """Flags what is due, over one session at a time."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._refused_until: datetime | None = None

    async def run(self, session: MailboxSession) -> None:
        """Bring the flags in line with the clock. Raises MailboxLost; the next run goes on."""
        now = self._ctx.clock()
        if self._refused_until is not None and now < self._refused_until:
            return
        await self._decide()
        async with self._ctx.read() as tx:
            rows = await tx.waiting.flags()
        setting = [r for r in rows if r.wanted and r.settled_at is None]
        clearing = [r for r in rows if not r.wanted]
        try:
            if setting:
                await self._set(session, setting)
            if clearing:
                await self._clear(session, clearing)
        except MailboxRefused as error:
            # Not every server takes keywords (RFC 3501 7.1, PERMANENTFLAGS).
            self._refused_until = now + _PAUSE
            self._ctx.log.warning("the mailbox refuses the flag for answers due", error=str(error))

    async def _decide(self) -> None:
        """Write down which mails are to bear the flag now."""
        ctx = self._ctx
        name = ctx.config.clock.flag
        async with ctx.read() as tx:
            near = [] if not name else await self._near(tx)
            mails = await tx.waiting.newest_mails(near)
            known = {row.filing: row for row in await tx.waiting.flags()}
        wanted = {filing: discussion for discussion, filing in mails.items()}
        new = [filing for filing in wanted if filing not in known]
        turned = [
            row.filing
            for row in known.values()
            if row.wanted != (row.filing in wanted and row.name == name)
        ]
        if not new and not turned:
            return
        async with ctx.write() as tx:
            for filing in turned:
                row = await tx.waiting.flag(filing)
                if row is not None:
                    row.wanted = not row.wanted
                    what = "flag wanted" if row.wanted else "flag begin to clear"
                    tx.note(what, discussion=row.discussion, subject=str(filing))
            for filing in new:
                tx.waiting.add_flag(
                    FlagRow(
                        account=ctx.name,
                        filing=filing,
                        discussion=wanted[filing],
                        name=name,
                        wanted=True,
                    )
                )

    async def _near(self, tx: Transaction) -> list[str]:
        everybody = await waits(self._ctx, tx)
        return [w.discussion for w in everybody.values() if w.urgency is not Urgency.LATER]

    async def _set(self, session: MailboxSession, rows: Sequence[FlagRow]) -> None:
        ctx = self._ctx
        async with ctx.read() as tx:
            mails = await tx.filings.by_ids([r.filing for r in rows])
        places = await whereabouts(session, mails)
        names = {r.filing: _flag(r.name) for r in rows}
        asked = {r.filing for r in rows if r.asked_at is not None}
        there: set[int] = set()
        for folder, uids in places.items():
            there |= uids.keys()
            by_uid = {uid: filing for filing, uid in uids.items() if filing not in asked}
            for mail in await session.headers(folder, sorted(by_uid)):
                filing = by_uid[mail.uid]
                if names[filing].lower() not in {f.lower() for f in mail.flags}:
                    asked.add(filing)
        async with ctx.write() as tx:
            for row in rows:
                found = await tx.waiting.flag(row.filing)
                if found is not None and row.filing in asked and found.asked_at is None:
                    found.asked_at = tx.now
                    tx.note("flag begin", discussion=row.discussion, subject=str(row.filing))
        for folder, uids in places.items():
            for name in sorted(set(names.values())):
                ours = [uid for f, uid in uids.items() if f in asked and names[f] == name]
                if ours:
                    await session.add_flags(folder, sorted(ours), [name])
        async with ctx.write() as tx:
            for row in rows:
                found = await tx.waiting.flag(row.filing)
                if found is not None:
                    found.settled_at = tx.now
                    how = "set" if row.filing in asked & there else "left alone"
                    tx.note(
                        "flag settled",
                        discussion=row.discussion,
                        subject=str(row.filing),
                        detail=how,
                    )
        ctx.log.info("answers due flagged", mails=len(asked & there))

    async def _clear(self, session: MailboxSession, rows: Sequence[FlagRow]) -> None:
        ctx = self._ctx
        ours = {r.filing: _flag(r.name) for r in rows if r.asked_at is not None}
        async with ctx.read() as tx:
            mails = await tx.filings.by_ids(list(ours))
        for folder, uids in (await whereabouts(session, mails)).items():
            for name in sorted(set(ours.values())):
                group = [uid for filing, uid in uids.items() if ours[filing] == name]
                if group:
                    await session.remove_flags(folder, sorted(group), [name])
        async with ctx.write() as tx:
            for row in rows:
                found = await tx.waiting.flag(row.filing)
                # It may be wanted again by now: then it is set again.
                if found is not None:
                    await tx.waiting.drop_flag(found)
                    tx.note("flag gone", discussion=row.discussion, subject=str(row.filing))


def _flag(name: str) -> str:
    return "\\Flagged" if name.lower() == _SYSTEM_FLAG else name
