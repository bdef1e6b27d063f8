"""Retention: whatever people wrote or are called goes, what identifies an effect stays."""

from __future__ import annotations

import sqlite3
from contextlib import closing as closing_of
from pathlib import Path
from typing import Any

import pytest

from mailbridge.domain.delivery import DeliveryState
from mailbridge.domain.discussion import Status
from mailbridge.domain.filing import FilingState
from mailbridge.domain.intake import IntakeState
from mailbridge.domain.notice import Done, DoneKind, Notice, NoticeKind
from mailbridge.domain.wording import text_hash
from mailbridge.journal.journal import Journal, Tenure
from mailbridge.journal.tables import AttachmentRow
from mailbridge.journal.transaction import Transaction
from tests.journal.rows import (
    BRINDILLE,
    DAY,
    NOON,
    Clock,
    delivery,
    discussion,
    filing,
    message,
    reply,
)

NAME = "Zéphyrine Quatrebarbes"
WORDS = "Le grille-pain mauve sentait le jasmin brûlé"
AGENT = "Hippolyte Vadrouille"
ADDRESS = f"c.{'5eed' * 8}@clemarche.example"
PLANTED = ("Quatrebarbes", "jasmin", "Vadrouille", "hippolyte@", "5eed5eed")
OLD = NOON - 200 * DAY


async def plant(tx: Transaction) -> None:
    """A discussion closed long ago that has words and names wherever they may stand."""
    tx.discussions.add(
        discussion(
            title=WORDS,
            subject=f"{WORDS} (CD-7731)",
            customer=NAME,
            order_number="A1",
            status=Status.CLOSED,
            settled_at=OLD,
            relay_address=ADDRESS,
            relay_confirmed_at=OLD,
        )
    )
    tx.discussions.add_message(
        message("m1", author_name=NAME, text=WORDS, text_hash=text_hash(WORDS))
    )
    await tx.discussions.put_order("A1", f'{{"customer": "{NAME}"}}', OLD)
    done = Done(DoneKind.RELEASED, {"by": AGENT})
    notice = Notice(NoticeKind.RECEIPT, facts={"who": AGENT}, done=(done,), text=WORDS)
    tx.filings.add(filing("message:m1", state=FilingState.FILED, error=f"template: {NAME}"))
    tx.filings.add(filing("receipt:r1", notice=notice.to_json(), state=FilingState.FILED))
    tx.replies.add(
        reply(
            "r1",
            state=IntakeState.HELD,
            sender="hippolyte@shop.example",
            sender_name=AGENT,
            text=WORDS,
            text_hash=text_hash(WORDS),
            commands=f'[{{"line": "!note {WORDS}"}}]',
            findings=f'{{"leak": "{WORDS}"}}',
            facts=f'{{"who": "{AGENT}"}}',
            released_by=AGENT,
            outcome=f'[{{"kind": "released", "facts": {{"by": "{AGENT}"}}}}]',
        )
    )
    await tx.replies.keep_attachments(
        "r1",
        [
            AttachmentRow(
                account=BRINDILLE,
                reply="r1",
                name=f"{NAME}.txt",
                content_type="text/plain",
                data=WORDS.encode() * 500,
            )
        ],
    )
    tx.deliveries.add(
        delivery(
            "r1",
            state=DeliveryState.RECORDED,
            text=f"Bonjour {NAME}, {WORDS}",
            text_hash=text_hash(WORDS),
            address=ADDRESS,
            reply_text=f"250 queued for {ADDRESS}",
        )
    )


async def prune(journal: Journal, tenure: Tenure, clock: Clock) -> list[str]:
    """What housekeeping does; the discussions it pruned."""
    async with journal.write(tenure) as tx:
        rows = await tx.discussions.prunable(clock.now - 180 * DAY)
        for row in rows:
            await tx.discussions.prune(row, tx.now)
            await tx.replies.forget_words(row.id)
            await tx.deliveries.forget_words(row.id)
            await tx.filings.forget_words(row.id)
        return [row.id for row in rows]


def everything(path: Path) -> str:
    """Every value of every row, as text."""
    with closing_of(sqlite3.connect(path)) as database:
        named = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = [name for (name,) in named]
        rows = [row for table in tables for row in database.execute(f'SELECT * FROM "{table}"')]
    return "\n".join(
        value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        for row in rows
        for value in row
    )


async def test_after_retention_no_row_holds_a_word_a_name_or_an_address(
    journal: Journal, tenure: Tenure, clock: Clock, path: Path
) -> None:
    async with journal.write(tenure) as tx:
        await plant(tx)
    before = everything(path)
    assert all(planted in before for planted in PLANTED)

    assert await prune(journal, tenure, clock) == ["7731"]

    after = everything(path)
    assert [planted for planted in PLANTED if planted in after] == []


async def test_after_retention_not_even_the_file_holds_them(
    journal: Journal, tenure: Tenure, clock: Clock, path: Path
) -> None:
    async with journal.write(tenure) as tx:
        await plant(tx)
    await prune(journal, tenure, clock)
    await journal.close()  # the last one to leave writes the WAL back and removes it
    assert [f.name for f in path.parent.iterdir()] == [path.name]
    data = path.read_bytes()
    assert [planted for planted in PLANTED if planted.encode() in data] == []


async def test_identities_and_hashes_stay_so_that_nothing_is_filed_or_sent_again(
    journal: Journal, tenure: Tenure, clock: Clock
) -> None:
    async with journal.write(tenure) as tx:
        await plant(tx)
    await prune(journal, tenure, clock)
    async with journal.read(BRINDILLE) as tx:
        row = await tx.discussions.by_short("cd-7731")
        assert row is not None
        assert (row.reference, row.order_number, row.subject) == ("7731", "A1", "(CD-7731)")
        assert row.pruned_at == NOON
        (kept,) = await tx.discussions.messages("7731")
        assert (kept.key, kept.text_hash) == ("m1", text_hash(WORDS))
        assert kept.raw_time
        assert {f.key: f.state for f in await tx.filings.filed("7731")} == {
            "message:m1": FilingState.FILED,
            "receipt:r1": FilingState.FILED,
        }
        (sent,) = await tx.deliveries.of_discussion("7731")
        assert (sent.state, sent.text_hash) == (DeliveryState.RECORDED, text_hash(WORDS))
        (held,) = await tx.replies.of_discussion("7731")
        assert (held.state, held.text_hash) == (IntakeState.HELD, text_hash(WORDS))
        assert await tx.filings.notices_since("7731", OLD) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"settled_at": None},
        {"settled_at": NOON - 179 * DAY},
        {"settled_at": OLD, "pruned_at": NOON - DAY},
    ],
)
async def test_what_is_open_recent_or_done_is_left_alone(
    journal: Journal, tenure: Tenure, clock: Clock, changes: dict[str, Any]
) -> None:
    async with journal.write(tenure) as tx:
        tx.discussions.add(discussion(title=WORDS, **changes))
    assert await prune(journal, tenure, clock) == []


async def test_a_discussion_reopened_after_retention_is_pruned_a_second_time(
    journal: Journal, tenure: Tenure, clock: Clock, path: Path
) -> None:
    async with journal.write(tenure) as tx:
        await plant(tx)
    await prune(journal, tenure, clock)
    clock.now += DAY
    async with journal.write(tenure) as tx:
        row = await tx.discussions.get("7731")
        assert row is not None
        row.settled_at = tx.now
        tx.discussions.add_message(message("m2", author_name=NAME, text=WORDS))
    assert await prune(journal, tenure, clock) == []
    clock.now += 181 * DAY
    assert await prune(journal, tenure, clock) == ["7731"]
    assert [planted for planted in PLANTED if planted in everything(path)] == []
    assert await prune(journal, tenure, clock) == []


async def test_an_order_stays_until_the_last_discussion_about_it_is_pruned(
    journal: Journal, tenure: Tenure, clock: Clock
) -> None:
    async with journal.write(tenure) as tx:
        await plant(tx)
        tx.discussions.add(discussion("7732", order_number="A1"))
    assert await prune(journal, tenure, clock) == ["7731"]
    async with journal.write(tenure) as tx:
        assert await tx.discussions.order("A1") is not None
        open_one = await tx.discussions.get("7732")
        assert open_one is not None
        open_one.settled_at = OLD
    assert await prune(journal, tenure, clock) == ["7732"]
    async with journal.read(BRINDILLE) as tx:
        assert await tx.discussions.order("A1") is None


async def test_other_discussions_and_accounts_keep_their_words(
    journal: Journal, tenure: Tenure, clock: Clock
) -> None:
    other = await journal.take("other", "here:1")
    async with journal.write(other) as tx:
        tx.discussions.add_message(message("m1", account="other", text="untouched"))
        tx.replies.add(reply("r1", account="other", text="untouched"))
        await tx.replies.keep_attachments(
            "r1",
            [AttachmentRow(account="other", reply="r1", name="a", content_type="b", data=b"c")],
        )
    async with journal.write(tenure) as tx:
        await plant(tx)
        tx.discussions.add_message(message("m1", "7732", text="untouched"))
        tx.deliveries.add(delivery("r2", discussion="7732", text="untouched"))
    await prune(journal, tenure, clock)
    async with journal.read(BRINDILLE) as tx:
        assert [m.text for m in await tx.discussions.messages("7732")] == ["untouched"]
        assert [d.text for d in await tx.deliveries.of_reply("r2")] == ["untouched"]
    async with journal.read("other") as tx:
        assert [m.text for m in await tx.discussions.messages("7731")] == ["untouched"]
        assert [r.text for r in await tx.replies.of_discussion("7731")] == ["untouched"]
        assert len(await tx.replies.attachments("r1")) == 1
