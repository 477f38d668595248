"""Bars of one time as a frame, the latest bars as arrays, and orders only behind the warm-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from headrace import Strategy
from headrace.errors import OptionError
from headrace.feeds import CandleFeed
from headrace.market.bar_history import BarArrays, BarHistory
from headrace.market.events import Bar, BarFrame
from tests.support.candles import MINUTE, Trader, candles, flat, replayed, walk
from tests.support.engines import START, market
from tests.support.feeding import BTC, ETH

SOL = "SOLUSDT.BINANCE"


class Frames(Strategy):
    bars: ClassVar[Sequence[object]] = ("1m", "5m")

    def __init__(self, instruments: Any = "*") -> None:
        self.subscription = {"instruments": instruments}  # type: ignore[misc]
        self.frames: list[BarFrame] = []

    def on_bars(self, bars: BarFrame) -> None:
        self.frames.append(bars)

    def rows(self, timeframe: str = "1m") -> list[tuple[int, list[str], list[str]]]:
        """Minute, instruments, and those missing of each frame."""
        return [
            ((own.ts_close - START) // MINUTE, [name[:3] for name in own], [name[:3] for name in own.missing])
            for own in self.frames
            if own.timeframe == timeframe
        ]


def feeds() -> list[CandleFeed]:
    each = candles(walk(6))
    return [
        CandleFeed(each[[0, 1, 3, 4, 5]], instrument=ETH, timeframe="1m"),
        CandleFeed(each, instrument=BTC),
        CandleFeed(each[2:4], instrument=SOL, timeframe="1m"),
    ]


def test_bars_of_one_time_come_as_one_frame_and_missing_ones_are_named() -> None:
    frames = Frames()
    replayed(feeds(), frames)
    assert frames.rows() == [
        (1, ["ETH", "BTC"], []),
        (2, ["ETH", "BTC"], []),
        (3, ["BTC", "SOL"], ["ETH"]),
        (4, ["ETH", "BTC", "SOL"], []),
        (5, ["ETH", "BTC"], ["SOL"]),
        (6, ["ETH", "BTC"], ["SOL"]),
    ]
    assert frames.rows("5m") == [(5, ["ETH", "BTC"], [])]
    last = frames.frames[-1]
    assert last[BTC].close == candles(walk(6))["close"][5]
    assert SOL not in last
    assert len(last) == 2


def test_frame_holds_only_what_the_strategy_takes() -> None:
    frames = Frames([BTC, SOL])
    replayed(feeds(), frames)
    assert [row[1:] for row in frames.rows()] == [
        *[(["BTC"], [])] * 2,
        *[(["BTC", "SOL"], [])] * 2,
        *[(["BTC"], ["SOL"])] * 2,
    ]
    alone = Frames([SOL])
    replayed(feeds(), alone)
    assert [row[0] for row in alone.rows()] == [3, 4]


def test_bars_made_from_ticks_come_as_frames_too() -> None:
    from headrace.market.bars import BarSpec

    class Mid(Frames):
        bars: ClassVar[Sequence[object]] = (BarSpec(timeframe="1m", price="mid"),)

    frames = Mid()
    each = [market([1.0] * 200, instrument=name, every_ns=MINUTE // 60) for name in (BTC, ETH)]
    replayed(each, frames)
    assert [sorted(row[1]) for row in frames.rows()] == [["BTC", "ETH"]] * 3


# History


class Looks(Trader):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[BarArrays] = []

    def on_bar(self, bar: Bar) -> None:
        super().on_bar(bar)
        self.kept.append(self.history(bar.instrument, "1m", 20))


def test_history_holds_the_bars_that_were_seen() -> None:
    looks, each = Looks(), candles(walk(700))
    replayed(each, looks)
    for number, arrays in enumerate(looks.kept, start=1):
        part = each[max(0, number - 20) : number]
        for name in BarArrays._fields:
            assert np.array_equal(getattr(arrays, name), part[name]), name


def test_history_is_read_only_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.market.bar_history.BARS_HISTORY_MAX", 100)
    looks, each = Looks(), candles(walk(1_500))
    replayed(each, looks)
    with pytest.raises(ValueError, match="read-only"):
        looks.kept[-1].close[0] = 1.0
    # What was kept has not changed, although the buffers were replaced since.
    assert np.array_equal(looks.kept[300].close, each["close"][281:301])
    history = BarHistory()
    history.add(looks.seen)
    assert len(history.arrays(BTC, "1m", 100).close) == 100
    assert len(next(iter(history._series.values()))._times) <= 400


def test_history_of_bars_that_nothing_makes_is_an_error() -> None:
    class Wrong(Trader):
        def on_bar(self, bar: Bar) -> None:
            self.history(bar.instrument, "7m", 3)

    with pytest.raises(OptionError, match="no strategy takes 7m trade bars"):
        replayed(candles(flat(1, 2)), Wrong())


# Warm-up


def test_orders_are_refused_during_the_warm_up() -> None:
    acts: Any = {number: [(1, "1", {})] for number in range(1, 6)}
    trader = Trader(acts)
    report = replayed(candles(flat(1, 2, 3, 4, 5, 6)), trader, warmup="3m")
    assert [float(price) for _, price in trader.trades] == [4.0, 5.0, 6.0]
    refused = report.strategies["Trader"].refusals["warmup"]
    assert "warms up" in str(refused)
    assert len(trader.seen) == 6


def test_warm_up_that_is_no_time_is_refused() -> None:
    for wrong in ("long", 0, -1):
        with pytest.raises(OptionError, match="warmup"):
            replayed(candles(flat(1)), Trader(), warmup=wrong)
