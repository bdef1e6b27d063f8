"""Every call about discussions: what is asked in, what the books say out.

Effects happen in the books exactly as through the older door: an answer is a message by the
seller, closing keeps the same rules.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mailbridge.domain.discussion import AuthorKind, DiscussionKind
from mailbridge.sandbox.books import BookedDiscussion, BookedFile, BookedMessage, Books, CloseStatus
from mailbridge.sandbox.octopia.asking import Answer, Asked, Json, Problem, read_time, required
from mailbridge.sandbox.octopia.documents import (
    attachment_document,
    changed_at,
    customer_id,
    discussion_document,
    graduation,
    message_document,
    process_status,
    topic,
)
from mailbridge.sandbox.octopia.pages import numbered_page
from mailbridge.sandbox.octopia.rules import Rules

__all__ = ["DiscussionCalls", "SentMessage"]

SIX_MONTHS = timedelta(days=184)
SHORTEST, LONGEST = 13, 5000
MOST_FILES = 3
MOST_BYTES = 4_000_000
FORMATS = frozenset({"png", "gif", "bmp", "jpg", "jpeg", "tif", "pdf", "doc", "docx", "xls"})
_RECEIVERS = {"Customer": AuthorKind.CUSTOMER, "GrcOperator": AuthorKind.OPERATOR}
_TYPOLOGIES: Mapping[str, tuple[str, frozenset[str], str]] = {
    # As far as the guides show them: who may open it, in which states of the order.
    "missingItemInProduct": ("Customer", frozenset({"Shipped", "Delivered"}), "Pièce manquante"),
    "missingProductsInOrder": ("Customer", frozenset({"Shipped", "Delivered"}), "Colis incomplet"),
    "orderCancellation": ("Customer", frozenset({"Shipped", "Delivered"}), "Annulation"),
    "orderModification": ("Customer", frozenset({"Shipped", "Delivered"}), "Modification"),
    "orderNotShipped": (
        "Customer",
        frozenset({"Accepted", "InPreparation", "Shipped", "Delivered"}),
        "Commande non expédiée",
    ),
    "printReceipt": (
        "Customer",
        frozenset({"Shipped", "Delivered", "Cancelled"}),
        "Demande de facture",
    ),
    "productIsDamaged": ("Customer", frozenset({"Shipped", "Delivered"}), "Produit abîmé"),
    "productIsNotWorking": ("Customer", frozenset({"Shipped", "Delivered"}), "Produit en panne"),
    "wrongProductReceived": ("Customer", frozenset({"Shipped", "Delivered"}), "Mauvais produit"),
    "sellerInformation": (
        "Seller",
        frozenset({"Accepted", "InPreparation", "Shipped", "Delivered"}),
        "Information du vendeur",
    ),
}
# The code is made up: none of an offer is on record.
_OFFER_TYPOLOGIES = {"productInformation": "Information sur le produit"}
_CLOSE_PROBLEMS = {
    CloseStatus.CANCEL_PENDING: "A cancellation request is pending.",
    CloseStatus.LAST_ANSWER: "The seller has not answered.",
}


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message the seller posted."""

    discussion_id: int
    text: str
    files: tuple[BookedFile, ...]


class DiscussionCalls:
    """Calls about the discussions of one seller."""

    def __init__(self, books: Books, rules: Rules, seller_id: str, sent: list[SentMessage]) -> None:
        """`sent` is added to with each message taken from the seller."""
        self._books = books
        self._rules = rules
        self._seller_id = seller_id
        self._sent = sent

    # --- reading -----------------------------------------------------------------------------

    def listed(self, asked: Asked) -> Answer:
        """GET /discussions; oldest change first, so that pages shift while something changes."""
        query = asked.query
        now = self._books.clock()
        end = read_time(query, "updatedAtMax") or now
        begin = read_time(query, "updatedAtMin") or end - SIX_MONTHS
        if end - begin > SIX_MONTHS:
            raise Problem.of("updatedAtMin", "The search period must not exceed 6 months.")
        included = query.get("includeMessages")
        if included not in {None, "FirstMessage", "LastMessage"}:
            raise Problem.of("includeMessages", f"The value '{included}' is not valid.")
        found = [d for d in self._books.discussions if self._matches(d, query, begin, end)]
        found.sort(key=changed_at, reverse=query.get("sort", "").startswith("desc"))

        def show(discussion: BookedDiscussion) -> Json:
            document = self._document(discussion)
            shown = self._books.visible(discussion)
            if included and shown:
                message = shown[0 if included == "FirstMessage" else -1]
                document["message"] = self._message(discussion, message)
            return document

        return numbered_page(query, found, show, size=self._rules.page_size)

    def get(self, asked: Asked) -> Answer:
        """GET /discussions/{discussionId}: with all messages and the eligible recipients."""
        discussion = self._discussion(asked.path["discussionId"])
        document = self._document(discussion)
        messages = [self._message(discussion, m) for m in self._books.visible(discussion)]
        document["messages"] = messages[::-1] if self._rules.newest_first else messages
        document["receivers"] = self._receivers(discussion)
        return Answer(document)

    def attachments(self, asked: Asked) -> Answer:
        """GET /attachments, by message or by discussion."""
        query = asked.query
        if not query.keys() & {"messageId", "discussionId", "salesChannelExternalReference"}:
            raise Problem.missing("messageId")
        found = [
            (message, number)
            for discussion in self._named_by(query)
            for message in self._named(discussion)
            if query.get("messageId", message.ident) == message.ident
            for number in range(len(message.files))
        ]
        return numbered_page(
            query, found, lambda each: attachment_document(*each), size=self._rules.page_size
        )

    def typologies(self, asked: Asked) -> Answer:
        """GET /typologies."""
        required(asked.query, "salesChannel")
        status, user = asked.query.get("orderStatus"), asked.query.get("userType")
        if asked.query.get("typologyCode", "order").lower() == "offer":
            typology, offered = "Offer", _OFFER_TYPOLOGIES
        else:
            typology = "Order"
            offered = {
                code: label
                for code, (who, statuses, label) in _TYPOLOGIES.items()
                if user in {None, who} and (status is None or status in statuses)
            }
        return Answer(
            {
                "items": [
                    {"typologyCode": typology, "subTypologyCode": code, "label": label}
                    for code, label in offered.items()
                ]
            }
        )

    def channel(self, asked: Asked) -> Answer:
        """GET /sales-channel-configurations/{salesChannelId}."""
        ident = asked.path["salesChannelId"]
        if ident not in {"CDISFR", *(d.channel for d in self._books.discussions)}:
            raise Problem.not_found(f"Sales channel {ident}")
        allowed = ident in self._rules.may_open
        return Answer({"salesChannelId": ident, "isDiscussionCreationAllowed": allowed})

    # --- writing -----------------------------------------------------------------------------

    def send(self, asked: Asked) -> Answer:
        """POST /messages."""
        fields = asked.fields
        discussion = self._discussion(required(fields, "discussionId"))
        text = _body(fields)
        to = self._receiver(fields, self._eligible(discussion))
        if self._rules.receiver_list and required(fields, "salesChannel") != discussion.channel:
            raise Problem.of("salesChannel", "The sales channel is not the discussion's.")
        files = _files(fields)
        if discussion.closed and not self._rules.closed_takes_messages:
            raise Problem(409, "Conflict", "The discussion is closed.")
        made = self._books.seller_writes(discussion, text, files=files, to=to)
        self._sent.append(SentMessage(discussion.id, text, tuple(files)))
        discussion.name_messages()
        return self._made("messageId", made.ident)

    def open(self, asked: Asked) -> Answer:
        """POST /discussions."""
        fields = asked.fields
        subject = required(fields, "subject")
        order = self._books.orders.get(required(fields, "orderId"))
        channel = required(fields, "salesChannel")
        code = required(fields, "subtypologyCode")
        message = required(fields, "message", dict)
        if order is None:
            raise Problem.not_found("The order")
        if channel != order.channel:
            raise Problem.of("salesChannel", "The sales channel is not the order's.")
        if channel not in self._rules.may_open:
            raise Problem.of("salesChannel", "Sellers may not open discussions on this channel.")
        if _TYPOLOGIES.get(code, ("",))[0] != "Seller":
            raise Problem.of("subtypologyCode", f"The value '{code}' is not valid.")
        text = _body(message)
        to = self._receiver(message, {AuthorKind.CUSTOMER})
        files = _files(message)
        made = self._books.open_discussion(
            DiscussionKind.ORDER_QUESTION,
            subject,
            order.customer,
            None,
            order_number=order.number,
        )
        made.channel, made.topic = channel, code
        self._books.seller_writes(made, text, files=files, to=to)
        self._sent.append(SentMessage(made.id, text, tuple(files)))
        return self._made("discussionId", made.object_id)

    def change(self, asked: Asked) -> Answer:
        """PATCH /discussions/{discussionId}: close or reopen."""
        discussion = self._discussion(asked.path["discussionId"])
        if _boolean(self._patched(asked.body, "/isOpen")):
            if discussion.closed:
                self._books.reopen(discussion)
            return Answer(None, 204)
        status = self._books.close(discussion.id)
        if status in _CLOSE_PROBLEMS:
            raise Problem(409, status, _CLOSE_PROBLEMS[status])
        return Answer(None, 204)

    def mark(self, asked: Asked) -> Answer:
        """PATCH /messages/{messageId}: mark as read."""
        ident = asked.path["messageId"]
        for discussion in self._books.discussions:
            for message in self._named(discussion):
                if message.ident == ident:
                    message.seen = _boolean(self._patched(asked.body, "/hasRead"))
                    return Answer(None, 204)
        raise Problem.not_found(f"Message {ident}")

    # --- inside ------------------------------------------------------------------------------

    def _discussion(self, ident: str) -> BookedDiscussion:
        try:
            found = self._books.discussion(int(ident[8:], 16))
        except (KeyError, ValueError):
            found = None
        if found is None or found.object_id != ident:
            raise Problem.not_found(f"Discussion {ident}")
        return found

    def _named_by(self, query: Mapping[str, str]) -> Sequence[BookedDiscussion]:
        """The discussion that a query names in any way; all of them where it names none."""
        try:
            if "discussionId" in query:
                return [self._discussion(query["discussionId"])]
            if "salesChannelExternalReference" in query:
                return [self._books.discussion(int(query["salesChannelExternalReference"]))]
        except (KeyError, ValueError, Problem):
            return []
        return self._books.discussions

    def _matches(
        self, discussion: BookedDiscussion, query: Mapping[str, str], begin: datetime, end: datetime
    ) -> bool:
        hidden = discussion.listed_at is not None and self._books.clock() < discussion.listed_at
        if hidden and "orderSellerId" not in query:
            return False
        shown = self._books.visible(discussion)
        offer = discussion.kind is DiscussionKind.OFFER_QUESTION
        open_ = str(not discussion.closed).lower()
        typology = "offer" if offer else "order"
        return (
            begin <= changed_at(discussion) <= end
            and query.get("discussionId", discussion.object_id) == discussion.object_id
            and query.get("orderSellerId", discussion.order_number) == discussion.order_number
            and query.get("salesChannel", discussion.channel) == discussion.channel
            and query.get("isOpen", open_).lower() == open_
            and query.get("processStatus", process_status(discussion, shown))
            == process_status(discussion, shown)
            # Clients were seen to send it in lower case.
            and query.get("typologyCode", typology).lower() == typology
            and query.get("subTypologyCode", topic(discussion)) == topic(discussion)
        )

    def _document(self, discussion: BookedDiscussion) -> Json:
        shown = self._books.visible(discussion)
        return discussion_document(discussion, shown, self._seller_id)

    def _message(self, discussion: BookedDiscussion, message: BookedMessage) -> Json:
        discussion.name_messages()
        return message_document(discussion, message, self._rules, self._seller_id)

    def _named(self, discussion: BookedDiscussion) -> list[BookedMessage]:
        discussion.name_messages()
        return self._books.visible(discussion)

    def _eligible(self, discussion: BookedDiscussion) -> set[AuthorKind]:
        """Customer care once it has joined in, or the discussion is escalated (our choice)."""
        joined = any(
            message.kind is AuthorKind.OPERATOR for message in self._books.visible(discussion)
        )
        if joined or graduation(discussion) != "Discussion":
            return {AuthorKind.CUSTOMER, AuthorKind.OPERATOR}
        return {AuthorKind.CUSTOMER}

    def _receivers(self, discussion: BookedDiscussion) -> list[Json]:
        eligible = self._eligible(discussion)
        users = {"Customer": customer_id(discussion.customer), "GrcOperator": None}
        return [
            {"userId": users[word], "userType": word}
            for word, kind in _RECEIVERS.items()
            if kind in eligible
        ]

    def _receiver(self, fields: Mapping[str, Any], eligible: set[AuthorKind]) -> AuthorKind:
        name = "receivers" if self._rules.receiver_list else "receiver"
        word = required(fields, name, list if self._rules.receiver_list else str)
        if self._rules.receiver_list:
            if len(word) != 1 or not isinstance(word[0], dict):
                raise Problem.of(name, "One receiver is wanted.")
            word = word[0].get("userType")
        if word not in _RECEIVERS or _RECEIVERS[word] not in eligible:
            raise Problem.of(name, f"'{word}' is not an eligible recipient.")
        return _RECEIVERS[word]

    def _patched(self, body: Any, path: str) -> Any:
        key = self._rules.patch_key
        if not isinstance(body, list) or len(body) != 1 or not isinstance(body[0], dict):
            raise Problem.of("$", "One operation is wanted.")
        [step] = body
        if key not in step:
            raise Problem.of(f"[0].{key}", f"The {key} field is required.")
        if step[key] != "replace" or step.get("path") != path:
            raise Problem.of("[0].path", "Nothing else can be changed.")
        return step.get("value")

    def _made(self, name: str, ident: str) -> Answer:
        return Answer({name: ident} if self._rules.names_created else None, 201)


def _boolean(value: Any) -> bool:
    if value in (True, "true"):
        return True
    if value in (False, "false"):
        return False
    raise Problem.of("[0].value", f"The value '{value}' is not valid.")


def _body(fields: Mapping[str, Any]) -> str:
    text: str = required(fields, "body")
    if not SHORTEST <= len(text) <= LONGEST:
        complaint = f"The length must be between {SHORTEST} and {LONGEST} characters."
        raise Problem.of("body", complaint)
    return text


def _files(fields: Mapping[str, Any]) -> list[BookedFile]:
    given = fields.get("attachments") or []
    if not isinstance(given, list):
        raise Problem.of("attachments", "A list is wanted.")
    if len(given) > MOST_FILES:
        raise Problem.of("attachments", f"A message has {MOST_FILES} attachments at most.")
    found = []
    for each in given:
        if not isinstance(each, dict):
            raise Problem.of("attachments", "Objects are wanted.")
        name, ending = required(each, "name"), required(each, "fileFormat")
        if ending.lower() not in FORMATS:
            raise Problem.of("attachments", f"The format '{ending}' is not accepted.")
        try:
            data = base64.b64decode(required(each, "content"), validate=True)
        except binascii.Error:
            raise Problem.of("attachments", "The content is not base64.") from None
        found.append(BookedFile(f"{name}.{ending}", data))
    if sum(len(file.data) for file in found) > MOST_BYTES:
        raise Problem.of("attachments", "Attachments must not exceed 4 MB in all.")
    return found
