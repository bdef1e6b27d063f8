"""Orders as an operator sees them: state, lines, parcels, money, and the discussions about them.

What is shown is what the journal last read, or what the marketplace says now; nobody's name or
words are in it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from mailbridge.bridge.account import AccountBridge
from mailbridge.bridge.deadlines import Wait, waits
from mailbridge.bridge.uptake import ORDER
from mailbridge.domain.discussion import Status
from mailbridge.domain.order import Order
from mailbridge.journal.tables import DiscussionRow

__all__ = ["orders_of"]

Answer = dict[str, Any]


async def orders_of(
    bridge: AccountBridge, numbers: Collection[str], *, refresh: bool
) -> list[Answer]:
    """These orders of one account as last read, or all those of its open discussions.

    `refresh` reads them anew first. An order that is not known is left out.
    Raises MarketplaceError with `refresh`.
    """
    ctx = bridge.ctx
    wanted = list(dict.fromkeys(numbers))
    if not wanted:
        async with ctx.read() as tx:
            open_ones = await tx.discussions.not_closed()
        wanted = list(dict.fromkeys(row.order_number for row in open_ones if row.order_number))
    fresh = {o.number: o for o in await bridge.orders.refresh(wanted)} if refresh else {}
    async with ctx.read() as tx:
        kept = await tx.discussions.orders(wanted)
        about = await tx.discussions.of_orders(wanted)
        due = await waits(ctx, tx, [row.id for rows in about.values() for row in rows])
    shown: list[Answer] = []
    for number in wanted:
        row = kept.get(number)
        order = fresh.get(number) or (ORDER.validate_json(row.data) if row else None)
        if order is not None:
            read_at = ctx.clock() if number in fresh or row is None else row.fetched_at
            discussions = [_discussion(d, due.get(d.id)) for d in about.get(number, ())]
            shown.append(
                {"account": ctx.name, **_order(order), "read_at": _iso(read_at)}
                | {"discussions": discussions}
            )
    return shown


def _order(order: Order) -> Answer:
    return {
        "number": order.number,
        "state": order.state,
        "stage": order.stage,
        "ordered_at": _iso(order.created_at),
        "ship_by": _iso(order.ship_by),
        "deliver_by": _iso(order.deliver_by),
        "total": str(order.total),
        "shipping": str(order.shipping_total),
        "refunded": None
        if order.vouchers is None
        else str(sum(voucher.amount for voucher in order.vouchers)),
        "has_claims": order.has_claims,
        "lines": [
            {
                "reference": line.reference,
                "name": line.name,
                "quantity": line.quantity,
                "price": str(line.price),
                "state": line.state,
                "stage": line.stage,
                "has_claim": line.has_claim,
            }
            for line in order.lines
        ],
        "parcels": [
            {
                "number": parcel.number,
                "carrier": parcel.carrier,
                "status": parcel.status,
                "url": parcel.tracking_url,
            }
            for parcel in order.parcels
        ],
        "refunds": [
            {
                "amount": str(voucher.amount),
                "motive": voucher.motive,
                "at": _iso(voucher.created_at),
                "by": voucher.source,
            }
            for voucher in order.vouchers or ()
        ],
    }


def _discussion(row: DiscussionRow, wait: Wait | None) -> Answer:
    waiting = wait if row.status != Status.CLOSED else None
    return {
        "discussion": row.short.upper(),
        "kind": row.kind,
        "status": row.status,
        "treatment": row.treatment,
        "answer_due": _iso(waiting.due) if waiting else None,
        "urgency": waiting.urgency if waiting else None,
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None
