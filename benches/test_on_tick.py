"""Rows 3r and 3: ``on_tick(tick)``, the whole record, of which two fields are read."""

from __future__ import annotations

from collections.abc import Iterator

import headrace
from benches.baselines.bare_loop import bare_loop
from benches.bench import Bench, Row, Work
from benches.handlers import PerTick, own_times
from benches.through_ring import through_ring
from benches.workload import check, instrument_names


def replayed(count: int) -> Iterator[Work]:
    """Replay quotes a microsecond apart."""
    ticks, strategy = own_times(count), PerTick()
    yield lambda: headrace.replay(ticks, strategy, instruments=instrument_names())
    check([strategy], count)


class TestOnTick:
    """With a receive time each, and 1,024 at one time."""

    rows = (
        Row("3r", "on_tick(tick), a time each", "own_times", "bare_loop", at_least=0.60),
        Row("3", "on_tick(tick), 1,024 at a time", "shared_times", "bare_loop", at_least=0.75),
    )

    def test_own_times(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(replayed, bench.size.calls)

    def test_shared_times(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(through_ring, PerTick, bench.size.calls)

    def test_bare_loop(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(bare_loop, bench.size.calls)
