"""Longer bars of candles that cross their edges, as hours that begin at half past: they hold nothing of the future."""

from __future__ import annotations

import numpy as np
import pytest

from headrace import Strategy
from headrace.market.candles import resample
from headrace.market.events import Bar
from tests.support.backtests import HOUR
from tests.support.candles import MINUTE, candles, replayed
from tests.support.engines import START


class Sees(Strategy):
    """Keeps its bars in the order in which they come."""

    bars = ("1h", "4h")

    def __init__(self) -> None:
        self.seen: list[Bar] = []

    def on_bar(self, bar: Bar) -> None:
        self.seen.append(bar)


def hours(count: int, minute: int) -> np.ndarray:
    """Candle number n opens at 100 + n, and closes at 101 + n."""
    return candles([(p, p + 1, p, p + 1) for p in range(100, 100 + count)], start_ns=START + minute, length_ns=HOUR)


@pytest.mark.parametrize("minute", [0, 1 * MINUTE, 30 * MINUTE, 59 * MINUTE])
def test_a_longer_bar_holds_only_what_has_closed_before_it(minute: int) -> None:
    """The bar of 04:00 had the close of the candle from 03:30 to 04:30."""
    sees = Sees()
    replayed(hours(26, minute), sees)
    longer = [bar for bar in sees.seen if bar.timeframe == "4h"]
    assert len(longer) == 6
    for bar in longer:
        before = sees.seen[: sees.seen.index(bar)]
        closed = [own for own in before if own.timeframe == "1h" and bar.ts_open < own.ts_close <= bar.ts_close]
        assert (bar.open, bar.close) == (closed[0].open, closed[-1].close)
        assert (bar.low, bar.high) == (closed[0].low, closed[-1].high)
        assert bar.volume == sum(own.volume for own in closed)
    assert [bar.ts_close for bar in sees.seen] == sorted(bar.ts_close for bar in sees.seen)


def test_each_candle_is_in_one_longer_one() -> None:
    each = hours(26, 30 * MINUTE)
    made = resample(each, "4h", partial="keep")
    assert made["count"].sum() == 26
    assert made["count"].tolist() == [3, 4, 4, 4, 4, 4, 3]
    assert made["close"].tolist() == [103.0, 107.0, 111.0, 115.0, 119.0, 123.0, 126.0]
    assert ((made["ts_close"][:-1] - START) // HOUR).tolist() == [4, 8, 12, 16, 20, 24]
    assert made["ts_close"][-1] == each["ts_close"][-1]
