"""The composition root: from a checked configuration to accounts at work.

Only here do flows meet their adapters, and only here do clock and randomness come from the
machine. What the flows do is theirs; how parts are kept running is `ops.supervisor`'s.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from mailbridge.adapters import (
    composer_for,
    identity_for,
    language_of,
    mailbox_for,
    marketplace_for,
    submission_for,
)
from mailbridge.bridge.account import AccountBridge
from mailbridge.bridge.context import Context
from mailbridge.bridge.filing import FolderBusy
from mailbridge.config.models import Account, Config
from mailbridge.config.secret import Secret, SecretError
from mailbridge.domain.routing import ReplyAddresses
from mailbridge.journal.journal import Journal, JournalError, Tenure, TenureLost, journal_file
from mailbridge.mail.port import MailboxError, MailboxRefused, MailboxSignIn
from mailbridge.marketplace.port import (
    CredentialsError,
    MarketplaceError,
    NotAuthorizedError,
    TransientError,
)
from mailbridge.ops.redaction import Redactor
from mailbridge.ops.supervisor import Trouble, type_only

__all__ = [
    "KEY_FILE",
    "STATE_FILES",
    "Bridges",
    "bridges",
    "classify",
    "identity_keys",
    "journal_is_made",
    "journal_url",
]

KEY_FILE = "identity.key"
"""In the state directory, unless the configuration names a key elsewhere."""

STATE_FILES = (KEY_FILE, "journal.sqlite3*", "lock")
"""What mailbridge makes in its state directory, as patterns."""

_SIGN_IN_PAUSE = 600.0
"""Seconds between tries with refused credentials: more often would lock the account out."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Bridges:
    """All accounts of a configuration, put together and not yet running."""

    config: Config
    journal: Journal
    accounts: dict[str, AccountBridge]


@asynccontextmanager
async def bridges(
    config: Config,
    *,
    redactor: Redactor | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    moving: str | None = None,
) -> AsyncIterator[Bridges]:
    """Open the journal, take every enabled account, and connect flows and adapters.

    `moving` names the one account to take instead, though its journal may know its discussions
    from another API than it is configured for; that is NotMoved otherwise, a JournalError.
    Raises JournalError, SecretError, OSError. Everything is released on leaving the block.
    """
    redactor = redactor or Redactor()
    keys = await identity_keys(config)
    owner = f"{socket.gethostname()}:{os.getpid()}"
    async with AsyncExitStack() as stack:
        journal = await Journal.open(journal_url(config), clock=clock)
        stack.push_async_callback(journal.close)
        accounts: dict[str, AccountBridge] = {}
        for name, account in config.accounts.items():
            if name == moving or (moving is None and account.enabled):
                kind = account.marketplace.kind if moving is None else ""
                tenure = await journal.take(name, owner, marketplace=kind)
                ctx = await _context(config, name, account, keys, journal, tenure, redactor, clock)
                stack.push_async_callback(ctx.marketplace.aclose)
                stack.push_async_callback(ctx.submission.aclose)
                accounts[name] = AccountBridge(ctx)
        yield Bridges(config, journal, accounts)


async def _context(
    config: Config,
    name: str,
    account: Account,
    keys: tuple[bytes, ...],
    journal: Journal,
    tenure: Tenure,
    redactor: Redactor,
    clock: Callable[[], datetime],
) -> Context:
    layout = account.mailbox
    identity = identity_for(name, account, keys)
    async with journal.read(name) as tx:
        learnt: dict[str, str] = json.loads((await tx.account()).learnt)
    return Context(
        name=name,
        config=account,
        language=language_of(config, account),
        tenure=tenure,
        journal=journal,
        marketplace=marketplace_for(account, redactor, clock, learnt),
        mailbox=mailbox_for(account, redactor),
        submission=submission_for(account.smtp, layout.address, redactor),
        composer=composer_for(config, name, account, identity),
        identity=identity,
        addresses=ReplyAddresses(
            identity,
            mode=layout.reply_mode,
            mailbox=layout.address,
            reply_address=layout.reply_address,
            former_aliases=layout.former_aliases,
            former_domains=layout.former_domains,
        ),
        clock=clock,
        log=structlog.get_logger("mailbridge").bind(account=name),
    )


def journal_url(config: Config) -> str:
    """Where the journal is, as SQLAlchemy wants it; may hold a password."""
    return config.journal or f"sqlite+aiosqlite:///{config.state_dir / 'journal.sqlite3'}"


def journal_is_made(config: Config) -> bool:
    """Whether there is a database to open; one on a server always counts as there.

    Raises PermissionError where the state directory may not be looked into.
    """
    file = journal_file(journal_url(config))
    return config.state_dir.is_dir() and (file is None or file.is_file())


async def identity_keys(config: Config) -> tuple[bytes, ...]:
    """The keys of our Message-IDs and reply addresses: the first signs, all verify.

    Without a configured key one is made at the first start, in a file beside the journal that
    nobody else can read; it belongs into every backup of the journal.
    """
    if config.key is not None:
        return tuple(line.encode() for line in await config.key.read_lines())
    path = config.state_dir / KEY_FILE
    if not path.exists():
        await asyncio.to_thread(_make_key, path)
    lines = await Secret.from_toml({"file": str(path)}).read_lines()
    return tuple(line.encode() for line in lines)


def _make_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32) + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    log.info("identity key made; back it up together with the journal", path=str(path))


def classify(error: BaseException) -> Trouble:
    """What an error of a part means, in words fit for `status` and the log."""
    match error:
        case MailboxSignIn() | CredentialsError() | NotAuthorizedError():
            return Trouble(str(error), pause=_SIGN_IN_PAUSE, expected=True)
        case FolderBusy():
            return Trouble(str(error), pause=error.seconds or 60.0, expected=True)
        case MailboxRefused() if error.retry_after is not None:
            return Trouble(str(error), pause=error.retry_after, expected=True)
        case TransientError() if error.retry_after is not None:
            return Trouble(str(error), pause=error.retry_after, expected=True)
        case TenureLost():
            return Trouble(str(error), retry=False, expected=True)
        case MailboxError() | MarketplaceError() | JournalError() | SecretError():
            return Trouble(str(error), expected=True)
        case _:
            return type_only(error)
