"""The tree of a configuration: every section and key that a file may hold, with its type, default and meaning.

::

    [engine]  [[feeds]]  [[strategies]]  [broker]  [risk]  [instruments."SYMBOL.VENUE"]  [[services]]
    [lanes.order]  [commands]  [telemetry]  [kill_switch]

The docstrings are read: ``headrace config new``, the JSON schema and ``docs/reference`` take a key's meaning from the
entry ``key : meaning`` of its section.

Guarantees: immutable; a key that is not here is an error; what is left out has the default that stands here.
Does not: read files (``reading``) or import what ``use`` names (``loading``).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from headrace.bus.lane import LANE_OPTIONS, LaneOptions
from headrace.limits import COMMAND_RATE, COMMAND_TIMEOUT_S, COMMAND_WORKERS, RING_CAPACITY, SLICE_NS
from headrace.market.events import Lane
from headrace.market.instrument import Instrument, RiskLimits

__all__ = [
    "BarSection",
    "BrokerSection",
    "CommandsSection",
    "EngineConfig",
    "EngineSection",
    "FeedSection",
    "FilePath",
    "InstrumentSection",
    "KillSwitchSection",
    "LaneSection",
    "LanesSection",
    "ServiceSection",
    "StrategySection",
    "SubscriptionSection",
    "TelemetrySection",
    "Use",
]

# In a file these are relative to the file's folder, in the environment and in overrides to the current one.
FilePath: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, extra={"is": "path", "takes": "a path"})]
# module:Class, which is imported, or path/file.py:Class.
Use: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[^:]+:[^:]+$", extra={"is": "use", "takes": "module:Class"})]
FeedKind: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        pattern="^(recording|synthetic|[^:]+:[^:]+)$",
        extra={"is": "use", "takes": '"recording", "synthetic" or module:Class'},
    ),
]
BrokerUse: TypeAlias = Annotated[
    str, msgspec.Meta(pattern="^(simulated|[^:]+:[^:]+)$", extra={"is": "use", "takes": '"simulated" or module:Class'})
]
# What somebody else's constructor takes; its names are checked when it is made.
Table: TypeAlias = dict[str, Any]
AtLeastOne: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
AboveZero: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all sections have in common: immutable, by keyword, and no key that is not theirs."""


class EngineSection(Section, frozen=True, kw_only=True):
    """How the engine runs.

    name : what logs, metrics and the report call it.
    run_id : of this run, on every event and log line; made from the time unless given.
    wait : "park" sleeps between ticks, "spin" burns a core for lower latency.
    gc : "idle" collects garbage only while no tick waits; "auto" leaves it to Python.
    slice_ns : how long dispatch has the loop before everybody else has a turn, ns.
    speed : seconds of a recording per second, 1.0 is real time. A replay is as fast as its handlers.
    ring_capacity : ticks, a power of two.
    on_fault : what a strategy's exception does: "quarantine" ends its calls after 3 of them, "raise" ends the run.
    state_folder : where the kill switch's latch and the control socket are; HEADRACE_STATE or XDG unless given.
    audit : file that every event is appended to, or a folder with a file for each run; none is written unless given.
    dispatch_log : file of each dispatch call, for headrace repeat, or a folder with a file for each run.
    record : folder that the items of live feeds are written to, for a replay or a repetition.
    log_level : the least that is logged: INFO the life cycle, DEBUG every event, ERROR failures.
    log_format : "text" for people, "json" for machines, one object a line.
    """

    name: Annotated[str, msgspec.Meta(min_length=1)] = "headrace"
    run_id: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    wait: Literal["park", "spin"] = "park"
    gc: Literal["auto", "idle"] = "auto"
    slice_ns: AtLeastOne = SLICE_NS
    speed: AboveZero = 1.0
    ring_capacity: Annotated[int, msgspec.Meta(ge=2)] = RING_CAPACITY
    on_fault: Literal["quarantine", "raise"] = "quarantine"
    state_folder: FilePath | None = None
    audit: FilePath | None = None
    dispatch_log: FilePath | None = None
    record: FilePath | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"


class FeedSection(Section, frozen=True, kw_only=True):
    """Where market data comes from; several are merged by receive time.

    kind : "recording", "synthetic" (generated frames), or module:Class of a feed of your own.
    path : of the recording; a class of your own gets it as path=.
    venue : who sent the frames: BINANCE, BINANCE_USDM, BINANCE_COINM; found out from a recording unless given.
    options : what its constructor takes besides.
    """

    kind: FeedKind
    path: FilePath | None = None
    venue: str | None = None
    options: Table = {}


class SubscriptionSection(Section, frozen=True, kw_only=True):
    """What a strategy wants from the ring. What is left out is as its class says, then as Dispatcher.subscribe does.

    instruments : SYMBOL.VENUE or a pattern, one or several; "*" is all.
    kinds : names of kinds; the handlers say it unless given.
    overflow : what happens when it is too slow: "block", "drop_oldest" or "conflate" (quotes only).
    batch_max : ticks per plural call.
    every : "100ms": plural handlers get windows of the clock, aligned to it.
    min_interval_ns : with "conflate": at least so long between two quotes of an instrument, ns.
    rate_limit : ticks per second, with a lossy overflow; the excess is skipped and told as a gap.
    lag_max_ticks : warn when further behind than so many ticks.
    lag_max_ns : warn when further behind than so long, ns.
    on_lag : "skip" jumps to the newest tick instead of warning, with a lossy overflow.
    mode : "inline", or "thread" for a thread of its own.
    on_fault : "raise" or "quarantine"; the engine's unless given.
    """

    instruments: str | tuple[str, ...] | None = None
    kinds: str | tuple[str, ...] | None = None
    overflow: Literal["block", "drop_oldest", "conflate"] | None = None
    batch_max: int | None = None
    every: str | int | None = None
    min_interval_ns: int | None = None
    rate_limit: float | None = None
    lag_max_ticks: int | None = None
    lag_max_ns: int | None = None
    on_lag: Literal["warn", "skip"] | None = None
    mode: Literal["inline", "thread"] | None = None
    on_fault: Literal["raise", "quarantine"] | None = None

    def given(self) -> dict[str, object]:
        """Return what was given, as keywords of ``Dispatcher.subscribe``."""
        return _given(self)


class BarSection(Section, frozen=True, kw_only=True):
    """Bars that are not of trades by receive time.

    instrument : SYMBOL.VENUE or a pattern; "*" is all.
    timeframe : "1s", "1m", "1h", or "100t" for every hundred ticks.
    price : what they are made of: "trade", "agg_trade", "mid", "bid" or "ask".
    time : "ts_init", when a tick was received, or "ts_event", the venue's time.
    empty : whether an interval without ticks has a bar, too.
    """

    instrument: str = "*"
    timeframe: str
    price: Literal["trade", "agg_trade", "mid", "bid", "ask"] = "trade"
    time: Literal["ts_init", "ts_event"] = "ts_init"
    empty: bool = False


class StrategySection(Section, frozen=True, kw_only=True):
    """One strategy.

    use : module:Class, or path/file.py:Class.
    name : unique in the engine; the class's name unless given.
    parameters : what its constructor takes, by name.
    subscription : its options, over those of the class.
    bars : timeframes it gets bars of, "1m" or "100t" (ticks); or tables { timeframe = "1m", price = "mid", ... }.
    on_quarantine : what becomes of its open orders when it is quarantined: "cancel" or "keep".
    """

    use: Use
    name: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    parameters: Table = {}
    subscription: SubscriptionSection = SubscriptionSection()
    bars: tuple[str | BarSection, ...] = ()
    on_quarantine: Literal["cancel", "keep"] = "cancel"


class BrokerSection(Section, frozen=True, kw_only=True):
    """Who takes the orders; without this section orders are refused.

    use : "simulated", or module:Class of a broker of your own.
    parameters : what its constructor takes, by name.
    """

    use: BrokerUse = "simulated"
    parameters: Table = {}


class InstrumentSection(Section, frozen=True, kw_only=True):
    """What is known of one instrument, and what may be ordered of it.

    price_tick : prices of orders are multiples of it.
    lot_size : quantities of orders are multiples of it.
    limits : its own; each that is left out is the engine's, in [risk].
    """

    price_tick: Decimal | None = None
    lot_size: Decimal | None = None
    limits: RiskLimits | None = None


class ServiceSection(Section, frozen=True, kw_only=True):
    """Something that runs beside the strategies.

    use : module:Class of a Service.
    parameters : what its constructor takes, by name.
    restart : when it is started again: "always" also when it ended, "on_failure", "never"; its class's unless given.
    """

    use: Use
    parameters: Table = {}
    restart: Literal["always", "on_failure", "never"] | None = None


class LaneSection(Section, frozen=True, kw_only=True):
    """One lane of the event bus; what is left out is that lane's default.

    capacity : events that causes may queue; what a handler publishes while it runs may be 8 times that.
    full : "refuse": the publisher gets an error; "drop_oldest": the oldest is dropped, counted and told.
    max_attempts : how often an event is given to a handler that raises.
    growth_max : the capacity grows up to so many times itself while it stays full; 1: it never does.
    """

    capacity: AtLeastOne | None = None
    full: Literal["refuse", "drop_oldest"] | None = None
    max_attempts: AtLeastOne | None = None
    growth_max: AtLeastOne | None = None

    def over(self, default: LaneOptions) -> LaneOptions:
        """Return ``default`` with what was given instead."""
        return msgspec.structs.replace(default, **_given(self))


class LanesSection(Section, frozen=True, kw_only=True):
    """The lanes of the event bus, highest priority first.

    control : life cycle, audit.
    order : orders, executions, positions.
    signal : signals.
    data : bars, gaps, status.
    """

    control: LaneSection = LaneSection()
    order: LaneSection = LaneSection()
    signal: LaneSection = LaneSection()
    data: LaneSection = LaneSection()

    def options(self) -> dict[Lane, LaneOptions]:
        """Return the options of every lane."""
        return {lane: getattr(self, lane.value).over(default) for lane, default in LANE_OPTIONS.items()}


class CommandsSection(Section, frozen=True, kw_only=True):
    """How commands are handled.

    workers : commands that are handled at the same time.
    timeout_s : a handler that takes longer answers "outcome unknown", s.
    rate_max : commands a second; more are rejected.
    """

    workers: AtLeastOne = COMMAND_WORKERS
    timeout_s: AboveZero = COMMAND_TIMEOUT_S
    rate_max: AboveZero = float(COMMAND_RATE)


class TelemetrySection(Section, frozen=True, kw_only=True):
    """What tells others how the engine is.

    prometheus_port : where metrics are served over HTTP, 0 for any free port; not at all unless given.
    prometheus_host : the address that listens; only this machine reaches the default.
    """

    prometheus_port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] | None = None
    prometheus_host: str = "127.0.0.1"


class KillSwitchSection(Section, frozen=True, kw_only=True):
    """What halts all orders, besides the command and the latch file.

    signal : whether SIGUSR2 halts.
    """

    signal: bool = False


class EngineConfig(Section, frozen=True, kw_only=True):
    """All that can be configured of an engine.

    engine : how it runs.
    feeds : where market data comes from.
    strategies : what runs, in the order in which each tick reaches them.
    broker : who takes the orders.
    risk : what may be ordered; a limit that is missing refuses.
    instruments : what is known of each, by SYMBOL.VENUE.
    services : what runs beside the strategies.
    lanes : of the event bus.
    commands : how they are handled.
    telemetry : metrics.
    kill_switch : what halts all orders.
    """

    engine: EngineSection = EngineSection()
    feeds: tuple[FeedSection, ...] = ()
    strategies: tuple[StrategySection, ...] = ()
    broker: BrokerSection | None = None
    risk: RiskLimits = RiskLimits()
    instruments: dict[str, InstrumentSection] = {}
    services: tuple[ServiceSection, ...] = ()
    lanes: LanesSection = LanesSection()
    commands: CommandsSection = CommandsSection()
    telemetry: TelemetrySection = TelemetrySection()
    kill_switch: KillSwitchSection = KillSwitchSection()

    def instrument_table(self) -> list[Instrument]:
        """Return the instruments that are described, with their names."""
        return [
            Instrument(name, price_tick=section.price_tick, lot_size=section.lot_size, limits=section.limits)
            for name, section in self.instruments.items()
        ]


def _given(section: Section) -> dict[str, object]:
    return {name: value for name in section.__struct_fields__ if (value := getattr(section, name)) is not None}
