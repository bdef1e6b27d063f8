"""The daily digest: planned once a day, put into words when it is filed, dropped when it is late.

What is planned is a filing like any other, of a pseudo-discussion (`domain.digest.HOME`), with the
day as its key: whoever comes second, after a crash or a change of the clock, finds it there. Its
words are made from the journal at the moment of filing and kept nowhere else. A journal that began
after a day's moment files none on that day: the one before it may have.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal

from mailbridge.bridge.confirming import is_unshown
from mailbridge.bridge.context import Context
from mailbridge.bridge.deadlines import waits
from mailbridge.bridge.rendering import Rendered, RenderFault, thread_of
from mailbridge.bridge.sweep import SweepKind
from mailbridge.bridge.terms import facts_of
from mailbridge.domain.delivery import DeliveryState
from mailbridge.domain.digest import (
    HOME,
    SHORT,
    Answer,
    Days,
    Digest,
    DigestTimes,
    Figures,
    Movement,
    MovementNeed,
    Sums,
    Trouble,
    arrange,
    day_of,
    key_of,
    typical,
)
from mailbridge.domain.discussion import AuthorKind, Status
from mailbridge.domain.filing import MACHINE, FilingEvent, FilingState
from mailbridge.domain.identity import NameKind
from mailbridge.domain.intake import IntakeState
from mailbridge.domain.money import MovementKind
from mailbridge.domain.notice import HoldReason, Notice
from mailbridge.domain.refund import RefundState
from mailbridge.domain.thread import internal_date
from mailbridge.journal.tables import DeliveryRow, FilingRow, MoneyRow
from mailbridge.journal.transaction import Transaction
from mailbridge.mail.digest import digest_mail
from mailbridge.mail.port import MailToFile
from mailbridge.mail.rendering import TemplateBroken

__all__ = ["Digests"]

_FRESH = timedelta(minutes=10)
"""What was read of the marketplace within this time is news; longer where it is read seldom."""
_PATIENCE = timedelta(minutes=10)
"""How long a digest that is due waits for news."""
_LOOK_AGAIN = timedelta(seconds=30)

_NEEDS = {
    RefundState.WAITING: MovementNeed.CONFIRMATION,
    RefundState.ASKED: MovementNeed.ANSWER,
    RefundState.READY: MovementNeed.ANSWER,
    RefundState.ASKING: MovementNeed.ANSWER,
    RefundState.GRANTED: MovementNeed.PROOF,
    RefundState.UNCERTAIN: MovementNeed.PROOF,
}


class Digests:
    """Plans one account's digests and puts them into words."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        told = ctx.config.digest
        self._times = (
            None
            if told is None
            else DigestTimes(
                ctx.answer_times.calendar, time.fromisoformat(told.at), Days.parse(told.days)
            )
        )
        self._looked_at: datetime | None = None
        self._next: datetime | None = None
        self._waits_for_news: tuple[date, datetime] | None = None

    # --- when ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Plan today's digest if it is due and nobody has."""
        times = self._times
        if times is None:
            return
        ctx, now = self._ctx, self._ctx.clock()
        went_back = self._looked_at is not None and now < self._looked_at
        if self._next is not None and now < self._next and not went_back:
            return
        self._looked_at, self._next = now, times.next_after(now)
        day = times.current(now)
        if day is None:
            return
        async with ctx.read() as tx:
            if not await _is_wanted(tx, times, day):
                return
            read = await _read_until(tx)
            if self._is_old(read, now) and self._may_wait(day, now):
                self._next = min(self._next, now + _LOOK_AGAIN)
                return
            empty = (await self._gather(tx, times, day)).empty
        async with ctx.write() as tx:
            if await _is_wanted(tx, times, day):
                self._plan(tx, day, empty=empty)

    @property
    def next_due(self) -> datetime | None:
        """When to look again; None: never."""
        return self._next

    def _may_wait(self, day: date, now: datetime) -> bool:
        """Whether there is still time to hear from the marketplace before it is filed."""
        if self._waits_for_news is None or self._waits_for_news[0] != day:
            self._waits_for_news = (day, now)
        return now - self._waits_for_news[1] < _PATIENCE

    def _is_old(self, read: datetime | None, now: datetime) -> bool:
        """Whether what was read until then is too old to be news: two quick sweeps were missed."""
        fresh = max(_FRESH, 2 * self._ctx.config.sweeps.quick_every)
        return read is None or now - read > fresh

    def _plan(self, tx: Transaction, day: date, *, empty: bool) -> None:
        ctx, key = self._ctx, key_of(day)
        row = FilingRow(
            account=ctx.name,
            discussion=HOME,
            key=key,
            message_id=ctx.mail_id(NameKind.NOTICE, SHORT, key),
            state=FilingState.PLANNED,
            notice="",
            unread=True,
            backfill=False,
            due_at=tx.now,
            created_at=tx.now,
        )
        tx.filings.add(row)
        tx.note("digest planned", discussion=HOME, subject=key)
        if empty:
            _drop(tx, row, "there is nothing to say")
        else:
            ctx.bells.filing.set()

    # --- what ----------------------------------------------------------------------------------

    async def render(self, tx: Transaction, row: FilingRow) -> Rendered | RenderFault | None:
        """The mail as things stand now; None where its day is over, and it is dropped."""
        ctx, times, day = self._ctx, self._times, day_of(row.key)
        if times is None or day != tx.now.astimezone(ctx.zone).date():
            _drop(tx, row, "its day is over")
            return None
        try:
            digest = await self._gather(tx, times, day)
            rows = await tx.discussions.many(digest.discussions)
            composed = digest_mail(
                ctx.composer,
                digest,
                {key: await thread_of(ctx, tx, one, tx.now) for key, one in rows.items()},
                shop=next(iter(ctx.config.shop_names), ctx.name),
                key=row.key,
                date=tx.now.replace(microsecond=0),
                message_id=row.message_id,
            )
        except (TemplateBroken, ValueError, KeyError) as error:
            return RenderFault(f"{type(error).__name__}: {error}")
        if composed.problem is not None:
            ctx.log.error("template broken, shipped one used", problem=str(composed.problem))
        date = tx.now.replace(microsecond=0)
        arrived = internal_date(date, tx.now, unread=True)
        return Rendered(row.id, date, MailToFile(row.message_id, composed.data, arrived))

    async def _gather(self, tx: Transaction, times: DigestTimes, day: date) -> Digest:
        ctx, now = self._ctx, self._ctx.clock()
        since = times.since(day)
        everybody = await waits(ctx, tx)
        read = await _read_until(tx)
        return arrange(
            day,
            now,
            since,
            figures=await _figures(tx, times, since, now),
            answers=[Answer(w.discussion, w.due, w.urgency) for w in everybody.values()],
            held=await _held(tx, since),
            money=await _money(tx),
            failed=await _failed(tx, since),
            unfiled=len(await tx.filings.in_state(FilingState.ASIDE)),
            read_until=(read or since) if self._is_old(read, now) else None,
        )


def _drop(tx: Transaction, row: FilingRow, why: str) -> None:
    tx.move(row, MACHINE, FilingEvent.DROP, discussion=HOME, subject=row.key, detail=why)


async def _figures(
    tx: Transaction, times: DigestTimes, since: datetime, until: datetime
) -> Figures:
    said = await tx.happened.messages(since, until)
    money = await tx.happened.money(since, until)
    gestures = [amount for kind, amount in money if kind == MovementKind.GESTURE]
    refunds = [amount for kind, amount in money if kind != MovementKind.GESTURE]
    answered = await tx.happened.first_answers(since, until)
    return Figures(
        received=said.get(AuthorKind.CUSTOMER, 0) + said.get(AuthorKind.OPERATOR, 0),
        answered=said.get(AuthorKind.SELLER, 0),
        opened=await tx.happened.opened(since, until),
        closed=await tx.happened.closed(since, until),
        refunds=Sums(len(refunds), sum(refunds, Decimal(0))),
        gestures=Sums(len(gestures), sum(gestures, Decimal(0))),
        first_answer=typical(answered, times.calendar),
    )


async def _held(tx: Transaction, since: datetime) -> list[Trouble]:
    """Replies that did not leave, or of which nobody knows whether they arrived."""
    found = [
        Trouble(r.discussion, r.reason, r.seen_at, json.loads(r.facts), r.sender_name or r.sender)
        for r in await tx.replies.in_state(IntakeState.HELD)
    ]
    for row in await tx.deliveries.in_state(
        DeliveryState.PLANNED,
        DeliveryState.SUBMITTED,
        DeliveryState.UNCERTAIN,
        DeliveryState.HELD,
    ):
        reason = _trouble_of(row)
        if reason is not None:
            reply = await tx.replies.get(row.reply)
            facts = await _told(tx, row.discussion, f"delivery:{row.id}:{reason}")
            by = (reply.sender_name or reply.sender) if reply else ""
            at = row.submitted_at or row.first_tried_at or row.created_at
            found.append(Trouble(row.discussion, reason, at, facts, by))
    return await _not_over(tx, found, since)


async def _money(tx: Transaction) -> list[Movement]:
    return [
        Movement(
            row.discussion,
            row.order_number,
            MovementKind(row.kind) if row.kind else None,
            Decimal(row.amount),
            MovementNeed.WORD if is_unshown(row) else _NEEDS[RefundState(row.state)],
            row.confirmed_at or row.created_at,
            row.asked_by,
        )
        for row in await tx.money.in_state(*_NEEDS)
    ]


async def _failed(tx: Transaction, since: datetime) -> list[Trouble]:
    """What was asked for and not done, since the digest before."""
    found: list[Trouble] = []
    for closing in await tx.happened.refused_closings(since):
        facts = await _told(tx, closing.discussion, f"close:{closing.id}:{closing.answer}")
        at = closing.asked_at or closing.created_at
        found.append(Trouble(closing.discussion, closing.answer, at, facts))
    # A discussion closed since, by whatever hand, is closed.
    found = await _not_over(tx, found, None)
    for row in await tx.happened.failed_money(since):
        told = _last_told(row)
        if told is None or (row.state == RefundState.WITHDRAWN and not told.lapsed):
            continue
        facts = facts_of(row) | await _told(tx, row.discussion or "", told.key)
        at = row.settled_at or row.missed_at or row.created_at
        found.append(Trouble(row.discussion, told.reason, at, facts, row.asked_by))
    return found


async def _is_wanted(tx: Transaction, times: DigestTimes, day: date) -> bool:
    """Whether a day's digest is for this journal to plan, and not planned yet."""
    moment, began = times.moment(day), (await tx.account()).adopted_at
    if moment is None or began is None or moment < began:
        return False
    return await tx.filings.get(HOME, key_of(day)) is None


async def _read_until(tx: Transaction) -> datetime | None:
    """Until when any sweep has seen what changed."""
    seen = [await tx.discussions.seen_until(kind) for kind in SweepKind]
    return max(filter(None, seen), default=None)


def _trouble_of(row: DeliveryRow) -> str | None:
    """What staff were told of a dispatch that still stands so; None if it goes its way."""
    if row.automatic:
        return None  # nobody has to do anything about an acknowledgement
    told = row.told.split()
    match DeliveryState(row.state):
        case DeliveryState.HELD | DeliveryState.UNCERTAIN:
            return told[-1] if told else HoldReason.SUBMISSION_UNCERTAIN
        case DeliveryState.SUBMITTED if HoldReason.UNRECORDED in told:
            return HoldReason.UNRECORDED
        case DeliveryState.PLANNED if HoldReason.SUBMISSION_DELAYED in told:
            return HoldReason.SUBMISSION_DELAYED
        case _:
            return None


@dataclass(frozen=True, slots=True)
class _Told:
    """The last that was told of a movement: why, and the key of the notice."""

    reason: str
    key: str

    @property
    def lapsed(self) -> bool:
        return self.reason == HoldReason.MONEY_LAPSED


def _last_told(row: MoneyRow) -> _Told | None:
    if not row.told:
        return None
    reason, _, number = row.told.split()[-1].partition(":")
    return _Told(reason, f"money:{row.id}:{reason}:{number}")


async def _told(tx: Transaction, discussion: str, key: str) -> dict[str, str]:
    """The facts of a notice that was queued; none where there was none, or its words are pruned."""
    filing = await tx.filings.get(discussion, key)
    return dict(Notice.from_json(filing.notice).facts) if filing and filing.notice else {}


async def _not_over(
    tx: Transaction, troubles: Iterable[Trouble], since: datetime | None
) -> list[Trouble]:
    """Those whose discussion is still open; of closed ones those that came up since then."""
    listed = list(troubles)
    rows = await tx.discussions.many({t.discussion for t in listed if t.discussion})
    over = {row.id for row in rows.values() if row.status == Status.CLOSED}
    return [t for t in listed if t.discussion not in over or (since is not None and t.at >= since)]
