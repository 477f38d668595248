"""A long live run under every kind of fault: nothing unhandled, no growth, each loss counted."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest

from headrace import Engine, Flags
from headrace.feeds import SyntheticFeed
from headrace.venues import BinanceFeed, Fault, FaultScript, SimulatedVenue
from tests.support.comparing import Comparing
from tests.support.memory import rss_bytes

pytestmark = pytest.mark.asyncio

STREAMS = ("bookTicker", "trade", "depth@100ms")
# Growth after the first third, in which caches and pools reach their size.
GROWTH_MAX = 8 << 20
QUOTES_KEPT = 20_000


class Counting(Comparing):
    """Compares books, and accounts for each trade's id."""

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


def faults_of(every_s: float, total_s: float) -> FaultScript:
    """Faults of frames at seeded rates, and of connections and REST one after the other."""
    depth, trade = "*@depth", "*@trade"
    rates = [
        Fault(kind="drop", stream=depth, rate=0.002, frames=2),
        Fault(kind="reorder", stream=depth, rate=0.002),
        Fault(kind="duplicate", stream=depth, rate=0.002),
        Fault(kind="corrupt", stream=depth, rate=0.001),
        Fault(kind="drop", stream=trade, rate=0.002, frames=3),
        Fault(kind="duplicate", stream=trade, rate=0.002),
        Fault(kind="corrupt", stream="*@bookTicker", rate=0.0005),
    ]
    kinds = ("cut", "stale_snapshot", "late_snapshot", "shutdown", "unavailable", "restart")
    times = [every_s * number for number in range(1, int(total_s / every_s))]
    timed = [
        Fault(kind=kinds[number % len(kinds)], at_s=at_s, for_s=0.3)  # type: ignore[arg-type]
        for number, at_s in enumerate(times)
    ]
    return FaultScript(faults=(*rates, *timed), seed=7)


async def soak(for_s: float, caplog: pytest.LogCaptureFixture, *, speed: float) -> None:
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    strategy = Counting()
    source = SyntheticFeed("BTCUSDT", frames=10**9)
    script = faults_of(every_s=2.0 * speed, total_s=(for_s + 5) * speed)
    sizes: list[int] = []
    with caplog.at_level(logging.ERROR):
        async with SimulatedVenue(source, speed=speed, faults=script) as venue:
            addresses = venue.addresses["BINANCE"]
            # Every trade that is dropped stays so, and must be counted as missing.
            feed = BinanceFeed(
                "BINANCE", ["BTCUSDT"], STREAMS, url=addresses["ws"], rest_url=addresses["rest"], backfill=False
            )
            engine = Engine(feeds=[feed], strategies=[strategy])
            async with engine:
                for _ in range(30):
                    await asyncio.sleep(for_s / 30)
                    gc.collect()
                    sizes.append(rss_bytes())
            counts = venue.stats().faults
    report = engine.report()
    assert not unhandled
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert strategy.unequal == 0
    assert strategy.equal > 10 * for_s
    assert strategy.first is not None
    span = strategy.highest - strategy.first + 1
    assert strategy.in_order + strategy.missing == span, "each trade came in order or is counted as missing"
    assert strategy.missing > 0
    assert report.late >= strategy.late
    assert report.gaps > 0
    assert min(counts[kind] for kind in ("drop", "reorder", "duplicate", "corrupt", "cut")) > 0
    assert max(sizes[20:]) - max(sizes[:10]) < GROWTH_MAX, sizes


@pytest.mark.timeout(180)
async def test_no_fault_goes_unhandled_or_uncounted(caplog):
    await soak(15.0, caplog, speed=4.0)


@pytest.mark.deep
@pytest.mark.timeout(4_000)
async def test_no_fault_goes_unhandled_or_uncounted_deep(caplog):
    await soak(3_600.0, caplog, speed=4.0)
