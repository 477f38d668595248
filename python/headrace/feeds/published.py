"""Published: files that hold ticks as a run published them: numbers, flags and gaps included.

::

    columns   seq venue_seq ts_event ts_init instrument kind side flags value_0 … value_3

Guarantees: what is read back is bit for bit what was written; such ticks are not numbered again.
Does not: write files (``writers``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headrace.market.tick import KINDS, NO_INSTRUMENT, TICK_DTYPE, kind_named
from headrace.market.tick_array import TickArray

if TYPE_CHECKING:
    from headrace.feeds.table.block import Block

__all__ = ["COLUMNS", "HEAD", "VALUES", "is_published", "published_ticks"]

HEAD = ("seq", "venue_seq", "ts_event", "ts_init", "instrument", "kind", "side", "flags")
VALUES = ("value_0", "value_1", "value_2", "value_3")
COLUMNS = (*HEAD, *VALUES)


def is_published(table: object) -> bool:
    """Return whether a table holds ticks as published."""
    return bool(getattr(table, "is_numbered", False)) or tuple(getattr(table, "columns", ())) == COLUMNS


def published_ticks(block: Block) -> np.ndarray:
    """Return the ticks of a block. Raises DataError."""
    out = np.zeros(block.rows, TICK_DTYPE)
    for name in ("seq", "venue_seq"):
        out[name] = block.whole(name, "u8")
    for name in ("ts_event", "ts_init"):
        out[name] = block.whole(name)
    out["side"], out["flags"] = block.whole("side", "i1"), block.whole("flags", "u2")
    codes, kinds = block.texts("kind")
    known = {row.name for row in KINDS.values()}
    for code, kind in enumerate(kinds):
        if kind not in known:
            block.refuse_rows("kind", codes == code, "which is no kind: register it, or correct the file")
    out["kind"] = np.array([kind_named(kind).number for kind in kinds], "u1")[codes]
    codes, names = block.texts("instrument")
    has_name = [bool(name) for name in names]
    ids = np.cumsum(has_name) - 1
    out["instrument"] = np.where(has_name, ids, NO_INSTRUMENT).astype("u4")[codes]
    bits = out["values"].view("u8")
    for place, name in enumerate(VALUES):
        if block.is_text:
            bits[:, place] = _bits_of_texts(block, name, out["kind"], place)
        else:
            bits[:, place] = np.ascontiguousarray(block[name], "f8").view("u8")
    ticks = out.view(TickArray)
    ticks.instruments = tuple(name for name in names if name)
    return ticks


def _bits_of_texts(block: Block, name: str, kinds: np.ndarray, place: int) -> np.ndarray:
    """Return values that are texts: whole numbers where the kind has such, else floats."""
    bits = np.zeros(block.rows, "u8")
    values = block[name]
    for number in np.unique(kinds).tolist():
        rows = kinds == number
        if KINDS[number].values[place][1] == "f8":
            bits[rows] = values[rows].astype("f8").view("u8")
        else:
            bits[rows] = np.array([int(own) for own in values[rows].tolist()], "u8")
    return bits
