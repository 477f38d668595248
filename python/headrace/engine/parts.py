"""EngineParts: what an engine is composed of, made and wired to each other; nothing runs yet.

::

    clock ─▶ bus ─▶ dispatcher ─▶ kill switch ─▶ gates ─▶ driver ─▶ orders ─▶ commands ─▶ strategies, services

Guarantees: one clock, one bus, one store of dead letters for all parts; when a part refuses its options, those made
before it are closed.
Does not: open, start or run anything; ``run`` does.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

import headrace._native as _native
from headrace.bus import AuditRunner, AuditSink, EventBus
from headrace.commands import CommandBus
from headrace.dispatch.dispatcher import Dispatcher
from headrace.dispatch.signature import LIFE_CYCLE
from headrace.engine.builtin_services import builtin_services
from headrace.engine.listings import Listings
from headrace.engine.loop import LiveDriver, RepeatDriver, ReplayDriver
from headrace.engine.marks import Marks
from headrace.engine.money import Money
from headrace.engine.repeat import Repeat, RunLog
from headrace.engine.service import ServiceContext, ServiceProtocol
from headrace.engine.supervisor import Supervisor
from headrace.feeds.ends import FeedEnds
from headrace.feeds.given import announced_by, feeds_of, refuse_candles, refuse_live, refuse_nothing_to_record
from headrace.feeds.quality import SourceQuality
from headrace.feeds.recorder import AnyRecorder, Recorder
from headrace.market.candles import CandleOpen
from headrace.market.checks import duration_ns, refuse
from headrace.market.clock import EngineClock, Mode
from headrace.market.dead_letters import DeadLetters
from headrace.market.events import Bar, Cause
from headrace.market.instrument import Instrument
from headrace.strategies.context import ContextParts
from headrace.strategies.plots import Plots
from headrace.strategies.spec import named_specs
from headrace.telemetry import Metrics
from headrace.trading.brokers import BrokerContext, guarded
from headrace.trading.kill_switch import HaltWatch, KillSwitch
from headrace.trading.known_names import KnownNames
from headrace.trading.orders import OrderManager
from headrace.trading.positions import Positions
from headrace.trading.risk import RiskGates, Warmup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from headrace.engine.loop import Driver
    from headrace.engine.options import EngineOptions
    from headrace.engine.repeat import RepeatedSwitch
    from headrace.feeds.base import AnyFeed
    from headrace.strategies.runner import StrategyRunner
    from headrace.strategies.spec import StrategySpec
    from headrace.telemetry import Sample

__all__ = ["EngineParts", "build_parts"]

# Prices that are no state: their age is not that of a quote.
TRADE_KINDS = ("trade", "agg_trade")


class EngineParts:
    """The parts of one engine, each made from its options once.

    options : with which it was made. undo : closes what is open when a later part refuses its options.
    Raises OptionError, EngineError and what the parts raise.
    """

    def __init__(self, options: EngineOptions, undo: ExitStack) -> None:
        self.options: Final = options
        self.name: Final = options["name"]
        self.mode: Final = Mode(options["mode"])
        self.repeat: Final = Repeat(options["dispatch_log"] or "") if self.mode is Mode.REPEAT else None
        self.run_id: Final = self._run_id()
        self.clock: Final = EngineClock()
        self.dead_letters: Final = DeadLetters()
        self.bus: Final = self._bus()
        listed = options["instruments"]
        listed = [listed] if isinstance(listed, str | Instrument) else listed
        instruments = [Instrument(given) if isinstance(given, str) else given for given in listed]
        self.dispatcher: Final = self._dispatcher(instruments)
        self.candles: Final = _native.CandleMerge(Bar, Cause, CandleOpen)
        self.marks: Final = Marks(self.dispatcher, self.candles)
        self.kill_switch: Final = self._kill_switch(undo)
        specs = self.specs = named_specs(options["strategies"])
        self.names: Final = KnownNames(
            self.dispatcher, announced=lambda: announced_by(self.feeds), strategies=specs.keys()
        )
        self.gates: Final = self._gates(instruments)
        self.warmup: Final = self._warmup()
        self.commands: Final = self._commands()
        self.audit: Final = self._audit()
        self.log: Final = self._log()
        self.driver: Final = self._driver()
        self.feeds: Final = self._feeds()
        # By instrument, the length of the candles that orders may be filled from, ns; known when the feeds are open.
        self.candle_lengths: Final[dict[str, int]] = {}
        self.listings: Final = Listings(self.gates, self.driver, self.repeat)
        self.halt_watch: Final = self._halt_watch()
        self.broker: Final = options["broker"]
        self.broker_context: Final = self._broker_context()
        self.positions: Final = Positions(self.gates.instruments, self.names)
        self.orders: Final = OrderManager(
            bus=self.bus,
            gates=self.gates,
            positions=self.positions,
            clock=self.clock.real,
            broker=self.broker,
            mode=self.mode,
            call_soon=self.driver.call_soon,
            call_at=self.call_at,
        )
        self.money: Final = Money(self)
        self.account: Final = self.money.account
        self.plots: Final = Plots(self.names)
        self.strategies: Final = self._strategies(specs)
        context = ServiceContext(bus=self.bus, clock=self.clock, run_id=self.run_id, mode=self.mode)
        self.services: Final = Supervisor(_services(options), context, self.driver.publish, builtin_services(self))
        self.feed_ends: Final = FeedEnds(goes_on=options["on_feed_end"] == "continue")
        # By live feed: the state of the breaker of its REST requests.
        self.breakers: Final[dict[str, str]] = {}
        self.measured: Final[list[Callable[[], Iterable[Sample]]]] = []
        self.quality: Final = SourceQuality() if self.options["check"] else None
        self.recorder: Final = self._recorder()

    def metrics(self) -> Metrics:
        """Return every metric of these parts; each is read when it is asked for."""
        return Metrics(
            run_id=self.run_id,
            version=str(_native.build_info()["version"]),
            dispatcher=self.dispatcher,
            bus=self.bus,
            dead_letters=self.dead_letters,
            commands=self.commands,
            strategies=self.strategies,
            orders=self.orders,
            positions=self.positions,
            gates=self.gates,
            services=self.services,
            feeds=self.feed_ends,
            audit=self.audit,
            breakers=self.breakers,
            more=self.measured,
        )

    def _broker_context(self) -> BrokerContext:
        def call_at(due_ns: int, call: Callable[[], None]) -> None:
            assert self.broker is not None  # Nothing else has the context.
            self.call_at("broker", due_ns, partial(guarded, self.broker, "call_at", call))

        return BrokerContext(
            publish=self.bus.publish_consequence,
            clock=self.clock.real,
            dispatcher=self.dispatcher,
            mode=self.mode,
            instruments=self.gates.instruments,
            call_at=call_at,
            candles=self.candle_lengths,
            newest_candles=self.candles.newest,
        )

    def call_at(self, name: str, due_ns: int, call: Callable[[], None]) -> None:
        """Call a function of a part at a time of the clock; a later call of the same name replaces the one before."""
        # No strategy has this name, so that its timers replace none of ours.
        self.driver.timers.set("", name, due_ns, lambda _: call())

    def _book_state(self, strategy: str, instrument: str) -> str | None:
        """Return the state of the book that a strategy uses of an instrument; None: it uses none."""
        runner = self.strategies.get(strategy)
        for own in () if runner is None else runner.subscriptions:
            if "book" in own.kinds:
                return self.dispatcher.books.state(instrument)
        return None

    def _newest_trades(self, strategy: str, instrument: str) -> Mapping[str, int | None]:
        """Return when the newest trade of an instrument was received, for each kind that a strategy's handlers take."""
        runner = self.strategies.get(strategy)
        newest: dict[str, int | None] = {}
        for own in () if runner is None else runner.subscriptions:
            for kind in TRADE_KINDS:
                if kind in own.kinds:
                    newest[kind] = self.dispatcher.newest.received_ns(instrument, kind)
        return newest

    def _run_id(self) -> str:
        if self.repeat is not None:
            return self.repeat.header.run_id  # Order ids contain it.
        if self.options["run_id"]:
            return self.options["run_id"]
        if self.mode is Mode.REPLAY:
            return "replay"
        return f"{self.name}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"

    def _bus(self) -> EventBus:
        lanes = self.options["lanes"]
        bus = EventBus(
            clock=self.clock, mode=self.mode, run_id=self.run_id, dead_letters=self.dead_letters, lanes=lanes
        )
        for event_type, lane in (self.options["event_types"] or {}).items():
            bus.declare(event_type, lane)
        return bus

    def _dispatcher(self, instruments: Iterable[Instrument]) -> Dispatcher:
        options, repeat = self.options, self.repeat
        return Dispatcher(
            instruments=instruments,
            # Losses depend on it.
            ring_capacity=options["ring_capacity"] if repeat is None else repeat.header.ring_capacity,
            clock=self.clock,
            mode=self.mode,
            on_fault=options["on_fault"],
            hashing=options["hashing"],
            duplicates=options["duplicates"],
            late=options["late"],
            dead_letters=self.dead_letters,
            called_by_owner=LIFE_CYCLE,
        )

    def _gates(self, instruments: Sequence[Instrument]) -> RiskGates:
        gates = RiskGates(
            self.options["limits"],
            instruments,
            clock=self.clock.real,
            quotes=self.marks.quote,
            kill_switch=self.kill_switch,
            names=self.names,
            books=self._book_state,
            trades=self._newest_trades,
        )
        if self.options["gates"] is not None:
            gates.judge_by(self.options["gates"])
        return gates

    def _commands(self) -> CommandBus:
        return CommandBus(
            bus=self.bus,
            clock=self.clock,
            middleware=self.options["middleware"],
            workers=self.options["command_workers"],
            timeout_s=self.options["command_timeout_s"],
        )

    def _warmup(self) -> Warmup | None:
        """Add the gate of the warm-up, if there is one."""
        given = self.options["warmup"]
        if given is None:
            return None
        length_ns = duration_ns("warmup", given)
        if length_ns <= 0:
            refuse("warmup", given, "a time above 0, like '1d'")
        gate = Warmup(length_ns)
        self.gates.add(gate)
        return gate

    def _kill_switch(self, undo: ExitStack) -> KillSwitch | RepeatedSwitch | None:
        if self.repeat is not None:
            return self.repeat.switch
        if self.mode is Mode.REPLAY:
            return None
        # It has a thread of its own.
        return undo.enter_context(KillSwitch(self.options["state_folder"], signal=self.options["halt_signal"]))

    def _audit(self) -> AuditRunner | None:
        given = self.options["audit"]
        if not isinstance(given, str | os.PathLike):
            return given
        return AuditSink(given, run_id=self.run_id, config=self.options["config_digest"], mode=self.mode)

    def _log(self) -> RunLog | None:
        path = self.options["dispatch_log"]
        if path is None or self.mode is not Mode.LIVE:
            return None
        return RunLog(path, run_id=self.run_id, config=self.options["config"], switch=self.kill_switch)

    def _driver(self) -> Driver:
        moved = (self.clock, self.bus, self.dispatcher)
        if self.repeat is not None:
            return RepeatDriver(*moved, self.repeat)
        if self.mode is Mode.REPLAY:
            return ReplayDriver(*moved, self.options, commands=self.commands, audit=self.audit, candles=self.candles)
        return LiveDriver(*moved, self.options, self.log)

    def _halt_watch(self) -> HaltWatch | None:
        """A repetition has none: its log says when the switch changed."""
        driver, switch = self.driver, self.kill_switch
        if not isinstance(switch, KillSwitch):
            return None
        return HaltWatch(switch, publish=driver.publish_control, log=lambda change: driver.mark("halted", change))

    def _strategies(self, specs: Mapping[str, StrategySpec]) -> Mapping[str, StrategyRunner]:
        context = ContextParts(
            bus=self.bus,
            dispatcher=self.dispatcher,
            orders=self.orders,
            positions=self.positions,
            account=self.account,
            names=self.names,
            clock=self.clock,
            timers=self.driver.timers,
            bars=self.driver.bars,
            plots=self.plots,
            run_id=self.run_id,
            publish=self.driver.publish,
        )
        runner = self.options["runner"]
        return {name: runner(spec, name, context) for name, spec in specs.items()}

    def _recorder(self) -> AnyRecorder | None:
        record = self.options["record"]
        if not isinstance(record, str | os.PathLike):
            return record
        refuse_nothing_to_record(self.feeds, record)
        return Recorder(record, self.run_id)

    def _feeds(self) -> Sequence[AnyFeed]:
        given = self.options["feeds"]
        feeds = [] if isinstance(given, list | tuple) and not given else feeds_of(given)
        if self.mode is not Mode.LIVE:
            refuse_live(feeds)
        if self.mode is not Mode.REPLAY:
            refuse_candles(feeds)
        return feeds


def build_parts(options: EngineOptions) -> EngineParts:
    """Make the parts. Raises OptionError, EngineError and what the parts raise."""
    with ExitStack() as undo:
        parts = EngineParts(options, undo)
        undo.pop_all()
    return parts


def _services(options: EngineOptions) -> list[ServiceProtocol]:
    """Return the services of an engine, its traces included."""
    traces = options["traces"]
    return [*options["services"], *(() if traces is None else (traces,))]
