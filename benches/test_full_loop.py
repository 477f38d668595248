"""Rows 11r and 11: a whole engine over ticks, with orders through gates, broker and audit; live; and with bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import headrace
from benches.baselines.bare_loop import bare_loop
from benches.bench import Bench, Row, Work, peer
from benches.handlers import LIMITS, PerQuote, own_times, quotes
from benches.workload import INSTRUMENTS, TICKS_PER_ORDER, check, instrument_names
from headrace.feeds import ArrayFeed
from headrace.market.bars import BarSpec
from headrace.market.events import Bar, OrderFill
from headrace.trading.brokers.simulated import SimulatedBroker

# Recorded seconds per second: the array is over as fast as its ticks are handled.
FAST = 1e9
# Between two quotes of the rows with bars: a second has 10,000.
BAR_STEP_NS = 100_000


class Trades(PerQuote):
    """The workload's handler, and an order each thousand ticks; what became of the order comes back to it."""

    def __init__(self) -> None:
        super().__init__()
        self.fills = 0

    def on_quote(self, bid_price: float, ask_price: float) -> None:
        self.sum += (bid_price + ask_price) / 2
        self.count += 1
        if self.count % TICKS_PER_ORDER == 0:
            order = self.count // TICKS_PER_ORDER
            (self.buy if order % 2 else self.sell)(NAMES[order // 2 % INSTRUMENTS], 1)

    def on_fill(self, _fill: OrderFill) -> None:
        self.fills += 1


class Closes(PerQuote):
    """The workload's handler, and it counts bars."""

    def __init__(self) -> None:
        super().__init__()
        self.bars_seen = 0

    def on_bar(self, _bar: Bar) -> None:
        self.bars_seen += 1


NAMES = instrument_names()


@cache
def lots() -> list[headrace.Instrument]:
    """Instruments that orders can be rounded to."""
    return [headrace.Instrument(name, price_tick=Decimal(1) / 64, lot_size=Decimal(1)) for name in NAMES]


def engine(ticks: np.ndarray, make: Callable[[], Any] = PerQuote, **options: Any) -> Iterator[Work]:
    """Run an engine with one strategy; what it opens and closes is part of the work."""
    strategy = make()
    options = {"mode": "replay", "instruments": NAMES, **options}
    made = headrace.Engine(feeds=ArrayFeed(ticks), strategies=[strategy], **options)
    yield made.run
    check([strategy], len(ticks))


def full_loop(ticks: np.ndarray, folder: Path) -> Iterator[Work]:
    """Run with everything on: strategy, gates, simulated broker, audit."""
    strategy = Trades()
    audit = folder / "audit.jsonl"
    audit.unlink(missing_ok=True)
    parts = {"limits": LIMITS, "broker": SimulatedBroker(), "audit": audit}
    yield from engine(ticks, lambda: strategy, instruments=lots(), **parts)
    orders = len(ticks) // TICKS_PER_ORDER
    # The last one may still wait for the next quote of its instrument.
    assert orders - 2 <= strategy.fills <= orders, f"{strategy.fills} of {orders} orders were filled"
    filled = audit.read_bytes().count(b'"OrderFilled"')
    assert filled == strategy.fills, f"the audit has {filled} of {strategy.fills} fills"


def with_bars(ticks: np.ndarray, *timeframes: str) -> Iterator[Work]:
    """Run with bars: the strategy gets each one."""
    strategy = Closes()
    bars = [BarSpec(timeframe=timeframe, price="mid") for timeframe in timeframes]
    spec = headrace.StrategySpec(strategy=strategy, bars=bars)
    yield headrace.Engine(feeds=ArrayFeed(ticks), strategies=[spec], instruments=NAMES, mode="replay").run
    check([strategy], len(ticks))
    assert strategy.bars_seen > 0


class TestOrders:
    """An order every 1,000 ticks, which have a time each."""

    rows = (
        Row("11r", "full loop, an order in 1,000 ticks, a time each", "full_loop", "bare_loop", at_least=0.35),
        Row("11", "full loop, against nautilus_trader's BacktestEngine", "full_loop", "nautilus_trader", at_least=20),
        Row("", "full loop, an order in 1,000 ticks", "full_loop", "engine"),
        Row("", "engine, live, speed=FAST", "live", "engine"),
        Row("", "nautilus_trader, as many orders", "nautilus_trader", "bare_loop"),
    )

    def test_full_loop(self, bench: Bench, tmp_path: Path) -> None:
        bench.items(bench.size.calls)(full_loop, own_times(bench.size.calls), tmp_path)

    def test_engine(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(engine, own_times(bench.size.calls))

    def test_live(self, bench: Bench, tmp_path: Path) -> None:
        ticks = own_times(bench.size.calls)
        bench.items(len(ticks))(engine, ticks, mode="live", speed=FAST, state_folder=tmp_path)

    def test_bare_loop(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(bare_loop, bench.size.calls)

    @peer("nautilus_trader")
    def test_nautilus_trader(self, bench: Bench) -> None:
        from benches.peers.nautilus_backtest import backtest

        count = bench.size.calls // 4
        bench.items(count)(backtest, count, trades=True)


class TestBars:
    """Bars of 100 instruments."""

    rows = (
        Row("", "1 s bars of 100 instruments", "one_kind", "no_bars"),
        Row("", "1 s, 5 s and 1 m bars of 100 instruments", "three_kinds", "one_kind"),
    )

    def test_no_bars(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(engine, quotes(bench.size.calls, step_ns=BAR_STEP_NS))

    def test_one_kind(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(with_bars, quotes(bench.size.calls, step_ns=BAR_STEP_NS), "1s")

    def test_three_kinds(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(with_bars, quotes(bench.size.calls, step_ns=BAR_STEP_NS), "1s", "5s", "1m")
