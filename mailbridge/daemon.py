"""The composition root: from a checked configuration to accounts at work.

Only here do flows meet their adapters, and only here do clock and randomness come from the
machine. What the flows do is theirs; how parts are kept running is `ops.supervisor`'s.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from mailbridge.bridge.account import AccountBridge
from mailbridge.bridge.context import Context
from mailbridge.bridge.filing import FolderBusy
from mailbridge.config.models import Account, AuthMethod, Config, Server
from mailbridge.config.secret import Secret, SecretError
from mailbridge.domain.identity import Identity
from mailbridge.domain.routing import ReplyAddresses
from mailbridge.journal.journal import Journal, JournalError, TenureLost
from mailbridge.mail.compose import Composer, SellerPages
from mailbridge.mail.imap import ImapMailbox, ImapSettings
from mailbridge.mail.port import MailboxError, MailboxRefused, MailboxSignIn
from mailbridge.mail.rendering import Templates
from mailbridge.mail.smtp import SignIn, SmtpSettings, SmtpSubmission, TlsMode
from mailbridge.marketplace.cdiscount.adapter import CdiscountMarketplace
from mailbridge.marketplace.port import (
    CredentialsError,
    MarketplaceError,
    NotAuthorizedError,
    TransientError,
)
from mailbridge.ops.redaction import Redactor
from mailbridge.ops.supervisor import Trouble, type_only

__all__ = ["Bridges", "bridges", "classify", "identity_keys", "submission_for"]

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
) -> AsyncIterator[Bridges]:
    """Open the journal, take every enabled account, and connect flows and adapters.

    Raises JournalError, SecretError, OSError. Everything is released on leaving the block.
    """
    redactor = redactor or Redactor()
    keys = await identity_keys(config)
    owner = f"{socket.gethostname()}:{os.getpid()}"
    url = config.journal or f"sqlite+aiosqlite:///{config.state_dir / 'journal.sqlite3'}"
    async with AsyncExitStack() as stack:
        journal = await Journal.open(url, clock=clock)
        stack.push_async_callback(journal.close)
        accounts: dict[str, AccountBridge] = {}
        for name, account in config.accounts.items():
            if account.enabled:
                ctx = await _context(config, name, account, keys, journal, owner, redactor, clock)
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
    owner: str,
    redactor: Redactor,
    clock: Callable[[], datetime],
) -> Context:
    layout = account.mailbox
    language = account.language or config.language
    domain = layout.id_domain or f"mb.{layout.address.rpartition('@')[2]}"
    identity = Identity(keys, account=name, domain=domain)
    market = account.marketplace
    composer = Composer(
        Templates(config.templates_dir),
        identity,
        account=name,
        mailbox_address=layout.address,
        mailbox_name=next(iter(account.shop_names), ""),
        language=language,
        timezone=account.timezone,
        pages=SellerPages.of_cdiscount(market.seller_url),
        replies_on=account.replies.enabled,
        closed_folder=layout.closed_folder if layout.close_by_move else "",
    )
    return Context(
        name=name,
        config=account,
        language=language,
        tenure=await journal.take(name, owner),
        journal=journal,
        marketplace=CdiscountMarketplace(
            login=market.login,
            password=reading(market.password, redactor),
            token_url=market.token_url,
            service_url=market.service_url,
            clock=clock,
            wsdl=market.wsdl,
            shop_names=account.shop_names,
            partner=market.partner,
            timeout=market.timeout.total_seconds(),
        ),
        mailbox=ImapMailbox(
            ImapSettings(
                host=account.imap.host,
                user=account.imap.user or layout.address,
                port=account.imap.port,
                security=account.imap.security,
                auth=account.imap.auth,
                timeout=account.imap.timeout.total_seconds(),
                idle=account.imap.idle,
                ca_file=account.imap.ca_file,
            ),
            _sign_in_secret(account.imap, redactor),
        ),
        submission=submission_for(account.smtp, layout.address, redactor),
        composer=composer,
        identity=identity,
        addresses=ReplyAddresses(
            identity,
            mode=layout.reply_mode,
            mailbox=layout.address,
            reply_address=layout.reply_address,
        ),
        clock=clock,
        log=structlog.get_logger("mailbridge").bind(account=name),
    )


def submission_for(server: Server, address: str, redactor: Redactor) -> SmtpSubmission:
    """The adapter for one configured SMTP server; `address` is its user where none is named."""
    signs_in = server.auth is not AuthMethod.NONE
    return SmtpSubmission(
        SmtpSettings(
            host=server.host,
            port=getattr(server, "port", None),
            security=TlsMode(server.security),
            sign_in=SignIn(server.auth),
            user=(server.user or address) if signs_in else "",
            ca_file=server.ca_file,
            timeout=server.timeout.total_seconds(),
        ),
        secret=_sign_in_secret(server, redactor) if signs_in else None,
    )


def _sign_in_secret(server: Server, redactor: Redactor) -> Callable[[], Awaitable[str]]:
    secret = server.password if server.auth is AuthMethod.PASSWORD else server.token
    if secret is None:
        raise SecretError(f"{server.host}: no secret to sign in with")
    return reading(secret, redactor)


def reading(secret: Secret, redactor: Redactor) -> Callable[[], Awaitable[str]]:
    """Reads the secret anew each time it is asked for, and has the log leave it out."""

    async def read() -> str:
        value = await secret.read()
        redactor.learn(value)
        return value

    return read


async def identity_keys(config: Config) -> tuple[bytes, ...]:
    """The keys of our Message-IDs and reply addresses: the first signs, all verify.

    Without a configured key one is made at the first start, in a file beside the journal that
    nobody else can read; it belongs into every backup of the journal.
    """
    if config.key is not None:
        return tuple(line.encode() for line in await config.key.read_lines())
    path = config.state_dir / "identity.key"
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
