"""One daemon per state directory, proven with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mailbridge.ops.lock import AlreadyRunning, InstanceLock

HOLDER = """
import sys, pathlib
from mailbridge.ops.lock import InstanceLock
lock = InstanceLock(pathlib.Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def holder(directory: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_second_process_is_told_who_holds_it_and_gets_it_after_a_kill(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        with pytest.raises(AlreadyRunning) as caught:
            InstanceLock(tmp_path).acquire()
        assert caught.value.pid == process.pid
        assert f"already runs on {tmp_path} (process {process.pid})" in str(caught.value)
        process.send_signal(signal.SIGKILL)
        process.wait(5)
        with InstanceLock(tmp_path):
            pass  # nothing stale is left by a killed process
    finally:
        end(process)


def test_two_locks_in_one_process_exclude_each_other_until_release(tmp_path: Path) -> None:
    first = InstanceLock(tmp_path)
    first.acquire()
    first.acquire()  # safe to repeat
    with pytest.raises(AlreadyRunning) as caught:
        InstanceLock(tmp_path).acquire()
    assert caught.value.pid == os.getpid()
    first.release()
    first.release()
    with InstanceLock(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    assert (tmp_path / "lock").exists()
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_a_lock_without_a_readable_pid_still_excludes(tmp_path: Path) -> None:
    with InstanceLock(tmp_path):
        (tmp_path / "lock").write_text("who knows")
        with pytest.raises(AlreadyRunning, match="another process") as caught:
            InstanceLock(tmp_path).acquire()
    assert caught.value.pid is None


def test_a_child_does_not_inherit_it(tmp_path: Path) -> None:
    lock = InstanceLock(tmp_path)
    lock.acquire()
    child = subprocess.Popen(["sleep", "30"], close_fds=False)
    try:
        lock.release()
        with InstanceLock(tmp_path):
            pass
    finally:
        child.kill()
        child.wait()


def test_it_does_not_follow_a_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("data")
    (tmp_path / "lock").symlink_to(precious)
    with pytest.raises(OSError, match="symbolic"):
        InstanceLock(tmp_path).acquire()
    assert precious.read_text() == "data"


def test_a_missing_directory_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        InstanceLock(tmp_path / "none").acquire()
