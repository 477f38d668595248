"""Canonical events: one form for what any venue sends, for subscribers of the bus.

::

    TICKER, TRADE, AGG_TRADE, BOOK_DELTA    ticks of the ring; an event only where the bus has a subscriber
    BOOK_SNAPSHOT, BAR, FUSED               events of the data lane

Guarantees: ``key`` names one event for ever: ``{instrument}:{kind}:{seq}``.
Does not: replace ticks; a strategy that needs speed subscribes to those.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from headrace.market.events import Event

__all__ = ["KINDS", "CanonicalEvent", "CanonicalType", "key_of"]


class CanonicalType(StrEnum):
    """What a route carries."""

    TICKER = "TICKER"
    TRADE = "TRADE"
    AGG_TRADE = "AGG_TRADE"
    BOOK_DELTA = "BOOK_DELTA"
    BOOK_SNAPSHOT = "BOOK_SNAPSHOT"
    BAR = "BAR"
    FUSED = "FUSED"


# The kind of tick that a type is on the ring.
KINDS = {
    CanonicalType.TICKER: "quote",
    CanonicalType.TRADE: "trade",
    CanonicalType.AGG_TRADE: "agg_trade",
    CanonicalType.BOOK_DELTA: "level",
}


class CanonicalEvent(Event, frozen=True, kw_only=True):
    """One event of a route.

    seq : ours, of the tick or of the route. key : names the event for ever. ts_event : the venue's time, ns, 0 without.
    ts_init : when it was received, ns. payload : the fields of its type, by name.
    """

    canonical_type: CanonicalType
    instrument: str
    seq: int
    key: str
    ts_event: int
    ts_init: int
    payload: dict[str, Any]


def key_of(instrument: str, kind: str, seq: int) -> str:
    """Return the name of one event: ``BTCUSDT.BINANCE:trade:17``."""
    return f"{instrument}:{kind}:{seq}"
