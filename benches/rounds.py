"""Interleaved rounds: every case of a group once a round, in rotated order.

::

    round 1   bare loop  ours  csp         ratio = bare loop's time / ours, within the round ─┐
    round 2   ours  csp  bare loop         a round with foreign load: thrown away             ├▶ median
    round 3   csp  bare loop  ours                                                           ─┘

A case is a pytest item, and a round is one run of it by pytest's own protocol: set-up, call, tear-down. What
pytest-benchmark timed in a round that counts is added to the statistics of the case's first run.

Guarantees: the first round warms up and does not count; what was built before is frozen, so that no case pays for
another's objects. Garbage collection stays on.
Does not: wait for a quiet machine for ever. The seconds for repeated rounds are bounded for the whole run; after that
disturbed rounds are kept, and counted in ``Patience.kept_disturbed``.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benches.bench import Bench

if TYPE_CHECKING:
    import pytest
    from pytest_benchmark.stats import Metadata

# Another process may use so much of one core during a round before the round is thrown away.
FOREIGN_CORES_MAX = 0.25


class Load(NamedTuple):
    """Processor seconds of the machine, of us and our finished children, and the wall."""

    machine_s: float
    own_s: float
    wall_s: float

    @classmethod
    def now(cls) -> Load:
        own_s = sum(os.times()[:4])
        stat = Path("/proc/stat")
        if not stat.exists():  # Elsewhere nobody says what others use: then no round is thrown away.
            return cls(own_s, own_s, time.perf_counter())
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.read_text().split(maxsplit=9)[1:9])
        busy = user + nice + system + irq + softirq + steal
        return cls(busy / os.sysconf("SC_CLK_TCK"), own_s, time.perf_counter())

    def since(self, before: Load) -> tuple[float, float]:
        """Return the cores others used, and the seconds that passed."""
        wall_s = self.wall_s - before.wall_s
        foreign_s = (self.machine_s - before.machine_s) - (self.own_s - before.own_s)
        # The system counts in hundredths of a second: what lies within two of them may be nothing.
        foreign_s -= 2 / os.sysconf("SC_CLK_TCK")
        return max(0.0, foreign_s) / wall_s, wall_s


@dataclass
class Patience:
    """How many seconds of a run may be spent on rounds that are thrown away."""

    seconds: float
    spent: float = 0.0
    thrown_away: int = 0
    kept_disturbed: int = 0
    foreign_cores_max: float = 0.0

    def accepts(self, foreign_cores: float, round_s: float) -> bool:
        """Say whether a round is kept."""
        if foreign_cores > FOREIGN_CORES_MAX and self.spent + round_s <= self.seconds:
            self.spent += round_s
            self.thrown_away += 1
            return False
        self.kept_disturbed += foreign_cores > FOREIGN_CORES_MAX
        self.foreign_cores_max = max(self.foreign_cores_max, foreign_cores)
        return True

    def verdict(self) -> str:
        """Say in a line how quiet the machine was."""
        foreign = f"other processes used up to {self.foreign_cores_max:.2f} cores in the rounds that count"
        if self.kept_disturbed:
            return (
                f"BUSY MACHINE: {self.kept_disturbed} disturbed rounds count, {self.thrown_away} were thrown away; "
                f"{foreign}. Run it again on a quieter machine before you quote a number."
            )
        return f"quiet enough: {self.thrown_away} rounds thrown away; {foreign}"


@dataclass
class Rounds:
    """Runs groups of cases, and keeps what counts.

    fresh : what the running round has measured, by case. is_last : whether the running round ends its group.
    """

    rounds: int
    patience: Patience
    fresh: dict[str, Bench] = field(default_factory=dict)
    kept: dict[str, Metadata] = field(default_factory=dict)
    is_last: bool = True

    def run(self, session: pytest.Session, items: Sequence[pytest.Item]) -> None:
        """Run one group: a round to warm up, then rounds until enough of them count, or until a case fails."""
        failed = session.testsfailed
        with frozen():
            self.is_last = False
            self._round(items, 0)
            self._keep(counts=False)
            turn, counted = 0, 0
            while counted < self.rounds and session.testsfailed == failed:
                turn += 1
                self.is_last = counted + 1 == self.rounds
                started = Load.now()
                self._round(items, turn)
                counts = self.patience.accepts(*Load.now().since(started))
                counted += counts
                self._keep(counts=counts)
        for item in items:
            if (kept := self.kept.get(item.nodeid)) is not None and counted < self.rounds:
                kept.stats.data.clear()  # A case of the group failed: there is nothing to compare with.
                kept.fixture.has_error = True

    def _round(self, items: Sequence[pytest.Item], turn: int) -> None:
        first = turn % len(items)
        order = [*items[first:], *items[:first]]
        for item, following in zip(order, [*order[1:], None], strict=True):
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)

    def _keep(self, *, counts: bool) -> None:
        """Add what was measured to the statistics of the case's first run, or forget it."""
        for name, bench in self.fresh.items():
            measured = bench.benchmark.stats
            if measured is None:  # It failed before its work began.
                continue
            times = list(measured.stats.data)
            measured.stats.data.clear()
            kept = self.kept.setdefault(name, measured)
            # pytest-benchmark lists what has data, and saves what has no error: a later run is neither.
            bench.benchmark.has_error = kept is not measured
            if counts:
                for duration in times:
                    kept.update(duration)
                for figure, value in bench.figures.items():
                    kept.extra_info.setdefault("figures", {}).setdefault(figure, []).append(value)
        self.fresh.clear()


@contextmanager
def frozen() -> Iterator[None]:
    """Keep what was built before out of the collector's way."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
