"""Telemetry: samples equal the parts' own counts at the time of the snapshot; one table has all their names."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from headrace import Decoder, Dispatcher
from headrace.bus import EventBus
from headrace.bus.audit import AuditSink
from headrace.errors import MissingExtraError, OptionError
from headrace.feeds import SyntheticFeed
from headrace.market.events import Signal
from headrace.strategies.states import LifeCycle, StrategyState
from headrace.telemetry import METRICS, Metrics, PrometheusEndpoint

UNITS = {
    "s": "_seconds",
    "ticks": "_ticks",
    "events": "_events",
}


def value(metrics: Metrics, name: str, *labels: str) -> float:
    (found,) = [sample.value for sample in metrics.snapshot() if (sample.name, sample.labels) == (name, labels)]
    return found


def test_metric_names_are_unique_and_end_in_their_unit() -> None:
    for name, metric in METRICS.items():
        assert name == metric.name
        assert name.startswith("headrace_")
        assert name.endswith("_total") == (metric.kind == "counter")
        if metric.kind == "gauge" and metric.unit in UNITS:
            assert name.endswith(UNITS[metric.unit])
        assert metric.meaning


def test_absent_parts_have_no_samples() -> None:
    assert [sample.name for sample in Metrics(run_id="run", version="1").snapshot()] == ["headrace_engine_info"]


def test_a_dispatcher_has_a_sample_per_term_of_the_loss_law() -> None:
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(lambda bid_price: None, callback="on_quote", name="watch")
        decoder = Decoder("BINANCE", dispatcher.instruments)
        lines = list(SyntheticFeed(frames=500).lines())
        dispatcher.publish_lines(decoder, b"".join(lines[:100]))
        dispatcher.dispatch()
        dispatcher.publish_lines(decoder, b"".join(lines[100:]) + b"1 {broken\n")
        before = Metrics(dispatcher=dispatcher)
        stats = subscription.stats()
        assert value(before, "headrace_subscription_pending_ticks", "watch") == stats.pending > 0
        assert value(before, "headrace_subscription_lag_seconds", "watch") == stats.pending_ns / 1e9 > 0
        dispatcher.dispatch()
        metrics = Metrics(dispatcher=dispatcher)
        fates = ("delivered", "filtered", "missed", "conflated", "skipped")
        told = [value(metrics, "headrace_subscription_ticks_total", "watch", fate) for fate in fates]
        assert sum(told) == dispatcher.stats().published
        assert told[0] == value(metrics, "headrace_subscription_calls_total", "watch") > 0
        rejected = [sample for sample in metrics.snapshot() if sample.name == "headrace_frames_rejected_total"]
        assert sum(sample.value for sample in rejected) == 1
        quantiles = [
            sample.labels[1] for sample in metrics.snapshot() if sample.name == "headrace_handler_latency_seconds"
        ]
        assert quantiles == ["0.5", "0.9", "0.99", "0.999", "1"]
        longest = value(metrics, "headrace_handler_latency_seconds", "watch", "1")
        assert longest == subscription.stats().latency.max / 1e9


def test_a_subscription_that_was_never_called_has_no_latency() -> None:
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(lambda bid_price: None, callback="on_quote", name="watch")
        names = {sample.name for sample in Metrics(dispatcher=dispatcher).snapshot()}
    assert "headrace_handler_latency_seconds" not in names
    assert "headrace_subscription_calls_total" in names


def test_a_bus_has_samples_per_lane_and_subscriber(tmp_path: Path) -> None:
    bus = EventBus()

    def refuse(_: Signal) -> None:
        raise ValueError("not today")

    bus.subscribe(Signal, refuse, name="refuse")
    with AuditSink(tmp_path / "run.jsonl") as sink:
        sink.attach(bus)
        for _ in range(3):
            bus.publish_nowait(Signal(instrument="A.B", side=1))
        metrics = Metrics(bus=bus, dead_letters=bus.dead_letters, audit=sink)
        assert value(metrics, "headrace_lane_depth_events", "signal") == 3
        bus.drain()
        sink.flush()
        assert value(metrics, "headrace_lane_depth_events", "signal") == 0
        assert value(metrics, "headrace_lane_events_total", "signal", "published") == 3
        assert value(metrics, "headrace_lane_events_total", "signal", "dead") == 3
        assert value(metrics, "headrace_subscriber_calls_total", "audit") == 3
        assert value(metrics, "headrace_subscriber_faults_total", "refuse") == 3
        assert value(metrics, "headrace_dead_letters_total") == 3
        assert value(metrics, "headrace_dead_letters_kept") == 3
        assert value(metrics, "headrace_audit_events_total", "written") == 3
        assert value(metrics, "headrace_audit_events_total", "lost") == 0


class Living:
    def __init__(self) -> None:
        self.life = LifeCycle("Momentum")


class Beside:
    restarts: Mapping[str, int] = {"recorder": 2}
    faults: Mapping[str, int] = {"recorder": 1}

    def health(self) -> Mapping[str, str]:
        return {"recorder": "the disk is full"}

    def metrics(self) -> Mapping[str, Mapping[str, float]]:
        return {"recorder": {"bytes": 7.0}}


def test_a_strategy_is_in_one_state_and_its_changes_are_counted() -> None:
    strategy = Living()
    metrics = Metrics(strategies={"Momentum": strategy})
    strategy.life.move("start")
    strategy.life.move("started")
    told = {state: value(metrics, "headrace_strategy_state", "Momentum", str(state)) for state in StrategyState}
    assert [state for state, is_in in told.items() if is_in] == [StrategyState.RUNNING]
    assert value(metrics, "headrace_strategy_state_changes_total", "Momentum") == 2


def test_a_service_has_restarts_health_and_its_own_metrics() -> None:
    metrics = Metrics(services=Beside())
    assert value(metrics, "headrace_service_restarts_total", "recorder") == 2
    assert value(metrics, "headrace_service_healthy", "recorder") == 0
    assert value(metrics, "headrace_service_value", "recorder", "bytes") == 7


def test_a_port_above_65535_is_refused() -> None:
    with pytest.raises(OptionError, match="from 0 to 65,535"):
        PrometheusEndpoint(Metrics(), port=70_000)


def test_an_endpoint_without_its_library_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtraError, match=r'pip install "headrace\[prometheus\]"'):
        PrometheusEndpoint(Metrics(), port=0)


def test_pages_name_only_metrics_that_exist(root: Path) -> None:
    pages = [path.read_text(encoding="utf-8") for path in (root / "docs").rglob("*.md")]
    told = {name for page in pages for name in re.findall(r"\bheadrace_[a-z_]+[a-z]\b", page)}
    assert told >= set(METRICS)
    assert told <= set(METRICS)
