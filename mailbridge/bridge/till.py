"""The operator at the till: what would be done with an order's money, and having it done.

What is shown is worked out as a reply's command would be, from the order as it stands; what is
recorded is the very plan that the operator has seen and confirmed. If the order calls for
something else by then, nothing is asked for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from mailbridge.bridge import movement, terms
from mailbridge.bridge.account import AccountBridge
from mailbridge.bridge.confirming import ask_for_money, confirm, deny, is_unshown
from mailbridge.domain.amount import parse_amount
from mailbridge.domain.money import (
    Asked,
    Cause,
    GestureMotive,
    Impossible,
    Movement,
    MovementKind,
    gesture_motive,
    plan_movement,
)
from mailbridge.domain.refund import SETTLED, RefundState
from mailbridge.journal.tables import MoneyRow
from mailbridge.journal.transaction import Transaction
from mailbridge.marketplace.port import RefusedError

__all__ = [
    "asked_by_operator",
    "foresee",
    "have_done",
    "movement_of",
    "settle",
    "unsettled",
    "watch",
]

Answer = dict[str, Any]

_BY = "mailbridge refund"
_SETTLED_BY = "mailbridge settle"
_LOOK = 0.2
"""Seconds between two looks at a movement under way."""
_SHOWN = (RefundState.WAITING, RefundState.READY, RefundState.GRANTED, RefundState.UNCERTAIN)


def asked_by_operator(given: Mapping[str, Any]) -> Asked:
    """The command's words as they come over the socket; raises ValueError, in words."""
    if given.get("gesture") is not None:
        amount = parse_amount(str(given["gesture"]))
        if amount is None:
            raise ValueError(f"{given['gesture']!r} is no amount; give euros, such as 12,50")
        motive = gesture_motive(str(given.get("motive") or ""))
        if motive is None:
            words = ", ".join(f"{m.value} {m.name.lower()}" for m in GestureMotive)
            raise ValueError(f"{given.get('motive')!r} is no motive; there are: {words}")
        return Asked(gesture=amount, motive=motive)
    line = given.get("line")
    shipping = given.get("shipping")
    return Asked(
        reference=None if line is None else str(line),
        # As in a mail: the whole order is all that was paid, unless said otherwise.
        with_shipping=line is None if shipping is None else bool(shipping),
        cause=Cause(str(given.get("cause") or Cause.GOODWILL)),
    )


async def foresee(bridge: AccountBridge, number: str, asked: Asked) -> Answer:
    """What would be asked of the marketplace, or why nothing; raises Unreadable."""
    ctx = bridge.ctx
    order = await movement.read_order(ctx, number)
    row = MoneyRow(
        id=0,
        order_number=number,
        asked=terms.asked_to_json(asked),
        state=RefundState.ASKED,
        again=False,
    )
    async with ctx.read() as tx:
        spent = await terms.spent(ctx, tx, row)
        planned = plan_movement(asked, order, terms.allowed(ctx), spent)
        same = None
        if isinstance(planned, Movement):
            terms.take_plan(row, planned)
            same = await terms.same_gesture(ctx, tx, row)
    told: Answer = {
        "account": ctx.name,
        "order": number,
        "state": order.state,
        "stage": order.stage,
    }
    if isinstance(planned, Impossible):
        return told | {"obstacle": planned.obstacle, "facts": dict(planned.facts)}
    try:
        call = ctx.marketplace.call_of(planned)
    except RefusedError as error:
        return told | {"obstacle": "refused", "facts": {"words": str(error)}}
    return told | _plan(planned, call, same)


def _plan(planned: Movement, call: str, same: MoneyRow | None) -> Answer:
    gesture = planned.kind is MovementKind.GESTURE
    return {
        "obstacle": None,
        "movement": planned.kind,
        "call": call,
        "amount": str(planned.amount),
        "lines": [
            {
                "reference": line.reference,
                "name": line.name,
                "quantity": line.quantity,
                "price": str(line.price),
                "shipping": f"{line.shipping:.2f}" if planned.with_shipping else None,
            }
            for line in planned.lines
        ],
        "cause": None if gesture else planned.cause,
        "motive": planned.motive and int(planned.motive),
        "same_at": same.asked_at.isoformat(timespec="minutes")
        if same is not None and same.asked_at
        else None,
    }


async def have_done(bridge: AccountBridge, number: str, asked: Asked, seen: Answer) -> int:
    """Record that the operator wants done what they have `seen`; the movement's number.

    Its end is told in the newest discussion about the order, where there is one.
    """
    ctx = bridge.ctx
    async with ctx.write() as tx:
        about = await tx.discussions.of_order(number)
        row = await ask_for_money(
            tx,
            ctx,
            asked,
            order_number=number,
            discussion=about[-1].id if about else None,
            reply=None,
            by=_BY,
        )
        row.kind, row.amount = str(seen["movement"]), str(seen["amount"])
        references = [str(line["reference"]) for line in seen["lines"]]
        row.lines = json.dumps(references, ensure_ascii=False)
        row.again = seen["same_at"] is not None
        row.confirmed_by, row.confirmed_at = _BY, tx.now
        row.own_receipt = bool(about)
        return row.id


async def watch(bridge: AccountBridge, identity: int, seconds: float) -> AsyncIterator[Answer]:
    """How a movement stands, each time that changes, until it is settled or time is up."""
    clock = asyncio.get_running_loop()
    end = clock.time() + seconds
    last = ""
    while True:
        async with bridge.ctx.read() as tx:
            row = await tx.money.get(identity)
        if row is None:
            return
        if row.state != last:
            last = row.state
            yield movement_of(row)
        if row.state in SETTLED or clock.time() > end:
            return
        await asyncio.sleep(_LOOK)


async def settle(bridge: AccountBridge, number: str, *, paid: bool) -> Answer | None:
    """The operator has looked, and says whether the money of this order that nothing shows was
    paid; None where there is none such."""
    ctx = bridge.ctx
    async with ctx.write() as tx:
        row = next((r for r in await tx.money.of_order(number) if is_unshown(r)), None)
        if row is None:
            return None
        if paid:
            await confirm(tx, ctx, row, by=_SETTLED_BY)
        else:
            await deny(tx, ctx, row, by=_SETTLED_BY)
        return movement_of(row)


async def unsettled(tx: Transaction) -> list[Answer]:
    """Movements that wait for a word, or for what the order shows."""
    return [movement_of(row) for row in await tx.money.in_state(*_SHOWN)]


def movement_of(row: MoneyRow) -> Answer:
    """One movement, without anybody's name or words."""
    return {
        "movement": row.id,
        "reply": row.reply,
        "state": row.state,
        "kind": row.kind,
        "order": row.order_number,
        "amount": row.amount,
        "moved": row.moved,
        "unshown": is_unshown(row),
        "asked_at": row.asked_at.isoformat(timespec="seconds") if row.asked_at else None,
        "words": row.answer,
    }
