"""Walk-forward: each candle is in one test span, and the figures are those of the stitched curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from headrace import Strategy, StrategySpec
from headrace.feeds import CandleFeed
from headrace.market.events import Bar
from headrace.research.past import past_of
from headrace.research.space import axis_of
from headrace.research.walk_forward import WalkForward, walk_forward
from tests.support.backtests import DAY
from tests.support.candles import candles
from tests.support.engines import START

USDT, BTC = "ETHUSDT.BINANCE", "ETHBTC.BINANCE"
DAYS = 60


class BuysOnce(Strategy):
    """Buys at the first close of each instrument, and holds."""

    bars = ("1d",)

    def __init__(self, quantity: int = 1) -> None:
        self.quantity = quantity

    def on_bar(self, bar: Bar) -> None:
        if not self.position(bar.instrument).fills:
            self.buy(bar.instrument, self.quantity)


def recipe(parameters: Mapping[str, Any]) -> Any:
    spec = StrategySpec(strategy=BuysOnce, parameters=dict(parameters))
    options = {"cash": {"USDT": 1_000, "BTC": 100_000}, "fees": "0.01", "hashing": False}
    return {"strategies": [spec], "instruments": [], "limits": None, "broker": None}, options


def days(name: str, first: int, kept: slice | list[int] = slice(None)) -> CandleFeed:
    """Candles of a day that rise by 1."""
    each = candles([(p, p + 1, p, p + 1) for p in range(first, first + DAYS)], length_ns=DAY)
    return CandleFeed(each[kept], instrument=name, timeframe="1d")


def walk(*feeds: CandleFeed) -> WalkForward:
    """30 days to choose, 7 to use."""
    space = {"quantity": axis_of("quantity", "1")}
    return walk_forward(recipe, past_of(feeds), space, train_ns=30 * DAY, test_ns=7 * DAY, metric="total_return")


@pytest.fixture(scope="module")
def walked() -> WalkForward:
    """The other currency has larger amounts."""
    return walk(days(USDT, 100), days(BTC, 1_000))


def test_every_day_of_the_tests_is_in_the_curve(walked: WalkForward) -> None:
    """A candle that closes at an edge was in no span: one day of seven was missing."""
    assert ((walked.curve["ts"] - START) // DAY).tolist() == list(range(30, DAYS + 1))
    spans = [tuple((ns - START) // DAY for ns in own.span) for own in walked.windows]
    assert spans == [(0, 30, 37), (7, 37, 44), (14, 44, 51), (21, 51, 58), (28, 58, 60)]


def test_the_figures_are_of_the_stitched_curve(walked: WalkForward) -> None:
    """By hand: each span buys one at its second open, for a fee of 1 %, and gains 1 a day until its end."""
    equity, fees, notional = [1_000.0], 0.0, 0.0
    for first, last in ((30, 37), (37, 44), (44, 51), (51, 58), (58, 60)):
        price, factor = 100.0 + first + 1, equity[-1] / 1_000
        days = np.arange(1, last - first)
        equity += [equity[-1], *(factor * (1_000 - price / 100 + days)).tolist()]
        fees += factor * price / 100
        notional += factor * price
    assert walked.curve["equity"] == pytest.approx(equity)
    own = walked.statistics
    assert own.total_return == pytest.approx(equity[-1] / 1_000 - 1)
    assert own.fees == pytest.approx(fees)
    assert own.turnover == pytest.approx(notional / np.mean(equity))
    assert (own.fills, own.trades, own.open_trades) == (5, 0, 5)
    # Of seven days six, four times, and of two days one.
    assert own.exposure == pytest.approx(25 / 30)


def test_a_span_without_data_has_no_result() -> None:
    """A market that was closed for two weeks ended the whole walk."""
    walked = walk(days(USDT, 100, [*range(36), *range(50, DAYS)]))
    assert [own.result is None for own in walked.windows] == [False, True, False, False, False]
    assert all(own.parameters is not None for own in walked.windows)
    assert ((walked.curve["ts"] - START) // DAY).tolist() == [*range(30, 37), *range(51, DAYS + 1)]
    assert "out of sample" in str(walked)
