"""`CdiscountMarketplace`: the port of `marketplace.port`, spoken to the Cdiscount SOAP service.

The rule: this file says which operation answers which question; how a call is made, listed and
read is in the modules beside it. What a maintainer must know of the service is in
docs/cdiscount.md. One object serves one account and belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx
import structlog

from mailbridge.domain.discussion import AuthorKind, Discussion
from mailbridge.domain.money import Movement
from mailbridge.domain.order import Order
from mailbridge.marketplace.cdiscount import listing, mapping, money, orders
from mailbridge.marketplace.cdiscount.client import SoapClient
from mailbridge.marketplace.cdiscount.mapping import Context
from mailbridge.marketplace.cdiscount.reading import Node
from mailbridge.marketplace.cdiscount.times import filter_bounds
from mailbridge.marketplace.cdiscount.token import StsTokens
from mailbridge.marketplace.cdiscount.wsdl import BUILTIN, BUILTIN_2020
from mailbridge.marketplace.port import (
    UNNAMED,
    AttachmentLimits,
    Capabilities,
    CloseAnswer,
    ContractError,
    ItemResult,
    Listing,
    Messaging,
    RefusedError,
    RelayAnswer,
    RelayStatus,
    ReplyChannel,
    Window,
)
from mailbridge.marketplace.unread import OrderFaults
from mailbridge.marketplace.wire import SIZE_LIMIT, Wire

__all__ = ["ATTACHMENTS", "CdiscountMarketplace"]

ATTACHMENTS = AttachmentLimits(
    max_files=3,
    max_total_bytes=4_000_000,
    extensions=frozenset({"bmp", "doc", "docx", "gif", "jpeg", "jpg", "pdf", "png", "tif", "xls"}),
)
"""The relay's own limits were never published; these are the ones of the REST API that took over
the same relay, which it is known to accept. Stricter than needed, rather than lost in silence."""

_IDS_AT_ONCE = 100
_ORDERS_AT_ONCE = 50
_ORDER_LIFE = timedelta(days=3 * 365)
"""How old an order may be that changes now: past the two years of the warranty."""

log = structlog.get_logger(__name__)


class CdiscountMarketplace:
    """One seller's account. Implements `marketplace.port.Marketplace`."""

    def __init__(
        self,
        *,
        login: str,
        password: Callable[[], Awaitable[str]],
        token_url: str,
        service_url: str,
        clock: Callable[[], datetime],
        wsdl: str = BUILTIN,
        shop_names: Sequence[str] = (),
        partner: str = "",
        timeout: float = 240.0,
        size_limit: int = SIZE_LIMIT,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`timeout` is seconds for one whole call; `clock` gives aware times.

        `wsdl` is `builtin`, `builtin-2020`, a URL or a path. `password` is asked at each sign-in,
        so that a changed one is taken up without a restart.
        """
        shops = frozenset(filter(None, map(mapping.shop_key, shop_names)))
        # The service echoes SellerLogin: the API account's login less its suffix.
        secrets = (login, login.removesuffix("-api"))
        self._clock = clock
        self._shops = shops
        self._order_faults = OrderFaults()
        self._wire = Wire(timeout=timeout, size_limit=size_limit, transport=transport)
        self._tokens = StsTokens(
            self._wire,
            token_url=token_url,
            realm=service_url,
            login=login,
            password=password,
            clock=clock,
        )
        self._client = SoapClient(
            wire=self._wire,
            tokens=self._tokens,
            service_url=service_url,
            wsdl=wsdl,
            partner=partner,
            timeout=timeout,
            context=lambda now: Context(now, shops, secrets),
            clock=clock,
            sleep=sleep,
        )
        told = (
            frozenset(AuthorKind)
            if wsdl == BUILTIN_2020
            else frozenset({AuthorKind.OPERATOR, AuthorKind.AUTOMATIC})
        )
        self._capabilities = Capabilities(
            reply_channel=ReplyChannel.RELAY_MAIL,
            can_reopen=False,
            message_ids=False,
            author_kinds=told,
            incoming_attachments=False,
            outgoing_attachments=ATTACHMENTS,
            money=money.RULES,
        )

    @property
    def capabilities(self) -> Capabilities:
        """Relay mail, no reopening, no ids; names instead of kinds before 2020."""
        return self._capabilities

    @property
    def learnt(self) -> Mapping[str, str]:
        """Nothing: the contract says it all."""
        return {}

    @property
    def order_faults(self) -> Mapping[str, str]:
        """By number."""
        return self._order_faults.words

    @property
    def messaging(self) -> Messaging | None:
        """None: replies go by relay mail."""
        return None

    async def check(self) -> str:
        """Sign in and list the last day; one line for the operator."""
        contract = await self._client.contract()
        now = self._clock()
        found = await self.discussions(Window(now - timedelta(days=1), now))
        lists = "one list" if contract.has_discussion_list else "three lists"
        line = f"signed in; WSDL {contract.source}, {lists}"
        line += f"; {len(found.discussions)} discussion(s) changed since yesterday"
        if found.faults:
            line += f"; {len(found.faults)} fault(s): {next(iter(found.faults.values()))}"
        if not self._shops and not contract.has_sender_type:
            line += "; shop_names is empty: the shop's own messages will look like a customer's"
        return line

    async def discussions(self, window: Window) -> Listing:
        """All discussions changed in the window. A whole list that failed is a fault under ""."""
        found = await listing.changed(self._client, window)
        _tell(found)
        return found

    async def read_again(self, known: Sequence[Discussion]) -> Listing:
        """These discussions, found by their date of creation and order number."""
        if not known:
            return Listing(())
        found = await listing.again(self._client, known)
        _tell(found)
        return found

    async def relay_addresses(self, discussion_ids: Sequence[str]) -> Mapping[str, RelayAnswer]:
        """GetDiscussionMailList; an id that is no number is NOT_FOUND without being asked."""
        answers = {
            key: RelayAnswer(RelayStatus.UNKNOWN if _is_id(key) else RelayStatus.NOT_FOUND, None)
            for key in discussion_ids
        }
        for ids in _batches([key for key in answers if _is_id(key)], _IDS_AT_ONCE):

            def take(
                result: Node, context: Context, ids: Sequence[str] = ids
            ) -> dict[str, RelayAnswer]:
                return mapping.relay_answers(result, ids, context)

            answers |= await self._client.read(
                "GetDiscussionMailList", take, request={"DiscussionIds": _longs(ids)}
            )
        return answers

    async def relay_address_for_order(self, order_number: str) -> str | None:
        """GenerateDiscussionMailGuid. RefusedError where the service says why it gives none."""
        return await self._client.read(
            "GenerateDiscussionMailGuid", mapping.mail_guid, request={"ScopusId": order_number}
        )

    async def orders(self, numbers: Sequence[str]) -> Mapping[str, Order]:
        """GetOrderList by number, with lines and parcels.

        An order that can't be read is left out and logged; ContractError if none could be.
        """
        wanted = list(dict.fromkeys(numbers))
        filters = [
            {"OrderReferenceList": {"string": list(batch)}}
            for batch in _batches(wanted, _ORDERS_AT_ONCE)
        ]
        found = await self._orders(filters, wanted)
        return {number: order for number, order in found.items() if number in wanted}

    async def changed_orders(self, window: Window) -> Sequence[Order]:
        """GetOrderList by date of change, in every state.

        An order that can't be read is left out and logged; ContractError if none could be.
        """
        # Told: a bound of one kind of date needs the other kind's too; and dates alone are not
        # obeyed, so that every state is named.
        low, high = filter_bounds(window.begin, window.end)
        oldest, _ = filter_bounds(window.begin - _ORDER_LIFE, window.begin)
        dates = {
            "BeginCreationDate": oldest.isoformat(),
            "BeginModificationDate": low.isoformat(),
            "EndCreationDate": high.isoformat(),
            "EndModificationDate": high.isoformat(),
        }
        states = {"OrderStateEnum": list(orders.STATES)}
        return list((await self._orders([{**dates, "States": states}])).values())

    async def discussions_of_orders(self, numbers: Sequence[str]) -> Listing:
        """The lists that can be filtered by order number, however old, whatever the status."""
        if not any(numbers):
            return Listing(())
        found = await listing.of_orders(self._client, numbers, self._clock())
        _tell(found)
        return found

    async def order_for_money(self, number: str) -> Order | None:
        """GetOrderList again: vouchers and states of lines are all that shows there."""
        return (await self.orders([number])).get(number)

    def call_of(self, movement: Movement) -> str:
        """The operation."""
        return money.request(movement).operation

    async def move_money(self, movement: Movement) -> Mapping[str, ItemResult]:
        """ValidateOrderList before shipment, else CreateRefundVoucher; never asked twice.

        RefusedError too where the movement can't be said exactly to the service.
        """
        asked = money.request(movement)
        return await self._client.call(
            asked.operation,
            lambda result, context: money.answers(result, movement, context),
            **asked.parts,
        )

    async def _orders(
        self, filters: Sequence[Mapping[str, Any]], asked: Iterable[str] = ()
    ) -> dict[str, Order]:
        found: dict[str, Order] = {}
        faults: dict[str, str] = {}
        for filter_ in filters:
            some, broken = await self._client.read(
                "GetOrderList",
                orders.orders,
                orderFilter={"FetchOrderLines": True, "FetchParcels": True, **filter_},
            )
            found |= some
            faults |= broken
        self._order_faults.took({*asked, *found, UNNAMED}, faults)
        for number, words in faults.items():
            log.warning("order_unreadable", order=number, error=words)
        if faults and not found:
            raise ContractError(next(iter(faults.values())))
        return found

    async def close(self, discussion_ids: Sequence[str]) -> Mapping[str, CloseAnswer]:
        """CloseDiscussionList, never retried by itself except with a new token."""
        answers = {
            key: CloseAnswer.UNKNOWN if _is_id(key) else CloseAnswer.NOT_FOUND
            for key in discussion_ids
        }
        ids = [key for key in answers if _is_id(key)]
        if ids:
            answers |= await self._client.call(
                "CloseDiscussionList",
                lambda result, context: mapping.close_answers(result, ids, context),
                closeDiscussionRequest={"DiscussionIds": _longs(ids)},
            )
        return answers

    async def reopen(self, discussion_id: str) -> None:
        """Always refused: the service has no such operation."""
        raise RefusedError("Cdiscount's SOAP service can't reopen a discussion")

    async def aclose(self) -> None:
        """Give up a sign-in under way and close every connection."""
        await self._tokens.aclose()
        await self._wire.aclose()


def _tell(found: Listing) -> None:
    for key, words in found.faults.items():
        log.warning("listing_fault", discussion=key, error=words)


def _is_id(text: str) -> bool:
    """Whether a discussion's id fits the WSDL's `long`."""
    return text.isascii() and text.isdigit() and len(text) <= 18


def _longs(ids: Sequence[str]) -> dict[str, Any]:
    return {"long": [int(key) for key in ids]}


def _batches(items: Sequence[str], size: int) -> list[Sequence[str]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
