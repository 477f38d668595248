"""Driver: what every mode shares: timers and bars, events that wait for room, calls that wait for a quiet moment.

Guarantees: bars come before timers of the same instant; a driver's clock stands still while handlers run.
Does not: read feeds or run strategies; a subclass decides what comes next.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from headrace.engine.readers import Readers
from headrace.errors import LaneFullError
from headrace.market.bars import Bars
from headrace.market.clock import Mode
from headrace.market.events import Control
from headrace.strategies.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from headrace.bus import EventBus
    from headrace.commands import Command
    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.feeds.sources import Sources
    from headrace.market.clock import EngineClock
    from headrace.market.events import Bar, Event
    from headrace.market.listed import Listed

__all__ = ["Driver", "Steps"]

# Bars published between two drains: fewer than the data lane holds.
BARS_AT_ONCE = 500
# Events handled, and timers fired, in one step: handlers that answer each event with another one would hold the loop
# for ever. A count and not a time, so that a repetition stops at the same ones.
EVENTS_AT_ONCE = 5_000
TIMERS_AT_ONCE = 1_000


class Steps(NamedTuple):
    """What a driver calls while it runs.

    is_drained : whether no part of the engine has anything left to do, or had enough time for it.
    stop : asks the engine to end, with a reason.
    repeat_command : handles a command of the logged run again; None: there are no handlers.
    stop_strategies : stops those that live. take_listing : takes what a venue lists now.
    """

    is_drained: Callable[[], bool]
    stop: Callable[[str], None]
    repeat_command: Callable[[Mapping[str, Any]], Awaitable[object]] | None
    stop_strategies: Callable[[], Awaitable[object]]
    take_listing: Callable[[Listed], object]


class Driver:
    """Moves an engine on in one mode. ``start`` it, ``run`` it, let it ``drain_all``, ``close`` it."""

    mode: ClassVar[Mode]

    def __init__(self, clock: EngineClock, bus: EventBus, dispatcher: Dispatcher) -> None:
        self.clock = clock
        self.bus = bus
        self.dispatcher = dispatcher
        self.bars = Bars(dispatcher)
        self.timers = Timers(mode=self.mode, on_due=self.set_alarm, advance_to=clock.advance_to)
        self.readers = Readers(dispatcher, self.mark)
        self._unpublished: deque[Event] = deque()
        # From other threads and from inside a dispatch; a deque is safe for both.
        self._calls: deque[Callable[[], None]] = deque()

    # The phases of a run

    async def start(self, sources: Sources) -> None:
        """Open the sources and set the clock to the beginning of the run."""
        raise NotImplementedError

    async def run(self, steps: Steps) -> str:
        """Go on until the run ends; return why it ended. Raises what ends it early."""
        raise NotImplementedError

    def stop(self) -> None:
        """Let ``run`` return soon. May be called from any thread and in a signal handler."""
        self.dispatcher.stop()

    def finish(self, reason: str) -> None:
        """Let ``run`` return with this reason; called on the event loop."""

    async def drain_all(self, is_quiet: Callable[[], bool], remaining_s: Callable[[], float]) -> None:  # noqa: ARG002
        """Handle what the ring and the lanes hold, within the time that remains."""
        self.drain()

    async def settle_end(self) -> None:
        """Handle what the end of the run published."""
        self.drain()

    def freeze(self) -> None:
        """Take the garbage collector over, where the options say so; called when the strategies have started."""

    def close(self) -> None:
        """Schedule nothing more. May be called twice."""

    # What happens is written where a log is kept

    def mark(self, kind: str, payload: object = None) -> None:
        """Note what is done now in the dispatch log, if one is written."""

    def note_command(self, command: Command) -> None:
        """Note that a command is handled now."""
        self.mark("command", command)

    # Events and calls that wait

    def publish(self, event: Event) -> None:
        """Publish an event of the engine itself: now, or when its lane has room again."""
        if self._unpublished:
            self._unpublished.append(event)
            return
        try:
            self.bus.publish_nowait(event)
        except LaneFullError:
            self._unpublished.append(event)

    def publish_control(self, name: str, detail: Mapping[str, object] | None = None) -> None:
        """Publish a Control event of the engine."""
        now_ns, run_id = self.clock.now_ns(), self.bus.run_id
        self.publish(Control(source="engine", ts=now_ns, run_id=run_id, name=name, detail=detail or {}))

    def call_soon(self, call: Callable[[], None]) -> None:
        """Call a function between two dispatches. May be called from any thread."""
        self._calls.append(call)

    def set_alarm(self, due_ns: int | None) -> None:
        """Note when the next timer is due. May be called from any thread."""
        self.clock.set_alarm(due_ns)

    @property
    def unpublished(self) -> Sequence[Event]:
        """Events of the engine that have found no room yet."""
        return tuple(self._unpublished)

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is left to publish, to call, or to pass to plain handlers."""
        return not self._unpublished and not self._calls and not self.bus.has_ready

    # One step

    @property
    def due_ns(self) -> int | None:
        """When the next timer or bar close is due."""
        dues = [due for due in (self.timers.due_ns, self.bars.due_ns) if due is not None]
        return min(dues) if dues else None

    def drain(self) -> bool:
        """Make the waiting calls and pass events to their plain handlers, a bounded number of them at once.

        Returns whether there was anything to do. Raises what a callback raised under ``on_fault="raise"``.
        """
        return self._pass_on()

    def _pass_on(self) -> bool:
        """Drain as a part of another step, which the dispatch log has as a whole."""
        done = 0
        while self._calls:
            self._calls.popleft()()
            done += 1
        done += self.bus.drain(None, EVENTS_AT_ONCE)
        while self._unpublished:
            try:
                self.bus.publish_nowait(self._unpublished[0])
            except LaneFullError:
                break
            self._unpublished.popleft()
            done += self.bus.drain(None, EVENTS_AT_ONCE)
        if self.dispatcher.faults.raised is not None:
            self.raise_faults()
        return done > 0

    def raise_faults(self) -> None:
        """Raise what a callback raised under ``on_fault="raise"``; a fault inside a dispatch is raised by it."""
        raised, self.dispatcher.faults.raised = self.dispatcher.faults.raised, None
        if raised is not None:
            raise raised

    def fire_next(self, now_ns: int) -> bool:
        """Close the bars or fire the timer that is due first, bars first at one instant. False: nothing is due."""
        due_ns, bars_ns = self.due_ns, self.bars.due_ns
        if due_ns is None or due_ns > now_ns:
            return False
        self.clock.advance_to(due_ns)
        if bars_ns == due_ns:
            self.publish_bars(self.bars.close_due(due_ns))
        else:
            # A timer that missed some of its times fires for the last of them, but not behind a bar.
            self.timers.fire_next(now_ns if bars_ns is None else min(now_ns, bars_ns - 1))
        return True

    def settle(self, by_ns: int) -> None:
        """Do what was due first, by a time and where the readers stand; bars before timers. Then drain."""
        position = self.dispatcher.position
        closed_ns = self.bars.closed_ns(position)
        first_ns = min((due_ns for due_ns in (closed_ns, self.due_ns) if due_ns is not None), default=by_ns)
        if closed_ns == first_ns:
            self.clock.advance_to(first_ns)
            self.publish_bars(self.bars.take(position, first_ns))
            self._pass_on()
            closed_ns = self.bars.closed_ns(position)
        if closed_ns is not None:
            by_ns = min(by_ns, closed_ns - 1)
        fired = 0
        while fired < TIMERS_AT_ONCE and self.due_ns == first_ns and self.fire_next(by_ns):
            fired += 1
            self._pass_on()
        self._pass_on()

    def publish_bars(self, bars: Iterable[Bar]) -> None:
        """Publish bars, and drain in between so that many at once do not push each other out of the lane."""
        closed = list(bars)
        # A frame comes behind its bars.
        self.publish_each([*closed, *self.bars.published(closed)])

    def publish_each(self, events: Iterable[Event]) -> None:
        """Publish bars and frames, and drain in between."""
        for number, event in enumerate(events, start=1):
            self.publish(event)
            if number % BARS_AT_ONCE == 0:
                self._pass_on()
