"""A long live run with every kind of fault while routes change: nothing unhandled, no growth, each loss counted."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from headrace import Engine, Flags
from headrace.commands import Subscribe, Unsubscribe
from headrace.feeds import SyntheticFeed
from headrace.gateway import CanonicalEvent, CanonicalType, Gateway
from headrace.venues import BinanceFeed, Fault, FaultScript, SimulatedVenue
from tests.support.comparing import Comparing
from tests.support.memory import rss_bytes

pytestmark = pytest.mark.asyncio

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
TYPES = (CanonicalType.TRADE, CanonicalType.TICKER, CanonicalType.FUSED, CanonicalType.BOOK_DELTA)
SPEED = 2.0
LIMITS = {"messages_per_s": 20}
# Each now and then, by the venue's seed.
RATES = (
    Fault(kind="drop", stream="*@depth*", rate=0.002, frames=2),
    Fault(kind="reorder", stream="*@depth*", rate=0.002),
    Fault(kind="duplicate", stream="*@depth*", rate=0.002),
    Fault(kind="corrupt", stream="*@depth*", rate=0.001),
    Fault(kind="drop", stream="*@trade", rate=0.002, frames=3),
    Fault(kind="duplicate", stream="*@trade", rate=0.002),
    Fault(kind="corrupt", stream="*@bookTicker", rate=0.0005),
)
# One after the other. Most connections live for half a minute, as good ones do: else the pauses between two would grow
# until commands failed.
TIMED = ("cut", "stale_snapshot", "late_snapshot", "restart", "unavailable", "shutdown")
EVERY_S = 12.0
SAMPLES = 30
# Growth after the first third, in which caches and pools reach their size.
GROWTH_MAX = 8 << 20
QUOTES_KEPT = 2_000
# The venue's own memory, in the same process, is full within seconds.
VENUE_KEEPS = {"listing.TRADES_KEPT": 1_000, "market.DEPTHS_KEPT": 200}


class Counting(Comparing):
    """Compares the books of the instrument that is always subscribed, and accounts for each of its trades' ids."""

    subscription: ClassVar[Mapping[str, object]] = {"instruments": "BTCUSDT.BINANCE"}

    def __init__(self) -> None:
        super().__init__()
        self.first: int | None = None
        self.highest = 0
        self.in_order = self.late = self.missing = 0

    def on_quote(self, venue_seq: int, bid_price: float, ask_price: float, bid_size: float, ask_size: float) -> None:
        super().on_quote(venue_seq, bid_price, ask_price, bid_size, ask_size)
        if len(self.quotes) > QUOTES_KEPT:
            self.quotes.pop(next(iter(self.quotes)))

    def on_trade(self, trade_id: int, flags: int) -> None:
        if flags & Flags.LATE:
            self.late += 1
            return
        self.first = self.first or trade_id
        self.highest = trade_id
        self.in_order += 1

    def on_gap(self, lost_kind: str | None, missing: int | None) -> None:
        if lost_kind == "trade":
            self.missing += missing or 0

    def on_status(self, stream: str | None, state: str, reason: str) -> None:
        super().on_status(stream, state, reason)
        del self.states[:-100]


def script(for_s: float) -> FaultScript:
    """Faults of frames at seeded rates, and of connections and REST one after the other."""
    timed = [
        Fault(kind=TIMED[number % len(TIMED)], at_s=EVERY_S * SPEED * (number + 1), for_s=0.3)  # type: ignore[arg-type]
        for number in range(int(for_s / EVERY_S))
    ]
    return FaultScript(faults=(*RATES, *timed), seed=7)


@pytest.mark.parametrize(
    "for_s",
    [
        pytest.param(180.0, marks=[pytest.mark.alone, pytest.mark.timeout(400)]),
        pytest.param(3_600.0, marks=[pytest.mark.deep, pytest.mark.timeout(7_200)]),
    ],
)
async def test_a_soak_with_faults_loses_nothing_in_silence(
    for_s: float, seed: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.ERROR)
    for name, most in VENUE_KEEPS.items():
        monkeypatch.setattr(f"headrace.venues.simulated.{name}", most)
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    sources = [SyntheticFeed(symbol, frames=10**9, seed=number) for number, symbol in enumerate(SYMBOLS)]
    async with SimulatedVenue(*sources, speed=SPEED, faults=script(for_s + 5), limits=LIMITS) as venue:
        addresses = venue.addresses["BINANCE"]
        # Every trade that is dropped stays so, and must be counted as missing.
        feed = BinanceFeed(
            "BINANCE", ["BTCUSDT"], url=addresses["ws"], rest_url=addresses["rest"], backfill=False, limits=LIMITS
        )
        strategy = Counting()
        engine = Engine(feeds=[feed], strategies=[strategy])
        gateway = Gateway(engine, [feed])
        events = [0]
        engine.bus.subscribe(CanonicalEvent, lambda _: events.__setitem__(0, events[0] + 1), name="test")
        async with engine:
            changing = asyncio.ensure_future(changes(engine, random.Random(seed)))
            sizes = await sizes_of(for_s)
            changing.cancel()
            await asyncio.gather(changing, return_exceptions=True)
            for flow in gateway.flows:
                counts = flow.counts
                assert counts.converted == counts.filtered + counts.suppressed + counts.forwarded + flow.is_holding
        faults = venue.stats().faults
    report = engine.report()
    assert (unhandled, [record.getMessage() for record in caplog.records]) == ([], [])
    assert (strategy.unequal, strategy.equal > 2 * for_s) == (0, True)
    assert strategy.first is not None
    span = strategy.highest - strategy.first + 1
    assert strategy.in_order + strategy.missing == span, "each trade came in order or is counted as missing"
    assert strategy.missing > 0
    assert report.late >= strategy.late
    # What no route subscribed to is corrupted, too.
    assert 0 < sum(report.rejected.values()) <= faults["corrupt"]
    assert faults.keys() >= {"drop", "reorder", "duplicate", "corrupt", *TIMED}
    assert events[0] > 10 * for_s
    assert max(sizes[20:]) - max(sizes[:10]) < GROWTH_MAX, sizes


async def sizes_of(for_s: float) -> list[int]:
    """Wait, and return how large the process was meanwhile."""
    sizes = []
    for _ in range(SAMPLES):
        await asyncio.sleep(for_s / SAMPLES)
        gc.collect()
        sizes.append(rss_bytes())
    return sizes


async def changes(engine: Engine, rng: random.Random) -> None:
    """Change routes until cancelled."""
    wanted: set[tuple[CanonicalType, str]] = set()
    while True:
        key = rng.choice(TYPES), f"{rng.choice(SYMBOLS)}.BINANCE"
        command = Unsubscribe(key[0], (key[1],)) if key in wanted else Subscribe(key[0], (key[1],))
        ack = await engine.commands.submit(command)
        if ack.status == "accepted":
            wanted ^= {key}
        elif ack.status == "failed" and isinstance(command, Unsubscribe):
            wanted -= {key}
        await asyncio.sleep(rng.random() * 0.4)
