"""Assembly: from a configuration to an engine, with every part made or imported and nothing started.

Guarantees: a part that cannot be made is a ConfigError with the path of its section; ``run`` and ``config check`` make
an engine by the same functions.
Does not: read files (``config``) or run the engine.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from msgspec.structs import asdict

from headrace.app.config import config_digest, masked
from headrace.app.config.relations import OF_BINANCE
from headrace.app.objects import load_object, load_strategy, make_object
from headrace.bus import AuditRunner
from headrace.commands import Subscribe, default_middleware
from headrace.control import ControlServer
from headrace.dispatch.faults import error_text
from headrace.engine.engine import Engine
from headrace.engine.options import EngineOptions
from headrace.engine.service import ServiceProtocol
from headrace.errors import ConfigError
from headrace.feeds import Feed, PushFeed, RecordingFeed, synthetic_session
from headrace.feeds.recording import checked_venue
from headrace.feeds.table_feeds import table_feed_class
from headrace.feeds.tables import is_table_path
from headrace.gateway import Adapter, Gateway, Poller, SqliteSnapshots
from headrace.market.bars import BarSpec
from headrace.market.clock import Mode
from headrace.strategies.runner import StrategyRunner
from headrace.telemetry import PrometheusEndpoint, Traces
from headrace.trading.brokers.base import Broker
from headrace.trading.brokers.simulated import SimulatedBroker
from headrace.trading.risk import RiskEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from headrace.app.config import EngineConfig
    from headrace.app.config.gateway import GatewaySection
    from headrace.app.config.tree import (
        BrokerSection,
        FeedSection,
        PartSection,
        RunnerSection,
        ServiceSection,
        StrategySection,
    )
    from headrace.feeds.base import AnyFeed
    from headrace.feeds.progress import Progress
    from headrace.gateway.pollers import Parser
    from headrace.market.canonical import CanonicalType
    from headrace.strategies.spec import StrategySpec

__all__ = ["engine_of", "engine_options", "live_engine", "make_feeds", "past_options"]


Make: TypeAlias = "Callable[..., Any]"


def engine_of(
    config: EngineConfig,
    *,
    mode: Mode = Mode.LIVE,
    dispatch_log: str | None = None,
    feeds: Sequence[AnyFeed] | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> Engine:
    """Make the engine that a configuration describes.

    mode : in any other than "live" time is the recordings' and nothing has an effect: there is no kill switch, no
    control socket, and there are no metrics. dispatch_log : of a live run of this configuration, which is repeated.
    feeds : in place of the configuration's. progress : called about ten times a second in a replay.
    Raises ConfigError, and what the parts' constructors raise.
    """
    if mode is not Mode.LIVE:
        return Engine(**past_options(config, mode=mode, dispatch_log=dispatch_log, feeds=feeds, progress=progress))
    options = engine_options(config, _make, feeds=feeds)
    options |= {"mode": mode, "progress": progress, "dispatch_log": config.engine.dispatch_log}
    return live_engine(config, options)


def past_options(
    config: EngineConfig,
    *,
    mode: Mode = Mode.REPLAY,
    dispatch_log: str | None = None,
    feeds: Sequence[AnyFeed] | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> EngineOptions:
    """Return the options of an engine that replays or repeats; as ``engine_of``."""
    options = engine_options(config, _make, feeds=feeds)
    options |= {"mode": mode, "progress": progress, "dispatch_log": dispatch_log, "speed": None, "record": None}
    return options


def live_engine(config: EngineConfig, options: EngineOptions) -> Engine:
    """Make an engine with what operators, metrics and traces need, and its gateway."""
    telemetry = config.telemetry
    if telemetry.otlp_endpoint is not None:
        options |= {"traces": Traces(telemetry.otlp_endpoint, sample=telemetry.trace_sample, name=config.engine.name)}
    engine = Engine(**options)
    gateway = None
    if config.gateway is not None:
        gateway = make_gateway(config.gateway, engine, cast("Sequence[AnyFeed]", options["feeds"]))
    folder = config.engine.state_folder
    engine.services.add(
        ControlServer(engine.commands, engine=engine.name, dead_letters=engine.dead_letters, folder=folder)
    )
    if config.telemetry.prometheus_port is not None:
        endpoint = PrometheusEndpoint(
            engine.metrics, port=config.telemetry.prometheus_port, host=config.telemetry.prometheus_host
        )
        engine.services.add(endpoint)
    control = config.control
    if control.http is None and control.alerts is None:
        return engine
    from headrace.control.observation import observe

    stream = observe(engine, gateway=gateway, alerts=control.alerts)
    if control.http is not None:
        from headrace.control.http import EngineApi, HttpServer

        served = EngineApi(engine, config=masked(config), gateway=gateway, stream=stream)
        engine.services.add(HttpServer(served, control.http, folder=folder))
    return engine


def engine_options(config: EngineConfig, make: Make, *, feeds: Sequence[AnyFeed] | None = None) -> EngineOptions:
    """Return the options of a live engine.

    make : called for each part with its path, the function that makes it, and that function's arguments; it returns the
    part, or None for one that cannot be made. ``engine_of`` raises instead, ``check`` keeps the error.
    """
    if feeds is None:
        feeds = [feed for made in _each(make, "feeds", make_feeds, config.feeds) for feed in made]
    # A key of [engine] is the option of the same name; those of the log are no options.
    section = {name: value for name, value in asdict(config.engine).items() if name in EngineOptions.__annotations__}
    parts: EngineOptions = {
        "feeds": feeds,
        "strategies": _each(make, "strategies", make_strategy, config.strategies),
        "broker": _one(make, "broker", make_broker, config.broker),
        "gates": _one(make, "gates", make_risk_engine, config.gates),
        "services": _each(make, "services", make_service, config.services),
        "lanes": config.lanes.options(),
        "instruments": config.instrument_table(),
        "limits": config.risk,
        "cash": config.account.cash or None,
        "margin": config.account.margin or None,
        "account_limits": config.account.limits,
        "strategy_limits": config.account.strategy_limits or None,
        "config": masked(config),
        "config_digest": config_digest(config),
        "halt_signal": config.kill_switch.signal,
        "command_workers": config.commands.workers,
        "command_timeout_s": config.commands.timeout_s,
        "middleware": default_middleware(rate_max=config.commands.rate_max),
    }
    if config.runner is not None:
        parts["runner"] = make("$.runner", load_runner, config.runner, "$.runner") or StrategyRunner
    if config.audit is not None:
        parts["audit"] = _one(make, "audit", make_audit, config.audit)
    return cast("EngineOptions", section | parts)


def _make(_path: str, function: Callable[..., object], *arguments: object) -> object:
    return function(*arguments)


def _one(make: Make, name: str, function: Callable[..., object], section: object) -> Any:
    """Make the part of a section; None: there is no section, or it could not be made."""
    return None if section is None else make(f"$.{name}", function, section, f"$.{name}")


def _each(make: Make, name: str, function: Callable[..., object], sections: Iterable[object]) -> list[Any]:
    """Make a part of each section, and return those that could be made."""
    paths = [(f"$.{name}[{number}]", section) for number, section in enumerate(sections)]
    made = [make(path, function, section, path) for path, section in paths]
    return [part for part in made if part is not None]


def make_feeds(section: FeedSection, where: str) -> list[AnyFeed]:
    """Make the feeds of a section; generated markets are several."""
    if section.kind == "recording":
        if section.path is None:
            msg = f"{where}.path is missing: name the file of the recording"
            raise ConfigError(msg, path=f"{where}.path")
        file, venue = Path(section.path), checked_venue(section.venue)
        make: Callable[..., AnyFeed] = partial(RecordingFeed, section.path, venue=venue)
        if is_table_path(file):
            make = partial(table_feed_class(file), file)
            make = make if venue is None else partial(make, venue=venue)
        return [make_object(make, section.options, where, given_by="options.{}")]
    named = {} if section.venue is None else {"venue": section.venue}
    if section.kind == "synthetic":
        return list(make_object(synthetic_session, {**named, **section.options}, where, given_by="options.{}"))
    if section.kind == "binance":
        from headrace.venues import BinanceFeed

        own = {key: value for key in OF_BINANCE if (value := getattr(section, key)) is not None}
        given = {"symbols": (), **own}
        return [make_object(BinanceFeed, {**named, **given, **section.options}, where, given_by="options.{}")]
    path = {} if section.path is None else {"path": section.path}
    own = {**path, **named, **section.options}
    feed: Any = _made(section.kind, own, Feed, where, or_what=PushFeed, given_by="options.{}")
    if not isinstance(feed.name, str) or not feed.name:
        msg = f"{where}: the name of {section.kind} is {feed.name!r}: give it a text, which errors and tables show"
        raise ConfigError(msg, path=where)
    # A feed may find its venue when it opens; until then it has none.
    checked_venue(feed.venue)
    return [feed]


def make_strategy(section: StrategySection, where: str) -> StrategySpec:
    """Make a strategy, and return it with the way in which a restart makes it again."""
    return replace(
        load_strategy(section.use, section.parameters, where),
        name=section.name,
        subscription=section.subscription.given(),
        bars=[own if isinstance(own, str) else BarSpec(**asdict(own)) for own in section.bars] or None,
        on_quarantine=section.on_quarantine,
    )


def make_broker(section: BrokerSection, where: str) -> Broker:
    """Make the broker."""
    if section.use == "simulated":
        return make_object(SimulatedBroker, section.parameters, where)
    broker: Broker = _made(section.use, section.parameters, Broker, where)
    return broker


def make_risk_engine(section: PartSection, where: str) -> RiskEngine:
    """Make what judges orders in place of the limits."""
    return cast("RiskEngine", _made(section.use, section.parameters, RiskEngine, where))


def make_audit(section: PartSection, where: str) -> AuditRunner:
    """Make what records events in place of a file."""
    return cast("AuditRunner", _made(section.use, section.parameters, AuditRunner, where))


def load_runner(section: RunnerSection, where: str) -> type[StrategyRunner]:
    """Import the class that runs strategies."""
    found = load_object(section.use, where)
    if not (isinstance(found, type) and issubclass(found, StrategyRunner)):
        msg = f"{where}: {section.use} is no runner: derive a class from headrace.strategies.runner.StrategyRunner"
        raise ConfigError(msg, path=where)
    return found


def make_gateway(section: GatewaySection, engine: Engine, feeds: Iterable[object]) -> Gateway:
    """Make the gateway of an engine over those of its feeds that are adapters."""
    where = "$.gateway"
    adapters = [feed for feed in feeds if isinstance(feed, Adapter)]
    if not adapters:
        msg = f'{where} has no adapter: add a feed with kind = "binance", or one of your own that is an Adapter'
        raise ConfigError(msg, path=where)
    parsers: dict[str, Parser] = {}
    pollers: dict[CanonicalType, list[Poller]] = {}
    for number, own in enumerate(section.pollers):
        if ":" in own.parser:
            parsers[own.parser] = cast("Parser", load_object(own.parser, f"{where}.pollers[{number}].parser"))
        poller = Poller(own.name, own.endpoint, own.interval_s, own.parser, own.weight)
        pollers.setdefault(own.type, []).append(poller)
    return Gateway(
        engine,
        adapters,
        routes=[Subscribe(own.type, own.instruments, own.filters, own.throttle) for own in section.routes],
        pollers=pollers or None,
        parsers=parsers,
        snapshots=None if section.snapshots is None else SqliteSnapshots(section.snapshots),
        snapshot_ttl_s=section.snapshot_ttl_s,
        levels=section.levels,
        workers=section.workers,
        queue_max=section.queue_max,
    )


def make_service(section: ServiceSection, where: str) -> ServiceProtocol:
    """Make a service."""
    made: ServiceProtocol = _made(section.use, section.parameters, ServiceProtocol, where)
    if section.restart is not None:
        try:
            made.restart = section.restart  # type: ignore[misc]  # read-only for the engine, not for who makes it
        except Exception as error:
            msg = f"{where}.restart: it cannot be set ({error}): make it an attribute of {section.use}"
            raise ConfigError(msg, path=f"{where}.restart") from error
    return made


def _made(
    use: str,
    parameters: Mapping[str, object],
    what: type[Any],
    where: str,
    *,
    or_what: type[Any] | None = None,
    given_by: str = "parameters.{}",
) -> Any:
    """Import a class and make one; ``what`` is the Protocol that it must fit, or else ``or_what``."""
    found = load_object(use, where)
    if not isinstance(found, type):
        msg = f"{where}: {use} is no class: name a class"
        raise ConfigError(msg, path=where)
    made = make_object(found, parameters, where, given_by=given_by)
    wanted = or_what if or_what is not None and isinstance(made, or_what) else what
    if faults := [fault for name in _members(wanted) if (fault := _misfit(made, wanted, name))]:
        msg = f"{where}: {use} is no {wanted.__name__}: {', '.join(faults)}"
        raise ConfigError(msg, path=where)
    return made


def _members(protocol: type[Any]) -> list[str]:
    """Return the names that a Protocol and its bases declare, sorted."""
    bases = [base for base in protocol.__mro__ if getattr(base, "_is_protocol", False) and base is not Protocol]
    return sorted({name for base in bases for name in vars(base) if name[0] != "_" or name == "__aiter__"})


def _misfit(made: object, protocol: type[Any], name: str) -> str:
    """Return what is wrong with a member of an object; empty: it fits its Protocol."""
    try:
        member = inspect.unwrap(getattr(made, name))
    except AttributeError:
        return f"it lacks {name}"
    except Exception as error:  # noqa: BLE001 - a user's property may raise anything
        return f"its {name} raises {error_text(error)}"
    is_async = inspect.iscoroutinefunction(getattr(protocol, name))
    if inspect.isroutine(getattr(protocol, name)) and not callable(member):
        return f"its {name} is no method"
    # A callable of another kind may return anything: the run finds out.
    if inspect.ismethod(member) or inspect.isfunction(member):
        if is_async and not inspect.iscoroutinefunction(member):
            return f"its {name} is a plain method: write async def {name}"
        if not is_async and inspect.iscoroutinefunction(member):
            return f"its {name} is an async method: write def {name}"
    return ""
