"""Which calls read orders, and ask for money on them.

The rule: an order is looked for by its id and, failing that, by its reference, because people
know the reference. One that can't be read is left out, logged and kept in `faults`. A request for
money is posted once; the order is read just before, so that its lines are named as they stand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import structlog

from mailbridge.domain.money import Movement, MovementKind
from mailbridge.domain.order import Order, OrderStage
from mailbridge.domain.wording import clean_line
from mailbridge.marketplace.octopia import models, money, orders
from mailbridge.marketplace.octopia.client import RestClient, path
from mailbridge.marketplace.octopia.errors import ProblemError
from mailbridge.marketplace.octopia.listing import each, windows
from mailbridge.marketplace.octopia.variants import Question, Variants
from mailbridge.marketplace.patience import NotAskedError, nothing_asked
from mailbridge.marketplace.port import (
    UNNAMED,
    ContractError,
    ItemAnswer,
    ItemResult,
    MarketplaceError,
    RefusedError,
    Window,
)
from mailbridge.marketplace.unread import OrderFaults

__all__ = ["Orders"]

_PAGE = 100
_GESTURES = "/order-commercial-gesture-requests"
_CANCELLATIONS = "/order-cancellation-requests"
_PARTIAL = "/order-partial-cancellation-requests"
_NO_SUCH = (400, 404, 409, 410, 422)

log = structlog.get_logger(__name__)


class Orders:
    """Orders of one seller. `channels` empty: those of every sales channel."""

    def __init__(
        self,
        client: RestClient,
        variants: Variants,
        *,
        channels: Sequence[str],
        reasons: Mapping[str, str],
    ) -> None:
        """`reasons` maps a `Cause`'s word to the reason's code that is to be given for it."""
        self._client = client
        self._variants = variants
        self._channels = frozenset(channel.casefold() for channel in channels)
        self._reasons = dict(reasons)
        self.faults = OrderFaults()
        """Orders that could not be read."""

    async def told(self, number: str) -> models.Order | None:
        """One order as the API tells it, by id or reference; None if it is unknown."""
        where = f"order {number}"
        try:
            return await self._client.read(
                path("orders", number), lambda data: models.read(models.Order, data, where)
            )
        except ProblemError as error:
            if error.status not in _NO_SUCH:
                raise
        for item in await self._client.items("/orders", {"reference": number}, size=_PAGE):
            found = models.read(models.Order, item, where)
            if number in (found.reference, found.order_id):
                return found
        return None

    async def of(self, numbers: Sequence[str]) -> Mapping[str, Order]:
        """Orders by the numbers asked for; ContractError if none of them could be read."""
        asked = list(dict.fromkeys(numbers))
        outcomes = await each(asked, self.told, self._client.pause)
        found: dict[str, Order] = {}
        faults: dict[str, MarketplaceError] = {}
        for number, outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome, models.Order):
                found[number] = orders.order(outcome)
            elif isinstance(outcome, MarketplaceError):
                log.warning("order_unreadable", order=number, error=str(outcome))
                faults[number] = outcome
        self.faults.took(
            {*asked, *(one.number for one in found.values())},
            {number: str(error) for number, error in faults.items()},
        )
        if faults and not found:
            raise next(iter(faults.values()))
        return found

    async def changed(self, window: Window) -> Sequence[Order]:
        """Orders changed in the window."""
        found: dict[str, Order] = {}
        for dates in windows(window.begin, window.end):
            items = await self._client.items("/orders", dates, size=_PAGE)
            read, faults = await asyncio.to_thread(_orders, items)
            self.faults.took({UNNAMED, *(one.number for one in read)}, faults)
            for one in read:
                if not self._channels or one.sales_channel.casefold() in self._channels:
                    found[one.number] = one
        return tuple(found.values())

    async def for_money(self, number: str) -> Order | None:
        """An order with its requests, and what may still be given as a gesture."""
        told = await self.told(number)
        if told is None:
            return None
        about = orders.order(told)
        # Two names on other channels than Cdiscount's; which one the lists go by is not on record.
        names = [name for name in dict.fromkeys((told.order_id, told.reference.strip())) if name]
        asked: dict[str, models.CancellationRequest] = {}
        given: dict[str, models.GestureRequest] = {}
        for name in names:
            for one in await self._requests(
                models.CancellationRequest, _CANCELLATIONS, {"orderSellerId": name}
            ):
                asked.setdefault(one.cancellation_request_id, one)
            for other in await self._requests(
                models.GestureRequest, _GESTURES, {"orderId": name}, sized="limit"
            ):
                given.setdefault(other.request_id, other)
        left = await self._gesture_left(about)
        return orders.with_requests(
            about,
            orders.cancellations(list(asked.values()), about, names),
            orders.gestures(list(given.values()), names),
            left,
        )

    async def _requests(
        self, model: type[models.R], where: str, query: Mapping[str, str], sized: str = "pageSize"
    ) -> list[models.R]:
        """All of them or an error: money is decided by what they say."""
        items = await self._client.items(where, query, size=_PAGE, sized=sized)
        return [models.read(model, item, f"a request under {where}") for item in items]

    async def _gesture_left(self, about: Order) -> Decimal | None:
        if about.stage is not OrderStage.SHIPPED:
            return None
        where = path("orders", about.number, "commercial-gestures-available-amounts")
        try:
            said = await self._client.read(
                where, lambda data: models.read(models.GestureAmount, data, "the gesture's amount")
            )
        except ProblemError as error:
            if error.status in _NO_SUCH:
                return Decimal(0)  # none can be given
            raise
        return said.allowable_amount

    def call_of(self, movement: Movement) -> str:
        """Which request `move` posts if the order stays as it is."""
        if movement.kind is MovementKind.GESTURE:
            return f"POST {_GESTURES}"
        everything = len(movement.lines) == len(movement.order.lines)
        return f"POST {_CANCELLATIONS if everything else _PARTIAL}"

    async def move(self, movement: Movement) -> Mapping[str, ItemResult]:
        """Ask for a movement, once. Everything taken is PENDING with its request's id."""
        if movement.kind is MovementKind.GESTURE:
            answer = await self._client.act("POST", _GESTURES, money.gesture(movement))
            return {"": _taken(answer, "requestId")}
        try:
            with nothing_asked():
                fresh = await self.told(movement.order.number)
                if fresh is None:
                    raise RefusedError("the service does not know this order")
                lines = money.lines_of(movement, fresh)
                code = await self._reason(movement, fresh)
        except NotAskedError as error:
            raise RefusedError(f"nothing was asked: {error}") from None
        number, shipping = fresh.order_id, movement.with_shipping

        async def cancel(choice: str) -> dict[str, Any]:
            if lines.everything:
                payload = money.whole(choice, number, code, shipping=shipping)
                return await self._client.act("POST", _CANCELLATIONS, payload)
            payload = money.partial(choice, number, lines, code, shipping=shipping)
            return await self._client.act("POST", _PARTIAL, payload)

        question = Question.ORDER_KEY if lines.everything else Question.SHIPPING
        answer = await self._variants.settle(question, cancel)
        result = _taken(answer, "cancellationRequestId")
        return {line.reference: result for line in movement.lines}

    async def _reason(self, movement: Movement, fresh: models.Order) -> str:
        query = {
            "salesChannel": fresh.sales_channel.id.strip(),
            "userType": "Seller",
            "orderStatus": fresh.status.strip(),
        }
        items = await self._client.items("/cancellation-reasons", query, sized="")
        offered = [models.read(models.Coded, item, "a reason") for item in items]
        return money.reason(movement.cause, offered, self._reasons)


def _orders(items: Sequence[object]) -> tuple[list[Order], dict[str, str]]:
    found: list[Order] = []
    faults: dict[str, str] = {}
    for item in items:
        try:
            found.append(orders.order(models.read(models.Order, item, "a listed order")))
        except ContractError as error:
            number = item.get("orderId") if isinstance(item, dict) else None
            number = (clean_line(number, 64) if isinstance(number, str) else "") or UNNAMED
            log.warning("order_unreadable", order=number, error=str(error))
            faults[number] = str(error)
    return found, faults


def _taken(answer: Mapping[str, Any], key: str) -> ItemResult:
    value = answer.get(key)
    return ItemResult(ItemAnswer.PENDING, request=value if isinstance(value, str) else "")
