"""Newest: the newest published prices of each instrument, delivered to a handler or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import headrace._native as _native
from headrace.market.money import mid_of
from headrace.market.tick import NewestQuote, NewestTrade, kind_named

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["Newest"]


class Newest:
    """The newest prices of what one dispatcher has published. Each call is O(1), from any thread."""

    def __init__(self, ingest: _native.Ingest) -> None:
        self._ingest = ingest

    def quote(self, instrument: str) -> NewestQuote | None:
        """Return the newest quote of an instrument; None before the first."""
        newest = self._ingest.newest_quote(instrument)
        return None if newest is None else NewestQuote(*newest)

    def trade(self, instrument: str) -> NewestTrade | None:
        """Return the newest trade in order, an aggregate one where there are no others; None before the first."""
        for kind in ("trade", "agg_trade"):
            newest = self._ingest.newest_trade(instrument, kind_named(kind).number)
            if newest is not None:
                return NewestTrade(*newest)
        return None

    def mid(self, instrument: str) -> Decimal | None:
        """Return the mid of the newest quote that had both sides; None before the first."""
        sides = self._ingest.last_sides(instrument)
        return None if sides is None else mid_of(*sides)

    def received_ns(self, instrument: str, kind: str) -> int | None:
        """Return when the newest tick of an instrument in order was received, ns; None before the first.

        kind : of state, such as "quote", or "trade" or "agg_trade". Raises KindError.
        """
        return self._ingest.newest_ns(instrument, kind_named(kind).number)
