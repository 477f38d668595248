"""BarHistory: the latest bars of each instrument and timeframe as arrays, for indicators.

::

    published bars ─▶ a row each, when the arrays are read ─▶ history(instrument, timeframe, n) ─▶ read-only views

Guarantees: arrays that were given never change, however long they are kept; of each kind of bar, a bounded number is
kept (BARS_HISTORY_MAX). A bar that is open is in none of them.
Does not: make bars.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from headrace.errors import OptionError
from headrace.limits import BARS_HISTORY_MAX
from headrace.market.checks import whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.market.events import Bar

__all__ = ["BarArrays", "BarHistory"]

PRICES = ("open", "high", "low", "close", "volume")
# Rows of a series' first buffer.
ROWS_FIRST = 256


class BarArrays(NamedTuple):
    """Bars, the oldest first: int64 ns, and float64. All have one length, and are read-only."""

    ts_open: np.ndarray
    ts_close: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray


class _Series:
    """The bars of one instrument, timeframe and price."""

    def __init__(self) -> None:
        self._new: list[Bar] = []
        self._times = np.empty((ROWS_FIRST, 2), "i8")
        self._values = np.empty((ROWS_FIRST, len(PRICES)), "f8")
        self._rows = 0

    def add(self, bar: Bar) -> None:
        self._new.append(bar)
        if len(self._new) == BARS_HISTORY_MAX:
            self._write()

    def _write(self) -> None:
        """Write the new bars behind the others; rows that a view may show are left as they are."""
        new, self._new = self._new, []
        if self._rows + len(new) > len(self._times):
            kept = min(self._rows, BARS_HISTORY_MAX)
            size = min(2 * max(len(self._times), kept + len(new)), 4 * BARS_HISTORY_MAX)
            times, values = np.empty((size, 2), "i8"), np.empty((size, len(PRICES)), "f8")
            times[:kept] = self._times[self._rows - kept : self._rows]
            values[:kept] = self._values[self._rows - kept : self._rows]
            self._times, self._values, self._rows = times, values, kept
        end = self._rows + len(new)
        self._times[self._rows : end] = [(bar.ts_open, bar.ts_close) for bar in new]
        self._values[self._rows : end] = [(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in new]
        self._rows = end

    def arrays(self, count: int) -> BarArrays:
        if self._new:
            self._write()
        first = max(0, self._rows - count)
        times, values = self._times[first : self._rows], self._values[first : self._rows]
        times.flags.writeable = values.flags.writeable = False
        return BarArrays(times[:, 0], times[:, 1], *(values[:, place] for place in range(len(PRICES))))


class BarHistory:
    """The bars of one engine."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, str], _Series] = {}

    def add(self, bars: Iterable[Bar]) -> None:
        """Keep bars that are published."""
        for bar in bars:
            key = (bar.instrument, bar.timeframe, bar.price)
            series = self._series.get(key)
            if series is None:
                series = self._series[key] = _Series()
            series.add(bar)

    def arrays(self, instrument: str, timeframe: str, count: int, price: str = "trade") -> BarArrays:
        """Return the latest ``count`` bars, fewer where there are fewer. O(new bars). Raises OptionError."""
        whole("n", count, 1, BARS_HISTORY_MAX, "bars")
        series = self._series.get((instrument, timeframe, price))
        return (_Series() if series is None else series).arrays(count)

    def refuse_unknown(self, instrument: str, timeframe: str, price: str) -> None:
        """Raise OptionError for bars that nothing makes."""
        if (instrument, timeframe, price) not in self._series:
            known = sorted({f"{own[0]} {own[1]}" for own in self._series}) or ["none yet"]
            msg = (
                f"no strategy takes {timeframe} {price} bars of {instrument}: there are {', '.join(known[:10])}; "
                "add it to bars"
            )
            raise OptionError(msg, option="timeframe")
