"""Candles in a replay: which strategy sees which bar when, beside ticks, timers and other candles."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from headrace import BarSpec, Strategy
from headrace.errors import DataError
from headrace.feeds import CandleFeed
from headrace.feeds import candles as feed_module
from headrace.market.candles import Resampler, resample
from headrace.market.events import Bar
from tests.support.candles import MINUTE, Trader, candles, flat, replayed, walk
from tests.support.engines import START, market
from tests.support.feeding import BTC, ETH

HOUR = 60 * MINUTE


class Seen(Strategy):
    """Keeps what it saw, with the clock's time."""

    bars = ("1m", "5m", "1h")

    def __init__(self) -> None:
        self.calls: list[tuple[int, str]] = []
        self.bars_seen: list[Bar] = []

    def on_start(self) -> None:
        self.set_timer("tick", every="1m")

    def on_bar(self, bar: Bar) -> None:
        self.calls.append((self.clock.now_ns(), f"{bar.instrument[:3]} {bar.timeframe}"))
        self.bars_seen.append(bar)

    def on_timer(self, timer: Any) -> None:
        self.calls.append((self.clock.now_ns(), "timer"))

    def on_quote(self, ts_init: int) -> None:
        self.calls.append((ts_init, "quote"))


def test_bars_come_at_their_close_in_the_order_of_feeds() -> None:
    seen = Seen()
    feeds = [CandleFeed(candles(walk(6, seed=own)), instrument=name) for own, name in enumerate((ETH, BTC))]
    report = replayed(feeds, seen)
    assert [call for call in seen.calls if call[1] != "timer"] == [
        *((START + number * MINUTE, f"{name} 1m") for number in range(1, 5) for name in ("ETH", "BTC")),
        *((START + 5 * MINUTE, what) for what in ("ETH 1m", "BTC 1m", "ETH 5m", "BTC 5m")),
        *((START + 6 * MINUTE, f"{name} 1m") for name in ("ETH", "BTC")),
    ]
    assert report.candles == 14
    assert report.span_ns == 6 * MINUTE


def test_bars_timers_and_ticks_of_one_time_keep_their_order() -> None:
    seen = Seen()
    quotes = market([1.0, 2.0, 3.0], every_ns=MINUTE)
    replayed([quotes, CandleFeed(candles(flat(1, 2)), instrument=BTC)], seen)
    assert seen.calls == [
        (START, "quote"),
        *((START + MINUTE, what) for what in ("BTC 1m", "timer", "quote")),
        *((START + 2 * MINUTE, what) for what in ("BTC 1m", "timer", "quote")),
    ]


@pytest.mark.parametrize(
    ("spec", "named"),
    [("30s", "30s trade bars of \\*"), ("90s", "90s trade"), (BarSpec("*", "1m", price="mid"), "1m mid"), ("1m", "")],
)
def test_bars_that_no_candle_makes_are_named(spec: Any, named: str, caplog: pytest.LogCaptureFixture) -> None:
    class Own(Trader):
        bars = (spec,)

    replayed([CandleFeed(candles(walk(10)), instrument=BTC)], Own())
    said = [text for text in caplog.messages if "no candle makes" in text]
    assert len(said) == bool(named)
    assert not named or re.search(f"no candle makes {named}.*: there are 1m trade of {BTC}, and longer", said[0])
    # Ticks may make them.
    caplog.clear()
    replayed([CandleFeed(candles(walk(10)), instrument=BTC), market([1.0, 2.0])], Own())
    assert not [text for text in caplog.messages if "no candle makes" in text]


def test_longer_bars_are_made_without_look_ahead() -> None:
    """A window is stamped at its end, and holds the candles of the window alone."""
    seen, each = Seen(), candles(walk(130))
    replayed(each, seen)
    hours = [bar for bar in seen.bars_seen if bar.timeframe == "1h"]
    assert [(bar.ts_open - START, bar.ts_close - START) for bar in hours] == [(0, HOUR), (HOUR, 2 * HOUR)]
    for number, bar in enumerate(hours):
        part = each[60 * number : 60 * number + 60]
        assert (bar.open, bar.high, bar.low) == (part["open"][0], part["high"].max(), part["low"].min())
        assert (bar.close, bar.volume, bar.count) == (part["close"][-1], part["volume"].sum(), 60)
        assert bar.partial is False
        index = seen.bars_seen.index(bar)
        assert max(own.ts_close for own in seen.bars_seen[: index + 1]) == bar.ts_close


def test_first_window_that_the_data_cuts_is_partial() -> None:
    seen = Seen()
    replayed(candles(walk(120), start_ns=START + 2 * MINUTE), seen)
    fives = [bar for bar in seen.bars_seen if bar.timeframe == "5m"]
    assert [bar.partial for bar in fives[:2]] == [True, False]
    assert (fives[0].ts_open, fives[0].count) == (START, 3)


def test_window_with_missing_candles_closes_on_time() -> None:
    """Its last candles are missing: it is stamped at its end all the same, before what comes later."""
    seen = Seen()
    each = candles(walk(15))[[0, 1, 2, 8, 9, 10]]
    replayed(each, seen)
    fives = [(bar.ts_close - START, bar.count) for bar in seen.bars_seen if bar.timeframe == "5m"]
    assert fives == [(5 * MINUTE, 3), (10 * MINUTE, 2)]
    assert [at for at, what in seen.calls if what == "BTC 5m"] == [START + 5 * MINUTE, START + 10 * MINUTE]


@pytest.mark.parametrize("item", [1, 7, 100_000])
def test_feeds_that_follow_each_other_are_one_market(item: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "ITEM_CANDLES", item)
    each = candles(walk(60))
    parts = [each[:20], each[40:], each[20:40]]  # Whatever their order: the first is not always behind.
    seen = Trader()
    replayed([CandleFeed(part, instrument=BTC) for part in parts], seen)
    assert [bar.ts_open for bar in seen.seen] == each["ts_open"].tolist()


@pytest.mark.parametrize("item", [1, 7, 4_096])
def test_candle_that_two_feeds_have_is_refused_where_it_is(item: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "ITEM_CANDLES", item)
    each = candles(walk(60))
    feeds = [CandleFeed(each[:41], instrument=BTC, name="a"), CandleFeed(each[40:], instrument=BTC, name="b")]
    said = rf"b has the 1m candle of {BTC} that opens at 2026-01-05 00:40:00\.0+, and a has it, too"
    with pytest.raises(DataError, match=said):
        replayed(feeds, Trader())
    # Candles of the bid and of the ask, or of another length, are others.
    replayed([CandleFeed(each, instrument=BTC, price=price) for price in ("bid", "ask")], Trader())
    replayed([CandleFeed(each, instrument=BTC), CandleFeed(each[::5], instrument=BTC, timeframe="5m")], Trader())


@pytest.mark.parametrize("item", [1, 7, 4_096])
def test_result_does_not_depend_on_the_size_of_blocks(item: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "ITEM_CANDLES", item)
    seen = Seen()
    feeds = [
        CandleFeed(candles(walk(200, seed=1)), instrument=BTC),
        CandleFeed(candles(walk(200, seed=2))[::3], instrument=ETH, timeframe="1m"),
    ]
    replayed(feeds, seen)
    expected = Seen()
    monkeypatch.undo()
    feeds = [
        CandleFeed(candles(walk(200, seed=1)), instrument=BTC),
        CandleFeed(candles(walk(200, seed=2))[::3], instrument=ETH, timeframe="1m"),
    ]
    replayed(feeds, expected)
    assert seen.calls == expected.calls
    assert seen.bars_seen == expected.bars_seen


class Counted(CandleFeed):
    """Counts how often its timeframe is read, of which a feed makes the text each time."""

    reads = 0

    @property
    def timeframe(self) -> str:
        type(self).reads += 1
        return super().timeframe


def test_timeframe_of_a_feed_is_not_read_again_for_each_block(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    for item in (1, 4_096):
        monkeypatch.setattr(feed_module, "ITEM_CANDLES", item)
        monkeypatch.setattr(Counted, "reads", 0)
        replayed([Counted(candles(walk(30)), instrument=name) for name in (BTC, ETH)], Trader())
        reads.append(Counted.reads)
    assert reads[0] == reads[1] > 0


def test_candle_feed_beside_others_of_its_instrument_fills_from_the_shortest() -> None:
    trader = Trader({1: [(1, "1", {})]})
    hours = candles([(500, 500, 500, 500)] * 2, length_ns=HOUR)
    replayed([CandleFeed(hours, instrument=BTC), CandleFeed(candles(flat(1, 2, 3)), instrument=BTC)], trader)
    assert [float(price) for _, price in trader.trades] == [2.0]


def test_position_is_marked_at_the_last_close() -> None:
    trader = Trader({1: [(1, "2", {})]})
    report = replayed(candles(flat(100, 110, 125)), trader)
    assert report.totals["USDT"].equity == 30


# The resampler by itself


@pytest.mark.parametrize("timeframe", ["5m", "15m", "1h", "4h"])
def test_resampler_agrees_with_polars_on_random_candles(timeframe: str) -> None:
    import polars as pl

    rng = np.random.default_rng(11)
    each = candles(walk(3_000, seed=5), start_ns=START + 7 * MINUTE)
    each["volume"], each["count"] = np.round(rng.random(3_000) * 9, 3), rng.integers(0, 50, 3_000)
    each = each[rng.random(3_000) < 0.8]
    made = resample(each, timeframe, partial="keep")
    frame = pl.DataFrame({name: each[name] for name in each.dtype.names or ()})
    frame = frame.with_columns(pl.col("ts_open").cast(pl.Datetime("ns")).alias("time"))
    first, last = pl.col("open").first(), pl.col("close").last()
    sums = [pl.col("volume").sum(), pl.col("count").sum()]
    windows = frame.group_by_dynamic("time", every=timeframe, closed="left").agg(
        first, pl.col("high").max(), pl.col("low").min(), last, *sums
    )
    assert made["ts_open"].tolist() == windows["time"].cast(pl.Int64).to_list()
    for name in ("open", "high", "low", "close", "count"):
        assert made[name].tolist() == windows[name].to_list(), name
    assert np.allclose(made["volume"], windows["volume"].to_numpy())


def test_resampler_gives_the_same_for_any_blocks() -> None:
    each = candles(walk(500))
    whole = resample(each, "15m")
    resampler = Resampler("15m")
    parts = [resampler.push(each[at : at + 7]) for at in range(0, 500, 7)]
    assert np.array_equal(np.concatenate([*parts, resampler.finish()]), whole)


def test_last_window_is_dropped_or_kept() -> None:
    each = candles(walk(8))
    assert len(resample(each, "5m")) == 1
    kept = resample(each, "5m", partial="keep")
    assert kept["ts_close"].tolist() == [START + 5 * MINUTE, START + 8 * MINUTE]
