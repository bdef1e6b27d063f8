"""An account goes on through another API of its marketplace: what that joins, and doing it.

What joins a thread is the sweep itself, whenever a listing shows a discussion by a new id; so
nothing here is needed twice, and a thread that comes back years later joins as well. Here is what
stands around it once: everything the journal still has to do with is looked up at the new door,
what will join and what will not is told before anything is done, and open work is carried over.

Everything may be repeated. That a move has begun is in the journal before the first thread is
renamed, and until it is finished no daemon takes the account, whichever API it is configured for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from mailbridge.bridge.context import Context
from mailbridge.bridge.finding import find
from mailbridge.bridge.knowing import known, unrecorded
from mailbridge.bridge.sweep import Sweep
from mailbridge.domain import closing, delivery, refund
from mailbridge.domain.closing import ClosingState
from mailbridge.domain.delivery import DeliveryState
from mailbridge.domain.discussion import Discussion, Status
from mailbridge.domain.intake import IntakeState
from mailbridge.domain.opening import is_opening
from mailbridge.domain.plan import Known, Plan, plan
from mailbridge.domain.refund import RefundState
from mailbridge.journal.tables import DeliveryRow, DiscussionRow
from mailbridge.marketplace.port import Listing, Window

__all__ = ["MoveRefused", "MoveReport", "Moving", "Oddity"]

_MARGIN = timedelta(days=1)
_OPEN = frozenset({Status.OPEN, Status.UNKNOWN})
_ENOUGH = 0.5
"""Less of the open discussions shown than this, and it is hardly the same seller's account."""


class MoveRefused(Exception):
    """Nothing was changed; `str()` says why and what to do."""


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something about one thread that a person should know."""

    thread: str
    words: str


@dataclass(frozen=True, slots=True)
class MoveReport:
    """What a move joins, or has joined. Holds nobody's words or name."""

    account: str
    to: str
    open: int
    """Threads the journal holds open."""
    unfinished: Mapping[str, int]
    """Work under way, by its kind."""
    sought: int
    """Threads that were looked for: open, or with unfinished work."""
    shown: int
    already: int
    """Shown, and joined before."""
    messages: int
    """Known messages of the threads shown."""
    joined: Mapping[str, int]
    """Ground -> messages that are joined on it now."""
    new: int
    """Messages that will be filed."""
    recorded: int
    """Answers of the shop's that were sent through the former API, and are shown now."""
    unknown: int
    """Discussions the journal has never seen: the next sweep's."""
    missing: Sequence[Oddity] = ()
    """Threads that were looked for and are not shown."""
    doubtful: Sequence[Oddity] = ()
    """New messages that are older than the newest known one, and like none that is known."""
    unshown: Sequence[Oddity] = ()
    """Threads with known messages that are not shown: these are left as they are."""
    faults: Mapping[str, str] = field(default_factory=dict)
    done: bool = False

    @property
    def odd(self) -> bool:
        """Whether a person should look at it."""
        return bool(self.missing or self.doubtful or self.unshown or self.faults)


@dataclass(frozen=True, slots=True)
class _Sought:
    """The threads to go on, and the kinds of unfinished work each of them has."""

    rows: Mapping[str, DiscussionRow]
    work: Mapping[str, Counter[str]]

    @property
    def open(self) -> list[DiscussionRow]:
        return [row for row in self.rows.values() if row.status != Status.CLOSED]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A thread, its discussion as shown now, and what taking that in would do."""

    row: DiscussionRow
    listed: Discussion
    before: Known
    todo: Plan


class Moving:
    """Moves one account to the marketplace API that `ctx` speaks to."""

    def __init__(self, ctx: Context, to: str) -> None:
        """`to` is what the configuration calls that API. No daemon may be at work meanwhile."""
        self._ctx = ctx
        self._to = to
        self._sweep = Sweep(ctx)

    async def look(self) -> MoveReport:
        """What a move would join; changes nothing. Raises MarketplaceError."""
        return (await self._foresee())[0]

    async def run(self, *, anyway: bool = False) -> MoveReport:
        """Do it; again after an interruption. Raises MarketplaceError, MoveRefused.

        `anyway`: even if most of the open discussions are not shown.
        """
        ctx = self._ctx
        report, listing = await self._foresee()
        missing = sum(odd.words.startswith("open") for odd in report.missing)
        if not anyway and missing > report.open * (1 - _ENOUGH):
            raise MoveRefused(
                f"{missing} of {report.open} open discussions are not shown by {self._to}: is it "
                "the same seller's account, and has it the right sales channels? Nothing was "
                "changed (--anyway goes on without them)"
            )
        async with ctx.write() as tx:
            account = await tx.account()
            if account.marketplace != self._to:
                account.moving_to = self._to
            tx.note("move begun", detail=f"{account.marketplace or 'unknown'} to {self._to}")
        await self._sweep.take(listing, closed_after=await self._sweep.horizon())
        async with ctx.write() as tx:
            account = await tx.account()
            if account.marketplace != self._to:
                await tx.money.carry_over()
            account.marketplace, account.moving_to = self._to, ""
            tx.note("moved", detail=f"{report.shown} of {report.sought} threads go on")
        ctx.log.info("account moved", to=self._to, threads=report.shown, missing=missing)
        return replace(report, done=True)

    # --- looking --------------------------------------------------------------------------------

    async def _foresee(self) -> tuple[MoveReport, Listing]:
        sought = await self._sought()
        listing, unknown = await self._find(sought)
        shown = {d.reference: d for d in listing.discussions}
        there = [row for row in sought.rows.values() if row.reference in shown]
        async with self._ctx.read() as tx:
            messages = await tx.discussions.messages_of([row.id for row in there])
            dispatched = await unrecorded(tx, {row.id: row for row in there})
        seen: list[_Seen] = []
        taken: set[int] = set()
        for row in sorted(there, key=lambda row: (row.created_at, row.id)):
            listed, before = shown[row.reference], known(self._ctx, row, messages.get(row.id, ()))
            if before is None:
                continue
            left = [d for d in dispatched.get(row.id, ()) if d.id not in taken]
            todo = plan(listed, before, left)
            taken |= {new.dispatch for new in todo.new if new.dispatch is not None}
            seen.append(_Seen(row, listed, before, todo))
        return self._report(sought, seen, unknown, listing.faults), listing

    async def _sought(self) -> _Sought:
        """Open threads, and those with work that is not finished."""
        work: dict[str, Counter[str]] = defaultdict(Counter)
        async with self._ctx.read() as tx:
            replies = await tx.replies.in_state(
                IntakeState.GATHERING, IntakeState.HELD, IntakeState.ACCEPTED
            )
            sent = await tx.deliveries.in_state(*set(DeliveryState) - delivery.SETTLED)
            closes = await tx.closings.in_state(*set(ClosingState) - closing.SETTLED)
            moved = await tx.money.in_state(*set(RefundState) - refund.SETTLED)
            for kind, rows in (
                ("answers being judged or held", [r.discussion for r in replies]),
                ("answers on their way", [d.discussion for d in sent if not _given_up(d)]),
                ("closes", [c.discussion for c in closes]),
                ("movements of money", [m.discussion for m in moved if m.discussion]),
            ):
                for discussion in rows:
                    work[discussion][kind] += 1
            found = {row.id: row for row in await tx.discussions.not_closed()}
            # What was written first and has no discussion yet is known by its order alone.
            found |= await tx.discussions.many([i for i in work if not is_opening(i)])
        return _Sought(found, work)

    async def _find(self, sought: _Sought) -> tuple[Listing, int]:
        """These threads as the marketplace shows them now, and how many others are open."""
        ctx = self._ctx
        now = ctx.clock()
        begin = min([now - ctx.config.sweeps.full_window, *_since(sought.open)])
        listing = await ctx.marketplace.discussions(Window(begin, now, _OPEN))
        wanted = {row.reference for row in sought.rows.values()}
        shown = {d.reference: d for d in listing.discussions}
        rest = await find(ctx, [r for r in sought.rows.values() if r.reference not in shown])
        found = [d for reference, d in shown.items() if reference in wanted]
        async with ctx.read() as tx:
            seen = await tx.discussions.by_references(shown.keys() - wanted)
        return (
            Listing((*found, *rest.discussions), {**listing.faults, **rest.faults}),
            len(shown) - len(found) - len(seen),
        )

    def _report(
        self,
        sought: _Sought,
        seen: Sequence[_Seen],
        unknown: int,
        faults: Mapping[str, str],
    ) -> MoveReport:
        new = [n for one in seen for n in one.todo.new]
        there = {one.row.id for one in seen}
        return MoveReport(
            account=self._ctx.name,
            to=self._to,
            open=len(sought.open),
            unfinished=dict(sum(sought.work.values(), Counter())),
            sought=len(sought.rows),
            shown=len(seen),
            already=sum(one.row.id == one.listed.id for one in seen),
            messages=sum(len(one.before.messages) for one in seen),
            joined=dict(Counter(str(told.ground) for one in seen for told in one.todo.joined)),
            new=sum(n.filed for n in new),
            recorded=sum(n.dispatch is not None for n in new),
            unknown=unknown,
            missing=[
                Oddity(row.short.upper(), _missing_words(row, sought.work.get(row.id, Counter())))
                for row in sorted(sought.rows.values(), key=lambda row: row.short)
                if row.id not in there
            ],
            doubtful=[
                Oddity(one.row.short.upper(), words) for one in seen for words in self._doubts(one)
            ],
            unshown=[
                Oddity(one.row.short.upper(), f"{count} known, not shown")
                for one in seen
                if (count := _unshown(one))
            ],
            faults=faults,
        )

    def _doubts(self, one: _Seen) -> Iterable[str]:
        newest = max((m.sent_at for m in one.before.messages if m.sent_at), default=None)
        for new in one.todo.new:
            old = newest is not None and new.message.sent_at <= newest
            if old and new.dispatch is None and new.bounced is None:
                at = self._ctx.stamp(new.message.sent_at)
                yield f"a message of {at} by the {new.message.author.kind}: will be filed"


def _since(rows: Iterable[DiscussionRow]) -> Iterable[datetime]:
    return (row.created_at - _MARGIN for row in rows)


def _given_up(row: DeliveryRow) -> bool:
    """An acknowledgement that was refused: nobody releases it."""
    return row.automatic and row.state == DeliveryState.HELD


def _missing_words(row: DiscussionRow, work: Counter[str]) -> str:
    state = "closed" if row.status == Status.CLOSED else "open"
    return "; ".join([state, *(f"{count} {kind}" for kind, count in sorted(work.items()))])


def _unshown(one: _Seen) -> int:
    joined = {told.key for told in one.todo.joined}
    return sum(m.ident is None and m.key not in joined for m in one.before.messages)
