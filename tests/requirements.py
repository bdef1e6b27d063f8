"""What a test needs of the machine: tools that may be absent, and when that is a failure."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

__all__ = ["find_tool", "optional"]


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
