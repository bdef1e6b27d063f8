"""From an account's configuration to its adapters: marketplace, mailbox, submission, composer.

Nothing here connects to anything or opens the journal, so that `check` can try each part by
itself. Secrets are read by the adapters when they sign in, anew each time, and the redactor
learns them then. Joining adapters with flows is `daemon`'s business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from mailbridge.config.marketplaces import Cdiscount, Octopia
from mailbridge.config.models import Account, AuthMethod, Config, Language, Server
from mailbridge.config.secret import Secret, SecretError
from mailbridge.domain.identity import Identity
from mailbridge.mail.compose import Composer, SellerPages
from mailbridge.mail.imap import ImapMailbox, ImapSettings
from mailbridge.mail.rendering import Templates
from mailbridge.mail.smtp import SignIn, SmtpSettings, SmtpSubmission, TlsMode
from mailbridge.marketplace.cdiscount import CdiscountMarketplace
from mailbridge.marketplace.octopia import CHANNELS, OctopiaMarketplace
from mailbridge.marketplace.port import Marketplace
from mailbridge.ops.redaction import Redactor

__all__ = [
    "composer_for",
    "identity_for",
    "language_of",
    "mailbox_for",
    "marketplace_for",
    "submission_for",
]


def language_of(config: Config, account: Account) -> Language:
    """What the account's staff read."""
    return account.language or config.language


def identity_for(name: str, account: Account, keys: tuple[bytes, ...]) -> Identity:
    """Makes and reads the account's Message-IDs and reply addresses."""
    layout = account.mailbox
    domain = layout.id_domain or f"mb.{layout.address.rpartition('@')[2]}"
    return Identity(keys, account=name, domain=domain)


@lru_cache
def _templates(folder: Path | None) -> Templates:
    """One set for all accounts: compiling them takes half a second of processor time."""
    return Templates(folder)


def composer_for(config: Config, name: str, account: Account, identity: Identity) -> Composer:
    """Makes the mails of the account's threads, with the shop's own templates."""
    layout = account.mailbox
    return Composer(
        _templates(config.templates_dir),
        identity,
        account=name,
        mailbox_address=layout.address,
        mailbox_name=next(iter(account.shop_names), ""),
        language=language_of(config, account),
        timezone=account.timezone,
        pages=_pages(account),
        replies_on=account.replies.enabled,
        by_mail=isinstance(account.marketplace, Cdiscount),
        channels=CHANNELS if isinstance(account.marketplace, Octopia) else None,
        elsewhere="Octopia",
        closed_folder=layout.closed_folder if layout.close_by_move else "",
    )


def _pages(account: Account) -> SellerPages:
    match account.marketplace:
        case Octopia(seller_url=url):
            return SellerPages.of_octopia(url)
        case Cdiscount(seller_url=url):
            return SellerPages.of_cdiscount(url)


def marketplace_for(
    account: Account,
    redactor: Redactor,
    clock: Callable[[], datetime],
    learnt: Mapping[str, str] | None = None,
) -> Marketplace:
    """The account's marketplace; to be closed after use. `learnt` is what an earlier object
    found out about the service."""
    match account.marketplace:
        case Octopia() as market:
            return _octopia(market, redactor, clock, learnt or {})
        case Cdiscount() as market:
            return CdiscountMarketplace(
                login=market.login,
                password=_reading(market.password, redactor),
                token_url=market.token_url,
                service_url=market.service_url,
                clock=clock,
                wsdl=market.wsdl,
                shop_names=account.shop_names,
                partner=market.partner,
                timeout=market.timeout.total_seconds(),
            )


def _octopia(
    market: Octopia,
    redactor: Redactor,
    clock: Callable[[], datetime],
    learnt: Mapping[str, str],
) -> OctopiaMarketplace:
    return OctopiaMarketplace(
        client_id=market.client_id,
        client_secret=_reading(market.client_secret, redactor),
        seller_id=market.seller_id,
        clock=clock,
        api_url=market.api_url,
        token_url=market.token_url,
        sales_channels=market.sales_channels,
        variants={
            "reply": market.reply_shape,
            "patch": market.patch_shape,
            "order_key": market.cancel_key,
            "shipping": market.cancel_shipping,
        },
        learnt=learnt,
        refund_reasons=market.refund_reasons,
        topic=market.opening_topic,
        timeout=market.timeout.total_seconds(),
    )


def mailbox_for(account: Account, redactor: Redactor) -> ImapMailbox:
    """The account's mailbox. Raises SecretError where no way to sign in is configured."""
    imap = account.imap
    return ImapMailbox(
        ImapSettings(
            host=imap.host,
            user=imap.user or account.mailbox.address,
            port=imap.port,
            security=imap.security,
            auth=imap.auth,
            timeout=imap.timeout.total_seconds(),
            idle=imap.idle,
            ca_file=imap.ca_file,
        ),
        _sign_in_secret(imap, redactor),
    )


def submission_for(server: Server, address: str, redactor: Redactor) -> SmtpSubmission:
    """The adapter for one SMTP server; `address` is its user where none is named.

    To be closed after use. Raises SecretError where no way to sign in is configured.
    """
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
    return _reading(secret, redactor)


def _reading(secret: Secret, redactor: Redactor) -> Callable[[], Awaitable[str]]:
    """Reads the secret anew each time it is asked for, and has the log leave it out."""

    async def read() -> str:
        value = await secret.read()
        redactor.learn(value)
        return value

    return read
