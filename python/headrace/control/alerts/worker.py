"""WorkerWatch: the alerts of workers of recommendations, judged by what stands in their database.

::

    every 5 s, in a thread   backlog · last run · newest bar and features of each ticker ─▶ AlertService.look

What happens when the database is away
    The measures have no data, and the log says so once; an alert that fires goes on firing.

Guarantees: the database is asked in short statements of its own connection; times are of the database's own clock.
Does not: count what workers did; their metrics do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from headrace.engine.service import Service
from headrace.errors import StoreError
from headrace.execution.claims import backlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.control.alerts.service import AlertService
    from headrace.control.stream.board import Document
    from headrace.engine.service import ServiceContext
    from headrace.execution.database.base import Database

__all__ = ["WorkerWatch", "worker_document"]

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
DAY_MS = 86_400_000
_NOW = "SELECT MS(NOW()), (SELECT MS(MAX(finished_at)) FROM dispatcher_runs)"
# What the recommendations of the last day are about.
_TICKERS = """
SELECT t.ticker, (SELECT MS(MAX(b.ts)) FROM lane_telemetry b WHERE b.ticker = t.ticker),
    (SELECT MS(MAX(f.ts)) FROM lane_features f WHERE f.ticker = t.ticker)
FROM (SELECT DISTINCT ticker FROM dispatch_recommendations WHERE created_at >= AT(:since)) t
"""


class WorkerWatch(Service):
    """Judges alerts over a database. It works from ``setup`` on, and needs no ``run``.

    every_s : the time between two looks. close : called at the end, for what the alerts' metrics have open.
    """

    def __init__(
        self,
        alerts: AlertService,
        database: Database,
        *,
        every_s: float = LOOK_EVERY_S,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._alerts = alerts
        self._close = close
        self._database = database
        self._every_s = every_s
        self._tasks: list[asyncio.Task[None]] = []
        self._is_away = False

    @property
    def name(self) -> str:
        """What reports call it."""
        return "alerts"

    async def setup(self, context: ServiceContext) -> None:
        """Begin to look and to tell."""
        await self._alerts.setup(context)
        work = {"tell": self._alerts.run(), "look": self._look()}
        self._tasks = [asyncio.create_task(own, name=f"headrace alerts {name}") for name, own in work.items()]

    async def stop(self) -> None:
        """End; what waits to be told has half a second."""
        await self._alerts.stop()
        if self._tasks:
            told, looking = self._tasks
            looking.cancel()
            await asyncio.wait(self._tasks)
            self._tasks = []
            for task in (told, looking):
                with contextlib.suppress(asyncio.CancelledError):
                    task.result()
        self._close()

    def health(self) -> str:
        """Return "ok", or why a sink does not tell anything."""
        return self._alerts.health()

    async def _look(self) -> None:
        while True:
            try:
                document = await asyncio.to_thread(self._read)
                self._is_away = False
            except StoreError as error:
                document = {}
                if not self._is_away:
                    log.warning("the alerts have no data: %s", error)
                self._is_away = True
            self._alerts.look(time.time_ns(), document)
            await asyncio.sleep(self._every_s)

    def _read(self) -> Document:
        return worker_document(self._database)


def worker_document(database: Database) -> Document:
    """Return what measures read of a database: the section "worker", and "tickers". Raises StoreError."""
    with closing(database.connect()) as connection:
        waiting = backlog(connection)
        [[now_ms, finished_ms]] = connection.rows(_NOW)
        rows = connection.rows(_TICKERS, {"since": now_ms - DAY_MS})

    def age_s(then_ms: int | None) -> float | None:
        return None if then_ms is None else max(0, now_ms - then_ms) / 1000

    worker: dict[str, Any] = {
        "backlog": waiting.pending,
        "backlog_age_s": waiting.age_s,
        "last_run_s": age_s(finished_ms),
    }
    tickers = {name: {"bar_age_s": age_s(bar), "feature_age_s": age_s(own)} for name, bar, own in rows}
    return {"worker": {"worker": worker}, "tickers": tickers}
