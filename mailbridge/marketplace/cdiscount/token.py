"""The service's token: got from its STS with login and password, good for 48 hours.

A new token is fetched after 40 hours. The bot guard before the STS was seen to answer right
credentials with a web page: that is no verdict on the password. Which fault means that a token
died is decided in `errors`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import httpx

from mailbridge.marketplace.cdiscount.reading import parse
from mailbridge.marketplace.port import ContractError, CredentialsError, TransientError
from mailbridge.marketplace.token import Token, TokenSource
from mailbridge.marketplace.wire import Answer, Wire, inflate

__all__ = ["LIFE", "RENEW_AFTER", "StsTokens"]

LIFE = timedelta(hours=48)
RENEW_AFTER = timedelta(hours=40)
_LAST_USE = timedelta(hours=47, minutes=30)

_FORM = re.compile(r"[0-9a-fA-F]{32}")
_LONGEST = 10_000


class StsTokens(TokenSource):
    """Tokens of one account; `password` is asked at each sign-in."""

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
        super().__init__(marketplace="cdiscount", clock=clock)
        # The realm goes out unescaped, as the service's own clients send it.
        self._url = f"{token_url}{'&' if '?' in token_url else '?'}realm={realm}"
        self._wire = wire
        self._login = login
        self._password = password

    async def issue(self, since: datetime) -> Token:
        """Sign in. Raises CredentialsError or TransientError."""
        auth = httpx.BasicAuth(self._login, await self._password())
        answer = await self._wire.get(self._url, auth=auth)
        return Token(_value(answer), since, RENEW_AFTER, _LAST_USE)


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
