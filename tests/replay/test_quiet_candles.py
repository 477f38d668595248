"""Candles that native code passes in one go: the same run, call for call, as one candle after the other."""

from __future__ import annotations

import hashlib
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import headrace
from headrace import BacktestResult, Engine, Strategy
from headrace.bus import BusSubscription
from headrace.engine.loop.candles import Candles
from headrace.feeds import CandleFeed
from headrace.feeds import candles as feed_module
from headrace.market.bar_line import bar_line
from headrace.market.event_json import encode_event
from headrace.market.events import Bar, BarFrame, Cause, OrderFill, Signal
from headrace.trading.brokers import SimulatedBroker
from tests.support.candles import MINUTE, candles, walk
from tests.support.engines import INSTRUMENTS, LIMITS, START
from tests.support.feeding import BTC, ETH

NAMES = (BTC, ETH, "SOLUSDT.BINANCE")


class CandleByCandle(SimulatedBroker):
    """Another type of broker, which may look at each candle: nothing is passed over."""


class Restless(Strategy):
    """Does what a strategy may do, at random candles, and keeps what it saw: with the time, and with the history."""

    bars = ("1m", "5m", "1h")

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.seen: list[object] = []
        self.ids: list[str] = []

    def on_start(self) -> None:
        self.set_timer("hourly", every="37m")

    def on_bar(self, bar: Bar) -> None:
        self.seen.append((self.clock.now_ns(), bar, self.net_of(bar.instrument)))
        chance = self.rng.random()
        if chance < 0.01:
            (self.buy if self.rng.random() < 0.5 else self.sell)(bar.instrument, "0.5")
        elif chance < 0.02:
            side = self.rng.choice((1, -1))
            offset = self.rng.choice((0.1, 0.5, 2.0))
            price = round(bar.close - side * offset, 2)
            (self.buy if side > 0 else self.sell)(bar.instrument, "0.25", price=price, expires_after="20m")
        elif chance < 0.025:
            self.buy(bar.instrument, "0.1", stop=round(bar.close + 0.5, 2))
        elif chance < 0.03:
            self.cancel(self.rng.choice(self.ids)) if self.ids else None
        elif chance < 0.04:
            self.set_timer("once", after=self.rng.choice(("1m", "90s", "7m")))
        elif chance < 0.05:
            self.signal(bar.instrument, self.rng.choice((-1, 0, 1)), price=bar.close)
        elif chance < 0.08:
            timeframe, length = self.rng.choice(("1m", "5m")), self.rng.randrange(1, 400)
            known = self.history(bar.instrument, timeframe, length)
            self.seen.append([column.tolist() for column in known])

    def net_of(self, instrument: str) -> object:
        position = self.position(instrument)
        return position.quantity, position.realized_pnl, self.account.balances()

    def on_timer(self, timer: Any) -> None:
        self.seen.append((self.clock.now_ns(), timer))

    def on_fill(self, fill: OrderFill) -> None:
        self.seen.append(fill)

    def on_order(self, event: Any) -> None:
        self.seen.append(event)
        self.ids.append(event.order_id)

    def on_signal(self, signal: Signal) -> None:
        self.seen.append(signal)


def feeds(seed: int) -> list[CandleFeed]:
    """Candles of up to three instruments, of two timeframes, some of them missing, some without trades."""
    rng = np.random.default_rng(seed)
    made = []
    for number, name in enumerate(NAMES[: 1 + seed % 3]):
        each = candles(walk(1_500, seed=seed * 10 + number), start_ns=START + int(rng.integers(0, 3)) * MINUTE)
        each["volume"], each["count"] = np.round(rng.random(len(each)) * 1e3, 3), rng.integers(0, 5, len(each))
        made.append(CandleFeed(each[rng.random(len(each)) < rng.choice([1.0, 0.9])], instrument=name, timeframe="1m"))
    if seed % 2:
        hours = candles(walk(20, seed=seed), length_ns=60 * MINUTE)
        made.append(CandleFeed(hours, instrument=BTC))
    return made


def backtests(seed: int, make: Callable[[int], Strategy] = Restless) -> Iterator[tuple[Strategy, BacktestResult]]:
    """The same backtest natively and candle by candle."""
    for broker in (SimulatedBroker(taker_fee="0.001"), CandleByCandle(taker_fee="0.001")):
        strategy = make(seed)
        yield strategy, headrace.backtest(strategy, feeds(seed), broker=broker, cash="1000000USDT")


@contextmanager
def counted_steps() -> Iterator[list[int]]:
    """Count the stages that Python does."""
    count, code = [0], Candles.step.__code__

    def look(frame: FrameType, event: str, _: object) -> None:
        count[0] += event == "call" and frame.f_code is code

    sys.setprofile(look)
    try:
        yield count
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("seed", range(6))
def test_quiet_run_is_the_run_candle_by_candle(seed: int) -> None:
    (own, quiet), (other, each) = backtests(seed)
    assert isinstance(own, Restless)
    assert isinstance(other, Restless)
    assert own.seen == other.seen
    assert quiet.audit_hash == each.audit_hash
    assert quiet.input_hash == each.input_hash
    assert quiet.fills == each.fills
    assert quiet.orders == each.orders
    assert quiet.trades == each.trades
    assert quiet.equity.tobytes() == each.equity.tobytes()
    assert len(quiet.fills) > 5


@pytest.mark.parametrize("item", [1, 64, 1_023])
def test_quiet_run_does_not_depend_on_the_size_of_blocks(item: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [result.audit_hash for _, result in backtests(3)]
    monkeypatch.setattr(feed_module, "ITEM_CANDLES", item)
    assert [result.audit_hash for _, result in backtests(3)] == expected


def test_progress_goes_on_while_a_handler_of_candles_is_slow() -> None:
    seen: list[int] = []

    class Slow(Strategy):
        bars = ("1m",)

        def on_bar(self, bar: Bar) -> None:
            time.sleep(0.005)

    feed = CandleFeed(candles(walk(200)), instrument=BTC)
    headrace.backtest(Slow(), feed, progress=lambda own: seen.append(own.now_ns))
    # A tenth of a second is 20 of them; then the next look at the clock is up to 16 later.
    assert max(np.diff(seen)) <= 40 * MINUTE
    assert len(seen) >= 4


class Sometimes(Strategy):
    """Buys at one candle."""

    bars = ("1m",)

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self.count = 0

    def on_bar(self, bar: Bar) -> None:
        self.count += 1
        if self.count == self.at:
            self.buy(bar.instrument, 1)


def test_candles_without_orders_are_passed_natively() -> None:
    """Of 3,000 stages Python does those around an order, and none where it may not look."""
    data = candles(walk(1_500))
    for broker, most in ((SimulatedBroker(), 10), (CandleByCandle(), 3_000)):
        with counted_steps() as steps:
            result = headrace.backtest(Sometimes(700), CandleFeed(data, instrument=BTC), broker=broker)
        assert len(result.fills) == 1
        assert steps[0] <= most
        assert (steps[0] > 10) is (most > 10)


def engine_run(broker: SimulatedBroker, *strategies: Strategy) -> Engine:
    each = [CandleFeed(candles(walk(400, seed=own)), instrument=name) for own, name in enumerate((BTC, ETH))]
    engine = Engine(
        mode="replay", feeds=each, strategies=list(strategies), broker=broker, instruments=INSTRUMENTS, limits=LIMITS
    )
    engine.run()
    return engine


def test_bus_and_strategies_count_the_same() -> None:
    counts = []
    for broker in (SimulatedBroker(), CandleByCandle()):
        engine = engine_run(broker, Sometimes(300), Restless(5))
        runners = [(own.calls, own.skipped) for own in engine.strategies.values()]
        counts.append((engine.bus.stats(), runners, engine.report().candles, engine.clock.now_ns()))
    assert counts[0] == counts[1]


class Frames(Restless):
    """Takes frames, too."""

    def on_bars(self, frame: BarFrame) -> None:
        self.seen.append(frame)


def test_frames_come_behind_their_bars_as_candle_by_candle() -> None:
    (own, quiet), (other, each) = backtests(4, Frames)
    assert isinstance(own, Frames)
    assert isinstance(other, Frames)
    assert own.seen == other.seen
    assert any(isinstance(seen, BarFrame) for seen in own.seen)
    assert quiet.audit_hash == each.audit_hash


class Raises(Sometimes):
    """Raises at some candles."""

    def on_bar(self, bar: Bar) -> None:
        super().on_bar(bar)
        if self.count % 97 == 0:
            raise ValueError(self.count)


class Awaits(Sometimes):
    """Has an async handler."""

    async def on_bar(self, bar: Bar) -> None:  # type: ignore[override]
        super().on_bar(bar)


@pytest.mark.parametrize("kind", [Raises, Awaits])
def test_handlers_that_raise_or_wait_are_handled_the_same(kind: type[Sometimes]) -> None:
    counts = []
    for broker in (SimulatedBroker(), CandleByCandle()):
        strategy = kind(300)
        engine = Engine(
            mode="replay",
            feeds=[CandleFeed(candles(walk(400)), instrument=BTC)],
            strategies=[strategy, Sometimes()],
            broker=broker,
            instruments=INSTRUMENTS,
            limits=LIMITS,
            on_fault="quarantine",
        )
        report = engine.run()
        letters = [(own.reason, own.ts_ns, own.attempts) for own in engine.dead_letters]
        counts.append((strategy.count, letters, engine.bus.stats(), report.totals))
    assert counts[0] == counts[1]
    assert counts[0][0] == (291 if kind is Raises else 400)


class Stops(Sometimes):
    """Stops the run at a candle."""

    engine: Engine | None = None

    def on_bar(self, bar: Bar) -> None:
        super().on_bar(bar)
        if self.count == 123:
            assert self.engine is not None
            self.engine.stop()


def test_stop_ends_a_quiet_run_behind_its_candle() -> None:
    strategy = Stops()
    engine = Engine(mode="replay", feeds=[CandleFeed(candles(walk(400)), instrument=BTC)], strategies=[strategy])
    strategy.engine = engine
    engine.run()
    assert strategy.count == 123


class Changes(Sometimes):
    """Has another handler for the bars of an instrument, from one bar to another, again and again."""

    engine: Engine | None = None

    def __init__(self) -> None:
        super().__init__(90)
        self.calls: list[tuple[str, str, int]] = []
        self.other: BusSubscription | None = None

    def on_bar(self, bar: Bar) -> None:
        super().on_bar(bar)
        self.note("own", bar)
        assert self.engine is not None
        if self.count % 35 == 5:
            self.other = self.engine.bus.subscribe(
                Bar, lambda own: self.note("other", own), where=lambda key: key[0] == BTC
            )
        elif self.count % 35 == 20 and self.other is not None:
            self.other.close()

    def note(self, who: str, bar: Bar) -> None:
        self.calls.append((who, bar.instrument, bar.ts_close))


def test_handlers_that_join_and_leave_between_two_bars_get_the_same() -> None:
    runs = []
    for broker in (SimulatedBroker(), CandleByCandle()):
        strategy = Changes()
        each = [CandleFeed(candles(walk(200, seed=own)), instrument=name) for own, name in enumerate((BTC, ETH))]
        engine = Engine(
            mode="replay", feeds=each, strategies=[strategy], broker=broker, instruments=INSTRUMENTS, limits=LIMITS
        )
        strategy.engine = engine
        engine.run()
        runs.append((strategy.calls, engine.bus.stats()))
    assert runs[0] == runs[1]
    own, others = ([call[1:] for call in runs[0][0] if call[0] == who] for who in ("own", "other"))
    # It joins at bars 5, 40, …, of which it has none any more, and leaves at bars 20, 55, … before its turn.
    assert others == [bar for number, bar in enumerate(own, 1) if 5 < number % 35 < 20 and bar[0] == BTC]


def hash_of_lines(audit: Path) -> str:
    return hashlib.sha256(audit.read_bytes().partition(b"\n")[2]).hexdigest()


@pytest.mark.parametrize("broker", [SimulatedBroker, CandleByCandle])
def test_hash_of_a_candle_run_is_that_of_its_audit(broker: type[SimulatedBroker], tmp_path: Path) -> None:
    """The audit is written by Python, event for event."""
    audit = tmp_path / "audit.jsonl"
    result = headrace.backtest(Restless(2), feeds(2), broker=broker(), cash="1000000USDT", audit=audit)
    assert result.audit_hash == hash_of_lines(audit)


@pytest.mark.parametrize("number", [5e-324, 1e300, 1e16, 9.9e15, 1.2345678901234567e15, 1e-5, 9.5e-6, 0.1, -0.0])
def test_native_line_of_a_candle_is_the_audits(number: float, seed: int, tmp_path: Path) -> None:
    """Its candles hold this number, and random ones of every size."""
    rng = np.random.default_rng(seed)
    each = candles(walk(60))
    bits = rng.integers(1, 0x7FE0_0000_0000_0000, (30, 4)).astype("u8").view("f8")
    for place, name in enumerate(("open", "high", "low", "volume")):
        each[name][:30] = bits[:, place]
        each[name][30:] = 10.0 ** rng.uniform(-5.5, 16.5, 30)
    each["volume"][40], each["count"][3] = number, 0
    audit = tmp_path / "audit.jsonl"
    feed = CandleFeed(each, instrument=BTC, timeframe="1m")
    result = headrace.backtest(Sometimes(), feed, broker=SimulatedBroker(), check=False, audit=audit)
    assert result.audit_hash == hash_of_lines(audit)


def test_line_of_a_stream_is_what_an_audit_writes() -> None:
    parts, end = bar_line(BTC, "1m", "trade") or ([], b"")
    values: dict[str, object] = {"ts_close": 60, "ts_open": 0, "number": 7, "count": 5, "partial": "false"}
    values |= {"open": 1.5, "high": 2.5, "low": 0.5, "close": 2.0, "volume": 10.0}
    line = b"".join(literal + str(values[name]).encode() for literal, name in parts) + end
    cause = Cause(BTC, "candle", 7, 7, 60)
    bar = Bar(
        ts=60,
        cause=cause,
        instrument=BTC,
        timeframe="1m",
        price="trade",
        open=1.5,
        high=2.5,
        low=0.5,
        close=2.0,
        volume=10.0,
        count=5,
        ts_open=0,
        ts_close=60,
    )
    assert line == encode_event(bar) + b"\n"
