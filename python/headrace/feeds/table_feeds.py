"""Table feeds: which feed a file of columns has: candles where it holds an open and a close, else ticks.

Guarantees: the readers of such files are imported at their first use, so that a live engine does not load them.
Does not: read more of a file than its columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.feeds.candles import CandleFeed
    from headrace.feeds.tick_table import TickFeed

__all__ = ["table_feed"]


def table_feed(path: Path, venue: str | None) -> TickFeed | CandleFeed:
    """Return the feed of a file of columns: candles where it has an open and a close, else ticks. Raises DataError."""
    from headrace.feeds.candles import CandleFeed, is_candle_file
    from headrace.feeds.tick_table import TickFeed

    if is_candle_file(path):
        return CandleFeed(path, venue=venue or "BINANCE")
    return TickFeed(path, venue=venue)
