"""Commands without a running daemon: on the journal itself.

The rules: what only looks makes nothing, so that the first journal and key are the daemon's own;
and what is made as root in a folder of the daemon's user is handed to that user at the end.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from mailbridge.bridge.operations import Operations
from mailbridge.config.models import Config
from mailbridge.daemon import KEY_FILE, STATE_FILES, bridges, journal_is_made
from mailbridge.ops.control import CommandFailed
from mailbridge.ops.custody import handed_over
from mailbridge.ops.lock import InstanceLock

__all__ = ["offline"]

_START = "it is made at the first start: sudo systemctl start mailbridge, or mailbridge run"


@contextlib.asynccontextmanager
async def offline(config: Config, *, begins: bool = False) -> AsyncIterator[Operations]:
    """The operator's side of all accounts, held for this process alone.

    `begins`: the command may be the first of all, and makes what is not there yet. Raises
    CommandFailed with the way out, AlreadyRunning, JournalError, SecretError, OSError.
    """
    if begins:
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif lacking := _lacking(config):
        raise CommandFailed(lacking)
    with handed_over(config.state_dir, STATE_FILES), InstanceLock(config.state_dir):
        async with bridges(config) as built:
            yield Operations(built.accounts)


def _lacking(config: Config) -> str:
    home = config.state_dir
    try:
        if not home.is_dir():
            return f"no daemon runs, and there is no {home} yet; {_START}"
        if not journal_is_made(config):
            return f"no daemon runs, and there is no journal in {home} yet; {_START}"
        if config.key is None and not (home / KEY_FILE).exists():
            return (
                f"the journal is there and {home / KEY_FILE} is not: restore it from the backup; "
                "a daemon that starts without it makes a new one, and replies to threads already "
                "filed are then held"
            )
    except PermissionError:
        return f"no daemon runs, and {home} may not be looked into by this user: run this with sudo"
    return ""
