"""Wake-up: PostgreSQL reports a recommendation on a connection of its own; behind a pooler workers poll."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from headrace.execution import Runner, Store
from headrace.execution.database import Database, open_database
from headrace.execution.schema.triggers import NOTIFY_CHANNEL
from headrace.execution.wakeup import Wakeup
from headrace.execution.workers import Workers
from tests.support.executing import market, recommend, settings, statuses
from tests.support.pooler import pooled

OF_POSTGRES = pytest.mark.parametrize("url", ["postgresql"], indirect=True)
# Far longer than a test waits: what happens sooner was woken.
NEVER_S = 3_600.0


def until(what: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def working(database: Database, every_s: float) -> Iterator[Workers]:
    """Workers at an interval, stopped after the block."""
    workers = Workers(database, lambda: Runner(database, settings), count=2, mode="every", every_s=every_s)
    thread = threading.Thread(target=workers.run)
    thread.start()
    try:
        # The first runs are over: what comes now waits for an interval, or wakes them.
        until(lambda: workers.counts.runs >= 2)
        yield workers
    finally:
        workers.stop()
        thread.join()


def listeners(url: str) -> list[int]:
    """The server's processes that listen for recommendations."""
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query = %s",
            [f"LISTEN {NOTIFY_CHANNEL}"],
        )
        return [pid for (pid,) in rows]


@OF_POSTGRES
def test_a_recommendation_wakes_workers_between_two_intervals(store: Store, url: str) -> None:
    market(store)
    with working(store.database, NEVER_S) as workers:
        until(lambda: len(listeners(url)) == 1)
        recommend(store, 3)
        until(lambda: statuses(store) == {"SIMULATED": 3})
        until(lambda: workers.counts.simulated == 3)
        # The connection that listens did nothing else.
        assert len(listeners(url)) == 1
    until(lambda: listeners(url) == [])


@OF_POSTGRES
def test_a_listener_that_is_cut_off_listens_again(store: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.execution.wakeup.WAKEUP_RETRY_S", 0.05)
    with Wakeup(store.database) as wakeup:
        until(lambda: len(listeners(url)) == 1)
        [first] = listeners(url)
        store.query("SELECT pg_terminate_backend(%s)", first)
        until(lambda: listeners(url) not in ([], [first]))
        version = wakeup.version
        recommend(store)
        assert wakeup.wait(version, 20)


@OF_POSTGRES
def test_behind_a_transaction_pooler_all_works_and_workers_poll(store: Store, url: str) -> None:
    """Two server connections serve two workers, their leases, the listener and the writer."""
    market(store)
    with pooled(url, size=2) as (behind, pooler):
        database = open_database(behind)
        with Store(behind) as writer, working(database, 0.2) as workers:
            recommend(writer, 20)
            until(lambda: statuses(store) == {"SIMULATED": 20})
            assert workers.counts.stale == 0
        until(lambda: pooler.dropped > 0)
        # A worker that had to be woken would not have found them: nothing is delivered here.
        with Wakeup(database) as wakeup:
            until(lambda: wakeup.version > 0)
            version = wakeup.version
            recommend(store, prefix="later")
            assert not wakeup.wait(version, 1.0)
        assert pooler.transactions > 40


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_sqlite_workers_poll_at_their_interval(store: Store) -> None:
    market(store)
    with working(store.database, 0.2):
        recommend(store, 3)
        until(lambda: statuses(store) == {"SIMULATED": 3})


def test_a_wait_ends_at_its_time_or_at_a_wake(database: Database) -> None:
    with Wakeup(database) as wakeup:
        if database.dialect.name == "postgresql":
            until(lambda: wakeup.version == 1)
        version = wakeup.version
        assert not wakeup.wait(version, 0.05)
        wakeup.wake()
        assert wakeup.wait(version, 0.0)
