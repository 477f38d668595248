"""Data of a backtest: the instruments that its feeds have, as far as they say before the run.

Guarantees: a feed that is looked into is closed again, and read from its beginning by the run.
Does not: read feeds of a user's own before the run; those that announce their instruments are believed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import headrace._native as _native
from headrace.engine.replay import on_own_thread
from headrace.feeds.arrays import ArrayFeed
from headrace.feeds.base import AnnouncingFeed
from headrace.feeds.recording import RecordingFeed
from headrace.market.running_loop import has_running_loop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.feeds.base import AnyFeed

__all__ = ["names_of"]

# As many as show the venue of a recording.
FRAMES = 1_000


def names_of(feeds: Sequence[AnyFeed]) -> list[str]:
    """Return the instruments that are known before the run, in their order. Raises what opening a recording raises."""
    found: list[str] = []

    def look() -> None:
        found.extend(asyncio.run(_names_of(feeds)))

    if has_running_loop():
        on_own_thread(look)
    else:
        look()
    return list(dict.fromkeys(found))


async def _names_of(feeds: Sequence[AnyFeed]) -> list[str]:
    names: list[str] = []
    for feed in feeds:
        announced = list(feed.instruments) if isinstance(feed, AnnouncingFeed) else []
        names += announced
        if not announced and isinstance(feed, RecordingFeed | ArrayFeed):
            try:
                await feed.open()
                names += _names_in_array(feed) if isinstance(feed, ArrayFeed) else await _names_in_recording(feed)
            finally:
                await feed.close()
    return names


def _names_in_array(feed: ArrayFeed) -> list[str]:
    return [f"{number}.ARRAY" for number in range(feed.instrument_ids)]


async def _names_in_recording(feed: RecordingFeed) -> list[str]:
    assert feed.venue is not None  # Found when it was opened.
    instruments = _native.Instruments()
    decoder = _native.Decoder(feed.venue, instruments)
    async for block in feed:
        for line in block.splitlines()[:FRAMES]:
            decoder.decode(line.partition(b" ")[2], 0)
        break
    return instruments.names()
