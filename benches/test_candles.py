"""Row 22: minutes of 20 instruments from Parquet files through a strategy with orders, to a result."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

import headrace
from benches.bench import Bench, Row, Work, peer, wall
from benches.handlers import START_NS
from benches.workload import BARS_PER_ORDER, MINUTE_NS, candle_columns, closes_sum
from headrace.feeds import CandleFeed
from headrace.market.events import Bar, OrderFill

INSTRUMENTS = 20
NAMES = [f"S{number:03d}.SIM" for number in range(INSTRUMENTS)]
KNOWN = [
    headrace.Instrument(name, price_tick=Decimal(1) / 64, lot_size=Decimal(1), contract="spot", settles="USD")
    for name in NAMES
]


class PerBar(headrace.Strategy):
    """Adds up closes and counts; an order each so many candles of an instrument."""

    bars = ("1m",)

    def __init__(self) -> None:
        self.sum = 0.0
        self.counts = dict.fromkeys(NAMES, 0)
        self.fills = 0

    def on_bar(self, bar: Bar) -> None:
        self.sum += bar.close
        instrument = bar.instrument
        count = self.counts[instrument] = self.counts[instrument] + 1
        if count % BARS_PER_ORDER == 0:
            (self.buy if count // BARS_PER_ORDER % 2 else self.sell)(instrument, 1)

    def on_fill(self, _fill: OrderFill) -> None:
        self.fills += 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("candles")


def parquet_files(folder: Path, minutes: int) -> list[Path]:
    """Write the candles of each instrument, once."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    paths = [folder / f"{name}-{minutes}.parquet" for name in NAMES]
    opens_ns = START_NS + np.arange(minutes, dtype=np.int64) * MINUTE_NS
    for number, path in enumerate(paths):
        if not path.exists():
            parquet.write_table(arrow.table({"open_time": opens_ns, **candle_columns(minutes, number)}), path)
    return paths


def from_parquet(folder: Path, minutes: int) -> Iterator[Work]:
    """Backtest: files, candles, strategy, gates, cash, simulated broker, hashes, curve, statistics."""
    paths, strategy = parquet_files(folder, minutes), PerBar()

    def work() -> None:
        feeds = [CandleFeed(path, instrument=name, timeframe="1m") for path, name in zip(paths, NAMES, strict=True)]
        headrace.backtest(strategy, feeds, cash="1000000USD", fees=0, instruments=KNOWN)

    yield work
    assert strategy.sum == closes_sum(minutes, INSTRUMENTS)
    orders = minutes // BARS_PER_ORDER * INSTRUMENTS
    assert orders - INSTRUMENTS <= strategy.fills <= orders, f"{strategy.fills} of {orders} orders were filled"


def minutes_of(bench: Bench) -> int:
    """How many minutes of each instrument a round has: a tenth of a year in the full form."""
    return bench.size.calls // INSTRUMENTS


@wall
class TestMinutes:
    """Candles of 20 instruments, an order each 1,000 candles of one: files are read and lines hashed in threads."""

    rows = (
        Row("22", "minutes of 20 instruments, against backtesting.py", "headrace", "backtesting_py", at_least=10),
        Row("22", "minutes of 20 instruments, against nautilus_trader", "headrace", "nautilus_trader", at_least=10),
    )

    def test_headrace(self, bench: Bench, folder: Path) -> None:
        minutes = minutes_of(bench)
        bench.items(minutes * INSTRUMENTS)(from_parquet, folder, minutes)

    @peer("backtesting")
    def test_backtesting_py(self, bench: Bench) -> None:
        from benches.peers.backtesting_py import backtests

        minutes = minutes_of(bench)
        bench.items(minutes * INSTRUMENTS)(backtests, minutes, INSTRUMENTS)

    @peer("nautilus_trader")
    def test_nautilus_trader(self, bench: Bench) -> None:
        from benches.peers.nautilus_candles import backtest

        minutes = minutes_of(bench)
        bench.items(minutes * INSTRUMENTS)(backtest, minutes, INSTRUMENTS)
