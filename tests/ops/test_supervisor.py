"""One failing part never stops another, and never hides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import tenacity

from mailbridge.ops.supervisor import (
    Alive,
    Backoff,
    Part,
    PartState,
    PartStatus,
    Supervisor,
    Trouble,
    type_only,
)

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


class Time:
    """A clock that moves only when somebody sleeps or says so."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.sleeps: list[float] = []
        self.asleep: asyncio.Event | None = None
        """Set: sleeping lasts until it is set."""

    def clock(self) -> datetime:
        return NOON + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        if self.asleep is not None:
            await self.asleep.wait()
        self.passed += seconds
        await asyncio.sleep(0)


class SignInRefused(Exception):
    pass


class Busy(Exception):
    pass


def classify(error: BaseException) -> Trouble:
    match error:
        case SignInRefused():
            return Trouble("sign-in refused", retry=False, expected=True)
        case Busy():
            return Trouble("server busy", pause=500.0, expected=True)
        case _:
            return type_only(error)


def supervisor(
    time: Time, *, chance: Callable[[], float] = lambda: 0.0, good_after: float = 120.0
) -> Supervisor:
    return Supervisor(
        classify=classify,
        backoff=Backoff(
            tenacity.wait_exponential(multiplier=1, max=60), chance=chance, good_after=good_after
        ),
        clock=time.clock,
        monotonic=time.monotonic,
        sleep=time.sleep,
    )


@asynccontextmanager
async def running(subject: Supervisor, *parts: Part) -> AsyncIterator[None]:
    task = asyncio.create_task(subject.run(parts))
    await until(lambda: len(subject.states) == len(parts))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(2):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def healthy(alive: Alive) -> None:
    while True:
        alive()
        await asyncio.sleep(0)


async def test_a_part_that_keeps_failing_waits_longer_and_longer_while_another_works_on() -> None:
    time = Time()
    subject = supervisor(time)
    beats = 0

    async def steady(alive: Alive) -> None:
        nonlocal beats
        while True:
            beats += 1
            alive()
            await asyncio.sleep(0)

    async def broken(alive: Alive) -> None:
        raise RuntimeError("customer jean@orange.fr")

    async with running(subject, Part("steady", steady), Part("broken", broken)):
        await until(lambda: len(time.sleeps) >= 9)
        assert time.sleeps[:9] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
        before = beats
        await until(lambda: beats > before + 5)
        assert subject.states["steady"] == PartState("steady", PartStatus.RUNNING, NOON)
        # words are safe: the type, never the text of an error nobody knows
        assert subject.states["broken"].error == "unexpected error (RuntimeError)"


async def test_each_change_of_a_state_is_heard_in_order() -> None:
    time = Time()
    subject = supervisor(time)
    heard: list[PartState] = []
    subject.listen(heard.append)
    runs = 0

    async def second_time_lucky(alive: Alive) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise Busy
        await healthy(alive)

    async with running(subject, Part("inbox", second_time_lucky)):
        await until(lambda: len(heard) >= 4)
    later = NOON + timedelta(seconds=500)
    assert heard == [
        PartState("inbox", PartStatus.STARTING, NOON),
        PartState("inbox", PartStatus.WAITING, NOON, "server busy", later, 1),
        PartState("inbox", PartStatus.STARTING, later, "server busy", None, 1),
        PartState("inbox", PartStatus.RUNNING, later, "server busy", None, 1),
    ]


async def test_a_good_while_makes_failures_start_anew() -> None:
    time = Time()
    subject = supervisor(time)
    lives = iter([0, 0, 30, 121])  # seconds each run is well before it fails

    async def part(alive: Alive) -> None:
        life = next(lives, None)
        alive()
        if life is None:
            await asyncio.Event().wait()
        time.passed += life or 0
        raise ConnectionError

    async with running(subject, Part("inbox", part)):
        await until(lambda: len(time.sleeps) == 4)
        await until(lambda: subject.states["inbox"].state is PartStatus.RUNNING)
        assert time.sleeps == [1, 2, 4, 1]
        assert subject.states["inbox"].failures == 1


async def test_a_part_that_is_well_again_says_so_without_failing_first() -> None:
    time = Time()
    subject = supervisor(time)
    runs = 0

    async def part(alive: Alive) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ConnectionError
        while True:
            alive()
            await asyncio.sleep(0)

    async with running(subject, Part("inbox", part)):
        await until(lambda: subject.states["inbox"].state is PartStatus.RUNNING)
        assert subject.states["inbox"].failures == 1
        time.passed += 119
        await asyncio.sleep(0.01)
        assert subject.states["inbox"].failures == 1
        time.passed += 1
        await until(lambda: subject.states["inbox"].failures == 0)
        assert subject.states["inbox"].error == ""


async def test_what_only_a_person_can_mend_is_not_tried_again_until_asked() -> None:
    time = Time()
    subject = supervisor(time)
    runs = 0

    async def part(alive: Alive) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise SignInRefused
        await healthy(alive)

    async with running(subject, Part("inbox", part)):
        await until(lambda: subject.states["inbox"].state is PartStatus.FAILED)
        assert subject.states["inbox"] == PartState(
            "inbox", PartStatus.FAILED, NOON, "sign-in refused", None, 1
        )
        await asyncio.sleep(0.01)
        assert runs == 1
        assert time.sleeps == []
        assert not subject.retry("nobody")
        assert subject.retry("inbox")
        await until(lambda: subject.states["inbox"].state is PartStatus.RUNNING)
        assert not subject.retry("inbox")


async def test_a_waiting_part_can_be_asked_to_try_now() -> None:
    time = Time()
    time.asleep = asyncio.Event()
    subject = supervisor(time)
    runs = 0

    async def part(alive: Alive) -> None:
        nonlocal runs
        runs += 1
        raise ConnectionError

    async with running(subject, Part("inbox", part)):
        await until(lambda: time.sleeps)
        assert subject.states["inbox"].retry_at == NOON + timedelta(seconds=1)
        assert subject.retry("inbox")
        await until(lambda: runs == 2)
        await until(lambda: len(time.sleeps) == 2)
        await asyncio.sleep(0.01)
        assert runs == 2  # one nudge, one try


async def test_chance_spreads_the_pauses_below_what_the_strategy_says() -> None:
    for chance, expected in ((0.0, 60.0), (0.5, 50.0), (0.999, 40.02)):
        backoff = Backoff(tenacity.wait_fixed(60), chance=lambda value=chance: value)  # type: ignore[misc]
        assert backoff.pause(1) == pytest.approx(expected)
    assert Backoff().pause(10_000) <= 300


async def test_a_part_that_just_ends_is_started_again() -> None:
    time = Time()
    subject = supervisor(time)

    async def part(alive: Alive) -> None:
        return

    async with running(subject, Part("inbox", part)):
        await until(lambda: len(time.sleeps) >= 2)
        assert subject.states["inbox"].error == "ended by itself"


async def test_a_cancellation_from_inside_a_library_is_a_failure_and_not_the_end() -> None:
    time = Time()
    subject = supervisor(time)

    async def part(alive: Alive) -> None:
        raise asyncio.CancelledError

    async with running(subject, Part("odd", part), Part("good", healthy)):
        await until(lambda: len(time.sleeps) >= 2)
        assert subject.states["odd"].error == "unexpected error (CancelledError)"
        assert subject.states["good"].state is PartStatus.RUNNING


async def test_an_exception_group_is_judged_by_its_first_leaf() -> None:
    time = Time()
    subject = supervisor(time)

    async def part(alive: Alive) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())

    async def fail() -> None:
        raise SignInRefused

    async with running(subject, Part("inbox", part)):
        await until(lambda: subject.states["inbox"].state is PartStatus.FAILED)
        assert subject.states["inbox"].error == "sign-in refused"


async def test_cancelling_ends_every_part_and_waits_for_its_cleaning_up() -> None:
    time = Time()
    subject = supervisor(time)
    cleaned: list[str] = []

    def tidy(name: str) -> Part:
        async def run(alive: Alive) -> None:
            try:
                await healthy(alive)
            finally:
                await asyncio.sleep(0.01)
                cleaned.append(name)

        return Part(name, run)

    async def broken(alive: Alive) -> None:
        raise SignInRefused

    task = asyncio.create_task(subject.run([tidy("a"), tidy("b"), Part("c", broken)]))
    await until(lambda: len(subject.states) == 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(cleaned) == ["a", "b"]
    assert len(asyncio.all_tasks()) == 1


async def test_neither_a_bad_listener_nor_a_bad_classifier_stops_anything() -> None:
    time = Time()

    def bad(_: object) -> Trouble:
        raise KeyError("oops")

    def deaf(state: PartState) -> None:
        bad(state)

    subject = Supervisor(classify=bad, clock=time.clock, monotonic=time.monotonic, sleep=time.sleep)
    heard: list[PartState] = []
    subject.listen(deaf)
    subject.listen(heard.append)

    async def broken(alive: Alive) -> None:
        raise ConnectionError

    async with running(subject, Part("inbox", broken)):
        await until(lambda: len(time.sleeps) >= 2)
    assert heard[1].error == "unexpected error (ConnectionError)"


async def test_signs_of_life_reach_the_watchdog_and_a_stragglers_do_not() -> None:
    time = Time()
    time.asleep = asyncio.Event()
    beats: list[str] = []
    subject = Supervisor(on_beat=beats.append, clock=time.clock, sleep=time.sleep)
    kept: list[Alive] = []

    async def part(alive: Alive) -> None:
        kept.append(alive)
        alive()
        alive()
        raise ConnectionError

    async with running(subject, Part("inbox", part)):
        await until(lambda: time.sleeps)
        assert beats == ["inbox", "inbox"]
        kept[0]()
        assert beats == ["inbox", "inbox"]
        assert subject.states["inbox"].state is PartStatus.WAITING


async def test_two_parts_of_one_name_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="same name"):
        await supervisor(Time()).run([Part("a", healthy), Part("a", healthy)])
