"""A soak of a gateway over a venue with faults: no unhandled error, flat memory, every frame and drop accounted for."""

from __future__ import annotations

import asyncio
import logging
import random
import resource
import time
from collections.abc import Mapping
from typing import ClassVar

import pytest

from headrace import Engine
from headrace.commands import Subscribe, Unsubscribe
from headrace.feeds import SyntheticFeed
from headrace.gateway import CanonicalEvent, CanonicalType, Gateway
from headrace.venues import BinanceFeed, Fault, SimulatedVenue
from tests.support.comparing import Comparing

pytestmark = pytest.mark.asyncio

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
TYPES = (CanonicalType.TRADE, CanonicalType.TICKER, CanonicalType.FUSED, CanonicalType.BOOK_DELTA)
# Each now and then, by the venue's seed.
FAULTS = (
    Fault(kind="drop", stream="*@depth*", rate=0.02, frames=2),
    Fault(kind="duplicate", stream="*@trade", rate=0.01),
    Fault(kind="reorder", stream="*@depth*", rate=0.01),
    Fault(kind="corrupt", stream="*@bookTicker", rate=0.003),
    Fault(kind="cut", stream="*@trade", rate=0.001),
)
MEMORY_KB = 48 << 10


class ComparingOne(Comparing):
    """Compares the book of the instrument that is always subscribed."""

    subscription: ClassVar[Mapping[str, object]] = {"instruments": "BTCUSDT.BINANCE"}


@pytest.mark.parametrize(
    "for_s",
    [
        pytest.param(20.0, marks=pytest.mark.timeout(180)),
        pytest.param(3_600.0, marks=[pytest.mark.deep, pytest.mark.timeout(7_200)]),
    ],
)
async def test_a_soak_with_faults_loses_nothing_in_silence(
    for_s: float, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    rng = random.Random(seed)
    feeds = [SyntheticFeed(symbol, frames=10**9, seed=number) for number, symbol in enumerate(SYMBOLS)]
    async with SimulatedVenue(*feeds, speed=1, faults=FAULTS, limits={"messages_per_s": 20}) as venue:
        addresses = venue.addresses["BINANCE"]
        feed = BinanceFeed(
            "BINANCE", ["BTCUSDT"], url=addresses["ws"], rest_url=addresses["rest"], limits={"messages_per_s": 20}
        )
        watching = ComparingOne()
        engine = Engine(feeds=[feed], strategies=[watching])
        gateway = Gateway(engine, [feed])
        seen = [0]
        engine.bus.subscribe(CanonicalEvent, lambda _: seen.__setitem__(0, seen[0] + 1), name="test")
        async with engine:
            warm_kb = await changing(engine, rng, for_s)
            watching.quotes.clear()
            grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - warm_kb
            for flow in gateway.flows:
                counts = flow.counts
                assert counts.converted == counts.filtered + counts.suppressed + counts.forwarded + flow.is_holding
        assert (watching.unequal, watching.equal > 50) == (0, True)
        assert seen[0] > 1_000
        assert venue.stats().faults.keys() >= {"drop", "duplicate", "corrupt"}
        # What no route subscribed to is corrupted, too.
        assert 0 < sum(engine.report().rejected.values()) <= venue.stats().faults["corrupt"]
        assert grown_kb < MEMORY_KB
    assert [record.getMessage() for record in caplog.records] == []


async def changing(engine: Engine, rng: random.Random, for_s: float) -> int:
    """Change routes for so long, and return the memory that was used after a third of it."""
    ends, warm_kb = time.monotonic() + for_s, 0
    wanted: set[tuple[CanonicalType, str]] = set()
    while (left_s := ends - time.monotonic()) > 0:
        key = rng.choice(TYPES), f"{rng.choice(SYMBOLS)}.BINANCE"
        command = Unsubscribe(key[0], (key[1],)) if key in wanted else Subscribe(key[0], (key[1],))
        ack = await engine.commands.submit(command)
        if ack.status == "accepted":
            wanted ^= {key}
        elif ack.status == "failed" and isinstance(command, Unsubscribe):
            wanted -= {key}
        if left_s < for_s * 2 / 3 and not warm_kb:
            warm_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await asyncio.sleep(rng.random() * 0.4)
    return warm_kb
