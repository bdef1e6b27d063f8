"""Opening the journal, its transactions, and the fence that keeps a second daemon out.

A transaction is the unit of "intended before it is tried": all it holds is on disk together
(`synchronous=FULL`) or not at all. Every writing transaction first checks that this daemon still
holds the account: after a takeover the old owner's writes fail, whatever it believes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import Connection, Select, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    async_sessionmaker,
    create_async_engine,
)

from mailbridge.journal.tables import AccountRow
from mailbridge.journal.transaction import Transaction

__all__ = ["Journal", "JournalError", "NotMoved", "Tenure", "TenureLost", "journal_file"]

Clock = Callable[[], datetime]

_DATABASE = "the server runs, and has such a database and such a user"
_WAYS_OUT = {"sqlite": "its folder exists and belongs to the user mailbridge runs as"}


class JournalError(Exception):
    """The journal cannot be opened or written; `str()` names the file and the way out."""


class TenureLost(JournalError):
    """Another daemon has taken the account over; this one must stop working on it."""


class NotMoved(JournalError):
    """The account is configured for another API than the one its discussions are known from."""


@dataclass(frozen=True, slots=True)
class Tenure:
    """This daemon's hold on one account."""

    account: str
    owner: str
    epoch: int


class Journal:
    """One journal, opened once by the process that performs effects."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)
        views = engine.execution_options(**_view_options(engine.dialect.name))
        self._views = async_sessionmaker(views, expire_on_commit=False)
        self._clock = clock
        self._writing = asyncio.Lock()

    @classmethod
    async def open(cls, url: str, *, clock: Clock) -> Journal:
        """Open (and create or upgrade) the journal at a SQLAlchemy URL.

        Raises JournalError when the file cannot be opened or was written by a newer version.
        """
        engine = create_async_engine(url)
        if engine.dialect.name == "sqlite":
            event.listen(engine.sync_engine, "connect", _on_sqlite_connect)
            event.listen(engine.sync_engine, "begin", _on_sqlite_begin)
        try:
            async with engine.begin() as connection:
                await connection.run_sync(_upgrade)
        except (DBAPIError, OSError) as error:
            await engine.dispose()
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise JournalError(
                f"journal {engine.url.render_as_string()}: cannot be opened: {cause}; check that "
                f"{_WAYS_OUT.get(engine.dialect.name, _DATABASE)}"
            ) from None
        except JournalError:
            await engine.dispose()
            raise
        return cls(engine, clock)

    async def take(self, account: str, owner: str, *, marketplace: str = "") -> Tenure:
        """Take an account: from now on every older owner's writes fail.

        `marketplace` is the API whose ids it will be given; empty: whichever it was. Raises
        NotMoved, and takes nothing, where the journal knows its discussions by another's, or
        some of them: a move to another API was begun.
        """
        now = self._clock()
        async with self._writing, self._sessions.begin() as session:
            row = await session.get(AccountRow, account)
            if row is None:
                row = AccountRow(name=account, owner=owner, epoch=1, held_since=now)
                session.add(row)
            elif marketplace and row.moving_to:
                raise NotMoved(
                    f"account {account}: its move to {row.moving_to} was begun and not finished; "
                    f"run: mailbridge migrate {account} --to {row.moving_to}"
                )
            elif marketplace and row.marketplace not in ("", marketplace):
                raise NotMoved(
                    f"account {account}: the journal knows its discussions by the ids of "
                    f"{row.marketplace}, and the configuration says {marketplace}; either put "
                    f"the former section back, or run: mailbridge migrate {account} "
                    f"--to {marketplace}"
                )
            else:
                row.owner, row.epoch, row.held_since = owner, row.epoch + 1, now
            row.marketplace = marketplace or row.marketplace or ""
            return Tenure(account, owner, row.epoch)

    async def accounts(self) -> list[str]:
        """Names of all accounts the journal knows."""
        async with self._sessions() as session:
            return list(await session.scalars(select(AccountRow.name).order_by(AccountRow.name)))

    @asynccontextmanager
    async def write(self, tenure: Tenure) -> AsyncIterator[Transaction]:
        """A writing transaction, committed on leaving the block without an exception.

        Raises TenureLost when the account has been taken over.
        """
        async with self._writing, self._sessions.begin() as session:
            epoch = await session.scalar(_fence(tenure.account))
            if epoch != tenure.epoch:
                raise TenureLost(
                    f"account {tenure.account}: another mailbridge has taken it over "
                    f"(tenure {epoch}, ours was {tenure.epoch}); this one stops working on it"
                )
            yield Transaction(session, tenure.account, tenure.owner, tenure.epoch, self._clock())

    @asynccontextmanager
    async def read(self, account: str) -> AsyncIterator[Transaction]:
        """A consistent view; rows may be kept after it, changes to them are not written."""
        async with self._views() as session:
            yield Transaction(session, account, "", 0, self._clock())

    async def close(self) -> None:
        """Release the file."""
        await self._engine.dispose()


def journal_file(url: str) -> Path | None:
    """The file that a SQLAlchemy URL names; None for a database on a server."""
    told = make_url(url)
    return Path(told.database or "") if told.drivername.startswith("sqlite") else None


def _fence(account: str) -> Select[int]:
    # The shared lock keeps a takeover waiting until this transaction ends (PostgreSQL; without
    # it an old owner could commit after the takeover). SQLite has no row locks and needs none:
    # there a transaction that read before another's commit cannot write any more.
    return select(AccountRow.epoch).where(AccountRow.name == account).with_for_update(read=True)


def _view_options(dialect: str) -> dict[str, str]:
    # PostgreSQL shows each statement of a transaction another moment unless it is asked for one;
    # a writer keeps its default, so that the fence above sees the takeover it waited for.
    return {"isolation_level": "REPEATABLE READ"} if dialect == "postgresql" else {}


def _on_sqlite_connect(connection: Any, _record: object) -> None:
    # WAL lets readers go on while a write is under way; FULL syncs at every commit, which is
    # the promise the whole product rests on. The driver must not begin by itself: see below.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    # What retention clears is overwritten, not just let go.
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()


def _on_sqlite_begin(connection: Connection) -> None:
    # One snapshot for the whole transaction; a writer upgrades when it first writes, and the
    # lock above sees to it that there is one writer in this process.
    connection.exec_driver_sql("BEGIN")


def _upgrade(connection: Connection) -> None:
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except Exception as error:
        if "Can't locate revision" in str(error):
            raise JournalError(
                f"journal {connection.engine.url.render_as_string()}: written by a newer "
                "mailbridge; install that version again, or restore the backup made before it"
            ) from None
        raise
