"""Wakeup: ends a worker's wait when a recommendation arrives, or when it must stop.

::

    PostgreSQL   LISTEN on a connection of its own ─▶ wakes at once      behind a pooler nothing arrives: polling
    SQLite       polling

Guarantees: a wake-up is a hint; workers look at the queue anyway, at their own interval.
Does not: carry what arrived.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from headrace.errors import StoreError
from headrace.execution.database.postgres import PostgresDatabase
from headrace.execution.schema.triggers import NOTIFY_CHANNEL
from headrace.limits import STORE_POLL_S, WAKEUP_RETRY_S

if TYPE_CHECKING:
    from headrace.execution.database.base import Database

__all__ = ["Wakeup"]

log = logging.getLogger(__name__)


class Wakeup:
    """What workers wait on. A context manager, which listens inside."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = threading.Condition()
        self._version = 0
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if isinstance(self._database, PostgresDatabase):
            self._thread = threading.Thread(target=self._listen, args=(self._database,), name="wake-up", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def version(self) -> int:
        """How often it woke so far; what ``wait`` compares with."""
        return self._version

    def wake(self) -> None:
        """End all waits."""
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    def wait(self, version: int, timeout_s: float) -> bool:
        """Wait until there was a wake-up since ``version``; return whether there was one."""
        with self._changed:
            return self._changed.wait_for(lambda: self._version != version, timeout_s)

    def _listen(self, database: PostgresDatabase) -> None:
        import psycopg

        while not self._is_over.is_set():
            with suppress(StoreError, psycopg.Error), database.psycopg() as connection:
                connection.execute(f"LISTEN {NOTIFY_CHANNEL}".encode())
                # What arrived before is found by the look that every worker begins with.
                self.wake()
                while not self._is_over.is_set():
                    for _ in connection.notifies(timeout=STORE_POLL_S):
                        self.wake()
            self._is_over.wait(WAKEUP_RETRY_S)
