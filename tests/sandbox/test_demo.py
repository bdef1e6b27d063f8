"""`mailbridge demo` and `mailbridge simulate`, run as a person runs them.

Each command gets a folder of its own for temporary files and a mark in its environment: whatever
is found in the one, or with the other, after it has ended was left behind.
"""

from __future__ import annotations

import asyncio
import imaplib
import io
import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from rich.console import Console

from mailbridge.config.loader import load
from mailbridge.sandbox.dovecot import free_port
from mailbridge.sandbox.simulate import simulate
from mailbridge.sandbox.stage import open_stage
from tests.requirements import find_tool

_USER, _PASSWORD = "support@maison-brindille.example", "panier-osier"


class Command:
    """One running command of ours; its output is read as it comes."""

    def __init__(self, home: Path, *words: str, imap: str = "embedded") -> None:
        self.home = home
        self.mark = uuid.uuid4().hex
        environ = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "FORCE_COLOR")}
        environ |= {"TMPDIR": str(home), "MARK": self.mark, "MAILBRIDGE_SANDBOX_IMAP": imap}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mailbridge", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environ,
            cwd=Path(__file__).parent.parent.parent,
        )
        self._output = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._output += line

    @property
    def output(self) -> str:
        return self._output.decode()

    def said(self, pattern: str, *, within: float = 45) -> re.Match[str]:
        until = time.monotonic() + within
        while time.monotonic() < until:
            ended = self.process.poll() is not None
            if found := re.search(pattern, self.output):
                return found
            assert not ended, self.output
            time.sleep(0.05)
        raise AssertionError(f"{pattern!r} was not said in {within} s: {self.output}")

    def ended(self, *, within: float) -> int:
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {within} s: {self.output}") from None
        self._reader.join(5)
        return code

    def relatives(self) -> list[str]:
        """Processes with our mark, in our folder or named after it."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal() or int(entry.name) == self.process.pid:
                continue
            try:
                words = (entry / "cmdline").read_bytes()
                where = str((entry / "cwd").readlink())
                environ = (entry / "environ").read_bytes()
            except OSError:
                continue  # gone, or somebody else's
            if (
                self.mark.encode() in environ
                or str(self.home).encode() in words
                or where.startswith(str(self.home))
            ):
                found.append(words.replace(b"\0", b" ").decode())
        return found

    def left_behind(self) -> list[str]:
        """What it left, once the kernel has buried its dead."""
        for _ in range(20):
            found = [*self.relatives(), *map(str, self.home.iterdir())]
            if not found:
                break
            time.sleep(0.05)
        return found


Start = Callable[..., Command]


@pytest.fixture
def start() -> Iterator[Start]:
    # Not pytest's folder: its path is too long for sockets, and no other user may pass through.
    home = Path(tempfile.mkdtemp(prefix="mailbridge-test-"))
    home.chmod(0o711)
    commands: list[Command] = []

    def start(*words: str, imap: str = "embedded") -> Command:
        if imap == "dovecot":
            find_tool("dovecot", "apt-get install dovecot-imapd dovecot-lmtpd")
        commands.append(Command(home, *words, imap=imap))
        return commands[-1]

    yield start
    for command in commands:
        if command.process.poll() is None:
            command.process.send_signal(signal.SIGTERM)
            command.ended(within=15)
    shutil.rmtree(home)


@pytest.mark.parametrize("imap", ["embedded", "dovecot"])
def test_the_story_is_told_and_ends(start: Start, imap: str) -> None:
    demo = start("demo", imap=imap)
    assert demo.ended(within=60) == 0, demo.output
    told = re.sub("[\u00a0\u202f]", " ", demo.output)
    server = "Dovecot 2.3" if imap == "dovecot" else "embedded IMAP server"
    for line in (
        server,
        "Hervé Châtelain via C",
        "Commande 26",
        "!clos",
        "✓ No command, no quoted line, no token, no header of Paul's mail.",
        ": closed",
        "Réponse enregistrée par Cdiscount",
        "Discussion fermée",
        "Vouliez-vous écrire",
        "✓ Sent once, recorded, closed.",
        "Réponse retenue : Paul a déjà répondu",
        "Réponse retenue : son origine n'est pas prouvée",
        "What was shown",
        "make demo SERVE=1",
    ):
        assert line in told
    assert "\x1b" not in told, "colours go to terminals only"
    assert max(map(len, told.split("\n"))) <= 80
    assert told.count("✓ │") == 6
    assert demo.left_behind() == []


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        (signal.SIGINT, "mailbridge demo"),
        (signal.SIGINT, "2. Paul answers"),
        (signal.SIGTERM, "the daemon: mailbridge run"),
    ],
)
def test_it_can_be_stopped_at_any_moment(start: Start, name: signal.Signals, moment: str) -> None:
    demo = start("demo", imap="embedded")
    demo.said(moment)
    demo.process.send_signal(name)
    time.sleep(0.2)
    if demo.process.poll() is None:
        demo.process.send_signal(name)  # somebody impatient
    assert demo.ended(within=5) == 130, demo.output
    assert "Stopped." in demo.output
    assert "Traceback" not in demo.output
    assert demo.left_behind() == []


def test_a_dead_daemon_ends_the_story_with_its_last_words(start: Start) -> None:
    demo = start("demo")
    pid = int(demo.said(r"mailbridge run, process (\d+)")[1])
    os.kill(pid, signal.SIGKILL)
    assert demo.ended(within=30) == 1
    assert "The demo failed" in demo.output
    assert "the daemon ended by itself (exit code -9)" in demo.output
    assert "mailbridge runs" in demo.output, "the log is not shown"
    assert demo.left_behind() == []


@pytest.mark.parametrize("imap", ["embedded", "dovecot"])
def test_a_person_plays_the_agent(start: Start, imap: str) -> None:
    demo = start("demo", "--serve", imap=imap)
    imap_port = int(demo.said(r"IMAP +127\.0\.0\.1, port (\d+)")[1])
    smtp_port = int(demo.said(r"SMTP +127\.0\.0\.1, port (\d+)")[1])
    demo.said(r"filed +3 mails in INBOX")
    with imaplib.IMAP4("127.0.0.1", imap_port, timeout=10) as box:
        box.login(_USER, _PASSWORD)
        _, rows = box.list()
        folders = {str(row, "utf-8").rpartition(" ")[2] for row in rows if isinstance(row, bytes)}
        assert folders >= {"INBOX", "Sent", "Drafts", "Trash"}
    with imaplib.IMAP4("127.0.0.1", imap_port, timeout=10) as box:
        box.authenticate("PLAIN", lambda _: f"\0{_USER}\0{_PASSWORD}".encode())
        box.select("INBOX")
        _, rows = box.fetch("1", "(BODY.PEEK[HEADER.FIELDS (REPLY-TO MESSAGE-ID)])")
        assert isinstance(rows[0], tuple)
        head = re.sub(r"\r?\n\s+", " ", rows[0][1].decode())
        ident = re.search(r"Message-ID: (\S+)", head, re.IGNORECASE)
        target = re.search(r"support\+mb-\S+@[\w.-]+", head)
        assert ident is not None
        assert target is not None
        mail = (
            f"From: Service client <{_USER}>\r\nTo: <{target[0]}>\r\nSubject: Re: x\r\n"
            f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S +0000', time.gmtime())}\r\n"
            f"Message-ID: <1@maison-brindille.example>\r\nIn-Reply-To: {ident[1]}\r\n"
            "\r\nBonjour,\r\n\r\nIl part demain.\r\n\r\n!clos\r\n"
        ).encode()
        with smtplib.SMTP("127.0.0.1", smtp_port, local_hostname="localhost") as smtp:
            smtp.login(_USER, _PASSWORD)
            smtp.sendmail(_USER, [target[0]], mail)
        box.append("Sent", "(\\Seen)", imaplib.Time2Internaldate(time.time()), mail)
    demo.said(r"answered +CD-\w+ reached .*: Bonjour, Il part demain\.")
    demo.said(r"closed +CD-\w+ on the marketplace")
    demo.said(r"moved +CD-\w+ to Clos")
    demo.process.send_signal(signal.SIGINT)
    assert demo.ended(within=5) == 0
    assert demo.left_behind() == []


def test_a_simulation_comes_with_a_configuration_that_works(start: Start) -> None:
    sandbox = start("simulate", "--discussions", "12")
    path = sandbox.said(r"configuration: (\S+/config\.toml)")[1]
    sandbox.said("Ctrl-C ends it")
    loaded = load(Path(path), {})
    assert loaded.warnings == ()
    run = start("--config", path, "run", "--once")
    assert run.ended(within=45) == 0, run.output
    assert '"listed": ' in run.output
    server = loaded.config.accounts["brindille"].imap
    with imaplib.IMAP4(server.host, server.port or 143, timeout=10) as box:
        box.login(_USER, _PASSWORD)
        _, count = box.select("INBOX")
    assert int(count[0] or b"0") >= 1
    sandbox.process.send_signal(signal.SIGINT)
    assert sandbox.ended(within=5) == 0
    assert sandbox.left_behind() == []


async def test_what_cannot_be_simulated_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILBRIDGE_SANDBOX_IMAP", "embedded")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "service.wsdl").write_text("<wsdl")
    for discussions, folder, said in (
        (1, "nothing", "is not a folder"),
        (1, "", "no WSDL document with a service"),
        (1, "broken", "--wsdl: "),
        (-1, "", "must be 0 or more"),
    ):
        console = Console(file=io.StringIO())
        wsdl = str(tmp_path / folder)
        assert await simulate(console, discussions=discussions, wsdl=wsdl) == 1
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("version", "remark"),
    [("2.4.1", "configured otherwise"), ("2.3.99", "does not start: it gives no reason")],
)
async def test_a_dovecot_that_does_not_start_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, remark: str
) -> None:
    program = tmp_path / "dovecot"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "{version} (abc)" && exit\nexit 89\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("MAILBRIDGE_SANDBOX_IMAP", raising=False)
    async with open_stage(rng=Random(1)) as stage:
        assert stage.mailbox_server == "embedded IMAP server"
        assert remark in stage.remark
        home = stage.settings.path.parent
        assert await stage.agent().mails() == []
    assert not home.exists()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_taken_port_is_not_insisted_on() -> None:
    taken = free_port()
    with socket.create_server(("127.0.0.1", taken)):
        assert free_port(taken) not in (0, taken)
    assert free_port(taken) == taken
