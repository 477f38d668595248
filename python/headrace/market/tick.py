"""Ticks as NumPy records: dtypes, kinds, flags, reasons of gaps.

::

    TICK_DTYPE   seq venue_seq ts_event ts_init instrument kind side flags values[4]     72 bytes
    QUOTE_DTYPE  … the same bytes, with the four values named: bid_price ask_price bid_size ask_size

Guarantees: the same bytes as the native record (every offset is tested); no field overlaps another, so ``np.save`` and
pickle work; a kind's dtype is a view of the same memory.
Does not: build arrays (``columns``), or number ticks; the Sequencer does.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

import headrace._native as _native
from headrace.errors import KindError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "AGG_TRADE_DTYPE",
    "FLAGS",
    "GAP_DTYPE",
    "KINDS",
    "LEVEL_DTYPE",
    "NO_INSTRUMENT",
    "QUOTE_DTYPE",
    "RESERVED_KINDS",
    "STATUS_DTYPE",
    "STATUS_REASONS",
    "STREAM_STATES",
    "TICK_DTYPE",
    "TRADE_DTYPE",
    "AggTradeTick",
    "BookTick",
    "Flags",
    "FundingTick",
    "GapCause",
    "GapTick",
    "Kind",
    "KlineTick",
    "KlineVolumeTick",
    "LevelEmptyTick",
    "LevelTick",
    "LiquidationTick",
    "MarkTick",
    "NewestQuote",
    "OpenInterestTick",
    "QuoteTick",
    "StatusTick",
    "Tick",
    "TradeTick",
    "dtype_of",
    "has_side",
    "is_tick_dtype",
    "kind_named",
    "ns_text",
    "register_kind",
]

NO_INSTRUMENT = 0xFFFF_FFFF
"""The instrument id of a tick that belongs to no instrument."""

_HEAD = [
    ("seq", "<u8"),
    ("venue_seq", "<u8"),
    ("ts_event", "<i8"),
    ("ts_init", "<i8"),
    ("instrument", "<u4"),
    ("kind", "u1"),
    ("side", "i1"),
    ("flags", "<u2"),
]

TICK_DTYPE = np.dtype([*_HEAD, ("values", "<f8", (4,))], align=True)
"""The record: 72 bytes. ``ts_event`` and ``ts_init`` are int64 ns since 1970-01-01 UTC."""


class Kind(NamedTuple):
    """One row of the kind table.

    number : the value in the record. name : as in ``on_<name>``. plural : as in ``on_<plural>``, or empty.
    nature : "state" (only the newest matters), "flow" (each one matters), "meta" (about the stream) or "derived" (made
        from other kinds where it is read, and never published).
    venue_ids : "monotone", "contiguous", "chained" or "none". values : names and dtypes of the four values.
    """

    number: int
    name: str
    plural: str
    nature: str
    venue_ids: str
    values: tuple[tuple[str, str], ...]

    @property
    def is_published(self) -> bool:
        """Whether ticks of it are on the ring."""
        return self.nature != "derived"


class NewestQuote(NamedTuple):
    """The newest published quote of an instrument. ts_init : ns. seq : its number. position : its ring position."""

    bid_price: float
    ask_price: float
    bid_size: float
    ask_size: float
    ts_init: int
    seq: int
    position: int


class NewestTrade(NamedTuple):
    """The newest published trade of an instrument in order. ts_init : ns. seq : its number."""

    price: float
    size: float
    ts_init: int
    seq: int


def has_side(price: float, size: float) -> bool:
    """Return whether a quote has a side of this price and size. A size of NaN is unknown, and of 0 is no side."""
    return 0 < price < math.inf and not size <= 0


class Flags(IntFlag):
    """The bits of ``flags``; ``FLAGS`` holds the meaning of each."""

    SNAPSHOT = 1 << 0
    FIRST_IN_EVENT = 1 << 1
    LAST_IN_EVENT = 1 << 2
    GAP_BEFORE = 1 << 3
    NO_VENUE_TIME = 1 << 4
    INEXACT_TEXT = 1 << 5
    DUPLICATE = 1 << 6
    LATE = 1 << 7
    PARTIAL_WINDOW = 1 << 8
    CUT = 1 << 9


NEVER_NEWEST = Flags(_native.NEVER_NEWEST)
"""A tick with one of these flags is never the newest of its kind: not for tables, bars, gates, marks or fills."""

FLAGS: Mapping[Flags, str] = {Flags(bit): meaning for _, bit, meaning in _native.flag_table()}
"""The meaning of each flag."""


class GapCause(IntEnum):
    """Why ticks are missing. The first three come from the feed, the others from the reader."""

    VENUE = 1
    RECONNECT = 2
    RESTART = 3
    OVERRUN = 4
    PAUSED = 5
    LAG = 6
    RATE = 7


STREAM_STATES, STATUS_REASONS = (dict(rows) for rows in _native.status_tables())
"""The names of a status tick's states and reasons, by the numbers in the record."""

RESERVED_KINDS = frozenset(
    {"bar", "bars", "order", "fill", "signal", "timer", "start", "stop", "pause", "resume", "save", "load"}
)
"""Names that no kind can have: ``on_bar`` and the like are callbacks of the engine."""

KINDS: dict[int, Kind] = {}
"""Every kind by its number: built-in rows first, then registered ones in their order."""

_DTYPES: dict[int, np.dtype[np.void]] = {}


def _read_kinds() -> None:
    for number, name, plural, nature, venue_ids, values in _native.kind_table():
        if number not in KINDS:
            KINDS[number] = Kind(number, name, plural, nature, venue_ids, tuple(values))
            fields = [(value or f"unused_{index}", f"<{dtype or 'u8'}") for index, (value, dtype) in enumerate(values)]
            _DTYPES[number] = np.dtype([*_HEAD, *fields], align=True)


_read_kinds()


def dtype_of(kind: int) -> np.dtype[np.void]:
    """Return the dtype in which a kind's values have names; TICK_DTYPE for 0, any kind."""
    return _DTYPES[kind] if kind else TICK_DTYPE


def kind_named(name: str) -> Kind:
    """Return the row with this name. Raises KindError."""
    for kind in KINDS.values():
        if kind.name == name:
            return kind
    known = ", ".join(kind.name for kind in KINDS.values())
    msg = f"kind {name!r} is unknown: use one of {known}"
    raise KindError(msg)


def is_tick_dtype(dtype: np.dtype[np.void]) -> bool:
    """Return whether arrays of this dtype hold ticks: TICK_DTYPE, or the view of one kind."""
    return dtype == TICK_DTYPE or dtype in _DTYPES.values()


QUOTE_DTYPE = dtype_of(kind_named("quote").number)
TRADE_DTYPE = dtype_of(kind_named("trade").number)
AGG_TRADE_DTYPE = dtype_of(kind_named("agg_trade").number)
LEVEL_DTYPE = dtype_of(kind_named("level").number)
GAP_DTYPE = dtype_of(kind_named("gap").number)
STATUS_DTYPE = dtype_of(kind_named("status").number)

if TYPE_CHECKING:
    from headrace._native import (
        AggTradeTick,
        BookTick,
        FundingTick,
        GapTick,
        KlineTick,
        KlineVolumeTick,
        LevelEmptyTick,
        LevelTick,
        LiquidationTick,
        MarkTick,
        OpenInterestTick,
        QuoteTick,
        StatusTick,
        Tick,
        TradeTick,
    )
else:
    # The types of a handler's `tick`: the base, then one subtype per built-in kind in order of its number.
    Tick, QuoteTick, TradeTick, AggTradeTick, LevelTick, LevelEmptyTick, GapTick, StatusTick, BookTick = (
        _native.tick_types()[:9]
    )
    MarkTick, FundingTick, OpenInterestTick, LiquidationTick, KlineTick, KlineVolumeTick = _native.tick_types()[9:15]


def register_kind(
    name: str,
    values: Sequence[str],
    *,
    nature: Literal["state", "flow"] = "flow",
    venue_ids: Literal["monotone", "contiguous", "none"] = "none",
) -> Kind:
    """Add a row to the kind table and return it.

    ``register_kind("sentiment", ["score"])`` adds a kind whose handlers are ``on_sentiment`` and ``on_sentiments``.

    values : at most four names, each a float64.
    nature : "state" (only the newest matters) or "flow". venue_ids : "monotone", "contiguous" or "none".
    A dispatcher made before has no such kind. Raises KindError.
    """
    if name in RESERVED_KINDS:
        msg = f"kind {name!r} is refused: on_{name} is a callback of the engine; use a different name, like {name}_data"
        raise KindError(msg)
    names = [values] if isinstance(values, str) else list(values)
    number = _native.register_kind(name, names, nature=nature, venue_ids=venue_ids)
    _read_kinds()
    return KINDS[number]


def ns_text(ts_ns: int | None) -> str:
    """Return a time as UTC text with all nine decimals; ``-`` for None."""
    if ts_ns is None:
        return "-"
    seconds, ns = divmod(int(ts_ns), 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%d %H:%M:%S}.{ns:09d}"
