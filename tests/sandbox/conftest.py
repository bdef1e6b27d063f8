"""A shop's marketplace on loopback, under a clock that a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random

import httpx
import pytest
import pytest_asyncio

from mailbridge.sandbox.books import Books
from mailbridge.sandbox.cdiscount import CdiscountSimulator
from mailbridge.sandbox.clock import HandClock
from mailbridge.sandbox.octopia import OctopiaSimulator
from mailbridge.sandbox.people import Cast
from tests.octopia import ContractWatch
from tests.requirements import CONTRACT
from tests.sandbox.rest import Rest
from tests.sandbox.soap import Soap, tiny_contract


@pytest.fixture
def clock() -> HandClock:
    """Thursday 25 April 2019, 11:05 in Paris: when the first claim was recorded."""
    return HandClock(datetime(2019, 4, 25, 9, 5, tzinfo=UTC))


@pytest.fixture
def books(clock: HandClock) -> Books:
    return Books(clock, Random(7), seller_lag=timedelta(minutes=57))


@pytest.fixture
def cast(books: Books) -> Cast:
    return Cast(books, Random(11))


@pytest_asyncio.fixture
async def market(
    books: Books, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[CdiscountSimulator]:
    folder = CONTRACT if CONTRACT.is_dir() else tiny_contract(tmp_path_factory.mktemp("wsdl"))
    async with CdiscountSimulator(books, wsdl=folder) as running:
        yield running
    assert asyncio.all_tasks() == {asyncio.current_task()}, "the simulator left tasks behind"


@pytest_asyncio.fixture
async def soap(market: CdiscountSimulator) -> AsyncIterator[Soap]:
    async with httpx.AsyncClient(timeout=5) as http:
        yield Soap(market, http)


@pytest_asyncio.fixture
async def octopia(books: Books) -> AsyncIterator[OctopiaSimulator]:
    """The newer door; whatever passes it is as the contract says."""
    simulator = OctopiaSimulator(books)
    watch = ContractWatch(simulator)
    async with simulator:
        yield simulator
    assert watch.faults == []
    assert asyncio.all_tasks() == {asyncio.current_task()}, "the simulator left tasks behind"


@pytest_asyncio.fixture
async def rest(octopia: OctopiaSimulator) -> AsyncIterator[Rest]:
    async with httpx.AsyncClient(timeout=5) as http:
        yield Rest(octopia, http)
