"""Views: what is paused now, and the questions that an operator asks of a day, in both databases.

Guarantees: "today" is the UTC day, whatever the session's time zone.
Does not: hold data.
"""

from __future__ import annotations

import re

from headrace.execution.database.sqlite import SQLITE_NOW

__all__ = ["VIEWS", "views_sql"]

_WORDS = {
    "sqlite": {
        "now": SQLITE_NOW,
        "today": f"({SQLITE_NOW} / 86400000 * 86400000)",
        "rule": "json_extract(reason, '$.rule')",
        "passed": "json_extract(risk_gate_json, '$.{gate}.passed')",
        "number": "CAST({0} AS REAL)",
    },
    "postgresql": {
        "now": "clock_timestamp()",
        "today": "(date_trunc('day', clock_timestamp() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')",
        "rule": "reason->>'rule'",
        "passed": "CAST(risk_gate_json->'{gate}'->>'passed' AS boolean)",
        "number": "{0}",
    },
}
_GATES = ("confidence", "action_allowed", "bar_freshness", "feature_freshness", "ticker_daily_limit")

_VIEWS = """
CREATE VIEW dispatch_pauses AS
SELECT p.scope, p.target, p.until, p.actor, p.reason, p.created_at FROM dispatch_controls p
WHERE p.verb = 'pause' AND (p.until IS NULL OR p.until > {now})
  AND NOT EXISTS (SELECT 1 FROM dispatch_controls r WHERE r.verb IN ('pause', 'resume')
    AND r.scope = p.scope AND r.target = p.target AND r.id > p.id);

CREATE VIEW executions_recent AS
SELECT ticker, action, entry_price, qty, notional, stop_loss_price, take_profit_price, execution_mode, simulated_ts
FROM dispatch_executions ORDER BY simulated_ts DESC, recommendation_id DESC LIMIT 10;

CREATE VIEW executions_today AS
SELECT COUNT(*) AS total, COUNT(DISTINCT ticker) AS unique_tickers, SUM({notional}) AS total_notional
FROM dispatch_executions WHERE simulated_ts >= {today};

CREATE VIEW skips_today AS
SELECT {rule} AS rule, COUNT(*) AS times_fired FROM dispatch_recommendations
WHERE status = 'SKIPPED' AND processed_at >= {today} GROUP BY 1 ORDER BY times_fired DESC;

CREATE VIEW gates_today AS
SELECT {gates}, COUNT(*) AS count FROM dispatch_recommendations
WHERE status = 'SKIPPED' AND processed_at >= {today} GROUP BY 1, 2, 3, 4, 5 ORDER BY count DESC;

CREATE VIEW runs_recent AS
SELECT run_id, started_at, finished_at, pulled_count, simulated_count, skipped_count, failed_count
FROM dispatcher_runs ORDER BY started_at DESC LIMIT 10;

CREATE VIEW sizes_today AS
SELECT action, COUNT(*) AS count, AVG({qty}) AS avg_qty, AVG({notional}) AS avg_notional,
    AVG({entry_price}) AS avg_entry
FROM dispatch_executions WHERE simulated_ts >= {today} GROUP BY action;
"""

VIEWS = tuple(re.findall(r"CREATE VIEW (\w+)", _VIEWS))


def views_sql(dialect: str) -> str:
    """Return the statements of one database. dialect : "sqlite" or "postgresql"."""
    words = _WORDS[dialect]
    gates = ", ".join(f"{words['passed'].replace('{gate}', gate)} AS {gate}" for gate in _GATES)
    numbers = {name: words["number"].format(name) for name in ("notional", "qty", "entry_price")}
    return _VIEWS.format(now=words["now"], today=words["today"], rule=words["rule"], gates=gates, **numbers)
