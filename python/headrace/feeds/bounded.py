"""BoundedFeed: the part of a feed that was received in a span of time.

::

    feed ─▶ blocks of lines, frames, arrays ─▶ what lies in [start_ns, end_ns) ─▶ the run

Guarantees: whole lines and ticks only; the feed behind it is not read beyond the end of the span.
Does not: make the feed begin later: what lies before the start is read, and left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from headrace.feeds.base import AnnouncingFeed, CandleSource, Feed, Frame, SizedFeed
from headrace.feeds.table.block import refused
from headrace.market.tick import ns_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from headrace.feeds.base import AnyFeed, FeedItem

__all__ = ["BoundedCandles", "BoundedFeed", "bounded", "refuse_outside"]

Own = TypeVar("Own", Feed, CandleSource)


class _Bounded(Generic[Own]):
    """A feed between two times.

    feed : where the items come from. start_ns, end_ns : by ``ts_init``, ns; None: no bound.
    """

    def __init__(self, feed: Own, *, start_ns: int | None, end_ns: int | None) -> None:
        self._feed: Own = feed
        self._start_ns = start_ns
        self._end_ns = end_ns
        # The first time and the last that the feed had, as far as it was read; None before.
        self.seen_ns: tuple[int, int] | None = None

    def _saw(self, first_ns: int, last_ns: int) -> None:
        """Keep which times a part of the feed has."""
        first, last = self.seen_ns or (first_ns, last_ns)
        self.seen_ns = min(first, first_ns), max(last, last_ns)

    @property
    def name(self) -> str:
        """The name of the feed."""
        return self._feed.name

    @property
    def venue(self) -> str | None:
        """The venue of the feed."""
        return self._feed.venue

    @property
    def instruments(self) -> tuple[str, ...]:
        """The instruments that the feed announces."""
        return tuple(self._feed.instruments) if isinstance(self._feed, AnnouncingFeed) else ()

    @property
    def bytes_done(self) -> int:
        """Bytes of the feed that its items came from; 0 where it has no size."""
        return self._feed.bytes_done if isinstance(self._feed, SizedFeed) else 0

    @property
    def bytes_total(self) -> int:
        """Bytes of the feed; 0 where it has no size."""
        return self._feed.bytes_total if isinstance(self._feed, SizedFeed) else 0

    async def open(self) -> None:
        """Open the feed."""
        await self._feed.open()

    async def close(self) -> None:
        """Close the feed."""
        await self._feed.close()


class BoundedFeed(_Bounded[Feed]):
    """A feed of frames or ticks of the past between two times, by ``ts_init``."""

    async def __aiter__(self) -> AsyncIterator[FeedItem]:
        """Yield the items, cut at both bounds, until one begins at the end of the span."""
        async for item in self._feed:
            part, is_over = self._cut(item)
            if len(part):
                yield part
            if is_over:
                return

    def _cut(self, item: FeedItem) -> tuple[FeedItem, bool]:
        """Return the part of an item that lies in the span, and whether the span has ended."""
        if isinstance(item, Frame):
            self._saw(item.ts_init, item.ts_init)
            is_over = self._end_ns is not None and item.ts_init >= self._end_ns
            is_early = self._start_ns is not None and item.ts_init < self._start_ns
            return (b"" if is_over or is_early else item), is_over
        if isinstance(item, np.ndarray):
            times = item["ts_init"]
            if len(times):
                self._saw(int(times[0]), int(times[-1]))
            first = 0 if self._start_ns is None else int(np.searchsorted(times, self._start_ns, "left"))
            last = len(item) if self._end_ns is None else int(np.searchsorted(times, self._end_ns, "left"))
            return item[first:last], last < len(item)
        return self._cut_lines(item)

    def _cut_lines(self, block: bytes) -> tuple[bytes, bool]:
        self._saw(_time_of(block, 0), _time_of(block, block.rfind(b"\n", 0, len(block) - 1) + 1))
        first = 0 if self._start_ns is None else _offset_at(block, self._start_ns)
        last = len(block) if self._end_ns is None else _offset_at(block, self._end_ns)
        return block[first:last], last < len(block)


class BoundedCandles(_Bounded[CandleSource]):
    """A feed of candles between two times: those that open at the start or later, and close at the end or before."""

    @property
    def instrument(self) -> str:
        """What the candles are of."""
        return self._feed.instrument

    @property
    def timeframe(self) -> str:
        """How long they are."""
        return self._feed.timeframe

    @property
    def price(self) -> str:
        """What they are made of."""
        return self._feed.price

    async def candles(self) -> AsyncIterator[np.ndarray]:
        """Yield the blocks, cut at both bounds, until a candle closes behind the end."""
        async for block in self._feed.candles():
            opens, closes = block["ts_open"], block["ts_close"]
            self._saw(int(opens[0]), int(closes[-1]))
            first = 0 if self._start_ns is None else int(np.searchsorted(opens, self._start_ns, "left"))
            last = len(block) if self._end_ns is None else int(np.searchsorted(closes, self._end_ns, "right"))
            if first < last:
                yield block[first:last]
            if last < len(block):
                return


def bounded(feeds: Iterable[AnyFeed], start_ns: int | None, end_ns: int | None) -> list[AnyFeed]:
    """Return feeds between two times; without them, and live ones, as they are."""
    if start_ns is None and end_ns is None:
        return list(feeds)
    return [_bounded(feed, start_ns, end_ns) for feed in feeds]


def refuse_outside(feeds: Iterable[AnyFeed]) -> None:
    """Raise the DataError of bounds between which no feed has anything, with the times that the feeds have."""
    seen = [feed.seen_ns for feed in feeds if isinstance(feed, _Bounded) and feed.seen_ns]
    if not seen:
        return
    first, last = ns_text(min(own for own, _ in seen)), ns_text(max(own for _, own in seen))
    what = f"holds nothing from start to end: what was read lies between {first} and {last}; choose a span there"
    raise refused(" and ".join(feed.name for feed in feeds), what)


def _bounded(feed: AnyFeed, start_ns: int | None, end_ns: int | None) -> AnyFeed:
    if isinstance(feed, CandleSource):
        return BoundedCandles(feed, start_ns=start_ns, end_ns=end_ns)
    return BoundedFeed(feed, start_ns=start_ns, end_ns=end_ns) if isinstance(feed, Feed) else feed


def _offset_at(block: bytes, at_ns: int) -> int:
    """Return where the first line stands that was received at a time or later; a bisection over the bytes."""
    low, high = 0, len(block)
    while low < high:
        # Where the line in the middle begins; both bounds stand at the beginning of a line, too.
        line = block.rfind(b"\n", low, (low + high) // 2) + 1 or low
        if _time_of(block, line) >= at_ns:
            high = line
        else:
            end = block.find(b"\n", line)
            low = len(block) if end < 0 else end + 1
    return low


def _time_of(block: bytes, offset: int) -> int:
    """Return the receive time of the line at an offset; 0 where it has none, which the decoder rejects and counts."""
    digits = block[offset : offset + 20].partition(b" ")[0]
    return int(digits) if digits.isdigit() else 0
