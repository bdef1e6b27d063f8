"""Writing first to the customers of many orders at once: `mailbridge notify`.

Nobody is written to twice by one mailing. What is known of a mailing is one reply an order, under
a key made from the mailing's name and the order's number: it is in the journal before anything
can leave, so that a mailing broken off anywhere goes on where it stopped. From there on these
replies are like any other: sent, recorded, told in the order's thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from mailbridge.bridge.account import AccountBridge
from mailbridge.bridge.dispatch import MAILINGS, PACE
from mailbridge.bridge.opening import NoWay, address_for_order, open_thread, thread_for
from mailbridge.bridge.templates import fault_words, fill_about
from mailbridge.bridge.uptake import shown_channel
from mailbridge.domain.command import Command
from mailbridge.domain.intake import IntakeEvent, IntakeState
from mailbridge.domain.notice import HoldReason
from mailbridge.domain.opening import is_opening, opening_id, order_number
from mailbridge.domain.order import Order
from mailbridge.domain.vocabulary import Verb
from mailbridge.domain.wording import clean_text, text_hash
from mailbridge.journal.tables import ReplyRow
from mailbridge.mail.outgoing import check_outgoing
from mailbridge.mail.rendering import TemplateBroken
from mailbridge.marketplace.port import ReplyChannel

__all__ = ["Mailing", "Outcome", "OutcomeKind", "write_to"]

_AT_ONCE = 50
"""Orders asked for in one call."""


@dataclass(frozen=True, slots=True)
class Mailing:
    """What is written, to whomever. `campaign` names it: in one, no order is written to twice."""

    campaign: str
    template: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    """Instead of a template."""
    dry_run: bool = False
    resume: bool = False
    """Orders already written to are no mistake, and passed over."""


class OutcomeKind(StrEnum):
    """What became of one order."""

    PLANNED = "planned"
    """In the journal; it leaves as soon as it can."""
    SHOWN = "shown"
    """A dry run: this is what would be sent."""
    SKIPPED = "skipped"
    """Written to before, in this mailing."""
    REFUSED = "refused"
    """Nothing is sent; `words` say why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one order; `text` is what its customer reads, shown by dry runs."""

    order: str
    kind: OutcomeKind
    account: str = ""
    discussion: str = ""
    words: str = ""
    text: str = ""

    def to_answer(self) -> dict[str, Any]:
        """For the command line."""
        return {name: value for name, value in asdict(self).items() if value or name == "order"}


class _Refused(Exception):
    """Nothing can be written about this order; `str()` says why."""


async def write_to(
    bridges: Sequence[AccountBridge], mailing: Mailing, numbers: Sequence[str]
) -> AsyncIterator[Outcome]:
    """Write about each of these orders, in their order; raises MarketplaceError."""
    given = list(dict.fromkeys(n.strip() for n in numbers if n.strip()))
    for start in range(0, len(given), _AT_ONCE):
        chunk = given[start : start + _AT_ONCE]
        found = await _found(bridges, mailing, chunk)
        for said in chunk:
            number = order_number(said)
            if number is None:
                words = "that is no order number"
                yield Outcome(said, OutcomeKind.REFUSED, words=words)
                continue
            match found.get(number):
                case None:
                    words = _unknown(bridges)
                    yield Outcome(number, OutcomeKind.REFUSED, words=words)
                case Outcome() as outcome:
                    yield outcome
                case (bridge, order):
                    yield await _write(bridge, mailing, order)


async def _found(
    bridges: Sequence[AccountBridge], mailing: Mailing, chunk: Sequence[str]
) -> dict[str, tuple[AccountBridge, Order] | Outcome]:
    """Whose each order is and how it stands, or that it was written to before."""
    left = [number for said in chunk if (number := order_number(said))]
    found: dict[str, tuple[AccountBridge, Order] | Outcome] = {}
    for bridge in bridges:
        async with bridge.ctx.read() as tx:
            for number in left:
                reply = await tx.replies.get(_key(mailing, number))
                if reply is None:
                    continue
                row = await tx.discussions.get(reply.discussion)
                found[number] = _again(mailing, bridge, number, row.short if row else "")
        left = [number for number in left if number not in found]
        orders = await bridge.ctx.marketplace.orders(left) if left else {}
        found |= {number: (bridge, order) for number, order in orders.items() if number in left}
        left = [number for number in left if number not in found]
    return found


def _again(mailing: Mailing, bridge: AccountBridge, number: str, short: str) -> Outcome:
    name, told = bridge.ctx.name, short.upper()
    if mailing.resume:
        return Outcome(number, OutcomeKind.SKIPPED, name, told)
    words = (
        f"written to before in the mailing {mailing.campaign!r}; --resume passes such orders "
        "over, another --campaign writes once more"
    )
    return Outcome(number, OutcomeKind.REFUSED, name, told, words)


async def _write(bridge: AccountBridge, mailing: Mailing, order: Order) -> Outcome:
    """Plan one, or show it."""
    ctx, number = bridge.ctx, order.number
    try:
        text, framed = await _text(bridge, mailing, order)
        async with ctx.read() as tx:
            home = await thread_for(tx, number)
        if home is None or is_opening(home.id):
            await _reachable(bridge, order)
    except _Refused as no:
        return Outcome(number, OutcomeKind.REFUSED, ctx.name, words=str(no))
    if mailing.dry_run:
        short = home.short.upper() if home else ""
        return Outcome(number, OutcomeKind.SHOWN, ctx.name, short, text=framed)
    async with ctx.write() as tx:
        identity = _key(mailing, number)
        if await tx.replies.get(identity) is not None:  # another one is at it
            return _again(mailing, bridge, number, "")
        row = await thread_for(tx, number)
        if row is None:
            key = opening_id(number)
            row = await open_thread(ctx, tx, key, number=number, order=order, title="")
        reply = ReplyRow(
            account=ctx.name,
            id=identity,
            discussion=row.id,
            state=IntakeState.GATHERING,
            sender="",
            sender_name=MAILINGS,
            written_at=tx.now,
            seen_at=tx.now,
            answers=None,
            references="",
            level=1,
            evidence="operator",
            text=text,
            text_hash=text_hash(text),
            customer_messages=await tx.discussions.customer_messages_filed(row.id),
        )
        tx.replies.add(reply)
        tx.discussions.note_words(row, tx.now)
        await tx.flush()
        # Counted from the last one that waits in the journal, so that a long list may come in
        # parts, be gone on with later, or be joined by another.
        before = await tx.deliveries.last_due(MAILINGS)
        tx.note("mailing", discussion=row.id, subject=identity, detail=mailing.campaign)
        await bridge.obeying.obey(tx, reply, row, IntakeEvent.ACCEPT)
        await tx.flush()
        for delivery in await tx.deliveries.of_reply(identity):
            if before is not None:
                delivery.due_at = max(delivery.due_at, before + PACE)
        return Outcome(number, OutcomeKind.PLANNED, ctx.name, row.short.upper())


async def _text(bridge: AccountBridge, mailing: Mailing, order: Order) -> tuple[str, str]:
    """The text, and what the customer reads of it; raises _Refused."""
    ctx = bridge.ctx
    text = clean_text(mailing.text).strip()
    try:
        if mailing.template:
            asked = Command(Verb.TEMPLATE, mailing.template, mailing.template, mailing.values)
            async with ctx.read() as tx:
                home = await thread_for(tx, order.number)
            made = await fill_about(ctx, order, home, asked, "", first=True)
            if isinstance(made, tuple):
                raise _Refused(fault_words(made))
            text = made.text
        framed = ctx.frame(text, order.customer_name, "", shown_channel(ctx, order))
    except TemplateBroken as broken:
        raise _Refused(str(broken)) from None
    limits = ctx.marketplace.capabilities
    if not text or len(text) < limits.text_min:
        raise _Refused(f"the text is too short: {len(text)} characters, at least {limits.text_min}")
    if limits.text_max is not None and len(framed) > limits.text_max:
        raise _Refused(f"the text is too long: {len(framed)} characters of {limits.text_max}")
    if leak := check_outgoing(framed, ctx.identity, (), ctx.vocabulary):
        raise _Refused(f"the text holds what no customer may see: {leak}")
    return text, framed


async def _reachable(bridge: AccountBridge, order: Order) -> None:
    """Raises _Refused where there is no way to write about this order."""
    ctx = bridge.ctx
    if ctx.marketplace.capabilities.reply_channel is not ReplyChannel.RELAY_MAIL:
        return
    try:
        await address_for_order(ctx, order.number, order)
    except NoWay as no:
        words = "the marketplace gives no address for it any more"
        if no.reason is HoldReason.ORDER_UNREACHABLE:
            words += " (so it is four weeks after an order was shipped)"
        raise _Refused(f"{words}: {said}" if (said := no.facts.get("words")) else words) from None


def _unknown(bridges: Sequence[AccountBridge]) -> str:
    names = ", ".join(bridge.ctx.name for bridge in bridges)
    return f"the marketplace shows no such order for {names or 'any account'}"


def _key(mailing: Mailing, number: str) -> str:
    parts = f"notify\0{mailing.campaign}\0{number}".encode()
    return hashlib.sha256(parts).hexdigest()[:24]
