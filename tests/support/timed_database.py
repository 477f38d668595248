"""A database whose connections measure their transactions: how long each lasted, and how many rows it wrote."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from headrace.execution.database import Connection, Database


class Timed(NamedTuple):
    """A transaction. seconds : from the begin to the answer to its end. rows : it wrote or gave. first : statement."""

    seconds: float
    rows: int
    first: str


class TimedConnection:
    """A connection that adds each of its transactions to a list."""

    def __init__(self, connection: Connection, found: list[Timed]) -> None:
        self._connection = connection
        self._found = found
        self._began = 0.0
        self._rows = 0
        self._first = ""
        self.dialect = connection.dialect

    def rows(self, text: str, values: Mapping[str, Any] | None = None) -> Any:
        with self._counted(text):
            given = self._connection.rows(text, values)
            self._rows += len(given)
        return given

    def changed(self, text: str, values: Mapping[str, Any] | None = None) -> int:
        with self._counted(text):
            count = self._connection.changed(text, values)
            self._rows += count
        return count

    def many(self, text: str, values: Sequence[Mapping[str, Any]]) -> int:
        with self._counted(text):
            count = self._connection.many(text, values)
            self._rows += count
        return count

    def query(self, sql: str, values: Sequence[object]) -> Any:
        return self._connection.query(sql, values)

    def script(self, text: str) -> None:
        self._connection.script(text)

    def begin(self) -> None:
        self._connection.begin()
        # Not the wait for another's lock: that is another's transaction.
        self._began, self._rows, self._first = time.perf_counter(), 0, ""

    def commit(self) -> None:
        self._connection.commit()
        self._found.append(Timed(time.perf_counter() - self._began, self._rows, self._first))

    def rollback(self) -> None:
        self._connection.rollback()
        self._found.append(Timed(time.perf_counter() - self._began, self._rows, self._first))

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _counted(self, text: str) -> Iterator[None]:
        self._first = self._first or " ".join(text.split())[:60]
        yield


class TimedDatabase:
    """A database. found : the transactions of all its connections."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.url = database.url
        self.dialect = database.dialect
        self.found: list[Timed] = []

    def connect(self) -> TimedConnection:
        return TimedConnection(self._database.connect(), self.found)
