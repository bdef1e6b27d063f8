"""Fixtures for all tests: a real Dovecot, and a user of it that nobody else has."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dovecot import Dovecot
from tests.requirements import find_contract

POWER_CUTS = "power cuts"
"""The property in which a test of tests/crash tells how many moments it has tried."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How much was tried stands in the run's last lines: what shrinks unseen proves nothing."""
    reports = [each for kind in ("passed", "failed") for each in terminalreporter.getreports(kind)]
    tried = [n for each in reports for name, n in each.user_properties if name == POWER_CUTS]
    if tried:
        terminalreporter.write_line(f"{sum(tried)} power cuts tried in {len(tried)} scenarios")


@pytest.fixture(scope="session")
def dovecot() -> Iterator[Dovecot]:
    """One server for the whole run; tests that kill or configure theirs start their own."""
    with Dovecot() as server:
        yield server


@pytest.fixture(scope="session")
def courier() -> Iterator[Dovecot]:
    """Another one, with its folders below `INBOX.`, in maildirs."""
    with Dovecot("maildir", prefix="INBOX.") as server:
        yield server


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The recorded contract of the real service."""
    return find_contract()


@pytest.fixture
def user() -> str:
    """A fresh mailbox: any name signs in."""
    return f"support-{secrets.token_hex(6)}@shop.example"
