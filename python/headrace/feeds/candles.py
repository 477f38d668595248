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
from contextlib import closing
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from headrace.errors import OptionError
from headrace.feeds.files import path_text
from headrace.feeds.table import open_table, table_paths
from headrace.feeds.table.block import Block, columns_named, refused
from headrace.feeds.table.csv import CsvTable
from headrace.feeds.table.frame import FrameTable
from headrace.feeds.table.npz import NpzTicks
from headrace.feeds.table_feed import TableFeed, check_columns
from headrace.feeds.tables import HIGHS, LOWS, Table, are_of_candles, is_table
from headrace.market.bars import interval_ns, timeframe_of
from headrace.market.candles import CANDLE_DTYPE
from headrace.market.checks import one_of
from headrace.market.tick import ns_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from headrace.feeds.table.dbn import DbnTable
    from headrace.feeds.table.parquet import ParquetTable

    AnyTable: TypeAlias = FrameTable | CsvTable | ParquetTable | DbnTable

__all__ = ["ARCHIVE_CANDLES", "CandleFeed", "is_candle_file"]

# Candles per item.
ITEM_CANDLES = 4_096
# Names that columns have elsewhere; case and underscores do not count.
NAMES: Mapping[str, tuple[str, ...]] = {
    "ts_open": ("open_time", "time", "timestamp", "date", "datetime", "ts", "ts_event", "t", "index"),
    "open": ("o", "open_price"),
    "high": HIGHS,
    "low": LOWS,
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


class CandleFeed(TableFeed):
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

    _row = "candle"
    _before_ns = -1

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
        check_columns(columns, unit)
        for own in columns or ():
            one_of("columns", own, NAMES)
        self._table = source if is_table(source) else None
        self._array = source if isinstance(source, np.ndarray) else None
        is_memory = self._table is not None or self._array is not None
        paths = [] if is_memory else table_paths(source)  # type: ignore[arg-type]
        archived = ARCHIVE_NAME.fullmatch(paths[0].name) if paths else None
        if instrument is None and archived:
            instrument = f"{archived[1]}.{venue}"
        if instrument is None or "." not in instrument:
            raise _without_instrument(paths, instrument)
        if timeframe is None and archived:
            timeframe = archived[2].replace("1w", "7d")
        self.instrument = instrument
        self.price = one_of("price", price, ("trade", "agg_trade", "mid", "bid", "ask"))
        self._interval_ns = 0 if timeframe is None else interval_ns(timeframe)
        self._columns = dict(columns or {})
        self._unit = unit
        self._stamp = one_of("stamp", stamp, ("open", "close"))
        if self._array is not None and self._array.dtype != CANDLE_DTYPE:
            msg = f"an array of candles has dtype CANDLE_DTYPE, not {self._array.dtype}: give a DataFrame"
            raise OptionError(msg, option="source")
        title = f"{'array' if self._table is None else 'frame'} of {instrument}"
        super().__init__(paths, start=start, end=end, name=name, title=title)

    @property
    def instruments(self) -> tuple[str, ...]:
        """Its instrument."""
        return (self.instrument,)

    @property
    def timeframe(self) -> str:
        """The timeframe; where it is not given, it is found by ``open``, and empty before."""
        return timeframe_of(self._interval_ns) if self._interval_ns else ""

    async def candles(self) -> AsyncIterator[np.ndarray]:
        """Yield blocks, shape (n,), dtype CANDLE_DTYPE, in the order of time. Raises DataError."""
        async for block in self._blocks():
            yield block

    def read(self) -> np.ndarray:
        """Return all candles as one array, for research without an engine. Raises DataError, MissingExtraError."""
        return np.concatenate(self._all())

    # In the worker's thread

    def _items(self) -> Iterator[tuple[np.ndarray, int]]:
        before = 0
        if self._array is not None:
            self._interval_ns = self._interval_ns or int(self._array["ts_close"][0] - self._array["ts_open"][0])
            yield from self._cut(self._array, Block(self.name, {}, first_row=1), (0, self._array.nbytes))
            return
        tables: Iterable[AnyTable]
        tables = [FrameTable(self._table, self.name)] if self._table is not None else map(_opened, self._paths)
        for table in tables:
            with closing(table):
                names, begun = self._names(table), before
                for block, done in table.blocks():
                    block.is_lenient = self._is_lenient
                    yield from self._cut(self._candles(block, names), block, (begun, before + done))
                    begun = before + done
            before += table.bytes_total

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
            advice = f"rename the column, or name it with columns={{'{missing[0]}': …}}"
            what = f"has no column for {', '.join(missing)} among {', '.join(table.columns)}: {advice}"
            raise refused(table.name, what, column=missing[0])
        return names

    def _candles(self, block: Block, names: Mapping[str, str]) -> np.ndarray:
        times = block.times_ns(names["ts_open"], self._unit)
        self._interval_ns = self._interval_ns or self._shortest_step(times, block)
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

    def _shortest_step(self, times: np.ndarray, block: Block) -> int:
        """Return the shortest time between two rows, ns.

        Raises DataError: times that do not rise, a single row, steps that are no multiples of the shortest one.
        """
        self._refuse_unsorted(times, block)
        steps = np.diff(times)
        steps = steps[steps > 0]
        advice = "give CandleFeed(…, timeframe='1d'), or timeframe among the options of its feed in a configuration"
        if not len(steps):
            raise refused(block.name, f"has no two rows whose times show a timeframe: {advice}")
        shortest = int(steps.min())
        # Of days that summer time made shorter, and of months: each candle would close before it was over.
        others = steps[steps % shortest != 0]
        if len(others) and not self._is_lenient:
            lengths = f"{timeframe_of(shortest)} and {timeframe_of(int(others[0]))}"
            raise refused(block.name, f"has rows that lie {lengths} apart, which shows no one timeframe: {advice}")
        return shortest

    def _refuse_unsorted(self, times: np.ndarray, block: Block) -> None:
        """Refuse times that do not rise. Raises DataError."""
        is_wrong = np.diff(times, prepend=self._last_ns) <= 0
        if not is_wrong.any() or self._is_lenient:
            return
        row = int(np.argmax(is_wrong))
        place, opens = f"row {block.first_row + row}", ns_text(int(times[row]))
        before = "in the file before it: these files overlap" if row == 0 and block.first_row == 1 else "before it"
        what = f"{place}: it opens at {opens}, not after the candle {before}; sort the rows by time, each time once"
        raise refused(block.name, what, row=block.first_row + row, column="ts_open")

    def _cut(self, candles: np.ndarray, block: Block, done: tuple[int, int]) -> Iterator[tuple[np.ndarray, int]]:
        """Yield the part within the span, in items. Raises DataError: times that do not rise.

        done : bytes before the block, and behind it; an item in the middle has a part of what lies between.
        """
        times = candles["ts_open"]
        self._refuse_unsorted(times, block)
        self._last_ns = int(times[-1])
        low, high = self._span(times)
        for start in range(low, high, ITEM_CANDLES):
            end = min(high, start + ITEM_CANDLES)
            yield candles[start:end], done[0] + (done[1] - done[0]) * end // len(candles)


def is_candle_file(path: Path) -> bool:
    """Return whether a file holds candles, by its name or its columns. Raises DataError, MissingExtraError."""
    if ARCHIVE_NAME.fullmatch(path.name):
        return True
    table = open_table(path)
    try:
        return are_of_candles(getattr(table, "columns", ()))
    finally:
        table.close()


def _without_instrument(paths: Sequence[Path], given: str | None) -> OptionError:
    of = path_text(paths[0]) if paths else "a frame"
    path = f", or write the path as {of}@BTCUSDT.BINANCE" if paths else ""
    problem = "does not say what its candles are of" if given is None else f"is of {given!r}, which has no venue"
    return OptionError(f"{of} {problem}: give instrument='BTCUSDT.BINANCE'{path}", option="instrument")


def _opened(path: Path) -> CsvTable | ParquetTable | DbnTable:
    table = open_table(path)
    if isinstance(table, NpzTicks):
        raise refused(table.name, "holds ticks, not candles: replay it as it is")
    return table
