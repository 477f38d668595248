"""PostgreSQL, by psycopg 3 (``[postgres]``).

Guarantees: nothing depends on the state of a session, so a transaction pooler between is fine: no prepared statements,
no setting beyond a transaction, no session locks; keepalives find a connection that is gone within half a minute.
Does not: pool; each worker has one connection.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from headrace.errors import (
    CommitUnknownError,
    MissingExtraError,
    StoreDeadlockError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
)
from headrace.limits import STORE_CONNECT_S, TRANSACTION_IDLE_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psycopg

    from headrace.execution.database.base import Row, Value

__all__ = ["PostgresConnection", "PostgresDatabase", "PostgresDialect"]

# A worker that is stopped inside of a transaction keeps its locks; the server ends it, so that others go on.
_BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED;"
    f" SET LOCAL idle_in_transaction_session_timeout = {int(TRANSACTION_IDLE_S * 1000)}"
)
_MS = "CAST({} AS double precision) * INTERVAL '1 millisecond'"
KEEPALIVES: dict[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


class PostgresDialect:
    """The SQL of PostgreSQL."""

    name = "postgresql"

    def sql(self, text: str) -> str:
        """Return a statement in this database's own SQL."""
        return _spelled(text)


@cache
def _spelled(text: str) -> str:
    text = re.sub(r"\bJSON\((:\w+)\)", r"CAST(\1 AS jsonb)", text)
    text = re.sub(r"\bAT\((:\w+)\)", lambda found: f"(TIMESTAMPTZ 'epoch' + {_MS.format(found[1])})", text)
    text = re.sub(r"\bMS\(([\w.]+(?:\([\w.]*\))?)\)", r"CAST(FLOOR(EXTRACT(EPOCH FROM \1) * 1000) AS bigint)", text)
    text = re.sub(r"\bLATER\((:\w+)\)", lambda found: f"(NOW() + {_MS.format(found[1])})", text)
    text = re.sub(r"\bLOCKED\((\w+)\)", r"FOR UPDATE OF \1 SKIP LOCKED", text)
    text = re.sub(r"\bEACH\((:\w+)\)", r"ANY(ARRAY(SELECT jsonb_array_elements_text(CAST(\1 AS jsonb))))", text)
    text = text.replace("NOW()", "clock_timestamp()")
    return re.sub(r"(?<![:\w]):([a-z_]\w*)", r"%(\1)s", text)


class PostgresDatabase:
    """A server's database."""

    def __init__(self, url: str) -> None:
        try:
            import psycopg  # noqa: F401 - an early error is better than one at the first statement
        except ImportError:
            msg = 'PostgreSQL needs psycopg: pip install "headrace[postgres]"'
            raise MissingExtraError(msg) from None
        self._secret_url = url
        self.url = re.sub(r"(?<=:)[^:@/]*(?=@)", "***", url)
        self.dialect = PostgresDialect()

    def connect(self) -> PostgresConnection:
        """Open a connection. Raises StoreUnavailableError."""
        return PostgresConnection(self.psycopg(), self.url)

    def psycopg(self) -> psycopg.Connection[Any]:
        """Return a connection of psycopg, in autocommit mode. Raises StoreUnavailableError."""
        import psycopg

        try:
            return psycopg.connect(
                self._secret_url,
                autocommit=True,
                prepare_threshold=None,
                connect_timeout=int(STORE_CONNECT_S),
                **KEEPALIVES,
            )
        except psycopg.Error as error:
            msg = f"{self.url} cannot be reached: {_line(error)}"
            raise StoreUnavailableError(msg, url=self.url) from error


class PostgresConnection:
    """One connection to a server."""

    def __init__(self, connection: psycopg.Connection[Any], url: str) -> None:
        self.dialect = PostgresDialect()
        self._connection = connection
        self._url = url

    def rows(self, text: str, values: Mapping[str, Value] | None = None) -> list[Row]:
        """Run a statement and return its rows. Raises StoreError."""
        import psycopg

        try:
            cursor = self._connection.execute(self.dialect.sql(text).encode(), values or {})
            return cursor.fetchall() if cursor.description is not None else []
        except psycopg.Error as error:
            self._raise(error)

    def query(self, sql: str, values: Sequence[object]) -> list[Row]:
        """Run a statement of this database's own SQL, with a value for each ``?`` or ``%s``. Raises StoreError."""
        import psycopg

        text = re.sub(r"'[^']*'|\?|%(?!s)", _percent, sql) if values else sql
        try:
            cursor = self._connection.execute(text.encode(), values or None)
            return cursor.fetchall() if cursor.description is not None else []
        except psycopg.Error as error:
            self._raise(error)

    def changed(self, text: str, values: Mapping[str, Value] | None = None) -> int:
        """Run a statement and return how many rows it changed. Raises StoreError."""
        import psycopg

        try:
            return self._connection.execute(self.dialect.sql(text).encode(), values or {}).rowcount
        except psycopg.Error as error:
            self._raise(error)

    def many(self, text: str, values: Sequence[Mapping[str, Value]]) -> int:
        """Run a statement for each set of values; return how many rows all of them changed. Raises StoreError."""
        import psycopg

        try:
            with self._connection.cursor() as cursor:
                cursor.executemany(self.dialect.sql(text).encode(), values)
                return cursor.rowcount
        except psycopg.Error as error:
            self._raise(error)

    def script(self, text: str) -> None:
        """Run several statements of this database's own SQL. Raises StoreError."""
        import psycopg

        try:
            self._connection.execute(text.encode())
        except psycopg.Error as error:
            self._raise(error)

    def begin(self) -> None:
        """Begin a transaction; each of its statements sees what was committed before it."""
        self.script(_BEGIN)

    def commit(self) -> None:
        """Commit. Raises CommitUnknownError when the answer was lost."""
        try:
            self.rows("COMMIT")
        except StoreUnavailableError as error:
            msg = f"{self._url} was lost while it committed: look whether it did"
            raise CommitUnknownError(msg, url=self._url) from error

    def rollback(self) -> None:
        """Roll back; never raises."""
        with suppress(StoreError):
            self.rows("ROLLBACK")

    def close(self) -> None:
        """Close; may be called twice."""
        self._connection.close()

    def _raise(self, error: psycopg.Error) -> NoReturn:
        import psycopg

        text = _line(error)
        if isinstance(error, psycopg.errors.DeadlockDetected):
            msg = f"{self._url}: {text}: it and another writer waited for each other; nothing was changed, do it again"
            raise StoreDeadlockError(msg, url=self._url) from error
        if self._connection.closed or isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            raise StoreUnavailableError(f"{self._url} was lost: {text}", url=self._url) from error
        if isinstance(error, psycopg.IntegrityError | psycopg.errors.RaiseException):
            raise StoreRefusedError(f"the database refuses it: {text}", url=self._url) from error
        if isinstance(error, psycopg.errors.UndefinedTable):
            msg = f"{self._url}: {text}: run headrace db migrate --db {self._url}"
            raise StoreError(msg, url=self._url) from error
        raise StoreError(f"{self._url}: {text}", url=self._url) from error


def _line(error: Exception) -> str:
    """Return the first line of an error; the others show the statement."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _percent(found: re.Match[str]) -> str:
    """Return psycopg's place of a value; a text in quotes stays as it is, with its percent signs doubled."""
    return "%s" if found[0] == "?" else found[0].replace("%", "%%")
