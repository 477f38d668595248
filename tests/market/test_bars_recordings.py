"""Bars of whole sessions, recorded and generated, against a plain NumPy resample of the same ticks."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pytest

from headrace import Decoder, Dispatcher, Engine, Strategy
from headrace.feeds import SyntheticFeed
from headrace.market.bars import Bars, BarSpec
from headrace.market.events import Bar, Lane

UNITS_NS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9}
SPECS = [
    BarSpec(timeframe="1s"),
    BarSpec(timeframe="1m"),
    BarSpec(timeframe="100t"),
    BarSpec(timeframe="1s", price="mid"),
    BarSpec(timeframe="250ms", price="bid"),
    BarSpec(timeframe="500t", price="ask"),
    BarSpec(timeframe="1s", time="ts_event"),
    BarSpec(timeframe="10s", price="mid", time="ts_event"),
]
Row = tuple[float, float, float, float, float, int, int, int]


class Columns(NamedTuple):
    """The columns of one stream of ticks."""

    ts_init: np.ndarray
    ts_event: np.ndarray
    timed: np.ndarray
    first: np.ndarray
    second: np.ndarray


class Collector(Strategy):
    """Keeps every trade and quote, as columns."""

    def __init__(self) -> None:
        self.kept: dict[str, list[tuple[np.ndarray, ...]]] = {"trade": [], "agg_trade": [], "quote": []}

    def on_trades(self, ts_init, ts_event, flags, price, size) -> None:
        self.kept["trade"].append((ts_init, ts_event, flags & 16 == 0, price, size))

    def on_agg_trades(self, ts_init, ts_event, flags, price, size) -> None:
        self.kept["agg_trade"].append((ts_init, ts_event, flags & 16 == 0, price, size))

    def on_quotes(self, ts_init, ts_event, flags, bid_price, ask_price) -> None:
        self.kept["quote"].append((ts_init, ts_event, flags & 16 == 0, bid_price, ask_price))

    def columns(self, kind: str) -> Columns:
        parts = self.kept[kind]
        return Columns(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def resampled(spec: BarSpec, columns: Columns) -> list[Row]:
    """Compute every bar that ended before the last tick, by NumPy."""
    ts = columns.ts_init if spec.time == "ts_init" else columns.ts_event
    price = {"mid": (columns.first + columns.second) / 2, "ask": columns.second}.get(spec.price, columns.first)
    size = columns.second if spec.price in ("trade", "agg_trade") else np.zeros(len(ts))
    keep = np.ones(len(ts), bool) if spec.time == "ts_init" else columns.timed.copy()
    if spec.timeframe.endswith("t"):
        each = int(spec.timeframe[:-1])
        starts = np.arange(0, len(ts) // each * each, each)
        ends = starts + each
        opened, closed = ts[starts], ts[ends - 1]
    else:
        number = spec.timeframe.rstrip("ms")
        step = int(number) * UNITS_NS[spec.timeframe.removeprefix(number)]
        interval = np.where(keep, ts // step, 0)
        # A tick is late when a later interval has started already.
        keep &= interval == np.maximum.accumulate(interval)
        ts, price, size, interval = ts[keep], price[keep], size[keep], interval[keep]
        if not len(ts):
            return []
        starts = np.flatnonzero(np.r_[True, interval[1:] != interval[:-1]])
        ends = np.r_[starts[1:], len(ts)]
        starts, ends = starts[:-1], ends[:-1]  # the last interval did not end
        opened, closed = interval[starts] * step, interval[starts] * step + step
    rows = zip(starts.tolist(), ends.tolist(), opened.tolist(), closed.tolist(), strict=True)
    return [
        (
            float(price[a]),
            float(price[a:b].max()),
            float(price[a:b].min()),
            float(price[b - 1]),
            float(np.cumsum(size[a:b])[-1]),  # one after the other; np.sum adds in pairs
            b - a,
            ts_open,
            ts_close,
        )
        for a, b, ts_open, ts_close in rows
    ]


def as_rows(bars: list[Bar], spec: BarSpec) -> list[Row]:
    """The bars of one spec."""
    return [
        (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.count, bar.ts_open, bar.ts_close)
        for bar in bars
        if spec.takes(bar)
    ]


def compared(blocks: Iterator[bytes], venue: str, specs: list[BarSpec]) -> int:
    """Make bars of a session in both ways, with a clock and by ticks alone; return how many were equal."""
    made: dict[bool, list[Bar]] = {}
    texts = list(blocks)
    collector = Collector()
    for by_clock in (False, True):
        with Dispatcher() as dispatcher, Bars(dispatcher, specs) as bars:
            if not by_clock:
                dispatcher.subscribe(collector)
            decoder = Decoder(venue, dispatcher.instruments)
            closed: list[Bar] = []
            for text in texts:
                if by_clock:
                    # Close the bars due at the first receive time of the block, as an engine does.
                    closed += bars.close_due(int(text.split(b" ", 1)[0]))
                dispatcher.publish_lines(decoder, text)
                closed += bars.take()
                dispatcher.dispatch()
            made[by_clock] = closed
    equal = 0
    for spec in specs:
        rows = as_rows(made[False], spec)
        kind = spec.price if spec.price in ("trade", "agg_trade") else "quote"
        expected = resampled(spec, collector.columns(kind))
        assert rows[: len(expected)] == expected, spec
        # A tick of another kind may have ended one more.
        assert len(rows) <= len(expected) + 1
        if spec.time == "ts_init":
            assert as_rows(made[True], spec) == rows
        equal += len(rows)
    return equal


def read(path: Path) -> Iterator[bytes]:
    """A recording in blocks of 500 lines."""
    with gzip.open(path) as file:
        lines = file.readlines()
    for first in range(0, len(lines), 500):
        yield b"".join(lines[first : first + 500])


@pytest.mark.parametrize(
    ("name", "venue", "at_least"),
    [
        ("spot_btcusdt_20240808.gz", "BINANCE", 2_000),
        ("usdm_btcusdt_20240808.gz", "BINANCE_USDM", 2_500),
        ("spot_ethusdt_20240809.gz", "BINANCE", 2_000),
    ],
)
def test_bars_of_a_recording_equal_a_numpy_resample(recordings: Path, name: str, venue: str, at_least: int) -> None:
    assert compared(read(recordings / name), venue, SPECS) > at_least


@pytest.mark.parametrize("venue", ["BINANCE", "BINANCE_USDM"])
def test_bars_of_a_generated_session_equal_a_numpy_resample(venue: str, seed: int) -> None:
    lines = list(SyntheticFeed(venue=venue, frames=30_000, seed=seed).lines())
    blocks = (b"".join(lines[first : first + 500]) for first in range(0, len(lines), 500))
    aggregates = [BarSpec(timeframe="1s", price="agg_trade"), BarSpec(timeframe="50t", price="agg_trade")]
    assert compared(blocks, venue, SPECS + aggregates) > 500


class Ordered(Strategy):
    """Notes each bar, and any that came after a tick of the next interval."""

    bars: ClassVar[list[BarSpec]] = [spec for spec in SPECS if spec.time == "ts_init"]

    def __init__(self) -> None:
        self.got: list[Bar] = []
        self.too_late: list[Bar] = []
        self.newest_ns = 0

    def on_quote(self, ts_init) -> None:
        self.newest_ns = ts_init

    def on_trade(self, ts_init) -> None:
        self.newest_ns = ts_init

    def on_bar(self, bar: Bar) -> None:
        self.got.append(bar)
        if not bar.timeframe.endswith("t") and self.newest_ns >= bar.ts_close:
            self.too_late.append(bar)


def test_an_engines_bars_come_before_the_next_interval(seed: int) -> None:
    ordered, collector = Ordered(), Collector()
    feed = SyntheticFeed(frames=30_000, seed=seed)
    report = Engine(feeds=[feed], strategies=[ordered, collector], mode="replay").run()
    assert ordered.too_late == []
    for spec in Ordered.bars:
        columns = collector.columns("trade" if spec.price == "trade" else "quote")
        assert as_rows(ordered.got, spec) == resampled(spec, columns), spec
    assert len(ordered.got) > 400
    assert report.lanes[Lane.DATA].dropped == 0
