"""Metrics of the workers of a process: what their runs did, and what waits in the database.

Guarantees: each sample is of a row of ``telemetry.metrics.METRICS``; each built-in gate has a sample from the start.
Does not: count; ``RunCounts`` does, and a run is counted when it has ended.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from headrace.errors import StoreError
from headrace.execution.claims import backlog
from headrace.execution.gates import GATES
from headrace.telemetry.collect import Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.execution.counts import RunCounts
    from headrace.execution.database.base import Connection, Database
    from headrace.execution.workers import Workers

__all__ = ["ExecutionMetrics"]

log = logging.getLogger(__name__)

FINISHES = ("simulated", "skipped", "failed", "sent", "executed")


class ExecutionMetrics:
    """The samples of some workers. It has a connection of its own; ``close`` closes it.

    When the database is away
        The samples of the backlog are left out, and the log says why; a number that is old would look like a good one.
    """

    def __init__(self, database: Database, workers: Workers) -> None:
        self._database = database
        self._workers = workers
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def samples(self) -> list[Sample]:
        """Return every value as it is now."""
        counts, last_s = self._workers.snapshot()
        return [*_of_counts(counts, last_s), *self._of_backlog()]

    def close(self) -> None:
        """Close the connection; may be called twice."""
        with self._lock:
            self._disconnect()

    def _of_backlog(self) -> list[Sample]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._database.connect()
                found = backlog(self._connection)
            except StoreError as error:
                self._disconnect()
                log.warning("the backlog is not known now: %s", error)
                return []
        name = "headrace_execution_backlog_recommendations"
        waiting = {"PENDING": found.pending, "PROCESSING": found.processing, "SENT": found.sent}
        return [
            *(Sample(name, (status,), count) for status, count in waiting.items()),
            Sample("headrace_execution_backlog_age_seconds", (), found.age_s),
        ]

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _of_counts(counts: RunCounts, last_s: float) -> Iterator[Sample]:
    yield Sample("headrace_execution_runs_total", (), counts.runs)
    yield Sample("headrace_execution_run_seconds", (), last_s)
    yield Sample("headrace_execution_claims_total", (), counts.pulled)
    for fate in FINISHES:
        yield Sample("headrace_execution_finishes_total", (fate.upper(),), getattr(counts, fate))
    yield Sample("headrace_execution_stale_finishes_total", (), counts.stale)
    yield Sample("headrace_execution_released_total", (), counts.released)
    yield Sample("headrace_execution_expired_total", (), counts.expired)
    yield Sample("headrace_execution_reaped_total", ("released",), counts.reaped)
    yield Sample("headrace_execution_reaped_total", ("failed",), counts.reaped_failed)
    for gate, refused in {**dict.fromkeys(GATES, 0), **counts.refusals}.items():
        yield Sample("headrace_execution_refusals_total", (gate,), refused)
