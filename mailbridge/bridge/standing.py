"""How an account stands, as `status` tells it: without the words anybody wrote."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from mailbridge.bridge.account import AccountBridge
from mailbridge.bridge.deadlines import Wait, waits
from mailbridge.bridge.probe import read_proof
from mailbridge.bridge.sweep import SweepKind
from mailbridge.bridge.till import unsettled
from mailbridge.bridge.unreadable import Unreadable, still_unreadable
from mailbridge.domain.deadline import Urgency
from mailbridge.domain.delivery import DeliveryState
from mailbridge.domain.filing import FilingState
from mailbridge.domain.intake import IntakeState

__all__ = ["standing"]

Answer = dict[str, Any]

_NEAREST = 20
"""Answers due that are named one by one."""


async def standing(bridge: AccountBridge) -> Answer:
    """Counts by state, what waits for a person, what cannot be read, until when answers are due."""
    ctx = bridge.ctx
    async with ctx.read() as tx:
        account = await tx.account()
        tally = await tx.tally()
        held = await tx.replies.in_state(IntakeState.HELD)
        stuck = await tx.deliveries.in_state(DeliveryState.HELD, DeliveryState.UNCERTAIN)
        aside = await tx.filings.in_state(FilingState.ASIDE)
        names = {r.discussion for r in held} | {d.discussion for d in stuck}
        names |= {f.discussion for f in aside}
        shorts = {k: v.short.upper() for k, v in (await tx.discussions.many(names)).items()}
        moving = await unsettled(tx)
        due = await waits(ctx, tx)
        treated = await tx.waiting.treated()
        sweeps = {k: _iso(await tx.discussions.seen_until(k)) for k in SweepKind}
        unreadable = await still_unreadable(ctx, tx)
    proof = read_proof(account.probe)
    return {
        "account": ctx.name,
        "replies": ctx.config.replies.enabled,
        "money": ctx.config.money.enabled,
        "paused": account.paused_why if account.paused_at else None,
        "reply_mode": ctx.config.mailbox.reply_mode,
        "reply_mode_proven": proof.reply_mode == ctx.config.mailbox.reply_mode,
        "evidence_of_origin": proof.origin,
        "probe": asdict(proof),
        "seen_until": sweeps,
        "counts": tally,
        "moving": moving,
        "answers_due": _due(list(due.values())) | {"treated": treated},
        "unreadable": [_unreadable(one) for one in unreadable],
        "held": [
            {"discussion": shorts[r.discussion], "reply": r.id, "reason": r.reason} for r in held
        ],
        "stuck": [
            {
                "discussion": shorts[d.discussion],
                "reply": d.reply,
                "state": d.state,
                "words": d.reply_text,
            }
            for d in stuck
            if not d.automatic
        ],
        "set_aside": [
            {
                "discussion": shorts.get(f.discussion, ""),  # none: the daily digest
                "mail": f.key,
                "error": f.error,
            }
            for f in aside
        ],
    }


def _due(waiting: list[Wait]) -> Answer:
    """How many answers are due, and the nearest of those that are late or will be soon."""
    near = [w for w in waiting if w.urgency is not Urgency.LATER]
    return {
        **{urgency: sum(w.urgency is urgency for w in waiting) for urgency in Urgency},
        "next": [
            {"discussion": w.short.upper(), "due": _iso(w.due), "urgency": w.urgency}
            for w in near[:_NEAREST]
        ],
    }


def _unreadable(one: Unreadable) -> Answer:
    return {
        "kind": one.kind,
        "id": one.key,
        "discussion": one.short,
        "since": _iso(one.since),
        "tried_at": _iso(one.tried_at),
        "words": one.words,
        "lasts": one.lasts,
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None
