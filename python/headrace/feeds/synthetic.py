"""A seeded generator of Binance frames: one market's session, as recorded lines, with a book behind it.

::

    Random(seed) ─▶ orders ─▶ book ─┬▶ bookTicker  when the best price or size changed
                                    ├▶ trade, aggTrade  when an order was filled from it
                                    ├▶ depthUpdate  every 100 ms, all levels changed since the last one
                                    └▶ snapshot  once, between two depth updates, with the book's update id

Guarantees: the same arguments make the same bytes, in every process. Ids follow the venue's rules: depth events form a
chain, the snapshot lies inside the chain, trade ids are contiguous, and a depthUpdate whose ``u`` equals a
bookTicker's shows the same best prices and sizes. Receive times strictly rise.

Does not: imitate any real market's statistics. A snapshot names no symbol, so every symbol is a feed of its own.
"""

from __future__ import annotations

import gzip
import random
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import headrace._native as _native
from headrace.errors import OptionError, RecordingError
from headrace.feeds.files import write_whole
from headrace.market.checks import of_type, one_of, whole
from headrace.market.times import time_problem

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Iterator, Sequence

__all__ = ["SyntheticFeed", "synthetic_session"]

VENUES = ("BINANCE", "BINANCE_USDM", "BINANCE_COINM")
# 2026-01-05 00:00 UTC, a Monday: any fixed time is good; with the wall clock two sessions would differ.
START_NS = 1_767_571_200_000_000_000
# Mean time between two orders: it makes about 400 frames a second, like a busy recorded session.
ORDER_GAP_NS = 3_000_000
DEPTH_EVERY_NS = 100_000_000
# How long a frame takes from the venue to its receiver.
TRAVEL_NS = 7_000_000
# The snapshot arrives after the third depth update and before the fourth, so a book must buffer depth updates.
SNAPSHOT_AT_NS = 3 * DEPTH_EVERY_NS + DEPTH_EVERY_NS // 2
# Levels per side at the start, and the greatest depth of later orders, in ticks of price.
BOOK_LEVELS = 100
# The lowest first price is 10,000 ticks of price: a bid is above 0.
BOOK_LEVELS_MAX = 9_000
FRAMES_MAX = 10**12
# The best price is not removed when the spread is this wide, in ticks of price.
SPREAD_TICKS_MAX = 8
# Lines per item: about 200 KiB.
ITEM_LINES = 1_024


class _Scale(NamedTuple):
    """The decimals of a symbol's prices and sizes, and its first price."""

    price: int  # in ticks of price
    price_decimals: int
    size_decimals: int


SCALES = {
    "BTCUSDT": _Scale(6_183_764, 2, 5),
    "ETHUSDT": _Scale(268_250, 2, 4),
    "SOLUSDT": _Scale(15_412, 2, 3),
}
DEFAULT_SCALE = _Scale(10_000, 2, 3)


class SyntheticFeed:
    """One market's generated session, as blocks of recorded lines.

    symbol : as the venue writes it, ``"BTCUSDT"``.
    venue : ``"BINANCE"``, ``"BINANCE_USDM"`` or ``"BINANCE_COINM"``; decides ids, keys and number texts.
    frames : how many lines to make.
    seed : the same seed makes the same bytes; symbols and venues differ under one seed.
    start_ns : receive time at which the session starts, ns since 1970-01-01 UTC.
    snapshot : whether a REST snapshot is among the frames.
    levels : of each side of the book at the start; later orders go as deep.

    About 7 µs a frame. Raises OptionError: a value that is not allowed; InstrumentError: a symbol that no venue has.
    """

    def __init__(
        self,
        symbol: str = "BTCUSDT",
        *,
        venue: str = "BINANCE",
        frames: int = 100_000,
        seed: int = 1,
        start_ns: int = START_NS,
        snapshot: bool = True,
        levels: int = BOOK_LEVELS,
    ) -> None:
        one_of("venue", venue, VENUES)
        whole("frames", frames, 1, FRAMES_MAX, "frames")
        whole("levels", levels, 1, BOOK_LEVELS_MAX, "levels")
        of_type("symbol", symbol, str)
        of_type("snapshot", snapshot, bool)
        of_type("seed", seed, int)
        of_type("start_ns", start_ns, int)
        if problem := time_problem(start_ns):
            raise OptionError(f"start_ns={start_ns}, {problem}", option="start_ns")
        _native.Instruments([f"{symbol}.{venue}"])  # Refuses what is no symbol.
        self._symbol = symbol
        self._venue = venue
        self._frames = frames
        self._seed = seed
        self._start_ns = start_ns
        self._snapshot = snapshot
        self._levels = levels

    @property
    def name(self) -> str:
        """``synthetic SYMBOL.VENUE``."""
        return f"synthetic {self._symbol}.{self._venue}"

    @property
    def venue(self) -> str:
        """The venue whose frames are imitated."""
        return self._venue

    @property
    def instruments(self) -> tuple[str, ...]:
        """The name of its one instrument."""
        return (f"{self._symbol}.{self._venue}",)

    async def open(self) -> None:
        """Do nothing: there is nothing to open."""

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield blocks of 1,024 lines."""
        lines = self.lines()
        while block := b"".join(islice(lines, ITEM_LINES)):
            yield block

    def lines(self) -> Iterator[bytes]:
        """Yield the session line by line: receive time, a space, the frame, a line break."""
        rng = random.Random(f"{self._seed}:{self._symbol}:{self._venue}")
        texts = _Texts(self._symbol, self._venue)
        market = _Market(rng, texts, self._levels, futures=self._venue != "BINANCE")
        return islice(market.session(self._start_ns, with_snapshot=self._snapshot), self._frames)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the session as a recording, gzip when the name ends in ``.gz``, and return its path."""
        target, content = Path(path), b"".join(self.lines())
        # No time stamp in the header: the same session is the same file.
        packed = gzip.compress(content, compresslevel=1, mtime=0) if target.suffix == ".gz" else content
        return write_whole(target, packed, "recording", RecordingError)


def synthetic_session(
    symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT", "SOLUSDT"),
    *,
    venue: str = "BINANCE",
    frames: int = 100_000,
    seed: int = 1,
) -> list[SyntheticFeed]:
    """Return one feed per symbol, with ``frames`` frames in total; ``replay`` merges them by receive time."""
    share, rest = divmod(frames, len(symbols))
    return [
        SyntheticFeed(symbol, venue=venue, frames=share + (index < rest), seed=seed)
        for index, symbol in enumerate(symbols)
    ]


class _Texts:
    """Writes one market's frames, with the keys in the venue's own order."""

    def __init__(self, symbol: str, venue: str) -> None:
        self.scale = SCALES.get(symbol, DEFAULT_SCALE)
        self._spot = venue == "BINANCE"
        # Spot always writes eight decimals; futures write as many as the instrument's step has.
        self._price = _DecimalWriter(self.scale.price_decimals, 8 if self._spot else self.scale.price_decimals)
        self._size = _DecimalWriter(self.scale.size_decimals, 8 if self._spot else self.scale.size_decimals)
        self._stream = symbol.lower()
        pair = f'"ps":"{symbol.partition("_")[0]}",' if venue == "BINANCE_COINM" else ""
        self._symbol = f'"s":"{symbol}",{pair}'

    def book_ticker(self, ms: int, update: int, bid: tuple[int, int], ask: tuple[int, int]) -> str:
        price, size = self._price, self._size
        best = f'"b":"{price(bid[0])}","B":"{size(bid[1])}","a":"{price(ask[0])}","A":"{size(ask[1])}"'
        if self._spot:
            return f'{{"stream":"{self._stream}@bookTicker","data":{{"u":{update},{self._symbol}{best}}}}}'
        head = f'"e":"bookTicker","u":{update},{self._symbol}'
        return f'{{"stream":"{self._stream}@bookTicker","data":{{{head}{best},"T":{ms},"E":{ms}}}}}'

    def trade(self, ms: int, trade_id: int, price: int, size: int, *, buyer_is_maker: bool) -> str:
        body = f'"t":{trade_id},"p":"{self._price(price)}","q":"{self._size(size)}"'
        maker = "true" if buyer_is_maker else "false"
        if self._spot:
            data = f'"e":"trade","E":{ms},{self._symbol}{body},"T":{ms},"m":{maker},"M":true'
        else:
            data = f'"e":"trade","E":{ms},"T":{ms},{self._symbol}{body},"X":"MARKET","m":{maker}'
        return f'{{"stream":"{self._stream}@trade","data":{{{data}}}}}'

    def agg_trade(
        self, ms: int, agg_id: int, price: int, size: int, trades: tuple[int, int], *, buyer_is_maker: bool
    ) -> str:
        body = f'"a":{agg_id},{self._symbol}"p":"{self._price(price)}","q":"{self._size(size)}"'
        maker = ("true" if buyer_is_maker else "false") + (',"M":true' if self._spot else "")
        data = f'"e":"aggTrade","E":{ms},{body},"f":{trades[0]},"l":{trades[1]},"T":{ms},"m":{maker}'
        return f'{{"stream":"{self._stream}@aggTrade","data":{{{data}}}}}'

    def depth_update(
        self, ms: int, ids: tuple[int, int, int], bids: list[tuple[int, int]], asks: list[tuple[int, int]]
    ) -> str:
        first, last, previous = ids
        times, chain = (f'"E":{ms}', "") if self._spot else (f'"E":{ms},"T":{ms}', f'"pu":{previous},')
        head = f'"e":"depthUpdate",{times},{self._symbol}"U":{first},"u":{last},{chain}'
        levels = f'"b":{self._levels(bids)},"a":{self._levels(asks)}'
        return f'{{"stream":"{self._stream}@depth@100ms","data":{{{head}{levels}}}}}'

    def snapshot(self, ms: int, last: int, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> str:
        times = "" if self._spot else f'"E":{ms},"T":{ms},'
        return f'{{"lastUpdateId":{last},{times}"bids":{self._levels(bids)},"asks":{self._levels(asks)}}}'

    def _levels(self, levels: list[tuple[int, int]]) -> str:
        price, size = self._price, self._size
        return "[" + ",".join([f'["{price(level)}","{size(amount)}"]' for level, amount in levels]) + "]"


class _DecimalWriter:
    """Writes a whole number of steps as the venue's decimal text."""

    def __init__(self, decimals: int, shown: int) -> None:
        self._unit = 10**decimals
        self._decimals = decimals
        self._zeros = "0" * (shown - decimals)

    def __call__(self, steps: int) -> str:
        whole, part = divmod(steps, self._unit)
        return f"{whole}.{part:0{self._decimals}d}{self._zeros}"


class _Side:
    """One side of the book. away : the direction from its best price into the book, -1 for bids."""

    def __init__(self, rng: random.Random, best: int, away: int, levels: int) -> None:
        self._rng = rng
        self.best = best
        self.away = away
        self.sizes = {best + away * depth: _new_size(rng) for depth in range(levels)}
        self._changed: set[int] = set()

    def set(self, price: int, size: int) -> None:
        """Set the size at a price; 0 removes it, and removing a missing level is normal."""
        self._changed.add(price)
        if size:
            self.sizes[price] = size
            if (self.best - price) * self.away > 0:
                self.best = price
            return
        self.sizes.pop(price, None)
        if price != self.best:
            return
        prices = (price + self.away * depth for depth in range(1, BOOK_LEVELS))
        self.best = next((deeper for deeper in prices if deeper in self.sizes), price + self.away)
        if self.best not in self.sizes:  # An empty side would end the session: a new level appears at once.
            self.set(self.best, _new_size(self._rng))

    def levels(self) -> list[tuple[int, int]]:
        """Return every price and size, the best first."""
        return sorted(self.sizes.items(), reverse=self.away < 0)

    def take_changes(self) -> list[tuple[int, int]]:
        """Return the prices that changed since the last call, with their sizes now."""
        changed, self._changed = self._changed, set()
        return [(price, self.sizes.get(price, 0)) for price in sorted(changed, reverse=self.away < 0)]


class _Market:
    """The book and the orders that move it."""

    def __init__(self, rng: random.Random, texts: _Texts, levels: int, *, futures: bool) -> None:
        self._rng = rng
        self._levels = levels
        self._texts = texts
        self._futures = futures
        self._update = rng.randrange(10**9, 10**10)
        self._trade_id = rng.randrange(10**8, 10**9)
        self._agg_id = self._trade_id // 2
        self._bids = _Side(rng, texts.scale.price, -1, levels)
        self._asks = _Side(rng, texts.scale.price + 1, +1, levels)
        self._depth_last = self._update
        self._depth_first = 0

    def session(self, start_ns: int, *, with_snapshot: bool) -> Iterator[bytes]:
        rng, received = self._rng, start_ns
        order_ns, depth_ns, snapshot_ns = start_ns, start_ns + DEPTH_EVERY_NS, start_ns + SNAPSHOT_AT_NS
        while True:
            order_ns += 1 + int(rng.expovariate(1 / ORDER_GAP_NS))
            due: list[tuple[int, list[str]]] = []
            if with_snapshot and snapshot_ns <= order_ns:
                with_snapshot = False
                due.append((snapshot_ns, [self._snapshot(snapshot_ns)]))
            while depth_ns <= order_ns:
                due.append((depth_ns, self._depth(depth_ns)))
                depth_ns += DEPTH_EVERY_NS
            due.append((order_ns, self._order(order_ns)))
            for at_ns, frames in due:
                for frame in frames:
                    received = max(received + rng.randrange(1, 5_000), at_ns)
                    yield f"{received} {frame}\n".encode()

    def _order(self, at_ns: int) -> list[str]:
        """Add one order and return its frames."""
        roll = self._rng.random()
        if roll < 0.35:  # deep in the book: visible in the next depth update only
            self._rest_deep()
            return []
        ms = _venue_ms(at_ns)
        frames = self._take(ms) if roll < 0.55 else []
        if not frames:
            self._move_best()
        bid, ask = ((side.best, side.sizes[side.best]) for side in (self._bids, self._asks))
        frames.append(self._texts.book_ticker(ms, self._update, bid, ask))
        return frames

    def _take(self, ms: int) -> list[str]:
        """Fill an order at the best price, in one to three trades that are one aggregate."""
        rng = self._rng
        sell = rng.random() < 0.5
        side = self._bids if sell else self._asks
        price, resting = side.best, side.sizes[side.best]
        taken = resting if rng.random() < 0.3 else rng.randint(1, resting)
        frames = []
        first = self._trade_id + 1
        for part in _split(rng, taken):
            self._trade_id += 1
            frames.append(self._texts.trade(ms, self._trade_id, price, part, buyer_is_maker=sell))
        self._agg_id += 1
        trades = (first, self._trade_id)
        frames.append(self._texts.agg_trade(ms, self._agg_id, price, taken, trades, buyer_is_maker=sell))
        self._set(side, price, resting - taken)
        return frames

    def _move_best(self) -> None:
        """Change the best size, add a price inside the spread, or remove the best price."""
        rng = self._rng
        side = self._any_side()
        spread, roll = self._asks.best - self._bids.best, rng.random()
        if spread > 1 and roll < 0.6:
            self._set(side, side.best - side.away, _new_size(rng))
        elif spread < SPREAD_TICKS_MAX and roll > 0.9:
            self._set(side, side.best, 0)
        else:
            self._set(side, side.best, _new_size(rng))

    def _rest_deep(self) -> None:
        """Set or remove a level behind the best."""
        rng = self._rng
        side = self._any_side()
        depth = min(1 + int(rng.expovariate(1 / 12)), self._levels)
        self._set(side, side.best + side.away * depth, 0 if rng.random() < 0.4 else _new_size(rng))

    def _any_side(self) -> _Side:
        return self._bids if self._rng.random() < 0.5 else self._asks

    def _set(self, side: _Side, price: int, size: int) -> None:
        """Make one change of the book, with an update id of its own."""
        self._update += self._rng.randint(1, 40) if self._futures else 1
        self._depth_first = self._depth_first or self._update
        side.set(price, size)

    def _depth(self, at_ns: int) -> list[str]:
        """Return the levels changed since the last depth update as a frame of absolute sizes; no frame when none."""
        if not self._depth_first:
            return []
        ids = (self._depth_first if self._futures else self._depth_last + 1, self._update, self._depth_last)
        self._depth_last, self._depth_first = self._update, 0
        return [self._texts.depth_update(_venue_ms(at_ns), ids, self._bids.take_changes(), self._asks.take_changes())]

    def _snapshot(self, at_ns: int) -> str:
        return self._texts.snapshot(_venue_ms(at_ns), self._update, self._bids.levels(), self._asks.levels())


def _new_size(rng: random.Random) -> int:
    """Return a size, in steps."""
    return rng.randint(1, 5_000)


def _split(rng: random.Random, total: int) -> list[int]:
    """Divide ``total`` into one to three parts."""
    parts: list[int] = []
    while len(parts) < 2 and total > 1 and rng.random() < 0.4:
        parts.append(rng.randint(1, total - 1))
        total -= parts[-1]
    return [*parts, total]


def _venue_ms(received_ns: int) -> int:
    return (received_ns - TRAVEL_NS) // 1_000_000
