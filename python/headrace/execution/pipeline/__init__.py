"""The pipeline before execution: bars, features, watchlist, news and rules, each a step that can be repeated.

::

    BarSource ─▶ lane_telemetry ─▶ features ─▶ lane_features ─▶ watchlist ─▶ watchlist_state ─┐
    RSS, Atom ─▶ inbound_events_raw ─▶ classifier ─▶ inbound_events_classified ──────────────┴▶ rules ─▶ recommendations

Guarantees: a step that is repeated changes nothing; data that is missing is a skip with its reason, never invented.
Does not: execute recommendations; ``headrace execute`` does.
"""

from headrace.execution.pipeline.settings import PipelineSettings, SignalRule
from headrace.execution.pipeline.steps import Pipeline, StepResult

__all__ = ["Pipeline", "PipelineSettings", "SignalRule", "StepResult"]
