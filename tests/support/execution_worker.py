"""Workers in processes of their own, which others may kill, stop and cut off, or which kill themselves."""

from __future__ import annotations

import logging
import os
import signal
import time
from decimal import Decimal

from headrace.errors import StoreError
from headrace.execution import ExecutionSettings, Runner, Store
from headrace.execution.database import open_database
from headrace.execution.pipeline import Pipeline, PipelineSettings
from tests.support.executing import settings
from tests.support.failing_database import FailingDatabase


def work(url: str, lease_s: float, owner: str) -> None:
    """Run until nothing is PENDING or PROCESSING; go on after what cuts it off."""
    logging.getLogger("headrace").addHandler(logging.NullHandler())
    own = ExecutionSettings(
        max_trades_per_ticker_per_day=10**6,
        max_attempts=10**6,
        max_signals_per_run=25,
        lookback_window_minutes=Decimal(600),
        max_bar_age_seconds=Decimal(36_000),
        max_feature_age_seconds=Decimal(36_000),
        processing_ttl_minutes=Decimal(str(lease_s / 60)),
    )
    while True:
        try:
            with Runner(open_database(url), lambda: own, owner=owner) as runner:
                while True:
                    if runner.has_work():
                        runner.run()
                        continue
                    backlog = runner.backlog()
                    if not backlog.pending and not backlog.processing:
                        return
                    time.sleep(0.05)
        except StoreError:
            time.sleep(0.05)


def _deadly(url: str, at: int, after: bool) -> FailingDatabase:
    """Return a database whose ``at``-th statement kills this process."""
    return FailingDatabase(open_database(url), at, after=after, fail=lambda _: os.kill(os.getpid(), signal.SIGKILL))


def killed_at(url: str, at: int, after: bool) -> None:
    """Do one run of one row, and die by SIGKILL at its ``at``-th statement, before or after it took effect."""
    logging.getLogger("headrace").addHandler(logging.NullHandler())
    with Runner(_deadly(url, at, after), lambda: settings(max_signals_per_run=1)) as runner:
        runner.run()


def pipeline_killed_at(url: str, at: int, settings: PipelineSettings) -> None:
    """Do every step once, and die by SIGKILL before the ``at``-th statement."""
    logging.getLogger("headrace").addHandler(logging.NullHandler())
    with Store(url) as store:
        store.close()
        store.database = _deadly(url, at, after=False)
        Pipeline(store, settings).run()
