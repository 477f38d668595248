"""Marks: the last price of each instrument in each step of time, bounded whatever the length of the run.

::

    mids of a window ─▶ the last of each step ─▶ at most MARKS_MAX steps: then the next longer step

Guarantees: steps are whole UTC seconds, minutes, hours or days since 1970, and a time at the edge belongs to the step
that it ends; a mark is the last mid of its step, never a later one; the same marks on each run.
Does not: interpolate; a step without a price has no mark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MARKS_MAX", "STEPS_NS", "Marks"]

S = 1_000_000_000
# Each divides the next one, and a day.
STEPS_NS = tuple(S * seconds for seconds in (1, 10, 60, 600, 3_600, 14_400, 86_400))
# Of one instrument: a week of 10 s steps; days have no bound.
MARKS_MAX = 60_480


class _Series:
    """The marks of one instrument, as parts that are put together when they are read."""

    def __init__(self) -> None:
        self.steps: list[np.ndarray] = []
        self.prices: list[np.ndarray] = []
        self.count = 0

    def add(self, steps: np.ndarray, prices: np.ndarray) -> None:
        """Add the last price of each step; one that continues the last step takes its place."""
        last = np.flatnonzero(np.append(steps[1:] != steps[:-1], True))
        steps, prices = steps[last], prices[last]
        if self.count and self.steps[-1][-1] == steps[0]:
            self.prices[-1][-1] = prices[0]
            steps, prices = steps[1:], prices[1:]
        if len(steps):
            self.steps.append(steps)
            self.prices.append(prices)
            self.count += len(steps)

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Return steps and prices, put together."""
        if len(self.steps) > 1:
            self.steps, self.prices = [np.concatenate(self.steps)], [np.concatenate(self.prices)]
        if not self.steps:
            return np.empty(0, np.int64), np.empty(0)
        return self.steps[0], self.prices[0]


class Marks:
    """The marks of all instruments of a run, in one step of time."""

    def __init__(self) -> None:
        self._level = 0
        self._series: dict[str, _Series] = {}
        # The last price of all, not that of a step.
        self._last: dict[str, float] = {}
        self._first: dict[str, float] = {}

    @property
    def step_ns(self) -> int:
        """The length of a step now."""
        return STEPS_NS[self._level]

    @property
    def instruments(self) -> tuple[str, ...]:
        """Those that had a price, in the order of their first."""
        return tuple(self._series)

    def first(self, instrument: str) -> float:
        """Return the first price."""
        return self._first[instrument]

    def last(self, instrument: str) -> float | None:
        """Return the last price; None: there was none."""
        return self._last.get(instrument)

    def add(self, instrument: str, times: np.ndarray, prices: np.ndarray) -> None:
        """Add prices in the order of their times, ns."""
        series = self._series.get(instrument)
        if series is None:
            series = self._series[instrument] = _Series()
            self._first[instrument] = float(prices[0])
        series.add((times - 1) // self.step_ns, np.asarray(prices, dtype=np.float64))
        self._last[instrument] = float(prices[-1])
        while series.count > MARKS_MAX and self._level + 1 < len(STEPS_NS):
            self._lengthen()

    def _lengthen(self) -> None:
        ratio = STEPS_NS[self._level + 1] // STEPS_NS[self._level]
        self._level += 1
        for name, series in self._series.items():
            steps, prices = series.read()
            longer = self._series[name] = _Series()
            longer.add(steps // ratio, prices)

    def ends(self, instruments: Iterable[str], end_ns: int) -> np.ndarray:
        """Return when the steps end in which any of these instruments had a price, ns; none later than the run."""
        steps = [self._series[name].read()[0] for name in instruments if name in self._series]
        if not steps:
            return np.empty(0, np.int64)
        # Mostly all have prices in the same steps, which rise already.
        steps = [steps[0], *(own for own in steps[1:] if not np.array_equal(own, steps[0]))]
        ends = ((steps[0] if len(steps) == 1 else np.unique(np.concatenate(steps))) + 1) * self.step_ns
        bounded: np.ndarray = np.minimum(ends, end_ns)
        return bounded

    def at(self, instrument: str, ends: np.ndarray) -> np.ndarray:
        """Return the last price until each of these ends of steps; NaN where there was none yet."""
        if instrument not in self._series:
            return np.full(len(ends), np.nan)
        steps, prices = self._series[instrument].read()
        wanted = (ends - 1) // self.step_ns
        if np.array_equal(wanted, steps):
            return prices.copy()
        rows = np.searchsorted(steps, wanted, "right") - 1
        return np.where(rows >= 0, prices[np.maximum(rows, 0)], np.nan)
