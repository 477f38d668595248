"""An instrument with candles and quotes: from its first quote on, quotes alone mark it, as in the account."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import headrace
from headrace import BacktestResult
from headrace.feeds import CandleFeed
from tests.support.backtests import SECOND, Acts
from tests.support.candles import MINUTE, candles, flat
from tests.support.engines import START
from tests.support.feeding import BTC

CENT = 0.01


def quotes(mids: np.ndarray, *, start_ns: int) -> np.ndarray:
    """A quote each second; the spread is 2 cents."""
    return headrace.ticks(
        instrument=BTC,
        ts_init=start_ns + SECOND * np.arange(1, len(mids) + 1),
        bid_price=mids - CENT,
        ask_price=mids + CENT,
        bid_size=100.0,
        ask_size=100.0,
    )


def played(minutes: int, *, length_ns: int = MINUTE, from_candle: int = 0, **acts: Any) -> BacktestResult:
    """A rise of 1 a minute: candles of all of it, and quotes from one of the candles on, to the end."""
    count = minutes * MINUTE // length_ns
    opens = 100.0 + np.arange(count) * (length_ns / MINUTE)
    feed = CandleFeed(candles(flat(*opens.tolist()), length_ns=length_ns), instrument=BTC)
    mids = opens[from_candle] + np.arange(1, (count - from_candle) * length_ns // SECOND + 1) / 60
    ticks = quotes(mids, start_ns=START + from_candle * length_ns)
    return headrace.backtest(Acts({1: 1}), [feed, ticks], cash=1_000, fees=0, hashing=False, **acts)


def test_the_curve_rises_and_has_each_quote() -> None:
    """The first quote decides, the second fills, at 100 + 2/60 and a cent."""
    result = played(20)
    curve = result.equity
    assert (np.diff(curve["ts"]) > 0).all()
    seconds = (curve["ts"] - START) / SECOND
    held = seconds >= 2
    assert curve["equity"][held] == pytest.approx(1_000 + (seconds[held] - 2) / 60 - CENT)
    assert curve["equity"][~held].tolist() == [1_000] * int((~held).sum())
    assert result.statistics.max_drawdown == pytest.approx(-CENT / 1_000)
    assert (result.trades[0].mae, result.trades[0].mfe) == pytest.approx((-CENT, 1_198 / 60 - CENT))


@pytest.mark.parametrize("length_ns", [MINUTE, SECOND])
def test_candles_mark_until_the_first_quote(length_ns: int) -> None:
    """Blocks of candles fill up at any time; 25 minutes of candles of a second are more than one of them."""
    result = played(25, length_ns=length_ns, from_candle=10 * MINUTE // length_ns)
    prices = result.prices[BTC]
    assert (np.diff(prices["ts"]) > 0).all()
    before = prices[prices["ts"] <= START + 10 * MINUTE]
    assert len(before) == 10 * MINUTE // length_ns
    # A candle of this test closes where it opened.
    closes = 100 + (before["ts"] - length_ns - START) / MINUTE
    assert before["price"] == pytest.approx(closes)
    behind = prices[len(before) :]
    assert len(behind) == 15 * 60
    assert behind["price"] == pytest.approx(100 + (behind["ts"] - START) / MINUTE)
    assert result.trades[0].mae == pytest.approx(-CENT)
    assert float(result.equity_end or 0) == pytest.approx(result.equity["equity"][-2] + 1 / 60)


def test_the_hash_of_quotes_alone_is_that_of_their_ticks() -> None:
    result = headrace.backtest(Acts({1: 1}), quotes(np.full(9, 100.0), start_ns=START), cash=1_000)
    assert result.input_hash == result.engine["input_hash"] is not None
