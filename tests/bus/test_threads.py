"""The event bus and other threads: which thread waits, which may drain, and that no event is lost."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from headrace.bus import EventBus
from headrace.errors import BusError, ClosedError, LaneFullError
from headrace.market.clock import ReplayClock
from headrace.market.events import Event, Lane, Signal, Status
from tests.support.busing import Notes, S, lanes, number_of, signal, status


def test_every_thread_keeps_the_order_of_its_events() -> None:
    bus, notes = EventBus(lanes=lanes(signal=10)), Notes()
    bus.subscribe(Signal, notes.take)

    def publish(thread: int) -> None:
        for number in range(500):
            bus.publish_nowait(signal(thread * 1_000 + number))

    with ThreadPoolExecutor() as threads:
        running = [threads.submit(publish, thread) for thread in range(4)]
        while not all(future.done() for future in running) or bus.has_ready:
            bus.drain()
        for future in running:
            future.result()
    assert len(notes.numbers) == 2_000
    for thread in range(4):
        assert [number for number in notes.numbers if number // 1_000 == thread] == [
            thread * 1_000 + number for number in range(500)
        ]
    assert bus.stats().lanes[Lane.SIGNAL].depth_max <= 10


def test_another_threads_publish_times_out_by_the_bus_clock() -> None:
    clock = ReplayClock(S)
    bus = EventBus(lanes=lanes(signal=1), clock=clock)
    bus.publish_nowait(signal(1))
    with ThreadPoolExecutor() as other:
        waiting = other.submit(bus.publish_nowait, signal(2))
        with pytest.raises(TimeoutError):
            waiting.result(0.02)
        clock.advance_to(2 * S)
        assert isinstance(error := waiting.exception(10), LaneFullError)
        assert (error.lane, error.capacity, error.waited_s) == ("signal", 1, 1.0)
        waiting = other.submit(bus.publish_nowait, signal(3))
        bus.drain()
        waiting.result(10)
    assert bus.unfinished == 1


def test_a_waiting_publisher_thread_releases_the_gil() -> None:
    bus = EventBus(lanes=lanes(signal=1), clock=ReplayClock(S))
    bus.publish_nowait(signal(1))
    with ThreadPoolExecutor() as other:
        waiting = other.submit(bus.publish_nowait, signal(2))
        started = time.process_time()
        with pytest.raises(TimeoutError):
            waiting.result(0.1)
        assert time.process_time() - started < 0.08
        bus.core.close()
        assert isinstance(waiting.exception(10), ClosedError)


def test_the_bus_thread_is_the_one_that_drains() -> None:
    bus = EventBus(lanes=lanes(signal=1), clock=ReplayClock(S))
    with ThreadPoolExecutor(1) as own:
        own.submit(bus.drain).result()
        own.submit(bus.publish_nowait, signal(1)).result()
        assert isinstance(own.submit(bus.publish_nowait, signal(2)).exception(), LaneFullError)
        waiting = ThreadPoolExecutor(1).submit(bus.publish_nowait, signal(2))
        with pytest.raises(TimeoutError):
            waiting.result(0.02)
        own.submit(bus.drain).result()
        waiting.result(10)


def test_another_threads_event_during_a_handler_is_a_cause() -> None:
    bus, full = EventBus(lanes=lanes(signal=1), clock=ReplayClock(S)), []

    def from_elsewhere() -> None:
        bus.publish_nowait(status(1))
        got.append(bus.current_cause())
        bus.publish_nowait(signal(2))

    def on_signal(event: Event) -> None:
        if number_of(event) == 1:
            bus.publish_nowait(signal(9))
            full.append(threads.submit(from_elsewhere))
            with pytest.raises(TimeoutError):
                full[0].result(0.02)

    got: list[object] = []
    sources: list[str] = []
    bus.subscribe(Signal, on_signal, name="handler")
    bus.subscribe(Event, lambda event: sources.append(event.source))
    with ThreadPoolExecutor() as threads:
        bus.publish_nowait(signal(1))
        bus.drain()
        full[0].result(10)
        bus.drain()
    assert got == [None]
    assert sorted(sources) == ["", "", "", "handler"]


def test_two_threads_do_not_drain_at_once() -> None:
    bus, inside, go = EventBus(), threading.Event(), threading.Event()

    def hold(_: Event) -> None:
        inside.set()
        go.wait()

    bus.subscribe(Signal, hold)
    bus.publish_nowait(signal(1))
    with ThreadPoolExecutor() as other:
        draining = other.submit(bus.drain)
        inside.wait()
        with pytest.raises(BusError, match="by another thread right now"):
            bus.drain()
        go.set()
        assert draining.result(10) == 1
    assert bus.drain() == 0


@pytest.mark.asyncio
async def test_a_started_bus_is_woken_by_another_thread() -> None:
    bus, got = EventBus(), asyncio.Event()
    bus.subscribe(Signal, lambda _: got.set())
    await bus.start()
    await asyncio.to_thread(bus.publish_nowait, signal(1))
    await got.wait()


@pytest.mark.asyncio
async def test_an_async_handler_is_awaited_on_the_loop_whoever_drains() -> None:
    bus, seen, got = EventBus(), [], asyncio.Event()

    async def on_signal(_: Event) -> None:
        seen.append(threading.current_thread())
        got.set()

    bus.subscribe(Signal, on_signal)
    await bus.start(wake=lambda: None)
    bus.publish_nowait(signal(1))
    await asyncio.to_thread(bus.drain)
    await got.wait()
    assert seen == [threading.current_thread()]


@pytest.mark.asyncio
async def test_a_waiting_thread_gets_the_room_that_a_started_bus_makes() -> None:
    bus, notes = EventBus(lanes=lanes(signal=1)), Notes()
    bus.subscribe(Signal, notes.take)
    await bus.start()

    def publish() -> None:
        for number in range(100):
            bus.publish_nowait(signal(number))

    await asyncio.to_thread(publish)
    await bus.wait_until_idle()
    assert notes.numbers == list(range(100))


def test_an_event_left_by_an_ended_loop_runs_on_the_next_loop() -> None:
    bus, notes = EventBus(), Notes()
    bus.subscribe(Signal, notes.take_async)

    async def begin() -> None:
        await bus.start()
        bus.publish_nowait(signal(1))
        bus.drain()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    asyncio.run(begin())
    assert notes.numbers == []
    asyncio.run(bus.wait_until_idle(1.0))
    assert notes.numbers == [1]


def test_a_bus_whose_loop_has_ended_is_drained_by_hand() -> None:
    bus, notes = EventBus(), Notes()
    bus.subscribe(Status, notes.take)
    asyncio.run(bus.start())
    bus.publish_nowait(status(1))
    assert bus.drain() == 1
    assert notes.numbers == [1]
