"""Npz: arrays of ticks in a file that ``np.savez`` made: ours, and those of hftbacktest.

::

    ours          ticks (TICK_DTYPE), instruments (texts), numbered (bool)
    hftbacktest   data: ev exch_ts local_ts px qty order_id ival fval; the events with the flag LOCAL

Guarantees: an array that is neither is named, with its fields.
Does not: map the file: an array is packed, and read whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headrace.feeds.files import path_text
from headrace.feeds.table.block import Block, readable_size, refused
from headrace.feeds.tick_rows import TickRows, with_event_marks
from headrace.market.tick import Flags, is_tick_dtype
from headrace.market.tick_array import TickArray

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["HFT_DTYPE", "HftEvents", "NpzTicks"]

ITEM_TICKS = 65_536
READ = ("ticks", "instruments", "numbered", "data")
HFT_DTYPE = np.dtype(
    [
        *(("ev", "<u8"), ("exch_ts", "<i8"), ("local_ts", "<i8"), ("px", "<f8"), ("qty", "<f8")),
        *(("order_id", "<u8"), ("ival", "<i8"), ("fval", "<f8")),
    ]
)


class HftEvents:
    """The numbers of hftbacktest's events."""

    DEPTH, TRADE, CLEAR, SNAPSHOT, BBO = 1, 2, 3, 4, 5
    LOCAL, EXCHANGE, BUY, SELL = 1 << 30, 1 << 31, 1 << 29, 1 << 28


class NpzTicks:
    """One file. Raises DataError: missing, no such file, or other arrays."""

    def __init__(self, path: Path) -> None:
        self.name = path_text(path)
        self.bytes_total = readable_size(path)
        try:
            # Opened here: NumPy leaves a file open that is no archive, or whose array is damaged.
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                for member in file.zip.namelist():
                    # A name that was changed differs from the one before the array, which is looked at here.
                    file.zip.open(member).close()
                known = list(file.files)
                self._arrays = {name: file[name] for name in known if name in READ}
        except Exception as error:  # NumPy reads the header of an array as Python's text: that raises anything.
            raise refused(self.name, f"is no .npz file, or is damaged ({error}): copy it again") from error
        self.is_numbered = bool(self._arrays.get("numbered", False))
        if "ticks" in self._arrays and is_tick_dtype(self._arrays["ticks"].dtype):
            return
        if "data" in self._arrays and (self._arrays["data"].dtype.names or ())[:5] == HFT_DTYPE.names[:5]:  # type: ignore[index]
            return
        raise refused(self.name, f"holds {', '.join(known) or 'nothing'}: ticks and instruments, or hftbacktest's data")

    def ticks(self, instrument: str | None) -> Iterator[tuple[np.ndarray, int]]:
        """Yield ticks, and how many bytes of the file are done. instrument : of a file without names."""
        if "ticks" in self._arrays:
            ticks = self._arrays["ticks"].view(TickArray)
            ticks.instruments = tuple(str(name) for name in self._arrays.get("instruments", ()))
        else:
            ticks = self._hft_ticks(instrument)
        for start in range(0, len(ticks), ITEM_TICKS):
            part = ticks[start : start + ITEM_TICKS]
            yield part, self.bytes_total * (start + len(part)) // len(ticks)

    def _hft_ticks(self, instrument: str | None) -> np.ndarray:
        data = self._arrays["data"]
        if instrument is None:
            raise refused(self.name, "says not what it is of: give instrument='BTCUSDT.BINANCE'", column="instrument")
        if not len(data):
            raise refused(self.name, "is empty: it holds no event")
        data = data[(data["ev"] & HftEvents.LOCAL) != 0]
        kinds = data["ev"] & 0xFF
        # A snapshot replaces what a clear event removes.
        data = data[kinds != HftEvents.CLEAR]
        kinds = data["ev"] & 0xFF
        block = Block(self.name, {name: data[name] for name in HFT_DTYPE.names or ()}, first_row=1)
        known = np.isin(kinds, (HftEvents.DEPTH, HftEvents.TRADE, HftEvents.SNAPSHOT, HftEvents.BBO))
        block.refuse_rows("ev", ~known, "an event of single orders: only depth, trades, snapshots and quotes are read")
        rows = TickRows(block, block.times_ns("local_ts", "ns"), block.times_ns("exch_ts", "ns"), [instrument])
        is_buy = (data["ev"] & HftEvents.BUY) != 0
        side = np.where(is_buy, 1, np.where((data["ev"] & HftEvents.SELL) != 0, -1, 0)).astype("i1")
        prices, sizes = block.floats("px"), block.floats("qty")
        flow: dict[str, np.ndarray | int] = {"price": prices, "size": sizes, "side": side}
        rows.fill("trade", flow, kinds == HftEvents.TRADE)
        rows.fill("level", flow, np.isin(kinds, (HftEvents.DEPTH, HftEvents.SNAPSHOT)))
        rows.flag(kinds == HftEvents.SNAPSHOT, Flags.SNAPSHOT)
        is_best = kinds == HftEvents.BBO
        values: dict[str, np.ndarray | int] = {}
        for name, own in (("bid", is_best & is_buy), ("ask", is_best & ~is_buy)):
            # Each event changes one side; the other stays as it was.
            last = np.maximum.accumulate(np.where(own, np.arange(len(data)), -1))
            values[f"{name}_price"] = np.where(last >= 0, prices[last], 0.0)
            values[f"{name}_size"] = np.where(last >= 0, sizes[last], 0.0)
        rows.fill("quote", values, is_best)
        return with_event_marks(rows.taken())

    def close(self) -> None:
        """Release the arrays."""
        self._arrays = {}
