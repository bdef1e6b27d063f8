"""What a test needs of the machine: tools that may be absent, and when that is a failure."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = ["CONTRACT", "find_contract", "find_tool", "need_root", "optional"]

CONTRACT = (
    Path(
        os.environ.get("MAILBRIDGE_CONTRACT")
        or Path(__file__).resolve().parents[1].parent / "shared" / "contract"
    )
    / "cdiscount-soap"
)
"""Where the recorded contract of the real service lies, for those who have it; it is never part
of the repository."""


def optional(reason: str) -> NoReturn:
    """Skip for want of an optional tool or recording, or fail under MAILBRIDGE_REQUIRE_ALL=1.

    CI sets the variable: there, a skipped test is a hole nobody sees.
    """
    if os.environ.get("MAILBRIDGE_REQUIRE_ALL") == "1":
        pytest.fail(f"{reason} (MAILBRIDGE_REQUIRE_ALL=1)", pytrace=False)
    pytest.skip(reason)


def find_tool(name: str, hint: str) -> str:
    """Path of a program, also in /usr/sbin, which an ordinary user's PATH leaves out."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    return path or optional(f"{name} is not installed ({hint})")


def need_root() -> None:
    """Only root gives files away."""
    if os.geteuid() != 0:
        optional("needs root, who alone can give files away")


def find_contract() -> Path:
    """The folder of the recorded contract."""
    there = (CONTRACT / "service.wsdl").is_file() and (CONTRACT / "recorded").is_dir()
    return CONTRACT if there else optional("no recorded contract here (MAILBRIDGE_CONTRACT)")
