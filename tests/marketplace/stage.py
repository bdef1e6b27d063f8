"""The hands that move the other side of a marketplace under test.

What differs between marketplaces is told here and in `Capabilities`; a suite never asks which
one it speaks to.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from mailbridge.domain.discussion import AuthorKind, DiscussionKind
from mailbridge.marketplace.port import Marketplace

__all__ = ["Stage"]


class Stage(Protocol):
    """The adapter under test, and what happens at the marketplace. Times are aware."""

    rights_by_kind: bool
    """A right may be missing for one kind of discussion only."""
    claims_show_in_orders: bool
    """`Order.has_claims` is told by this marketplace."""
    settles_in: timedelta
    """How long money that was granted takes to show in the order, at most."""

    @property
    def marketplace(self) -> Marketplace:
        """The adapter under test."""
        ...

    def now(self) -> datetime:
        """The marketplace's clock."""
        ...

    def passes(self, time: timedelta) -> None:
        """Time goes by, for the marketplace and the adapter."""
        ...

    def order(self, *, shipped: bool = False, lines: int = 1) -> str:
        """Somebody orders things for 10 € with 5 € shipping each (REF-1, …); its number."""
        ...

    def ships(self, order: str) -> None:
        """The seller ships an order."""
        ...

    def opens(
        self,
        kind: DiscussionKind,
        text: str,
        *,
        order: str | None = None,
        unlisted_for: timedelta = timedelta(0),
    ) -> str:
        """A customer opens a discussion; its id. A marketplace whose lists show some things late
        hides it for so long from those that don't name its order."""
        ...

    def says(self, discussion_id: str, author: AuthorKind, text: str) -> None:
        """Anybody writes in a discussion."""
        ...

    def ends(self, discussion_id: str) -> None:
        """The marketplace closes a discussion by itself."""
        ...

    def tokens_die(self) -> None:
        """Whatever the adapter signed in with stops working; signing in again helps."""
        ...

    def fails(self, times: int, *, after: bool = False) -> None:
        """The next calls fail in passing; `after`: when their effect is done."""
        ...

    def forbids(self, kind: DiscussionKind) -> None:
        """The account loses the right to list this kind, or all where `rights_by_kind` is not."""
        ...

    def garbles(self) -> None:
        """The next answer is cut off in the middle; its effect is done."""
        ...

    def refuses_money(self, order: str, reference: str | None = None) -> None:
        """All money asked for this order, or for one line of it, will be refused in words."""
        ...

    def was_given_back(self, order: str, reference: str) -> None:
        """The money of one line went back before, by somebody else's doing; `moved` leaves it
        out."""
        ...

    def moved(self, order: str) -> tuple[frozenset[str], Decimal]:
        """What really went back to the customer, shown or not: references of whole lines, and
        the sum of gestures in euros."""
        ...

    def effects(self) -> int:
        """How many calls with an effect were carried out."""
        ...
