"""backtesting.py: candles of several instruments, one run for each, since it knows one at a time.

Tuned: frames built before the clock starts; trades that are open at the end stay open.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import pandas as pd

from benches.bench import Work
from benches.workload import BARS_PER_ORDER, candle_columns, closes_sum

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Of its own imports.
    from backtesting import Backtest, Strategy

START = pd.Timestamp("2026-01-05")


class PerBar(Strategy):  # type: ignore[misc]  # its package has no types
    """The workload's handler."""

    def init(self) -> None:
        self.sum = 0.0
        self.count = 1  # It is not called for the first candle.

    def next(self) -> None:
        self.sum += self.data.Close[-1]
        self.count += 1
        if self.count % BARS_PER_ORDER == 0:
            (self.buy if self.count // BARS_PER_ORDER % 2 else self.sell)(size=1)


@cache
def frames(minutes: int, instruments: int) -> list[pd.DataFrame]:
    """Return the candles as its frames."""
    index = pd.date_range(START, periods=minutes, freq="1min")
    names = {name: name.capitalize() for name in ("open", "high", "low", "close", "volume")}
    return [pd.DataFrame(candle_columns(minutes, own), index=index).rename(columns=names) for own in range(instruments)]


def backtests(minutes: int, instruments: int) -> Iterator[Work]:
    """Run one back-test for each instrument."""
    runs = [Backtest(frame, PerBar, cash=1_000_000, finalize_trades=False) for frame in frames(minutes, instruments)]
    results: list[Any] = []

    def work() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of trades that are open at the end.
            results.extend(run.run() for run in runs)

    yield work
    first = sum(candle_columns(1, own)["close"][0] for own in range(instruments))
    assert sum(own["_strategy"].sum for own in results) == closes_sum(minutes, instruments) - first
    closed = sum(len(own["_trades"]) for own in results)
    orders = minutes // BARS_PER_ORDER
    assert (orders - 1) // 2 * instruments <= closed <= orders // 2 * instruments, f"{closed} trades"
