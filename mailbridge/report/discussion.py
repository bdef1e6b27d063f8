"""All that is known of one discussion, without the words anybody wrote."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from mailbridge.report.page import Answer, count, grid, joined, moment, plain, section, show, title

__all__ = ["show_discussion"]


def show_discussion(answer: Answer, console: Console) -> None:
    """All that is known of one discussion, without the words anybody wrote."""
    title(console, f"{answer['discussion']} ({answer['account']})")
    facts = grid(18)
    lease = answer["lease"]
    if answer["lease_confirmed_at"]:
        lease = f"{lease}, confirmed {moment(answer['lease_confirmed_at'])}"
    for name, value in (
        ("marketplace number", answer["id"]),
        ("kind", plain(answer["kind"])),
        ("status", answer["status"]),
        ("marked there as", plain(answer["treatment"] or "not told")),
        ("order", answer["order"] or "none"),
        ("thread", f"{answer['mails']} mails in {answer['folder']}"),
        ("relay address", lease),
        ("answer due", moment(answer["answer_due"]) if answer["answer_due"] else "none"),
    ):
        facts.add_row(Text(name), Text(str(value)))
    show(console, facts)
    section(
        console,
        "messages",
        ("at", "author", "key"),
        ((moment(m["at"]), m["author"], m["key"]) for m in answer["messages"]),
    )
    section(
        console,
        "replies",
        ("at", "reply", "state", "from, evidence, commands"),
        (
            (moment(r["at"]), r["reply"], _state(r["state"], r["reason"]), _about(r))
            for r in answer["replies"]
        ),
    )
    section(
        console,
        "money",
        ("asked", "order", "state", "what, amount, moved, the marketplace's last words"),
        (
            (
                moment(m["asked_at"]),
                m["order"],
                plain(m["state"]),
                joined(
                    f"{plain(m['kind'])} {m['amount']} EUR" if m["kind"] else "",
                    f"moved {m['moved']} EUR" if m["moved"] != "0" else "",
                    m["words"],
                ),
            )
            for m in answer["money"]
        ),
    )
    section(
        console,
        "deliveries",
        ("submitted", "reply", "state", "recorded, tries, the server's last words"),
        (
            (
                moment(d["submitted_at"]),
                _which(d),
                plain(d["state"]),
                joined(
                    f"recorded {moment(d['recorded_at'])}" if d["recorded_at"] else "",
                    count(d["attempts"], "try", "tries"),
                    d["words"],
                ),
            )
            for d in answer["deliveries"]
        ),
    )
    section(
        console,
        "closings",
        ("state", "tries", "the marketplace's answer"),
        (
            (plain(c["state"]), str(c["attempts"]), plain(c["answer"]) or "-")
            for c in answer["closings"]
        ),
    )
    section(
        console,
        "events",
        ("at", "what", "about"),
        ((moment(e["at"]), e["what"], joined(e["subject"], e["detail"])) for e in answer["events"]),
    )


def _which(delivery: Answer) -> str:
    if delivery.get("automatic"):
        return "automatic acknowledgement"
    number = delivery["number"]
    return f"{delivery['reply']} #{number}" if number else str(delivery["reply"])


def _state(state: str, reason: str) -> str:
    return f"{plain(state)}: {plain(reason)}" if reason else plain(state)


def _about(reply: Answer) -> str:
    commands = ", ".join(reply["commands"])
    return joined(reply["from"], reply["evidence"], f"commands: {commands}" if commands else "")
