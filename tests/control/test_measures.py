"""The measures of alerts: what each makes of the state documents of some seconds, by subject."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.control.alerts.measures import MEASURES, Memory, Reading, Values, measured
from headrace.telemetry import Sample

SECOND = 1_000_000_000
START = 1_767_571_200 * SECOND


def values_of(
    name: str, sections: list[dict[str, Any]], *, window_s: float = 60.0, step_s: float = 1.0
) -> list[Values]:
    """Return what a measure says of one document after the other, a second between two."""
    memory = Memory(window_s)
    found = []
    for number, document in enumerate(sections):
        found.append(measured(name, Reading(START + number * SECOND, document, list), memory))
    return found


def rows(section: str, key: str, field: str, *values: Any) -> list[dict[str, Any]]:
    """Documents in which one field of one row goes through some values."""
    return [{section: {key: {field: value}}} for value in values]


def stream(*states: str) -> list[dict[str, Any]]:
    return [{"streams": {"BINANCE x": {"venue": "BINANCE", "state": state}}} for state in states]


def equity(*values: str | None) -> list[dict[str, Any]]:
    return [{"accounts": {"paper/USDT": {"equity": value}}} for value in values]


def lane(*dropped: int) -> list[dict[str, Any]]:
    return [{"lanes": {"data": {"dropped": own, "refused": 1, "dead": 2}}} for own in dropped]


# A measure, some documents, and what it says of the subject in each; None: its input is missing.
CASES: list[tuple[str, list[dict[str, Any]], str, list[float | None]]] = [
    ("halt", [{"engine": {"halted": own}} for own in (False, True)], "engine", [0, 1]),
    ("quarantine", rows("strategies", "a", "state", "running", "quarantined", "paused", "failed"), "a", [0, 1, 0, 1]),
    ("lag", rows("strategies", "a", "lag_s", 0.0, 2.5, None), "a", [0, 2.5, None]),
    ("pending", rows("strategies", "a", "pending", 3, str(1 << 60)), "a", [3, float(1 << 60)]),
    ("drops", rows("strategies", "a", "missed", 5, 5, 12, None), "a", [0, 0, 7, None]),
    ("lane_drops", lane(0, 4), "data", [0, 4]),
    ("faults", rows("strategies", "a", "faults", 0, 3), "a", [0, 3]),
    ("refused_orders", rows("strategies", "a", "orders", {"rejected": 1}, {"rejected": 4}), "a", [0, 3]),
    ("dead_letters", [{"engine": {"dead_letters": own}} for own in (2, 5)], "engine", [0, 3]),
    ("gaps", [{"engine": {"gaps": own}} for own in (2, 3)], "engine", [0, 1]),
    ("rejected_frames", [{"engine": {"rejected_frames": own}} for own in (0, 9)], "engine", [0, 9]),
    ("stale_feed", stream("UP", "STALE", "DOWN", "UP", "SILENT", "SILENT"), "BINANCE x", [0, 0, 1, 0, 0, 1]),
    ("feed_failed", rows("feeds", "f", "state", "running", "failed"), "f", [0, 1]),
    ("equity", equity("100.5", "99"), "paper/USDT", [100.5, 99]),
    ("drawdown", equity("100", "104", "101", None, "99"), "paper/USDT", [0, 0, 3, None, 5]),
    ("service", rows("services", "http", "health", "ok", "ended"), "http", [0, 1]),
    ("backlog", rows("worker", "worker", "backlog", 4), "worker", [4]),
    ("backlog_age", rows("worker", "worker", "backlog_age_s", 130.0, None), "worker", [130, None]),
    ("last_run", rows("worker", "worker", "last_run_s", 61.0), "worker", [61]),
    ("bar_age", rows("tickers", "AAPL", "bar_age_s", 121.0), "AAPL", [121]),
    ("feature_age", rows("tickers", "AAPL", "feature_age_s", None), "AAPL", [None]),
]


@pytest.mark.parametrize(("name", "documents", "subject", "expected"), CASES, ids=[own[0] for own in CASES])
def test_a_measure_says_what_is(
    name: str, documents: list[dict[str, Any]], subject: str, expected: list[float | None]
) -> None:
    assert [own[subject] for own in values_of(name, documents)] == expected
    # Of a document without its section it knows nothing, and fails not.
    assert [value for value in values_of(name, [{}])[0].values() if value is not None] == []


def test_each_measure_has_a_case() -> None:
    assert {own[0] for own in CASES} | {"quote_age"} == set(MEASURES)


def test_the_age_of_a_quote_is_by_the_engines_clock() -> None:
    quoted = {"instruments": {"BTC": {"quote_ns": str(START)}, "ETH": {}}}
    documents = [{**quoted, "clock": {"engine_ns": str(START + own * SECOND)}} for own in (0, 7)]
    assert values_of("quote_age", documents) == [{"BTC": 0.0}, {"BTC": 7.0}]


def test_a_feed_without_streams_is_as_stale_as_its_last_frame() -> None:
    feed = {"venue": "OTHER", "state": "running", "frame_ns": str(START)}
    ended = {**feed, "state": "ended"}
    documents = [{"feeds": {"own": feed, "over": ended}}] * 3
    assert values_of("stale_feed", documents) == [{"own": 0.0}, {"own": 1.0}, {"own": 2.0}]


def test_a_drawdown_is_of_each_strategy_and_currency_by_itself() -> None:
    def document(own: str) -> dict[str, Any]:
        return {
            "accounts": {"paper/USDT": {"equity": "10"}},
            "strategies": {"a": {"accounts": {"paper/USDT": {"equity": own}, "paper/BTC": {"equity": "1"}}}},
        }

    assert values_of("drawdown", [document("5"), document("3")])[1] == {
        "paper/USDT": 0.0,
        "a/paper/USDT": 2.0,
        "a/paper/BTC": 0.0,
    }


def test_a_counter_counts_within_its_window_and_from_a_restart_on() -> None:
    counts = [0, 10, 10, 10, 10, 10, 12, 2, 3]
    documents = rows("strategies", "a", "missed", *counts)
    found = [own["a"] for own in values_of("drops", documents, window_s=3.0)]
    # Ten within three seconds; then none; then a process that began anew has what it counted itself.
    assert found == [0, 10, 10, 10, 0, 0, 2, 2, 3]


def test_a_metric_is_a_measure_too() -> None:
    memory, found = Memory(60.0), []
    for number, count in enumerate((1.0, 5.0)):
        samples = [Sample("headrace_frames_total", ("trade",), count), Sample("headrace_halted", (), 1.0)]
        reading = Reading(START + number * SECOND, {}, samples.copy)
        found.append(measured("headrace_frames_total", reading, memory))
        assert measured("headrace_halted", reading, memory) == {"all": 1.0}
    assert found == [{"trade": 0.0}, {"trade": 4.0}]
