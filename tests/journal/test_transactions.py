"""Transactions: whole or not at all, one after the other, and only by who holds the account."""
# ruff: noqa: ASYNC220, PT012 (a test may start a process; a transaction fails at its end)

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.exc import IntegrityError, OperationalError, StatementError

from mailbridge.domain.delivery import MACHINE, DeliveryEvent, DeliveryState
from mailbridge.domain.machine import ForbiddenMove
from mailbridge.journal import journal as journal_module
from mailbridge.journal.base import UtcTime
from mailbridge.journal.journal import Journal, Tenure, TenureLost
from mailbridge.journal.tables import DeliveryRow
from mailbridge.journal.transaction import Transaction
from tests.journal.rows import BRINDILLE, NOON, Clock, delivery, discussion, message

DIALECTS: tuple[Dialect, ...] = (
    SQLiteDialect(),
    PGDialect(),  # type: ignore[no-untyped-call]
)


async def known(journal: Journal) -> list[str]:
    async with journal.read(BRINDILLE) as tx:
        return sorted(row.id for row in await tx.discussions.not_closed())


# --- tenure -----------------------------------------------------------------------------------


async def test_every_tenure_has_a_higher_epoch(journal: Journal, clock: Clock) -> None:
    first = await journal.take(BRINDILLE, "here:1")
    clock.now += timedelta(hours=1)
    second = await journal.take(BRINDILLE, "there:2")
    assert (first.epoch, second.epoch) == (1, 2)
    async with journal.read(BRINDILLE) as tx:
        row = await tx.account()
        assert (row.owner, row.epoch, row.held_since) == ("there:2", 2, clock.now)


async def test_after_a_takeover_the_old_owner_writes_nothing(
    journal: Journal, tenure: Tenure, url: str, clock: Clock
) -> None:
    other = await Journal.open(url, clock=clock)
    taken = await other.take(BRINDILLE, "there:2")
    with pytest.raises(TenureLost, match=r"brindille: .*taken it over .*tenure 2, ours was 1"):
        async with journal.write(tenure) as tx:
            tx.discussions.add(discussion("1"))
    async with other.write(taken) as tx:
        tx.discussions.add(discussion("2"))
    assert await known(journal) == ["2"]
    await other.close()


async def test_a_takeover_in_the_middle_of_a_write_undoes_it(
    journal: Journal, tenure: Tenure, url: str, clock: Clock
) -> None:
    other = await Journal.open(url, clock=clock)
    with pytest.raises(OperationalError, match="locked"):
        async with journal.write(tenure) as tx:
            await other.take(BRINDILLE, "there:2")
            tx.discussions.add(discussion("1"))
    assert await known(other) == []
    with pytest.raises(TenureLost):
        async with journal.write(tenure):
            pass
    await other.close()


def test_where_rows_can_be_locked_a_takeover_waits_for_the_write_under_way() -> None:
    fence = journal_module._fence(BRINDILLE)
    on_sqlite, on_postgresql = (str(fence.compile(dialect=dialect)) for dialect in DIALECTS)
    assert on_postgresql.endswith("FOR SHARE")
    assert "FOR" not in on_sqlite


def test_where_each_statement_sees_another_moment_a_reader_asks_for_one() -> None:
    assert journal_module._view_options("postgresql") == {"isolation_level": "REPEATABLE READ"}
    assert journal_module._view_options("sqlite") == {}


async def test_one_account_taken_over_leaves_the_others_alone(journal: Journal) -> None:
    one = await journal.take("one", "here:1")
    other = await journal.take("other", "here:1")
    await journal.take("one", "there:2")
    with pytest.raises(TenureLost):
        async with journal.write(one):
            pass
    async with journal.write(other) as tx:
        tx.note("still here")
    assert await journal.accounts() == ["one", "other"]


async def test_an_account_nobody_took_cannot_be_written(journal: Journal) -> None:
    with pytest.raises(TenureLost):
        async with journal.write(Tenure("stranger", "here:1", 1)):
            pass


# --- whole or not at all ----------------------------------------------------------------------


async def test_an_exception_leaves_nothing(journal: Journal, tenure: Tenure) -> None:
    async with journal.write(tenure) as tx:
        tx.discussions.add(discussion("1", title="before"))
    with pytest.raises(RuntimeError, match="halfway"):
        async with journal.write(tenure) as tx:
            row = await tx.discussions.get("1")
            assert row is not None
            row.title = "after"
            tx.discussions.add(discussion("2"))
            tx.note("noted", discussion="1")
            await tx.flush()
            raise RuntimeError("halfway")
    async with journal.read(BRINDILLE) as tx:
        kept = await tx.discussions.get("1")
        assert kept is not None
        assert kept.title == "before"
        assert await tx.discussions.get("2") is None
        assert await tx.events("1") == []


async def test_a_cancelled_task_leaves_nothing_and_the_next_writer_gets_on(
    journal: Journal, tenure: Tenure
) -> None:
    inside = asyncio.Event()

    async def hang() -> None:
        async with journal.write(tenure) as tx:
            tx.discussions.add(discussion("1"))
            await tx.flush()
            inside.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(hang())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with journal.write(tenure) as tx:
        tx.discussions.add(discussion("2"))
    assert await known(journal) == ["2"]


async def test_what_is_changed_while_reading_is_not_written(
    journal: Journal, tenure: Tenure
) -> None:
    async with journal.write(tenure) as tx:
        tx.discussions.add(discussion("1", title="before"))
    async with journal.read(BRINDILLE) as tx:
        row = await tx.discussions.get("1")
        assert row is not None
        row.title = "after"
        await tx.discussions.not_closed()
    async with journal.read(BRINDILLE) as tx:
        again = await tx.discussions.get("1")
        assert again is not None
        assert again.title == "before"


async def test_a_reader_sees_one_moment_and_waits_for_nobody(
    journal: Journal, tenure: Tenure
) -> None:
    async with journal.read(BRINDILLE) as reading:
        assert await reading.discussions.not_closed() == []
        async with journal.write(tenure) as writing:
            writing.discussions.add(discussion("1"))
        assert await reading.discussions.not_closed() == []
    assert await known(journal) == ["1"]


async def test_rows_may_be_kept_after_their_transaction(journal: Journal, tenure: Tenure) -> None:
    async with journal.write(tenure) as tx:
        row = discussion("1", title="kept")
        tx.discussions.add(row)
    assert row.title == "kept"


# --- one after the other ----------------------------------------------------------------------


async def test_writers_of_one_process_come_one_after_the_other(
    journal: Journal, tenure: Tenure
) -> None:
    async with journal.write(tenure) as tx:
        tx.discussions.add(discussion("1", title="0"))

    async def add_one() -> None:
        async with journal.write(tenure) as tx:
            row = await tx.discussions.get("1")
            assert row is not None
            count = int(row.title)
            await asyncio.sleep(0.001)
            row.title = str(count + 1)

    await asyncio.gather(*(add_one() for _ in range(25)))
    async with journal.read(BRINDILLE) as tx:
        row = await tx.discussions.get("1")
        assert row is not None
        assert row.title == "25"


# --- moves ------------------------------------------------------------------------------------


def begin(tx: Transaction, row: DeliveryRow) -> DeliveryState:
    return tx.move(
        row, MACHINE, DeliveryEvent.BEGIN, discussion="7731", subject="1", detail="try 1"
    )


async def test_a_move_follows_its_table_names_its_owner_and_is_noted(
    journal: Journal, tenure: Tenure
) -> None:
    async with journal.write(tenure) as tx:
        row = delivery("r1")
        tx.deliveries.add(row)
        assert begin(tx, row) is DeliveryState.SUBMITTING
    async with journal.read(BRINDILLE) as tx:
        (again,) = await tx.deliveries.in_state(DeliveryState.SUBMITTING)
        assert (again.owner, again.epoch) == ("here:1", 1)
        (event,) = await tx.events("7731")
        assert (event.what, event.subject, event.detail) == ("delivery begin", "1", "try 1")
        assert (event.at, event.owner, event.epoch) == (NOON, "here:1", 1)


async def test_a_forbidden_move_changes_nothing(journal: Journal, tenure: Tenure) -> None:
    with pytest.raises(ForbiddenMove):
        async with journal.write(tenure) as tx:
            row = delivery("r1", state=DeliveryState.RECORDED)
            tx.deliveries.add(row)
            await tx.flush()
            begin(tx, row)
    async with journal.read(BRINDILLE) as tx:
        assert await tx.tally() == {
            "discussions": {},
            "filings": {},
            "replies": {},
            "deliveries": {},
            "closings": {},
            "money": {},
        }


async def test_a_state_no_table_knows_is_an_error(journal: Journal, tenure: Tenure) -> None:
    with pytest.raises(ValueError, match="in limbo"):
        async with journal.write(tenure) as tx:
            begin(tx, delivery("r1", state="in limbo"))


async def test_an_event_needs_an_account_that_exists(journal: Journal, tenure: Tenure) -> None:
    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        async with journal.write(tenure) as tx:
            stranger = Transaction(tx._session, "stranger", "here:1", 1, NOON)
            stranger.note("out of nowhere")


async def test_a_long_detail_is_cut(journal: Journal, tenure: Tenure) -> None:
    async with journal.write(tenure) as tx:
        tx.note("noted", discussion="7731", detail="x" * 10_000)
    async with journal.read(BRINDILLE) as tx:
        (event,) = await tx.events("7731")
        assert event.detail == "x" * 500


# --- times ------------------------------------------------------------------------------------


@given(
    st.datetimes(
        min_value=datetime(1902, 1, 1),  # noqa: DTZ001 - hypothesis adds the zones
        max_value=datetime(2200, 1, 1),  # noqa: DTZ001
        timezones=st.sampled_from(
            [
                UTC,
                ZoneInfo("Europe/Paris"),
                ZoneInfo("Pacific/Auckland"),
                timezone(-timedelta(hours=11)),
            ]
        ),
    )
)
def test_any_aware_time_comes_back_as_the_same_instant_in_utc(moment: datetime) -> None:
    for dialect in DIALECTS:
        column = UtcTime()
        stored = column.process_bind_param(moment, dialect)
        back = column.process_result_value(stored, dialect)
        assert back is not None
        assert back.astimezone(UTC) == moment.astimezone(UTC)
        assert back.utcoffset() == timedelta(0)


def test_no_time_stays_no_time() -> None:
    for dialect in DIALECTS:
        assert UtcTime().process_bind_param(None, dialect) is None
        assert UtcTime().process_result_value(None, dialect) is None


async def test_a_naive_time_is_refused(journal: Journal, tenure: Tenure) -> None:
    with pytest.raises(StatementError, match="aware times only"):
        async with journal.write(tenure) as tx:
            tx.discussions.add(discussion("1", created_at=NOON.replace(tzinfo=None)))
    assert await known(journal) == []


async def test_a_time_in_paris_is_read_back_in_utc(journal: Journal, tenure: Tenure) -> None:
    paris = datetime(2026, 10, 25, 2, 30, 1, 234567, tzinfo=ZoneInfo("Europe/Paris"), fold=1)
    async with journal.write(tenure) as tx:
        tx.discussions.add_message(message("m", sent_at=paris))
    async with journal.read(BRINDILLE) as tx:
        (row,) = await tx.discussions.messages("7731")
        assert row.sent_at == datetime(2026, 10, 25, 1, 30, 1, 234567, tzinfo=UTC)
        assert row.sent_at.tzinfo is UTC


# --- sudden death -----------------------------------------------------------------------------

WRITER = """
import asyncio, sys
from tests.journal.rows import BRINDILLE, Clock, discussion, message
from mailbridge.journal.journal import Journal

async def main():
    journal = await Journal.open(sys.argv[1], clock=Clock())
    tenure = await journal.take(BRINDILLE, "doomed")
    for number in range(10**6):
        async with journal.write(tenure) as tx:
            tx.discussions.add(discussion(str(number)))
            for m in range(20):
                tx.discussions.add_message(message(f"m{m}", str(number), text="x" * 500))
            await tx.flush()
            if number == int(sys.argv[2]):
                print("inside", flush=True)
                await asyncio.sleep(60)
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("doomed", [0, 3])
async def test_a_process_killed_in_the_middle_of_a_write_leaves_a_sound_journal(
    url: str, path: Path, clock: Clock, doomed: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, url, str(doomed)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline().strip() for _ in range(doomed + 1)]
        os.kill(process.pid, signal.SIGKILL)
    assert said[-1] == "inside"

    journal = await Journal.open(url, clock=clock)
    assert await known(journal) == [str(n) for n in range(doomed)]
    async with journal.read(BRINDILLE) as tx:
        messages = await tx.discussions.messages_of([str(n) for n in range(doomed + 1)])
    assert {name: len(rows) for name, rows in messages.items()} == {
        str(n): 20 for n in range(doomed)
    }
    tenure = await journal.take(BRINDILLE, "heir")
    assert tenure.epoch == 2
    async with journal.write(tenure) as tx:
        tx.discussions.add(discussion(str(doomed)))
    await journal.close()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_a_process_killed_while_committing_keeps_every_commit_it_spoke_of(
    url: str, clock: Clock
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, url, "-1"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        for _ in range(20):
            spoken = process.stdout.readline().strip()
        os.kill(process.pid, signal.SIGKILL)
        spoken = (process.stdout.read().split() or [spoken])[-1]

    journal = await Journal.open(url, clock=clock)
    async with journal.read(BRINDILLE) as tx:
        rows = await tx.discussions.not_closed()
        messages = await tx.discussions.messages_of([row.id for row in rows])
    assert {int(row.id) for row in rows} >= set(range(int(spoken) + 1))
    assert all(len(messages[row.id]) == 20 for row in rows)
    await journal.close()
