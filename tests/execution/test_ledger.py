"""The ledger refuses every change, on any connection, whatever its settings."""

from __future__ import annotations

import sqlite3

import apsw
import psycopg
import pytest

from headrace.errors import StoreRefusedError
from headrace.execution import Store
from tests.support.executing import market, recommend, run

COLUMNS = (
    "execution_id, recommendation_id, idempotency_key, dispatcher_run_id, owner, epoch, ticker, action, decision_ts,"
    " simulated_ts, entry_price, fill_model, slippage_bps, qty, notional, stop_loss_price, take_profit_price,"
    " max_hold_minutes, execution_mode, client_order_id, explain_json, risk_json, sim_json"
)
COPY = f"INTO dispatch_executions ({COLUMNS}) SELECT {COLUMNS.replace(' qty', ' 999')} FROM dispatch_executions"
UPSERT = f"INSERT {COPY} WHERE true ON CONFLICT (recommendation_id) DO UPDATE SET qty = 999"
CHANGES = ["UPDATE dispatch_executions SET qty = 999", "DELETE FROM dispatch_executions", f"INSERT {COPY}", UPSERT]
OF_SQLITE = [
    f"INSERT OR REPLACE {COPY}",
    f"REPLACE {COPY}",
    f"INSERT OR IGNORE {COPY}",
    "UPDATE OR REPLACE dispatch_executions SET qty = 999",
    "UPDATE OR IGNORE dispatch_executions SET qty = 999",
]
OF_POSTGRES = ["TRUNCATE dispatch_executions", "TRUNCATE dispatch_recommendations CASCADE"]


@pytest.fixture
def executed(store: Store) -> Store:
    market(store)
    recommend(store)
    assert run(store).counts.simulated == 1
    return store


def ledger(store: Store) -> list[tuple[object, ...]]:
    return store.query(f"SELECT {COLUMNS} FROM dispatch_executions")


@pytest.mark.parametrize("text", CHANGES)
def test_ledger_refuses_each_change(executed: Store, text: str) -> None:
    before = ledger(executed)
    with pytest.raises(StoreRefusedError):
        executed.query(text)
    assert ledger(executed) == before


@pytest.mark.parametrize("text", [*CHANGES, *OF_SQLITE])
@pytest.mark.parametrize("recursive", [0, 1])
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_ledger_of_sqlite_refuses_it_on_a_foreign_connection(executed: Store, text: str, recursive: int) -> None:
    before = ledger(executed)
    path = executed.database.url.removeprefix("sqlite:///")
    other = apsw.Connection(path)
    other.execute(f"PRAGMA recursive_triggers={recursive}; PRAGMA foreign_keys=OFF; PRAGMA ignore_check_constraints=1")
    with pytest.raises(apsw.ConstraintError):
        other.execute(text)
    other.close()
    assert ledger(executed) == before


@pytest.mark.parametrize("text", [*CHANGES, *OF_POSTGRES])
@pytest.mark.parametrize("role", ["origin", "replica"])
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_ledger_of_postgres_refuses_it_also_as_a_replica(executed: Store, url: str, text: str, role: str) -> None:
    before = ledger(executed)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(f"SET session_replication_role = {role}".encode())
        with pytest.raises(psycopg.IntegrityError):
            other.execute(text.encode())
    assert ledger(executed) == before


def test_an_execution_needs_its_recommendation_in_the_same_state(store: Store) -> None:
    market(store)
    [first] = recommend(store)
    assert run(store).counts.simulated == 1
    [other] = recommend(store, prefix="other")
    text = COLUMNS.replace("execution_id", "'00000000-0000-0000-0000-000000000000'", 1)
    text = text.replace("recommendation_id", str(other), 1).replace("idempotency_key", "'other-0'", 1)
    if store.database.dialect.name == "postgresql":
        text = text.replace("'00000000-0000-0000-0000-000000000000'", "gen_random_uuid()")
    with pytest.raises(StoreRefusedError):
        store.query(f"INSERT INTO dispatch_executions ({COLUMNS}) SELECT {text} FROM dispatch_executions")
    assert len(ledger(store)) == 1
    assert first != other


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_replace_of_a_recommendation_is_refused_by_the_standard_library_too(executed: Store) -> None:
    """It would make an executed recommendation PENDING again."""
    with sqlite3.connect(executed.database.url.removeprefix("sqlite:///")) as other:
        for form in ("INSERT OR REPLACE", "REPLACE"):
            with pytest.raises(sqlite3.IntegrityError):
                other.execute(
                    f"{form} INTO dispatch_recommendations (id, ticker, action, confidence, idempotency_key)"
                    " SELECT id, ticker, action, confidence, idempotency_key FROM dispatch_recommendations"
                )
    other.close()
