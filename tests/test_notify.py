"""`mailbridge notify` as an operator types it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.desk import Desk, open_desk
from tests.test_cli import FAILED, OK, logging_as_it_was, mailbridge, running, until

__all__ = ["logging_as_it_was"]

NEWS = "Bonjour, un jour de retard, désolés."


@pytest.fixture
def desk() -> Iterator[Desk]:
    with open_desk() as one:
        yield one


async def test_a_list_is_shown_written_and_gone_on_with(desk: Desk) -> None:
    async with desk.world() as world:
        here = ("-c", desk.write(replies={"enabled": "true"}))
        one, two = world.cast.order(), world.cast.order()
        numbers = desk.home / "numbers.csv"
        numbers.write_text(f"# commande;client\n{one.number};Anne\n\n{two.number}\n")
        call = ("notify", "--text", NEWS, "--file", numbers)

        told = await mailbridge(*here, *call, "--dry-run")
        assert told.code == OK, told
        assert told.out.count(NEWS) == 2
        assert told.out.splitlines()[-1] == "2 would be written to"

        told = await mailbridge(*here, *call, "26/11")
        assert told.code == FAILED
        assert told.out.splitlines() == [
            "26/11: that is no order number",
            "2 written to, 1 refused",
        ]
        told = await mailbridge(*here, *call, "--resume", "--json")
        outcomes = [json.loads(line) for line in told.out.splitlines()]
        assert (told.code, [o["kind"] for o in outcomes]) == (OK, ["skipped"] * 2)

        assert (await mailbridge(*here, "run", "--once")).code == OK
        assert [mail.text for mail in world.relay.accepted][:1] == [NEWS]


async def test_a_template_takes_values_wherever_they_stand(desk: Desk) -> None:
    async with desk.world() as world:
        here = ("-c", desk.write(replies={"enabled": "true"}), "notify")
        number = world.cast.order().number
        for words in (
            (number, "date=jeudi", "--template", "retard", "--dry-run"),
            ("--dry-run", "--template", "retard", number, "date=jeudi"),
        ):
            told = await mailbridge(*here, *words)
            assert told.code == OK, told
            assert number in told.out and "jeudi" in told.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--text", NEWS), "no order named"),
        (("2611", "--text", " "), "there is no text"),
        (("2611", "--text", NEWS, "date=jeudi"), "only a template takes values"),
        (("2611", "--text", NEWS, "=jeudi"), "give values as KEY=VALUE"),
        (("--text", NEWS, "--file", "/nowhere/list"), "/nowhere/list: No such file"),
    ],
)
async def test_what_makes_no_sense_is_said(desk: Desk, words: tuple[str, ...], said: str) -> None:
    told = await mailbridge("-c", desk.write(), "notify", *words)
    assert (told.code, told.out) == (FAILED, "")
    assert said in told.err


async def test_a_daemon_is_asked_part_by_part_and_keeps_one_pace(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailbridge.campaign._PART", 2)
    async with desk.world() as world:
        here = ("-c", desk.write(replies={"enabled": "true"}))
        numbers = [world.cast.order().number for _ in range(3)]
        async with running(desk, here[1]):
            began = world.clock()
            told = await mailbridge(*here, "notify", "--text", NEWS, *numbers, "--json")
            assert told.code == OK, told
            outcomes = [json.loads(line) for line in told.out.splitlines()]
            assert [(o["order"], o["kind"]) for o in outcomes] == [(n, "planned") for n in numbers]

            async def arrived() -> bool:
                return len(world.relay.accepted) == 3

            await until(arrived)
            told = await mailbridge(*here, "notify", "--text", NEWS, *numbers, "--resume")
            assert (told.code, told.out) == (OK, "3 written to before, passed over\n")
        assert [mail.text for mail in world.relay.accepted] == [NEWS] * 3
        # The third came in a request of its own, and waits for the two before it all the same.
        assert world.relay.accepted[-1].at - began >= timedelta(seconds=4)
