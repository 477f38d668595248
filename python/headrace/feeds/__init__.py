"""Where market data comes from; every feed fits the one Protocol in ``base``.

The generator of sessions is imported at its first use, so that a live engine does not load it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.feeds.arrays import ArrayFeed
from headrace.feeds.base import Feed, FeedItem, Frame, LiveFeed, Push, PushFeed, SizedFeed
from headrace.feeds.recording import RecordingFeed

if TYPE_CHECKING:
    from headrace.feeds.synthetic import SyntheticFeed, synthetic_session

__all__ = [
    "ArrayFeed",
    "Feed",
    "FeedItem",
    "Frame",
    "LiveFeed",
    "Push",
    "PushFeed",
    "RecordingFeed",
    "SizedFeed",
    "SyntheticFeed",
    "synthetic_session",
]


def __getattr__(name: str) -> object:
    """Import the generator at its first use."""
    if name in ("SyntheticFeed", "synthetic_session"):
        from headrace.feeds import synthetic

        return getattr(synthetic, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
