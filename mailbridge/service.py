"""The running daemon: accounts under supervision, systemd told, alerts armed, the socket open.

Starting is refused for a broken configuration (exit code 2, which systemd does not retry);
everything that breaks later is a part's trouble, never the daemon's end.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import structlog

from mailbridge.adapters import submission_for
from mailbridge.bridge.account import AccountBridge
from mailbridge.bridge.mailing import Mailing
from mailbridge.bridge.operations import OperationRefused, Operations
from mailbridge.bridge.unreadable import still_unreadable
from mailbridge.config.models import Config
from mailbridge.daemon import STATE_FILES, Bridges, bridges, classify
from mailbridge.mail.port import Submission
from mailbridge.ops.alert import Alerts, AlertSettings
from mailbridge.ops.control import Answer, CommandFailed, ControlServer
from mailbridge.ops.custody import handed_over
from mailbridge.ops.lock import InstanceLock
from mailbridge.ops.redaction import Redactor
from mailbridge.ops.supervisor import Alive, Part, PartState, PartStatus, Supervisor
from mailbridge.ops.systemd import Notifier, Watchdog

__all__ = ["look_out", "perform", "serve", "socket_path"]

_STUCK = {"sweeps": 3600.0, "outgoing": 1800.0, "filing": 900.0}
"""Seconds without progress after which a part that claims to run counts as hung, 300 for those
not named: more than the time limits of all the calls it may make in one turn together."""

_LOOK_EVERY = 60.0
"""Seconds between two looks at what stays wrong without stopping a part."""

log = structlog.get_logger("mailbridge")


async def serve(config: Config, *, redactor: Redactor, stop: asyncio.Event | None = None) -> None:
    """Run until SIGTERM or SIGINT (or `stop` is set).

    Raises AlreadyRunning, JournalError, SecretError, ControlUnusable: nothing was begun then.
    """
    stop = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
            loop.add_signal_handler(name, stop.set)
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with handed_over(config.state_dir, STATE_FILES), InstanceLock(config.state_dir):
        async with bridges(config, redactor=redactor) as built, httpx.AsyncClient() as http:
            await asyncio.to_thread(_tell_broken_templates, built)
            submission = _alert_submission(built, redactor)
            try:
                alerts = Alerts(_alert_settings(built), submission=submission, http=http)
                await _supervised(built, alerts, stop)
            finally:
                if submission is not None:
                    await submission.aclose()


async def _supervised(built: Bridges, alerts: Alerts, stop: asyncio.Event) -> None:
    config = built.config
    notifier = Notifier()
    watchdog = Watchdog(notifier)
    supervisor = Supervisor(classify=classify, on_beat=watchdog.beat)
    supervisor.listen(watchdog.follow)
    supervisor.listen(alerts.observe)

    def report(_: PartState) -> None:
        notifier.status(_summary(supervisor))

    supervisor.listen(report)
    operations = Operations(built.accounts)
    operations.parts = lambda: [_shown(s) for s in supervisor.states.values()]
    parts = [part for bridge in built.accounts.values() for part in bridge.parts()]
    for part in parts:
        watchdog.expect(part.name, _STUCK.get(part.name.rpartition("/")[2], 300.0))

    async def handle(command: str, arguments: dict[str, Any]) -> AsyncIterator[Answer] | Answer:
        return await perform(operations, command, arguments)

    async with ControlServer(socket_path(config), handle):
        notifier.ready(f"{len(built.accounts)} accounts")
        log.info("mailbridge runs", accounts=len(built.accounts))
        parts.append(Part("lookout", partial(_look_out_for_ever, built, alerts)))
        running = asyncio.create_task(supervisor.run([*parts, Part("alerts", alerts.run)]))
        feeding = asyncio.create_task(watchdog.run())
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            notifier.stopping()
            log.info("mailbridge stops")
            for task in (running, feeding, stopped):
                task.cancel()
            await asyncio.gather(running, feeding, stopped, return_exceptions=True)


async def look_out(bridges: Iterable[AccountBridge], alerts: Alerts) -> None:
    """Alert to what stops no part and yet stays wrong: one trouble for each account."""
    for bridge in bridges:
        ctx = bridge.ctx
        async with ctx.read() as tx:
            lasting = [one for one in await still_unreadable(ctx, tx) if one.lasts]
        name = f"{ctx.name}/unreadable"
        if not lasting:
            alerts.well(name)
            continue
        first = lasting[0]
        words = (
            f"{len(lasting)} of the marketplace's discussions or orders cannot be read; the first: "
            f"{first.kind} {first.short or first.key}, {first.words}"
        )
        alerts.trouble(name, words, since=first.since, heart_stops=False)


async def _look_out_for_ever(built: Bridges, alerts: Alerts, alive: Alive) -> None:
    while True:
        await look_out(built.accounts.values(), alerts)
        alive()
        await asyncio.sleep(_LOOK_EVERY)


async def perform(
    operations: Operations, command: str, arguments: dict[str, Any]
) -> AsyncIterator[Answer] | Answer:
    """Carry out one of the operator's commands; raises CommandFailed with words for them."""
    try:
        match command:
            case "status":
                return await operations.status()
            case "show":
                return await operations.show(arguments["discussion"])
            case "orders":
                numbers = [str(number) for number in arguments.get("numbers", ())]
                return await operations.orders(
                    numbers, refresh=bool(arguments.get("refresh", False))
                )
            case "template":
                given = {str(k): str(v) for k, v in arguments.get("values", {}).items()}
                return await operations.template(
                    arguments["template"], arguments["order"], given, arguments.get("account")
                )
            case "foresee":
                return await operations.foresee(
                    str(arguments["order"]), dict(arguments["asked"]), arguments.get("account")
                )
            case "refund":
                return _told(
                    operations.refund(
                        str(arguments["order"]),
                        dict(arguments["asked"]),
                        dict(arguments["seen"]),
                        float(arguments["seconds"]),
                    )
                )
            case "notify":
                mailing = Mailing(
                    campaign=str(arguments["campaign"]),
                    template=str(arguments.get("template", "")),
                    values={str(k): str(v) for k, v in arguments.get("values", {}).items()},
                    text=str(arguments.get("text", "")),
                    dry_run=bool(arguments.get("dry_run", False)),
                    resume=bool(arguments.get("resume", False)),
                )
                numbers = [str(number) for number in arguments["numbers"]]
                return _told(operations.notify(mailing, numbers, arguments.get("account")))
            case "pause":
                return await operations.pause(arguments["account"], arguments.get("why", ""))
            case "resume":
                return await operations.resume(arguments["account"])
            case "release":
                return await operations.release(arguments["discussion"], arguments.get("reply"))
            case "resend":
                return await operations.resend(arguments["discussion"])
            case "settle":
                paid = arguments["word"] == "paid"
                return await operations.settle(str(arguments["order"]), paid=paid)
            case "close":
                return await operations.close(arguments["discussion"])
            case "retry":
                return await operations.retry(arguments.get("discussion"))
            case "sweep":
                return await operations.sweep(arguments.get("account"))
            case "probe":
                return await operations.probe(arguments["account"])
            case "backfill":
                return _told(operations.backfill(arguments["account"], int(arguments["days"])))
            case _:
                raise CommandFailed(f"the running daemon knows no command {command!r}")
    except OperationRefused as error:
        raise CommandFailed(str(error)) from None
    except KeyError as error:
        raise CommandFailed(f"{command}: {error} is missing") from None


async def _told(answers: AsyncIterator[Answer]) -> AsyncIterator[Answer]:
    """Errors that come in the middle, in words as those at the start."""
    try:
        async for answer in answers:
            yield answer
    except OperationRefused as error:
        raise CommandFailed(str(error)) from None
    except Exception as error:
        raise CommandFailed(classify(error).words) from None


def _tell_broken_templates(built: Bridges) -> None:
    """A reply template that cannot be used: whoever runs the daemon hears of it first."""
    faults = [
        str(fault)
        for bridge in built.accounts.values()
        for fault in bridge.ctx.composer.catalogue.listed().faults
    ]
    for fault in dict.fromkeys(faults):
        log.error("reply template broken: replies that use it will be held", problem=fault)


def _alert_submission(built: Bridges, redactor: Redactor) -> Submission | None:
    told = built.config.alerts
    if told.mail_to is None:
        return None
    if told.smtp is not None:
        return submission_for(told.smtp, told.mail_from or told.mail_to, redactor)
    # Second best: it needs an account's SMTP server, but not its mailbox.
    for bridge in built.accounts.values():
        account = bridge.ctx.config
        return submission_for(account.smtp, account.mailbox.address, redactor)
    return None


def _alert_settings(built: Bridges) -> AlertSettings:
    told = built.config.alerts
    zone = next((b.ctx.zone for b in built.accounts.values()), ZoneInfo("Europe/Paris"))
    return AlertSettings(
        host=socket.gethostname(),
        sender=told.mail_from or told.mail_to or "",
        recipient=told.mail_to or "",
        heartbeat_url=told.heartbeat_url or "",
        heartbeat_every=told.heartbeat_every.total_seconds(),
        after=told.after.total_seconds(),
        language=built.config.language,
        timezone=zone,
    )


def _shown(state: PartState) -> Answer:
    shown = asdict(state)
    shown["since"] = state.since.isoformat(timespec="seconds")
    shown["retry_at"] = state.retry_at.isoformat(timespec="seconds") if state.retry_at else None
    return shown


def _summary(supervisor: Supervisor) -> str:
    down = [
        s.name
        for s in supervisor.states.values()
        if s.state in (PartStatus.WAITING, PartStatus.FAILED)
    ]
    return f"trouble: {', '.join(down)}" if down else "all parts run"


def socket_path(config: Config) -> Path:
    """Where the daemon listens for the command line."""
    return config.runtime_dir / "control.sock"
