"""Orders, both ways: those we show are kept fresh, and claims that no list has shown are found.

The marketplace's lists of discussions lag behind its orders: an order may say that it has a claim
before any list shows it. So every sweep also looks at the orders changed since, in one call; a
second one is made only for orders whose claim is missing. Nothing here may stop a sweep: the
words of customers matter more than the cards below them.

When the order of an open discussion has changed and nobody has written since, a read mail in the
thread brings the card up to date: never sooner than the change has settled, never twice within
hours. A mail once filed is never replaced for it: agents may have flagged, moved or answered it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from mailbridge.bridge.context import Context
from mailbridge.bridge.notices import queue_notice
from mailbridge.bridge.sweep import Sweep, SweepKind
from mailbridge.bridge.unreadable import UnreadableKind, note_faults, unmet
from mailbridge.bridge.uptake import ORDER
from mailbridge.domain.discussion import DiscussionKind
from mailbridge.domain.filing import FilingState
from mailbridge.domain.notice import Done, DoneKind, Notice, NoticeKind
from mailbridge.domain.order import Order
from mailbridge.domain.showing import Showing
from mailbridge.journal.tables import DiscussionRow
from mailbridge.journal.transaction import Transaction
from mailbridge.marketplace.port import UNNAMED, ContractError, MarketplaceError, Window

__all__ = ["Orders"]

_EVERY = timedelta(minutes=5)
"""Quick sweeps look at orders no more often than this."""

_LAG = timedelta(minutes=90)
"""How far behind a change the lists of discussions may be, and the next look starts."""

_AGAIN = timedelta(minutes=20)
"""Between two searches for the same claim."""

_AT_ONCE = 50
"""Orders asked for in one call."""

_STALE = timedelta(hours=12)
"""The full sweep reads orders of open discussions anew that are older than this."""

_SETTLED = timedelta(minutes=10)
"""A change is told once the order has stayed so for this long, as parcels follow states; an
order that never rests is told of all the same when its card is old."""

_BETWEEN = timedelta(hours=6)
"""Between two mails in one thread that tell a change."""

_KEY = "order:"


class Orders:
    """Keeps the orders of one account."""

    def __init__(self, ctx: Context, sweep: Sweep) -> None:
        self._ctx = ctx
        self._sweep = sweep
        # Lost at a restart, which then costs one wider look and one search more.
        self._seen_until: datetime | None = None
        self._sought: dict[str, datetime] = {}

    async def run(self, kind: SweepKind) -> None:
        """What belongs to one sweep; what the marketplace refuses is logged, never raised."""
        ctx = self._ctx
        begun = ctx.clock()
        last = self._seen_until
        if kind is not SweepKind.QUICK or last is None or begun - last >= _EVERY:
            try:
                await self._look(kind, begun, last)
                if kind is SweepKind.FULL:
                    await self._read_stale(begun)
            except MarketplaceError as error:
                ctx.log.warning("changed orders not given; cards may be old", error=str(error))
            if kind is not SweepKind.QUICK:
                await self._read_unreadable()
        faults = ctx.marketplace.order_faults
        await note_faults(ctx, UnreadableKind.ORDER, faults, read=())
        await self._tell()

    async def _look(self, kind: SweepKind, begun: datetime, last: datetime | None) -> None:
        """The orders changed since the last look."""
        ctx = self._ctx
        sweeps = ctx.config.sweeps
        # After a long outage the full sweep does the rest: a shop has very many orders.
        begin = begun - sweeps.wide_window
        if last is not None and kind is SweepKind.QUICK:
            begin = max(begin, min(begun - sweeps.quick_window, last - _LAG))
        changed = await ctx.marketplace.changed_orders(Window(begin, begun))
        await self._keep(changed, begun)
        await self._seek(changed, begun)
        self._seen_until = begun

    async def _read_stale(self, begun: datetime) -> None:
        """Orders whose change no list has told, one by one the same."""
        ctx = self._ctx
        async with ctx.read() as tx:
            numbers = await tx.discussions.stale_orders(begun - _STALE)
        for start in range(0, len(numbers), _AT_ONCE):
            read = await ctx.marketplace.orders(numbers[start : start + _AT_ONCE])
            await self._keep(list(read.values()), begun)

    async def _read_unreadable(self) -> None:
        """Ask again for what could not be read, by number: no list need show it any more."""
        ctx = self._ctx
        async with ctx.read() as tx:
            rows = await tx.unreadable.all(UnreadableKind.ORDER)
        numbers = [row.key for row in rows if row.key != UNNAMED]
        for start in range(0, len(numbers), _AT_ONCE):
            chunk = numbers[start : start + _AT_ONCE]
            try:
                await ctx.marketplace.orders(chunk)
            except ContractError:
                pass  # none of them can be read: they are among the faults
            except MarketplaceError as error:
                ctx.log.warning("unreadable orders not asked for", error=str(error))
                break
            faults = ctx.marketplace.order_faults
            read = [number for number in chunk if number not in faults]
            await note_faults(ctx, UnreadableKind.ORDER, {}, read)
        await unmet(ctx, UnreadableKind.ORDER, ctx.clock() - 3 * ctx.config.sweeps.full_every)

    async def refresh(self, numbers: Sequence[str]) -> list[Order]:
        """Read these orders now; those of known discussions are kept. Raises MarketplaceError."""
        begun = self._ctx.clock()
        found: list[Order] = []
        for start in range(0, len(numbers), _AT_ONCE):
            read = await self._ctx.marketplace.orders(numbers[start : start + _AT_ONCE])
            found += read.values()
        await self._keep(found, begun)
        return found

    async def _keep(self, orders: Sequence[Order], begun: datetime) -> None:
        """Write down what is new about those that a thread of ours shows."""
        ctx = self._ctx
        read = {order.number: order for order in orders}
        async with ctx.read() as tx:
            about = await tx.discussions.of_orders(read)
            known = await tx.discussions.orders(about)
        news: dict[str, str] = {}
        for number, rows in about.items():
            before = known.get(number)
            order = read[number]
            if before is not None:
                order = order.after(ORDER.validate_json(before.data))
            data = ORDER.dump_json(order).decode()
            same = before and before.data == data and begun - before.fetched_at < _STALE / 2
            if not same and any(row.pruned_at is None for row in rows):
                news[number] = data
        if not news:
            return
        async with ctx.write() as tx:
            known = await tx.discussions.orders(news)
            for number, data in news.items():
                # Another flow may have read it since.
                if number not in known or known[number].fetched_at <= begun:
                    await tx.discussions.put_order(number, data, begun)

    async def _seek(self, orders: Sequence[Order], now: datetime) -> None:
        """Ask for the discussions of orders that say to have a claim, where none is known."""
        ctx = self._ctx
        claimed = [order for order in orders if order.has_claims]
        async with ctx.read() as tx:
            known = await tx.discussions.of_orders([order.number for order in claimed])
        missing = [
            order.number
            for order in claimed
            if not any(row.kind == DiscussionKind.CLAIM for row in known.get(order.number, ()))
            and self._worth_seeking(order, now)
        ]
        kept = {number: at for number, at in self._sought.items() if now - at < 4 * _LAG}
        self._sought = kept
        for start in range(0, len(missing), _AT_ONCE):
            numbers = missing[start : start + _AT_ONCE]
            listing = await ctx.marketplace.discussions_of_orders(numbers)
            self._sought |= dict.fromkeys(numbers, now)
            result = await self._sweep.take(listing, closed_after=await self._sweep.horizon())
            ctx.log.info(
                "claims sought by order",
                orders=len(numbers),
                opened=result.opened,
                messages=result.messages,
            )

    def _worth_seeking(self, order: Order, now: datetime) -> bool:
        """A claim may show itself late, but one that was closed long ago never does."""
        sought = self._sought.get(order.number)
        if sought is None:
            return True
        changed = order.updated_at or sought
        return sought < changed + _LAG and now - sought >= _AGAIN

    async def _tell(self) -> None:
        """Bring cards up to date where the order has changed and nobody has written since."""
        ctx = self._ctx
        async with ctx.read() as tx:
            stale = await tx.discussions.with_stale_card(tx.now - _SETTLED, tx.now - _BETWEEN)
        if not stale:
            return
        async with ctx.write() as tx:
            rows = await tx.discussions.many([row.id for row in stale])
            for row in rows.values():
                await self._tell_one(tx, row)

    async def _tell_one(self, tx: Transaction, row: DiscussionRow) -> None:
        seen = await tx.discussions.order(row.order_number or "")
        if seen is None:
            return
        now = Showing.of(ORDER.validate_json(seen.data))
        topics = Showing.from_json(row.card_shown).changed(now)
        if not topics:
            row.card_true_at = tx.now
            return
        planned = await tx.filings.of_thread(row.id, "message:")
        if any(mail.state == FilingState.PLANNED for mail in planned):
            return  # its card will be the newest
        told = await tx.filings.of_thread(row.id, _KEY)
        if told and tx.now - told[-1].created_at < _BETWEEN:
            return
        news = Notice(
            NoticeKind.NEWS,
            done=(Done(DoneKind.ORDER_CHANGED, {"topics": " ".join(topics)}),),
        )
        await queue_notice(self._ctx, tx, row, news, key=f"{_KEY}{len(told) + 1}")
