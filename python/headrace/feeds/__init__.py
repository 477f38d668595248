"""Where market data comes from; every feed fits the one Protocol in ``base``.

Generators and readers of files of columns are imported at their first use, so that a live engine does not load them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from headrace.feeds.arrays import ArrayFeed
from headrace.feeds.base import CandleSource, Feed, FeedItem, Frame, LiveFeed, Push, PushFeed, SizedFeed
from headrace.feeds.recording import RecordingFeed

if TYPE_CHECKING:
    from headrace.feeds.candles import CandleFeed
    from headrace.feeds.synthetic import SyntheticFeed, synthetic_session
    from headrace.feeds.tick_table import TickFeed

__all__ = [
    "ArrayFeed",
    "CandleFeed",
    "CandleSource",
    "Feed",
    "FeedItem",
    "Frame",
    "LiveFeed",
    "Push",
    "PushFeed",
    "RecordingFeed",
    "SizedFeed",
    "SyntheticFeed",
    "TickFeed",
    "synthetic_session",
]


# Imported at their first use.
_LATER = {
    "CandleFeed": "candles",
    "SyntheticFeed": "synthetic",
    "synthetic_session": "synthetic",
    "TickFeed": "tick_table",
}


def __getattr__(name: str) -> object:
    """Import what a live engine does not need at its first use."""
    if name in _LATER:
        return getattr(import_module(f"headrace.feeds.{_LATER[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
