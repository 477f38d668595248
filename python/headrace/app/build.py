"""Assembly: from a configuration to an engine, every part made or imported, nothing started.

Guarantees: what cannot be made is a ConfigError with the path of its section.
Does not: read files (``config``) or run.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import asdict

from headrace.app.config import config_digest
from headrace.app.objects import load_object, load_strategy, make_object
from headrace.commands import default_middleware
from headrace.control import ControlServer
from headrace.engine.engine import Engine
from headrace.engine.service import ServiceProtocol
from headrace.errors import ConfigError
from headrace.feeds import Feed, PushFeed, RecordingFeed, synthetic_session
from headrace.market.bars import BarSpec
from headrace.market.clock import Mode
from headrace.telemetry import PrometheusEndpoint
from headrace.trading.brokers.base import Broker
from headrace.trading.brokers.simulated import SimulatedBroker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from headrace.app.config import EngineConfig
    from headrace.app.config.tree import BrokerSection, FeedSection, ServiceSection, StrategySection
    from headrace.feeds.base import AnyFeed
    from headrace.feeds.sources import Progress
    from headrace.strategies.spec import StrategySpec

__all__ = ["engine_of", "make_broker", "make_feeds", "make_service", "make_strategy"]


def engine_of(
    config: EngineConfig,
    *,
    mode: Mode = Mode.LIVE,
    dispatch_log: str | None = None,
    feeds: Sequence[AnyFeed] | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> Engine:
    """Make the engine that a configuration describes.

    mode : but for "live", in the recordings' time and with no effects: no kill switch, no control socket, no metrics.
    dispatch_log : of a live run of this configuration, which is repeated. feeds : in place of the configuration's.
    progress : called about ten times a second in a replay.
    Raises ConfigError, and what the parts' constructors raise.
    """
    section, is_live = config.engine, mode is Mode.LIVE
    if feeds is None:
        feeds = [feed for number, own in enumerate(config.feeds) for feed in make_feeds(own, f"feeds[{number}]")]
    engine = Engine(
        feeds=feeds,
        strategies=[make_strategy(own, f"strategies[{number}]") for number, own in enumerate(config.strategies)],
        broker=None if config.broker is None else make_broker(config.broker),
        services=[make_service(own, f"services[{number}]") for number, own in enumerate(config.services)],
        lanes=config.lanes.options(),
        name=section.name,
        run_id=section.run_id,
        mode=mode,
        speed=section.speed if is_live else None,
        instruments=config.instrument_table(),
        limits=config.risk,
        on_fault=section.on_fault,
        ring_capacity=section.ring_capacity,
        duplicates=section.duplicates,
        late=section.late,
        slice_ns=section.slice_ns,
        wait=section.wait,
        gc=section.gc,
        audit=section.audit,
        config=msgspec.to_builtins(config, str_keys=True),
        dispatch_log=section.dispatch_log if is_live else dispatch_log,
        record=section.record if is_live else None,
        config_digest=config_digest(config),
        state_folder=section.state_folder,
        halt_signal=config.kill_switch.signal,
        command_workers=config.commands.workers,
        command_timeout_s=config.commands.timeout_s,
        middleware=default_middleware(rate_max=config.commands.rate_max),
        progress=progress,
    )
    if is_live:
        _add_live_services(engine, config)
    return engine


def _add_live_services(engine: Engine, config: EngineConfig) -> None:
    """Add what operators and metrics need."""
    folder = config.engine.state_folder
    engine.services.add(
        ControlServer(engine.commands, engine=engine.name, dead_letters=engine.dead_letters, folder=folder)
    )
    if config.telemetry.prometheus_port is not None:
        endpoint = PrometheusEndpoint(
            engine.metrics, port=config.telemetry.prometheus_port, host=config.telemetry.prometheus_host
        )
        engine.services.add(endpoint)


def make_feeds(section: FeedSection, where: str) -> list[AnyFeed]:
    """Make the feeds of a section; generated markets are several."""
    if section.kind == "recording":
        if section.path is None:
            msg = f"{where}.path is missing: a recording is a file"
            raise ConfigError(msg, path=f"{where}.path")
        make = partial(RecordingFeed, section.path, venue=section.venue)
        return [make_object(make, section.options, where, given_by="options.{}")]
    venue = {} if section.venue is None else {"venue": section.venue}
    if section.kind == "synthetic":
        return list(make_object(synthetic_session, {**venue, **section.options}, where, given_by="options.{}"))
    path = {} if section.path is None else {"path": section.path}
    own = {**path, **venue, **section.options}
    return [_made(section.kind, own, Feed, where, or_what=PushFeed, given_by="options.{}")]


def make_strategy(section: StrategySection, where: str) -> StrategySpec:
    """Make a strategy, and return it with the way in which a restart makes it again."""
    return replace(
        load_strategy(section.use, section.parameters, where),
        name=section.name,
        subscription=section.subscription.given(),
        bars=[own if isinstance(own, str) else BarSpec(**asdict(own)) for own in section.bars] or None,
        on_quarantine=section.on_quarantine,
    )


def make_broker(section: BrokerSection) -> Broker:
    """Make the broker."""
    if section.use == "simulated":
        return make_object(SimulatedBroker, section.parameters, "broker")
    broker: Broker = _made(section.use, section.parameters, Broker, "broker")
    return broker


def make_service(section: ServiceSection, where: str) -> ServiceProtocol:
    """Make a service."""
    made: ServiceProtocol = _made(section.use, section.parameters, ServiceProtocol, where)
    if section.restart is not None:
        made.restart = section.restart  # type: ignore[misc]  # read-only for the engine, not for who makes it
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
        msg = f"{where} names {use}, which is no class"
        raise ConfigError(msg, path=where)
    made = make_object(found, parameters, where, given_by=given_by)
    if not isinstance(made, what) and not (or_what is not None and isinstance(made, or_what)):
        lacking = sorted(name for name in dir(what) if name[0] != "_" and not hasattr(made, name))
        msg = f"{where} names {use}, which is no {what.__name__}: it lacks {', '.join(lacking)}"
        raise ConfigError(msg, path=where)
    return made
