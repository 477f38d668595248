"""FrameTable: a DataFrame in memory: polars, pandas, Arrow, or any object with named columns.

Guarantees: no package is imported for it; the index of a pandas frame is a column where it holds times.
Does not: copy columns that are arrays already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.feeds.table.block import Block, refuse_repeated, refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["FrameTable"]


class FrameTable:
    """One DataFrame. name : shown in errors. Raises DataError: it has no rows, or columns of unequal lengths."""

    has_header = True

    def __init__(self, frame: Any, name: str) -> None:
        self.name = name
        # Of an Arrow table, ``columns`` are the columns themselves.
        names = getattr(frame, "column_names", None)
        refuse_repeated(name, [str(own) for own in (frame.columns if names is None else names)])
        self._columns = {str(own): frame[own] for own in (frame.columns if names is None else names)}
        self._columns = {**_index(frame), **self._columns}
        self.columns: tuple[str, ...] = tuple(self._columns)
        lengths = {len(column) for column in self._columns.values()}
        if not lengths or lengths == {0}:
            raise refused(name, "is empty: it holds no row")
        if len(lengths) > 1:
            raise refused(name, f"has columns of unequal lengths: {', '.join(map(str, sorted(lengths)))}")
        self.rows = lengths.pop()
        self.bytes_total = 8 * self.rows * len(self.columns)

    def with_names(self, names: Sequence[str]) -> None:
        """Do nothing: its columns have names."""

    def blocks(self) -> Iterator[tuple[Block, int]]:
        """Yield the frame as one block."""
        arrays = {name: _array(column) for name, column in self._columns.items()}
        yield Block(self.name, arrays, first_row=1), self.bytes_total

    def close(self) -> None:
        """Release nothing: the frame is the caller's."""


def _index(frame: Any) -> dict[str, Any]:
    """Return the index of a pandas frame as a column, by its name, if it may hold times; texts may, and objects."""
    index = getattr(frame, "index", None)
    kind = getattr(getattr(index, "dtype", None), "kind", "")
    if kind not in "MO" or not kind or getattr(index, "nlevels", 1) > 1:
        return {}
    return {str(getattr(index, "name", None) or ("time" if kind == "M" else "index")): index}


def _array(column: Any) -> np.ndarray:
    """Return a column as an array; a time with a zone is in UTC."""
    if getattr(getattr(column, "dtype", None), "tz", None) is not None:
        # Its own unit stays: a pandas frame may hold µs.
        unit = getattr(column.dtype, "unit", "ns")
        return np.asarray(column, f"M8[{unit}]")
    if hasattr(column, "type") and hasattr(column, "to_numpy"):
        from headrace.feeds.table.arrow import array_of

        return array_of(column)
    read = np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column)
    # Objects that are numbers all; of texts among them the row is named, when they are read.
    is_plain = read.dtype.kind == "O" and all(isinstance(value, float | int) for value in read.tolist())
    return np.asarray(read.tolist()) if is_plain else read
