"""One worker: what it claims, in which order, what it decides, and what it refuses to finish."""

from __future__ import annotations

import json
import math
import sqlite3
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.errors import OptionError, SchemaVersionError
from headrace.execution import GateResult, GateView, Runner, Store, claims, ledger
from headrace.execution.database import Database, open_database, sqlite
from headrace.execution.ledger import Holder, StaleFinish
from headrace.execution.runner import owner_name
from tests.support.executing import S, market, recommend, row, run, set_status, settings, statuses

NO_RUN = "00000000-0000-0000-0000-000000000000"


def document(value: object) -> dict[str, object]:
    """JSON of a query, a text in SQLite."""
    found = json.loads(value) if isinstance(value, str) else value
    assert isinstance(found, dict)
    return found


def begin_run(database: Database, owner: str) -> Holder:
    """A run's record, for claims that a test makes itself."""
    connection = database.connect()
    connection.changed(
        "INSERT INTO dispatcher_runs (run_id, run_config_json) VALUES (:run, JSON(:config)) ON CONFLICT DO NOTHING",
        {"run": NO_RUN, "config": "{}"},
    )
    connection.close()
    return Holder(owner, NO_RUN)


def test_a_run_of_ten_ends_in_ten_seconds_and_says_what_it_did(store: Store) -> None:
    market(store)
    recommend(store, 12)
    started = time.monotonic()
    result = run(store)
    assert time.monotonic() - started < 10
    assert (result.counts.pulled, result.counts.simulated) == (10, 10)
    assert statuses(store) == {"SIMULATED": 10, "PENDING": 2}
    [[pulled, processed, simulated, config, summary, finished]] = store.query(
        "SELECT pulled_count, processed_count, simulated_count, run_config_json, run_summary_json, finished_at"
        " FROM dispatcher_runs"
    )
    assert (pulled, processed, simulated) == (10, 10, 10)
    assert document(config)["confidence_min"] == "0.7"
    assert document(summary)["pulled"] == 10
    assert finished


def test_all_gates_are_recorded_whether_they_pass_or_refuse(store: Store) -> None:
    market(store, age_s=130)
    [passed] = recommend(store)
    [refused] = recommend(store, action="SELL_PREMIUM", confidence=0.5, prefix="low")
    run(store, settings(max_bar_age_seconds=Decimal(500)))
    run(store)
    gates = [document(row(store, number, "risk_gate_json")[0]) for number in (passed, refused)]
    names = ["action_allowed", "bar_freshness", "confidence", "feature_freshness", "ticker_daily_limit"]
    assert [sorted(own) for own in gates] == [names, names]
    assert gates[1]["confidence"] == {"observed": 0.5, "threshold": 0.7, "passed": False}
    assert gates[1]["action_allowed"]["passed"] is False  # type: ignore[index]
    assert row(store, refused, "status", "failure_reason") == ("SKIPPED", "gates: confidence, action_allowed")
    [[risk]] = store.query("SELECT risk_json FROM dispatch_executions")
    assert document(risk) == gates[0]


def test_the_standard_librarys_sqlite_does_without_apsw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apsw", None)
    monkeypatch.setattr("headrace.execution.database.sqlite._errors", sqlite._errors.__wrapped__)
    with Store(f"sqlite:///{tmp_path / 'own.db'}", migrate=True) as store:
        market(store)
        recommend(store, 3)
        assert run(store).counts.simulated == 3
        assert statuses(store) == {"SIMULATED": 3}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3 has no settings of a connection before Python 3.12")
def test_the_standard_librarys_sqlite_keeps_its_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apsw", None)
    connection: Any = sqlite._opened(tmp_path / "own.db")
    assert connection.getconfig(vars(sqlite3)["SQLITE_DBCONFIG_ENABLE_QPSG"]) is True
    connection.close()


def test_missing_market_data_is_a_refusal_with_nothing_observed(store: Store) -> None:
    [number] = recommend(store, ticker="NONE")
    run(store)
    gates = document(row(store, number, "risk_gate_json")[0])
    assert gates["bar_freshness"] == {"observed": None, "threshold": 120, "passed": False}
    assert gates["feature_freshness"] == {"observed": None, "threshold": 300, "passed": False}


def test_only_bars_that_have_ended_are_looked_at(store: Store) -> None:
    market(store, close=100)
    market(store, close=200, age_s=-60)
    recommend(store)
    assert run(store).counts.simulated == 1
    [[entry]] = store.query("SELECT entry_price FROM dispatch_executions")
    assert Decimal(entry) == Decimal("100.05")


@pytest.mark.parametrize("vol", [0, "0.6", None])
def test_a_stop_that_cannot_be_is_a_refusal(store: Store, vol: object) -> None:
    market(store, vol=vol)
    [number] = recommend(store)
    run(store)
    status, why = row(store, number, "status", "failure_reason")
    assert status == "SKIPPED"
    assert str(why).startswith("pricing: ")


def test_highest_priority_first_then_the_oldest(store: Store, database: Database) -> None:
    first = recommend(store, 2, prefix="low")
    high = recommend(store, 1, prefix="high", priority=5)
    holder, connection = begin_run(database, "me"), database.connect()
    claimed = claims.claim(connection, holder.owner, holder.run, settings(), 10)
    assert [own.id for own in claimed] == [*high, *first]
    connection.close()


def test_a_row_that_was_claimed_before_is_claimed_alone(store: Store, database: Database) -> None:
    ids = recommend(store, 4)
    connection = database.connect()
    for status in (S.PROCESSING, S.PENDING):
        set_status(connection, ids[1], status)
    connection.changed("UPDATE dispatch_recommendations SET attempts = 1 WHERE id = :id", {"id": ids[1]})
    holder = begin_run(database, "me")
    taken = [[own.id for own in claims.claim(connection, "me", holder.run, settings(), 10)] for _ in range(3)]
    assert taken == [[ids[0], ids[2], ids[3]], [ids[1]], []]
    connection.close()


def test_a_claim_takes_no_more_than_it_may(store: Store, database: Database) -> None:
    recommend(store, 50)
    connection = database.connect()
    if database.dialect.name == "postgresql":
        # The plan under which WHERE id IN (SELECT … LIMIT) claims every row.
        for name in ("hashjoin", "mergejoin", "hashagg", "material", "sort", "bitmapscan"):
            connection.rows(f"SET enable_{name} = off")
    holder = begin_run(database, "me")
    assert len(claims.claim(connection, "me", holder.run, settings(), 1)) == 1
    assert len(claims.claim(connection, "me", holder.run, settings(), 7)) == 7
    assert statuses(store) == {"PENDING": 42, "PROCESSING": 8}
    connection.close()


def test_not_before_and_expires_at_bound_when_it_is_claimed(store: Store) -> None:
    now = time.time_ns()
    [later] = recommend(store, prefix="later", not_before=now + 3600 * 10**9)
    [over] = recommend(store, prefix="over", expires_at=now - 10**9)
    result = run(store)
    assert (result.counts.pulled, result.counts.expired) == (0, 1)
    assert row(store, later, "status") == ("PENDING",)
    assert row(store, over, "status", "failure_reason") == ("SKIPPED", "expired")


def test_a_row_older_than_the_look_back_ends_as_expired(store: Store) -> None:
    [number] = recommend(store)
    time.sleep(0.05)
    assert run(store, settings(lookback_window_minutes=Decimal("0.0005"))).counts.expired == 1
    assert row(store, number, "status", "failure_reason") == ("SKIPPED", "expired")


def test_a_finish_after_the_lease_went_to_another_is_refused(store: Store, database: Database) -> None:
    """The status is PROCESSING again, so a guard on the status alone would let it through."""
    market(store)
    [number] = recommend(store)
    short, connection = settings(processing_ttl_minutes=Decimal("0.0001")), database.connect()
    slow, quick = begin_run(database, "slow"), begin_run(database, "slow")
    [old] = claims.claim(connection, "slow", slow.run, short, 1)
    time.sleep(0.02)
    assert claims.reap(connection, quick.run, short).released == [number]
    [again] = claims.claim(connection, "slow", quick.run, settings(), 1)
    with pytest.raises(StaleFinish):
        ledger.end(connection, slow, old, S.SKIPPED, gates=None, why="late")
    ledger.end(connection, quick, again, S.SKIPPED, gates=None, why="in time")
    assert row(store, number, "status", "failure_reason") == ("SKIPPED", "in time")
    connection.close()


def test_a_row_past_its_last_attempt_fails(store: Store, database: Database) -> None:
    [number] = recommend(store)
    short = settings(processing_ttl_minutes=Decimal("0.0001"), max_attempts=2)
    holder, connection = begin_run(database, "me"), database.connect()
    for attempt in (1, 2):
        [claimed] = claims.claim(connection, "me", holder.run, short, 1)
        assert claimed.attempts == attempt
        time.sleep(0.02)
        failed = claims.reap(connection, holder.run, short).failed
        assert failed == ([number] if attempt == 2 else [])
    assert row(store, number, "status")[0] == "FAILED"
    connection.close()


def test_five_releases_cost_no_attempt(store: Store) -> None:
    market(store)
    [number] = recommend(store)
    stop = threading.Event()

    def stop_at_once(view: GateView) -> GateResult:
        raise AssertionError

    for _ in range(5):
        with Runner(store.database, settings, gates={"never": stop_at_once}) as runner:
            stop.clear()
            claim = runner._claim

            def claim_then_stop(*arguments: object, claim: object = claim) -> object:
                held = claim(*arguments)  # type: ignore[operator]
                stop.set()
                return held

            runner._claim = claim_then_stop  # type: ignore[assignment,method-assign]
            assert runner.run(stop).counts.released == 1
    assert row(store, number, "status", "attempts", "owner") == ("PENDING", 0, None)


def test_a_gate_of_the_user_judges_too(store: Store) -> None:
    market(store)
    [number] = recommend(store)
    result = run(
        store, gates={"no_calls": lambda view: GateResult(view.recommendation.action, "no call", passed=False)}
    )
    assert result.counts.refusals == {"no_calls": 1}
    assert row(store, number, "failure_reason") == ("gates: no_calls",)


def test_a_gate_that_raises_fails_its_row_and_no_other(store: Store) -> None:
    market(store, "AAPL", "MSFT")
    [bad], [good] = recommend(store), recommend(store, ticker="MSFT", prefix="good")

    def picky(view: GateView) -> GateResult:
        return GateResult(1 / (view.recommendation.ticker != "AAPL"), 1, passed=True)

    result = run(store, gates={"picky": picky})
    assert (result.counts.failed, result.counts.simulated) == (1, 1)
    assert row(store, bad, "status", "failure_reason") == (
        "FAILED",
        "gate picky raised ZeroDivisionError: division by zero",
    )
    assert row(store, good, "status") == ("SIMULATED",)


def test_what_a_gate_of_the_user_says_is_recorded_as_json(store: Store) -> None:
    market(store, "AAPL", "MSFT")
    [odd], [good] = recommend(store), recommend(store, ticker="MSFT", prefix="good")

    def exact(view: GateView) -> GateResult:
        observed: Any = math.nan if view.recommendation.ticker == "AAPL" else np.float32(0.5)
        return GateResult(observed, Decimal("1.50"), passed=True)  # type: ignore[arg-type]

    run(store, gates={"exact": exact})
    status, why = row(store, odd, "status", "failure_reason")
    assert status == "FAILED"
    assert "gate exact returned GateResult(observed=nan" in why
    gates = document(row(store, good, "risk_gate_json")[0])
    assert gates["exact"] == {"observed": 0.5, "threshold": "1.5", "passed": True}


def test_nothing_is_claimed_while_the_kill_switch_is_set(store: Store) -> None:
    market(store)
    recommend(store)
    result = run(store, is_halted=lambda: True)
    assert (result.halted, result.counts.pulled) == (True, 0)
    assert statuses(store) == {"PENDING": 1}


def test_two_workers_on_one_ticker_keep_its_daily_limit(store: Store) -> None:
    market(store)
    recommend(store, 40)
    limited = settings(max_trades_per_ticker_per_day=3, max_signals_per_run=40)
    threads = [threading.Thread(target=run, args=(store, limited)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses(store) == {"SIMULATED": 3, "SKIPPED": 37}


def test_a_changed_threshold_takes_effect_with_the_next_run(store: Store) -> None:
    market(store)
    recommend(store, 2)
    own = [settings(max_signals_per_run=1), settings(max_signals_per_run=1, confidence_min=Decimal("0.95"))]
    with Runner(store.database, lambda: own.pop(0)) as runner:
        runner.run()
        runner.run()
    assert statuses(store) == {"SIMULATED": 1, "SKIPPED": 1}
    configs = store.query("SELECT run_config_json FROM dispatcher_runs ORDER BY started_at")
    assert [document(own)["confidence_min"] for (own,) in configs] == ["0.7", "0.95"]


@pytest.mark.parametrize(
    "change", [{"confidence_min": Decimal("NaN")}, {"paper_equity": Decimal(0)}, {"max_attempts": -1}]
)
def test_a_limit_that_is_none_refuses_to_run(store: Store, change: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=f"write {next(iter(change))} = "):
        run(store, settings(**change))
    assert store.query("SELECT COUNT(*) FROM dispatcher_runs") == [(0,)]


def test_a_worker_refuses_a_database_that_is_not_migrated(empty_url: str) -> None:
    with pytest.raises(Exception, match="headrace db migrate"), Runner(open_database(empty_url), settings) as runner:
        runner.run()


def test_a_worker_refuses_a_newer_database(store: Store) -> None:
    store.query("INSERT INTO headrace_migrations (version, name, digest) VALUES (99, 'later', 'x')")
    with pytest.raises(SchemaVersionError, match="99"):
        run(store)


def test_owners_differ_by_start() -> None:
    assert owner_name() != owner_name()


def test_an_execution_has_the_fill_arithmetic_of_the_defaults(store: Store) -> None:
    market(store, close=100, vol="0.01")
    recommend(store)
    recommend(store, prefix="put", action="BUY_PUT")
    run(store)
    rows = store.query(
        "SELECT entry_price, stop_loss_price, take_profit_price, qty, notional, max_hold_minutes, fill_model,"
        " execution_mode FROM dispatch_executions ORDER BY recommendation_id"
    )
    assert [tuple(map(str, own)) for own in rows] == [
        ("100.05", "98.049", "104.052", "249", "24912.45", "240", "close+slip", "SIMULATED"),
        ("99.95", "101.949", "95.952", "250", "24987.5", "240", "close+slip", "SIMULATED"),
    ]


def test_a_lease_is_of_the_clock_of_the_database(
    store: Store, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommend(store)
    holder, connection = begin_run(database, "me"), database.connect()
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + 86_400)
    claims.claim(connection, "me", holder.run, settings(), 1)
    [[left_ms]] = connection.rows("SELECT MS(lease_until) - MS(NOW()) FROM dispatch_recommendations")
    assert 0 < left_ms <= settings().lease_ms
    connection.close()


def test_status_and_ledger_are_committed_together(store: Store) -> None:
    """A ledger that refuses the execution leaves no recommendation that says it was executed."""
    market(store)
    [number] = recommend(store)
    if store.database.dialect.name == "sqlite":
        store.query("CREATE TRIGGER refuse BEFORE INSERT ON dispatch_executions BEGIN SELECT RAISE(ABORT, 'full'); END")
    else:
        store.query("ALTER TABLE dispatch_executions ADD CONSTRAINT refuse CHECK (qty < 0) NOT VALID")
    try:
        assert run(store).counts.failed == 1
        status, why = row(store, number, "status", "failure_reason")
        assert status == "FAILED"
        assert "StoreRefusedError" in str(why)
    finally:
        if store.database.dialect.name == "postgresql":
            store.query("ALTER TABLE dispatch_executions DROP CONSTRAINT refuse")
