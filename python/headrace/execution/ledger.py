"""The ledger: how a claimed recommendation ends, in one fenced transaction of its status and its execution.

::

    lock of the ticker ─▶ executions of today ─▶ UPDATE … WHERE status, owner, epoch ─▶ INSERT execution ─▶ COMMIT

What happens when the row is no longer ours
    The UPDATE hits no row: everything is rolled back, and StaleFinish is raised.
What happens when the connection is lost at COMMIT
    ``ended_as`` on a new connection says whether it was committed.

Guarantees: one execution per recommendation and per idempotency key, by unique keys of the database; the daily limit of
a ticker holds exactly, since its count and the execution are made under one lock.
Does not: decide; ``decision`` does.
"""

from __future__ import annotations

import uuid
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.errors import RecommendationError
from headrace.execution.gates import GateView
from headrace.execution.recommendation import CLAIMED_COLUMNS, Bar, Features, claimed_of
from headrace.execution.schema.states import RecommendationStatus
from headrace.execution.values import DAY_MS, canonical, day_start_ms, json_of_plain, json_text

if TYPE_CHECKING:
    from headrace.execution.database.base import Connection, Value
    from headrace.execution.decision import Decision
    from headrace.execution.recommendation import Claimed
    from headrace.execution.settings import ExecutionSettings

__all__ = [
    "VIEW",
    "Holder",
    "StaleFinish",
    "count_today",
    "end",
    "ended_as",
    "execution_values",
    "insert_execution",
    "mark_sent",
    "read_recommendation",
    "read_view",
]

# Of this project: the same key has the same execution id on every database.
_NAMESPACE = uuid.UUID("6b1ad4c4-9d0e-5d58-8f4e-0f6d3c6f2b13")

VIEW = """
SELECT COALESCE(:now, MS(NOW())), MS(b.ts), b.open, b.high, b.low, b.close, b.volume,
    MS(f.ts), f.sma_20, f.sma_50, f.volume_ratio, f.trend, f.recent_vol
FROM (SELECT 1 AS one) o
LEFT JOIN lane_telemetry b ON b.ticker = :ticker AND b.ts = (SELECT MAX(x.ts) FROM lane_telemetry x
    WHERE x.ticker = :ticker AND x.ts <= COALESCE(AT(:now), NOW()))
LEFT JOIN lane_features f ON f.ticker = :ticker AND f.ts = (SELECT MAX(y.ts) FROM lane_features y
    WHERE y.ticker = :ticker AND y.ts <= COALESCE(AT(:now), NOW()))
"""
_ONE = f"SELECT {CLAIMED_COLUMNS}, status FROM dispatch_recommendations WHERE id = :id"
_LOCK = "SELECT 1 FROM (SELECT pg_advisory_xact_lock(hashtextextended(:ticker, 13))) AS l"
_TODAY = """
SELECT (SELECT COUNT(*) FROM dispatch_executions WHERE ticker = :ticker
    AND decision_ts >= AT(:start) AND decision_ts < AT(:end)) + (SELECT COUNT(*) FROM dispatch_recommendations
    WHERE status = 'SENT' AND ticker = :ticker AND sent_at >= AT(:start) AND sent_at < AT(:end))
"""
_END = """
UPDATE dispatch_recommendations SET status = :status, processed_at = NOW(), dispatcher_run_id = :run,
    failure_reason = :why, risk_gate_json = JSON(:gates), lease_until = NULL
WHERE id = :id AND status = 'PROCESSING' AND owner = :owner AND epoch = :epoch
"""
_SEND = """
UPDATE dispatch_recommendations SET status = 'SENT', dispatcher_run_id = :run, risk_gate_json = JSON(:gates),
    lease_until = NULL, client_order_id = :client_order_id, sent_at = NOW(), plan_json = JSON(:plan)
WHERE id = :id AND status = 'PROCESSING' AND owner = :owner AND epoch = :epoch
"""
_EXECUTION = """
INSERT INTO dispatch_executions (execution_id, recommendation_id, idempotency_key, dispatcher_run_id, owner, epoch,
    ticker, action, decision_ts, simulated_ts, entry_price, fill_model, slippage_bps, qty, notional, stop_loss_price,
    take_profit_price, max_hold_minutes, execution_mode, client_order_id, explain_json, risk_json, sim_json)
VALUES (:execution_id, :id, :key, :run, :owner, :epoch, :ticker, :action, AT(:decided), AT(:done), :entry_price,
    :fill_model, :slippage_bps, :qty, :notional, :stop_loss_price, :take_profit_price, :max_hold_minutes, :mode,
    :client_order_id, JSON(:explain), JSON(:risk), JSON(:sim))
"""
# What of the settings an execution's price, size and stops were made from.
_SIM_SETTINGS = (
    "paper_equity",
    "max_risk_per_trade_pct",
    "max_position_pct",
    "stop_loss_atr_mult",
    "take_profit_risk_reward",
)
_STATE = "SELECT status, owner, epoch FROM dispatch_recommendations WHERE id = :id"


class StaleFinish(Exception):  # noqa: N818 - an outcome that is counted, not a fault
    """A finish of a row that another worker claimed since, or that was released."""


class Holder(NamedTuple):
    """The worker and the run that hold a row."""

    owner: str
    run: str


def read_view(connection: Connection, claimed: Claimed, settings: ExecutionSettings, now_ms: int | None) -> GateView:
    """Return what the gates look at, without today's executions. now_ms : of a simulated day."""
    [row] = connection.rows(VIEW, {"ticker": claimed.ticker, "now": now_ms})
    bar = None if row[1] is None else Bar(row[1], *map(_decimal, row[2:7]))  # type: ignore[arg-type]
    features = None
    if row[7] is not None:
        sma_20, sma_50, ratio, vol = map(_decimal, (row[8], row[9], row[10], row[12]))
        features = Features(row[7], sma_20, sma_50, ratio, row[11], vol)
    return GateView(claimed, settings, row[0], bar, features)


def read_recommendation(connection: Connection, recommendation: int) -> tuple[Claimed, str]:
    """Return a recommendation as a worker would claim it, and its status. Raises RecommendationError without one."""
    rows = connection.rows(_ONE, {"id": recommendation})
    if not rows:
        msg = f"there is no recommendation {recommendation}: headrace db report lists some"
        raise RecommendationError(msg, field="id")
    return claimed_of(rows[0]), str(rows[0][-1])


def count_today(connection: Connection, ticker: str, now_ms: int) -> int:
    """Lock a ticker until the transaction ends, and return its executions of the UTC day."""
    if connection.dialect.name == "postgresql":
        connection.rows(_LOCK, {"ticker": ticker})
    start = day_start_ms(now_ms)
    [[number]] = connection.rows(_TODAY, {"ticker": ticker, "start": start, "end": start + DAY_MS})
    return int(number)


def end(
    connection: Connection,
    holder: Holder,
    claimed: Claimed,
    status: RecommendationStatus,
    *,
    gates: str | None,
    why: str | None = None,
) -> None:
    """Give a claimed row its last status, inside of a transaction. Raises StaleFinish."""
    values: dict[str, Value] = {
        "status": status.value,
        "run": holder.run,
        "why": why,
        "gates": gates,
        "id": claimed.id,
        "owner": holder.owner,
        "epoch": claimed.epoch,
    }
    if connection.changed(_END, values) != 1:
        raise StaleFinish(f"recommendation {claimed.id}, epoch {claimed.epoch}")


def mark_sent(connection: Connection, holder: Holder, decision: Decision) -> None:
    """Make a claimed row SENT, with the id and all of its order; it is sent after the commit. Raises StaleFinish."""
    claimed = decision.view.recommendation
    assert decision.plan is not None
    gates = decision.gates_json
    own = execution_values(holder, decision, gates, mode="REAL")
    values: dict[str, Value] = {
        "run": holder.run,
        "gates": gates,
        "id": claimed.id,
        "owner": holder.owner,
        "epoch": claimed.epoch,
        "client_order_id": f"hr{uuid.UUID(str(own['execution_id'])).hex}",
        "plan": json_text({**own, "plan": decision.plan.document()}),
    }
    if connection.changed(_SEND, values) != 1:
        raise StaleFinish(f"recommendation {claimed.id}, epoch {claimed.epoch}")


def insert_execution(connection: Connection, values: dict[str, Value]) -> None:
    """Write an execution, inside of the transaction that ends its recommendation."""
    connection.changed(_EXECUTION, values)


def execution_values(holder: Holder, decision: Decision, gates: str, *, mode: str = "SIMULATED") -> dict[str, Value]:
    """Return an execution as the ledger holds it, of a decision to execute. gates : the decision's ``gates_json``."""
    view, plan = decision.view, decision.plan
    assert plan is not None
    claimed, (texts, sim_texts) = view.recommendation, _texts_of(view.settings)
    explain = {
        "recommendation_id": claimed.id,
        "confidence": claimed.confidence,
        "reason": claimed.reason,
        "cause": claimed.cause,
    }
    sim = {
        "bar": _document(view.bar),
        "features": _document(view.features),
        "side": plan.side,
        **sim_texts,
    }
    return {
        "execution_id": str(uuid.uuid5(_NAMESPACE, claimed.idempotency_key)),
        "id": claimed.id,
        "key": claimed.idempotency_key,
        "run": holder.run,
        "owner": holder.owner,
        "epoch": claimed.epoch,
        "ticker": claimed.ticker,
        "action": claimed.action,
        "decided": view.now_ms,
        "done": view.now_ms,
        "entry_price": canonical(plan.entry_price),
        "fill_model": texts["fill_model"],
        "slippage_bps": texts["default_slippage_bps"],
        "qty": canonical(plan.qty),
        "notional": canonical(plan.notional),
        "stop_loss_price": canonical(plan.stop_loss_price),
        "take_profit_price": canonical(plan.take_profit_price),
        "max_hold_minutes": texts["max_hold_minutes"],
        "mode": mode,
        "client_order_id": None,
        "explain": json_of_plain(explain),
        "risk": gates,
        "sim": json_of_plain(sim),
    }


def ended_as(connection: Connection, holder: Holder, claimed: Claimed) -> RecommendationStatus | None:
    """Return the status that a finish gave whose answer was lost; None: the row is still held and can be finished.

    Raises StaleFinish when it is another worker's by now.
    """
    [[status, owner, epoch]] = connection.rows(_STATE, {"id": claimed.id})
    if (owner, epoch) != (holder.owner, claimed.epoch):
        raise StaleFinish(f"recommendation {claimed.id}, epoch {claimed.epoch}")
    return None if status == RecommendationStatus.PROCESSING else RecommendationStatus(status)


def _decimal(value: str | Decimal | None) -> Decimal | None:
    """Return an amount: SQLite has texts, PostgreSQL Decimals."""
    return None if value is None else Decimal(value)


def _document(row: Bar | Features | None) -> dict[str, object] | None:
    if row is None:
        return None
    return {
        name: canonical(value) if isinstance(value, Decimal) else value
        for name, value in zip(row._fields, row, strict=True)
    }


@lru_cache(maxsize=8)
def _texts_of(settings: ExecutionSettings) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings as an execution records them, all and those of ``sim_json``: made once for all of a run."""
    texts = settings.document()
    return texts, {name: texts[name] for name in _SIM_SETTINGS}
