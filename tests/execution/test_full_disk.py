"""A disk that is full ends no recommendation: it waits until there is space."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import pytest

from headrace.errors import StoreUnavailableError
from headrace.execution import Runner, Store
from headrace.execution.database import Connection, Database
from tests.support.executing import market, new, recommend, settings, statuses

ROWS = 40


class Small:
    """A file of SQLite whose size has a bound, for connections that are opened while there is one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.url = database.url
        self.dialect = database.dialect
        self._pages_max: int | None = None

    def fill(self, pages: int) -> None:
        """Leave so many pages."""
        connection = self._database.connect()
        [[now]] = connection.rows("PRAGMA page_count")
        connection.close()
        self._pages_max = now + pages

    def free(self) -> None:
        """Leave as many as the disk has."""
        self._pages_max = None

    def connect(self) -> Connection:
        connection = self._database.connect()
        if self._pages_max is not None:
            connection.rows(f"PRAGMA max_page_count={self._pages_max}")
        return connection


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("pages", [0, 1, 2, 4, 8, 12])
def test_a_full_disk_fails_no_row(
    store: Store, pages: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("headrace.execution.runner.STORE_RETRIES", 2)
    market(store)
    recommend(store, ROWS)
    disk = Small(store.database)
    own = settings(max_signals_per_run=ROWS, processing_ttl_minutes=Decimal("0.001"))
    with Runner(disk, lambda: own) as runner:
        disk.fill(pages)
        # Where not even the claim has space, the run ends with nothing claimed.
        with suppress(StoreUnavailableError):
            assert runner.run().counts.pulled == 0
        assert "full: free some space" in caplog.text
        assert set(statuses(store)) <= {"PENDING", "PROCESSING", "SIMULATED"}
        disk.free()
        runner.close()
        while statuses(store) != {"SIMULATED": ROWS}:
            runner.run()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_full_disk_stores_nothing_of_a_batch_and_says_so(store: Store) -> None:
    disk = Small(store.database)
    disk.fill(2)
    store.close()
    store.database = disk
    batch = [new(f"key-{number}") for number in range(500)]
    with pytest.raises(StoreUnavailableError, match="full: free some space"):
        store.recommend_all(batch)
    disk.free()
    store.close()
    assert statuses(store) == {}
    assert len(store.recommend_all(batch)) == 500
