"""One call of the service from beginning to end: contract, token, HTTP, verdict, values.

The rule: a call is made again only where that is safe. Any call, once, when the service refused
its token (then it did nothing); and a call that only reads, a few times with pauses, when the
network or the service failed. Reading an answer happens in a thread, whole.

Which operations there are and what their answers mean is the business of `adapter`, `listing`
and `mapping`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import tenacity

from mailbridge.marketplace.cdiscount.envelope import header, unwrap
from mailbridge.marketplace.cdiscount.errors import TokenRefused, status_error
from mailbridge.marketplace.cdiscount.mapping import Context
from mailbridge.marketplace.cdiscount.reading import Node, inflate, parse
from mailbridge.marketplace.cdiscount.token import TokenSource
from mailbridge.marketplace.cdiscount.wire import Answer, Wire
from mailbridge.marketplace.cdiscount.wsdl import Contract, load
from mailbridge.marketplace.port import ContractError, RefusedError, TransientError

__all__ = ["SoapClient"]

_TRIES = 3
_PATIENCE = 10.0
"""Seconds: longest Retry-After that is waited for within a call."""
_AT_ONCE = 4
"""Calls of one account under way at the same time."""

T = TypeVar("T")


class SoapClient:
    """Calls operations of one account's service."""

    def __init__(
        self,
        *,
        wire: Wire,
        tokens: TokenSource,
        service_url: str,
        wsdl: str,
        partner: str,
        timeout: float,
        context: Callable[[datetime], Context],
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._wire = wire
        self._tokens = tokens
        self._service_url = service_url
        self._wsdl = wsdl
        self._partner = partner
        self._timeout = timeout
        self._context = context
        self._clock = clock
        self._sleep = sleep
        self._contract: Contract | None = None
        self._loading = asyncio.Lock()
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def contract(self) -> Contract:
        """The contract, loaded with the first call."""
        async with self._loading:
            if self._contract is None:
                self._contract = await load(self._wsdl, self._wire)
            return self._contract

    async def read(self, operation: str, take: Callable[[Node, Context], T], **parts: Any) -> T:
        """Call an operation that only reads; tried up to three times on a TransientError."""
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_worth_another_try),
            stop=tenacity.stop_after_attempt(_TRIES) | tenacity.stop_after_delay(self._timeout / 2),
            wait=_pause,
            sleep=self._sleep,
            reraise=True,
        )
        return await retrying(self._once, operation, take, parts)

    async def call(self, operation: str, take: Callable[[Node, Context], T], **parts: Any) -> T:
        """Call an operation with an effect, once; `take` turns its result into a value.

        What is wrong before anything is asked (contract, sign-in) surely had no effect: it is a
        RefusedError, or a TransientError with `sent=False`, never a ContractError.
        """
        try:
            return await self._once(operation, take, parts)
        except _NotAsked as error:
            raise RefusedError(f"nothing was asked: {error}") from None

    async def _once(
        self, operation: str, take: Callable[[Node, Context], T], parts: dict[str, Any]
    ) -> T:
        with _nothing_asked():
            contract = await self.contract()
            token = await self._tokens.current()
        try:
            return await self._call(contract, operation, take, token.value, parts)
        except TokenRefused:
            with _nothing_asked():
                token = await self._tokens.renewed(token)
        try:
            return await self._call(contract, operation, take, token.value, parts)
        except TokenRefused as refused:
            raise TransientError(
                f"{operation}: the service refuses a token it has just issued: {refused}",
                sent=False,
            ) from None

    async def _call(
        self,
        contract: Contract,
        operation: str,
        take: Callable[[Node, Context], T],
        token: str,
        parts: dict[str, Any],
    ) -> T:
        with _nothing_asked():
            request = contract.request(
                operation, headerMessage=header(token, self._partner), **parts
            )
        async with self._gate:
            answer = await self._wire.post(self._service_url, request.body, action=request.action)
        context = self._context(answer.date or self._clock())
        return await asyncio.to_thread(self._take, answer, operation, take, context)

    def _take(
        self,
        answer: Answer,
        operation: str,
        take: Callable[[Node, Context], T],
        context: Context,
    ) -> T:
        if answer.status not in (200, 500) or not answer.is_xml:
            raise status_error(answer.status, answer.retry_after)
        try:
            root = parse(inflate(answer.body, answer.encoding, self._wire.size_limit))
        except ContractError as error:
            if answer.status == 500:
                raise status_error(500, answer.retry_after) from None
            raise ContractError(f"{operation}: {error}") from None
        return take(unwrap(root, operation, context.secrets), context)


class _NotAsked(ContractError):
    """A ContractError from before the request was sent."""


@contextmanager
def _nothing_asked() -> Iterator[None]:
    """What fails in here left the service without a request."""
    try:
        yield
    except TransientError as error:
        error.sent = False
        raise
    except ContractError as error:
        raise _NotAsked(*error.args) from None


def _worth_another_try(error: BaseException) -> bool:
    return isinstance(error, TransientError) and (error.retry_after or 0.0) <= _PATIENCE


def _pause(state: tenacity.RetryCallState) -> float:
    """0.5 s, then 2 s; what the service asks for if that is longer."""
    error = None if state.outcome is None else state.outcome.exception()
    asked = error.retry_after if isinstance(error, TransientError) else None
    steps = (0.5, 2.0)
    return max(steps[min(state.attempt_number, len(steps)) - 1], asked or 0.0)
