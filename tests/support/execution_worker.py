"""A worker in a process of its own, which others may kill, stop and cut off."""

from __future__ import annotations

import logging
import time
from decimal import Decimal

from headrace.errors import StoreError
from headrace.execution import ExecutionSettings, Runner
from headrace.execution.database import open_database


def work(url: str, lease_s: float, owner: str) -> None:
    """Run until nothing is PENDING or PROCESSING; go on after what cuts it off."""
    logging.getLogger("headrace").addHandler(logging.NullHandler())
    settings = ExecutionSettings(
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
            with Runner(open_database(url), lambda: settings, owner=owner) as runner:
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
