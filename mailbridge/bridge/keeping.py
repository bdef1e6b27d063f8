"""What was found in the folders goes into the journal, in one transaction with how far was read.

Copies of one reply are joined by what every client and provider leaves alone: discussion, From,
Date to the second and In-Reply-To; never by Message-ID or body (Microsoft 365 changes both). The
first copy makes the reply, a better one (the Sent copy wins) takes the place of what was read of
it. What is a reply at all, and whose, is `intake`'s business; what becomes of it is `judging`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mailbridge.bridge.closing import ask_to_close
from mailbridge.bridge.context import Context
from mailbridge.bridge.judging import Judging
from mailbridge.bridge.opening import reply_key
from mailbridge.bridge.probe import is_proven, note_proof
from mailbridge.bridge.reading import Findings
from mailbridge.bridge.uptake import note_bounce
from mailbridge.domain.delivery import MACHINE as DELIVERY
from mailbridge.domain.delivery import DeliveryEvent, DeliveryState
from mailbridge.domain.discussion import Status
from mailbridge.domain.intake import IntakeState
from mailbridge.domain.opening import is_opening
from mailbridge.journal.tables import AttachmentRow, CopyRow, DiscussionRow, ReplyRow
from mailbridge.journal.transaction import Transaction
from mailbridge.mail.automatic import Bounce, BounceAction
from mailbridge.mail.incoming import IncomingMail

__all__ = ["Batch", "Found", "Keeping", "Watched"]


@dataclass(frozen=True, slots=True)
class Watched:
    """A folder to look for replies in."""

    name: str
    is_sent: bool
    is_closed: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """A mail worth keeping: where it lies and what it is."""

    watched: Watched
    uidvalidity: int
    uid: int
    short: str
    """Of the thread it belongs to."""
    key: str
    """What its copies are all addressed to (see `opening.reply_key`)."""
    answers: str
    head: IncomingMail
    findings: Findings
    lay_there: bool = False


@dataclass(slots=True)
class Batch:
    """What a chunk of mails asks to be written down."""

    replies: list[Found] = field(default_factory=list)
    bounces: list[Bounce] = field(default_factory=list)
    submitted: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    """Message-IDs of mails of ours that turned up in the closed folder."""
    probes: list[tuple[Watched, IncomingMail, str]] = field(default_factory=list)


class Keeping:
    """Writes down what the folders of one account held."""

    def __init__(self, ctx: Context, judging: Judging) -> None:
        self._ctx = ctx
        self._judging = judging

    async def keep(
        self,
        watched: Watched,
        uidvalidity: int,
        next_uid: int,
        batch: Batch,
        *,
        moving_on: bool,
    ) -> None:
        """Write down a chunk's finds, and if `moving_on` that the folder is read to `next_uid`."""
        ctx = self._ctx
        async with ctx.write() as tx:
            for found in batch.replies:
                await self._reply(tx, found)
            for told in batch.bounces:
                await self._bounce(tx, told)
            for message_id in batch.submitted:
                await self._submitted(tx, message_id)
            for message_id in batch.moved:
                await self._moved(tx, message_id)
            for place, head, words in batch.probes:
                await note_proof(ctx, tx, folder=place.name, mail=head, origin=words)
            if moving_on:
                await tx.folders.read_to(watched.name, uidvalidity, next_uid)

    async def _reply(self, tx: Transaction, found: Found) -> None:
        ctx = self._ctx
        discussion = await tx.discussions.by_short(found.short)
        if discussion is None:
            return
        head, findings = found.head, found.findings
        identity = reply_key(found.key, head)
        reply = await tx.replies.get(identity)
        if reply is None:
            reply = self._new_reply(tx, identity, discussion, found)
            reply.customer_messages = await tx.discussions.customer_messages_filed(discussion.id)
            tx.replies.add(reply)
            tx.discussions.note_words(discussion, tx.now)
            await tx.flush()
            tx.note("reply seen", discussion=discussion.id, subject=identity)
            await self._take_findings(tx, reply, findings)
            ctx.log.info("reply seen", discussion=discussion.short, folder=found.watched.name)
        elif reply.state == IntakeState.GATHERING and (
            findings.better_than(reply.level, reply.in_sent)
        ):
            await self._take_findings(tx, reply, findings)
        elif findings.level > reply.level and reply.state == IntakeState.HELD:
            # A copy that proves staff lifts a hold for want of proof: judge it again.
            await self._judging.proven_later(tx, reply, findings)
        is_answer = found.key == found.short  # what writes first may have come by another door
        if is_answer and not found.watched.is_sent and not await is_proven(ctx, tx):
            # A reply that was delivered has made the round trip the probe asks for.
            await note_proof(
                ctx, tx, folder=found.watched.name, mail=head, origin=findings.evidence
            )
        reply.in_sent = reply.in_sent or found.watched.is_sent
        await tx.replies.add_copy(
            CopyRow(
                account=ctx.name,
                folder=found.watched.name,
                uidvalidity=found.uidvalidity,
                uid=found.uid,
                reply=identity,
                message_id=head.message_id or "",
                in_sent=found.watched.is_sent,
            )
        )

    def _new_reply(
        self, tx: Transaction, identity: str, discussion: DiscussionRow, found: Found
    ) -> ReplyRow:
        head = found.head
        return ReplyRow(
            account=self._ctx.name,
            id=identity,
            discussion=discussion.id,
            state=IntakeState.GATHERING,
            sender=head.from_.address.lower(),
            sender_name=self._ctx.staff_name(head.from_.address) or head.from_.name,
            written_at=head.date or tx.now,
            seen_at=tx.now,
            due_at=tx.now + self._ctx.config.replies.wait_for_sent_copy,
            answers=found.answers or next(iter(head.in_reply_to), None),
            references=" ".join((*head.references, *head.in_reply_to)),
            in_sent=False,
            lay_there=found.lay_there,
        )

    async def _take_findings(self, tx: Transaction, reply: ReplyRow, findings: Findings) -> None:
        reply.level, reply.evidence = findings.level, findings.evidence
        reply.text, reply.text_hash = findings.text, findings.text_hash
        reply.commands = findings.commands
        reply.findings = findings.to_json()
        await tx.replies.keep_attachments(
            reply.id,
            [
                AttachmentRow(
                    account=self._ctx.name,
                    reply=reply.id,
                    name=name,
                    content_type=content_type,
                    data=data,
                )
                for name, content_type, data in findings.attachments
            ],
        )

    async def _bounce(self, tx: Transaction, told: Bounce) -> None:
        """A DSN counts only if it names a mail we really sent: bounces are easily forged."""
        if told.action is not BounceAction.FAILED or told.message_id is None:
            return
        delivery = await tx.deliveries.by_mail(told.message_id)
        if delivery is not None:
            note_bounce(tx, delivery, told.diagnostic or told.status)
            self._ctx.bells.outgoing.set()

    async def _submitted(self, tx: Transaction, message_id: str) -> None:
        """Our own mail in Sent: the provider filed it, so it took it."""
        delivery = await tx.deliveries.by_mail(message_id)
        if delivery is not None and delivery.state == DeliveryState.UNCERTAIN:
            tx.move(
                delivery,
                DELIVERY,
                DeliveryEvent.ACCEPTED,
                discussion=delivery.discussion,
                subject=str(delivery.id),
                detail="found in Sent",
            )

    async def _moved(self, tx: Transaction, message_id: str) -> None:
        """An agent moved a thread to the closed folder: the same as the command.

        What the journal knows to lie there was moved by us. Clients move one mail where a
        person means the thread, so the others follow.
        """
        ctx = self._ctx
        layout = ctx.config.mailbox
        mail = await tx.filings.by_mail(message_id)
        if mail is None or mail.folder == layout.closed_folder:
            return
        mail.folder, mail.uid, mail.uidvalidity = layout.closed_folder, None, None
        row = await tx.discussions.get(mail.discussion)
        if row is None or row.status == Status.CLOSED or row.wanted_folder == layout.closed_folder:
            return
        if is_opening(row.id):
            return  # there is nothing to close yet
        if not ctx.config.replies.enabled:
            return  # shadow mode: what people do with their mails is theirs
        row.wanted_folder = layout.closed_folder
        filed = await tx.discussions.customer_messages_filed(row.id)
        await ask_to_close(tx, ctx, row, reply=None, customer_messages=filed, wait=False)
