"""SQLite: the embedded database, by apsw where it is installed, else by the standard library.

::

    library 3.7.0–3.51.2   a reset of the WAL can damage the file   ─▶ journal_mode=TRUNCATE
    any other              (apsw brings its own)                    ─▶ journal_mode=WAL

Guarantees: every writing transaction begins with BEGIN IMMEDIATE, so two workers never deadlock; each commit is on the
disk (synchronous=FULL); times are integer milliseconds, by one expression that is never NULL.
Does not: serve several hosts; a file on a network share has no safe locks.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from headrace.errors import StoreError, StoreRefusedError, StoreUnavailableError
from headrace.limits import STORE_BUSY_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from headrace.execution.database.base import Row, Value

__all__ = ["SQLITE_NOW", "SqliteConnection", "SqliteDatabase", "SqliteDialect"]

# unixepoch('subsec') is NULL before 3.42; a Julian day has some 40 µs of resolution.
SQLITE_NOW = "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"
# https://sqlite.org/wal.html: the WAL-reset bug.
WAL_DAMAGES = ((3, 7, 0), (3, 51, 2))

# What is wrong with the disk, not with a statement: nothing that a row could be blamed for.
_OUT_OF_ORDER = {
    "disk is full": "free some space; what was not committed is tried again",
    "disk i/o error": "check the disk, and that its file system is mounted",
    "readonly database": "check that the file and its folder may be written to",
    "unable to open database file": "check that the folder exists and may be written to",
}


class SqliteDialect:
    """The SQL of SQLite."""

    name = "sqlite"

    def sql(self, text: str) -> str:
        """Return a statement in this database's own SQL."""
        return _spelled(text)


@cache
def _spelled(text: str) -> str:
    text = re.sub(r"\bLATER\((:\w+)\)", r"(NOW() + \1)", text)
    text = re.sub(r"\b(?:AT|JSON)\((:\w+)\)", r"\1", text)
    text = re.sub(r"\bMS\(([\w.]+(?:\([\w.]*\))?)\)", r"\1", text)
    text = re.sub(r"\bLOCKED\(\w+\)", "", text)
    text = re.sub(r"= EACH\((:\w+)\)", r"IN (SELECT value FROM json_each(\1))", text)
    return text.replace("NOW()", SQLITE_NOW)


class SqliteDatabase:
    """A file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = f"sqlite:///{path}"
        self.dialect = SqliteDialect()

    def connect(self) -> SqliteConnection:
        """Open a connection. Raises StoreUnavailableError."""
        try:
            return SqliteConnection(self._path)
        except _errors() as error:
            msg = f"{self.url} cannot be opened: {error}; check that its folder exists and may be written to"
            raise StoreUnavailableError(msg, url=self.url) from error


class SqliteConnection:
    """One connection to a file."""

    def __init__(self, path: Path) -> None:
        self.dialect = SqliteDialect()
        self._url = f"sqlite:///{path}"
        self._connection = _opened(path)
        self._cursor = self._connection.cursor()
        changes = getattr(self._connection, "changes", None)
        self._changes: Callable[[], int] = changes or self._selected_changes
        try:
            mode = "TRUNCATE" if WAL_DAMAGES[0] <= self._library() <= WAL_DAMAGES[1] else "WAL"
            # With a busy file the mode stays what it is; both modes are safe for a library that may use them.
            self._run(f"PRAGMA journal_mode={mode}", {})
            self._run("PRAGMA synchronous=FULL", {})
            self._run("PRAGMA foreign_keys=ON", {})
        except BaseException:
            self._connection.close()
            raise

    def _library(self) -> tuple[int, ...]:
        [[version]] = self._run("SELECT sqlite_version()", {})
        return tuple(map(int, version.split(".")))

    def rows(self, text: str, values: Mapping[str, Value] | None = None) -> list[Row]:
        """Run a statement and return its rows. Raises StoreError."""
        try:
            return self._run(_spelled(text), values or {})
        except _errors() as error:
            raise self._error(error) from error

    def query(self, sql: str, values: Sequence[object]) -> list[Row]:
        """Run a statement of this database's own SQL, with a value for each ``?`` or ``%s``. Raises StoreError."""
        try:
            return self._run(re.sub(r"'[^']*'|%s", _question, sql) if values else sql, tuple(values))
        except _errors() as error:
            raise self._error(error) from error

    def changed(self, text: str, values: Mapping[str, Value] | None = None) -> int:
        """Run a statement and return how many rows it changed. Raises StoreError."""
        self.rows(text, values)
        return self._changes()

    def many(self, text: str, values: Sequence[Mapping[str, Value]]) -> int:
        """Run a statement for each set of values; return how many rows all of them changed. Raises StoreError."""
        return sum(self.changed(text, own) for own in values)

    def script(self, text: str) -> None:
        """Run several statements of this database's own SQL. Raises StoreError."""
        try:
            for statement in _statements(text):
                self._run(statement, {})
        except _errors() as error:
            raise self._error(error) from error

    def begin(self) -> None:
        """Begin a transaction that may write, when no other one writes."""
        self.rows("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Commit; what fails is rolled back."""
        try:
            self.rows("COMMIT")
        except StoreError:
            self.rollback()
            raise

    def rollback(self) -> None:
        """Roll back; never raises."""
        with suppress(*_errors()):
            self._run("ROLLBACK", {})

    def close(self) -> None:
        """Close; may be called twice."""
        self._connection.close()

    def _run(self, sql: str, values: Mapping[str, Value] | Sequence[object]) -> list[Row]:
        try:
            rows: list[Row] = self._cursor.execute(sql, values).fetchall()
        except BaseException:
            # A statement that failed half-way would keep its lock until the next one.
            self._cursor.close()
            self._cursor = self._connection.cursor()
            raise
        return rows

    def _selected_changes(self) -> int:
        """Return what the last statement changed, for the standard library, whose connections do not say it."""
        [[number]] = self._run("SELECT changes()", {})
        return int(number)

    def _error(self, error: Exception) -> StoreError:
        kind = type(error).__name__
        if kind in ("IntegrityError", "ConstraintError"):
            return StoreRefusedError(f"the database refuses it: {error}", url=self._url)
        if kind in ("BusyError", "LockedError") or "locked" in str(error):
            msg = f"{self._url} is busy for more than {STORE_BUSY_S:g} s: another program holds its lock"
            return StoreUnavailableError(msg, url=self._url)
        for text, what in _OUT_OF_ORDER.items():
            if text in str(error).lower():
                return StoreUnavailableError(f"{self._url}: {error}: {what}", url=self._url)
        if "no such table" in str(error):
            msg = f"{self._url}: {error}: run headrace db migrate --db {self._url}"
            return StoreError(msg, url=self._url)
        return StoreError(f"{self._url}: {error}", url=self._url)


def _opened(path: Path) -> Any:
    """Return a connection of apsw, or of the standard library; they agree in what is used here.

    Its plans stay, where Python can say so (3.12): else a statement is prepared anew for each run of it whose values a
    plan could depend on.
    """
    connection: Any
    try:
        import apsw
    except ImportError:
        connection = sqlite3.connect(path, timeout=STORE_BUSY_S, isolation_level=None, check_same_thread=False)
        if sys.version_info >= (3, 12):
            connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_QPSG)
        return connection
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(int(STORE_BUSY_S * 1000))
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    return connection


@cache
def _errors() -> tuple[type[Exception], ...]:
    """Return what the two libraries raise."""
    try:
        import apsw
    except ImportError:
        return (sqlite3.Error,)
    return (sqlite3.Error, apsw.Error)


def _statements(text: str) -> list[str]:
    """Return the statements of a script; a trigger's body has semicolons of its own."""
    found, pending = [], ""
    for part in text.split(";"):
        pending += f"{part};"
        if sqlite3.complete_statement(pending):
            if pending.strip(" \n;"):
                found.append(pending)
            pending = ""
    return found


def _question(found: re.Match[str]) -> str:
    """Return SQLite's place of a value; a text in quotes stays as it is."""
    return "?" if found[0] == "%s" else found[0]
