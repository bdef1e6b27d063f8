"""Discussions of the API as values of the domain.

The rule: a word the service adds (a graduation, a kind of sender, a status) is kept as it came
and maps to a safe member; an id or a time of creation that does not parse makes this one
discussion a fault. A sender nobody knows is told by his id where that is the customer's or the
seller's own, and else counts as a customer, who is never overlooked.

Pure. Orders are `orders`' business, names of topics `typologies`'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mailbridge.domain.discussion import (
    Author,
    AuthorKind,
    Discussion,
    DiscussionKind,
    Message,
    MessageFile,
    Status,
    Treatment,
)
from mailbridge.domain.wording import clean_line
from mailbridge.marketplace.octopia import models
from mailbridge.marketplace.octopia.bodies import plain

__all__ = ["CHANNELS", "CUSTOMER", "STAFF", "author_kind", "discussion", "file_name"]

CUSTOMER = "Customer"
STAFF = "GrcOperator"
_SENDERS = {
    "customer": AuthorKind.CUSTOMER,
    "seller": AuthorKind.SELLER,
    "grcoperator": AuthorKind.OPERATOR,
    "operator": AuthorKind.OPERATOR,
    "automatic": AuthorKind.AUTOMATIC,
}
CHANNELS: Mapping[str, str] = {"CDISFR": "Cdiscount"}
"""Sales channels by code, as their customers know them: the only code that is on record."""
_CDISCOUNT = "CDIS"
"""How the codes of Cdiscount's own channels begin (CDISFR)."""
_TREATMENTS = {"totreat": Treatment.TO_TREAT, "treated": Treatment.TREATED}
_NOT_ESCALATED = frozenset({"", "discussion"})


def author_kind(sender: models.Sender, whole: models.Discussion) -> AuthorKind:
    """Who wrote, by the word the service gives; else by his id."""
    word = sender.user_type.strip().lower()
    if (kind := _SENDERS.get(word)) is not None:
        return kind
    if sender.user_id and sender.user_id == whole.customer_id:
        return AuthorKind.CUSTOMER
    if sender.user_id and sender.user_id == whole.seller_id:
        return AuthorKind.SELLER
    return AuthorKind.CUSTOMER if word or sender.user_id else AuthorKind.AUTOMATIC


def discussion(
    whole: models.Discussion,
    topics: Mapping[str, str],
    files: Mapping[str, Sequence[str]],
) -> Discussion:
    """`topics` names sub-typologies; `files` the files of messages that do not name their own."""
    created = whole.created_at.at
    order_number = (whole.order_seller_id or whole.order_reference).strip() or None
    kind = _kind(whole, order_number)
    status = _status(whole.is_open)
    messages = tuple(
        sorted((_message(one, whole, files) for one in whole.messages), key=lambda one: one.sent_at)
    )
    # The API tells of no closing time. `updatedAt` moves when one closes, and is seen to lie
    # before `createdAt`: it is passed on as it stands, not bent into order.
    updated = None if whole.updated_at is None else whole.updated_at.at
    closed = None if whole.closed_at is None else whole.closed_at.at
    last = messages[-1].sent_at if messages else created
    graduation = whole.graduation.strip()
    topic = whole.sub_typology_code.strip()
    return Discussion(
        id=whole.discussion_id,
        reference=_reference(whole),
        kind=kind,
        status=status,
        created_at=created,
        subject=whole.subject,
        updated_at=updated,
        closed_at=(closed or updated or last) if status is Status.CLOSED else None,
        order_number=order_number,
        product_reference=(whole.offer_id or whole.product_id).strip() or None,
        claim_type=(topic or None) if kind is DiscussionKind.CLAIM else None,
        raw_status=whole.status.strip() if status is Status.UNKNOWN else "",
        topic=topics.get(topic.lower(), topic),
        escalation="" if graduation.lower() in _NOT_ESCALATED else graduation,
        sales_channel=whole.sales_channel.strip(),
        treatment=_TREATMENTS.get(whole.status.strip().lower()),
        messages=messages,
    )


def _reference(whole: models.Discussion) -> str:
    """Cdiscount's number, by which the SOAP service knew it, else the id.

    Another channel's numbers are its own, and may be the same ones.
    """
    number = whole.sales_channel_external_reference.strip()
    channel = whole.sales_channel.strip().upper()
    return (
        number
        if number and (not channel or channel.startswith(_CDISCOUNT))
        else whole.discussion_id
    )


def _kind(whole: models.Discussion, order_number: str | None) -> DiscussionKind:
    if whole.graduation.strip().lower() == "claim":
        return DiscussionKind.CLAIM
    match whole.typology_code.strip().lower():
        case "offer":
            return DiscussionKind.OFFER_QUESTION
        case "order":
            return DiscussionKind.ORDER_QUESTION
        case _:
            about_offer = order_number is None and bool(whole.offer_id or whole.product_id)
            return DiscussionKind.OFFER_QUESTION if about_offer else DiscussionKind.ORDER_QUESTION


def _status(is_open: bool | None) -> Status:
    if is_open is None:
        return Status.UNKNOWN
    return Status.OPEN if is_open else Status.CLOSED


def _message(
    one: models.Message, whole: models.Discussion, files: Mapping[str, Sequence[str]]
) -> Message:
    kind = author_kind(one.sender, whole)
    word = one.sender.user_type.strip()
    names = (
        files.get(one.message_id, ())
        if one.attachments is None
        else [file_name(file.name, file.file_format) for file in one.attachments]
    )
    return Message(
        raw_time=one.created_at.raw,
        sent_at=one.created_at.at,
        # There are no names; a word that is not known is all there is to show.
        author=Author(kind, "" if word.lower() in _SENDERS else clean_line(word, 60)),
        text=plain(one.body),
        ident=one.message_id,
        files=tuple(MessageFile(name, str(index)) for index, name in enumerate(names)),
        seen=one.has_read is True,
    )


def file_name(name: str, file_format: str) -> str:
    """A file's name with its ending, fit for a header: the API keeps the two apart."""
    ending = clean_line(file_format, 10).strip(". ").lower()
    base = clean_line(name.replace("/", "-").replace("\\", "-"), 120).strip(". ")
    if not ending or base.lower().endswith(f".{ending}"):
        return base or "fichier"
    return f"{base or 'fichier'}.{ending}"
