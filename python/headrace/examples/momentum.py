"""Bars, market orders, timers: buys when a bar closes above the bars before it, and sells after a set time.

Orders need an engine with a broker and limits; ``headrace config new CONFIG`` writes one, on paper.
Run it: ``headrace backtest CONFIG --set strategies.0.use=headrace.examples.momentum:Momentum``
"""

from collections import deque
from decimal import Decimal
from typing import ClassVar

from headrace import Strategy
from headrace.market.events import Bar, OrderFill
from headrace.strategies.timers import Timer


class Momentum(Strategy):
    """Compares a bar's close with the highs of the ``lookback`` bars before it, and holds for ``hold``."""

    bars: ClassVar[tuple[str, ...]] = ("1s",)

    def __init__(self, lookback: int = 10, hold: str = "5s", quantity: Decimal = Decimal("0.001")) -> None:
        self.lookback = lookback
        self.hold = hold
        self.quantity = quantity
        self.highs: dict[str, deque[float]] = {}

    def on_bar(self, bar: Bar) -> None:
        """Buy on a break-out, unless there is a position already."""
        highs = self.highs.setdefault(bar.instrument, deque(maxlen=self.lookback))
        breaks_out = len(highs) == self.lookback and bar.close > max(highs)
        highs.append(bar.high)
        if breaks_out and not self.position(bar.instrument).quantity:
            self.buy(bar.instrument, self.quantity, time_in_force="ioc")

    def on_fill(self, fill: OrderFill) -> None:
        """Set a timer for the sale; it has the instrument's name."""
        if fill.side > 0:
            self.set_timer(fill.instrument, after=self.hold)

    def on_timer(self, timer: Timer) -> None:
        """Sell the position."""
        held = self.position(timer.name).quantity
        if held:
            self.sell(timer.name, held, reduce_only=True)
