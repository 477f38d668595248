"""Ticks from columns: ``ticks()`` reads arrays, lists and DataFrame columns exactly, or refuses them.

Guarantees: a value never becomes another number on the way: fractions, missing values, bools and other units of time
are refused, with the row.
Does not: number ticks; the Sequencer does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import headrace._native as _native
from headrace.errors import OptionError
from headrace.market.tick import KINDS, TICK_DTYPE, Flags, Kind, dtype_of, kind_named
from headrace.market.tick_array import TickArray
from headrace.market.times import column_problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

__all__ = ["ticks"]

# Values that no kind has below 0.
SIZES = {"size", "bid_size", "ask_size"}


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
    ts_init : int64 ns since 1970-01-01 UTC, or datetime64 (a column with a time zone becomes UTC); must not go back.
        Integers that are seconds, milliseconds or microseconds between the years 2000 and 2200 are refused; times
        next to whole milliseconds since 1970 are not, so that ns may start at 0.
    instruments : the ids of the names: a Dispatcher's ``instruments``, or the names in order of their ids. Without it
        the ids are 0, 1, … by first appearance. The array keeps the names: where it is replayed or published, its ids
        mean them.
    kind : needed only when the names of the values fit several kinds.
    ts_event : as ts_init; without it the ticks are flagged NO_VENUE_TIME.
    venue_seq : the venue's numbers; without them no gap is found.
    side : +1 buy or bid, -1 sell or ask. For trades ``aggressor_side`` is another name of side, ``trade_id`` of
        venue_seq, and ``buyer_is_maker`` takes bools: True is a sell.
    values : one per value of the kind: ``bid_price=…, ask_price=…`` for quotes, ``price=…, size=…`` for trades.

    Returns shape (n,), dtype TICK_DTYPE, each row a venue event of its own. O(n). A missing size is
    0; of a quote it is NaN, which is unknown: a side of size 0 is absent.
    Raises OptionError (unequal lengths, unknown or missing names, values that would become others, times that go back),
    InstrumentError.
    """
    side = _side(_one_of_two("side", side, "aggressor_side", values), values)
    venue_seq = _one_of_two("venue_seq", venue_seq, "trade_id", values)
    row = _kind_of(values, kind)
    columns = {name: _column(name, column, dtype) for name, column, dtype in _known(row, values)}
    for name in SIZES & columns.keys():
        _refuse_no_size(name, columns[name], may_be_unknown=row.name == "quote")
    times = _times("ts_init", ts_init)
    ids, names = _instrument_ids(instrument, instruments)
    out = np.zeros(len(times), TICK_DTYPE)
    _fill_values(out, row, columns)
    out["ts_init"] = times
    out["flags"] = Flags.FIRST_IN_EVENT | Flags.LAST_IN_EVENT | (Flags.NO_VENUE_TIME if ts_event is None else 0)
    if ts_event is not None:
        out["ts_event"] = _fitting("ts_event", _times("ts_event", ts_event), len(out))
    if venue_seq is not None:
        out["venue_seq"] = _fitting("venue_seq", _column("venue_seq", venue_seq, "u8"), len(out))
    if side is not None:
        out["side"] = _fitting("side", _column("side", side, "i1"), len(out))
    out["instrument"] = _fitting("instrument", ids, len(out))
    if len(times) and (back := np.flatnonzero(np.diff(times) < 0)).size:
        msg = f"ts_init goes back at row {int(back[0]) + 1}: sort the rows by receive time first"
        raise OptionError(msg, option="ts_init")
    if not names:
        return out
    named = out.view(TickArray)
    named.instruments = names
    return named


def _fill_values(out: np.ndarray, row: Kind, columns: Mapping[str, np.ndarray]) -> None:
    """Set the kind of ticks, and its values; a size of a quote that is not given is unknown."""
    typed = out.view(dtype_of(row.number))
    if row.name == "quote":
        # A size of 0 would mean that nothing is bid or asked.
        typed["bid_size"] = typed["ask_size"] = np.nan
    for name, column in columns.items():
        typed[name] = _fitting(name, column, len(out))
    out["kind"] = row.number


def _one_of_two(name: str, column: ArrayLike | None, other: str, values: dict[str, ArrayLike]) -> ArrayLike | None:
    """Return a column that has two names, by whichever it came; the other name is taken out of the values."""
    if other not in values:
        return column
    if column is not None:
        msg = f"{name} and {other} are two names of one column: give one of them"
        raise OptionError(msg, option=other)
    return values.pop(other)


def _side(side: ArrayLike | None, values: dict[str, ArrayLike]) -> ArrayLike | None:
    """Return the column of sides; buyer_is_maker is taken out of the values."""
    if "buyer_is_maker" in values:
        column = _plain("buyer_is_maker", values.pop("buyer_is_maker"))
        if side is not None or column.dtype.kind != "b":
            what = "is one of two columns of sides" if side is not None else f"has dtype {column.dtype}, not bool"
            raise OptionError(f"buyer_is_maker {what}: give bools alone", option="buyer_is_maker")
        return np.where(column, -1, 1)
    if side is not None:
        column = _plain("side", side)
        if column.dtype.kind == "b":
            msg = "side holds bools: give +1 for buy and -1 for sell, or buyer_is_maker= for whether the buyer was it"
            raise OptionError(msg, option="side")
        _refuse_rows("side", column, ~np.isin(column, (1, -1)), "is neither +1 (buy, bid) nor -1 (sell, ask)")
    return side


def _kind_of(values: Mapping[str, ArrayLike], kind: str | None) -> Kind:
    if kind is not None:
        return kind_named(kind)
    # Headrace makes gaps and statuses itself; columns never build them.
    candidates = {
        row: [name for name, _ in row.values if name] for row in KINDS.values() if row.nature in ("state", "flow")
    }
    fitting = [row for row, names in candidates.items() if values and set(values) <= set(names)]
    # price and size mean a trade, unless a column that only levels have is there.
    preferred = [row for row in fitting if row.name in {"quote", "trade"}] or fitting
    if not fitting:
        known = "; ".join(f"{row.name}: {', '.join(names)}" for row, names in candidates.items())
        msg = f"no kind has the values {', '.join(sorted(values)) or '(none)'}: name those of one kind ({known})"
        raise OptionError(msg, option="values")
    return preferred[0]


def _refuse_no_size(name: str, column: np.ndarray, *, may_be_unknown: bool) -> None:
    """Refuse what would make a volume smaller, or unknown."""
    _refuse_rows(name, column, column < 0, "and no size is below 0: give its sign as side=")
    if not may_be_unknown:
        _refuse_rows(name, column, ~np.isfinite(column), "which is no size: drop the row, or give 0")


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


def _plain(name: str, column: ArrayLike) -> np.ndarray:
    """Return a column with the dtype of its values; a missing value is refused."""
    if isinstance(column, np.ma.MaskedArray):
        _refuse_rows(name, column.data, np.ma.getmaskarray(column), "is masked: fill or drop the row")
        column = column.data
    read = np.asarray(column)
    if read.dtype.kind == "O":
        # A column of Python objects: what NumPy makes of them by themselves; mixed ones stay objects.
        read = np.asarray(read.tolist())
    return read


def _column(name: str, column: ArrayLike, dtype: str) -> np.ndarray:
    given = _plain(name, column)
    if given.dtype.kind not in "iuf":
        what = {"b": "bools", "O": "mixed or missing values"}.get(given.dtype.kind, f"values of dtype {given.dtype}")
        msg = f"{name} cannot be read as {np.dtype(dtype).name}: it holds {what}; convert the column to numbers"
        raise OptionError(msg, option=name)
    with np.errstate(invalid="ignore", over="ignore"):  # Checked below.
        read = given.astype(dtype)
    # A fraction, a NaN or a number out of range would become another number.
    if dtype != "f8":
        _refuse_rows(name, given, _differs(given, read), f"which {np.dtype(dtype).name} cannot hold: correct it first")
    return read


def _refuse_rows(name: str, column: np.ndarray, wrong: np.ndarray, why: str) -> None:
    """Raise OptionError for the first row that is wrong."""
    if (rows := np.flatnonzero(wrong)).size:
        msg = f"{name} is {np.ravel(column)[rows[0]]} at row {int(rows[0])}, {why}"
        raise OptionError(msg, option=name)


def _differs(given: np.ndarray, read: np.ndarray) -> np.ndarray:
    # The sign is compared separately: NumPy wraps a negative number into an unsigned one, and back.
    differs: np.ndarray = (given != read.astype(given.dtype)) | ((given < 0) != (read < 0))
    return differs


def _times(name: str, column: ArrayLike) -> np.ndarray:
    has_zone = getattr(getattr(column, "dtype", None), "tz", None) is not None
    times = np.asarray(column, "M8[ns]") if has_zone else _plain(name, column)
    if times.dtype.kind == "M":
        lost = np.isnat(times) | (times.astype("M8[ns]").astype(times.dtype) != times)
        _refuse_rows(name, times, lost, "which is no time in int64 ns: correct or drop the row")
        times = times.astype("M8[ns]").view("i8")
    if times.ndim == 1 and not len(times):
        return np.zeros(0, "i8")  # The dtype of an empty list means nothing.
    if times.dtype.kind not in "iu" or times.ndim != 1:
        msg = (
            f"{name} must be one-dimensional int64 ns since 1970-01-01 UTC, or datetime64, got {times.dtype} "
            f"with {times.ndim} dimension(s)"
        )
        raise OptionError(msg, option=name)
    read = _column(name, times, "i8")
    if problem := column_problem(read):
        raise OptionError(f"{name} is {problem}", option=name)
    return read


def _fitting(name: str, column: np.ndarray, length: int) -> np.ndarray:
    if column.ndim > 1 or (column.ndim == 1 and len(column) != length):
        msg = f"{name} has shape {column.shape}, ts_init has {length} rows: pass one value, or one per row"
        raise OptionError(msg, option=name)
    return column


def _instrument_ids(
    instrument: str | Sequence[str] | np.ndarray, known: _native.Instruments | Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the ids, and their names; ids without a table have none."""
    if isinstance(known, _native.Instruments):
        table = known
    else:
        table = _native.Instruments([known] if isinstance(known, str) else list(known or ()))
    if isinstance(instrument, str):
        return np.asarray(table.add(instrument), "u4"), tuple(table.names())
    names = np.asarray(instrument)
    if names.dtype.kind in "iu":
        ids = _column("instrument", names, "u4")
        if len(table):
            _refuse_rows("instrument", names, ids >= len(table), f"and instruments has {len(table)} names")
        return ids, tuple(table.names())
    unique, first, inverse = np.unique(names.astype(str), return_index=True, return_inverse=True)
    ids = np.zeros(len(unique), "u4")
    for place in np.argsort(first):
        ids[place] = table.add(str(unique[place]))
    return ids[inverse], tuple(table.names())
