"""Eight workers that are killed, stopped beyond their lease and cut off from the server: each row ends exactly once."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

import psycopg
import pytest

from headrace.execution import Store, claims
from headrace.execution.database import Connection
from headrace.execution.schema import schema_problems
from tests.support.executing import market, new, statuses
from tests.support.execution_worker import work

log = logging.getLogger(__name__)

WORKERS = 8
LEASE_S = 1.0
# How often the run says how far it is: `-o log_cli=true -o log_cli_level=INFO` shows it.
PROGRESS_S = 30.0
# Two looks by indexes: reading 100,000 rows at each look would take the workers' time.
IS_OPEN = (
    "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM dispatch_recommendations WHERE status = 'PENDING' LIMIT 1) AS p)"
    " + (SELECT COUNT(*) FROM (SELECT 1 FROM dispatch_recommendations WHERE status = 'PROCESSING' LIMIT 1) AS c)"
)


class Pack:
    """Workers of one database; every fault is followed by a new or a continued worker."""

    def __init__(self, url: str, rng: random.Random) -> None:
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.support.execution_worker", "psycopg", "apsw"])
        # Names the workers' connections, so that none of the test's own is cut.
        self._url = f"{url}&application_name=worker" if url.startswith("postgresql") else url
        self._rng = rng
        self._number = 0
        self._stopped: list[tuple[float, BaseProcess]] = []
        # A file has no connection to cut.
        kinds = ("killed", "stopped", "cut") if url.startswith("postgresql") else ("killed", "stopped")
        self.faults = dict.fromkeys(kinds, 0)
        self.workers = [self._started() for _ in range(WORKERS)]

    def _started(self) -> BaseProcess:
        self._number += 1
        process = self._context.Process(target=work, args=(self._url, LEASE_S, f"worker-{self._number}"), daemon=True)
        process.start()
        return process

    def fault(self) -> None:
        """Do one thing that goes wrong, and continue those whose stall is over. The first worker is killed."""
        index = self._rng.randrange(WORKERS)
        kind = self._rng.choice(list(self.faults)) if any(self.faults.values()) else "killed"
        process = self.workers[index]
        assert process.pid is not None
        if kind == "killed":
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            self.workers[index] = self._started()
        elif kind == "stopped" and process.is_alive():
            os.kill(process.pid, signal.SIGSTOP)
            self._stopped.append((time.monotonic() + LEASE_S * self._rng.uniform(0.5, 2), process))
        elif kind == "cut":
            self._cut()
        self.faults[kind] += 1
        self.go_on(time.monotonic())

    def go_on(self, now: float) -> None:
        """Continue the stopped whose time has come."""
        for due, process in list(self._stopped):
            if due <= now:
                self._stopped.remove((due, process))
                with suppress(ProcessLookupError):
                    os.kill(process.pid or 0, signal.SIGCONT)

    def _cut(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'worker' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1"
            )

    def end(self) -> None:
        """End all of them."""
        self.go_on(float("inf"))
        for process in self.workers:
            process.kill()
            process.join()


def is_open(connection: Connection) -> bool:
    """Return whether a row is PENDING or PROCESSING."""
    with claims.by_index(connection, writes=False):
        return connection.rows(IS_OPEN) != [(0,)]


def summed(store: Store) -> dict[str, int]:
    """Sum what the runs that came to their end counted; those of killed workers have no summary."""
    total: Counter[str] = Counter()
    for [text] in store.query("SELECT run_summary_json FROM dispatcher_runs WHERE run_summary_json IS NOT NULL"):
        counts = json.loads(text) if isinstance(text, str) else text
        total.update({name: counts[name] for name in ("runs", "reaped", "stale", "released")})
    return dict(total)


def executed_exactly_once(url: str, count: int, seed: int, faults_max: int, deadline_s: float) -> dict[str, int]:
    """Execute so many, whatever happens to the workers; return what their runs counted."""
    rng = random.Random(seed)
    with Store(url) as store:
        tickers = [f"T{number}" for number in range(20)]
        market(store, *tickers)
        store.recommend_all(
            [new(f"key-{n}", ticker=rng.choice(tickers), confidence=rng.choice([0.6, 0.9])) for n in range(count)]
        )
        pack = Pack(url, rng)
        began = said = time.monotonic()
        deadline, left = began + deadline_s, faults_max
        try:
            while store.read(is_open):
                if time.monotonic() - said > PROGRESS_S:
                    said = time.monotonic()
                    log.info("%.0f s: %s %s", said - began, statuses(store), pack.faults)
                assert time.monotonic() < deadline, (statuses(store), pack.faults)
                if left:
                    pack.fault()
                    left -= 1
                pack.go_on(time.monotonic())
                time.sleep(rng.uniform(0.02, 0.2))
        finally:
            pack.end()
        found = statuses(store)
        assert set(found) == {"SIMULATED", "SKIPPED"}
        assert sum(found.values()) == count
        assert schema_problems(store.database) == []
        [[executions, distinct, in_time]] = store.query(
            "SELECT COUNT(*), COUNT(DISTINCT e.recommendation_id),"
            " SUM(CASE WHEN e.owner = r.owner AND e.epoch = r.epoch THEN 1 ELSE 0 END)"
            " FROM dispatch_executions e JOIN dispatch_recommendations r ON r.id = e.recommendation_id"
        )
        assert executions == distinct == in_time == found["SIMULATED"]
        assert pack.faults["killed"]
        counts, own = summed(store), url.partition(":")[0]
        log.info("%s ended in %.0f s: %s %s %s", own, time.monotonic() - began, found, pack.faults, counts)
        return counts


@pytest.mark.timeout(180)
def test_5_000_are_executed_once_whatever_happens_to_eight_workers(url: str, seed: int) -> None:
    executed_exactly_once(url, 5_000, seed, faults_max=40, deadline_s=170)


@pytest.mark.deep
@pytest.mark.timeout(7_200)
def test_100_000_are_executed_once_whatever_happens_to_eight_workers(url: str, seed: int) -> None:
    counts = executed_exactly_once(url, 100_000, seed, faults_max=4_000, deadline_s=7_000)
    # There were finishes that came too late: that none was accepted says something.
    assert counts["reaped"]
    assert counts["stale"]
