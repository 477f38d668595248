"""Store: what it accepts, what is the same on both databases, and what it refuses."""

from __future__ import annotations

import datetime as dt
import math
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from headrace.errors import RecommendationError, StoreRefusedError
from headrace.execution import Store
from headrace.execution.values import day_start_ms, ms_of
from tests.support.databases import emptied
from tests.support.executing import market, new, recommend, run, statuses

GIVEN: dict[str, Any] = {
    "ticker": "AAPL",
    "action": "BUY_CALL",
    "confidence": 0.9,
    "reason": {"rule": "x"},
    "idempotency_key": "key",
}


def test_a_key_given_again_returns_the_same_id(store: Store) -> None:
    assert store.recommend(**GIVEN) == store.recommend(**GIVEN)
    assert statuses(store) == {"PENDING": 1}


@pytest.mark.parametrize("change", [{"ticker": "B"}, {"confidence": 0.8}, {"reason": {}}, {"action": "BUY_PUT"}])
def test_a_key_given_again_with_other_content_is_an_error(store: Store, change: dict[str, Any]) -> None:
    store.recommend(**GIVEN)
    with pytest.raises(RecommendationError, match="use a new key"):
        store.recommend(**{**GIVEN, **change})


def test_the_same_key_from_many_threads_is_one_row(url: str) -> None:
    def one(_: int) -> int:
        with Store(url) as store:
            return store.recommend(**GIVEN)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(one, range(8)))) == 1


WRONG: dict[str, tuple[Any, ...]] = {
    "confidence": (1.01, -0.1, math.nan, math.inf, True, "0.9"),
    "ticker": ("", "x" * 65, None, "a\0b"),
    "reason": ([], "text", "[1]", {"a": math.nan}, {"a": object()}, {"a": "\0"}),
    "idempotency_key": ("", None),
    "not_before": (1.5, 0, dt.datetime(2026, 1, 1), True),  # noqa: DTZ001
    "priority": (1.5,),
}


@pytest.mark.parametrize("change", [{name: value} for name, values in WRONG.items() for value in values])
def test_a_value_that_cannot_be_stored_names_its_field(store: Store, change: dict[str, Any]) -> None:
    with pytest.raises(RecommendationError) as raised:
        store.recommend(**{**GIVEN, **change})
    assert raised.value.field == next(iter(change))
    assert statuses(store) == {}


def test_amounts_keep_all_their_digits(store: Store) -> None:
    amounts: dict[str, Any] = {
        "open": 0.1,
        "high": "9999999999.123456789",
        "low": Decimal("1E-9"),
        "close": 7,
        "volume": "1.500",
    }
    store.telemetry(ticker="A", ts=time.time_ns(), **amounts)
    [found] = store.query("SELECT open, high, low, close, volume FROM lane_telemetry")
    assert [format(Decimal(str(value)), "f") for value in found] == [
        "0.1",
        "9999999999.123456789",
        "0.000000001",
        "7",
        "1.5",
    ]


def test_a_bar_given_again_replaces_the_first(store: Store) -> None:
    ts = time.time_ns()
    for close in (1, 2):
        store.telemetry(ticker="A", ts=ts, open=1, high=2, low=1, close=close, volume=0)
    assert [str(value) for (value,) in store.query("SELECT close FROM lane_telemetry")] == ["2"]


@pytest.mark.parametrize("change", [{"open": 0}, {"close": -1}, {"volume": -1}, {"high": math.nan}, {"low": None}])
def test_a_bar_that_cannot_be_is_refused(store: Store, change: dict[str, Any]) -> None:
    given = {"open": 1, "high": 1, "low": 1, "close": 1, "volume": 1, **change}
    with pytest.raises(RecommendationError):
        store.telemetry(ticker="A", ts=time.time_ns(), **given)
    with pytest.raises(RecommendationError):
        store.features(ticker="A", ts=time.time_ns(), trend=2)


@pytest.mark.parametrize(
    "prices", [(1, 2, 3, 1), (10, 9, 1, 9), (2, 3, 1, 10), (1, 9, 2, 3), (9, 10, 8, 7), (2, 1, 1, 1)]
)
def test_a_bar_that_cannot_be_is_refused_in_plain_sql(store: Store, prices: tuple[int, ...]) -> None:
    values = ", ".join(f"'{price}'" for price in prices)
    text = f"INSERT INTO lane_telemetry (ticker, ts, open, high, low, close, volume) VALUES ('A', {{}}, {values}, '1')"
    now = "1768316400000" if store.database.dialect.name == "sqlite" else "now()"
    with pytest.raises(StoreRefusedError):
        store.query(text.format(now))
    assert store.query("SELECT COUNT(*) FROM lane_telemetry") == [(0,)]


def test_a_writer_that_a_deadlock_ends_begins_again(migrated_postgres: str) -> None:
    insert = "INSERT INTO dispatch_recommendations (ticker, action, confidence, reason, idempotency_key) VALUES "
    row = "('AAPL', 'BUY_CALL', 0.9, '{{\"rule\": \"test\"}}', '{}')"
    with Store(migrated_postgres) as store, psycopg.connect(migrated_postgres) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SET deadlock_timeout = '1min'")
        other.execute(insert + row.format("b"))
        stored = pool.submit(store.recommend_all, [new("a"), new("b")])
        # The store has "a" and waits for "b"; now the other one waits for "a", and the store's wait is found first.
        waits = (
            "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%dispatch_recom%%'"
        )
        with psycopg.connect(migrated_postgres, autocommit=True) as looking:
            while looking.execute(waits).fetchone() == (0,):
                time.sleep(0.01)
        other.execute(insert + row.format("a"))
        other.commit()
        assert len(stored.result(timeout=30)) == 2
        assert statuses(store) == {"PENDING": 2}
    emptied(migrated_postgres)


def test_times_are_rounded_down_to_milliseconds() -> None:
    ns = 1_768_316_400_123_999_999
    assert ms_of("ts", ns) == 1_768_316_400_123
    assert ms_of("ts", dt.datetime.fromtimestamp(1_768_316_400, dt.UTC)) == 1_768_316_400_000


def test_today_is_the_utc_day_wherever_the_worker_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    market(store)
    for number, zone in enumerate(("Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC")):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        recommend(store, prefix=zone)
        gates = run(store).counts
        assert gates.simulated == 1, number
    monkeypatch.delenv("TZ")
    time.tzset()
    [[today]] = store.query("SELECT total FROM executions_today")
    assert today == 3
    assert day_start_ms(1_768_316_400_123) == 1_768_262_400_000


def test_query_takes_either_placeholder(store: Store) -> None:
    recommend(store, 2)
    for place in ("?", "%s"):
        text = f"SELECT idempotency_key, '?%s' FROM dispatch_recommendations WHERE idempotency_key = {place}"
        assert store.query(text, "key-1") == [("key-1", "?%s")]


def test_a_wrong_row_of_many_stores_none_of_its_transaction(store: Store) -> None:
    store.recommend(**GIVEN)
    with pytest.raises(RecommendationError):
        store.recommend_all([new("a"), new("key", ticker="B"), new("b")])
    assert statuses(store) == {"PENDING": 1}


def test_a_batch_returns_the_ids_in_its_order(store: Store) -> None:
    first = recommend(store, 3)
    given = [new("z"), new("key-1"), new("a"), new("z"), new("key-0")]
    again = store.recommend_all(given)
    assert again == [again[0], first[1], again[2], again[0], first[0]]
    assert first[-1] < again[0] < again[2]
    assert statuses(store) == {"PENDING": 5}


def test_a_key_twice_in_a_batch_with_other_content_stores_nothing(store: Store) -> None:
    with pytest.raises(RecommendationError, match="'a' belongs to"):
        store.recommend_all([new("a"), new("b"), new("a", ticker="B")])
    assert statuses(store) == {}


def test_what_the_database_refuses_of_a_batch_is_named(store: Store) -> None:
    # Past the checks, as a field of another release might be.
    wrong = new("wrong")._replace(requeue_of=77)
    with pytest.raises(StoreRefusedError, match="idempotency_key 'wrong': the database refuses it"):
        store.recommend_all([new("a"), wrong, new("b")])
    assert statuses(store) == {}
    assert store.recommend(**GIVEN)


def test_two_writers_of_the_same_batches_store_each_once(url: str) -> None:
    batches = [[new(f"key-{number}") for number in range(start, start + 50)] for start in range(0, 200, 50)]

    def writer(_: int) -> list[int]:
        with Store(url) as store:
            return [number for batch in batches for number in store.recommend_all(batch)]

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(writer, range(4))
    assert others == [first] * 3
    assert len(set(first)) == 200
