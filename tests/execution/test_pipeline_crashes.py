"""A pipeline that is killed before any of its statements goes on where it was: nothing is lost, and nothing twice."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path
from typing import Any

import pytest

from headrace.execution import Store
from headrace.execution.pipeline import Pipeline, PipelineSettings, SignalRule
from tests.support.execution_worker import pipeline_killed_at
from tests.support.pipeline_files import RSS, bar_file

# All but the times of the database's clock, and the ids, which a statement that was rolled back uses up.
TABLES = {
    "lane_telemetry": "ticker, ts, close, volume",
    "lane_features": "ticker, ts, sma_20, sma_50, volume_ratio, trend, recent_vol",
    "inbound_events_raw": "event_id, title, published_at",
    "inbound_events_classified": "event_id, sentiment, score",
    "watchlist_state": "ticker, rank, score",
    "dispatch_recommendations": "idempotency_key, ticker, action, confidence, status",
}


def content(store: Store) -> dict[str, list[Any]]:
    return {table: store.query(f"SELECT {names} FROM {table} ORDER BY 1, 2") for table, names in TABLES.items()}


@pytest.mark.timeout(180)
def test_a_pipeline_killed_before_any_statement_goes_on(url: str, tmp_path: Path) -> None:
    news = tmp_path / "news.xml"
    news.write_text(RSS)
    settings = PipelineSettings(
        tickers=("AAPL", "MSFT"),
        bars=str(bar_file(tmp_path / "bars.csv", "AAPL", "MSFT")),
        news=(str(news),),
        rules=(SignalRule(name="up", action="BUY_CALL", confidence=0.8, trend=1),),
    )
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.execution_worker", "psycopg", "apsw", "feedparser"])
    at, exit_code = 0, -signal.SIGKILL
    while exit_code == -signal.SIGKILL:
        at += 1
        process = context.Process(target=pipeline_killed_at, args=(url, at, settings))
        process.start()
        process.join(60)
        assert process.exitcode is not None
        exit_code = process.exitcode
    assert exit_code == 0
    assert at > 25, "its steps have more statements"
    with Store(url) as store:
        found = content(store)
        counts = {table: len(rows) for table, rows in found.items()}
        assert counts == {
            "lane_telemetry": 120,
            "lane_features": 2,
            "inbound_events_raw": 2,
            "inbound_events_classified": 2,
            "watchlist_state": 2,
            "dispatch_recommendations": 2,
        }
        assert [own.error for own in Pipeline(store, settings).run()] == [None] * 5
        assert content(store) == found
