"""Reply templates asked for in a reply: its text, with theirs in their places.

A template is filled in when the reply is read, out of what the journal knows at that moment: a
notice then shows the words that would leave, every check is made on them, and a reply that is
released later goes as it stood. What cannot be filled in is a fault of the reply.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from mailbridge.bridge.context import Context
from mailbridge.bridge.uptake import ORDER, shown_channel
from mailbridge.domain.command import Command, Parsed
from mailbridge.domain.notice import HoldReason
from mailbridge.domain.opening import is_opening
from mailbridge.domain.order import Order
from mailbridge.domain.vocabulary import Verb, Vocabulary
from mailbridge.journal.tables import DiscussionRow
from mailbridge.journal.transaction import Transaction
from mailbridge.mail.frame import frame_for
from mailbridge.mail.rendering import TemplateBroken
from mailbridge.mail.reply_catalogue import Catalogue, Need, ReplyTemplate, Unknown, Variable
from mailbridge.mail.reply_rendering import BadValues, Lacking, RenderedReply, render_reply
from mailbridge.mail.reply_values import ReplyValues, reply_values

__all__ = [
    "Fault",
    "Filled",
    "case_values",
    "fault_words",
    "fill",
    "fill_about",
    "fill_for_order",
    "fill_one",
    "known_order",
]

Fault = tuple[HoldReason, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Filled:
    """A reply whose templates have become text."""

    text: str
    commands: tuple[Command, ...]
    """As written, and a close where a template asks for one."""


async def fill(
    ctx: Context, discussion: DiscussionRow, sender: str, read: Parsed
) -> Filled | Fault:
    """The text of a reply with its templates filled in, or why it is held."""
    asked = [piece for piece in read.pieces if isinstance(piece, Command)]
    if not asked:
        return Filled(read.text_without_commands, read.commands)
    async with ctx.read() as tx:
        order = await known_order(tx, discussion.order_number)
    values = case_values(ctx, discussion, order, sender)
    # Reading and compiling files takes milliseconds; other accounts need not wait for them.
    return await asyncio.to_thread(_fill, ctx, discussion, sender, read, values)


async def known_order(tx: Transaction, number: str | None) -> Order | None:
    """The order as last read; None where there is none, or it was not read yet."""
    row = await tx.discussions.order(number) if number else None
    return ORDER.validate_json(row.data) if row else None


def case_values(
    ctx: Context, discussion: DiscussionRow, order: Order | None, sender: str
) -> ReplyValues:
    """What templates may use in answers from this address in this discussion."""
    frame = frame_for(ctx.config, sender)
    return reply_values(
        customer=discussion.customer,
        shop=frame.shop,
        agent=frame.agent,
        marketplace=ctx.composer.window(discussion.sales_channel),
        kind=discussion.kind,
        title=discussion.title,
        claim=discussion.claim_type or "",
        started_at=discussion.created_at,
        order=order,
    )


async def fill_for_order(
    ctx: Context, number: str, asked: Command, sender: str
) -> RenderedReply | Fault | None:
    """A template filled in for an order and its newest discussion, as if it were alone in a
    reply of `sender`; None for an order that the journal does not hold."""
    async with ctx.read() as tx:
        order = await known_order(tx, number)
        discussions = await tx.discussions.of_order(number)
    if order is None:
        return None
    newest = discussions[-1] if discussions else None
    return await fill_about(ctx, order, newest, asked, sender)


async def fill_about(
    ctx: Context,
    order: Order,
    discussion: DiscussionRow | None,
    asked: Command,
    sender: str,
    *,
    first: bool = False,
) -> RenderedReply | Fault:
    """A template filled in for an order, as if it were alone in a mail of `sender`; `first` for
    one that answers nothing."""
    frame = frame_for(ctx.config, sender)
    if discussion is not None:
        values = case_values(ctx, discussion, order, sender)
    else:
        values = reply_values(
            customer=order.customer_name,
            shop=frame.shop,
            agent=frame.agent,
            marketplace=ctx.composer.window(shown_channel(ctx, order)),
            kind="",
            title="",
            claim="",
            started_at=order.created_at,
            order=order,
        )
    return await asyncio.to_thread(
        fill_one,
        ctx.composer.catalogue,
        ctx.zone,
        asked,
        values,
        hello=not frame.greeting.text.strip(),
        bye=not frame.signature.text.strip(),
        has_order=True,
        has_discussion=not first,
    )


def fault_words(fault: Fault) -> str:
    """Why a template cannot be filled in, for an operator."""
    reason, facts = fault
    match reason:
        case HoldReason.UNKNOWN_TEMPLATE:
            near = facts["near"]
            return "there is no such template" + (f"; did you mean {near}?" if near else "")
        case HoldReason.TEMPLATE_NEEDS:
            return f"“{facts['title']}” needs {_NEEDED[facts['what']]}"
        case HoldReason.TEMPLATE_VALUES:
            missing, unknown = facts["missing"], facts["unknown"]
            parts = (missing and f"missing: {missing}", unknown and f"not known: {unknown}")
            return f"“{facts['title']}”: {'; '.join(filter(None, parts))}"
        case _:
            return facts.get("what", str(reason))


_NEEDED = {
    "order": "an order, and there is none",
    "details": "the order's details, which have not been read yet",
    "parcel": "a parcel, and the order shows none",
    "discussion": "a discussion: it speaks of one or closes it, and is for answers only",
}


def _fill(
    ctx: Context, discussion: DiscussionRow, sender: str, read: Parsed, values: ReplyValues
) -> Filled | Fault:
    frame = frame_for(ctx.config, sender)
    texts: list[str] = []
    closing: ReplyTemplate | None = None
    for place, piece in enumerate(read.pieces):
        if isinstance(piece, str):
            texts.append(piece)
            continue
        made = fill_one(
            ctx.composer.catalogue,
            ctx.zone,
            piece,
            values,
            hello=place == 0 and not frame.greeting.text.strip(),
            bye=place == len(read.pieces) - 1 and not frame.signature.text.strip(),
            has_order=discussion.order_number is not None,
            has_discussion=not is_opening(discussion.id),
        )
        if isinstance(made, tuple):
            return made
        texts.append(made.text)
        if made.template.closes and closing is None:
            closing = made.template
            line = piece.line
    commands = read.commands
    if closing is not None:
        opposite = next((c for c in commands if c.verb in (Verb.REOPEN, Verb.ORDER)), None)
        if opposite is not None:
            return HoldReason.CONTRADICTION, {"line": line, "other": opposite.line}
        if not any(c.verb is Verb.CLOSE for c in commands):
            told = {"template": closing.title}
            commands = (*commands, Command(Verb.CLOSE, line=line, options=told))
    return Filled("\n\n".join(texts), commands)


def fill_one(
    catalogue: Catalogue,
    zone: ZoneInfo,
    asked: Command,
    values: ReplyValues,
    *,
    hello: bool,
    bye: bool,
    has_order: bool,
    has_discussion: bool = True,
) -> RenderedReply | Fault:
    """One template, or why it cannot be filled in, as a notice tells it."""
    line = {"line": asked.line}
    try:
        template = catalogue.find(asked.argument)
        if isinstance(template, Unknown):
            return HoldReason.UNKNOWN_TEMPLATE, {**line, "near": ", ".join(template.near)}
        if template.needs_discussion and not has_discussion:
            facts = {"title": template.title, "what": "discussion"}
            return HoldReason.TEMPLATE_NEEDS, {**line, **facts}
        made = render_reply(
            catalogue, template, asked.options, values, zone=zone, hello=hello, bye=bye
        )
    except TemplateBroken as broken:
        return HoldReason.TEMPLATE_BROKEN, {"name": broken.name, "what": str(broken)}
    match made:
        case RenderedReply():
            return made
        case Lacking(template, need):
            unread = need is Need.ORDER and has_order
            facts = {"title": template.title, "what": "details" if unread else str(need)}
            return HoldReason.TEMPLATE_NEEDS, {**line, **facts}
        case BadValues(template, missing, unknown, meant):
            word = Vocabulary.name(Verb.TEMPLATE)
            facts = {
                "title": template.title,
                "missing": ", ".join(_described(variable) for variable in missing),
                "unknown": _doubted(unknown, meant),
                "completed": f"!{word} {made.completed(asked.options)}",
            }
            return HoldReason.TEMPLATE_VALUES, {**line, **facts}


def _described(variable: Variable) -> str:
    return f"{variable.name} ({variable.say})"


def _doubted(unknown: Sequence[str], meant: Sequence[str]) -> str:
    pairs = zip(unknown, meant, strict=True)
    return ", ".join(f"{name} ({near} ?)" if near else name for name, near in pairs)
