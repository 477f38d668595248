"""The event bus on an event loop: async handlers, consumers, waiting for idle, and shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

import numpy as np
import pytest

from headrace import Dispatcher
from headrace.bus import EventBus
from headrace.bus.consumer import Consumer, Envelope
from headrace.errors import ClosedError, DeadlockError, LaneFullError
from headrace.market.clock import ReplayClock
from headrace.market.events import Cause, Event, Gap, Lane, OrderRequested, Signal, Status
from tests.support.busing import BTC, Notes, S, event_of, lanes, number_of, order, signal, status
from tests.support.engines import until
from tests.support.feeding import quotes

pytestmark = pytest.mark.asyncio
CAUSE = Cause(instrument=BTC, kind="quote", first=7, last=7, ts_init=99)


class Held:
    """An async handler that waits in each event until the test sets ``go``."""

    def __init__(self, log: list[tuple[str, int]] | None = None, name: str = "held") -> None:
        self.log = [] if log is None else log
        self.name = name
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    async def take(self, event: Event) -> None:
        self.log.append((self.name, number_of(event)))
        self.begun.set()
        await self.go.wait()
        self.log.append((self.name, -number_of(event)))


async def pulled(consumer: Consumer, into: list[Envelope]) -> None:
    """Take events until the bus is shut down."""
    with contextlib.suppress(ClosedError):
        while True:
            async with consumer.consume() as envelope:
                into.append(envelope)


# Async handlers


@pytest.mark.parametrize("replay", [False, True])
async def test_async_and_plain_handlers_run_in_subscription_order(replay: bool) -> None:
    bus = EventBus(mode="replay" if replay else "live")
    log: list[tuple[str, int]] = []

    async def slow(event: Event) -> None:
        log.append(("b", number_of(event)))
        await asyncio.sleep(0)
        log.append(("b done", number_of(event)))

    bus.subscribe(Signal, Notes("a", log).take)
    bus.subscribe(Signal, slow)
    bus.subscribe(Signal, Notes("c", log).take)
    await bus.start()
    bus.publish_nowait(signal(1))
    bus.publish_nowait(signal(2))
    await bus.wait_until_idle()
    assert log == [(name, number) for number in (1, 2) for name in ("a", "b", "b done", "c")]


async def test_a_slow_async_handler_holds_up_its_own_lane_only() -> None:
    bus, held, others = EventBus(), Held(), Notes()
    bus.subscribe(Signal, held.take)
    bus.subscribe((OrderRequested, Status), others.take)
    await bus.start()
    bus.publish_nowait(signal(1))
    await held.begun.wait()
    bus.publish_nowait(signal(2))
    bus.publish_nowait(order(3))
    bus.publish_nowait(status(4))
    await asyncio.sleep(0)
    assert others.numbers[-1:] == [4]
    assert held.log == [("held", 1)]
    assert bus.unfinished == 2
    held.go.set()
    await bus.wait_until_idle()
    assert held.log == [("held", 1), ("held", -1), ("held", 2), ("held", -2)]


async def test_a_replay_waits_for_an_awaited_handler() -> None:
    bus, held, others = EventBus(mode="replay", clock=ReplayClock(S)), Held(), Notes()
    bus.subscribe(Signal, held.take)
    bus.subscribe((OrderRequested, Status), others.take)
    await bus.start()
    bus.publish_nowait(signal(1))
    await held.begun.wait()
    bus.publish_nowait(order(3))
    bus.publish_nowait(status(4))
    bus.drain()
    assert others.numbers == []
    assert not bus.has_ready
    held.go.set()
    await bus.wait_until_idle()
    assert others.numbers[-1:] == [4]


async def test_an_async_handlers_events_are_consequences_with_a_cause() -> None:
    bus = EventBus(lanes=lanes(signal=1, control=1))
    got: list[Event] = []
    told: list[Exception] = []

    async def on_signal(event: Event) -> None:
        await asyncio.sleep(0)
        assert bus.current_cause() is event.cause
        for number in range(8):
            await bus.publish(event_of(Lane.CONTROL, number))
        try:
            await bus.publish(event_of(Lane.CONTROL, 9))
        except LaneFullError as error:
            told.append(error)

    bus.subscribe(Signal, on_signal, name="sizer")
    hold = bus.consumer(type(event_of(Lane.CONTROL)))
    bus.subscribe(type(event_of(Lane.CONTROL)), got.append)
    await bus.start()
    bus.publish_nowait(event_of(Lane.CONTROL, 0))
    await asyncio.sleep(0)
    bus.publish_nowait(signal(1, cause=CAUSE))
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(told) == 1
    hold.close()
    await bus.wait_until_idle()
    assert {(event.source, event.cause) for event in got[1:]} == {("sizer", CAUSE)}
    assert bus.current_cause() is None


async def test_a_task_that_outlives_its_handler_publishes_new_causes() -> None:
    bus = EventBus()
    done, go, tasks = Notes(), asyncio.Event(), []
    causes: list[Cause | None] = []

    async def later() -> None:
        await go.wait()
        causes.append(bus.current_cause())
        bus.publish_nowait(status(2))

    async def on_signal(_: Event) -> None:
        tasks.append(asyncio.create_task(later()))

    bus.subscribe(Signal, on_signal)
    bus.subscribe(Status, lambda event: causes.append(event.cause))
    bus.subscribe(Status, done.take)
    await bus.start()
    bus.publish_nowait(signal(1, cause=CAUSE))
    await bus.wait_until_idle()
    go.set()
    await asyncio.wait(tasks)
    await bus.wait_until_idle()
    assert causes == [None, None]
    assert done.numbers == [2]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), asyncio.CancelledError()])
async def test_an_async_handlers_exception_stops_no_other(error: BaseException) -> None:
    bus, good = EventBus(), Notes()

    async def bad(_: Event) -> None:
        await asyncio.sleep(0)
        raise error

    bus.subscribe(Signal, bad, name="bad")
    bus.subscribe(Signal, good.take)
    await bus.start()
    bus.publish_nowait(signal(1))
    await bus.wait_until_idle()
    assert good.numbers == [1]
    assert [letter.source for letter in bus.dead_letters] == ["bad"]


async def test_an_async_handler_is_retried_up_to_its_max_attempts() -> None:
    bus, notes = EventBus(), Notes(fails_on={1})
    bus.subscribe(Status, notes.take_async)
    await bus.start()
    bus.publish_nowait(status(1))
    bus.publish_nowait(status(2))
    await bus.wait_until_idle()
    assert notes.numbers == [1, 1, 1, 2]
    assert bus.stats().lanes[Lane.DATA].dead == 1


async def test_a_closed_async_handler_gets_no_waiting_event() -> None:
    bus, held = EventBus(), Held()
    subscription = bus.subscribe(Signal, held.take)
    await bus.start()
    bus.publish_nowait(signal(1))
    bus.drain()
    subscription.close()
    await bus.wait_until_idle()
    assert held.log == []
    assert bus.stats().lanes[Lane.SIGNAL].processed == 1


async def test_an_awaited_gap_is_not_counted_as_an_event_of_its_lane() -> None:
    bus, notes = EventBus(lanes=lanes(data=1)), Notes()

    async def on_gap(event: Event) -> None:
        await asyncio.sleep(0)
        assert isinstance(event, Gap)
        notes.log.append(("gap", event.missed))

    bus.subscribe(Gap, on_gap)
    bus.subscribe(Status, notes.take)
    for number in range(3):
        bus.publish_nowait(status(number))
    await bus.wait_until_idle()
    assert notes.log == [("gap", 2), ("", 2)]
    stats = bus.stats().lanes[Lane.DATA]
    assert (stats.processed, stats.dropped, stats.gaps, stats.left) == (1, 2, 1, 0)


# Draining


async def test_a_started_bus_drains_itself() -> None:
    bus, got = EventBus(), asyncio.Event()
    bus.subscribe(Signal, lambda _: got.set())
    await bus.start()
    bus.publish_nowait(signal(1))
    assert not got.is_set()
    await got.wait()


async def test_a_flood_does_not_block_the_loop() -> None:
    bus, turns = EventBus(), [0]

    def again(_: Event) -> None:
        time.sleep(0.0001)
        bus.publish_nowait(signal(1))

    subscription = bus.subscribe(Signal, again)
    await bus.start()
    bus.publish_nowait(signal(1))
    while turns[0] < 20:
        await asyncio.sleep(0)
        turns[0] += 1
    subscription.close()
    await bus.wait_until_idle()


async def test_an_external_drainer_is_woken_once_for_new_events() -> None:
    bus, notes, woken = EventBus(), Notes(), [0]

    def wake() -> None:
        woken[0] += 1

    held = Held()
    bus.subscribe(Signal, notes.take)
    bus.subscribe(Status, held.take)
    await bus.start(wake=wake)
    bus.publish_nowait(signal(1))
    bus.publish_nowait(signal(2))
    await asyncio.sleep(0)
    assert (woken[0], notes.numbers) == (1, [])
    bus.drain()
    bus.publish_nowait(status(3))
    assert (woken[0], notes.numbers) == (2, [1, 2])
    bus.drain()
    await held.begun.wait()
    held.go.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert woken[0] == 3
    assert bus.is_idle


async def test_events_from_before_the_start_are_drained_and_awaited() -> None:
    bus, notes = EventBus(), Notes()
    bus.subscribe(Signal, notes.take_async)
    bus.subscribe(Status, notes.take)
    bus.publish_nowait(signal(1))
    await asyncio.to_thread(bus.drain)
    bus.publish_nowait(status(2))
    assert notes.numbers == []
    await bus.start()
    await bus.wait_until_idle()
    assert sorted(notes.numbers) == [1, 2]


async def test_a_stopped_bus_keeps_waiting_events_until_restart() -> None:
    bus, notes = EventBus(), Notes()
    bus.subscribe(Signal, notes.take)
    await bus.start()
    await bus.stop()
    bus.publish_nowait(signal(1))
    await asyncio.sleep(0)
    assert notes.numbers == []
    await bus.start()
    await bus.wait_until_idle()
    assert notes.numbers == [1]


async def test_stop_cancels_a_stuck_handler_into_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.bus.async_lanes.DRAIN_RUNNING_S", 0.01)
    bus, held = EventBus(), Held()
    bus.subscribe(Signal, held.take, name="held")
    await bus.start()
    bus.publish_nowait(signal(1))
    bus.publish_nowait(signal(2))
    await held.begun.wait()
    await bus.stop()
    assert [(letter.source, letter.reason) for letter in bus.dead_letters] == [("held", "CancelledError")]
    stats = bus.stats().lanes[Lane.SIGNAL]
    assert (stats.dead, stats.left) == (1, 1)


# Consumers


async def test_a_consumer_holds_its_event_until_the_body_ends() -> None:
    bus, behind, begun, go = EventBus(), Notes(), asyncio.Event(), asyncio.Event()
    consumer = bus.consumer(Signal, name="pull")
    bus.subscribe(Signal, behind.take)
    envelopes: list[Envelope] = []

    async def work() -> None:
        async with consumer.consume() as envelope:
            envelopes.append(envelope)
            begun.set()
            await go.wait()

    await bus.start()
    task = asyncio.create_task(work())
    published = signal(1, ts=5)
    bus.publish_nowait(published)
    await begun.wait()
    assert envelopes == [Envelope(published, Lane.SIGNAL, 1, 1)]
    assert (bus.unfinished, behind.numbers) == (1, [])
    go.set()
    await task
    await bus.wait_until_idle()
    assert (bus.unfinished, behind.numbers) == (0, [1])


async def test_a_consumer_is_not_iterable_and_says_why() -> None:
    consumer = EventBus().consumer(Signal)
    with pytest.raises(TypeError, match="released when the next one is requested"):
        async for _ in consumer:
            pass


async def test_a_bodys_events_count_before_its_own_is_released() -> None:
    bus = EventBus(lanes=lanes(signal=1))
    consumer = bus.consumer(Signal, name="pull")
    seen: list[tuple[int, Event]] = []
    bus.subscribe(Signal, lambda event: seen.append((bus.unfinished, event)))

    async def work() -> None:
        async with consumer.consume():
            for number in (2, 3):
                bus.publish_nowait(signal(number))
            assert bus.unfinished == 3
        for _ in range(2):
            async with consumer.consume():
                pass

    task = asyncio.create_task(work())
    await bus.start()
    bus.publish_nowait(signal(1, cause=CAUSE))
    await task
    await bus.wait_until_idle()
    assert [(event.source, event.cause) for _, event in seen] == [("", CAUSE), ("pull", CAUSE), ("pull", CAUSE)]


async def test_a_raising_consume_body_leaves_a_letter_and_propagates() -> None:
    bus, behind = EventBus(), Notes()
    consumer = bus.consumer(Status, name="pull")
    bus.subscribe(Status, behind.take)
    bus.publish_nowait(status(1))
    bus.drain()
    with pytest.raises(ValueError, match="body"):
        async with consumer.consume():
            raise ValueError("body")
    await bus.wait_until_idle()
    assert behind.numbers == [1]
    letter = bus.dead_letters.list()[0]
    assert (letter.source, letter.attempts) == ("pull", 1)
    bus.dead_letters.redrive(letter.id)
    bus.drain()
    async with consumer.consume() as envelope:
        assert envelope.number == 2
    assert behind.numbers == [1]


async def test_a_cancelled_wait_in_consume_loses_no_event() -> None:
    bus = EventBus()
    consumer = bus.consumer(Signal)
    got: list[Envelope] = []
    await bus.start()
    waiting = [asyncio.create_task(pulled(consumer, got)) for _ in range(2)]
    await asyncio.sleep(0)
    bus.publish_nowait(signal(1))
    bus.drain()
    waiting[0].cancel()
    await bus.wait_until_idle()
    assert [number_of(envelope.event) for envelope in got] == [1]
    assert waiting[0].cancelled()
    await bus.shutdown()
    await waiting[1]


async def test_concurrent_bodies_of_a_consumer_share_its_events() -> None:
    bus = EventBus()
    consumer = bus.consumer(Event)
    got: list[Envelope] = []
    tasks = [asyncio.create_task(pulled(consumer, got)) for _ in range(3)]
    await bus.start()
    for number, lane in enumerate((*Lane, *Lane)):
        bus.publish_nowait(event_of(lane, number))
    await bus.wait_until_idle()
    assert sorted(number_of(envelope.event) for envelope in got) == list(range(8))
    assert await bus.shutdown() == {}
    await asyncio.gather(*tasks)


async def test_a_closed_consumer_passes_its_event_on_and_raises() -> None:
    bus, behind = EventBus(), Notes()
    consumer = bus.consumer(Signal)
    bus.subscribe(Signal, behind.take)
    bus.publish_nowait(signal(1))
    bus.drain()
    consumer.close()
    consumer.close()
    await bus.wait_until_idle()
    assert behind.numbers == [1]
    with pytest.raises(ClosedError, match="no more events"):
        async with consumer.consume():
            pass


# Waiting


async def test_idle_waits_for_consequences_of_consequences() -> None:
    bus, notes = EventBus(), Notes()
    bus.subscribe(Signal, lambda event: bus.publish_nowait(order(number_of(event) + 1)))

    async def on_order(event: Event) -> None:
        await asyncio.sleep(0)
        bus.publish_nowait(status(3))

    bus.subscribe(OrderRequested, on_order)
    bus.subscribe(Status, notes.take)
    bus.publish_nowait(signal(1))
    await bus.wait_until_idle()
    assert notes.numbers == [3]
    assert bus.is_idle


async def test_several_tasks_wait_for_idle_without_spinning() -> None:
    bus, held = EventBus(), Held()
    bus.subscribe(Signal, held.take)
    await bus.start()
    bus.publish_nowait(signal(1))
    waiting = [asyncio.create_task(bus.wait_until_idle()) for _ in range(3)]
    await held.begun.wait()
    for _ in range(5):
        await asyncio.sleep(0)
    started = time.process_time()
    await asyncio.sleep(0.1)
    assert time.process_time() - started < 0.05
    assert not any(task.done() for task in waiting)
    held.go.set()
    await asyncio.gather(*waiting)


@pytest.mark.parametrize("replay", [False, True])
async def test_a_bus_that_stays_busy_names_the_holder_and_the_event(replay: bool) -> None:
    bus, held = EventBus(mode="replay" if replay else "live"), Held()
    bus.subscribe(Signal, held.take, name="sizer")
    await bus.start()
    bus.publish_nowait(signal(1))
    with pytest.raises(
        DeadlockError, match="sizer holds Signal 1 of the signal lane, and is still handling it"
    ) as raised:
        await bus.wait_until_idle(0.02)
    assert (raised.value.holder, raised.value.event) == ("sizer", "Signal 1 of the signal lane")
    assert 0.02 <= raised.value.waited_s < 5
    held.go.set()
    await bus.wait_until_idle()


async def test_a_consumer_that_takes_no_event_is_named() -> None:
    bus = EventBus()
    bus.consumer(Signal, name="pull")
    bus.publish_nowait(signal(1))
    with pytest.raises(DeadlockError, match="pull holds Signal 1 of the signal lane, and has not taken it"):
        await bus.wait_until_idle(0.02)


async def test_awaiting_a_future_event_in_a_body_is_a_deadlock_error() -> None:
    bus = EventBus(mode="replay")
    signals, answers = bus.consumer(Signal, name="signals"), bus.consumer(Status, name="answers")

    async def ask() -> None:
        async with signals.consume():
            bus.publish_nowait(status(2))
            async with answers.consume():
                pass

    task = asyncio.create_task(ask())
    bus.publish_nowait(signal(1))
    with pytest.raises(
        DeadlockError, match=r"signals holds Signal 1 .* waits for the next event of consumer 'answers'"
    ):
        await bus.wait_until_idle(0.02)
    task.cancel()
    await asyncio.wait([task])
    assert bus.dead_letters.list()[0].reason == "CancelledError"


async def test_a_handler_that_awaits_a_future_event_is_named() -> None:
    bus = EventBus()
    consumer = bus.consumer(Signal, name="signals")

    async def on_signal(_: Event) -> None:
        async with consumer.consume():
            pass

    bus.subscribe(Signal, on_signal, name="second")
    task = asyncio.create_task(pulled(consumer, []))
    await bus.start()
    bus.publish_nowait(signal(1))
    with pytest.raises(DeadlockError, match=r"second holds .* waits for the next event of consumer 'signals'"):
        await bus.wait_until_idle(0.02)
    await bus.shutdown(0.0)
    await task


async def test_waiting_for_idle_inside_a_handler_raises_at_once() -> None:
    bus = EventBus()
    told: list[DeadlockError] = []

    async def on_signal(_: Event) -> None:
        try:
            await bus.wait_until_idle()
        except DeadlockError as error:
            told.append(error)

    bus.subscribe(Signal, on_signal, name="self")
    bus.publish_nowait(signal(1))
    await bus.wait_until_idle()
    assert (told[0].holder, told[0].event) == ("self", "Signal")


async def test_handlers_that_publish_for_ever_raise_deadlock_error() -> None:
    bus = EventBus()
    subscription = bus.subscribe(Signal, lambda _: bus.publish_nowait(signal(1)))
    bus.publish_nowait(signal(1))
    with pytest.raises(DeadlockError, match="go on publishing more"):
        await bus.wait_until_idle(0.02)
    subscription.close()
    await bus.wait_until_idle()


async def test_publish_waits_for_room_and_then_publishes() -> None:
    bus, notes, held = EventBus(lanes=lanes(signal=1)), Notes(), Held()
    bus.subscribe(Signal, held.take)
    bus.subscribe(Signal, notes.take)
    await bus.start()
    bus.publish_nowait(signal(1))
    await held.begun.wait()
    await bus.publish(signal(2))
    waiting = [asyncio.create_task(bus.publish(signal(number))) for number in (3, 4)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    held.go.set()
    await asyncio.gather(*waiting)
    await bus.wait_until_idle()
    assert notes.numbers == [1, 2, 3, 4]


async def test_publish_times_out_after_1_s_of_the_bus_clock() -> None:
    clock = ReplayClock(S)
    bus = EventBus(lanes=lanes(signal=1), clock=clock)
    bus.consumer(Signal)
    bus.subscribe(Status, lambda _: clock.advance_to(3 * S))
    await bus.start()
    bus.publish_nowait(signal(1))
    await asyncio.sleep(0)
    bus.publish_nowait(signal(2))
    waiting = asyncio.create_task(bus.publish(signal(3)))
    await asyncio.sleep(0)
    bus.publish_nowait(status(1))
    with pytest.raises(LaneFullError) as refused:
        await waiting
    assert (refused.value.lane, refused.value.waited_s) == ("signal", 2.0)
    assert bus.stats().lanes[Lane.SIGNAL].published == 2


async def test_a_replay_publish_times_out_by_wall_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.bus.publisher.BARRIER_S", 0.02)
    monkeypatch.setattr("headrace.bus.lane.LANE_EVENTS_MAX", 3)
    bus = EventBus(clock=ReplayClock(S), mode="replay")
    for number in range(3):
        bus.publish_nowait(signal(number))
    with pytest.raises(LaneFullError) as refused:
        await bus.publish(signal(3))
    assert refused.value.waited_s == 0.0


async def test_a_replays_data_lane_drops_nothing_while_a_handler_is_awaited() -> None:
    bus, held = EventBus(mode="replay", lanes=lanes(data=2)), Held()
    bus.subscribe(Status, held.take)
    await bus.start()
    bus.publish_nowait(status(0))
    await held.begun.wait()
    for number in range(1, 101):
        bus.publish_nowait(status(number))
    held.go.set()
    await bus.wait_until_idle()
    stats = bus.stats().lanes[Lane.DATA]
    assert (stats.processed, stats.dropped) == (101, 0)


# Shutdown


async def test_a_shutdown_drains_then_reports_what_is_left_by_lane() -> None:
    bus, notes = EventBus(), Notes()
    bus.subscribe(Signal, notes.take_async)
    bus.consumer(Status)
    await bus.start()
    for number in range(5):
        bus.publish_nowait(signal(number))
        bus.publish_nowait(status(number))
    assert await bus.shutdown(0.02) == {Lane.DATA: 5}
    assert notes.numbers == list(range(5))
    stats = bus.stats().lanes[Lane.DATA]
    assert (stats.published, stats.left, stats.depth) == (5, 5, 4)
    assert await bus.shutdown() == {Lane.DATA: 5}
    with pytest.raises(ClosedError):
        await bus.start()


async def test_a_handler_running_at_the_shutdown_deadline_may_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    bus, held = EventBus(), Held()
    bus.subscribe(Signal, held.take)
    await bus.start()
    bus.publish_nowait(signal(1))
    bus.publish_nowait(signal(2))
    await held.begun.wait()
    ending = asyncio.create_task(bus.shutdown(0.0))
    await asyncio.sleep(0.01)
    held.go.set()
    assert await ending == {Lane.SIGNAL: 1}
    assert held.log == [("held", 1), ("held", -1)]
    assert len(bus.dead_letters) == 0


async def test_a_waiting_consume_ends_when_the_bus_shuts_down() -> None:
    bus = EventBus()
    consumer = bus.consumer(Signal)
    got: list[Envelope] = []
    task = asyncio.create_task(pulled(consumer, got))
    await asyncio.sleep(0)
    await bus.shutdown()
    await task
    assert got == []


# Sharing the loop


async def test_a_handler_that_holds_the_loop_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    bus = EventBus()

    def sleepy(_: Event) -> None:
        time.sleep(0.35)

    async def sleepy_step(_: Event) -> None:
        await asyncio.sleep(0)
        time.sleep(0.35)  # noqa: ASYNC251 - what must not be, and is named

    bus.subscribe(Signal, sleepy, name="sleepy")
    bus.subscribe(Status, sleepy_step, name="sleepy step")
    bus.subscribe(Event, Held().take, name="waiting is not holding")
    await bus.start()
    with caplog.at_level(logging.WARNING):
        bus.publish_nowait(signal(1))
        bus.publish_nowait(status(2))
        with contextlib.suppress(DeadlockError):
            await bus.wait_until_idle(1.0)
    await bus.shutdown(0.0)
    named = [message.split(" has been")[0] for message in caplog.messages if "blocks the event loop" in message]
    assert named == ["sleepy", "sleepy step"]


async def test_events_under_full_tick_load_wait_less_than_10_ms() -> None:
    late: list[float] = []
    bus = EventBus()
    bus.subscribe(Status, lambda event: late.append(time.perf_counter() - int(event.subject) / 1e9), name="late")
    await bus.start()
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(lambda bid_price: None, callback="on_quote")
        burst = quotes(dispatcher, np.arange(2_000.0))
        started = time.perf_counter()
        published = 0
        while published < 500:
            # Ticks use the loop one slice at a time, without an end.
            dispatcher.publish(burst)
            dispatcher.dispatch(max_ns=200_000)
            await asyncio.sleep(0)
            while published < (time.perf_counter() - started) * 1_000 and published < 500:
                bus.publish_nowait(Status(subject=str(time.perf_counter_ns()), state="x"))
                published += 1
        await bus.wait_until_idle()
    assert len(late) == 500
    assert sum(late) / len(late) < 0.010


async def test_stopped_bus_begins_nothing_when_a_handler_ends() -> None:
    gate, begun = asyncio.Event(), []

    async def handle(event: Event) -> None:
        begun.append(number_of(event))
        await gate.wait()

    bus = EventBus()
    bus.subscribe(Status, handle, name="handle")
    await bus.start()
    bus.publish_nowait(status(1))
    bus.publish_nowait(status(2))
    await until(lambda: begun == [1])
    stopping = asyncio.create_task(bus.stop())
    await asyncio.sleep(0)
    gate.set()
    await stopping
    assert begun == [1]
    assert bus.stats().lanes[Lane.DATA].left == 1
