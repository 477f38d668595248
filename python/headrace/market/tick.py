"""Ticks as NumPy records: dtypes, kinds, flags, reasons of gaps, and ``ticks()``, which builds arrays.

::

    TICK_DTYPE   seq venue_seq ts_event ts_init instrument kind side flags values[4]     72 bytes
    QUOTE_DTYPE  … the same bytes, with the four values named: bid_price ask_price bid_size ask_size

Guarantees: the same bytes as the native record (every offset is tested); no field overlaps another, so ``np.save`` and
pickle work; a kind's dtype is a view of the same memory.
Does not: number ticks; the Sequencer does.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

import headrace._native as _native
from headrace.errors import KindError, OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

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
    "TICK_DTYPE",
    "TRADE_DTYPE",
    "AggTradeTick",
    "Flags",
    "GapCause",
    "GapTick",
    "Kind",
    "LevelEmptyTick",
    "LevelTick",
    "NewestQuote",
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
    "ticks",
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
    nature : "state" (only the newest matters), "flow" (each one matters) or "meta".
    venue_ids : "monotone", "contiguous", "chained" or "none". values : names and dtypes of the four values.
    """

    number: int
    name: str
    plural: str
    nature: str
    venue_ids: str
    values: tuple[tuple[str, str], ...]


class NewestQuote(NamedTuple):
    """The newest published quote of an instrument. ts_init : ns. seq : its number. position : its ring position."""

    bid_price: float
    ask_price: float
    bid_size: float
    ask_size: float
    ts_init: int
    seq: int
    position: int


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


RESERVED_KINDS = frozenset(
    {"bar", "order", "fill", "signal", "timer", "start", "stop", "pause", "resume", "save", "load"}
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
        GapTick,
        LevelEmptyTick,
        LevelTick,
        QuoteTick,
        StatusTick,
        Tick,
        TradeTick,
    )
else:
    # The types of a handler's `tick`: the base, then one subtype per built-in kind in order of its number.
    Tick, QuoteTick, TradeTick, AggTradeTick, LevelTick, LevelEmptyTick, GapTick, StatusTick = _native.tick_types()[:8]


def register_kind(
    name: str,
    values: Sequence[str],
    *,
    nature: Literal["state", "flow"] = "flow",
    venue_ids: Literal["monotone", "contiguous", "none"] = "none",
) -> Kind:
    """Add a row to the kind table and return it.

    ``register_kind("funding", ["rate"])`` adds a kind whose handlers are ``on_funding`` and ``on_fundings``.

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


def ticks(
    *,
    instrument: str | Sequence[str] | np.ndarray,
    ts_init: ArrayLike,
    instruments: _native.Instruments | Sequence[str] | None = None,
    kind: str | None = None,
    ts_event: ArrayLike | None = None,
    venue_seq: ArrayLike | None = None,
    side: ArrayLike | None = None,
    **values: ArrayLike,
) -> np.ndarray:
    """Build an array of TICK_DTYPE from arrays, lists or DataFrame columns.

    instrument : one ``"SYMBOL.VENUE"`` for all rows, or one per row, or their ids.
    ts_init : int64 ns since 1970-01-01 UTC, or datetime64; must not go back.
    instruments : the ids of the names: a Dispatcher's ``instruments``, or the names in order of their ids. Without it
        the ids are 0, 1, … by first appearance.
    kind : needed only when the names of the values fit several kinds.
    ts_event : as ts_init; without it the ticks are flagged NO_VENUE_TIME.
    venue_seq : the venue's numbers; without them no gap is found.
    side : +1 buy or bid, -1 sell or ask. For trades ``aggressor_side`` is another name of side, and ``trade_id`` of
        venue_seq.
    values : one per value of the kind: ``bid_price=…, ask_price=…`` for quotes, ``price=…, size=…`` for trades.

    Returns shape (n,), dtype TICK_DTYPE, each row a venue event of its own. O(n). A missing size is
    0; of a quote it is NaN, which is unknown: a side of size 0 is absent.
    Raises OptionError (unequal lengths, unknown or missing names, times that go back), InstrumentError.
    """
    if "aggressor_side" in values:
        side = values.pop("aggressor_side")
    if "trade_id" in values:
        venue_seq = values.pop("trade_id")
    row = _kind_of(values, kind)
    columns = {name: _column(name, column, dtype) for name, column, dtype in _known(row, values)}
    times = _times("ts_init", ts_init)
    out = np.zeros(len(times), TICK_DTYPE)
    typed = out.view(dtype_of(row.number))
    if row.name == "quote":
        # A size of 0 would mean that nothing is bid or asked.
        typed["bid_size"] = typed["ask_size"] = np.nan
    for name, column in columns.items():
        typed[name] = _fitting(name, column, len(out))
    out["kind"] = row.number
    out["ts_init"] = times
    flags = Flags.FIRST_IN_EVENT | Flags.LAST_IN_EVENT
    if ts_event is None:
        flags |= Flags.NO_VENUE_TIME
    else:
        out["ts_event"] = _fitting("ts_event", _times("ts_event", ts_event), len(out))
    out["flags"] = flags
    if venue_seq is not None:
        out["venue_seq"] = _fitting("venue_seq", _column("venue_seq", venue_seq, "u8"), len(out))
    if side is not None:
        out["side"] = _fitting("side", _column("side", side, "i1"), len(out))
    out["instrument"] = _fitting("instrument", _instrument_ids(instrument, instruments), len(out))
    if len(times) and (back := np.flatnonzero(np.diff(times) < 0)).size:
        msg = f"ts_init goes back at row {int(back[0]) + 1}: sort the rows by receive time first"
        raise OptionError(msg, option="ts_init")
    return out


def _kind_of(values: Mapping[str, ArrayLike], kind: str | None) -> Kind:
    if kind is not None:
        return kind_named(kind)
    # Headrace makes gaps and statuses itself; columns never build them.
    candidates = {row: [name for name, _ in row.values if name] for row in KINDS.values() if row.nature != "meta"}
    fitting = [row for row, names in candidates.items() if values and set(values) <= set(names)]
    # price and size mean a trade, unless a column that only levels have is there.
    preferred = [row for row in fitting if row.name in {"quote", "trade"}] or fitting
    if not fitting:
        known = "; ".join(f"{row.name}: {', '.join(names)}" for row, names in candidates.items())
        msg = f"no kind has the values {', '.join(sorted(values)) or '(none)'}: name those of one kind ({known})"
        raise OptionError(msg, option="values")
    return preferred[0]


def _known(row: Kind, values: Mapping[str, ArrayLike]) -> list[tuple[str, ArrayLike, str]]:
    dtypes = {name: dtype for name, dtype in row.values if name}
    unknown = sorted(set(values) - set(dtypes))
    if unknown:
        msg = f"kind {row.name} has no {', '.join(unknown)}: its values are {', '.join(dtypes)}"
        raise OptionError(msg, option=unknown[0])
    missing = [name for name in dtypes if name.endswith("price") and name not in values]
    if missing:
        msg = f"kind {row.name} needs {', '.join(missing)}"
        raise OptionError(msg, option=missing[0])
    return [(name, values[name], dtypes[name]) for name in values]


def _column(name: str, column: ArrayLike, dtype: str) -> np.ndarray:
    given = np.asarray(column)
    try:
        with np.errstate(invalid="ignore"):  # Checked below.
            read = given.astype(dtype, casting="same_kind" if dtype == "f8" else "unsafe")
    except (TypeError, ValueError, OverflowError) as error:
        msg = f"{name} cannot be read as {np.dtype(dtype).name}: {error}"
        raise OptionError(msg, option=name) from error
    # A fraction, a NaN or a number out of range would become another number.
    if dtype != "f8" and given.dtype.kind in "iuf" and (lost := np.flatnonzero(_differs(given, read))).size:
        value = np.ravel(given)[lost[0]]
        msg = f"{name} is {value} at row {int(lost[0])}, which {np.dtype(dtype).name} cannot hold: correct it first"
        raise OptionError(msg, option=name)
    return read


def _differs(given: np.ndarray, read: np.ndarray) -> np.ndarray:
    # The sign is compared separately: NumPy wraps a negative number into an unsigned one, and back.
    differs: np.ndarray = (given != read.astype(given.dtype)) | ((given < 0) != (read < 0))
    return differs


def _times(name: str, column: ArrayLike) -> np.ndarray:
    times = np.asarray(column)
    if times.dtype.kind == "M":
        if (lost := np.flatnonzero(np.isnat(times) | (times.astype("M8[ns]").astype(times.dtype) != times))).size:
            value = np.ravel(times)[lost[0]]
            msg = f"{name} is {value} at row {int(lost[0])}, which is no time in int64 ns: correct or drop the row"
            raise OptionError(msg, option=name)
        times = times.astype("M8[ns]").view("i8")
    if times.ndim == 1 and not len(times):
        return np.zeros(0, "i8")  # The dtype of an empty list means nothing.
    if times.dtype.kind not in "iu" or times.ndim != 1:
        msg = (
            f"{name} must be one-dimensional int64 ns since 1970-01-01 UTC, or datetime64, got {times.dtype} "
            f"with {times.ndim} dimension(s)"
        )
        raise OptionError(msg, option=name)
    return _column(name, times, "i8")


def _fitting(name: str, column: np.ndarray, length: int) -> np.ndarray:
    if column.ndim > 1 or (column.ndim == 1 and len(column) != length):
        msg = f"{name} has shape {column.shape}, ts_init has {length} rows: pass one value, or one per row"
        raise OptionError(msg, option=name)
    return column


def _instrument_ids(
    instrument: str | Sequence[str] | np.ndarray, known: _native.Instruments | Sequence[str] | None
) -> np.ndarray:
    if isinstance(known, _native.Instruments):
        table = known
    else:
        table = _native.Instruments([known] if isinstance(known, str) else list(known or ()))
    if isinstance(instrument, str):
        return np.asarray(table.add(instrument), "u4")
    names = np.asarray(instrument)
    if names.dtype.kind in "iu":
        return _column("instrument", names, "u4")
    unique, first, inverse = np.unique(names.astype(str), return_index=True, return_inverse=True)
    ids = np.zeros(len(unique), "u4")
    for place in np.argsort(first):
        ids[place] = table.add(str(unique[place]))
    return ids[inverse]


def ns_text(ts_ns: int | None) -> str:
    """Return a time as UTC text with all nine decimals; ``-`` for None."""
    if ts_ns is None:
        return "-"
    seconds, ns = divmod(int(ts_ns), 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%d %H:%M:%S}.{ns:09d}"
