"""A worker that is cut off or killed at each statement of a run, before or after it took effect: one execution each."""

from __future__ import annotations

import multiprocessing
import signal
import time
from decimal import Decimal
from typing import NoReturn

import pytest

from headrace.errors import StoreUnavailableError
from headrace.execution import Runner, Store
from headrace.execution.database import Connection
from headrace.execution.schema import schema_problems
from tests.support.executing import market, new, run, settings, statuses
from tests.support.execution_worker import killed_at
from tests.support.failing_database import FailingDatabase

# Long enough for a worker on a loaded machine, short enough to wait for.
SHORT = settings(processing_ttl_minutes=Decimal("0.01"), max_attempts=1_000)
MOMENTS = pytest.mark.parametrize("after", [False, True], ids=["before", "after"])


def cut(connection: Connection) -> NoReturn:
    connection.close()
    raise StoreUnavailableError("cut", url="")


@pytest.mark.timeout(180)
@MOMENTS
def test_a_connection_cut_at_any_statement_leaves_one_execution(
    store: Store, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    monkeypatch.setattr("headrace.execution.runner.STORE_RETRY_FIRST_S", 0.001)
    market(store)
    at = 0
    while True:
        at += 1
        [number] = store.recommend_all([new(f"key-{at}")])
        database = FailingDatabase(store.database, at, after=after, fail=cut)
        with Runner(database, lambda: SHORT) as runner:
            runner.run()
        deadline = time.monotonic() + 20
        while set(statuses(store)) != {"SIMULATED"}:
            # A claim whose answer was lost: its lease ends, and another run executes it.
            assert time.monotonic() < deadline, (at, statuses(store))
            time.sleep(0.05)
            with Runner(store.database, lambda: SHORT) as runner:
                runner.run()
        if database.count < at:
            break
    assert number == at
    executed_once(store, at)


@pytest.mark.timeout(180)
@MOMENTS
def test_a_worker_killed_at_any_statement_leaves_one_execution(store: Store, url: str, after: bool) -> None:
    """Each worker takes one row, and dies one statement later than the one before it, until one lives."""
    market(store)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.execution_worker", "psycopg", "apsw"])
    at, exit_code = 0, -signal.SIGKILL
    while exit_code == -signal.SIGKILL:
        at += 1
        store.recommend_all([new(f"key-{at}")])
        process = context.Process(target=killed_at, args=(url, at, after))
        process.start()
        process.join(30)
        assert process.exitcode is not None
        exit_code = process.exitcode
    assert exit_code == 0
    # Not one of the dead has an execution in part, or a row that nothing would release.
    assert schema_problems(store.database) == []
    connection = store.database.connect()
    connection.changed("UPDATE dispatch_recommendations SET lease_until = NOW() WHERE status = 'PROCESSING'")
    connection.close()
    time.sleep(0.01)
    while set(statuses(store)) != {"SIMULATED"}:
        assert run(store).counts.simulated, statuses(store)
    executed_once(store, at)


def executed_once(store: Store, count: int) -> None:
    assert count > 15, "a run has more statements"
    assert store.query("SELECT COUNT(*) FROM dispatch_executions") == [(count,)]
    assert schema_problems(store.database) == []
