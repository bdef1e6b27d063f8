"""Opening the journal: a new one, one that is there, one that is not for us."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, UniqueConstraint, inspect
from sqlalchemy.ext.asyncio import create_async_engine

import mailbridge.journal
from mailbridge.journal import journal as journal_module
from mailbridge.journal.journal import Journal, JournalError, Tenure
from mailbridge.journal.tables import Base
from tests.journal.rows import BRINDILLE, Clock, discussion


def schema(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    return [f"{name}: {sql}" for name, sql in rows]


def pragma(path: Path, name: str) -> object:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(f"PRAGMA {name}").fetchone()[0]


async def test_a_new_journal_has_every_table_and_says_its_version(
    journal: Journal, path: Path
) -> None:
    with closing(sqlite3.connect(path)) as database:
        names = {n for (n,) in database.execute("SELECT name FROM sqlite_master")}
        (version,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
    assert set(Base.metadata.tables) < names
    folder = Path(mailbridge.journal.__file__).parent / "migrations"
    assert version == ScriptDirectory(str(folder)).get_current_head()


async def test_the_migrations_lead_to_exactly_the_tables_the_program_uses(
    journal: Journal, url: str
) -> None:
    def differences(connection: Connection) -> object:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, Base.metadata)

    engine = create_async_engine(url)
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_the_migrations_make_what_may_exist_only_once(journal: Journal, url: str) -> None:
    """Autogenerate is blind to unique constraints without a name, on SQLite."""

    def built(connection: Connection) -> dict[str, set[frozenset[str]]]:
        return {
            table: {
                frozenset(unique["column_names"])
                for unique in inspect(connection).get_unique_constraints(table)
            }
            for table in Base.metadata.tables
        }

    meant = {
        name: {
            frozenset(column.name for column in constraint.columns)
            for constraint in table.constraints
            if isinstance(constraint, UniqueConstraint)
        }
        for name, table in Base.metadata.tables.items()
    }
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        assert await connection.run_sync(built) == meant
    await engine.dispose()


async def test_opening_again_changes_nothing_and_keeps_what_is_there(
    journal: Journal, tenure: Tenure, path: Path, url: str, clock: Clock
) -> None:
    async with journal.write(tenure) as tx:
        tx.discussions.add(discussion())
    await journal.close()
    before = schema(path)
    again = await Journal.open(url, clock=clock)
    assert schema(path) == before
    assert await again.accounts() == [BRINDILLE]
    async with again.read(BRINDILLE) as tx:
        assert await tx.discussions.get("7731") is not None
    await again.close()


async def test_a_commit_is_on_the_disk_before_it_is_believed(journal: Journal, path: Path) -> None:
    assert pragma(path, "journal_mode") == "wal"
    async with journal._engine.connect() as connection:
        for name, value in {
            "synchronous": 2,  # FULL: the WAL is synced at every commit
            "foreign_keys": 1,
            "secure_delete": 1,
            "busy_timeout": 10_000,
        }.items():
            result = await connection.exec_driver_sql(f"PRAGMA {name}")
            assert (name, result.scalar()) == (name, value)


async def test_a_journal_of_a_newer_version_is_refused_with_the_way_out(
    journal: Journal, path: Path, url: str, clock: Clock
) -> None:
    await journal.close()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    before = schema(path)
    with pytest.raises(JournalError) as refused:
        await Journal.open(url, clock=clock)
    words = str(refused.value)
    assert str(path) in words
    assert "written by a newer mailbridge" in words
    assert "restore the backup" in words
    assert schema(path) == before


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path, clock: Clock) -> None:
    missing = tmp_path / "nowhere" / "journal.sqlite"
    with pytest.raises(JournalError) as refused:
        await Journal.open(f"sqlite+aiosqlite:///{missing}", clock=clock)
    assert str(missing) in str(refused.value)
    assert "unable to open database file" in str(refused.value)
    assert "belongs to the user" in str(refused.value)
    await asyncio.sleep(0.05)  # aiosqlite's thread still has to see that it failed


async def test_a_file_that_may_only_be_read_is_refused(
    journal: Journal, path: Path, clock: Clock
) -> None:
    await journal.close()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TABLE event")
        database.execute("DROP TABLE alembic_version")
    with pytest.raises(JournalError, match=r"cannot be opened: .*readonly"):
        await Journal.open(f"sqlite+aiosqlite:///file:{path}?mode=ro&uri=true", clock=clock)


async def test_a_file_that_is_no_database_is_left_as_it_is(
    path: Path, url: str, clock: Clock
) -> None:
    path.write_bytes(b"Dear diary, today nothing happened. " * 40)
    with pytest.raises(JournalError, match="not a database"):
        await Journal.open(url, clock=clock)
    assert path.read_bytes().startswith(b"Dear diary")


async def test_an_upgrade_that_fails_leaves_nothing_half_done(
    path: Path, url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = journal_module._upgrade

    def power_cut(connection: Connection) -> None:
        upgrade(connection)
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "_upgrade", power_cut)
        with pytest.raises(JournalError, match="power cut"):
            await Journal.open(url, clock=clock)
    assert schema(path) == []
    opened = await Journal.open(url, clock=clock)
    assert await opened.accounts() == []
    await opened.close()
