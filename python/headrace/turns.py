"""Turns: how an engine goes on, live and in a replay.

::

    turn at time T:   timers and bar closes due ≤ T, by (due, creation), each drained ─▶ ticks ─▶ drain

    live     whoever brings something schedules a turn; a turn dispatches for 200 µs, then the loop has its turn
    replay   the pump stops at each T where there is something to do beside ticks, and T is resolved before T + 1

Guarantees: the clock stands still during a turn; a live turn never waits.
Does not: read feeds, or know strategies.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import deque
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from headrace.clock import seconds_until
from headrace.errors import LaneFullError
from headrace.limits import BARRIER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from headrace.bars import Bars
    from headrace.bus import EventBus
    from headrace.clock import Clock, EngineClock
    from headrace.dispatch import Dispatcher
    from headrace.events import Event
    from headrace.timers import Timers

__all__ = ["IdleCollector", "LiveTurns", "Turns"]

log = logging.getLogger(__name__)

# Bars published between two drains: fewer than the data lane holds.
BARS_AT_ONCE = 500
# Events handled, and timers fired, before others have a turn: handlers that answer each event with another one would
# hold the loop for ever. Counted, not timed, so that a repetition stops at the same ones.
EVENTS_AT_ONCE = 5_000
TIMERS_AT_ONCE = 1_000
# CPython 3.12 freezes some 400 objects when it starts. An application's own freeze takes all objects: 4,000 and more.
FROZEN_AT_START_MAX = 1_000
# Young containers that make a collection worth its while when there is nothing else to do.
YOUNG_MAX = 10_000
# Containers after which everything is looked at: when idle, and four times as many in any case.
COLLECT_ALL_AT = 1_000_000


class SharedParts(NamedTuple):
    """What turns move on."""

    clock: EngineClock
    dispatcher: Dispatcher
    bus: EventBus
    timers: Timers
    bars: Bars


class TurnLog(Protocol):
    """Who writes a dispatch log."""

    def mark(self, kind: str, payload: object = None) -> None:
        """Write what is done now."""

    def turn_over(self, *, idle: bool) -> None:
        """Write what was gathered, when there is time."""


class Turns:
    """What all turns share; by itself it keeps what is told before the engine begins."""

    def __init__(self, parts: SharedParts) -> None:
        self.clock, self.dispatcher, self.bus, self.timers, self.bars = parts
        self.collector: IdleCollector | None = None
        self._untold: deque[Event] = deque()
        # Calls from other threads, and from inside a dispatch; a deque is safe for both.
        self._later: deque[Callable[[], None]] = deque()

    def tell(self, event: Event) -> None:
        """Publish an event of the engine's own: now, or when its lane has room again."""
        if self._untold:
            self._untold.append(event)
            return
        try:
            self.bus.publish_nowait(event)
        except LaneFullError:
            self._untold.append(event)

    def later(self, call: Callable[[], None]) -> None:
        """Call something between two dispatches; from any thread."""
        self._later.append(call)

    def set_alarm(self, due_ns: int | None) -> None:
        """Take note of when the next timer is due; from any thread."""
        self.clock.set_alarm(due_ns)

    def hand_over(self, other: Turns) -> None:
        """Give what was told, and not published yet, to those that take over."""
        other._untold.extend(self._untold)
        other._later.extend(self._later)

    @property
    def untold(self) -> Sequence[Event]:
        """Events that found no room yet."""
        return tuple(self._untold)

    @property
    def due_ns(self) -> int | None:
        """When the next timer or bar close is due."""
        dues = [due for due in (self.timers.due_ns, self.bars.due_ns) if due is not None]
        return min(dues) if dues else None

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is left to publish or to give to plain handlers."""
        return not self._untold and not self._later and not self.bus.has_ready

    def drain(self) -> bool:
        """Do what was put off, and give events to their plain handlers, as far as nothing is awaited.

        So many at once; what is left then is ready still.
        Returns whether there was anything. Raises what a callback raised that is to end the run.
        """
        done = 0
        while self._later:
            self._later.popleft()()
            done += 1
        done += self.bus.drain(None, EVENTS_AT_ONCE)
        while self._untold:
            try:
                self.bus.publish_nowait(self._untold[0])
            except LaneFullError:
                break
            self._untold.popleft()
            done += self.bus.drain(None, EVENTS_AT_ONCE)
        self.raise_faults()
        return done > 0

    def raise_faults(self) -> None:
        """Raise what a callback raised under ``on_fault="raise"``; those in a dispatch raise by themselves."""
        raised, self.dispatcher.faults.raised = self.dispatcher.faults.raised, None
        if raised is not None:
            raise raised

    def fire_next(self, now_ns: int) -> bool:
        """Close the bars, or fire the timer, that is due first; bars first at one instant. False: nothing is due."""
        due_ns = self.due_ns
        if due_ns is None or due_ns > now_ns:
            return False
        bars_due_ns = self.bars.due_ns
        if bars_due_ns is not None and bars_due_ns <= due_ns:
            self.publish_bars(self.bars.close_due(due_ns))
        else:
            self.timers.fire_next(now_ns)
        return True

    def settle(self, now_ns: int) -> bool:
        """Do what comes before a turn's ticks: what is due, bars that ticks closed, events. False: nothing."""
        fired = 0
        while fired < TIMERS_AT_ONCE and self.fire_next(now_ns):
            fired += 1
            self.drain()
        self.publish_bars(self.bars.take())
        return self.drain() or fired > 0

    def publish_bars(self, bars: Iterable[Event]) -> None:
        """Publish bars, and drain in between so that many at once don't push each other out."""
        for number, bar in enumerate(bars, start=1):
            self.tell(bar)
            if number % BARS_AT_ONCE == 0:
                self.drain()


class LiveTurns(Turns):
    """Turns that whoever brings something schedules on the running event loop.

    source : the time that turns get. on_failure : told what a turn raised.
    """

    def __init__(
        self,
        parts: SharedParts,
        *,
        source: Clock,
        slice_ns: int,
        wait: Literal["park", "spin"],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        super().__init__(parts)
        self._source = source
        self._now_ns = source.now_ns
        live_turn = parts.dispatcher.live_turn(parts.bus.core)
        self._ticks, self._next_due_ns = live_turn.run, live_turn.due_ns
        self._slice_ns = slice_ns
        self._spins = wait == "spin"
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._is_turning = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_ns: int | None = None
        self._closed = False
        # Writes what a repetition needs; None: nobody wants to repeat it.
        self.log: TurnLog | None = None

    def turn(self) -> bool:
        """Run one turn; True: there is more to do."""
        now_ns = self._now_ns()
        # Mostly ticks are all there is, and nothing comes of them: then this is the whole turn.
        more = None if self._later or self._untold else self._ticks(now_ns, self._slice_ns)
        if more is False and not self._later:
            return False
        if more is None and not self._settle_and_dispatch(now_ns):
            return True
        self.drain()
        return not (self.dispatcher.is_caught_up and self.is_at_rest)

    def _settle_and_dispatch(self, now_ns: int) -> bool:
        """Return whether there was something to dispatch; False: events go on in the next turn, which has its mark."""
        self.clock.advance_to(now_ns)
        if self.settle(now_ns) and self.log is not None:
            self.log.mark("turn")
        if self.bus.has_ready and self.dispatcher.is_caught_up:
            return False
        self.dispatcher.dispatch(max_ns=self._slice_ns)
        return True

    def later(self, call: Callable[[], None]) -> None:
        """Call something between two dispatches, soon; from any thread."""
        super().later(call)
        self.schedule_from_thread()

    def set_alarm(self, due_ns: int | None) -> None:
        """Take note of when the next timer is due; what a thread or a task set is armed by a turn of its own."""
        super().set_alarm(due_ns)
        if due_ns is not None and not self._is_turning and (self._alarm_ns is None or due_ns < self._alarm_ns):
            self.schedule_from_thread()

    def schedule(self) -> None:
        """Have a turn soon; more calls before it change nothing."""
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self._loop.call_soon(self._run)

    def schedule_from_thread(self) -> None:
        """Have a turn soon, from any thread or signal handler."""
        if not self._closed:
            self._loop.call_soon_threadsafe(self.schedule)

    def close(self) -> None:
        """Schedule no more."""
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()

    def run_now(self) -> None:
        """Have a turn at once, for who must not wait for the loop; soon, when one is running."""
        if self._closed:
            return
        if self._is_turning:
            self.schedule()
            return
        self._is_turning = True
        try:
            more = self.turn()
        except BaseException as error:  # noqa: BLE001 - handed to whoever runs the engine
            self._on_failure(error)
            return
        finally:
            self._is_turning = False
        if self.collector is not None:
            self.collector.look(idle=not more)
        if self.log is not None:
            self.log.turn_over(idle=not more)
        if more or self._spins:
            self.schedule()
        else:
            self._arm()

    def _run(self) -> None:
        self._scheduled = False
        self.run_now()

    def _arm(self) -> None:
        """Have a turn when the next timer, bar close or window is due."""
        due_ns = self._next_due_ns()
        if due_ns == self._alarm_ns:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_ns, self._alarm = due_ns, None
        if due_ns is not None:
            self._alarm = self._loop.call_later(seconds_until(self._source, due_ns), self._ring)

    def _ring(self) -> None:
        self._alarm_ns, self._alarm = None, None
        self.schedule()


class ReplayTurns(Turns):
    """Turns of a replay: at each T what is due, then T's ticks, each resolved before anything of T + 1.

    in_flight : how many commands are not answered yet.
    """

    def __init__(self, parts: SharedParts, *, in_flight: Callable[[], int]) -> None:
        super().__init__(parts)
        self._in_flight = in_flight

    def later(self, call: Callable[[], None]) -> None:
        """Call something when T's ticks are dispatched, before anything of T + 1."""
        super().later(call)
        self.set_alarm(self.timers.due_ns)

    def set_alarm(self, due_ns: int | None) -> None:
        """Have the pump stop before the next timer is due, and before T + 1 when something was put off."""
        super().set_alarm(self.clock.now_ns() if self._later else due_ns)

    async def resolve_due(self, until_ns: int) -> None:
        """Do what was put off; fire everything that is due by ``until_ns``, each at its own time, and resolve it."""
        if self._later:
            await self.barrier()
            self.set_alarm(self.timers.due_ns)
        while (due_ns := self.due_ns) is not None and due_ns <= until_ns:
            self.clock.advance_to(due_ns)
            self.fire_next(due_ns)
            await self.barrier()

    async def barrier(self) -> None:
        """Return when nothing is left to do at T. Raises DeadlockError, and what is to end the run."""
        while True:
            self.publish_bars(self.bars.take())
            self.drain()
            if not self.bus.is_idle:
                await self.bus.wait_until_idle(BARRIER_S)
            elif self._in_flight():
                await asyncio.sleep(0)
            elif self.is_at_rest:
                return


class IdleCollector:
    """``gc="idle"``: rubbish is collected when there is nothing else to do.

    What lives when the strategies have started is frozen: no collection looks at it again.
    """

    def __init__(self) -> None:
        self._was_enabled = gc.isenabled()
        # What the application froze cannot be told from what is frozen here: then all of it stays so.
        self._had_frozen = gc.get_freeze_count() > FROZEN_AT_START_MAX
        self._since_all = 0
        gc.collect()
        gc.freeze()
        gc.disable()

    def look(self, *, idle: bool) -> None:
        """Collect the young ones when idle, and everything at the bound."""
        young = gc.get_count()[0]
        if self._since_all + young >= COLLECT_ALL_AT * (1 if idle else 4):
            self._since_all = 0
            gc.collect()
        elif idle and young >= YOUNG_MAX:
            self._since_all += young
            gc.collect(1)

    def close(self) -> None:
        """Give the collector back as it was."""
        if not self._had_frozen:
            gc.unfreeze()
        if self._was_enabled:
            gc.enable()
