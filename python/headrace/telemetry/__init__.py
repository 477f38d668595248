"""Telemetry of an engine: one table of metrics, their collector, Prometheus, logs, traces.

::

    stats() of dispatcher, buses, orders, gates, … ─▶ Metrics.snapshot() ─▶ PrometheusEndpoint ─▶ Prometheus server

Guarantees: values are read only for a snapshot; between two snapshots telemetry costs nothing.
Does not: count anything itself.
"""

from headrace.telemetry.collect import Metrics, Sample
from headrace.telemetry.logs import JsonFormatter, TextFormatter, configure_logging, follow_events
from headrace.telemetry.metrics import METRICS, Metric
from headrace.telemetry.prometheus import PrometheusEndpoint
from headrace.telemetry.traces import Traces

__all__ = [
    "METRICS",
    "JsonFormatter",
    "Metric",
    "Metrics",
    "PrometheusEndpoint",
    "Sample",
    "TextFormatter",
    "Traces",
    "configure_logging",
    "follow_events",
]
