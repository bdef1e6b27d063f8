"""A scripted API for every test of this folder."""

from __future__ import annotations

import pytest

from tests.marketplace.octopia.scripted import ScriptedApi


@pytest.fixture
def api() -> ScriptedApi:
    return ScriptedApi()
