"""A copy of this process, to try something in and throw away.

A fork takes everything along as it stands: the sandbox's servers with all they hold, the people's
half-told story, the clock. So what led to a moment is played once, however many power cuts are
tried from there. The original waits until its copy has ended; only then are the sockets they
share its own again. Nothing of the event loop may be running, and no thread, when it is made.
"""

from __future__ import annotations

import asyncio
import gc
import os
import selectors
import signal
import traceback
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

__all__ = ["Forking"]

T = TypeVar("T")


class Forking:
    """An event loop that survives being copied. Use as `with`, outside of any other loop."""

    def __init__(self) -> None:
        # Not epoll: its set of sockets lives in the kernel and would be one for both processes.
        self._runner = asyncio.Runner(
            loop_factory=lambda: asyncio.SelectorEventLoop(selectors.PollSelector())
        )
        self._threads = ThreadPoolExecutor()

    def __enter__(self) -> Forking:
        self._runner.__enter__()
        self._runner.get_loop().set_default_executor(self._threads)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._runner.__exit__(kind, error, trace)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Let the loop run until this is done."""
        return self._runner.run(work)

    def apart(self, work: Callable[[], Coroutine[Any, Any, object]]) -> str:
        """Do this in a copy that is thrown away. Returns what it raised, empty for nothing."""
        self._threads.shutdown()
        self._renew_threads()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reading)
                said = self._attempt(work)
                with os.fdopen(writing, "w", encoding="utf-8") as pipe:
                    pipe.write(said)
            finally:
                os._exit(0)  # past everything that belongs to the original, pytest above all
        os.close(writing)
        said = ""
        try:
            with os.fdopen(reading, encoding="utf-8") as pipe:
                said = pipe.read()
        finally:
            if not said:
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        return said.removeprefix(_ENDED) if said else "it died on the way"

    def _attempt(self, work: Callable[[], Coroutine[Any, Any, object]]) -> str:
        self._renew_threads()
        gc.disable()  # it would touch every object, and each page touched is copied
        try:
            self.run(work())
        except BaseException:
            return _ENDED + traceback.format_exc()
        return _ENDED

    def _renew_threads(self) -> None:
        """Threads are not copied; an executor that believes it has some would wait for them."""
        self._threads = ThreadPoolExecutor()
        self._runner.get_loop().set_default_executor(self._threads)


_ENDED = "."
"""First of what a copy says: without it, it died on the way."""
