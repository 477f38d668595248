"""The money of single rows of a result: trips with the funding of their own, orders' averages, fills at a close."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import numpy as np
import pytest

import headrace
from headrace import Strategy
from headrace.feeds import CandleFeed
from headrace.market.events import Bar
from tests.support.backtests import HOUR, SECOND, Acts
from tests.support.candles import MINUTE, candles, flat
from tests.support.engines import START

D = Decimal
USDM = "BTCUSDT.BINANCE_USDM"
PERP = "BTCUSD_PERP.BINANCE_COINM"


class OnBars(Strategy):
    """Buys or sells at bar number n what ``acts[n]`` says."""

    bars = ("1m", "8h")

    def __init__(self, acts: Mapping[int, int]) -> None:
        self.acts = acts
        self.count = 0

    def on_bar(self, bar: Bar) -> None:
        self.count += 1
        quantity = self.acts.get(self.count, 0)
        if quantity:
            (self.buy if quantity > 0 else self.sell)(bar.instrument, abs(quantity))


def rates(*each: float) -> np.ndarray:
    """Funding at the end of each 8 hours, at a mark of 100; a rate comes a second after it was settled."""
    times = START + 8 * HOUR * np.arange(1, len(each) + 1)
    return headrace.ticks(
        instrument=USDM,
        ts_init=times + SECOND,
        ts_event=times,
        kind="funding",
        mark_price=100.0,
        funding_rate=list(each),
    )


def test_funding_belongs_to_the_trip_that_was_held_when_it_was_settled() -> None:
    """The flip fills at the open of 16:00, the time of a settlement: the long trip pays it, not the new short one."""
    data = CandleFeed(candles(flat(*[100.0] * 6), length_ns=8 * HOUR), instrument=USDM)
    result = headrace.backtest(
        OnBars({1: 1, 2: -2, 4: 1}), [data, rates(0.01, 0.02, 0.03, 0.04, 0.05)], cash=1_000, fees=0
    )
    assert [(trip.side, trip.funding, trip.net_pnl) for trip in result.trades] == [(1, D(2), D(-2)), (-1, D(-7), D(7))]


def test_funding_of_a_closed_trip_is_not_that_of_the_next_one() -> None:
    """Closed at a settlement, and opened again before its rate came."""
    data = CandleFeed(candles(flat(*[100.0] * 4), length_ns=8 * HOUR), instrument=USDM)

    class Returns(OnBars):
        def on_fill(self, fill: object) -> None:
            if self.count == 2 and not self.position(USDM).quantity:
                self.buy(USDM, 3)

    result = headrace.backtest(Returns({1: 1, 2: -1}), [data, rates(0.01, 0.02, 0.03)], cash=1_000, fees=0)
    assert [(trip.quantity, trip.funding) for trip in result.trades] == [(D(1), D(2)), (D(3), D(9))]


@pytest.mark.parametrize(("name", "average"), [(PERP, 400 / Decimal(3)), (USDM, Decimal(150))])
def test_the_average_of_an_order_follows_its_contract(name: str, average: Decimal) -> None:
    """One at 100 and one at 200: of inverse contracts the harmonic mean, as the position has it."""
    quotes = headrace.ticks(
        instrument=name,
        ts_init=START + SECOND * np.arange(4),
        bid_price=[99.0, 99.0, 199.0, 199.0],
        ask_price=[100.0, 100.0, 200.0, 200.0],
        bid_size=1.0,
        ask_size=1.0,
    )
    result = headrace.backtest(Acts({1: 2}), quotes, cash={"BTC": 100, "USDT": 1_000}, fees=0, check=False)
    assert [fill.price for fill in result.fills] == [100, 200]
    assert result.orders[0].average_price == pytest.approx(average, abs=Decimal("1e-20"))
    assert result.orders[0].average_price == result.positions[0].average_price == result.trades[0].entry_price


def test_a_fill_at_a_close_is_in_the_equity_of_that_close() -> None:
    """Its fee, too: one at bar 2, and one at the last, behind which there is no later point."""
    data = CandleFeed(candles(flat(100, 100, 100, 110, 120, 130)), instrument=USDM)
    result = headrace.backtest(OnBars({2: 1, 6: 1}), data, cash=1_000, fees="0.01", fill="close_slip")
    curve = result.equity
    assert curve["ts"].tolist() == [START + MINUTE * number for number in range(7)]
    assert curve["cash"] == pytest.approx([1_000, 1_000, 899, 899, 899, 899, 899 - 131.3])
    assert curve["equity"] == pytest.approx([1_000, 1_000, 999, 999, 1_009, 1_019, 1_027.7])
    assert curve["exposure"][-1] == pytest.approx(260 / 1_027.7)
    assert [fill.held_ns - fill.ts for fill in result.fills] == [0, 0]


def test_a_fill_at_an_open_is_behind_the_close_of_the_same_time() -> None:
    data = CandleFeed(candles(flat(100, 100, 100, 110)), instrument=USDM)
    result = headrace.backtest(OnBars({2: 1}), data, cash=1_000, fees="0.01")
    assert result.equity["equity"] == pytest.approx([1_000, 1_000, 1_000, 999, 1_009])
    assert [fill.held_ns - fill.ts for fill in result.fills] == [1]
