"""Engine: clock, ring, dispatcher, buses, strategies and services in one object, and their life cycle.

::

    setup      audit ─▶ bus ─▶ feeds (the clock begins with them) ─▶ broker ─▶ services ─▶ on_start ─▶ subscriptions
    wiring     a task per service ─▶ ENGINE_READY
    execution  feeds ─▶ driver ─▶ until the feeds end, or stop(), a signal, a command, an error
    teardown   feeds stop ─▶ ring and lanes drain ─▶ on_stop ─▶ EOF ─▶ services leave ─▶ bus closes ─▶ audit synced

What happens when
    SIGINT, SIGTERM or SIGHUP arrives: the engine drains within 10 s and reports what is left; a second one forces.
    a strategy raises: ``on_fault`` decides. A service raises: live it is started again, a replay ends with its error.

Guarantees: only the bus is needed; whatever else is absent, the rest runs; what was opened is closed, however it ends.
Does not: import a feed or a broker; it receives them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, Unpack

from headrace.engine.builtin_commands import BuiltinCommands, EngineControls
from headrace.engine.event_loop import run_in_loop
from headrace.engine.interrupts import Interrupts
from headrace.engine.options import EngineOptions, complete
from headrace.engine.parts import build_parts
from headrace.engine.replay import warn_of_configured
from headrace.engine.report import report_of
from headrace.engine.run import EngineRun
from headrace.engine.status import status_of
from headrace.errors import EngineError
from headrace.market.checks import of_type
from headrace.market.clock import Mode
from headrace.market.running_loop import has_running_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from headrace.bus import AuditRunner, EventBus
    from headrace.commands import CommandBus
    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.engine.readers import Readers
    from headrace.engine.repeat import RepeatedSwitch
    from headrace.engine.report import Report
    from headrace.engine.supervisor import Supervisor
    from headrace.feeds.base import AnyFeed
    from headrace.market.bars import Bars
    from headrace.market.clock import EngineClock
    from headrace.market.dead_letters import DeadLetters
    from headrace.market.instrument import Instrument
    from headrace.strategies.plots import Plots
    from headrace.strategies.runner import StrategyRunner
    from headrace.telemetry import Metrics, Sample, Traces
    from headrace.trading.account import Account
    from headrace.trading.kill_switch import KillSwitch
    from headrace.trading.orders import OrderManager
    from headrace.trading.positions import Positions

__all__ = ["Engine"]


class Engine:
    """Runs strategies over feeds, with a broker and services, under an operator's commands. It runs once.

    feeds : recordings (paths), arrays, or Feed objects. strategies : one or several: a Strategy, its class, a function
        named after a callback, a pair of one of these and its subscription options, or a StrategySpec.
    broker : receives the orders that pass the gates; without one ``buy`` and ``sell`` raise. services : run beside.
    gates : a RiskEngine of your own, whose ``judge(request)`` stands where ``limits`` do. runner : a subclass of
        StrategyRunner that runs each strategy.
    mode : "live"; "replay": the clock is the ticks' own, T is resolved before T + 1, nothing has side effects;
        "repeat": each call of the live run that wrote ``dispatch_log`` is made again, over the same feeds, and the
        report says whether the same was decided.
    name : in logs, metrics and the report. run_id : on every event; made from name and time unless given.
    instruments : names, or Instrument with ticks, lots and limits; behind a replay, one that the data have nothing of
        is a warning. limits : what the gates allow; a missing limit refuses.
    cash : amounts by currency that orders may spend, {"USDT": 100_000}; None: there is no bound.
    margin : leverage and maintenance margin by venue or instrument, {"BINANCE_USDM": Margin(leverage=10)}; others are
        paid for whole.
    account_limits, strategy_limits : TradingLimits of all strategies together, and by strategy, "*" for the others.
    sizing : how large an order a Signal becomes by ``orders.from_signal``; None: signals are events only.
    on_fault : "quarantine" (live default) or "raise" (replay default).
    on_feed_end : live, what the end of one feed means for the others: "stop" ends the run, with the feed's error if it
        failed; "continue" goes on without it, says so in log, event, metric and report, and ends with the last feed.
    clock : live, a clock of your own. speed : recorded seconds per second, 1.0 is real time; "max", the default of a
        replay, is as fast as handlers run.
    ring_capacity : ticks, a power of two. duplicates, late : "drop" or "deliver" what the venue repeated or sent late.
    hashing : keep the input hash and each subscription's delivered hash. check : in a replay, look at ticks of arrays
        and tables and at candles while they are read: times that go back, wrong units, NaN and zero prices end the run,
        other findings are warnings and stand in the report.
    warmup : how long from the beginning of the data on orders are refused, "1d" or ns, so that indicators are filled.
    slice_ns : how long a live turn dispatches before the event loop continues. wait : "park" sleeps until there is
        input, "spin" keeps a core busy and reacts sooner. gc : "idle" collects garbage only while no tick waits.
    event_types : your own event types, with their lanes. lanes : options of lanes that differ from the defaults.
    audit : a file for every event, or an AuditRunner of your own. dispatch_log : live, a file for every dispatch call.
        record : live, a folder for what live feeds bring, from which a replay or a repetition reads it, or a recorder.
        Where audit or dispatch_log is a folder, each run has a file of its own in it.
    config, config_digest : from which the engine was made, for the log and the audit's first line.
    state_folder : where the kill switch's latch is; the user's own unless given; a replay has none.
    traces : live, where spans of frames, commands and orders are sent.
    halt_signal : SIGUSR2 throws the kill switch. command_workers, command_timeout_s, middleware : of ``commands``.
    progress : in a replay, called about ten times a second.

    Raises OptionError (an unknown option names the nearest one), EngineError and what the parts raise, before anything
    runs.
    """

    def __init__(self, **options: Unpack[EngineOptions]) -> None:
        self._parts = build_parts(complete(options))
        controls = EngineControls(stop=self.stop, is_stopping=lambda: self.is_stopping, status=self.status)
        commands = BuiltinCommands(self._parts, controls)
        commands.register(self._parts.commands)
        self._run = EngineRun(self._parts, commands.again)
        self._task: asyncio.Task[Report] | None = None
        self._has_run = False
        self._interrupts = Interrupts((self.stop, self.force), in_loop=self._run.call)

    # Its parts

    @property
    def name(self) -> str:
        """What logs, metrics and the report call it."""
        return self._parts.name

    @property
    def run_id(self) -> str:
        """The id on every event of its run."""
        return self._parts.run_id

    @property
    def mode(self) -> Mode:
        """Live, replay or repeat."""
        return self._parts.mode

    @property
    def bus(self) -> EventBus:
        """Carries its events."""
        return self._parts.bus

    @property
    def dispatcher(self) -> Dispatcher:
        """Moves ticks from the ring to handlers."""
        return self._parts.dispatcher

    @property
    def clock(self) -> EngineClock:
        """Its time, which stands still while handlers run."""
        return self._parts.clock

    @property
    def bars(self) -> Bars:
        """The bars that its strategies declare."""
        return self._parts.driver.bars

    @property
    def orders(self) -> OrderManager:
        """Takes orders through the gates to the broker."""
        return self._parts.orders

    @property
    def positions(self) -> Positions:
        """What each strategy holds."""
        return self._parts.positions

    @property
    def account(self) -> Account:
        """Profit, fees and equity of all strategies, per currency."""
        return self._parts.account

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """Every instrument that may be traded, by name."""
        return self._parts.gates.instruments

    @property
    def commands(self) -> CommandBus:
        """Takes an operator's commands."""
        return self._parts.commands

    @property
    def kill_switch(self) -> KillSwitch | RepeatedSwitch | None:
        """Lets no new order pass while it is thrown; None in a replay."""
        return self._parts.kill_switch

    @property
    def dead_letters(self) -> DeadLetters:
        """Frames, calls and events that were refused or failed."""
        return self._parts.dead_letters

    @property
    def strategies(self) -> Mapping[str, StrategyRunner]:
        """Its strategies by name."""
        return self._parts.strategies

    @property
    def plots(self) -> Plots:
        """The lines that its strategies draw."""
        return self._parts.plots

    @property
    def services(self) -> Supervisor:
        """Its services."""
        return self._parts.services

    @property
    def feeds(self) -> Sequence[AnyFeed]:
        """Where its data come from, in the order of the options."""
        return self._parts.feeds

    @property
    def metrics(self) -> Metrics:
        """Every metric, read when it is asked for."""
        return self._parts.metrics()

    @property
    def readers(self) -> Readers:
        """What takes its ticks and is no strategy; a repetition of its dispatch log stands in for them."""
        return self._parts.driver.readers

    @property
    def audit(self) -> AuditRunner | None:
        """Records every event; None: it was made without one."""
        return self._parts.audit

    @property
    def traces(self) -> Traces | None:
        """Where its spans are sent; None: it is not traced."""
        return self._parts.options["traces"]

    def measure(self, read: Callable[[], Iterable[Sample]]) -> None:
        """Add the samples of a part of your own, of rows of ``METRICS``, to each snapshot of the metrics."""
        self._parts.measured.append(read)

    # Running

    def run(self) -> Report:
        """Run to the end and return what happened. Raises EngineError inside a running event loop, and as below."""
        if has_running_loop():
            msg = "run() was called inside of a running event loop, which it would block; use: await engine.run_async()"
            raise EngineError(msg)
        with self._interrupts:
            try:
                run_in_loop(self.run_async(), self._run.end.waits)
            except KeyboardInterrupt:
                # That is how a handler was interrupted that would not end.
                if not self._run.end.is_forced:
                    raise
        return self.report()

    async def run_async(self) -> Report:
        """Run to the end: of the feeds, or until ``stop``, a signal, or a Drain command.

        SIGINT, SIGTERM and SIGHUP drain, a second one forces; off the main thread signals are not touched, and a SIGHUP
        that is ignored or has a handler is left alone.
        Raises what a feed raised, a strategy under ``on_fault="raise"``, and ServiceError in a replay.
        """
        if self._has_run:
            msg = f"engine {self.name!r} has run already: make another one"
            raise EngineError(msg)
        self._has_run = True
        with self._interrupts:
            await self._run.run()
        report = self.report()
        warn_of_configured(self._parts, report)
        return report

    def signals_are_requests(self) -> Interrupts:
        """Return a context manager in which SIGINT, SIGTERM and SIGHUP drain the engine; ``run`` enters it itself.

        Enter it around ``run`` and what follows where a signal that arrives after the run must not end the process.
        """
        return self._interrupts

    async def __aenter__(self) -> Self:
        """Start, and return when it is ready: inside ``async with engine:`` it runs."""
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
        of_type("reason", reason, str)
        self._run.stop(reason)

    def force(self, reason: str = "forced") -> None:
        """End now: what runs is cancelled, what waits is reported as left. From any thread."""
        of_type("reason", reason, str)
        self._run.force(reason)

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to end."""
        return bool(self._run.ended_by)

    def status(self) -> dict[str, object]:
        """Return what runs and how it is, as the Status command answers."""
        return status_of(self._parts, stopping=self.is_stopping)

    def report(self, *, with_metrics: bool = True) -> Report:
        """Return what happened so far; complete when the engine has ended.

        with_metrics : whether the services are asked for their metrics; without, the report has none of them.
        """
        return report_of(self._parts, self._run, with_metrics=with_metrics)
