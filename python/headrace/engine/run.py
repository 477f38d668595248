"""EngineRun: the phases of one run of an engine, in their order, and its end.

::

    set up ─▶ wire ─▶ execute ─▶ leave ─▶ close          (what each does: ``engine``)

What happens when
    something raises, in whatever phase: what was opened is closed, in the opposite order, and the error goes on.
    it is stopped before it began, or while it is set up: it ends as soon as it is ready, or after 10 s.

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
from typing import TYPE_CHECKING

from headrace.engine.loop import IdleCollector, LiveTurns, ReplayTurns, Turns
from headrace.engine.repeat import RunLog
from headrace.engine.shutdown import LOOK_S, Shutdown
from headrace.feeds.live import LiveSource
from headrace.feeds.sources import Intake
from headrace.limits import DRAIN_S, HALT_S
from headrace.market.clock import PacedClock, WallClock
from headrace.market.events import OrderEvent, Signal
from headrace.trading.brokers.base import BrokerDesk

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from headrace.commands import Command
    from headrace.engine.builtin_commands import BuiltinCommands
    from headrace.engine.parts import EngineParts
    from headrace.market.events import Event, Lane
    from headrace.trading.kill_switch import HaltChange, HaltWatch

__all__ = ["EngineRun"]

log = logging.getLogger(__name__)

# How soon a thread that computes lets the loop in: the interpreter's default is ten times as long.
SWITCH_INTERVAL_S = 0.0005


class EngineRun:
    """One run. Its parts are the engine's."""

    def __init__(self, engine: EngineParts, builtin: BuiltinCommands, halt_watch: HaltWatch | None) -> None:
        self._engine = engine
        self._builtin = builtin
        self._halt_watch = halt_watch
        self._log: RunLog | None = None
        self._options = engine.options
        self._reason = ""
        self._forced_by = ""
        self._undo = ExitStack()
        self._intake = Intake(engine.feeds, engine.dispatcher, lambda: bool(self.ended_by))
        self._end = Shutdown(engine, self._intake)
        self._forced_cancels = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[object] | None = None
        self._ready = asyncio.Event()
        self._over: asyncio.Future[str] | None = None
        self._late: asyncio.TimerHandle | None = None

    # From outside

    async def until_ready(self, run: asyncio.Task[object]) -> None:
        """Return when ``run`` is ready; raise what ended it before. Who stops waiting ends it."""
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
        if self._engine.replay:
            self._engine.dispatcher.stop()
        self.call(self._stop)

    def force(self, reason: str) -> None:
        """End now; from any thread, and in a signal handler."""
        self._forced_by = self._forced_by or reason
        self._end.is_forced = True
        self._engine.dispatcher.stop()
        self.call(self._cancel)

    def call(self, call: Callable[[], object]) -> bool:
        """Have the loop call something, from any thread; False: there is none."""
        if self._loop is None or self._loop.is_closed():
            return False
        self._loop.call_soon_threadsafe(call)
        return True

    @property
    def ended_by(self) -> str:
        """Why it ends, by whoever said so first; by whom it was forced, if it was. Empty while it runs."""
        return f"{self._forced_by}, forced" if self._forced_by else self._reason

    def _ends(self, reason: str) -> None:
        self._reason = self._reason or reason

    @property
    def is_forced(self) -> bool:
        """Whether it was told to end at once."""
        return self._end.is_forced

    @property
    def left(self) -> Mapping[Lane, int]:
        """The events that nobody got, by lane."""
        return self._end.left

    def _stop(self) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(self.ended_by)
        if self._loop is not None and not self._ready.is_set():
            # What hangs before anything runs hangs no longer than what drains.
            self._late = self._loop.call_later(DRAIN_S, self._stop_setting_up)

    def _stop_setting_up(self) -> None:
        if not self._ready.is_set():
            log.error("engine %s was still setting up %.0f s after it was stopped", self._engine.name, DRAIN_S)
            self.force(self._reason)

    def _cancel(self) -> None:
        # Not when it has ended: the task may be its user's own.
        if self._task is not None:
            self._forced_cancels += 1
            self._task.cancel()

    # The phases

    async def run(self) -> None:
        """Go through all phases. Raises what ended it early; nothing when it was forced."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._over = self._loop.create_future()
        if self.ended_by:
            self._stop()
        try:
            with self._undo:
                # The last line is written when no thread dispatches any more.
                self._undo.callback(self._close_log)
                self._undo.callback(self._engine.dispatcher.close)
                if self._engine.kill_switch is not None:
                    self._undo.callback(self._engine.kill_switch.close)
                try:
                    if not self.is_forced:
                        await self._set_up()
                        async with asyncio.TaskGroup() as group:
                            await self._execute_and_leave(group)
                finally:
                    await self._end.close()
        except (asyncio.CancelledError, KeyboardInterrupt):
            self._ends("cancelled")
            if self._is_cancelled_by_others() or not self._end.is_forced:
                raise
        except BaseExceptionGroup as errors:
            self._ends("error")
            raise _first(errors) from None
        except BaseException:
            self._ends("error")
            raise
        finally:
            self._task = None
            if self._late is not None:
                self._late.cancel()

    def _is_cancelled_by_others(self) -> bool:
        """Take our own cancellations back, and say whether there are others."""
        assert self._task is not None
        for _ in range(self._forced_cancels):
            self._task.uncancel()
        return self._task.cancelling() > 0

    async def _execute_and_leave(self, group: asyncio.TaskGroup) -> None:
        try:
            await self._execute(group)
        except BaseException:
            await self._end.leave(self.ended_by or "it failed, or was cancelled", has_failed=True)
            raise
        await self._end.leave(self.ended_by, has_failed=False)

    async def _set_up(self) -> None:
        engine, undo = self._engine, self._undo
        undo.enter_context(_switch_interval())
        if self._options.audit is not None:
            self._options.audit.attach(engine.bus)
        await self._open_feeds()
        if engine.broker is not None:
            undo.callback(engine.broker.close)
            desk = BrokerDesk(
                publish=engine.bus.publish_nowait,
                clock=engine.clock,
                dispatcher=engine.dispatcher,
                replay=engine.resolves,
                instruments=engine.gates.instruments,
                call_at=lambda due_ns, call: engine.timers.set("broker", "due", due_ns, lambda _: call()),
            )
            engine.broker.attach(desk)
        if self._options.sizing is not None:
            engine.bus.subscribe(Signal, self._order_from, name="orders.from_signal")
        engine.dispatcher.faults.on_quarantine = self._on_quarantine
        undo.callback(engine.dispatcher.faults.tell_nobody)
        await engine.commands.start()
        await engine.services.setup()
        for runner in engine.strategies.values():
            await runner.begin()
        for runner in engine.strategies.values():
            runner.join()
        self._warn_of_tasks()
        if self._options.gc == "idle":
            collector = IdleCollector()
            undo.callback(collector.close)
            engine.turns.collector = collector
        engine.turns.raise_faults()

    async def _open_feeds(self) -> None:
        """Open the feeds, which says when the run begins, and make the turns that go with its clock."""
        engine = self._engine
        self._pump = await self._intake.open()
        first_ns = await self._intake.first_ns(self._pump)
        before = engine.turns
        if engine.repeat is not None:
            engine.turns = Turns(engine.shared)
            engine.clock.advance_to(engine.repeat.now_ns)
            engine.repeat.attach(engine)
            # Its log says when to drain, and nothing else does.
            await engine.bus.start(wake=lambda: None)
        elif engine.replay:
            engine.turns = ReplayTurns(engine.shared, in_flight=lambda: engine.commands.in_flight)
            engine.clock.advance_to(first_ns or 0)
        else:
            is_paced = first_ns is not None and not self._intake.live
            usual = PacedClock(first_ns or 0, self._options.speed) if is_paced else WallClock()
            clock = self._clock = self._options.clock or usual
            engine.turns = LiveTurns(
                engine.shared,
                source=clock,
                slice_ns=self._options.slice_ns,
                wait=self._options.wait,
                on_failure=self._fail,
            )
            self._undo.callback(engine.turns.close)
            engine.clock.advance_to(clock.now_ns())
            await engine.bus.start(wake=engine.turns.schedule_from_thread)
            if self._options.dispatch_log is not None:
                self._write_log(engine.turns, self._options.dispatch_log)
        before.hand_over(engine.turns)

    def _write_log(self, turns: LiveTurns, path: str | os.PathLike[str]) -> None:
        engine = self._engine
        self._log = turns.log = RunLog(
            path,
            engine.dispatcher,
            run_id=engine.run_id,
            sources=[feed.name for feed in engine.feeds],
            config=self._options.config,
            is_halted=engine.kill_switch is not None and engine.kill_switch.is_halted,
        )
        engine.bus.subscribe((Signal, OrderEvent), self._log.decision, name="dispatch_log")

    def _warn_of_tasks(self) -> None:
        """Say which strategies a repetition by dispatch log may not follow."""
        for runner in self._engine.strategies.values():
            awaited = [
                name for name in runner.async_callbacks if name in ("on_bar", "on_signal", "on_order", "on_fill")
            ]
            if self._log is not None and awaited:
                said = (
                    "%s awaits %s: when they run is the loop's affair, so a repetition of this log may decide otherwise"
                )
                log.warning(said, runner.name, ", ".join(awaited))

    def log_command(self, command: Command) -> None:
        """Write to the dispatch log, if there is one, that a command is handled now."""
        if self._log is not None:
            self._log.command(command)

    def log_halt(self, change: HaltChange) -> None:
        """Write to the dispatch log, if there is one, that the kill switch has changed."""
        if self._log is not None:
            self._log.mark("halted", change._asdict())

    def _close_log(self) -> None:
        if self._log is not None:
            self._log.close()

    async def _execute(self, group: asyncio.TaskGroup) -> None:
        engine = self._engine
        engine.services.start(group)
        self._engine.tell_control("ENGINE_READY")
        log.info("engine %s is ready: run %s, %d strategies", engine.name, engine.run_id, len(engine.strategies))
        self._ready.set()
        if engine.repeat is not None:
            await engine.repeat.run(
                engine, self._intake, self._pump, handle=self._builtin.again, stop=self._end.stop_strategies
            )
            self._ends("log ended")
            return
        if isinstance(engine.turns, ReplayTurns):
            await self._replay(engine.turns)
            self._ends("feeds ended")
            return
        assert isinstance(engine.turns, LiveTurns)
        assert self._over is not None
        engine.turns.schedule()
        tasks = [group.create_task(self._watch_kill_switch(), name="headrace-kill-switch")]
        if engine.feeds:
            tasks.append(group.create_task(self._bring(engine.turns), name="headrace-feeds"))
        try:
            await self._over
        finally:
            for task in tasks:
                task.cancel()

    async def _replay(self, turns: ReplayTurns) -> None:
        engine, pump = self._engine, self._pump
        pump.watch_bus(engine.bus.core)
        self._undo.callback(pump.watch_bus, None)
        pace = PacedClock(engine.clock.now_ns(), self._options.speed)
        await turns.barrier()
        while True:
            status, argument = pump.run(pace.due_ns())
            if status == "need":
                await self._intake.give(pump, argument)
            elif status == "until":
                await self._intake.wait(pace.wait_s(argument))
            elif status == "alarm":
                await turns.resolve_due(argument)
            elif status == "async":
                await engine.dispatcher.drain_async()
                await turns.barrier()
            elif status == "drain":
                await turns.barrier()
            else:
                break
            self._intake.keep_rejects(pump)
            if self._options.audit is not None:
                self._options.audit.check()
        self._intake.keep_rejects(pump)
        if status == "end":
            engine.dispatcher.finish()
            await turns.barrier()

    async def _bring(self, turns: LiveTurns) -> None:
        """Publish what the feeds have as it comes, and end the run when they have ended."""
        async with asyncio.TaskGroup() as feeds:
            feeds.create_task(self._intake.bring(self._pump, self._clock, turns.schedule))
            for feed in self._intake.live:
                source = LiveSource(
                    feed, self._engine.dispatcher, turn=turns.run_now, keep_rejects=self._intake.keep_rejects
                )
                feeds.create_task(source.run(), name=f"headrace-feed-{feed.name}")
        deadline_s = time.monotonic() + DRAIN_S
        while not self._end.is_quiet() and time.monotonic() < deadline_s:  # noqa: ASYNC110 - nobody tells when a task rests
            await asyncio.sleep(LOOK_S)
        self.stop("feeds ended")

    async def _watch_kill_switch(self) -> None:
        """Publish the changes of the latch that no command has made."""
        assert self._halt_watch is not None
        while True:
            self._halt_watch.look()
            await asyncio.sleep(HALT_S)

    # What its parts tell it

    def _fail(self, error: BaseException) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_exception(error)

    def _on_quarantine(self, subscription: str, reason: str) -> None:
        """Called inside of a dispatch, in whatever thread; done between two of them."""
        for runner in self._engine.strategies.values():
            if runner.name == subscription or any(own.name == subscription for own in runner.subscriptions):
                self._engine.turns.later(partial(runner.quarantine, reason))
                return

    def _order_from(self, signal: Event) -> None:
        assert isinstance(signal, Signal)
        assert self._options.sizing is not None
        self._engine.orders.from_signal(signal, self._options.sizing)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error that ended the run; a group in a group is looked into."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
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
