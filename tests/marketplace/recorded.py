"""Recorded answers of the real service, for those who have them."""

from __future__ import annotations

import pytest

from tests.requirements import CONTRACT

needs_recordings = pytest.mark.usefixtures("recordings")


def recording(name: str) -> bytes:
    return (CONTRACT / "recorded" / name).read_bytes()
