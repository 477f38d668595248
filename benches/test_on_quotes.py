"""Rows 4r, 4s and 4: ``on_quotes(bid_price, ask_price)``, the plural handler, which gets columns."""

from __future__ import annotations

from collections.abc import Iterator

import headrace
from benches.baselines.bare_loop import bare_loop
from benches.bench import Bench, Row, Work
from benches.handlers import STEP_NS, PerBatch, own_times
from benches.through_ring import through_ring
from benches.workload import check, instrument_names

WINDOWS = 100


def replayed(count: int, windows: int) -> Iterator[Work]:
    """Replay quotes a microsecond apart, in so many windows of the clock."""
    ticks, strategy = own_times(count), PerBatch()
    window_us = -(-count // windows) * STEP_NS // 1_000
    pair = (strategy, {"every": f"{window_us / 1_000:g}ms"})
    yield lambda: headrace.replay(ticks, pair, instruments=instrument_names())
    check([strategy], count)


class TestWindows:
    """Windows of 10,000 ticks, and one window of a hundred times as many."""

    rows = (
        Row("4r", 'on_quotes, every="10ms": 10,000 ticks a window', "windows", "bare_loop", at_least=3.0),
        Row("4s", "one window of 1,000,000 ticks", "one_window", "windows", at_most=1.2),
    )

    def test_windows(self, bench: Bench) -> None:
        count = bench.size.window_ticks
        bench.items(count)(replayed, count, WINDOWS)

    def test_one_window(self, bench: Bench) -> None:
        bench.items(bench.size.window_ticks)(replayed, bench.size.window_ticks, 1)

    def test_bare_loop(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(bare_loop, bench.size.calls)


class TestBatches:
    """So many ticks at one time, in one call."""

    rows = (
        Row("4", "on_quotes(bid_price, ask_price), batches of 1,024", "batch_1024", "bare_loop", at_least=7.0),
        Row("", "on_quotes(bid_price, ask_price), batches of 256", "batch_256", "bare_loop"),
        Row("", "on_quotes(bid_price, ask_price), batches of 64", "batch_64", "bare_loop"),
    )

    def test_batch_1024(self, bench: Bench) -> None:
        bench.items(4 * bench.size.calls)(through_ring, PerBatch, 4 * bench.size.calls)

    def test_batch_256(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(through_ring, PerBatch, bench.size.calls, batch=256)

    def test_batch_64(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(through_ring, PerBatch, bench.size.calls, batch=64)

    def test_bare_loop(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(bare_loop, bench.size.calls)
