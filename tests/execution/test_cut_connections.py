"""A connection that is cut at each statement of a run, before or after it took effect: one execution, nothing stuck."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from headrace.errors import StoreUnavailableError
from headrace.execution import Runner, Store
from headrace.execution.database import Connection, Database
from headrace.execution.schema import schema_problems
from tests.support.executing import market, new, settings, statuses

# Long enough for a worker on a loaded machine, short enough to wait for.
SHORT = settings(processing_ttl_minutes=Decimal("0.01"), max_attempts=1_000)


class Cuttable:
    """A connection whose statements are counted; at one of them it is lost."""

    def __init__(self, connection: Connection, database: CutAt) -> None:
        self._connection = connection
        self._database = database
        self.dialect = connection.dialect

    def _do(self, name: str, *arguments: Any) -> Any:
        self._database.count += 1
        if self._database.count != self._database.at:
            return getattr(self._connection, name)(*arguments)
        if self._database.after:
            getattr(self._connection, name)(*arguments)
        self._connection.close()
        raise StoreUnavailableError(f"cut at {name}", url=self._database.url)

    def rows(self, text: str, values: Mapping[str, Any] | None = None) -> Any:
        return self._do("rows", text, values)

    def changed(self, text: str, values: Mapping[str, Any] | None = None) -> Any:
        return self._do("changed", text, values)

    def query(self, sql: str, values: Sequence[object]) -> Any:
        return self._do("query", sql, values)

    def script(self, text: str) -> None:
        self._do("script", text)

    def begin(self) -> None:
        self._do("begin")

    def commit(self) -> None:
        self._do("commit")

    def rollback(self) -> None:
        self._connection.rollback()

    def close(self) -> None:
        self._connection.close()


class CutAt:
    """A database whose ``at``-th statement is cut, before it is sent, or after it took effect."""

    def __init__(self, database: Database, at: int, *, after: bool) -> None:
        self._database = database
        self.url = database.url
        self.dialect = database.dialect
        self.at = at
        self.after = after
        self.count = 0

    def connect(self) -> Cuttable:
        return Cuttable(self._database.connect(), self)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_connection_cut_at_any_statement_leaves_one_execution(
    store: Store, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    monkeypatch.setattr("headrace.execution.runner.STORE_RETRY_FIRST_S", 0.001)
    market(store)
    at = 0
    while True:
        at += 1
        [number] = store.recommend_all([new(f"key-{at}")])
        cut = CutAt(store.database, at, after=after)
        with Runner(cut, lambda: SHORT) as runner:
            runner.run()
        deadline = time.monotonic() + 20
        while set(statuses(store)) != {"SIMULATED"}:
            # A claim whose answer was lost: its lease ends, and another run executes it.
            assert time.monotonic() < deadline, (at, statuses(store))
            time.sleep(0.05)
            with Runner(store.database, lambda: SHORT) as runner:
                runner.run()
        if cut.count < at:
            break
    assert number == at
    assert at > 15, "a run has more statements"
    assert store.query("SELECT COUNT(*) FROM dispatch_executions") == [(at,)]
    assert schema_problems(store.database) == []
