"""Feeds: objects that yield frames or arrays of ticks, in the order in which they were received.

::

    open() ─▶ async for item in feed ─▶ close()        item: bytes  a block of whole recorded lines
                                                             Frame  one frame and its receive time
                                                             array  ticks, dtype TICK_DTYPE

Guarantees: an item never has an earlier ``ts_init`` than the one before it; an error is raised at its place in the
order, after all items before it.

Does not: decode, number or merge; the decoder, the sequencer and the pump do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractContextManager

    import numpy as np

    from headrace.market.listed import Listed

__all__ = [
    "AnyFeed",
    "CandleSource",
    "Feed",
    "FeedItem",
    "Frame",
    "LiveFeed",
    "NumberedFeed",
    "Push",
    "PushFeed",
    "SizedFeed",
]


class Frame(NamedTuple):
    """One frame as a venue sent it.

    ts_init : when it was received, ns since 1970-01-01 UTC.
    data : its bytes.
    """

    ts_init: int
    data: bytes

    def as_line(self) -> bytes:
        """Return the frame as a recorded line; line breaks between JSON tokens become spaces."""
        data = self.data.replace(b"\n", b" ") if b"\n" in self.data else self.data
        return b"%d %b\n" % (self.ts_init, data)


FeedItem: TypeAlias = "bytes | Frame | np.ndarray"
# Takes an item from a feed. False: a reader holds up the ring, and a feed that can pause should pause.
Push: TypeAlias = "Callable[[FeedItem], bool]"


class PushTracer(Protocol):
    """Traces a part of what is pushed."""

    @property
    def every(self) -> int:
        """One of so many items of each feed is traced; 0: none."""

    def batch(self, feed: str, position: Callable[[], int]) -> AbstractContextManager[object]:
        """Return the context in which one item is pushed. position : the ring's, before and after."""


class FeedBase(Protocol):
    """What every feed has.

    name : shown in errors and tables; a file's path where there is a file.
    venue : the sender of the frames, as in ``BTCUSDT.BINANCE_USDM``; None when the items are ticks. Set at the latest
        when ``open`` returns.
    """

    @property
    def name(self) -> str:
        """What errors and tables call this feed."""

    @property
    def venue(self) -> str | None:
        """Who sent the frames; None when the items are ticks."""

    async def open(self) -> None:
        """Get ready to yield or to receive; raises what makes that impossible."""

    async def close(self) -> None:
        """Let go of files, sockets and threads; may be called twice."""


@runtime_checkable
class Feed(FeedBase, Protocol):
    """A source of market data: a venue, a recording, an array or a generator."""

    def __aiter__(self) -> AsyncIterator[FeedItem]:
        """Yield blocks of lines, frames or arrays until there are no more."""


@runtime_checkable
class LiveFeed(Protocol):
    """A feed whose items arrive now: a socket, not a file. Its items are not paced or merged with others."""

    @property
    def is_live(self) -> Literal[True]:
        """True; a feed without this property yields past data."""


@runtime_checkable
class PushFeed(FeedBase, Protocol):
    """A live feed that pushes each item in the callback that received it.

    No task, no queue and no turn of the event loop lie between the socket and the strategies. ``run`` takes the place
    of a ``Feed``'s iteration; everything else is as in ``Feed``.
    """

    async def run(self, push: Push) -> None:
        """Receive until there are no more; ``push`` each item on the loop's own thread. Cancelled when the run ends."""


@runtime_checkable
class CandleSource(FeedBase, Protocol):
    """A feed of candles of one instrument and timeframe. They reach ``on_bar`` as bars made from ticks do.

    instrument : ``SYMBOL.VENUE``. timeframe : "1m"; known when ``open`` has returned. price : what bars call theirs.
    """

    @property
    def instrument(self) -> str:
        """What the candles are of."""

    @property
    def timeframe(self) -> str:
        """How long they are."""

    @property
    def price(self) -> str:
        """What they are made of: "trade", "mid", …."""

    def candles(self) -> AsyncIterator[np.ndarray]:
        """Yield blocks, shape (n,), dtype CANDLE_DTYPE, in the order of time."""


@runtime_checkable
class NumberedFeed(Protocol):
    """A feed whose ticks may have been published before, and then keep their numbers, flags and gaps."""

    @property
    def is_numbered(self) -> bool:
        """Whether they have; known when ``open`` has returned."""


@runtime_checkable
class SizedFeed(Protocol):
    """A feed with a known size, so that a progress bar can show how much of it is done."""

    @property
    def bytes_done(self) -> int:
        """Bytes of the source that the items yielded so far came from."""

    @property
    def bytes_total(self) -> int:
        """Bytes of the whole source."""


@runtime_checkable
class SnapshotFeed(Protocol):
    """A feed that fetches a book's snapshot when it is needed; it comes as a frame among the others."""

    @property
    def instruments(self) -> Sequence[str]:
        """The names of those that it has, ``SYMBOL.VENUE``."""

    def request_snapshot(self, instrument: str, *, urgency: int = 0) -> None:
        """Fetch a snapshot, the more urgent ones first. Called on the loop's thread; returns at once."""


@runtime_checkable
class RestFeed(Protocol):
    """A feed with REST requests behind a circuit breaker."""

    def on_breaker(self, call: Callable[[str], None]) -> None:
        """Call a function with the breaker's state, now and at each change: CLOSED, OPEN or HALF_OPEN."""


@runtime_checkable
class ListingFeed(Protocol):
    """A feed that knows what its venue lists of its instruments.

    on_listed : called on the loop's thread with what has changed; None: nothing calls for it.
    """

    on_listed: Callable[[Listed], object] | None

    @property
    def listings(self) -> Sequence[Listed]:
        """What the venue lists of them, once the feed is open."""


@runtime_checkable
class AnnouncingFeed(Protocol):
    """A feed that announces its instruments: strategies may read their positions before the first tick."""

    @property
    def instruments(self) -> Sequence[str]:
        """Their names, ``SYMBOL.VENUE``."""


AnyFeed: TypeAlias = Feed | PushFeed | CandleSource
