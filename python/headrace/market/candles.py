"""Candles as NumPy records, and what a quant does with them: check, resample, look back.

::

    CANDLE_DTYPE   ts_open ts_close open high low close volume count     64 bytes

Guarantees: ``ts_close`` is ``ts_open`` and the interval, in ns since 1970-01-01 UTC; volumes of unknown size are 0.
Does not: read files (``feeds.candles``), or publish.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from headrace.errors import OptionError
from headrace.market.bars import interval_ns
from headrace.market.checks import of_type, one_of
from headrace.market.events import Cause

__all__ = ["CANDLE_DTYPE", "CandleOpen", "Resampler", "resample"]

_VALUES = ("open", "high", "low", "close", "volume")
CANDLE_DTYPE = np.dtype(
    [("ts_open", "<i8"), ("ts_close", "<i8"), *((name, "<f8") for name in _VALUES), ("count", "<i8")]
)
"""A candle: times in int64 ns since 1970-01-01 UTC, prices and volume, and how many trades it is made of."""


class CandleOpen(NamedTuple):
    """A candle that begins: nothing else of it is known. number : of it in its feed. ts_open : ns."""

    instrument: str
    price: float
    number: int
    ts_open: int

    @property
    def seen(self) -> Cause:
        """What a fill at this open names."""
        return Cause(self.instrument, "candle", self.number, self.number, self.ts_open)


class Resampler:
    """Makes candles of a longer timeframe from shorter ones, block by block.

    timeframe : the longer one; its windows are multiples of it since 1970-01-01 UTC.
    partial : "drop" the last window when the data ends inside of it, or "keep" it, closed where the data ends.

    A window is stamped at its end, where it is complete: there is no look-ahead. A candle that crosses the end of a
    window, as hours that begin at half past do, belongs to the next one. Windows without candles make none.
    Raises OptionError: the timeframe is no multiple of the candles' own.
    """

    def __init__(self, timeframe: str, *, partial: Literal["drop", "keep"] = "drop") -> None:
        self.timeframe = timeframe
        self._length_ns = interval_ns(timeframe)
        self._keeps = one_of("partial", partial, ("drop", "keep")) == "keep"
        # The candles of the window that is open.
        self._open = np.zeros(0, CANDLE_DTYPE)

    def push(self, candles: np.ndarray) -> np.ndarray:
        """Take candles in the order of time; return the windows that they complete. O(n)."""
        if not len(candles):
            return np.zeros(0, CANDLE_DTYPE)
        own_ns = int(candles["ts_close"][0] - candles["ts_open"][0])
        if own_ns <= 0 or self._length_ns % own_ns:
            msg = f"timeframe={self.timeframe!r} is no multiple of the candles' {own_ns:,} ns: choose one that is"
            raise OptionError(msg, option="timeframe")
        each = np.concatenate([self._open, candles])
        windows = self._windows(each)
        starts = np.flatnonzero(np.diff(windows, prepend=windows[0] - 1))
        made = self._joined(each, windows, starts)
        # The last window is complete when a candle ends with it.
        is_whole = each["ts_close"][-1] >= made["ts_close"][-1]
        self._open = each[:0] if is_whole else each[starts[-1] :]
        return made if is_whole else made[:-1]

    def finish(self) -> np.ndarray:
        """Return the window that the end of the data cuts, with "keep"; its close time is the data's end."""
        rest, self._open = self._open, self._open[:0]
        if not len(rest) or not self._keeps:
            return np.zeros(0, CANDLE_DTYPE)
        made = self._joined(rest, self._windows(rest), np.zeros(1, "i8"))
        made["ts_close"] = rest["ts_close"][-1]
        return made

    def _windows(self, candles: np.ndarray) -> np.ndarray:
        """Return the number of the window in which each candle closes."""
        windows: np.ndarray = (candles["ts_close"] - 1) // self._length_ns
        return windows

    def _joined(self, each: np.ndarray, windows: np.ndarray, starts: np.ndarray) -> np.ndarray:
        made = np.zeros(len(starts), CANDLE_DTYPE)
        made["ts_open"] = windows[starts] * self._length_ns
        made["ts_close"] = made["ts_open"] + self._length_ns
        made["open"] = each["open"][starts]
        made["close"] = each["close"][np.append(starts[1:], len(each)) - 1]
        made["high"] = np.maximum.reduceat(each["high"], starts)
        made["low"] = np.minimum.reduceat(each["low"], starts)
        for name in ("volume", "count"):
            made[name] = np.add.reduceat(each[name], starts)
        return made


def resample(candles: np.ndarray, timeframe: str, *, partial: Literal["drop", "keep"] = "drop") -> np.ndarray:
    """Return candles of a longer timeframe.

    candles : shape (n,), dtype CANDLE_DTYPE, in the order of time. Returns dtype CANDLE_DTYPE. O(n).
    Raises OptionError.
    """
    of_type("candles", candles, np.ndarray)
    if candles.dtype != CANDLE_DTYPE:
        msg = f"candles have dtype {candles.dtype}, not CANDLE_DTYPE: read them with CandleFeed(...).read()"
        raise OptionError(msg, option="candles")
    resampler = Resampler(timeframe, partial=partial)
    return np.concatenate([resampler.push(candles), resampler.finish()])
