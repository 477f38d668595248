"""headrace execute and headrace db, as an operator runs them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace.execution import Store
from tests.support.command import COMMAND, Run
from tests.support.executing import market, recommend, statuses

# Runs a command, then prints its peak memory in KiB. It is a process between: a child's peak begins with what its
# parent holds, and that of a long run of tests is more than the bound.
MEASURED = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)

# Each test starts several processes.
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def db(tmp_path: Path) -> str:
    """The URL of a migrated file."""
    url = f"sqlite:///{tmp_path}/own.sqlite"
    Store(url, migrate=True).close()
    return url


def test_from_csv_files_to_a_ledger(headrace_run: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.sqlite"
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    files = {
        "lane_telemetry": f"ticker,ts,open,high,low,close,volume\nAAPL,{now},100,101,99,100,9\n",
        "lane_features": f"ticker,ts,recent_vol\nAAPL,{now},0.01\n",
        "dispatch_recommendations": (
            "ticker,action,confidence,idempotency_key\nAAPL,BUY_CALL,0.9,a\nAAPL,BUY_PUT,0.1,b\n"
        ),
    }
    early = headrace_run("execute", "--db", url)
    assert early.returncode == 1
    assert "headrace db migrate" in early.stderr
    assert headrace_run("db", "status", "--db", url).returncode == 1
    assert headrace_run("db", "migrate", "--db", url).returncode == 0
    for table, text in files.items():
        (tmp_path / "own.csv").write_text(text)
        assert headrace_run("db", "load", table, "own.csv", "--db", url).returncode == 0
    ended = headrace_run("execute", "--db", url, "--once", "--json")
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert (document["simulated"], document["skipped"], document["refusals"]) == (1, 1, {"confidence": 1})
    logged = [json.loads(line) for line in ended.stderr.splitlines()]
    assert logged
    assert all(line["run_id"] for line in logged)
    assert headrace_run("db", "check", "--db", url).returncode == 0


def test_explain_shows_each_gate_and_runs_nothing(headrace_run: Run, db: str) -> None:
    with Store(db) as store:
        market(store)
        recommend(store, confidence=0.5)
        ended = headrace_run("execute", "--db", db, "--explain", "1", "--json")
        document = json.loads(ended.stdout)
        assert document["gates"]["confidence"] == {"observed": 0.5, "threshold": 0.7, "passed": False}
        assert document["why"] == "gates: confidence"
        assert statuses(store) == {"PENDING": 1}
    assert "there is no recommendation 9" in headrace_run("execute", "--db", db, "--explain", "9").stderr


def test_a_number_that_no_recommendation_has_is_one_line(headrace_run: Run, db: str) -> None:
    for verb in (("execute", "--explain"), ("db", "cancel"), ("db", "edit"), ("db", "requeue")):
        ended = headrace_run(*verb, "9" * 25, "--db", db)
        assert (ended.returncode, "is not in the range 1<=x<=9007199254740991" in ended.stderr) == (2, True)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("max_signals_per_run = 0", "write max_signals_per_run = 10"),
        ("confidence_min = nan", "write confidence_min = 0.70"),
        ("paper_equity = -5", "write paper_equity = 100000"),
        ('allowed_actions = ["SELL_PREMIUM"]', "write allowed_actions = "),
    ],
)
def test_a_refused_setting_shows_the_line_to_mend(
    headrace_run: Run, tmp_path: Path, db: str, text: str, line: str
) -> None:
    (tmp_path / "own.toml").write_text(f"[execution]\n{text}\n")
    ended = headrace_run("execute", "own.toml", "--db", db)
    assert ended.returncode == 2
    assert line in ended.stderr


def test_settings_come_from_file_environment_and_set(headrace_run: Run, tmp_path: Path, db: str) -> None:
    (tmp_path / "own.toml").write_text(
        "[execution]\nconfidence_min = 0.1\nmax_attempts = 7\nprocessing_ttl_minutes = 0.5\n"
    )
    ended = headrace_run(
        *("execute", "own.toml", "--db", db, "--set", "confidence_min=0.3"),
        HEADRACE__EXECUTION__CONFIDENCE_MIN="0.2",
        HEADRACE__EXECUTION__MAX_ATTEMPTS="6",
    )
    assert ended.returncode == 0, ended.stderr
    with Store(db) as store:
        [[config]] = store.query("SELECT run_config_json FROM dispatcher_runs")
    used = json.loads(config)
    assert (used["confidence_min"], used["max_attempts"], used["processing_ttl_minutes"]) == ("0.3", 6, "0.5")


def test_sigterm_finishes_the_row_in_hand_and_releases_the_others(tmp_path: Path, db: str) -> None:
    (tmp_path / "slow.py").write_text(
        "import time, pathlib\nfrom headrace.execution import GateResult\n"
        "def slow(view):\n    pathlib.Path('begun').touch()\n    time.sleep(1)\n"
        "    return GateResult(1, 1, passed=True)\n"
    )
    with Store(db) as store:
        market(store)
        recommend(store, 5)
        process = subprocess.Popen(
            [*COMMAND, "execute", "--db", db, "--set", 'gates=["slow.py:slow"]', "--every", "60s", "--json"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not (tmp_path / "begun").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        document = json.loads(out)
        assert (document["simulated"], document["released"]) == (1, 4)
        assert statuses(store) == {"SIMULATED": 1, "PENDING": 4}
        assert store.query("SELECT SUM(attempts) FROM dispatch_recommendations WHERE status = 'PENDING'") == [(0,)]


def test_a_worker_killed_in_the_middle_loses_nothing_and_doubles_nothing(tmp_path: Path, db: str) -> None:
    """The first is killed while it holds five rows; the second executes them once the leases have ended."""
    (tmp_path / "once.py").write_text(
        "import time, pathlib\nfrom headrace.execution import GateResult\n"
        "def once(view):\n    begun = pathlib.Path('begun')\n"
        "    if view.recommendation.id == 3 and not begun.exists():\n        begun.touch()\n        time.sleep(60)\n"
        "    return GateResult(1, 1, passed=True)\n"
    )
    options = ["--set", 'gates=["once.py:once"]', "--set", "processing_ttl_minutes=0.05", "--set", "max_attempts=100"]
    options += ["--set", "max_trades_per_ticker_per_day=100"]
    command = [*COMMAND, "execute", "--db", db, *options, "--every", "100ms", "--json"]
    with Store(db) as store:
        market(store)
        recommend(store, 5)
        first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while not (tmp_path / "begun").exists():
            assert first.poll() is None, first.communicate()
            time.sleep(0.05)
        first.kill()
        first.communicate()
        assert statuses(store) == {"SIMULATED": 2, "PROCESSING": 3}
        second = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while statuses(store) != {"SIMULATED": 5}:
            assert second.poll() is None, second.communicate()
            time.sleep(0.05)
        second.send_signal(signal.SIGTERM)
        out, _ = second.communicate(timeout=20)
        assert json.loads(out)["reaped"] >= 3
        assert store.query("SELECT COUNT(*), COUNT(DISTINCT recommendation_id) FROM dispatch_executions") == [(5, 5)]


def test_a_run_of_ten_needs_less_than_512_mb(tmp_path: Path, db: str) -> None:
    with Store(db) as store:
        market(store)
        recommend(store, 10)
        command = [sys.executable, "-c", MEASURED, *COMMAND, "execute", "--db", db, "--json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert statuses(store) == {"SIMULATED": 2, "SKIPPED": 8}
    peak_kib = int(done.stdout.splitlines()[-1])
    assert peak_kib < 512 * 1024


def test_the_kill_switch_of_the_state_folder_stops_claims(headrace_run: Run, tmp_path: Path, db: str) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "halt.json").write_text("{}")
    with Store(db) as store:
        market(store)
        recommend(store)
        ended = headrace_run("execute", "--db", db, "--json", HEADRACE_STATE=str(state))
        assert json.loads(ended.stdout)["halted"] is True
        assert statuses(store) == {"PENDING": 1}


def test_until_empty_waits_for_the_leases_of_others(headrace_run: Run, db: str) -> None:
    with Store(db) as store:
        market(store)
        [number] = recommend(store)
        store.query(
            "UPDATE dispatch_recommendations SET status = 'PROCESSING', owner = 'gone', epoch = 1, attempts = 1,"
            " lease_until = ?",
            int(time.time() * 1000) + 3_000,
        )
        ended = headrace_run("execute", "--db", db, "--until-empty", "--workers", "2", "--json")
        document = json.loads(ended.stdout)
        assert (document["reaped"], document["simulated"]) == (1, 1)
        assert number == 1


def test_operator_verbs_change_what_workers_claim(headrace_run: Run, db: str) -> None:
    with Store(db) as store:
        market(store)
        recommend(store, 2)

        def verb(*arguments: str) -> subprocess.CompletedProcess[str]:
            return headrace_run("db", *arguments, "--db", db, "--actor", "ops", "--reason", "test")

        assert verb("pause", "--ticker", "AAPL", "--until", "30m").returncode == 0
        assert verb("edit", "1", "--set", "priority=2").returncode == 0
        assert verb("cancel", "2").returncode == 0
        assert verb("cancel", "2").returncode == 1
        headrace_run("execute", "--db", db)
        assert statuses(store) == {"PENDING": 1, "SKIPPED": 1}
        assert verb("resume", "--ticker", "AAPL").returncode == 0
        headrace_run("execute", "--db", db)
        assert statuses(store) == {"SIMULATED": 1, "SKIPPED": 1}
        assert store.query("SELECT COUNT(*) FROM dispatch_controls") == [(4,)]


@pytest.mark.parametrize(
    ("until", "code", "said"),
    [
        ("2020-01-01T00:00:00Z", 1, "is over already"),
        ("0s", 1, "is over already"),
        ("tomorrow", 2, "long from now, like 30m"),
    ],
)
def test_a_pause_until_no_time_to_come_is_refused(headrace_run: Run, db: str, until: str, code: int, said: str) -> None:
    ended = headrace_run("db", "pause", "--until", until, "--actor", "a", "--reason", "r", "--db", db)
    assert ended.returncode == code
    assert said in ended.stderr
    with Store(db) as store:
        assert store.query("SELECT COUNT(*) FROM dispatch_controls") == [(0,)]


def test_the_default_database_is_in_the_state_folder(headrace_run: Run, tmp_path: Path) -> None:
    ended = headrace_run("db", "migrate", HEADRACE_STATE=str(tmp_path / "state"))
    assert ended.returncode == 0, ended.stderr
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["execution.sqlite"]


def test_demo_takes_news_and_bars_in_and_gives_a_report(headrace_run: Run, tmp_path: Path) -> None:
    ended = headrace_run("demo", "--execution", TMPDIR=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    for text in ("watchlist", "ACME", "BUY_CALL", "GLOB", "BUY_PUT", "status and ledger agree"):
        assert text in ended.stdout
    assert list(tmp_path.iterdir()) == []
