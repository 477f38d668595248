"""Past: the data of a run in memory, so that its future can be cut off or altered.

::

    feeds ─▶ ticks of all of them, in the order of the run ┐
             candles, by feed ─────────────────────────────┴▶ until(C) · altered(C, factor) ─▶ data of another run

Guarantees: what was known before C is never altered: a candle that opened before C and closes later keeps its open.
Does not: hold less than all of the data: 72 bytes a tick, 64 a candle.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from headrace.engine.options import complete
from headrace.engine.parts import build_parts
from headrace.engine.replay import on_own_thread, run_parts
from headrace.errors import ResultError
from headrace.feeds.base import CandleSource
from headrace.feeds.candles import CandleFeed
from headrace.feeds.files import written_whole
from headrace.feeds.given import feeds_of
from headrace.market.running_loop import has_running_loop
from headrace.market.tick import KINDS, TICK_DTYPE, dtype_of, kind_named
from headrace.market.tick_array import TickArray
from headrace.strategies.spec import specs_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from headrace.feeds.base import AnyFeed
    from headrace.feeds.given import Source

__all__ = ["Packed", "Past", "past_of"]

# What an altered future is multiplied by: whatever has the unit of a price.
PRICES = ("bid_price", "ask_price", "price")
PRICES_OF_CANDLES = ("open", "high", "low", "close")


class OneFeed(NamedTuple):
    """The candles of one feed."""

    instrument: str
    timeframe: str
    price: str
    candles: np.ndarray

    def feed(self, candles: np.ndarray) -> CandleFeed:
        """Return a feed of other candles in place of its own."""
        return CandleFeed(candles, instrument=self.instrument, timeframe=self.timeframe, price=self.price)  # type: ignore[arg-type]  # a feed had it


class Packed(NamedTuple):
    """The data for another machine. ticks : of dtype TICK_DTYPE, whose instruments are named here."""

    ticks: np.ndarray
    instruments: tuple[str, ...]
    candles: tuple[OneFeed, ...]


class Past(NamedTuple):
    """The data. ticks : of dtype TICK_DTYPE, with the names of their instruments; empty where there are none."""

    ticks: TickArray
    candles: tuple[OneFeed, ...]

    @property
    def times(self) -> np.ndarray:
        """When something becomes known, ns, rising: ticks and closes of candles."""
        return np.unique(np.concatenate([self.ticks["ts_init"], *(own.candles["ts_close"] for own in self.candles)]))

    @property
    def begin_ns(self) -> int:
        """When the first candle opened; without candles, when the first tick was."""
        opens = [int(own.candles["ts_open"][0]) for own in self.candles if len(own.candles)]
        return min(opens) if opens else int(self.times[0])

    def until(self, end_ns: int) -> Past:
        """Return what was known before a time."""
        ticks = self.ticks[: int(np.searchsorted(self.ticks["ts_init"], end_ns, "left"))]
        return Past(ticks, tuple(self._until(own, end_ns) for own in self.candles))

    def between(self, start_ns: int, end_ns: int) -> Past:
        """Return a span: ticks of ``start_ns <= t < end_ns``, candles that opened and closed in it.

        A candle that closes at an edge belongs to the span that it ends; one that crosses an edge, to none.
        """
        first, last = np.searchsorted(self.ticks["ts_init"], (start_ns, end_ns), "left").tolist()
        return Past(self.ticks[first:last], tuple(_candles_between(own, start_ns, end_ns) for own in self.candles))

    @staticmethod
    def _until(own: OneFeed, end_ns: int) -> OneFeed:
        return own._replace(candles=own.candles[: int(np.searchsorted(own.candles["ts_close"], end_ns, "left"))])

    def altered(self, from_ns: int, factor: float) -> Past:
        """Return the same data with other prices from a time on: each is multiplied by a factor."""
        ticks = self.ticks.copy()
        later = ticks["ts_init"] >= from_ns
        for kind in KINDS.values():
            names = [name for name, _ in kind.values if name in PRICES]
            rows = later & (ticks["kind"] == kind.number)
            view = ticks.view(np.ndarray).view(dtype_of(kind.number))
            for name in names:
                view[name][rows] *= factor
        return Past(ticks, tuple(own._replace(candles=_altered(own.candles, from_ns, factor)) for own in self.candles))

    def sources(self) -> list[Source]:
        """Return feeds of the data, for a run."""
        feeds: list[Source] = [own.feed(own.candles) for own in self.candles if len(own.candles)]
        return [self.ticks, *feeds] if len(self.ticks) else feeds

    def feeds(self) -> list[AnyFeed]:
        """Return the sources as feeds."""
        return feeds_of(self.sources())

    def digest(self) -> str:
        """Return a text that other data do not have: SHA-256 over all of it."""
        found = hashlib.sha256(" ".join(self.ticks.instruments).encode())
        for array in (self.ticks, *(own.candles for own in self.candles)):
            found.update(np.ascontiguousarray(array).view(np.uint8).data)
        return found.hexdigest()

    def saved(self, folder: Path) -> dict[str, Any]:
        """Write the data as arrays and return what ``mapped`` takes: processes share what they map."""
        arrays = {"ticks": self.ticks, **{str(number): own.candles for number, own in enumerate(self.candles)}}
        for name, array in arrays.items():
            with written_whole(folder / f"{name}.npy", "workers' data", ResultError) as part:
                np.save(part, np.asarray(array))
        names = [own._replace(candles=np.empty(0, own.candles.dtype)) for own in self.candles]
        return {"folder": folder, "instruments": self.ticks.instruments, "candles": names}

    @classmethod
    def mapped(cls, saved: Mapping[str, Any]) -> Past:
        """Return data that was saved, mapped."""
        folder: Path = saved["folder"]
        ticks: TickArray = np.load(folder / "ticks.npy", mmap_mode="r").view(TickArray)
        ticks.instruments = tuple(saved["instruments"])
        candles = (np.load(folder / f"{number}.npy", mmap_mode="r") for number in range(len(saved["candles"])))
        return cls(
            ticks, tuple(own._replace(candles=each) for own, each in zip(saved["candles"], candles, strict=True))
        )

    def packed(self) -> Packed:
        """Return the data as plain arrays, which can be sent to another machine, and ``unpacked`` there."""
        return Packed(np.asarray(self.ticks), tuple(self.ticks.instruments), self.candles)

    @classmethod
    def unpacked(cls, packed: Packed) -> Past:
        """Return data that was packed; it shares the arrays."""
        ticks: TickArray = packed.ticks.view(TickArray)
        ticks.instruments = packed.instruments
        return cls(ticks, packed.candles)

    def given(self) -> object:
        """Return what a maker of strategies receives: the array of ticks, or of candles; of several a list."""
        each = [*([self.ticks] if len(self.ticks) or not self.candles else []), *(own.candles for own in self.candles)]
        return each[0] if len(each) == 1 else each


def _candles_between(own: OneFeed, start_ns: int, end_ns: int) -> OneFeed:
    first = int(np.searchsorted(own.candles["ts_open"], start_ns, "left"))
    last = int(np.searchsorted(own.candles["ts_close"], end_ns, "right"))
    return own._replace(candles=own.candles[first:last])


def _altered(candles: np.ndarray, from_ns: int, factor: float) -> np.ndarray:
    made = candles.copy()
    for name in PRICES_OF_CANDLES:
        known_ns = made["ts_open"] if name == "open" else made["ts_close"]
        made[name][known_ns >= from_ns] *= factor
    # The open that was known stays inside of what is altered around it.
    made["high"] = np.maximum(made["high"], np.maximum(made["open"], made["close"]))
    made["low"] = np.minimum(made["low"], np.minimum(made["open"], made["close"]))
    return made


def past_of(sources: Source | Iterable[Source], venue: str | None = None) -> Past:
    """Read all data into memory. Raises what a replay of them raises."""
    feeds = feeds_of(sources, venue)
    of_ticks: list[AnyFeed] = [feed for feed in feeds if not isinstance(feed, CandleSource)]
    candles = _read_candles([feed for feed in feeds if isinstance(feed, CandleSource)])
    return Past(_read_ticks(of_ticks), candles)


def _read_ticks(feeds: list[AnyFeed]) -> TickArray:
    """Return the ticks of feeds in the order of a replay, without gaps: an array without its past has its own."""
    parts: list[np.ndarray] = []

    def on_ticks(ticks: np.ndarray) -> None:
        parts.append(ticks)

    names: tuple[str, ...] = ()
    if feeds:
        spec = specs_of((on_ticks, {"every": "5m", "callback": "on_ticks"}))
        made = build_parts(complete({"mode": "replay", "feeds": feeds, "strategies": spec}))
        run_parts(made)
        names = tuple(made.dispatcher.instruments)
    each = np.concatenate(parts) if parts else np.empty(0, TICK_DTYPE)
    ticks: TickArray = each[each["kind"] != kind_named("gap").number].view(TickArray)
    ticks.instruments = names
    return ticks


def _read_candles(feeds: list[CandleSource]) -> tuple[OneFeed, ...]:
    found: list[OneFeed] = []

    async def read() -> None:
        for feed in feeds:
            await feed.open()
            try:
                blocks = [block async for block in feed.candles()]
                found.append(OneFeed(feed.instrument, feed.timeframe, feed.price, np.concatenate(blocks)))
            finally:
                await feed.close()

    if feeds and has_running_loop():
        on_own_thread(lambda: asyncio.run(read()))
    elif feeds:
        asyncio.run(read())
    return tuple(found)
