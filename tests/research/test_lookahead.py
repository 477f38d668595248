"""The look-ahead detector: a strategy that peeks is caught, an honest one is not, whatever the data's end causes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import headrace
from headrace import Strategy
from headrace.errors import OptionError
from headrace.examples.momentum import Momentum
from headrace.feeds import CandleFeed
from headrace.market.events import Bar
from headrace.research.lookahead import look_ahead
from headrace.research.past import past_of
from tests.support.backtests import DAY, Reverting, walk
from tests.support.command import Run
from tests.support.engines import START
from tests.support.feeding import BTC


class Peeks(Strategy):
    """Buys every seventh quote when the bid ``ahead`` ticks later is higher."""

    def __init__(self, data: Any, ahead: int = 1) -> None:
        bids = (np.load(data) if isinstance(data, str) else np.asarray(data)).view(headrace.QUOTE_DTYPE)["bid_price"]
        self.rises = np.append(bids[ahead:] > bids[:-ahead], [False] * ahead)
        self.count = 0

    def on_quote(self, instrument: str) -> None:
        if self.count % 7 == 3 and self.rises[self.count]:
            self.buy(instrument, 1)
        self.count += 1


class PeeksBySignal(Peeks):
    """The same, but all that it does is a signal."""

    def on_quote(self, instrument: str) -> None:
        if self.count % 7 == 3 and self.rises[self.count]:
            self.signal(instrument, 1)
        self.count += 1


@pytest.mark.parametrize("make", [Peeks, PeeksBySignal], ids=lambda own: own.__name__)
def test_a_strategy_that_peeks_by_one_tick_is_caught(make: type[Peeks]) -> None:
    found = look_ahead(lambda data: make(data), walk(500), cuts=6)
    assert not found.is_clean
    assert found.compared > 0
    decision = found.findings[0].with_future
    assert decision is not None
    assert decision.kind == ("order" if make is Peeks else "signal")
    # It was decided before the cut that changed it.
    assert decision.ts < found.findings[0].cut_ns
    assert "changed with the future" in str(found)


@pytest.mark.parametrize("strategy", [Reverting, [Reverting, Momentum]], ids=["one", "two"])
def test_an_honest_strategy_is_clean(strategy: Any) -> None:
    found = look_ahead(strategy, walk(800), cuts=6)
    assert found.is_clean, str(found)
    assert found.compared > 50
    assert found.runs == 1 + 6 * 3


class Windows(Strategy):
    """Decides by windows and timers, and at its end: what the end of the data cuts looks different."""

    subscription = {"every": "1h"}  # noqa: RUF012 - as users write it

    def on_quotes(self, bid_price: np.ndarray) -> None:
        self.signal(BTC, 1 if len(bid_price) % 2 else -1, reason=f"{len(bid_price)} quotes")
        self.buy(BTC, 1, price="1")

    def on_stop(self) -> None:
        self.signal(BTC, 0)


def test_what_the_end_of_the_data_causes_is_no_finding() -> None:
    found = look_ahead(Windows, walk(900), cuts=8)
    assert found.is_clean, str(found)


def candles(count: int = 400) -> CandleFeed:
    close = 100 + np.cumsum(np.random.default_rng(1).integers(-3, 4, count))
    close = np.maximum(close, 10).astype(float)
    opens = np.append(100.0, close[:-1])
    columns = {"ts_open": START + DAY // 24 * np.arange(count), "open": opens, "high": np.maximum(opens, close) + 1}
    columns |= {"low": np.minimum(opens, close) - 1, "close": close, "volume": np.ones(count)}
    return CandleFeed(pd.DataFrame(columns), instrument=BTC, timeframe="1h")


class Daily(Strategy):
    """Trades on bars of a day that are made from candles of an hour."""

    bars = ("1d",)

    def on_bar(self, bar: Bar) -> None:
        (self.buy if bar.close > bar.open else self.sell)(bar.instrument, 1)


class PeeksIntoTheDay(Strategy):
    """Decides in the middle of a day on that day's close."""

    bars = ("1h",)

    def __init__(self, data: np.ndarray) -> None:
        days = data["ts_open"] // DAY
        last = np.append(np.flatnonzero(np.diff(days)), len(data) - 1)
        self.closes = dict(zip(days[last].tolist(), data["close"][last].tolist(), strict=True))

    def on_bar(self, bar: Bar) -> None:
        if bar.ts_close % DAY == DAY // 2 and self.closes.get(bar.ts_open // DAY, 0.0) > bar.close:
            self.buy(bar.instrument, 1)


def test_candles_are_cut_inside_longer_ones() -> None:
    assert look_ahead(Daily, candles(), cuts=8).is_clean
    found = look_ahead(lambda data: PeeksIntoTheDay(data), candles(), cuts=8)
    assert not found.is_clean
    assert any(own.cut_ns % DAY for own in found.findings)


def test_a_strategy_that_decides_nothing_is_no_proof() -> None:
    class Idle(Strategy):
        def on_quote(self, bid_price: float) -> None: ...

    found = look_ahead(Idle, walk(100), cuts=2)
    assert not found.is_clean
    assert "nothing was compared" in str(found)


def test_an_altered_future_leaves_the_past_as_it_was() -> None:
    past = past_of([walk(100), candles(30)])
    cut_ns = START + 10 * 3_600 * 10**9 + 1
    other = past.altered(cut_ns, 2.0)
    before = past.ticks["ts_init"] < cut_ns
    assert np.array_equal(other.ticks[before], past.ticks[before])
    assert np.all(
        other.ticks.view(headrace.QUOTE_DTYPE)["bid_price"][~before]
        == 2 * past.ticks.view(headrace.QUOTE_DTYPE)["bid_price"][~before]
    )
    mine, theirs = past.candles[0].candles, other.candles[0].candles
    known = mine["ts_close"] < cut_ns
    assert np.array_equal(mine[known], theirs[known])
    (spanning,) = np.flatnonzero((mine["ts_open"] < cut_ns) & ~known)
    assert mine["open"][spanning] == theirs["open"][spanning]
    assert mine["close"][spanning] != theirs["close"][spanning]
    assert np.all(theirs["high"] >= np.maximum(theirs["open"], theirs["close"]))


def test_objects_that_a_run_changes_are_refused() -> None:
    with pytest.raises(OptionError, match="give classes, or a function that makes them"):
        look_ahead([Reverting()], walk(50))  # type: ignore[list-item]  # that is what is under test


def test_the_command_exits_by_its_verdict(headrace_run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "ticks.npy", np.asarray(walk(300)))
    (tmp_path / "own.py").write_text(
        "import numpy as np, headrace\n"
        "class Peeks(headrace.Strategy):\n"
        "    def __init__(self, data: str) -> None:\n"
        "        self.bids, self.count = np.load(data).view(headrace.QUOTE_DTYPE)['bid_price'], 0\n"
        "    def on_quote(self, instrument):\n"
        "        self.count += 1\n"
        "        if self.count < len(self.bids) and self.bids[self.count] > self.bids[self.count - 1]:\n"
        "            self.buy(instrument, 1)\n"
        "class Honest(headrace.Strategy):\n"
        "    def on_quote(self, instrument, bid_price):\n"
        "        if bid_price > 100:\n"
        "            self.buy(instrument, 1)\n"
    )
    common = ("lookahead", "ticks.npy", "--cuts", "3", "--cash", "1000000")
    ended = headrace_run(*common, "--strategy", "own.py:Peeks", "--param", "data=ticks.npy", "--json")
    assert ended.returncode == 1, ended.stderr
    assert json.loads(ended.stdout)["findings"]
    ended = headrace_run(*common, "--strategy", "own.py:Honest")
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert "no decision changed" in ended.stdout


def test_a_configuration_is_repeated_with_its_own_strategies(headrace_run: Run, tmp_path: Path) -> None:
    """Each run has new objects: one that was used before would decide otherwise, and count as peeking."""
    (tmp_path / "own.py").write_text(
        "import headrace\n"
        "class Counts(headrace.Strategy):\n"
        "    count = 0\n"
        "    def on_quote(self, instrument):\n"
        "        self.count += 1\n"
        "        if self.count in (20, 40, 60):\n"
        "            self.buy(instrument, '0.001')\n"
    )
    (tmp_path / "own.toml").write_text(
        '[[feeds]]\nkind = "synthetic"\noptions = { symbols = ["BTCUSDT"], frames = 2_000 }\n'
        '[[strategies]]\nuse = "own.py:Counts"\n[account]\ncash = { USDT = 1_000_000 }\n'
    )
    ended = headrace_run("lookahead", "own.toml", "--cuts", "3", "--json")
    assert ended.returncode == 0, ended.stderr + ended.stdout
    document = json.loads(ended.stdout)
    assert (document["findings"], document["decisions"]) == ([], 6)
