"""What a type checker must refuse; the comment of each line names mypy's code for it.

Does not: run. `test_typing` compares mypy's messages with the comments, line by line, both ways.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from headrace import (
    Decoder,
    Dispatcher,
    GapTick,
    Instruments,
    Ring,
    Strategy,
    Tick,
    TradeTick,
    register_kind,
    replay,
    ticks,
)


class Wrong(Strategy):
    """Annotations that contradict what the handlers do."""

    subscription = 100  # refused: assignment

    def __init__(self) -> None:
        self.sum = 0.0

    def on_quote(self, bid_price: str, ask_price: float) -> None:
        self.sum += ask_price - bid_price  # refused: operator

    def on_trade(self, tick: TradeTick) -> None:
        self.sum += tick.price
        self.sum += tick.bid_price  # refused: attr-defined
        tick.seq = 0  # refused: misc

    def on_tick(self, tick: Tick) -> None:
        self.sum += len(tick.instrument)  # refused: arg-type

    def on_gap(self, tick: GapTick) -> None:
        self.sum += tick.missing  # refused: operator

    def on_levels(self, price: npt.NDArray[np.float64]) -> None:
        self.first: str = float(price[0])  # refused: assignment


def use_wrongly(dispatcher: Dispatcher) -> None:
    dispatcher.subscribe(Wrong(), batch_max="1024")  # refused: arg-type
    dispatcher.subscribe(Wrong(), overflow="newest")  # refused: arg-type
    dispatcher.subscribe(Strategy(), batchmax=1024)  # refused: call-arg
    dispatcher.subscribe("on_quote")  # refused: arg-type
    dispatcher.publish([1, 2, 3])  # refused: arg-type
    dispatcher.stats().published = 0  # refused: misc
    lost = dispatcher.stats().subscriptions["Wrong"].lost  # refused: attr-defined
    for batch in dispatcher.subscribe():
        lost += batch.price  # refused: attr-defined
    ticks(instrument="BTCUSDT.BINANCE", price=[1.0])  # refused: call-arg
    replay("day.jsonl", Wrong, speed="fast")  # refused: arg-type
    register_kind("sentiment", ["score"], nature="flaw")  # refused: arg-type
    Decoder("BINANCE", ["BTCUSDT.BINANCE"])  # refused: arg-type
    Instruments([1, 2])  # refused: list-item
    Ring(2.0)  # refused: arg-type
