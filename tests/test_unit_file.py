"""The systemd unit: what it promises, its score, and that our libraries live within it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[1] / "systemd" / "mailbridge.service"
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


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
        "ExecStart": "/opt/mailbridge/bin/mailbridge run --config /etc/mailbridge/config.toml",
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


def test_what_an_operator_may_add_is_shown() -> None:
    text = UNIT.read_text(encoding="utf-8")
    for example in ("#OnFailure=", "#LoadCredential=", "#LoadCredentialEncrypted="):
        assert f"\n{example}" in text


@needs_systemd
def test_systemd_understands_every_line(runnable: Path) -> None:
    assert ANALYZE is not None
    verified = subprocess.run(
        [ANALYZE, "verify", "--man=no", str(runnable)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in verified.stderr.splitlines() if UNIT.name in line]
    assert (verified.returncode, complaints) == (0, [])


@needs_systemd
def test_the_score_is_1_2_or_better_and_each_gap_has_its_reason(runnable: Path) -> None:
    assert ANALYZE is not None
    command = [ANALYZE, "security", "--offline=true", "--no-pager"]
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


# PR_SET_MDWE (Linux 6.3) is what MemoryDenyWriteExecute= stands for, without systemd.
_WITHOUT_WRITABLE_CODE = """
import ctypes, sys
if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0):
    sys.exit(77)
import asyncio, mmap, sqlite3, ssl
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    pass
else:
    sys.exit("the ban is not in force")
import aioimaplib, aiosmtplib, httpx, inscriptis, jinja2, lxml.etree, mailparser_reply
import pydantic, sqlalchemy, structlog, zeep
from sqlalchemy.ext.asyncio import create_async_engine

async def main():
    engine = create_async_engine("sqlite+aiosqlite://")
    async with engine.connect() as connection:
        assert (await connection.execute(sqlalchemy.text("select 1"))).scalar() == 1
    await engine.dispose()
    process = await asyncio.create_subprocess_exec("true")
    assert await process.wait() == 0

asyncio.run(main())
assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED
assert lxml.etree.XPath("//a")(lxml.etree.fromstring("<b><a/></b>"))
assert jinja2.Template("{{ x }}").render(x=1) == "1"
"""


def test_our_libraries_work_where_no_memory_is_writable_and_executable() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_WRITABLE_CODE], capture_output=True, text=True, check=False
    )
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE (Linux 6.3)")
    assert (done.returncode, done.stderr) == (0, "")
