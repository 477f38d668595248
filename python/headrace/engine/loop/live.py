"""LiveDriver: turns that new input schedules on the event loop.

::

    tick, event, timer ─▶ schedule ─▶ turn: ticks ─▶ drain ─▶ what is due next ─▶ drain ─▶ … for ``slice_ns`` ─▶ sleep,
                                       │                                                                or again
                                       └ stops before a tick that is not due yet, and behind one that an event came of

What happens behind a stall
    Ticks, bars, timers and fills come in the order of their times, however many ticks wait. Handlers see the time of
    what is due; orders are judged and stamped by the real time.

Guarantees: a turn never waits; while only ticks are due, a turn is one native call.
Does not: pace live feeds; a recording is paced by its receive times at a finite speed.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING

from headrace._native import PumpStatus
from headrace.engine.idle_gc import IdleCollector
from headrace.engine.loop.driver import Driver
from headrace.errors import ReentrantDispatchError
from headrace.feeds.listings import listings_of
from headrace.market.clock import Mode, PacedClock, UserClock, WallClock, seconds_until

if TYPE_CHECKING:
    from collections.abc import Callable

    import headrace._native as _native
    from headrace.bus import EventBus
    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.engine.loop.driver import Steps
    from headrace.engine.options import EngineOptions
    from headrace.engine.repeat import RunLog
    from headrace.feeds.base import Frame
    from headrace.feeds.sources import Sources
    from headrace.market.clock import Clock, EngineClock

__all__ = ["LiveDriver"]

log = logging.getLogger(__name__)

# How often the driver looks whether asynchronous consumers have caught up, when everything else has.
LOOK_S = 0.002


class LiveDriver(Driver):
    """Moves a live engine on. options : of the engine. log : in which turns and calls are noted."""

    mode = Mode.LIVE

    def __init__(
        self, clock: EngineClock, bus: EventBus, dispatcher: Dispatcher, options: EngineOptions, log: RunLog | None
    ) -> None:
        super().__init__(clock, bus, dispatcher)
        self._options = options
        self._log = log
        live_turn = dispatcher.live_turn(bus.core)
        self._ticks, self._frame, self._reach = live_turn.run, live_turn.take_frame, live_turn.reach
        self._next_due_ns, self._behind_ns = live_turn.due_ns, live_turn.behind_ns
        self._slice_ns = options["slice_ns"]
        self._collector: IdleCollector | None = None
        self._source: Clock = WallClock() if options["clock"] is None else UserClock(options["clock"])
        self._now_ns = self._source.now_ns
        # The source's time is behind it: a tick of then is not on the ring yet. None: all that are due are.
        self._hold_ns: int | None = None
        self._sources: Sources | None = None
        # None before it is started and after it is closed.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._over: asyncio.Future[str] | None = None
        self._scheduled = False
        self._is_turning = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_ns: int | None = None

    # The phases of a run

    async def start(self, sources: Sources) -> None:
        """Open the sources; a recording without live feeds beside it sets the time of its own."""
        await sources.open()
        self._sources = sources
        first_ns, speed = await sources.first_ns(), self._options["speed"]
        if first_ns is not None and not sources.live:
            if self._options["clock"] is None:
                self._source = PacedClock(first_ns, 1.0 if speed is None else speed)
            self._hold_ns, self._now_ns = first_ns, self._held_now_ns
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._over = self._loop.create_future()
        self.clock.advance_to(self._now_ns())
        await self.bus.start(wake=self.schedule_from_thread)
        if self._log is not None:
            self._log.open(self.bus, self.dispatcher, sources.logged(), listings_of(sources.live))

    async def run(self, steps: Steps) -> str:
        """Take what the feeds bring until they have ended, or until ``finish``."""
        assert self._over is not None
        assert self._sources is not None
        self.schedule()
        if self._options["wait"] == "spin":
            self._spin()
        feeding = None
        if self._sources.feeds:
            feeding = asyncio.create_task(self._feed(self._sources, steps), name="headrace-feeds")
            feeding.add_done_callback(self._feeding_ended)
        try:
            return await self._over
        finally:
            if feeding is not None and not feeding.done():
                feeding.cancel()
                await asyncio.wait({feeding})

    def _held_now_ns(self) -> int:
        now_ns = self._source.now_ns()
        return now_ns if self._hold_ns is None else min(now_ns, self._hold_ns)

    def hold_at(self, ts_ns: int | None) -> None:
        """Let time go on up to the next tick of recorded feeds, and have a turn. None: without a limit."""
        self._hold_ns = ts_ns
        self.schedule()

    async def _feed(self, sources: Sources, steps: Steps) -> None:
        reason = await sources.bring_all(self._source, self)
        while not steps.is_drained():  # noqa: ASYNC110 - a task that rests signals nothing
            await asyncio.sleep(LOOK_S)
        steps.stop(reason)

    def _feeding_ended(self, feeding: asyncio.Task[None]) -> None:
        if not feeding.cancelled() and (error := feeding.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_exception(error)

    def stop(self) -> None:
        """Change nothing: a live run ends on the event loop, by ``finish``."""

    def finish(self, reason: str) -> None:
        """Let ``run`` return with this reason."""
        if self._over is not None and not self._over.done():
            self._over.set_result(reason)

    async def drain_all(self, is_quiet: Callable[[], bool], remaining_s: Callable[[], float]) -> None:
        """Have turns until nothing is left or the time is over; deliver open windows, and what follows from them."""
        await self._turn_until(is_quiet, remaining_s)
        self.mark("leave")
        await self._finish(remaining_s)
        await self._turn_until(is_quiet, remaining_s)

    async def _turn_until(self, is_quiet: Callable[[], bool], remaining_s: Callable[[], float]) -> None:
        self.drain()
        # Polled: a task that comes to rest signals nothing.
        while remaining_s() > 0 and (self.turn() or not is_quiet()):  # noqa: ASYNC110
            await asyncio.sleep(0 if not self.dispatcher.is_caught_up else LOOK_S)

    async def _finish(self, remaining_s: Callable[[], float]) -> None:
        while True:
            try:
                self.dispatcher.finish()
            except ReentrantDispatchError as error:
                # A strategy is still in its handler, in a thread of its own.
                if remaining_s() <= 0:
                    log.warning("a strategy is still in its handler when the engine ends: %s", error)
                    return
                await asyncio.sleep(LOOK_S)
            else:
                return

    def freeze(self) -> None:
        """Freeze what lives now and collect only when idle, under ``gc="idle"``."""
        if self._options["gc"] == "idle":
            self._collector = IdleCollector()

    def close(self) -> None:
        """Schedule no more turns and restore the collector. May be called twice."""
        self._loop = None
        if self._alarm is not None:
            self._alarm.cancel()
        collector, self._collector = self._collector, None
        if collector is not None:
            collector.close()

    # The log

    def mark(self, kind: str, payload: object = None) -> None:
        """Note in the dispatch log what is done now."""
        if self._log is not None:
            self._log.mark(kind, payload)

    def drain(self) -> bool:
        """Pass events on where there are any; a repetition does so at the same place and time, and nowhere else."""
        if self.is_at_rest:
            self.raise_faults()
            return False
        self._note_turn(None)
        return super().drain()

    def settle(self, by_ns: int) -> None:
        """Do what was due first, as the dispatch log then says."""
        self._note_turn(by_ns)
        super().settle(by_ns)

    def _note_turn(self, by_ns: int | None) -> None:
        """Note that events are passed on now, and before that what is due by a time, if there is one."""
        self.mark("turn", (self.clock.real.now_ns(), by_ns))

    # Turns

    def turn(self) -> bool:
        """Run one turn; True: there is more to do."""
        until_ns = time.monotonic_ns() + self._slice_ns
        while True:
            now_ns = self._now_ns()
            # Mostly there are only ticks, and nothing follows from them: then this is the whole turn.
            more = None if self._calls or self._unpublished else self._ticks(now_ns, self._slice_ns)
            if not self._rest_of_step(more, now_ns):
                return False
            # An event that is awaited, and whatever else the loop has, comes before the next tick.
            if time.monotonic_ns() >= until_ns or not self.bus.is_idle:
                return True

    def _rest_of_step(self, more: bool | None, now_ns: int) -> bool:  # noqa: FBT001 - what the native turn returned
        """Do what comes between two ticks; True: there is more to do."""
        if more is False and not self._calls:
            return False
        if more is None:
            self._do_due(now_ns)
            is_behind = self._behind_ns() is not None
        else:
            self.drain()
            is_behind = False
        return is_behind or not (self.dispatcher.is_caught_up and self.is_at_rest)

    def _do_due(self, now_ns: int) -> None:
        """Pass events on; dispatch the ticks before what is due first, and do that."""
        self.clock.native.set_real(now_ns)
        due_ns = self._behind_ns()
        self.clock.advance_to(now_ns if due_ns is None else due_ns)
        self._note_turn(None)
        self._pass_on()
        if due_ns is None and self.bus.has_ready and self.dispatcher.is_caught_up:
            return  # Events go on in the next step, which has a mark of its own.
        next_ns = self._reach(self._slice_ns)
        self.drain()
        if due_ns is not None and next_ns is not None:
            self.settle(min(now_ns, next_ns))

    def call_soon(self, call: Callable[[], None]) -> None:
        """Call a function between two dispatches. May be called from any thread."""
        super().call_soon(call)
        self.schedule_from_thread()

    def set_alarm(self, due_ns: int | None) -> None:
        """Note when the next timer is due; one that a thread or a task sets is armed by a turn of its own."""
        super().set_alarm(due_ns)
        if due_ns is not None and not self._is_turning and (self._alarm_ns is None or due_ns < self._alarm_ns):
            self.schedule_from_thread()

    def schedule(self) -> None:
        """Have a turn soon; more calls before it change nothing."""
        if not self._scheduled and self._loop is not None:
            self._scheduled = True
            self._loop.call_soon(self._run_scheduled)

    def schedule_from_thread(self) -> None:
        """Have a turn soon. May be called from any thread."""
        loop = self._loop
        if loop is None:
            return
        if threading.get_ident() == self._thread:
            # No other thread has to be woken, which would cost a system call.
            self.schedule()
        else:
            loop.call_soon_threadsafe(self.schedule)

    def run_now(self) -> None:
        """Have a turn at once; soon, when one is running."""
        if self._loop is None:
            return
        if self._is_turning:
            self.schedule()
            return
        try:
            self._is_turning = True
            try:
                more = self.turn()
            finally:
                self._is_turning = False
            self._after_turn(more=more)
        except BaseException as error:  # noqa: BLE001 - raised by ``run``
            self._fail(error)

    def take_frame(self, pump: _native.Pump, source: int, frame: Frame) -> PumpStatus:
        """Publish a frame and have a turn; one native call while only ticks are due.

        Returns the pump's status. Raises what the pump raises, and what a strategy raised.
        """
        if self._is_turning or self._calls or self._unpublished or self._loop is None:
            status = pump.take_frame(source, *frame)
            self.run_now()
            return status
        self._is_turning = True
        try:
            now_ns = self._now_ns()
            status, done = self._frame(pump, (source, *frame), now_ns, self._slice_ns)
            more = self._rest_of_step(done, now_ns)
        except (KeyboardInterrupt, SystemExit, GeneratorExit) as error:
            # Not into a feed's callback.
            self._fail(error)
            return PumpStatus.STOPPED
        finally:
            self._is_turning = False
        self._after_turn(more=more)
        return status

    def _after_turn(self, *, more: bool) -> None:
        if self._collector is not None:
            self._collector.look(idle=not more)
        if self._log is not None:
            self._log.turn_over(idle=not more)
        if more:
            self.schedule()
        else:
            self._arm()

    def _spin(self) -> None:
        """Keep the event loop looking at its sockets, without a pause; a turn only where one is due."""
        if self._loop is None:
            return
        self._loop.call_soon(self._spin)
        # By the engine's clock: one of the user's may be faster than the loop's.
        if self._alarm_ns is not None and self._now_ns() >= self._alarm_ns:
            self.run_now()

    def _run_scheduled(self) -> None:
        self._scheduled = False
        self.run_now()

    def _arm(self) -> None:
        """Have a turn when the next timer, bar close or window is due."""
        due_ns = self._next_due_ns()
        if due_ns == self._alarm_ns or self._loop is None:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_ns, self._alarm = due_ns, None
        if due_ns is not None and self._hold_ns is not None and due_ns > self._hold_ns:
            self._alarm_ns = None  # The next tick has a turn of its own, which looks again.
        elif due_ns is not None:
            self._alarm = self._loop.call_later(seconds_until(self._source, due_ns), self._ring)

    def _ring(self) -> None:
        self._alarm_ns, self._alarm = None, None
        self.schedule()
