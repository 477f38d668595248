"""The pipeline before execution: bars, features, watchlist, news and rules, each a step that can be repeated.

::

    BarSource ─▶ lane_telemetry ─▶ features ─▶ lane_features ─▶ watchlist ─▶ watchlist_state ─┐
    RSS, Atom ─▶ inbound_events_raw ─▶ classifier ─▶ inbound_events_classified ──────────────┴▶ rules ─▶ recommendations

Guarantees: a step that is repeated changes nothing; data that is missing is a skip with its reason, never invented.
Does not: execute recommendations; ``headrace execute`` does.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from headrace.execution.pipeline.settings import PipelineSettings, SignalRule
from headrace.execution.pipeline.steps import Pipeline, StepResult

if TYPE_CHECKING:
    from headrace.execution.pipeline.service import PipelineService

__all__ = ["Pipeline", "PipelineService", "PipelineSettings", "SignalRule", "StepResult"]


def __getattr__(name: str) -> object:
    """Import the service at its first use: it needs the engine, and ``headrace pipeline`` does not."""
    if name == "PipelineService":
        return import_module("headrace.execution.pipeline.service").PipelineService
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
