"""BarHistory: the latest bars of each instrument and timeframe as arrays, for indicators.

::

    published bars ─────────────┬▶ a row each, when the arrays are read ─▶ history(instrument, timeframe, n) ─▶ views
    candles of native code ─────┘

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
    from collections.abc import Callable, Iterable, Mapping

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
        """Write the new bars behind the others."""
        new, self._new = self._new, []
        times = np.array([(bar.ts_open, bar.ts_close) for bar in new], "i8")
        self._append(times, np.array([(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in new]))

    def add_candles(self, candles: np.ndarray) -> None:
        """Add closed candles: an array with fields of these names."""
        if self._new:
            self._write()
        candles = candles[-BARS_HISTORY_MAX:]
        times = np.column_stack([candles["ts_open"], candles["ts_close"]])
        self._append(times, np.column_stack([candles[name] for name in PRICES]))

    def _append(self, new_times: np.ndarray, new_values: np.ndarray) -> None:
        """Write rows behind the others; rows that a view may show are left as they are."""
        count = len(new_times)
        if self._rows + count > len(self._times):
            kept = min(self._rows, BARS_HISTORY_MAX)
            size = min(2 * max(len(self._times), kept + count), 4 * BARS_HISTORY_MAX)
            times, values = np.empty((size, 2), "i8"), np.empty((size, len(PRICES)), "f8")
            times[:kept] = self._times[self._rows - kept : self._rows]
            values[:kept] = self._values[self._rows - kept : self._rows]
            self._times, self._values, self._rows = times, values, kept
        end = self._rows + count
        self._times[self._rows : end] = new_times
        self._values[self._rows : end] = new_values
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
        self._unread: Mapping[tuple[str, str, str], Callable[[], np.ndarray]] = {}

    def follow(self, unread: Mapping[tuple[str, str, str], Callable[[], np.ndarray]]) -> None:
        """Take published candles, too: by key, what returns those that are new."""
        self._unread = unread

    def _of(self, key: tuple[str, str, str]) -> _Series | None:
        """Return the bars of a key up to now; None: there are none."""
        series = self._series.get(key)
        unread = self._unread.get(key)
        if unread is not None and len(candles := unread()):
            if series is None:
                series = self._series[key] = _Series()
            series.add_candles(candles)
        return series

    def add(self, bars: Iterable[Bar]) -> None:
        """Keep bars that are published."""
        for bar in bars:
            key = (bar.instrument, bar.timeframe, bar.price)
            series = self._of(key)
            if series is None:
                series = self._series[key] = _Series()
            series.add(bar)

    def arrays(self, instrument: str, timeframe: str, count: int, price: str = "trade") -> BarArrays:
        """Return the latest ``count`` bars, fewer where there are fewer. O(new bars). Raises OptionError."""
        whole("n", count, 1, BARS_HISTORY_MAX, "bars")
        series = self._of((instrument, timeframe, price))
        return (_Series() if series is None else series).arrays(count)

    def refuse_unknown(self, instrument: str, timeframe: str, price: str) -> None:
        """Raise OptionError for bars that nothing makes."""
        for key in self._unread:
            self._of(key)
        if (instrument, timeframe, price) not in self._series:
            known = sorted({f"{own[0]} {own[1]}" for own in self._series}) or ["none yet"]
            msg = (
                f"no strategy takes {timeframe} {price} bars of {instrument}: there are {', '.join(known[:10])}; "
                "add it to bars"
            )
            raise OptionError(msg, option="timeframe")
