"""Taking over what already lies in the mailbox: a lost journal is rebuilt from our own mails.

Runs once for each account and journal, before anything is filed. Without it a lost journal would
file every message a second time. A mail counts as ours when its keyed Message-ID verifies, or
(the key is lost as well) when it has our form and was never delivered: what is filed by APPEND
carries no trace of a delivery, and what an outsider sends always does.
"""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message as ParsedMail

from mailbridge.bridge.acknowledging import ACKNOWLEDGED, NOT_ACKNOWLEDGED
from mailbridge.bridge.context import Context
from mailbridge.bridge.probe import PROBE_SHORT
from mailbridge.domain.delivery import DeliveryState
from mailbridge.domain.digest import HOME as DIGEST
from mailbridge.domain.discussion import Status
from mailbridge.domain.filing import FilingState
from mailbridge.domain.identity import short_id
from mailbridge.domain.notice import DoneKind
from mailbridge.domain.opening import is_opening
from mailbridge.journal.tables import DeliveryRow, DiscussionRow, FilingRow, MessageRow
from mailbridge.journal.transaction import Transaction
from mailbridge.mail.fields import decode_field, parse_date
from mailbridge.mail.headers import MailMarks, read_marks
from mailbridge.mail.port import Fetched, MailboxSession, SpecialUse

__all__ = ["adopt"]

_CHUNK = 200
_SENT = ("receipt:", "first:", ACKNOWLEDGED)
"""Notices that show what went to the customer, by their keys."""

_DELIVERED = ("Received", "Return-Path", "Delivered-To", "X-Original-To")


async def adopt(ctx: Context, session: MailboxSession) -> int:
    """Read our own mails back into a fresh journal; how many there were. Safe to repeat.

    A journal restored from a backup counts as fresh too: the mailbox knows more than it does.
    """
    async with ctx.read() as tx:
        adopted = (await tx.account()).adopted_at is not None
    if adopted:
        if not await _is_behind(ctx, session):
            return 0
        ctx.log.warning("the journal is older than the mailbox; taking over what lies there")
        async with ctx.write() as tx:
            (await tx.account()).adopted_at = None
            # Folders are looked at anew: nothing that already lies in them is obeyed.
            await tx.folders.forget()
            tx.note("journal found older than the mailbox")
    layout = ctx.config.mailbox
    folders = await session.folders()
    there = {f.name for f in folders}
    trash = layout.trash_folder or next(
        (f.name for f in folders if f.use is SpecialUse.TRASH), None
    )
    count = 0
    for folder in dict.fromkeys((layout.folder, layout.closed_folder, trash)):
        if folder is not None and folder in there:
            count += await _adopt_folder(ctx, session, folder)
    async with ctx.write() as tx:
        (await tx.account()).adopted_at = tx.now
        tx.note("mailbox adopted", detail=f"{count} mails")
    if count:
        ctx.log.info("threads of an earlier journal taken over", mails=count)
    return count


async def _is_behind(ctx: Context, session: MailboxSession) -> bool:
    """Whether a mail of ours lies in the mailbox that the journal never meant to file.

    Every mail is in the journal before it is written, so this can only be a restored one.
    """
    layout = ctx.config.mailbox
    there = {f.name for f in await session.folders()}
    for folder in dict.fromkeys((layout.folder, layout.closed_folder)):
        if folder not in there:
            continue
        state = await session.state(folder)
        async with ctx.read() as tx:
            known_to = await tx.filings.highest_uid(folder, state.uidvalidity)
        uids = await session.find_header(folder, "X-Mailbridge-Account", from_uid=known_to + 1)
        for start in range(0, len(uids), _CHUNK):
            for fetched in await session.headers(folder, uids[start : start + _CHUNK]):
                message_id = str(message_from_bytes(fetched.data).get("Message-ID", "")).strip()
                name = ctx.identity.read(message_id)
                if name is None or name.short == PROBE_SHORT:
                    continue
                async with ctx.read() as tx:
                    if await tx.filings.by_mail(message_id) is None:
                        return True
    return False


async def _adopt_folder(ctx: Context, session: MailboxSession, folder: str) -> int:
    uids = list(await session.find_header(folder, "X-Mailbridge-Account"))
    state = await session.state(folder)
    count = 0
    for start in range(0, len(uids), _CHUNK):
        fetched = await session.headers(folder, uids[start : start + _CHUNK])
        async with ctx.write() as tx:
            for mail in fetched:
                count += await _adopt_mail(ctx, tx, folder, state.uidvalidity, mail)
    return count


async def _adopt_mail(
    ctx: Context, tx: Transaction, folder: str, uidvalidity: int, fetched: Fetched
) -> bool:
    mail = message_from_bytes(fetched.data)
    marks = read_marks(mail)
    message_id = str(mail.get("Message-ID", "")).strip()
    if marks is None or marks.account != ctx.name or not _ours(ctx, mail, message_id):
        return False
    key = f"message:{marks.message}" if marks.message else marks.notice
    if not key:
        return False
    if marks.discussion == DIGEST:
        if await tx.filings.get(DIGEST, key) is not None:
            return False
        tx.filings.add(_filed(ctx, tx, DIGEST, key, mail, (folder, uidvalidity), fetched))
        await tx.flush()
        return True
    # The short id is the thread's for good; its discussion's may have come later.
    short = ctx.identity.short_in(message_id) or short_id(marks.reference, ctx.prefix)
    discussion = await tx.discussions.by_short(short)
    if discussion is None:
        discussion = _discussion(ctx, marks, folder, short, str(mail.get("Subject", "")))
        tx.discussions.add(discussion)
        await tx.flush()
    elif is_opening(discussion.id) and not is_opening(marks.discussion):
        await tx.discussions.rename(discussion, marks.discussion)
        discussion.reference, discussion.settled_at = marks.reference, None
    if await tx.filings.get(discussion.id, key) is not None:
        return False
    date = parse_date(str(mail.get("Date", "")))
    if date is not None:
        discussion.last_date = max(filter(None, (discussion.last_date, date)))
    if discussion.first_message_id is None:
        root = str(mail.get("In-Reply-To", "")).strip()
        discussion.first_message_id = root or message_id
    if marks.message and await tx.discussions.message(discussion.id, marks.message) is None:
        tx.discussions.add_message(_message(ctx, marks, tx, discussion.id))
    tx.filings.add(_filed(ctx, tx, discussion.id, key, mail, (folder, uidvalidity), fetched))
    if marks.notice.startswith((ACKNOWLEDGED, NOT_ACKNOWLEDGED)):
        await tx.acknowledgements.sent_before(discussion.id)
    if marks.notice.startswith(_SENT) and marks.text_hash:
        sent = f"adopted:{marks.notice.partition(':')[2]}"[:64]
        if not await tx.deliveries.of_reply(sent):
            tx.deliveries.add(_dispatched(ctx, marks, tx, discussion.id, sent))
    await tx.flush()
    return True


def _filed(
    ctx: Context,
    tx: Transaction,
    discussion: str,
    key: str,
    mail: ParsedMail,
    place: tuple[str, int],
    fetched: Fetched,
) -> FilingRow:
    """A mail that lies in `place` (folder and UIDVALIDITY)."""
    folder, uidvalidity = place
    return FilingRow(
        account=ctx.name,
        discussion=discussion,
        key=key,
        message_id=str(mail.get("Message-ID", "")).strip(),
        state=FilingState.FILED,
        notice=None if key.startswith("message:") else "",
        unread=False,
        backfill=True,
        date=parse_date(str(mail.get("Date", ""))),
        internal_date=fetched.internal_date,
        folder=folder,
        uidvalidity=uidvalidity,
        uid=fetched.uid,
        due_at=tx.now,
        created_at=tx.now,
        filed_at=tx.now,
    )


def _dispatched(
    ctx: Context, marks: MailMarks, tx: Transaction, discussion: str, reply: str
) -> DeliveryRow:
    """An answer an earlier journal sent: it waits for nothing any more, and the discussion's
    message that it became is known as ours by it."""
    automatic = marks.notice.startswith(ACKNOWLEDGED)
    return DeliveryRow(
        account=ctx.name,
        discussion=discussion,
        reply=reply,
        number=0,
        state=DeliveryState.RESENT,
        message_id="",
        text="",
        text_hash=marks.text_hash,
        automatic=automatic,
        told=DoneKind.ACKNOWLEDGED if automatic else "",
        due_at=tx.now,
        created_at=marks.started_at,
    )


def _ours(ctx: Context, mail: ParsedMail, message_id: str) -> bool:
    if ctx.identity.read(message_id) is not None:
        return True
    delivered = any(name in mail for name in _DELIVERED)
    return ctx.identity.looks_ours(message_id) and not delivered


def _discussion(
    ctx: Context, marks: MailMarks, folder: str, short: str, subject: str
) -> DiscussionRow:
    layout = ctx.config.mailbox
    # A thread an agent threw away has no home there: what the customer writes next is to be seen.
    home = layout.closed_folder if folder == layout.closed_folder else layout.folder
    return DiscussionRow(
        account=ctx.name,
        id=marks.discussion,
        reference=marks.reference,
        short=short,
        kind=marks.kind,
        status=Status.UNKNOWN,
        created_at=marks.started_at,
        title="",
        subject=_frozen(subject),
        customer=marks.customer,
        order_number=marks.order or None,
        claim_type=marks.claim or None,
        relay_address=marks.relay or None,
        relay_confirmed_at=marks.relay_confirmed_at,
        folder=home,
        wanted_folder=home,
        started_at=marks.started_at,
        settled_at=ctx.clock() if is_opening(marks.discussion) else None,
    )


def _frozen(subject: str) -> str:
    """The thread's subject again, out of a mail's header."""
    return decode_field(subject).removeprefix("Re: ")


def _message(ctx: Context, marks: MailMarks, tx: Transaction, discussion: str) -> MessageRow:
    return MessageRow(
        account=ctx.name,
        discussion=discussion,
        key=marks.message,
        ident=marks.ident or None,
        raw_time=marks.raw_time,
        sent_at=marks.sent_at or marks.started_at,
        author_kind=marks.author,
        author_name=marks.author_name,
        text="",
        text_hash=marks.text_hash,
        seen_at=tx.now,
    )
