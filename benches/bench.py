"""What a row's file is written with: cases, rows, and the fixture that runs a case under pytest-benchmark.

::

    class TestOneOrder:                                          a group: what is compared with each other
        rows = [Row("17", "one order", "buys", unit="µs", …)]    what the table says of it
        def test_buys(self, bench): bench(replayed, items=2_000)

    def replayed(…):        a case
        …                   set-up
        yield work          what is timed: a call without arguments
        …                   the check: a time whose work was not done is an error, never a row

Guarantees: rubbish is collected before the work; the check runs after every round.
Does not: repeat or judge: `rounds` does the one, `table` the other.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ParamSpec

import pytest

from benches.workload import CYCLE

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

P = ParamSpec("P")
Work = Callable[[], object]

# Several threads work, or one waits: the time on the wall. Otherwise it is the processor time of the process.
wall = pytest.mark.wall
# A case that is written with a peer's package: run where it is installed, which `make bench-peers` does.
peer = pytest.mark.peer


@dataclass(frozen=True)
class Row:
    """One line of the table.

    number : the row of the targets, or "". ours : a case of the group without its ``test_``, or "one - other".
    to : the case that it is compared with; without, the figure itself is judged, in ``unit``.
    at_least : how many times as fast it must be.
    at_most : how many times the time it may take, or the bound in ``unit``.
    figure : what the case noted, instead of its time.
    """

    number: str
    what: str
    ours: str
    to: str = ""
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""
    figure: str = ""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    calls: int
    window_ticks: int
    frames: int
    latency_frames: int
    garbage_ticks: int
    session_frames: int
    orders: int
    patience_s: float


# Every case once, as a test.
SMALL = Size(1, 64 * CYCLE, 100_000, 500, 600, 30_000, 3_000, 50, 0)
QUICK = Size(5, 256 * CYCLE, 1_000_000, 4_000, 3_000, 60_000, 30_000, 1_000, 15)
FULL = Size(7, 1_024 * CYCLE, 1_000_000, 20_000, 10_000, 200_000, 200_000, 2_000, 120)


@dataclass
class Bench:
    """Runs one case for one round. size : how much there is to do."""

    benchmark: BenchmarkFixture
    size: Size
    figures: dict[str, float | None] = field(default_factory=dict)

    def __call__(self, case: Callable[P, Iterator[Work]], *args: P.args, **options: P.kwargs) -> None:
        """Set the case up, time its work, and check what it did."""
        steps = case(*args, **options)
        work = next(steps)
        gc.collect()
        self.benchmark.pedantic(work)
        assert next(steps, None) is None, "a case yields its work once"

    def items(self, count: int) -> Bench:
        """Say how many ticks, frames or orders a round handles: times are per item."""
        self.benchmark.extra_info["items"] = count
        return self

    def about(self, text: str) -> Bench:
        """Say what was measured, where it is found only now; the table shows it."""
        self.benchmark.extra_info["about"] = text
        return self

    def note(self, figure: str, value: float | None) -> None:
        """Note a figure of this round that is no time of the whole: a percentile, the longest call."""
        self.figures[figure] = value
