"""One daemon per state directory: a second one would file and send everything twice.

The lock is flock(2) on a file that is never removed (removing it would let two processes hold
locks on two files of one name); the kernel lets go of it when the process ends, however it ends.
The pid written into it is only for the message.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

__all__ = ["AlreadyRunning", "InstanceLock"]


class AlreadyRunning(Exception):
    """Another process holds the state directory; `pid` is None where it could not be read."""

    def __init__(self, directory: Path, pid: int | None) -> None:
        who = f"process {pid}" if pid is not None else "another process"
        super().__init__(
            f"mailbridge already runs on {directory} ({who});"
            " stop it first, or give this one its own state_dir"
        )
        self.directory = directory
        self.pid = pid


class InstanceLock:
    """`with InstanceLock(state_dir): …` holds the directory for this process."""

    def __init__(self, directory: Path, *, name: str = "lock") -> None:
        self._directory = directory
        self._path = directory / name
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise `AlreadyRunning`; OSError where the file cannot be made."""
        if self._fd is not None:
            return
        # O_NOFOLLOW: nobody may point us at a file elsewhere. Token commands don't inherit it
        # (PEP 446): one that hangs on after us must not hold the lock.
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _pid(os.pread(fd, 32, 0))
            os.close(fd)
            raise AlreadyRunning(self._directory, pid) from None
        except BaseException:
            os.close(fd)
            raise
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Let go; safe to repeat."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.ftruncate(fd, 0)
            os.close(fd)

    def __enter__(self) -> InstanceLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _pid(text: bytes) -> int | None:
    word = text.strip()
    return int(word) if word.isdigit() else None
