"""The tree of a configuration: every section and key that a file may hold, with its type, default and meaning.

::

    [engine]  [[feeds]]  [[strategies]]  [broker]  [account]  [risk]  [instruments."SYMBOL.VENUE"]  [runner]  [gates]
    [audit]  [[services]]  [gateway]  [[gateway.routes]]  [[gateway.pollers]]  [lanes.order]  [commands]  [telemetry]
    [kill_switch]  [control.http]  [execution]  [pipeline]  [[pipeline.rules]]

``headrace config new``, the JSON schema and ``docs/reference`` take a key's meaning from the entry ``key : meaning`` in
the docstring of its section.

Guarantees: immutable; an unknown key is an error; a missing key has the default of this file.
Does not: read files (``reading``) or import what ``use`` names (``app.objects``).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from headrace.app.config.gateway import GatewaySection
from headrace.app.config.types import (
    AboveZero,
    AtLeastOne,
    BrokerUse,
    EngineName,
    FeedKind,
    FilePath,
    RingCapacity,
    Table,
    Timeframe,
    Use,
)
from headrace.bus.lane import LANE_OPTIONS, LaneOptions
from headrace.control.settings import ControlSettings
from headrace.dispatch.options import SubscriptionOptions
from headrace.execution.pipeline.settings import PipelineSettings
from headrace.execution.settings import ExecutionSettings
from headrace.limits import COMMAND_RATE, COMMAND_TIMEOUT_S, COMMAND_WORKERS, RING_CAPACITY, SLICE_NS, TRACE_SAMPLE
from headrace.market.events import Lane
from headrace.market.instrument import Instrument, RiskLimits
from headrace.trading.margin import Margin
from headrace.trading.risk import TradingLimits

__all__ = [
    "AccountSection",
    "BarSection",
    "BrokerSection",
    "CommandsSection",
    "EngineConfig",
    "EngineSection",
    "FeedSection",
    "InstrumentSection",
    "KillSwitchSection",
    "LaneSection",
    "LanesSection",
    "PartSection",
    "RunnerSection",
    "ServiceSection",
    "StrategySection",
    "TelemetrySection",
]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of the sections here: immutable, keywords only, no unknown key."""


class EngineSection(Section, frozen=True, kw_only=True):
    """How the engine runs.

    name : the engine's name in logs, metrics and the report.
    run_id : the id of the run, on every event and log line; by default made from the time.
    wait : "park" sleeps between ticks, "spin" keeps a core busy for lower latency.
    gc : "idle" collects garbage only while no tick waits; "auto" leaves it to Python.
    slice_ns : how long dispatch holds the loop before other tasks run, ns.
    speed : seconds of a recording per second, 1.0 is real time. A replay is as fast as its handlers.
    ring_capacity : ticks, a power of two.
    duplicates, late : what becomes of events that the venue repeats, or sends behind newer ones: "drop" or "deliver".
    on_fault : the effect of a strategy's exceptions: "quarantine" ends its calls after 3 of them, "raise" ends the run.
    on_feed_end : live, the effect of a feed's end beside others: "stop" ends the run, "continue" goes on without it.
    state_folder : the folder of the kill switch's latch and the control socket; by default from HEADRACE_STATE or XDG.
    audit : file for every event of a run, or a folder with one file for each run; by default none is written.
    dispatch_log : file for each dispatch call, for headrace repeat, or a folder with one file for each run.
    record : folder for the items of live feeds, for a replay or a repeat.
    log_level : the lowest level that is logged: INFO the life cycle, DEBUG every event, ERROR failures.
    log_format : "text" for people, "json" for machines, one object per line.
    """

    name: EngineName = "headrace"
    run_id: EngineName | None = None
    wait: Literal["park", "spin"] = "park"
    gc: Literal["auto", "idle"] = "auto"
    slice_ns: Annotated[int, msgspec.Meta(ge=1, le=10**12)] = SLICE_NS
    speed: AboveZero = 1.0
    ring_capacity: RingCapacity = RING_CAPACITY
    duplicates: Literal["drop", "deliver"] = "drop"
    late: Literal["drop", "deliver"] = "deliver"
    on_fault: Literal["quarantine", "raise"] = "quarantine"
    on_feed_end: Literal["stop", "continue"] = "stop"
    state_folder: FilePath | None = None
    audit: FilePath | None = None
    dispatch_log: FilePath | None = None
    record: FilePath | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"


class FeedSection(Section, frozen=True, kw_only=True):
    """A source of market data; several are merged by receive time.

    kind : "recording", "synthetic" (generated frames), "binance" (live), or module:Class of your own feed.
    path : of the recording, or of a file of candles or ticks; your own class gets it as path=.
    venue : the sender of the frames: BINANCE, BINANCE_USDM, BINANCE_COINM; by default found from the recording.
    symbols, streams : of "binance": what to subscribe to; streams are bookTicker, trade and depth@100ms by default.
        With [gateway] they may be left out: its routes say the rest.
    network : of "binance": "live", "testnet" or "demo". url, rest_url : addresses in its place.
    options : other parameters of its constructor.
    """

    kind: FeedKind
    path: FilePath | None = None
    venue: str | None = None
    symbols: tuple[str, ...] | None = None
    streams: tuple[str, ...] | None = None
    network: Literal["live", "testnet", "demo"] | None = None
    url: str | None = None
    rest_url: str | None = None
    options: Table = {}


class BarSection(Section, frozen=True, kw_only=True):
    """Bars with options of their own, as a table.

    instrument : SYMBOL.VENUE or a pattern; "*" is all.
    timeframe : "1s", "1m", "1h", or "100t" for a bar of a hundred ticks.
    price : the price that bars are made of: "trade", "agg_trade", "mid", "bid", "ask" or "kline".
    time : "ts_init", when a tick was received, or "ts_event", the venue's time.
    empty : whether an interval without ticks makes a bar.
    """

    instrument: str = "*"
    timeframe: Timeframe
    price: Literal["trade", "agg_trade", "mid", "bid", "ask", "kline"] = "trade"
    time: Literal["ts_init", "ts_event"] = "ts_init"
    empty: bool = False


class StrategySection(Section, frozen=True, kw_only=True):
    """One strategy.

    use : module:Class, or path/file.py:Class.
    name : unique in the engine; by default the class's name.
    parameters : parameters of its constructor, by name.
    subscription : its options, in place of those of the class.
    bars : timeframes of its bars, "1m" or "100t" (ticks); or tables { timeframe = "1m", price = "mid", ... }.
    on_quarantine : what happens to its open orders when it is quarantined: "cancel" or "keep".
    """

    use: Use
    name: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    parameters: Table = {}
    subscription: SubscriptionOptions = SubscriptionOptions()
    bars: tuple[Timeframe | BarSection, ...] = ()
    on_quarantine: Literal["cancel", "keep"] = "cancel"


class BrokerSection(Section, frozen=True, kw_only=True):
    """The broker of the orders; without this section orders are refused.

    use : "simulated", or module:Class of your own broker.
    parameters : parameters of its constructor, by name.
    """

    use: BrokerUse = "simulated"
    parameters: Table = {}


class RunnerSection(Section, frozen=True, kw_only=True):
    """What runs each strategy, in place of the engine's own.

    use : module:Class of a subclass of headrace.strategies.runner.StrategyRunner.
    """

    use: Use


class PartSection(Section, frozen=True, kw_only=True):
    """A part of your own, in place of a built-in one.

    use : module:Class.
    parameters : parameters of its constructor, by name.
    """

    use: Use
    parameters: Table = {}


class InstrumentSection(Section, frozen=True, kw_only=True):
    """The price tick, lot size and limits of one instrument.

    price_tick : prices of orders are multiples of it.
    lot_size : quantities of orders are multiples of it.
    limits : its own limits; for a missing one, the limit in [risk] holds.
    contract : how its money is computed; BINANCE is spot, BINANCE_USDM linear, BINANCE_COINM inverse for symbols like
        BTCUSD_PERP; at another venue it is spot where price_tick and lot_size are given.
    size : what a quantity of 1 is: units of the coin, for an inverse contract of the quote currency; by default 1, for
        BINANCE_COINM 100 (BTCUSD) or 10.
    settles : the currency of its profit and fees; by default read from the symbol.
    """

    price_tick: Decimal | None = None
    lot_size: Decimal | None = None
    limits: RiskLimits | None = None
    contract: Literal["spot", "linear", "inverse"] | None = None
    size: Decimal | None = None
    settles: str = ""


class AccountSection(Section, frozen=True, kw_only=True):
    """The account of a simulated broker.

    cash : amounts by currency, { USDT = 100_000 }, which bound what orders may spend; by default there is no bound.
    margin : leverage and maintenance margin by venue or instrument, { BINANCE_USDM = { leverage = 10 } }; what has none
        is paid for whole. It needs cash.
    limits : what all strategies together may hold, order and lose.
    strategy_limits : what each may, by its name; "*" for those that are not named.
    """

    cash: dict[str, Decimal] = {}
    margin: dict[str, Margin] = {}
    limits: TradingLimits | None = None
    strategy_limits: dict[str, TradingLimits] = {}


class ServiceSection(Section, frozen=True, kw_only=True):
    """A service that runs beside the strategies.

    use : module:Class of a Service.
    parameters : parameters of its constructor, by name.
    restart : when it is restarted: "always" (also after a normal end), "on_failure", "never"; by default its class's.
    """

    use: Use
    parameters: Table = {}
    restart: Literal["always", "on_failure", "never"] | None = None


class LaneSection(Section, frozen=True, kw_only=True):
    """One lane of the event bus; a missing key has that lane's default.

    capacity : in events; events that handlers publish while they run may fill 8 times as many.
    full : "refuse": the publisher gets an error; "drop_oldest": the oldest is dropped, counted, and published as a Gap.
    max_attempts : how many times an event is delivered to a handler that raises.
    growth_max : while the lane stays full, its capacity grows up to so many times; 1: it never grows.
    """

    capacity: AtLeastOne | None = None
    full: Literal["refuse", "drop_oldest"] | None = None
    max_attempts: AtLeastOne | None = None
    growth_max: AtLeastOne | None = None

    def over(self, default: LaneOptions) -> LaneOptions:
        """Return ``default`` with the options that are set in its place."""
        given = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        return msgspec.structs.replace(default, **given)


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
    timeout_s : a command whose handler takes longer is answered with "outcome unknown", s.
    rate_max : commands per second; more are rejected.
    """

    workers: AtLeastOne = COMMAND_WORKERS
    timeout_s: AboveZero = COMMAND_TIMEOUT_S
    rate_max: AboveZero = float(COMMAND_RATE)


class TelemetrySection(Section, frozen=True, kw_only=True):
    """The engine's metrics and traces for monitoring.

    prometheus_port : the port that serves metrics over HTTP, 0 for any free port; by default metrics are not served.
    prometheus_host : the address to listen on; only this machine reaches the default.
    otlp_endpoint : OTLP over HTTP of a collector of traces, like http://localhost:4318; by default nothing is traced.
    trace_sample : the part of live frames whose batch is traced, 0 to 1; commands and orders all are.
    """

    prometheus_port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] | None = None
    prometheus_host: str = "127.0.0.1"
    otlp_endpoint: Annotated[str, msgspec.Meta(pattern="^https?://.+", extra={"takes": "http://HOST:PORT"})] | None = (
        None
    )
    trace_sample: Annotated[float, msgspec.Meta(ge=0, le=1)] = TRACE_SAMPLE


class KillSwitchSection(Section, frozen=True, kw_only=True):
    """A further way to halt all orders, beside the command and the latch file.

    signal : whether SIGUSR2 halts.
    """

    signal: bool = False


class EngineConfig(Section, frozen=True, kw_only=True):
    """The whole configuration of an engine.

    engine : how it runs.
    feeds : the sources of market data.
    strategies : the strategies, in the order in which each tick reaches them.
    runner : what runs each strategy; without it the engine's own.
    broker : the broker of the orders.
    gates : a risk engine that judges orders in place of [risk].
    audit : what records events in place of a file.
    account : the cash that orders may spend, and the margin of contracts.
    risk : the limits of orders; a missing limit refuses the orders that it concerns.
    instruments : price tick, lot size and limits of each, by SYMBOL.VENUE.
    services : services that run beside the strategies.
    gateway : what is subscribed at venues while the engine runs; without it the feeds' own symbols and streams.
    lanes : the lanes of the event bus.
    commands : how commands are handled.
    telemetry : metrics and traces.
    kill_switch : how all orders are halted.
    control : how operators reach the engine from outside.
    execution : how recommendations are executed.
    pipeline : how recommendations are made from bars and news.
    """

    engine: EngineSection = EngineSection()
    feeds: tuple[FeedSection, ...] = ()
    strategies: tuple[StrategySection, ...] = ()
    runner: RunnerSection | None = None
    broker: BrokerSection | None = None
    gates: PartSection | None = None
    audit: PartSection | None = None
    account: AccountSection = AccountSection()
    risk: RiskLimits = RiskLimits()
    instruments: dict[str, InstrumentSection] = {}
    services: tuple[ServiceSection, ...] = ()
    gateway: GatewaySection | None = None
    lanes: LanesSection = LanesSection()
    commands: CommandsSection = CommandsSection()
    telemetry: TelemetrySection = TelemetrySection()
    kill_switch: KillSwitchSection = KillSwitchSection()
    control: ControlSettings = ControlSettings()
    execution: ExecutionSettings = ExecutionSettings()
    pipeline: PipelineSettings = PipelineSettings()

    def instrument_table(self) -> list[Instrument]:
        """Return the configured instruments, with their names."""
        return [
            Instrument(name, **{key: getattr(section, key) for key in section.__struct_fields__})
            for name, section in self.instruments.items()
        ]
