"""Every operation of the service: request element in, answer envelope out.

Whether the token is good was decided before. Effects happen in the books while the answer is
being written; what may go wrong on the way back is `faults`' business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Protocol

from lxml import etree

from mailbridge.domain.discussion import AuthorKind, DiscussionKind
from mailbridge.sandbox.books import BookedDiscussion, Books, CloseStatus, ListFilter
from mailbridge.sandbox.order_xml import write_order
from mailbridge.sandbox.orders import BookedOrder, BookedParcel, LineRefusal, ValidationAnswer
from mailbridge.sandbox.wire import (
    ARRAYS,
    MAIL,
    MSG,
    MalformedRequest,
    answer,
    members,
    node,
    put,
    read_bool,
    read_decimal,
    read_int,
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
_ORDER_FILTER = (
    "BeginCreationDate",
    "BeginModificationDate",
    "CorporationCode",
    "EndCreationDate",
    "EndModificationDate",
    "FetchOrderLines",
    "FetchParcels",
    "IncludeExternalFbcSiteId",
    "OrderReferenceList",
    "OrderType",
    "PartnerOrderRef",
    "States",
)
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
# Echoes of login and token, as recorded operation by operation.
_ECHO: Mapping[str, tuple[bool, bool]] = {
    "GetOrderClaimList": (True, False),
    "GetOrderQuestionList": (True, False),
    "GetOfferQuestionList": (True, False),
    "GetDiscussionList": (True, False),
    "GetDiscussionMailList": (False, False),
    "GenerateDiscussionMailGuid": (False, False),
}
ALIAS_REFUSED = (
    "Vous ne pouvez obtenir les alias de clients dont la commande est expédiée depuis plus de "
    "4 semaines"
)


class Handler(Protocol):
    """Carries out one operation: its parameter and the token in, the answer's envelope out."""

    def __call__(self, given: etree._Element | None, token: str, /) -> etree._Element: ...


class Operations:
    """What the service can do with these books."""

    def __init__(self, books: Books, *, modern: bool = False) -> None:
        """`modern` is the schema of 2020: GetDiscussionList, and SenderType in every message."""
        self._books = books
        self._modern = modern
        self._handlers: dict[str, tuple[str, Handler]] = {
            "GetOrderClaimList": ("orderClaimFilter", self._claims),
            "GetOrderQuestionList": ("orderQuestionFilter", self._order_questions),
            "GetOfferQuestionList": ("offerQuestionFilter", self._offer_questions),
            "GetDiscussionMailList": ("request", self._mail_list),
            "GenerateDiscussionMailGuid": ("request", self._mail_guid),
            "CloseDiscussionList": ("closeDiscussionRequest", self._close),
            "GetOrderList": ("orderFilter", self._orders),
            "ValidateOrderList": ("validateOrderListMessage", self._validate),
            "CreateRefundVoucher": ("request", self._refund),
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
        envelope, result = _start(name)
        errors = (LineRefusal(error_type, message),) if error_type else ()
        self._base(result, name, None, ok=False, message=message, errors=errors)
        return envelope

    def _base(
        self,
        result: etree._Element,
        name: str,
        token: str | None,
        *,
        ok: bool = True,
        message: str = "",
        errors: Iterable[LineRefusal] = (),
    ) -> None:
        login, echo = _ECHO.get(name, (True, True))
        put(result, "ErrorMessage", message, MSG)
        put(result, "OperationSuccess", ok, MSG)
        _errors(node(result, "ErrorList"), errors)
        # The API account is the seller's login with a suffix; the echo is the seller's.
        put(result, "SellerLogin", self._books.login.removesuffix("-api") if login else None)
        put(result, "TokenId", token if echo else None)

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
        envelope, result = _start(name)
        self._base(result, name, token)
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
        envelope, result = _start("GetDiscussionMailList")
        self._base(result, "GetDiscussionMailList", token)
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
        envelope, result = _start(name, {"a": MAIL})
        order = self._books.orders.get(number)
        address = None if order is None else self._books.relay_for_order(order)
        # Recorded: an unknown order gives a failure without any word.
        words = ALIAS_REFUSED if order is not None and address is None else ""
        self._base(result, name, token, ok=address is not None, message=words)
        put(result, "MailGuid", address, MAIL)
        return envelope

    def _close(self, given: etree._Element | None, token: str) -> etree._Element:
        envelope, result = _start("CloseDiscussionList")
        self._base(result, "CloseDiscussionList", token)
        parent = node(result, "CloseDiscussionResultList")
        for ident in _ids(given):
            status: CloseStatus = self._books.close(ident)
            item = node(parent, "CloseDiscussionResult")
            put(item, "DiscussionId", ident)
            put(item, "OperationStatus", status)
        return envelope

    # --- orders ------------------------------------------------------------------------------

    def _orders(self, given: etree._Element | None, token: str) -> etree._Element:
        found = members(given, _ORDER_FILTER)
        shown = self._select_orders(found)
        refused = any(self._books.alias_refused(order) for order in shown)
        envelope, result = _start("GetOrderList")
        # Seen: orders together with the words about the alias.
        self._base(result, "GetOrderList", token, message=ALIAS_REFUSED if refused else "")
        parent = node(result, "OrderList")
        for order in shown:
            write_order(
                parent,
                order,
                relay=self._books.relay_for_order(order),
                vouchers=self._books.orders.visible_vouchers(order),
                with_lines=read_bool(found, "FetchOrderLines"),
                with_parcels=read_bool(found, "FetchParcels"),
            )
        return envelope

    def _select_orders(self, found: Mapping[str, etree._Element]) -> list[BookedOrder]:
        numbers = read_list(found, "OrderReferenceList", "string", ARRAYS)
        if numbers:  # overrides every other filter
            orders = (self._books.orders.get(number) for number in dict.fromkeys(numbers))
            return [order for order in orders if order is not None]
        query = _list_filter(found)
        states = read_list(found, "States", "OrderStateEnum")
        shown = []
        for order in self._books.orders.all():
            # Seen: dates without States are not applied.
            if states is not None:
                updated = order.updated_at or order.created_at
                if (
                    order.state not in states
                    or (query.begin_creation and order.created_at < query.begin_creation)
                    or (query.end_creation and order.created_at > query.end_creation)
                    or (query.begin_modification and updated < query.begin_modification)
                    or (query.end_modification and updated > query.end_modification)
                ):
                    continue
            shown.append(order)
        return sorted(shown, key=lambda order: order.created_at)

    def _validate(self, given: etree._Element | None, token: str) -> etree._Element:
        wanted = members(given, ("OrderList",)).get("OrderList")
        results = []
        for element in wanted.iterchildren("*") if wanted is not None else ():
            names = (
                "CarrierName",
                "OrderLineList",
                "OrderNumber",
                "OrderState",
                "TrackingNumber",
                "TrackingUrl",
            )
            found = members(element, names)
            lines: dict[str, str] = {}
            for line in (
                found["OrderLineList"].iterchildren("*") if "OrderLineList" in found else ()
            ):
                item = members(
                    line,
                    ("AcceptationState", "ProductCondition", "SellerProductId", "TypeOfReturn"),
                )
                reference = read_text(item, "SellerProductId") or ""
                lines[reference] = read_text(item, "AcceptationState") or "None"
            tracking = read_text(found, "TrackingNumber")
            parcel = None
            if tracking:
                carrier = read_text(found, "CarrierName") or ""
                parcel = BookedParcel(tracking, carrier, read_text(found, "TrackingUrl") or "")
            results.append(
                self._books.orders.validate(
                    read_text(found, "OrderNumber"),
                    read_text(found, "OrderState") or "CancelledByCustomer",
                    lines,
                    parcel=parcel,
                )
            )
        envelope, result = _start("ValidateOrderList")
        words = " ".join(
            f"{each.order_number} error: {error.message}"
            for each in results
            for error in each.errors
        )
        self._base(result, "ValidateOrderList", token, message=words)
        parent = node(result, "ValidateOrderResults")
        for each in results:
            _validation(node(parent, "ValidateOrderResult"), each)
        return envelope

    def _refund(self, given: etree._Element | None, token: str) -> etree._Element:
        found = members(given, ("CommercialGestureList", "OrderNumber", "SellerRefundList"))
        gestures = []
        for element in _items(found, "CommercialGestureList"):
            item = members(element, ("Amount", "MotiveId"))
            gestures.append(
                (read_decimal(item, "Amount") or Decimal(0), read_int(item, "MotiveId") or 0)
            )
        refunds = []
        for element in _items(found, "SellerRefundList"):
            item = members(element, ("Mode", "Motive", "RefundOrderLine"))
            line = members(
                item.get("RefundOrderLine"), ("Ean", "RefundShippingCharges", "SellerProductId")
            )
            refunds.append(
                (
                    read_text(line, "SellerProductId") or "",
                    # A missing enum member becomes the first one, as in .NET.
                    read_text(item, "Motive") or "VendorRejection",
                    read_bool(line, "RefundShippingCharges"),
                )
            )
        done = self._books.orders.refund(read_text(found, "OrderNumber"), gestures, refunds)
        envelope, result = _start("CreateRefundVoucher")
        errors = (LineRefusal(done.error_type, done.error),) if done.error_type else ()
        self._base(
            result,
            "CreateRefundVoucher",
            token,
            ok=not done.error,
            message=done.error,
            errors=errors,
        )
        parent = node(result, "CommercialGestureList")
        for gesture in done.gestures:
            item_xml = node(parent, "RefundInformationMessage")
            put(item_xml, "ErrorMessage", gesture.error, MSG)
            put(item_xml, "OperationSuccess", not gesture.error, MSG)
            put(item_xml, "Amount", gesture.amount)
            put(item_xml, "MotiveId", gesture.motive)
        put(result, "OrderNumber", done.order_number)
        parent = node(result, "SellerRefundList")
        for refund in done.refunds:
            item_xml = node(parent, "SellerRefundResult")
            put(item_xml, "ErrorMessage", refund.error, MSG)
            put(item_xml, "OperationSuccess", not refund.error, MSG)
            put(item_xml, "Ean", refund.ean or None)
            put(item_xml, "Motive", refund.motive)
            put(item_xml, "SellerProductId", refund.reference)
            put(item_xml, "Value", refund.value)
        return envelope


def _start(
    name: str, extra: Mapping[str, str] | None = None
) -> tuple[etree._Element, etree._Element]:
    return answer(name, extra)


def _errors(parent: etree._Element, errors: Iterable[LineRefusal]) -> None:
    for error in errors:
        item = node(parent, "Error")
        put(item, "ErrorType", error.kind)
        put(item, "Message", error.message)


def _validation(xml: etree._Element, each: ValidationAnswer) -> None:
    _errors(node(xml, "Errors"), each.errors)
    put(xml, "OrderNumber", each.order_number)
    lines = node(xml, "ValidateOrderLineResults")
    for reference, (updated, errors) in each.lines.items():
        item = node(lines, "ValidateOrderLineResult")
        _errors(node(item, "Errors"), errors)
        put(item, "SellerProductId", reference)
        put(item, "Updated", updated)
    put(xml, "Validated", each.validated)
    node(xml, "Warnings")


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


def _items(found: Mapping[str, etree._Element], name: str) -> list[etree._Element]:
    return list(found[name].iterchildren("*")) if name in found else []


def _ids(given: etree._Element | None) -> list[int]:
    texts = read_list(members(given, ("DiscussionIds",)), "DiscussionIds", "long", ARRAYS) or []
    try:
        return [int(text) for text in texts]
    except ValueError:
        raise MalformedRequest("the value of DiscussionIds could not be parsed") from None
