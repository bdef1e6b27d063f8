"""Queueing what is said to staff: one notice for one occasion, and not too many of them.

A notice is an intent like any other mail of ours: queued in the transaction that decides it,
filed later, known by a key that says its occasion, so that no restart says it twice.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta

from mailbridge.bridge.context import Context
from mailbridge.domain.filing import FilingState
from mailbridge.domain.identity import NameKind
from mailbridge.domain.notice import Done, Notice, NoticeKind
from mailbridge.journal.tables import DiscussionRow, FilingRow, ReplyRow
from mailbridge.journal.transaction import Transaction

__all__ = ["add_outcome", "queue_notice"]

_HOUR = timedelta(hours=1)


async def queue_notice(
    ctx: Context,
    tx: Transaction,
    discussion: DiscussionRow,
    notice: Notice,
    *,
    key: str,
    reply: str | None = None,
) -> bool:
    """Queue a notice in the discussion's thread; False if it was said before or is one too many.

    `key` names the occasion, such as `hold:<reply>:<reason>`. Notices that ask for a person's
    eye are limited in number per discussion and hour: a flood of them would hide the thread,
    and somebody who writes to the mailbox could cause it. Past the limit they come an hour
    later; past four times the limit only the journal has them (`mailbridge show`).
    """
    if await tx.filings.get(discussion.id, key) is not None:
        return False
    due_at = tx.now
    if notice.unread:
        limit = ctx.config.replies.notices_per_hour
        recent = await tx.filings.notices_since(discussion.id, tx.now - _HOUR)
        if recent >= limit:
            due_at += _HOUR
        if recent >= 4 * limit:
            tx.note("notice suppressed", discussion=discussion.id, subject=key)
            ctx.log.warning("notice suppressed: too many this hour", discussion=discussion.short)
            return False
    tx.discussions.note_words(discussion, tx.now)
    tx.filings.add(
        FilingRow(
            account=ctx.name,
            discussion=discussion.id,
            key=key,
            message_id=ctx.mail_id(NameKind.NOTICE, discussion.short, key),
            state=FilingState.PLANNED,
            notice=notice.to_json(),
            reply=reply,
            unread=notice.unread,
            backfill=False,
            due_at=due_at,
            created_at=tx.now,
        )
    )
    tx.note(
        f"notice {notice.kind}",
        discussion=discussion.id,
        subject=key,
        detail=notice.reason or "",
    )
    if notice.kind is NoticeKind.HOLD:
        ctx.log.info("reply held", discussion=discussion.short, reason=notice.reason)
    ctx.bells.filing.set()
    return True


def add_outcome(reply: ReplyRow, done: Done) -> None:
    """Remember one settled thing for the reply's receipt."""
    outcome = json.loads(reply.outcome)
    outcome.append(asdict(done))
    reply.outcome = json.dumps(outcome, ensure_ascii=False)
