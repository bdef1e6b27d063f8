"""`mailbridge refund` as an operator types it: what is shown, what is asked, what moves."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from mailbridge.cli import main
from mailbridge.sandbox.faults import AnswerLost
from mailbridge.sandbox.orders import BookedOrder
from mailbridge.sandbox.world import World
from tests.desk import Desk, Values, open_desk
from tests.test_cli import (
    ATTENTION,
    FAILED,
    MISCONFIGURED,
    OK,
    logging_as_it_was,
    mailbridge,
    running,
    until,
)

__all__ = ["logging_as_it_was"]

MONEY: Values = {
    "enabled": "true", "most": "200", "most_per_order": "200", "most_per_day": "500",
}  # fmt: skip
VOUCHER, VALIDATE = "CreateRefundVoucher", "ValidateOrderList"


@pytest.fixture
def desk() -> Iterator[Desk]:
    with open_desk() as one:
        yield one


def shipped(world: World, lines: int = 1) -> BookedOrder:
    order = world.cast.order(lines=lines, shipped_days_ago=5)
    for line, price in zip(order.lines, ("49.90", "20.00"), strict=False):
        line.price, line.shipping, line.quantity = Decimal(price), Decimal("5.90"), 1
    world.cast.claim(order)
    return order


def moved(world: World) -> int:
    return world.market.performed(VOUCHER) + world.market.performed(VALIDATE)


async def test_a_dry_run_reads_the_order_afresh_and_does_nothing(desk: Desk) -> None:
    async with desk.world() as world:
        order = shipped(world, lines=2)
        here = ("-c", desk.write(money=MONEY))
        assert (await mailbridge(*here, "run", "--once")).code == OK
        told = await mailbridge(*here, "refund", order.number, "--total", "--dry-run")
        assert told.code == OK, told
        for words in (
            f"{order.number} (shop)",
            "would be done refund these lines",
            f"call {VOUCHER}",
            "amount 81.70 EUR",
            f"{order.lines[0].reference}; 49.90 EUR; shipping 5.90 EUR",
            "cause goodwill",
        ):
            assert words in told.flat
        assert max(map(len, told.out.splitlines())) <= 80

        line = order.lines[1].reference
        told = await mailbridge(
            *here, "refund", order.number, "--line", line, "--cause", "claim", "--dry-run", "--json"
        )
        assert (told.code, told.json["amount"], told.json["cause"]) == (OK, "20.00", "claim")
        assert [x["reference"] for x in told.json["lines"]] == [line]
        # The order changes, and with it what would be called.
        order.lines[1].refuses_money = None
        order.lines[1].state = "RefundedAfterShipping"
        told = await mailbridge(
            *here, "refund", order.number, "--line", line, "--dry-run", "--json"
        )
        assert (told.code, told.json["obstacle"]) == (FAILED, "already_refunded")
        assert moved(world) == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--gesture", "1.234", "--motive", "retard"), "'1.234' is no amount"),
        (("--gesture", "12,505", "--motive", "retard"), "'12,505' is no amount"),
        (("--gesture=-5", "--motive", "retard"), "'-5' is no amount"),
        (("--gesture", "0", "--motive", "retard"), "'0' is no amount"),
        (("--gesture", "5", "--motive", "parce que"), "131 missing_stock"),
        (("--gesture", "5"), "--gesture needs --motive"),
        (("--gesture", "5", "--motive", "131", "--shipping"), "not for a gesture"),
        (("--total", "--motive", "131"), "--motive is for a gesture"),
    ],
)
async def test_words_that_make_no_sense_move_nothing(
    desk: Desk, words: tuple[str, ...], why: str
) -> None:
    async with desk.world() as world:
        order = shipped(world)
        here = ("-c", desk.write(money=MONEY))
        assert (await mailbridge(*here, "run", "--once")).code == OK
        told = await mailbridge(*here, "refund", order.number, *words)
        assert (told.code, told.out) == (FAILED, "")
        assert why in told.err
        assert moved(world) == 0


async def test_one_of_line_total_and_gesture_must_be_given(desk: Desk) -> None:
    for words in ((), ("--total", "--line", "X")):
        with pytest.raises(SystemExit) as left:
            main(["refund", "2411231100AB1CD", *words])
        assert left.value.code == MISCONFIGURED


async def test_what_is_impossible_or_switched_off_says_why(desk: Desk) -> None:
    async with desk.world() as world:
        order = shipped(world)
        here = ("-c", desk.write(money=MONEY))
        assert (await mailbridge(*here, "run", "--once")).code == OK
        told = await mailbridge(*here, "refund", order.number, "--line", "AUTRE")
        assert told.code == FAILED
        assert f"impossible other order reference: AUTRE; known: {order.lines[0].reference}" in (
            told.flat
        )
        told = await mailbridge(*here, "refund", "2411231100XXXXX", "--total")
        assert (told.code, "does not know this order" in told.err) == (FAILED, True)
        told = await mailbridge(
            *here, "refund", order.number, "--gesture", "150", "--motive", "139"
        )
        assert "impossible nothing left movement: gesture; amount: 150.00; left: 55.80" in told.flat
        desk.write()
        told = await mailbridge(*here, "refund", order.number, "--total")
        assert (told.code, "money is switched off" in told.err) == (FAILED, True)
        assert moved(world) == 0


async def test_without_a_daemon_or_a_word_nothing_is_asked_for(desk: Desk) -> None:
    async with desk.world() as world:
        order = shipped(world)
        here = ("-c", desk.write(money=MONEY))
        assert (await mailbridge(*here, "run", "--once")).code == OK
        told = await mailbridge(*here, "refund", order.number, "--total", "--yes")
        assert (told.code, "money is moved by the daemon" in told.err) == (FAILED, True)
        told = await mailbridge(*here, "refund", order.number, "--total")
        assert (told.code, "give --yes" in told.err) == (FAILED, True)
        assert moved(world) == 0


async def test_a_refund_from_the_command_line_to_the_thread(desk: Desk) -> None:
    async with desk.world() as world:
        order = shipped(world)
        here = ("-c", desk.write(money=MONEY))
        async with running(desk, here[1]):
            await until(lambda: world.mail.mails(world.address))
            told = await typed("nein", here[1], order)
            assert (told[0], moved(world)) == (FAILED, 0)
            assert "nothing was asked for" in told[1]

            told = await typed(order.number.lower(), here[1], order)
            assert told[0] == OK, told[1]
            assert "55.80 EUR" in told[1] and "done: the order shows it" in told[1]
            assert order.lines[0].state == "RefundedAfterShipping"
            assert order.lines[0].refunded_shipping

            async def receipt() -> bool:
                mails = await world.agent(tls=desk.client_tls).mails()
                return any("Remboursé" in m.text for m in mails if m.message["X-Mailbridge-Notice"])

            await until(receipt)
            told_again = await mailbridge(*here, "refund", order.number, "--total", "--yes")
            assert told_again.code == FAILED
            assert "already refunded" in told_again.flat

            # An answer lost after the money moved: not asked again, and proven by the order.
            world.market.faults.once(AnswerLost(), VOUCHER)
            other = shipped(world)
            run = ("refund", other.number, "--gesture", "9,90", "--motive", "retard", "--yes")
            told_json = await mailbridge(*here, *run, "--json")
            assert told_json.code in (OK, ATTENTION), told_json
            assert [v.amount for v in other.vouchers] == [Decimal("9.90")]
            assert world.market.performed(VOUCHER) == 2


async def typed(words: str, file: Path, order: BookedOrder) -> tuple[int, str]:
    """`mailbridge refund` on a terminal of its own, with this typed at its question."""
    ours, theirs = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mailbridge", "-c", str(file), "refund", order.number, "--total",
            stdin=theirs, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1"},
            cwd=Path(__file__).parents[1],
        )  # fmt: skip
        os.write(ours, f"{words}\n".encode())
        out, _ = await process.communicate()
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode is not None
    return process.returncode, out.decode()
