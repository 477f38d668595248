"""Store: the database of recommendations, from the side of what writes to it and asks it.

::

    recommend · telemetry · features ─▶ tables ─▶ workers (``runner``) ─▶ the ledger ─▶ query

Guarantees: synchronous; each call is one transaction; a lost connection is opened again at the next call.
Does not: execute anything.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from headrace.errors import StoreDeadlockError, StoreUnavailableError
from headrace.execution.database.base import transaction
from headrace.execution.database.opening import open_database
from headrace.execution.loadable import BARS, FEATURES
from headrace.execution.recommendation import NewRecommendation, insert_recommendations
from headrace.execution.schema.migrating import check_version, migrate
from headrace.limits import STORE_BATCH_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import TypeVar

    from headrace.execution.database.base import Connection, Row, Value
    from headrace.execution.loadable import Loadable
    from headrace.execution.values import Time
    from headrace.market.money import Amount

    Result = TypeVar("Result")

__all__ = ["Store"]

# So often is a transaction begun that others end by a deadlock.
DEADLOCK_TRIES = 5


class Store:
    """A database of recommendations. A context manager; safe to use from several threads.

    url : ``sqlite:////absolute``, ``sqlite:///relative`` or ``postgresql://…``; None: a file in the state folder.
    migrate : bring the database to the version of this release first, as ``headrace db migrate`` does.

    Raises OptionError for a URL that names no database, SchemaVersionError for one that is not migrated, StoreError.
    """

    def __init__(self, url: str | None = None, *, migrate: bool = False) -> None:
        self.database = open_database(url)
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        if migrate:
            self.migrate()
        try:
            self._with(lambda connection: check_version(connection, complete=True))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; may be called twice. A later call opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def migrate(self) -> list[str]:
        """Bring the database to the version of this release; return the names of what was applied."""
        return migrate(self.database)

    def recommend(
        self,
        *,
        ticker: str,
        action: str,
        confidence: float,
        reason: Mapping[str, Any] | str,
        idempotency_key: str,
        priority: int = 0,
        not_before: Time | None = None,
        expires_at: Time | None = None,
        cause: Mapping[str, Any] | str | None = None,
    ) -> int:
        """Store a recommendation and return its id; again with the same key it returns the same id.

        confidence : 0..1. reason, cause : JSON objects. priority : the highest is claimed first.
        not_before, expires_at : ns or aware datetimes; it is claimed between them.
        Raises RecommendationError, also for a key that is there with other content; StoreError.
        """
        new = NewRecommendation.checked(
            ticker=ticker,
            action=action,
            confidence=confidence,
            reason=reason,
            idempotency_key=idempotency_key,
            priority=priority,
            not_before=not_before,
            expires_at=expires_at,
            cause=cause,
        )
        return self.recommend_all([new])[0]

    def recommend_all(self, new: Sequence[NewRecommendation]) -> list[int]:
        """Store recommendations and return their ids, at most 500 in one transaction. Raises as ``recommend``."""
        found: list[int] = []
        for start in range(0, len(new), STORE_BATCH_MAX):
            batch = new[start : start + STORE_BATCH_MAX]
            found += self._with(lambda connection, batch=batch: insert_recommendations(connection, batch))  # type: ignore[misc]
        return found

    def telemetry(
        self,
        *,
        ticker: str,
        ts: Time,
        open: Amount,  # noqa: A002 - the column's name
        high: Amount,
        low: Amount,
        close: Amount,
        volume: Amount,
    ) -> None:
        """Store a bar, over one of the same (ticker, ts). ts : its end. Raises RecommendationError, StoreError."""
        amounts = {"open": open, "high": high, "low": low, "close": close, "volume": volume}
        self.write_rows(BARS, [BARS.checked({"ticker": ticker, "ts": ts, **amounts})])

    def features(
        self,
        *,
        ticker: str,
        ts: Time,
        sma_20: Amount | None = None,
        sma_50: Amount | None = None,
        volume_ratio: Amount | None = None,
        trend: int | None = None,
        recent_vol: Amount | None = None,
    ) -> None:
        """Store features at a time; again replaces them. trend : -1, 0 or 1. None: there was not enough data."""
        values = {"sma_20": sma_20, "sma_50": sma_50, "volume_ratio": volume_ratio, "recent_vol": recent_vol}
        self.write_rows(FEATURES, [FEATURES.checked({"ticker": ticker, "ts": ts, "trend": trend, **values})])

    def write_rows(self, table: Loadable, rows: Sequence[Mapping[str, Value]]) -> None:
        """Write rows that ``table.checked`` returned, at most 500 in one transaction. Raises StoreError."""
        for start in range(0, len(rows), STORE_BATCH_MAX):
            batch = rows[start : start + STORE_BATCH_MAX]
            self._with(lambda connection, batch=batch: table.write(connection, batch))  # type: ignore[misc]

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """Call ``work`` with the connection, outside of a transaction. Raises StoreError."""
        return self._with(work)

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Call ``work`` with the connection, in one transaction; again if a deadlock ended that. Raises StoreError."""

        def inside(connection: Connection) -> Result:
            with transaction(connection):
                return work(connection)

        return self._with(inside)

    def query(self, sql: str, *values: object) -> list[Row]:
        """Run a statement of the database's own SQL and return its rows. values : for each ``?`` or ``%s`` in it.

        Amounts and JSON are texts in SQLite, Decimals and objects in PostgreSQL. Raises StoreError.
        """
        return self._with(lambda connection: connection.query(sql, values))

    def _with(self, work: Callable[[Connection], Result]) -> Result:
        """Do what is one transaction or less; again when another writer's has ended it."""
        with self._lock:
            for _ in range(DEADLOCK_TRIES - 1):
                with suppress(StoreDeadlockError):
                    return self._once(work)
            return self._once(work)

    def _once(self, work: Callable[[Connection], Result]) -> Result:
        """Do it on the connection, of which there is a new one after an error."""
        if self._connection is None:
            self._connection = self.database.connect()
        try:
            return work(self._connection)
        except StoreUnavailableError:
            self.close()
            raise
