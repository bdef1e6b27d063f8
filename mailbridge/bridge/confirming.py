"""Money asked for, confirmed and dropped by people: what their mails and words do to it.

A movement is recorded when it is asked for and confirmed when somebody who saw in words what
will be done gives the code shown there. Nothing here asks the marketplace: `bridge/money` does.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from mailbridge.bridge.context import Context
from mailbridge.bridge.movement import call_absent, move, notify, question_code
from mailbridge.bridge.terms import asked_to_json, confirmation_code, facts_of
from mailbridge.domain.command import Command
from mailbridge.domain.delivery import MACHINE as DELIVERY
from mailbridge.domain.delivery import DeliveryEvent, DeliveryState
from mailbridge.domain.discussion import DiscussionKind
from mailbridge.domain.intake import IntakeState
from mailbridge.domain.money import Asked, Cause, GestureMotive, gesture_motive
from mailbridge.domain.notice import HoldReason, Notice, NoticeKind
from mailbridge.domain.refund import MACHINE, RefundEvent, RefundState
from mailbridge.domain.vocabulary import Verb
from mailbridge.journal.tables import DiscussionRow, MoneyRow
from mailbridge.journal.transaction import Transaction

__all__ = [
    "MAX_TRIES",
    "ask_for_money",
    "asked_by_command",
    "confirm",
    "confirmable",
    "deny",
    "doubted",
    "is_doubt",
    "is_right_code",
    "is_unshown",
    "question",
    "question_behind",
    "withdraw",
]

MAX_TRIES = 3
"""Wrong codes after which a question can't be answered any more."""
_ABOUT_WORDS = f":{HoldReason.CONFIRMATION_TEXT}"
"""How the key of a notice about words in answer to a question ends."""
_CONFIRMABLE = frozenset({RefundState.WAITING, RefundState.ABSENT})
_DOUBTFUL = frozenset({RefundState.GRANTED, RefundState.UNCERTAIN})


def asked_by_command(command: Command, discussion: DiscussionRow) -> Asked:
    """What a refund or gesture command asks for; the cause follows from the claim unless named."""
    if command.verb is Verb.GESTURE:
        motive = gesture_motive(command.options.get("motive", ""))
        return Asked(gesture=Decimal(command.argument), motive=motive or GestureMotive.OTHER)
    named, shipping = command.options.get("cause"), command.options.get("shipping")
    whole = command.argument == "total"
    return Asked(
        reference=None if whole else command.argument,
        # The whole order is all that was paid, unless said otherwise.
        with_shipping=shipping == "yes" or (whole and shipping != "no"),
        cause=Cause(named) if named else _cause(discussion),
    )


def _cause(discussion: DiscussionRow) -> Cause:
    claim = (discussion.claim_type or "").casefold()
    if "withdraw" in claim or "retract" in claim:
        return Cause.WITHDRAWAL
    return Cause.CLAIM if discussion.kind == DiscussionKind.CLAIM else Cause.GOODWILL


async def ask_for_money(
    tx: Transaction,
    ctx: Context,
    asked: Asked,
    *,
    order_number: str,
    discussion: str | None,
    reply: str | None,
    by: str,
) -> MoneyRow:
    """Record that a movement is wanted; the order is read for it next."""
    row = MoneyRow(
        account=ctx.name,
        discussion=discussion,
        reply=reply,
        order_number=order_number,
        asked=asked_to_json(asked),
        asked_by=by,
        state=RefundState.ASKED,
        due_at=tx.now,
        created_at=tx.now,
    )
    tx.money.add(row)
    await tx.flush()
    tx.note("money asked for", discussion=discussion, subject=str(row.id))
    ctx.bells.outgoing.set()
    return row


async def question(
    tx: Transaction, ctx: Context, row: MoneyRow, *, names: dict[str, str], same_at: str = ""
) -> None:
    """Ask a person to confirm what will be done; earlier codes of this movement are void.

    `same_at` tells when the same was given today.
    """
    code = question_code(tx, ctx, row)
    row.confirmed_at, row.confirmed_by = None, ""
    reply = await tx.replies.get(row.reply) if row.reply else None
    facts = facts_of(row, names) | {
        "until": ctx.stamp(row.code_until or tx.now),
        "with_text": "yes" if reply is not None and reply.text.strip() else "",
    }
    if same_at:
        facts["same_at"] = same_at
    notice = Notice(NoticeKind.CONFIRM, facts=facts, code=code)
    await notify(tx, ctx, row, notice, f"confirm:{row.id}:{row.code_round}")


def is_unshown(row: MoneyRow) -> bool:
    """Whether a person is asked what became of it: the marketplace may never show it."""
    return row.carried and row.state in _DOUBTFUL and row.code_until is not None


async def doubted(tx: Transaction, answers: str | None) -> MoneyRow | None:
    """The movement that the answered notice asks a person about, because nothing shows it."""
    notice = await tx.filings.by_mail(answers) if answers else None
    if notice is None or not is_doubt(notice.key):
        return None
    row = await tx.money.get(int(notice.key.split(":")[1]))
    return row if row is not None and is_unshown(row) else None


def is_doubt(key: str) -> bool:
    """Whether the notice of this key asks a person what became of money that nothing shows."""
    return key.startswith("money:") and key.split(":")[2] == HoldReason.MONEY_UNSHOWN


async def question_behind(tx: Transaction, answers: str | None) -> str | None:
    """The mail that is meant: a question about money, if words were written in answer to it and
    the notice about those words is what is answered now. Else the answered mail itself."""
    notice = await tx.filings.by_mail(answers) if answers else None
    if notice is None or notice.reply is None or not notice.key.endswith(_ABOUT_WORDS):
        return answers
    words = await tx.replies.get(notice.reply)
    return words.answers if words is not None else answers


async def confirmable(tx: Transaction, answers: str | None, discussion: str) -> MoneyRow | None:
    """The movement that the answered notice asks about, else the newest that waits."""
    answers = await question_behind(tx, answers)
    waiting = [
        r
        for r in await tx.money.of_discussion(discussion)
        if r.state in _CONFIRMABLE or is_unshown(r)
    ]
    notice = await tx.filings.by_mail(answers) if answers else None
    if notice is not None and notice.key.startswith(("confirm:", "money:")):
        identity = notice.key.split(":")[1]
        return next((r for r in waiting if str(r.id) == identity), None)
    if notice is not None and notice.reply is not None:
        return next((r for r in reversed(waiting) if r.reply == notice.reply), None)
    return waiting[-1] if waiting else None


def is_right_code(ctx: Context, row: MoneyRow, code: str, now: datetime) -> bool:
    """Whether this is the code of the question that stands now; a wrong one is not counted."""
    return (
        row.code_until is not None
        and now <= row.code_until
        and row.code_tries < MAX_TRIES
        and code == confirmation_code(ctx, row)
    )


async def confirm(tx: Transaction, ctx: Context, row: MoneyRow, *, by: str) -> None:
    """A person who saw what will be done wants it done; a text held for want of it waits again.
    Of what nothing shows, a person who has looked says that it was paid."""
    if is_unshown(row):
        move(tx, row, RefundEvent.AFFIRM, "said by a person")
        row.vouched_by, row.moved = by, row.amount
        row.settled_at, row.code_until = tx.now, None
        ctx.bells.outgoing.set()
        return
    if row.state == RefundState.ABSENT and row.reply is not None:
        await _text_waits_again(tx, row.reply)
        reply = await tx.replies.get(row.reply)
        row.own_receipt = reply is None or reply.state != IntakeState.ACCEPTED
    event = RefundEvent.RETRY if row.state == RefundState.ABSENT else RefundEvent.CONFIRM
    move(tx, row, event, "confirmed by a person")
    row.confirmed_by, row.confirmed_at = by, tx.now
    row.code_until, row.due_at, row.attempts = None, tx.now, 0
    row.missed_at, row.settled_at = None, None
    row.vouched_by = ""  # what was said of an earlier try
    ctx.bells.outgoing.set()


async def deny(tx: Transaction, ctx: Context, row: MoneyRow, *, by: str) -> None:
    """Of what nothing shows, a person who has looked says that it was not paid."""
    row.vouched_by = by
    await call_absent(tx, ctx, row, RefundEvent.DENY, by)
    ctx.bells.outgoing.set()


async def _text_waits_again(tx: Transaction, reply: str) -> None:
    for delivery in await tx.deliveries.of_reply(reply):
        if delivery.state == DeliveryState.HELD:
            delivery.after_money = True
            tx.move(
                delivery,
                DELIVERY,
                DeliveryEvent.RELEASE,
                discussion=delivery.discussion,
                subject=str(delivery.id),
                detail="its money is asked for again",
            )


async def withdraw(tx: Transaction, row: MoneyRow, why: str) -> bool:
    """Drop what has not been asked of the marketplace yet; False where that is too late."""
    if RefundEvent.WITHDRAW not in MACHINE.moves[RefundState(row.state)]:
        return False
    move(tx, row, RefundEvent.WITHDRAW, why)
    row.settled_at = tx.now
    await tx.money.let_go(row)
    return True
