"""Tokens of a marketplace: got once, handed to all, renewed ahead of their end.

The rule: one sign-in at a time, whose outcome all who wait share, failure included (a wrong
password is tried once, not once a call). A token is renewed some time before it ends; should
that fail for a passing reason, the old one goes on until just before its end. How a service
issues a token, and which answers mean that one died, is each adapter's business.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from mailbridge.marketplace.port import TransientError

__all__ = ["Token", "TokenSource"]

_PAUSE = timedelta(minutes=10)
"""Between two tries to renew ahead of time, unless the token does not last that long."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Token:
    """A token and when it was asked for. Its repr does not show it."""

    value: str = field(repr=False)
    since: datetime
    renew_after: timedelta
    """Its age from which another one is asked for."""
    last_use: timedelta
    """Its age up to which it is used where that fails."""


class TokenSource(ABC):
    """Hands out a token that should work; `clock` gives aware times."""

    def __init__(self, *, marketplace: str, clock: Callable[[], datetime]) -> None:
        self._marketplace = marketplace
        self._clock = clock
        self._token: Token | None = None
        self._next_try: datetime | None = None
        self._signing_in: asyncio.Task[Token] | None = None

    @abstractmethod
    async def issue(self, since: datetime) -> Token:
        """Sign in, once. Raises CredentialsError, TransientError or ContractError."""

    async def current(self) -> Token:
        """A token that is not old; may sign in. Raises as `issue` does."""
        token = self._token
        if token is None:
            return await self._sign_in()
        now = self._clock()
        age = now - token.since
        # A clock that was set back would make a token young for ever.
        if timedelta(0) <= age < token.renew_after:
            return token
        usable = timedelta(0) <= age < token.last_use
        if usable and self._next_try is not None and now < self._next_try:
            return token
        self._next_try = now + min(_PAUSE, (token.last_use - token.renew_after) / 4)
        try:
            return await self._sign_in()
        except TransientError:
            if usable:
                log.warning("token_not_renewed", age_hours=round(age.total_seconds() / 3600, 1))
                return token
            raise

    async def renewed(self, refused: Token) -> Token:
        """Another token than the one just refused; signs in unless somebody else already did."""
        if self._token is not None and self._token is not refused:
            return self._token
        return await self._sign_in()

    async def aclose(self) -> None:
        """Give up a sign-in under way."""
        if self._signing_in is not None:
            self._signing_in.cancel()
            await asyncio.wait([self._signing_in])

    async def _sign_in(self) -> Token:
        task = self._signing_in
        if task is None:
            task = asyncio.create_task(self._issue(), name=f"{self._marketplace}-sign-in")
            task.add_done_callback(self._signed_in)
            self._signing_in = task
        # Shielded: one caller that gives up must not fail the others.
        return await asyncio.shield(task)

    def _signed_in(self, task: asyncio.Task[Token]) -> None:
        self._signing_in = None
        if not task.cancelled() and task.exception() is None:
            self._token = task.result()

    async def _issue(self) -> Token:
        token = await self.issue(self._clock())
        log.info("signed_in", marketplace=self._marketplace)
        return token
