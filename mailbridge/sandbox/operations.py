"""The operations of the service: request element in, answer envelope out.

Whether the token is good was decided before. Effects happen in the books while the answer is
being written; what may go wrong on the way back is `faults`' business. Orders and their money are
in `order_operations`, what every answer begins with in `heading`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from lxml import etree

from mailbridge.domain.discussion import AuthorKind, DiscussionKind
from mailbridge.sandbox.books import BookedDiscussion, Books, CloseStatus, ListFilter
from mailbridge.sandbox.heading import ALIAS_REFUSED, Heading
from mailbridge.sandbox.order_operations import OrderOperations
from mailbridge.sandbox.orders import LineRefusal
from mailbridge.sandbox.wire import (
    ARRAYS,
    MAIL,
    MSG,
    MalformedRequest,
    members,
    node,
    put,
    read_bool,
    read_list,
    read_text,
    read_time,
)

__all__ = ["Operations"]

_BASE = (
    "BeginCreationDate",
    "BeginModificationDate",
    "EndCreationDate",
    "EndModificationDate",
    "StatusList",
)
_FILTERS: Mapping[str, tuple[str, ...]] = {
    "GetOrderClaimList": (*_BASE, "OrderNumberList", "OnlyWithMessageFromCdsCustomerService"),
    "GetOrderQuestionList": (*_BASE, "OrderNumberList"),
    "GetOfferQuestionList": (*_BASE, "ProductEANList", "ProductSellerReferenceList"),
    "GetDiscussionList": (
        *_BASE,
        "DiscussionType",
        "OrderNumberList",
        "ProductEanList",
        "ProductSellerReferenceList",
    ),
}
_STATES = frozenset({"All", "Open", "Closed", "NotProcessed"})
_TYPES: Mapping[str, frozenset[DiscussionKind]] = {
    "All": frozenset(DiscussionKind),
    "Offer": frozenset({DiscussionKind.OFFER_QUESTION}),
    "Discussion": frozenset({DiscussionKind.ORDER_QUESTION}),
    "Claim": frozenset({DiscussionKind.CLAIM}),
    "Arbitration": frozenset(),
    "Favoured": frozenset(),
}
_SENDER_TYPES = {
    AuthorKind.CUSTOMER: "Customer",
    AuthorKind.SELLER: "Seller",
    AuthorKind.OPERATOR: "GrcOperator",
    AuthorKind.AUTOMATIC: "Automatic",
}


class Handler(Protocol):
    """Carries out one operation: its parameter and the token in, the answer's envelope out."""

    def __call__(self, given: etree._Element | None, token: str, /) -> etree._Element: ...


class Operations:
    """What the service can do with these books."""

    def __init__(self, books: Books, *, modern: bool = False) -> None:
        """`modern` is the schema of 2020: GetDiscussionList, and SenderType in every message."""
        self._books = books
        self._modern = modern
        self._heading = Heading(books.login)
        orders = OrderOperations(books, self._heading)
        self._handlers: dict[str, tuple[str, Handler]] = {
            "GetOrderClaimList": ("orderClaimFilter", self._claims),
            "GetOrderQuestionList": ("orderQuestionFilter", self._order_questions),
            "GetOfferQuestionList": ("offerQuestionFilter", self._offer_questions),
            "GetDiscussionMailList": ("request", self._mail_list),
            "GenerateDiscussionMailGuid": ("request", self._mail_guid),
            "CloseDiscussionList": ("closeDiscussionRequest", self._close),
            "GetOrderList": ("orderFilter", orders.get_list),
            "ValidateOrderList": ("validateOrderListMessage", orders.validate),
            "CreateRefundVoucher": ("request", orders.refund),
        }
        if modern:
            self._handlers["GetDiscussionList"] = ("discussionFilter", self._discussions)

    @property
    def names(self) -> frozenset[str]:
        """Operations served."""
        return frozenset(self._handlers)

    @staticmethod
    def token(request: etree._Element, parameter: str) -> str:
        """The header message's TokenId, empty where WCF would read null."""
        header = members(request, ("headerMessage", parameter)).get("headerMessage")
        parts = members(header, ("Context", "Localization", "Security", "Version"), MSG)
        security = members(
            parts.get("Security"),
            (
                "DomainRightsList",
                "IssuerID",
                "SessionID",
                "SubjectLocality",
                "TokenId",
                "UserName",
            ),
            MSG,
        )
        return (read_text(security, "TokenId") or "").strip()

    def parameter(self, name: str) -> str:
        """The name of the operation's second parameter; raises KeyError."""
        return self._handlers[name][0]

    def perform(self, name: str, request: etree._Element, token: str) -> etree._Element:
        """Carry the operation out and write its answer; raises MalformedRequest."""
        parameter, handler = self._handlers[name]
        given = members(request, ("headerMessage", parameter)).get(parameter)
        return handler(given, token)

    def refusal(self, name: str, message: str, error_type: str) -> etree._Element:
        """An answer with OperationSuccess=false and nothing done."""
        errors = (LineRefusal(error_type, message),) if error_type else ()
        return self._heading.start(name, None, ok=False, message=message, errors=errors)[0]

    # --- discussions -------------------------------------------------------------------------

    def _claims(self, given: etree._Element | None, token: str) -> etree._Element:
        return self._listing(
            "GetOrderClaimList", "OrderClaim", {DiscussionKind.CLAIM}, given, token
        )

    def _order_questions(self, given: etree._Element | None, token: str) -> etree._Element:
        return self._listing(
            "GetOrderQuestionList", "OrderQuestion", {DiscussionKind.ORDER_QUESTION}, given, token
        )

    def _offer_questions(self, given: etree._Element | None, token: str) -> etree._Element:
        return self._listing(
            "GetOfferQuestionList", "OfferQuestion", {DiscussionKind.OFFER_QUESTION}, given, token
        )

    def _discussions(self, given: etree._Element | None, token: str) -> etree._Element:
        found = members(given, _FILTERS["GetDiscussionList"])
        wanted = read_text(found, "DiscussionType") or "All"
        if wanted not in _TYPES:
            raise MalformedRequest(f"Invalid enum value '{wanted}' for DiscussionTypeFilter")
        return self._listing("GetDiscussionList", "Discussion", _TYPES[wanted], given, token)

    def _listing(
        self,
        name: str,
        item: str,
        kinds: Iterable[DiscussionKind],
        given: etree._Element | None,
        token: str,
    ) -> etree._Element:
        shown = self._books.listed(kinds, _list_filter(members(given, _FILTERS[name])))
        envelope, result = self._heading.start(name, token)
        if not shown and item == "OrderClaim":
            put(result, "OrderClaimList", None)  # recorded: nil here, empty elsewhere
            return envelope
        parent = node(result, f"{item}List")
        for discussion in shown:
            self._discussion(node(parent, item), item, discussion)
        return envelope

    def _discussion(self, xml: etree._Element, item: str, discussion: BookedDiscussion) -> None:
        put(xml, "CloseDate", discussion.closed_at)
        put(xml, "CreationDate", discussion.created_at)
        put(xml, "Id", discussion.id)
        put(xml, "LastUpdatedDate", discussion.updated_at)
        messages = node(xml, "Messages")
        for message in self._books.visible(discussion):
            child = node(messages, "Message")
            put(child, "Content", message.text)
            put(child, "Sender", message.name or None)
            if self._modern:
                put(child, "SenderType", _SENDER_TYPES[message.kind])
            put(child, "Timestamp", message.at)
        put(xml, "Status", discussion.status)
        put(xml, "Subject", discussion.subject)
        if item != "OfferQuestion":
            put(xml, "OrderNumber", discussion.order_number)
        if item == "OrderClaim" or (item == "Discussion" and discussion.claim_type):
            put(xml, "ClaimType", discussion.claim_type or "Other")
        if item in {"OfferQuestion", "Discussion"}:
            put(xml, "ProductEAN", discussion.product_ean)
            put(xml, "ProductSellerReference", discussion.product_reference)

    def _mail_list(self, given: etree._Element | None, token: str) -> etree._Element:
        envelope, result = self._heading.start("GetDiscussionMailList", token)
        parent = node(result, "DiscussionMailList")
        for ident in _ids(given):
            status, address = self._books.relay_for_discussion(ident)
            item = node(parent, "DiscussionMail")
            put(item, "DiscussionId", ident)
            put(item, "MailAddress", address)
            put(item, "OperationStatus", status)
        return envelope

    def _mail_guid(self, given: etree._Element | None, token: str) -> etree._Element:
        name = "GenerateDiscussionMailGuid"
        number = read_text(members(given, ("ScopusId",), MAIL), "ScopusId")
        if not number:
            return self.refusal(
                name, "Demande de création de discussion invalide", "UnexpectedException"
            )
        order = self._books.orders.get(number)
        address = None if order is None else self._books.relay_for_order(order)
        # Recorded: an unknown order gives a failure without any word.
        words = ALIAS_REFUSED if order is not None and address is None else ""
        envelope, result = self._heading.start(
            name, token, ok=address is not None, message=words, prefixes={"a": MAIL}
        )
        put(result, "MailGuid", address, MAIL)
        return envelope

    def _close(self, given: etree._Element | None, token: str) -> etree._Element:
        envelope, result = self._heading.start("CloseDiscussionList", token)
        parent = node(result, "CloseDiscussionResultList")
        for ident in _ids(given):
            status: CloseStatus = self._books.close(ident)
            item = node(parent, "CloseDiscussionResult")
            put(item, "DiscussionId", ident)
            put(item, "OperationStatus", status)
        return envelope


def _list_filter(found: Mapping[str, etree._Element]) -> ListFilter:
    statuses = read_list(found, "StatusList", "DiscussionStateFilter")
    for status in statuses or ():
        if status not in _STATES:
            raise MalformedRequest(f"Invalid enum value '{status}' for DiscussionStateFilter")
    eans = read_list(found, "ProductEANList", "string", ARRAYS)
    eans = eans or read_list(found, "ProductEanList", "string", ARRAYS)
    return ListFilter(
        begin_creation=read_time(found, "BeginCreationDate"),
        end_creation=read_time(found, "EndCreationDate"),
        begin_modification=read_time(found, "BeginModificationDate"),
        end_modification=read_time(found, "EndModificationDate"),
        statuses=frozenset(statuses) if statuses else None,
        order_numbers=_set(read_list(found, "OrderNumberList", "string", ARRAYS)),
        eans=_set(eans),
        references=_set(read_list(found, "ProductSellerReferenceList", "string", ARRAYS)),
        only_operator=read_bool(found, "OnlyWithMessageFromCdsCustomerService"),
    )


def _set(values: list[str] | None) -> frozenset[str] | None:
    return frozenset(values) if values else None


def _ids(given: etree._Element | None) -> list[int]:
    texts = read_list(members(given, ("DiscussionIds",)), "DiscussionIds", "long", ARRAYS) or []
    try:
        return [int(text) for text in texts]
    except ValueError:
        raise MalformedRequest("the value of DiscussionIds could not be parsed") from None
