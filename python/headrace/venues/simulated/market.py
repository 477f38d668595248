"""One market of a simulated venue: its book as exact text, and what REST says of it.

::

    depth ──▶ buffered until a snapshot ─▶ book {price text: size text} ─▶ depth answers, matching of orders
    quote ──▶ best prices

Guarantees: the book is the venue's own text, so that an answer differs from no recorded digit; there is no book before
a snapshot.
Does not: check ids; a recording is taken to be whole.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.venues.simulated.timeline import Moment

__all__ = ["Best", "Book", "Depth", "Market", "Trade"]

# Depth events that are kept until the snapshot comes: ten minutes of them, ten a second.
DEPTHS_KEPT = 6_000

Level = tuple[str, str]


class Depth(msgspec.Struct):
    """A depthUpdate."""

    U: int
    u: int
    b: list[Level]
    a: list[Level]
    pu: int | None = None


class Best(msgspec.Struct):
    """A bookTicker."""

    b: str
    B: str
    a: str
    A: str


class Trade(msgspec.Struct):
    """A trade."""

    p: str
    q: str
    m: bool
    t: int = 0


class _Snapshot(msgspec.Struct):
    last: int = msgspec.field(name="lastUpdateId")
    bids: list[Level]
    asks: list[Level]


class Book(NamedTuple):
    """Both sides, price text to size text. last : the id of the last update in it."""

    last: int
    bids: dict[str, str]
    asks: dict[str, str]

    def levels(self, limit: int) -> tuple[list[Level], list[Level]]:
        """Return the best ``limit`` levels of bids and asks, the best first."""
        bids = sorted(self.bids.items(), key=_price, reverse=True)[:limit]
        return bids, sorted(self.asks.items(), key=_price)[:limit]

    def answer(self, limit: int, ms: int | None = None) -> dict[str, object]:
        """Return the book as REST does. ms : the time that futures' answers have."""
        bids, asks = self.levels(limit)
        times = {} if ms is None else {"E": ms, "T": ms}
        return {"lastUpdateId": self.last, **times, "bids": bids, "asks": asks}


class Market:
    """One symbol at one venue."""

    def __init__(self, venue: str, symbol: str) -> None:
        self.venue = venue
        self.symbol = symbol
        self.book: Book | None = None
        self.best: Best | None = None
        # The decimals that its prices and sizes use, so far.
        self.price_decimals = self.size_decimals = 0
        self._depths: deque[Depth] = deque(maxlen=DEPTHS_KEPT)

    @property
    def price_tick(self) -> Decimal:
        """The step of its prices, as far as they were seen."""
        return Decimal(1).scaleb(-self.price_decimals)

    @property
    def lot_size(self) -> Decimal:
        """The step of its sizes, as far as they were seen."""
        return Decimal(1).scaleb(-self.size_decimals)

    def take(self, moment: Moment) -> Depth | Best | Trade | None:
        """Apply a moment and return what it holds; None for kinds that change nothing here."""
        match moment.kind:
            case "depth":
                depth = msgspec.json.decode(moment.data, type=Depth)
                self._depths.append(depth)
                if self.book is not None:
                    self.book = _applied(self.book, depth)
                return depth
            case "bookTicker":
                self.best = best = msgspec.json.decode(moment.data, type=Best)
                return best
            case "trade":
                return msgspec.json.decode(moment.data, type=Trade)
            case "snapshot":
                snapshot = msgspec.json.decode(moment.data, type=_Snapshot)
                self.set_book(snapshot.last, snapshot.bids, snapshot.asks)
        return None

    def measure(self, moment: Moment) -> None:
        """Read the steps of prices and sizes off a frame, and change nothing else."""
        if moment.kind == "depth":
            self._measure(msgspec.json.decode(moment.data, type=Depth).b[:4])
        elif moment.kind == "bookTicker":
            best = msgspec.json.decode(moment.data, type=Best)
            self._measure([(best.b, best.B), (best.a, best.A)])

    def set_book(self, last: int, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Begin the book anew, and apply the depth events that came after it."""
        self.book = Book(last, dict(bids), dict(asks))
        for depth in self._depths:
            if depth.u > last:
                self.book = _applied(self.book, depth)

    def _measure(self, levels: Sequence[Level]) -> None:
        for price, size in levels:
            self.price_decimals = max(self.price_decimals, _decimals(price))
            self.size_decimals = max(self.size_decimals, _decimals(size))


def _applied(book: Book, depth: Depth) -> Book:
    for side, levels in ((book.bids, depth.b), (book.asks, depth.a)):
        for price, size in levels:
            if size.strip("0.") == "":
                side.pop(price, None)
            else:
                side[price] = size
    return Book(depth.u, book.bids, book.asks)


def _decimals(text: str) -> int:
    return len(text.partition(".")[2].rstrip("0"))


def _price(level: Level) -> float:
    return float(level[0])
