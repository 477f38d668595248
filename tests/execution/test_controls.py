"""Controls: workers obey at the next claim, and each change is on record."""

from __future__ import annotations

import time
from typing import Any

import pytest

from headrace.errors import RecommendationError, StoreRefusedError
from headrace.execution import Store
from headrace.execution.controls import Controls, pauses
from headrace.execution.database import Connection
from tests.support.executing import S, market, recommend, row, run, set_status, statuses
from tests.support.feeding import wait_until


@pytest.fixture
def connection(store: Store) -> Any:
    made = store.database.connect()
    yield made
    made.close()


@pytest.fixture
def controls(connection: Connection) -> Controls:
    return Controls(connection, actor="ops", reason="test")


def records(store: Store) -> list[tuple[Any, ...]]:
    return store.query("SELECT verb, scope, target, actor, reason FROM dispatch_controls ORDER BY id")


@pytest.mark.parametrize(
    ("scope", "target", "left"), [("all", "", 4), ("ticker", "AAPL", 2), ("action", "BUY_PUT", 2), ("ticker", "X", 0)]
)
def test_a_pause_holds_until_it_is_resumed(
    store: Store, controls: Controls, scope: Any, target: str, left: int
) -> None:
    market(store, "AAPL", "MSFT")
    for ticker in ("AAPL", "MSFT"):
        for action in ("BUY_CALL", "BUY_PUT"):
            recommend(store, ticker=ticker, action=action, prefix=f"{ticker}-{action}")
    controls.pause(scope, target)
    run(store)
    assert statuses(store).get("PENDING", 0) == left
    controls.resume(scope, target)
    run(store)
    assert statuses(store) == {"SIMULATED": 4}
    assert records(store) == [(verb, scope, target, "ops", "test") for verb in ("pause", "resume")]


def test_a_pause_ends_at_its_time(store: Store, connection: Connection, controls: Controls) -> None:
    market(store)
    recommend(store)
    controls.pause("all", until_ms=int(time.time() * 1000) + 60_000)
    assert [own.scope for own in pauses(connection)] == ["all"]
    run(store)
    assert statuses(store) == {"PENDING": 1}
    # A run may take longer than a short pause lasts: the one that ends is a second one.
    controls.resume("all")
    controls.pause("all", until_ms=int(time.time() * 1000) + 2_000)
    wait_until(lambda: pauses(connection) == [])
    run(store)
    assert statuses(store) == {"SIMULATED": 1}


@pytest.mark.parametrize("ago_ms", [0, 1, 86_400_000])
def test_a_pause_until_a_time_that_is_over_is_refused(store: Store, controls: Controls, ago_ms: int) -> None:
    with pytest.raises(RecommendationError, match="until is over already") as raised:
        controls.pause("all", until_ms=int(time.time() * 1000) - ago_ms)
    assert raised.value.field == "until"
    assert records(store) == []


def test_resume_of_what_is_not_paused_is_an_error(controls: Controls) -> None:
    controls.pause("ticker", "AAPL")
    with pytest.raises(RecommendationError, match="ticker MSFT is not paused: ticker AAPL"):
        controls.resume("ticker", "MSFT")


def test_cancel_ends_what_is_pending_and_nothing_else(store: Store, connection: Connection, controls: Controls) -> None:
    first, second = recommend(store, 2)
    set_status(connection, second, S.PROCESSING)
    controls.cancel(first)
    assert row(store, first, "status", "failure_reason") == ("SKIPPED", "canceled by ops: test")
    for number, said in ((first, "is SKIPPED"), (second, "is PROCESSING"), (99, "is unknown")):
        with pytest.raises(RecommendationError, match=said):
            controls.cancel(number)
    assert len(records(store)) == 1


def test_edit_changes_what_is_pending_and_records_both_values(store: Store, controls: Controls) -> None:
    market(store)
    [number] = recommend(store, confidence=0.5)
    controls.edit(number, {"confidence": 0.8, "priority": 3, "not_before": time.time_ns()})
    assert row(store, number, "confidence", "priority") == (0.8, 3)
    [[detail]] = store.query("SELECT detail_json FROM dispatch_controls")
    assert '"before": 0.5' in str(detail).replace("'", '"').replace('":0', '": 0')
    assert run(store).counts.simulated == 1
    with pytest.raises(RecommendationError, match="is SIMULATED"):
        controls.edit(number, {"confidence": 0.9})


@pytest.mark.parametrize("changes", [{"confidence": 2}, {"idempotency_key": "x"}, {"prioriti": 1}, {"ticker": ""}])
def test_a_wrong_edit_changes_nothing(store: Store, controls: Controls, changes: dict[str, Any]) -> None:
    [number] = recommend(store)
    with pytest.raises(RecommendationError):
        controls.edit(number, changes)
    assert records(store) == []


def test_a_producer_may_repeat_its_key_after_an_edit(store: Store, controls: Controls) -> None:
    [number] = recommend(store, confidence=0.5)
    controls.edit(number, {"confidence": 0.8})
    assert recommend(store, confidence=0.5) == [number]


def test_requeue_is_a_new_recommendation_and_failed_stays_final(
    store: Store, connection: Connection, controls: Controls
) -> None:
    market(store)
    [number] = recommend(store)
    for status in (S.PROCESSING, S.FAILED):
        set_status(connection, number, status)
    made = controls.requeue(number)
    assert row(store, made, "requeue_of", "status", "ticker") == (number, "PENDING", "AAPL")
    with pytest.raises(RecommendationError, match=f"requeued already, as {made}"):
        controls.requeue(number)
    assert run(store).counts.simulated == 1
    assert row(store, number, "status") == ("FAILED",)
    with pytest.raises(RecommendationError, match="is SIMULATED"):
        controls.requeue(made)


@pytest.mark.parametrize("text", ["UPDATE dispatch_controls SET actor = 'x'", "DELETE FROM dispatch_controls"])
def test_the_record_of_controls_is_append_only(store: Store, controls: Controls, text: str) -> None:
    controls.pause()
    with pytest.raises(StoreRefusedError):
        store.query(text)
