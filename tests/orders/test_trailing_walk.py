"""Trailing stops in candles against a walk by hand: a second reckoning of each model, price by price."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import numpy as np
import pytest

from headrace.market.events import OrderFill
from tests.support.candles import Trader, candles, flat, replayed
from tests.support.feeding import BTC

D = Decimal
TICK = D("0.01")
Candle = tuple[float, float, float, float]


class Protected(Trader):
    """Enters at the open of candle 2, on a side, and protects that with a trailing stop at once."""

    def __init__(self, side: int, trail: str) -> None:
        super().__init__({1: [(side, "1", {})]})
        self.trail = trail

    def on_fill(self, fill: OrderFill) -> None:
        super().on_fill(fill)
        if len(self.fills) == 1:
            leave = self.sell if fill.side > 0 else self.buy
            leave(BTC, "1", trail=self.trail, reduce_only=True)


def walked(rng: np.random.Generator, count: int) -> list[Candle]:
    """Candles with gaps between them."""
    prices, price = list(flat(100)), 100.0
    for _ in range(count):
        around = price + 0.5 * rng.integers(-6, 7, 4)
        opened, closed = float(around[0]), float(around[1])
        prices.append((opened, float(max(around)), float(min(around)), closed))
        price = closed
    return prices


class Stop:
    """A trailing stop for a position of a side: the best price so far, and the trigger behind it."""

    def __init__(self, held: int, trail: str) -> None:
        self.held, self.trail = held, trail
        self.best: Decimal | None = None

    def follow(self, price: Decimal) -> None:
        better = max if self.held > 0 else min
        self.best = price if self.best is None else better(self.best, price)

    @property
    def trigger(self) -> Decimal:
        assert self.best is not None
        away = self.best * D(self.trail[:-1]) / 100 if self.trail.endswith("%") else D(self.trail)
        rounding = ROUND_FLOOR if self.held > 0 else ROUND_CEILING
        return ((self.best - self.held * away) / TICK).to_integral_value(rounding) * TICK

    def is_reached(self, price: Decimal) -> bool:
        return self.best is not None and (price - self.trigger) * self.held <= 0


def by_path(held: int, candle: Candle, stop: Stop) -> Iterator[Decimal]:
    """Where the path from the open over the worse extreme and the other one to the close meets a stop."""
    _, high, low, close = map(D, candle)
    worse, better = (low, high) if held > 0 else (high, low)
    for corner in (worse, better, close):
        if stop.is_reached(corner):
            yield stop.trigger
        stop.follow(corner)


def by_range(held: int, candle: Candle, stop: Stop) -> Iterator[Decimal]:
    """Where a candle meets a stop as the candles before left it, and then as the better extreme moved it."""
    _, high, low, close = map(D, candle)
    worse, better = (low, high) if held > 0 else (high, low)
    if stop.is_reached(worse):
        yield stop.trigger
    stop.follow(better)
    if stop.is_reached(close):
        yield stop.trigger


Model = Callable[[int, Candle, Stop], Iterator[Decimal]]


def by_hand(held: int, trail: str, prices: list[Candle], model: Model) -> Decimal | None:
    stop = Stop(held, trail)
    for candle in prices[1:]:
        opened = D(candle[0])
        if stop.is_reached(opened):
            return opened
        stop.follow(opened)
        for price in model(held, candle, stop):
            return price
    return None


@pytest.mark.parametrize(("fill", "model"), [("path", by_path), ("next_open", by_range)])
@pytest.mark.parametrize("trail", ["0.5", "2", "5", "1.5%", "4%"])
def test_trailing_stop_fills_where_a_walk_by_hand_meets_it(fill: str, model: Model, trail: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    for _ in range(20):
        prices, held = walked(generator, 12), int(generator.choice([-1, 1]))
        trader = Protected(held, trail)
        replayed(candles(prices), trader, fill=fill)
        expected = by_hand(held, trail, prices, model)
        exits = [price for side, price in trader.trades[1:]]
        assert exits == ([] if expected is None else [expected]), (held, prices)
