"""What tests of backtests share: a market that moves, and strategies that trade in it.

Guarantees: everything here is seeded; each strategy is a plain one that an engine runs live, too.
Does not: stand in for any part of a backtest.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import ClassVar

import numpy as np

import headrace
from headrace import Strategy
from tests.support.engines import START
from tests.support.feeding import BTC

SECOND = 1_000_000_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR


def walk(
    count: int = 2_000,
    *,
    instrument: str = BTC,
    seed: int = 7,
    every_ns: int = 60 * SECOND,
    start_ns: int = START,
    price: float = 100.0,
    size: float = 10.0,
) -> np.ndarray:
    """Quotes of a random walk in steps of 0.01; the ask is 0.02 above the bid."""
    rng = np.random.default_rng(seed)
    bids = np.round(price + np.cumsum(rng.integers(-20, 21, count)) / 100, 2)
    bids = np.maximum(bids, 1.0)
    return headrace.ticks(
        instrument=instrument,
        ts_init=start_ns + every_ns * np.arange(count),
        kind="quote",
        bid_price=bids,
        ask_price=np.round(bids + 0.02, 2),
        bid_size=size,
        ask_size=size,
    )


def path(mids: list[float], *, instrument: str = BTC, every_ns: int = SECOND, size: float = 1_000.0) -> np.ndarray:
    """Quotes around these mids, one cent wide to each side."""
    mid = np.asarray(mids, "f8")
    return headrace.ticks(
        instrument=instrument,
        ts_init=START + every_ns * np.arange(len(mid)),
        kind="quote",
        bid_price=np.round(mid - 0.01, 2),
        ask_price=np.round(mid + 0.01, 2),
        bid_size=size,
        ask_size=size,
    )


class Acts(Strategy):
    """Does at quote number n what ``acts[n]`` says: a signed quantity, or a function of the strategy."""

    def __init__(self, acts: Mapping[int, object]) -> None:
        self.acts = acts
        self.count = 0

    def on_quote(self, instrument: str, bid_price: float) -> None:
        self.count += 1
        act = self.acts.get(self.count)
        if act is None:
            return
        if callable(act):
            act(self)
            return
        quantity = Decimal(str(act))
        (self.buy if quantity > 0 else self.sell)(instrument, abs(quantity))


class Reverting(Strategy):
    """Buys after a fall and sells after a rise, by ``quantity``, and sometimes rests a limit."""

    subscription: ClassVar = {"instruments": "*"}

    def __init__(self, quantity: Decimal = Decimal(1), step: float = 0.3) -> None:
        self.quantity = quantity
        self.step = step
        self.last: dict[str, float] = {}
        self.count = 0

    def on_quote(self, instrument: str, bid_price: float, ask_price: float) -> None:
        last = self.last.setdefault(instrument, bid_price)
        if abs(bid_price - last) < self.step:
            return
        self.last[instrument] = bid_price
        self.count += 1
        side = self.buy if bid_price < last else self.sell
        if self.count % 3:
            side(instrument, self.quantity, tag="market")
        else:
            price = bid_price if bid_price < last else ask_price
            side(instrument, self.quantity, price=f"{price:.2f}", expires_after="10m", tag="limit")
