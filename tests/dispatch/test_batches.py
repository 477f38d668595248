"""Plural handlers get the ticks of their own batch, wherever in a dispatch that batch starts."""

from __future__ import annotations

import numpy as np

from headrace import Dispatcher, GapCause, Strategy, ticks

NAME = "BTCUSDT.BINANCE"


class Columns(Strategy):
    """Keeps the columns of its plural handlers, and the place of each gap."""

    def __init__(self) -> None:
        self.calls: list[list[float]] = []
        self.positions: list[int] = []

    def on_gap(self, cause: GapCause, missing: int | None) -> None:
        self.calls.append([cause, missing or 0])

    def on_trades(self, price: np.ndarray, position: np.ndarray) -> None:
        self.calls.append(price.tolist())
        self.positions += position.tolist()


def test_a_batch_behind_a_gap_holds_the_ticks_behind_the_gap() -> None:
    strategy = Columns()
    with Dispatcher(instruments=[NAME]) as dispatcher:
        dispatcher.subscribe(strategy)
        dispatcher.publish(ticks(instrument=NAME, ts_init=[1, 2, 3], trade_id=[7, 8, 12], price=[1.0, 2.0, 3.0]))
        dispatcher.dispatch()
    assert strategy.calls == [[1.0, 2.0], [GapCause.VENUE, 3], [3.0]]
    assert strategy.positions == [0, 1, 3]


def test_every_run_of_a_long_backlog_gets_its_own_ticks() -> None:
    strategy = Columns()
    price = np.arange(5_000.0)
    with Dispatcher(instruments=[NAME]) as dispatcher:
        dispatcher.subscribe(strategy, batch_max=1_000)
        dispatcher.publish(ticks(instrument=NAME, ts_init=np.arange(5_000), price=price))
        dispatcher.dispatch()
    assert [value for call in strategy.calls for value in call] == price.tolist()
    assert strategy.positions == list(range(5_000))
