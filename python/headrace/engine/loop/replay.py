"""ReplayDriver: at each T what is due, then T's ticks, each resolved before anything of T + 1.

Guarantees: the order of events depends on the input alone, never on the wall clock.
Does not: wait for real time, but for a finite ``speed``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from headrace._native import PumpStatus
from headrace.engine.loop.candles import Candles
from headrace.engine.loop.driver import BARS_AT_ONCE, EVENTS_AT_ONCE, Driver
from headrace.errors import RecordingError
from headrace.feeds.progress import PROGRESS_EVERY_NS, ProgressReports
from headrace.limits import BARRIER_S
from headrace.market.clock import Mode, PacedClock
from headrace.market.user_errors import called

if TYPE_CHECKING:
    from collections.abc import Callable

    import headrace._native as _native
    from headrace.bus import AuditRunner, EventBus
    from headrace.commands import CommandBus
    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.engine.loop.driver import Steps
    from headrace.engine.options import EngineOptions
    from headrace.feeds.sources import Sources
    from headrace.market.clock import EngineClock
    from headrace.market.events import Bar

__all__ = ["ReplayDriver"]


class ReplayDriver(Driver):
    """Moves a replay on.

    options : of the engine. commands : T is over when none is in flight. audit : ends the run that it cannot record.
    candles : of the run, without streams.
    """

    mode = Mode.REPLAY

    def __init__(
        self,
        clock: EngineClock,
        bus: EventBus,
        dispatcher: Dispatcher,
        options: EngineOptions,
        *,
        commands: CommandBus,
        audit: AuditRunner | None,
        candles: _native.CandleMerge,
    ) -> None:
        super().__init__(clock, bus, dispatcher)
        speed = options["speed"]
        self._speed: float | Literal["max"] = "max" if speed is None else speed
        PacedClock(0, self._speed)  # Refuses what is no speed before any file is opened.
        self._options = options
        self._commands = commands
        self._audit = audit
        self._native = candles
        # Judges the margin of an account at closed candles; None: there is none.
        self.judge_candles: Callable[[list[Bar]], None] | None = None
        self._candles: Candles | None = None
        self._pass_quiet: Callable[[], int] | None = None
        self._progress: ProgressReports | None = None
        # How long the pump goes on without a return.
        self._pump_max_ns: int | None = None
        self._sources: Sources | None = None

    async def start(self, sources: Sources) -> None:
        """Open the sources; the clock begins with their first item."""
        self._sources = sources
        if (progress := self._options["progress"]) is not None:
            self._progress, self._pump_max_ns = ProgressReports(progress, sources.feeds), PROGRESS_EVERY_NS
        await sources.open()
        first_ns = await sources.first_ns()
        if sources.candles:
            self._candles = Candles(self, sources, self._native, self._options["broker"], self.judge_candles)
            await self._candles.fill()
            first_ns = min((own for own in (first_ns, self._candles.due_ns) if own is not None), default=None)
        self.clock.advance_to(first_ns or 0)

    async def run(self, steps: Steps) -> str:  # noqa: ARG002 - a replay calls none of them
        """Replay to the end of the sources, or until stopped."""
        assert self._sources is not None
        sources, pump = self._sources, self._sources.pump
        pump.watch_bus(self.bus.core)
        audited = f"{type(self._audit).__name__}.check"
        try:
            pace = PacedClock(self.clock.now_ns(), self._speed)
            if self._candles is not None:
                self._begin(self._candles)
            await self.barrier()
            while True:
                status, argument = pump.run(pace.due_ns(), max_ns=self._pump_max_ns)
                if status is PumpStatus.DRAIN:
                    await self.barrier()
                elif status is PumpStatus.NEED:
                    await self._give(argument)
                elif status is PumpStatus.UNTIL:
                    await sources.wait(pace.wait_s(argument))
                elif status is PumpStatus.ALARM:
                    await self._resolve_due(argument)
                elif status is PumpStatus.ASYNC:
                    await self.dispatcher.drain_async()
                    await self.barrier()
                elif status is PumpStatus.STOPPED or (
                    status is PumpStatus.END and not await self._go_on_with_candles(pace)
                ):
                    break
                self.dispatcher.keep_rejects(pump)
                if self._audit is not None:
                    called(self._audit.check, audited)
                if self._progress is not None:
                    self._progress.report(ticks=self.dispatcher.ring.cursor, now_ns=self.clock.now_ns())
            self.dispatcher.keep_rejects(pump)
            if status is PumpStatus.END:
                await self._finish()
        finally:
            pump.watch_bus(None)
        return "feeds ended"

    def _begin(self, candles: Candles) -> None:
        """Make the bars that strategies take, and find out whether candles may pass natively."""
        candles.make(self.bars.specs)
        if self._speed == "max":
            waiting = self._calls, self._unpublished
            self._pass_quiet = candles.quiet_run(
                self._commands, waiting, events_max=EVENTS_AT_ONCE, bars_max=BARS_AT_ONCE
            )
        self.set_alarm(self.timers.due_ns)

    async def _go_on_with_candles(self, pace: PacedClock) -> bool:
        """Behind the last tick, resolve the next times of candles once they are due; False: there are no more."""
        due_ns = None if self._candles is None else self._candles.due_ns
        if due_ns is None:
            return False
        if due_ns > pace.due_ns():
            assert self._sources is not None
            await self._sources.wait(pace.wait_s(due_ns))
        elif self._pass_quiet is not None and self._pass_quiet():
            await self._settle_candles()
        else:
            await self._resolve_due(due_ns)
        return True

    async def _give(self, source: int) -> None:
        """Take the next item of a source; when it is damaged there, deliver what came whole before, then raise."""
        assert self._sources is not None
        try:
            await self._sources.give(source)
        except RecordingError:
            self.dispatcher.dispatch()
            await self.dispatcher.drain_async()
            await self._finish()
            raise

    async def _finish(self) -> None:
        """Deliver what waits for the end of a window or an interval, and resolve it."""
        self.dispatcher.finish()
        await self.dispatcher.drain_async()
        await self.barrier()

    def call_soon(self, call: Callable[[], None]) -> None:
        """Call a function when T's ticks are dispatched, before anything of T + 1."""
        super().call_soon(call)
        self.set_alarm(self.timers.due_ns)

    def set_alarm(self, due_ns: int | None) -> None:
        """Stop the pump before the next timer is due, and before T + 1 while a call waits."""
        self._native.set_timer(due_ns)
        dues = [due for due in (due_ns, self._candles_ns) if due is not None]
        super().set_alarm(self.clock.now_ns() if self._calls else min(dues, default=None))

    @property
    def _candles_ns(self) -> int | None:
        return None if self._candles is None else self._candles.due_ns

    @property
    def due_ns(self) -> int | None:
        """When the next timer, bar close or candle is due."""
        dues = [due for due in (super().due_ns, self._candles_ns) if due is not None]
        return min(dues) if dues else None

    def fire_next(self, now_ns: int) -> bool:
        """Do what is due first. At one time: bars made from ticks, closes of candles, timers, opens of candles."""
        candles, due_ns = self._candles, self.due_ns
        if candles is None or due_ns is None or candles.due_ns != due_ns or self.bars.due_ns == due_ns:
            return super().fire_next(now_ns)
        if due_ns > now_ns or (candles.is_open_next and self.timers.due_ns == due_ns):
            return super().fire_next(min(now_ns, due_ns))
        self.clock.advance_to(due_ns)
        candles.step()
        return True

    async def settle_end(self) -> None:
        """Resolve what the end of the run published."""
        await self.barrier()

    @property
    def _is_quiet(self) -> bool:
        """Whether nothing is left to do at T: a barrier would return at once."""
        return (
            self.is_at_rest and self.bus.is_idle and not self.bars.has_closed and not self._commands.in_flight
        ) and self.dispatcher.faults.raised is None

    async def barrier(self) -> None:
        """Return when nothing is left to do at T. Raises DeadlockError, and what ends the run."""
        while True:
            if self.bars.has_closed:
                self.publish_bars(self.bars.take())
            self.drain()
            if not self.bus.is_idle:
                await self.bus.wait_until_idle(BARRIER_S)
            elif self._commands.in_flight:
                await asyncio.sleep(0)
            elif not (self._unpublished or self._calls):
                # An idle bus has nothing ready either: it is at rest.
                return

    async def _resolve_due(self, until_ns: int) -> None:
        """Make the waiting calls; fire everything that is due by ``until_ns``, each at its own time, and resolve it."""
        if self._calls:
            await self.barrier()
        # The calls may be made already, by the barrier behind an async handler.
        self.set_alarm(self.timers.due_ns)
        while self.fire_next(until_ns):
            await self._settle_candles()

    async def _settle_candles(self) -> None:
        """Resolve what is left to do at T, and find out when the next candles are due."""
        if not self._is_quiet:
            await self.barrier()
        if self._candles is not None:
            await self._candles.fill()
            self.set_alarm(self.timers.due_ns)
