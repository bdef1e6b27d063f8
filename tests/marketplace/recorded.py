"""Where the recorded contract of the real service lies, for those who have it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = (
    Path(
        os.environ.get("MAILBRIDGE_CONTRACT")
        or Path(__file__).resolve().parents[2].parent / "shared" / "contract"
    )
    / "cdiscount-soap"
)

needs_recordings = pytest.mark.skipif(
    not (FOLDER / "service.wsdl").is_file(),
    reason="the recorded contract is not here (MAILBRIDGE_CONTRACT)",
)


def recording(name: str) -> bytes:
    return (FOLDER / "recorded" / name).read_bytes()
