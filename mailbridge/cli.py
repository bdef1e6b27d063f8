"""The `mailbridge` command.

While the daemon runs, the commands that look or act ask it over its socket; without one they
open the journal themselves, and what they record is done when the daemon next runs.

Exit codes: 0 done; 1 it could not be done; 2 the configuration is wrong (systemd does not
retry); 3 something needs attention (`check`, `status`, `migrate`); 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from mailbridge import __version__, campaign, migration, repayment
from mailbridge.bridge.sweep import SweepKind
from mailbridge.config.finding import ConfigError
from mailbridge.config.loader import Loaded, load, unreadable_secrets
from mailbridge.config.models import Config
from mailbridge.config.secret import SecretError
from mailbridge.daemon import STATE_FILES, bridges, classify
from mailbridge.journal.journal import JournalError, NotMoved
from mailbridge.offline import offline
from mailbridge.ops import logging
from mailbridge.ops.control import CommandFailed, ControlClient, ControlError, DaemonNotRunning
from mailbridge.ops.custody import handed_over
from mailbridge.ops.lock import AlreadyRunning, InstanceLock
from mailbridge.ops.redaction import Redactor
from mailbridge.progress import show_backfill
from mailbridge.repayment import Ended
from mailbridge.report import (
    show_check,
    show_discussion,
    show_orders,
    show_status,
    show_templates,
)
from mailbridge.service import perform, serve, socket_path

__all__ = ["main"]

OK, FAILED, MISCONFIGURED, ATTENTION = 0, 1, 2, 3

_ENDED = {Ended.DONE: OK, Ended.NOT_DONE: FAILED, Ended.OPEN: ATTENTION}

_DEFAULT_CONFIG = Path("/etc/mailbridge/config.toml")

_ACTIONS = {
    "pause": "stop sending and obeying for an account; threads are still filed",
    "resume": "undo pause",
    "release": "send what is held in a discussion, as it stood",
    "resend": "send an unrecorded reply again, after one last reading",
    "close": "close a discussion without writing to the customer",
    "settle": "say of money that nothing shows since the account moved whether it was paid",
    "retry": "try mails again that were set aside",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit code."""
    arguments = _parsed(argv)
    console = Console(highlight=False, soft_wrap=True)
    try:
        return asyncio.run(_run(arguments, console))
    except KeyboardInterrupt:
        return 130
    except (ConfigError, NotMoved) as error:
        print(error, file=sys.stderr)
        return MISCONFIGURED
    except (ControlError, AlreadyRunning, JournalError, SecretError, OSError) as error:
        print(f"mailbridge: {error}", file=sys.stderr)
        return FAILED


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """As argparse does, but that KEY=VALUE words may stand behind options, too."""
    parser = _parser()
    arguments, further = parser.parse_known_args(argv)
    values: list[str] | None = getattr(arguments, "values", None)
    if further and (values is None or any(w.startswith("-") for w in further)):
        parser.error(f"unrecognized arguments: {' '.join(further)}")
    if values is not None:
        values += further
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mailbridge",
        description="Answer marketplace customers from the mail client your staff already use.",
    )
    parser.add_argument("--version", action="version", version=f"mailbridge {__version__}")
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        default=Path(os.environ.get("MAILBRIDGE_CONFIG", str(_DEFAULT_CONFIG))),
        help="the TOML file (default: $MAILBRIDGE_CONFIG, else %(default)s)",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run the daemon")
    run.add_argument("--once", action="store_true", help="do everything that is due and stop")

    check = commands.add_parser("check", help="try each part for real and say what to do")
    check.add_argument("--account", help="this account only")
    check.add_argument(
        "--probe", action="store_true", help="file a mail that asks an agent to answer once"
    )
    check.add_argument("--json", action="store_true")

    status = commands.add_parser("status", help="how everything stands")
    status.add_argument("--json", action="store_true")

    show = commands.add_parser("show", help="all that is known of one discussion")
    show.add_argument("discussion", help="id at the end of the subject, or marketplace number")
    show.add_argument("--json", action="store_true")

    orders = commands.add_parser("orders", help="orders as last read, and what is due about them")
    orders.add_argument("numbers", nargs="*", metavar="NUMBER", help="none: of open discussions")
    orders.add_argument("--refresh", action="store_true", help="ask the marketplace first")
    orders.add_argument("--json", action="store_true")

    repayment.add_arguments(
        commands.add_parser("refund", help="refund an order, or make a gesture")
    )

    for name, text in _ACTIONS.items():
        action = commands.add_parser(name, help=text)
        if name in ("pause", "resume"):
            action.add_argument("account")
        elif name == "settle":
            action.add_argument("order", help="its number")
            action.add_argument("word", choices=("paid", "unpaid"))
            action.add_argument("--yes", action="store_true", help="do it without asking")
        else:
            optional = "?" if name == "retry" else None
            action.add_argument("discussion", nargs=optional)
        if name == "pause":
            action.add_argument("--why", default="", help="shown in status")
        if name == "release":
            action.add_argument("--reply", help="this one, where several are held (see show)")
        action.add_argument("--json", action="store_true")

    _templates_parser(commands.add_parser("templates", help="the reply templates agents may use"))

    backfill = commands.add_parser("backfill", help="file the history of an account")
    backfill.add_argument("account")
    backfill.add_argument("--days", type=int, default=30, help="how far back (default: 30)")
    backfill.add_argument("--json", action="store_true", help="progress as JSON lines")

    campaign.add_arguments(
        commands.add_parser("notify", help="write first to the customers of orders")
    )
    migration.add_arguments(
        commands.add_parser("migrate", help="let an account go on through another API")
    )

    demo = commands.add_parser("demo", help="see it work, with nothing configured")
    demo.add_argument("--serve", action="store_true", help="stay up, play the agent yourself")

    demo.add_argument("--marketplace", choices=("octopia", "cdiscount"), default="octopia")

    simulate = commands.add_parser("simulate", help="serve a simulated marketplace and mailbox")
    simulate.add_argument("--discussions", type=int, default=20, help="how many at the start")
    simulate.add_argument("--marketplace", choices=("octopia", "cdiscount"), default="octopia")
    simulate.add_argument("--wsdl", help="serve this WSDL folder instead of our own subset")
    return parser


def _templates_parser(parser: argparse.ArgumentParser) -> None:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--account", help="of this account (default: the first)")
    shared.add_argument("--json", action="store_true")
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
    acts.add_parser("list", parents=[shared], help="all of them, and what is wrong with others")
    show = acts.add_parser("show", parents=[shared], help="one of them as it is written")
    show.add_argument("name")
    render = acts.add_parser("render", parents=[shared], help="one of them as it would be read")
    render.add_argument("name")
    render.add_argument("values", nargs="*", metavar="KEY=VALUE", help="as agents give them")
    about = render.add_mutually_exclusive_group(required=True)
    about.add_argument("--order", metavar="NUMBER", help="for an order that the journal holds")
    about.add_argument("--sample", action="store_true", help="for an invented one")
    acts.add_parser("check", parents=[shared], help="try each of them on invented orders")


async def _run(arguments: argparse.Namespace, console: Console) -> int:
    if arguments.command in ("demo", "simulate"):
        return await _sandbox(arguments, console)
    loaded = load(arguments.config)
    config = loaded.config
    redactor = logging.configure(
        level=config.log.level if arguments.command == "run" else "error",
        log_format=logging.LogFormat(config.log.format),
    )
    match arguments.command:
        case "run":
            return await _daemon(loaded, redactor, once=arguments.once)
        case "check":
            return await _check(loaded, arguments, console)
        case "status":
            answer = await _ask(config, "status")
            if arguments.json:
                _print_json(answer)
            return ATTENTION if show_status(answer, console, quiet=arguments.json) else OK
        case "show":
            answer = await _ask(config, "show", discussion=arguments.discussion)
            if arguments.json:
                _print_json(answer)
            else:
                show_discussion(answer, console)
            return OK
        case "orders":
            given = {"numbers": arguments.numbers, "refresh": arguments.refresh}
            answer = await _ask(config, "orders", **given)
            if arguments.json:
                _print_json(answer)
            else:
                show_orders(answer, console)
            return FAILED if answer["unknown"] else OK
        case "refund":
            foresee = partial(_ask, config, "foresee")
            client = ControlClient(socket_path(config))
            return _ENDED[await repayment.refund(arguments, foresee, client, console)]
        case "templates":
            return await _templates(config, arguments, console)
        case "migrate":
            return ATTENTION if await migration.migrate(config, arguments, console) else OK
        case "backfill":
            return await _backfill(config, arguments, console)
        case "notify":
            ask = partial(_stream, config, "notify")
            return OK if await campaign.notify(arguments, ask, console) else FAILED
        case action:
            if action == "settle":
                answer = await repayment.settle(arguments, partial(_ask, config), console)
            else:
                names = ("account", "discussion", "why", "reply")
                given = {n: v for n in names if (v := getattr(arguments, n, None)) is not None}
                answer = await _ask(config, action, **given)
            if arguments.json:
                _print_json(answer)
            else:
                console.print(", ".join(f"{k}: {v}" for k, v in answer.items()), markup=False)
            return OK


async def _sandbox(arguments: argparse.Namespace, console: Console) -> int:
    try:
        from mailbridge.sandbox.demo import demo
        from mailbridge.sandbox.simulate import simulate
    except ModuleNotFoundError as error:
        # The simulated servers need libraries that a shop's installation has no use for.
        if (error.name or "mailbridge").startswith("mailbridge"):
            raise
        raise CommandFailed(
            f"{arguments.command} needs {error.name}, which is not installed: in a checkout say "
            "`make demo`, or install `mailbridge[demo]`"
        ) from None
    if arguments.command == "demo":
        return await demo(console, stay=arguments.serve, marketplace=arguments.marketplace)
    return await simulate(
        console,
        discussions=arguments.discussions,
        marketplace=arguments.marketplace,
        wsdl=arguments.wsdl,
    )


async def _daemon(loaded: Loaded, redactor: Redactor, *, once: bool) -> int:
    for warning in loaded.warnings:
        print(f"warning: {warning.render(loaded.path)}", file=sys.stderr)
    faults = await unreadable_secrets(loaded.config)
    if faults:
        raise ConfigError(loaded.path, faults)
    if not once:
        await serve(loaded.config, redactor=redactor)
        return OK
    config = loaded.config
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    failed = False
    with handed_over(config.state_dir, STATE_FILES), InstanceLock(config.state_dir):
        async with bridges(config, redactor=redactor) as built:
            for name, bridge in built.accounts.items():
                async with bridge.ctx.read() as tx:
                    first = await tx.discussions.seen_until(SweepKind.FULL) is None
                try:
                    await bridge.once(SweepKind.FULL if first else SweepKind.WIDE)
                except Exception as error:
                    # One account's trouble never stops another's work.
                    failed = True
                    print(f"{name}: {classify(error).words}", file=sys.stderr)
    return FAILED if failed else OK


async def _ask(config: Config, command: str, **arguments: Any) -> dict[str, Any]:
    """Ask the daemon, or without one answer from the journal."""
    try:
        return await ControlClient(socket_path(config)).ask(command, **arguments)
    except DaemonNotRunning:
        pass
    async with offline(config) as operations:
        answer = await perform(operations, command, arguments)
        if isinstance(answer, dict):
            return answer
        raise CommandFailed(f"{command} gives more than one answer")


async def _check(loaded: Loaded, arguments: argparse.Namespace, console: Console) -> int:
    from mailbridge.checkup import check

    quiet = arguments.json or not console.is_terminal
    with contextlib.nullcontext() if quiet else console.status("trying each part"):
        findings = await check(loaded, account=arguments.account, probe=arguments.probe)
    if arguments.json:
        _print_json([f.as_json() for f in findings])
    else:
        show_check(findings, console)
    return ATTENTION if any(f.bad for f in findings) else OK


async def _templates(config: Config, arguments: argparse.Namespace, console: Console) -> int:
    from mailbridge.checkup.reply_templates import Desk

    desk = Desk(config, arguments.account)
    match arguments.act:
        case "list":
            answer = desk.listing()
        case "show":
            answer = desk.shown(arguments.name)
        case "check":
            answer = desk.tried()
        case _:
            values = _values(arguments.values)
            if arguments.sample:
                answer = desk.sampled(arguments.name, values)
            else:
                call = {"template": arguments.name, "order": arguments.order, "values": values}
                account = {"account": arguments.account} if arguments.account else {}
                answer = await _ask(config, "template", **call, **account)
    if arguments.json:
        _print_json(answer)
    else:
        show_templates(answer, console)
    return ATTENTION if answer.get("faults") else OK


def _values(words: Sequence[str]) -> dict[str, str]:
    """`key=value` words as a mapping; raises CommandFailed for others."""
    pairs = [word.partition("=") for word in words]
    wrong = next((key for key, sign, _ in pairs if not sign or not key), None)
    if wrong is not None:
        raise CommandFailed(f"{wrong!r}: give values as KEY=VALUE")
    return {key: value for key, _, value in pairs}


async def _backfill(config: Config, arguments: argparse.Namespace, console: Console) -> int:
    call = {"account": arguments.account, "days": arguments.days}
    answers = _stream(config, "backfill", call)
    await show_backfill(answers, arguments.json, console)
    return OK


async def _stream(
    config: Config, command: str, call: dict[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    """What a command gives one by one, from the daemon, or without one from the journal."""
    client = ControlClient(socket_path(config))
    try:
        async with contextlib.aclosing(client.call(command, **call)) as answers:
            async for answer in answers:
                yield answer
        return
    except DaemonNotRunning:
        pass
    async with offline(config, begins=True) as operations:
        given = await perform(operations, command, call)
        if not isinstance(given, dict):
            async for answer in given:
                yield answer


def _print_json(value: Any, indent: int | None = 2) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=indent, default=str), flush=True)
