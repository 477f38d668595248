"""Marks: the last price of each instrument: of its newest quote, else of its candles.

::

    dispatcher.newest_quote ─┬▶ gates: a quote with two sides
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

    from headrace.dispatch.dispatcher import Dispatcher

__all__ = ["Marks"]


class Marks:
    """The marks of one engine. dispatcher : has the quotes."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._candles: dict[str, tuple[float, int]] = {}

    def set(self, instrument: str, price: float, ts_ns: int) -> None:
        """Set the price that a candle opened or closed at."""
        self._candles[instrument] = (price, ts_ns)

    def quote(self, instrument: str) -> NewestQuote | None:
        """Return the newest quote, or the last price of a candle as one whose sizes are unknown; None without both."""
        quote = self._dispatcher.newest_quote(instrument)
        if quote is not None or instrument not in self._candles:
            return quote
        price, ts_ns = self._candles[instrument]
        return NewestQuote(price, price, math.nan, math.nan, ts_ns, 0, 0)

    def mid(self, instrument: str) -> Decimal | None:
        """Return the last mid, or the last price of a candle; None without both."""
        mid = self._dispatcher.last_mid(instrument)
        if mid is not None or instrument not in self._candles:
            return mid
        return decimal_of(self._candles[instrument][0])
