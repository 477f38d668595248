"""EngineParts: what an engine owns, made and wired to each other; nothing runs yet.

::

    clock ─▶ bus ─▶ dispatcher ─▶ kill switch ─▶ gates ─▶ orders ─▶ bars, timers ─▶ commands ─▶ strategies, services

Guarantees: one clock, one bus, one store of dead letters for all of them.
Does not: open, start or run anything; ``engine_run`` does.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import headrace._native as _native
from headrace.bus import EventBus
from headrace.bus.audit import AuditSink
from headrace.commands import CommandBus
from headrace.dispatch.dispatcher import Dispatcher
from headrace.dispatch.signature import LIFE_CYCLE
from headrace.engine.loop import SharedParts, Turns
from headrace.engine.repeat import Repeat, RepeatedSwitch
from headrace.engine.service import ServiceDesk
from headrace.engine.supervisor import Supervisor
from headrace.errors import OptionError
from headrace.feeds.sources import feeds_of, refuse_live
from headrace.limits import COMMAND_TIMEOUT_S, COMMAND_WORKERS, RING_CAPACITY, SLICE_NS
from headrace.market.bars import Bars
from headrace.market.clock import EngineClock
from headrace.market.dead_letters import DeadLetters
from headrace.market.events import Control
from headrace.market.instrument import Instrument
from headrace.strategies.context import DeskParts
from headrace.strategies.runner import StrategyRunner
from headrace.strategies.spec import named_specs
from headrace.strategies.timers import Timers
from headrace.telemetry import Metrics
from headrace.trading.kill_switch import KillSwitch
from headrace.trading.orders import OrderManager
from headrace.trading.positions import Positions
from headrace.trading.risk import RiskGates

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from headrace.bus.lane import LaneOptions
    from headrace.commands import Middleware
    from headrace.dispatch.faults import Policy
    from headrace.engine.service import ServiceProtocol
    from headrace.feeds.sources import AnyFeed, Source
    from headrace.market.clock import Clock
    from headrace.market.events import Event, Lane
    from headrace.market.instrument import RiskLimits
    from headrace.strategies.spec import StrategySpec
    from headrace.strategies.strategy import Strategy
    from headrace.trading.brokers.base import Broker
    from headrace.trading.orders import Sizing

__all__ = ["EngineParts", "RunOptions"]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How an engine runs; ``Engine`` says what each means."""

    clock: Clock | None
    speed: float | Literal["max"]
    sizing: Sizing | None
    slice_ns: int
    wait: Literal["park", "spin"]
    gc: Literal["auto", "idle"]
    config: Mapping[str, Any] | None
    dispatch_log: str | os.PathLike[str] | None
    audit: AuditSink | None


class EngineParts:
    """The parts of one engine; ``Engine`` says what the options mean."""

    def __init__(
        self,
        *,
        feeds: Source | Iterable[Source] = (),
        strategies: Iterable[StrategySpec | Strategy | type[Strategy]] = (),
        broker: Broker | None = None,
        services: Iterable[ServiceProtocol] = (),
        event_types: Mapping[type[Event], Lane] | None = None,
        lanes: Mapping[Lane, LaneOptions] | None = None,
        name: str = "headrace",
        run_id: str | None = None,
        replay: bool = False,
        clock: Clock | None = None,
        speed: float | Literal["max"] | None = None,
        instruments: Iterable[Instrument | str] = (),
        limits: RiskLimits | None = None,
        sizing: Sizing | None = None,
        on_fault: Policy | None = None,
        ring_capacity: int = RING_CAPACITY,
        hashing: bool = False,
        slice_ns: int = SLICE_NS,
        wait: Literal["park", "spin"] = "park",
        gc: Literal["auto", "idle"] = "auto",
        audit: str | os.PathLike[str] | None = None,
        config: Mapping[str, Any] | None = None,
        config_digest: str = "",
        dispatch_log: str | os.PathLike[str] | None = None,
        state_folder: str | os.PathLike[str] | None = None,
        halt_signal: bool = False,
        command_workers: int = COMMAND_WORKERS,
        command_timeout_s: float = COMMAND_TIMEOUT_S,
        middleware: Sequence[Middleware] | None = None,
    ) -> None:
        _refuse_unless("wait", wait, ("park", "spin"))
        _refuse_unless("gc", gc, ("auto", "idle"))
        if replay and clock is not None:
            msg = f"clock={clock!r} with replay=True: a replay's time is its ticks' own; leave the clock out"
            raise OptionError(msg, option="clock")
        self.repeat = Repeat(dispatch_log) if replay and dispatch_log is not None else None
        if self.repeat is not None:
            # Those of the live run: ids are made of the one, losses of the other.
            run_id, ring_capacity = self.repeat.run_id, self.repeat.ring_capacity
        # A repetition has live rules, and effects as little as any other replay.
        self.resolves = resolves = replay and self.repeat is None
        known = [Instrument(given) if isinstance(given, str) else given for given in instruments]
        self.name = name
        self.replay = replay
        self.run_id = run_id or ("replay" if replay else _new_run_id(name))
        self.clock = EngineClock()
        self.dead_letters = DeadLetters()
        self.bus = EventBus(
            clock=self.clock, replay=resolves, run_id=self.run_id, dead_letters=self.dead_letters, lanes=lanes
        )
        for event_type, lane in (event_types or {}).items():
            self.bus.declare(event_type, lane)
        self.dispatcher = Dispatcher(
            instruments=[instrument.name for instrument in known],
            ring_capacity=ring_capacity,
            clock=self.clock,
            replay=resolves,
            driven=self.repeat is not None,
            on_fault=on_fault,
            hashing=hashing,
            dead_letters=self.dead_letters,
            called_by_owner=LIFE_CYCLE,
        )
        # A replay has no effects, and nothing to stop.
        self.kill_switch: KillSwitch | RepeatedSwitch | None = None
        if self.repeat is not None:
            self.kill_switch = self.repeat.switch
        self.positions = Positions()
        self.gates = RiskGates(
            limits, known, clock=self.clock, quotes=self.dispatcher.newest_quote, kill_switch=self.kill_switch
        )
        self.broker = broker
        self.orders = OrderManager(
            bus=self.bus,
            gates=self.gates,
            positions=self.positions,
            clock=self.clock,
            broker=broker,
            run_id=self.run_id,
            replay=resolves,
            call_soon=self.later,
        )
        self.bars = Bars(self.dispatcher)
        self.timers = Timers(replay=resolves, on_due=self._set_alarm)
        self.commands = CommandBus(
            bus=self.bus,
            clock=self.clock,
            run_id=self.run_id,
            middleware=middleware,
            workers=command_workers,
            timeout_s=command_timeout_s,
        )
        parts = DeskParts(
            bus=self.bus,
            dispatcher=self.dispatcher,
            orders=self.orders,
            positions=self.positions,
            clock=self.clock,
            timers=self.timers,
            bars=self.bars,
            run_id=self.run_id,
            tell=self.tell,
        )
        self.strategies = {own: StrategyRunner(spec, own, parts) for own, spec in named_specs(strategies).items()}
        desk = ServiceDesk(bus=self.bus, clock=self.clock, run_id=self.run_id, replay=replay)
        self.services = Supervisor(services, desk, self.tell)
        self.feeds: list[AnyFeed] = feeds_of(feeds) if _is_given(feeds) else []
        if replay:
            refuse_live(self.feeds)
        self.options = RunOptions(
            clock=clock,
            speed=speed if speed is not None else ("max" if replay else 1.0),
            sizing=sizing,
            slice_ns=slice_ns,
            wait=wait,
            gc=gc,
            config=config,
            dispatch_log=None if replay else dispatch_log,
            audit=None if audit is None else AuditSink(audit, run_id=self.run_id, config=config_digest, replay=replay),
        )
        self.metrics = Metrics(
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
            audit=self.options.audit,
        )
        if not replay:
            # Last, as it has a thread of its own, which nobody would end if another part refused its options.
            self.gates.kill_switch = self.kill_switch = KillSwitch(state_folder, signal=halt_signal)
        # Those of a run take over when it begins.
        self.turns = Turns(self.shared)
        self._complete()

    def _complete(self) -> None:
        """Add what runs the parts: the engine's business."""

    @property
    def shared(self) -> SharedParts:
        """What turns move on."""
        return SharedParts(
            clock=self.clock, dispatcher=self.dispatcher, bus=self.bus, timers=self.timers, bars=self.bars
        )

    def tell(self, event: Event) -> None:
        """Publish an event now, or with a turn that finds room in its lane."""
        self.turns.tell(event)

    def tell_control(self, name: str, detail: Mapping[str, object] | None = None) -> None:
        """Say what the engine does: a Control event of its own."""
        self.tell(Control(source="engine", ts=self.clock.now_ns(), run_id=self.run_id, name=name, detail=detail or {}))

    def _set_alarm(self, due_ns: int | None) -> None:
        self.turns.set_alarm(due_ns)

    def later(self, call: Callable[[], None]) -> None:
        """Call something between two dispatches, soon; from any thread."""
        self.turns.later(call)


def _refuse_unless(option: str, value: str, valid: Sequence[str]) -> None:
    if value not in valid:
        msg = f"{option}={value!r} is unknown: use {' or '.join(map(repr, valid))}"
        raise OptionError(msg, option=option)


def _is_given(feeds: object) -> bool:
    return not (isinstance(feeds, list | tuple) and not feeds)


def _new_run_id(name: str) -> str:
    return f"{name}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
