"""A replay's order at T: timers and bars that are due, T's ticks to all strategies, their events; only then T + 1."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

import headrace._native as _native
from headrace import Dispatcher
from headrace._native import PumpStatus
from headrace.bus import EventBus
from headrace.market.clock import END_OF_TIME_NS, ReplayClock
from headrace.market.events import Signal
from tests.support.feeding import BTC, ETH, quotes, trades

Log = list[tuple[Any, ...]]


def pump_of(dispatcher: Dispatcher, *sources: np.ndarray) -> _native.Pump:
    pump = _native.Pump(dispatcher._ingest)
    for number in range(len(sources)):
        pump.add_source(f"source {number}")
    for number, ticks in enumerate(sources):
        assert pump.run(END_OF_TIME_NS) == (PumpStatus.NEED, number)
        pump.push(number, ticks)
    return pump


def clock_of(dispatcher: Dispatcher) -> ReplayClock:
    assert isinstance(dispatcher.clock, ReplayClock)
    return dispatcher.clock


def run_to_the_end(pump: _native.Pump, log: Log) -> None:
    """Run, and note each status; a source that must yield more has ended."""
    while True:
        status, argument = pump.run(END_OF_TIME_NS)
        if status is PumpStatus.NEED:
            pump.finish(argument)
            continue
        log.append((status, argument))
        if status is PumpStatus.END:
            return


def test_an_alarm_comes_before_the_ticks_of_its_time() -> None:
    log: Log = []
    with Dispatcher(mode="replay") as dispatcher:
        clock = clock_of(dispatcher)
        dispatcher.subscribe(lambda seq: log.append(("tick", clock.now_ns())), callback="on_quote")
        pump = pump_of(dispatcher, quotes(dispatcher, range(3), ts_init=[10, 20, 30]))
        clock.set_alarm(20)
        while True:
            status, argument = pump.run(END_OF_TIME_NS)
            if status is PumpStatus.NEED:
                pump.finish(argument)
                continue
            log.append((status, argument, clock.now_ns()))
            if status is PumpStatus.END:
                break
            if log[-1] == log[-2]:
                clock.set_alarm(None)
    assert log == [
        ("tick", 10),
        (PumpStatus.ALARM, 20, 10),
        (PumpStatus.ALARM, 20, 10),
        ("tick", 20),
        ("tick", 30),
        (PumpStatus.END, 0, 30),
    ]


def test_pump_pauses_when_its_time_is_over_and_goes_on_from_there() -> None:
    seen: list[int] = []
    with Dispatcher(mode="replay") as dispatcher:
        dispatcher.subscribe(lambda ts_init: seen.append(ts_init), callback="on_quote")
        pump = pump_of(dispatcher, quotes(dispatcher, range(100), ts_init=range(100)))
        counts = []
        while pump.run(END_OF_TIME_NS, max_ns=0) == (PumpStatus.PAUSED, 0):
            counts.append(len(seen))
        pump.finish(0)
        assert pump.run(END_OF_TIME_NS, max_ns=0) == (PumpStatus.END, 0)
        assert len(counts) > 4
        assert counts == sorted(set(counts))
        assert seen == list(range(100))


def test_an_alarm_between_two_ticks_does_not_wait_for_a_tick() -> None:
    with Dispatcher(mode="replay") as dispatcher:
        clock = clock_of(dispatcher)
        pump = pump_of(dispatcher, quotes(dispatcher, range(2), ts_init=[10, 100]))
        clock.set_alarm(50)
        assert pump.run(20) == (PumpStatus.UNTIL, 100)
        assert pump.run(60) == (PumpStatus.ALARM, 60)
        clock.set_alarm(None)
        assert pump.run(60) == (PumpStatus.UNTIL, 100)


def test_an_alarm_that_a_handler_sets_for_now_is_due_at_now() -> None:
    with Dispatcher(mode="replay") as dispatcher:
        clock = clock_of(dispatcher)
        dispatcher.subscribe(lambda seq: clock.set_alarm(clock.now_ns()) if seq == 1 else None, callback="on_quote")
        pump = pump_of(dispatcher, quotes(dispatcher, range(2), ts_init=[10, 20]))
        assert pump.run(END_OF_TIME_NS) == (PumpStatus.ALARM, 10)


def test_no_alarm_is_due_after_the_last_tick() -> None:
    with Dispatcher(mode="replay") as dispatcher:
        pump = pump_of(dispatcher, quotes(dispatcher, range(2), ts_init=[10, 20]))
        clock_of(dispatcher).set_alarm(21)
        log: Log = []
        run_to_the_end(pump, log)
    assert log == [(PumpStatus.END, 0)]


def test_bars_that_ticks_closed_are_drained_at_their_time() -> None:
    with Dispatcher(mode="replay") as dispatcher:
        builder = _native.BarBuilder(dispatcher._ingest)
        builder.add([("*", False)], ("ticks", 2), "trade", False)
        pump = pump_of(dispatcher, trades(dispatcher, range(4), ts_init=[10, 20, 30, 40]))
        assert pump.run(END_OF_TIME_NS) == (PumpStatus.DRAIN, 20)
        assert dispatcher.ring.cursor == 2
        assert pump.run(END_OF_TIME_NS) == (PumpStatus.DRAIN, 20)
        assert len(builder.take()) == 1
        assert pump.run(END_OF_TIME_NS) in ((PumpStatus.NEED, 0), (PumpStatus.DRAIN, 40))


def test_ticks_of_one_time_are_dispatched_in_merge_order() -> None:
    log: Log = []
    with Dispatcher(mode="replay", instruments=[BTC, ETH]) as dispatcher:
        clock = clock_of(dispatcher)
        for name in ("first", "second"):
            dispatcher.subscribe(
                lambda instrument, position, name=name: log.append((name, position, instrument, clock.now_ns())),
                callback="on_quote",
                name=name,
            )
        pump = pump_of(
            dispatcher,
            quotes(dispatcher, range(2), instrument=ETH, ts_init=[10, 20]),
            quotes(dispatcher, range(2), instrument=BTC, ts_init=[10, 20]),
        )
        clock.set_alarm(20)
        assert pump.run(END_OF_TIME_NS) == (PumpStatus.ALARM, 20)
        assert log == [
            ("first", 0, ETH, 10),
            ("second", 0, ETH, 10),
            ("first", 1, BTC, 10),
            ("second", 1, BTC, 10),
        ]


def test_awaited_handlers_end_before_the_next_time() -> None:
    seen: list[tuple[int, int]] = []

    async def main() -> None:
        with Dispatcher(mode="replay") as dispatcher:

            async def on_quote(seq):
                await asyncio.sleep(0)
                seen.append((seq, dispatcher.clock.now_ns()))

            dispatcher.subscribe(on_quote)
            pump = pump_of(dispatcher, quotes(dispatcher, range(2), ts_init=[10, 20]))
            assert pump.run(END_OF_TIME_NS) == (PumpStatus.ASYNC, 0)
            assert dispatcher.ring.cursor == 1
            await dispatcher.drain_async()
            assert pump.run(END_OF_TIME_NS) == (PumpStatus.NEED, 0)
            pump.finish(0)
            assert pump.run(END_OF_TIME_NS) == (PumpStatus.ASYNC, 0)
            await dispatcher.drain_async()
            assert pump.run(END_OF_TIME_NS) == (PumpStatus.END, 0)

    asyncio.run(main())
    assert seen == [(1, 10), (2, 20)]


def test_handlers_events_are_drained_before_the_next_time() -> None:
    log: Log = []
    with Dispatcher(mode="replay") as dispatcher:
        bus = EventBus(clock=dispatcher.clock, mode="replay")
        bus.subscribe(Signal, lambda event: log.append(("event", event.ts, event.side)))
        for name, side in (("first", 1), ("second", -1)):
            dispatcher.subscribe(
                lambda instrument, way=side: bus.publish_nowait(Signal(instrument=instrument, side=way)),
                callback="on_quote",
                name=name,
            )
        pump = pump_of(dispatcher, quotes(dispatcher, range(2), ts_init=[10, 20]))
        pump.watch_bus(bus.core)
        while (answer := pump.run(END_OF_TIME_NS))[0] is not PumpStatus.END:
            if answer[0] is PumpStatus.NEED:
                pump.finish(answer[1])
                continue
            log.append(answer)
            bus.drain()
    assert log == [
        (PumpStatus.DRAIN, 10),
        ("event", 10, 1),
        ("event", 10, -1),
        (PumpStatus.DRAIN, 20),
        ("event", 20, 1),
        ("event", 20, -1),
    ]


def test_counts_can_be_read_in_a_handler_of_the_run() -> None:
    seen: list[tuple[int, int | None]] = []
    with Dispatcher(mode="replay") as dispatcher:

        def on_quote(seq: int) -> None:
            seen.append((pump.counts()["items"], pump.last_ts))

        dispatcher.subscribe(on_quote)
        pump = pump_of(dispatcher, quotes(dispatcher, range(2), ts_init=[10, 20]))
        assert pump.run(END_OF_TIME_NS) == (PumpStatus.NEED, 0)
        pump.finish(0)
        assert pump.run(END_OF_TIME_NS) == (PumpStatus.END, 0)
    assert seen == [(1, 10), (2, 20)]
