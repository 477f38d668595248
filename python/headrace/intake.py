"""Intake: what feeds yield, on its way to the native pump that merges, decodes and numbers it.

::

    sources ─▶ feeds_of ─▶ open, find venues ─▶ pump asks for a source ─▶ its next item

Guarantees: every feed is closed, however it ends; a feed that makes the intake wait does not make it deaf to a stop.
Does not: publish; that is the pump's part, when it is driven.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from headrace import _native
from headrace._native import PumpStatus
from headrace.clock import PacedClock
from headrace.errors import OptionError
from headrace.feeds import ArrayFeed, Feed, Frame, LiveFeed, PushFeed, RecordingFeed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from headrace.clock import Clock
    from headrace.dispatch import Dispatcher
    from headrace.feeds import FeedItem

__all__ = ["HELD_S", "INGEST_TICKS", "WAIT_S", "AnyFeed", "Intake", "Source", "feeds_of", "refuse_live"]

AnyFeed: TypeAlias = "Feed | PushFeed"
Source: TypeAlias = "str | os.PathLike[str] | np.ndarray | AnyFeed"

# How long it may be deaf to a stop while it waits.
WAIT_S = 0.05
# How soon a feed that was held up is tried again.
HELD_S = 0.001
# Ticks that are published before others have a turn.
INGEST_TICKS = 1_024
# What a feed cannot yield by mistake, as it could None.
END: Any = object()


class Intake:
    """The open feeds of one run, and the pump that takes their items. Made and used in one event loop.

    is_stopped : looked at while a feed makes it wait.
    """

    def __init__(self, feeds: Sequence[AnyFeed], dispatcher: Dispatcher, is_stopped: Callable[[], bool]) -> None:
        self._feeds = feeds
        # Those of the past, which are merged by receive time; live ones are taken as they come.
        self._paced = [feed for feed in feeds if isinstance(feed, Feed) and not _is_live(feed)]
        self.live = [feed for feed in feeds if _is_live(feed)]
        self._dispatcher = dispatcher
        self._is_stopped = is_stopped
        self._items: list[AsyncIterator[FeedItem]] = []

    async def open(self) -> _native.Pump:
        """Open every feed, and return the pump over them. Raises what a feed raises."""
        for feed in self._feeds:
            await feed.open()
        self._name_array_instruments()
        pump = self._dispatcher.open_pump()
        for feed in self._paced:
            decoder = None if feed.venue is None else _native.Decoder(feed.venue, self._dispatcher.instruments)
            pump.add_source(feed.name, decoder)
        self._items = [aiter(feed) for feed in self._paced]
        return pump

    async def close(self) -> None:
        """Close every feed, also when one raises, whose error is raised then; may be called twice."""
        async with AsyncExitStack() as closing:
            for feed in reversed(self._feeds):
                closing.push_async_callback(feed.close)

    async def give(self, pump: _native.Pump, source: int) -> None:
        """Give the pump the next item of a source, or its end."""
        import asyncio  # 20 ms that only who runs a loop pays

        waiting = asyncio.ensure_future(anext(self._items[source], END))
        while not (await asyncio.wait({waiting}, timeout=WAIT_S))[0]:
            if self._is_stopped():
                waiting.cancel()
                return
        item = waiting.result()
        if item is END:
            pump.finish(source)
        else:
            pump.push(source, item.as_line() if isinstance(item, Frame) else item)

    async def first_ns(self, pump: _native.Pump) -> int | None:
        """Return when the first item was received; None when the feeds have none, or live ones have none yet."""
        while self._paced:
            status, argument = pump.peek()
            if status is not PumpStatus.NEED:
                return argument if status is PumpStatus.UNTIL else None
            await self.give(pump, argument)
        return None

    async def bring(self, pump: _native.Pump, clock: Clock, schedule: Callable[[], None]) -> None:
        """Live: publish what recorded feeds have as it comes due, and schedule a turn after each, until they end."""
        paced = clock if isinstance(clock, PacedClock) else None
        while self._paced:
            status, argument = pump.ingest(clock.now_ns() if paced is None else paced.due_ns(), INGEST_TICKS)
            self.keep_rejects(pump)
            if paced is not None and pump.last_ts is not None:
                paced.follow(pump.last_ts)
            schedule()
            if status is PumpStatus.NEED:
                await self.give(pump, argument)
            elif status is PumpStatus.UNTIL:
                await self.wait(
                    max(0.0, (argument - clock.now_ns()) / 1e9) if paced is None else paced.wait_s(argument)
                )
            elif status is PumpStatus.FULL:
                await self.wait(0.0)
            elif status is PumpStatus.HELD:
                # Somebody who blocks is behind: the feed waits, the loop does not.
                await self.wait(HELD_S)
            else:
                return

    async def wait(self, wait_s: float) -> None:
        """Wait, but not longer than a stop may go unheard."""
        import asyncio  # 20 ms that only who runs a loop pays

        await asyncio.sleep(min(wait_s, WAIT_S))

    def keep_rejects(self, pump: _native.Pump) -> None:
        """Keep the frames that the pump rejected as dead letters."""
        for source, row, reason, ts_ns, frame in pump.take_rejects():
            self._dispatcher.dead_letters.add_frame(source=source, row=row, reason=reason, ts_ns=ts_ns, frame=frame)

    def _name_array_instruments(self) -> None:
        """Give the ids that arrays use, and nobody named, a name that says where they come from."""
        table = self._dispatcher.instruments
        needed = max((feed.instrument_ids for feed in self._feeds if isinstance(feed, ArrayFeed)), default=0)
        for instrument_id in range(len(table), needed):
            table.add(f"{instrument_id}.ARRAY")


def _is_live(feed: AnyFeed) -> bool:
    return isinstance(feed, LiveFeed | PushFeed)


def refuse_live(feeds: Iterable[AnyFeed]) -> None:
    """Refuse what a replay cannot have. Raises OptionError."""
    for feed in feeds:
        if _is_live(feed):
            msg = f"feed {feed.name!r} is live, and a replay has no now: record it, and replay the recording"
            raise OptionError(msg, option="feeds")


def feeds_of(sources: Source | Iterable[Source], venue: str | None = None) -> list[AnyFeed]:
    """Return a feed for each source; a path may name its venue, ``FILE@BINANCE_USDM``. Raises OptionError."""
    _checked_venue(venue)
    if isinstance(sources, str | os.PathLike | np.ndarray | Feed | PushFeed) or not isinstance(sources, Iterable):
        sources = [sources]
    feeds = [_feed_of(source, venue) for source in sources]
    if not feeds:
        msg = "there is nothing to replay: name at least one recording, array or feed"
        raise OptionError(msg, option="sources")
    return feeds


def _feed_of(source: object, venue: str | None) -> AnyFeed:
    if isinstance(source, np.ndarray):
        return ArrayFeed(source)
    if isinstance(source, Feed | PushFeed):
        return source
    if not isinstance(source, str | os.PathLike):
        msg = f"source {source!r} cannot be replayed: give a path, an array of TICK_DTYPE, or a Feed"
        raise OptionError(msg, option="sources")
    path, named = _split_venue(os.fspath(source))
    if path.suffix == ".npy":
        return ArrayFeed(path)
    return RecordingFeed(path, venue=venue if named is None else _checked_venue(named))


def _split_venue(text: str) -> tuple[Path, str | None]:
    """Divide ``FILE@VENUE``; a file whose very name is the whole text wins."""
    path, at, venue = text.rpartition("@")
    if not at or not path or "/" in venue or os.sep in venue or Path(text).exists():
        return Path(text), None
    return Path(path), venue


def _checked_venue(venue: str | None) -> str | None:
    if venue is not None and venue not in _native.VENUES:
        msg = f"venue {venue!r} is unknown: choose one of {', '.join(_native.VENUES)}"
        raise OptionError(msg, option="venue")
    return venue
