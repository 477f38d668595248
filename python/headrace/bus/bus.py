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

import functools
import logging
import time
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import headrace._native as _native
from headrace.bus.async_lanes import LaneTasks
from headrace.bus.consumer import Consumer, Envelope
from headrace.bus.current_event import handling_in
from headrace.bus.lane import LANE_OPTIONS, BusStats, HandlerStats, LaneOptions, LaneStats, check_options
from headrace.bus.registry import Declared, Subscribers
from headrace.bus.subscription import BusSubscription
from headrace.dispatch.faults import safe_text, safe_traceback
from headrace.errors import LaneFullError, LetterError
from headrace.limits import (
    BARRIER_S,
    CONSEQUENCES_MAX,
    DRAIN_S,
    LANE_GROW_AT,
    LANE_GROW_S,
    LANE_SHRINK_AT,
    LANE_SHRINK_S,
    LANE_WAIT_S,
    TURNS_DATA,
)
from headrace.market.clock import WallClock
from headrace.market.dead_letters import DeadLetters
from headrace.market.events import EVENT_LANES, Cause, Control, Event, Gap, Lane, stamped

if TYPE_CHECKING:
    from headrace.bus.subscription import E, Handler, What
    from headrace.market.clock import Clock

__all__ = ["BusSubscription", "EventBus"]

log = logging.getLogger(__name__)

_LANES = tuple(Lane)


class _Waiting(NamedTuple):
    """An event that found no room. since_ns, since_s : by the bus's clock, and by the wall."""

    event: Event
    declared: Declared
    is_consequence: bool
    since_ns: int
    since_s: float


class Drain(Protocol):
    """Drains a bus."""

    def __call__(self, max_ns: int | None = None, max_events: int | None = None) -> int:
        """Return how many events were finished."""


class EventBus:
    """The bus.

    clock : stamps events, and times what is timed; the wall's by default. replay : one order, fixed, nothing dropped.
    run_id : stamped on events that have none. dead_letters : where events go that a handler failed on.
    lanes : options of lanes that are not the usual ones.

    ``publish_nowait(event)`` is the native method itself: 0.05 µs for an event that says its ``ts``; one that leaves it
    open is copied with what the bus fills in, which takes 1 µs more. Raises EventTypeError, LaneFullError, ClosedError.

    ``drain(max_ns=None, max_events=None)`` is native, too: it calls plain handlers until nothing can go on without
    awaiting, ``max_ns`` of wall time are over, or so many events were finished, and returns how many were. Inside of a
    handler it does nothing; only one thread may drain. Raises BusError (another thread does), KeyboardInterrupt.
    """

    publish_nowait: Callable[[Event], None]
    drain: Drain

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
            check_options(lane, options)
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
        self.drain = self.core.drain
        self._subscribers = Subscribers(self.core, self._options)
        self._tasks = LaneTasks(self, self.core, is_watched=not replay)
        for event_type, lane in EVENT_LANES.items():
            self.declare(event_type, lane)

    # Who takes what

    def declare(self, event_type: type[Event], lane: Lane) -> None:
        """Say in which lane a type of events goes; those of ``headrace.market.events`` are declared already.

        Raises EventTypeError for what is no type of events, OptionError when it goes in another lane already.
        """
        self._subscribers.declare(event_type, lane)

    def subscribe(
        self,
        what: What[E],
        handler: Handler[E],
        *,
        where: Callable[[Any], bool] | None = None,
        name: str | None = None,
        idempotent: bool = False,
        max_attempts: int | None = None,
    ) -> BusSubscription:
        """Give each event of a type, of several, or for which a predicate says so, to a handler.

        what : a type takes its subclasses, too; ``Event`` takes everything. A predicate is asked about every event.
        handler : of one argument, plain or async. Handlers get an event in the order in which they subscribed.
        where : chooses by an event's key (``EVENT_KEYS``: an order's strategy, a bar's kind, a signal's source). Called
            once for each key, not for each event: events of other keys cost this handler nothing.
        idempotent : it may get an event again when it raised; on all lanes it is then given ``max_attempts`` times, 3
            by default. Otherwise that holds for the data lane only.

        Raises EventTypeError, SubscriptionError (it cannot be called with one argument), OptionError.
        """
        return self._subscribers.subscribe(
            what, handler, where=where, name=name, idempotent=idempotent, max_attempts=max_attempts
        )

    def consumer(self, what: What[Event], *, name: str | None = None) -> Consumer:
        """Return the pull side: ``async with consumer.consume() as envelope``. Raises EventTypeError."""
        return self._subscribers.consumer(
            what,
            name,
            lambda free: Consumer(free, self, release=self._tasks.release, close=self._subscribers.leave),
        )

    # Publishing

    def own(self, event_type: type[Event], advice: str) -> Callable[[Event], None]:
        """Return the only way to publish events of a type from now on, its subclasses included.

        advice : what EventTypeError says to others that publish one. Raises OptionError (the type has an owner).
        """
        self._subscribers.own(event_type, advice)
        return self.core.publish_owned

    async def publish(self, event: Event) -> None:
        """Publish an event; wait for room when its lane is full, up to a second of the bus's clock.

        What a handler publishes never waits: it would wait for itself. In a replay the clock stands still while
        something is left to do, so the wait ends with room, or after 30 s of wall time.

        Raises EventTypeError, LaneFullError, ClosedError.
        """
        waiting = self._publish(event)
        if waiting is None:
            return
        if waiting.is_consequence:
            raise self._full(waiting, waited_s=0.0)
        while (left_s := self._time_left(waiting)) > 0:
            await self._tasks.wait_for_room(waiting.declared.number, left_s)
            if self._push_waiting(waiting):
                return
        raise self._full(waiting, self._waited(waiting))

    def _publish_slow(self, event: Event, by_owner: bool) -> None:  # noqa: FBT001 - called by the native core
        """Publish what the native core does not at once: not stamped, owned or undeclared, or in a lane that fills."""
        waiting = self._publish(event, by_owner=by_owner)
        if waiting is None:
            return
        if waiting.is_consequence or self.core.is_own_thread():
            raise self._full(waiting, waited_s=0.0)
        while (left_s := self._time_left(waiting)) > 0:
            self.core.wait_for_room(waiting.declared.number, left_s)
            if self._push_waiting(waiting):
                return
        raise self._full(waiting, self._waited(waiting))

    def _publish(self, event: Event, *, by_owner: bool = False) -> _Waiting | None:
        """Stamp an event and publish it, if there is room; return what is to wait otherwise."""
        declared = self._subscribers.declared(event, by_owner=by_owner)
        current, now_ns = self._current(), self.clock.now_ns()
        if not event.ts:
            cause, source = (None, "") if current is None else (current[0].cause, current[1])
            event = stamped(event, source=source, ts=now_ns, run_id=self.run_id, cause=cause)
        if self._push(event, declared, now_ns, fits_more=current is not None):
            return None
        return _Waiting(event, declared, current is not None, now_ns, time.monotonic())

    def _push(self, event: Event, declared: Declared, now_ns: int, *, fits_more: bool) -> bool:
        options = declared.options
        if self.replay and options.full == "drop_oldest" and not fits_more:
            # Drained before the next publish; what waits for somebody then may be as many as consequences may.
            if not self.core.has_room(declared.number) and self.core.is_own_thread():
                self.drain()
            fits_more = True
        taken = self.core.push(event, consequence=fits_more, now_ns=now_ns, may_drop=not self.replay)
        if options.growth_max > 1:
            self._tell_resized()
        return taken

    def _push_waiting(self, waiting: _Waiting) -> bool:
        return self._push(waiting.event, waiting.declared, self.clock.now_ns(), fits_more=waiting.is_consequence)

    def _time_left(self, waiting: _Waiting) -> float:
        """Return how long a publisher goes on waiting: a second of the clock, or until the wall's bound."""
        left_s = LANE_WAIT_S - self._waited(waiting)
        return min(left_s, waiting.since_s + BARRIER_S - time.monotonic())

    def _waited(self, waiting: _Waiting) -> float:
        return (self.clock.now_ns() - waiting.since_ns) / 1e9

    def _full(self, waiting: _Waiting, waited_s: float) -> LaneFullError:
        lane, capacity = waiting.declared.lane, self.core.counts()[waiting.declared.number][-1]
        advice = "its handlers are slower than its publishers: publish less, or give the lane a larger capacity"
        if waiting.is_consequence:
            capacity *= CONSEQUENCES_MAX
            advice = "a handler publishes more than it may: publish less for each event"
        msg = f"the {lane} lane is full: {capacity} events wait in it, after {waited_s:.3f} s for room; {advice}"
        return LaneFullError(msg, lane=str(lane), capacity=capacity, waited_s=waited_s)

    def _tell_resized(self) -> None:
        """Publish which lanes have changed their capacity; the bus's own work, so never refused."""
        for number, before, after in self.core.take_resized():
            now_ns = self.clock.now_ns()
            detail = {"lane": str(_LANES[number]), "capacity_before": before, "capacity": after}
            event = Control(source="bus", ts=now_ns, run_id=self.run_id, name="LANE_RESIZED", detail=detail)
            if not self.core.push(event, consequence=True, now_ns=now_ns, may_drop=False):
                log.error("the control lane is full: nobody is told that the %s lane was resized", _LANES[number])
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

    # What is left to do

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
        self._subscribers.end()
        return {lane: own.left for lane, own in self.stats().lanes.items() if own.left}

    def stats(self) -> BusStats:
        """Return what became of the events, by lane."""
        lanes = {lane: LaneStats(*numbers) for lane, numbers in zip(_LANES, self.core.counts(), strict=True)}
        handlers = {own.name: HandlerStats(*own.native.counts()) for own in self._subscribers}
        return BusStats(lanes=lanes, retried=self.core.retried(), handlers=handlers)

    # Called by the native core

    def _on_drained(self, done: int) -> None:
        if done or self.core.is_idle():
            self._tasks.look()
        if self.core.has_grown():
            self.core.observe(self.clock.now_ns())
            self._tell_resized()

    def _wake(self) -> None:
        self._tasks.wake()

    def _on_held(self, handler: _native.BusHandler, lane: int, number: int, event: Event, attempt: int) -> None:
        subscription: BusSubscription = handler.owner
        if subscription.consumer is not None:
            subscription.consumer.offer(Envelope(event, _LANES[lane], number, attempt))
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
            redrive=functools.partial(_redrive, weakref.ref(self), weakref.ref(subscription), event),
        )
        log.warning(
            "%s failed on %s %d of the %s lane, %s: dead letter %d",
            *(subscription.name, type(event).__name__, number, _LANES[lane], reason, letter.id),
        )

    def _give_again(self, event: Event, subscription: BusSubscription) -> None:
        now_ns = self.clock.now_ns()
        if not self.core.push(event, consequence=False, now_ns=now_ns, may_drop=False, only=subscription.native):
            declared = self._subscribers.declared(event, by_owner=True)
            waiting = _Waiting(event, declared, is_consequence=False, since_ns=now_ns, since_s=time.monotonic())
            raise self._full(waiting, waited_s=0.0)


def _redrive(bus: weakref.ref[EventBus], subscription: weakref.ref[BusSubscription], event: Event) -> None:
    """Give a letter's event to its handler again. The letter keeps neither of them alive."""
    alive, handler = bus(), subscription()
    if alive is None or handler is None or not handler.is_open:
        msg = "the handler that failed on it takes no more events: subscribe again, and publish the letter's event"
        raise LetterError(msg)
    alive._give_again(event, handler)  # noqa: SLF001 - its own module
