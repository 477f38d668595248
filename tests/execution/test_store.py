"""Store: what it accepts, what is the same on both databases, and what it refuses."""

from __future__ import annotations

import datetime as dt
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import OptionError, RecommendationError
from headrace.execution import Store
from headrace.execution.loading import load_csv
from headrace.execution.values import day_start_ms, ms_of
from tests.support.executing import market, new, recommend, row, run, statuses

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
        "open": "9999999999.123456789",
        "high": 0.1,
        "low": Decimal("1E-9"),
        "close": 7,
        "volume": "1.500",
    }
    store.telemetry(ticker="A", ts=time.time_ns(), **amounts)
    [found] = store.query("SELECT open, high, low, close, volume FROM lane_telemetry")
    assert [format(Decimal(str(value)), "f") for value in found] == [
        "9999999999.123456789",
        "0.1",
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


def test_csv_loads_and_loads_again(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "bars.csv"
    file.write_text(
        "ticker,ts,open,high,low,close,volume\n"
        + "".join(f"A,2026-01-13T15:{n // 60:02}:{n % 60:02}Z,1,2,1,1.5,10\n" for n in range(1_200))
    )
    seen: list[int] = []
    for _ in range(2):
        assert load_csv(store, "lane_telemetry", file, lambda done, _total, _text: seen.append(done)) == 1_200
    assert store.query("SELECT COUNT(*) FROM lane_telemetry") == [(1_200,)]
    assert len(seen) == 4


def test_csv_of_recommendations_keeps_what_is_there(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text('ticker,action,confidence,idempotency_key,reason,priority\nA,BUY_CALL,0.9,k,"{""rule"":""x""}",3\n')
    for _ in range(2):
        assert load_csv(store, "dispatch_recommendations", file, lambda *_: None) == 1
    assert row(store, 1, "ticker", "priority", "status") == ("A", 3, "PENDING")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ticker,ts,open,high,low,close,volume\nA,2026-01-13T15:30:00Z,1,2,1,x,1\n", "line 2: close"),
        ("ticker,ts,open,high,low,close,volume\nA,2026-01-13T15:30:00,1,2,1,1,1\n", "line 2: ts"),
        ("ticker,ts,open,high,low,close,volume\nA,1768316400,1,2,1,1,1\n", "line 2: ts is 1768316400"),
        ("ticker,ts,open,high,low,clsoe,volume\nA,2026-01-13T15:30:00Z,1,2,1,1,1\n", "did you mean close"),
        ("ticker,ts\nA\n", "other columns"),
        ('ticker,ts\n"A', "is no CSV"),
    ],
)
def test_a_wrong_line_of_csv_is_named(store: Store, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "wrong.csv"
    file.write_text(text)
    with pytest.raises(RecommendationError, match=said):
        load_csv(store, "lane_telemetry", file, lambda *_: None)


def test_an_unknown_table_is_an_error_with_the_nearest(store: Store) -> None:
    with pytest.raises(OptionError, match="did you mean lane_features"):
        load_csv(store, "lane_feature", Path(os.devnull), lambda *_: None)
