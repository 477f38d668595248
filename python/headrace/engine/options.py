"""EngineOptions: every option of an engine, with its type and its default.

Guarantees: an unknown option is an error that names the nearest one; options that contradict each other are refused.
Does not: check what a part checks itself, such as the ring's capacity.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

import numpy as np

from headrace.bus import AuditRunner
from headrace.errors import OptionError
from headrace.feeds.recorder import AnyRecorder
from headrace.limits import COMMAND_TIMEOUT_S, COMMAND_WORKERS, RING_CAPACITY, SLICE_NS
from headrace.market.checks import Duration, file_name, of_type, one_of, refuse, refuse_unknown
from headrace.market.clock import Clock, Mode, ModeName
from headrace.market.instrument import Instrument, RiskLimits
from headrace.strategies.runner import StrategyRunner
from headrace.telemetry.traces import Traces
from headrace.trading.brokers import Broker, check_broker
from headrace.trading.orders import Sizing
from headrace.trading.risk import RiskEngine, TradingLimits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.bus.lane import LaneOptions
    from headrace.commands import Middleware
    from headrace.dispatch.faults import Policy
    from headrace.engine.service import ServiceProtocol
    from headrace.feeds.given import Source
    from headrace.feeds.progress import Progress
    from headrace.market.events import Event, Lane
    from headrace.market.money import Amount
    from headrace.strategies.spec import Strategies
    from headrace.trading.margin import Margin

__all__ = ["EngineOptions", "complete"]


class EngineOptions(TypedDict, total=False):
    """The options of ``Engine``, which says what each means."""

    feeds: Source | Iterable[Source]
    strategies: Strategies
    runner: type[StrategyRunner]
    gates: RiskEngine | None
    broker: Broker | None
    services: Iterable[ServiceProtocol]
    mode: ModeName
    name: str
    run_id: str | None
    instruments: Instrument | Iterable[Instrument | str]
    limits: RiskLimits | None
    cash: Mapping[str, Amount] | None
    margin: Mapping[str, Margin] | None
    account_limits: TradingLimits | None
    strategy_limits: Mapping[str, TradingLimits] | None
    sizing: Sizing | None
    on_fault: Policy | None
    on_feed_end: Literal["stop", "continue"]
    clock: Clock | None
    speed: float | Literal["max"] | None
    ring_capacity: int
    duplicates: Literal["drop", "deliver"]
    late: Literal["drop", "deliver"]
    hashing: bool
    check: bool
    warmup: Duration | None
    slice_ns: int
    wait: Literal["park", "spin"]
    gc: Literal["auto", "idle"]
    event_types: Mapping[type[Event], Lane] | None
    lanes: Mapping[Lane, LaneOptions] | None
    audit: str | os.PathLike[str] | AuditRunner | None
    dispatch_log: str | os.PathLike[str] | None
    record: str | os.PathLike[str] | AnyRecorder | None
    config: Mapping[str, Any] | None
    config_digest: str
    state_folder: str | os.PathLike[str] | None
    halt_signal: bool
    command_workers: int
    command_timeout_s: float
    middleware: Sequence[Middleware] | None
    traces: Traces | None
    progress: Callable[[Progress], object] | None


# Those that are not None.
_DEFAULTS: EngineOptions = {
    "feeds": (),
    "strategies": (),
    "runner": StrategyRunner,
    "services": (),
    "mode": Mode.LIVE,
    "name": "headrace",
    "instruments": (),
    "ring_capacity": RING_CAPACITY,
    "on_feed_end": "stop",
    "duplicates": "drop",
    "late": "deliver",
    "hashing": False,
    "check": False,
    "slice_ns": SLICE_NS,
    "wait": "park",
    "gc": "auto",
    "config_digest": "",
    "halt_signal": False,
    "command_workers": COMMAND_WORKERS,
    "command_timeout_s": COMMAND_TIMEOUT_S,
}


_PATH = (str, os.PathLike, None)
# The types of options that are only passed on: what is wrong would show late, or never.
_TYPES: dict[str, tuple[type | None, ...]] = {
    "runner": (type,),
    "broker": (Broker, None),
    "services": (Iterable,),
    "name": (str,),
    "run_id": (str, None),
    "instruments": (Iterable, Instrument),
    "limits": (RiskLimits, None),
    "cash": (Mapping, None),
    "margin": (Mapping, None),
    "account_limits": (TradingLimits, None),
    "strategy_limits": (Mapping, None),
    "sizing": (Sizing, None),
    "clock": (Clock, None),
    "ring_capacity": (int, np.integer),
    "hashing": (bool,),
    "check": (bool,),
    "warmup": (str, int, None),
    "slice_ns": (int, np.integer),
    "event_types": (Mapping, None),
    "lanes": (Mapping, None),
    "audit": (*_PATH, AuditRunner),
    "dispatch_log": _PATH,
    "record": (*_PATH, AnyRecorder),
    "config": (Mapping, None),
    "config_digest": (str,),
    "state_folder": _PATH,
    "halt_signal": (bool,),
    "command_workers": (int,),
    "command_timeout_s": (int, float),
    "middleware": (Iterable, None),
    "traces": (Traces, None),
    "progress": (Callable, None),  # type: ignore[dict-item]  # isinstance takes it
}


def complete(given: EngineOptions) -> EngineOptions:
    """Return all options, checked. Raises OptionError."""
    names = EngineOptions.__annotations__
    refuse_unknown("an engine", given, names)
    options = cast("EngineOptions", {**dict.fromkeys(names), **_DEFAULTS, **given})
    for name, types in _TYPES.items():
        of_type(name, options[name], *types)  # type: ignore[literal-required]  # the table's keys are options
    _check_names(options)
    if options["slice_ns"] < 1:
        refuse("slice_ns", options["slice_ns"], "a whole number of ns from 1 on")
    if not issubclass(options["runner"], StrategyRunner):
        refuse("runner", options["runner"], "a subclass of headrace.strategies.runner.StrategyRunner")
    if options["broker"] is not None:
        check_broker(options["broker"])
    for name in ("duplicates", "late"):
        one_of(name, options[name], ("drop", "deliver"))  # type: ignore[literal-required]
    mode = options["mode"] = Mode(one_of("mode", options["mode"], Mode))
    one_of("on_feed_end", options["on_feed_end"], ("stop", "continue"))
    one_of("wait", options["wait"], ("park", "spin"))
    one_of("gc", options["gc"], ("auto", "idle"))
    if mode is Mode.LIVE:
        if options["speed"] == "max":
            msg = (
                "speed='max' is for a replay, a live clock has a finite speed: give a number, 1.0 for real time, or "
                "replay with mode='replay', headrace replay or headrace backtest"
            )
            raise OptionError(msg, option="speed")
    else:
        _check_past(options, mode)
    return options


def _check_past(options: EngineOptions, mode: Mode) -> None:
    """Refuse what only a live engine has, and a repetition without its log."""
    if options["clock"] is not None:
        msg = f"clock={options['clock']!r} with mode={str(mode)!r}: its time is its ticks' own; leave the clock out"
        raise OptionError(msg, option="clock")
    if mode is Mode.REPLAY and options["dispatch_log"] is not None:
        msg = f"dispatch_log={str(options['dispatch_log'])!r} with mode='replay': repeat it with mode='repeat'"
        raise OptionError(msg, option="dispatch_log")
    if mode is Mode.REPEAT and options["dispatch_log"] is None:
        msg = "mode='repeat' has no dispatch_log: name the log of the live run"
        raise OptionError(msg, option="dispatch_log")
    if options["traces"] is not None:
        msg = f"traces with mode={str(mode)!r}: only a live engine is traced; leave them out"
        raise OptionError(msg, option="traces")
    if options["record"] is not None:
        msg = f"record={str(options['record'])!r} with mode={str(mode)!r}: only live feeds are recorded; leave it out"
        raise OptionError(msg, option="record")


def _check_names(options: EngineOptions) -> None:
    """Refuse names that files cannot have, and the empty text of a setting that is missing."""
    file_name("name", options["name"])
    if options["run_id"] is not None:
        file_name("run_id", options["run_id"])
    for name in (own for own, types in _TYPES.items() if set(_PATH) <= set(types)):
        if options[name] == "":  # type: ignore[literal-required]  # the table's keys are options
            refuse(name, "", "a path, or None")
