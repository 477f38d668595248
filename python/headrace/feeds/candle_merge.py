"""CandleMerge: the candles of several feeds, and of longer timeframes made from them, as one order of events.

::

    CandleSource ─▶ blocks ─┬▶ stream ─────────────┐              at one time T
                            └▶ Resampler ─▶ stream ─┴▶ heap ─▶     1. closes, in the order of feeds, made ones last
                                                                  2. opens, of the candles that orders fill from

Guarantees: an event leaves only when every feed has shown what comes before it; equal times keep the order of feeds.
Does not: publish, or invent a candle that is missing.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

from headrace.feeds.naming import NamedFeed
from headrace.market.bars import interval_ns
from headrace.market.candles import CandleOpen, Resampler
from headrace.market.events import Bar, Cause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    import numpy as np

    from headrace.feeds.base import CandleSource
    from headrace.feeds.quality import SourceQuality
    from headrace.market.bars import BarSpec

__all__ = ["CandleMerge"]

# Closes come before opens of the same time.
CLOSE, OPEN = 0, 1


class _Stream:
    """The candles of one instrument and timeframe that were read and not passed on.

    has_opens : whether their opens are events, too. begins_ns : where the data began that they are made from.
    """

    def __init__(self, index: int, source: CandleSource, timeframe: str, *, has_opens: bool = False) -> None:
        self.index = index
        self.key = (source.instrument, timeframe, source.price)
        self.begins_ns = 0
        self._has_opens = has_opens
        self._length_ns = interval_ns(timeframe)
        self._rows: deque[tuple[int, int, float, float, float, float, float, int]] = deque()
        self._is_open = False
        self._closed_ns = 0
        self._number = 0

    def add(self, candles: np.ndarray) -> None:
        self._rows.extend(candles.tolist())

    def next_event(self) -> tuple[int, int, int] | None:
        """Return when the next event is, which it is, and this stream's index; None: nothing more was read."""
        if not self._rows:
            return None
        ts_open, ts_close, *_ = self._rows[0]
        if self._has_opens and not self._is_open:
            # A candle that opens before the one before it has closed, as a day of 23 hours does, waits for that.
            return max(ts_open, self._closed_ns), OPEN, self.index
        return ts_close, CLOSE, self.index

    def take_open(self) -> CandleOpen:
        ts_open, _, price, *_ = self._rows[0]
        self._is_open = True
        return CandleOpen(self.key[0], price, self._number + 1, ts_open)

    def take_close(self) -> Bar:
        ts_open, ts_close, opened, high, low, close, volume, count = self._rows.popleft()
        self._is_open = False
        self._closed_ns = ts_close
        self._number += 1
        instrument, timeframe, price = self.key
        return Bar(
            ts=ts_close,
            cause=Cause(instrument, "candle", self._number, self._number, ts_close),
            instrument=instrument,
            timeframe=timeframe,
            price=price,
            open=opened,
            high=high,
            low=low,
            close=close,
            volume=volume,
            count=count,
            ts_open=ts_open,
            ts_close=ts_close,
            partial=ts_open < self.begins_ns or ts_close - ts_open != self._length_ns,
        )


class _Reader:
    """One feed: its stream, and those of longer timeframes made from it."""

    def __init__(self, source: CandleSource, stream: _Stream, quality: SourceQuality | None) -> None:
        self.source = source
        self._quality = quality
        self.stream = stream
        self.made: list[tuple[Resampler, _Stream]] = []
        # Until it is known what is made of it.
        self.first_block: np.ndarray | None = None
        self._blocks: AsyncIterator[np.ndarray] | None = None

    async def read(self) -> bool:
        """Read the next block; False: there is none."""
        named = NamedFeed(self.source, "candles")
        with named:
            if self._blocks is None:
                self._blocks = aiter(self.source.candles())
                self.first_block = block = await anext(self._blocks, None)
            else:
                block = await anext(self._blocks, None)
        if block is None:
            return False
        if self._quality is not None:
            self._quality.see(self.source, block, [self.source.instrument])
        self.stream.add(block)
        for resampler, stream in self.made:
            stream.add(resampler.push(block))
        return True

    def make(self, stream: _Stream) -> None:
        """Make a stream of a longer timeframe from here on."""
        resampler = Resampler(stream.key[1])
        self.made.append((resampler, stream))
        if self.first_block is not None:
            stream.begins_ns = int(self.first_block["ts_open"][0])
            stream.add(resampler.push(self.first_block))


class CandleMerge:
    """The candles of all feeds of a run, once they are open.

    has_opens : whether opens are events. quality : checks each block, if it is there.
    """

    def __init__(
        self, sources: Sequence[CandleSource], *, has_opens: bool, quality: SourceQuality | None = None
    ) -> None:
        shortest = shortest_of(sources)
        self._fills: set[tuple[str, str, str]] = set()
        self._readers = []
        for index, source in enumerate(sources):
            fills = interval_ns(source.timeframe) == shortest[source.instrument]
            stream = _Stream(index, source, source.timeframe, has_opens=has_opens and fills)
            self._readers.append(_Reader(source, stream, quality))
            if fills:
                self._fills.add(stream.key)
        self._streams = [reader.stream for reader in self._readers]
        self._heap: list[tuple[int, int, int]] = []
        self._hungry = list(self._readers)
        self.count = 0
        self.first_ns: int | None = None
        self.last_ns = 0

    @property
    def keys(self) -> set[tuple[str, str, str]]:
        """What it has: instrument, timeframe, price."""
        return {stream.key for stream in self._streams}

    def make(self, specs: Iterable[BarSpec]) -> None:
        """Make the bars of specs that no feed has from candles that divide them; once, after the first ``fill``."""
        for spec in specs:
            unit, length_ns = spec.length
            for reader in self._readers:
                instrument, timeframe, price = reader.stream.key
                key = (instrument, spec.timeframe, price)
                is_made_of = unit == "ns" and length_ns % interval_ns(timeframe) == 0
                if is_made_of and key not in self.keys and spec.takes_key((*key, spec.time, False)):
                    stream = _Stream(len(self._streams), reader.source, spec.timeframe)
                    self._streams.append(stream)
                    reader.make(stream)
                    self._push(stream)
        for reader in self._readers:
            reader.first_block = None

    def fills(self, bar: Bar) -> bool:
        """Return whether orders are filled from a candle: it is one of the shortest of its instrument."""
        return (bar.instrument, bar.timeframe, bar.price) in self._fills

    async def fill(self) -> None:
        """Read on where the next event is not known. Raises what a feed raises."""
        hungry, self._hungry = self._hungry, []
        for reader in hungry:
            waiting = [stream.next_event() is None for _, stream in reader.made]
            if not await reader.read():
                continue
            made = [stream for is_new, (_, stream) in zip(waiting, reader.made, strict=True) if is_new]
            for stream in (reader.stream, *made):
                self._push(stream)

    def _push(self, stream: _Stream) -> bool:
        """Put the next event of a stream in its place; False: none was read."""
        event = stream.next_event()
        if event is None:
            return False
        heapq.heappush(self._heap, event)
        if self.first_ns is None or event[0] < self.first_ns:
            self.first_ns = event[0]
        return True

    @property
    def due_ns(self) -> int | None:
        """When the next event is; None: there is none. Right after ``fill``."""
        return self._heap[0][0] if self._heap else None

    @property
    def is_open_next(self) -> bool:
        """Whether the next events are opens."""
        return bool(self._heap) and self._heap[0][1] == OPEN

    def take_opens(self) -> list[CandleOpen]:
        """Return the opens that are next."""
        return [stream.take_open() for stream in self._taken()]

    def take_closes(self) -> list[Bar]:
        """Return the candles whose closes are next."""
        bars = [stream.take_close() for stream in self._taken()]
        self.count += len(bars)
        self.last_ns = bars[0].ts_close
        return bars

    def _taken(self) -> Iterable[_Stream]:
        """Yield the streams of the next time and kind of event; each has its event taken before the next is yielded."""
        heap, streams = self._heap, self._streams
        ts_ns, what, _ = heap[0]
        while heap and heap[0][0] == ts_ns and heap[0][1] == what:
            stream = streams[heapq.heappop(heap)[2]]
            yield stream
            if not self._push(stream) and stream.index < len(self._readers):
                self._hungry.append(self._readers[stream.index])


def shortest_of(sources: Iterable[CandleSource]) -> dict[str, int]:
    """Return the length of each instrument's shortest candles, ns."""
    shortest: dict[str, int] = {}
    for source in sources:
        length_ns = interval_ns(source.timeframe)
        shortest[source.instrument] = min(length_ns, shortest.get(source.instrument, length_ns))
    return shortest
