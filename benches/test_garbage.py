"""Row 15: the longest handler call while 600,000 objects live, ``gc="idle"`` beside Python's default.

::

    on_start makes 600,000 ─▶ each call makes 8 more, which live for a while ─▶ the default collects inside of some call
                                                                              ─▶ "idle" between two turns

Guarantees: an engine of its own for each run; a call is timed in the processor time of its thread, so that being
interrupted by others does not count; the collector is Python's own, with its own thresholds.
Does not: say what collecting costs in all, or how long a tick waits that comes while it is done.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from typing import Literal

import numpy as np

import headrace
from benches.bench import Bench, Row, Work
from benches.handlers import own_times
from benches.workload import instrument_names
from headrace.feeds import Push

LIVE_OBJECTS = 600_000
PER_CALL = 8
# What a call made is dropped so many calls later: old enough to have been promoted.
CALLS_KEPT = 20_000
TICKS_AT_ONCE = 100


class Keeps(headrace.Strategy):
    """Makes objects that live, and times its calls."""

    def __init__(self) -> None:
        self.longest_ns = 0
        self.calls = 0
        self.collected = 0

    def on_start(self) -> None:
        self.old = [[number] for number in range(LIVE_OBJECTS)]
        self.young: deque[list[list[float]]] = deque(maxlen=CALLS_KEPT)
        gc.callbacks.append(self._count)

    def on_stop(self) -> None:
        gc.callbacks.remove(self._count)
        self.old.clear()

    def _count(self, phase: str, _about: dict[str, int]) -> None:
        self.collected += phase == "start"

    def on_quote(self, bid_price: float, ask_price: float) -> None:
        began_ns = time.thread_time_ns()
        self.young.append([[bid_price, ask_price] for _ in range(PER_CALL)])
        self.calls += 1
        self.longest_ns = max(self.longest_ns, time.thread_time_ns() - began_ns)


class Bursts:
    """A live feed of some ticks at a time, with a turn of the loop after each."""

    name = "bursts"
    venue = None

    def __init__(self, ticks: np.ndarray) -> None:
        self._ticks = ticks

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def run(self, push: Push) -> None:
        for start in range(0, len(self._ticks), TICKS_AT_ONCE):
            push(self._ticks[start : start + TICKS_AT_ONCE])
            await asyncio.sleep(0)


def live_run(ticks: np.ndarray, collector: Literal["auto", "idle"], strategy: Keeps) -> Iterator[Work]:
    """Run an engine over the ticks while the objects live."""
    with tempfile.TemporaryDirectory() as state:
        engine = headrace.Engine(
            feeds=Bursts(ticks),
            strategies=[headrace.StrategySpec(strategy=Keeps, factory=lambda: strategy)],
            instruments=instrument_names(),
            gc=collector,
            state_folder=state,
        )
        yield engine.run
    assert strategy.calls == len(ticks), f"{strategy.calls} calls for {len(ticks)} ticks"
    assert strategy.collected > 0, "nothing was collected: nothing was measured"


def measured(bench: Bench, collector: Literal["auto", "idle"]) -> None:
    """Run with one collector, and note the longest call."""
    strategy = Keeps()
    bench.items(bench.size.garbage_ticks)(live_run, own_times(bench.size.garbage_ticks), collector, strategy)
    bench.note("longest_ms", strategy.longest_ns / 1e6)


class TestLongestCall:
    """The same strategy under both collectors."""

    rows = (
        Row(
            *("15", f'longest call, {LIVE_OBJECTS:,} objects, gc="idle"', "gc_idle", "gc_auto"),
            at_least=20.0,
            unit="ms",
            figure="longest_ms",
        ),
    )

    def test_gc_auto(self, bench: Bench) -> None:
        measured(bench, "auto")

    def test_gc_idle(self, bench: Bench) -> None:
        measured(bench, "idle")
