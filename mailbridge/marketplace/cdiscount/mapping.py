"""Elements of an answer as values of the domain: discussions, relay addresses, closing.

The rule: what the service may add (a status, a claim type, a kind of sender) is kept as it came
and maps to a safe member; what identity or money is built on (an id, a timestamp, an amount)
must parse, or the one discussion or order concerned is a fault and the others go on.

Pure. Orders are in `orders`, money in `money`; what an element's absence means is `reading`'s
business, clock times are `times`'.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mailbridge.domain.discussion import (
    Author,
    AuthorKind,
    Discussion,
    DiscussionKind,
    Message,
    Status,
)
from mailbridge.marketplace.cdiscount.envelope import judge, verdict
from mailbridge.marketplace.cdiscount.reading import Node
from mailbridge.marketplace.cdiscount.times import resolve
from mailbridge.marketplace.port import (
    UNNAMED,
    CloseAnswer,
    ContractError,
    Listing,
    RelayAnswer,
    RelayStatus,
)

__all__ = [
    "Context",
    "author",
    "close_answers",
    "discussion",
    "instant",
    "joined",
    "listing",
    "mail_guid",
    "relay_address",
    "relay_answers",
    "shop_key",
]

_CUSTOMER_SERVICE = "service client cdiscount"
_SENDER_TYPES = {
    "Customer": AuthorKind.CUSTOMER,
    "Seller": AuthorKind.SELLER,
    "Automatic": AuthorKind.AUTOMATIC,
    "GrcOperator": AuthorKind.OPERATOR,
}
_STATUSES = {"Open": Status.OPEN, "Closed": Status.CLOSED}
_RELAY_STATUSES = {
    "Success": RelayStatus.OK,
    "DiscussionClosed": RelayStatus.CLOSED,
    "DiscussionNotFound": RelayStatus.NOT_FOUND,
}
_CLOSE_ANSWERS = {
    "DiscussionClosed": CloseAnswer.CLOSED,
    "AlreadyClosed": CloseAnswer.ALREADY_CLOSED,
    "DiscussionNotFound": CloseAnswer.NOT_FOUND,
    "UnauthorizedLastAnswer": CloseAnswer.LAST_ANSWER_NOT_OURS,
    "UnauthorizedCancelPending": CloseAnswer.CANCEL_PENDING,
}
# RFC 5321 section 4.1.2, dot-atom local part and plain domain only: what goes into RCPT TO.
_ADDRESS = re.compile(
    r"(?=.{3,254}\Z)[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64})*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Context:
    """What a mapper must know beside the answer."""

    now: datetime
    """The service's clock when it answered (aware): nothing it tells is newer."""
    shops: frozenset[str] = frozenset()
    """The shop's names as `shop_key`."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Words that no error may show."""


def shop_key(name: str) -> str:
    """A display name as names are compared: letter case and blanks do not count."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def author(sender: str, sender_type: str, shops: Collection[str]) -> Author:
    """Who wrote a message: by SenderType where the service says it, else by display name.

    A name is all there is before 2020: the shop's own, customer care's, or none at all for the
    marketplace's robot. Anybody else is a customer.
    """
    kind = _SENDER_TYPES.get(sender_type)
    if kind is None:
        key = shop_key(sender)
        if not key:
            kind = AuthorKind.AUTOMATIC
        elif key == shop_key(_CUSTOMER_SERVICE):
            kind = AuthorKind.OPERATOR
        else:
            kind = AuthorKind.SELLER if key in shops else AuthorKind.CUSTOMER
    return Author(kind, sender)


def relay_address(text: str) -> str | None:
    """The address if mail to it can reach a customer, else None."""
    address = text.strip()
    local, _, domain = address.lower().partition("@")
    # noreply@clemarche.com stands in some orders in the place of the customer's address.
    if _ADDRESS.fullmatch(address) is None or local in ("noreply", "no-reply"):
        return None
    return None if domain.endswith(".invalid") else address


# Discussions


def listing(
    result: Node, names: tuple[str, str], kind: DiscussionKind | None, context: Context
) -> Listing:
    """The discussions of one list (`names`: its element and its items').

    `kind` None: told from the discussion itself. An answer that has discussions and fails all
    the same gives both: the discussions, and a fault with the service's words.
    """
    found: list[Discussion] = []
    faults: list[tuple[str, str]] = []
    nodes = list(result.items(*names))
    if nodes:
        error = verdict(result, context.secrets)
        if error is not None:
            faults.append(("", f"{result.where}: {error}"))
    else:
        judge(result, context.secrets)
    for node in nodes:
        try:
            found.append(discussion(node, kind, context))
        except ContractError as error:
            faults.append((_id_of(node) or UNNAMED, str(error)))
    return Listing(tuple(found), joined(faults))


def joined(faults: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Faults by key; what several say of one stands in one line."""
    found: dict[str, str] = {}
    for key, words in faults:
        found[key] = f"{found[key]}; {words}" if key in found else words
    return found


def _id_of(node: Node) -> str:
    try:
        number = node.integer("Id")
    except ContractError:
        return ""
    return "" if number is None else str(number)


def discussion(node: Node, kind: DiscussionKind | None, context: Context) -> Discussion:
    """One discussion; ContractError where an id or a time of it does not parse."""
    number = node.integer("Id")
    if number is None:
        raise node.broken("Id", "missing")
    node.where = f"{node.name} {number}"
    created_raw = node.time("CreationDate")
    if created_raw is None:
        raise node.broken("CreationDate", "missing")
    created = resolve([created_raw], not_after=context.now)[0]
    messages = _messages(node, created, context)
    order_number = node.text("OrderNumber").strip() or None
    ean, reference = node.text("ProductEAN").strip(), node.text("ProductSellerReference").strip()
    if kind is None:
        offer = order_number is None and bool(ean or reference)
        kind = DiscussionKind.OFFER_QUESTION if offer else DiscussionKind.ORDER_QUESTION
    status = node.text("Status").strip()
    last = messages[-1].sent_at if messages else created
    return Discussion(
        id=str(number),
        reference=str(number),
        kind=kind,
        status=_STATUSES.get(status, Status.UNKNOWN),
        created_at=created,
        subject=node.text("Subject"),
        updated_at=instant(node, "LastUpdatedDate", created, context),
        closed_at=instant(node, "CloseDate", last, context),
        order_number=order_number,
        product_ean=ean or None,
        product_reference=reference or None,
        # A field that can't be nil carries a claim type for everything (GetDiscussionList).
        claim_type=(node.text("ClaimType").strip() or None)
        if kind is DiscussionKind.CLAIM
        else None,
        raw_status="" if status in _STATUSES else status,
        messages=messages,
    )


def _messages(node: Node, created: datetime, context: Context) -> tuple[Message, ...]:
    nodes = list(node.items("Messages", "Message"))
    times: list[datetime] = []
    for index, item in enumerate(nodes, start=1):
        item.where = f"{node.where}/Message {index}"
        time = item.time("Timestamp")
        if time is None:
            raise item.broken("Timestamp", "missing")
        times.append(time)
    # The discussion's own stamp may be some milliseconds past its first message's.
    hints = {"not_before": created - timedelta(minutes=1), "not_after": context.now}
    instants = resolve(times, **hints)
    if instants and instants[0] > instants[-1] + timedelta(hours=2):  # newest first, after all
        nodes.reverse()
        instants = resolve(reversed(times), **hints)
    messages = [
        Message(
            raw_time=item.text("Timestamp").strip(),
            sent_at=instant,
            author=author(item.text("Sender"), item.text("SenderType").strip(), context.shops),
            text=item.text("Content").replace("\r\n", "\n").replace("\r", "\n"),
        )
        for item, instant in zip(nodes, instants, strict=True)
    ]
    return tuple(sorted(messages, key=lambda message: message.sent_at))


def instant(node: Node, name: str, not_before: datetime, context: Context) -> datetime | None:
    """A time of the past, None if absent; ContractError if it is none."""
    time = node.time(name)
    if time is None:
        return None
    return resolve([time], not_before=not_before, not_after=context.now)[0]


# Relay addresses and closing


def relay_answers(result: Node, asked: Iterable[str], context: Context) -> dict[str, RelayAnswer]:
    """One answer for each discussion asked about; left out or unreadable: UNKNOWN."""
    answers = {key: RelayAnswer(RelayStatus.UNKNOWN, None) for key in asked}
    nodes = list(result.items("DiscussionMailList", "DiscussionMail"))
    if not nodes:
        judge(result, context.secrets)
    for key, status, node in _statuses(nodes):
        if key in answers:
            answers[key] = RelayAnswer(
                _RELAY_STATUSES.get(status, RelayStatus.UNKNOWN),
                relay_address(node.text("MailAddress")),
            )
    return answers


def close_answers(result: Node, asked: Iterable[str], context: Context) -> dict[str, CloseAnswer]:
    """One answer for each discussion to be closed; `OperationSuccess` is true whatever happened."""
    answers = dict.fromkeys(asked, CloseAnswer.UNKNOWN)
    nodes = list(result.items("CloseDiscussionResultList", "CloseDiscussionResult"))
    if not nodes:
        judge(result, context.secrets)
    for key, status, _ in _statuses(nodes):
        if key in answers:
            answers[key] = _CLOSE_ANSWERS.get(status, CloseAnswer.UNKNOWN)
    return answers


def _statuses(nodes: Iterable[Node]) -> Iterable[tuple[str, str, Node]]:
    for node in nodes:
        try:
            number = node.integer("DiscussionId")
        except ContractError:
            continue  # whoever was asked about and has no answer stays UNKNOWN
        yield str(number), node.text("OperationStatus").strip(), node


def mail_guid(result: Node, context: Context) -> str | None:
    """The address for an order. Failing without a word means there is none (unknown order)."""
    address = relay_address(result.text("MailGuid"))
    if address is not None:
        return address
    silent = not result.text("ErrorMessage").strip() and not any(result.items("ErrorList", "Error"))
    if silent and result.boolean("OperationSuccess") is False:
        return None
    judge(result, context.secrets)
    return None
