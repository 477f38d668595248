"""Candles for tests: made by hand, and an engine that replays them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from headrace import Engine, Report, Strategy
from headrace.feeds import CandleFeed
from headrace.market.candles import CANDLE_DTYPE
from headrace.market.events import Bar, OrderFill
from headrace.trading.brokers import SimulatedBroker
from tests.support.engines import INSTRUMENTS, LIMITS, START
from tests.support.feeding import BTC

MINUTE = 60_000_000_000
# Open, high, low, close.
Prices = Sequence[tuple[float, float, float, float]]


def candles(prices: Prices, *, start_ns: int = START, length_ns: int = MINUTE) -> np.ndarray:
    """Candles that follow each other."""
    made = np.zeros(len(prices), CANDLE_DTYPE)
    made["ts_open"] = start_ns + length_ns * np.arange(len(prices))
    made["ts_close"] = made["ts_open"] + length_ns
    for name, column in zip(("open", "high", "low", "close"), zip(*prices, strict=True), strict=True):
        made[name] = column
    made["volume"], made["count"] = 10.0, 1
    return made


def flat(*opens: float) -> Prices:
    """Candles that do not move, one at each price."""
    return [(price,) * 4 for price in opens]


def walk(count: int, *, seed: int = 1, price: float = 100.0) -> Prices:
    """A random walk; each candle opens where the one before closed."""
    rng = np.random.default_rng(seed)
    closes = np.round(price + np.cumsum(rng.normal(0, 0.5, count)), 2)
    opens = np.append([price], closes[:-1])
    high = np.maximum(opens, closes) + np.round(rng.random(count), 2)
    low = np.minimum(opens, closes) - np.round(rng.random(count), 2)
    return [tuple(row) for row in np.stack([opens, high, low, closes], axis=1).tolist()]


class Trader(Strategy):
    """Keeps its bars and fills; after bar number n it makes the orders ``acts[n]``: (side, quantity, options)."""

    bars = ("1m",)

    def __init__(self, acts: dict[int, Sequence[tuple[int, Any, dict[str, Any]]]] | None = None) -> None:
        self.acts = acts or {}
        self.seen: list[Bar] = []
        self.fills: list[OrderFill] = []
        self.log_of: list[str] = []

    def on_bar(self, bar: Bar) -> None:
        self.seen.append(bar)
        self.log_of.append(f"bar {len(self.seen)}")
        for side, quantity, options in self.acts.get(len(self.seen), ()):
            (self.buy if side > 0 else self.sell)(bar.instrument, quantity, **options)

    def on_fill(self, fill: OrderFill) -> None:
        self.fills.append(fill)
        self.log_of.append(f"fill {fill.price}")

    @property
    def trades(self) -> list[tuple[int, Decimal]]:
        """Side and price of each fill."""
        return [(fill.side, fill.price) for fill in self.fills]


def replayed(
    feeds: np.ndarray | Iterable[Any], *strategies: Any, fill: Any = None, broker: Any = None, **options: Any
) -> Report:
    """Replay candles; an array is of BTC. The broker takes no fees."""
    each = [CandleFeed(feeds, instrument=BTC)] if isinstance(feeds, np.ndarray) else list(feeds)
    engine = Engine(
        mode="replay",
        feeds=each,
        strategies=list(strategies),
        broker=broker or SimulatedBroker(fill=fill),
        instruments=INSTRUMENTS,
        limits=LIMITS,
        **options,
    )
    return engine.run()
