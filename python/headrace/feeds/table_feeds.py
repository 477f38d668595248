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

__all__ = ["table_feed", "table_feed_class"]


def table_feed_class(path: Path) -> type[TickFeed | CandleFeed]:
    """Return the feed's class for a file of columns: of candles where it has an open and a close. Raises DataError."""
    from headrace.feeds.candles import CandleFeed, is_candle_file
    from headrace.feeds.tick_table import TickFeed

    return CandleFeed if is_candle_file(path) else TickFeed


def table_feed(path: Path, named: str | None) -> TickFeed | CandleFeed:
    """Return the feed of a file of columns. named : its venue, or its instrument. Raises DataError, OptionError."""
    make = table_feed_class(path)
    if named is None:
        return make(path)
    return make(path, instrument=named) if "." in named else make(path, venue=named)
