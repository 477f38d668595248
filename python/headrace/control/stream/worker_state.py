"""WorkerState: what an operator sees of the workers of recommendations of one process, as one document.

::

    database ─ backlog · recommendations · executions · runs · pauses ─┐
    counts of this process, kill switch ──────────────────────────────┴▶ the sections of an engine's document, where
                                                                          they mean the same, and those five
What happens when the database is away
    The rows are those of before, and the service "database" says why.

Guarantees: amounts are texts; an execution says whether it was simulated or real, and no two are added.
Does not: change anything, or show more than the newest rows.
"""

from __future__ import annotations

import time
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from headrace.control.plain import plain, plain_whole
from headrace.control.stream.board import CLOCK
from headrace.control.stream.engine_state import API_VERSION
from headrace.control.stream.rates import Rates
from headrace.errors import StoreError
from headrace.execution.claims import backlog
from headrace.execution.controls import pauses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.control.stream.board import Document
    from headrace.execution.database.base import Connection, Database
    from headrace.execution.workers import Workers
    from headrace.trading.kill_switch import KillSwitch

__all__ = ["WorkerState"]

MS_NS = 1_000_000
# The newest rows of a section; the API's lists have all of them.
SHOWN_MAX = 200
# A column that ends in _ms is a time, and becomes one in ns.
_SECTIONS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "recommendations": (
        (
            *("id", "ticker", "action", "confidence", "status", "attempts", "priority", "owner"),
            *("failure_reason", "created_ms", "processed_ms"),
        ),
        (
            "SELECT id, ticker, action, confidence, status, attempts, priority, owner, failure_reason, MS(created_at),"
            " MS(processed_at) FROM dispatch_recommendations ORDER BY id DESC LIMIT :most"
        ),
    ),
    "executions": (
        (
            *("recommendation_id", "executed_ms", "ticker", "action", "qty", "entry_price", "stop_loss_price"),
            *("take_profit_price", "notional", "execution_mode"),
        ),
        (
            "SELECT recommendation_id, MS(simulated_ts), ticker, action, qty, entry_price, stop_loss_price,"
            " take_profit_price, notional, execution_mode FROM dispatch_executions"
            " ORDER BY simulated_ts DESC, recommendation_id DESC LIMIT :most"
        ),
    ),
    "runs": (
        ("run_id", "started_ms", "finished_ms", "pulled", "processed", "simulated", "skipped", "failed"),
        (
            "SELECT CAST(run_id AS TEXT), MS(started_at), MS(finished_at), pulled_count, processed_count,"
            " simulated_count, skipped_count, failed_count FROM dispatcher_runs"
            " ORDER BY started_at DESC LIMIT :most"
        ),
    ),
}
_AMOUNTS = frozenset(("confidence", "qty", "entry_price", "stop_loss_price", "take_profit_price", "notional"))


class WorkerState:
    """The state document of the workers of one process.

    ``read`` asks the database on the thread that calls it, with a connection of its own.
    """

    def __init__(self, database: Database, workers: Workers, switch: KillSwitch, *, owner: str) -> None:
        self._database = database
        self._workers = workers
        self._switch = switch
        self._owner = owner
        self._rates = Rates()
        self._began_ns = time.time_ns()
        self._rows: Document = {name: {} for name in (*_SECTIONS, "pauses")}
        self._backlog: dict[str, Any] = dict.fromkeys(("pending", "processing", "sent", "age_s"))

    def first(self) -> Document:
        """Return the document before anything was read of the database."""
        return self._document("")

    def read(self) -> Document:
        """Return the document as it is now."""
        problem = ""
        try:
            with closing(self._database.connect()) as connection:
                self._backlog = backlog(connection)._asdict()
                self._rows = {**{name: _rows(connection, name) for name in _SECTIONS}, "pauses": _pauses(connection)}
        except StoreError as error:
            problem = str(error)
        return self._document(problem)

    def _document(self, problem: str) -> Document:
        now_ns = time.time_ns()
        self._rates.begin(now_ns)
        counts, last_s = self._workers.snapshot()
        own = counts.document()
        refusals = own.pop("refusals")
        return {
            CLOCK: {"now_ns": plain_whole(now_ns), "engine_ns": plain_whole(now_ns)},
            "engine": {**own, **self._engine_row(), "last_run_s": last_s},
            "rates": {**self._backlog, "processed_per_s": self._rates.per_s("processed", counts.processed)},
            "services": {"database": {"health": problem or "ok", "restarts": 0}},
            "gates": {name: {"passed": None, "refused": times} for name, times in refusals.items()},
            **self._rows,
        }

    def _engine_row(self) -> dict[str, Any]:
        switch, is_halted = self._switch, self._switch.is_halted
        halt = {"reason": switch.reason, "actor": switch.actor, "since_ns": plain_whole(switch.since_ns)}
        return {
            "api": API_VERSION,
            "kind": "worker",
            "name": "execute",
            "run_id": self._owner,
            "mode": "execute",
            "money": "none",
            "state": "stopping" if self._workers.is_stopped else "running",
            "ended_by": "",
            "began_ns": plain_whole(self._began_ns),
            "halted": is_halted,
            "halt": halt if is_halted else None,
        }


def _rows(connection: Connection, section: str) -> dict[str, Any]:
    """Return the newest rows of a section, by their first column."""
    columns, statement = _SECTIONS[section]
    found = connection.rows(statement, {"most": SHOWN_MAX})
    return {str(row[0]): dict(map(_named, columns, row)) for row in found}


def _pauses(connection: Connection) -> dict[str, Any]:
    return {f"{own.scope} {own.target}".strip(): dict(map(_named, own._fields, own)) for own in pauses(connection)}


def _named(column: str, value: Any) -> tuple[str, Any]:
    if column.endswith("_ms"):
        return f"{column.removesuffix('ms')}ns", None if value is None else plain_whole(value * MS_NS)
    return column, plain(Decimal(str(value)) if column in _AMOUNTS else value)
