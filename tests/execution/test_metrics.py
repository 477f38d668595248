"""Metrics of workers: scraped from a real process, and true to what its runs did."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
from decimal import Decimal
from pathlib import Path

import pytest

from headrace.execution import Runner, Store, claims
from headrace.execution.database import open_database
from headrace.execution.metrics import ExecutionMetrics
from headrace.execution.workers import Workers
from headrace.telemetry import METRICS
from tests.support.command import COMMAND, Run
from tests.support.executing import market, recommend, settings, statuses
from tests.telemetry.test_prometheus import got, parsed

NAMES = {name for name in METRICS if name.startswith("headrace_execution_")}


@pytest.mark.timeout(120)
def test_a_worker_serves_what_its_runs_did(store: Store, tmp_path: Path) -> None:
    market(store)
    recommend(store, 3)
    recommend(store, confidence=0.1, prefix="low")
    arguments = ["execute", "--db", store.database.url, "--every", "60s", "--set", "telemetry.prometheus_port=0"]
    log_file = tmp_path / "log.json"
    with log_file.open("w") as log:
        process = subprocess.Popen([*COMMAND, *arguments], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while (
            "PENDING" in statuses(store) or "PROCESSING" in statuses(store) or "run ended" not in log_file.read_text()
        ):
            assert process.poll() is None, log_file.read_text()
            assert time.monotonic() < deadline, log_file.read_text()
            time.sleep(0.05)
        found = re.search(r"metrics are at http://127.0.0.1:(\d+)", log_file.read_text())
        assert found is not None
        recommend(store, prefix="later", not_before=time.time_ns() + 3600 * 10**9)
        status, _, text = got(("127.0.0.1", int(found[1])))
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert status == 200
    scraped = parsed(text)
    assert {name for name, _ in scraped} == NAMES | {"headrace_engine_info"}
    values = {
        (name.removeprefix("headrace_execution_"), *dict(labels).values()): value
        for (name, labels), value in scraped.items()
    }
    assert values["claims_total",] == 4
    assert values["finishes_total", "SIMULATED"] == 2
    assert values["finishes_total", "SKIPPED"] == 2
    assert values["refusals_total", "confidence"] == 1
    assert values["refusals_total", "ticker_daily_limit"] == 2
    assert values["refusals_total", "bar_freshness"] == 0
    assert values["stale_finishes_total",] == 0
    assert values["reaped_total", "released"] == 0
    assert values["runs_total",] >= 1
    assert 0 < values["run_seconds",] < 60
    assert values["backlog_recommendations", "PENDING"] == 1
    assert values["backlog_age_seconds",] > 0


def test_stale_finishes_and_reaped_leases_are_counted(store: Store) -> None:
    market(store)
    recommend(store)
    short = settings(processing_ttl_minutes=Decimal("0.0001"))
    connection = store.database.connect()
    connection.changed(
        "INSERT INTO dispatcher_runs (run_id, run_config_json) VALUES (:run, JSON(:config))",
        {"run": "00000000-0000-0000-0000-000000000000", "config": "{}"},
    )
    claims.claim(connection, "gone", "00000000-0000-0000-0000-000000000000", short, 1)
    connection.close()
    time.sleep(0.02)
    workers = Workers(store.database, lambda: Runner(store.database, settings), count=1, mode="once")
    workers.run()
    metrics = ExecutionMetrics(store.database, workers)
    values = {(name, *labels): value for name, labels, value in metrics.samples()}
    metrics.close()
    assert values["headrace_execution_reaped_total", "released"] == 1
    assert values["headrace_execution_finishes_total", "SIMULATED"] == 1


def test_a_backlog_that_cannot_be_read_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    away = open_database("postgresql://postgres@127.0.0.1:1/away")
    metrics = ExecutionMetrics(away, Workers(away, lambda: Runner(away, settings), count=1, mode="once"))
    names = {own.name for own in metrics.samples()}
    metrics.close()
    assert names == {name for name in NAMES if "backlog" not in name}
    assert "the backlog is not known now" in caplog.text


def test_a_port_that_is_taken_is_an_error_with_the_port(headrace_run: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/own.sqlite"
    Store(url, migrate=True).close()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = headrace_run("execute", "--db", url, "--set", f"telemetry.prometheus_port={port}")
    assert ended.returncode == 1
    assert f"metrics cannot be served at 127.0.0.1:{port}" in ended.stderr


def test_every_line_of_the_log_has_the_run_it_belongs_to(headrace_run: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/own.sqlite"
    with Store(url, migrate=True) as store:
        market(store)
        recommend(store, 2)
        recommend(store, confidence=0.1, prefix="low")
        ended = headrace_run("execute", "--db", url, "--json")
        [[run]] = store.query("SELECT run_id FROM dispatcher_runs")
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    of_rows = [own for own in lines if "recommendation_id" in own]
    assert len(of_rows) == 3
    assert {own["run_id"] for own in [*of_rows, lines[-1]]} == {run}
    assert all(own["run_id"] for own in lines)
