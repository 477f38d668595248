"""Marks: the last price of each instrument: of its newest quote, else of its candles.

::

    dispatcher.newest.quote ─┬▶ gates: a quote with two sides
    candles: open, close ────┴▶ account: a mid

Guarantees: an instrument that has quotes is marked by them alone.
Does not: keep more than one price of an instrument.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from headrace.market.money import decimal_of
from headrace.market.tick import NewestQuote

if TYPE_CHECKING:
    from decimal import Decimal

    import headrace._native as _native
    from headrace.dispatch.dispatcher import Dispatcher

__all__ = ["Marks"]


class Marks:
    """The marks of one engine. dispatcher : has the quotes. candles : has the prices that they opened or closed at."""

    def __init__(self, dispatcher: Dispatcher, candles: _native.CandleMerge) -> None:
        self._dispatcher = dispatcher
        self._candles = candles

    def quote(self, instrument: str) -> NewestQuote | None:
        """Return the newest quote, or the last price of a candle as one whose sizes are unknown; None without both."""
        quote = self._dispatcher.newest.quote(instrument)
        mark = None if quote is not None else self._candles.mark(instrument)
        if mark is None:
            return quote
        price, ts_ns = mark
        return NewestQuote(price, price, math.nan, math.nan, ts_ns, 0, 0)

    def mid(self, instrument: str) -> Decimal | None:
        """Return the last mid, or the last price of a candle; None without both."""
        mid = self._dispatcher.newest.mid(instrument)
        mark = None if mid is not None else self._candles.mark(instrument)
        return mid if mark is None else decimal_of(mark[0])
