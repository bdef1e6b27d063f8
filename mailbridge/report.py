"""What commands have found, on a terminal: for operators, in English, at 80 columns.

The rule: colour repeats what a word says already, so that nothing is lost in a pipe, a log or to
a colour-blind eye. All values are shown as text and never as markup; moments are shown in this
machine's zone. What is shown is what `bridge.operations` and `checkup` give; nothing is added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mailbridge.checkup.finding import Finding, State

__all__ = [
    "show_check",
    "show_discussion",
    "show_movement",
    "show_orders",
    "show_status",
    "show_step",
    "show_templates",
]

Answer = Mapping[str, Any]

_COLOURS = {
    State.OK: "green",
    State.INFO: "cyan",
    State.WARN: "yellow",
    State.BAD: "bold red",
}
_WORDS = {State.OK: "ok", State.INFO: "info", State.WARN: "warn", State.BAD: "BAD"}
_WHAT = 18
"""Characters: the longest name of a thing that is tried, `evidence of origin`."""
_MOVEMENTS = {
    "cancellation": "cancel these lines and give their price back; they can never be shipped then",
    "refund": "refund these lines",
    "gesture": "give this amount as a commercial gesture",
}
_MOVING = ("waiting", "ready", "granted")
_STEPS = {
    "asked": "recorded",
    "ready": "recorded; waits for its turn",
    "asking": "asking the marketplace",
    "granted": "granted; the order does not show it yet, and is being watched",
    "uncertain": "UNCERTAIN: no clear answer; it is never asked again, the order is being watched",
    "proven": "done: the order shows it",
    "partly": "done in part only: the order shows the rest unchanged",
    "refused": "not done: nothing moved",
    "absent": "not done: two readings of the order show that nothing moved",
    "withdrawn": "dropped: nothing was asked for",
    "joined": "the same is under way already: this one ends as that one does",
}
"""States of a movement of money, for operators."""
_TROUBLED = ("waiting", "failed")
"""States of a part that does not work at this moment."""


def show_check(findings: Sequence[Finding], console: Console) -> None:
    """Everything that was found, part by part, and a line that sums it up."""
    for part, group in groupby(findings, key=lambda f: f.part):
        _title(console, part)
        table = _grid(5, _WHAT)
        for one in group:
            # Key paths are longer than the column: they get a line of their own.
            short = len(one.what) <= _WHAT
            words = Text(one.words if short else f"{one.what}\n{one.words}")
            if one.way_out:
                words.append(f"\n-> {one.way_out}", style="bold" if one.bad else "")
            what = Text(one.what if short else "")
            table.add_row(Text(_WORDS[one.state], _COLOURS[one.state]), what, words)
        _show(console, table)
    counted = {state: sum(f.state is state for f in findings) for state in State}
    bad, warned = counted[State.BAD], counted[State.WARN]
    _line(console)
    if bad:
        summary = f"{_count(bad, 'thing')} must be mended"
        _line(console, summary + (f", {_count(warned, 'warning')}" if warned else ""), "bold red")
    elif warned:
        _line(console, f"works, with {_count(warned, 'warning')}", "yellow")
    else:
        _line(console, "all is well", "green")


def show_status(answer: Answer, console: Console, quiet: bool) -> bool:
    """How everything stands; True if something needs a person.

    That is: an account paused, a reply held, a dispatch held or uncertain, a mail set aside, a
    part that does not work at this moment. With `quiet` nothing is printed.
    """
    parts = answer["parts"]
    troubled = [p for p in parts if p["state"] in _TROUBLED]
    needy = [a for a in answer["accounts"] if _needs_a_person(a)]
    if quiet:
        return bool(troubled or needy)
    for account in answer["accounts"]:
        _show_account(account, console)
    if parts:
        _title(console, "parts")
        table = _grid(8, max(len(p["name"]) for p in parts))
        for part in parts:
            bad = part["state"] in _TROUBLED
            state = Text(part["state"], "bold red" if bad else "green")
            words = f"since {_moment(part['since'])}"
            if bad:
                words += f": {part['error']}"
                if part["retry_at"]:
                    words += f"; next try {_moment(part['retry_at'])}"
            table.add_row(state, Text(part["name"]), Text(words))
        _show(console, table)
    else:
        _line(console)
        _line(console, "the daemon is not running: this is what the journal says", "yellow")
    _line(console)
    if troubled or needy:
        _line(console, "something needs attention", "bold red")
    else:
        _line(console, "nothing needs attention", "green")
    return bool(troubled or needy)


def _needs_a_person(account: Answer) -> bool:
    doubtful = [m for m in account["moving"] if m["state"] == "uncertain"]
    waiting = (account["held"], account["stuck"], account["set_aside"], doubtful)
    return account["paused"] is not None or any(waiting)


def _show_account(account: Answer, console: Console) -> None:
    name = account["account"]
    _title(console, name)
    facts = _grid(18)
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
    seen = (f"{kind} {_moment(at)}" for kind, at in account["seen_until"].items() if at)
    facts.add_row(Text("marketplace read"), Text(", ".join(seen) or "not yet"))
    for table, states in account["counts"].items():
        tally = ", ".join(f"{count} {_plain(state)}" for state, count in sorted(states.items()))
        facts.add_row(Text(table), Text(tally or "none"))
    due = account["answers_due"]
    if any(due[urgency] for urgency in ("overdue", "soon", "later")):
        colour = "bold red" if due["overdue"] else "yellow" if due["soon"] else ""
        near = Text(f"{due['overdue']} overdue, {due['soon']} soon", colour)
        facts.add_row(Text("answers due"), near.append(f", {due['later']} later", ""))
    _show(console, facts)
    if due["next"]:
        _line(console)
        _line(console, "  answers due, the nearest first", "bold")
        rows = [(_moment(w["due"]), w["discussion"], w["urgency"]) for w in due["next"]]
        _show(console, _listing(("until", "discussion", ""), rows))
    _show_waiting(
        console,
        "held: nothing was sent; an agent answers the notice in the thread, or release it",
        ("discussion", "reply", "why"),
        ((h["discussion"], h["reply"], _plain(h["reason"])) for h in account["held"]),
        "mailbridge show / release DISCUSSION",
    )
    _show_waiting(
        console,
        "sent, perhaps: not recorded by the marketplace, or refused",
        ("discussion", "reply", "state and the server's last words"),
        (
            (s["discussion"], s["reply"], f"{_plain(s['state'])}: {s['words']}".rstrip(": "))
            for s in account["stuck"]
        ),
        "mailbridge show / resend DISCUSSION",
    )
    for title, states in (
        ("uncertain: this money may have moved; the order tells within two hours", ("uncertain",)),
        ("under way: money that waits for a word, or to show in its order", _MOVING),
    ):
        rows = [
            (m["order"], f"{m['amount']} EUR", f"{_plain(m['kind'])}, {_plain(m['state'])}")
            for m in account["moving"]
            if m["state"] in states
        ]
        if rows:
            _line(console)
            _line(console, f"  {len(rows)} {title}", "bold red" if states != _MOVING else "bold")
            _show(console, _listing(("order", "amount", ""), rows))
    _show_waiting(
        console,
        "set aside: these mails could not be filed",
        ("discussion", "mail", "why"),
        ((s["discussion"], s["mail"], s["error"]) for s in account["set_aside"]),
        "mailbridge retry [DISCUSSION], once it is mended",
    )


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
    _line(console)
    _line(console, f"  {len(rows)} {title}", "bold red")
    _show(console, _listing(heads, rows))
    _line(console, f"  -> {way_out}")


def show_discussion(answer: Answer, console: Console) -> None:
    """All that is known of one discussion, without the words anybody wrote."""
    _title(console, f"{answer['discussion']} ({answer['account']})")
    facts = _grid(18)
    lease = answer["lease"]
    if answer["lease_confirmed_at"]:
        lease = f"{lease}, confirmed {_moment(answer['lease_confirmed_at'])}"
    for name, value in (
        ("marketplace number", answer["id"]),
        ("kind", _plain(answer["kind"])),
        ("status", answer["status"]),
        ("order", answer["order"] or "none"),
        ("thread", f"{answer['mails']} mails in {answer['folder']}"),
        ("relay address", lease),
        ("answer due", _moment(answer["answer_due"]) if answer["answer_due"] else "none"),
    ):
        facts.add_row(Text(name), Text(str(value)))
    _show(console, facts)
    _section(
        console,
        "messages",
        ("at", "author", "key"),
        ((_moment(m["at"]), m["author"], m["key"]) for m in answer["messages"]),
    )
    _section(
        console,
        "replies",
        ("at", "reply", "state", "from, evidence, commands"),
        (
            (_moment(r["at"]), r["reply"], _state(r["state"], r["reason"]), _about(r))
            for r in answer["replies"]
        ),
    )
    _section(
        console,
        "money",
        ("asked", "order", "state", "what, amount, moved, the marketplace's last words"),
        (
            (
                _moment(m["asked_at"]),
                m["order"],
                _plain(m["state"]),
                _joined(
                    f"{_plain(m['kind'])} {m['amount']} EUR" if m["kind"] else "",
                    f"moved {m['moved']} EUR" if m["moved"] != "0" else "",
                    m["words"],
                ),
            )
            for m in answer["money"]
        ),
    )
    _section(
        console,
        "deliveries",
        ("submitted", "reply", "state", "recorded, tries, the server's last words"),
        (
            (
                _moment(d["submitted_at"]),
                f"{d['reply']} #{d['number']}" if d["number"] else d["reply"],
                _plain(d["state"]),
                _joined(
                    f"recorded {_moment(d['recorded_at'])}" if d["recorded_at"] else "",
                    _count(d["attempts"], "try", "tries"),
                    d["words"],
                ),
            )
            for d in answer["deliveries"]
        ),
    )
    _section(
        console,
        "closings",
        ("state", "tries", "the marketplace's answer"),
        (
            (_plain(c["state"]), str(c["attempts"]), _plain(c["answer"]) or "-")
            for c in answer["closings"]
        ),
    )
    _section(
        console,
        "events",
        ("at", "what", "about"),
        (
            (_moment(e["at"]), e["what"], _joined(e["subject"], e["detail"]))
            for e in answer["events"]
        ),
    )


def show_movement(answer: Answer, console: Console) -> None:
    """What would be done with an order's money, or why nothing can be."""
    _title(console, f"{answer['order']} ({answer['account']})")
    facts = _grid(18)
    facts.add_row(Text("state"), Text(f"{_plain(answer['stage'])} ({answer['state']})"))
    if answer["obstacle"]:
        told = _joined(*(f"{_plain(k)}: {v}" for k, v in answer["facts"].items()))
        facts.add_row(Text("impossible"), Text(_plain(answer["obstacle"]), "bold red"))
        facts.add_row(Text(""), Text(told))
        _show(console, facts)
        return
    facts.add_row(Text("would be done"), Text(_MOVEMENTS[answer["movement"]], "bold"))
    facts.add_row(Text("call"), Text(answer["call"]))
    facts.add_row(Text("amount"), Text(f"{answer['amount']} EUR", "bold"))
    for line in answer["lines"]:
        shipping = f"shipping {line['shipping']} EUR" if line["shipping"] else "without shipping"
        about = _joined(line["reference"], f"{line['price']} EUR", shipping)
        facts.add_row(Text("line"), Text(f"{line['quantity']} x {line['name']}\n{about}"))
    if answer["motive"]:
        facts.add_row(Text("motive"), Text(str(answer["motive"])))
    else:
        facts.add_row(Text("cause"), Text(_plain(answer["cause"])))
    if answer["same_at"]:
        again = f"the same was given {_moment(answer['same_at'])}; this would be a second one"
        facts.add_row(Text("mind"), Text(again, "bold red"))
    _show(console, facts)


def show_step(answer: Answer, console: Console) -> None:
    """How a movement under way stands."""
    words = _STEPS.get(answer["state"], _plain(answer["state"]))
    colour = {"proven": "green", "refused": "bold red"}.get(answer["state"], "")
    _line(console, _joined(words, _plain(answer["words"])), colour)


def show_orders(answer: Answer, console: Console) -> None:
    """Orders as last read: state, lines, parcels, money, and the discussions about them."""
    for order in answer["orders"]:
        stage = _plain(order["stage"])
        _title(console, f"{order['number']} ({order['account']})")
        facts = _grid(18)
        money = f"{order['total']} EUR, shipping {order['shipping']} EUR"
        for name, value in (
            ("state", f"{stage} ({order['state']})"),
            ("ordered", _moment(order["ordered_at"])),
            ("promised", _joined(*_promises(order))),
            ("total", money),
            ("refunded", f"{order['refunded']} EUR" if order["refunds"] else "nothing"),
            ("last read", _moment(order["read_at"])),
        ):
            facts.add_row(Text(name), Text(value))
        for line in order["lines"]:
            about = _joined(
                line["reference"],
                f"{line['price']} EUR",
                _plain(line["stage"]),
                "claimed" if line["has_claim"] else "",
            )
            facts.add_row(Text("line"), Text(f"{line['quantity']} x {line['name']}\n{about}"))
        for parcel in order["parcels"]:
            about = _joined(parcel["number"], parcel["carrier"], parcel["status"], parcel["url"])
            facts.add_row(Text("parcel"), Text(about))
        for one in order["discussions"]:
            about = _joined(
                one["discussion"],
                _plain(one["kind"]),
                one["status"],
                f"to be answered by {_moment(one['answer_due'])}" if one["answer_due"] else "",
            )
            colour = "bold red" if one["urgency"] == "overdue" else ""
            facts.add_row(Text("discussion"), Text(about, colour))
        _show(console, facts)
    for number in answer["unknown"]:
        _line(console)
        _line(console, f"{number}: not known; --refresh asks the marketplace", "yellow")
    if not answer["orders"] and not answer["unknown"]:
        _line(console, "no open discussion is about an order")


def _promises(order: Answer) -> Iterable[str]:
    for word, key in (("to be shipped by", "ship_by"), ("delivered by", "deliver_by")):
        if order[key]:
            yield f"{word} {_moment(order[key])}"


def _state(state: str, reason: str) -> str:
    return f"{_plain(state)}: {_plain(reason)}" if reason else _plain(state)


def _about(reply: Answer) -> str:
    commands = ", ".join(reply["commands"])
    return _joined(reply["from"], reply["evidence"], f"commands: {commands}" if commands else "")


def _section(
    console: Console, title: str, heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]
) -> None:
    rows = list(rows)
    if rows:
        _title(console, title)
        _show(console, _listing(heads, rows))


def show_templates(answer: Answer, console: Console) -> None:
    """Templates as `templates` gives them: a list, one in full, or a text for a customer."""
    if "text" in answer:
        _line(console, answer["text"])
        if answer.get("closes"):
            _line(console)
            _line(console, "and the discussion is closed", "yellow")
        return
    rows = [
        (one["name"], one["language"], one["title"], _takes(one)) for one in answer["templates"]
    ]
    if rows:
        _show(console, _listing(("name", "language", "title", "takes"), rows))
    for one in answer["templates"]:
        if "source" in one:
            for each in one["variables"]:
                _line(console, f"{each['name']}: {each['say']}")
            _line(console)
            _line(console, one["source"])
    for fault in answer["faults"]:
        _line(console, f"BAD  {fault}", _COLOURS[State.BAD])
    if "source" not in (answer["templates"] or [{}])[0] and not answer["faults"]:
        _line(console, f"{_count(len(rows), 'template')}, nothing wrong", "green")


def _takes(template: Answer) -> str:
    """Needs in words, then values, the ones that may be left out in brackets."""
    values = [v["name"] if v["required"] else f"[{v['name']}]" for v in template["variables"]]
    needs = [f"({need})" for need in template["needs"]]
    return " ".join((*needs, *values, *(["closes"] if template["closes"] else [])))


# --- the parts of a page ------------------------------------------------------------------------


def _grid(*widths: int) -> Table:
    """Columns of these widths, and one for words that takes the rest of the line."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for width in widths:
        table.add_column(width=width, overflow="fold")
    table.add_column(ratio=1, overflow="fold")
    table.expand = True
    return table


def _listing(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    """As wide as its words, the last column wrapped, headed by small words."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for head in heads:
        table.add_column(Text(head), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _title(console: Console, words: str) -> None:
    _line(console)
    _line(console, words, "bold")


def _show(console: Console, what: RenderableType) -> None:
    # `soft_wrap` of the console is for lines; tables wrap in their columns.
    console.print(Padding(what, (0, 0, 0, 2)), soft_wrap=False)


def _line(console: Console, words: str = "", style: str = "") -> None:
    console.print(Text(words, style), soft_wrap=False)


def _moment(text: str | None) -> str:
    """An ISO 8601 moment in this machine's zone; a dash for none."""
    if not text:
        return "-"
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")


def _plain(name: str) -> str:
    """A word of our vocabulary, as one says it: `not_proven` is `not proven`."""
    return name.replace("_", " ")


def _joined(*words: str) -> str:
    return "; ".join(word for word in words if word)


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
