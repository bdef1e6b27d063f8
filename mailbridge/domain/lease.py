"""How far a relay address can be trusted.

The service says an address lives four weeks, and it was seen to hand out the same one for
longer. What we know is only when it last confirmed one, so that is what is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

__all__ = ["FRESH", "LIFE", "Lease", "LeaseState"]

FRESH = timedelta(hours=24)
"""Within this time after a confirmation an address is used without asking again."""

LIFE = timedelta(weeks=4)
"""Beyond this time without a confirmation an address is never used."""


class LeaseState(StrEnum):
    """What may be done with the address now."""

    FRESH = "fresh"
    STALE = "stale"
    """Ask the marketplace first; if it cannot be asked now, the reply waits."""
    EXPIRED = "expired"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Lease:
    """A relay address and when the marketplace last confirmed it (aware)."""

    address: str | None
    confirmed_at: datetime | None

    def state(self, now: datetime) -> LeaseState:
        """See LeaseState."""
        if self.address is None or self.confirmed_at is None:
            return LeaseState.MISSING
        age = now - self.confirmed_at
        if age <= FRESH:
            return LeaseState.FRESH
        return LeaseState.STALE if age <= LIFE else LeaseState.EXPIRED
