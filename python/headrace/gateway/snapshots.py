"""SnapshotStore: the newest snapshot of each instrument, with versions, so that two writers never lose a change.

::

    put(key, data) ─▶ version 1, 2, …        compare_and_swap(key, 2, data) ─▶ 3, or SnapshotConflictError
    sweeper: older than its time to live ─▶ stale ─▶ removed after twice that

Guarantees: versions of a key grow by one, from 1; a read waits for no writer; both stores behave alike.
Does not: interpret what it stores.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from headrace.errors import SnapshotConflictError, SnapshotNotFoundError, SnapshotUnavailableError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ["MemorySnapshots", "Snapshot", "SnapshotStore", "SqliteSnapshots", "update"]

BUSY_S = 5.0


class Snapshot(msgspec.Struct, frozen=True):
    """One stored snapshot. version : from 1. ts : when it was stored, ns. stale : older than its time to live."""

    key: str
    version: int
    ts: int
    data: bytes
    stale: bool = False


class SnapshotStore(Protocol):
    """Where snapshots are kept."""

    def get(self, key: str) -> Snapshot:
        """Return the newest one. Raises SnapshotNotFoundError, SnapshotUnavailableError."""

    def put(self, key: str, data: bytes, ts: int) -> Snapshot:
        """Store one, whatever is there. Raises SnapshotUnavailableError."""

    def compare_and_swap(self, key: str, version: int, data: bytes, ts: int) -> Snapshot:
        """Store one if the version is still this one; 0: none is there.

        Raises SnapshotConflictError, SnapshotUnavailableError.
        """

    def sweep(self, now: int, ttl_ns: int) -> int:
        """Mark what is older than ``ttl_ns`` as stale, remove what is twice as old, and return how many changed."""

    def close(self) -> None:
        """Close; may be called twice."""


def update(
    store: SnapshotStore, key: str, change: Callable[[Snapshot | None], bytes], ts: int, *, attempts: int = 10
) -> tuple[Snapshot, int]:
    """Change what is stored, again when another writer was faster; return the result and the number of retries.

    Raises SnapshotConflictError after so many attempts.
    """
    for attempt in range(attempts):
        try:
            current = store.get(key)
        except SnapshotNotFoundError:
            current = None
        try:
            return store.compare_and_swap(key, current.version if current else 0, change(current), ts), attempt
        except SnapshotConflictError:
            if attempt == attempts - 1:
                raise
    raise AssertionError("attempts is 1 or more")


class MemorySnapshots:
    """A store in this process. A snapshot is replaced as a whole, so that a read needs no lock."""

    def __init__(self) -> None:
        self._kept: dict[str, Snapshot] = {}
        self._writing = threading.Lock()

    def get(self, key: str) -> Snapshot:
        """Return the newest one. Raises SnapshotNotFoundError."""
        found = self._kept.get(key)
        if found is None:
            raise _not_found(key)
        return found

    def put(self, key: str, data: bytes, ts: int) -> Snapshot:
        """Store one, whatever is there."""
        with self._writing:
            return self._store(key, data, ts)

    def compare_and_swap(self, key: str, version: int, data: bytes, ts: int) -> Snapshot:
        """Store one if the version is still this one. Raises SnapshotConflictError."""
        with self._writing:
            current = self._kept.get(key)
            if (current.version if current else 0) != version:
                raise _conflict(key, version, current.version if current else 0)
            return self._store(key, data, ts)

    def sweep(self, now: int, ttl_ns: int) -> int:
        """Mark what is older than ``ttl_ns`` as stale, remove what is twice as old, and return how many changed."""
        changed = 0
        with self._writing:
            for key, own in list(self._kept.items()):
                if now - own.ts > 2 * ttl_ns:
                    del self._kept[key]
                elif now - own.ts > ttl_ns and not own.stale:
                    self._kept[key] = msgspec.structs.replace(own, stale=True)
                else:
                    continue
                changed += 1
        return changed

    def close(self) -> None:
        """Do nothing: memory needs no closing."""

    def _store(self, key: str, data: bytes, ts: int) -> Snapshot:
        current = self._kept.get(key)
        stored = Snapshot(key, current.version + 1 if current else 1, ts, data)
        self._kept[key] = stored
        return stored


class SqliteSnapshots:
    """A store in a SQLite file, which other processes may share.

    path : of the file; it is made when missing. Raises SnapshotUnavailableError.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = str(path)
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._is_closed = False
        self._execute(
            "CREATE TABLE IF NOT EXISTS snapshots (key TEXT PRIMARY KEY, version INTEGER NOT NULL,"
            " ts INTEGER NOT NULL, data BLOB NOT NULL, stale INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID"
        )

    def get(self, key: str) -> Snapshot:
        """Return the newest one. Raises SnapshotNotFoundError, SnapshotUnavailableError."""
        rows = self._execute("SELECT version, ts, data, stale FROM snapshots WHERE key = ?", key)
        if not rows:
            raise _not_found(key)
        version, ts, data, stale = rows[0]
        return Snapshot(key, version, ts, data, bool(stale))

    def put(self, key: str, data: bytes, ts: int) -> Snapshot:
        """Store one, whatever is there. Raises SnapshotUnavailableError."""
        rows = self._execute(
            "INSERT INTO snapshots (key, version, ts, data) VALUES (?, 1, ?, ?) ON CONFLICT (key) DO UPDATE SET"
            " version = version + 1, ts = excluded.ts, data = excluded.data, stale = 0 RETURNING version",
            key,
            ts,
            data,
        )
        return Snapshot(key, rows[0][0], ts, data)

    def compare_and_swap(self, key: str, version: int, data: bytes, ts: int) -> Snapshot:
        """Store one if the version is still this one. Raises SnapshotConflictError, SnapshotUnavailableError."""
        if version:
            rows = self._execute(
                "UPDATE snapshots SET version = version + 1, ts = ?, data = ?, stale = 0"
                " WHERE key = ? AND version = ? RETURNING version",
                ts,
                data,
                key,
                version,
            )
        else:
            rows = self._execute(
                "INSERT INTO snapshots (key, version, ts, data) VALUES (?, 1, ?, ?) ON CONFLICT DO NOTHING"
                " RETURNING version",
                key,
                ts,
                data,
            )
        if not rows:
            current = self._execute("SELECT version FROM snapshots WHERE key = ?", key)
            raise _conflict(key, version, current[0][0] if current else 0)
        return Snapshot(key, rows[0][0], ts, data)

    def sweep(self, now: int, ttl_ns: int) -> int:
        """Mark what is older than ``ttl_ns`` as stale, remove what is twice as old, and return how many changed."""
        gone = self._execute("DELETE FROM snapshots WHERE ts < ? RETURNING key", now - 2 * ttl_ns)
        old = self._execute("UPDATE snapshots SET stale = 1 WHERE ts < ? AND stale = 0 RETURNING key", now - ttl_ns)
        return len(gone) + len(old)

    def close(self) -> None:
        """Close every thread's connection; may be called twice."""
        self._is_closed = True
        connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()

    def _execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            with self._connection() as connection, closing(connection.execute(statement, values)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            msg = f"snapshot store {self._path} is not available: {error}; check the path and what else writes there"
            raise SnapshotUnavailableError(msg, path=self._path) from error

    def _connection(self) -> sqlite3.Connection:
        if self._is_closed:
            raise sqlite3.ProgrammingError("it was closed")
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            # One for each thread; `close` closes those of other threads, too. A change takes the lock at once: two that
            # read first would wait for each other.
            connection = sqlite3.connect(
                self._path, timeout=BUSY_S, isolation_level="IMMEDIATE", check_same_thread=False
            )
            self._local.connection = connection
            self._connections.append(connection)
        return connection


def _not_found(key: str) -> SnapshotNotFoundError:
    return SnapshotNotFoundError(f"no snapshot of {key} is stored: wait for the first one, or check the name", key=key)


def _conflict(key: str, expected: int, found: int) -> SnapshotConflictError:
    msg = f"snapshot of {key} has version {found}, not {expected}: read it again, and repeat the change"
    return SnapshotConflictError(msg, key=key, expected=expected, found=found)
