"""The shape of the TOML file: what every key means, its unit, its default and what is allowed.

Only values live here. Reading a file and speaking about its mistakes is `loader`'s business,
fetching a secret is `secret`'s. `docs` and `config.example.toml` follow these classes.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mailbridge.config.kinds import Duration, EmailAddress, Host, HttpUrl
from mailbridge.config.secret import Secret

__all__ = [
    "Account",
    "Alerts",
    "AuthMethod",
    "Cdiscount",
    "Config",
    "Imap",
    "Language",
    "Log",
    "MailboxLayout",
    "Replies",
    "ReplyMode",
    "Security",
    "Smtp",
    "Staff",
    "Sweeps",
    "Trust",
]


class Model(BaseModel):
    """Unknown keys are mistakes, and a loaded configuration never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


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
    format: Literal["auto", "json", "console"] = "auto"
    """`auto`: JSON under systemd, colours on a terminal."""


class Server(Model):
    """What IMAP and SMTP servers have in common."""

    host: Host
    security: Security = Security.TLS
    auth: AuthMethod = AuthMethod.PASSWORD
    user: str = ""
    """Empty: the mailbox address."""
    password: Secret | None = None
    token: Secret | None = None
    """For xoauth2 and oauthbearer: an access token; usually `{ command = [...] }`."""
    ca_file: Path | None = None
    """PEM file of a private certificate authority, beside the system's."""
    timeout: Duration = timedelta(seconds=30)


class Imap(Server):
    """The mailbox's IMAP server."""

    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """None: 993 with tls, else 143."""
    idle: bool = True
    poll: Duration = timedelta(minutes=1)
    """Folders are looked at this often whatever IDLE says."""


class Smtp(Server):
    """The shop's own submission server."""

    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """None: 465 with tls, 587 with starttls, 25 with plain."""


class Alerts(Model):
    """How a person hears of trouble when the mailbox itself is what broke."""

    mail_to: EmailAddress | None = None
    mail_from: EmailAddress | None = None
    smtp: Smtp | None = None
    """A submission server for alerts that does not depend on an account's own."""
    heartbeat_url: HttpUrl | None = None
    """Asked (GET) while all is well; its silence is the alert."""
    heartbeat_every: Duration = timedelta(minutes=5)
    after: Duration = timedelta(minutes=15)
    """How long a part must be failing before a mail goes out."""


class Cdiscount(Model):
    """The Cdiscount SOAP service (closed to most sellers in 2025)."""

    kind: Literal["cdiscount"] = "cdiscount"
    login: str
    """The API account, the seller's login with `-api` at its end."""
    password: Secret
    token_url: HttpUrl = "https://sts.cdiscount.com/users/httpIssue.svc/"  # noqa: S105
    service_url: HttpUrl = "https://wsvc.cdiscount.com/MarketplaceAPIService.svc"
    wsdl: str = "builtin"
    """`builtin`: the subset shipped with mailbridge; else a URL or a path of a WSDL."""
    partner: str = ""
    """Partner name for the header's Security/UserName, as Cdiscount asks of integrators."""
    timeout: Duration = timedelta(seconds=240)
    """For one whole call; the service was seen to take minutes."""
    seller_url: HttpUrl = "https://seller.cdiscount.com"


class Sweeps(Model):
    """How often the marketplace is read, and how far back each time."""

    quick_every: Duration = timedelta(minutes=2)
    quick_window: Duration = timedelta(hours=3)
    wide_every: Duration = timedelta(hours=1)
    wide_window: Duration = timedelta(days=3)
    full_every: Duration = timedelta(days=1)
    full_window: Duration = timedelta(days=180)
    since: Duration | None = None
    """First run: also file discussions closed within this time; default only open ones."""


class MailboxLayout(Model):
    """The shared mailbox: its address, how replies come back, and its folders."""

    address: EmailAddress
    reply_mode: ReplyMode = ReplyMode.PLUS
    reply_address: EmailAddress | None = None
    """alias: the one fixed address; catchall: any address whose domain takes everything."""
    id_domain: Host | None = None
    """Right side of our Message-IDs; None: `mb.` before the mailbox's domain."""
    folder: str = "INBOX"
    """Where threads are filed."""
    closed_folder: str = "Clos"
    trash_folder: str | None = None
    """None: the folder marked \\Trash."""
    sent_folders: tuple[str, ...] = ()
    """Empty: every folder marked \\Sent or named like one, except \\All and drafts."""
    close_by_move: bool = False
    """Moving a thread to the closed folder closes the discussion."""


class Staff(Model):
    """One identity staff write from."""

    address: EmailAddress
    name: str = ""


class Trust(Model):
    """Which evidence of origin this provider gives; nothing is trusted unless named here."""

    sent_copy: bool = True
    """A clean copy in a Sent folder counts."""
    authserv_ids: tuple[str, ...] = ()
    """authserv-id of the mailbox provider's own Authentication-Results (RFC 8601)."""
    exchange_internal: bool = False
    """X-MS-Exchange-Organization-AuthAs: Internal counts (Exchange only)."""
    submission_hosts: tuple[str, ...] = ()
    """Host names the provider's own submission server writes in `Received: … by`.

    Only such a hop may stand in a clean Sent copy; empty: one authenticated hop by any host
    within the SMTP server's or the mailbox's domain.
    """


class Replies(Model):
    """How replies are taken up and sent."""

    enabled: bool = False
    """Off: shadow mode, threads are filed and nothing leaves. Prove the reply mode first."""
    wait_for_sent_copy: Duration = timedelta(seconds=90)
    """How long a reply found in the inbox waits for its Sent copy before it is held."""
    delay: Duration = timedelta(0)
    """Wait before sending, in which `!annuler` or deleting the Sent copy stops the reply."""
    max_age: Duration = timedelta(days=7)
    code_life: Duration = timedelta(hours=24)
    sender: EmailAddress | None = None
    """The address registered at the marketplace; None: the mailbox address."""
    sender_name: str = ""
    greeting: str = ""
    """Frame put before each answer (a Jinja2 line), empty for none."""
    signature: str = ""
    unrecorded_after: Duration = timedelta(hours=3)
    max_mail_bytes: Annotated[int, Field(ge=10_000)] = 15_000_000
    notices_per_hour: Annotated[int, Field(ge=1)] = 6
    """Hold notices per discussion and hour."""
    commands: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Further words for a command, e.g. `close = ["termine"]`."""


class Account(Model):
    """One seller on one marketplace, bridged to one mailbox."""

    enabled: bool = True
    language: Language | None = None
    """None: the file's."""
    timezone: str = "Europe/Paris"
    shop_names: tuple[str, ...] = ()
    """Names the marketplace shows for this shop; tells the seller's messages apart."""
    money: bool = False
    """Refunds and gestures by mail; off by default."""
    marketplace: Cdiscount
    imap: Imap
    smtp: Smtp
    mailbox: MailboxLayout
    staff: tuple[Staff, ...] = ()
    trust: Trust = Trust()
    replies: Replies = Replies()
    sweeps: Sweeps = Sweeps()
    keep_text: Duration = timedelta(days=180)
    """Words and names in the journal are pruned this long after a discussion closed."""


class Config(Model):
    """The whole file."""

    state_dir: Path = Path("/var/lib/mailbridge")
    """systemd's STATE_DIRECTORY wins over the default."""
    runtime_dir: Path = Path("/run/mailbridge")
    """Holds the control socket; systemd's RUNTIME_DIRECTORY wins over the default."""
    key: Secret | None = None
    """The key of our Message-IDs and reply addresses; None: `identity.key` in state_dir."""
    journal: str | None = None
    """SQLAlchemy URL; None: `journal.sqlite3` in state_dir."""
    language: Language = Language.FR
    templates_dir: Path | None = None
    log: Log = Log()
    alerts: Alerts = Alerts()
    accounts: Annotated[dict[str, Account], Field(min_length=1)]
