"""Scenarios stopped at every journal write, on either side of it, and resumed, at both doors.

In the end everybody must see the same as if nothing had happened: the mailbox, the customer and
the marketplace's books. Where a reply may have left when the power went, a person is asked, and
what they decide leads to the same books.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from mailbridge.sandbox.world import Door
from tests.conftest import POWER_CUTS
from tests.crash.forking import Forking
from tests.crash.power import Cut, Fuse
from tests.crash.scenes import PATTERN, SCENES, Scene
from tests.crash.stage import End, Stage, State
from tests.inline import inline_sqlite


@dataclass(frozen=True)
class Step:
    """One step of a scenario that nothing disturbed."""

    fuse: Fuse
    after: State | None
    """How everything stood behind it; None where nothing came any more."""


@dataclass(frozen=True)
class Peace:
    """A scenario that nothing disturbed."""

    steps: list[Step]
    end: End


_in_peace: dict[tuple[str, Door], Peace] = {}
"""One run of each scenario without a cut, for the whole process."""


_OF_A_DOOR = re.compile(r"discussion|delivery|closing|refund|money|thread joined")
"""Writes about what goes through the marketplace's door. The others, how mails are filed, read and
judged, are cut at one door only, to save the time, unless MAILBRIDGE_EVERY_DOOR is set."""

_one_engine: Callable[..., object] = functools.cache(create_async_engine)


@pytest.fixture
def home(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The state directory of every shop in turn. One path, so that what the journal's statements
    are compiled to outlives the daemon that opened it; its connections do not. That saves a
    quarter of the time."""
    monkeypatch.setattr("mailbridge.journal.journal.create_async_engine", _one_engine)
    with inline_sqlite():
        yield tmp_path_factory.getbasetemp() / "shop"


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("scene", "door"),
    [
        pytest.param(scene, door, id=f"{scene.name}-{door}")
        for scene in SCENES
        for door in scene.doors
    ],
)
def test_resuming_after_a_cut_ends_like_never_stopping(
    scene: Scene, door: Door, home: Path, record_property: Callable[[str, object], None]
) -> None:
    with Forking() as forking:
        peace = _left_in_peace(forking, scene, door, home)
        worth = [step.fuse.cuts() for step in peace.steps]
        if scene.alike:
            pattern = _left_in_peace(forking, PATTERN, door, home)
            for at in range(scene.alike):
                assert peace.steps[at].fuse.what == pattern.steps[at].fuse.what
                worth[at] = []
        if scene.between:
            worth = _between(worth, *scene.between)
        if door is Door.CDISCOUNT and not os.environ.get("MAILBRIDGE_EVERY_DOOR"):
            worth = [[cut for cut in cuts if _OF_A_DOOR.search(cut.what)] for cuts in worth]

        stage = _stage(scene, door, home)
        forking.run(stage.open())
        for step, cuts in zip(peace.steps, worth, strict=True):
            assert forking.run(stage.act())
            for cut in cuts:
                with stage.kept():
                    fault = forking.apart(
                        functools.partial(_resumed, stage, cut, step.after, peace.end)
                    )
                assert not fault, f"{cut}\n{fault}"
            forking.run(stage.work(Fuse()))
        forking.run(stage.close())
    record_property(POWER_CUTS, sum(map(len, worth)))


async def _resumed(stage: Stage, cut: Cut, after: State | None, end: End) -> None:
    fuse = Fuse(cut.at, cut.phase)
    await stage.work(fuse)
    assert fuse.blown and fuse.what[cut.at] == cut.what
    if after is not None and await stage.state() == after:
        return  # nothing tells from here on that there was a cut
    await stage.play()
    _compare(await stage.end(), end)


def _left_in_peace(forking: Forking, scene: Scene, door: Door, home: Path) -> Peace:
    async def play() -> Peace:
        stage = _stage(scene, door, home)
        await stage.open()
        fuses: list[Fuse] = []
        states: list[State | None] = []
        while await stage.act():
            fuses.append(Fuse())
            await stage.work(fuses[-1])
            states.append(await stage.state())
        states[-1] = None
        steps = [Step(fuse, state) for fuse, state in zip(fuses, states, strict=True)]
        peace = Peace(steps, await stage.end())
        await stage.close()
        return peace

    if (scene.name, door) not in _in_peace:
        _in_peace[scene.name, door] = forking.run(play())
    return _in_peace[scene.name, door]


def _stage(scene: Scene, door: Door, home: Path) -> Stage:
    return Stage(home, scene.play, door, scene.config)


def _between(steps: list[list[Cut]], first: str, last: str) -> list[list[Cut]]:
    """The cuts from a write to two behind another."""
    writes = [((step, cut.at), cut.what) for step, cuts in enumerate(steps) for cut in cuts]
    begin = next(at for at, what in writes if first in what)
    step, at = next((at for at, what in writes if last and last in what), (len(steps), 0))
    return [
        [cut for cut in cuts if begin <= (number, cut.at) <= (step, at + 2)]
        for number, cuts in enumerate(steps)
    ]


def _compare(end: End, expected: End) -> None:
    assert end.sent == expected.sent
    assert end.books == expected.books
    assert end.money == expected.money
    assert not [mail for mail, times in end.ids.items() if times > 1]
    # A person may be asked about a reply that may have left, or money that may have moved; and
    # an open discussion is told in time that its order has changed.
    beside = ("trouble/", "hold/money_") + ((": news",) if any(expected.money) else ())
    assert _settled(end, beside) == _settled(expected, beside)


def _settled(end: End, beside: tuple[str, ...]) -> dict[tuple[str, str], int]:
    return {
        mail: times
        for mail, times in end.mails.items()
        if not any(kind in mail[1] for kind in beside)
    }
