"""Connection: what both databases offer, and how one text of a statement becomes SQL of each.

::

    text                    SQLite                          PostgreSQL
    :name                   :name                           %(name)s
    NOW()                   ms since 1970, an integer       clock_timestamp()
    AT(:ms)                 :ms                             a timestamptz
    MS(column)              column                          ms since 1970
    LATER(:ms)              NOW() + :ms                     NOW() and so many ms
    JSON(:text)             :text                           CAST(… AS jsonb)
    LOCKED(alias)           nothing: one writer at a time   FOR UPDATE OF alias SKIP LOCKED
    = EACH(:texts)          IN (SELECT … json_each)         = ANY(ARRAY(SELECT … jsonb …)), of a JSON list of texts

Guarantees: a transaction that raises is rolled back; a lost answer to COMMIT is CommitUnknownError;
times in the database are those of its own clock.
Does not: try again; the callers decide what may be repeated.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Connection", "Database", "Dialect", "Row", "Value", "transaction"]

# What a statement takes. Amounts are canonical texts, times are ms.
Value: TypeAlias = "str | int | float | None"
Row: TypeAlias = tuple[Any, ...]


class Dialect(Protocol):
    """How one database spells what the two spell differently."""

    @property
    def name(self) -> str:
        """Either "sqlite" or "postgresql"."""

    def sql(self, text: str) -> str:
        """Return a statement in this database's own SQL."""


class Connection(Protocol):
    """One connection. It belongs to one thread at a time."""

    @property
    def dialect(self) -> Dialect:
        """How statements are spelled."""

    def rows(self, text: str, values: Mapping[str, Value] | None = None) -> list[Row]:
        """Run a statement and return its rows. Raises StoreError."""

    def query(self, sql: str, values: Sequence[object]) -> list[Row]:
        """Run a statement of this database's own SQL, with a value for each ``?`` or ``%s``. Raises StoreError."""

    def changed(self, text: str, values: Mapping[str, Value] | None = None) -> int:
        """Run a statement and return how many rows it changed. Raises StoreError."""

    def many(self, text: str, values: Sequence[Mapping[str, Value]]) -> int:
        """Run a statement for each set of values, in order, and return how many rows all of them changed.

        PostgreSQL gets them without a wait for each answer. Inside of a transaction. Raises StoreError.
        """

    def script(self, text: str) -> None:
        """Run several statements of this database's own SQL. Raises StoreError."""

    def begin(self) -> None:
        """Begin a transaction that may write."""

    def commit(self) -> None:
        """Commit. Raises CommitUnknownError when the answer was lost."""

    def rollback(self) -> None:
        """Roll back; never raises."""

    def close(self) -> None:
        """Close; may be called twice."""


class Database(Protocol):
    """Where connections come from."""

    @property
    def url(self) -> str:
        """The URL without its password."""

    @property
    def dialect(self) -> Dialect:
        """How statements are spelled."""

    def connect(self) -> Connection:
        """Open a connection. Raises StoreUnavailableError."""


@contextmanager
def transaction(connection: Connection) -> Iterator[Connection]:
    """Commit what the block does, or roll it back when it raises."""
    connection.begin()
    try:
        yield connection
    except BaseException:
        connection.rollback()
        raise
    connection.commit()
