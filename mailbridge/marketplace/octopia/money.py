"""A movement of money as a request of the API: payloads, reasons, motives.

The rule: a request that can't say exactly what is meant is never built (RefusedError). The API
knows cancellations, before and after shipment alike, with a reason out of a list it gives, and
gestures with a reason in words. Every request is only taken; what becomes of it is read from the
order.

Pure. Which movement applies to an order is `domain/money`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mailbridge.domain.money import Cause, GestureMotive, Movement, MovementKind
from mailbridge.marketplace.octopia import models
from mailbridge.marketplace.port import MoneyRules, RefusedError

__all__ = ["RULES", "Lines", "gesture", "lines_of", "motive_of", "partial", "reason", "whole"]

RULES = MoneyRules(
    kinds=frozenset(MovementKind),
    motives=frozenset(GestureMotive),
    single_lines_before_shipment=True,
    gesture_before_shipment=False,
)

_DETAILS: Mapping[GestureMotive, str] = {
    GestureMotive.MISSING_STOCK: "Article indisponible",
    GestureMotive.DAMAGED_OR_MISSING: "Article endommagé ou manquant",
    GestureMotive.WRONG_ITEM: "Erreur d'article",
    GestureMotive.FEES: "Frais engagés par le client",
    GestureMotive.LATE: "Retard de livraison",
    GestureMotive.RETURN_FEES: "Frais de retour",
    GestureMotive.SHIPPING_FEES: "Frais de livraison",
    GestureMotive.WARRANTY: "Garantie",
    GestureMotive.OTHER: "Geste commercial",
}
_MOTIVES = {"missingproduct": GestureMotive.DAMAGED_OR_MISSING}
"""The one reason that was seen beside `Other`. It says less than any motive of ours, so it is
read and never written."""
# What a reason's code or label says, for each cause the best first. The full list of reasons is
# not public; the ones here are French and English words for the same things.
_REASONS: Mapping[Cause, tuple[str, ...]] = {
    Cause.OUT_OF_STOCK: (r"stock|rupture|unavailable|indisponib",),
    Cause.WITHDRAWAL: (r"retract|rétract|withdraw", r"return|retour"),
    Cause.CLAIM: (
        r"claim|r[ée]clam|litige|dispute",
        r"damaged|defect|broken|not.?working|endommag|panne|defectueu|défectueu",
        r"customer|client|consumer",
    ),
    Cause.GOODWILL: (r"goodwill|commercial|geste", r"seller.?(?:decision|initiative|request)"),
}
_ANY = re.compile(r"\bother|autre|divers|seller.?error|erreur du vendeur", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines a movement is about, as the API names them: (line, offer)."""

    named: tuple[tuple[str, str], ...]
    everything: bool
    """They are all the order has: one request for the whole."""


def lines_of(movement: Movement, fresh: models.Order) -> Lines:
    """The movement's lines in the order as read just now; RefusedError if one is not there."""
    offers = {line.order_line_id: line.offer.id.strip() for line in fresh.lines}
    if not movement.lines:
        raise RefusedError("no line of the order was named")
    references = [line.reference for line in movement.lines]
    if len(set(references)) < len(references):
        raise RefusedError("two of the lines bear the same reference, so they can't be told apart")
    missing = [line.reference for line in movement.lines if line.id not in offers]
    if missing:
        raise RefusedError(f"the order no longer has these lines: {', '.join(missing)}")
    everything = {line.id for line in movement.lines} == set(offers)
    named = tuple((line.id, offers[line.id]) for line in movement.lines)
    if not everything and any(not offer for _, offer in named):
        raise RefusedError("a line has no offer, so it can't be cancelled by itself")
    return Lines(named, everything)


def reason(cause: Cause, offered: Sequence[models.Coded], configured: Mapping[str, str]) -> str:
    """The code of the reason that says this cause; RefusedError names those there are."""
    codes = [one.code for one in offered]
    wanted = configured.get(cause, "")
    if wanted:
        if codes and wanted not in codes:
            raise RefusedError(
                f"the service does not offer the configured reason {wanted}; it offers: "
                + ", ".join(codes)
            )
        return wanted
    for words in _REASONS[cause]:
        pattern = re.compile(words, re.IGNORECASE)
        for one in offered:
            if pattern.search(f"{one.code} {one.label}"):
                return one.code
    for one in offered:
        if _ANY.search(f"{one.code} {one.label}"):
            return one.code
    raise RefusedError(
        f"no reason of the service says {cause}; it offers: {', '.join(codes) or 'none'} "
        "(name one in the configuration: refund_reasons)"
    )


def whole(key: str, number: str, code: str, *, shipping: bool) -> dict[str, Any]:
    """Cancel the whole order; `key` is what the order is called."""
    return {key: number, "reason": code, "shippingCostRefund": shipping}


def partial(where: str, number: str, lines: Lines, code: str, *, shipping: bool) -> dict[str, Any]:
    """Cancel some lines; `where` says whether shipping stands with each `line` or once."""
    said = {"shippingCostRefund": shipping}
    each = said if where == "line" else {}
    return {
        "orderSellerId": number,
        **({} if where == "line" else said),
        "lines": [
            {"lineId": line, "offerId": offer, "reason": code, **each}
            for line, offer in lines.named
        ],
    }


def gesture(movement: Movement) -> dict[str, Any]:
    """Give a free amount; the reason stands in words, which fit every motive."""
    cents = movement.amount * 100
    if movement.motive is None or movement.amount <= 0 or cents != cents.to_integral_value():
        raise RefusedError("a gesture needs a motive and an amount in whole cents")
    return {
        "orderId": movement.order.number,
        "reason": "Other",
        "reasonDetails": _DETAILS[movement.motive],
        "amount": _number(movement.amount),
    }


def _number(amount: Decimal) -> float | int:
    """Exact for whole cents: the shortest decimal of the float is the amount itself."""
    return int(amount) if amount == amount.to_integral_value() else float(amount)


def motive_of(words: str) -> int:
    """The motive a gesture was given for, by the details we write or the service's own reason;
    OTHER for anybody else's words."""
    said = words.strip()
    found = (motive for motive, details in _DETAILS.items() if details == said)
    return int(next(found, _MOTIVES.get(said.lower(), GestureMotive.OTHER)))
