"""Reports: the questions that an operator asks of a database, as rows; and what became of each execution.

::

    executions · gates · runs · sizes · tickers        one statement each, since a time
    executions · runs                                  also as pages, by time and id
    outcomes     over the later bars: stop, target or time, with profit and R; or still open

Guarantees: amounts are exact; where one bar reaches both stop and target, the stop counts.
Does not: change anything.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from headrace.engine.tables import Table
from headrace.execution.pricing import BASIS_POINTS
from headrace.execution.settings import SIDES
from headrace.execution.values import canonical, json_text, time_of
from headrace.market.money import MONEY, ZERO, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.execution.database.base import Connection, Row

__all__ = [
    "REPORTS",
    "Outcome",
    "ReportRows",
    "cell_text",
    "ledger_lines",
    "outcomes",
    "report",
    "report_page",
    "report_table",
]

_GATES = ("confidence", "action_allowed", "bar_freshness", "feature_freshness", "ticker_daily_limit")


class ReportRows(NamedTuple):
    """The rows of one report. columns : their names; those that end in _at are times, ms."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


class Outcome(NamedTuple):
    """What became of an execution. exit : "stop", "target", "time", or "open" while its bars have not ended it.

    pnl : in the quote currency, the exit's slip included. r : pnl in units of what was at risk.
    """

    recommendation_id: int
    ticker: str
    action: str
    qty: Decimal
    entry_price: Decimal
    exit: str
    exit_price: Decimal | None
    exit_at: int | None
    pnl: Decimal | None
    r: Decimal | None


_EXECUTIONS = """
SELECT recommendation_id, MS(simulated_ts), ticker, action, qty, entry_price, stop_loss_price, take_profit_price,
    notional, execution_mode FROM dispatch_executions
"""
_RUNS = """
SELECT CAST(run_id AS TEXT), MS(started_at), MS(finished_at), pulled_count, processed_count, simulated_count,
    skipped_count, failed_count FROM dispatcher_runs
"""
REPORTS: dict[str, tuple[tuple[str, ...], str]] = {
    "executions": (
        (
            "recommendation_id",
            "simulated_at",
            "ticker",
            "action",
            "qty",
            "entry_price",
            "stop_loss_price",
            "take_profit_price",
            "notional",
            "execution_mode",
        ),
        f"{_EXECUTIONS} WHERE simulated_ts >= AT(:since) ORDER BY simulated_ts, recommendation_id",
    ),
    "gates": (
        ("id", "gates_json"),
        (
            "SELECT id, CAST(risk_gate_json AS TEXT) FROM dispatch_recommendations"
            " WHERE risk_gate_json IS NOT NULL AND processed_at >= AT(:since)"
        ),
    ),
    "runs": (
        ("run_id", "started_at", "finished_at", "pulled", "processed", "simulated", "skipped", "failed"),
        f"{_RUNS} WHERE started_at >= AT(:since) ORDER BY started_at",
    ),
    "sizes": (
        ("action", "qty", "notional", "entry_price"),
        "SELECT action, qty, notional, entry_price FROM dispatch_executions WHERE simulated_ts >= AT(:since)",
    ),
    "tickers": (
        ("ticker", "executions", "first_at", "last_at"),
        (
            "SELECT ticker, COUNT(*), MS(MIN(simulated_ts)), MS(MAX(simulated_ts)) FROM dispatch_executions"
            " WHERE simulated_ts >= AT(:since) GROUP BY ticker ORDER BY COUNT(*) DESC, ticker"
        ),
    ),
}
# Behind a time and an id, by the index of the time: a page costs the same wherever it begins.
_PAGES = {
    "executions": (
        f"{_EXECUTIONS} WHERE (simulated_ts, recommendation_id) > (AT(:ms), :id)"
        " ORDER BY simulated_ts, recommendation_id LIMIT :limit"
    ),
    "runs": (
        f"{_RUNS} WHERE (started_at, CAST(run_id AS TEXT)) > (AT(:ms), :id)"
        " ORDER BY started_at, CAST(run_id AS TEXT) LIMIT :limit"
    ),
}
_EXECUTED = """
SELECT recommendation_id, ticker, action, qty, entry_price, stop_loss_price, take_profit_price, slippage_bps,
    max_hold_minutes, MS(simulated_ts) FROM dispatch_executions WHERE simulated_ts >= AT(:since)
ORDER BY simulated_ts, recommendation_id
"""
_LATER = """
SELECT MS(ts), open, high, low, close FROM lane_telemetry
WHERE ticker = :ticker AND ts > AT(:start) AND ts <= AT(:end) ORDER BY ts
"""
_LEDGER_COLUMNS = (
    *("execution_id", "recommendation_id", "idempotency_key", "ticker", "action", "decision_ms", "simulated_ms"),
    *("entry_price", "fill_model", "slippage_bps", "qty", "notional", "stop_loss_price", "take_profit_price"),
    *("max_hold_minutes", "execution_mode", "client_order_id", "explain", "risk", "sim"),
)
_LEDGER = """
SELECT CAST(execution_id AS TEXT), recommendation_id, idempotency_key, ticker, action, MS(decision_ts),
    MS(simulated_ts), entry_price, fill_model, slippage_bps, qty, notional, stop_loss_price, take_profit_price,
    max_hold_minutes, execution_mode, client_order_id, CAST(explain_json AS TEXT), CAST(risk_json AS TEXT),
    CAST(sim_json AS TEXT) FROM dispatch_executions ORDER BY recommendation_id
"""
# The first bar after the longest hold: it says that time has passed.
_NEXT = "SELECT MS(MIN(ts)) FROM lane_telemetry WHERE ticker = :ticker AND ts >= AT(:end)"


def report(connection: Connection, name: str, since_ms: int = 0) -> ReportRows:
    """Return a report's rows. name : of ``REPORTS``, or "outcomes"."""
    if name == "outcomes":
        return ReportRows(Outcome._fields, [tuple(own) for own in outcomes(connection, since_ms)])
    columns, text = REPORTS[name]
    rows = connection.rows(text, {"since": since_ms})
    if name == "gates":
        return _gate_rows(rows)
    if name == "sizes":
        return _size_rows(rows)
    return ReportRows(columns, [tuple(map(_plain, columns, own)) for own in rows])


def report_page(
    connection: Connection, name: Literal["executions", "runs"], after: tuple[int, int | str] | None, limit: int
) -> ReportRows:
    """Return at most so many rows of a report, oldest first. after : time, ms, and id of the last row before them.

    O(limit). A row that is gone meanwhile is passed over.
    """
    ms, own = after or (0, 0 if name == "executions" else "")
    rows = connection.rows(_PAGES[name], {"ms": ms, "id": own, "limit": limit})
    columns, _ = REPORTS[name]
    return ReportRows(columns, [tuple(map(_plain, columns, row)) for row in rows])


def outcomes(connection: Connection, since_ms: int = 0) -> Iterator[Outcome]:
    """Yield what became of each execution, over the bars after it."""
    for row in connection.rows(_EXECUTED, {"since": since_ms}):
        yield _outcome(connection, row)


def _outcome(connection: Connection, row: Row) -> Outcome:
    number, ticker, action = row[:3]
    qty, entry, stop, target, slip, hold = (Decimal(str(value)) for value in row[3:9])
    start, side = row[9], SIDES[action]
    end = start + int(hold * 60_000)
    kind, price, at = "open", None, None
    bars = connection.rows(_LATER, {"ticker": ticker, "start": start, "end": end})
    for bars_before, (bar_at, opened, high, low, _) in enumerate(bars):
        worst, best = (low, high) if side > 0 else (high, low)
        if side * (Decimal(str(worst)) - stop) <= 0:
            # A bar that opens beyond the stop has no better price; the first one may have opened before the entry.
            gap = bars_before > 0 and side * (Decimal(str(opened)) - stop) < 0
            kind, price, at = "stop", Decimal(str(opened)) if gap else stop, bar_at
            break
        if side * (Decimal(str(best)) - target) >= 0:
            kind, price, at = "target", target, bar_at
            break
    if kind == "open" and bars and connection.rows(_NEXT, {"ticker": ticker, "end": end}) != [(None,)]:
        kind, price, at = "time", Decimal(str(bars[-1][4])), bars[-1][0]
    if price is None:
        return Outcome(number, ticker, action, qty, entry, kind, None, None, None, None)
    # A stop and an exit by time leave at the market, with the slip against us; a target is a limit.
    slipped = price if kind == "target" else MONEY.multiply(price, 1 - side * MONEY.divide(slip, BASIS_POINTS))
    pnl = MONEY.multiply(MONEY.multiply(MONEY.subtract(slipped, entry), Decimal(side)), qty)
    r = MONEY.divide(pnl, MONEY.multiply(abs(entry - stop), qty))
    return Outcome(number, ticker, action, qty, entry, kind, shown(slipped), at, shown(pnl), round(r, 4))


def ledger_lines(connection: Connection) -> list[str]:
    """Return every execution as one canonical JSON line, without what differs by worker: run, owner and epoch.

    The same decisions give the same lines on every database.
    """
    return [_ledger_line(row) for row in connection.rows(_LEDGER)]


def _ledger_line(row: Row) -> str:
    *plain, explain, risk, sim = row
    texts = [canonical(value) if isinstance(value, Decimal) else value for value in plain]
    documents = [msgspec.json.decode(text) for text in (explain, risk, sim)]
    return json_text(dict(zip(_LEDGER_COLUMNS, [*texts, *documents], strict=True)))


def _gate_rows(rows: list[Row]) -> ReportRows:
    """Return how often each gate passed and refused, with the newest refusal's values."""
    counts: dict[str, list[Any]] = {name: [0, 0, None, None] for name in _GATES}
    for _, text in sorted(rows):
        for name, result in msgspec.json.decode(text).items():
            own = counts.setdefault(name, [0, 0, None, None])
            own[0 if result["passed"] else 1] += 1
            if not result["passed"]:
                own[2:] = result["observed"], result["threshold"]
    columns = ("gate", "passed", "refused", "observed", "threshold")
    return ReportRows(columns, [(name, *own) for name, own in counts.items()])


def _size_rows(rows: list[Row]) -> ReportRows:
    """Return the averages of each action, exactly, which SQLite's AVG of a text is not."""
    by_action: dict[str, list[tuple[Decimal, ...]]] = {}
    for action, *amounts in rows:
        by_action.setdefault(action, []).append(tuple(Decimal(str(value)) for value in amounts))
    columns = ("action", "count", "avg_qty", "avg_notional", "avg_entry")
    found = []
    for action, own in sorted(by_action.items()):
        means = (shown(MONEY.divide(sum(column, ZERO), len(own))) for column in zip(*own, strict=True))
        found.append((action, len(own), *means))
    return ReportRows(columns, found)


def _plain(column: str, value: Any) -> Any:
    is_text = value is None or column.endswith(("_at", "_id", "ticker", "action", "mode")) or isinstance(value, int)
    return value if is_text else Decimal(str(value))


def cell_text(column: str, value: Any) -> str:
    """Return a value of a report as a table or a CSV file shows it."""
    if value is None:
        return ""
    if column.endswith("_at"):
        return time_of(value).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return canonical(value) if isinstance(value, Decimal) else str(value)


def report_table(name: str, found: ReportRows) -> Table:
    """Return a report as a table; one without rows says so."""
    rows = [[cell_text(column, value) for column, value in zip(found.columns, own, strict=True)] for own in found.rows]
    nothing = ["nothing", *[""] * (len(found.columns) - 1)]
    return Table(name, found.columns, rows or [nothing], texts=2)
