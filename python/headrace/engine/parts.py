"""EngineParts: what an engine is composed of, made and wired to each other; nothing runs yet.

::

    clock ─▶ bus ─▶ dispatcher ─▶ kill switch ─▶ gates ─▶ driver ─▶ orders ─▶ commands ─▶ strategies, services

Guarantees: one clock, one bus, one store of dead letters for all parts; when a part refuses its options, those made
before it are closed.
Does not: open, start or run anything; ``run`` does.
"""

from __future__ import annotations

import secrets
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import headrace._native as _native
from headrace.bus import AuditSink, EventBus
from headrace.commands import CommandBus
from headrace.dispatch.dispatcher import Dispatcher
from headrace.dispatch.signature import LIFE_CYCLE
from headrace.engine.loop import LiveDriver, LiveOptions, RepeatDriver, ReplayDriver
from headrace.engine.repeat import Repeat, RunLog
from headrace.engine.service import ServiceContext
from headrace.engine.supervisor import Supervisor
from headrace.feeds.recorder import Recorder
from headrace.feeds.sources import feeds_of, refuse_live
from headrace.market.clock import EngineClock, Mode
from headrace.market.dead_letters import DeadLetters
from headrace.market.events import Control
from headrace.market.instrument import Instrument
from headrace.strategies.context import ContextParts
from headrace.strategies.runner import StrategyRunner
from headrace.strategies.spec import named_specs
from headrace.telemetry import Metrics
from headrace.trading.brokers.base import BrokerContext
from headrace.trading.kill_switch import KillSwitch
from headrace.trading.orders import OrderManager
from headrace.trading.positions import Positions
from headrace.trading.risk import RiskGates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.engine.loop import Driver
    from headrace.engine.options import EngineOptions
    from headrace.engine.repeat import RepeatedSwitch
    from headrace.feeds.base import AnyFeed
    from headrace.trading.brokers.base import Broker

__all__ = ["EngineParts", "build_parts"]


@dataclass(frozen=True, kw_only=True)
class EngineParts:
    """The parts of one engine. options : with which it was made."""

    name: str
    run_id: str
    mode: Mode
    options: EngineOptions
    clock: EngineClock
    dead_letters: DeadLetters
    bus: EventBus
    dispatcher: Dispatcher
    driver: Driver
    kill_switch: KillSwitch | RepeatedSwitch | None
    gates: RiskGates
    positions: Positions
    broker: Broker | None
    orders: OrderManager
    commands: CommandBus
    strategies: Mapping[str, StrategyRunner]
    services: Supervisor
    feeds: Sequence[AnyFeed]
    audit: AuditSink | None
    recorder: Recorder | None
    log: RunLog | None
    repeat: Repeat | None
    metrics: Metrics

    def publish_control(self, name: str, detail: Mapping[str, object] | None = None) -> None:
        """Publish a Control event of the engine."""
        event = Control(source="engine", ts=self.clock.now_ns(), run_id=self.run_id, name=name, detail=detail or {})
        self.driver.publish(event)

    def broker_context(self) -> BrokerContext:
        """Return what the broker may use."""
        timers = self.driver.timers
        return BrokerContext(
            publish=self.bus.publish_nowait,
            clock=self.clock,
            dispatcher=self.dispatcher,
            mode=self.mode,
            instruments=self.gates.instruments,
            call_at=lambda due_ns, call: timers.set("broker", "due", due_ns, lambda _: call()),
        )


def build_parts(options: EngineOptions) -> EngineParts:
    """Make the parts. Raises OptionError, EngineError and what the parts raise."""
    mode = Mode(options["mode"])
    repeat = Repeat(options["dispatch_log"] or "") if mode is Mode.REPEAT else None
    # The live run's: ids contain the one, losses depend on the other.
    run_id = options["run_id"] or _run_id(mode, options["name"]) if repeat is None else repeat.run_id
    capacity = options["ring_capacity"] if repeat is None else repeat.ring_capacity
    known = [Instrument(given) if isinstance(given, str) else given for given in options["instruments"]]
    feeds = _feeds(options, mode)
    clock, dead_letters = EngineClock(), DeadLetters()
    bus = EventBus(clock=clock, mode=mode, run_id=run_id, dead_letters=dead_letters, lanes=options["lanes"])
    for event_type, lane in (options["event_types"] or {}).items():
        bus.declare(event_type, lane)
    dispatcher = Dispatcher(
        instruments=[instrument.name for instrument in known],
        ring_capacity=capacity,
        clock=clock,
        mode=mode,
        on_fault=options["on_fault"],
        hashing=options["hashing"],
        duplicates=options["duplicates"],
        late=options["late"],
        dead_letters=dead_letters,
        called_by_owner=LIFE_CYCLE,
    )
    with ExitStack() as undo:
        # It has a thread of its own, which ends when another part refuses its options.
        switch: KillSwitch | RepeatedSwitch | None = None if repeat is None else repeat.switch
        if mode is Mode.LIVE:
            switch = undo.enter_context(_live_switch(options))
        gates = RiskGates(options["limits"], known, clock=clock, quotes=dispatcher.newest_quote, kill_switch=switch)
        commands = CommandBus(
            bus=bus,
            clock=clock,
            run_id=run_id,
            middleware=options["middleware"],
            workers=options["command_workers"],
            timeout_s=options["command_timeout_s"],
        )
        audit = options["audit"]
        sink = None
        if audit is not None:
            sink = AuditSink(audit, run_id=run_id, config=options["config_digest"], mode=mode)
        log = None
        if mode is Mode.LIVE and options["dispatch_log"] is not None:
            log = RunLog(options["dispatch_log"], run_id=run_id, config=options["config"], switch=switch)
        driver = _driver(options, clock, bus, dispatcher, commands=commands, audit=sink, log=log, repeat=repeat)
        positions = Positions()
        orders = OrderManager(
            bus=bus,
            gates=gates,
            positions=positions,
            clock=clock,
            broker=options["broker"],
            run_id=run_id,
            mode=mode,
            call_soon=driver.call_soon,
        )
        context = ContextParts(
            bus=bus,
            dispatcher=dispatcher,
            orders=orders,
            positions=positions,
            clock=clock,
            timers=driver.timers,
            bars=driver.bars,
            run_id=run_id,
            publish=driver.publish,
        )
        strategies = {
            own: StrategyRunner(spec, own, context) for own, spec in named_specs(options["strategies"]).items()
        }
        service_context = ServiceContext(bus=bus, clock=clock, run_id=run_id, mode=mode)
        services = Supervisor(options["services"], service_context, driver.publish)
        undo.pop_all()
    metrics = Metrics(
        run_id=run_id,
        version=str(_native.build_info()["version"]),
        dispatcher=dispatcher,
        bus=bus,
        dead_letters=dead_letters,
        commands=commands,
        strategies=strategies,
        orders=orders,
        positions=positions,
        gates=gates,
        services=services,
        audit=sink,
    )
    return EngineParts(
        name=options["name"],
        run_id=run_id,
        mode=mode,
        options=options,
        clock=clock,
        dead_letters=dead_letters,
        bus=bus,
        dispatcher=dispatcher,
        driver=driver,
        kill_switch=switch,
        gates=gates,
        positions=positions,
        broker=options["broker"],
        orders=orders,
        commands=commands,
        strategies=strategies,
        services=services,
        feeds=feeds,
        audit=sink,
        recorder=None if options["record"] is None else Recorder(options["record"], run_id),
        log=log,
        repeat=repeat,
        metrics=metrics,
    )


def _live_switch(options: EngineOptions) -> KillSwitch:
    return KillSwitch(options["state_folder"], signal=options["halt_signal"])


def _feeds(options: EngineOptions, mode: Mode) -> list[AnyFeed]:
    given = options["feeds"]
    feeds = [] if isinstance(given, list | tuple) and not given else feeds_of(given)
    if mode is not Mode.LIVE:
        refuse_live(feeds)
    return feeds


def _driver(
    options: EngineOptions,
    clock: EngineClock,
    bus: EventBus,
    dispatcher: Dispatcher,
    *,
    commands: CommandBus,
    audit: AuditSink | None,
    log: RunLog | None,
    repeat: Repeat | None,
) -> Driver:
    if repeat is not None:
        return RepeatDriver(clock, bus, dispatcher, repeat)
    speed = options["speed"]
    if options["mode"] == Mode.REPLAY:
        return ReplayDriver(
            clock,
            bus,
            dispatcher,
            commands=commands,
            audit=audit,
            speed="max" if speed is None else speed,
            progress=options["progress"],
        )
    live = LiveOptions(
        clock=options["clock"],
        speed=1.0 if speed is None or speed == "max" else speed,
        slice_ns=options["slice_ns"],
        wait=options["wait"],
        gc=options["gc"],
        log=log,
    )
    return LiveDriver(clock, bus, dispatcher, live)


def _run_id(mode: Mode, name: str) -> str:
    if mode is Mode.REPLAY:
        return "replay"
    return f"{name}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
