"""The SMA cross of backtesting.py on its own data: the same trades and the same equity under the same fill rule.

The rule: an order of a close fills at the next open, without fees and slippage, always for the same quantity.

Where rules differ: backtesting.py sizes an order by the equity at the open at which it fills; an order of Headrace has
its quantity from the moment at which it was decided. By default it closes what is open at the end; here that stays
open, valued at the last close.
"""

from __future__ import annotations

import warnings
from collections import deque
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import headrace
from headrace import Instrument, Strategy
from headrace.feeds import CandleFeed
from headrace.market.events import Bar

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Of its own imports.
    from backtesting import Backtest
    from backtesting import Strategy as TheirStrategy
    from backtesting.lib import crossover
    from backtesting.test import GOOG, SMA

NAME = "GOOG-USD.NASDAQ"
SIZE = 10
CASH = 10_000
FAST, SLOW = 10, 30


class TheirSmaCross(TheirStrategy):  # type: ignore[misc]  # its package has no types
    """Long above the cross, short below it, always with the same size."""

    def init(self) -> None:
        self.fast = self.I(SMA, self.data.Close, FAST)
        self.slow = self.I(SMA, self.data.Close, SLOW)

    def next(self) -> None:
        if crossover(self.fast, self.slow):
            self.position.close()
            self.buy(size=SIZE)
        elif crossover(self.slow, self.fast):
            self.position.close()
            self.sell(size=SIZE)


class SmaCross(Strategy):
    """The same, by handlers."""

    bars = ("1d",)

    def __init__(self) -> None:
        self.closes: deque[float] = deque(maxlen=SLOW)
        self.before: tuple[float, float] | None = None

    def on_bar(self, bar: Bar) -> None:
        self.closes.append(bar.close)
        if len(self.closes) < SLOW:
            return
        closes = np.array(self.closes)
        now, before = (closes[-FAST:].mean(), closes.mean()), self.before
        self.before = now
        if before is None:
            return
        if before[0] < before[1] and now[0] > now[1]:
            self.turn(bar.instrument, 1)
        elif before[1] < before[0] and now[1] > now[0]:
            self.turn(bar.instrument, -1)

    def turn(self, instrument: str, side: int) -> None:
        wanted = side * SIZE - self.position(instrument).quantity
        (self.buy if side > 0 else self.sell)(instrument, abs(wanted))


@pytest.fixture(scope="module")
def theirs() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of a trade that is open at the end.
        return Backtest(
            GOOG, TheirSmaCross, cash=CASH, commission=0, exclusive_orders=False, finalize_trades=False
        ).run()


@pytest.fixture(scope="module")
def mine() -> headrace.BacktestResult:
    frame = GOOG.rename_axis("time").reset_index()
    known = Instrument(NAME, price_tick=Decimal("0.01"), lot_size=Decimal(1))
    candles = CandleFeed(frame, instrument=NAME, timeframe="1d")
    return headrace.backtest(SmaCross, candles, cash=CASH, fees=0, fill="next_open", instruments=known)


def test_the_trades_are_the_same(mine: headrace.BacktestResult, theirs: Any) -> None:
    trades = theirs["_trades"].sort_values("EntryBar")
    own = [trade for trade in mine.trades if not trade.is_open]
    assert len(own) == len(trades) > 50
    opens = GOOG.index
    for trade, (_, their) in zip(own, trades.iterrows(), strict=True):
        assert trade.side * int(trade.quantity) == their["Size"]
        assert float(trade.entry_price) == pytest.approx(their["EntryPrice"])
        assert float(trade.exit_price) == pytest.approx(their["ExitPrice"])
        assert float(trade.pnl) == pytest.approx(their["PnL"])
        assert trade.entry_ts == opens[their["EntryBar"]].as_unit("ns").value
        assert trade.exit_ts == opens[their["ExitBar"]].as_unit("ns").value


def test_the_equity_is_the_same_at_each_close(mine: headrace.BacktestResult, theirs: Any) -> None:
    equity = theirs["_equity_curve"]["Equity"].to_numpy()
    closes = GOOG.index.as_unit("ns").asi8 + 86_400 * 10**9
    own = mine.equity
    rows = np.searchsorted(own["ts"], closes)
    assert np.array_equal(own["ts"][rows], closes)
    assert own["equity"][rows] == pytest.approx(equity)
    assert mine.statistics.max_drawdown == pytest.approx(theirs["Max. Drawdown [%]"] / 100)
