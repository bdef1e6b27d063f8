"""A private Dovecot on loopback, for those who have one installed: a throw-away mailbox server.

It runs as whoever starts it, keeps everything in one folder, and leaves the machine's own Dovecot
alone. IMAP in the clear and LMTP; any user signs in with the one password. Only the
configuration of Dovecot 2.3 is known here: the caller falls back to the embedded server. It ends
with us, also if we are killed (`leash`).
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import pwd
import shutil
import signal
import socket
import time
from pathlib import Path

from mailbridge.sandbox.leash import Leash

__all__ = ["Dovecot", "DovecotUnusable", "find_dovecot", "free_port"]

_STARTING = 10.0
"""Seconds until both ports must greet."""


class DovecotUnusable(Exception):
    """It is not there, or does not start; `str()` says why in one line."""


def find_dovecot() -> Path | None:
    """The program, also in /usr/sbin, which an ordinary user's PATH leaves out."""
    found = shutil.which("dovecot") or shutil.which("dovecot", path="/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None


class Dovecot:
    """One server. `start` and `stop`; the folder is the caller's to remove."""

    def __init__(
        self, program: Path, folder: Path, *, password: str, imap_port: int, lmtp_port: int
    ) -> None:
        """`folder` must be there and empty; started by root it is opened for passing through."""
        self.imap_port = imap_port
        self.version = ""
        self._program = program
        self._folder = folder
        self._password = password
        self._lmtp_port = lmtp_port
        self._process: asyncio.subprocess.Process | None = None
        self._leash: Leash | None = None

    @property
    def lmtp_port(self) -> int:
        """Where mail is delivered (RFC 2033)."""
        return self._lmtp_port

    async def start(self) -> None:
        """Start and wait until it greets; raises DovecotUnusable, and nothing runs then."""
        self.version = await self._ask_version()
        if not self.version.startswith("2.3."):
            raise DovecotUnusable(f"Dovecot {self.version} is configured otherwise than 2.3")
        try:
            self._prepare()
            with (self._folder / "output.log").open("ab") as output:
                # Its own session, so that the whole family can be ended together, and so that
                # Ctrl-C at the terminal does not end it before those who use it.
                leash = self._leash = Leash()
                self._process = await asyncio.create_subprocess_exec(
                    *leash.command(self._program, "-F", "-c", self._folder / "dovecot.conf"),
                    stdin=leash.stdin,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            for port in (self.imap_port, self._lmtp_port):
                await self._await_greeting(port)
        except (OSError, KeyError) as error:
            await self.stop()
            raise DovecotUnusable(f"Dovecot does not start: {error}") from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End all of it at once; nothing in it is worth an orderly end."""
        process, self._process = self._process, None
        leash, self._leash = self._leash, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if leash is not None:
            leash.let_go()

    async def _ask_version(self) -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                self._program,
                "--version",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            output, _ = await process.communicate()
        except OSError as error:
            raise DovecotUnusable(f"Dovecot does not start: {error}") from error
        return (output.decode(errors="replace").split() or ["of an unknown version"])[0]

    async def _await_greeting(self, port: int) -> None:
        process = self._process
        deadline = time.monotonic() + _STARTING
        while process is not None and process.returncode is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(2):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    try:
                        if await reader.readline():
                            return
                    finally:
                        writer.close()
            await asyncio.sleep(0.02)
        raise DovecotUnusable(f"Dovecot does not start: {self._last_words()}")

    def _last_words(self) -> str:
        for name in ("dovecot.log", "output.log"):
            path = self._folder / name
            lines = path.read_text(errors="replace").split("\n") if path.exists() else []
            for line in reversed(lines):
                if "Fatal" in line or "Error" in line:
                    return line.strip()[-200:]
        return "it gives no reason"

    def _prepare(self) -> None:
        as_root = os.getuid() == 0
        me = pwd.getpwuid(os.getuid())
        # Dovecot refuses to handle mail as root; making a user for a demo would be too much.
        owner = pwd.getpwnam("nobody") if as_root else me
        group = grp.getgrgid(owner.pw_gid).gr_name
        for name in ("mail", "state"):
            (self._folder / name).mkdir(mode=0o700)
        if as_root:
            os.chown(self._folder / "mail", owner.pw_uid, owner.pw_gid)
            self._folder.chmod(0o711)
        # The password is in it.
        path = self._folder / "dovecot.conf"
        path.touch(mode=0o600)
        path.write_text(
            _CONFIGURATION.format(
                root=self._folder,
                name=f"mailbridge-{self.imap_port}",
                internal="dovecot" if as_root else me.pw_name,
                internal_group=("dovecot" if as_root else group),
                login="dovenull" if as_root else me.pw_name,
                # Only root may chroot.
                chroot="" if as_root else "chroot =",
                owner=owner.pw_name,
                group=group,
                password=self._password,
                folders="".join(
                    f"  mailbox {name} {{\n    special_use = \\{name}\n    auto = subscribe\n  }}\n"
                    for name in ("Archive", "Drafts", "Junk", "Sent", "Trash")
                ),
                imap=self.imap_port,
                lmtp=self._lmtp_port,
            )
        )


def free_port(wanted: int = 0) -> int:
    """`wanted` if nobody listens there on loopback, else a port the system chooses."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            # As servers do: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            chosen: int = probe.getsockname()[1]
            return chosen
    raise OSError("no free port on 127.0.0.1")


_CONFIGURATION = """\
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/dovecot.log
instance_name = {name}
listen = 127.0.0.1
protocols = imap lmtp
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {login}
first_valid_uid = 0
first_valid_gid = 0
mail_uid = {owner}
mail_gid = {group}
mail_home = {root}/mail/%u
mail_location = sdbox:~/sdbox
mail_fsync = never
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={owner} gid={group} home={root}/mail/%u allow_all_users=yes
}}
namespace inbox {{
  inbox = yes
  separator = /
{folders}}}
service imap-login {{
  {chroot}
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {lmtp}
  }}
}}
service stats {{
  {chroot}
}}
service anvil {{
  {chroot}
}}
"""
