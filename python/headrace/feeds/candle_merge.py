"""CandleMerge: the candles of several feeds, and of longer timeframes made from them, as one order of events.

::

    CandleSource ─▶ blocks ─┬▶ stream ─────────────┐                at one time T
                            └▶ Resampler ─▶ stream ─┴▶ native ─▶     1. closes, in the order of feeds, made ones last
                                                                    2. opens, of the candles that orders fill from

Guarantees: an event leaves only when every feed has shown what comes before it; equal times keep the order of feeds.
Does not: publish, or invent a candle that is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import headrace._native as _native
from headrace.feeds.naming import NamedFeed
from headrace.feeds.table.block import refused
from headrace.market.bar_line import bar_line
from headrace.market.bars import interval_ns
from headrace.market.candles import CANDLE_DTYPE, Resampler
from headrace.market.tick import ns_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from headrace.feeds.base import CandleSource
    from headrace.feeds.quality import SourceQuality
    from headrace.market.bars import BarSpec
    from headrace.market.candles import CandleOpen
    from headrace.market.events import Bar

__all__ = ["CandleMerge"]

# Instrument, timeframe, price.
Key = tuple[str, str, str]


class _Reader:
    """One feed: the number of its stream, and those of longer timeframes made from it."""

    def __init__(
        self, source: CandleSource, key: Key, native: _native.CandleMerge, number: int, quality: SourceQuality | None
    ) -> None:
        self.source = source
        # What its candles are: a feed may make the text of a timeframe anew each time, and this is read at each block.
        self.key = key
        self._native = native
        self._quality = quality
        self._number = number
        self._made: list[tuple[Resampler, int]] = []
        # Until it is known what is made of it.
        self.first_block: np.ndarray | None = None
        # When the candles of the newest block open.
        self.opens = np.zeros(0, "i8")
        self._blocks: AsyncIterator[np.ndarray] | None = None

    async def read(self) -> None:
        """Read the next block, if there is one."""
        named = NamedFeed(self.source, "candles")
        with named:
            if self._blocks is None:
                self._blocks = aiter(self.source.candles())
                self.first_block = block = await anext(self._blocks, None)
            else:
                block = await anext(self._blocks, None)
        if block is None:
            return
        self.opens = block["ts_open"]
        if self._quality is not None:
            self._quality.see(self.source, block, [self.source.instrument])
        self._push(self._number, block)
        for resampler, number in self._made:
            self._push(number, resampler.push(block))

    def make(self, timeframe: str, number: int) -> None:
        """Make a stream of a longer timeframe from here on."""
        resampler = Resampler(timeframe)
        self._made.append((resampler, number))
        if self.first_block is not None:
            self._native.begin(number, int(self.first_block["ts_open"][0]))
            self._push(number, resampler.push(self.first_block))

    def _push(self, number: int, block: np.ndarray) -> None:
        self._native.push(number, np.ascontiguousarray(block).view(np.uint8))


class CandleMerge:
    """The candles of all feeds of a run, once they are open.

    native : of the run, without streams. has_opens : whether opens are events. quality : checks each block, if it is
    there.
    """

    def __init__(
        self,
        sources: Sequence[CandleSource],
        native: _native.CandleMerge,
        *,
        has_opens: bool,
        quality: SourceQuality | None = None,
    ) -> None:
        self.native = native
        self._has_opens = has_opens
        self._shortest = shortest_of(sources)
        self._fills: set[Key] = set()
        # By number.
        self._keys: list[Key] = []
        self._readers = []
        for source in sources:
            key = (source.instrument, source.timeframe, source.price)
            is_filling = interval_ns(source.timeframe) == self._shortest[source.instrument]
            self._readers.append(_Reader(source, key, native, self._add(key, is_filling=is_filling), quality))
            if is_filling:
                self._fills.add(key)
        self._hungry = list(self._readers)

    def _add(self, key: Key, *, is_filling: bool) -> int:
        instrument, timeframe, price = key
        self._keys.append(key)
        number = self.native.add(
            key,
            lengths_ns=(interval_ns(timeframe), self._shortest[instrument]),
            has_opens=self._has_opens and is_filling,
            fills=is_filling,
        )
        line = bar_line(instrument, timeframe, price)
        if line is not None:
            self.native.set_line(number, *line)
        return number

    @property
    def has_one_stream_each(self) -> bool:
        """Whether no two streams are of the same instrument, timeframe and price."""
        return len(set(self._keys)) == len(self._keys)

    @property
    def count(self) -> int:
        """How many candles have closed so far."""
        return self.native.count

    @property
    def first_ns(self) -> int | None:
        """When the first event was, ns; None: there was none."""
        return self.native.first_ns

    @property
    def last_ns(self) -> int:
        """When the last candle closed, ns; 0: none has."""
        return self.native.last_ns

    def make(self, specs: Iterable[BarSpec]) -> None:
        """Make the bars of specs that no feed has from candles that divide them; once, after the first ``fill``."""
        for spec in specs:
            unit, length_ns = spec.length
            for reader in self._readers:
                instrument, timeframe, price = reader.key
                key = (instrument, spec.timeframe, price)
                is_made_of = unit == "ns" and length_ns % interval_ns(timeframe) == 0
                if is_made_of and key not in self._keys and spec.takes_key((*key, spec.time, False)):
                    reader.make(spec.timeframe, self._add(key, is_filling=False))
        for reader in self._readers:
            reader.first_block = None

    def unmade(self, specs: Iterable[BarSpec]) -> list[BarSpec]:
        """Return the specs of bars of instruments here that no feed has, and that are not made; after ``make``."""
        return [
            spec
            for spec in specs
            if any(_native.matches_pattern(spec.instrument, instrument) for instrument in self._shortest)
            and not any(spec.takes_key((*key, spec.time, False)) for key in self._keys)
        ]

    def fills(self, bar: Bar) -> bool:
        """Return whether orders are filled from a candle: it is one of the shortest of its instrument."""
        return (bar.instrument, bar.timeframe, bar.price) in self._fills

    async def fill(self) -> None:
        """Read on where the next event is not known. Raises what a feed raises."""
        hungry, self._hungry = self._hungry, []
        # Made ones are read with the candles that they are made of.
        hungry += [self._readers[own] for own in self.native.take_hungry() if own < len(self._readers)]
        for reader in hungry:
            await reader.read()
            self._refuse_repeated(reader)

    def _refuse_repeated(self, reader: _Reader) -> None:
        """Refuse a candle that two feeds have. Raises DataError.

        Feeds are read as far as each other, so that a candle of two stands in the newest block of both at one time.
        """
        for other in self._readers:
            if other is reader or other.key != reader.key:
                continue
            both = np.intersect1d(reader.opens, other.opens)
            if len(both):
                first, second = sorted((reader, other), key=self._readers.index)
                instrument, timeframe, _ = reader.key
                what = f"has the {timeframe} candle of {instrument} that opens at {ns_text(int(both[0]))}"
                advice = f"and {first.source.name} has it, too: give each candle once"
                raise refused(second.source.name, f"{what}, {advice}", column="ts_open")

    @property
    def due_ns(self) -> int | None:
        """When the next event is; None: there is none. Right after ``fill``."""
        return self.native.due_ns

    @property
    def is_open_next(self) -> bool:
        """Whether the next events are opens."""
        return self.native.is_open_next

    def take_opens(self) -> list[CandleOpen]:
        """Return the opens that are next."""
        return self.native.take_opens()

    def take_closes(self) -> list[Bar]:
        """Return the candles whose closes are next."""
        return self.native.take_closes()

    def unread(self) -> Mapping[Key, Callable[[], np.ndarray]]:
        """Return, by stream, what returns the closed candles that native code published since the last call of it."""

        def of(number: int) -> Callable[[], np.ndarray]:
            return lambda: np.frombuffer(self.native.take_unread(number), CANDLE_DTYPE)

        return {key: of(number) for number, key in enumerate(self._keys)}


def shortest_of(sources: Iterable[CandleSource]) -> dict[str, int]:
    """Return the length of each instrument's shortest candles, ns."""
    shortest: dict[str, int] = {}
    for source in sources:
        length_ns = interval_ns(source.timeframe)
        shortest[source.instrument] = min(length_ns, shortest.get(source.instrument, length_ns))
    return shortest
