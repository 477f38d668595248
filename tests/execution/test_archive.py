"""Archives: each old row is in a file, the ledger's keys stay unique, and only what is on the disk is removed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from headrace.errors import OptionError, StoreRefusedError
from headrace.execution import Store
from headrace.execution import archive as archiving
from headrace.execution.archive import SOURCES, Archived, archive
from headrace.execution.database import Connection
from headrace.execution.loadable import BARS
from headrace.execution.schema.tables import columns_of
from headrace.limits import ARCHIVE_BATCH
from tests.support.command import Run
from tests.support.executing import market, new, recommend, run, statuses

HOUR_MS = 3_600_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of this moment may be archived; a test of the command uses old ones."""
    monkeypatch.setattr(archiving, "ARCHIVE_AGE_S", -3_600.0)


def archived(store: Store, folder: Path, before_ms: int | None = None) -> dict[str, Archived]:
    # The clocks of test and database may differ by some ms.
    before = now_ms() + 1_000 if before_ms is None else before_ms
    return {own.table: own for own in store.read(lambda connection: archive(connection, folder, before))}


def rows_of(folder: Path, table: str) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob(f"{table}-*.parquet")) for row in parquet.read_table(path).to_pylist()]


def filled(store: Store) -> None:
    market(store, "AAPL", "MSFT")
    recommend(store, 3)
    recommend(store, confidence=0.1, prefix="low")
    run(store)
    store.query(
        "INSERT INTO inbound_events_raw (event_id, source, title) VALUES ('e', 's', 't'), ('new', 's', 'unclassified')"
    )
    store.query(
        "INSERT INTO inbound_events_classified (event_id, tickers_json, sentiment, score, classifier)"
        " VALUES ('e', '{}', 'neutral', 0.5, 'lexicon')"
    )


def test_ledger_is_copied_and_stays_and_the_rest_is_moved(store: Store, tmp_path: Path) -> None:
    filled(store)
    ledger = store.query("SELECT recommendation_id, idempotency_key, notional FROM dispatch_executions ORDER BY 1")
    done = archived(store, tmp_path)
    assert {table: (own.rows, own.removed) for table, own in done.items() if own.rows} == {
        "dispatch_executions": (3, 0),
        "dispatch_recommendations": (4, 0),
        "dispatcher_runs": (1, 0),
        "lane_features": (2, 2),
        "lane_telemetry": (2, 2),
        "inbound_events_classified": (1, 1),
        "inbound_events_raw": (2, 2),
    }
    assert (
        store.query("SELECT recommendation_id, idempotency_key, notional FROM dispatch_executions ORDER BY 1") == ledger
    )
    copies = rows_of(tmp_path, "dispatch_executions")
    assert [(own["recommendation_id"], own["idempotency_key"], own["notional"]) for own in copies] == [
        (number, key, str(notional)) for number, key, notional in ledger
    ]
    assert json.loads(copies[0]["explain_json"])["confidence"] == 0.9
    bar = rows_of(tmp_path, "lane_telemetry")[0]
    assert (bar["ticker"], bar["close"], bar["ts"].tzname()) == ("AAPL", "100.5", "UTC")
    for table in ("lane_telemetry", "lane_features", "inbound_events_raw", "inbound_events_classified"):
        assert store.query(f"SELECT COUNT(*) FROM {table}") == [(0,)]


def test_keys_of_archived_executions_stay_unique(store: Store, tmp_path: Path) -> None:
    filled(store)
    archived(store, tmp_path)
    before = statuses(store)
    assert store.recommend_all([new("key-0")]) == [1]
    with pytest.raises(StoreRefusedError):
        store.query("DELETE FROM dispatch_executions")
    market(store)
    run(store)
    assert statuses(store) == before
    assert store.query("SELECT COUNT(*) FROM dispatch_executions") == [(3,)]


def test_each_row_of_the_ledger_is_copied_once(store: Store, tmp_path: Path) -> None:
    filled(store)
    first = now_ms() + 500
    archived(store, tmp_path, first)
    time.sleep(0.6)
    market(store)
    [later] = recommend(store, prefix="later")
    run(store)
    archived(store, tmp_path, now_ms() + 1_000)
    ids = [row["recommendation_id"] for row in rows_of(tmp_path, "dispatch_executions")]
    assert ids == [1, 2, 3, later]


def test_more_rows_than_a_page_are_all_copied_in_short_transactions(store: Store, tmp_path: Path) -> None:
    start, count = time.time_ns(), 2 * ARCHIVE_BATCH + 7
    prices = {"open": 1, "high": 2, "low": 1, "close": "1.5", "volume": 3}
    rows = [BARS.checked({"ticker": f"T{n % 3}", "ts": start - n * 10**9, **prices}) for n in range(count)]
    store.write_rows(BARS, rows)
    done = archived(store, tmp_path)["lane_telemetry"]
    assert (done.rows, done.removed) == (count, count)
    keys = {(row["ticker"], row["ts"]) for row in rows_of(tmp_path, "lane_telemetry")}
    assert len(keys) == count


class Changing:
    """A connection on which a row changes between its copy and its removal."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._transactions = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def begin(self) -> None:
        # The first one removes features, which come before bars.
        self._transactions += 1
        if self._transactions == 2:
            self._connection.changed("UPDATE lane_telemetry SET low = '99', close = '99' WHERE ticker = 'MSFT'")
        self._connection.begin()


def test_a_row_that_changed_since_its_copy_stays(store: Store, tmp_path: Path) -> None:
    market(store, "AAPL", "MSFT")
    done = store.read(lambda own: archive(Changing(own), tmp_path, now_ms() + 1_000))
    [bars] = [own for own in done if own.table == "lane_telemetry"]
    assert (bars.rows, bars.removed) == (2, 1)
    assert [str(own[1]) for own in store.query("SELECT ticker, close FROM lane_telemetry")] == ["99"]
    assert archived(store, tmp_path)["lane_telemetry"].removed == 1
    assert sorted(row["close"] for row in rows_of(tmp_path, "lane_telemetry")) == ["100.5", "100.5", "99"]


def test_an_archive_that_was_cut_off_loses_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    market(store, "AAPL", "MSFT")
    before = now_ms() + 1_000
    with monkeypatch.context() as cut:
        cut.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("no space left")))
        with pytest.raises(OptionError, match="no space left"):
            archived(store, tmp_path, before)
    assert store.query("SELECT COUNT(*) FROM lane_telemetry") == [(2,)]
    assert list(tmp_path.glob("*.parquet")) == []
    with monkeypatch.context() as cut:
        cut.setattr(archiving, "_removed", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            archived(store, tmp_path, before)
    # The same command again removes what is in the file, and copies nothing twice.
    assert archived(store, tmp_path, before)["lane_telemetry"].removed == 2
    assert len(rows_of(tmp_path, "lane_telemetry")) == 2


def test_every_table_of_the_schema_is_archived_but_the_watchlist(store: Store) -> None:
    names = (
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        if store.database.dialect.name == "sqlite"
        else "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    )
    tables = {name for (name,) in store.query(names)} - {"headrace_migrations", "watchlist_state"}
    assert tables == set(SOURCES)
    for table in tables:
        [found] = [store.query(f"SELECT * FROM {table}")]
        assert found == []
        assert store.query(f"SELECT {', '.join(columns_of(table))} FROM {table}") == []


@pytest.mark.timeout(120)
def test_what_is_younger_than_an_hour_is_not_archived(headrace_run: Run, store: Store, tmp_path: Path) -> None:
    market(store, age_s=7_200)
    market(store, "MSFT")
    url = store.database.url
    early = headrace_run("db", "archive", "old", "--before", "1m", "--db", url)
    assert early.returncode == 2
    assert "at least an hour ago" in early.stderr
    ended = headrace_run("db", "archive", "old", "--before", "90m", "--db", url, "--json")
    assert ended.returncode == 0, ended.stderr
    found = {own["table"]: (own["rows"], own["removed"]) for own in json.loads(ended.stdout) if own["rows"]}
    assert found == {"lane_features": (1, 1), "lane_telemetry": (1, 1)}
    assert [row["ticker"] for row in rows_of(tmp_path / "old", "lane_telemetry")] == ["AAPL"]
    assert store.query("SELECT ticker FROM lane_telemetry") == [("MSFT",)]
