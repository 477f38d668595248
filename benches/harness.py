"""Interleaved rounds: every case once a round, in rotated order, and per round a ratio to the case it is compared with.

::

    round 1   A  ours  queue  …      ratio = A's time / ours, within the round ─┐
    round 2   ours  queue  …  A      a round with foreign load: thrown away     ├▶ median
    round 3   queue  …  A  ours                                                ─┘

Guarantees: a one-thread case is timed by the processor time of the whole process, one with threads by the wall; rubbish
is collected before a case and what was built is frozen, so that no case pays for another's objects.
Does not: wait for a quiet machine for ever. The seconds for repeated rounds are bounded for the whole run; after that
disturbed rounds are kept, and counted in ``Rounds.disturbed``.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Self

# Another process may use so much of one core during a round before the round is thrown away.
FOREIGN_CORES_MAX = 0.25


class Span(NamedTuple):
    """Time per item, in ns."""

    wall: float
    cpu: float


class Timer:
    """``with Timer() as timer: …`` then ``timer.per(items)``."""

    def __enter__(self) -> Self:
        gc.collect()
        self._cpu_ns = time.process_time_ns()
        self._wall_ns = time.perf_counter_ns()
        return self

    def __exit__(self, *_: object) -> None:
        self._wall_ns = time.perf_counter_ns() - self._wall_ns
        self._cpu_ns = time.process_time_ns() - self._cpu_ns

    def per(self, items: int) -> Span:
        """Return the time per item."""
        return Span(self._wall_ns / items, self._cpu_ns / items)


@dataclass(frozen=True)
class Case:
    """One way to do the work. clock : "cpu" where one thread works and never waits, "wall" where several do."""

    name: str
    run: Callable[[], Span]
    clock: Literal["cpu", "wall"] = "cpu"


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
    """The times of every case, round by round."""

    ns: dict[str, list[float]] = field(default_factory=dict)

    def median_ns(self, name: str) -> float:
        """Return the median time per item."""
        return statistics.median(self.ns[name])

    def speed(self, name: str, against: str) -> float:
        """Return how many times as fast as ``against`` it is: the median of the rounds' ratios."""
        return statistics.median(base / own for base, own in zip(self.ns[against], self.ns[name], strict=True))


def interleave(cases: Sequence[Case], rounds: int, patience: Patience) -> Rounds:
    """Run every case once to warm up, then ``rounds`` times that count."""
    gc.collect()
    gc.freeze()
    try:
        for case in cases:
            case.run()
        result = Rounds({case.name: [] for case in cases})
        turn = 0
        while len(result.ns[cases[0].name]) < rounds:
            first = turn % len(cases)
            turn += 1
            started = Load.now()
            times = {case.name: getattr(case.run(), case.clock) for case in [*cases[first:], *cases[:first]]}
            foreign_cores, round_s = Load.now().since(started)
            if patience.accepts(foreign_cores, round_s):
                for name, ns in times.items():
                    result.ns[name].append(ns)
        return result
    finally:
        gc.unfreeze()


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


@dataclass(frozen=True)
class Row:
    """One line of the table.

    number : the target's row, or "". ours : the figure with its unit. ratio, to : how it compares, and with what.
    target : None where none was set. at_most : whether the ratio must stay below the target instead of reaching it.
    """

    number: str
    what: str
    ours: str
    ratio: float | None = None
    to: str = ""
    target: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one, or without a figure."""
        if self.target is None or self.ratio is None:
            return None
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target


def rate(ns: float) -> str:
    """Write a time per tick as a rate."""
    return f"{1e3 / ns:.3g} M/s" if ns < 1e6 else f"{1e9 / ns:.3g} /s"


def table(rows: Sequence[Row]) -> str:
    """Write rows as a Markdown table that also reads well unrendered."""
    cells = [("row", "what", "ours", "ratio", "to", "target", "met")]
    for row in rows:
        limit = "" if row.target is None else f"{'≤' if row.at_most else '≥'} {row.target:g}"
        met = {True: "yes", False: "NO", None: ""}[row.met]
        ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
        cells.append((row.number, row.what, row.ours, ratio, row.to, limit, met))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
