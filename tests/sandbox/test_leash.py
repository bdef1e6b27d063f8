"""Whoever puts up a sandbox and is killed leaves no process behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from mailbridge.sandbox.leash import Leash
from tests.requirements import find_tool
from tests.source import ROOT

_STAGE = """
import asyncio, sys
from random import Random
from mailbridge.sandbox.daemon import Daemon
from mailbridge.sandbox.stage import open_stage

async def work():
    async with open_stage(rng=Random(1)) as stage:
        async with Daemon(stage.settings.path, stage.settings.control):
            print(stage.mailbox_server, stage.settings.path.parent, sep="\\n", flush=True)
            await asyncio.sleep(600)

asyncio.run(work())
"""


def processes(word: str) -> list[int]:
    """Those whose command line has the word in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:  # it has just ended
            continue
        if word.encode() in words:
            found.append(int(path.parent.name))
    return found


def gone(word: str, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while processes(word) and time.monotonic() < end:
        time.sleep(0.05)
    return not processes(word)


async def test_a_killed_sandbox_takes_dovecot_and_daemon_with_it() -> None:
    find_tool("dovecot", "apt-get install dovecot-imapd dovecot-lmtpd")
    environ = {k: v for k, v in os.environ.items() if k != "MAILBRIDGE_SANDBOX_IMAP"}
    stage = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _STAGE),
        stdout=asyncio.subprocess.PIPE,
        env={**environ, "PYTHONPATH": str(ROOT)},
    )
    assert stage.stdout is not None
    try:
        server, home = [(await stage.stdout.readline()).decode().strip() for _ in range(2)]
        assert server.startswith("Dovecot")
        assert len(processes(home)) == 4  # Dovecot's master, the daemon, a watcher beside each
    finally:
        stage.kill()
        await stage.wait()
    assert gone(home)


async def held(leash: Leash, script: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *leash.command("/bin/sh", "-c", script),
        stdin=leash.stdin,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


async def test_a_held_program_is_its_own_master() -> None:
    """Its number, its signals, its exit code, its empty input and its output."""
    leash = Leash()
    process = await held(leash, "trap 'exit 7' TERM; cat; echo $$; sleep 60 >/dev/null & wait")
    assert process.stdout is not None
    assert int(await process.stdout.readline()) == process.pid
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 7
    leash.let_go()


async def test_what_a_held_program_started_ends_with_it() -> None:
    leash = Leash()
    process = await held(leash, "sleep 61.0625 >/dev/null & echo; wait")
    assert process.stdout is not None
    await process.stdout.readline()
    process.kill()
    await process.wait()
    assert processes("61.0625")
    leash.let_go()
    assert gone("61.0625")
