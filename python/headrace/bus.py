"""EventBus: carries typed events between services, in four lanes, each event to its handlers one after the other.

::

    publish ─▶ control ▒░░  ┐                          ┌▶ plain handlers, one by one
               order   ▒▒░  ├─▶ drain: one event, then ┼▶ async handler: its lane waits, the others go on
               signal  ░░░  │   the next of the first  └▶ Consumer: its lane waits until the body ends
               data    ▒▒▒  ┘   lane that can go on        (a replay goes on with nothing else meanwhile)

What happens when a lane is full
    Capacity limits causes; what a handler publishes while it runs is a consequence, of which eight times as many fit.
    ``publish_nowait`` on the bus's own thread raises LaneFullError at once; ``await publish`` and other threads wait
    for room, for a second of the bus's clock. The data lane drops its oldest and tells it by a Gap; in a replay it is
    drained first, and drops nothing.

Guarantees: each lane in order, each handler isolated, no handler inside of another; at every quiet moment, for each
lane, published == processed + dead + dropped + left. Plain handlers never touch the event loop.
Does not: carry ticks, or keep events anywhere but in memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from headrace import _native
from headrace.bus_subscription import BusSubscription, is_event_type, matches, subscriber_name
from headrace.clock import WallClock
from headrace.consumer import Consumer, Envelope
from headrace.deadletters import DeadLetters
from headrace.errors import EventTypeError, LaneFullError, LetterError, OptionError
from headrace.events import EVENT_LANES, Cause, Control, Event, Gap, stamped
from headrace.faults import safe_text, safe_traceback
from headrace.handling import handling_in
from headrace.lane import LANE_OPTIONS, BusStats, HandlerStats, Lane, LaneOptions, LaneStats
from headrace.lane_tasks import LaneTasks
from headrace.limits import (
    BARRIER_S,
    CONSEQUENCES_MAX,
    DRAIN_S,
    LANE_ATTEMPTS_DATA,
    LANE_GROW_AT,
    LANE_GROW_S,
    LANE_SHRINK_AT,
    LANE_SHRINK_S,
    LANE_WAIT_S,
    TURNS_DATA,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from headrace.clock import Clock

__all__ = ["EventBus", "Handler", "What"]

log = logging.getLogger(__name__)

What: TypeAlias = "type[Event] | tuple[type[Event], ...] | Callable[[Event], bool]"
Handler: TypeAlias = "Callable[[Event], None] | Callable[[Event], Awaitable[None]]"

_LANES = tuple(Lane)
_NUMBERS = {lane: number for number, lane in enumerate(_LANES)}


class EventBus:
    """The bus.

    clock : stamps events, and times what is timed; the wall's by default. replay : one order, fixed, nothing dropped.
    run_id : stamped on events that have none. dead_letters : where events go that a handler failed on.
    lanes : options of lanes that are not the usual ones.

    ``publish_nowait`` is the native method itself: 0.1 µs for an event that says its ``ts``; one that leaves it open is
    copied with what the bus fills in, which takes 1 µs more. Raises EventTypeError, LaneFullError, ClosedError.
    """

    publish_nowait: Callable[[Event], None]

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        replay: bool = False,
        run_id: str = "",
        dead_letters: DeadLetters | None = None,
        lanes: Mapping[Lane, LaneOptions] | None = None,
    ) -> None:
        self.clock: Clock = WallClock() if clock is None else clock
        self.replay = replay
        self.run_id = run_id
        self.dead_letters = DeadLetters() if dead_letters is None else dead_letters
        self._options = {**LANE_OPTIONS, **(lanes or {})}
        for lane, options in self._options.items():
            _check_options(lane, options)
        self.core = _native.BusCore(
            self,
            [
                (own.capacity, own.full == "drop_oldest", own.growth_max)
                for own in map(self._options.get, _LANES)
                if own
            ],
            (
                *(CONSEQUENCES_MAX, TURNS_DATA),
                *(LANE_GROW_AT, round(LANE_GROW_S * 1e9), LANE_SHRINK_AT, round(LANE_SHRINK_S * 1e9)),
            ),
            replay,
        )
        self.publish_nowait = self.core.publish_nowait
        self._lane_of: dict[type[Event], Lane] = {}
        self._subscriptions: list[BusSubscription] = []
        self._thread = threading.get_ident()
        self._tasks = LaneTasks(self, self.core)
        for event_type, lane in EVENT_LANES.items():
            self.declare(event_type, lane)

    # Who publishes what, and who takes it

    def declare(self, event_type: type[Event], lane: Lane) -> None:
        """Say in which lane a type of events goes; those of ``headrace.events`` are declared already.

        Raises EventTypeError for what is no type of events, OptionError when it goes in another lane already.
        """
        if not is_event_type(event_type):
            msg = f"{event_type!r} is no type of events: make it a subclass of headrace.events.Event"
            raise EventTypeError(msg, event_type=repr(event_type))
        known = self._lane_of.setdefault(event_type, Lane(lane))
        if known != lane:
            msg = f"{event_type.__name__} goes in the {known} lane already: a type has one lane"
            raise OptionError(msg, option="lane")
        self._route(event_type)

    def subscribe(
        self,
        what: What,
        handler: Handler,
        *,
        name: str | None = None,
        idempotent: bool = False,
        max_attempts: int | None = None,
    ) -> BusSubscription:
        """Give each event of a type, of several, or for which a predicate says so, to a handler.

        what : a type takes its subclasses, too; ``Event`` takes everything. A predicate is asked about every event.
        handler : of one argument, plain or async. Handlers get an event in the order in which they subscribed.
        idempotent : it may get an event again when it raised; on all lanes it is then given ``max_attempts`` times, 3
            by default. Otherwise that holds for the data lane only.

        Raises EventTypeError, SubscriptionError (it cannot be called with one argument), OptionError.
        """
        attempts = self._attempts(what, idempotent=idempotent, max_attempts=max_attempts)
        subscription = BusSubscription(
            what, handler, name=self._free_name(name or subscriber_name(handler)), attempts=attempts, close=self._leave
        )
        self._join(subscription)
        return subscription

    def consumer(self, what: What, *, name: str | None = None) -> Consumer:
        """Return the pull side: ``async with consumer.consume() as envelope``. Raises EventTypeError."""
        self._matching(what)
        consumer = Consumer(
            self._free_name(name or "consumer"), self, release=self._tasks.release, close=self._leave_consumer
        )
        self._join(BusSubscription(what, consumer, name=consumer.name, attempts=[1] * len(_LANES), close=self._leave))
        return consumer

    def _matching(self, what: What) -> list[type[Event]]:
        found = [event_type for event_type in self._lane_of if matches(what, event_type)]
        if not found:
            msg = f"no declared type of events is a {what!r}: declare it first, bus.declare(type, lane)"
            raise EventTypeError(msg, event_type=getattr(what, "__name__", repr(what)))
        return found

    def _attempts(self, what: What, *, idempotent: bool, max_attempts: int | None) -> list[int]:
        lanes = {self._lane_of[event_type] for event_type in self._matching(what)}
        usual = [self._options[lane].max_attempts for lane in _LANES]
        if max_attempts is None:
            return [max(own, LANE_ATTEMPTS_DATA) for own in usual] if idempotent else usual
        once = sorted(str(lane) for lane in lanes if self._options[lane].max_attempts == 1)
        if max_attempts < 1 or (max_attempts > 1 and once and not idempotent):
            told = f"events of the {', '.join(once)} lane are given once, since to do it twice may send an order twice"
            msg = f"max_attempts={max_attempts}: " + (
                told if max_attempts > 1 else "a handler gets an event once at least"
            )
            raise OptionError(f"{msg}; say idempotent=True if the handler can bear it", option="max_attempts")
        return [max_attempts] * len(_LANES)

    def _free_name(self, wanted: str) -> str:
        taken = {subscription.name for subscription in self._subscriptions}
        number, name = 1, wanted
        while name in taken:
            number += 1
            name = f"{wanted}#{number}"
        return name

    def _join(self, subscription: BusSubscription) -> None:
        self._subscriptions.append(subscription)
        for event_type in self._lane_of:
            if matches(subscription.what, event_type):
                self._route(event_type)

    def _leave(self, subscription: BusSubscription) -> None:
        self._subscriptions.remove(subscription)
        for event_type in self._lane_of:
            if matches(subscription.what, event_type):
                self._route(event_type)

    def _leave_consumer(self, consumer: Consumer) -> None:
        next(own for own in self._subscriptions if own.handler is consumer).close()

    def _route(self, event_type: type[Event]) -> None:
        takers = [own.native for own in self._subscriptions if matches(own.what, event_type)]
        self.core.set_route(event_type, _NUMBERS[self._lane_of[event_type]], takers)

    # Publishing

    async def publish(self, event: Event) -> None:
        """Publish an event; wait for room when its lane is full, up to a second of the bus's clock.

        What a handler publishes never waits: it would wait for itself. In a replay the clock stands still while
        something is left to do, so the wait ends with room, or after 30 s of wall time.

        Raises EventTypeError, LaneFullError, ClosedError.
        """
        lane = self._lane(event)
        event = self._stamped(event)
        if self._try_push(event, lane):
            return
        if self._is_consequence():
            raise self._full(lane, 0.0)
        started_ns, end_s = self.clock.now_ns(), time.monotonic() + BARRIER_S
        while True:
            waited_s = (self.clock.now_ns() - started_ns) / 1e9
            if waited_s >= LANE_WAIT_S or time.monotonic() >= end_s:
                raise self._full(lane, waited_s)
            await self._tasks.wait_for_room(_NUMBERS[lane], LANE_WAIT_S - waited_s)
            if self._try_push(event, lane):
                return

    def _publish_slow(self, event: Event) -> None:
        """Publish what the native core does not at once: not stamped, of no declared type, or in a lane that fills."""
        lane = self._lane(event)
        event = self._stamped(event)
        if self._try_push(event, lane):
            return
        if self._is_consequence() or threading.get_ident() == (self.core.thread() or self._thread):
            raise self._full(lane, 0.0)
        started_ns, end_s = self.clock.now_ns(), time.monotonic() + BARRIER_S
        while True:
            waited_s = (self.clock.now_ns() - started_ns) / 1e9
            if waited_s >= LANE_WAIT_S or time.monotonic() >= end_s:
                raise self._full(lane, waited_s)
            self.core.wait_for_room(_NUMBERS[lane], LANE_WAIT_S - waited_s)
            if self._try_push(event, lane):
                return

    def _try_push(self, event: Event, lane: Lane) -> bool:
        is_consequence = self._is_consequence()
        may_drop = not self.replay
        if self.replay and not is_consequence and self._options[lane].full == "drop_oldest":
            # Drained before the next publish; what waits for somebody then may be as many as consequences may.
            if not self.core.has_room(_NUMBERS[lane]):
                self.drain()
            is_consequence = True
        taken, _ = self.core.push(
            event, consequence=is_consequence, now_ns=self.clock.now_ns(), may_drop=may_drop, only=None
        )
        self._tell_resized()
        return taken

    def _lane(self, event: Event) -> Lane:
        lane = self._lane_of.get(type(event))
        if lane is None:
            name = type(event).__name__
            if is_event_type(type(event)):
                msg = f"{name} is not declared on this bus: bus.declare({name}, lane) first"
            else:
                msg = f"{name} is no event: publish an instance of a subclass of headrace.events.Event"
            raise EventTypeError(msg, event_type=name)
        return lane

    def _full(self, lane: Lane, waited_s: float) -> LaneFullError:
        capacity = self.core.counts()[_NUMBERS[lane]][-1]
        if self._is_consequence():
            capacity *= CONSEQUENCES_MAX
            advice = "a handler publishes more than it may: publish less for each event"
        else:
            advice = "its handlers are slower than its publishers: publish less, or give the lane a larger capacity"
        msg = f"the {lane} lane is full: {capacity} events wait in it, after {waited_s:.3f} s for room; {advice}"
        return LaneFullError(msg, lane=str(lane), capacity=capacity, waited_s=waited_s)

    def _tell_resized(self) -> None:
        """Publish which lanes have changed their capacity; the bus's own work, so never refused."""
        now_ns = self.clock.now_ns()
        for number, before, after in self.core.observe(now_ns):
            detail = {"lane": str(_LANES[number]), "capacity_before": before, "capacity": after}
            event = Control(source="bus", ts=now_ns, run_id=self.run_id, name="LANE_RESIZED", detail=detail)
            self.core.push(event, consequence=True, now_ns=now_ns, may_drop=False)
            log.info("the %s lane takes %d events now, %d before", _LANES[number], after, before)

    # What runs

    def current_cause(self) -> Cause | None:
        """Return the tick that the running handler's event goes back to; None outside of handlers, and without one."""
        current = self._current()
        return None if current is None else current[0].cause

    def _current(self) -> tuple[Event, str] | None:
        current = self.core.current()
        if current is not None:
            return current
        handling = handling_in(self)
        return None if handling is None else (handling.event, handling.name)

    def _is_consequence(self) -> bool:
        return self._current() is not None

    def _stamped(self, event: Event) -> Event:
        if event.ts:
            return event
        current = self._current()
        before, source = (None, "") if current is None else (current[0].cause, current[1])
        return stamped(event, source=source, ts=self.clock.now_ns(), run_id=self.run_id, cause=before)

    # Draining

    def drain(self, max_ns: int | None = None) -> int:
        """Call plain handlers until nothing can go on without awaiting, or ``max_ns`` of wall time are over.

        Returns how many events were finished. Inside of a handler it does nothing. Only one thread may drain.
        Raises BusError (another thread does), KeyboardInterrupt.
        """
        done = self.core.drain(max_ns)
        if self._tasks.has_waiters and (done or self.core.is_idle()):
            self._tasks.look()
        if self.core.has_grown():
            self._tell_resized()
        return done

    @property
    def has_ready(self) -> bool:
        """Whether ``drain`` would do something."""
        return self.core.has_ready()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nobody holds an event."""
        return self.core.is_idle()

    @property
    def unfinished(self) -> int:
        """Events published and not processed, dead or dropped."""
        return self.core.unfinished()

    async def wait_until_idle(self, timeout: float = BARRIER_S) -> None:  # noqa: ASYNC109 - says who was waited for
        """Drain, and wait for async handlers and consumers, until nothing is left to do.

        timeout : s of wall time, after which somebody must be waiting for what comes after him.
        Raises DeadlockError, which names him and the event; at once when a handler waits for itself to be done.
        """
        await self._tasks.wait_until_idle(timeout)

    async def start(self, *, wake: Callable[[], None] | None = None) -> None:
        """Drain on the running loop from now on, whenever something was published.

        wake : somebody else drains, and is called (in any thread) when a bus that had nothing to do gets something.
        Raises ClosedError.
        """
        self._tasks.start(wake)

    async def stop(self) -> None:
        """Drain no more: what runs has 0.5 s, then it is cancelled. What waits stays, until the next ``start``."""
        await self._tasks.stop()

    async def shutdown(self, timeout: float = DRAIN_S) -> Mapping[Lane, int]:  # noqa: ASYNC109 - for one part of it
        """Drain for up to ``timeout`` s, stop, take no more events, and return what is left, by lane."""
        await self._tasks.shutdown(timeout)
        for subscription in self._subscriptions:
            if isinstance(subscription.handler, Consumer):
                subscription.handler.end()
        return {lane: own.left for lane, own in self.stats().lanes.items() if own.left}

    def stats(self) -> BusStats:
        """Return what became of the events, by lane."""
        lanes = {lane: LaneStats(*numbers) for lane, numbers in zip(_LANES, self.core.counts(), strict=True)}
        handlers = {own.name: HandlerStats(*own.native.counts()) for own in self._subscriptions}
        return BusStats(lanes=lanes, retried=self.core.retried(), handlers=handlers)

    # Called by the native core

    def _wake(self) -> None:
        self._tasks.wake()

    def _on_held(self, handler: _native.BusHandler, lane: int, number: int, event: Event, attempt: int) -> None:
        subscription: BusSubscription = handler.owner
        if isinstance(subscription.handler, Consumer):
            subscription.handler.offer(Envelope(event, _LANES[lane], number, attempt))
        else:
            self._tasks.take(lane, subscription, event)
        # There is room for one more.
        self._tasks.look()

    def _make_gap(self, lane: int, missed: int, first: int, last: int) -> Gap:
        now_ns = self.clock.now_ns()
        log.warning(
            "the %s lane was full and dropped its oldest %d events, up to number %d", _LANES[lane], missed, last
        )
        own = str(_LANES[lane])
        return Gap(source="bus", ts=now_ns, run_id=self.run_id, lane=own, missed=missed, first=first, last=last)

    def _on_dead(
        self, handler: _native.BusHandler, lane: int, number: int, event: Event, attempts: int, error: BaseException
    ) -> None:
        subscription: BusSubscription = handler.owner
        reason = f"{type(error).__name__}: {safe_text(error)}"
        letter = self.dead_letters.add_event(
            source=subscription.name,
            reason=reason,
            ts_ns=self.clock.now_ns(),
            event=event,
            lane=str(_LANES[lane]),
            attempts=attempts,
            traceback=safe_traceback(error),
            redrive=lambda: self._redrive(subscription, event, _LANES[lane]),
        )
        log.warning(
            "%s failed on %s %d of the %s lane, %s: dead letter %d",
            *(subscription.name, type(event).__name__, number, _LANES[lane], reason, letter.id),
        )

    def _redrive(self, subscription: BusSubscription, event: Event, lane: Lane) -> None:
        if not subscription.is_open:
            msg = (
                f"{subscription.name}, which failed on it, takes no more events: subscribe again and publish the event"
            )
            raise LetterError(msg)
        taken, _ = self.core.push(
            event, consequence=False, now_ns=self.clock.now_ns(), may_drop=False, only=subscription.native
        )
        if not taken:
            raise self._full(lane, 0.0)


def _check_options(lane: Lane, options: LaneOptions) -> None:
    for name in ("capacity", "max_attempts", "growth_max"):
        value = getattr(options, name)
        if value < 1:
            msg = f"{name}={value} of the {lane} lane: must be 1 at least"
            raise OptionError(msg, option=name)
