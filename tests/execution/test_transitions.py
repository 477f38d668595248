"""Every change of status that the table does not hold is refused by the database itself, whatever writes it."""

from __future__ import annotations

from itertools import product

import pytest

from headrace.errors import StoreRefusedError
from headrace.execution import RecommendationStatus, Store
from headrace.execution.database import Database
from headrace.execution.schema import TRANSITIONS
from tests.support.executing import S, new, recommend, set_status, ways

ENDS = {S.SIMULATED, S.SKIPPED, S.FAILED, S.EXECUTED}


def test_every_pair_of_states_is_allowed_or_refused_as_the_table_says(database: Database, store: Store) -> None:
    pairs = list(product(RecommendationStatus, repeat=2))
    ids = recommend(store, len(pairs))
    connection, allowed = database.connect(), set()
    for number, (before, after) in zip(ids, pairs, strict=True):
        for step in ways()[before]:
            assert set_status(connection, number, step) == 1
        try:
            assert set_status(connection, number, after) == 1
            allowed.add((before, after))
        except StoreRefusedError:
            pass
    connection.close()
    unchanged = {(state, state) for state in RecommendationStatus if state not in ENDS}
    assert allowed == TRANSITIONS | unchanged


@pytest.mark.parametrize("status", [state for state in RecommendationStatus if state is not S.PENDING])
def test_a_recommendation_cannot_begin_in_another_state(store: Store, status: RecommendationStatus) -> None:
    with pytest.raises(StoreRefusedError):
        store.query(
            "INSERT INTO dispatch_recommendations (ticker, action, confidence, idempotency_key, status, owner)"
            f" VALUES ('A', 'BUY_CALL', 0.9, 'k', '{status}', 'me')"
        )


@pytest.mark.parametrize(
    "change",
    [
        "epoch = epoch + 1",
        "id = id + 1000",
        "idempotency_key = 'other'",
        "status = 'PROCESSING', owner = 'me', lease_until = created_at",  # without the epoch
        "confidence = 2",
        "status = 'LOST'",
        "status = NULL",
    ],
)
def test_a_pending_row_refuses_a_wrong_change(store: Store, change: str) -> None:
    recommend(store)
    with pytest.raises(StoreRefusedError):
        store.query(f"UPDATE dispatch_recommendations SET {change}")


@pytest.mark.parametrize(
    "change", ["ticker = 'B'", "confidence = 1", "owner = 'other'", "epoch = epoch + 1", "priority = 1"]
)
def test_a_claimed_row_keeps_its_content_owner_and_epoch(store: Store, database: Database, change: str) -> None:
    [number] = recommend(store)
    connection = database.connect()
    set_status(connection, number, S.PROCESSING)
    with pytest.raises(StoreRefusedError):
        connection.changed(f"UPDATE dispatch_recommendations SET {change}")
    connection.close()


def test_an_ended_row_does_not_change_at_all(store: Store, database: Database) -> None:
    [number] = recommend(store)
    connection = database.connect()
    set_status(connection, number, S.SKIPPED)
    with pytest.raises(StoreRefusedError):
        connection.changed("UPDATE dispatch_recommendations SET failure_reason = 'another'")
    connection.close()


@pytest.mark.parametrize("text", ["DELETE FROM dispatch_recommendations", "TRUNCATE dispatch_recommendations CASCADE"])
def test_recommendations_are_not_deleted(store: Store, text: str) -> None:
    if "TRUNCATE" in text and store.database.dialect.name == "sqlite":
        text = "DELETE FROM dispatch_recommendations WHERE 1"
    recommend(store)
    with pytest.raises(StoreRefusedError):
        store.query(text)


def test_plain_sql_needs_a_key_and_repeats_none(store: Store) -> None:
    insert = "INSERT INTO dispatch_recommendations (ticker, action, confidence, idempotency_key) VALUES (?, ?, ?, ?)"
    with pytest.raises(StoreRefusedError):
        store.query(insert.replace(", idempotency_key", "").replace(", ?)", ")"), "A", "BUY_CALL", 0.9)
    store.query(insert, "A", "BUY_CALL", 0.9, "key")
    with pytest.raises(StoreRefusedError):
        store.query(insert, "A", "BUY_CALL", 0.9, "key")
    [number] = store.recommend_all([new("key", ticker="A", reason={})])
    assert store.query("SELECT id, status, epoch, attempts FROM dispatch_recommendations") == [
        (number, "PENDING", 0, 0)
    ]
