"""Bearer tokens of the newer door: client id and secret in, a token for two hours out."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from mailbridge.sandbox.books import TokenState
from mailbridge.sandbox.clock import Clock
from mailbridge.sandbox.octopia.rules import Rules

__all__ = ["TokenDesk"]

_HOUR = timedelta(hours=1)


class TokenDesk:
    """Gives tokens and knows them again."""

    def __init__(self, clock: Clock, rng: Random, rules: Rules) -> None:
        self._clock = clock
        self._rng = rng
        self._rules = rules
        self._until: dict[str, datetime] = {}
        self.asked: list[datetime] = []
        """When tokens were asked for, well or ill: what the quota counts."""

    def wait(self) -> int:
        """Note one more asking; seconds until the quota allows it, 0 where it does."""
        now = self._clock()
        recent = [moment for moment in self.asked if now - moment < _HOUR]
        self.asked.append(now)
        if len(recent) < self._rules.token_quota:
            return 0
        return max(1, int((recent[-self._rules.token_quota] + _HOUR - now).total_seconds()))

    def issue(self) -> str:
        """A new token; older ones stay valid."""
        # In the shape of a JWT, which is what the service gives; nobody may look inside.
        token = f"eyJhbGciOiJSUzI1NiJ9.{self._rng.getrandbits(192):048x}.c2lnbmVk"
        self._until[token] = self._clock() + self._rules.token_life
        return token

    def state(self, authorization: str) -> TokenState:
        """What a request with this header gets."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return TokenState.MALFORMED
        until = self._until.get(token.strip())
        if until is None:
            return TokenState.UNKNOWN
        return TokenState.VALID if self._clock() < until else TokenState.EXPIRED

    def expire(self) -> None:
        """Every token issued so far has expired."""
        self._until = dict.fromkeys(self._until, self._clock())
