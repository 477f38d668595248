"""Checking: what can be known to be wrong with a configuration without running it.

::

    EngineConfig ─▶ each part is made, each file looked for, each handler bound ─▶ every finding, not only the first

Guarantees: nothing is opened, run or written; a finding names the path of what it is about.
Does not: read recordings or reach for a network; what only running shows, it does not know.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.app.build import make_broker, make_feeds, make_service, make_strategy
from headrace.bus import EventBus
from headrace.bus.audit import audit_path
from headrace.dispatch.dispatcher import Dispatcher
from headrace.dispatch.signature import LIFE_CYCLE, has_tick_handlers, life_cycle_of
from headrace.errors import ConfigError, HeadraceError
from headrace.market.instrument import RiskLimits
from headrace.strategies.spec import bar_specs
from headrace.strategies.strategy import Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from headrace.app.config import EngineConfig
    from headrace.app.config.tree import StrategySection
    from headrace.bus.lane import LaneOptions
    from headrace.market.events import Lane

__all__ = ["Finding", "findings"]


class Finding(NamedTuple):
    """What was found. path : where. text : what it is, and what to do. is_wrong : False for what only may surprise."""

    path: str
    text: str
    is_wrong: bool = True


def findings(config: EngineConfig) -> list[Finding]:
    """Return everything that is wrong with a configuration, and what may surprise. Imports what it names."""
    names = list(config.instruments)
    found = [*_attempt("$.instruments", _name_instruments, names)]
    for number, feed in enumerate(config.feeds):
        path = f"$.feeds[{number}]"
        found += _attempt(path, make_feeds, feed, path)
        if feed.kind == "recording" and not Path(feed.path or "").is_file():
            found.append(Finding(f"{path}.path", f"{feed.path} is no file: name a recording"))
    for number, strategy in enumerate(config.strategies):
        path = f"$.strategies[{number}]"
        found += _attempt(path, _bind, strategy, path, names)
    if config.broker is not None:
        found += _attempt("$.broker", make_broker, config.broker)
    for number, service in enumerate(config.services):
        path = f"$.services[{number}]"
        found += _attempt(path, make_service, service, path)
    found += _attempt("$.lanes", _open_lanes, config.lanes.options())
    return [*found, *_of_files(config), *_of_extras(config), *_of_orders(config)]


def _attempt(path: str, work: Callable[..., object], *arguments: object) -> Iterator[Finding]:
    """Do it, and find out what it raises."""
    try:
        work(*arguments)
    except ConfigError as error:
        yield Finding(path, str(error).removeprefix(f"{error.path}: "))
    except (HeadraceError, ValueError) as error:
        yield Finding(path, str(error))


def _name_instruments(names: list[str]) -> None:
    Dispatcher(instruments=names, mode="replay").close()


def _open_lanes(lanes: Mapping[Lane, LaneOptions]) -> None:
    EventBus(lanes=lanes)


def _bind(section: StrategySection, path: str, instruments: list[str]) -> None:
    """Make a strategy and subscribe it where no tick will come. Raises what is wrong with it."""
    spec = make_strategy(section, path)
    strategy = spec.first()
    if not isinstance(strategy, Strategy):
        with _nowhere(instruments) as dispatcher:
            dispatcher.subscribe(strategy, **spec.subscription)
        return
    life_cycle_of(strategy)
    options: dict[str, Any] = {**strategy.subscription, **spec.subscription}
    if has_tick_handlers(strategy):
        with _nowhere(instruments) as dispatcher:
            dispatcher.subscribe(strategy, **options)
    bar_specs(strategy.bars if spec.bars is None else spec.bars, options.get("instruments", "*"))


def _nowhere(instruments: list[str]) -> Dispatcher:
    return Dispatcher(instruments=instruments, mode="replay", called_by_owner=LIFE_CYCLE)


def _of_files(config: EngineConfig) -> Iterator[Finding]:
    section = config.engine
    if section.audit is not None:
        file = audit_path(section.audit, section.run_id or "run")
        if file.exists() and (section.run_id is not None or str(file) == section.audit):
            yield Finding(
                "$.engine.audit", f"{file} is there already and stays as it is: name a folder, or another file"
            )
        yield from _of_folder("$.engine.audit", file.parent)
    if section.dispatch_log is not None:
        yield from _of_folder("$.engine.dispatch_log", Path(section.dispatch_log).parent)
    if section.state_folder is not None:
        yield from _of_folder("$.engine.state_folder", Path(section.state_folder))


def _of_folder(path: str, folder: Path) -> Iterator[Finding]:
    """Find out whether something could be written in a folder, or the folder be made."""
    there = next(own for own in (folder, *folder.absolute().parents) if own.exists())
    if not there.is_dir():
        yield Finding(path, f"{there} is no folder: nothing can be written in it")
    elif not os.access(there, os.W_OK | os.X_OK):
        yield Finding(path, f"{there} may not be written: choose another folder, or change its permissions")


def _of_extras(config: EngineConfig) -> Iterator[Finding]:
    if config.telemetry.prometheus_port is not None and importlib.util.find_spec("prometheus_client") is None:
        yield Finding("$.telemetry.prometheus_port", 'this needs a library: pip install "headrace[prometheus]"')


def _of_orders(config: EngineConfig) -> Iterator[Finding]:
    """What refuses orders that somebody may have wanted to go through."""
    if not config.strategies:
        return
    if config.broker is None:
        yield Finding("$.broker", "there is none, so every order is refused", is_wrong=False)
        return
    if not config.instruments:
        yield Finding("$.instruments", "none is described, so every order is refused", is_wrong=False)
    own = [section.limits or RiskLimits() for section in config.instruments.values()]
    for name in RiskLimits.__struct_fields__:
        is_everywhere = bool(own) and all(getattr(limits, name) is not None for limits in own)
        if getattr(config.risk, name) is None and not is_everywhere:
            yield Finding(f"$.risk.{name}", "it is not set, which refuses each order that it concerns", is_wrong=False)
