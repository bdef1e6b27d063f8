"""`mailbridge refund` and `settle` at the terminal: what would be done, one question, how it went.

Nothing is asked for that was not shown before: the daemon gets back what was seen, and refuses if
the order has moved on since. Whether it may be done is decided there, by the same rules as for
commands in mails.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

from rich.console import Console

from mailbridge.ops.control import CommandFailed, ControlClient, DaemonNotRunning
from mailbridge.report import show_movement, show_step, show_unshown

__all__ = ["Ended", "add_arguments", "refund", "settle"]

Foresee = Callable[..., Awaitable[dict[str, Any]]]
"""Asks what would be done, of the daemon or of the journal."""


class Ended(Enum):
    """How a refund stands when the command ends."""

    DONE = "done"
    """Or only shown, as `--dry-run` asks."""
    NOT_DONE = "not done"
    OPEN = "open"
    """Under way or uncertain: it is to be looked at again."""


def add_arguments(parser: ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("order", help="its number")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--line", metavar="REF", help="one line, by the seller's reference")
    what.add_argument("--total", action="store_true", help="all that is left of the order")
    what.add_argument("--gesture", metavar="AMOUNT", help="a free amount in euros, as 12,50")
    parser.add_argument("--motive", help="of a gesture: 131 to 139, or a word as in a mail")
    parser.add_argument(
        "--shipping",
        action=BooleanOptionalAction,
        help="shipping charges too (default: with --total)",
    )
    causes = ("claim", "withdrawal", "goodwill", "out_of_stock")
    parser.add_argument("--cause", choices=causes, help="of a refund (default: goodwill)")
    parser.add_argument("--account", help="where several have orders (default: the first)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--yes", action="store_true", help="do it without asking")
    parser.add_argument(
        "--wait", type=float, default=60, metavar="SECONDS", help="for its end (default: 60)"
    )
    parser.add_argument("--json", action="store_true")


async def refund(
    arguments: Namespace, foresee: Foresee, client: ControlClient, console: Console
) -> Ended:
    """Show what would be done, ask for a word, have it done and watch it.

    Raises CommandFailed for what makes no sense or is not confirmed, and where no daemon runs that
    could move money; and what `foresee` raises.
    """
    given = _asked(arguments)
    call = {"order": arguments.order, "asked": given}
    account = {"account": arguments.account} if arguments.account else {}
    seen = await foresee(**call, **account)
    if arguments.json and (arguments.dry_run or seen["obstacle"]):
        _print(seen)
    elif not arguments.json:
        show_movement(seen, console)
    if seen["obstacle"]:
        return Ended.NOT_DONE
    if arguments.dry_run:
        return Ended.DONE
    else_ = ", or --dry-run to see what would be done"
    if not arguments.yes and not _agreed("To have this done", arguments.order, else_):
        raise CommandFailed("not confirmed: nothing was asked for")
    last: dict[str, Any] = {}
    try:
        steps = client.call("refund", **call, seen=seen, seconds=arguments.wait)
        async for last in steps:
            if arguments.json:
                _print(last, indent=None)
            else:
                show_step(last, console)
    except DaemonNotRunning as error:
        raise CommandFailed(
            f"nothing was asked for: money is moved by the daemon; {error}"
        ) from None
    match last.get("state"):
        case "proven":
            return Ended.DONE
        case "refused" | "withdrawn" | "absent":
            return Ended.NOT_DONE
        case _:
            return Ended.OPEN


def _asked(arguments: Namespace) -> dict[str, Any]:
    """The options as the daemon reads them; raises CommandFailed for ones that exclude others."""
    gesture = arguments.gesture is not None
    if gesture and arguments.motive is None:
        raise CommandFailed("--gesture needs --motive: 131 to 139, or a word as in a mail")
    if gesture and (arguments.shipping is not None or arguments.cause):
        raise CommandFailed("--shipping and --cause are for refunds, not for a gesture")
    if not gesture and arguments.motive is not None:
        raise CommandFailed("--motive is for a gesture; a refund has a --cause")
    names = ("line", "gesture", "motive", "shipping", "cause")
    return {name: getattr(arguments, name) for name in names}


async def settle(
    arguments: Namespace, ask: Callable[..., Awaitable[dict[str, Any]]], console: Console
) -> dict[str, Any]:
    """Show the money that nothing shows, ask for a word, and say what became of it.

    Raises CommandFailed for what is not confirmed, and what `ask` raises: it asks the daemon, or
    the journal.
    """
    order, word = arguments.order, arguments.word
    accounts = (await ask("status"))["accounts"]
    # Of one order one movement is under way at a time.
    moving = (m for account in accounts for m in account["moving"])
    found = next((m for m in moving if m["unshown"] and m["order"] == order), None)
    if found is not None and not arguments.yes:
        if not arguments.json:
            show_unshown(found, word, console)
        if not _agreed(f"To settle it as {word}", order):
            raise CommandFailed("not confirmed: nothing was settled")
    return await ask("settle", order=order, word=word)


def _agreed(what: str, order: str, else_: str = "") -> bool:
    """Whether the person at the terminal wants it done; raises CommandFailed without a terminal."""
    if not sys.stdin.isatty():
        raise CommandFailed(f"nobody to ask here: give --yes{else_}")
    try:
        said = input(f"{what}, type {order} or “oui”: ")
    except EOFError:
        return False
    return said.strip().casefold() in {order.casefold(), "oui", "yes"}


def _print(value: Any, indent: int | None = 2) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=indent, default=str), flush=True)
