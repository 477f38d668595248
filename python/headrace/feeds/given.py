"""Given: feeds out of what a user gives as sources, and what cannot be a feed of an engine.

::

    recording, FILE@VENUE ─▶ RecordingFeed       file of columns, FILE@VENUE, FILE@SYMBOL.VENUE ─▶ its feed
    array, table, .npy ─▶ ArrayFeed              feed ─▶ itself

Guarantees: what is refused is refused before anything is opened, and the error names the feed.
Does not: open or read (``sources``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from headrace.errors import OptionError
from headrace.feeds.arrays import ArrayFeed
from headrace.feeds.base import AnnouncingFeed, AnyFeed, CandleSource, Feed, LiveFeed, PushFeed
from headrace.feeds.naming import NamedFeed
from headrace.feeds.recording import RecordingFeed, checked_venue
from headrace.feeds.table_feeds import table_feed
from headrace.feeds.tables import Table, is_table, is_table_path, ticks_of_table
from headrace.market.checks import of_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "Source",
    "announced_by",
    "feeds_of",
    "is_live",
    "refuse_candles",
    "refuse_live",
    "refuse_nothing_to_record",
]

Source: TypeAlias = "str | os.PathLike[str] | np.ndarray | Table | AnyFeed"


def is_live(feed: AnyFeed) -> bool:
    """Return whether a feed's items arrive now."""
    return isinstance(feed, LiveFeed | PushFeed)


def refuse_live(feeds: Iterable[AnyFeed]) -> None:
    """Refuse what a replay cannot have. Raises OptionError."""
    for feed in feeds:
        if is_live(feed):
            msg = f"feed {feed.name!r} is live, and a replay has no now: record it, and replay the recording"
            raise OptionError(msg, option="feeds")


def refuse_candles(feeds: Iterable[AnyFeed]) -> None:
    """Refuse candles where bars are made from ticks. Raises OptionError."""
    for feed in feeds:
        if isinstance(feed, CandleSource):
            msg = f"feed {feed.name} has candles, and only a replay takes them: live, bars are made from ticks"
            raise OptionError(msg, option="feeds")


def refuse_nothing_to_record(feeds: Iterable[AnyFeed], record: str | os.PathLike[str]) -> None:
    """Refuse a recording of feeds none of which is live. Raises OptionError."""
    if not any(map(is_live, feeds)):
        msg = f"record={str(record)!r} records live feeds, and no feed of this engine is one: leave it out"
        raise OptionError(msg, option="record")


def announced_by(feeds: Iterable[AnyFeed]) -> Iterator[str]:
    """Yield the names of the instruments that feeds announce."""
    for feed in feeds:
        if isinstance(feed, AnnouncingFeed):
            with NamedFeed(feed, "instruments"):
                names = list(feed.instruments)
                for name in names:
                    of_type("instruments", name, str)
            yield from names


def feeds_of(sources: Source | Iterable[Source], venue: str | None = None) -> list[AnyFeed]:
    """Return a feed for each source; a path may name its venue, or an instrument (``Source``). Raises OptionError."""
    checked_venue(venue)
    if isinstance(sources, Mapping | AbstractSet):
        msg = f"sources={type(sources).__name__} has no order, which decides between equal times: give a list"
        raise OptionError(msg, option="sources")
    is_one = isinstance(sources, str | bytes | os.PathLike | np.ndarray | Feed | PushFeed | CandleSource) or is_table(
        sources
    )
    each: Iterable[object] = [sources] if is_one or not isinstance(sources, Iterable) else sources
    feeds = [_feed_of(source, venue) for source in each]
    _refuse_confused(feeds)
    arrays = [feed for feed in feeds if isinstance(feed, ArrayFeed)]
    nameless = [feed.name for feed in arrays if not feed.instruments]
    if nameless and len(arrays) > 1:
        msg = (
            f"{nameless[0]} is one of {len(arrays)} arrays, and its ids have no names: build it with ticks(), or "
            f"give ArrayFeed(…, instruments=[names in order of the ids])"
        )
        raise OptionError(msg, option="sources")
    if not feeds:
        msg = "there is nothing to replay: name at least one recording, array or feed"
        raise OptionError(msg, option="sources")
    return feeds


def _refuse_confused(feeds: Sequence[AnyFeed]) -> None:
    """Refuse feeds that would be taken for one another, and names that cannot be written. Raises OptionError."""
    for number, feed in enumerate(feeds):
        name: object = feed.name
        venue: object = feed.venue
        if venue is not None and not isinstance(venue, str):
            msg = f"the venue of {type(feed).__name__} is {venue!r}: give a text, or None for a feed of ticks"
            raise OptionError(msg, option="feeds")
        if not isinstance(name, str) or not name.isprintable():
            msg = f"the name of {type(feed).__name__} is {name!r}: give it a text, which errors and tables show"
            raise OptionError(msg, option="feeds")
        for other in feeds[:number]:
            if other is feed or (other.name == feed.name and is_live(other) and is_live(feed)):
                msg = f"feed {feed.name} is given twice: make a feed of its own, with a name of its own, for each"
                raise OptionError(msg, option="feeds")


def _feed_of(source: object, venue: str | None) -> AnyFeed:
    if isinstance(source, np.ndarray):
        return ArrayFeed(source)
    if is_table(source):
        return ArrayFeed(ticks_of_table(source))
    if isinstance(source, Feed | PushFeed | CandleSource) and not isinstance(source, type):
        return source
    if not isinstance(source, str | os.PathLike):
        msg = f"source {source!r} cannot be replayed: give a path, an array of TICK_DTYPE, or a Feed"
        raise OptionError(msg, option="sources")
    path, named = _split_venue(os.fspath(source))
    venue = venue if named is None else named
    if path.suffix == ".npy":
        if named is not None:
            msg = f"{source}: an array has no venue; name its instruments with ArrayFeed(…, instruments=[…])"
            raise OptionError(msg, option="sources")
        return ArrayFeed(path)
    return table_feed(path, venue) if is_table_path(path) else RecordingFeed(path, venue=venue)


def _split_venue(text: str) -> tuple[Path, str | None]:
    """Divide ``FILE@VENUE``; a file whose very name is the whole text wins."""
    path, at, venue = text.rpartition("@")
    if not at or not path or "/" in venue or os.sep in venue or os.path.exists(text):  # noqa: PTH110 - Path.exists raises for a path that cannot be
        return Path(text), None
    return Path(path), venue
