"""When a call is made again, and what one that failed before it was made can have done.

The rule: only a call that reads is repeated, a few times with pauses, when the network or the
service failed in passing. What fails on the way to a request (a sign-in, a contract, a reading
that comes before) left the service without it: `nothing_asked` marks such errors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import tenacity

from mailbridge.marketplace.port import ContractError, TransientError

__all__ = ["NotAskedError", "nothing_asked", "patiently"]

_TRIES = 3
_PATIENCE = 10.0
"""Seconds: longest Retry-After that is waited for within a call."""
_STEPS = (0.5, 2.0)

T = TypeVar("T")


class NotAskedError(ContractError):
    """A ContractError from before the request was sent: it had no effect."""


async def patiently(
    read: Callable[[], Awaitable[T]], *, within: float, sleep: Callable[[float], Awaitable[None]]
) -> T:
    """Read, up to three times on a TransientError; no more tries begin after `within` seconds.

    Pauses 0.5 s, then 2 s, or what the service asks for if that is longer but not over 10 s.
    """

    async def once() -> T:
        return await read()

    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(_worth_another_try),
        stop=tenacity.stop_after_attempt(_TRIES) | tenacity.stop_after_delay(within),
        wait=_pause,
        sleep=sleep,
        reraise=True,
    )
    return await retrying(once)


@contextmanager
def nothing_asked() -> Iterator[None]:
    """What fails in here left the service without a request."""
    try:
        yield
    except TransientError as error:
        error.sent = False
        raise
    except NotAskedError:
        raise
    except ContractError as error:
        raise NotAskedError(*error.args) from None


def _worth_another_try(error: BaseException) -> bool:
    return isinstance(error, TransientError) and (error.retry_after or 0.0) <= _PATIENCE


def _pause(state: tenacity.RetryCallState) -> float:
    error = None if state.outcome is None else state.outcome.exception()
    asked = error.retry_after if isinstance(error, TransientError) else None
    return max(_STEPS[min(state.attempt_number, len(_STEPS)) - 1], asked or 0.0)
