"""Leases: renewed while a worker gets on, and not for a row that takes longer than one."""

from __future__ import annotations

import threading
import time
from decimal import Decimal
from typing import Any

import pytest

from headrace.execution import GateResult, GateView, Runner, Store
from tests.support.executing import market, recommend, row, run, settings, statuses

LEASE_S = 2.0
SHORT = settings(processing_ttl_minutes=Decimal(str(LEASE_S / 60)))


@pytest.mark.timeout(60)
def test_a_lease_is_renewed_until_the_last_row_is_finished(store: Store) -> None:
    """Five rows take longer than a lease, and a second worker finds none of them free."""
    market(store)
    ids = recommend(store, 5)
    taken: list[int] = []

    def slow(view: GateView) -> GateResult:
        if view.recommendation.id == ids[0]:
            held.set()
        time.sleep(LEASE_S * 0.3)
        return GateResult(1, 1, passed=True)

    held, over = threading.Event(), threading.Event()

    def other() -> None:
        held.wait(30)
        while not over.is_set():
            taken.append(run(store, SHORT).counts.pulled)
            time.sleep(0.1)

    thread = threading.Thread(target=other)
    thread.start()
    try:
        result = run(store, SHORT, gates={"slow": slow})
    finally:
        over.set()
        thread.join()
    assert (result.counts.simulated, result.counts.stale) == (5, 0)
    assert len(taken) > 3
    assert sum(taken) == 0
    assert store.query("SELECT MAX(attempts) FROM dispatch_recommendations") == [(1,)]


@pytest.mark.timeout(60)
def test_a_row_that_takes_longer_than_a_lease_is_another_workers(store: Store) -> None:
    market(store)
    [number] = recommend(store)
    began, stuck = threading.Event(), threading.Event()
    results: list[Any] = []

    def hangs(view: GateView) -> GateResult:
        began.set()
        stuck.wait(40)
        return GateResult(1, 1, passed=True)

    thread = threading.Thread(target=lambda: results.append(run(store, SHORT, gates={"hangs": hangs})))
    thread.start()
    assert began.wait(20)
    deadline = time.monotonic() + 30
    while statuses(store) != {"SIMULATED": 1}:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        run(store, SHORT)
    stuck.set()
    thread.join()
    assert (results[0].counts.simulated, results[0].counts.stale) == (0, 1)
    assert row(store, number, "attempts") == (2,)
    assert store.query("SELECT COUNT(*) FROM dispatch_executions") == [(1,)]


def test_a_worker_that_could_drop_the_triggers_is_warned_once(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with Runner(store.database, settings) as runner:
        runner.run()
        runner.run()
    warned = [own for own in caplog.records if "could drop the triggers" in own.message]
    assert len(warned) == (1 if store.database.dialect.name == "postgresql" else 0)
