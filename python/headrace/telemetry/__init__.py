"""Telemetry: what an engine tells about itself: one table of metrics, their collector, Prometheus, logs.

::

    stats() of dispatcher, buses, orders, gates, … ─▶ Metrics.snapshot() ─▶ PrometheusEndpoint ─▶ whoever scrapes

Guarantees: figures are read when they are asked for; between two questions telemetry costs nothing.
Does not: count anything itself.
"""

from headrace.telemetry.collect import Metrics, Sample
from headrace.telemetry.logs import JsonFormatter, TextFormatter, configure_logging, follow_events
from headrace.telemetry.metrics import METRICS, Metric
from headrace.telemetry.prometheus import PrometheusEndpoint

__all__ = [
    "METRICS",
    "JsonFormatter",
    "Metric",
    "Metrics",
    "PrometheusEndpoint",
    "Sample",
    "TextFormatter",
    "configure_logging",
    "follow_events",
]
