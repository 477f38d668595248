"""EventBus: delivers typed events, in four lanes, each event to its handlers one after the other.

::

    publish ─▶ control ▒░░  ┐                          ┌▶ plain handlers, one by one
               order   ▒▒░  ├─▶ drain: one event, then ┼▶ async handler: its lane waits, the others go on
               signal  ░░░  │   the next of the first  └▶ Consumer: its lane waits until the body ends
               data    ▒▒▒  ┘   lane that can go on        (in a replay the other lanes wait, too)

What happens when a lane is full
    The capacity limits events published outside handlers. An event that a handler publishes while it runs is a
    consequence; consequences may fill eight times the capacity.
    ``publish_nowait`` on the bus's own thread raises LaneFullError at once; ``await publish`` and other threads wait
    for room, up to a second of the bus's clock. The data lane drops its oldest event and publishes a Gap.
    In a replay no lane is full: what follows from a time is handled at that time, up to LANE_EVENTS_MAX events.

Guarantees: each lane in order, each handler isolated, no handler call inside another; while nothing is published or
handled, for each lane, published == processed + dead + dropped + left. Plain handlers never touch the event loop.
Does not: carry ticks, or keep events anywhere but in memory.
"""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import headrace._native as _native
from headrace.bus.async_lanes import LaneTasks
from headrace.bus.consumer import Consumer, Envelope
from headrace.bus.current_event import handling_in
from headrace.bus.lane import BusStats, HandlerStats, LaneOptions, LaneStats, options_of
from headrace.bus.publisher import Publisher
from headrace.bus.registry import Subscribers
from headrace.bus.subscription import BusSubscription
from headrace.dispatch.faults import error_text, safe_traceback
from headrace.errors import LetterError
from headrace.limits import (
    BARRIER_S,
    CONSEQUENCES_MAX,
    DRAIN_S,
    LANE_GROW_AT,
    LANE_GROW_S,
    LANE_SHRINK_AT,
    LANE_SHRINK_S,
    TURNS_DATA,
)
from headrace.market.checks import of_type, one_of
from headrace.market.clock import Clock, Mode, ModeName, WallClock
from headrace.market.dead_letters import DeadLetter, DeadLetters
from headrace.market.events import EVENT_LANES, Cause, Event, Gap, Lane

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from headrace.bus.subscription import E, Handler, What

__all__ = ["BusSubscription", "EventBus"]

log = logging.getLogger(__name__)

_LANES = tuple(Lane)


class Drain(Protocol):
    """The native method that drains a bus."""

    def __call__(self, max_ns: int | None = None, max_events: int | None = None) -> int:
        """Drain, and return the number of finished events."""


class EventBus:
    """Delivers events to their subscribers.

    clock : stamps events and measures waits; the wall clock by default. mode : in a "replay" the order is fixed and
    nothing is dropped.
    run_id : stamped on events that have none. dead_letters : where events go that a handler failed on.
    lanes : options of lanes, in place of the defaults.

    ``publish_nowait(event)`` is the native method itself: 0.05 µs for an event with a ``ts``; an event without one is
    copied with its fields filled in, which takes 1 µs more. Raises EventTypeError, LaneFullError, ClosedError.
    ``publish_consequence(event)`` is the same for what follows from a tick that is handled outside of the bus, a fill
    from a quote: like what a handler publishes it may fill eight times the capacity; then LaneFullError at once.

    ``drain(max_ns=None, max_events=None)`` is native, too. It calls plain handlers until the rest needs awaiting,
    ``max_ns`` of wall time are over, or ``max_events`` events are finished, and returns the number of finished events.
    Inside a handler it does nothing. Only one thread may drain. Raises BusError (another thread drains),
    KeyboardInterrupt.
    """

    publish_nowait: Callable[[Event], None]
    publish_consequence: Callable[[Event], None]
    drain: Drain

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        mode: ModeName = Mode.LIVE,
        run_id: str = "",
        dead_letters: DeadLetters | None = None,
        lanes: Mapping[Lane, LaneOptions] | None = None,
    ) -> None:
        of_type("clock", clock, Clock, None)
        of_type("run_id", run_id, str)
        of_type("dead_letters", dead_letters, DeadLetters, None)
        self.clock: Clock = WallClock() if clock is None else clock
        self.mode = Mode(one_of("mode", mode, Mode))
        self.run_id = run_id
        self.dead_letters = DeadLetters() if dead_letters is None else dead_letters
        is_replay = self.mode is Mode.REPLAY
        options = options_of(lanes or {}, is_replay=is_replay)
        self.core = _native.BusCore(
            self,
            [(own.capacity, own.full == "drop_oldest", own.growth_max) for own in options.values()],
            (
                *(1 if is_replay else CONSEQUENCES_MAX, TURNS_DATA),
                *(LANE_GROW_AT, round(LANE_GROW_S * 1e9), LANE_SHRINK_AT, round(LANE_SHRINK_S * 1e9)),
            ),
            is_replay,
        )
        self.publish_nowait = self.core.publish_nowait
        self.publish_consequence = self.core.publish_consequence
        self.drain = self.core.drain
        self._subscribers = Subscribers(self.core, options)
        self._publisher = Publisher(self.core, self.clock, run_id, self._subscribers, self._current)
        self._tasks = LaneTasks(self, self.core, is_watched=not is_replay)
        for event_type, lane in EVENT_LANES.items():
            self.declare(event_type, lane)

    # Types and subscribers

    def declare(self, event_type: type[Event], lane: Lane) -> None:
        """Set the lane of an event type; the types in ``headrace.market.events`` are declared already.

        Raises EventTypeError (no event type), OptionError (declared already, with another lane).
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
        """Deliver to a handler each event of a type, of several types, or for which a predicate returns true.

        what : a type includes its subclasses; ``Event`` includes every type. A predicate is called with every event.
        handler : of one argument, plain or async. Handlers get an event in the order in which they subscribed.
        where : chooses by an event's key (``EVENT_KEYS``: an order's strategy, a bar's kind, a signal's source). Called
            once for each key, not for each event: events of other keys cost this handler nothing.
        idempotent : an event on which the handler raised may be delivered again, up to ``max_attempts`` times (3 by
            default) on every lane. Without it that holds for the data lane only.

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

    def watch(self, event_type: type[Event], on_change: Callable[[bool], None]) -> None:
        """Call ``on_change(True)`` when a subscription begins to name a type, and ``on_change(False)`` when none does.

        So that events that cost something are made for their subscribers alone. Subscriptions to ``Event``, such as the
        audit's, and predicates name no type. Called in the thread that subscribes or closes.
        """
        self._subscribers.watch(event_type, on_change)

    # Publishing

    def own(self, event_type: type[Event], advice: str) -> Callable[[Event], None]:
        """Return a function; from now on only it publishes events of a type, subclasses included.

        advice : the end of the EventTypeError that every other ``publish`` raises. Raises OptionError (the type has an
            owner already).
        """
        self._subscribers.own(event_type, advice)
        return self.core.publish_owned

    async def publish(self, event: Event) -> None:
        """Publish an event; wait for room when its lane is full, up to a second of the bus's clock.

        A publish inside a handler never waits: it would wait for itself. In a replay the clock stands still while work
        is left, so the wait ends with room, or after 30 s of wall time.

        Raises EventTypeError, LaneFullError, ClosedError.
        """
        waiting = self._publisher.publish(event)
        if waiting is None:
            return
        if waiting.is_consequence:
            raise self._publisher.full(waiting)
        while (left_s := self._publisher.left_s(waiting)) > 0:
            await self._tasks.wait_for_room(waiting.declared.number, left_s)
            if self._publisher.push(waiting):
                return
        raise self._publisher.full(waiting, self._publisher.waited_s(waiting))

    def _publish_slow(self, event: Event, by_owner: bool, is_consequence: bool) -> None:  # noqa: FBT001 - native core
        """Publish what the native core leaves to Python: unstamped, undeclared or owned events, and for full lanes."""
        waiting = self._publisher.publish(event, by_owner=by_owner, is_consequence=is_consequence)
        if waiting is None:
            return
        if waiting.is_consequence or self.core.is_own_thread():
            raise self._publisher.full(waiting)
        while (left_s := self._publisher.left_s(waiting)) > 0:
            self.core.wait_for_room(waiting.declared.number, left_s)
            if self._publisher.push(waiting):
                return
        raise self._publisher.full(waiting, self._publisher.waited_s(waiting))

    # The current event

    def current_cause(self) -> Cause | None:
        """Return the cause of the event that is being handled; None outside handlers, and for an event without one."""
        current = self._current()
        return None if current is None else current[0].cause

    def _current(self) -> tuple[Event, str] | None:
        current = self.core.current()
        if current is not None:
            return current
        handling = handling_in(self)
        return None if handling is None else (handling.event, handling.name)

    # Work that is left

    @property
    def has_ready(self) -> bool:
        """Whether ``drain`` would finish an event."""
        return self.core.has_ready()

    @property
    def is_idle(self) -> bool:
        """Whether no event waits or is being handled."""
        return self.core.is_idle()

    @property
    def has_waiting(self) -> bool:
        """Whether events wait that no handler and no consumer holds."""
        return self.core.unfinished() > len(self.core.held())

    @property
    def unfinished(self) -> int:
        """The number of events that are published and not yet processed, dead or dropped."""
        return self.core.unfinished()

    async def wait_until_idle(self, timeout: float = BARRIER_S) -> None:  # noqa: ASYNC109 - its error names the holder
        """Drain, and wait for async handlers and consumers, until no event is left.

        timeout : s of wall time. A bus that is busy for longer is taken for a deadlock: a handler waits for an event
            that comes after its own.
        Raises DeadlockError, which names the handler and the event; at once when a handler waits for its own end.
        """
        await self._tasks.wait_until_idle(timeout)

    async def start(self, *, wake: Callable[[], None] | None = None) -> None:
        """Drain on the running loop from now on, after each publish.

        wake : the caller drains instead; ``wake`` is called (in any thread) when an idle bus gets an event.
        Raises ClosedError.
        """
        self._tasks.start(wake)

    async def stop(self) -> None:
        """Stop draining. A running handler has 0.5 s, then it is cancelled; waiting events stay for the next start."""
        await self._tasks.stop()

    async def shutdown(self, timeout: float = DRAIN_S) -> Mapping[Lane, int]:  # noqa: ASYNC109 - for one part of it
        """Drain for up to ``timeout`` s, stop, accept no more events, and return the number left, by lane."""
        await self._tasks.shutdown(timeout)
        self._subscribers.end()
        return {lane: own.left for lane, own in self.stats().lanes.items() if own.left}

    def stats(self) -> BusStats:
        """Return the counts of events by lane, and of calls by handler."""
        lanes = {lane: LaneStats(*numbers) for lane, numbers in zip(_LANES, self.core.counts(), strict=True)}
        handlers = {own.name: HandlerStats(*own.native.counts()) for own in self._subscribers}
        return BusStats(lanes=lanes, retried=self.core.retried(), handlers=handlers)

    # Called by the native core

    def _on_drained(self, done: int) -> None:
        if done or self.core.is_idle():
            self._tasks.look()
        if self.core.has_grown():
            self.core.observe(self.clock.now_ns())
            self._publisher.report_resized()

    def _wake(self) -> None:
        self._tasks.wake()

    def _set_routes(self) -> None:
        self._subscribers.set_routes()

    def _on_held(
        self,
        handler: _native.BusHandler,
        lane: int,
        number: int,
        event: Event,
        attempt: int,
        awaitable: Awaitable[object] | None,
    ) -> None:
        subscription: BusSubscription = handler.owner
        if subscription.consumer is not None:
            subscription.consumer.offer(Envelope(event, _LANES[lane], number, attempt))
        else:
            self._tasks.take(lane, subscription, event, awaitable)
        # The lane has room for one more event.
        self._tasks.look()

    def _make_gap(self, lane: int, missed: int, first: int, last: int) -> Gap:
        now_ns = self.clock.now_ns()
        log.warning(
            "the %s lane was full and dropped its %d oldest events, up to number %d", _LANES[lane], missed, last
        )
        own = str(_LANES[lane])
        return Gap(source="bus", ts=now_ns, run_id=self.run_id, lane=own, missed=missed, first=first, last=last)

    def _on_dead(
        self, handler: _native.BusHandler, lane: int, number: int, event: Event, attempts: int, error: BaseException
    ) -> None:
        subscription: BusSubscription = handler.owner
        reason = error_text(error)
        failed = DeadLetter(
            "event",
            reason,
            source=subscription.name,
            handler=subscription.name,
            ts_ns=self.clock.now_ns(),
            event=event,
            lane=str(_LANES[lane]),
            attempts=attempts,
            traceback=safe_traceback(error),
        )
        letter = self.dead_letters.add(
            failed,
            redrive=functools.partial(_redrive, weakref.ref(self._publisher), weakref.ref(subscription), event),
        )
        log.warning(
            "%s failed on %s %d of the %s lane, %s: dead letter %d",
            *(subscription.name, type(event).__name__, number, _LANES[lane], reason, letter.id),
        )


def _redrive(bus: weakref.ref[Publisher], subscription: weakref.ref[BusSubscription], event: Event) -> None:
    """Deliver a letter's event to its handler again. The letter keeps neither bus nor handler alive."""
    publisher, handler = bus(), subscription()
    if publisher is None or handler is None or not handler.is_open:
        msg = "the handler that failed on this event is closed: subscribe again, and publish the letter's event"
        raise LetterError(msg)
    publisher.give_again(event, handler.native)
