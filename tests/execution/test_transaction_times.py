"""No transaction lasts over 1 s, whatever is filled, claimed, released, expired, reaped or archived at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

import pytest

from headrace.execution import ExecutionSettings, Runner, Store, claims
from headrace.execution.archive import archive
from headrace.execution.loadable import BARS
from headrace.execution.pipeline import Pipeline, PipelineSettings
from headrace.limits import STORE_BATCH_MAX
from tests.support.executing import market, new, settings
from tests.support.timed_database import Timed, TimedDatabase

log = logging.getLogger(__name__)

RUN = "00000000-0000-0000-0000-000000000000"
BEGIN_RUN = f"INSERT INTO dispatcher_runs (run_id, run_config_json) VALUES ('{RUN}', '{{}}') ON CONFLICT DO NOTHING"
ROWS = 3 * STORE_BATCH_MAX
LONGEST_S = 1.0
Work: TypeAlias = "Callable[[Store, Path, int], None]"
# What other work on the machine adds is not the transaction's; one of these rounds has little of it.
ROUNDS = 5


def fill(store: Store, _folder: Path, number: int) -> None:
    """Store what is new, then the same again."""
    for _ in range(2):
        store.recommend_all([new(f"key-{number}-{own}") for own in range(ROWS)])


def load_bars(store: Store, _folder: Path, number: int, back_s: int = 0) -> None:
    newest_s = time.time() - back_s - number * ROWS
    prices = {"open": 1, "high": 2, "low": 1, "close": 1, "volume": 1}
    rows = [{"ticker": "BARS", "ts": int((newest_s - own) * 1e9), **prices} for own in range(ROWS)]
    store.write_rows(BARS, [BARS.checked(own) for own in rows])


def execute(store: Store, folder: Path, number: int) -> None:
    """Claim all in one run, which is halted after some; the others are released."""
    market(store)
    fill(store, folder, number)
    looks = iter(range(100))
    own = settings(max_signals_per_run=ROWS)
    with Runner(store.database, lambda: own, is_halted=lambda: next(looks, 100) > 20) as runner:
        assert runner.run().counts.released > STORE_BATCH_MAX - 100


def expire(store: Store, _folder: Path, number: int) -> None:
    past = time.time_ns() - 10**9
    store.recommend_all([new(f"past-{number}-{own}", expires_at=past) for own in range(ROWS)])
    with Runner(store.database, lambda: settings(max_signals_per_run=1)) as runner:
        assert runner.run().counts.expired == ROWS


def reap(store: Store, folder: Path, number: int) -> None:
    """Claim all, with leases that are over at once."""
    fill(store, folder, number)
    gone = settings(processing_ttl_minutes=Decimal("0.00001"))
    store.query(BEGIN_RUN)
    while claimed(store, gone):
        pass
    with Runner(store.database, lambda: settings(max_signals_per_run=1, max_attempts=10**6)) as runner:
        assert runner.run().counts.reaped == ROWS


def claimed(store: Store, own: ExecutionSettings) -> int:
    # Rows that were claimed in an earlier round are claimed alone.
    return len(store.read(lambda connection: claims.claim(connection, "gone", RUN, own, ROWS)))


def take_in_news(store: Store, folder: Path, number: int) -> None:
    feed = folder / f"news-{number}.xml"
    items = "".join(f"<item><guid>{number}-{own}</guid><title>A {own}</title></item>" for own in range(ROWS))
    feed.write_text(f'<?xml version="1.0"?><rss version="2.0"><channel><title>t</title>{items}</channel></rss>')
    [result] = Pipeline(store, PipelineSettings(tickers=("A",), news=(str(feed),)), steps=["news"]).run()
    assert result.rows == ROWS


def archive_bars(store: Store, folder: Path, number: int) -> None:
    load_bars(store, folder, number, back_s=7_200)
    before = time.time_ns() // 1_000_000 - 5_400_000
    done = store.read(lambda connection: archive(connection, folder / str(number), before))
    assert {own.table: own.removed for own in done}["lane_telemetry"] == ROWS


@pytest.mark.timeout(180)
@pytest.mark.parametrize("work", [fill, load_bars, execute, expire, reap, take_in_news, archive_bars])
def test_no_transaction_lasts_over_a_second(url: str, tmp_path: Path, work: Work) -> None:
    with Store(url) as store:
        timed = TimedDatabase(store.database)
        store.close()
        store.database = timed
        longest = longest_of(work, timed, store, tmp_path, 0)
        for number in range(1, ROUNDS):
            if longest.seconds >= LONGEST_S:
                longest = longest_of(work, timed, store, tmp_path, number)
        assert longest.seconds < LONGEST_S, longest
        # What it looks at before and after, too: never all that there is.
        assert max(own.rows for own in timed.found) <= 2 * STORE_BATCH_MAX
        log.info("%s: %d transactions, the longest %s", work.__name__, len(timed.found), longest)


def longest_of(work: Work, timed: TimedDatabase, store: Store, folder: Path, number: int) -> Timed:
    timed.found.clear()
    work(store, folder, number)
    return max(timed.found)
