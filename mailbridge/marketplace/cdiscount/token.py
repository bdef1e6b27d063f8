"""The service's token: got from its STS with login and password, good for 48 hours.

The rule: one sign-in at a time, whose outcome all who wait share, failure included (a wrong
password is tried once, not once a call). A new token is fetched after 40 hours; should that fail
for a passing reason, the old one goes on until just before its end. The bot guard before the
STS was seen to answer right credentials with a web page: that is no verdict on the password.

Which fault means that a token died is decided in `errors`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import httpx
import structlog

from mailbridge.marketplace.cdiscount.reading import inflate, parse
from mailbridge.marketplace.cdiscount.wire import Answer, Wire
from mailbridge.marketplace.port import ContractError, CredentialsError, TransientError

__all__ = ["LIFE", "RENEW_AFTER", "Token", "TokenSource"]

LIFE = timedelta(hours=48)
RENEW_AFTER = timedelta(hours=40)
_LAST_USE = timedelta(hours=47, minutes=30)
_PAUSE = timedelta(minutes=10)
"""Between two tries to renew ahead of time."""

_FORM = re.compile(r"[0-9a-fA-F]{32}")
_LONGEST = 10_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Token:
    """A token and when it was asked for. Its repr does not show it."""

    value: str = field(repr=False)
    since: datetime


class TokenSource:
    """Hands out a token that should work; `clock` gives aware times."""

    def __init__(
        self,
        wire: Wire,
        *,
        token_url: str,
        realm: str,
        login: str,
        password: Callable[[], Awaitable[str]],
        clock: Callable[[], datetime],
    ) -> None:
        # The realm goes out unescaped, as the service's own clients send it.
        self._url = f"{token_url}{'&' if '?' in token_url else '?'}realm={realm}"
        self._wire = wire
        self._login = login
        self._password = password
        self._clock = clock
        self._token: Token | None = None
        self._next_try: datetime | None = None
        self._signing_in: asyncio.Task[Token] | None = None

    async def current(self) -> Token:
        """A token that is not old; may sign in. Raises CredentialsError or TransientError."""
        token = self._token
        if token is None:
            return await self._sign_in()
        now = self._clock()
        age = now - token.since
        # A clock that was set back would make a token young for ever.
        if timedelta(0) <= age < RENEW_AFTER:
            return token
        usable = timedelta(0) <= age < _LAST_USE
        if usable and self._next_try is not None and now < self._next_try:
            return token
        self._next_try = now + _PAUSE
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
            task = asyncio.create_task(self._fetch(), name="cdiscount-sign-in")
            task.add_done_callback(self._signed_in)
            self._signing_in = task
        # Shielded: one caller that gives up must not fail the others.
        return await asyncio.shield(task)

    def _signed_in(self, task: asyncio.Task[Token]) -> None:
        self._signing_in = None
        if not task.cancelled() and task.exception() is None:
            self._token = task.result()

    async def _fetch(self) -> Token:
        since = self._clock()
        auth = httpx.BasicAuth(self._login, await self._password())
        answer = await self._wire.get(self._url, auth=auth)
        token = Token(_value(answer), since)
        log.info("signed_in", marketplace="cdiscount")
        return token


def _value(answer: Answer) -> str:
    if answer.status in (401, 403):
        raise CredentialsError(
            f"Cdiscount refused the login and password (HTTP {answer.status}): check `login` "
            "(it ends in -api) and `password`"
        )
    if answer.status != 200:
        raise TransientError(
            f"Cdiscount's sign-in is not available (HTTP {answer.status})",
            retry_after=answer.retry_after,
        )
    if len(answer.body) > _LONGEST:
        raise TransientError("Cdiscount's sign-in sent a page instead of a token")
    try:
        root = parse(inflate(answer.body, answer.encoding, _LONGEST))
    except ContractError:
        raise TransientError("Cdiscount's sign-in sent a page instead of a token") from None
    if root.name != "string":
        raise TransientError("Cdiscount's sign-in sent a page instead of a token")
    value = root.own_text().strip()
    if not _FORM.fullmatch(value):
        raise CredentialsError(
            "Cdiscount's sign-in gave a token that is not 32 hexadecimal digits: is the account "
            "open for the API?"
        )
    return value
