"""The terms under which money may move: limits, what is spent, one-time codes, and their words.

Everything here is worked out inside a transaction from the journal and the configuration;
`domain/money` decides with it. Facts are plain words and figures for notices.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import datetime, time
from decimal import Decimal

from mailbridge.bridge.context import Context
from mailbridge.domain.money import (
    Allowed,
    Asked,
    Cause,
    GestureMotive,
    Movement,
    MovementKind,
    Spent,
)
from mailbridge.domain.refund import HOLDS_CLAIM, RefundState
from mailbridge.journal.tables import MoneyRow
from mailbridge.journal.transaction import Transaction

__all__ = [
    "allowed",
    "asked_of",
    "asked_to_json",
    "claim_keys",
    "confirmation_code",
    "facts_of",
    "held_lines",
    "line_key",
    "needs_code",
    "same_gesture",
    "spent",
    "take_plan",
]

_LINE = "line:"
_SETTLED_WELL = frozenset({RefundState.PROVEN, RefundState.PARTLY})


def allowed(ctx: Context) -> Allowed:
    """What the marketplace and the configuration allow; a limit that is not set is 0 €."""
    rules, money = ctx.marketplace.capabilities.money, ctx.config.money
    nothing = Decimal(0)
    return Allowed(
        kinds=rules.kinds,
        motives=rules.motives,
        single_lines_before_shipment=rules.single_lines_before_shipment,
        gesture_before_shipment=rules.gesture_before_shipment,
        most=money.most or nothing,
        most_per_order=money.most_per_order or nothing,
        most_per_day=money.most_per_day or nothing,
    )


async def spent(ctx: Context, tx: Transaction, row: MoneyRow) -> Spent:
    """What other movements hold of this one's order, and what the account gave since midnight."""
    order = [r for r in await tx.money.of_order(row.order_number) if _counts(r, row)]
    claims = await tx.money.holders(row.order_number)
    midnight = datetime.combine(tx.now.astimezone(ctx.zone).date(), time(), ctx.zone)
    today = [r for r in await tx.money.confirmed_since(midnight) if _counts(r, row)]
    return Spent(
        order=sum((_weight(r) for r in order), Decimal(0)),
        day=sum((_weight(r) for r in today), Decimal(0)),
        lines=frozenset(line for r in order for line in held_lines(r, claims)),
        gestures=sum(
            (
                _weight(r)
                for r in order
                if r.kind == MovementKind.GESTURE and (r.carried or r.state not in _SETTLED_WELL)
            ),
            Decimal(0),
        ),
    )


def held_lines(row: MoneyRow, claims: Mapping[str, int]) -> frozenset[str]:
    """References of the lines that a movement keeps others from asking for; `claims` are all of
    its order. What was refused in its answer, or never moved, it has let go."""
    if row.state == RefundState.READY:
        return frozenset(json.loads(row.lines))  # claimed in the moment it is asked for
    return frozenset(
        key.removeprefix(_LINE)
        for key, holder in claims.items()
        if holder == row.id and key.startswith(_LINE)
    )


def _counts(other: MoneyRow, row: MoneyRow) -> bool:
    """Whether another movement stands before this one; of two that are both ready the older
    does, or each would forbid the other."""
    if other.id == row.id or other.state not in HOLDS_CLAIM:
        return False
    both_ready = other.state == row.state == RefundState.READY
    return not both_ready or other.id < row.id


def _weight(row: MoneyRow) -> Decimal:
    """What counts as spent: what was proven, and all of what may still come true."""
    return Decimal(row.moved if row.state in _SETTLED_WELL else row.amount)


async def same_gesture(ctx: Context, tx: Transaction, row: MoneyRow) -> MoneyRow | None:
    """A gesture of the same amount and motive on this order, given or under way today."""
    if row.kind != MovementKind.GESTURE:
        return None
    [key] = claim_keys(ctx, row, tx.now)
    bare = key.removesuffix(f":{row.id}") if row.again else key
    for held, holder in (await tx.money.holders(row.order_number)).items():
        if holder != row.id and (held == bare or held.startswith(f"{bare}:")):
            return await tx.money.get(holder)
    return None


async def needs_code(
    ctx: Context, tx: Transaction, row: MoneyRow, movement: Movement, already: Decimal
) -> bool:
    """Whether a person must confirm it; `already` is what the order has been given before.

    Small sums on one order add up: a limit per movement alone could be passed in slices. And who
    released an unproven mail by its text may not have known that it asks for money.
    """
    reply = await tx.replies.get(row.reply) if row.reply else None
    return (
        movement.kind is MovementKind.CANCELLATION
        or row.again
        or (reply is not None and bool(reply.released_by or reply.evidence == "code"))
        or already + movement.amount > ctx.config.money.confirm_above
    )


def take_plan(row: MoneyRow, movement: Movement) -> bool:
    """Write the movement into its row; whether anything of it differs from what stood there."""
    new = (
        movement.kind,
        str(movement.amount),
        json.dumps([line.reference for line in movement.lines], ensure_ascii=False),
    )
    differs = (row.kind, row.amount, row.lines) != new
    row.kind, row.amount, row.lines = new
    return differs


def claim_keys(ctx: Context, row: MoneyRow, now: datetime) -> list[str]:
    """What must not be paid twice: each line, or the gesture of this amount, motive and day
    (`now`: when it is, or was, asked for)."""
    if row.kind != MovementKind.GESTURE:
        return [line_key(reference) for reference in json.loads(row.lines)]
    day = now.astimezone(ctx.zone).date().isoformat()
    key = f"gesture:{row.amount}:{int(asked_of(row).motive)}:{day}"
    return [f"{key}:{row.id}" if row.again else key]


def line_key(reference: str) -> str:
    """What a movement claims for a line."""
    return f"{_LINE}{reference}"


def confirmation_code(ctx: Context, row: MoneyRow) -> str:
    """The one-time code of this question: never stored; a new question has a new code."""
    return ctx.identity.code("money", str(row.id), str(row.code_round))


def asked_to_json(asked: Asked) -> str:
    """For the journal."""
    raw = asdict(asked)
    raw["gesture"] = None if asked.gesture is None else str(asked.gesture)
    raw["motive"] = int(asked.motive)
    return json.dumps(raw, ensure_ascii=False)


def asked_of(row: MoneyRow) -> Asked:
    """What `asked_to_json` kept."""
    raw = json.loads(row.asked)
    gesture = raw["gesture"]
    return Asked(
        reference=raw["reference"],
        with_shipping=raw["with_shipping"],
        cause=Cause(raw["cause"]),
        gesture=None if gesture is None else Decimal(gesture),
        motive=GestureMotive(raw["motive"]),
    )


def facts_of(row: MoneyRow, names: Mapping[str, str] | None = None) -> dict[str, str]:
    """A planned movement in words and figures; `names` gives products by line reference."""
    asked = asked_of(row)
    lines: Collection[str] = json.loads(row.lines)
    shown = [f"{ref} ({names[ref]})" if names and names.get(ref) else ref for ref in lines]
    facts = {
        "movement": row.kind,
        "order": row.order_number,
        "amount": row.amount,
        "items": ", ".join(shown),
        "by": row.asked_by,
    }
    if row.kind == MovementKind.GESTURE:
        facts["motive"] = str(int(asked.motive))
    else:
        facts["cause"] = asked.cause
        facts["shipping"] = "yes" if asked.with_shipping else ""
        facts["whole"] = "yes" if asked.reference is None else ""
    return facts
