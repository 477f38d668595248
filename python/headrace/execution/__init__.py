"""Execution: recommendations become executions exactly once, on SQLite and PostgreSQL.

::

    Store.recommend · SignalSink ─▶ dispatch_recommendations ─▶ Runner: claim ─▶ gates ─▶ price, size, stops
      ─▶ one fenced transaction: status and ledger (dispatch_executions) ─▶ reports

Guarantees: one execution per recommendation, whatever crashes, stalls or starts twice; the database refuses every
change of state that is not allowed, and every change of the ledger.
Does not: run inside of an engine; a SignalSink is the only part that does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from headrace.execution.gates import GATES, Gate, GateResult, GateView
from headrace.execution.recommendation import Bar, Claimed, Features, NewRecommendation
from headrace.execution.runner import Runner, RunResult
from headrace.execution.schema import RecommendationStatus
from headrace.execution.settings import ExecutionSettings
from headrace.execution.store import Store

if TYPE_CHECKING:
    from headrace.execution.signal_sink import SignalSink

__all__ = [
    "GATES",
    "Bar",
    "Claimed",
    "ExecutionSettings",
    "Features",
    "Gate",
    "GateResult",
    "GateView",
    "NewRecommendation",
    "RecommendationStatus",
    "RunResult",
    "Runner",
    "SignalSink",
    "Store",
]


def __getattr__(name: str) -> object:
    """Import the service at its first use: it needs the engine, and a worker does not."""
    if name == "SignalSink":
        return import_module("headrace.execution.signal_sink").SignalSink
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
