"""Automatic acknowledgements: judged, put into words, dispatched, told to staff.

The sweep notes which discussions a customer has begun; here each of them is judged once
(`domain/acknowledgement`), and what is to be sent becomes a dispatch like any other, marked as
automatic: it travels, is resumed and recorded as replies are. What differs: it is judged again
when it is about to leave, it is never tried twice where nobody knows what became of the first
try, and no answer of the shop's is seen in it: the response clock goes on, colleagues are not
held for it, nothing is closed or marked as answered.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import timedelta
from zoneinfo import ZoneInfo

from mailbridge.bridge.context import Context
from mailbridge.bridge.notices import queue_notice
from mailbridge.bridge.templates import case_values, fault_words, fill_one, known_order
from mailbridge.config.models import Acknowledgement
from mailbridge.domain.acknowledgement import PASSING, Case, Rules, Said, WhyNot, failure, why_not
from mailbridge.domain.command import Command
from mailbridge.domain.delivery import MACHINE, DeliveryEvent, DeliveryState
from mailbridge.domain.discussion import AuthorKind, DiscussionKind, Status
from mailbridge.domain.filing import FilingState
from mailbridge.domain.intake import IntakeState
from mailbridge.domain.notice import Done, DoneKind, HoldReason, Notice, NoticeKind
from mailbridge.domain.opening import is_opening, opening_id
from mailbridge.domain.vocabulary import Verb
from mailbridge.domain.wording import text_hash
from mailbridge.journal.tables import DeliveryRow, DiscussionRow
from mailbridge.journal.transaction import Transaction
from mailbridge.mail.outgoing import check_outgoing
from mailbridge.mail.reply_catalogue import Catalogue
from mailbridge.mail.reply_values import ReplyValues

__all__ = [
    "ACKNOWLEDGED",
    "NOT_ACKNOWLEDGED",
    "Acknowledging",
    "Unfit",
    "acknowledgement_text",
    "tell_failure",
]

ACKNOWLEDGED = "acknowledged:"
NOT_ACKNOWLEDGED = "unacknowledged:"
"""How the keys of the mails begin that tell staff of one."""

_DAY = timedelta(hours=24)
_AT_IT = frozenset({IntakeState.GATHERING, IntakeState.HELD})
_GONE = frozenset({DeliveryState.CANCELLED})


class Unfit(Exception):
    """The template gives no text that could be sent; `str()` says why, for the operator."""


class Acknowledging:
    """The acknowledgements of one account."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._told: set[str] = set()

    async def run(self) -> None:
        """Judge what is to be judged."""
        ctx = self._ctx
        async with ctx.read() as tx:
            stopped = ctx.stands_still(await tx.account())
            waiting = (
                [] if stopped else [r.discussion for r in await tx.acknowledgements.to_judge()]
            )
        for discussion in waiting:
            await self._consider(discussion)

    async def tell(self) -> None:
        """Tell staff what went out: in the thread, as a mail that is read already."""
        async with self._ctx.read() as tx:
            sent = [row.id for row in await tx.acknowledgements.to_tell()]
        for identity in sent:
            await self._tell_sent(identity)

    async def _consider(self, discussion: str) -> None:
        """Settle one, unless what speaks against it may pass."""
        ctx = self._ctx
        wanted = ctx.config.acknowledgement
        async with ctx.read() as tx:
            row = await tx.discussions.get(discussion)
            against = await self._against(tx, row, wanted) if row else WhyNot.NOT_OPEN
        text = ""
        if row is not None and wanted is not None and against is None:
            try:
                text = await _words(ctx, row, wanted)
            except Unfit as unfit:
                self._say_once(str(unfit))
                return
        async with ctx.write() as tx:
            chance = await tx.acknowledgements.get(discussion)
            row = await tx.discussions.get(discussion)
            if chance is None or chance.settled_at is not None:
                return
            against = await self._against(tx, row, wanted) if row else WhyNot.NOT_OPEN
            if against in PASSING:
                return
            if against is None and (row is None or not text):
                return  # it was different a moment ago: judged again the next time
            chance.settled_at = tx.now
            if against is not None or row is None:
                chance.why_not = str(against)
                tx.note("not acknowledged", discussion=discussion, detail=str(against))
                return
            delivery = _dispatch(ctx, tx, row, text)
            tx.deliveries.add(delivery)
            await tx.flush()
            chance.delivery = delivery.id
            tx.note("acknowledgement planned", discussion=row.id, subject=delivery.reply)
        ctx.log.info("customer acknowledged", discussion=row.short)

    async def _against(
        self, tx: Transaction, row: DiscussionRow, wanted: Acknowledgement | None
    ) -> WhyNot | None:
        if wanted is None:
            return WhyNot.KIND  # switched off meanwhile
        case = await _case(tx, row)
        return why_not(case, _rules(self._ctx, wanted), tx.now)

    async def still_fits(self, tx: Transaction, delivery: DeliveryRow) -> bool:
        """Whether a planned one may leave now; it is cancelled where it may not."""
        row = await tx.discussions.get(delivery.discussion)
        wanted = self._ctx.config.acknowledgement
        against = await self._against(tx, row, wanted) if row else WhyNot.NOT_OPEN
        if against is None:
            return True
        tx.move(
            delivery,
            MACHINE,
            DeliveryEvent.CANCEL,
            discussion=delivery.discussion,
            subject=str(delivery.id),
            detail=against,
        )
        chance = await tx.acknowledgements.get(delivery.discussion)
        if chance is not None:
            chance.why_not = against
        if against is WhyNot.LATE and row is not None:
            reason, facts = HoldReason.SUBMISSION_GAVE_UP, {"reply": delivery.reply_text}
            await tell_failure(self._ctx, tx, row, delivery, reason, facts)
        return False

    async def _tell_sent(self, identity: int) -> None:
        ctx = self._ctx
        async with ctx.write() as tx:
            delivery = await tx.deliveries.get(identity)
            row = await tx.discussions.get(delivery.discussion) if delivery else None
            if delivery is None or row is None or delivery.told:
                return
            delivery.told = DoneKind.ACKNOWLEDGED
            at = delivery.submitted_at or delivery.recorded_at or tx.now
            done = Done(DoneKind.ACKNOWLEDGED, {"at": ctx.stamp(at)})
            news = Notice(NoticeKind.NEWS, done=(done,), text=delivery.text)
            await queue_notice(ctx, tx, row, news, key=f"{ACKNOWLEDGED}{delivery.reply}")

    def _say_once(self, words: str) -> None:
        """Tell the operator what keeps customers from being acknowledged, not once for each."""
        if words not in self._told:
            self._told.add(words)
            key = f"accounts.{self._ctx.name}.acknowledgement"
            self._ctx.log.error("customers are not acknowledged", key=key, problem=words)


async def tell_failure(
    ctx: Context,
    tx: Transaction,
    discussion: DiscussionRow,
    delivery: DeliveryRow,
    reason: HoldReason,
    facts: Mapping[str, str],
) -> None:
    """Tell staff, once, that an acknowledgement went wrong. Nobody has to do anything about it:
    the customer is answered as if there had been none."""
    why = failure(reason, DeliveryState(delivery.state))
    if why is None:
        return
    words = next((facts[name] for name in ("words", "reply") if facts.get(name)), "")
    done = Done(DoneKind.NOT_ACKNOWLEDGED, {"why": why, "words": words})
    delivery.told = f"{delivery.told} {reason}".strip()
    key = f"{NOT_ACKNOWLEDGED}{delivery.reply}"
    await queue_notice(ctx, tx, discussion, Notice(NoticeKind.NEWS, done=(done,)), key=key)


def _rules(ctx: Context, wanted: Acknowledgement) -> Rules:
    return Rules(
        kinds=frozenset(wanted.kinds or DiscussionKind),
        max_age=wanted.max_age,
        calendar=ctx.answer_times.calendar,
        only_outside_hours=wanted.only_outside_hours,
    )


async def _case(tx: Transaction, row: DiscussionRow) -> Case:
    """What the journal knows of a discussion, its own acknowledgement left out."""
    mails = {f.key: f for f in await tx.filings.of_thread(row.id, "message:")}
    said = []
    for message in await tx.discussions.messages(row.id):
        if message.automatic:
            continue
        mail = mails.get(f"message:{message.key}")
        said.append(
            Said(
                _author(message.author_kind),
                message.sent_at,
                message.text,
                past=mail is not None and mail.backfill,
                filed=mail is not None and mail.state == FilingState.FILED,
            )
        )
    sent = await tx.deliveries.of_discussion(row.id)
    first = await tx.deliveries.of_discussion(opening_id(row.order_number or ""))
    replies = await tx.replies.of_discussion(row.id)
    return Case(
        kind=DiscussionKind(row.kind),
        status=Status(row.status),
        said=said,
        we_began=is_opening(row.id) or bool(first),
        being_answered=any(not d.automatic and d.state not in _GONE for d in sent)
        or any(r.state in _AT_IT for r in replies),
        today=await tx.acknowledgements.sent_since(row, tx.now - _DAY),
    )


def _author(kind: str) -> AuthorKind:
    # Read back from a mail's header it may be any word.
    return AuthorKind(kind) if kind in set(AuthorKind) else AuthorKind.AUTOMATIC


async def _words(ctx: Context, row: DiscussionRow, wanted: Acknowledgement) -> str:
    """What the customer reads; raises Unfit."""
    async with ctx.read() as tx:
        order = await known_order(tx, row.order_number)
    text = await asyncio.to_thread(
        acknowledgement_text,
        ctx.composer.catalogue,
        ctx.zone,
        wanted,
        case_values(ctx, row, order, ""),
        has_order=row.order_number is not None,
    )
    limits = ctx.marketplace.capabilities
    if not limits.text_min <= len(text) <= (limits.text_max or len(text)):
        raise Unfit(
            f"{len(text)} characters; the marketplace takes {limits.text_min} to "
            f"{limits.text_max or 'any number'}"
        )
    if leak := check_outgoing(text, ctx.identity, (), ctx.vocabulary):
        raise Unfit(f"it shows what a customer must never see ({leak})")
    return text


def acknowledgement_text(
    catalogue: Catalogue,
    zone: ZoneInfo,
    wanted: Acknowledgement,
    values: ReplyValues,
    *,
    has_order: bool,
) -> str:
    """The words for one customer; raises Unfit.

    They stand without the frame around answers of staff, which may name who answers.
    """
    asked = Command(Verb.TEMPLATE, wanted.template, wanted.template, wanted.values)
    made = fill_one(catalogue, zone, asked, values, hello=True, bye=True, has_order=has_order)
    if isinstance(made, tuple):
        raise Unfit(fault_words(made))
    if made.template.closes:
        raise Unfit(f"“{made.template.title}” closes the discussion")
    return made.text


def _dispatch(ctx: Context, tx: Transaction, row: DiscussionRow, text: str) -> DeliveryRow:
    # The same name in every journal: an answer to the mail, or a bounce, is known by it.
    name = hashlib.sha256(f"acknowledgement\0{row.reference}".encode()).hexdigest()[:24]
    return DeliveryRow(
        account=ctx.name,
        discussion=row.id,
        reply=name,
        number=0,
        state=DeliveryState.PLANNED,
        message_id=ctx.identity.customer_id(name),
        text=text,
        text_hash=text_hash(text),
        automatic=True,
        due_at=tx.now,
        created_at=tx.now,
    )
