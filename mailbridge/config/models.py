"""The shape of the TOML file: what every key means, its unit, its default and what is allowed.

Only values live here. Reading a file and speaking about its mistakes is `loader`'s business,
fetching a secret is `secret`'s. `docs` and `config.example.toml` follow these classes.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from mailbridge.config.kinds import (
    Between,
    Count,
    Duration,
    EmailAddress,
    Euros,
    Folder,
    Host,
    HttpUrl,
    Line,
    LocalPath,
    Port,
    Switch,
)
from mailbridge.config.marketplaces import Cdiscount, Octopia, marketplace_kind
from mailbridge.config.secret import Secret
from mailbridge.config.section import Model
from mailbridge.config.working import Clock, Digest
from mailbridge.domain.discussion import DiscussionKind

__all__ = [
    "Account",
    "Acknowledgement",
    "Alerts",
    "AuthMethod",
    "Clock",
    "Config",
    "Digest",
    "Imap",
    "Language",
    "Log",
    "MailboxLayout",
    "Replies",
    "ReplyMode",
    "Security",
    "Server",
    "Smtp",
    "Staff",
    "Sweeps",
    "Trust",
]


class Language(StrEnum):
    """Language of everything staff read."""

    FR = "fr"
    EN = "en"


class Security(StrEnum):
    """How a connection is protected; `plain` is accepted to loopback addresses only."""

    TLS = "tls"
    STARTTLS = "starttls"
    PLAIN = "plain"


class AuthMethod(StrEnum):
    """How to sign in: LOGIN/PLAIN, or a bearer token (SASL XOAUTH2, RFC 7628 OAUTHBEARER)."""

    PASSWORD = "password"  # noqa: S105
    XOAUTH2 = "xoauth2"
    OAUTHBEARER = "oauthbearer"
    NONE = "none"
    """No sign-in (SMTP only, to loopback relays)."""


class ReplyMode(StrEnum):
    """Where a discussion's replies go."""

    PLUS = "plus"
    CATCHALL = "catchall"
    ALIAS = "alias"


class Log(Model):
    """Logging to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""
    format: Literal["auto", "json", "console"] = "auto"
    """`auto`: JSON under systemd, colours on a terminal."""


class Server(Model):
    """What IMAP and SMTP servers have in common."""

    host: Host
    """Name of the server, or its IP address."""
    security: Security = Security.TLS
    """`tls` from the first byte, `starttls`, or `plain` (to this machine itself only)."""
    auth: AuthMethod = AuthMethod.PASSWORD
    """How to sign in; `none` is for SMTP relays on this machine."""
    user: Line = ""
    """Empty: the mailbox address."""
    password: Secret | None = None
    """For `password`."""
    token: Secret | None = None
    """For xoauth2 and oauthbearer: an access token; usually `{ command = [...] }`."""
    ca_file: LocalPath | None = None
    """PEM file of a private certificate authority, beside the system's."""
    timeout: Annotated[Duration, Between("5s", "10m")] = timedelta(seconds=30)
    """For one exchange with the server."""


class Imap(Server):
    """The mailbox's IMAP server."""

    port: Port | None = None
    """None: 993 with tls, else 143."""
    idle: Switch = True
    """Use IDLE where the server has it."""
    poll: Annotated[Duration, Between("10s", "1h")] = timedelta(minutes=1)
    """Folders are looked at this often whatever IDLE says."""


class Smtp(Server):
    """The shop's own submission server."""

    port: Port | None = None
    """None: 465 with tls, 587 with starttls, 25 with plain."""


class Alerts(Model):
    """How a person hears of trouble when the mailbox itself is what broke."""

    mail_to: EmailAddress | None = None
    """An address outside of the bridged mailboxes."""
    mail_from: EmailAddress | None = None
    """None: the same as `mail_to`."""
    smtp: Smtp | None = None
    """A submission server for alerts that does not depend on an account's own."""
    heartbeat_url: Annotated[HttpUrl | None, Field(repr=False)] = None
    """Asked (GET) while all is well; its silence is the alert."""
    heartbeat_every: Annotated[Duration, Between("30s", "1d")] = timedelta(minutes=5)
    """How often the heartbeat URL is asked."""
    after: Annotated[Duration, Between("1m", "1d")] = timedelta(minutes=15)
    """How long a part must be failing before a mail goes out."""


class Sweeps(Model):
    """How often the marketplace is read, and how far back each time."""

    quick_every: Annotated[Duration, Between("30s", "1h")] = timedelta(minutes=2)
    """Decides how soon a customer's message is in the mailbox."""
    quick_window: Annotated[Duration, Between("10m", "7d")] = timedelta(hours=3)
    """The service was seen to show a message 57 minutes late: keep this well above that."""
    wide_every: Annotated[Duration, Between("10m", "1d")] = timedelta(hours=1)
    """How often the wide sweep runs."""
    wide_window: Annotated[Duration, Between("1h", "30d")] = timedelta(days=3)
    """How far back the wide sweep looks."""
    full_every: Annotated[Duration, Between("1h", "7d")] = timedelta(days=1)
    """How often everything still open is read."""
    full_window: Annotated[Duration, Between("7d", "3650d")] = timedelta(days=180)
    """How far back the full sweep looks."""
    since: Annotated[Duration, Between("1h", "3650d")] | None = None
    """First run: also file discussions closed within this time; default only open ones."""


class MailboxLayout(Model):
    """The shared mailbox: its address, how replies come back, and its folders."""

    address: EmailAddress
    """The shared mailbox's own address."""
    reply_mode: ReplyMode = ReplyMode.PLUS
    """`plus` (support+mb-…@), `catchall` or `alias`; `mailbridge check` proves which one works."""
    reply_address: EmailAddress | None = None
    """alias: the one fixed address; catchall: any address whose domain takes everything."""
    former_aliases: tuple[EmailAddress, ...] = ()
    """Reply addresses of `alias` mode used before: threads filed then still name them."""
    former_domains: tuple[Host, ...] = ()
    """Domains of `plus` or `catchall` addresses used before, for the same reason."""
    id_domain: Host | None = None
    """Right side of our Message-IDs; None: `mb.` before the mailbox's domain."""
    folder: Folder = "INBOX"
    """Where threads are filed."""
    closed_folder: Folder = "Clos"
    """Where threads of closed discussions are moved."""
    trash_folder: Folder | None = None
    """None: the folder marked \\Trash."""
    sent_folders: tuple[Folder, ...] = ()
    """Empty: every folder marked \\Sent or named like one, except \\All and drafts."""
    close_by_move: Switch = False
    """Moving a thread to the closed folder closes the discussion."""


class Staff(Model):
    """One identity staff write from."""

    address: EmailAddress
    """The address in their From."""
    name: Line = ""
    """How colleagues see them in notices; empty: the address."""
    greeting: str | None = None
    """Frame put before their answers (a Jinja2 line) in place of `replies.greeting`."""
    signature: str | None = None
    """Frame put below their answers (Jinja2) in place of `replies.signature`."""


class Trust(Model):
    """Which evidence of origin this provider gives; nothing is trusted unless named here."""

    sent_copy: Switch = True
    """A clean copy in a Sent folder counts."""
    authserv_ids: tuple[Line, ...] = ()
    """authserv-id of the mailbox provider's own Authentication-Results (RFC 8601)."""
    exchange_internal: Switch = False
    """X-MS-Exchange-Organization-AuthAs: Internal counts (Exchange only)."""
    submission_hosts: tuple[Host, ...] = ()
    """Host names the provider's own submission server writes in `Received: … by`.

    Only such a hop may stand in a clean Sent copy; empty: one authenticated hop by any host
    within the SMTP server's or the mailbox's domain.
    """


class Replies(Model):
    """How replies are taken up and sent."""

    enabled: Switch = False
    """Off: shadow mode, threads are filed and nothing leaves. Prove the reply mode first."""
    wait_for_sent_copy: Annotated[Duration, Between("0s", "1h")] = timedelta(seconds=90)
    """How long a reply found in the inbox waits for its Sent copy before it is held."""
    delay: Annotated[Duration, Between("0s", "1d")] = timedelta(0)
    """Wait before sending, in which `!annuler` or deleting the Sent copy stops the reply."""
    max_age: Annotated[Duration, Between("1h", "28d")] = timedelta(days=7)
    """Older replies are held; the customer's address never lives longer than 28 days."""
    code_life: Annotated[Duration, Between("5m", "28d")] = timedelta(hours=24)
    """How long a one-time code of a hold can be used."""
    sender: EmailAddress | None = None
    """The address registered at the marketplace; None: the mailbox address."""
    sender_name: Line = ""
    """The name customers see; empty: the first of `shop_names`."""
    greeting: str = ""
    """Frame put before each answer (a Jinja2 line, e.g. `Bonjour {{ customer }},`), or empty."""
    signature: str = ""
    """Frame put below each answer (Jinja2, e.g. `{{ agent }}, {{ shop }}`), empty for none."""
    unrecorded_after: Annotated[Duration, Between("10m", "7d")] = timedelta(hours=3)
    """An answer the marketplace does not show after this time is reported."""
    max_mail_bytes: Annotated[int, Count(10_000, 1_000_000_000)] = 15_000_000
    """Bigger mails of staff are held."""
    notices_per_hour: Annotated[int, Count(1, 1000)] = 6
    """Hold notices per discussion and hour."""
    commands: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Further words for a command, e.g. `close = ["termine"]`.

    Commands: close, reopen, note, template, send, resend, cancel, help.
    """


class Acknowledgement(Model):
    """An automatic answer to who writes for the first time; without this table there is none."""

    template: Annotated[Line, Field(min_length=1)]
    """Which reply template, such as `accuse`; `mailbridge templates list` names them."""
    values: dict[str, Line] = Field(default_factory=dict)
    """Its values, e.g. `values = { delai = "deux jours ouvrés" }`."""
    kinds: tuple[DiscussionKind, ...] = ()
    """Only discussions of these kinds; empty: all."""
    only_outside_hours: Switch = False
    """Only for what is written outside of `clock.hours`, on holidays and days off."""
    max_age: Annotated[Duration, Between("1h", "1d")] = timedelta(hours=4)
    """Nothing older is acknowledged; the service was seen to show a message 57 minutes late."""


class Money(Model):
    """Refunds and commercial gestures, by mail and from the command line."""

    enabled: Switch = False
    """Off: nothing moves. On demands the three limits below."""
    most: Euros | None = None
    """For one refund, cancellation or gesture, in euros."""
    most_per_order: Euros | None = None
    """For all of them on one order."""
    most_per_day: Euros | None = None
    """For the whole account, from midnight to midnight."""
    confirm_above: Euros = Decimal(0)
    """Up to this amount no confirmation by one-time code is asked for; cancelling an order
    before shipment is always confirmed."""


class Account(Model):
    """One seller on one marketplace, bridged to one mailbox."""

    enabled: Switch = True
    """Off: the account is left alone."""
    language: Language | None = None
    """None: the file's."""
    timezone: Line = "Europe/Paris"
    """Of the times in threads and notices."""
    shop_names: tuple[Line, ...] = ()
    """Names the marketplace shows for this shop; tells the seller's messages apart."""
    marketplace: Annotated[
        Annotated[Octopia, Tag("octopia")] | Annotated[Cdiscount, Tag("cdiscount")],
        Discriminator(marketplace_kind),
    ]
    imap: Imap
    smtp: Smtp
    mailbox: MailboxLayout
    staff: tuple[Staff, ...] = ()
    trust: Trust = Trust()
    replies: Replies = Replies()
    money: Money = Money()
    sweeps: Sweeps = Sweeps()
    clock: Clock = Clock()
    digest: Digest | None = None
    acknowledgement: Acknowledgement | None = None
    keep_text: Annotated[Duration, Between("30d", "3650d")] = timedelta(days=180)
    """Words and names in the journal are pruned this long after a discussion closed."""


class Config(Model):
    """The whole file."""

    state_dir: LocalPath = Path("/var/lib/mailbridge")
    """Holds the journal and the key; systemd's STATE_DIRECTORY wins over the default."""
    runtime_dir: LocalPath = Path("/run/mailbridge")
    """Holds the control socket; systemd's RUNTIME_DIRECTORY wins over the default."""
    key: Secret | None = None
    """The key of our Message-IDs and reply addresses; None: `identity.key` in state_dir."""
    journal: Annotated[str | None, Field(repr=False)] = None
    """SQLAlchemy URL; None: `journal.sqlite3` in state_dir."""
    language: Language = Language.FR
    """Of everything staff read: `fr` or `en`."""
    templates_dir: LocalPath | None = None
    """Templates in this folder win over those that come with mailbridge."""
    log: Log = Log()
    alerts: Alerts = Alerts()
    accounts: Annotated[dict[str, Account], Field(min_length=1)]
