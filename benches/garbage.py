"""The longest handler call while 600,000 objects live: ``gc="idle"`` beside Python's default (row 15).

::

    on_start makes 600,000 ─▶ each call makes 8 more, which live for a while ─▶ the default collects inside of some call
                                                                              ─▶ "idle" between two turns

Guarantees: an engine of its own for each run; a call is timed in the processor time of its thread, so that being
interrupted by others does not count; the collector is Python's own, with its own thresholds.
Does not: say what collecting costs in all, or how long a tick waits that comes while it is done.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the script finds its own folder first

import headrace  # noqa: E402
from benches.engines import market  # noqa: E402
from benches.harness import Row, table  # noqa: E402
from benches.workload import instrument_names  # noqa: E402
from headrace.feeds import Push  # noqa: E402

LIVE_OBJECTS = 600_000
PER_CALL = 8
# What a call made is dropped so many calls later: old enough to have been promoted.
CALLS_KEPT = 20_000
TICKS_AT_ONCE = 100
TARGET = 20.0


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


def longest_ns(ticks: np.ndarray, collector: Literal["auto", "idle"]) -> int:
    """The longest call of one run."""
    strategy = Keeps()
    gc.collect()
    with tempfile.TemporaryDirectory() as state:
        engine = headrace.Engine(
            feeds=Bursts(ticks),
            strategies=[headrace.StrategySpec(strategy=Keeps, factory=lambda: strategy)],
            instruments=instrument_names(),
            gc=collector,
            state_folder=state,
        )
        engine.run()
    assert strategy.calls == len(ticks), f"{strategy.calls} calls for {len(ticks)} ticks"
    assert strategy.collected > 0, "nothing was collected: nothing was measured"
    return strategy.longest_ns


def rows(count: int, rounds: int) -> list[Row]:
    """Measure with so many ticks."""
    ticks = market(count)
    found: dict[str, list[int]] = {"auto": [], "idle": []}
    for turn in range(rounds):
        for collector in ("auto", "idle") if turn % 2 else ("idle", "auto"):
            found[collector].append(longest_ns(ticks, "idle" if collector == "idle" else "auto"))
    auto, idle = found["auto"], found["idle"]
    ratio = statistics.median(default / own for default, own in zip(auto, idle, strict=True))
    ours = f"{statistics.median(idle) / 1e6:.3f} ms of {statistics.median(auto) / 1e6:.1f}"
    return [Row("15", f'longest call, {LIVE_OBJECTS:,} objects, gc="idle"', ours, ratio, 'gc="auto"', TARGET)]


def main() -> None:
    """Measure this alone."""
    parser = argparse.ArgumentParser(description="The longest handler call while many objects live.")
    parser.add_argument("--ticks", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(table(rows(options.ticks, options.rounds)))


if __name__ == "__main__":
    main()
