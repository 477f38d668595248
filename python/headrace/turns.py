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
from typing import TYPE_CHECKING, Literal

from headrace.errors import LaneFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headrace.bars import Bars
    from headrace.bus import EventBus
    from headrace.clock import EngineClock
    from headrace.dispatch import Dispatcher
    from headrace.events import Event
    from headrace.timers import Timers

__all__ = ["IdleCollector", "LiveTurns", "Turns"]

log = logging.getLogger(__name__)

# Bars published between two drains: fewer than the data lane holds.
BARS_AT_ONCE = 500
# Young containers that make a collection worth its while when there is nothing else to do.
YOUNG_MAX = 10_000
# Containers after which everything is looked at: when idle, and four times as many in any case.
COLLECT_ALL_AT = 1_000_000


class Turns:
    """What live and replay turns share.

    mark : writes an entry into the dispatch log; None without one.
    """

    def __init__(
        self,
        *,
        clock: EngineClock,
        dispatcher: Dispatcher,
        bus: EventBus,
        timers: Timers,
        bars: Bars,
        mark: Callable[[str, object], None] | None = None,
    ) -> None:
        self.clock = clock
        self.dispatcher = dispatcher
        self.bus = bus
        self.timers = timers
        self.bars = bars
        self._mark = mark
        self._untold: deque[Event] = deque()

    def tell(self, event: Event) -> None:
        """Publish an event of the engine's own: now, or when its lane has room again."""
        if self._untold:
            self._untold.append(event)
            return
        try:
            self.bus.publish_nowait(event)
        except LaneFullError:
            self._untold.append(event)

    @property
    def due_ns(self) -> int | None:
        """When the next timer or bar close is due."""
        dues = [due for due in (self.timers.due_ns, self.bars.due_ns) if due is not None]
        return min(dues) if dues else None

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is left to publish or to give to plain handlers."""
        return not self._untold and not self.bus.has_ready

    def drain(self) -> bool:
        """Give every event to its plain handlers, as far as nothing is awaited; say whether there were any."""
        done = self.bus.drain()
        while self._untold:
            try:
                self.bus.publish_nowait(self._untold[0])
            except LaneFullError:
                break
            self._untold.popleft()
            done += self.bus.drain()
        if self.dispatcher.faults.raised is not None:
            raised, self.dispatcher.faults.raised = self.dispatcher.faults.raised, None
            raise raised
        return done > 0

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

    def publish_bars(self, bars: Iterable[Event]) -> None:
        """Publish bars, and drain in between so that many at once don't push each other out."""
        for number, bar in enumerate(bars, start=1):
            self.tell(bar)
            if number % BARS_AT_ONCE == 0:
                self.drain()


class LiveTurns(Turns):
    """Turns that whoever brings something schedules on the running event loop.

    now : the time that turns get, ns. speed : how fast that time passes. on_failure : told what a turn raised.
    """

    def __init__(
        self,
        *,
        now: Callable[[], int],
        speed: float,
        slice_ns: int,
        wait: Literal["park", "spin"],
        collector: IdleCollector | None,
        on_failure: Callable[[BaseException], None],
        **shared: object,
    ) -> None:
        super().__init__(**shared)  # type: ignore[arg-type]  # the options of Turns
        self._now = now
        self._speed = speed
        self._slice_ns = slice_ns
        self._spins = wait == "spin"
        self._collector = collector
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_ns: int | None = None
        self._closed = False

    def turn(self) -> bool:
        """Run one turn; True: there is more to do."""
        now_ns = self._now()
        self.clock.advance_to(now_ns)
        acted = False
        while self.fire_next(now_ns):
            acted = True
            self.drain()
        self.publish_bars(self.bars.take())
        acted |= self.drain()
        if acted and self._mark is not None:
            self._mark("turn", now_ns)
        self.dispatcher.dispatch(max_ns=self._slice_ns)
        self.drain()
        return not (self.dispatcher.is_caught_up and self.is_at_rest)

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

    def _run(self) -> None:
        self._scheduled = False
        if self._closed:
            return
        try:
            more = self.turn()
        except BaseException as error:  # noqa: BLE001 - handed to whoever runs the engine
            self._on_failure(error)
            return
        if self._collector is not None:
            self._collector.look(idle=not more)
        if more or self._spins:
            self.schedule()
        else:
            self._arm()

    def _arm(self) -> None:
        """Have a turn when the next timer or bar close is due."""
        due_ns = self.due_ns
        if due_ns == self._alarm_ns:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_ns, self._alarm = due_ns, None
        if due_ns is not None:
            wait_s = max(0.0, (due_ns - self._now()) / self._speed / 1e9)
            self._alarm = self._loop.call_later(wait_s, self._ring)

    def _ring(self) -> None:
        self._alarm_ns, self._alarm = None, None
        self.schedule()


class IdleCollector:
    """``gc="idle"``: rubbish is collected when there is nothing else to do.

    What lives when the strategies have started is frozen: no collection looks at it again.
    """

    def __init__(self) -> None:
        self._was_enabled = gc.isenabled()
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
        gc.unfreeze()
        if self._was_enabled:
            gc.enable()
