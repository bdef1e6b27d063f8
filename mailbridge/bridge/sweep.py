"""Marketplace to journal: three overlapping sweeps, deduplicated by message identity.

Neither an outage nor the service's visibility lag (a message was seen 57 minutes after its own
timestamp) loses a message: *quick* looks back hours, *wide* days, *full* at everything open.
`LastUpdatedDate` is never a high-water mark. A sweep ends in the journal; the other flows carry
its plan out from there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from mailbridge.bridge.context import Context
from mailbridge.bridge.deadlines import mark_treated, marks_moved, was_treated
from mailbridge.bridge.finding import find
from mailbridge.bridge.joining import join_shown
from mailbridge.bridge.knowing import known, unrecorded
from mailbridge.bridge.unreadable import UnreadableKind, note_faults, unmet
from mailbridge.bridge.uptake import ORDER, Uptake, known_discussion
from mailbridge.domain.discussion import Discussion, Status
from mailbridge.domain.opening import is_opening, order_of_opening
from mailbridge.domain.plan import plan
from mailbridge.journal.tables import DiscussionRow
from mailbridge.marketplace.port import (
    UNNAMED,
    ContractError,
    Listing,
    NotAuthorizedError,
    RefusedError,
    RelayAnswer,
    TransientError,
    Window,
)

__all__ = ["Sweep", "SweepKind", "SweepResult"]

_OVERLAP = timedelta(minutes=90)
"""How far behind the last good sweep the next one starts (Cdiscount's own advice, Nov 2020)."""

_BATCH = 100
"""Discussions written in one transaction: bounds memory and the writer's lock."""

_ORDERS = 50
"""Orders asked for in one call."""


_PATIENCE = timedelta(minutes=10)
"""How long words of a customer wait for what is shown beside them."""


class SweepKind(StrEnum):
    """How far a sweep looks."""

    QUICK = "quick"
    WIDE = "wide"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep found; `faults` are discussions that could not be read."""

    listed: int = 0
    opened: int = 0
    messages: int = 0
    recorded: int = 0
    faults: int = 0

    def __add__(self, other: SweepResult) -> SweepResult:
        return SweepResult(
            self.listed + other.listed,
            self.opened + other.opened,
            self.messages + other.messages,
            self.recorded + other.recorded,
            self.faults + other.faults,
        )


class Sweep:
    """Reads the marketplace into the journal."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._uptake = Uptake(ctx)

    async def run(
        self,
        kind: SweepKind,
        *,
        since: timedelta | None = None,
        progress: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> SweepResult:
        """One sweep. `since` (back-fill): also file what was closed within this time.

        Raises MarketplaceError; what was read before it is kept, and the next sweep of this
        kind starts where the last good one ended.
        """
        ctx = self._ctx
        begun = ctx.clock()
        async with ctx.read() as tx:
            last = await tx.discussions.seen_until(kind)
            first_run = await tx.discussions.seen_until(SweepKind.FULL) is None
        window = self._window(kind, begun, last, first_run, since)
        listing = await ctx.marketplace.discussions(window)
        if kind is SweepKind.FULL:
            listing = await self._with_known_open(listing, rebuilt=first_run)
        result = await self.take(
            listing,
            backfill=first_run or since is not None,
            closed_after=await self.horizon(since),
            progress=progress,
        )
        if "" not in listing.faults:
            # With a whole list missing the window has not been seen, and is looked at again.
            async with ctx.write() as tx:
                await tx.discussions.saw_until(kind, begun)
            await note_faults(ctx, UnreadableKind.DISCUSSION, {}, read=("",))
            if kind is SweepKind.FULL:
                await unmet(
                    ctx, UnreadableKind.DISCUSSION, begun - 3 * ctx.config.sweeps.wide_every
                )
        ctx.log.info(
            "sweep done",
            sweep=kind,
            listed=result.listed,
            opened=result.opened,
            messages=result.messages,
            recorded=result.recorded,
            faults=result.faults,
        )
        return result

    async def horizon(self, since: timedelta | None = None) -> datetime:
        """What was closed before then, and never seen open, is history nobody asked for."""
        ctx = self._ctx
        async with ctx.read() as tx:
            begun_with = (await tx.account()).adopted_at or tx.now
        return begun_with - (since or ctx.config.sweeps.since or timedelta(0))

    def _window(
        self,
        kind: SweepKind,
        now: datetime,
        last: datetime | None,
        first_run: bool,
        since: timedelta | None,
    ) -> Window:
        sweeps = self._ctx.config.sweeps
        since = since or (sweeps.since if first_run else None)
        statuses = frozenset({Status.OPEN, Status.UNKNOWN})
        if kind is SweepKind.FULL:
            reach = max(sweeps.full_window, since or timedelta(0))
            if since is not None:
                statuses |= {Status.CLOSED}
            return Window(now - reach, now, statuses)
        reach = sweeps.quick_window if kind is SweepKind.QUICK else sweeps.wide_window
        begin = now - reach
        if last is not None:
            begin = min(begin, last - _OVERLAP)
        return Window(begin, now, statuses | {Status.CLOSED})

    async def _with_known_open(self, listing: Listing, *, rebuilt: bool) -> Listing:
        """Add what the journal still holds open and the list of open ones does not show.

        `rebuilt`: it may know some by ids of an API this account has moved away from.
        """
        ctx = self._ctx
        # By both: a thread that staff opened has an id before its reference (`complete`).
        listed = {name for d in listing.discussions for name in (d.id, d.reference)}
        async with ctx.read() as tx:
            known_open = await tx.discussions.not_closed()
        missing = [r for r in known_open if not {r.id, r.reference} & listed]
        if not missing:
            return listing
        if rebuilt and ctx.marketplace.capabilities.message_ids:
            again = await find(ctx, missing)
        else:
            again = await ctx.marketplace.read_again([known_discussion(r) for r in missing])
        gone = len(missing) - len(again.discussions)
        if gone:
            # Nothing is concluded from absence: the service was seen to narrow lists silently.
            ctx.log.warning(
                "open discussions are not shown by the marketplace; they stay open here",
                count=gone,
            )
        return Listing(
            (*listing.discussions, *again.discussions), {**listing.faults, **again.faults}
        )

    async def take(
        self,
        listing: Listing,
        *,
        backfill: bool = False,
        closed_after: datetime | None = None,
        progress: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> SweepResult:
        """Write a listing into the journal; the same listing again changes nothing.

        Discussions we never saw open and that were closed before `closed_after` are history
        nobody asked for, and left out.
        """
        result = SweepResult(listed=len(listing.discussions), faults=len(listing.faults))
        for name, fault in listing.faults.items():
            self._ctx.log.warning("discussion unreadable", discussion=name, fault=fault)
        # A page that moved shows one twice; its last reading counts.
        once = {d.id: d for d in listing.discussions}
        await note_faults(self._ctx, UnreadableKind.DISCUSSION, listing.faults, once)
        discussions = sorted(once.values(), key=lambda d: (d.created_at, d.id))
        for start in range(0, len(discussions), _BATCH):
            batch = discussions[start : start + _BATCH]
            result += await self._take_batch(batch, backfill, closed_after)
            progress(start + len(batch), len(discussions))
        return result

    async def read_again(self, ids: Collection[str]) -> bool:
        """Read these discussions once more and take in what they show; False if one is missing.

        Raises MarketplaceError; ContractError where one is there and can't be read.
        """
        ctx = self._ctx
        async with ctx.read() as tx:
            rows = await tx.discussions.many(ids)
        there = {i: known_discussion(r) for i, r in rows.items() if not is_opening(i)}
        if there:
            listing = await ctx.marketplace.read_again(list(there.values()))
            await self.take(listing)
            missing = there.keys() - {one.id for one in listing.discussions}
            for ident in (*there, "", *([UNNAMED] if missing else ())):
                if (fault := listing.faults.get(ident)) is not None:
                    raise ContractError(fault)
        # What was written first may by now be a discussion nobody here has seen.
        numbers = [number for i in rows if (number := order_of_opening(i))]
        if numbers:
            await self.take(await ctx.marketplace.discussions_of_orders(numbers))
        return not there or {d.id for d in listing.discussions} >= set(there)

    async def _take_batch(
        self, batch: Sequence[Discussion], backfill: bool, closed_after: datetime | None
    ) -> SweepResult:
        ctx = self._ctx
        begun = ctx.clock()
        batch = await self._take_over(batch)
        async with ctx.read() as tx:
            rows = await tx.discussions.many([d.id for d in batch])
            batch = [d for d in batch if d.id in rows or not _long_closed(d, closed_after)]
            messages = await tx.discussions.messages_of(list(rows))
            dispatched = await unrecorded(tx, rows, batch)
            marks = await marks_moved(tx, batch)
        plans = {
            d.id: plan(
                d,
                known(ctx, rows.get(d.id), messages.get(d.id, ())),
                dispatched.get(d.id, ()),
                backfill=backfill,
                treated=d.id not in rows and was_treated(d, begun),
            )
            for d in batch
        }
        changed = [d for d in batch if plans[d.id]]
        addresses: Mapping[str, RelayAnswer] = {}
        if changed:
            await self._fetch_orders(changed)
            addresses = await self._addresses([d for d in changed if plans[d.id].opened])
        result = SweepResult()
        if changed or marks or any(_moved_on(d, rows.get(d.id)) for d in batch):
            async with ctx.write() as tx:
                # The dispatches may have moved meanwhile: plan again on what is true now.
                rows = await tx.discussions.many([d.id for d in batch])
                messages = await tx.discussions.messages_of(list(rows))
                dispatched = await unrecorded(tx, rows, batch)
                taken: set[int] = set()
                for listed in batch:
                    todo = plan(
                        listed,
                        known(ctx, rows.get(listed.id), messages.get(listed.id, ())),
                        [x for x in dispatched.get(listed.id, ()) if x.id not in taken],
                        backfill=backfill,
                        treated=listed.id not in rows and was_treated(listed, begun),
                    )
                    taken |= {n.dispatch for n in todo.new if n.dispatch is not None}
                    row = await join_shown(ctx, tx, listed, rows.get(listed.id), todo)
                    recorded = await self._uptake.apply(
                        tx,
                        listed,
                        row,
                        todo,
                        backfill=backfill,
                        address=addresses.get(listed.id),
                        begun=begun,
                    )
                    result += SweepResult(
                        opened=int(todo.opened),
                        messages=len(todo.new) - recorded,
                        recorded=recorded,
                    )
                await mark_treated(tx, batch)
            ctx.bells.filing.set()
            ctx.bells.outgoing.set()
        return result

    async def _take_over(self, batch: Sequence[Discussion]) -> list[Discussion]:
        """Threads begun through another API of this marketplace go on under the new id.

        Given back is what can be taken in: two discussions never share a thread.
        """
        ctx = self._ctx
        async with ctx.read() as tx:
            rows = await tx.discussions.many([d.id for d in batch])
            strange = {d.reference: d for d in batch if d.id not in rows}
            there = await tx.discussions.by_references(strange)
        odd = {d.id for d in batch if d.id not in rows} - {d.id for d in strange.values()}
        # Before the move the id was the reference itself.
        odd |= {strange[r].id for r, row in there.items() if row.id != r}
        moved = [r for r, row in there.items() if row.id == r]
        if moved:
            async with ctx.write() as tx:
                for reference, row in (await tx.discussions.by_references(moved)).items():
                    await tx.discussions.rename(row, strange[reference].id)
                    tx.note("discussion renamed", discussion=row.id, detail=f"was {reference}")
            ctx.log.info("threads go on under new ids", count=len(moved))
        kept: list[Discussion] = []
        for one in batch:
            if one.id not in odd:
                kept.append(one)
                continue
            # Its words must be seen all the same: it gets a thread by its own id, if it has one.
            alone = one.id != one.reference
            ctx.log.warning(
                "another discussion has its reference", discussion=one.id, left_out=not alone
            )
            if alone:
                kept.append(replace(one, reference=one.id))
        return kept

    async def _fetch_orders(self, discussions: Sequence[Discussion]) -> None:
        ctx = self._ctx
        numbers = list(dict.fromkeys(d.order_number for d in discussions if d.order_number))
        for start in range(0, len(numbers), _ORDERS):
            chunk = numbers[start : start + _ORDERS]
            try:
                orders = await ctx.marketplace.orders(chunk)
            except (NotAuthorizedError, RefusedError, TransientError, ContractError) as error:
                # The words of the customer matter more than the card below them.
                self._unless_worth_waiting(error, discussions)
                ctx.log.warning("orders not given; threads go without order card", error=str(error))
                return
            async with ctx.write() as tx:
                known = await tx.discussions.orders(orders)
                for number, order in orders.items():
                    if (before := known.get(number)) is not None:
                        order = order.after(ORDER.validate_json(before.data))
                    await tx.discussions.put_order(number, ORDER.dump_json(order).decode(), tx.now)

    async def _addresses(self, discussions: Sequence[Discussion]) -> Mapping[str, RelayAnswer]:
        """The relay addresses of new discussions, to show and to match by."""
        open_ones = [d.id for d in discussions if d.status is not Status.CLOSED]
        if not open_ones:
            return {}
        try:
            return await self._ctx.marketplace.relay_addresses(open_ones)
        except (NotAuthorizedError, RefusedError, TransientError, ContractError) as error:
            self._unless_worth_waiting(error, discussions)
            self._ctx.log.warning("relay addresses not given", error=str(error))
            return {}

    def _unless_worth_waiting(self, error: Exception, discussions: Sequence[Discussion]) -> None:
        """Raise what passes by itself, as long as nobody's words have waited for long."""
        now = self._ctx.clock()
        oldest = min(d.updated_at or d.created_at for d in discussions)
        if isinstance(error, TransientError) and now - oldest < _PATIENCE:
            raise error


def _moved_on(listed: Discussion, row: DiscussionRow | None) -> bool:
    return row is not None and (listed.updated_at != row.updated_at or listed.status != row.status)


def _long_closed(listed: Discussion, closed_after: datetime | None) -> bool:
    closed_at = listed.closed_at or listed.updated_at or listed.created_at
    return listed.status is Status.CLOSED and closed_after is not None and closed_at < closed_after
