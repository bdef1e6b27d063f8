"""Speaking to the service manager: sd_notify(3) and its watchdog, without a library.

The watchdog is fed by progress, not by a timer: WATCHDOG=1 is only sent while every part that
should be moving has moved within its own limit. A part that is known to be down and waits for
its next try is excused: it is being looked after, and a restart would not mend a mail server.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog

from mailbridge.ops.supervisor import PartState, PartStatus

__all__ = ["Notifier", "Watchdog"]

log = structlog.get_logger(__name__)

_STATUS_LIMIT = 200  # characters: one line of `systemctl status`


class Notifier:
    """Tells the service manager how we are; says nothing where there is none.

    Every method gives True if the manager was told, and never raises or blocks.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # unix(7): a leading zero byte is the abstract namespace, written `@` in the variable.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._environ = environ

    @property
    def watchdog_period(self) -> float | None:
        """Seconds within which WATCHDOG=1 is expected of this process; None: not at all."""
        try:
            period = int(self._environ.get("WATCHDOG_USEC", "")) / 1_000_000
            meant = int(self._environ.get("WATCHDOG_PID", "") or os.getpid())
        except ValueError:
            return None
        return period if period > 0 and meant == os.getpid() else None

    def ready(self, status: str = "") -> bool:
        """Start-up is complete (Type=notify)."""
        return self._send("READY=1", *([_status(status)] if status else []))

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self._send(_status(text))

    def stopping(self) -> bool:
        """Shutdown has begun."""
        return self._send("STOPPING=1")

    def watchdog(self) -> bool:
        """We are alive: the watchdog's timer starts anew."""
        return self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> bool:
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.connect(self._address)
                sock.sendall("\n".join(assignments).encode())
        except (OSError, ValueError) as error:
            log.warning("service manager not told", what=assignments[0], error=error)
            return False
        return True


class Watchdog:
    """Knows which parts should be moving, and feeds the manager's watchdog while all of them do."""

    def __init__(
        self,
        notifier: Notifier,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._notifier = notifier
        self._monotonic = monotonic
        self._sleep = sleep
        self._limits: dict[str, float] = {}
        self._beats: dict[str, float] = {}

    def expect(self, part: str, within: float) -> None:
        """From now on this part must `beat` at least every `within` seconds."""
        self._limits[part] = within
        self._beats[part] = self._monotonic()

    def beat(self, part: str) -> None:
        """The part got something done just now; unknown parts are taken no notice of."""
        if part in self._beats:
            self._beats[part] = self._monotonic()

    def excuse(self, part: str) -> None:
        """Nothing is expected of this part until the next `expect` or `resume`."""
        self._beats.pop(part, None)

    def resume(self, part: str) -> None:
        """An excused part is at work again: its old limit holds from now on."""
        if part in self._limits:
            self._beats[part] = self._monotonic()

    def follow(self, state: PartState) -> None:
        """A `Supervisor`'s listener: excuses parts that are down, resumes those at work."""
        if state.state in (PartStatus.WAITING, PartStatus.FAILED):
            self.excuse(state.name)
        else:
            self.resume(state.name)

    def late(self) -> list[str]:
        """The parts that should have moved and have not, by name."""
        now = self._monotonic()
        return sorted(part for part, beat in self._beats.items() if now - beat > self._limits[part])

    def feed(self) -> bool:
        """Send WATCHDOG=1 if no part is late; True if it was sent."""
        if late := self.late():
            log.error("watchdog not fed", late=late)
            self._notifier.status(f"no progress: {', '.join(late)}")
            return False
        return self._notifier.watchdog()

    async def run(self) -> None:
        """Feed twice a period for ever, as sd_watchdog_enabled(3) advises; ends at once if the
        manager wants no watchdog."""
        period = self._notifier.watchdog_period
        if period is None:
            return
        while True:
            self.feed()
            await self._sleep(period / 2)


def _status(text: str) -> str:
    # A line end would begin another assignment.
    return f"STATUS={' '.join(text.split())[:_STATUS_LIMIT]}"
