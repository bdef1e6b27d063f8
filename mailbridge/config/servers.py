"""What must hold between the keys about servers, the journal and this machine.

The other half of `checks`. Nothing is connected to; of the disk only existence is read, and
certificates.
"""

from __future__ import annotations

import importlib.util
import ssl
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from mailbridge.config.book import Book
from mailbridge.config.kinds import is_loopback
from mailbridge.config.lines import Path as KeyPath
from mailbridge.config.models import Alerts, AuthMethod, Config, Security, Server

__all__ = ["check"]

_DRIVERS = {"sqlite": "aiosqlite", "postgresql": "asyncpg"}


def check(config: Config, book: Book) -> None:
    """Write what is wrong or unwise about servers, the journal and folders into `book`."""
    _files(config, book)
    _journal(config, book)
    _alerts(config.alerts, config, book)
    for name, account in config.accounts.items():
        _server(account.imap, ("accounts", name, "imap"), book)
        _server(account.smtp, ("accounts", name, "smtp"), book)


def _files(config: Config, book: Book) -> None:
    if config.templates_dir is not None and not config.templates_dir.is_dir():
        book.mistake(
            ("templates_dir",),
            f"there is no folder {config.templates_dir}; create it, or leave the key out",
        )
    for key in ("state_dir", "runtime_dir"):
        place: Path = getattr(config, key)
        if place.exists() and not place.is_dir():
            book.mistake((key,), f"{place} is not a folder")


def _journal(config: Config, book: Book) -> None:
    if config.journal is None:
        return
    at = ("journal",)
    allowed = "allowed: a URL such as postgresql+asyncpg://…, or sqlite+aiosqlite:////path"
    try:
        url = make_url(config.journal)
    except (ArgumentError, ValueError):  # its text holds the URL, which may hold a password
        book.mistake(at, f"not a database URL; {allowed}")
        return
    backend, _, driver = url.drivername.partition("+")
    if _DRIVERS.get(backend) != driver:
        book.mistake(at, f"{url.drivername} is no driver that works here; {allowed}")
    elif importlib.util.find_spec(driver) is None:
        book.mistake(at, f"the Python package {driver} is not installed beside mailbridge")


def _alerts(alerts: Alerts, config: Config, book: Book) -> None:
    at: KeyPath = ("alerts",)
    if alerts.smtp is not None:
        _server(alerts.smtp, (*at, "smtp"), book)
        if alerts.smtp.auth is not AuthMethod.NONE and not alerts.smtp.user:
            book.mistake(
                (*at, "smtp", "user"), "is missing; this server belongs to no mailbox of an account"
            )
        if alerts.mail_to is None:
            book.mistake((*at, "mail_to"), "is missing; alerts.smtp sends nothing without it")
    elif alerts.mail_to is not None:
        book.warning(
            (*at, "smtp"),
            "is missing; an alert then leaves through the account's own server, which may be what "
            "is broken",
        )
    if alerts.mail_to is None and alerts.heartbeat_url is None:
        book.warning(
            at,
            "nobody hears of trouble: to agents a daemon that stands still looks like a sent "
            "reply; set alerts.mail_to or alerts.heartbeat_url",
            (*at, "mail_to"),
            (*at, "heartbeat_url"),
        )
    for name, account in config.accounts.items():
        if alerts.mail_to is not None and alerts.mail_to.lower() == account.mailbox.address.lower():
            book.warning(
                (*at, "mail_to"),
                f"is the mailbox of account {name}, which may be what is broken",
                ("accounts", name, "mailbox", "address"),
            )


def _server(server: Server, at: KeyPath, book: Book) -> None:
    security, port = server.security, getattr(server, "port", None)
    local = is_loopback(server.host)
    host, auth = (*at, "host"), (*at, "auth")
    if security is Security.PLAIN and not local:
        book.mistake(
            (*at, "security"),
            'found "plain"; the password would cross the network in the clear; allowed: "tls" or '
            '"starttls" ("plain" to this machine itself only)',
            host,
        )
    usual = {465: Security.TLS, 993: Security.TLS, 143: Security.STARTTLS, 587: Security.STARTTLS}
    if not local and security is not Security.PLAIN and usual.get(port or 0, security) != security:
        book.warning(
            (*at, "port"),
            f'{port} is the port of security = "{usual[port or 0]}"; here it is "{security}"',
            (*at, "security"),
            host,
        )
    if server.ca_file is not None:
        _authority(server.ca_file, (*at, "ca_file"), book)
    match server.auth:
        case AuthMethod.PASSWORD if server.password is None:
            book.mistake(
                (*at, "password"),
                'is missing; auth = "password" needs it, such as { file = "/path" }',
                auth,
            )
        case AuthMethod.XOAUTH2 | AuthMethod.OAUTHBEARER if server.token is None:
            book.mistake(
                (*at, "token"),
                f'is missing; auth = "{server.auth}" needs it, such as {{ command = ["…"] }}',
                auth,
            )
        case AuthMethod.NONE if at[-1] == "imap":
            book.mistake(auth, 'found "none"; a mailbox is never open to all; allowed: the others')
        case AuthMethod.NONE if not local:
            book.mistake(auth, 'found "none"; allowed to a relay on this machine only', host)
    if server.password is not None and server.auth is not AuthMethod.PASSWORD:
        book.warning((*at, "password"), f'is not used with auth = "{server.auth}"', auth)
    if server.token is not None and server.auth in (AuthMethod.PASSWORD, AuthMethod.NONE):
        book.warning((*at, "token"), f'is not used with auth = "{server.auth}"', auth)


def _authority(path: Path, at: KeyPath, book: Book) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        book.mistake(at, f"{path} holds no certificate in PEM form")
    except OSError as error:
        book.mistake(at, f"{path} cannot be read: {error.strerror}")
