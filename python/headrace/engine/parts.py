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
from typing import TYPE_CHECKING, Literal, NamedTuple

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
from headrace.market.instrument import Instrument
from headrace.strategies.context import ContextParts
from headrace.strategies.runner import StrategyRunner
from headrace.strategies.spec import named_specs
from headrace.telemetry import Metrics
from headrace.trading.brokers.base import BrokerContext
from headrace.trading.kill_switch import HaltWatch, KillSwitch
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
    halt_watch: HaltWatch | None
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
            audit=self.audit,
        )

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
    ground = _ground(options)
    with ExitStack() as undo:
        # It has a thread of its own, which ends when another part refuses its options.
        switch: KillSwitch | RepeatedSwitch | None = None if ground.repeat is None else ground.repeat.switch
        if ground.mode is Mode.LIVE:
            switch = undo.enter_context(KillSwitch(options["state_folder"], signal=options["halt_signal"]))
        parts = _parts(options, ground, switch)
        undo.pop_all()
    return parts


class _Ground(NamedTuple):
    """What all other parts stand on."""

    mode: Mode
    run_id: str
    repeat: Repeat | None
    instruments: Sequence[Instrument]
    clock: EngineClock
    dead_letters: DeadLetters
    bus: EventBus
    dispatcher: Dispatcher


def _ground(options: EngineOptions) -> _Ground:
    mode = Mode(options["mode"])
    repeat = Repeat(options["dispatch_log"] or "") if mode is Mode.REPEAT else None
    # The live run's: ids contain the one, losses depend on the other.
    run_id = options["run_id"] or _run_id(mode, options["name"]) if repeat is None else repeat.run_id
    listed = options["instruments"]
    listed = [listed] if isinstance(listed, str | Instrument) else listed
    known = [Instrument(given) if isinstance(given, str) else given for given in listed]
    clock, dead_letters = EngineClock(), DeadLetters()
    bus = EventBus(clock=clock, mode=mode, run_id=run_id, dead_letters=dead_letters, lanes=options["lanes"])
    for event_type, lane in (options["event_types"] or {}).items():
        bus.declare(event_type, lane)
    dispatcher = Dispatcher(
        instruments=[instrument.name for instrument in known],
        ring_capacity=options["ring_capacity"] if repeat is None else repeat.ring_capacity,
        clock=clock,
        mode=mode,
        on_fault=options["on_fault"],
        hashing=options["hashing"],
        duplicates=options["duplicates"],
        late=options["late"],
        dead_letters=dead_letters,
        called_by_owner=LIFE_CYCLE,
    )
    return _Ground(mode, run_id, repeat, known, clock, dead_letters, bus, dispatcher)


def _parts(options: EngineOptions, ground: _Ground, switch: KillSwitch | RepeatedSwitch | None) -> EngineParts:
    clock, bus, dispatcher, run_id = ground.clock, ground.bus, ground.dispatcher, ground.run_id
    gates = RiskGates(
        options["limits"], ground.instruments, clock=clock, quotes=dispatcher.newest_quote, kill_switch=switch
    )
    commands = CommandBus(
        bus=bus,
        clock=clock,
        run_id=run_id,
        middleware=options["middleware"],
        workers=options["command_workers"],
        timeout_s=options["command_timeout_s"],
    )
    audit = _audit(options, ground)
    log = _log(options, ground, switch)
    driver = _driver(options, ground, commands, audit, log)
    positions = Positions()
    orders = OrderManager(
        bus=bus,
        gates=gates,
        positions=positions,
        clock=clock,
        broker=options["broker"],
        run_id=run_id,
        mode=ground.mode,
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
    services = ServiceContext(bus=bus, clock=clock, run_id=run_id, mode=ground.mode)
    return EngineParts(
        name=options["name"],
        run_id=run_id,
        mode=ground.mode,
        options=options,
        clock=clock,
        dead_letters=ground.dead_letters,
        bus=bus,
        dispatcher=dispatcher,
        driver=driver,
        kill_switch=switch,
        halt_watch=_halt_watch(switch, driver),
        gates=gates,
        positions=positions,
        broker=options["broker"],
        orders=orders,
        commands=commands,
        strategies={
            name: StrategyRunner(spec, name, context) for name, spec in named_specs(options["strategies"]).items()
        },
        services=Supervisor(options["services"], services, driver.publish),
        feeds=_feeds(options, ground.mode),
        audit=audit,
        recorder=None if options["record"] is None else Recorder(options["record"], run_id),
        log=log,
        repeat=ground.repeat,
    )


def _audit(options: EngineOptions, ground: _Ground) -> AuditSink | None:
    path = options["audit"]
    if path is None:
        return None
    return AuditSink(path, run_id=ground.run_id, config=options["config_digest"], mode=ground.mode)


def _log(options: EngineOptions, ground: _Ground, switch: KillSwitch | RepeatedSwitch | None) -> RunLog | None:
    path = options["dispatch_log"]
    if path is None or ground.mode is not Mode.LIVE:
        return None
    return RunLog(path, run_id=ground.run_id, config=options["config"], switch=switch)


def _halt_watch(switch: KillSwitch | RepeatedSwitch | None, driver: Driver) -> HaltWatch | None:
    """A repetition has none: its log says when the switch changed."""
    if not isinstance(switch, KillSwitch):
        return None
    return HaltWatch(switch, publish=driver.publish_control, log=lambda change: driver.mark("halted", change._asdict()))


def _feeds(options: EngineOptions, mode: Mode) -> list[AnyFeed]:
    given = options["feeds"]
    feeds = [] if isinstance(given, list | tuple) and not given else feeds_of(given)
    if mode is not Mode.LIVE:
        refuse_live(feeds)
    return feeds


def _driver(
    options: EngineOptions, ground: _Ground, commands: CommandBus, audit: AuditSink | None, log: RunLog | None
) -> Driver:
    moved = (ground.clock, ground.bus, ground.dispatcher)
    if ground.repeat is not None:
        return RepeatDriver(*moved, ground.repeat)
    speed = options["speed"]
    if ground.mode is Mode.REPLAY:
        fast: float | Literal["max"] = "max" if speed is None else speed
        return ReplayDriver(*moved, commands=commands, audit=audit, speed=fast, progress=options["progress"])
    live = LiveOptions(
        clock=options["clock"],
        speed=1.0 if speed is None or speed == "max" else speed,
        slice_ns=options["slice_ns"],
        wait=options["wait"],
        gc=options["gc"],
        log=log,
    )
    return LiveDriver(*moved, live)


def _run_id(mode: Mode, name: str) -> str:
    if mode is Mode.REPLAY:
        return "replay"
    return f"{name}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
