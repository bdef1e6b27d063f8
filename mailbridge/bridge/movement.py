"""One movement of money, step by step: moved by its table, told of, put off, refused.

What `money`, `proving` and `confirming` do to a row alike. Every step happens in the transaction
of its caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from mailbridge.bridge.context import Context
from mailbridge.bridge.notices import queue_notice
from mailbridge.bridge.terms import confirmation_code, facts_of
from mailbridge.domain.notice import HoldReason, Notice, NoticeKind
from mailbridge.domain.order import Order
from mailbridge.domain.refund import MACHINE, RefundEvent, RefundState
from mailbridge.journal.tables import MoneyRow
from mailbridge.journal.transaction import Transaction
from mailbridge.marketplace.port import (
    ContractError,
    NotAuthorizedError,
    RefusedError,
    TransientError,
)

__all__ = [
    "Unreadable",
    "call_absent",
    "move",
    "notify",
    "put_off",
    "question_code",
    "read_order",
    "refuse",
    "tell",
]

_STEPS = (1, 2, 5, 10, 30, 60)
"""Minutes before each further try or reading; the last one repeats."""
_TELL_DELAYED = timedelta(minutes=30)


class Unreadable(Exception):
    """The order cannot be read; `for_good` where asking again would not help."""

    def __init__(self, words: str, *, for_good: bool) -> None:
        super().__init__(words)
        self.for_good = for_good


async def read_order(ctx: Context, number: str) -> Order:
    """The order as it stands now. Raises Unreadable, or CredentialsError."""
    try:
        order = await ctx.marketplace.order_for_money(number)
    except (TransientError, ContractError) as error:
        raise Unreadable(str(error), for_good=False) from None
    except (RefusedError, NotAuthorizedError) as error:
        raise Unreadable(str(error), for_good=True) from None
    if order is None:
        raise Unreadable("the marketplace does not know this order", for_good=True)
    return order


def move(tx: Transaction, row: MoneyRow, event: RefundEvent, detail: str = "") -> None:
    """Move a row by its table, and note it."""
    tx.move(row, MACHINE, event, discussion=row.discussion, subject=str(row.id), detail=detail)


async def put_off(tx: Transaction, ctx: Context, row: MoneyRow, words: str) -> None:
    """Try, or read, again later; say so where a person has waited for long."""
    row.attempts += 1
    row.due_at = tx.now + timedelta(minutes=_STEPS[min(row.attempts, len(_STEPS)) - 1])
    row.answer = words[:300]
    waited = tx.now - (row.confirmed_at or row.created_at)
    if row.state in (RefundState.ASKED, RefundState.READY) and waited > _TELL_DELAYED:
        await tell(tx, ctx, row, HoldReason.MONEY_DELAYED, {"words": words})


async def refuse(tx: Transaction, ctx: Context, row: MoneyRow) -> None:
    """The marketplace said no (`row.answer`), and nothing moved."""
    move(tx, row, RefundEvent.REFUSE)
    row.settled_at = tx.now
    await tx.money.let_go(row)
    await tell(tx, ctx, row, HoldReason.MONEY_REFUSED, {"words": row.answer})


def question_code(tx: Transaction, ctx: Context, row: MoneyRow) -> str:
    """The code of a new question about it; earlier ones are void."""
    row.code_round, row.code_tries = row.code_round + 1, 0
    row.code_until = tx.now + ctx.config.replies.code_life
    return confirmation_code(ctx, row)


async def call_absent(
    tx: Transaction, ctx: Context, row: MoneyRow, event: RefundEvent, seen_by: str = ""
) -> None:
    """Nothing moved: what it held is free, and a person may ask for it again. `seen_by`: who has
    looked; else two readings show it."""
    move(tx, row, event, "said by a person" if seen_by else "")
    row.settled_at, row.due_at = tx.now, tx.now + timedelta(hours=1)
    await tx.money.let_go(row)
    code = question_code(tx, ctx, row)
    await tell(tx, ctx, row, HoldReason.MONEY_ABSENT, {"seen_by": seen_by}, code=code)


async def tell(
    tx: Transaction,
    ctx: Context,
    row: MoneyRow,
    reason: HoldReason,
    facts: Mapping[str, str] | None = None,
    *,
    code: str = "",
) -> None:
    """Tell the thread, once for each reason and question; with the text that waits for it."""
    occasion = f"{reason}:{row.code_round}"
    if occasion in row.told.split():
        return
    row.told = f"{row.told} {occasion}".strip()
    text = await _text_that_waits(tx, row)
    notice = Notice(
        NoticeKind.HOLD if text else NoticeKind.TROUBLE,
        reason,
        {**facts_of(row), **(facts or {}), "held": "yes" if text else ""},
        text=text,
        code=code,
    )
    await notify(tx, ctx, row, notice, f"money:{row.id}:{reason}:{row.code_round}")


async def _text_that_waits(tx: Transaction, row: MoneyRow) -> str:
    deliveries = await tx.deliveries.of_reply(row.reply) if row.reply else []
    return next((d.text for d in deliveries if d.after_money), "")


async def notify(tx: Transaction, ctx: Context, row: MoneyRow, notice: Notice, key: str) -> None:
    """Queue a notice about it; a movement without a discussion has no thread to say it in."""
    discussion = await tx.discussions.get(row.discussion) if row.discussion else None
    if discussion is not None:
        await queue_notice(ctx, tx, discussion, notice, key=key, reply=row.reply)
