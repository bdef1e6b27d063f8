"""The systemd unit: what it promises, its score, and that our libraries live within it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.requirements import find_tool, optional

UNIT = Path(__file__).parents[1] / "systemd" / "mailbridge.service"


def directives() -> dict[str, dict[str, list[str]]]:
    """Section -> directive -> its values in the order of the file."""
    sections: dict[str, dict[str, list[str]]] = {}
    here: dict[str, list[str]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            here = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            here.setdefault(key, []).append(value)
    return sections


@pytest.fixture
def runnable(tmp_path: Path) -> Path:
    """The unit with a program that is there: systemd-analyze looks for it."""
    copy = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8")
    copy.write_text(re.sub(r"^ExecStart=.*$", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    return copy


def test_the_unit_starts_watches_and_stops_the_daemon_as_the_daemon_expects() -> None:
    service = directives()["Service"]
    expected = {
        "Type": "notify",
        "NotifyAccess": "main",
        "ExecStart": "/opt/mailbridge/bin/mailbridge --config /etc/mailbridge/config.toml run",
        "Restart": "on-failure",
        "RestartPreventExitStatus": "2",
        "DynamicUser": "yes",
        "StateDirectory": "mailbridge",
        "StateDirectoryMode": "0700",
        "RuntimeDirectory": "mailbridge",
        "UMask": "0077",
        "MemoryDenyWriteExecute": "yes",
        "ProtectSystem": "strict",
    }
    assert {key: service[key] for key in expected} == {
        key: [value] for key, value in expected.items()
    }
    assert re.fullmatch(r"\d+min", service["WatchdogSec"][0])
    assert "ExecReload" not in service
    assert "User" not in service
    assert directives()["Unit"]["After"][0].split()[0] == "network-online.target"
    assert directives()["Unit"]["Wants"] == ["network-online.target"]
    assert directives()["Install"]["WantedBy"] == ["multi-user.target"]


def test_the_command_understands_what_the_unit_calls_it_with(tmp_path: Path) -> None:
    """The words of ExecStart= once stood in an order that the command refuses."""
    program, *words = directives()["Service"]["ExecStart"][0].split()
    assert program == "/opt/mailbridge/bin/mailbridge"
    nowhere = str(tmp_path / "config.toml")
    words = [nowhere if word == "/etc/mailbridge/config.toml" else word for word in words]
    told = subprocess.run(
        [sys.executable, "-m", "mailbridge", *words], capture_output=True, text=True, check=False
    )
    assert told.returncode == 2
    assert told.stderr.startswith(f"{nowhere}: does not exist")


def test_what_an_operator_may_add_is_shown() -> None:
    text = UNIT.read_text(encoding="utf-8")
    for example in ("#OnFailure=", "#LoadCredential=", "#LoadCredentialEncrypted="):
        assert f"\n{example}" in text


@pytest.fixture
def analyze() -> str:
    return find_tool("systemd-analyze", "apt-get install systemd")


def test_systemd_understands_every_line(analyze: str, runnable: Path) -> None:
    verified = subprocess.run(
        [analyze, "verify", "--man=no", str(runnable)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in verified.stderr.splitlines() if UNIT.name in line]
    assert (verified.returncode, complaints) == (0, [])


def test_the_score_is_1_2_or_better_and_each_gap_has_its_reason(
    analyze: str, runnable: Path
) -> None:
    command = [analyze, "security", "--offline=true", "--no-pager"]
    told = subprocess.run(
        [*command, str(runnable)], capture_output=True, text=True, check=False
    ).stdout
    score = re.search(r"exposure level for mailbridge\.service: ([\d.]+)", told)
    assert score is not None, told
    assert float(score[1]) <= 1.2
    table = json.loads(
        subprocess.run(
            [*command, "--json=short", str(runnable)], capture_output=True, text=True, check=False
        ).stdout
    )
    gaps = {row["json_field"] for row in table if row["set"] is False and float(row["exposure"])}
    # The reasons stand in the unit file; DeviceAllow is ProtectClock's read access to the clock.
    assert gaps == {
        "DeviceAllow",
        "IPAddressDeny",
        "PrivateNetwork",
        "RestrictAddressFamilies_AF_INET_INET6",
        "RestrictAddressFamilies_AF_UNIX",
        "RootDirectoryOrRootImage",
    }


def allowed_calls(analyze: str) -> list[str]:
    """The system calls the unit's filter leaves, as this systemd's named sets have them."""

    def expand(name: str) -> set[str]:
        if not name.startswith("@"):
            return {name}
        told = subprocess.run(
            [analyze, "syscall-filter", "--no-pager", name],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        inner = [line.strip() for line in told.splitlines()[1:] if line.startswith("    ")]
        return {call for one in inner if one[0] != "#" for call in expand(one)}

    calls: set[str] = set()
    for line in directives()["Service"]["SystemCallFilter"]:
        names = {call for name in line.removeprefix("~").split() for call in expand(name)}
        calls = calls - names if line.startswith("~") else calls | names
    return sorted(calls)


# What systemd does for MemoryDenyWriteExecute= (on Linux 6.3 and later), NoNewPrivileges= and
# SystemCallFilter=, done by hand; then all our libraries at work.
_CONFINED = """
import ctypes, json, sys

libc = ctypes.CDLL(None, use_errno=True)
seccomp = ctypes.CDLL("libseccomp.so.2")
seccomp.seccomp_init.restype = ctypes.c_void_p
REFUSE, ALLOW = 0x00050001, 0x7FFF0000  # SCMP_ACT_ERRNO(EPERM), SCMP_ACT_ALLOW
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(65, 1, 0, 0, 0) == 0, "this kernel has no PR_SET_MDWE"
filter = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(REFUSE)))
for name in json.loads(sys.argv[1]):
    number = seccomp.seccomp_syscall_resolve_name(name.encode())
    if number >= 0:
        added = seccomp.seccomp_rule_add(filter, ctypes.c_uint32(ALLOW), number, 0)
        assert added == 0, name
assert seccomp.seccomp_load(filter) == 0

import asyncio, mmap, os, ssl, subprocess, threading
for forbidden in (
    lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC),
    lambda: os.chroot("/"),
    lambda: os.setpriority(os.PRIO_PROCESS, 0, 5),
):
    try:
        forbidden()
    except PermissionError:
        continue
    sys.exit("a ban is not in force")

import aioimaplib, aiosmtplib, httpx, inscriptis, jinja2, lxml.etree
import pydantic, sqlalchemy, structlog, tenacity, zeep
from sqlalchemy.ext.asyncio import create_async_engine

async def main():
    engine = create_async_engine("sqlite+aiosqlite:///" + sys.argv[2])
    async with engine.connect() as connection:
        await connection.execute(sqlalchemy.text("pragma journal_mode = wal"))
        await connection.execute(sqlalchemy.text("create table t (x)"))
        await connection.commit()
    await engine.dispose()
    async def served(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
    server = await asyncio.start_unix_server(served, sys.argv[2] + ".sock")
    reader, writer = await asyncio.open_unix_connection(sys.argv[2] + ".sock")
    writer.write(b"status\\n")
    assert await reader.readline() == b"status\\n"
    writer.close()
    server.close()
    process = await asyncio.create_subprocess_exec("/bin/true", start_new_session=True)
    assert await process.wait() == 0
    assert await asyncio.to_thread(threading.active_count) > 1

asyncio.run(main())
assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED
assert lxml.etree.XPath("//a")(lxml.etree.fromstring("<b><a/></b>"))
assert jinja2.Template("{{ x }}").render(x=1) == "1"
print("all at work")
"""


def test_our_libraries_work_within_the_bans_on_memory_and_system_calls(
    analyze: str, tmp_path: Path
) -> None:
    calls = allowed_calls(analyze)
    assert "connect" in calls
    assert "chroot" not in calls
    done = subprocess.run(
        [sys.executable, "-c", _CONFINED, json.dumps(calls), str(tmp_path / "journal")],
        capture_output=True,
        text=True,
        check=False,
    )
    if "PR_SET_MDWE" in done.stderr:
        optional("this kernel is older than Linux 6.3")
    assert (done.stdout, done.stderr, done.returncode) == ("all at work\n", "", 0)
