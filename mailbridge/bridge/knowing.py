"""What the journal knows of discussions, as the values a listing is held against.

Nothing is written here and nobody is asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from mailbridge.bridge.context import Context
from mailbridge.domain.delivery import DeliveryState
from mailbridge.domain.discussion import AuthorKind, Discussion, Status
from mailbridge.domain.history import KnownMessage
from mailbridge.domain.opening import opening_id
from mailbridge.domain.plan import Dispatched, Known
from mailbridge.domain.wording import text_hash
from mailbridge.journal.tables import DeliveryRow, DiscussionRow, MessageRow
from mailbridge.journal.transaction import Transaction

__all__ = ["known", "unrecorded"]

_CHUNK = 400
_NO_TEXT = text_hash("")


def known(ctx: Context, row: DiscussionRow | None, messages: Sequence[MessageRow]) -> Known | None:
    """One discussion with its messages; None for one that was never seen."""
    if row is None:
        return None
    return Known(
        status=Status(row.status),
        in_closed_folder=row.wanted_folder == ctx.config.mailbox.closed_folder,
        messages=tuple(_message(m, pruned=row.pruned_at is not None) for m in messages),
        acknowledged=frozenset(m.key for m in messages if m.automatic),
    )


def _message(row: MessageRow, *, pruned: bool) -> KnownMessage:
    return KnownMessage(
        row.key,
        row.ident,
        row.raw_time,
        row.author_name if row.author_name or row.text or not pruned else None,
        row.text_hash,
        has_text=bool(row.text) or pruned or row.text_hash == _NO_TEXT,
        # Read back from a mail's header it may be any word.
        author_kind=AuthorKind(row.author_kind)
        if row.author_kind in set(AuthorKind)
        else AuthorKind.AUTOMATIC,
        sent_at=row.sent_at,
        text="" if row.ident else row.text,
    )


async def unrecorded(
    tx: Transaction, rows: Mapping[str, DiscussionRow], batch: Sequence[Discussion] = ()
) -> dict[str, list[Dispatched]]:
    """For each known discussion, and each of the batch, the dispatches it may show: its own,
    those of discussions that share its relay address (two discussions of one order may), and
    what was written first about its order."""
    groups: dict[str, list[str]] = {
        d.id: [opening_id(d.order_number)] for d in batch if d.order_number and d.id not in rows
    }
    for row in rows.values():
        sharing = (
            [r.id for r in await tx.discussions.sharing_address(row.relay_address)]
            if row.relay_address
            else []
        )
        if row.order_number:
            sharing.append(opening_id(row.order_number))
        groups[row.id] = list(dict.fromkeys((row.id, *sharing)))
    everything = sorted({i for ids in groups.values() for i in ids})
    by_discussion: dict[str, list[DeliveryRow]] = defaultdict(list)
    for start in range(0, len(everything), _CHUNK):
        for delivery in await tx.deliveries.unmatched(everything[start : start + _CHUNK]):
            by_discussion[delivery.discussion].append(delivery)
    return {
        owner: [
            _dispatched(d)
            # A dispatch that was sent again is matched last: the one that waits comes first.
            for d in sorted(
                (d for i in ids for d in by_discussion.get(i, ())),
                key=lambda d: d.state == DeliveryState.RESENT,
            )
        ]
        for owner, ids in groups.items()
    }


def _dispatched(row: DeliveryRow) -> Dispatched:
    return Dispatched(
        id=row.id,
        text_hash=row.text_hash,
        tried_at=row.first_tried_at or row.created_at,
        text=row.text,
        ident=row.remote_id,
        address=row.address or "",
        automatic=row.automatic,
    )
