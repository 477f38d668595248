"""A database whose connections count their statements, and fail at one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace.execution.database import Connection, Database


class FailingConnection:
    """A connection that fails at the database's ``at``-th statement."""

    def __init__(self, connection: Connection, database: FailingDatabase) -> None:
        self._connection = connection
        self._database = database
        self.dialect = connection.dialect

    def _do(self, name: str, *arguments: Any) -> Any:
        self._database.count += 1
        fails = self._database.count == self._database.at
        if fails and not self._database.after:
            self._database.fail(self._connection)
        found = getattr(self._connection, name)(*arguments)
        if fails:
            self._database.fail(self._connection)
        return found

    def rows(self, text: str, values: Mapping[str, Any] | None = None) -> Any:
        return self._do("rows", text, values)

    def changed(self, text: str, values: Mapping[str, Any] | None = None) -> Any:
        return self._do("changed", text, values)

    def many(self, text: str, values: Sequence[Mapping[str, Any]]) -> Any:
        return self._do("many", text, values)

    def query(self, sql: str, values: Sequence[object]) -> Any:
        return self._do("query", sql, values)

    def script(self, text: str) -> None:
        self._do("script", text)

    def begin(self) -> None:
        self._do("begin")

    def commit(self) -> None:
        self._do("commit")

    def rollback(self) -> None:
        self._connection.rollback()

    def close(self) -> None:
        self._connection.close()


class FailingDatabase:
    """A database that fails at its ``at``-th statement, before it is sent, or after it took effect.

    fail : does what goes wrong to a connection.
    """

    def __init__(self, database: Database, at: int, *, after: bool, fail: Callable[[Connection], object]) -> None:
        self._database = database
        self.url = database.url
        self.dialect = database.dialect
        self.at = at
        self.after = after
        self.fail = fail
        self.count = 0

    def connect(self) -> FailingConnection:
        return FailingConnection(self._database.connect(), self)
