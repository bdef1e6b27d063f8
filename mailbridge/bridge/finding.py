"""Threads looked up at the marketplace, by whatever it knows them.

By their ids; where those are of another API, by their orders; and what no order leads to, among
all that was closed since. Only reads.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from mailbridge.bridge.context import Context
from mailbridge.bridge.uptake import known_discussion
from mailbridge.domain.discussion import Discussion, Status
from mailbridge.journal.tables import DiscussionRow
from mailbridge.marketplace.port import Listing, Window

__all__ = ["find"]

_MARGIN = timedelta(days=1)
_REACH = timedelta(days=180)
"""How far back closed discussions are looked for."""
_ORDERS = 50


async def find(ctx: Context, rows: Collection[DiscussionRow]) -> Listing:
    """These threads as they stand now; those that are not shown are left out, and so is all
    else. Costs a reading of everything closed lately if one can't be found otherwise.

    Raises MarketplaceError.
    """
    market = ctx.marketplace
    wanted = {row.reference: row for row in rows}
    found: dict[str, Discussion] = {}
    faults: dict[str, str] = {}

    def keep(listing: Listing) -> None:
        for one in listing.discussions:
            if one.reference in wanted:
                found.setdefault(one.reference, one)
        faults.update(listing.faults)

    def missing() -> list[DiscussionRow]:
        return [row for reference, row in wanted.items() if reference not in found]

    if rows:
        keep(await market.read_again([known_discussion(row) for row in missing()]))
    numbers = sorted({row.order_number for row in missing() if row.order_number})
    for start in range(0, len(numbers), _ORDERS):
        keep(await market.discussions_of_orders(numbers[start : start + _ORDERS]))
    if rest := missing():
        now = ctx.clock()
        begin = min(row.updated_at or row.created_at for row in rest) - _MARGIN
        closed = Window(max(now - _REACH, begin), now, frozenset({Status.CLOSED}))
        keep(await market.discussions(closed))
    return Listing(tuple(found.values()), faults)
