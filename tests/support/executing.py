"""Recommendations, fresh market data and workers for tests of execution."""

from __future__ import annotations

import time
from typing import Any

from headrace.execution import ExecutionSettings, NewRecommendation, Runner, RunResult, Store
from headrace.execution.database import Connection
from headrace.execution.schema import TRANSITIONS, RecommendationStatus

TICKER = "AAPL"
S = RecommendationStatus


def settings(**changes: Any) -> ExecutionSettings:
    """Settings that let a day's worth pass, with changes."""
    return ExecutionSettings(**{"max_trades_per_ticker_per_day": 1_000_000, **changes})


def market(store: Store, *tickers: str, close: Any = "100.5", vol: Any = "0.01", age_s: float = 1.0) -> None:
    """Give each ticker a bar and features of this moment."""
    ts = time.time_ns() - int(age_s * 1e9)
    for ticker in tickers or (TICKER,):
        store.telemetry(ticker=ticker, ts=ts, open=close, high=close, low=close, close=close, volume=1000)
        store.features(ticker=ticker, ts=ts, recent_vol=vol, trend=1)


def new(key: str, **changes: Any) -> NewRecommendation:
    """A recommendation that passes every gate, with changes."""
    given = {"ticker": TICKER, "action": "BUY_CALL", "confidence": 0.9, "reason": {"rule": "test"}, **changes}
    return NewRecommendation.checked(idempotency_key=key, **given)


def recommend(store: Store, count: int = 1, *, ticker: str = TICKER, prefix: str = "key", **changes: Any) -> list[int]:
    """Store recommendations; return their ids."""
    return store.recommend_all([new(f"{prefix}-{number}", ticker=ticker, **changes) for number in range(count)])


def run(store: Store, own: ExecutionSettings | None = None, **options: Any) -> RunResult:
    """One run of one worker."""
    chosen = own or settings()
    with Runner(store.database, lambda: chosen, **options) as runner:
        return runner.run()


def statuses(store: Store) -> dict[str, int]:
    """Count the recommendations by status."""
    rows = store.query("SELECT status, COUNT(*) FROM dispatch_recommendations GROUP BY status")
    return dict(rows)


def row(store: Store, number: int, *columns: str) -> tuple[Any, ...]:
    """Columns of one recommendation."""
    [found] = store.query(f"SELECT {', '.join(columns)} FROM dispatch_recommendations WHERE id = ?", number)
    return found


def ways() -> dict[RecommendationStatus, list[RecommendationStatus]]:
    """The shortest way from PENDING to each status."""
    found: dict[RecommendationStatus, list[RecommendationStatus]] = {S.PENDING: []}
    while len(found) < len(RecommendationStatus):
        for before, after in sorted(TRANSITIONS):
            if before in found and after not in found:
                found[after] = [*found[before], after]
    return found


def set_status(connection: Connection, number: int, status: RecommendationStatus) -> int:
    """Change a status in plain SQL, with all columns that its constraints need; return the rows changed."""
    [[now]] = connection.rows("SELECT status FROM dispatch_recommendations WHERE id = :id", {"id": number})
    columns = {
        S.PENDING: "owner = NULL, lease_until = NULL, processed_at = NULL",
        S.PROCESSING: "owner = 'me', lease_until = NOW()",
        S.SENT: "client_order_id = 'c' || id, sent_at = COALESCE(sent_at, NOW()), plan_json = JSON(:plan)",
        S.EXECUTED: "client_order_id = 'c' || id, sent_at = COALESCE(sent_at, NOW()), plan_json = JSON(:plan),"
        " processed_at = NOW()",
    }.get(status, "processed_at = NOW(), failure_reason = 'test'")
    step = int({now, status} == {S.PENDING, S.PROCESSING})
    text = f"UPDATE dispatch_recommendations SET status = '{status}', epoch = epoch + {step}, {columns} WHERE id = :id"
    return connection.changed(text, {"id": number, **({"plan": '{"a":1}'} if ":plan" in text else {})})
