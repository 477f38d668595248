"""LeaseKeeper: renews the leases of a worker from a thread of its own, as long as it gets on.

What happens when one recommendation takes longer than a lease
    It is no longer renewed: another worker may claim it, and this one's finish will be stale.

Guarantees: nothing is opened or sent for a run that is over within a third of a lease.
Does not: notice a process that is stopped; its leases end by the database's clock.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Self

from headrace.errors import StoreError
from headrace.execution.claims import renew

if TYPE_CHECKING:
    from headrace.execution.database.base import Connection, Database
    from headrace.execution.settings import ExecutionSettings

__all__ = ["LeaseKeeper"]

log = logging.getLogger(__name__)


class LeaseKeeper:
    """A context manager around what a worker does with the rows it holds."""

    def __init__(self, database: Database, owner: str, run: str, settings: ExecutionSettings) -> None:
        self._database = database
        self._owner = owner
        self._run = run
        self._settings = settings
        self._over = threading.Event()
        self._progress = time.monotonic()
        self._thread = threading.Thread(target=self._keep, name=f"leases of {owner}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join()

    def progressed(self) -> None:
        """Note that the worker begins with another row."""
        self._progress = time.monotonic()

    def _keep(self) -> None:
        lease_s = self._settings.lease_ms / 1000
        connection: Connection | None = None
        try:
            while not self._over.wait(lease_s / 3):
                if time.monotonic() - self._progress > lease_s:
                    log.error(
                        "one recommendation takes longer than a lease: it is no longer renewed", extra=self._extra()
                    )
                    return
                try:
                    connection = connection or self._database.connect()
                    renew(connection, self._owner, self._settings)
                except StoreError as error:
                    log.warning("leases are not renewed now: %s", error, extra=self._extra())
                    if connection is not None:
                        connection.close()
                        connection = None
        finally:
            if connection is not None:
                connection.close()

    def _extra(self) -> dict[str, str]:
        return {"run_id": self._run, "owner": self._owner}
