"""`mailbridge check`: tries each part for real, and says what it found and what to do.

The rule: a failing part hides no other one. Parts are tried at the same time, each writes its own
notes, and what breaks one of them becomes its last finding. The daemon may run meanwhile: then
the journal is left to it, and its own word is taken for what only the journal knows.

What is tried lives beside this file, a module a neighbourhood; here it is put in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from mailbridge.bridge.operations import OperationRefused, Operations
from mailbridge.bridge.probe import Proof
from mailbridge.checkup import machine, services
from mailbridge.checkup.finding import Finding, Notes, State
from mailbridge.checkup.mailbox import Trace, mailbox
from mailbridge.checkup.replies import how_to_answer, replies
from mailbridge.config.loader import Loaded
from mailbridge.config.models import Account, Config
from mailbridge.daemon import STATE_FILES, bridges, classify
from mailbridge.ops.control import CommandFailed, ControlClient, ControlError, DaemonNotRunning
from mailbridge.ops.custody import handed_over
from mailbridge.ops.lock import AlreadyRunning, InstanceLock
from mailbridge.ops.redaction import Redactor
from mailbridge.service import socket_path

__all__ = ["Finding", "State", "check"]

Clock = Callable[[], datetime]


async def check(
    loaded: Loaded,
    *,
    account: str | None,
    probe: bool,
    clock: Clock = lambda: datetime.now(UTC),
) -> list[Finding]:
    """Try everything, or one account; with `probe`, also file a new probe mail.

    A disabled account is tried only when it is named. Raises CommandFailed for an account that
    is not in the file; whatever else goes wrong is a finding.
    """
    config = loaded.config
    chosen = _chosen(config, account)
    redactor = Redactor(_own_addresses(config))
    file, disk, book, unit, alerts = (
        Notes(part, redactor) for part in ("configuration", "machine", "journal", "unit", "alerts")
    )
    proofs: dict[str, Proof] | None = None
    daemon = await _Daemon.ask(config)
    if daemon.status is not None:
        proofs = await book.attempt(machine.daemon(book, daemon.status, account))
    elif daemon.fault:
        book.bad("daemon", f"cannot be asked: {daemon.fault}", "the journal is left alone")
    else:
        proofs = await book.attempt(machine.journal(book, config, list(chosen), clock))
    each = [_Account(name, one, redactor, (proofs or {}).get(name)) for name, one in chosen.items()]
    await asyncio.gather(
        file.attempt(machine.configuration(file, loaded, account)),
        disk.attempt(machine.disk(disk, config)),
        unit.attempt(machine.unit(unit)),
        alerts.attempt(_alerts(alerts, config, redactor)),
        *(one.attempt(config, clock) for one in each),
    )
    await disk.attempt(machine.clock_skew(disk, next(iter(chosen.values())), clock))
    for one in each:
        if probe:
            await one.replies.attempt(_probe(one.replies, config, one.name, daemon, clock))
        else:
            replies(one.replies, one.name, one.account, one.proof, one.traces)
    every = (file, disk, book, unit, alerts, *(notes for one in each for notes in one.parts))
    return [finding for notes in every for finding in notes.findings]


class _Account:
    """The parts of one account."""

    def __init__(
        self, name: str, account: Account, redactor: Redactor, proof: Proof | None
    ) -> None:
        self.name = name
        self.account = account
        self.proof = proof
        self.traces: list[Trace] = []
        self._redactor = redactor
        self._market, self._mailbox, self._sending, self._templates, self.replies = self.parts = [
            Notes(f"{name}/{part}", redactor)
            for part in ("marketplace", "mailbox", "sending", "templates", "replies")
        ]

    async def attempt(self, config: Config, clock: Clock) -> None:
        """Try all but the replies, at the same time."""
        account, redactor = self.account, self._redactor
        address = account.mailbox.address
        market, box, sending = self._market, self._mailbox, self._sending
        words = self._templates
        _, traces, _, _ = await asyncio.gather(
            market.attempt(services.marketplace(market, account, redactor, clock)),
            box.attempt(mailbox(box, config, account, redactor, clock, self.proof)),
            sending.attempt(services.submission(sending, account.smtp, address, redactor)),
            words.attempt(services.templates(words, config, self.name, account)),
        )
        self.traces = traces or []


class _Daemon:
    """The running daemon's `status`; or why it cannot be asked; or neither, where none runs."""

    def __init__(self, client: ControlClient, status: dict[str, Any] | None, fault: str) -> None:
        self.client = client
        self.status = status
        self.fault = fault

    @classmethod
    async def ask(cls, config: Config) -> _Daemon:
        client = ControlClient(socket_path(config))
        try:
            return cls(client, await client.ask("status"), "")
        except DaemonNotRunning:
            return cls(client, None, "")
        except ControlError as error:
            return cls(client, None, str(error))


def _chosen(config: Config, name: str | None) -> dict[str, Account]:
    if name is None:
        return {n: a for n, a in config.accounts.items() if a.enabled}
    if name not in config.accounts:
        raise CommandFailed(f"no account {name!r}; there are: {', '.join(config.accounts)}")
    return {name: config.accounts[name]}


def _own_addresses(config: Config) -> list[str]:
    """The shop's, which may be shown."""
    alerts = config.alerts
    own = [alerts.mail_to, alerts.mail_from, alerts.smtp.user if alerts.smtp else None]
    for account in config.accounts.values():
        layout = account.mailbox
        own += [layout.address, layout.reply_address, account.replies.sender]
        own += layout.former_aliases
        own += [account.imap.user, account.smtp.user, *(s.address for s in account.staff)]
    return [address for address in own if address]


async def _alerts(notes: Notes, config: Config, redactor: Redactor) -> None:
    """The ways a person hears of trouble; that there is none at all is a warning of the file."""
    told = config.alerts
    if told.mail_to is not None:
        notes.info("mail", f"to {told.mail_to}")
    if told.smtp is not None:
        sender = told.mail_from or told.mail_to or ""
        await services.submission(notes, told.smtp, sender, redactor)
    if told.heartbeat_url is not None:
        # Not asked: that would be a beat, of a daemon that may well be down.
        notes.info("heartbeat", "configured; only the daemon asks it")


async def _probe(notes: Notes, config: Config, name: str, daemon: _Daemon, clock: Clock) -> None:
    """File a new probe mail, through the daemon where one runs."""
    try:
        if daemon.status is not None:
            answer = await daemon.client.ask("probe", account=name)
        else:
            home = config.state_dir
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            with handed_over(home, STATE_FILES), InstanceLock(home):
                async with bridges(config, clock=clock) as built:
                    answer = await Operations(built.accounts).probe(name)
    except (ControlError, OperationRefused, AlreadyRunning, OSError) as error:
        notes.bad("probe", f"not filed: {error}")
    except Exception as error:
        notes.bad("probe", f"not filed: {classify(error).words}")
    else:
        subject = answer["subject"]
        notes.info("probe", f"filed: « {subject} »", how_to_answer("it"))
