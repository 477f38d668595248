"""EngineRun: the phases of one run of an engine, in their order.

::

    set up ─▶ wire ─▶ execute ─▶ leave ─▶ close          (what each does: ``engine``)

What happens when
    a phase raises: what was opened is closed, in the opposite order, and the error goes on.
    the run is stopped before it began, or while it is set up: it ends as soon as it is ready, or after 10 s.

Guarantees: the bus closes after the last service has left it, and the audit is synced after the bus (``shutdown``).
Does not: own the parts; the engine does.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from headrace.engine.breakers import follow_breakers
from headrace.engine.loop import Steps
from headrace.engine.loop_watch import LoopWatch
from headrace.engine.report import report_of
from headrace.engine.shutdown import Shutdown
from headrace.engine.watches import Watches
from headrace.errors import RecordingError
from headrace.feeds.listings import follow_listings
from headrace.feeds.sources import Sources
from headrace.limits import DRAIN_S, FORCE_STEP_S
from headrace.market.clock import Mode
from headrace.market.events import Signal
from headrace.market.user_errors import called
from headrace.market.user_waits import returned
from headrace.market.wording import counted
from headrace.telemetry.logs import market_time
from headrace.trading.brokers import call_broker
from headrace.trading.engine_register import registered
from headrace.trading.kill_switch import KillSwitch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    from headrace.engine.parts import EngineParts
    from headrace.market.events import Event
    from headrace.strategies.runner import StrategyRunner

__all__ = ["EngineRun"]

log = logging.getLogger(__name__)

# How soon a thread that computes lets the loop in: the interpreter's default is ten times as long.
SWITCH_INTERVAL_S = 0.0005


class EngineRun:
    """One run of an engine's parts. repeat_command : handles a command of a logged run again."""

    def __init__(
        self, parts: EngineParts, repeat_command: Callable[[Mapping[str, Any]], Awaitable[object]] | None = None
    ) -> None:
        self._parts = parts
        self._repeat_command = repeat_command
        self._reason = ""
        self._forced_by = ""
        self._undo = ExitStack()
        self.sources = Sources(
            parts.feeds,
            parts.dispatcher,
            ends=parts.feed_ends,
            recorder=parts.recorder,
            tracer=parts.options["traces"],
            quality=parts.quality,
            is_stopped=lambda: bool(self.ended_by),
        )
        self.end = Shutdown(parts, self.sources)
        self._forced_cancels = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[object] | None = None
        self._ready = asyncio.Event()
        self._late: asyncio.TimerHandle | None = None
        self._began_s = self._ended_s = 0.0

    # From outside

    async def until_ready(self, run: asyncio.Task[object]) -> None:
        """Return when ``run`` is ready; raise what ended it before. A caller that stops waiting ends it."""
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait({ready, run}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            run.cancel()
            await asyncio.wait({run})
            raise
        finally:
            ready.cancel()
        if run.done():
            run.result()

    def stop(self, reason: str) -> None:
        """Drain and end; from any thread, and in a signal handler."""
        if self._reason:
            return
        self._reason = reason
        self._parts.driver.stop()
        self.call(self._stop)

    def force(self, reason: str) -> None:
        """End now; from any thread, and in a signal handler."""
        self._forced_by = self._forced_by or reason
        self.end.waits.force()
        self._parts.dispatcher.stop()
        self.call(self._cancel)

    def call(self, call: Callable[[], object]) -> bool:
        """Have the loop call a function, from any thread; False: there is no loop."""
        if self._loop is None or self._loop.is_closed():
            return False
        self._loop.call_soon_threadsafe(call)
        return True

    @property
    def ended_by(self) -> str:
        """Why it ends, by the first reason given; what forced it, if it was forced. Empty while it runs."""
        return f"{self._forced_by}, forced" if self._forced_by else self._reason

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped before its feeds or its log ended."""
        return bool(self._forced_by) or self._reason not in ("", "feeds ended", "log ended")

    @property
    def wall_s(self) -> float:
        """How long it has executed, or did: from the first item to the last."""
        if not self._began_s:
            return 0.0
        return (self._ended_s or time.monotonic()) - self._began_s

    def _ends(self, reason: str) -> None:
        self._reason = self._reason or reason

    def _stop(self) -> None:
        self._parts.driver.finish(self.ended_by)
        if self._loop is not None and not self._ready.is_set():
            # What hangs before anything runs may hang as long as what drains.
            self._late = self._loop.call_later(DRAIN_S, self._stop_setting_up)

    def _stop_setting_up(self) -> None:
        if not self._ready.is_set():
            log.error("engine %s was still setting up %.0f s after it was stopped", self._parts.name, DRAIN_S)
            self.force(self._reason)

    def _cancel(self) -> None:
        # Not when it has ended: the task may be its user's own.
        if self._task is not None:
            self._forced_cancels += 1
            self._task.cancel()

    # The phases

    async def run(self) -> None:
        """Go through all phases. Raises what ended it early; nothing when it was forced."""
        async with LoopWatch():
            await self._run()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        parts = self._parts
        try:
            with self.end.waits.of_this_run(), self._undo:
                if parts.log is not None:
                    # The last line is written when no thread dispatches any more.
                    self._undo.callback(parts.log.close)
                self._undo.callback(parts.dispatcher.close)
                if parts.kill_switch is not None:
                    self._undo.callback(parts.kill_switch.close)
                self._undo.callback(parts.driver.close)
                try:
                    if not self.end.is_forced:
                        await self._set_up()
                        async with asyncio.TaskGroup() as group:
                            await self._execute_and_leave(group)
                finally:
                    await self.end.close()
        except (asyncio.CancelledError, KeyboardInterrupt):
            self._ends("cancelled")
            if self._is_cancelled_by_others() or not self.end.is_forced:
                raise
        except BaseException as raised:
            self._ends("error")
            first = _first(raised)
            error = await self.sources.explained(first)
            if isinstance(error, RecordingError):
                # Of a recording that broke off, the report up to there.
                error.report = report_of(parts, self)
            if error is raised:
                raise
            raise error from (first.__cause__ if error is first else first)
        finally:
            self._task = None
            if self._late is not None:
                self._late.cancel()

    def _is_cancelled_by_others(self) -> bool:
        """Take our own cancellations back, and return whether there are others."""
        assert self._task is not None
        for _ in range(self._forced_cancels):
            self._task.uncancel()
        return self._task.cancelling() > 0

    async def _execute_and_leave(self, group: asyncio.TaskGroup) -> None:
        try:
            await self._execute(group)
        except BaseException:
            await self.end.leave(self.ended_by or "it failed, or was cancelled", has_failed=True)
            raise
        await self.end.leave(self.ended_by, has_failed=False)

    async def _set_up(self) -> None:
        parts, undo = self._parts, self._undo
        # The parts may have been made in another thread.
        parts.bus.core.adopt_thread()
        if parts.mode is Mode.LIVE:
            undo.enter_context(_switch_interval())
        else:
            undo.enter_context(market_time(parts.clock.now_ns))
        if isinstance(parts.kill_switch, KillSwitch):
            undo.enter_context(registered(parts.name, parts.kill_switch.path.parent))
        if parts.audit is not None:
            called(parts.audit.attach, f"{type(parts.audit).__name__}.attach", parts.bus)
        await parts.driver.start(self.sources)
        if parts.warmup is not None:
            parts.warmup.begins_ns = parts.clock.now_ns()
        parts.candle_lengths.update(self.sources.candle_lengths())
        follow_breakers(parts)
        parts.listings.open(self.sources.live)
        undo.callback(follow_listings, self.sources.live, None)
        if self.ended_by:
            self._stop()
        if parts.broker is not None:
            undo.callback(call_broker, parts.broker, "close")
            call_broker(parts.broker, "attach", parts.broker_context)
        parts.money.attach(undo)
        if parts.options["sizing"] is not None:
            parts.bus.subscribe(Signal, self._order_from, name="orders.from_signal")
        parts.dispatcher.faults.on_quarantine = self._on_quarantine
        undo.callback(parts.dispatcher.faults.disconnect)
        parts.dispatcher.books.fetch = self._fetch_snapshot
        undo.callback(parts.dispatcher.books.disconnect)
        await parts.commands.start()
        await parts.services.setup()
        for runner in parts.strategies.values():
            runner.prepare()
        for runner in parts.strategies.values():
            await runner.begin()
        for runner in parts.strategies.values():
            runner.join()
        if parts.log is not None:
            _warn_of_tasks(parts.strategies.values())
        parts.driver.freeze()
        parts.driver.raise_faults()

    async def _execute(self, group: asyncio.TaskGroup) -> None:
        parts = self._parts
        await parts.services.start(group)
        parts.driver.publish_control("ENGINE_READY")
        strategies = counted(len(parts.strategies), "strategy")
        log.info("engine %s is ready: run %s, %s", parts.name, parts.run_id, strategies)
        self._ready.set()
        steps = Steps(
            is_drained=self.end.is_drained,
            stop=self.stop,
            repeat_command=self._repeat_command,
            stop_strategies=self.end.stop_strategies,
            take_listing=parts.listings.take,
        )
        watches = Watches(parts)
        watches.start(group)
        self._began_s = time.monotonic()
        try:
            self._ends(await self._drive(steps))
            if parts.mode is Mode.REPLAY:
                watches.judge_patterns()
        finally:
            self._ended_s = time.monotonic()
            watches.stop()

    async def _drive(self, steps: Steps) -> str:
        if self._parts.mode is Mode.LIVE:
            return await self._parts.driver.run(steps)
        # It awaits the strategies' handlers itself; feeds, which it waits for too, have their time before it is left.
        return await returned(self._parts.driver.run(steps), self._awaited_handler, more_s=FORCE_STEP_S)

    def _awaited_handler(self) -> str:
        ticks = [own for runner in self._parts.strategies.values() for own in runner.subscriptions]
        return ", ".join(own.awaited.where() for own in ticks if own.awaited.is_running) or "a call of the replay"

    # What its parts call

    def _fetch_snapshot(self, instrument: str) -> None:
        """Called inside of a dispatch, in any thread; done between two of them."""
        self.call(partial(self._request_snapshot, instrument))

    def _request_snapshot(self, instrument: str) -> None:
        is_held = any(not position.is_flat for position in self._parts.positions.positions(instrument=instrument))
        self.sources.request_snapshot(instrument, int(is_held))

    def _on_quarantine(self, strategy: str, reason: str) -> None:
        """Called inside of a dispatch, in any thread; done between two of them."""
        runner = self._parts.strategies.get(strategy)
        if runner is not None:
            self._parts.driver.call_soon(partial(runner.quarantine, reason))

    def _order_from(self, signal: Event) -> None:
        assert isinstance(signal, Signal)
        self._parts.orders.from_signal(signal, self._parts.options["sizing"])


def _first(error: BaseException) -> BaseException:
    """Return the error that ended the run, from groups in groups, and log those that came with it."""
    while isinstance(error, BaseExceptionGroup):
        for other in error.exceptions[1:]:
            log.error("what ended the run was not all that failed", exc_info=other)
        error = error.exceptions[0]
    return error


@contextmanager
def _switch_interval() -> Iterator[None]:
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(min(before_s, SWITCH_INTERVAL_S))
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


def _warn_of_tasks(runners: Iterable[StrategyRunner]) -> None:
    """Log which strategies a repetition may not follow."""
    for runner in runners:
        awaited = [
            name for name in runner.async_callbacks if name in ("on_bar", "on_bars", "on_signal", "on_order", "on_fill")
        ]
        if awaited:
            log.warning(
                "%s awaits %s: the event loop decides when they run, so a repetition of this log may differ",
                *(runner.name, ", ".join(awaited)),
            )
