"""Assembly of workers: from a configuration and a database to runners, with their gates and the kill switch.

::

    [execution] of CONFIG  <  SSM parameter  <  HEADRACE__EXECUTION__KEY  <  --set KEY=VALUE      anew at each run

Guarantees: a value that no run accepts is a ConfigError with the line to write; gates are loaded once.
Does not: run anything.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

import headrace._native as _native
from headrace.app.build import make_broker
from headrace.app.config import load_config
from headrace.app.objects import load_object
from headrace.app.service_thread import serving
from headrace.app.ssm import ssm_layer
from headrace.errors import ConfigError
from headrace.execution import claims, ledger
from headrace.execution.database.opening import open_database
from headrace.execution.decision import decide, judge_daily_limit
from headrace.execution.gates import GATES
from headrace.execution.metrics import ExecutionMetrics
from headrace.execution.runner import Runner, owner_name
from headrace.execution.schema.migrating import check_version
from headrace.execution.workers import Workers
from headrace.telemetry.collect import Metrics
from headrace.telemetry.prometheus import PrometheusEndpoint
from headrace.trading.brokers.outcome import AskableBroker
from headrace.trading.kill_switch import KillSwitch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from headrace.app.config import EngineConfig
    from headrace.control.alerts import AlertsSettings
    from headrace.control.settings import HttpSettings
    from headrace.engine.service import ServiceProtocol
    from headrace.execution.gates import Gate
    from headrace.execution.settings import ExecutionSettings
    from headrace.execution.workers import Mode

__all__ = ["ExecutionParts", "execution_overrides"]

log = logging.getLogger(__name__)


def execution_overrides(given: Sequence[str]) -> list[str]:
    """Return overrides with their section: ``confidence_min=0.8`` is ``execution.confidence_min=0.8``."""
    return [text if "." in text.partition("=")[0] else f"execution.{text}" for text in given]


class ExecutionParts:
    """What workers are made of. Raises ConfigError, OptionError.

    config_file : None: the defaults. overrides : of ``--set``. db : the database's URL; None: a file in the state
    folder.
    """

    def __init__(self, config_file: Path | None, overrides: Sequence[str], db: str | None) -> None:
        self._file = config_file
        self._overrides = execution_overrides(overrides)
        self.owner = owner_name()
        config = self._config()
        self._folder = config.engine.state_folder
        self._telemetry = config.telemetry
        self._http = config.control.http
        self._alerts = config.control.alerts
        self._gates = _loaded(config.execution.gates)
        self.database = open_database(db)

    def settings(self) -> ExecutionSettings:
        """Return the settings as they are now. Raises ConfigError."""
        return self._config().execution

    def _config(self) -> EngineConfig:
        """Read the configuration, and over its file the SSM parameter that it names."""
        config = load_config(self._file, overrides=self._overrides)
        if not (layer := ssm_layer(config.execution)):
            return config
        return load_config(self._file, overrides=self._overrides, layer=layer)

    @contextmanager
    def workers(self, count: int, mode: Mode, every_s: float) -> Iterator[Workers]:
        """Return workers that look at the state folder's kill switch.

        Their metrics are served where a port is set, and in mode "every" the control API by [control.http], and alerts
        judged by [control.alerts]; all is closed afterwards. Raises ServiceError, ControlError when a port is taken.
        """
        with KillSwitch(self._folder) as switch, ExitStack() as served:
            workers = Workers(
                self.database, lambda: self._runner(lambda: switch.is_halted), count=count, mode=mode, every_s=every_s
            )
            if self._telemetry.prometheus_port is not None:
                own = served.enter_context(closing(ExecutionMetrics(self.database, workers)))
                served.enter_context(serving("metrics", self.owner, self._endpoint(own)))
            if self._http is not None and mode == "every":
                served.enter_context(serving("control", self.owner, *self._control(self._http, workers, switch)))
            if self._alerts is not None and mode == "every":
                served.enter_context(serving("alerts", self.owner, self._watch(self._alerts, workers)))
            yield workers

    def _watch(self, settings: AlertsSettings, workers: Workers) -> ServiceProtocol:
        from headrace.control.alerts import AlertService
        from headrace.control.alerts.worker import WorkerWatch

        counted = ExecutionMetrics(self.database, workers)
        alerts = AlertService(settings, engine=self.owner, metrics=counted.samples)
        return WorkerWatch(alerts, self.database, close=counted.close)

    def _endpoint(self, own: ExecutionMetrics) -> PrometheusEndpoint:
        metrics = Metrics(run_id=self.owner, version=str(_native.build_info()["version"]), more=(own.samples,))
        assert self._telemetry.prometheus_port is not None
        return PrometheusEndpoint(metrics, port=self._telemetry.prometheus_port, host=self._telemetry.prometheus_host)

    def _control(self, settings: HttpSettings, workers: Workers, switch: KillSwitch) -> list[ServiceProtocol]:
        from headrace.control.http import ExecutionApi, HttpServer

        api = ExecutionApi(self.database, workers, switch, owner=self.owner)
        return [api, HttpServer(api, settings, folder=self._folder)]

    def backlog(self) -> claims.Backlog:
        """Return what waits in the database. Raises StoreError."""
        connection = self.database.connect()
        try:
            return claims.backlog(connection)
        finally:
            connection.close()

    def explain(self, recommendation: int) -> dict[str, Any]:
        """Return what each gate says of a recommendation now, and how it would be priced. Raises StoreError."""
        connection = self.database.connect()
        try:
            check_version(connection, complete=True)
            claimed, status = ledger.read_recommendation(connection, recommendation)
            view = ledger.read_view(connection, claimed, self.settings().checked(), None)
            today = ledger.count_today(connection, claimed.ticker, view.now_ms)
        finally:
            connection.close()
        gates = {**GATES, **self._gates}
        decision = judge_daily_limit(gates, decide(gates, view), today)
        return {
            "id": claimed.id,
            "ticker": claimed.ticker,
            "action": claimed.action,
            "status": status,
            "attempts": claimed.attempts,
            "gates": msgspec.to_builtins(decision.results),
            "plan": None if decision.plan is None else decision.plan.document(),
            "why": decision.why,
        }

    def _runner(self, is_halted: Callable[[], bool]) -> Runner:
        return Runner(
            self.database, self.settings, gates=self._gates, is_halted=is_halted, broker=_broker(self._config())
        )


def _broker(config: EngineConfig) -> AskableBroker | None:
    """Return the broker of real orders; None where orders are simulated. Raises ConfigError."""
    if config.execution.execution_mode == "SIMULATED":
        return None
    broker = None if config.broker is None else make_broker(config.broker, "$.broker")
    if not isinstance(broker, AskableBroker):
        what = "there is none" if broker is None else f"{type(broker).__name__} has no method outcome()"
        msg = f"$.broker: real orders need a broker that can be asked for an order's outcome, and {what}"
        raise ConfigError(f"{msg}; use headrace.trading.brokers.binance:BinanceBroker", path="$.broker")
    return broker


def _loaded(uses: Sequence[str]) -> dict[str, Gate]:
    """Return a user's gates by their names. Raises ConfigError."""
    found: dict[str, Gate] = {}
    for use in uses:
        gate, name = load_object(use, "execution.gates"), use.rpartition(":")[2]
        if not callable(gate) or isinstance(gate, type):
            msg = f"execution.gates: {use} is no function: write def {name}(view) that returns a GateResult"
            raise ConfigError(msg, path="$.execution.gates")
        if name in found or name in GATES:
            msg = f"execution.gates: there are two gates called {name}: rename one"
            raise ConfigError(msg, path="$.execution.gates")
        found[name] = gate
    return found
