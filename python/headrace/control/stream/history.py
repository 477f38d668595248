"""History: numbers of the last day, in three levels of detail that never grow.

::

    a sample a second ─▶ 1 s × 900: 15 min ─▶ 8 s × 900: 2 h ─▶ 96 s × 900: 24 h
                                              each slot: the lowest, the highest and the last value

What happens while nothing is sampled
    The slots in between are empty, so that a chart shows a hole and no line across it.

Guarantees: a spike of one second is in every level, as the lowest or the highest value of its slot; memory is bounded,
since there are at most SERIES_MAX series: what comes after is counted and not kept.
Does not: survive the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.control.plain import plain_whole
from headrace.errors import OptionError
from headrace.limits import HISTORY_SERIES_MAX
from headrace.market.checks import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["LEVELS_S", "SPANS", "History"]

SECOND_NS = 1_000_000_000
SLOTS = 900
# The length of a slot, s.
LEVELS_S = (1, 8, 96)
# What may be asked for, and the level that has it.
SPANS = {"15m": 0, "2h": 1, "24h": 2}
LOW, HIGH, LAST = range(3)
# Rows of the arrays; they double when they are used up.
ROWS_FIRST = 16


class _Level:
    """The newest SLOTS slots of one length, as a ring. values : shape (SLOTS, series, 3), float64, NaN where empty.

    A slot is made empty when its time comes: until then it takes no memory, and 256 series cost nothing at the start.
    """

    def __init__(self, step_ns: int) -> None:
        self.step_ns = step_ns
        # The numbers of the newest slot and of the first one ever, since 1970; -1 before the first sample.
        self.newest = self._first = -1
        self.values = np.empty((SLOTS, ROWS_FIRST, 3))

    @property
    def _kept(self) -> range:
        """The numbers of the slots that are kept, oldest first."""
        return range(max(self._first, self.newest - SLOTS + 1), self.newest + 1) if self.newest >= 0 else range(0)

    def grow(self, rows: int) -> None:
        """Make room for series; the new ones are empty."""
        more, slots = np.empty((SLOTS, rows, 3)), _places(self._kept)
        known = self.values.shape[1]
        more[slots, :known] = self.values[slots]
        more[slots, known:] = np.nan
        self.values = more

    def add(self, ts_ns: int, samples: np.ndarray) -> None:
        """Fold samples into the slot of a time. samples : shape (series,), NaN for those without one."""
        number = ts_ns // self.step_ns
        if self.newest < 0:
            self._first = number
        if number > self.newest:
            begun = range(max(self._first, self.newest + 1, number - SLOTS + 1), number + 1)
            self.values[_places(begun)] = np.nan
            self.newest = number
        elif number not in self._kept:
            return
        slot = self.values[number % SLOTS, : len(samples)]
        # A NaN is no value: fmin and fmax take the other one.
        slot[:, LOW] = np.fmin(slot[:, LOW], samples)
        slot[:, HIGH] = np.fmax(slot[:, HIGH], samples)
        slot[:, LAST] = np.where(np.isnan(samples), slot[:, LAST], samples)

    def read(self, rows: Sequence[int]) -> tuple[int, np.ndarray]:
        """Return the time of the first slot, ns, and the slots from there on, oldest first: (rows, slots, 3)."""
        kept = self._kept
        taken = self.values[np.ix_(_places(kept), list(rows))].transpose(1, 0, 2)
        filled = np.flatnonzero(~np.isnan(taken[:, :, LAST]).all(axis=0))
        skipped = int(filled[0]) if len(filled) else len(kept)
        return (kept.start + skipped) * self.step_ns, taken[:, skipped:]


def _places(numbers: range) -> list[int]:
    return [number % SLOTS for number in numbers]


class History:
    """Series by name. Used on one thread. series_max : how many are kept."""

    def __init__(self, *, series_max: int = HISTORY_SERIES_MAX) -> None:
        self._series_max = series_max
        self._rows: dict[str, int] = {}
        self._levels = [_Level(step_s * SECOND_NS) for step_s in LEVELS_S]
        # Samples of series that there was no room for.
        self.refused = 0

    @property
    def names(self) -> Sequence[str]:
        """The series that there are, in the order of their first samples."""
        return list(self._rows)

    @property
    def nbytes(self) -> int:
        """The memory of the samples."""
        return sum(level.values.nbytes for level in self._levels)

    def add(self, ts_ns: int, samples: Mapping[str, float | None]) -> None:
        """Take a sample of each series; None: it has none now. O(series)."""
        for name in samples:
            if name not in self._rows:
                if len(self._rows) >= self._series_max:
                    self.refused += 1
                    continue
                self._rows[name] = len(self._rows)
        if len(self._rows) > self._levels[0].values.shape[1]:
            rows = min(max(2 * self._levels[0].values.shape[1], len(self._rows)), max(self._series_max, ROWS_FIRST))
            for level in self._levels:
                level.grow(rows)
        values = np.full(len(self._rows), np.nan)
        for name, value in samples.items():
            if value is not None and name in self._rows:
                values[self._rows[name]] = value
        for level in self._levels:
            level.add(ts_ns, values)

    def read(self, names: Iterable[str], span: str) -> dict[str, Any]:
        """Return series as plain values: the time of the first slot, the step, and low, high, last of each slot.

        names : of series, or "strategies/momentum/*" for all that begin so. span : one of SPANS.
        An empty slot is None. Raises OptionError for an unknown series or span.
        """
        if span not in SPANS:
            msg = f"span={span!r} is not kept{nearest(span, SPANS)}: use one of {', '.join(SPANS)}"
            raise OptionError(msg, option="span")
        chosen = list(dict.fromkeys(own for name in names for own in self._matching(name)))
        level = self._levels[SPANS[span]]
        first_ns, taken = level.read([self._rows[name] for name in chosen])
        columns: np.ndarray = taken.astype(object)
        columns[np.isnan(taken)] = None
        return {
            "span": span,
            "step_ns": plain_whole(level.step_ns),
            "first_ns": plain_whole(first_ns if columns.shape[1] else 0),
            "series": {
                name: {"low": own[:, LOW].tolist(), "high": own[:, HIGH].tolist(), "last": own[:, LAST].tolist()}
                for name, own in zip(chosen, columns, strict=True)
            },
        }

    def _matching(self, name: str) -> list[str]:
        if name.endswith("*"):
            return [own for own in self._rows if own.startswith(name[:-1])]
        if name not in self._rows:
            msg = f"series={name!r} is unknown{nearest(name, self._rows)}: the history has {len(self._rows)} series"
            raise OptionError(msg, option="series")
        return [name]
