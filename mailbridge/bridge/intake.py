"""Mailbox to journal: the folders are read, and what lies there new is told apart.

That is: replies of staff, bounces, our own mails in Sent, threads that an agent moved, probes.
A chunk of mails is read first, then written down in one transaction (`keeping`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from mailbridge.bridge.context import Context
from mailbridge.bridge.judging import Judging
from mailbridge.bridge.keeping import Batch, Found, Keeping, Watched
from mailbridge.bridge.opening import Openings
from mailbridge.bridge.probe import PROBE_SHORT
from mailbridge.bridge.reading import Reader
from mailbridge.domain.identity import NameKind
from mailbridge.domain.routing import (
    Elsewhere,
    Envelope,
    Faulty,
    First,
    NotOurs,
    ReplyTo,
    route,
)
from mailbridge.journal.transaction import Transaction
from mailbridge.mail.automatic import Bounce, bounce
from mailbridge.mail.incoming import IncomingMail, UnreadableMail, read_headers, read_mail
from mailbridge.mail.port import Fetched, MailboxRefused, MailboxSession, SpecialUse

__all__ = ["Intake"]

_CHUNK = 100


class Intake:
    """Reads the watched folders of one account."""

    def __init__(self, ctx: Context, judging: Judging) -> None:
        self._ctx = ctx
        self._keeping = Keeping(ctx, judging)
        self._reader = Reader(ctx)
        self._openings = Openings(ctx)

    async def watched(self, session: MailboxSession) -> list[Watched]:
        """The inbox, the Sent folders, and the closed folder where moving closes."""
        layout = self._ctx.config.mailbox
        folders = await session.folders()
        there = {f.name for f in folders}
        named = [n for n in layout.sent_folders if n in there]
        missing = set(layout.sent_folders) - there
        if missing:
            self._ctx.log.warning("configured Sent folders are not there", folders=sorted(missing))
        sent = named or [f.name for f in folders if f.use is SpecialUse.SENT]
        watched = [Watched(layout.folder, False), *(Watched(n, True) for n in sent)]
        if "INBOX" not in (layout.folder, *sent):
            watched.append(Watched("INBOX", False))
        if layout.close_by_move:
            await session.ensure_folder(layout.closed_folder)
            watched.append(Watched(layout.closed_folder, False, is_closed=True))
        return watched

    async def scan(self, session: MailboxSession, watched: Watched) -> int:
        """Read what is new in a folder; the number of replies found.

        At the first look at a folder (a first start, a lost journal, a new UIDVALIDITY) nothing
        that already lies there is obeyed: replies of the last days are kept for one decision.
        """
        ctx = self._ctx
        state = await session.state(watched.name)
        async with ctx.read() as tx:
            known = await tx.folders.get(watched.name)
        first_look = known is None or known.uidvalidity != state.uidvalidity
        if first_look:
            since = ctx.clock() - ctx.config.replies.max_age
            uids = list(await session.uids_since(watched.name, since))
            uids = [u for u in uids if u < state.uidnext]
        elif known is not None and known.next_uid < state.uidnext:
            uids = list(await session.uids(watched.name, from_uid=known.next_uid))
        else:
            return 0
        found = 0
        for start in range(0, len(uids), _CHUNK):
            chunk = uids[start : start + _CHUNK]
            batch = await self._look(session, watched, state.uidvalidity, chunk, first_look)
            last = start + _CHUNK >= len(uids)
            next_uid = max(state.uidnext, uids[-1] + 1) if last else chunk[-1] + 1
            await self._keeping.keep(
                watched, state.uidvalidity, next_uid, batch, moving_on=not first_look
            )
            found += len(batch.replies)
        if first_look or not uids:
            async with ctx.write() as tx:
                await tx.folders.read_to(watched.name, state.uidvalidity, state.uidnext)
        return found

    async def _look(
        self,
        session: MailboxSession,
        watched: Watched,
        uidvalidity: int,
        uids: Sequence[int],
        lay_there: bool,
    ) -> Batch:
        batch = Batch()
        for fetched in await session.headers(watched.name, uids):
            try:
                await self._consider(session, watched, uidvalidity, fetched, lay_there, batch)
            except UnreadableMail as error:
                # Not even its headers can be read: it cannot be known to be ours.
                self._ctx.log.warning(
                    "mail skipped: its headers cannot be read",
                    folder=watched.name,
                    uid=fetched.uid,
                    what=error.what,
                )
        return batch

    async def _consider(
        self,
        session: MailboxSession,
        watched: Watched,
        uidvalidity: int,
        fetched: Fetched,
        lay_there: bool,
        batch: Batch,
    ) -> None:
        ctx = self._ctx
        try:
            head = read_headers(fetched.data)
        except UnreadableMail as error:
            if error.head is None:
                raise
            head = error.head  # reading it whole will say the same, and hold it in its thread
        message_id = head.message_id or ""
        name = ctx.identity.read(message_id)
        if name is not None or ctx.identity.looks_ours(message_id):
            if watched.is_closed and name is not None and name.kind is NameKind.MESSAGE:
                batch.moved.append(message_id)
            return
        if watched.is_closed:
            return
        async with ctx.read() as tx:
            ours = await tx.deliveries.by_mail(message_id)
            known = await self._known_ids(tx, head)
        if ours is not None:
            if watched.is_sent:
                batch.submitted.append(message_id)
            return
        told = await self._bounce(session, watched, fetched) if _maybe_bounce(head) else None
        if told is not None:
            batch.bounces.append(told)
            return
        where = route(_envelope(head), ctx.addresses, ctx.identity, known)
        match where:
            case NotOurs():
                return
            case Elsewhere():
                ctx.log.debug("mail of a thread goes elsewhere; left alone", folder=watched.name)
                return
            case First():
                await self._first(
                    session, watched, uidvalidity, fetched, lay_there, batch, head, where
                )
            case ReplyTo() | Faulty():
                await self._found(
                    session, watched, uidvalidity, fetched, lay_there, batch, head, where
                )

    async def _found(
        self,
        session: MailboxSession,
        watched: Watched,
        uidvalidity: int,
        fetched: Fetched,
        lay_there: bool,
        batch: Batch,
        head: IncomingMail,
        where: ReplyTo | Faulty,
    ) -> None:
        ctx = self._ctx
        if where.short == PROBE_SHORT:
            proven, words = self._reader.origin(head, watched.is_sent)
            batch.probes.append((watched, head, words if proven else ""))
            return
        async with ctx.read() as tx:
            discussion = await tx.discussions.by_short(where.short)
        if discussion is None:
            ctx.log.warning("reply for a discussion that is not in the journal", short=where.short)
            return
        findings = await self._reader.read(
            session, watched.name, watched.is_sent, fetched, head, discussion
        )
        answers = where.answers if isinstance(where, ReplyTo) else ""
        if isinstance(where, Faulty):
            findings = replace(findings, routed=(where.reason, dict(where.facts)))
        short = discussion.short
        batch.replies.append(
            Found(
                watched, uidvalidity, fetched.uid, short, short, answers, head, findings, lay_there
            )
        )

    async def _first(
        self,
        session: MailboxSession,
        watched: Watched,
        uidvalidity: int,
        fetched: Fetched,
        lay_there: bool,
        batch: Batch,
        head: IncomingMail,
        where: First,
    ) -> None:
        """A mail that answers nothing: a reply in the thread of the order it names, if any."""
        proven, _ = self._reader.origin(head, watched.is_sent)
        opens = await self._openings.look(
            session, watched.name, fetched, head, where, proven=proven
        )
        if opens is None:
            return
        findings = await self._reader.read(
            session, watched.name, watched.is_sent, fetched, head, opens.discussion, opens
        )
        if opens.fault is not None:
            findings = replace(findings, routed=opens.fault)
        short = opens.discussion.short
        batch.replies.append(
            Found(
                watched, uidvalidity, fetched.uid, short, opens.key, "", head, findings, lay_there
            )
        )

    async def _known_ids(self, tx: Transaction, head: IncomingMail) -> dict[str, str]:
        """Message-IDs this mail answers that are no keyed ones of ours, but stand in a thread."""
        ids = [
            i
            for i in dict.fromkeys((*head.in_reply_to, *head.references[-20:]))
            if self._ctx.identity.read(i) is None
        ]
        known: dict[str, str] = {}
        discussions: dict[str, str] = {}
        for copy in await tx.replies.copies_by_mail(ids) if ids else ():
            reply = await tx.replies.get(copy.reply) if copy.reply else None
            if reply is not None:
                discussions[copy.message_id] = reply.discussion
        for message_id in ids:
            if self._ctx.identity.looks_ours(message_id):
                filing = await tx.filings.by_mail(message_id)
                if filing is not None:
                    discussions[message_id] = filing.discussion
        rows = await tx.discussions.many(set(discussions.values()))
        for message_id, discussion in discussions.items():
            if discussion in rows:
                known[message_id] = rows[discussion].short
        return known

    async def _bounce(
        self, session: MailboxSession, watched: Watched, fetched: Fetched
    ) -> Bounce | None:
        whole = await session.fetch(
            watched.name, fetched.uid, limit=self._ctx.config.replies.max_mail_bytes
        )
        if whole is None:
            return None
        try:
            return bounce(read_mail(whole.data))
        except UnreadableMail:
            return None

    async def mark_read(self, session: MailboxSession) -> None:
        """Mark delivered copies of judged replies read; safe to repeat.

        Of a reply that was done nobody has to hear, and of a held one the notice is the news: two
        unread mails about one thing would look like two things.
        """
        async with self._ctx.read() as tx:
            places = groupby(await tx.replies.copies_to_mark(), lambda c: (c.folder, c.uidvalidity))
            copies = {place: list(group) for place, group in places}
        for (folder, uidvalidity), group in copies.items():
            try:
                if (await session.state(folder)).uidvalidity == uidvalidity:
                    await session.add_flags(folder, [c.uid for c in group], ["\\Seen"])
            except MailboxRefused as error:
                # A folder that is gone, or read-only: not worth asking for ever.
                self._ctx.log.warning("copies not marked read", folder=folder, code=error.code)
            async with self._ctx.write() as tx:
                await tx.replies.copies_marked(group)


def _envelope(head: IncomingMail) -> Envelope:
    return Envelope(
        sender=head.from_.address,
        recipients=tuple(a.address for a in (*head.to, *head.cc, *head.bcc)),
        in_reply_to=head.in_reply_to,
        references=head.references,
    )


def _maybe_bounce(head: IncomingMail) -> bool:
    """Worth reading whole as a bounce: a report, or from whom bounces come (RFC 3834 2)."""
    local = head.from_.address.lower().partition("@")[0]
    return (
        head.content_type == "multipart/report"
        or local in ("mailer-daemon", "postmaster")
        or (head.header("Return-Path") or "").strip() == "<>"
    )
