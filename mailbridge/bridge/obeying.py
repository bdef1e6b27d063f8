"""What an accepted reply asks for becomes intents; other flows carry them out.

Everything here happens inside one transaction of the journal: either the reply is obeyed whole
or not yet at all. Commands about an earlier reply (`send`, `resend`, `cancel`) act on the one
whose notice they answer, else on the newest they could mean.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence

from mailbridge.bridge import confirming
from mailbridge.bridge.closing import ask_to_close
from mailbridge.bridge.context import Context
from mailbridge.bridge.notices import add_outcome, queue_notice
from mailbridge.bridge.opening import tell_opened
from mailbridge.domain.closing import MACHINE as CLOSING
from mailbridge.domain.closing import ClosingEvent, ClosingState
from mailbridge.domain.command import Command
from mailbridge.domain.delivery import MACHINE as DELIVERY
from mailbridge.domain.delivery import DeliveryEvent, DeliveryState
from mailbridge.domain.discussion import AuthorKind, Status
from mailbridge.domain.intake import MACHINE as INTAKE
from mailbridge.domain.intake import IntakeEvent, IntakeState
from mailbridge.domain.notice import Done, DoneKind, HoldReason, Notice, NoticeKind
from mailbridge.domain.opening import is_opening
from mailbridge.domain.verdict import Hold
from mailbridge.domain.vocabulary import Verb
from mailbridge.domain.wording import text_hash
from mailbridge.journal.tables import DeliveryRow, DiscussionRow, ReplyRow
from mailbridge.journal.transaction import Transaction

__all__ = ["Obeying", "read_commands", "release_code"]

Fitness = Callable[[Transaction, ReplyRow], Awaitable[Hold | None]]


async def _nothing_against(_tx: Transaction, _reply: ReplyRow) -> Hold | None:
    return None


_MONEY = frozenset({Verb.REFUND, Verb.GESTURE})
_CANCELLABLE = frozenset({DeliveryState.PLANNED, DeliveryState.HELD})
_RESENDABLE = frozenset({DeliveryState.SUBMITTED, DeliveryState.UNCERTAIN, DeliveryState.HELD})


class Obeying:
    """Turns replies of one account into intents."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.fitness: Fitness = _nothing_against
        """Judges a held reply that a person wants sent as it stands (set by `judging`)."""

    async def obey(
        self, tx: Transaction, reply: ReplyRow, discussion: DiscussionRow, event: IntakeEvent
    ) -> None:
        """Accept or release a reply (`event`) and record all that it asks for."""
        self._move(tx, reply, event)
        commands = read_commands(reply.commands)
        verbs = {c.verb for c in commands}
        sends = bool(reply.text.strip()) and Verb.NOTE not in verbs
        if Verb.NOTE in verbs:
            add_outcome(reply, Done(DoneKind.NOTED))
        if reply.released_by:
            facts = {"by": reply.released_by, "at": self._ctx.stamp(tx.now)}
            add_outcome(reply, Done(DoneKind.RELEASED, facts))
        if sends:
            await self._replace_held(tx, reply)
            after_money = not verbs.isdisjoint(_MONEY)
            await self._plan_delivery(tx, reply, discussion, after_money=after_money)
        for command in commands:
            await self._command(tx, reply, discussion, command, sends)
        self._ctx.bells.outgoing.set()

    async def _command(
        self,
        tx: Transaction,
        reply: ReplyRow,
        discussion: DiscussionRow,
        command: Command,
        sends: bool,
    ) -> None:
        match command.verb:
            case Verb.CLOSE:
                if title := command.options.get("template"):
                    add_outcome(reply, Done(DoneKind.TEMPLATE_CLOSES, {"title": title}))
                verbs = {c.verb for c in read_commands(reply.commands)}
                if not sends and Verb.NOTE not in verbs:
                    add_outcome(reply, Done(DoneKind.NOT_SENT))
                await ask_to_close(
                    tx,
                    self._ctx,
                    discussion,
                    reply=reply.id,
                    customer_messages=reply.customer_messages,
                    wait=sends or not verbs.isdisjoint(_MONEY),
                )
            case Verb.REOPEN:
                await self._reopen(tx, reply, discussion)
            case Verb.SEND:
                await self._send_held(tx, reply, discussion, command)
            case Verb.RESEND:
                await self._resend(tx, reply, discussion, command)
            case Verb.CANCEL:
                await self._cancel(tx, reply, discussion, command)
            case Verb.REFUND | Verb.GESTURE:
                await confirming.ask_for_money(
                    tx,
                    self._ctx,
                    confirming.asked_by_command(command, discussion),
                    order_number=discussion.order_number or "",
                    discussion=discussion.id,
                    reply=reply.id,
                    by=reply.sender_name or reply.sender,
                )
            case Verb.CONFIRM:
                await self._confirm(tx, reply, discussion, command)
            case Verb.HELP:
                notice = Notice(NoticeKind.HELP)
                await queue_notice(
                    self._ctx, tx, discussion, notice, key=f"help:{reply.id}", reply=reply.id
                )
            case _:
                pass  # notes and templates were dealt with before, what is not available held

    async def _confirm(
        self, tx: Transaction, reply: ReplyRow, discussion: DiscussionRow, command: Command
    ) -> None:
        """The code was compared when the reply was judged, and is compared again: a reply that was
        held since may be about a question that has been asked anew, for something else."""
        row = await confirming.confirmable(tx, reply.answers, discussion.id)
        if row is None or not confirming.is_right_code(self._ctx, row, command.argument, tx.now):
            reason = HoldReason.NOTHING_TO_CONFIRM
            await self._nothing(tx, reply, discussion, command, reason)
            return
        await confirming.confirm(tx, self._ctx, row, by=reply.sender_name or reply.sender)

    async def _plan_delivery(
        self,
        tx: Transaction,
        reply: ReplyRow,
        discussion: DiscussionRow,
        *,
        after_money: bool = False,
    ) -> None:
        ctx = self._ctx
        text = ctx.frame(reply.text, discussion.customer, reply.sender, discussion.sales_channel)
        row = DeliveryRow(
            account=ctx.name,
            discussion=discussion.id,
            reply=reply.id,
            number=0,
            state=DeliveryState.PLANNED,
            message_id=ctx.identity.customer_id(reply.id),
            recipient=await self._recipient(tx, reply),
            text=text,
            text_hash=text_hash(text),
            after_money=after_money,
            due_at=tx.now + ctx.config.replies.delay,
            created_at=tx.now,
        )
        tx.deliveries.add(row)
        tx.note("dispatch planned", discussion=discussion.id, subject=reply.id)
        if is_opening(discussion.id):
            await tell_opened(ctx, tx, discussion, reply, text)

    async def _recipient(self, tx: Transaction, reply: ReplyRow) -> AuthorKind:
        """Whom the answered mail is from: its writer is answered, whether customer or the
        marketplace's own staff."""
        answered = await tx.filings.by_mail(reply.answers) if reply.answers else None
        if answered is None or answered.notice is not None:
            return AuthorKind.CUSTOMER
        key = answered.key.removeprefix("message:")
        message = await tx.discussions.message(reply.discussion, key)
        by_staff = message is not None and message.author_kind == AuthorKind.OPERATOR
        return AuthorKind.OPERATOR if by_staff else AuthorKind.CUSTOMER

    async def _replace_held(self, tx: Transaction, reply: ReplyRow) -> None:
        """A reply with new text takes the place of what is still held of its writer's."""
        for other in await tx.replies.of_discussion(reply.discussion):
            if other.id == reply.id or other.sender != reply.sender:
                continue
            if other.written_at > reply.written_at:
                continue
            if other.state == IntakeState.HELD:
                self._move(tx, other, IntakeEvent.REPLACE)
            for delivery in await tx.deliveries.of_reply(other.id):
                if delivery.state == DeliveryState.HELD:
                    self._move_delivery(tx, delivery, DeliveryEvent.CANCEL, "replaced")
                    add_outcome(other, Done(DoneKind.REPLACED))

    async def _reopen(self, tx: Transaction, reply: ReplyRow, discussion: DiscussionRow) -> None:
        """Undo what is not yet done; reopen what is done where the marketplace can."""
        withdrawn = False
        for closing in await tx.closings.of_discussion(discussion.id):
            if ClosingEvent.WITHDRAW in CLOSING.moves[ClosingState(closing.state)]:
                tx.move(
                    closing,
                    CLOSING,
                    ClosingEvent.WITHDRAW,
                    discussion=discussion.id,
                    subject=str(closing.id),
                )
                withdrawn = True
        discussion.wanted_folder = self._ctx.config.mailbox.folder
        if discussion.status != Status.CLOSED:
            if withdrawn:
                add_outcome(reply, Done(DoneKind.CLOSE_WITHDRAWN))
            return
        if self._ctx.marketplace.capabilities.can_reopen:
            discussion.reopen_for = reply.id
            return
        notice = Notice(NoticeKind.TROUBLE, HoldReason.CANNOT_REOPEN)
        await queue_notice(
            self._ctx, tx, discussion, notice, key=f"reopen:{reply.id}", reply=reply.id
        )

    async def _send_held(
        self, tx: Transaction, reply: ReplyRow, discussion: DiscussionRow, command: Command
    ) -> None:
        target = await self.held_reply(tx, reply.answers, discussion.id)
        if target is None:
            await self._nothing(tx, reply, discussion, command, HoldReason.NOTHING_HELD)
            return
        await self.release(tx, target, discussion, by=reply.sender_name or reply.sender)

    async def held_reply(
        self, tx: Transaction, answers: str | None, discussion: str
    ) -> ReplyRow | None:
        """The held reply (or the one whose dispatch is held) that a notice is about, else the
        newest of the discussion."""
        notice = await tx.filings.by_mail(answers) if answers else None
        candidates = [
            r
            for r in await tx.replies.of_discussion(discussion)
            if r.state == IntakeState.HELD
            or any(d.state == DeliveryState.HELD for d in await tx.deliveries.of_reply(r.id))
        ]
        if notice is not None and notice.reply is not None:
            return next((r for r in candidates if r.id == notice.reply), None)
        return candidates[-1] if candidates else None

    async def release(
        self, tx: Transaction, target: ReplyRow, discussion: DiscussionRow, *, by: str
    ) -> bool:
        """Send what was held, as it stood; False (and told again) where it cannot be sent so."""
        for delivery in await tx.deliveries.of_reply(target.id):
            if delivery.state == DeliveryState.HELD:
                delivery.due_at, delivery.attempts = tx.now, 0
                delivery.first_tried_at, delivery.told = None, ""
                self._move_delivery(tx, delivery, DeliveryEvent.RELEASE, "by a person")
                self._ctx.bells.outgoing.set()
                return True
        if target.state != IntakeState.HELD:
            return False
        hold = await self.fitness(tx, target)
        if hold is not None:
            target.reason, target.facts = hold.reason, json.dumps(dict(hold.facts))
            code = ""
            if hold.code:
                target.code_until = tx.now + self._ctx.config.replies.code_life
                code = release_code(self._ctx, target)
            notice = Notice(NoticeKind.HOLD, hold.reason, hold.facts, text=target.text, code=code)
            key = f"hold:{target.id}:again:{target.code_tries}"
            target.code_tries += 1
            await queue_notice(self._ctx, tx, discussion, notice, key=key, reply=target.id)
            return False
        target.released_by = by
        await self.obey(tx, target, discussion, IntakeEvent.RELEASE)
        return True

    async def _resend(
        self, tx: Transaction, reply: ReplyRow, discussion: DiscussionRow, command: Command
    ) -> None:
        notice = await tx.filings.by_mail(reply.answers) if reply.answers else None
        deliveries = await tx.deliveries.of_discussion(discussion.id)
        if notice is not None and notice.reply is not None:
            deliveries = [d for d in deliveries if d.reply == notice.reply]
        if not await self.resend(tx, deliveries):
            await self._nothing(tx, reply, discussion, command, HoldReason.NOTHING_TO_RESEND)

    async def resend(self, tx: Transaction, deliveries: Sequence[DeliveryRow]) -> bool:
        """Plan the newest unrecorded one of these dispatches once more; False if there is none.

        The marketplace is read once more before it goes (`after_reading`).
        """
        # An acknowledgement is never sent twice: nobody means it by « my answer ».
        written = (d for d in reversed(deliveries) if not d.automatic)
        last = next((d for d in written if d.state in _RESENDABLE), None)
        if last is None:
            return False
        self._move_delivery(tx, last, DeliveryEvent.RESEND, "asked for by a person")
        number = last.number + 1
        tx.deliveries.add(
            DeliveryRow(
                account=self._ctx.name,
                discussion=last.discussion,
                reply=last.reply,
                number=number,
                state=DeliveryState.PLANNED,
                message_id=self._ctx.identity.customer_id(f"{last.reply}.{number}"),
                recipient=last.recipient,
                text=last.text,
                text_hash=last.text_hash,
                after_reading=True,
                due_at=tx.now,
                created_at=tx.now,
            )
        )
        self._ctx.bells.outgoing.set()
        return True

    async def _cancel(
        self, tx: Transaction, reply: ReplyRow, discussion: DiscussionRow, command: Command
    ) -> None:
        asked = await confirming.question_behind(tx, reply.answers)
        doubted = await confirming.doubted(tx, asked)
        if doubted is not None:
            by = reply.sender_name or reply.sender
            await confirming.deny(tx, self._ctx, doubted, by=by)
            return
        notices = [await tx.filings.by_mail(mail) for mail in {reply.answers, asked} if mail]
        about = {n.reply for n in notices if n is not None and n.reply is not None}
        replies = [r for r in await tx.replies.of_discussion(discussion.id) if r.id != reply.id]
        if about:
            replies = [r for r in replies if r.id in about]
        cancelled = False
        for other in replies:
            cancelled |= await self.cancel(tx, other)
        if cancelled:
            add_outcome(reply, Done(DoneKind.CANCELLED))
        else:
            await self._nothing(tx, reply, discussion, command, HoldReason.NOTHING_HELD)

    async def cancel(self, tx: Transaction, reply: ReplyRow) -> bool:
        """Stop what has not left, moved or been closed yet; False if there was nothing."""
        stopped = False
        for row in await tx.money.of_reply(reply.id):
            stopped |= await confirming.withdraw(tx, row, "by a person")
        for delivery in await tx.deliveries.of_reply(reply.id):
            if delivery.state in _CANCELLABLE:
                self._move_delivery(tx, delivery, DeliveryEvent.CANCEL, "by a person")
                stopped = True
        for closing in await tx.closings.of_reply(reply.id):
            if closing.state in (ClosingState.WAITING, ClosingState.READY):
                tx.move(
                    closing,
                    CLOSING,
                    ClosingEvent.WITHDRAW,
                    discussion=closing.discussion,
                    subject=str(closing.id),
                )
                stopped = True
        if reply.state == IntakeState.HELD:
            self._move(tx, reply, IntakeEvent.CANCEL)
            stopped = True
        return stopped

    async def _nothing(
        self,
        tx: Transaction,
        reply: ReplyRow,
        discussion: DiscussionRow,
        command: Command,
        reason: HoldReason,
    ) -> None:
        notice = Notice(NoticeKind.TROUBLE, reason, {"line": command.line})
        await queue_notice(
            self._ctx, tx, discussion, notice, key=f"nothing:{reply.id}", reply=reply.id
        )

    @staticmethod
    def _move(tx: Transaction, reply: ReplyRow, event: IntakeEvent) -> None:
        tx.move(reply, INTAKE, event, discussion=reply.discussion, subject=reply.id)

    @staticmethod
    def _move_delivery(
        tx: Transaction, row: DeliveryRow, event: DeliveryEvent, detail: str
    ) -> None:
        tx.move(
            row,
            DELIVERY,
            event,
            discussion=row.discussion,
            subject=str(row.id),
            detail=detail,
        )


def read_commands(data: str) -> tuple[Command, ...]:
    """Commands as the journal keeps them."""
    return tuple(
        Command(verb=Verb(c["verb"]), argument=c["argument"], line=c["line"], options=c["options"])
        for c in json.loads(data)
    )


def release_code(ctx: Context, reply: ReplyRow) -> str:
    """The one-time code that releases this reply: never stored, always the same."""
    return ctx.identity.code("release", reply.id, reply.reason)
