"""Tables as feeds: a DataFrame whose columns are called as ``ticks()`` calls them is replayed as it is.

Guarantees: no package is imported for it; a table with other columns is an error that shows the call to make.
Does not: rename columns, or sort rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

import numpy as np

from headrace.errors import OptionError
from headrace.market.columns import ticks
from headrace.market.tick import KINDS
from headrace.market.times import time_problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "ENDINGS",
    "HIGHS",
    "LOWS",
    "Table",
    "are_of_candles",
    "folded",
    "is_table",
    "is_table_path",
    "ticks_of_table",
]

NEEDED = ("instrument", "ts_init")
# Of files of columns: Parquet, text, and the binary files of NumPy and Databento.
ENDINGS = (".parquet", ".pq", ".csv", ".csv.gz", ".csv.zst", ".zip", ".npz", ".dbn", ".dbn.zst")
# Of candles; folded.
HIGHS, LOWS = ("high", "h", "highprice"), ("low", "l", "lowprice")
OTHERS = ("ts_event", "venue_seq", "side", "aggressor_side", "trade_id", "buyer_is_maker")


class Table(Protocol):
    """A DataFrame, as far as one is read: columns by name."""

    @property
    def columns(self) -> Any:
        """The names of the columns."""

    def __getitem__(self, name: str, /) -> Any:
        """Return a column."""


def is_table(source: object) -> TypeGuard[Table]:
    """Return whether an object is a DataFrame: it has named columns. Raises OptionError: a lazy one."""
    if hasattr(type(source), "collect"):
        msg = f"a {type(source).__name__} holds no rows yet: give its collect()"
        raise OptionError(msg, option="source")
    return hasattr(source, "columns") and hasattr(source, "__getitem__") and not isinstance(source, np.ndarray)


def is_table_path(path: Path) -> bool:
    """Return whether a file is one of columns, by its name."""
    return path.name.lower().endswith(ENDINGS)


def ticks_of_table(table: Table) -> np.ndarray:
    """Return the ticks of a DataFrame. Raises OptionError: an unknown or missing column, or a time before 2000."""
    names = [str(name) for name in table.columns]
    _refuse_candles(names)
    # Names of one kind: a price beside a volume are those of two.
    fitting = max(KINDS.values(), key=lambda kind: sum(name in names for name, _ in kind.values))
    values = {name for name, _ in fitting.values if name}
    known = [name for name in names if name in NEEDED or name in OTHERS or name in values]
    if len(known) != len(names) or any(name not in names for name in NEEDED):
        named = {"instrument": '"SYMBOL.VENUE"', "ts_init": 'df["..."]', **{name: f'df["{name}"]' for name in known}}
        call = ", ".join(f"{name}={value}" for name, value in named.items())
        other = ", ".join(name for name in names if name not in known) or "none"
        msg = f"a DataFrame is not replayed as it is (other columns: {other}): name them, as in replay(ticks({call}))"
        raise OptionError(msg, option="sources")
    made = ticks(**{name: table[name] for name in names})
    times = made["ts_init"]
    for time_ns in times[:1].tolist() + times[-1:].tolist():
        if problem := time_problem(time_ns):
            raise OptionError(f"ts_init of a DataFrame is {time_ns}, {problem}", option="ts_init")
    return made


def are_of_candles(columns: Sequence[str]) -> bool:
    """Return whether columns are those of candles, of which one may be missing: no tick has a high and a low."""
    return all(any(name in own for name in map(folded, columns)) for own in (HIGHS, LOWS))


def folded(column: str) -> str:
    """Return a column's name without what does not count in it: case, underscores and spaces."""
    return column.lower().replace("_", "").replace(" ", "")


def _refuse_candles(names: Sequence[str]) -> None:
    """Refuse candles, which no column says the instrument of. Raises OptionError."""
    if are_of_candles(names):
        call = "CandleFeed(frame, instrument='BTCUSDT.BINANCE')"
        msg = f"a DataFrame of candles does not say what they are of: give {call}, from headrace.feeds"
        raise OptionError(msg, option="sources")
