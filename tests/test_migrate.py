"""`mailbridge migrate` as an operator types it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mailbridge.sandbox.world import World
from tests.desk import Desk, open_desk
from tests.test_cli import ATTENTION, FAILED, MISCONFIGURED, OK, logging_as_it_was, mailbridge

__all__ = ["logging_as_it_was"]


@pytest.fixture
def desk() -> Iterator[Desk]:
    with open_desk() as one:
        yield one


def octopia(world: World) -> dict[str, str | None]:
    """The new section, in the place of the old one."""
    return {
        "kind": '"octopia"',
        "login": None,
        "password": None,
        "service_url": None,
        "client_id": f'"{world.octopia.client_id}"',
        "client_secret": f'"{world.octopia.client_secret}"',
        "seller_id": f'"{world.octopia.seller_id}"',
        "token_url": f'"{world.octopia.token_url}"',
        "api_url": f'"{world.octopia.api_url}"',
    }


async def test_step_by_step(desk: Desk) -> None:
    async with desk.world() as world:
        claims = [world.cast.claim() for _ in range(3)]
        move = ("migrate", "shop", "--to", "octopia")
        told = await mailbridge("-c", desk.write(), *move)
        assert (told.code, "nothing to move" in told.err or "is still cdiscount" in told.err) == (
            FAILED,
            True,
        )
        assert (await mailbridge("-c", desk.write(), "run", "--once")).code == OK

        here = ("-c", desk.write(marketplace=octopia(world)))
        told = await mailbridge(*here, "run", "--once")
        assert told.code == MISCONFIGURED
        assert "mailbridge migrate shop --to octopia" in told.err
        assert (await mailbridge(*here, "migrate", "shopp", "--to", "octopia")).code == FAILED

        told = await mailbridge(*here, *move, "--dry-run")
        assert told.code == OK, told
        assert "3 open or with unfinished work: 3 are shown there, 0 are not" in told.flat
        assert "nothing was changed" in told.flat
        told = await mailbridge(*here, *move, "--json")
        assert told.code == OK, told
        assert (told.json["done"], told.json["joined"]) == (True, {"same words and moment": 3})

        assert (await mailbridge(*here, "run", "--once")).code == OK
        assert len(await world.mail.mails(world.address)) == 3
        claims[0].channel = "AUTREXX"
        only = {**octopia(world), "sales_channels": '["CDISFR"]'}
        told = await mailbridge("-c", desk.write(marketplace=only), *move)
        assert told.code == ATTENTION
        assert "not shown there; they stay as they are" in told.flat
