"""`mailbridge migrate`: an account goes on through another API of its marketplace.

The daemon must be stopped, because a move changes what every one of its flows holds in its hands.
What is joined and how is `bridge.moving`'s; here it is asked for and shown.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console

from mailbridge.bridge.moving import MoveRefused, MoveReport, Moving, Oddity
from mailbridge.config.models import Config
from mailbridge.daemon import STATE_FILES, bridges, classify, journal_is_made
from mailbridge.marketplace.port import MarketplaceError
from mailbridge.ops.control import CommandFailed
from mailbridge.ops.custody import handed_over
from mailbridge.ops.lock import InstanceLock

__all__ = ["add_arguments", "migrate"]

_SHOWN = 20
"""Oddities of one kind that are named one by one; `--json` names all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("account")
    parser.add_argument("--to", required=True, choices=["octopia"], help="the configured API")
    parser.add_argument("--dry-run", action="store_true", help="only say what would join")
    parser.add_argument(
        "--anyway", action="store_true", help="even if most open discussions are not found there"
    )
    parser.add_argument("--json", action="store_true")


async def migrate(config: Config, arguments: argparse.Namespace, console: Console) -> bool:
    """Carry the command out; True if a person should look at what it says.

    Raises AlreadyRunning where a daemon holds the state directory, and CommandFailed.
    """
    name, to = arguments.account, arguments.to
    account = config.accounts.get(name)
    if account is None:
        raise CommandFailed(f"there is no account {name}; known: {', '.join(config.accounts)}")
    if account.marketplace.kind != to:
        raise CommandFailed(
            f"accounts.{name}.marketplace is still {account.marketplace.kind}: put the section "
            f"for {to} in its place first (docs/migrate.md)"
        )
    if not journal_is_made(config):
        raise CommandFailed(f"no journal in {config.state_dir} yet: there is nothing to move")
    quiet = arguments.json or not console.is_terminal
    with handed_over(config.state_dir, STATE_FILES), InstanceLock(config.state_dir):
        async with bridges(config, moving=name) as built:
            moving = Moving(built.accounts[name].ctx, to)
            with contextlib.nullcontext() if quiet else console.status("reading both sides"):
                report = await _carried_out(moving, arguments)
    if arguments.json:
        print(json.dumps({**asdict(report), "odd": report.odd}, ensure_ascii=False, indent=2))
    else:
        _show(report, console)
    return report.odd


async def _carried_out(moving: Moving, arguments: argparse.Namespace) -> MoveReport:
    try:
        if arguments.dry_run:
            return await moving.look()
        return await moving.run(anyway=arguments.anyway)
    except MoveRefused as error:
        raise CommandFailed(str(error)) from None
    except MarketplaceError as error:
        raise CommandFailed(classify(error).words) from None


def _show(report: MoveReport, console: Console) -> None:
    def line(words: str, style: str = "") -> None:
        console.print(words, style=style or None, markup=False)

    line(f"{report.account} to {report.to}", "bold")
    line(
        f"  threads     {report.sought} open or with unfinished work: {report.shown} are shown "
        f"there, {len(report.missing)} are not"
    )
    joined = sum(report.joined.values())
    grounds = ", ".join(f"{count} by {ground}" for ground, count in report.joined.items())
    line(
        f"  messages    {report.messages} known: {joined} join" + (f" ({grounds})" * bool(grounds))
    )
    line(f"              {report.new} will be filed, {report.recorded} are answers just recorded")
    work = ", ".join(f"{count} {kind}" for kind, count in sorted(report.unfinished.items()))
    line(f"  unfinished  {work or 'nothing'}" + (": they go on" if work else ""))
    if report.already:
        line(f"  again       {report.already} threads had been joined before")
    if report.unknown:
        line(f"  unknown     {report.unknown} discussions are new here: the next sweep's")
    _oddities(console, "not shown there; they stay as they are", report.missing)
    _oddities(console, "older than what is known, and like nothing known", report.doubtful)
    _oddities(console, "known messages that are not shown there; left alone", report.unshown)
    unreadable = [Oddity(key or "a list", words) for key, words in report.faults.items()]
    _oddities(console, "could not be read", unreadable)
    if report.done:
        line("moved: start the daemon", "green")
    else:
        line("this was a dry run: nothing was changed", "yellow")


def _oddities(console: Console, title: str, odd: Sequence[Oddity]) -> None:
    if not odd:
        return
    console.print(f"  {title}:", style="yellow", markup=False)
    for one in odd[:_SHOWN]:
        console.print(f"    {one.thread}  {one.words}", markup=False)
    if len(odd) > _SHOWN:
        console.print(f"    and {len(odd) - _SHOWN} more (--json)", markup=False)
