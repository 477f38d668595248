"""Checking: what is wrong with a configuration, as far as it can be known without a run.

::

    EngineConfig ─▶ make each part as ``run`` does, look for each file, bind each handler ─▶ every finding

Guarantees: nothing is run, and no file of a run is written; a finding names the path of what it is about; what ``run``
refuses before it runs is a finding.
Does not: read recordings or use a network.
"""

from __future__ import annotations

import importlib.util
import math
import os
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from headrace.app.build import engine_options, live_engine
from headrace.bus import EventBus
from headrace.bus.audit import audit_path
from headrace.control.wire import socket_path
from headrace.dispatch.dispatcher import Dispatcher
from headrace.dispatch.signature import LIFE_CYCLE, has_tick_handlers, life_cycle_of
from headrace.errors import ConfigError, HeadraceError
from headrace.market.instrument import RiskLimits
from headrace.strategies.spec import StrategySpec
from headrace.strategies.strategy import Strategy
from headrace.trading.state_folder import checked_folder, state_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from decimal import Decimal

    from headrace.app.config import EngineConfig
    from headrace.engine.options import EngineOptions

__all__ = ["Finding", "findings"]


class Finding(NamedTuple):
    """One finding. path : where. text : what it is, and what to do. is_wrong : False for what may only surprise."""

    path: str
    text: str
    is_wrong: bool = True


def findings(config: EngineConfig, problems: Iterable[ConfigError] = ()) -> list[Finding]:
    """Return everything that is wrong with a configuration, and what may surprise. Imports what it names.

    problems : what was wrong when it was read; nothing more is said of those places.
    """
    check = _Check(config)
    check.make_parts()
    check.look_at_files()
    check.look_at_orders()
    read = [Finding(own.path, str(own).replace(f"{own.path} is wrong: ", "")) for own in problems]
    known = [problem.path for problem in read]
    found = [finding for finding in check.found if not any(_overlap(finding.path, path) for path in known)]
    if not any(finding.is_wrong for finding in [*read, *found]):
        check.make_engine()
        found = check.found
    return [*read, *found]


def _overlap(path: str, other: str) -> bool:
    return path == other or path.startswith((f"{other}.", f"{other}[")) or other.startswith((f"{path}.", f"{path}["))


class _Check:
    """Makes what ``run`` makes, in the same way, and keeps what is wrong."""

    def __init__(self, config: EngineConfig) -> None:
        self.found: list[Finding] = []
        self._config = config
        self._options: EngineOptions = {}

    def make_parts(self) -> None:
        """Make each part by itself."""
        config, section = self._config, self._config.engine
        self._make("$.instruments", _name_instruments, list(config.instruments))
        self._make("$.lanes", partial(EventBus, lanes=config.lanes.options()))
        self._options = engine_options(config, self._make)
        folder = state_path() if section.state_folder is None else Path(section.state_folder)
        self._make("$.engine.name", socket_path, section.name, folder)
        if folder.exists():
            self._make("$.engine.state_folder", checked_folder, folder)

    def make_engine(self) -> None:
        """Make the whole engine, in a state folder of its own, and without the files of a run."""
        with TemporaryDirectory(prefix="headrace-check-") as folder:
            quiet: EngineOptions = {
                **self._options,
                "state_folder": folder,
                "halt_signal": False,
                "audit": None,
                "dispatch_log": None,
            }
            config, gateway = self._config, self._config.gateway
            if gateway is not None:
                config = replace(config, gateway=replace(gateway, snapshots=None))
            engine = self._make("$", live_engine, config, quiet)
            if engine is not None:
                engine.kill_switch.close()

    def _make(self, path: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a function makes; None, and a finding, for what it raises."""
        try:
            made = function(*arguments)
            if isinstance(made, StrategySpec):
                _bind(made, list(self._config.instruments))
        except ConfigError as error:
            self._wrong(error.path or path, str(error).removeprefix(f"{error.path}: "))
        except (HeadraceError, ValueError) as error:
            self._wrong(path, str(error))
        else:
            return made
        return None

    def _wrong(self, path: str, text: str) -> None:
        self.found.append(Finding(path, text))

    def look_at_files(self) -> None:
        """Look for the files that are read, and for those that must not be there yet."""
        config, section = self._config, self._config.engine
        for number, feed in enumerate(config.feeds):
            if feed.kind == "recording" and feed.path is not None and not Path(feed.path).is_file():
                self._wrong(f"$.feeds[{number}].path", f"{feed.path} is no file: name a recording")
        if section.audit is not None:
            file = audit_path(section.audit, section.run_id or "run")
            if file.exists() and (section.run_id is not None or str(file) == section.audit):
                text = f"{file} exists already and is not changed: name a folder, or another file"
                self._wrong("$.engine.audit", text)
            self._look_at_folder("$.engine.audit", file.parent)
        if section.dispatch_log is not None:
            log = Path(section.dispatch_log)
            if log.is_file():
                self._wrong("$.engine.dispatch_log", f"{log} exists already and is not changed: name another file")
            self._look_at_folder("$.engine.dispatch_log", log.parent)
        if section.state_folder is not None:
            self._look_at_folder("$.engine.state_folder", Path(section.state_folder))
        if section.record is not None:
            self._look_at_folder("$.engine.record", Path(section.record))
        if config.telemetry.prometheus_port is not None and importlib.util.find_spec("prometheus_client") is None:
            self._wrong("$.telemetry.prometheus_port", 'this needs a library: pip install "headrace[prometheus]"')

    def _look_at_folder(self, path: str, folder: Path) -> None:
        """Find out whether a folder can be written to, or be made."""
        present = next(own for own in (folder, *folder.absolute().parents) if own.exists())
        if not present.is_dir():
            self._wrong(path, f"{present} is no folder, so nothing can be written below it: name a folder")
        elif not os.access(present, os.W_OK | os.X_OK):
            self._wrong(path, f"{present} cannot be written to: choose another folder, or change its permissions")

    def look_at_orders(self) -> None:
        """Note what refuses orders."""
        config = self._config
        if not config.strategies:
            return
        if config.broker is None:
            self._note("$.broker", "no broker is set, so every order is refused")
            return
        if not config.instruments:
            self._note("$.instruments", "no instrument is described, so every order is refused")
        own = [section.limits or RiskLimits() for section in config.instruments.values()]
        for name in RiskLimits.__struct_fields__:
            is_everywhere = bool(own) and all(_allows(getattr(limits, name)) for limits in own)
            value = getattr(config.risk, name)
            if not is_everywhere and not _allows(value):
                what = "not set" if value is None else value
                self._note(f"$.risk.{name}", f"it is {what}, so each order that it concerns is refused")

    def _note(self, path: str, text: str) -> None:
        self.found.append(Finding(path, text, is_wrong=False))


def _allows(limit: Decimal | float | None) -> bool:
    """Whether a limit lets an order pass: one that is missing, not a number, or not above 0 refuses."""
    return limit is not None and math.isfinite(limit) and limit > 0


def _name_instruments(names: list[str]) -> None:
    Dispatcher(instruments=names, mode="replay").close()


def _bind(spec: StrategySpec, instruments: list[str]) -> None:
    """Subscribe a strategy to a dispatcher that gets no ticks. Raises what is wrong with it."""
    strategy = spec.first()
    if isinstance(strategy, Strategy):
        life_cycle_of(strategy)
    if not isinstance(strategy, Strategy) or has_tick_handlers(strategy):
        with _without_ticks(instruments) as dispatcher:
            dispatcher.subscribe(strategy, **spec.options_of(strategy))
    spec.bars_of(strategy)


def _without_ticks(instruments: list[str]) -> Dispatcher:
    return Dispatcher(instruments=instruments, mode="replay", called_by_owner=LIFE_CYCLE)
