"""Orders and their money: as last read, what would be done, and how it goes."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from mailbridge.report.page import Answer, grid, joined, line, moment, plain, show, title

__all__ = ["show_movement", "show_orders", "show_step", "show_unshown"]

_MOVEMENTS = {
    "cancellation": "cancel these lines and give their price back; they can never be shipped then",
    "refund": "refund these lines",
    "gesture": "give this amount as a commercial gesture",
}
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


def show_movement(answer: Answer, console: Console) -> None:
    """What would be done with an order's money, or why nothing can be."""
    title(console, f"{answer['order']} ({answer['account']})")
    facts = grid(18)
    facts.add_row(Text("state"), Text(f"{plain(answer['stage'])} ({answer['state']})"))
    if answer["obstacle"]:
        told = joined(*(f"{plain(k)}: {v}" for k, v in answer["facts"].items()))
        facts.add_row(Text("impossible"), Text(plain(answer["obstacle"]), "bold red"))
        facts.add_row(Text(""), Text(told))
        show(console, facts)
        return
    facts.add_row(Text("would be done"), Text(_MOVEMENTS[answer["movement"]], "bold"))
    facts.add_row(Text("call"), Text(answer["call"]))
    facts.add_row(Text("amount"), Text(f"{answer['amount']} EUR", "bold"))
    for item in answer["lines"]:
        shipping = f"shipping {item['shipping']} EUR" if item["shipping"] else "without shipping"
        about = joined(item["reference"], f"{item['price']} EUR", shipping)
        facts.add_row(Text("line"), Text(f"{item['quantity']} x {item['name']}\n{about}"))
    if answer["motive"]:
        facts.add_row(Text("motive"), Text(str(answer["motive"])))
    else:
        facts.add_row(Text("cause"), Text(plain(answer["cause"])))
    if answer["same_at"]:
        again = f"the same was given {moment(answer['same_at'])}; this would be a second one"
        facts.add_row(Text("mind"), Text(again, "bold red"))
    show(console, facts)


_FOLLOWS = {
    "paid": "it counts as given, and the text that waits for it goes to the customer",
    "unpaid": "the text that waits for it is held, and the money can be asked for again",
}


def show_unshown(answer: Answer, word: str, console: Console) -> None:
    """A movement that the marketplace does not show, and what a person's word will do."""
    title(console, answer["order"])
    facts = grid(18)
    facts.add_row(Text("movement"), Text(plain(answer["kind"]), "bold"))
    facts.add_row(Text("amount"), Text(f"{answer['amount']} EUR", "bold"))
    if answer["asked_at"]:
        facts.add_row(Text("asked for"), Text(moment(answer["asked_at"])))
    facts.add_row(Text(f"if {word}"), Text(_FOLLOWS[word]))
    show(console, facts)


def show_step(answer: Answer, console: Console) -> None:
    """How a movement under way stands."""
    words = _STEPS.get(answer["state"], plain(answer["state"]))
    colour = {"proven": "green", "refused": "bold red"}.get(answer["state"], "")
    line(console, joined(words, plain(answer["words"])), colour)


def show_orders(answer: Answer, console: Console) -> None:
    """Orders as last read: state, lines, parcels, money, and the discussions about them."""
    for order in answer["orders"]:
        stage = plain(order["stage"])
        title(console, f"{order['number']} ({order['account']})")
        facts = grid(18)
        money = f"{order['total']} EUR, shipping {order['shipping']} EUR"
        for name, value in (
            ("state", f"{stage} ({order['state']})"),
            ("ordered", moment(order["ordered_at"])),
            ("promised", joined(*_promises(order))),
            ("total", money),
            ("refunded", _refunded(order)),
            ("last read", moment(order["read_at"])),
        ):
            facts.add_row(Text(name), Text(value))
        for item in order["lines"]:
            about = joined(
                item["reference"],
                f"{item['price']} EUR",
                plain(item["stage"]),
                "claimed" if item["has_claim"] else "",
            )
            facts.add_row(Text("line"), Text(f"{item['quantity']} x {item['name']}\n{about}"))
        for parcel in order["parcels"]:
            about = joined(parcel["number"], parcel["carrier"], parcel["status"], parcel["url"])
            facts.add_row(Text("parcel"), Text(about))
        for one in order["discussions"]:
            about = joined(
                one["discussion"],
                plain(one["kind"]),
                one["status"],
                "treated" if one["treatment"] == "treated" else "",
                f"to be answered by {moment(one['answer_due'])}" if one["answer_due"] else "",
            )
            colour = "bold red" if one["urgency"] == "overdue" else ""
            facts.add_row(Text("discussion"), Text(about, colour))
        show(console, facts)
    for number in answer["unknown"]:
        line(console)
        line(console, f"{number}: not known; --refresh asks the marketplace", "yellow")
    if not answer["orders"] and not answer["unknown"]:
        line(console, "no open discussion is about an order")


def _refunded(order: Answer) -> str:
    if order["refunded"] is None:
        return "not read"
    return f"{order['refunded']} EUR" if order["refunds"] else "nothing"


def _promises(order: Answer) -> Iterable[str]:
    for word, key in (("to be shipped by", "ship_by"), ("delivered by", "deliver_by")):
        if order[key]:
            yield f"{word} {moment(order[key])}"
