"""Reply templates tried on invented cases, before a customer's answer depends on them."""

from __future__ import annotations

from collections.abc import Mapping
from zoneinfo import ZoneInfo

from mailbridge.domain.identity import Identity
from mailbridge.mail.outgoing import check_outgoing
from mailbridge.mail.rendering import TemplateBroken
from mailbridge.mail.reply_catalogue import Catalogue, Need, ReplyTemplate
from mailbridge.mail.reply_rendering import BadValues, Lacking, RenderedReply, render_reply
from mailbridge.mail.reply_values import ReplyValues, reply_values
from mailbridge.mail.samples import SAMPLE_ORDER, SAMPLE_THREAD

__all__ = ["sample_case", "stand_ins", "try_replies", "try_reply"]


def sample_case(shop: str, *, agent: str = "", with_order: bool = True) -> ReplyValues:
    """An invented customer of this shop, with a claim about an order or a question before one."""
    return reply_values(
        customer=SAMPLE_THREAD.customer,
        shop=shop,
        agent=agent,
        marketplace="Cdiscount",
        kind=SAMPLE_THREAD.kind if with_order else "offer_question",
        title="Colis non reçu",
        claim=SAMPLE_THREAD.claim_type or "" if with_order else "",
        started_at=SAMPLE_THREAD.started_at,
        order=SAMPLE_ORDER if with_order else None,
    )


def stand_ins(template: ReplyTemplate, *, optional: bool = False) -> Mapping[str, str]:
    """Something for each value that an agent must give, or for all of them."""
    return {
        variable.name: "…"
        for variable in template.variables
        if optional or (variable.default is None and not variable.source)
    }


def try_replies(catalogue: Catalogue, identity: Identity, zone: ZoneInfo) -> list[TemplateBroken]:
    """All that is wrong with any template; of one of them its first fault."""
    listing = catalogue.listed()
    faults = list(listing.faults)
    for template in listing.templates:
        try:
            try_reply(catalogue, template, identity, zone)
        except TemplateBroken as broken:
            faults.append(broken)
    return faults


def try_reply(
    catalogue: Catalogue, template: ReplyTemplate, identity: Identity, zone: ZoneInfo
) -> None:
    """Raises TemplateBroken for the first invented case that a template does not stand."""
    for with_order in (True, False) if Need.ORDER not in template.needs else (True,):
        case = sample_case("Maison Brindille", agent="Paul", with_order=with_order)
        for optional in (False, True):
            given = stand_ins(template, optional=optional or not with_order)
            made = render_reply(catalogue, template, given, case, zone=zone)
            reason = _reason(made, identity)
            if reason:
                raise TemplateBroken(template.file, 0, reason)


def _reason(made: RenderedReply | Lacking | BadValues, identity: Identity) -> str:
    match made:
        case BadValues(missing=missing):
            names = ", ".join(f"variables.{variable.name}.from" for variable in missing)
            return f"{names}: gives nothing for an order that has everything"
        case Lacking(need=need):
            return f"needs: {need} is not in the sample"
        case RenderedReply(text=text):
            leak = check_outgoing(text, identity)
            return f"shows what a customer must never see ({leak})" if leak else ""
