"""What the journal counts of a day: nothing that is history, automatic, or somebody else's."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from mailbridge.domain.closing import ClosingState
from mailbridge.domain.discussion import AuthorKind, Status
from mailbridge.domain.money import MovementKind
from mailbridge.domain.refund import RefundState
from mailbridge.journal.journal import Journal, Tenure
from mailbridge.journal.tables import MoneyRow
from tests.journal.rows import BRINDILLE, DAY, NOON, closing, discussion, message

HOUR = timedelta(hours=1)
SELLER = AuthorKind.SELLER


def money(state: RefundState, moved: str = "5.00", **changes: Any) -> MoneyRow:
    values: dict[str, Any] = {
        "account": BRINDILLE,
        "order_number": "A1",
        "asked": "{}",
        "asked_by": "",
        "state": state,
        "kind": MovementKind.GESTURE,
        "moved": moved,
        "due_at": NOON,
        "created_at": NOON,
        "settled_at": NOON,
    }
    return MoneyRow(**(values | changes))


async def test_messages_count_once_and_history_does_not(journal: Journal, tenure: Tenure) -> None:
    async with journal.write(tenure) as tx:
        tx.discussions.add(discussion())
        for row in (
            message("1"),
            message("2", author_kind=SELLER),
            # An hour late, and taken over from long ago.
            message("3", sent_at=NOON - HOUR),
            message("4", sent_at=NOON - 2 * DAY),
            message("5", author_kind=SELLER, automatic=True),
            message("6", seen_at=NOON + DAY),
            message("7", seen_at=NOON - HOUR),
        ):
            tx.discussions.add_message(row)
    async with journal.read(BRINDILLE) as tx:
        assert await tx.happened.messages(NOON, NOON + DAY) == {"customer": 2, "seller": 1}


async def test_first_answers_are_of_people_and_of_that_day(
    journal: Journal, tenure: Tenure
) -> None:
    said = {
        "answered": [("customer", -5), ("seller", 2), ("seller", 4)],
        "before": [("customer", -5), ("seller", -4), ("customer", 1), ("seller", 2)],
        "begun here": [("seller", 1), ("customer", 2), ("seller", 3)],
        "robot": [("automatic", -5), ("seller", 2)],
        "waits": [("customer", 1)],
    }
    async with journal.write(tenure) as tx:
        for name, words in said.items():
            tx.discussions.add(discussion(name, short=name))
            for number, (author, hours) in enumerate(words):
                at = NOON + hours * HOUR
                tx.discussions.add_message(
                    message(str(number), name, author_kind=author, sent_at=at)
                )
        tx.discussions.add_message(
            message("ack", "answered", author_kind=SELLER, sent_at=NOON - HOUR, automatic=True)
        )
    async with journal.read(BRINDILLE) as tx:
        found = await tx.happened.first_answers(NOON, NOON + DAY)
    assert found == [(NOON - 5 * HOUR, NOON + 2 * HOUR)]


async def test_discussions_and_money_of_the_day(journal: Journal, tenure: Tenure) -> None:
    async with journal.write(tenure) as tx:
        for row in (
            discussion("1", status=Status.CLOSED, closed_at=NOON, created_at=NOON - DAY),
            discussion("2", closed_at=NOON),  # and open again
            discussion("order:A1"),
        ):
            tx.discussions.add(row)
        for movement in (
            money(RefundState.PROVEN),
            money(RefundState.PARTLY, "7.50", kind=MovementKind.REFUND),
            money(RefundState.PROVEN, joins=1),
            money(RefundState.PROVEN, settled_at=NOON - HOUR),
            money(RefundState.REFUSED, "0"),
            money(RefundState.GRANTED, "0", settled_at=None),
        ):
            tx.money.add(movement)
        tx.closings.add(closing(state=ClosingState.REFUSED, asked_at=NOON))
        tx.closings.add(closing(state=ClosingState.REFUSED, asked_at=NOON - HOUR))
        tx.closings.add(closing(state=ClosingState.CLOSED, asked_at=NOON))
    async with journal.read(BRINDILLE) as tx:
        assert await tx.happened.opened(NOON, NOON + DAY) == 1
        assert await tx.happened.closed(NOON, NOON + DAY) == 1
        assert sorted(await tx.happened.money(NOON, NOON + DAY)) == [
            (MovementKind.GESTURE, Decimal("5.00")),
            (MovementKind.REFUND, Decimal("7.50")),
        ]
        states = sorted(row.state for row in await tx.happened.failed_money(NOON))
        assert states == [RefundState.PARTLY, RefundState.REFUSED]
        assert [row.id for row in await tx.happened.refused_closings(NOON)] == [1]
