"""EngineRun: the phases of one run of an engine, in their order, and its end.

::

    set up ─▶ wire ─▶ execute ─▶ leave ─▶ close          (what each does: ``engine``)

What happens when
    something raises, in whatever phase: what was opened is closed, in the opposite order, and the error goes on.
    it is forced: nothing is drained; what is left is reported.

Guarantees: the bus closes after the last service has left it, and the audit is synced after the bus.
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

from headrace.brokers.base import BrokerDesk
from headrace.clock import PacedClock, WallClock
from headrace.events import Control, Signal
from headrace.intake import Intake
from headrace.limits import DRAIN_S, HALT_S
from headrace.turns import IdleCollector, LiveTurns, ReplayTurns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from headrace.engine_parts import EngineParts
    from headrace.events import Event
    from headrace.lane import Lane

__all__ = ["EngineRun"]

log = logging.getLogger(__name__)

# How soon a thread that computes lets the loop in: the interpreter's default is ten times as long.
SWITCH_INTERVAL_S = 0.0005
# How often it is looked whether asynchronous consumers have caught up, when everything else has.
LOOK_S = 0.002


class EngineRun:
    """One run. Its parts are the engine's."""

    def __init__(self, engine: EngineParts) -> None:
        self._engine = engine
        self._options = engine.options
        self.ended_by = ""
        self.left: Mapping[Lane, int] = {}
        self._forced = False
        self._undo = ExitStack()
        self._intake = Intake(engine.feeds, engine.dispatcher, lambda: bool(self.ended_by))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[object] | None = None
        self._ready = asyncio.Event()
        self._over: asyncio.Future[str] | None = None

    # From outside

    async def until_ready(self, run: asyncio.Task[object]) -> None:
        """Return when ``run`` is ready; raise what ended it before."""
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, run}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if run.done():
            run.result()

    def stop(self, reason: str) -> None:
        """Drain and end; from any thread, and in a signal handler."""
        if self.ended_by:
            return
        self.ended_by = reason
        if self._engine.replay:
            self._engine.dispatcher.stop()
        self._from_outside(self._end)

    def force(self, reason: str) -> None:
        """End now; from any thread, and in a signal handler."""
        self.ended_by = f"{reason}, forced"
        self._forced = True
        self._engine.dispatcher.stop()
        if self._task is not None:
            self._from_outside(self._task.cancel)

    def _from_outside(self, call: Callable[[], object]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)

    def _end(self) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(self.ended_by)

    # The phases

    async def run(self) -> None:
        """Go through all phases. Raises what ended it early; nothing when it was forced."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._over = self._loop.create_future()
        try:
            with self._undo:
                try:
                    await self._set_up()
                    async with asyncio.TaskGroup() as group:
                        try:
                            await self._execute(group)
                        finally:
                            await self._leave()
                finally:
                    await self._close()
        except asyncio.CancelledError:
            if not self._forced:
                raise
            self._uncancel()
        except BaseExceptionGroup as errors:
            self.ended_by = self.ended_by or "error"
            raise _first(errors) from None
        except BaseException:
            self.ended_by = self.ended_by or "error"
            raise

    def _uncancel(self) -> None:
        assert self._task is not None
        while self._task.cancelling():
            self._task.uncancel()

    async def _set_up(self) -> None:
        engine, undo = self._engine, self._undo
        undo.callback(engine.dispatcher.close)
        undo.enter_context(_switch_interval())
        if engine.kill_switch is not None:
            undo.callback(engine.kill_switch.close)
        if self._options.audit is not None:
            self._options.audit.attach(engine.bus)
        await self._open_feeds()
        if engine.broker is not None:
            undo.callback(engine.broker.close)
            desk = BrokerDesk(
                publish=engine.bus.publish_nowait,
                clock=engine.clock,
                dispatcher=engine.dispatcher,
                replay=engine.replay,
                instruments=engine.gates.instruments,
                call_at=lambda due_ns, call: engine.timers.set("broker", "due", due_ns, lambda _: call()),
            )
            engine.broker.attach(desk)
        if self._options.sizing is not None:
            engine.bus.subscribe(Signal, self._order_from, name="orders.from_signal")
        engine.dispatcher.faults.on_quarantine = self._on_quarantine
        await engine.commands.start()
        await engine.services.setup()
        for runner in engine.strategies.values():
            await runner.begin()
        for runner in engine.strategies.values():
            runner.join()
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
        if engine.replay:
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
        before.hand_over(engine.turns)

    async def _execute(self, group: asyncio.TaskGroup) -> None:
        engine = self._engine
        engine.services.start(group)
        self._tell_control("ENGINE_READY")
        log.info("engine %s is ready: run %s, %d strategies", engine.name, engine.run_id, len(engine.strategies))
        self._ready.set()
        if isinstance(engine.turns, ReplayTurns):
            await self._replay(engine.turns)
            self.ended_by = self.ended_by or "feeds ended"
            return
        assert isinstance(engine.turns, LiveTurns)
        assert self._over is not None
        engine.turns.schedule()
        tasks = [group.create_task(self._watch_kill_switch(), name="headrace-kill-switch")]
        if engine.feeds:
            tasks.append(group.create_task(self._bring(engine.turns), name="headrace-feeds"))
        try:
            self.ended_by = await self._over
        finally:
            for task in tasks:
                task.cancel()

    async def _replay(self, turns: ReplayTurns) -> None:
        engine, pump = self._engine, self._pump
        pump.watch_bus(engine.bus.core)
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
                feeds.create_task(self._intake.take(feed, turns.run_now), name=f"headrace-feed-{feed.name}")
        deadline_s = time.monotonic() + DRAIN_S
        while not self._is_quiet() and time.monotonic() < deadline_s:  # noqa: ASYNC110 - nobody tells when a task rests
            await asyncio.sleep(LOOK_S)
        self.stop("feeds ended")

    def _is_quiet(self) -> bool:
        """Whether nobody of ours has anything left to do, those who work in threads and tasks of their own included."""
        engine = self._engine
        ticks = [own for runner in engine.strategies.values() for own in runner.subscriptions]
        behind = any(own.state == "running" and own.stats().pending for own in ticks)
        return not behind and engine.turns.is_at_rest and engine.bus.is_idle

    async def _watch_kill_switch(self) -> None:
        """Tell what somebody outside did to the latch."""
        switch = self._engine.kill_switch
        assert switch is not None
        seen = False
        while True:
            if switch.is_halted != seen:
                seen = switch.is_halted
                self._tell_control("HALTED" if seen else "REARMED", {"reason": switch.reason})
                log.warning("the kill switch %s: %s", "is thrown" if seen else "is armed again", switch.reason)
            await asyncio.sleep(HALT_S)

    # The end

    async def _leave(self) -> None:
        """Feeds stop, ring and lanes drain, strategies stop, services leave."""
        engine, turns = self._engine, self._engine.turns
        deadline_s = time.monotonic() + (0.0 if self._forced else DRAIN_S)
        await self._intake.close()
        self._tell_control("STOPPING", {"reason": self.ended_by or "error"})
        log.info("engine %s stops: %s", engine.name, self.ended_by or "error")
        turns.drain()
        if isinstance(turns, LiveTurns):
            while time.monotonic() < deadline_s and (turns.turn() or not self._is_quiet()):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0 if not engine.dispatcher.is_caught_up else LOOK_S)
            if not self._forced:
                engine.dispatcher.finish()
        for runner in engine.strategies.values():
            if runner.life.allows("stop"):
                await runner.stop("the engine ends")
        turns.drain()
        self._tell_control("EOF")
        if isinstance(turns, ReplayTurns) and self.ended_by:
            await turns.barrier()
        await engine.services.stop()
        await engine.commands.stop()
        turns.drain()
        self.left = await engine.bus.shutdown(max(0.0, deadline_s - time.monotonic()))
        for lane, count in self.left.items():
            log.warning("%d events of the %s lane are left", count, lane)

    async def _close(self) -> None:
        """What was opened and is not a phase's own; also when setting up failed."""
        await self._intake.close()
        await self._engine.services.stop()
        await self._engine.commands.stop()
        await self._engine.bus.shutdown(0.0)
        if self._options.audit is not None:
            self._options.audit.close()

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

    def _tell_control(self, name: str, detail: Mapping[str, object] | None = None) -> None:
        engine = self._engine
        engine.turns.tell(
            Control(source="engine", ts=engine.clock.now_ns(), run_id=engine.run_id, name=name, detail=detail or {})
        )


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
