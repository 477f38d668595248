"""Alerts of workers: what stands in the database is what is judged, on both databases."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.app.executing import ExecutionParts
from headrace.bus import EventBus
from headrace.control.alerts import AlertService, AlertsSettings, RuleSettings, SinkSettings
from headrace.control.alerts.worker import WorkerWatch, worker_document
from headrace.engine.service import ServiceContext
from headrace.execution import Store
from headrace.market.clock import Mode, WallClock
from tests.control.test_alerts import Receiver
from tests.support.executing import market, recommend, run


def test_document_holds_ages_by_the_databases_clock(store: Store) -> None:
    empty = worker_document(store.database)
    assert empty["worker"]["worker"] == {"backlog": 0, "backlog_age_s": 0.0, "last_run_s": None}
    assert empty["tickers"] == {}
    market(store, "AAPL", age_s=100.0)
    recommend(store, 2)
    found = worker_document(store.database)
    assert found["worker"]["worker"]["backlog"] == 2
    assert 99 <= found["tickers"]["AAPL"]["bar_age_s"] < 160
    assert 99 <= found["tickers"]["AAPL"]["feature_age_s"] < 160
    run(store)
    after = worker_document(store.database)["worker"]["worker"]
    assert after["backlog"] == 0
    assert 0 <= after["last_run_s"] < 60


@pytest.mark.asyncio
async def test_execute_judges_the_alerts_of_its_configuration(store: Store, url: str, tmp_path: Path) -> None:
    recommend(store, 2)
    receiver = Receiver()
    async with receiver.serving() as hook:
        file = tmp_path / "execute.toml"
        file.write_text(
            f'[engine]\nstate_folder = "state"\n[control.alerts]\ndefaults = false\n'
            '[[control.alerts.rules]]\nname = "backlog"\nmeasure = "backlog"\nabove = 1\n'
            f'[[control.alerts.sinks]]\nname = "hook"\nkind = "webhook"\nurl = "{hook}"\n'
        )
        parts = ExecutionParts(file, [], url)
        is_told = threading.Event()

        def serve() -> None:
            with parts.workers(1, "every", 60.0):
                is_told.wait(20)

        # It has an event loop of its own, in a thread that no loop runs in.
        serving = asyncio.create_task(asyncio.to_thread(serve))
        try:
            (message,) = await receiver.received(1)
        finally:
            is_told.set()
            await serving
    assert (message["rule"], message["state"], message["value"]) == ("backlog", "firing", 2.0)


RULES_OF_WORKERS = (
    RuleSettings(name="old-bars", measure="bar_age", above=60.0),
    RuleSettings(name="backlog", measure="backlog", above=1),
    RuleSettings(name="no-run", measure="last_run", above=60.0, no_data="tell"),
)


@pytest.mark.asyncio
async def test_what_waits_reaches_a_webhook(store: Store) -> None:
    market(store, "AAPL", age_s=100.0)
    recommend(store, 2)
    receiver = Receiver()
    async with receiver.serving() as url:
        sink = SinkSettings(name="hook", kind="webhook", url=url)
        alerts = AlertService(AlertsSettings(defaults=False, rules=RULES_OF_WORKERS, sinks=(sink,)), engine="worker")
        watch = WorkerWatch(alerts, store.database, every_s=0.05)
        await watch.setup(ServiceContext(bus=EventBus(), clock=WallClock(), run_id="w", mode=Mode.LIVE))
        messages = await receiver.received(3)
        await watch.stop()
    assert {(own["rule"], own["subject"], own["state"]) for own in messages} == {
        ("old-bars", "AAPL", "firing"),
        ("backlog", "worker", "firing"),
        ("no-run", "worker", "no-data"),
    }


@pytest.mark.asyncio
async def test_a_database_that_is_away_resolves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    recommend(store, 2)
    alerts = AlertService(AlertsSettings(defaults=False, rules=RULES_OF_WORKERS[1:2]), engine="worker")
    watch = WorkerWatch(alerts, store.database, every_s=0.02)
    await watch.setup(ServiceContext(bus=EventBus(), clock=WallClock(), run_id="w", mode=Mode.LIVE))
    await until(lambda: alerts.metrics()["firing"] == 1)
    monkeypatch.setattr(type(store.database), "connect", unavailable)
    await until(lambda: alerts.sections()["alerts"]["backlog/worker"]["missing_ns"] is not None)
    assert alerts.sections()["alerts"]["backlog/worker"]["state"] == "firing"
    await watch.stop()


def unavailable(*_: object) -> None:
    from headrace.errors import StoreUnavailableError

    msg = "the server does not answer"
    raise StoreUnavailableError(msg)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
