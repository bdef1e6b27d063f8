"""Proving the reply address: one mail that asks an agent to answer « test » once.

The probe is a thread of its own that belongs to no discussion. What its answer shows (where the
reply landed, whether the reply mode works, which evidence of origin the provider gives) is kept
in the account's row and told by `check` and `status`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from mailbridge.bridge.context import Context
from mailbridge.domain.discussion import DiscussionKind
from mailbridge.domain.identity import NameKind
from mailbridge.domain.notice import Notice, NoticeKind
from mailbridge.domain.thread import Thread
from mailbridge.journal.transaction import Transaction
from mailbridge.mail.incoming import IncomingMail
from mailbridge.mail.port import MailboxSession, MailToFile

__all__ = ["PROBE_SHORT", "Proof", "file_probe", "is_proven", "note_proof", "read_proof"]

PROBE_SHORT = "mb-probe"
"""Stands where a discussion's short id stands; no marketplace's numbering begins with `mb`."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the answer to a probe has shown; empty words where nothing is known yet."""

    asked_at: str = ""
    answered_at: str = ""
    reply_mode: str = ""
    sender: str = ""
    folders: str = ""
    """Folders in which copies of the answer were found, separated by commas."""
    origin: str = ""
    """The best evidence of origin seen, in words; empty while none was."""


def read_proof(data: str) -> Proof:
    """As the journal keeps it."""
    return Proof(**json.loads(data))


async def file_probe(ctx: Context, session: MailboxSession) -> str:
    """File a new probe mail; its subject, for the operator to name to an agent.

    Raises MailboxError.
    """
    now = ctx.clock()
    stamp = now.strftime("%Y%m%d%H%M%S")
    thread = Thread(
        discussion_id="probe",
        reference="probe",
        short=PROBE_SHORT,
        kind=DiscussionKind.OFFER_QUESTION,
        subject=f"Test mailbridge – {ctx.name} ({PROBE_SHORT.upper()})",
        customer="mailbridge",
        reply_address=ctx.addresses.of(PROBE_SHORT),
        started_at=now,
        first_message_id=None,
    )
    key = f"probe{stamp}"
    composed = ctx.composer.notice_mail(
        thread,
        Notice(NoticeKind.PROBE),
        key=key,
        date=now.astimezone(ctx.zone),
        message_id=ctx.identity.message_id(NameKind.NOTICE, PROBE_SHORT, key),
    )
    folder = ctx.config.mailbox.folder
    await session.ensure_folder(folder)
    await session.append(folder, [MailToFile(composed.message_id, composed.data, now)])
    async with ctx.write() as tx:
        row = await tx.account()
        row.probe = json.dumps(asdict(Proof(asked_at=now.isoformat())))
        tx.note("probe filed")
    return thread.subject


async def is_proven(ctx: Context, tx: Transaction) -> bool:
    """Whether a round trip has shown that the configured reply mode works."""
    return read_proof((await tx.account()).probe).reply_mode == ctx.config.mailbox.reply_mode


async def note_proof(
    ctx: Context, tx: Transaction, *, folder: str, mail: IncomingMail, origin: str
) -> None:
    """Keep what one copy of the answer shows; copies add up."""
    row = await tx.account()
    known = read_proof(row.probe)
    folders = sorted({*filter(None, known.folders.split(",")), folder})
    proof = Proof(
        asked_at=known.asked_at,
        answered_at=_iso(mail.date) or tx.now.isoformat(),
        reply_mode=ctx.config.mailbox.reply_mode,
        sender=mail.from_.address,
        folders=",".join(folders),
        origin=known.origin or origin,
    )
    row.probe = json.dumps(asdict(proof))
    tx.note("probe answered", detail=f"{ctx.config.mailbox.reply_mode} in {folder}")
    ctx.log.info("probe answered", folder=folder, evidence=proof.origin or "none")


def _iso(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""
