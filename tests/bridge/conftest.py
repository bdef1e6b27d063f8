"""Every scenario in this folder runs through both of the marketplace's doors.

A scenario marked `relay` is about answers by relay mail and runs through the older door only, as
does one marked `soap`, about what only that door tells; one marked `api` is about what only the
newer one has; one marked `once` has little to do with the marketplace and runs through the newer
door only, to save the time, unless MAILBRIDGE_EVERY_DOOR is set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from mailbridge.sandbox.world import Door
from tests.doors import through
from tests.inline import inline_sqlite

_MARKS = {
    "relay": Door.CDISCOUNT,
    "soap": Door.CDISCOUNT,
    "api": Door.OCTOPIA,
    "once": Door.OCTOPIA,
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One scenario becomes two."""
    marks = [mark.name for mark in metafunc.definition.iter_markers() if mark.name in _MARKS]
    # Where both are said, of which door a scenario is counts for more than that one is enough.
    marks = [name for name in marks if name != "once"] or marks
    if os.environ.get("MAILBRIDGE_EVERY_DOOR"):
        marks = [name for name in marks if name != "once"]
    if len({_MARKS[name] for name in marks}) > 1:
        raise pytest.UsageError(f"{metafunc.definition.nodeid}: marked for two doors: {marks}")
    # Octopia first: that is where most sellers are.
    doors = list({_MARKS[name]: None for name in marks}) or [Door.OCTOPIA, Door.CDISCOUNT]
    metafunc.parametrize("door", doors, indirect=True, ids=str)


@pytest.fixture(autouse=True)
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    """The door of this run."""
    with through(request.param):
        yield request.param


@pytest.fixture(autouse=True)
def inline(request: pytest.FixtureRequest) -> Iterator[None]:
    """The journal at hand, unless the scenario is marked `side_by_side`."""
    if request.node.get_closest_marker("side_by_side"):
        yield
    else:
        with inline_sqlite():
            yield
