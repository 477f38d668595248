"""The live pump: it publishes due ticks, waits for no reader, and loses no tick that has a number."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import headrace._native as _native
from headrace import Decoder, Dispatcher, Strategy
from headrace._native import PumpStatus
from headrace.errors import ReentrantDispatchError, SourceOrderError
from headrace.market.clock import END_OF_TIME_NS, EngineClock
from tests.support.feeding import BTC, ETH, holds_the_law, level_event, quotes, read_all, trades, wait_until


def pump_of(dispatcher: Dispatcher, *sources: np.ndarray) -> _native.Pump:
    """Return a pump over arrays that are complete from the start."""
    pump = _native.Pump(dispatcher._ingest)
    for number in range(len(sources)):
        pump.add_source(f"source {number}")
    for number, ticks in enumerate(sources):
        assert pump.peek() == (PumpStatus.NEED, number)
        pump.push(number, ticks)
    return pump


def test_the_pump_publishes_only_due_ticks_merged() -> None:
    with Dispatcher(instruments=[BTC, ETH], ring_capacity=64) as dispatcher:
        pulled = dispatcher.subscribe()
        pump = pump_of(
            dispatcher,
            quotes(dispatcher, range(4), ts_init=[10, 20, 30, 40]),
            trades(dispatcher, range(3), instrument=ETH, ts_init=[10, 15, 35]),
        )
        assert pump.counts()["last_ts"] is None
        assert pump.ingest(5, 100) == (PumpStatus.UNTIL, 10)
        assert dispatcher.ring.cursor == 0
        assert pump.ingest(20, 100) == (PumpStatus.UNTIL, 30)
        assert pump.last_ts == 20
        assert read_all(pulled)["ts_init"].tolist() == [10, 10, 15, 20]
        assert pump.ingest(END_OF_TIME_NS, 100) == (PumpStatus.NEED, 1)
        pump.finish(1)
        assert pump.ingest(END_OF_TIME_NS, 100) == (PumpStatus.NEED, 0)
        pump.finish(0)
        assert pump.ingest(END_OF_TIME_NS, 100) == (PumpStatus.END, 0)
        assert read_all(pulled)["ts_init"].tolist() == [30, 35, 40]


def test_one_call_publishes_about_its_limit() -> None:
    with Dispatcher() as dispatcher:
        pump = pump_of(dispatcher, quotes(dispatcher, range(100), ts_init=range(100)))
        assert pump.ingest(END_OF_TIME_NS, 30) == (PumpStatus.FULL, 30)
        assert pump.ingest(END_OF_TIME_NS, 30) == (PumpStatus.FULL, 30)
        assert dispatcher.ring.cursor == 60


def test_the_pump_never_calls_a_lossy_handler() -> None:
    got: list[int] = []
    with Dispatcher(ring_capacity=16) as dispatcher:
        subscription = dispatcher.subscribe(
            lambda position: got.append(position), callback="on_quote", overflow="drop_oldest"
        )
        pump = pump_of(dispatcher, quotes(dispatcher, range(100), ts_init=range(100)))
        pump.ingest(END_OF_TIME_NS, 1_000)
        assert got == []
        dispatcher.dispatch()
        stats = subscription.stats()
    assert stats.missed == 86
    assert holds_the_law(stats)


def test_an_inline_block_reader_runs_only_if_it_holds_the_ring() -> None:
    clock = EngineClock(7)
    got: list[int] = []
    with Dispatcher(ring_capacity=16, clock=clock) as dispatcher:
        dispatcher.subscribe(lambda lag_ns: got.append(lag_ns), callback="on_quote")
        pump = pump_of(dispatcher, quotes(dispatcher, range(40), ts_init=5))
        pump.ingest(END_OF_TIME_NS, 16)
        assert len(got) == 32
        dispatcher.dispatch()
    assert got == [2] * 40


@pytest.mark.alone
def test_a_held_ring_is_not_waited_for_and_loses_no_tick() -> None:
    release, entered = threading.Event(), threading.Event()
    seen: list[int] = []

    class Slow(Strategy):
        def on_quote(self, seq):
            entered.set()
            assert release.wait(20)
            seen.append(seq)

    with Dispatcher(ring_capacity=16) as dispatcher:
        slow = dispatcher.subscribe(Slow(), mode="thread", overflow="block")
        first = quotes(dispatcher, range(1), ts_init=0)
        dispatcher.publish(first)
        wait_until(entered.is_set)
        event = level_event(dispatcher, 100, ts_init=1)
        pump = pump_of(dispatcher, event)
        started_s = time.monotonic()
        status, waiting = pump.ingest(END_OF_TIME_NS, 1_000)
        assert (status, waiting) == (PumpStatus.HELD, 101 - dispatcher.ring.cursor)
        assert pump.ingest(END_OF_TIME_NS, 1_000) == (status, waiting)
        assert time.monotonic() - started_s < 0.5
        # Another publish, too, comes after the waiting ticks.
        release.set()
        wait_until(lambda: pump.ingest(END_OF_TIME_NS, 1_000)[0] is PumpStatus.NEED)
        dispatcher.publish(quotes(dispatcher, range(5), ts_init=2))
        wait_until(lambda: len(seen) == 6)
        assert dispatcher.ring.cursor == 106
        assert slow.stats().missed == 0
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_reader_that_holds_the_ring_too_long_is_demoted() -> None:
    release = threading.Event()

    class Stuck(Strategy):
        def on_quote(self, seq):
            assert release.wait(20)

    with Dispatcher(ring_capacity=16, block_max_ns=50_000_000) as dispatcher:
        stuck = dispatcher.subscribe(Stuck(), mode="thread", overflow="block")
        pump = pump_of(dispatcher, quotes(dispatcher, range(200), ts_init=range(200)))
        started_s = time.monotonic()
        statuses = set()
        while (status := pump.ingest(END_OF_TIME_NS, 1_000)[0]) is not PumpStatus.NEED:
            statuses.add(status)
        assert statuses == {PumpStatus.HELD}
        assert time.monotonic() - started_s >= 0.05
        assert dispatcher.ring.cursor == 200
        release.set()
        wait_until(lambda: stuck.stats().pending == 0)
        stats = stuck.stats()
    assert stats.demoted
    assert stats.missed > 0
    assert holds_the_law(stats)


def test_a_pull_subscription_may_hold_the_ring_of_a_live_pump() -> None:
    with Dispatcher(ring_capacity=16) as dispatcher:
        pulled = dispatcher.subscribe()
        pump = pump_of(dispatcher, quotes(dispatcher, range(40), ts_init=range(40)))
        got = []
        while pump.ingest(END_OF_TIME_NS, 1_000)[0] is PumpStatus.HELD:
            got += read_all(pulled)["seq"].tolist()
        got += read_all(pulled)["seq"].tolist()
    assert got == list(range(1, 41))


def test_the_pump_stops_with_its_dispatcher() -> None:
    with Dispatcher() as dispatcher:
        pump = pump_of(dispatcher, quotes(dispatcher, range(3)))
        dispatcher.stop()
        assert pump.ingest(END_OF_TIME_NS, 10) == (PumpStatus.STOPPED, 0)


def test_frames_are_decoded_counted_and_rejected_as_in_a_replay() -> None:
    with Dispatcher() as dispatcher:
        pump = _native.Pump(dispatcher._ingest)
        pump.add_source("frames", Decoder("BINANCE", dispatcher.instruments))
        assert pump.ingest(END_OF_TIME_NS, 10) == (PumpStatus.NEED, 0)
        frame = b'{"u":1,"s":"BTCUSDT","b":"1.0","B":"2.0","a":"3.0","A":"4.0"}'
        pump.push(0, b"100 " + frame + b"\n101 {}\n")
        pump.ingest(END_OF_TIME_NS, 10)
        counts = pump.counts()
        assert counts["frames"]["bookTicker"] == 1
        assert (counts["accepted"], counts["last_ts"]) == ([1], 101)
        assert [(source, row) for source, row, *_ in pump.take_rejects()] == [("frames", 2)]
        assert dispatcher.ring.cursor == 1


def test_a_source_that_goes_back_is_refused_by_name_and_row() -> None:
    with Dispatcher() as dispatcher:
        backwards = quotes(dispatcher, range(2), ts_init=[5, 5])
        backwards["ts_init"][1] = 4
        pump = pump_of(dispatcher, backwards)
        with pytest.raises(SourceOrderError, match="source 0, row 2"):
            pump.ingest(END_OF_TIME_NS, 10)


def test_a_handler_that_drives_its_own_pump_is_an_error() -> None:
    errors: list[Exception] = []
    with Dispatcher(ring_capacity=4) as dispatcher:

        def on_quote(seq: int) -> None:
            try:
                pump.ingest(END_OF_TIME_NS, 10)
            except ReentrantDispatchError as error:
                errors.append(error)

        dispatcher.subscribe(on_quote)
        pump = pump_of(dispatcher, quotes(dispatcher, range(6)))
        pump.ingest(END_OF_TIME_NS, 10)
    assert errors


def test_the_pump_can_stop_inside_a_frame() -> None:
    with Dispatcher() as dispatcher:
        pulled = dispatcher.subscribe()
        event = level_event(dispatcher, 10, ts_init=1)
        pump = pump_of(dispatcher, np.concatenate([event, quotes(dispatcher, range(5), ts_init=range(2, 7))]))
        for cursor in (0, 3, 3, 9, 12, 15):
            assert pump.ingest_to(cursor) == (PumpStatus.REACHED, cursor)
            assert dispatcher.ring.cursor == cursor
        assert pump.ingest_to(16) == (PumpStatus.NEED, 0)
        pump.finish(0)
        assert pump.ingest_to(16) == (PumpStatus.END, 15)
        assert pump.ingest_to(15) == (PumpStatus.REACHED, 15)
        assert len(read_all(pulled)) == 15


def test_ticks_past_the_position_are_not_lost_to_a_live_call() -> None:
    with Dispatcher() as dispatcher:
        pump = pump_of(dispatcher, level_event(dispatcher, 10, ts_init=1))
        pump.ingest_to(4)
        assert pump.ingest(END_OF_TIME_NS, 100) == (PumpStatus.NEED, 0)
        assert dispatcher.ring.cursor == 10


def test_a_repeat_demotes_a_thread_reader_that_holds_the_ring() -> None:
    release = threading.Event()

    class Stuck(Strategy):
        def on_quote(self, seq):
            assert release.wait(20)

    with Dispatcher(ring_capacity=16) as dispatcher:
        stuck = dispatcher.subscribe(Stuck(), mode="thread", overflow="block")
        pump = pump_of(dispatcher, quotes(dispatcher, range(200), ts_init=range(200)))
        assert pump.ingest_to(150) == (PumpStatus.REACHED, 150)
        release.set()
        wait_until(lambda: stuck.stats().pending == 0)
        assert stuck.stats().demoted
