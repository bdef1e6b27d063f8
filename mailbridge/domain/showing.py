"""What an order card says that staff must not miss: kept to tell when a shown card is outdated.

Only stages, parcels and money given back count. The service's inner states come and go without
meaning anything to a customer; a name or a price is not expected to change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mailbridge.domain.order import LineStage, Order, OrderStage

__all__ = ["Showing", "Topic"]


class Topic(StrEnum):
    """What of an order can change."""

    STATE = "state"
    LINES = "lines"
    PARCELS = "parcels"
    REFUNDS = "refunds"


_UNKNOWN = ("?",)
"""Nothing was said of it, because nothing was known."""


def _no_news(before: tuple[str, ...], now: tuple[str, ...] | None) -> bool:
    """To learn that there is nothing is no change, and nor is it to know no longer."""
    return now == _UNKNOWN or (before == _UNKNOWN and not now)


@dataclass(frozen=True, slots=True)
class Showing:
    """What one card said, in words that are only ever compared."""

    words: Mapping[Topic, tuple[str, ...]]

    @classmethod
    def of(cls, order: Order) -> Showing:
        """What a card of this order says."""
        lines = (
            f"{line.row} {line.reference} "
            + (line.state if line.stage is LineStage.UNKNOWN else line.stage)
            for line in order.lines
        )
        return cls(
            {
                Topic.STATE: (order.state if order.stage is OrderStage.UNKNOWN else order.stage,),
                Topic.LINES: tuple(sorted(lines)),
                Topic.PARCELS: tuple(sorted(f"{p.number} {p.status}" for p in order.parcels)),
                Topic.REFUNDS: _UNKNOWN
                if order.vouchers is None
                else tuple(sorted(f"{v.amount.normalize():f} {v.motive}" for v in order.vouchers)),
            }
        )

    def changed(self, now: Showing) -> tuple[Topic, ...]:
        """What is another since; what this one does not know about is no change."""
        return tuple(
            topic
            for topic in Topic
            if topic in self.words
            and self.words[topic] != now.words.get(topic)
            and not _no_news(self.words[topic], now.words.get(topic))
        )

    def carried(self, now: Showing | None) -> Showing:
        """This card, compared from here on with orders read through another API.

        Both tell the stage alike; what they word each in its own way is taken from `now`, the
        first reading through the other one, or with None not compared.
        """
        words = dict(now.words) if now is not None else {}
        stage = self.words.get(Topic.STATE, ())
        if set(stage) <= set(OrderStage):
            words[Topic.STATE] = stage
        return Showing(words)

    def to_json(self) -> str:
        """For the journal; `from_json` gives an equal value back."""
        return json.dumps(self.words, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, data: str) -> Showing:
        """Raises ValueError for what is no JSON; unknown topics are left out."""
        raw = json.loads(data)
        return cls({topic: tuple(raw[topic]) for topic in Topic if topic in raw})
