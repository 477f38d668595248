"""The timeline: recordings and generators as one sequence of moments, in the order of receive time.

::

    blocks of lines ─▶ line ─▶ Moment(ts_init, symbol, kind, data)        merged by (ts_init, order of the sources)

Guarantees: ``data`` is the venue's own object, byte for byte, without the envelope of combined streams.
Does not: check frames; a line that holds none is left out, and counted in ``unread``.
"""

from __future__ import annotations

import heapq
import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headrace.errors import OptionError
from headrace.feeds.base import Feed, Frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from headrace.feeds.base import AnyFeed

__all__ = ["Moment", "Timeline"]

ENVELOPE = re.compile(rb'\s*\{\s*"stream"\s*:\s*"([^"]*)"\s*,\s*"data"\s*:\s*')
EVENT = re.compile(rb'"e"\s*:\s*"([^"]*)"')
SYMBOL = re.compile(rb'"s"\s*:\s*"([^"]*)"')
# What a venue calls an event, where a stream has another name.
KINDS = {"depthUpdate": "depth", "markPriceUpdate": "markPrice"}


class Moment(NamedTuple):
    """One frame of one market. symbol : as the venue writes it. kind : of its stream; "snapshot" for a REST answer."""

    ts_init: int
    venue: str
    symbol: str
    kind: str
    data: bytes


class Timeline:
    """All moments of the sources. Made anywhere, used in one event loop."""

    def __init__(self, feeds: Sequence[AnyFeed]) -> None:
        for feed in feeds:
            if not isinstance(feed, Feed):
                msg = f"feed {feed.name!r} pushes its frames: a simulated venue serves recordings and generators"
                raise OptionError(msg, option="sources")
        self._feeds = [feed for feed in feeds if isinstance(feed, Feed)]
        self.unread = 0

    async def open(self) -> None:
        """Open the sources. Raises what they raise; OptionError for ticks, which are no frames."""
        for feed in self._feeds:
            await feed.open()
            if feed.venue is None:
                msg = f"feed {feed.name!r} holds ticks: a simulated venue serves frames as a venue sends them"
                raise OptionError(msg, option="sources")

    async def close(self) -> None:
        """Close the sources."""
        for feed in self._feeds:
            await feed.close()

    async def __aiter__(self) -> AsyncIterator[Moment]:
        """Yield every moment in order."""
        rows = [self._moments(feed) for feed in self._feeds]
        heads: list[tuple[int, int, Moment]] = []
        for order, row in enumerate(rows):
            if (first := await anext(row, None)) is not None:
                heads.append((first.ts_init, order, first))
        heapq.heapify(heads)
        while heads:
            _, order, moment = heads[0]
            yield moment
            following = await anext(rows[order], None)
            if following is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, (following.ts_init, order, following))

    async def _moments(self, feed: Feed) -> AsyncIterator[Moment]:
        assert feed.venue is not None
        symbols: set[str] = set()
        async for item in feed:
            block = item.as_line() if isinstance(item, Frame) else bytes(item)
            for line in block.splitlines():
                moment = _moment(line, feed.venue, symbols)
                if moment is None:
                    self.unread += 1
                else:
                    symbols.add(moment.symbol)
                    yield moment


def _moment(line: bytes, venue: str, symbols: set[str]) -> Moment | None:
    """Return what a recorded line holds; None for a line that is no frame of a market."""
    received, _, frame = line.partition(b" ")
    if not received.isdigit():
        return None
    stream = ENVELOPE.match(frame)
    data = frame.strip()
    name = ""
    if stream is not None:
        name, data = stream[1].decode(), frame[stream.end() :].rstrip()[:-1].rstrip()
    if b'"lastUpdateId"' in data[:64]:
        # A snapshot names no symbol: it belongs to the only one so far.
        if len(symbols) != 1:
            return None
        return Moment(int(received), venue, next(iter(symbols)), "snapshot", data)
    symbol = SYMBOL.search(data)
    if symbol is None:
        return None
    event = EVENT.search(data)
    kind = event[1].decode() if event is not None else name.partition("@")[2].partition("@")[0] or "bookTicker"
    # JSON may write a symbol's letters as escapes.
    return Moment(int(received), venue, msgspec.json.decode(b'"' + symbol[1] + b'"'), KINDS.get(kind, kind), data)
