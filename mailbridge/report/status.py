"""How the accounts and the parts of the daemon stand, and whether somebody must act."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from mailbridge.report.page import Answer, grid, line, listing, moment, plain, show, title

__all__ = ["show_status"]

_MOVING = ("waiting", "ready", "granted")
_UNSHOWN = (
    "uncertain: asked for before the account moved, and never shown since; the thread asks a "
    "person whether it was paid"
)
_UNCERTAIN = "uncertain: this money may have moved; the order tells within two hours"
_UNDER_WAY = "under way: money that waits for a word, or to show in its order"
_NAMED = 20
"""Unreadable ones that are named one by one."""
_TROUBLED = ("waiting", "failed")
"""States of a part that does not work at this moment."""


def show_status(answer: Answer, console: Console, quiet: bool) -> bool:
    """How everything stands; True if something needs a person.

    That is: an account paused, a discussion or order that stays unreadable, a reply held, a
    dispatch held or uncertain, a mail set aside, a part that does not work at this moment. With
    `quiet` nothing is printed.
    """
    parts = answer["parts"]
    troubled = [p for p in parts if p["state"] in _TROUBLED]
    needy = [a for a in answer["accounts"] if _needs_a_person(a)]
    if quiet:
        return bool(troubled or needy)
    for account in answer["accounts"]:
        _show_account(account, console)
    if parts:
        title(console, "parts")
        table = grid(8, max(len(p["name"]) for p in parts))
        for part in parts:
            bad = part["state"] in _TROUBLED
            state = Text(part["state"], "bold red" if bad else "green")
            words = f"since {moment(part['since'])}"
            if bad:
                words += f": {part['error']}"
                if part["retry_at"]:
                    words += f"; next try {moment(part['retry_at'])}"
            table.add_row(state, Text(part["name"]), Text(words))
        show(console, table)
    else:
        line(console)
        line(console, "the daemon is not running: this is what the journal says", "yellow")
    line(console)
    if troubled or needy:
        line(console, "something needs attention", "bold red")
    else:
        line(console, "nothing needs attention", "green")
    return bool(troubled or needy)


def _needs_a_person(account: Answer) -> bool:
    doubtful = [m for m in account["moving"] if m["state"] == "uncertain" or m["unshown"]]
    lasting = [u for u in account["unreadable"] if u["lasts"]]
    waiting = (lasting, account["held"], account["stuck"], account["set_aside"], doubtful)
    return account["paused"] is not None or any(waiting)


def _show_account(account: Answer, console: Console) -> None:
    name = account["account"]
    title(console, name)
    facts = grid(18)
    if account["paused"] is not None:
        why = Text(f"PAUSED: {account['paused']}", "bold red")
        facts.add_row(Text("replies"), why.append(f"\n-> mailbridge resume {name}", ""))
    else:
        facts.add_row(Text("replies"), Text("on" if account["replies"] else "off"))
    proven = "proven" if account["reply_mode_proven"] else "not proven: mailbridge check"
    facts.add_row(Text("reply mode"), Text(f"{account['reply_mode']}, {proven}"))
    facts.add_row(
        Text("evidence of origin"), Text(account["evidence_of_origin"] or "none seen so far")
    )
    seen = (f"{kind} {moment(at)}" for kind, at in account["seen_until"].items() if at)
    facts.add_row(Text("marketplace read"), Text(", ".join(seen) or "not yet"))
    for table, states in account["counts"].items():
        tally = ", ".join(f"{count} {plain(state)}" for state, count in sorted(states.items()))
        facts.add_row(Text(table), Text(tally or "none"))
    due = account["answers_due"]
    if any(due[urgency] for urgency in ("overdue", "soon", "later")):
        colour = "bold red" if due["overdue"] else "yellow" if due["soon"] else ""
        near = Text(f"{due['overdue']} overdue, {due['soon']} soon", colour)
        facts.add_row(Text("answers due"), near.append(f", {due['later']} later", ""))
    if due["treated"]:
        words = f"{due['treated']} open, marked as treated at the marketplace"
        facts.add_row(Text("treated"), Text(words))
    show(console, facts)
    if due["next"]:
        line(console)
        line(console, "  answers due, the nearest first", "bold")
        rows = [(moment(w["due"]), w["discussion"], w["urgency"]) for w in due["next"]]
        show(console, listing(("until", "discussion", ""), rows))
    _show_unreadable(account["unreadable"], console)
    _show_waiting(
        console,
        "held: nothing was sent; an agent answers the notice in the thread, or release it",
        ("discussion", "reply", "why"),
        ((h["discussion"], h["reply"], plain(h["reason"])) for h in account["held"]),
        "mailbridge show / release DISCUSSION",
    )
    _show_waiting(
        console,
        "sent, perhaps: not recorded by the marketplace, or refused",
        ("discussion", "reply", "state and the server's last words"),
        (
            (s["discussion"], s["reply"], f"{plain(s['state'])}: {s['words']}".rstrip(": "))
            for s in account["stuck"]
        ),
        "mailbridge show / resend DISCUSSION",
    )
    unshown = [m for m in account["moving"] if m["unshown"]]
    others = [m for m in account["moving"] if not m["unshown"]]
    for head, moving, colour in (
        (_UNSHOWN, unshown, "bold red"),
        (_UNCERTAIN, [m for m in others if m["state"] == "uncertain"], "bold red"),
        (_UNDER_WAY, [m for m in others if m["state"] in _MOVING], "bold"),
    ):
        if moving:
            line(console)
            line(console, f"  {len(moving)} {head}", colour)
            rows = [
                (m["order"], f"{m['amount']} EUR", f"{plain(m['kind'])}, {plain(m['state'])}")
                for m in moving
            ]
            show(console, listing(("order", "amount", ""), rows))
            if moving is unshown:
                line(console, "  -> answer there, or: mailbridge settle ORDER paid|unpaid")
    _show_waiting(
        console,
        "set aside: these mails could not be filed",
        ("discussion", "mail", "why"),
        ((s["discussion"], s["mail"], s["error"]) for s in account["set_aside"]),
        "mailbridge retry [DISCUSSION], once it is mended",
    )


def _show_unreadable(unreadable: list[Answer], console: Console) -> None:
    if not unreadable:
        return
    line(console)
    lasts = any(one["lasts"] for one in unreadable)
    words = "unreadable: what the marketplace says of these is not in the mailbox"
    line(console, f"  {len(unreadable)} {words}", "bold red" if lasts else "yellow")
    rows = [(_called(one), moment(one["since"]), one["words"]) for one in unreadable[:_NAMED]]
    show(console, listing(("what", "since", "why"), rows))
    if len(unreadable) > _NAMED:
        line(console, f"  and {len(unreadable) - _NAMED} more (--json names all)")
    line(console, "  -> tried again by itself; until then look at the seller's pages. A right that")
    line(console, "     is missing (403) the marketplace gives; report all else, with these words")


def _called(one: Answer) -> str:
    match one["kind"], one["id"]:
        case "discussion", "":
            return "a whole list"
        case kind, "?":
            return f"{kind} without an id"
        case kind, ident:
            return one["discussion"] or f"{kind} {ident}"


def _show_waiting(
    console: Console,
    title: str,
    heads: tuple[str, ...],
    rows: Iterable[tuple[str, ...]],
    way_out: str,
) -> None:
    rows = list(rows)
    if not rows:
        return
    line(console)
    line(console, f"  {len(rows)} {title}", "bold red")
    show(console, listing(heads, rows))
    line(console, f"  -> {way_out}")
