"""The state machines as a page of documentation, drawn from the tables the program runs on.

`python -m mailbridge.domain.diagrams > docs/state-machines.md` writes the page anew; a test fails
while it is out of date. Words are taken from the machines' own files, so that there is one place
to change them.
"""

from __future__ import annotations

import inspect
import re
import sys
from types import ModuleType

from mailbridge.domain import closing, delivery, filing, intake, refund

__all__ = ["page"]

_MACHINES: tuple[ModuleType, ...] = (filing, intake, refund, delivery, closing)
"""In the order in which one exchange meets them."""

_HEAD = """\
# State machines

Every effect of mailbridge outside its journal has a row there, and every row one of these five
machines. A state is changed by an event of its table or not at all; the journal writes the move
down before and after the outside world is touched.

This page is drawn from the tables: `python -m mailbridge.domain.diagrams > docs/state-machines.md`.
"""


def page() -> str:
    """The whole page, as it stands in `docs/`."""
    return "\n".join((_HEAD, *(_section(module) for module in _MACHINES)))


def _section(module: ModuleType) -> str:
    title, theory, rules = _words(module)
    machine = module.MACHINE
    return (
        f"## {machine.name.capitalize()}\n\n{title}\n\n{theory}\n\n"
        f"```mermaid\n{machine.diagram()}```\n\n{rules}\n"
    )


def _words(module: ModuleType) -> tuple[str, str, str]:
    """Title, the first two sentences of the theory, and the rules of a machine's file."""
    title, _, rest = inspect.cleandoc(module.__doc__ or "").partition("\n\n")
    theory, _, rules = rest.partition("\n\n")
    sentences = re.split(r"(?<=\.)\s+(?=[A-Z])", theory.removeprefix("Theory. "))
    return title, " ".join(sentences[:2]), rules.replace("Rules kept here:", "Rules:\n")


if __name__ == "__main__":
    sys.stdout.write(page())
