"""The real daemon as a child process: started, listened to, asked, and ended.

It runs as `mailbridge run` would under systemd, with the same interpreter, and is spoken to over
its control socket only. Its log is read as it comes: JSON lines, of which the last are kept for
whoever has to explain a failure. It ends with us, also if we are killed (`leash`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mailbridge.ops.control import ControlClient, ControlError
from mailbridge.sandbox.leash import Leash

__all__ = ["Daemon", "DaemonTrouble"]

_STARTING = 45.0
"""Seconds until it must run; on two slow cores about five."""
_STOPPING = 3.0
"""Seconds it has for an orderly end."""
_LINE = 256 * 1024
_NOT_INHERITED = frozenset(
    {
        "JOURNAL_STREAM",
        "MAILBRIDGE_CONFIG",
        "NOTIFY_SOCKET",
        "RUNTIME_DIRECTORY",
        "STATE_DIRECTORY",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
    }
)


class DaemonTrouble(Exception):
    """It ended, or does not answer; `str()` says what is known, the log tail has the rest."""


class Daemon:
    """One `mailbridge run`. Use as `async with`; leaving it ends the process."""

    def __init__(
        self,
        config: Path,
        control: Path,
        *,
        on_event: Callable[[Mapping[str, Any]], None] = lambda _event: None,
    ) -> None:
        """`control` is its socket; `on_event` gets every line of its log, parsed."""
        self.tail: deque[str] = deque(maxlen=25)
        """The last lines it logged."""
        self._config = config
        self._client = ControlClient(control)
        self._on_event = on_event
        self._process: asyncio.subprocess.Process | None = None
        self._leash: Leash | None = None
        self._reading: asyncio.Task[None] | None = None
        self._running = asyncio.Event()

    @property
    def pid(self) -> int:
        """Of the child; 0 before the start."""
        return self._process.pid if self._process else 0

    async def __aenter__(self) -> Daemon:
        environ = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
        try:
            leash = self._leash = Leash()
            self._process = await asyncio.create_subprocess_exec(
                *leash.command(
                    *(sys.executable, "-m", "mailbridge"), *("--config", self._config, "run")
                ),
                stdin=leash.stdin,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=environ,
                limit=_LINE,
                # Ctrl-C at the terminal is for us, who end it in order.
                start_new_session=True,
            )
            self._reading = asyncio.create_task(self._listen(self._process))
            await self._started()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    def check(self) -> None:
        """Raises DaemonTrouble if it has ended."""
        code = self._process.returncode if self._process else None
        if code is not None:
            raise DaemonTrouble(f"the daemon ended by itself (exit code {code})")

    async def sweep(self) -> None:
        """Have it read the marketplace now instead of at its next turn; raises DaemonTrouble."""
        try:
            await self._client.ask("sweep")
        except ControlError as error:
            if self._process is not None:
                # It may just be dying.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await self._process.wait()
            self.check()
            raise DaemonTrouble(f"the daemon does not answer: {error}") from error

    async def _started(self) -> None:
        assert self._reading is not None  # noqa: S101 - set by the only caller
        running = asyncio.create_task(self._running.wait())
        try:
            await asyncio.wait(
                {running, self._reading}, timeout=_STARTING, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            running.cancel()
        if self._reading.done() and self._process is not None:
            await self._process.wait()
        self.check()
        if not self._running.is_set():
            raise DaemonTrouble(f"the daemon did not start within {_STARTING:.0f} s")

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None  # noqa: S101 - a pipe was asked for
        while True:
            try:
                raw = await process.stderr.readline()
            except ValueError:  # a line beyond the limit; its rest comes as further lines
                continue
            if not raw:
                return
            line = raw.decode(errors="replace").rstrip()
            self.tail.append(line)
            try:
                event = json.loads(line)
            except ValueError:
                continue  # a traceback, or a warning from before logging was set up
            if isinstance(event, dict):
                if event.get("event") == "mailbridge runs":
                    self._running.set()
                self._on_event(event)

    async def _stop(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(_STOPPING):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        leash, self._leash = self._leash, None
        if leash is not None:
            leash.let_go()
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
