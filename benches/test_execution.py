"""Row 23: claims and fenced finishes, beside the bare statements on the same database in one run.

::

    runner   claim ─▶ for each: bar and features ─▶ gates, price, size ─▶ lock, count, status, ledger ─▶ commit
    bare     claim ─▶ for each: the same statements, with values that were made before ─▶ commit

Does not: measure a disk: SQLite lies in memory, and PostgreSQL commits without a sync, in both cases.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from decimal import Decimal

from benches.bench import Bench, Row, Work, wall
from headrace.execution import Claimed, ExecutionSettings, Runner, Store, claims, ledger
from headrace.execution.database import Database, Value, transaction
from headrace.execution.decision import decide, judge_daily_limit
from headrace.execution.gates import GATES
from headrace.execution.ledger import Holder
from headrace.execution.recommendation import NewRecommendation
from headrace.execution.schema import RecommendationStatus
from tests.support.databases import postgres_database, sqlite_folder

RUN = "00000000-0000-0000-0000-000000000000"


@contextmanager
def sqlite() -> Iterator[str]:
    """A file of SQLite."""
    with sqlite_folder() as folder:
        yield f"sqlite:///{folder}/bench.sqlite"


def filled(url: str, count: int) -> Store:
    """A database with so many recommendations, of which every one passes."""
    store = Store(url, migrate=True)
    ts = time.time_ns()
    for number in range(10):
        store.telemetry(ticker=f"T{number}", ts=ts, open=100, high=101, low=100, close="100.5", volume=9)
        store.features(ticker=f"T{number}", ts=ts, recent_vol="0.01", trend=1)
    new = NewRecommendation("T0", "BUY_CALL", 0.9, '{"rule":"bench"}', "")
    store.recommend_all([new._replace(ticker=f"T{n % 10}", idempotency_key=f"key-{n}") for n in range(count)])
    return store


def settings(count: int) -> ExecutionSettings:
    return ExecutionSettings(
        max_signals_per_run=count, max_trades_per_ticker_per_day=count + 1, max_bar_age_seconds=Decimal(3_600)
    )


def by_runner(database: Callable[[], AbstractContextManager[str]], count: int) -> Iterator[Work]:
    """Execute all in one run."""
    with ExitStack() as stack:
        store = stack.enter_context(filled(stack.enter_context(database()), count))
        runner = stack.enter_context(Runner(store.database, lambda: settings(count)))
        yield runner.run
        check(store, count)


def by_statements(database: Callable[[], AbstractContextManager[str]], count: int) -> Iterator[Work]:
    """Claim all, then run each one's statements, with values that were made before."""
    with ExitStack() as stack:
        store = stack.enter_context(filled(stack.enter_context(database()), count))
        yield lambda: bare(store.database, count)
        check(store, count)


def bare(database: Database, count: int) -> None:
    connection, holder, own = database.connect(), Holder("bench", RUN), settings(count)
    connection.changed("INSERT INTO dispatcher_runs (run_id, run_config_json) VALUES (:run, '{}')", {"run": RUN})
    held: list[Claimed] = []
    while len(held) < count:
        held += claims.claim(connection, holder.owner, holder.run, own, count)
    decision = judge_daily_limit(GATES, decide(GATES, ledger.read_view(connection, held[0], own, None)), 0)
    gates = decision.gates_json
    values = ledger.execution_values(holder, decision, gates)
    for claimed in held:
        number = f"00000000-0000-0000-0000-{claimed.id:012}"
        row: dict[str, Value] = {
            "execution_id": number,
            "id": claimed.id,
            "key": claimed.idempotency_key,
            "ticker": claimed.ticker,
        }
        connection.rows(ledger.VIEW, {"ticker": claimed.ticker, "now": None})
        with transaction(connection):
            ledger.count_today(connection, claimed.ticker, decision.view.now_ms)
            ledger.end(connection, holder, claimed, RecommendationStatus.SIMULATED, gates=gates)
            ledger.insert_execution(connection, {**values, **row, "epoch": claimed.epoch})
    connection.close()


def check(store: Store, count: int) -> None:
    assert store.query("SELECT COUNT(*) FROM dispatch_executions") == [(count,)]


@wall
class TestSqlite:
    """A file in memory."""

    rows = (Row("23", "claims and fenced finishes, SQLite", "runner", "statements", at_least=0.5),)

    def test_runner(self, bench: Bench) -> None:
        bench.items(bench.size.orders)(by_runner, sqlite, bench.size.orders)

    def test_statements(self, bench: Bench) -> None:
        bench.items(bench.size.orders)(by_statements, sqlite, bench.size.orders)


@wall
class TestPostgres:
    """One server."""

    rows = (Row("23", "claims and fenced finishes, PostgreSQL", "runner", "statements", at_least=0.5),)

    def test_runner(self, bench: Bench) -> None:
        bench.items(bench.size.orders)(by_runner, postgres_database, bench.size.orders)

    def test_statements(self, bench: Bench) -> None:
        bench.items(bench.size.orders)(by_statements, postgres_database, bench.size.orders)
