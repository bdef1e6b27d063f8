"""Parts of the daemon that run for ever, each looked after by itself.

The rule: one failing part never stops another, and never hides. A part that ends, by an error or
not, is started again after a pause that grows with each failure in a row and shrinks back once
the part has been well for a while. What a failure means is decided by a `classify` callable; how
each part stands is a `PartState`, which `status` shows and alerts listen to.

Which parts there are and what they do does not live here.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import structlog
import tenacity
from tenacity.wait import wait_base

__all__ = [
    "Alive",
    "Backoff",
    "Listener",
    "Part",
    "PartState",
    "PartStatus",
    "Supervisor",
    "Trouble",
    "type_only",
]

log = structlog.get_logger(__name__)

Alive = Callable[[], None]
"""A part calls this whenever it got something done: the first time it is up, later it still is."""


class PartStatus(StrEnum):
    """Where a part stands."""

    STARTING = "starting"
    """Begun, and nothing done yet."""
    RUNNING = "running"
    WAITING = "waiting"
    """Failed; tried again at `retry_at`."""
    FAILED = "failed"
    """Failed, and trying again is no use before a person has done something (`retry`)."""


@dataclass(frozen=True, slots=True)
class PartState:
    """How a part stands, as `status` shows it. Times are aware and in UTC."""

    name: str
    state: PartStatus
    since: datetime
    error: str = ""
    """Of the last failure, in words that may be shown and logged; kept until the part is well."""
    retry_at: datetime | None = None
    failures: int = 0
    """In a row."""


@dataclass(frozen=True, slots=True)
class Part:
    """Something that runs for ever. `run` gets an `Alive` to report progress with."""

    name: str
    run: Callable[[Alive], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Trouble:
    """What an error means. `words` may be shown and logged."""

    words: str
    retry: bool = True
    """False: no use before a person has done something."""
    pause: float = 0.0
    """At least so many seconds before the next try (a server that named a time)."""
    expected: bool = False
    """A known kind of trouble: the log needs no traceback."""


def type_only(error: BaseException) -> Trouble:
    """The classification for errors nobody knows: its type, for its text may hold anything."""
    return Trouble(f"unexpected error ({type(error).__name__})")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait after the nth failure in a row.

    `wait` is any strategy of tenacity without chance in it. Of what it says, the last third is
    left to `chance` (0 ≤ chance() < 1), so that fifty accounts do not come back all at once.
    """

    wait: wait_base = field(default_factory=lambda: tenacity.wait_exponential(2, max=300))
    chance: Callable[[], float] = random.random
    good_after: float = 120.0
    """Seconds without failure after which a part counts as well and failures start anew."""

    def pause(self, failures: int) -> float:
        """Seconds to wait after this many failures in a row, 1 at least."""
        attempt = tenacity.RetryCallState(tenacity.AsyncRetrying(), None, (), {})
        attempt.attempt_number = failures
        return self.wait(attempt) * (1 - self.chance() / 3)


Listener = Callable[[PartState], None]


class Supervisor:
    """Runs parts until it is cancelled; knows how each one stands."""

    def __init__(
        self,
        *,
        classify: Callable[[BaseException], Trouble] = type_only,
        backoff: Backoff | None = None,
        on_beat: Callable[[str], None] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`on_beat` hears the name of a part at each of its signs of life (the watchdog's)."""
        self._classify = classify
        self._tools = _Tools(
            backoff=backoff or Backoff(),
            on_beat=on_beat or (lambda name: None),
            judge=self._judge,
            publish=self._publish,
            clock=clock,
            monotonic=monotonic,
            sleep=sleep,
        )
        self._states: dict[str, PartState] = {}
        self._listeners: list[Listener] = []
        self._caretakers: dict[str, _Caretaker] = {}

    @property
    def states(self) -> Mapping[str, PartState]:
        """All parts by name, as they stand now."""
        return dict(self._states)

    def listen(self, listener: Listener) -> None:
        """Call this at every change of a state; what it raises is logged and goes no further."""
        self._listeners.append(listener)

    def retry(self, name: str) -> bool:
        """Try a waiting or failed part again now; False if there is no such part waiting."""
        state = self._states.get(name)
        if state is None or state.state not in (PartStatus.WAITING, PartStatus.FAILED):
            return False
        self._caretakers[name].nudge.set()
        return True

    async def run(self, parts: Sequence[Part]) -> None:
        """Look after these parts until cancelled; raises ValueError if two have one name."""
        self._caretakers = {part.name: _Caretaker(part, self._tools) for part in parts}
        if len(self._caretakers) < len(parts):
            raise ValueError("two parts have the same name")
        async with asyncio.TaskGroup() as group:
            for name, caretaker in self._caretakers.items():
                group.create_task(caretaker.look_after(), name=name)

    def _judge(self, error: BaseException) -> Trouble:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        try:
            return self._classify(error)
        except Exception:
            log.exception("error could not be classified", error_type=type(error).__name__)
            return type_only(error)

    def _publish(self, state: PartState) -> None:
        self._states[state.name] = state
        for listener in self._listeners:
            try:
                listener(state)
            except Exception:
                log.exception("listener failed", part=state.name)


@dataclass(frozen=True, slots=True)
class _Tools:
    """What every caretaker works with."""

    backoff: Backoff
    on_beat: Callable[[str], None]
    judge: Callable[[BaseException], Trouble]
    publish: Listener
    clock: Callable[[], datetime]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]


class _Caretaker:
    """Looks after one part. `nudge` ends its pause."""

    def __init__(self, part: Part, tools: _Tools) -> None:
        self.nudge = asyncio.Event()
        self._part = part
        self._tools = tools
        self._state = PartState(part.name, PartStatus.STARTING, tools.clock())
        self._well_since: float | None = None
        self._run = 0

    async def look_after(self) -> None:
        """Run the part, and again after each failure."""
        while True:
            self._run += 1
            self._well_since = None
            self._change(state=PartStatus.STARTING, since=self._tools.clock(), retry_at=None)
            cause: BaseException | None = None
            trouble = Trouble("ended by itself", expected=True)
            try:
                await self._part.run(self._alive_of(self._run))
            except asyncio.CancelledError as error:
                # Ours to obey, unless it came out of a library's own business inside the part.
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                cause, trouble = error, self._tools.judge(error)
            except Exception as error:
                cause, trouble = error, self._tools.judge(error)
            await self._pause(trouble, cause)

    def _alive_of(self, run: int) -> Alive:
        def alive() -> None:
            # A task left over from an earlier run must not vouch for this one.
            if run == self._run and self._state.state in (PartStatus.STARTING, PartStatus.RUNNING):
                self._sign_of_life()

        return alive

    def _sign_of_life(self) -> None:
        self._tools.on_beat(self._part.name)
        if self._well_since is None:
            self._well_since = self._tools.monotonic()
            log.info("part running", part=self._part.name)
            self._change(state=PartStatus.RUNNING, since=self._tools.clock())
        elif self._state.failures and self._is_well():
            self._change(error="", failures=0)

    def _is_well(self) -> bool:
        if self._well_since is None:
            return False
        return self._tools.monotonic() - self._well_since >= self._tools.backoff.good_after

    async def _pause(self, trouble: Trouble, cause: BaseException | None) -> None:
        failures = 1 if self._is_well() else self._state.failures + 1
        now = self._tools.clock()
        seconds = max(self._tools.backoff.pause(failures), trouble.pause)
        log.warning(
            "part failed",
            part=self._part.name,
            error=trouble.words,
            failures=failures,
            retry_in=round(seconds, 1) if trouble.retry else None,
            exc_info=None if trouble.expected else cause,
        )
        self.nudge.clear()
        self._change(
            state=PartStatus.WAITING if trouble.retry else PartStatus.FAILED,
            since=now,
            error=trouble.words,
            retry_at=now + timedelta(seconds=seconds) if trouble.retry else None,
            failures=failures,
        )
        if not trouble.retry:
            await self.nudge.wait()
            return
        waits = [
            asyncio.ensure_future(self._tools.sleep(seconds)),
            asyncio.ensure_future(self.nudge.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _change(self, **changes: Any) -> None:
        self._state = replace(self._state, **changes)
        self._tools.publish(self._state)
