"""Where market data comes from; every feed fits the one Protocol in ``base``."""

from headrace.feeds.arrays import ArrayFeed
from headrace.feeds.base import Feed, FeedItem, Frame, SizedFeed
from headrace.feeds.recording import RecordingFeed
from headrace.feeds.synthetic import SyntheticFeed, synthetic_session

__all__ = ["ArrayFeed", "Feed", "FeedItem", "Frame", "RecordingFeed", "SizedFeed", "SyntheticFeed", "synthetic_session"]
