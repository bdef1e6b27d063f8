"""Reply templates: a list, one in full, or what one becomes."""

from __future__ import annotations

from rich.console import Console

from mailbridge.report.page import Answer, count, line, listing, show

__all__ = ["show_templates"]


def show_templates(answer: Answer, console: Console) -> None:
    """Templates as `templates` gives them: a list, one in full, or a text for a customer."""
    if "text" in answer:
        line(console, answer["text"])
        if answer.get("closes"):
            line(console)
            line(console, "and the discussion is closed", "yellow")
        return
    rows = [
        (one["name"], one["language"], one["title"], _takes(one)) for one in answer["templates"]
    ]
    if rows:
        show(console, listing(("name", "language", "title", "takes"), rows))
    for one in answer["templates"]:
        if "source" in one:
            for each in one["variables"]:
                line(console, f"{each['name']}: {each['say']}")
            line(console)
            line(console, one["source"])
    for fault in answer["faults"]:
        line(console, f"BAD  {fault}", "bold red")
    if "source" not in (answer["templates"] or [{}])[0] and not answer["faults"]:
        line(console, f"{count(len(rows), 'template')}, nothing wrong", "green")


def _takes(template: Answer) -> str:
    """Needs in words, then values, the ones that may be left out in brackets."""
    values = [v["name"] if v["required"] else f"[{v['name']}]" for v in template["variables"]]
    needs = [f"({need})" for need in template["needs"]]
    return " ".join((*needs, *values, *(["closes"] if template["closes"] else [])))
