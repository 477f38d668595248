"""Rows 13r and 13: what more strategies, strategies that don't match, and more instruments cost.

Row 13r is of whole replays, set-up and report included. How memory grows stands in ``whole_process``.
"""

from __future__ import annotations

from collections.abc import Iterator

import headrace
from benches.bench import Bench, Row, Work
from benches.handlers import IDLE, Idle, PerQuote, own_times
from benches.through_ring import through_ring
from benches.workload import check, instrument_names

MANY = 64
IDLE_STRATEGIES = 500


def replayed(count: int, idle: int = 0) -> Iterator[Work]:
    """Replay quotes a microsecond apart to one strategy, beside so many that none of them concerns."""
    ticks, strategy = own_times(count), PerQuote()
    idlers = [headrace.StrategySpec(strategy=Idle, name=f"idle-{number}") for number in range(idle)]
    yield lambda: headrace.replay(ticks, [strategy, *idlers], instruments=[*instrument_names(), IDLE])
    check([strategy], count)


class TestIdleStrategies:
    """Strategies that don't match cost nothing."""

    rows = (Row("13r", f"replay beside {IDLE_STRATEGIES} that don't match", "beside_idle", "alone", at_most=1.05),)

    def test_alone(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(replayed, bench.size.calls)

    def test_beside_idle(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(replayed, bench.size.calls, IDLE_STRATEGIES)


class TestGrowth:
    """By the call of a handler."""

    rows = (
        Row("13", f"a call at {MANY} strategies", "many", "one", at_most=1.15),
        Row("13", f"time with {MANY - 1} that don't match", "bystanders", "one", at_most=1.05),
        Row("13", "time at 10,000 instruments", "instruments_10000", "instruments_10", at_most=1.5),
    )

    def test_one(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(through_ring, PerQuote, bench.size.calls)

    def test_many(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(through_ring, PerQuote, bench.size.calls // MANY, MANY)

    def test_bystanders(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(through_ring, PerQuote, bench.size.calls, bystanders=MANY - 1)

    def test_instruments_10(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(through_ring, PerQuote, bench.size.calls, instruments=10)

    def test_instruments_10000(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(through_ring, PerQuote, bench.size.calls, instruments=10_000)
