"""From a reply template and a case to the text for the customer, or to why there is none.

The rule: nothing is guessed. A value that nobody gave, a name the template does not take, an
order that is not known: each is an outcome that names what is missing. What an agent gives is
data, never a template. Beside its own words a text has a greeting and a closing phrase only
where nothing else in the reply says them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from mailbridge.domain.amount import parse_amount
from mailbridge.domain.wording import clean_line, clean_text, fold_line
from mailbridge.mail.rendering import TemplateBroken
from mailbridge.mail.reply_catalogue import Catalogue, Need, ReplyTemplate, Variable
from mailbridge.mail.reply_values import ReplyValues
from mailbridge.mail.wordings import Wording

__all__ = ["BadValues", "Lacking", "RenderedReply", "render_reply"]

_NBSP = "\u00a0"
_VALUE_LIMIT = 500
_NO_MORE_THAN = 3
"""Things named in a row; what is more is counted."""


@dataclass(frozen=True, slots=True)
class RenderedReply:
    """The text that takes the place of the command."""

    text: str
    template: ReplyTemplate


@dataclass(frozen=True, slots=True)
class Lacking:
    """The template is about something that this discussion does not have."""

    template: ReplyTemplate
    need: Need


@dataclass(frozen=True, slots=True)
class BadValues:
    """Values that must be given and are not, and given ones that the template does not take."""

    template: ReplyTemplate
    missing: tuple[Variable, ...]
    unknown: tuple[str, ...]
    meant: tuple[str, ...]
    """For each unknown one the name that was meant, empty where none is near."""

    def completed(self, given: Mapping[str, str]) -> str:
        """The template's name and values as they could be given: `colis transporteur="…"`."""
        right = {k: v for k, v in given.items() if k not in self.unknown}
        values = [f'{name}="{value}"' for name, value in right.items()]
        values += [f'{variable.name}="…"' for variable in self.missing]
        return " ".join((self.template.name, *values))


def render_reply(
    catalogue: Catalogue,
    template: ReplyTemplate,
    given: Mapping[str, str],
    values: ReplyValues,
    *,
    zone: ZoneInfo,
    hello: bool = True,
    bye: bool = True,
) -> RenderedReply | Lacking | BadValues:
    """The text of one template for one case.

    `given` are the agent's values by name. `hello` and `bye` say whether the text has to greet
    and to close by itself. Raises TemplateBroken for a fault of the template's own.
    """
    for need, has in ((Need.ORDER, values.order), (Need.PARCEL, values.parcel)):
        if need in template.needs and has is None:
            return Lacking(template, need)
    context = {
        **values.context(),
        **_functions(template.language, zone),
        "hello": _hello(template.language, values) if hello else "",
        "bye": _bye(template.language, values) if bye else "",
    }
    told = _told(catalogue, template, given, context)
    if isinstance(told, BadValues):
        return told
    text = _typeset(catalogue.templates.render_strict(template.file, {**context, **told}), template)
    if not text:
        raise TemplateBroken(template.file, 0, "gives no text for this discussion")
    return RenderedReply(text, template)


def _told(
    catalogue: Catalogue,
    template: ReplyTemplate,
    given: Mapping[str, str],
    context: Mapping[str, Any],
) -> dict[str, Any] | BadValues:
    """Every variable's value: given, else from its source, else its default."""
    names = [variable.name for variable in template.variables]
    folded = {_folded(name): value for name, value in given.items()}
    unknown = tuple(name for name in given if _folded(name) not in names)
    told: dict[str, Any] = {}
    missing: list[Variable] = []
    for variable in template.variables:
        value: Any = clean_line(folded.get(variable.name, ""), _VALUE_LIMIT)
        if not value and variable.source:
            try:
                value = catalogue.templates.expression(variable.source, context)
            except ValueError as error:
                reason = f"variables.{variable.name}.from: {error}"
                raise TemplateBroken(template.file, 0, reason) from None
        if value in (None, "", ()) or (isinstance(value, Decimal) and not value):
            value = variable.default
        if value is None:
            missing.append(variable)
        else:
            told[variable.name] = value
    if missing or unknown:
        near = tuple(
            next(iter(difflib.get_close_matches(_folded(name), names, n=1)), "") for name in unknown
        )
        return BadValues(template, tuple(missing), unknown, near)
    return told


def _folded(name: str) -> str:
    """A value's name as templates write it: `délai` is `delai`."""
    return re.sub(r"[^a-z0-9_]", "", fold_line(name).casefold().translate(_PLAIN))


_PLAIN = str.maketrans("àâäçéèêëîïôöùûüÿñ", "aaaceeeeiioouuuyn")


def _functions(language: str, zone: ZoneInfo) -> dict[str, Any]:
    """The filters, in the language of the template. What is in words already stays as it is."""
    wording = Wording(language, zone)

    def day(value: object) -> str:
        return wording.day(value) if isinstance(value, datetime) else str(value)

    def moment(value: object) -> str:
        return wording.moment(value) if isinstance(value, datetime) else str(value)

    def money(value: object) -> str:
        amount = value if isinstance(value, Decimal) else parse_amount(str(value))
        return wording.money(amount) if amount is not None else str(value)

    def listed(things: Sequence[object] | str) -> str:
        return things if isinstance(things, str) else _listed([str(t) for t in things], language)

    return {"day": day, "moment": moment, "money": money, "listed": listed}


def _listed(names: Sequence[str], language: str) -> str:
    """`a, b et c`; of a long list the first ones and how many there are besides."""
    shown = [name for name in names if name]
    more = len(shown) - _NO_MORE_THAN
    if more == 1:
        more = 0  # one more name is no longer than its count
    if more > 0:
        french = f"{more} autres articles"
        shown = [*shown[:_NO_MORE_THAN], french if language == "fr" else f"{more} other items"]
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} {'et' if language == 'fr' else 'and'} {shown[-1]}"


def _hello(language: str, values: ReplyValues) -> str:
    name = f" {values.customer}" if values.customer.name else ""
    return f"{'Bonjour' if language == 'fr' else 'Hello'}{name},"


def _bye(language: str, values: ReplyValues) -> str:
    shop = values.shop.name
    if language == "fr":
        who = f"L'équipe {shop}" if shop else "Votre service client"
        return f"Bien cordialement,\n{who}"
    who = f"The {shop} team" if shop else "Your customer service"
    return f"Kind regards,\n{who}"


def _typeset(text: str, template: ReplyTemplate) -> str:
    """Blank lines as a letter has them, and the no-break spaces that French wants."""
    if template.language == "fr":
        text = re.sub(r"« ", f"«{_NBSP}", text)
        text = re.sub(r" ([»:;?!])", rf"{_NBSP}\1", text)
    lines = (line.rstrip(" \t") for line in clean_text(text).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
