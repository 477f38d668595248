"""Both stores of snapshots: versions from 1, one winner among writers, and typed errors."""

from __future__ import annotations

import threading

import pytest

from headrace.errors import SnapshotConflictError, SnapshotNotFoundError, SnapshotUnavailableError
from headrace.gateway import MemorySnapshots, SqliteSnapshots
from headrace.gateway.snapshots import update


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    made = MemorySnapshots() if request.param == "memory" else SqliteSnapshots(tmp_path / "snapshots.db")
    yield made
    made.close()
    made.close()


def test_versions_begin_at_one_and_grow_by_one(store):
    assert store.put("a", b"1", 10).version == 1
    assert store.put("a", b"2", 11).version == 2
    assert store.compare_and_swap("a", 2, b"3", 12).version == 3
    found = store.get("a")
    assert (found.version, found.ts, found.data, found.stale) == (3, 12, b"3", False)


def test_what_is_not_there_is_an_error(store):
    with pytest.raises(SnapshotNotFoundError) as raised:
        store.get("a")
    assert raised.value.key == "a"


@pytest.mark.parametrize("version", [0, 1, 3])
def test_a_swap_of_another_version_changes_nothing(store, version):
    store.put("a", b"1", 10)
    store.put("a", b"2", 11)
    with pytest.raises(SnapshotConflictError) as raised:
        store.compare_and_swap("a", version, b"3", 12)
    assert (raised.value.expected, raised.value.found) == (version, 2)
    assert store.get("a").data == b"2"


def test_a_swap_of_a_missing_key_expects_nothing(store):
    with pytest.raises(SnapshotConflictError):
        store.compare_and_swap("a", 1, b"1", 10)
    assert store.compare_and_swap("a", 0, b"1", 10).version == 1


def test_racing_writers_lose_no_change(store):
    def add(current):
        return str(int(current.data if current else b"0") + 1).encode()

    def work():
        for _ in range(25):
            update(store, "a", add, 1, attempts=1_000)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.get("a")
    assert (found.data, found.version) == (b"100", 100)


def test_a_change_gives_up_after_its_attempts(store):
    store.put("a", b"0", 1)

    def beaten(_current):
        store.put("a", b"other", 1)
        return b"mine"

    with pytest.raises(SnapshotConflictError):
        update(store, "a", beaten, 1, attempts=3)


def test_the_sweeper_marks_and_then_removes(store):
    store.put("old", b"", 0)
    store.put("new", b"", 90)
    assert store.sweep(now=100, ttl_ns=60) == 1
    assert (store.get("old").stale, store.get("new").stale) == (True, False)
    assert store.sweep(now=130, ttl_ns=60) == 1
    with pytest.raises(SnapshotNotFoundError):
        store.get("old")
    store.put("new", b"", 130)
    assert not store.get("new").stale


def test_a_file_that_cannot_be_used_is_an_error(tmp_path):
    with pytest.raises(SnapshotUnavailableError):
        SqliteSnapshots(tmp_path / "missing" / "snapshots.db")
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database" * 100)
    with pytest.raises(SnapshotUnavailableError):
        SqliteSnapshots(broken)


def test_a_closed_store_is_unavailable(tmp_path):
    store = SqliteSnapshots(tmp_path / "snapshots.db")
    store.close()
    with pytest.raises(SnapshotUnavailableError):
        store.get("a")
