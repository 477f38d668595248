"""CandleFeed: candles of one instrument, from a DataFrame, CSV or Parquet, or the public archive of Binance.

::

    table ─▶ columns by name ─▶ CANDLE_DTYPE, stamped at open + interval ─▶ blocks, one read ahead ─▶ on_bar

Which columns
    time (``open_time``, ``timestamp``, ``date`` …, or the index of a pandas frame), ``open high low close``, and
    ``volume`` and ``count`` where they are. A close time in the file is not looked at: in some it is a unit early.
    A file named like BTCUSDT-1m-2025-01 is one of the archive: its name gives the symbol and the interval.

Guarantees: times rise strictly, from file to file, too; a missing or wrong cell is an error with file, row and column.
Does not: fill in candles that are missing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from headrace.errors import OptionError
from headrace.feeds.ahead import Ahead
from headrace.feeds.files import path_text
from headrace.feeds.table import open_table, table_paths
from headrace.feeds.table.block import Block, columns_named, refused
from headrace.feeds.table.csv import CsvTable
from headrace.feeds.table.frame import FrameTable
from headrace.feeds.table.npz import NpzTicks
from headrace.feeds.tables import Table, is_table
from headrace.market.bars import interval_ns, timeframe_of
from headrace.market.candles import CANDLE_DTYPE
from headrace.market.checks import of_type, one_of
from headrace.market.times import moment_ns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from headrace.feeds.table.dbn import DbnTable
    from headrace.feeds.table.parquet import ParquetTable

    AnyTable: TypeAlias = FrameTable | CsvTable | ParquetTable | DbnTable

__all__ = ["ARCHIVE_CANDLES", "CandleFeed", "is_candle_file"]

# Candles per item.
ITEM_CANDLES = 65_536
# Names that columns have elsewhere; case and underscores do not count.
NAMES: Mapping[str, tuple[str, ...]] = {
    "ts_open": ("open_time", "time", "timestamp", "date", "datetime", "ts", "ts_event", "t", "index"),
    "open": ("o", "open_price"),
    "high": ("h", "high_price"),
    "low": ("l", "low_price"),
    "close": ("c", "close_price", "adj_close"),
    "volume": ("v", "vol", "base_volume", "volume_base"),
    "count": ("trades", "number_of_trades", "trade_count", "n", "num_trades"),
}
PRICES = ("open", "high", "low", "close")
NEEDED = ("ts_open", *PRICES)
# The columns of the archive's files, which have no header before some year.
ARCHIVE_CANDLES = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count"),
    *("taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)
ARCHIVE_NAME = re.compile(r"([A-Z0-9_]+)-([0-9]+(?:s|m|h|d|w))-[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?\.(?:csv|zip)")


class CandleFeed:
    """Candles of one instrument and one timeframe; give an engine several for several.

    source : a polars, pandas or Arrow frame, or paths of .csv, .csv.gz, .csv.zst, .zip or .parquet files, in the order
        of time; a folder is its files, by name. An array of CANDLE_DTYPE is taken as it is.
    instrument : ``SYMBOL.VENUE``; an archive's file needs only ``venue``.
    timeframe : "1m", "1h", "1d", …; by default from the archive's name, else the shortest step between the first rows.
    columns : which column is what, ``{"ts_open": "Gmt time", "volume": "Vol"}``, where names differ.
    unit : "s", "ms", "us" or "ns" of whole numbers that are times; by default in text by magnitude, else ns.
    stamp : whether the time column is the "open" or the "close" of a candle.
    start, end : the first open time, and the first one behind the last, as ISO text in UTC or ns.
    price : what bars call their price, as in ``BarSpec``. venue : of an archive's file. name : in errors and tables.

    Raises OptionError; DataError from ``open`` and while it is read: missing columns, wrong types, NaN or zero prices,
    times that do not rise, no rows, files that overlap.
    """

    def __init__(
        self,
        source: Table | np.ndarray | str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        instrument: str | None = None,
        timeframe: str | None = None,
        columns: Mapping[str, str] | None = None,
        unit: Literal["s", "ms", "us", "ns"] | None = None,
        stamp: Literal["open", "close"] = "open",
        start: str | int | None = None,
        end: str | int | None = None,
        price: Literal["trade", "agg_trade", "mid", "bid", "ask"] = "trade",
        venue: str = "BINANCE",
        name: str | None = None,
    ) -> None:
        of_type("columns", columns, Mapping, None)
        if unit is not None:
            one_of("unit", unit, ("s", "ms", "us", "ns"))
        for own in columns or ():
            one_of("columns", own, NAMES)
        self._table = source if is_table(source) else None
        self._array = source if isinstance(source, np.ndarray) else None
        self._paths = [] if self._table is not None or self._array is not None else table_paths(source)  # type: ignore[arg-type]
        archived = ARCHIVE_NAME.fullmatch(self._paths[0].name) if self._paths else None
        if instrument is None and archived:
            instrument = f"{archived[1]}.{venue}"
        if instrument is None or "." not in instrument:
            msg = f"instrument={instrument!r}: say what the candles are of, like instrument='BTCUSDT.BINANCE'"
            raise OptionError(msg, option="instrument")
        if timeframe is None and archived:
            timeframe = archived[2].replace("1w", "7d")
        self.instrument = instrument
        self.price = one_of("price", price, ("trade", "agg_trade", "mid", "bid", "ask"))
        self._interval_ns = 0 if timeframe is None else interval_ns(timeframe)
        self._columns = dict(columns or {})
        self._unit = unit
        self._stamp = one_of("stamp", stamp, ("open", "close"))
        self._start_ns = None if start is None else moment_ns("start", start)
        self._end_ns = None if end is None else moment_ns("end", end)
        if self._array is not None and self._array.dtype != CANDLE_DTYPE:
            msg = f"an array of candles has dtype CANDLE_DTYPE, not {self._array.dtype}: give a DataFrame"
            raise OptionError(msg, option="source")
        self._name = name or (path_text(self._paths[0]) if self._paths else f"candles of {instrument}")
        if self._paths[1:] and name is None:
            self._name += f" and {len(self._paths) - 1} more"
        self._ahead: Ahead[tuple[np.ndarray, int]] | None = None
        self._head: tuple[np.ndarray, int] | None = None
        self._bytes_done = self._bytes_total = 0
        self._last_ns = -1
        self._is_lenient = False

    @property
    def name(self) -> str:
        """The name from the option, or the path, or the instrument's."""
        return self._name

    @property
    def venue(self) -> None:
        """None: candles are no frames."""
        return

    @property
    def instruments(self) -> tuple[str, ...]:
        """Its instrument."""
        return (self.instrument,)

    @property
    def timeframe(self) -> str:
        """The timeframe; where it is not given, it is found by ``open``, and empty before."""
        return timeframe_of(self._interval_ns) if self._interval_ns else ""

    @property
    def bytes_done(self) -> int:
        """Bytes of the files that the candles yielded so far came from."""
        return self._bytes_done

    @property
    def bytes_total(self) -> int:
        """Bytes of all its files; 0 before ``open``."""
        return self._bytes_total

    async def open(self) -> None:
        """Read the first block: columns, timeframe and unit are known then. Raises DataError, MissingExtraError."""
        await self.close()
        self._bytes_done, self._last_ns = 0, -1
        self._bytes_total = sum(path.stat().st_size for path in self._paths if path.is_file())
        self._ahead = Ahead(self._items(), "headrace-candles")
        self._head = await self._ahead.next()
        if self._head is None:
            await self.close()
            raise refused(self.name, "holds no candle" + (" in that span" if self._start_ns or self._end_ns else ""))

    async def close(self) -> None:
        """Close the files and end the worker."""
        ahead, self._ahead, self._head = self._ahead, None, None
        if ahead is not None:
            await ahead.close()

    async def candles(self) -> AsyncIterator[np.ndarray]:
        """Yield blocks, shape (n,), dtype CANDLE_DTYPE, in the order of time. Raises DataError."""
        if self._ahead is None:
            raise refused(self.name, "is not open: await feed.open() first")
        item = self._head
        while item is not None:
            candles, self._bytes_done = item
            yield candles
            item = await self._ahead.next()

    def unchecked(self) -> Iterator[tuple[np.ndarray, int]]:
        """Yield candles and bytes done, also those that a replay would refuse. Raises DataError."""
        self._is_lenient, self._last_ns = True, -1
        try:
            yield from self._items()
        finally:
            self._is_lenient = False

    def read(self) -> np.ndarray:
        """Return all candles as one array, for research without an engine. Raises DataError, MissingExtraError."""
        self._last_ns = -1
        blocks = [block for block, _ in self._items()]
        if not blocks:
            raise refused(self.name, "holds no candle")
        return np.concatenate(blocks)

    # In the worker's thread

    def _items(self) -> Iterator[tuple[np.ndarray, int]]:
        before = 0
        if self._array is not None:
            self._interval_ns = self._interval_ns or int(self._array["ts_close"][0] - self._array["ts_open"][0])
            yield from self._cut(self._array, Block(self.name, {}, first_row=1), self._array.nbytes)
            return
        tables: Iterable[AnyTable]
        tables = [FrameTable(self._table, self.name)] if self._table is not None else map(_opened, self._paths)
        for table in tables:
            names = self._names(table)
            for block, done in table.blocks():
                block.is_lenient = self._is_lenient
                yield from self._cut(self._candles(block, names), block, before + done)
            before += table.bytes_total
            table.close()

    def _names(self, table: AnyTable) -> dict[str, str]:
        """Return which column is what. Raises DataError."""
        if isinstance(table, CsvTable) and not table.has_header:
            if len(table.head[0]) != len(ARCHIVE_CANDLES) and not self._columns:
                what = f"has no header and {len(table.head[0])} columns: name them in a first row"
                raise refused(table.name, what)
            table.with_names(ARCHIVE_CANDLES)
        names = {**columns_named(NAMES, table.columns), **self._columns}
        missing = [name for name in NEEDED if name not in names]
        if missing:
            what = f"has no column for {', '.join(missing)} among {', '.join(table.columns)}: say which it is, columns="
            raise refused(table.name, f"{what}{{'{missing[0]}': …}}", column=missing[0])
        return names

    def _candles(self, block: Block, names: Mapping[str, str]) -> np.ndarray:
        times = block.times_ns(names["ts_open"], self._unit)
        if not self._interval_ns:
            steps = np.diff(times)
            if self._is_lenient:
                steps = steps[steps > 0]
            if not len(steps) or int(steps.min()) <= 0:
                what = "its times do not show a timeframe: give timeframe=, like '1m', and sort the rows by time"
                raise refused(block.name, what, column=names["ts_open"])
            self._interval_ns = int(steps.min())
        made = np.zeros(block.rows, CANDLE_DTYPE)
        made["ts_open"] = times if self._stamp == "open" else times - self._interval_ns
        # Whatever the file says of the close: some files have it a unit early.
        made["ts_close"] = made["ts_open"] + self._interval_ns
        for price in PRICES:
            made[price] = block.floats(names[price])
            if not self._is_lenient:
                block.refuse_rows(names[price], made[price] == 0, "and no price is 0: correct or drop the row")
        if "volume" in names:
            made["volume"] = np.nan_to_num(block.floats(names["volume"], may_be_missing=True))
        made["count"] = block.whole(names["count"]) if "count" in names else 1
        return made

    def _cut(self, candles: np.ndarray, block: Block, done: int) -> Iterator[tuple[np.ndarray, int]]:
        """Yield the part within the span, in items. Raises DataError: times that do not rise."""
        times = candles["ts_open"]
        steps = np.diff(times, prepend=self._last_ns)
        if (steps <= 0).any() and not self._is_lenient:
            row = int(np.argmax(steps <= 0))
            place = f"row {block.first_row + row}"
            before = "in the file before it: these files overlap" if row == 0 and block.first_row == 1 else "before it"
            what = f"{place}: it opens at {times[row]} ns, not after the candle {before}; sort the rows by time"
            raise refused(block.name, what, row=block.first_row + row, column="ts_open")
        self._last_ns = int(times[-1])
        low = 0 if self._start_ns is None else int(np.searchsorted(times, self._start_ns))
        high = len(times) if self._end_ns is None else int(np.searchsorted(times, self._end_ns))
        for start in range(low, high, ITEM_CANDLES):
            yield candles[start : min(high, start + ITEM_CANDLES)], done


def is_candle_file(path: Path) -> bool:
    """Return whether a file holds candles, by its name or its columns. Raises DataError, MissingExtraError."""
    if ARCHIVE_NAME.fullmatch(path.name):
        return True
    table = open_table(path)
    try:
        return set(PRICES) <= columns_named(NAMES, getattr(table, "columns", ())).keys()
    finally:
        table.close()


def _opened(path: Path) -> CsvTable | ParquetTable | DbnTable:
    table = open_table(path)
    if isinstance(table, NpzTicks):
        raise refused(table.name, "holds ticks, not candles: replay it as it is")
    return table
