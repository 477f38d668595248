"""TickRows: rows of a table on their way to ticks, one kind at a time.

Guarantees: each row keeps its place; a time that goes back is an error with the row.
Does not: number ticks, or know where the rows came from (``layouts``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headrace.market.tick import TICK_DTYPE, Flags, dtype_of, kind_named
from headrace.market.tick_array import TickArray

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.feeds.table.block import Block

__all__ = ["TickRows", "end_of_last_event", "with_event_marks"]

SIZES = ("size", "bid_size", "ask_size")
_WHOLE_EVENT = Flags.FIRST_IN_EVENT | Flags.LAST_IN_EVENT


class TickRows:
    """The ticks of a block. block : of a table. ts_init : ns. ts_event : the venue's times, or None.

    codes, names : the instrument of each row, and the names by these codes; one name is that of all rows.
    """

    def __init__(
        self,
        block: Block,
        ts_init: np.ndarray,
        ts_event: np.ndarray | None,
        names: Sequence[str],
        codes: np.ndarray | int = 0,
    ) -> None:
        self._block = block
        self._ticks = np.zeros(block.rows, TICK_DTYPE)
        self._names = tuple(names)
        self._ticks["ts_init"] = ts_init
        self._ticks["instrument"] = codes
        self._ticks["flags"] = _WHOLE_EVENT
        if ts_event is None:
            self._ticks["flags"] |= np.uint16(Flags.NO_VENUE_TIME)
        else:
            self._ticks["ts_event"] = ts_event

    def fill(self, kind: str, fields: Mapping[str, np.ndarray | int], rows: np.ndarray | slice = slice(None)) -> None:
        """Make rows ticks of a kind. fields : columns of the head and values of the kind, one per row of the block.

        Raises DataError: a size is below 0.
        """
        row = kind_named(kind)
        typed = self._ticks.view(dtype_of(row.number))
        typed["kind"][rows] = row.number
        for name, column in fields.items():
            typed[name][rows] = column[rows] if isinstance(column, np.ndarray) else column
            if name in SIZES and not self._block.is_lenient:
                self._refuse_negative(name, typed[name], rows)

    def _refuse_negative(self, name: str, sizes: np.ndarray, rows: np.ndarray | slice) -> None:
        is_wrong = np.zeros(len(sizes), bool)
        is_wrong[rows] = sizes[rows] < 0
        if is_wrong.any():
            row = int(np.argmax(is_wrong))
            what = f"is {sizes[row]}, and no size is below 0: give a direction as side, or correct the row"
            self._block.refuse(name, row, what)

    def flag(self, rows: np.ndarray, flag: Flags) -> None:
        """Set a flag in some rows."""
        self._ticks["flags"][rows] |= np.uint16(flag)

    def taken(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return the ticks of some rows, with their instruments' names."""
        ticks = self._ticks[rows].view(TickArray)
        ticks.instruments = self._names
        return ticks


def end_of_last_event(ticks: np.ndarray) -> int:
    """Return where the last event of levels begins: more of it may come. The length, where the last tick is whole."""
    if not len(ticks) or ticks["kind"][-1] != kind_named("level").number:
        return len(ticks)
    last = ticks[-1]
    same = (ticks["ts_init"] == last["ts_init"]) & (ticks["instrument"] == last["instrument"])
    return int(len(ticks) - np.argmin(same[::-1])) if not same.all() else 0


def with_event_marks(ticks: np.ndarray) -> np.ndarray:
    """Mark where events of levels begin and end: levels of one receive time and instrument are one event. In place."""
    is_level = ticks["kind"] == kind_named("level").number
    if not is_level.any():
        return ticks
    snapshot = ticks["flags"] & np.uint16(Flags.SNAPSHOT)
    same = np.zeros(len(ticks), bool)
    same[1:] = is_level[1:] & is_level[:-1]
    for column in (ticks["ts_init"], ticks["instrument"], snapshot):
        same[1:] &= column[1:] == column[:-1]
    ends = np.append(~same[1:], [True])
    ticks["flags"][same] &= ~np.uint16(Flags.FIRST_IN_EVENT)
    ticks["flags"][~ends & is_level] &= ~np.uint16(Flags.LAST_IN_EVENT)
    return ticks
