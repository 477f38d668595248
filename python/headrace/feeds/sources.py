"""Sources: the open feeds of one run, on their way to the native pump that merges, decodes and numbers their items.

::

    feeds (``given``) ─▶ open, find venues ─▶ the pump needs a source ─▶ ``give`` its next item

Guarantees: every feed is closed, however the run ends; a feed that makes the run wait does not hold up a stop.
Does not: publish; the pump does when a driver moves it.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

import headrace._native as _native
from headrace._native import PumpStatus
from headrace.dispatch.log import LoggedFeed
from headrace.errors import OptionError, SourceOrderError
from headrace.feeds.arrays import ArrayFeed
from headrace.feeds.base import AnyFeed, CandleSource, Feed, Frame, NumberedFeed, SnapshotFeed
from headrace.feeds.candle_merge import CandleMerge, shortest_of
from headrace.feeds.ends import FeedEnds
from headrace.feeds.files import path_text
from headrace.feeds.given import is_live
from headrace.feeds.items import Items
from headrace.feeds.live import END, HELD_S, INGEST_TICKS, LiveSource
from headrace.feeds.naming import NamedFeed, called
from headrace.feeds.recording import RecordingFeed
from headrace.market.clock import PacedClock
from headrace.market.tick_array import InstrumentIds
from headrace.market.user_waits import begun, ended, result_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.engine.loop import LiveDriver
    from headrace.feeds.base import FeedItem, PushTracer
    from headrace.feeds.quality import SourceQuality
    from headrace.feeds.recorder import AnyRecorder
    from headrace.market.clock import Clock

__all__ = ["Sources"]

# The longest wait that does not look whether the run was stopped.
WAIT_S = 0.05
# A feed of the past that has no item for longer waits for something, and live, time goes on without it.
SLOW_S = 1.0


class Sources:
    """The feeds of one run and the pump over them. Made anywhere, used in one event loop.

    ends : keeps how live feeds stand. recorder : writes what they bring. tracer : traces a part of it.
    quality : checks feeds of the past. is_stopped : ends a wait for a feed.
    """

    def __init__(
        self,
        feeds: Sequence[AnyFeed],
        dispatcher: Dispatcher,
        *,
        ends: FeedEnds,
        recorder: AnyRecorder | None = None,
        tracer: PushTracer | None = None,
        quality: SourceQuality | None = None,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.feeds = feeds
        self._ends = ends
        # Feeds of the past are merged by receive time; live ones are taken as they come.
        self._paced = [feed for feed in feeds if isinstance(feed, Feed) and not is_live(feed)]
        self.live = [feed for feed in feeds if is_live(feed)]
        self.candles = [feed for feed in feeds if isinstance(feed, CandleSource)]
        self._dispatcher = dispatcher
        self._instrument_ids = InstrumentIds(dispatcher.instruments)
        self._recorder = recorder
        self._tracer = tracer
        self._quality = quality
        self._is_stopped = is_stopped
        self._unclosed = list(feeds)
        self._items: list[AsyncIterator[FeedItem | _native.ReadBlock]] = []
        self._checks: list[Items] = []
        # By feed: writes an item into the feed's recording.
        self._records: dict[int, Callable[[FeedItem], None]] = {}
        self._pump: _native.Pump | None = None
        self._candle_merge: CandleMerge | None = None
        self._live_sources: list[LiveSource] = []

    def request_snapshot(self, instrument: str, urgency: int) -> None:
        """Have the live feed of an instrument fetch a snapshot of its book, if it can."""
        for feed in self.live:
            state = self._ends[feed.name]
            if state is not None and state.state != "running":
                continue
            if isinstance(feed, SnapshotFeed) and instrument in feed.instruments:
                with NamedFeed(feed, "request_snapshot"):
                    feed.request_snapshot(instrument, urgency=urgency)

    @property
    def pump(self) -> _native.Pump:
        """The pump over the feeds of the past, once they are open."""
        assert self._pump is not None
        return self._pump

    async def open(self) -> None:
        """Open every feed. Raises what a feed raises."""
        for feed in self.feeds:
            await called(feed, "open")
        if self._recorder is not None:
            self._records = {
                id(feed): self._recorder.open(feed.name, has_frames=feed.venue is not None) for feed in self.live
            }
        self._name_array_instruments()
        self._pump = pump = self._dispatcher.open_pump()
        for feed in self._paced:
            with NamedFeed(feed, "venue"):
                decoder = None if feed.venue is None else _native.Decoder(feed.venue, self._dispatcher.instruments)
            numbered = {"numbered": True} if isinstance(feed, NumberedFeed) and feed.is_numbered else {}
            pump.add_source(feed.name, decoder, **numbered)
            self._checks.append(Items(feed, self._instrument_ids, pump_looks=self._quality is None))
            with NamedFeed(feed, "__aiter__"):
                self._items.append(_items_of(feed, decoder))

    async def close(self, within_s: float) -> list[Exception]:
        """Close every feed, last one first; return what was raised. May be called twice.

        within_s : how long each may take.
        """
        errors: list[Exception] = []
        while self._unclosed:
            try:
                await called(self._unclosed.pop(), "close", within_s=within_s)
            except Exception as error:  # noqa: BLE001 - returned
                errors.append(error)
        return errors

    def merge_candles(self, native: _native.CandleMerge, *, has_opens: bool) -> CandleMerge:
        """Return the candles of all feeds, once they are open.

        native : of the run. has_opens : whether opens are events, too.
        """
        self._candle_merge = CandleMerge(self.candles, native, has_opens=has_opens, quality=self._quality)
        return self._candle_merge

    async def give(self, source: int, on_slow: Callable[[], None] = lambda: None) -> None:
        """Push the next item of a source into the pump, or its end. on_slow : called when that takes over SLOW_S."""
        feed, items = self._paced[source], self._items[source]
        if type(feed) is ArrayFeed:
            # What is in memory needs no task that waits for it; other tasks have their turn.
            await asyncio.sleep(0)
            item = await anext(items, END)
        else:
            waiting, named = begun(anext(items, END)), NamedFeed(feed, "__anext__")
            try:
                slow_s = time.monotonic() + SLOW_S
                while not (await asyncio.wait({waiting}, timeout=WAIT_S))[0]:
                    if self._is_stopped():
                        return
                    if time.monotonic() > slow_s:
                        on_slow()
            finally:
                await ended({waiting: named.where})
            with named:
                item = result_of(waiting)
        if item is END:
            self.pump.finish(source)
        elif isinstance(item, _native.ReadBlock):
            self.pump.push(source, item)
        else:
            checked = self._checks[source].checked(item)
            if self._quality is not None and isinstance(checked, np.ndarray):
                self._quality.see(feed, checked, self._dispatcher.instruments.names())
            self.pump.push(source, checked.as_line() if isinstance(checked, Frame) else checked)

    async def first_ns(self) -> int | None:
        """Return when the first item was received; None when no feed of the past has one."""
        while self._paced:
            status, argument = self.pump.peek()
            if status is not PumpStatus.NEED:
                return argument if status is PumpStatus.UNTIL else None
            await self.give(argument)
        return None

    async def bring_all(self, clock: Clock, driver: LiveDriver) -> str:
        """Live: publish what the feeds bring until they have ended, as ``FeedEnds`` decides; return why they did."""
        for feed in self.live:
            items, record = Items(feed, self._instrument_ids), self._records.get(id(feed))
            source = LiveSource(feed, self._dispatcher, driver, items, clock=clock, record=record, tracer=self._tracer)
            self._live_sources.append(source)
        past = self._bring_paced(clock, driver)
        return await self._ends.run(self._live_sources, past, driver.publish_control)

    async def _bring_paced(self, clock: Clock, driver: LiveDriver) -> None:
        """Publish what recorded feeds have as it comes due, and have a turn after each part.

        The driver's time stands still at the last tick while a due one is not on the ring: bars and timers wait for it.
        """
        paced = clock if isinstance(clock, PacedClock) else None
        while self._paced:
            status, argument = self.pump.ingest(clock.now_ns() if paced is None else paced.due_ns(), INGEST_TICKS)
            self._dispatcher.keep_rejects(self.pump)
            if paced is not None and self.pump.last_ts is not None:
                paced.follow(self.pump.last_ts)
            # At their end it is over, as in a replay: an interval that is open then makes no bar.
            driver.hold_at(argument if status is PumpStatus.UNTIL else self.pump.last_ts or 0)
            if status is PumpStatus.NEED:
                await self.give(argument, partial(driver.hold_at, None))
            elif status is PumpStatus.UNTIL:
                await self.wait(
                    max(0.0, (argument - clock.now_ns()) / 1e9) if paced is None else paced.wait_s(argument)
                )
            elif status is PumpStatus.FULL:
                await self.wait(0.0)
            elif status is PumpStatus.HELD:
                # A blocking reader is behind: the feed waits, the loop does not.
                await self.wait(HELD_S)
            else:
                return

    async def explained(self, error: BaseException) -> BaseException:
        """Return the damage of a file that showed as times that go back; any other error as it is."""
        if isinstance(error, SourceOrderError):
            for feed in self._paced:
                if isinstance(feed, RecordingFeed) and str(error).startswith(f"{feed.name}, "):
                    sign = str(error).removeprefix(f"{feed.name}, ")
                    return await asyncio.to_thread(feed.damage, sign) or error
        return error

    async def wait(self, wait_s: float) -> None:
        """Wait, but not longer than a stop may go unseen."""
        await asyncio.sleep(min(wait_s, WAIT_S))

    def logged(self) -> list[LoggedFeed]:
        """Return the feeds as a dispatch log names them."""
        return [
            LoggedFeed(name=feed.name, is_live=is_live(feed), recording=self._recording_of(feed)) for feed in self.feeds
        ]

    def _recording_of(self, feed: AnyFeed) -> str:
        path = None if self._recorder is None else self._recorder.path_of(feed.name)
        if path is None:
            return ""
        path = path.absolute()
        if path_text(path) != str(path):
            msg = f"record={path_text(path.parent)!r} cannot stand in a dispatch log: give a folder with a plain name"
            raise OptionError(msg, option="record")
        return str(path) if feed.venue is None else f"{path}@{feed.venue}"

    def accepted(self) -> list[tuple[AnyFeed, int]]:
        """Return each feed with the number of frames accepted from it."""
        counts = dict.fromkeys(map(id, self.feeds), 0)
        if self._pump is not None:
            # A feed that could not be opened, and those after it, have no count.
            counts.update(zip(map(id, self._paced), self._pump.counts()["accepted"], strict=False))
        counts.update((id(source.feed), source.pump.counts()["accepted"][0]) for source in self._live_sources)
        return [(feed, counts[id(feed)]) for feed in self.feeds]

    def span(self) -> tuple[int | None, int]:
        """Return when the first item was received, None without one, and how long after it the last, ns."""
        pumps = [*([] if self._pump is None else [self._pump]), *(source.pump for source in self._live_sources)]
        counts = [pump.counts() for pump in pumps]
        spans = [(own["first_ts"], own["last_ts"]) for own in counts]
        if self._candle_merge is not None:
            spans.append((self._candle_merge.first_ns, self._candle_merge.last_ns))
        first = min((own for own, _ in spans if own is not None), default=None)
        last = max((own for _, own in spans if own is not None), default=None)
        return first, 0 if first is None or last is None else last - first

    def candle_lengths(self) -> dict[str, int]:
        """Return the length of each instrument's shortest candles, ns, once the feeds are open."""
        return shortest_of(self.candles)

    @property
    def candle_count(self) -> int:
        """How many candles have closed so far, those made from shorter ones included."""
        return 0 if self._candle_merge is None else self._candle_merge.count

    def _name_array_instruments(self) -> None:
        """Name the instrument ids of an array without names: ``3.ARRAY``."""
        table = self._dispatcher.instruments
        arrays = [feed for feed in self.feeds if isinstance(feed, ArrayFeed) and not feed.instruments]
        needed = max((feed.instrument_ids for feed in arrays), default=0)
        for instrument_id in range(len(table), needed):
            table.add(f"{instrument_id}.ARRAY")


def _items_of(feed: Feed, decoder: _native.Decoder | None) -> AsyncIterator[FeedItem | _native.ReadBlock]:
    """Return the items of a feed; a recording's with its frames read ahead, in threads of their own."""
    if type(feed) is RecordingFeed and decoder is not None:
        return feed.blocks(decoder.read_block)
    return aiter(feed)
