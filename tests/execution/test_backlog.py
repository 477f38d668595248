"""What a worker's statements cost does not grow with what waits: each finds its rows by an index."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import apsw
import pytest

from headrace.execution import Store, claims, ledger
from headrace.execution.database import Value
from headrace.execution.database.sqlite import SqliteConnection
from tests.support.executing import recommend

RUN = "00000000-0000-0000-0000-000000000000"
VALUES: dict[str, Value] = {
    "owner": "me",
    "run": RUN,
    "most": 10,
    "lease": 1_000,
    "now": None,
    "oldest": 0,
    "attempts": 5,
}
BEGIN_RUN = "INSERT INTO dispatcher_runs (run_id, run_config_json) VALUES (:run, '{}') ON CONFLICT DO NOTHING"
STATEMENTS = {
    "claim": claims.CLAIM,
    "reap": claims.REAP,
    "reap those past their last attempt": claims.REAP_FAILED,
    "expire what is too old": claims.EXPIRE_TOO_OLD,
    "expire what is past its expiry": claims.EXPIRE_PAST_ITS_EXPIRY,
    "look for work": claims.HAS_WORK,
}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
def test_a_worker_finds_its_rows_by_an_index(store: Store, statement: str) -> None:
    connection = store.database.connect()
    values = {name: VALUES[name] for name in set(re.findall(r"(?<![:\w]):([a-z]+)", statement))}
    try:
        if connection.dialect.name == "postgresql":
            with claims.by_index(connection):
                plan = [row[0] for row in connection.rows(f"EXPLAIN {statement}", values)]
            whole = [line for line in plan if "Seq Scan on dispatch_recommendations" in line]
        else:
            plan = [row[3] for row in connection.rows(f"EXPLAIN QUERY PLAN {statement}", values)]
            whole = [line for line in plan if re.match(r"SCAN [qr]\b", line)]
            if ":oldest" in statement and "q.expires_at >" in statement:
                # One goes from row to row up to the first that may be claimed, which is mostly the first of all.
                assert whole.pop(0).startswith("SCAN q USING INDEX ix_dispatch_")
    finally:
        connection.close()
    assert any("ix_dispatch" in line for line in plan), plan
    assert whole == []


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_statement_of_sqlite_is_prepared_once_whatever_its_values(store: Store) -> None:
    connection = store.database.connect()
    assert isinstance(connection, SqliteConnection)
    prepared: list[int] = []

    def note(action: int, *_names: str | None) -> int:
        prepared.append(action)
        return apsw.SQLITE_OK

    try:
        # The library asks it while it prepares a statement.
        connection._connection.authorizer = note
        connection.rows(ledger.VIEW, {"ticker": "AAPL", "now": None})
        assert prepared
        prepared.clear()
        for number in range(3):
            connection.rows(ledger.VIEW, {"ticker": f"T{number}", "now": number})
        assert prepared == []
    finally:
        connection.close()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_claim_reads_few_rows_whatever_waits(store: Store) -> None:
    # The statistics are those of an empty table, as they are after a load.
    recommend(store, 2_000)
    connection = store.database.connect()
    try:
        for statement in STATEMENTS.values():
            values = {name: VALUES[name] for name in set(re.findall(r"(?<![:\w]):([a-z]+)", statement))}
            connection.changed(BEGIN_RUN, {"run": RUN})
            with claims.by_index(connection):
                [[found]] = connection.rows(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values)
            assert max(rows_read(found[0]["Plan"])) < 100, json.dumps(found)
    finally:
        connection.close()


def rows_read(plan: dict[str, Any]) -> Iterator[float]:
    yield plan["Actual Rows"]
    for part in plan.get("Plans", ()):
        yield from rows_read(part)
