"""One call of the service from beginning to end: contract, token, HTTP, verdict, values.

The rule: a call is made again only where that is safe. Any call, once, when the service refused
its token (then it did nothing); and a call that only reads, a few times with pauses, when the
network or the service failed. Reading an answer happens in a thread, whole.

Which operations there are and what their answers mean is the business of `adapter`, `listing`
and `mapping`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

from mailbridge.marketplace.cdiscount.envelope import header, unwrap
from mailbridge.marketplace.cdiscount.errors import TokenRefused, status_error
from mailbridge.marketplace.cdiscount.mapping import Context
from mailbridge.marketplace.cdiscount.reading import Node, parse
from mailbridge.marketplace.cdiscount.wsdl import Contract, load
from mailbridge.marketplace.patience import NotAskedError, nothing_asked, patiently
from mailbridge.marketplace.port import ContractError, RefusedError, TransientError
from mailbridge.marketplace.token import TokenSource
from mailbridge.marketplace.wire import Answer, Wire, inflate

__all__ = ["SoapClient"]

_SOAP = "text/xml; charset=utf-8"
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
        return await patiently(
            lambda: self._once(operation, take, parts),
            within=self._timeout / 2,
            sleep=self._sleep,
        )

    async def call(self, operation: str, take: Callable[[Node, Context], T], **parts: Any) -> T:
        """Call an operation with an effect, once; `take` turns its result into a value.

        What is wrong before anything is asked (contract, sign-in) surely had no effect: it is a
        RefusedError, or a TransientError with `sent=False`, never a ContractError.
        """
        try:
            return await self._once(operation, take, parts)
        except NotAskedError as error:
            raise RefusedError(f"nothing was asked: {error}") from None

    async def _once(
        self, operation: str, take: Callable[[Node, Context], T], parts: dict[str, Any]
    ) -> T:
        with nothing_asked():
            contract = await self.contract()
            token = await self._tokens.current()
        try:
            return await self._call(contract, operation, take, token.value, parts)
        except TokenRefused:
            with nothing_asked():
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
        with nothing_asked():
            request = contract.request(
                operation, headerMessage=header(token, self._partner), **parts
            )
        async with self._gate:
            answer = await self._wire.send(
                "POST",
                self._service_url,
                headers={"Content-Type": _SOAP, "SOAPAction": request.action},
                content=request.body,
            )
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
