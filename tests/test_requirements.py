"""Absent tools skip a test on a developer's machine and fail it in CI."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.requirements import find_tool, optional


def test_absent_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAILBRIDGE_REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="install me"):
        find_tool("no-such-program", "install me")


def test_absent_is_a_failure_where_all_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILBRIDGE_REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="no recording"):
        optional("no recording")


def test_there_is_no_other_way_to_skip() -> None:
    here = Path(__file__).parent
    skips = re.compile(r"pytest\.skip\(|skipif|importorskip|unittest\.skip")
    mine = {here / "requirements.py", Path(__file__)}
    found = [p.name for p in here.rglob("*.py") if skips.search(p.read_text(encoding="utf-8"))]
    assert set(found) - {p.name for p in mine} == set()


def test_present_is_found() -> None:
    assert find_tool("sh", "a system without a shell").endswith("/sh")
