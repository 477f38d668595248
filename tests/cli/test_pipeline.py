"""headrace pipeline, as an operator runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from headrace.execution import Store
from tests.support.command import COMMAND, Run

# Two tickers, of which one has bars, and a rule that rising prices meet.
CONFIG = """
[pipeline]
tickers = ["AAPL", "NONE"]
bars = "bars.csv"
interval_s = 0.05
watchlist_interval_s = 0.05

[[pipeline.rules]]
name = "uptrend"
action = "BUY_CALL"
confidence = 0.8
trend = 1
"""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def db(tmp_path: Path) -> str:
    """The URL of a migrated file, beside a configuration and rising bars that end now."""
    end_s = int(time.time())
    rows = [
        f"AAPL,{(end_s - 60 * (59 - number)) * 10**9},{close},{close},{close},{close},1000"
        for number in range(60)
        for close in [100 + number]
    ]
    (tmp_path / "bars.csv").write_text("\n".join(["ticker,ts,open,high,low,close,volume", *rows]) + "\n")
    (tmp_path / "own.toml").write_text(CONFIG)
    url = f"sqlite:///{tmp_path}/own.sqlite"
    Store(url, migrate=True).close()
    return url


def test_pipeline_repeats_its_steps_until_sigterm(tmp_path: Path, db: str) -> None:
    process = subprocess.Popen(
        [*COMMAND, "pipeline", "own.toml", "--db", db, "--every", "100ms", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with Store(db) as store:
        while store.query("SELECT COUNT(*) FROM pipeline_runs WHERE step = 'signals'")[0][0] < 3:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=20)
        assert process.returncode == 0, error
        assert [own["step"] for own in json.loads(out)] == ["bars", "features", "news", "watchlist", "signals"]
        # However often the steps were repeated.
        assert store.query("SELECT ticker, action, status FROM dispatch_recommendations") == [
            ("AAPL", "BUY_CALL", "PENDING")
        ]
        assert store.query("SELECT COUNT(*) FROM lane_telemetry") == [(60,)]


def test_a_step_that_fails_is_shown_and_exits_1(headrace_run: Run, tmp_path: Path, db: str) -> None:
    (tmp_path / "bars.csv").unlink()
    ended = headrace_run("pipeline", "own.toml", "--db", db)
    assert ended.returncode == 1
    assert "bars.csv" in ended.stdout
