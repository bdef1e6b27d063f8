"""A private Dovecot 2.3 on free loopback ports, for tests: IMAP, STARTTLS, IMAPS and LMTP.

Its certificate is for localhost and 127.0.0.1; it listens on 127.0.0.2 too.

Any user signs in with PASSWORD, or with a token from `token(user)`. Works as root (mail belongs
to `vmail`, made where missing) and as an ordinary user. Nothing outside its folder is touched.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import grp
import hashlib
import hmac
import json
import os
import pwd
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

import trustme

from mailbridge.sandbox.leash import Leash
from tests.requirements import find_tool

__all__ = ["PASSWORD", "Dovecot", "Format", "token"]

Format = Literal["sdbox", "maildir"]

PASSWORD = "secret"
_KEY = b"a key for tests only"


def token(user: str, *, key: bytes = _KEY) -> str:
    """A bearer token Dovecot accepts for XOAUTH2 and OAUTHBEARER: an HS256 JWT (RFC 7519)."""

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    head = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    claims = part(json.dumps({"email": user, "sub": user, "exp": 4_102_444_800}).encode())
    signature = hmac.new(key, f"{head}.{claims}".encode(), hashlib.sha256).digest()
    return f"{head}.{claims}.{part(signature)}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Dovecot:
    """One server; `with Dovecot() as server:` starts it, kills it and removes its folder.

    The folder is not pytest's: every pytest run takes away the others' right to pass through
    those, and the mail processes run as another user.
    """

    format: Format = "sdbox"
    prefix: str = ""
    """Prefix of the personal namespace, `INBOX.` as with Courier; its last character separates."""
    offered: str = ""
    """imap_capability to announce, empty for all; what is left out still works."""
    root: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="mailbridge-dovecot-")))
    imap: int = field(default_factory=_free_port)
    imaps: int = field(default_factory=_free_port)
    lmtp: int = field(default_factory=_free_port)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _leash: Leash | None = field(default=None, repr=False)

    @property
    def ca_file(self) -> Path:
        """The authority that signed the server's certificate for localhost and 127.0.0.1."""
        return self.root / "ca.pem"

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_: object) -> None:
        self.remove()

    def start(self) -> Self:
        """Start and wait for the greeting; also after `kill`, on the same ports and mails."""
        program = find_tool("dovecot", "apt-get install dovecot-imapd dovecot-lmtpd")
        if not (self.root / "dovecot.conf").exists():
            self._prepare()
        # A killed master leaves its pid behind, and the next one refuses to start.
        (self.root / "run" / "master.pid").unlink(missing_ok=True)
        with (self.root / "output.log").open("ab") as output:
            # Its own session, so that the whole family can be killed together.
            self._leash = Leash()  # a run of tests may be killed, too
            self._process = subprocess.Popen(
                self._leash.command(program, "-F", "-c", self.root / "dovecot.conf"),
                stdin=self._leash.stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        atexit.register(self.remove)
        for port in (self.imap, self.lmtp):
            self._await_greeting(port)
        return self

    def kill(self) -> None:
        """End all of it at once; clients see their connections closed within milliseconds."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None
        if self._leash is not None:
            self._leash.let_go()
            self._leash = None

    def remove(self) -> None:
        """Kill it and delete its folder."""
        atexit.unregister(self.remove)
        self.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def restart(self) -> None:
        """Kill and start; mails and ports stay."""
        self.kill()
        self.start()

    def deliver(self, user: str, mail: bytes) -> None:
        """Deliver as a mail server would, by LMTP (RFC 2033)."""
        with smtplib.LMTP("127.0.0.1", self.lmtp) as lmtp:
            lmtp.sendmail("customer@example.com", [user], mail)

    def log(self) -> str:
        """What the server logged, for failure messages."""
        path = self.root / "dovecot.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _await_greeting(self, port: int) -> None:
        process = self._process
        assert process is not None
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), 2) as s,
            ):
                s.settimeout(5)
                if s.recv(100):
                    return
            time.sleep(0.01)
        self.kill()
        output = (self.root / "output.log").read_text(errors="replace")
        raise RuntimeError(f"Dovecot does not start: {output[-1000:]} {self.log()[-2000:]}")

    def _prepare(self) -> None:
        as_root = os.getuid() == 0
        me, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
        owner = "vmail" if as_root else me
        for name in ("mail", "state", "keys/default/HS256"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        if as_root:
            try:
                pwd.getpwnam(owner)
            except KeyError:
                subprocess.run(
                    ["useradd", "--system", "--no-create-home", "--user-group", owner], check=True
                )
            shutil.chown(self.root / "mail", owner, owner)
            self.root.chmod(0o711)
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        authority.cert_pem.write_to_path(self.ca_file)
        certificate.private_key_pem.write_to_path(self.root / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(self.root / "cert.pem")
        (self.root / "keys/default/HS256/default").write_bytes(base64.b64encode(_KEY))
        (self.root / "oauth2.conf.ext").write_text(
            "introspection_mode = local\n"
            f"local_validation_key_dict = fs:posix:prefix={self.root}/keys/\n"
            "username_attribute = email\n"
        )
        folders = "".join(
            f"  mailbox {name} {{\n    special_use = \\{name}\n    auto = create\n  }}\n"
            for name in ("Archive", "Drafts", "Junk", "Sent", "Trash")
        )
        (self.root / "dovecot.conf").write_text(
            _CONFIGURATION.format(
                root=self.root,
                name=f"mailbridge-{self.imap}",
                internal_user="dovecot" if as_root else me,
                internal_group="dovecot" if as_root else group,
                login_user="dovenull" if as_root else me,
                # Only root may chroot.
                chroot="" if as_root else "chroot =",
                owner=owner,
                owner_group="vmail" if as_root else group,
                format=self.format,
                password=PASSWORD,
                prefix=self.prefix,
                separator=self.prefix[-1:] or "/",
                offered=f"imap_capability = {self.offered}" if self.offered else "",
                folders=folders,
                imap=self.imap,
                imaps=self.imaps,
                lmtp=self.lmtp,
            )
        )


_CONFIGURATION = """\
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/dovecot.log
instance_name = {name}
listen = 127.0.0.1, 127.0.0.2
protocols = imap lmtp
default_internal_user = {internal_user}
default_internal_group = {internal_group}
default_login_user = {login_user}
first_valid_uid = 0
first_valid_gid = 0
mail_uid = {owner}
mail_gid = {owner_group}
mail_home = {root}/mail/%u
mail_location = {format}:~/{format}
mail_fsync = never
mail_max_userip_connections = 200
{offered}

ssl = yes
ssl_cert = <{root}/cert.pem
ssl_key = <{root}/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain login xoauth2 oauthbearer
auth_username_chars =
auth_failure_delay = 0
passdb {{
  driver = static
  args = password={password}
  mechanisms = plain login
}}
passdb {{
  driver = oauth2
  args = {root}/oauth2.conf.ext
  mechanisms = xoauth2 oauthbearer
}}
userdb {{
  driver = static
  args = uid={owner} gid={owner_group} home={root}/mail/%u allow_all_users=yes
}}

namespace inbox {{
  inbox = yes
  prefix = {prefix}
  separator = {separator}
{folders}}}

service imap-login {{
  {chroot}
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
  client_limit = 200
  service_count = 0
  process_min_avail = 1
}}
service imap {{
  process_limit = 200
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
  # One refused sign-in must not delay everybody else's by seconds.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""
