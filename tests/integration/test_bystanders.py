"""A strategy that matches no tick adds no cost per call, and a closed subscription leaves nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import headrace

if TYPE_CHECKING:
    import numpy as np

BYSTANDERS = 40


class Quotes(headrace.Strategy):
    def __init__(self) -> None:
        self.bids: list[float] = []

    def on_quote(self, bid_price: float) -> None:
        self.bids.append(bid_price)


class Batches(headrace.Strategy):
    def __init__(self) -> None:
        self.bids: list[float] = []

    def on_quotes(self, bid_price: np.ndarray) -> None:
        self.bids.extend(bid_price)


def quotes(count: int) -> np.ndarray:
    return headrace.ticks(
        kind="quote",
        instrument="A.X",
        ts_init=list(range(1, count + 1)),
        bid_price=[float(index) for index in range(count)],
        ask_price=[float(index + 1) for index in range(count)],
        bid_size=[1.0] * count,
        ask_size=[1.0] * count,
    )


def test_a_member_without_a_tick_is_not_attended() -> None:
    with headrace.Dispatcher(instruments=["A.X", "IDLE.X"]) as dispatcher:
        matching: list[Quotes | Batches] = [Quotes(), Batches()]
        for strategy in matching:
            dispatcher.subscribe(strategy, instruments="A.X")
        idle: list[headrace.Strategy] = []
        for _ in range(BYSTANDERS):
            idle += [Quotes(), Batches()]
        for number, idler in enumerate(idle):
            dispatcher.subscribe(idler, instruments="IDLE.X", lag_max_ticks=1_000, every="1s" if number % 2 else None)
        ticks = quotes(3)
        for start in range(len(ticks)):
            dispatcher.publish(ticks[start : start + 1])
            dispatcher.dispatch()
            assert dispatcher._inline.attended == 0
        assert [strategy.bids for strategy in matching] == [[0.0, 1.0, 2.0]] * 2
