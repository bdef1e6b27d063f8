"""The bearer token: got with client id and secret (OAuth 2.0, RFC 6749 section 4.4).

The life of a token is what `expires_in` says: the pages speak of two hours, a program of five
minutes. Asking is the only thing known to be limited (500 an hour, and several accounts may share
a client), so a token is used to within a tenth of its life, and a service that refuses one after
another is not asked for more and more of them.
"""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from mailbridge.marketplace.port import ContractError, CredentialsError, TransientError
from mailbridge.marketplace.scrub import scrub
from mailbridge.marketplace.token import Token, TokenSource
from mailbridge.marketplace.wire import Answer, Wire, inflate

__all__ = ["ClientTokens"]

_UNSAID = 7200.0
_SHORTEST, _LONGEST = 30.0, 24 * 3600.0
"""Seconds: a life outside of these is read as the nearer one."""
_LONGEST_ANSWER = 100_000
_VALUE = re.compile(r"[\x21-\x7e]{8,16384}")
_MOST_RENEWALS, _SPAN = 10, timedelta(minutes=10)
"""So many refused tokens within this time are renewed."""
_PASSING = frozenset({"temporarily_unavailable", "server_error", "slow_down"})


class ClientTokens(TokenSource):
    """Tokens of one client; `secret` is asked at each sign-in."""

    def __init__(
        self,
        wire: Wire,
        *,
        token_url: str,
        client_id: str,
        secret: Callable[[], Awaitable[str]],
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__(marketplace="octopia", clock=clock)
        self._wire = wire
        self._url = token_url
        self._client_id = client_id
        self._secret = secret
        self._renewals: deque[datetime] = deque(maxlen=_MOST_RENEWALS)

    async def renewed(self, refused: Token) -> Token:
        """Another token, unless too many were refused lately: CredentialsError then.

        A right that is missing for one kind of call may be told by a 401 as well.
        """
        now = self._clock()
        if refused is self._token:
            full = len(self._renewals) == _MOST_RENEWALS
            if full and timedelta(0) <= now - self._renewals[0] < _SPAN:
                raise CredentialsError(
                    "Octopia refuses one token after another (HTTP 401): check `client_id`, "
                    "`seller_id` and the rights of the client"
                )
            self._renewals.append(now)
        return await super().renewed(refused)

    async def issue(self, since: datetime) -> Token:
        """Sign in. Raises CredentialsError, TransientError or ContractError."""
        secret = await self._secret()
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": secret,
        }
        answer = await self._wire.send(
            "POST",
            self._url,
            headers={
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
            },
            content=urlencode(form).encode(),
        )
        data = _object(answer)
        if answer.status != 200:
            raise _refusal(answer, data, (secret, self._client_id))
        value = data.get("access_token")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise TransientError("Octopia's sign-in sent no token")
        life = _life(data.get("expires_in"))
        ahead = min(life / 2, max(60.0, life / 10))
        return Token(
            value,
            since,
            renew_after=timedelta(seconds=life - ahead),
            last_use=timedelta(seconds=life - min(15.0, ahead / 2)),
        )


def _object(answer: Answer) -> dict[str, Any]:
    """The answer's JSON object, empty if it is something else."""
    if len(answer.body) > _LONGEST_ANSWER:
        return {}
    try:
        data = json.loads(inflate(answer.body, answer.encoding, _LONGEST_ANSWER))
    except (ContractError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _refusal(
    answer: Answer, data: dict[str, Any], secrets: tuple[str, ...]
) -> CredentialsError | TransientError | ContractError:
    code = data.get("error")
    code = code if isinstance(code, str) else ""
    if code in _PASSING or answer.status in (408, 425, 429) or answer.status >= 500:
        return TransientError(
            f"Octopia's sign-in is not available (HTTP {answer.status})",
            sent=False,
            retry_after=answer.retry_after,
        )
    # A realm that is gone says so with a 404, and an `error` of its own.
    if answer.status in (404, 405, 410):
        return ContractError(
            f"no sign-in at this address (HTTP {answer.status}): check `token_url`"
        )
    if code or answer.status == 401:
        words = scrub(code, secrets) or "no reason given"
        return CredentialsError(
            f"Octopia refused client id and secret (HTTP {answer.status}, {words}): check "
            "`client_id` and `client_secret`; they are made in the Seller Zone"
        )
    return TransientError(
        f"Octopia's sign-in sent a page instead of a token (HTTP {answer.status})", sent=False
    )


def _life(said: object) -> float:
    try:
        seconds = _UNSAID if said is None else float(str(said))
    except ValueError:
        seconds = _UNSAID
    if not math.isfinite(seconds):
        seconds = _UNSAID
    return min(max(seconds, _SHORTEST), _LONGEST)
