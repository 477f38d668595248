"""Events of data and of signals: bars, gaps, states, and what a strategy wants to hold.

Guarantees: a bar's prices are those of its ticks; a signal's side is -1, 0 or 1.
Does not: carry ticks; those stay on the ring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter

import msgspec

from headrace.market.checks import refuse, side_of
from headrace.market.events.base import Event

__all__ = [
    "Bar",
    "BarFrame",
    "Gap",
    "Signal",
    "Status",
    "bar_key",
]


# What a bar concerns; handlers choose by it.
bar_key = attrgetter("instrument", "timeframe", "price", "time", "is_empty")


class Bar(Event, frozen=True, kw_only=True):
    """One interval of one instrument, stamped at its close; ``[ts_open, ts_close)``.

    timeframe : ``"1s"``, ``"1m"``, ``"1h"`` or ``"100t"``. price : the price it is made of: "trade", "agg_trade",
    "mid", "bid", "ask" or "kline". time : the time that decides which bar a tick is in, "ts_init" or "ts_event".
    volume : sum of sizes, 0 for quotes. count : ticks, for "kline" trades; 0: none came, and the prices are the close
        before.
    late : ticks so far that came after their bar was closed. partial : its interval began before the data did, so that
        ticks are missing.
    """

    instrument: str
    timeframe: str
    price: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    count: int
    ts_open: int
    ts_close: int
    late: int = 0
    partial: bool = False
    time: str = "ts_init"

    @property
    def is_empty(self) -> bool:
        """Whether no tick came in its interval."""
        return self.count == 0


class BarFrame(Event, frozen=True, kw_only=True):
    """The bars of one timeframe that closed at one time: ``bars["BTCUSDT.BINANCE"]``, ``for instrument in bars``.

    ts_close : the time, ns. bars : by instrument, in the order in which they closed. missing : instruments that had
    such bars before, and have none that closes now.
    """

    timeframe: str
    price: str
    time: str
    ts_close: int
    bars: Mapping[str, Bar]
    missing: tuple[str, ...] = ()

    def __getitem__(self, instrument: str) -> Bar:
        """Return the bar of an instrument. Raises KeyError where it is missing."""
        return self.bars[instrument]

    def __iter__(self) -> Iterator[str]:
        """Yield the instruments that have a bar."""
        return iter(self.bars)

    def __contains__(self, instrument: object) -> bool:
        return instrument in self.bars

    def __len__(self) -> int:
        return len(self.bars)

    def of(self, takes: Callable[[tuple[str, str, str, str, bool]], bool]) -> BarFrame | None:
        """Return the part that a strategy takes, by the keys of bars; None: it takes none of them."""
        bars = {name: bar for name, bar in self.bars.items() if takes(bar_key(bar))}
        if not bars:
            return None
        missing = tuple(own for own in self.missing if takes((own, self.timeframe, self.price, self.time, False)))
        if len(bars) == len(self.bars) and len(missing) == len(self.missing):
            return self
        return msgspec.structs.replace(self, bars=bars, missing=missing)


class Gap(Event, frozen=True, kw_only=True):
    """Events that the data lane dropped before this one: ``missed`` of them, numbers ``first`` to ``last``."""

    lane: str
    missed: int
    first: int
    last: int


class Status(Event, frozen=True, kw_only=True):
    """The state of a feed, a service or the broker."""

    subject: str
    state: str
    reason: str = ""


class Signal(Event, frozen=True, kw_only=True):
    """A strategy's opinion of an instrument. Raises OptionError for a side that is none of the three.

    side : +1 buy, -1 sell, 0 close the position. strength : as the strategy scales it. price : the price that the
    strategy saw, or None.
    """

    instrument: str
    side: int
    strength: float = 1.0
    price: float | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        # By code that publishes its own, too: NaN is no side, and 1 of NumPy becomes an int.
        side = side_of(self.side)
        if side is None:
            refuse("side", self.side, "1 to buy, -1 to sell, or 0 to close the position")
        if side is not self.side:
            msgspec.structs.force_setattr(self, "side", side)
