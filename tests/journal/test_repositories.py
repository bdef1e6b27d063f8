"""What the flows ask of the journal: what is due, in which order, and what exists only once."""
# ruff: noqa: PT012 (a transaction fails at the end of its block)

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError

from mailbridge.domain.closing import ClosingState
from mailbridge.domain.delivery import DeliveryState
from mailbridge.domain.discussion import AuthorKind, Status
from mailbridge.domain.filing import FilingState
from mailbridge.domain.intake import IntakeState
from mailbridge.journal.acknowledgements import AcknowledgementRow
from mailbridge.journal.journal import Journal, Tenure
from mailbridge.journal.tables import AttachmentRow, CopyRow
from tests.journal.rows import (
    BRINDILLE,
    DAY,
    MINUTE,
    NOON,
    Clock,
    closing,
    delivery,
    discussion,
    filing,
    message,
    reply,
)

# --- once only --------------------------------------------------------------------------------


async def test_one_occasion_is_filed_once(journal: Journal, tenure: Tenure) -> None:
    async with journal.write(tenure) as tx:
        tx.filings.add(filing("hold:r1:too_old"))
        tx.filings.add(filing("hold:r1:too_old", ident="another"))
    with pytest.raises(IntegrityError, match=r"UNIQUE.*filing"):
        async with journal.write(tenure) as tx:
            tx.filings.add(filing("hold:r1:too_old"))
            tx.filings.add(filing("of the same batch"))
    async with journal.read(BRINDILLE) as tx:
        assert (await tx.tally())["filings"] == {"planned": 2}


async def test_a_reply_has_one_dispatch_of_each_number(journal: Journal, tenure: Tenure) -> None:
    async with journal.write(tenure) as tx:
        tx.deliveries.add(delivery("r1", 0))
        tx.deliveries.add(delivery("r1", 1))
        tx.deliveries.add(delivery("r2", 0))
    with pytest.raises(IntegrityError, match=r"UNIQUE.*delivery"):
        async with journal.write(tenure) as tx:
            tx.deliveries.add(delivery("r1", 1))
    async with journal.read(BRINDILLE) as tx:
        assert [d.number for d in await tx.deliveries.of_reply("r1")] == [0, 1]


async def test_a_discussion_has_one_chance_of_an_acknowledgement(
    journal: Journal, tenure: Tenure
) -> None:
    async with journal.write(tenure) as tx:
        tx.discussions.add(discussion("1", order_number="A"))
        tx.discussions.add(discussion("2", order_number="A"))
        tx.discussions.add(discussion("3", customer="Marie"))
        await tx.acknowledgements.consider("1")
        await tx.acknowledgements.consider("1")
    async with journal.write(tenure) as tx:
        (row,) = await tx.acknowledgements.to_judge()
        row.settled_at = tx.now
        await tx.acknowledgements.consider("1")
        assert not await tx.acknowledgements.to_judge()
        # It counts for the order's other discussions, for a day, and not for others.
        for ident, since, count in (("2", NOON - DAY, 1), ("2", NOON + DAY, 0), ("3", NOON, 0)):
            about = await tx.discussions.get(ident)
            assert about is not None
            assert await tx.acknowledgements.sent_since(about, since) == count
    with pytest.raises(IntegrityError, match=r"UNIQUE.*acknowledgement"):
        async with journal.write(tenure) as tx:
            tx.discussions._session.add(
                AcknowledgementRow(account=BRINDILLE, discussion="1", created_at=NOON)
            )
    # It goes with the discussion when the other API gives that another id.
    async with journal.write(tenure) as tx:
        known = await tx.discussions.get("1")
        assert known is not None
        await tx.discussions.rename(known, "0a1b")
        assert await tx.acknowledgements.get("0a1b") is not None
        assert await tx.acknowledgements.get("1") is None


async def test_two_discussions_share_no_short_id(journal: Journal, tenure: Tenure) -> None:
    with pytest.raises(IntegrityError, match=r"UNIQUE.*short"):
        async with journal.write(tenure) as tx:
            tx.discussions.add(discussion("1", short="cd-1"))
            tx.discussions.add(discussion("2", short="cd-1"))


async def test_a_message_is_kept_once_and_a_copy_seen_again_changes_nothing(
    journal: Journal, tenure: Tenure
) -> None:
    async with journal.write(tenure) as tx:
        tx.discussions.add_message(message("m1"))
        for _ in range(2):
            await tx.replies.add_copy(copy("Sent", 7, "r1"))
    with pytest.raises(IntegrityError, match=r"UNIQUE.*message"):
        async with journal.write(tenure) as tx:
            tx.discussions.add_message(message("m1"))
    async with journal.read(BRINDILLE) as tx:
        assert len(await tx.replies.copies("r1")) == 1


def copy(folder: str, uid: int, of: str | None, *, message_id: str = "<a@b.example>") -> CopyRow:
    return CopyRow(
        account=BRINDILLE,
        folder=folder,
        uidvalidity=1,
        uid=uid,
        reply=of,
        message_id=message_id,
        in_sent=folder == "Sent",
    )


# --- what is due ------------------------------------------------------------------------------


async def test_mails_are_due_in_the_order_they_were_planned(
    journal: Journal, tenure: Tenure, clock: Clock
) -> None:
    async with journal.write(tenure) as tx:
        tx.filings.add(filing("first", due_at=NOON - MINUTE))
        tx.filings.add(filing("older, but planned later", due_at=NOON - DAY))
        tx.filings.add(filing("now", due_at=NOON))
        tx.filings.add(filing("later", due_at=NOON + MINUTE))
        tx.filings.add(filing("under way", state=FilingState.WRITING))
        tx.filings.add(filing("done", state=FilingState.FILED))
    async with journal.read(BRINDILLE) as tx:
        keys = [f.key for f in await tx.filings.due(10)]
        assert keys == ["first", "older, but planned later", "now"]
        assert [f.key for f in await tx.filings.due(1)] == ["first"]
        assert await tx.filings.next_due() == NOON - DAY
    clock.now += MINUTE
    async with journal.read(BRINDILLE) as tx:
        assert [f.key for f in await tx.filings.due(10)][-1] == "later"


async def test_dispatches_and_closes_are_due_oldest_first(journal: Journal, tenure: Tenure) -> None:
    async with journal.write(tenure) as tx:
        for number, due in enumerate([NOON, NOON - DAY, NOON + MINUTE]):
            tx.deliveries.add(delivery(f"r{number}", due_at=due))
            tx.closings.add(closing(f"r{number}", due_at=due))
        tx.deliveries.add(delivery("r3", state=DeliveryState.HELD))
        tx.closings.add(closing("r3", state=ClosingState.WAITING))
    async with journal.read(BRINDILLE) as tx:
        assert [d.reply for d in await tx.deliveries.due()] == ["r0", "r1"]
        assert [c.reply for c in await tx.closings.due()] == ["r0", "r1"]
        assert await tx.deliveries.next_due() == NOON - DAY
        assert await tx.closings.next_due() == NOON - DAY


async def test_nothing_planned_is_nothing_due(journal: Journal, tenure: Tenure) -> None:
    async with journal.read(BRINDILLE) as tx:
        assert await tx.filings.next_due() is None
        assert await tx.deliveries.next_due() is None
        assert await tx.closings.next_due() is None
        assert await tx.replies.next_due() is None


async def test_only_gathering_replies_are_waited_for(journal: Journal, tenure: Tenure) -> None:
    async with journal.write(tenure) as tx:
        tx.replies.add(reply("r1", due_at=NOON + MINUTE))
        tx.replies.add(reply("r2", due_at=NOON, state=IntakeState.HELD))
    async with journal.read(BRINDILLE) as tx:
        assert await tx.replies.next_due() == NOON + MINUTE


async def test_another_accounts_work_is_not_ours(journal: Journal, tenure: Tenure) -> None:
    other = await journal.take("other", "here:1")
    async with journal.write(other) as tx:
        tx.discussions.add(discussion(account="other"))
        tx.filings.add(filing("a", account="other"))
        tx.deliveries.add(delivery("r1", account="other"))
        tx.closings.add(closing(account="other"))
        tx.replies.add(reply("r1", account="other"))
    async with journal.read(BRINDILLE) as tx:
        assert await tx.discussions.by_short("cd-7731") is None
        assert await tx.filings.due(10) == []
        assert await tx.deliveries.due() == []
        assert await tx.closings.due() == []
        assert await tx.replies.get("r1") is None
        assert not any((await tx.tally()).values())


# --- discussions ------------------------------------------------------------------------------


async def test_a_discussion_is_found_by_every_name_it_has(journal: Journal, tenure: Tenure) -> None:
    many = [f"{number:04}" for number in range(1_203)]
    async with journal.write(tenure) as tx:
        for ident in many:
            tx.discussions.add(
                discussion(ident, order_number="A1", created_at=NOON - int(ident) * MINUTE)
            )
            tx.discussions.add_message(message("m", ident))
    async with journal.read(BRINDILLE) as tx:
        found = await tx.discussions.by_short("CD-0007")
        assert found is not None
        assert found.id == "0007"
        assert set(await tx.discussions.many([*many, *many, "stranger"])) == set(many)
        assert set(await tx.discussions.messages_of(many)) == set(many)
        assert [d.id for d in await tx.discussions.of_order("A1")] == many[::-1]


async def test_messages_come_oldest_first(journal: Journal, tenure: Tenure) -> None:
    async with journal.write(tenure) as tx:
        tx.discussions.add_message(message("b", sent_at=NOON))
        tx.discussions.add_message(message("a", sent_at=NOON + MINUTE))
        tx.discussions.add_message(message("c", sent_at=NOON))
    async with journal.read(BRINDILLE) as tx:
        assert [m.key for m in await tx.discussions.messages("7731")] == ["b", "c", "a"]
        assert await tx.discussions.messages("stranger") == []


async def test_unknown_is_not_closed(journal: Journal, tenure: Tenure) -> None:
    async with journal.write(tenure) as tx:
        for status in Status:
            tx.discussions.add(discussion(status.value, status=status))
    async with journal.read(BRINDILLE) as tx:
        assert {d.id for d in await tx.discussions.not_closed()} == {"open", "unknown"}


async def test_what_is_intended_with_a_thread_is_found_again(
    journal: Journal, tenure: Tenure
) -> None:
    async with journal.write(tenure) as tx:
        tx.discussions.add(discussion("still"))
        tx.discussions.add(discussion("moves", wanted_folder="Clos"))
        tx.discussions.add(discussion("reopens", reopen_for="r1"))
        tx.discussions.add(discussion("read", mark_read=True))
    async with journal.read(BRINDILLE) as tx:
        assert [d.id for d in await tx.discussions.to_move()] == ["moves"]
        assert [d.id for d in await tx.discussions.to_reopen()] == ["reopens"]
        assert [d.id for d in await tx.discussions.to_mark_read()] == ["read"]


async def test_staff_have_read_only_what_lies_in_the_mailbox(
    journal: Journal, tenure: Tenure
) -> None:
    async with journal.write(tenure) as tx:
        for key in ("m1", "m2", "m3"):
            tx.discussions.add_message(message(key))
        tx.discussions.add_message(message("m4", author_kind=AuthorKind.SELLER))
        tx.discussions.add_message(message("m1", ident="another"))
        tx.filings.add(filing("message:m1", state=FilingState.FILED))
        tx.filings.add(filing("message:m2", state=FilingState.WRITING))
        tx.filings.add(filing("message:m4", state=FilingState.FILED))
    async with journal.read(BRINDILLE) as tx:
        assert await tx.discussions.customer_messages("7731") == 3
        assert await tx.discussions.customer_messages_filed("7731") == 1
        assert await tx.discussions.customer_messages_filed("another") == 0


async def test_sweeps_and_orders_are_remembered_as_last_seen(
    journal: Journal, tenure: Tenure
) -> None:
    async with journal.write(tenure) as tx:
        assert await tx.discussions.seen_until("quick") is None
        for moment in (NOON, NOON + MINUTE):
            await tx.discussions.saw_until("quick", moment)
            await tx.discussions.put_order("A1", f'{{"at": "{moment}"}}', moment)
    async with journal.read(BRINDILLE) as tx:
        assert await tx.discussions.seen_until("quick") == NOON + MINUTE
        assert await tx.discussions.seen_until("full") is None
        orders = await tx.discussions.orders(["A1", "A2"])
        assert {n: o.fetched_at for n, o in orders.items()} == {"A1": NOON + MINUTE}


# --- effects ----------------------------------------------------------------------------------


async def test_what_may_have_left_waits_to_be_matched(journal: Journal, tenure: Tenure) -> None:
    async with journal.write(tenure) as tx:
        for state in DeliveryState:
            tx.deliveries.add(delivery(state.value, state=state))
        tx.deliveries.add(
            delivery("elsewhere", state=DeliveryState.SUBMITTED, discussion="another")
        )
    async with journal.read(BRINDILLE) as tx:
        assert [d.reply for d in await tx.deliveries.unmatched(["7731"])] == [
            "submitting",
            "submitted",
            "uncertain",
            "bounced",
            "held",
            "resent",
        ]


async def test_only_notices_that_ask_for_a_person_are_counted_against_the_limit(
    journal: Journal, tenure: Tenure
) -> None:
    async with journal.write(tenure) as tx:
        tx.filings.add(filing("message:m1"))
        tx.filings.add(filing("hold:r1", notice="{}"))
        tx.filings.add(filing("receipt:r1", notice="{}", unread=False))
        tx.filings.add(filing("hold:r0", notice="{}", created_at=NOON - DAY))
    async with journal.read(BRINDILLE) as tx:
        assert await tx.filings.notices_since("7731", NOON - MINUTE) == 1
        assert await tx.filings.notices_since("7731", NOON - 2 * DAY) == 2


async def test_mails_are_found_by_their_message_id(journal: Journal, tenure: Tenure) -> None:
    async with journal.write(tenure) as tx:
        tx.filings.add(filing("a", message_id="<a@mb.example>"))
        tx.deliveries.add(delivery("r1", message_id="<r1@mb.example>"))
        tx.replies.add(reply("r1"))
        await tx.replies.add_copy(copy("Sent", 7, "r1", message_id="<p1@shop.example>"))
        await tx.replies.add_copy(copy("INBOX", 3, "r1", message_id="<p2@shop.example>"))
    async with journal.read(BRINDILLE) as tx:
        found = await tx.filings.by_mail("<a@mb.example>")
        sent = await tx.deliveries.by_mail("<r1@mb.example>")
        assert found is not None
        assert sent is not None
        assert (found.key, sent.reply) == ("a", "r1")
        assert await tx.filings.by_mail("<r1@mb.example>") is None
        assert [c.folder for c in await tx.replies.copies("r1")] == ["Sent", "INBOX"]
        (one,) = await tx.replies.copies_by_mail(["<p2@shop.example>", "<x@y.example>"])
        assert one.uid == 3
        (one,) = await tx.replies.copies_in("7731", "INBOX")
        assert one.uid == 3


async def test_a_folder_is_read_to_where_it_was_read_last(journal: Journal, tenure: Tenure) -> None:
    async with journal.write(tenure) as tx:
        assert await tx.folders.get("INBOX") is None
        await tx.folders.read_to("INBOX", 1, 40)
        await tx.folders.read_to("INBOX", 2, 7)
    async with journal.read(BRINDILLE) as tx:
        row = await tx.folders.get("INBOX")
        assert row is not None
        assert (row.uidvalidity, row.next_uid) == (2, 7)


async def test_files_are_replaced_not_gathered(journal: Journal, tenure: Tenure) -> None:
    def file(name: str) -> AttachmentRow:
        return AttachmentRow(
            account=BRINDILLE, reply="r1", name=name, content_type="image/png", data=b"\x89"
        )

    async with journal.write(tenure) as tx:
        await tx.replies.keep_attachments("r1", [file("a.png"), file("b.png")])
        await tx.replies.keep_attachments("r1", [file("d.png"), file("c.png")])
    async with journal.read(BRINDILLE) as tx:
        assert [a.name for a in await tx.replies.attachments("r1")] == ["d.png", "c.png"]
    async with journal.write(tenure) as tx:
        await tx.replies.drop_attachments("r1")
        assert await tx.replies.attachments("r1") == []


async def test_closes_of_nobody_are_told_apart(journal: Journal, tenure: Tenure) -> None:
    async with journal.write(tenure) as tx:
        tx.closings.add(closing(None, state=ClosingState.CLOSED))
        tx.closings.add(closing(None, state=ClosingState.READY))
        tx.closings.add(closing("r1", state=ClosingState.CLOSED))
        tx.closings.add(closing(None, state=ClosingState.CLOSED, told="receipt"))
    async with journal.read(BRINDILLE) as tx:
        assert [c.id for c in await tx.closings.of_nobody()] == [1]
        assert [c.id for c in await tx.closings.of_reply("r1")] == [3]
        assert [c.id for c in await tx.closings.of_discussion("7731")] == [1, 2, 3, 4]


async def test_status_counts_by_state(journal: Journal, tenure: Tenure) -> None:
    async with journal.write(tenure) as tx:
        tx.discussions.add(discussion())
        tx.replies.add(reply("r1"))
        tx.replies.add(reply("r2", state=IntakeState.HELD))
        tx.replies.add(reply("r3", state=IntakeState.HELD))
    async with journal.read(BRINDILLE) as tx:
        tally = await tx.tally()
        assert tally["discussions"] == {"open": 1}
        assert tally["replies"] == {"gathering": 1, "held": 2}
