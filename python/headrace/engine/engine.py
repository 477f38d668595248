"""Engine: owns clock, ring, dispatcher, buses, services and their life cycle; live and in a replay the same.

::

    setup      audit ─▶ bus ─▶ feeds (the clock begins with them) ─▶ broker ─▶ services ─▶ on_start ─▶ subscriptions
    wiring     a task per service ─▶ ENGINE_READY
    execution  feeds ─▶ turns ─▶ until the feeds end, or stop(), a signal, a command, an error
    teardown   feeds stop ─▶ ring and lanes drain ─▶ on_stop ─▶ EOF ─▶ services leave ─▶ bus closes ─▶ audit synced

What happens when
    SIGINT or SIGTERM comes: it drains within 10 s and says what is left; a second one forces.
    a strategy raises: as ``on_fault`` says. A service raises: live it is started again, a replay ends with its error.

Guarantees: only the bus is needed, whatever else is absent the rest runs; what it opened is closed, however it ends.
Does not: import a feed or a broker; they are given.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Self

from headrace.bus.audit import replay_events
from headrace.dispatch.loop_wakeup import has_running_loop
from headrace.engine.builtin_commands import BuiltinCommands
from headrace.engine.interrupts import Interrupts
from headrace.engine.parts import EngineParts
from headrace.engine.report import report_of, status_of
from headrace.engine.run import EngineRun
from headrace.errors import EngineError
from headrace.trading.kill_switch import HaltWatch, KillSwitch

if TYPE_CHECKING:
    from headrace.commands import Command
    from headrace.engine.report import EngineReport
    from headrace.trading.kill_switch import HaltChange

__all__ = ["Engine"]


class Engine(EngineParts):
    """Runs strategies over feeds, with a broker and services, under an operator's commands. It runs once.

    feeds : recordings (paths), arrays, or Feed objects. strategies : objects, classes, or StrategySpec.
    broker : takes the orders that pass the gates; without one they are rejected. services : run beside.
    event_types : your own types of events, with their lanes. lanes : options of lanes that are not the usual ones.
    replay : the clock is the ticks' own, T is resolved before T + 1, nothing has side effects. clock : live, a clock of
        your own. speed : how fast recordings pass, 1.0 as they were received, "max" as fast as they are handled.
    instruments : names, or Instrument with ticks, lots and limits. limits : what the gates allow; what is not said
        refuses. sizing : how large an order a Signal becomes by ``orders.from_signal``; None: signals are only told.
    on_fault : "quarantine" (live default) or "raise" (replay default). hashing : keep the two hashes.
    wait : "park" sleeps until there is something to do, "spin" keeps a core busy and answers sooner.
    gc : "idle" freezes what lives after the start and collects only when there is nothing else to do.
    audit : a file for every event; config_digest : for its first line. dispatch_log : live, a file to be written; in a
        replay, one that a live run wrote: its calls are repeated over the same feeds, and the report says whether the
        same was decided. config : what the engine was made from, kept in the log.
    state_folder : where the kill switch's latch is; live the user's own unless given, in a replay none.
    halt_signal : let SIGUSR2 throw the kill switch. command_workers, command_timeout_s, middleware : of ``commands``.

    Raises OptionError, EngineError and what the parts raise, before anything runs.
    """

    def _complete(self) -> None:
        watch = None
        if isinstance(self.kill_switch, KillSwitch):
            watch = HaltWatch(self.kill_switch, publish=self.tell_control, log=self._log_halt)
        builtin = BuiltinCommands(self, watch, log=self._log_command)
        builtin.register(self.commands)
        self._run = EngineRun(self, builtin, watch)
        self._task: asyncio.Task[EngineReport] | None = None
        self._started_s = 0.0
        # While inside, SIGINT and SIGTERM are requests to end; runs enter it themselves.
        self.interrupts = Interrupts(self.stop, self.force, self._run.call)

    def _log_command(self, command: Command) -> None:
        self._run.log_command(command)

    def _log_halt(self, change: HaltChange) -> None:
        self._run.log_halt(change)

    # Running

    def run(self) -> EngineReport:
        """Run to the end, and return what happened. Raises EngineError inside of a running event loop, and as below."""
        if has_running_loop():
            msg = "run() was called inside of a running event loop, which it would block; use: await engine.run_async()"
            raise EngineError(msg)
        with self.interrupts:
            try:
                return asyncio.run(self.run_async())
            except KeyboardInterrupt:
                # That is how a handler was interrupted that would not end.
                if not self._run.is_forced:
                    raise
                return self.report()

    async def run_async(self) -> EngineReport:
        """Run to the end: of the feeds, or until ``stop``, a signal, or a Drain command.

        SIGINT and SIGTERM drain, a second one forces; off the main thread signals are left alone.
        Raises what a feed raised, a strategy under ``on_fault="raise"``, and ServiceError in a replay.
        """
        if self._started_s:
            msg = f"engine {self.name!r} has run already: make another one"
            raise EngineError(msg)
        self._started_s = time.monotonic()
        with self.interrupts:
            await self._run.run()
        return self.report()

    async def __aenter__(self) -> Self:
        """Start, and return when it is ready: inside of ``async with engine:`` it runs."""
        self._task = asyncio.create_task(self.run_async(), name=f"headrace-engine-{self.name}")
        await self._run.until_ready(self._task)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Stop, drain and close; raises what the run raised."""
        self.stop("left")
        if self._task is not None:
            await self._task

    def stop(self, reason: str = "stopped") -> None:
        """Drain and end; from any thread, and in a signal handler."""
        self._run.stop(reason)

    def force(self, reason: str = "forced") -> None:
        """End now: what runs is cancelled, what waits is reported as left. From any thread."""
        self._run.force(reason)

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to end."""
        return bool(self._run.ended_by)

    def status(self) -> dict[str, object]:
        """Return what runs and how it is, as the Status command answers."""
        return status_of(self, self.report(), stopping=self.is_stopping)

    def report(self) -> EngineReport:
        """Return what happened so far; complete when the engine has ended."""
        wall_s = time.monotonic() - self._started_s if self._started_s else 0.0
        return report_of(self, wall_s=wall_s, left=self._run.left, ended_by=self._run.ended_by)

    replay_events = staticmethod(replay_events)
