"""What this machine has to offer: configuration, secrets, folders, journal, unit, clock.

Nothing is made or repaired here, with one exception: a journal of an earlier version is brought
up to date when it is opened, as the daemon would do at its next start.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy.exc import NoResultFound

from mailbridge.bridge.probe import Proof, read_proof
from mailbridge.checkup.finding import Notes
from mailbridge.config.loader import Loaded, unreadable_secrets
from mailbridge.config.models import Account, Config
from mailbridge.daemon import KEY_FILE, STATE_FILES, journal_is_made, journal_url
from mailbridge.journal.journal import Journal, JournalError
from mailbridge.ops.custody import handed_over
from mailbridge.ops.lock import AlreadyRunning, InstanceLock
from mailbridge.ops.supervisor import PartStatus

__all__ = ["UNIT_FOLDERS", "clock_skew", "configuration", "daemon", "disk", "journal", "unit"]

UNIT_FOLDERS = tuple(
    Path(folder) / "mailbridge.service"
    for folder in (
        "/etc/systemd/system",
        "/run/systemd/system",
        "/usr/local/lib/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    )
)
"""Where a unit may be installed; the first that is there counts (systemd.unit(5))."""

_LITTLE, _TOO_LITTLE = 1_000_000_000, 100_000_000
"""Octets of free disk: attachments wait in the journal, and SQLite stops where the disk ends."""
_SCORE = 2.0
"""The shipped unit has 1.1; above this something was taken out of it."""
_OFF, _FAR_OFF = 30.0, 300.0
"""Seconds of clock error worth a word, and those that spoil dates and one-time codes."""

_AS_WHOM = "run this as root or as the user the daemon runs as"


async def configuration(notes: Notes, loaded: Loaded, account: str | None) -> None:
    """The warnings of the file, and whether every secret can be read."""

    def concerns(where: str) -> bool:
        return account is None or not where.startswith("accounts.") or _of(where) == account

    warnings = [w for w in loaded.warnings if concerns(w.where)]
    for warning in warnings:
        line = f" (line {warning.line})" if warning.line is not None else ""
        notes.warn((warning.where or "file") + line, warning.text)
    if not warnings:
        notes.ok("file", f"{loaded.path}: no mistake, nothing unwise")
    faults = [f for f in await unreadable_secrets(loaded.config) if concerns(f.where)]
    for fault in faults:
        notes.bad(fault.where, fault.text)
    if not faults:
        notes.ok("secrets", "every one can be read")


def _of(where: str) -> str:
    """The account in a key path such as `accounts.shop.imap.port`."""
    return where.split(".")[1] if where.count(".") else ""


async def disk(notes: Notes, config: Config) -> None:
    """The state directory: there, writable, private, with room; and the key in it."""
    await asyncio.to_thread(_disk, notes, config)


def _disk(notes: Notes, config: Config) -> None:
    home = config.state_dir
    try:
        there = next(p for p in (home, *home.parents) if p.exists())
    except PermissionError:  # systemd's /var/lib/private, to anybody but root
        notes.bad("state directory", f"{home} may not be looked into by this user", _AS_WHOM)
        return
    free = shutil.disk_usage(there).free
    room = f"{free / 1e9:.1f} GB free"
    if free < _TOO_LITTLE:
        notes.bad("disk", room, f"make room where {there} is")
    elif free < _LITTLE:
        notes.warn("disk", room, f"make room where {there} is")
    else:
        notes.ok("disk", room)
    if there != home:
        notes.info("state directory", f"{home} is not there yet; it is made at the first start")
        return
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        notes.bad("state directory", f"{home} may not be used by this user", _AS_WHOM)
        return
    mode = stat.S_IMODE(home.stat().st_mode)
    if mode & 0o077:
        notes.warn("state directory", f"{home} is open to others ({mode:04o})", f"chmod 700 {home}")
    else:
        notes.ok("state directory", f"{home} is writable and private")
    _files(notes, home)
    _key(notes, config, home)


def _files(notes: Notes, home: Path) -> None:
    """Files the daemon could not use, or others could: both come of commands run as root."""
    owner = home.stat().st_uid
    files = [file for file in home.iterdir() if file.is_file()]
    strange = sorted(f.name for f in files if f.stat().st_uid != owner)
    if strange:
        notes.warn(
            "owner",
            f"{', '.join(strange)}: not of the user {home} belongs to",
            f"chown --reference={home} {home}/*",
        )
    for file in sorted(files):
        mode = stat.S_IMODE(file.stat().st_mode)
        # The folder keeps others out of the rest; the key's own mode goes along into copies.
        if file.name == KEY_FILE and mode & 0o077:
            notes.bad("key", f"{file} is open to others ({mode:04o})", f"chmod 600 {file}")


def _key(notes: Notes, config: Config, home: Path) -> None:
    if config.key is not None:
        return  # a secret like the others
    key = home / KEY_FILE
    if key.exists():
        if all(f.what != "key" for f in notes.findings):
            notes.ok("key", f"{key}: into every backup, together with the journal")
    elif (home / "journal.sqlite3").exists():
        notes.bad(
            "key",
            f"the journal is there and {key} is not: replies to threads already filed would not be "
            "known as such",
            f"restore {KEY_FILE} from the backup before the daemon starts and makes a new one",
        )
    else:
        notes.info("key", "is made at the first start")


async def journal(
    notes: Notes, config: Config, names: Sequence[str], clock: Callable[[], datetime]
) -> dict[str, Proof]:
    """Open the journal, which no daemon has open; gives what is known of each reply mode."""
    home = config.state_dir
    if _is_shut(home):
        return {}  # said of the state directory
    if not _is_made(config):
        notes.info("journal", "is not there yet; it is made at the first start")
        return {}
    proofs: dict[str, Proof] = {}
    try:
        with handed_over(home, STATE_FILES), InstanceLock(home):
            async with AsyncExitStack() as stack:
                book = await Journal.open(journal_url(config), clock=clock)
                stack.push_async_callback(book.close)
                for name in names:
                    async with book.read(name) as tx:
                        try:
                            proofs[name] = read_proof((await tx.account()).probe)
                        except NoResultFound:
                            continue  # the account is new
    except AlreadyRunning as error:
        notes.bad(
            "journal",
            f"process {error.pid or '(unknown)'} works on {home} and does not answer at "
            f"{config.runtime_dir}",
            "if it is still starting, try again; else name the configuration it was started with",
        )
    except (JournalError, OSError) as error:
        notes.bad("journal", str(error))
    else:
        notes.ok("journal", "opens, and its tables are those of this version")
    return proofs


def _is_shut(home: Path) -> bool:
    return os.path.lexists(home) and not os.access(home, os.W_OK | os.X_OK)


def _is_made(config: Config) -> bool:
    try:
        return journal_is_made(config)
    except PermissionError:
        return False  # said of the state directory


async def daemon(notes: Notes, status: Mapping[str, Any], account: str | None) -> dict[str, Proof]:
    """What the running daemon says of itself; gives what it knows of each reply mode."""
    notes.ok("daemon", "runs, and has the journal open")
    for part in status.get("parts", ()):
        name = str(part["name"])
        if account is not None and "/" in name and name.partition("/")[0] != account:
            continue
        match part["state"]:
            case PartStatus.FAILED:
                notes.bad(name, part["error"], "mend it, then restart the daemon")
            case PartStatus.WAITING:
                notes.warn(name, part["error"], "it is tried again by itself")
            case _:
                pass
    return {a["account"]: Proof(**a["probe"]) for a in status["accounts"]}


async def unit(notes: Notes, folders: Sequence[Path] = UNIT_FOLDERS) -> None:
    """How well the installed unit shuts the daemon in, by `systemd-analyze security`."""
    installed = next((path for path in folders if path.is_file()), None)
    tool = shutil.which("systemd-analyze")
    if installed is None or tool is None:
        lacking = "no unit is installed" if installed is None else "systemd-analyze is not here"
        notes.info("unit", f"{lacking}; its hardening was not looked at")
        return
    process = await asyncio.create_subprocess_exec(
        tool,
        "security",
        "--offline=true",
        "--no-pager",
        str(installed),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(20):
            out, _ = await process.communicate()
    except TimeoutError:
        notes.info("unit", "systemd-analyze did not end; the unit's hardening is not known")
        return
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    told = out.decode("utf-8", "replace")
    score = re.search(r"exposure level for \S+: ([\d.]+)", told)
    if score is None:
        # Before systemd 250 there is no --offline.
        notes.info("unit", "this systemd-analyze cannot judge a unit file")
    elif float(score[1]) <= _SCORE:
        notes.ok("unit", f"{installed}: exposure {score[1]} of 10")
    else:
        notes.warn(
            "unit",
            f"{installed}: exposure {score[1]} of 10; the unit that comes with mailbridge has less",
            "compare it with systemd/mailbridge.service; changes of yours belong into "
            "`systemctl edit mailbridge`",
        )


async def clock_skew(notes: Notes, account: Account, clock: Callable[[], datetime]) -> None:
    """This machine's clock against the marketplace's, by the Date of any answer of its server.

    Where there is none nothing is said: whether the service can be reached is asked elsewhere.
    """
    async with httpx.AsyncClient(timeout=10, follow_redirects=False) as http:
        try:
            before = clock()
            answer = await http.head(account.marketplace.endpoint)
            after = clock()
            theirs = parsedate_to_datetime(answer.headers.get("Date", ""))
            off = (before + (after - before) / 2 - theirs).total_seconds()
        except (httpx.HTTPError, ValueError, TypeError):
            return  # TypeError: a date without a zone
    way_out = "let the machine keep its time: timedatectl set-ntp true"
    words = f"{abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the marketplace's"
    if abs(off) > _FAR_OFF:
        notes.bad("clock", words, way_out)
    elif abs(off) > _OFF:
        notes.warn("clock", words, way_out)
    else:
        notes.ok("clock", "agrees with the marketplace's")
