"""The event bus with plain handlers: which events they get, in which order, and what happens when they raise."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import sys
import threading
import weakref
from collections import deque
from pathlib import Path
from types import FrameType

import pytest

from headrace.bus import EventBus
from headrace.bus.lane import LaneStats
from headrace.errors import (
    ClosedError,
    EventTypeError,
    LaneFullError,
    LetterError,
    OptionError,
    SubscriptionError,
)
from headrace.market.clock import ReplayClock
from headrace.market.dead_letters import DeadLetter, DeadLetters
from headrace.market.events import (
    Cause,
    Control,
    Event,
    Gap,
    Lane,
    OrderCanceled,
    OrderEvent,
    OrderRequested,
    Signal,
    Status,
)
from tests.support.busing import BTC, Notes, S, event_of, lanes, order, signal, status

CAUSE = Cause(instrument=BTC, kind="quote", first=7, last=7, ts_init=99)


def law(stats: LaneStats) -> bool:
    return stats.published == stats.processed + stats.dead + stats.dropped + stats.left


# Delivery


def test_an_event_waits_until_the_bus_is_drained() -> None:
    bus, notes = EventBus(), Notes()
    bus.subscribe(Signal, notes.take)
    bus.publish_nowait(signal(1))
    assert (notes.numbers, bus.has_ready, bus.is_idle, bus.unfinished) == ([], True, False, 1)
    assert bus.drain() == 1
    assert (notes.numbers, bus.has_ready, bus.is_idle, bus.unfinished) == ([1], False, True, 0)
    assert bus.drain() == 0


def test_types_tuples_and_predicates_choose_events() -> None:
    bus = EventBus()
    everything, orders, two, chosen = Notes(), Notes(), Notes(), Notes()
    bus.subscribe(Event, everything.take)
    bus.subscribe(OrderEvent, orders.take)
    bus.subscribe((Control, Signal), two.take)
    bus.subscribe(lambda event: isinstance(event, Status) and event.subject == "4", chosen.take)
    for number, lane in enumerate(Lane, 1):
        bus.publish_nowait(event_of(lane, number))
    bus.drain()
    assert everything.numbers == [1, 2, 3, 4]
    assert orders.numbers == [2]
    assert two.numbers == [1, 3]
    assert chosen.numbers == [4]


def test_handlers_run_in_subscription_order() -> None:
    bus = EventBus()
    log: list[tuple[str, int]] = []
    for name in "abc":
        bus.subscribe(Event if name == "b" else Signal, Notes(name, log).take)
    bus.publish_nowait(signal(1))
    bus.publish_nowait(signal(2))
    bus.drain()
    assert log == [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2), ("c", 2)]


def test_a_subscription_may_close_itself_and_gets_nothing_more() -> None:
    bus, notes = EventBus(), Notes()

    def once(event: Event) -> None:
        notes.take(event)
        subscription.close()

    subscription = bus.subscribe(Signal, once)
    with bus.subscribe(Signal, notes.take):
        bus.publish_nowait(signal(1))
        bus.publish_nowait(signal(2))
        bus.drain()
    bus.publish_nowait(signal(3))
    bus.drain()
    subscription.close()
    assert notes.numbers == [1, 1, 2]
    assert bus.stats().handlers == {}


def test_lanes_go_by_priority_and_data_has_one_turn_in_sixteen() -> None:
    bus, notes = EventBus(), Notes()
    bus.subscribe(Event, notes.take)
    for number in range(40):
        bus.publish_nowait(event_of(Lane.DATA, 3_000 + number))
        bus.publish_nowait(event_of(Lane.SIGNAL, 2_000 + number))
        bus.publish_nowait(event_of(Lane.CONTROL, number))
    bus.drain()
    assert notes.numbers[:15] == list(range(15))
    assert [at for at, number in enumerate(notes.numbers[:64]) if number >= 3_000] == [15, 31, 47, 63]
    for thousand in (0, 2_000, 3_000):
        of_lane = [number for number in notes.numbers if thousand <= number < thousand + 1_000]
        assert of_lane == [thousand + number for number in range(40)]


def test_an_event_without_handlers_is_processed() -> None:
    bus = EventBus()
    bus.publish_nowait(signal(1))
    bus.drain()
    assert bus.stats().lanes[Lane.SIGNAL].processed == 1


def test_user_event_type_reaches_existing_subscribers() -> None:
    class Heartbeat(Event, frozen=True, kw_only=True):
        beat: int

    bus = EventBus()
    beats: list[int] = []
    bus.subscribe(Event, lambda event: beats.append(event.beat) if isinstance(event, Heartbeat) else None)
    with pytest.raises(EventTypeError, match="not declared") as refused:
        bus.publish_nowait(Heartbeat(beat=1))
    assert refused.value.event_type == "Heartbeat"
    bus.declare(Heartbeat, Lane.CONTROL)
    bus.declare(Heartbeat, Lane.CONTROL)
    bus.publish_nowait(Heartbeat(beat=2, ts=5))
    bus.drain()
    assert beats == [2]
    assert bus.stats().lanes[Lane.CONTROL].published == 1
    with pytest.raises(OptionError, match="one lane"):
        bus.declare(Heartbeat, Lane.DATA)


@pytest.mark.parametrize("what", [object(), 5, None, "Signal"])
def test_an_object_that_is_no_event_is_refused(what: object) -> None:
    with pytest.raises(EventTypeError, match="is no event"):
        EventBus().publish_nowait(what)  # type: ignore[arg-type]


@pytest.mark.parametrize("what", [int, (Signal, int), 5, (), "Signal"])
def test_a_subscription_to_no_event_type_is_refused(what: object) -> None:
    with pytest.raises(EventTypeError):
        EventBus().subscribe(what, print)  # type: ignore[arg-type]


def test_an_undeclared_type_cannot_be_subscribed_to() -> None:
    class Undeclared(Event, frozen=True, kw_only=True):
        pass

    with pytest.raises(EventTypeError, match="declare it first"):
        EventBus().subscribe(Undeclared, print)
    with pytest.raises(EventTypeError, match="subclass of"):
        EventBus().declare(int, Lane.DATA)  # type: ignore[arg-type]


@pytest.mark.parametrize("handler", [lambda: None, lambda a, b: None, 5, None])
def test_a_handler_must_accept_one_event(handler: object) -> None:
    with pytest.raises(SubscriptionError):
        EventBus().subscribe(Signal, handler)  # type: ignore[arg-type]


def test_anything_callable_is_a_handler() -> None:
    class Callable:
        def __call__(self, event: Event) -> None:
            got.append(event)

    bus = EventBus()
    got: list[Event] = []
    subscriptions = [bus.subscribe(Signal, handler) for handler in (got.append, Callable(), lambda e: got.append(e))]
    bus.publish_nowait(signal(1))
    bus.drain()
    assert len(got) == 3
    assert next(own.name for own in subscriptions) == "list.append"


def test_names_are_unique() -> None:
    bus = EventBus()
    names = [bus.subscribe(Signal, Notes().take, name=name).name for name in ("a", "a", None, None)]
    names.append(bus.consumer(Signal).name)
    assert names == ["a", "a-2", "Notes.take", "Notes.take-2", "consumer"]
    assert list(bus.stats().handlers) == names


# Stamps and causes


def test_the_bus_stamps_only_the_empty_fields() -> None:
    bus = EventBus(clock=ReplayClock(5 * S), run_id="r1")
    got: list[Event] = []
    bus.subscribe(Event, got.append)
    published = [signal(1), signal(2, source="me", cause=CAUSE), signal(3, ts=7), signal(4, ts=7, run_id="r0")]
    for event in published:
        bus.publish_nowait(event)
    bus.drain()
    assert got[0] == signal(1, ts=5 * S, run_id="r1")
    assert got[1] == signal(2, ts=5 * S, run_id="r1", source="me", cause=CAUSE)
    # An event that has a time already is not stamped again.
    assert got[2] is published[2]
    assert got[3] is published[3]
    assert published[0].ts == 0


def test_a_handlers_events_carry_its_name_and_its_cause() -> None:
    bus = EventBus(clock=ReplayClock(1))
    got: list[Event] = []

    def on_signal(event: Event) -> None:
        assert bus.current_cause() is event.cause
        bus.publish_nowait(order(1))

    def on_order(_: Event) -> None:
        bus.publish_nowait(status(2))

    bus.subscribe(Signal, on_signal, name="sizer")
    bus.subscribe(OrderRequested, on_order, name="gates")
    bus.subscribe(Event, got.append)
    bus.publish_nowait(signal(1, source="spread", cause=CAUSE))
    bus.drain()
    assert [(event.source, event.cause) for event in got] == [("spread", CAUSE), ("sizer", CAUSE), ("gates", CAUSE)]
    assert bus.current_cause() is None


# Handlers that fail


def test_one_handlers_exception_stops_no_other() -> None:
    bus, good = EventBus(), Notes()
    bus.subscribe(Signal, Notes(fails_on={1}).take, name="bad")
    bus.subscribe(Signal, good.take)
    bus.publish_nowait(signal(1))
    bus.publish_nowait(signal(2))
    assert bus.drain() == 2
    assert good.numbers == [1, 2]
    stats = bus.stats()
    assert stats.lanes[Lane.SIGNAL].dead == stats.lanes[Lane.SIGNAL].processed == 1
    assert (stats.handlers["bad"].calls, stats.handlers["bad"].faults) == (2, 1)
    assert law(stats.lanes[Lane.SIGNAL])


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), GeneratorExit(), BaseException("odd")])
def test_a_base_exception_is_contained_too(error: BaseException) -> None:
    bus, good = EventBus(), Notes()

    def bad(_: Event) -> None:
        raise error

    bus.subscribe(Signal, bad)
    bus.subscribe(Signal, good.take)
    bus.publish_nowait(signal(1))
    bus.drain()
    assert good.numbers == [1]
    assert type(error).__name__ in bus.dead_letters.list()[0].reason


def test_a_drain_continues_after_a_keyboard_interrupt() -> None:
    bus, good = EventBus(), Notes()

    def interrupted(_: Event) -> None:
        raise KeyboardInterrupt

    bus.subscribe(Signal, good.take)
    bus.subscribe(Signal, interrupted).native.counts()
    bus.subscribe(Signal, good.take)
    bus.publish_nowait(signal(1))
    with pytest.raises(KeyboardInterrupt):
        bus.drain()
    assert good.numbers == [1]
    assert bus.unfinished == 1
    assert bus.drain() == 1
    assert good.numbers == [1, 1]
    assert len(bus.dead_letters) == 0


@pytest.mark.parametrize(
    ("lane", "idempotent", "max_attempts", "expected"),
    [
        (Lane.DATA, False, None, 3),
        (Lane.ORDER, False, None, 1),
        (Lane.SIGNAL, False, None, 1),
        (Lane.CONTROL, False, None, 1),
        (Lane.ORDER, True, None, 3),
        (Lane.SIGNAL, True, 5, 5),
        (Lane.DATA, False, 2, 2),
        (Lane.DATA, False, 1, 1),
        (Lane.DATA, True, None, 3),
    ],
)
def test_a_failing_handler_is_retried_up_to_max_attempts(
    lane: Lane, idempotent: bool, max_attempts: int | None, expected: int
) -> None:
    bus, notes, behind = EventBus(), Notes(fails_on={1}), Notes()
    kind = type(event_of(lane))
    bus.subscribe(kind, notes.take, idempotent=idempotent, max_attempts=max_attempts)
    bus.subscribe(kind, behind.take)
    bus.publish_nowait(event_of(lane, 1))
    bus.publish_nowait(event_of(lane, 2))
    bus.drain()
    assert notes.numbers == [1] * expected + [2]
    assert behind.numbers == [1, 2]
    letter = bus.dead_letters.list(kind="event")[0]
    assert (letter.attempts, letter.lane, letter.source) == (expected, lane, "Notes.take")
    assert bus.stats().retried == expected - 1


def test_an_event_handled_at_the_second_attempt_is_processed() -> None:
    bus, tries = EventBus(), [0]

    def second_time(_: Event) -> None:
        tries[0] += 1
        if tries[0] == 1:
            raise ValueError

    bus.subscribe(Status, second_time)
    bus.publish_nowait(status(1))
    bus.drain()
    stats = bus.stats()
    assert (stats.lanes[Lane.DATA].processed, stats.lanes[Lane.DATA].dead, stats.retried) == (1, 0, 1)
    assert len(bus.dead_letters) == 0


@pytest.mark.parametrize("what", [Signal, OrderEvent, Event, lambda event: True])
def test_retries_that_may_send_an_order_need_idempotent(what: type[Event]) -> None:
    with pytest.raises(OptionError, match="idempotent=True"):
        EventBus().subscribe(what, print, max_attempts=2)
    EventBus().subscribe(what, print, max_attempts=2, idempotent=True)
    with pytest.raises(OptionError, match="at least once"):
        EventBus().subscribe(what, print, max_attempts=0)


def test_a_raising_predicate_is_its_handlers_fault() -> None:
    def asks(event: Event) -> bool:
        raise LookupError("no side")

    bus, notes, behind = EventBus(), Notes(), Notes()
    bus.subscribe(asks, notes.take, name="asking")
    bus.subscribe(Status, behind.take)
    bus.publish_nowait(status(1))
    bus.drain()
    assert notes.numbers == []
    assert behind.numbers == [1]
    assert bus.dead_letters.list()[0].reason == "LookupError: no side"
    assert bus.dead_letters.list()[0].attempts == 3


# Dead letters


def failing_once() -> tuple[EventBus, Notes, Notes]:
    bus, bad, good = EventBus(run_id="r"), Notes(fails_on={1}), Notes()
    bus.subscribe(Signal, good.take, name="good")
    bus.subscribe(Signal, bad.take, name="bad")
    bus.publish_nowait(signal(1))
    bus.drain()
    return bus, bad, good


def test_a_dead_letter_says_what_failed_why_and_when() -> None:
    bus = EventBus(clock=ReplayClock(5))
    bus.subscribe(Signal, Notes(fails_on={1}).take, name="bad")
    bus.publish_nowait(signal(1, cause=CAUSE))
    bus.drain()
    letter = bus.dead_letters.get(1)
    assert letter is not None
    assert (letter.kind, letter.source, letter.reason, letter.ts_ns) == ("event", "bad", "ValueError: no 1", 5)
    assert letter.event == signal(1, ts=5, cause=CAUSE)
    assert 'raise ValueError(f"no {number}")' in letter.traceback
    assert bus.dead_letters.list(kind="call") == []
    assert letter.nbytes > len(letter.traceback) + letter.event_bytes > letter.event_bytes > 0


def test_a_letter_is_redriven_once_to_its_handler_alone() -> None:
    bus, bad, good = failing_once()
    bad.fails_on.clear()
    assert bus.dead_letters.redrive(1).id == 1
    bus.drain()
    assert bad.numbers == [1, 1]
    assert good.numbers == [1]
    assert bus.stats().lanes[Lane.SIGNAL].processed == 1
    with pytest.raises(LetterError, match="redriven already"):
        bus.dead_letters.redrive(1)


def test_a_redriven_event_that_fails_again_is_another_letter() -> None:
    bus, _, _ = failing_once()
    bus.dead_letters.redrive(1)
    bus.drain()
    assert [letter.id for letter in bus.dead_letters] == [1, 2]
    assert bus.dead_letters.redrive(2).id == 2
    assert bus.stats().lanes[Lane.SIGNAL].dead == 2


def test_a_letter_that_found_no_room_can_be_redriven_later() -> None:
    bus = EventBus(lanes=lanes(signal=1))
    bad = Notes(fails_on={1})
    bus.subscribe(Signal, bad.take)
    bus.publish_nowait(signal(1))
    bus.drain()
    bus.publish_nowait(signal(2))
    with pytest.raises(LaneFullError):
        bus.dead_letters.redrive(1)
    bus.drain()
    bus.dead_letters.redrive(1)
    bus.drain()
    assert bad.numbers == [1, 2, 1]


def test_letters_without_event_or_handler_cannot_be_redriven() -> None:
    bus = EventBus()
    frame = bus.dead_letters.add(DeadLetter("frame", "bad_json", "a", 5, row=1, frame=b"x"))
    subscription = bus.subscribe(Signal, Notes(fails_on={1}).take)
    bus.publish_nowait(signal(1))
    bus.drain()
    subscription.close()
    for letter_id, why in ((frame.id, "holds a frame"), (2, "is closed"), (99, "no dead letter 99")):
        with pytest.raises(LetterError, match=why):
            bus.dead_letters.redrive(letter_id)


def test_event_letters_are_bounded_and_free_what_they_drop() -> None:
    letters = DeadLetters(letters_max=2)
    bus = EventBus(dead_letters=letters)
    bus.subscribe(Status, Notes(fails_on=set(range(9))).take)
    for number in range(5):
        bus.publish_nowait(status(number))
    bus.drain()
    assert [letter.id for letter in letters] == [4, 5]
    assert letters.total == 5
    with pytest.raises(LetterError):
        letters.redrive(1)


def test_a_letter_keeps_neither_bus_nor_handler_alive() -> None:
    letters = DeadLetters()
    bus, bad = EventBus(dead_letters=letters), Notes(fails_on={1})
    bus.subscribe(Signal, bad.take)
    bus.publish_nowait(signal(1))
    bus.drain()
    bus_gone, bad_gone = weakref.ref(bus), weakref.ref(bad)
    del bus, bad
    gc.collect()
    assert bus_gone() is None
    assert bad_gone() is None
    with pytest.raises(LetterError, match="is closed"):
        letters.redrive(1)


def test_a_bus_in_a_reference_cycle_is_collected() -> None:
    class Holder:
        def __init__(self) -> None:
            self.bus = EventBus()
            self.bus.subscribe(Signal, self.take)
            self.bus.consumer(Status)
            self.bus.publish_nowait(signal(1))
            self.bus.publish_nowait(status(2))
            self.bus.drain(max_ns=0)

        def take(self, event: Event) -> None:
            pass

    gone = weakref.ref(Holder())
    gc.collect()
    assert gone() is None


# Full lanes


@pytest.mark.parametrize(("lane", "capacity"), [(Lane.CONTROL, 100), (Lane.ORDER, 50), (Lane.SIGNAL, 100)])
def test_a_full_lane_refuses_its_own_thread_at_once(lane: Lane, capacity: int) -> None:
    bus = EventBus()
    for number in range(capacity):
        bus.publish_nowait(event_of(lane, number))
    with pytest.raises(LaneFullError, match=f"the {lane} lane is full") as refused:
        bus.publish_nowait(event_of(lane))
    assert (refused.value.lane, refused.value.capacity, refused.value.waited_s) == (lane, capacity, 0.0)
    assert bus.drain() == capacity
    stats = bus.stats().lanes[lane]
    assert (stats.published, stats.processed, stats.refused) == (capacity, capacity, 1)
    bus.publish_nowait(event_of(lane))


def test_a_full_data_lane_drops_its_oldest_and_publishes_a_gap() -> None:
    bus = EventBus(lanes=lanes(data=3))
    got: list[Event] = []
    bus.subscribe(Event, got.append)
    for number in range(1, 6):
        bus.publish_nowait(status(number, ts=number))
    assert bus.drain() == 4
    gap, *rest = got
    assert isinstance(gap, Gap)
    assert (gap.lane, gap.missed, gap.first, gap.last, gap.source) == ("data", 2, 1, 2, "bus")
    assert rest == [status(number, ts=number) for number in (3, 4, 5)]
    stats = bus.stats().lanes[Lane.DATA]
    assert (stats.published, stats.processed, stats.dropped, stats.gaps, stats.left) == (5, 3, 2, 1, 0)


def test_a_gap_without_subscribers_is_still_counted() -> None:
    bus = EventBus(lanes=lanes(data=1))
    for number in range(3):
        bus.publish_nowait(status(number))
    bus.drain()
    stats = bus.stats().lanes[Lane.DATA]
    assert (stats.dropped, stats.gaps, stats.processed) == (2, 1, 1)


def test_no_lane_of_a_replay_is_full() -> None:
    bus = EventBus(mode="replay", lanes=lanes(control=1, order=1, signal=1, data=1))
    got: list[Event] = []
    bus.subscribe(Event, got.append)
    for lane in Lane:
        for number in range(3_000):
            bus.publish_nowait(event_of(lane, number, ts=S * (number % 2)))
    bus.drain()
    assert len(got) == 12_000
    for lane in Lane:
        stats = bus.stats().lanes[lane]
        assert (stats.published, stats.processed, stats.dropped, stats.gaps) == (3_000, 3_000, 0, 0)


def test_a_replay_refuses_a_flood_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.bus.lane.LANE_EVENTS_MAX", 5)
    monkeypatch.setattr("headrace.bus.publisher.LANE_EVENTS_MAX", 5)
    bus = EventBus(mode="replay")
    for number in range(5):
        bus.publish_nowait(signal(number))
    with pytest.raises(LaneFullError, match="a replay holds no more at one time") as refused:
        bus.publish_nowait(signal(5))
    assert (refused.value.lane, refused.value.capacity) == ("signal", 5)


def test_a_consequence_of_a_tick_may_fill_eight_times_the_capacity() -> None:
    bus = EventBus(lanes=lanes(signal=2))
    for number in range(16):
        bus.publish_consequence(signal(number))
    with pytest.raises(LaneFullError) as refused:
        bus.publish_consequence(signal(16))
    assert (refused.value.capacity, refused.value.waited_s) == (16, 0.0)


def test_consequences_are_queued_up_to_8_times_the_capacity() -> None:
    bus = EventBus(lanes=lanes(signal=2))
    inside: list[int] = []
    refused: list[LaneFullError] = []

    def on_status(_: Event) -> None:
        inside.append(bus.drain())
        try:
            for number in range(100):
                bus.publish_nowait(signal(number))
        except LaneFullError as error:
            refused.append(error)
            raise

    got = Notes()
    bus.subscribe(Status, on_status, name="greedy", max_attempts=1)
    bus.subscribe(Signal, got.take)
    bus.publish_nowait(status(1))
    bus.drain()
    assert inside == [0]
    assert got.numbers == list(range(16))
    assert (refused[0].lane, refused[0].capacity) == ("signal", 16)
    assert "a handler publishes too many events" in bus.dead_letters.list()[0].reason


def test_an_order_handler_may_publish_into_a_full_lane() -> None:
    bus = EventBus()
    fills: list[Event] = []

    def accept_and_fill(_: Event) -> None:
        for number in (1, 2):
            bus.publish_nowait(event_of(Lane.ORDER, number))

    bus.subscribe(OrderRequested, accept_and_fill)
    bus.subscribe(OrderCanceled, fills.append)
    for number in range(50):
        bus.publish_nowait(order(number))
    assert bus.drain() == len(fills) + 50 == 150
    stats = bus.stats().lanes[Lane.ORDER]
    assert (stats.published, stats.processed, stats.refused) == (150, 150, 0)


def test_the_order_lane_grows_and_shrinks_with_events() -> None:
    clock = ReplayClock(S)
    bus = EventBus(clock=clock)
    told: list[Event] = []
    bus.subscribe(Control, told.append)
    hold = bus.consumer(OrderEvent)

    def fill() -> int:
        for number in range(1_000):
            try:
                bus.publish_nowait(event_of(Lane.ORDER, number))
            except LaneFullError as error:
                return error.capacity
        raise AssertionError("never full")

    bus.drain()
    capacities = []
    for seconds in range(1, 7):
        clock.advance_to(seconds * S)
        capacities.append(fill())
    assert capacities == [50, 100, 200, 400, 400, 400]
    bus.drain()
    assert [event.detail["capacity"] for event in told if isinstance(event, Control)] == [100, 200, 400]
    assert {event.name for event in told if isinstance(event, Control)} == {"LANE_RESIZED"}
    hold.close()
    bus.drain()
    for seconds in range(10, 200, 60):
        clock.advance_to(seconds * S)
        bus.drain()
    bus.drain()
    assert [event.detail["capacity"] for event in told if isinstance(event, Control)][3:] == [200, 100, 50]
    assert bus.stats().lanes[Lane.ORDER].capacity == 50


# Draining


def test_a_drain_may_be_bounded_in_time() -> None:
    bus, notes = EventBus(), Notes()
    bus.subscribe(Signal, notes.take)
    for number in range(10):
        bus.publish_nowait(signal(number))
    assert bus.drain(max_ns=0) == 0
    assert bus.has_ready
    assert bus.drain(max_ns=10 * S) == 10


def test_a_handler_subscribed_by_a_handler_gets_later_events() -> None:
    bus, late = EventBus(), Notes()

    def subscribing(event: Event) -> None:
        if not late.numbers:
            bus.subscribe(Signal, late.take)

    bus.subscribe(Signal, subscribing)
    bus.publish_nowait(signal(1))
    bus.publish_nowait(signal(2))
    bus.drain()
    assert late.numbers == [2]


def test_a_shut_down_bus_refuses_events() -> None:
    bus = EventBus()
    bus.publish_nowait(signal(1))
    assert asyncio.run(bus.shutdown()) == {}
    with pytest.raises(ClosedError, match="shut down"):
        bus.publish_nowait(signal(2))
    with pytest.raises(ClosedError, match="shut down"):
        asyncio.run(bus.publish(signal(2)))


def test_an_idle_bus_uses_less_than_2_mb() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    before = resident()
    buses = [EventBus() for _ in range(20)]
    assert resident() - before < len(buses) * 2_000_000


def test_a_failure_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    bus = EventBus()
    bus.subscribe(Signal, Notes(fails_on={1}).take, name="bad")
    with caplog.at_level(logging.WARNING):
        bus.publish_nowait(signal(1))
        bus.drain()
    assert caplog.messages == ["bad failed on Signal 1 of the signal lane, ValueError: no 1: dead letter 1"]


def calls_of_joins(count: int) -> int:
    """Count the Python calls of so many joins, one event, and so many leaves, newest and oldest in turn."""
    bus, calls = EventBus(), 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(note)
    try:
        joined = deque(bus.subscribe(Signal, lambda _: None, name="one") for _ in range(count))
        bus.publish_nowait(signal(1, ts=1))
        bus.drain()
        while joined:
            (joined.pop() if len(joined) % 2 else joined.popleft()).close()
        bus.drain()
    finally:
        sys.setprofile(None)
    return calls


def test_ten_thousand_joins_and_leaves_cost_ten_times_a_thousand() -> None:
    assert calls_of_joins(10_000) < 10.5 * calls_of_joins(1_000)


def test_a_name_is_free_again_after_its_subscription() -> None:
    bus = EventBus()
    first, second, third = (bus.subscribe(Signal, lambda _: None, name="one") for _ in range(3))
    second.close()
    assert bus.subscribe(Signal, lambda _: None, name="one").name == "one-2"
    first.close()
    assert bus.subscribe(Signal, lambda _: None, name="one").name == "one"
    assert third.name == "one-3"


def test_one_that_joins_in_a_handler_gets_the_next_event() -> None:
    bus, notes = EventBus(), Notes()

    def joins(_: Event) -> None:
        if not notes.name:
            notes.name = bus.subscribe(Signal, notes.take).name

    bus.subscribe(Signal, joins)
    for number in (1, 2):
        bus.publish_nowait(signal(number))
    bus.drain()
    assert notes.numbers == [2]


def test_subscription_that_another_handler_closes_gets_nothing_more() -> None:
    bus = EventBus()
    seen: list[Event] = []
    bus.subscribe(Status, lambda _: second.close(), name="first")
    second = bus.subscribe(Status, seen.append, name="second")
    bus.publish_nowait(status(1))
    bus.drain()
    assert seen == []


def test_event_for_a_bus_whose_loop_is_over_waits(caplog: pytest.LogCaptureFixture) -> None:
    bus = EventBus()
    seen: list[Event] = []
    bus.subscribe(Status, seen.append, name="see")

    async def begin_and_stop() -> None:
        await bus.start()
        await bus.stop()

    asyncio.run(begin_and_stop())
    thread = threading.Thread(target=lambda: bus.publish_nowait(status(1)))
    thread.start()
    thread.join()
    assert bus.stats().lanes[Lane.DATA].left == 1
    bus.drain()
    assert (len(seen), caplog.records) == (1, [])
