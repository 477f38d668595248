"""TickFeed: ticks of files of columns: Parquet, CSV, npz and DBN, or of a DataFrame with columns of other names.

::

    file ─▶ worker: block of columns ─▶ Layout ─▶ ticks ─▶ one block ahead ─▶ async for

Guarantees: receive times do not go back, from file to file, too; row groups of Parquet outside of the span are not
read; memory does not grow with a file or a row group. Ticks that were converted from a replay keep their numbers.
Does not: number ticks, or sort rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from headrace.errors import OptionError
from headrace.feeds.layouts import TickOptions, layout_of
from headrace.feeds.published import is_published, published_ticks
from headrace.feeds.table import open_table, table_paths
from headrace.feeds.table.block import Block, refused
from headrace.feeds.table.frame import FrameTable
from headrace.feeds.table.npz import NpzTicks
from headrace.feeds.table.parquet import ParquetTable
from headrace.feeds.table_feed import TableFeed, check_columns
from headrace.feeds.tables import Table, is_table
from headrace.feeds.tick_rows import end_of_last_event, with_event_marks
from headrace.market.checks import UNITS_NS, of_type
from headrace.market.tick import ns_text
from headrace.market.tick_array import TickArray

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from headrace.feeds.table.csv import CsvTable
    from headrace.feeds.table.dbn import DbnTable

    AnyTable: TypeAlias = FrameTable | CsvTable | ParquetTable | DbnTable | NpzTicks

__all__ = ["TickFeed"]

# Ticks per item: about a block of a recording.
ITEM_TICKS = 16_384


class TickFeed(TableFeed):
    """Ticks of one or several files, in the order of time.

    source : paths of .parquet, .csv, .csv.gz, .csv.zst, .zip, .npz or .dbn files, in the order of time; a folder is its
        files, by name. Or a polars, pandas or Arrow frame.
    instrument : ``SYMBOL.VENUE`` of all rows; venue : of the symbols that rows or the file's name give.
    columns : which column is what, ``{"ts_init": "recv_time", "price": "last"}``, where names differ.
    unit : "s", "ms", "us" or "ns" of whole numbers that are times; by default that of the layout, in text by magnitude.
    start, end : the first receive time, and the first one behind the last, as ISO text in UTC or ns.

    Raises OptionError; DataError from ``open`` and while it is read.
    """

    _row = "tick"
    _before_ns = 0

    def __init__(
        self,
        source: Table | str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        instrument: str | None = None,
        venue: str | None = None,
        columns: Mapping[str, str] | None = None,
        unit: str | None = None,
        start: str | int | None = None,
        end: str | int | None = None,
        name: str | None = None,
    ) -> None:
        check_columns(columns, unit)
        of_type("instrument", instrument, str, None)
        if instrument is not None and "." not in instrument:
            msg = f"instrument={instrument!r} is no instrument: write SYMBOL.VENUE"
            raise OptionError(msg, option="instrument")
        self._table = source if is_table(source) else None
        paths = [] if self._table is not None else table_paths(source)  # type: ignore[arg-type]
        if self._table is None and not paths:
            msg = f"source={source!r} holds no file: name one of Parquet, CSV, npz or DBN"
            raise OptionError(msg, option="source")
        self._options = TickOptions(instrument, venue, dict(columns or {}), unit)
        self._is_numbered = False
        super().__init__(paths, start=start, end=end, name=name, title="frame")

    @property
    def instruments(self) -> tuple[str, ...]:
        """Its instrument, where it is given; else empty until it is read."""
        return () if self._options.instrument is None else (self._options.instrument,)

    @property
    def is_numbered(self) -> bool:
        """Whether its ticks have the numbers of the run that published them, and keep them; known after ``open``."""
        return self._is_numbered

    async def __aiter__(self) -> AsyncIterator[np.ndarray]:
        """Yield ticks, dtype TICK_DTYPE, with the names of their instruments. Raises DataError."""
        async for block in self._blocks():
            yield block

    def read(self) -> np.ndarray:
        """Return all ticks as one array, for research without an engine. Raises DataError, MissingExtraError."""
        return _joined(self._all())

    # In the worker's thread

    def _items(self) -> Iterator[tuple[np.ndarray, int]]:
        before = 0
        tables: Iterable[AnyTable]
        tables = [FrameTable(self._table, self.name)] if self._table is not None else map(open_table, self._paths)
        for number, table in enumerate(tables):
            with closing(table):
                for ticks, done in self._ticks_of(table, number):
                    yield from self._cut(ticks, before + done)
            before += table.bytes_total

    def _ticks_of(self, table: AnyTable, number: int) -> Iterator[tuple[np.ndarray, int]]:
        """Yield the ticks of one file, and how many bytes of it are done. Raises DataError."""
        numbered = is_published(table)
        if number and numbered != self._is_numbered:
            raise refused(table.name, "keeps its numbers, and another file of this feed does not: give each a feed")
        self._is_numbered = numbered
        if isinstance(table, NpzTicks):
            for ticks, done in table.ticks(self._options.instrument):
                yield self._checked(ticks, Block(table.name, {}, first_row=1), "ts_init"), done
            return
        read, time, unit = self._reader(table, number)
        if isinstance(table, ParquetTable):
            scale = UNITS_NS[unit or "ns"]
            bounds = (None if own is None else own // scale for own in (self._start_ns, self._end_ns))
            start, end = bounds
            table.between(time, start, None if end is None else end + 1)
        rest: np.ndarray | None = None
        for block, done in table.blocks():
            block.is_lenient = self._is_lenient
            ticks = self._checked(read(block), block, time)
            if not numbered:
                ticks = ticks if rest is None else _joined([rest, ticks])
                edge = end_of_last_event(ticks)
                ticks, rest = ticks[:edge], ticks[edge:]
            yield ticks, done
        if rest is not None:
            yield rest, table.bytes_total

    def _reader(self, table: AnyTable, number: int) -> tuple[Callable[[Block], np.ndarray], str, str | None]:
        if is_published(table):
            return published_ticks, "ts_init", "ns"
        file_name = self._paths[number].name if self._paths else ""
        layout = layout_of(table, file_name, self._options)  # type: ignore[arg-type]
        return layout.read, layout.time, self._options.unit or layout.unit

    def _checked(self, ticks: np.ndarray, block: Block, time: str) -> np.ndarray:
        """Return ticks whose times do not go back. Raises DataError."""
        times = ticks["ts_init"]
        steps = np.diff(times, prepend=self._last_ns)
        if (steps < 0).any() and not self._is_lenient:
            # Of a row that became two ticks, the first stands for both.
            row = block.first_row + int(np.argmax(steps < 0)) * block.rows // max(1, len(ticks))
            before = ": these files overlap" if row == 1 else ""
            place = f"row {row}: {time} goes back to {ns_text(int(times[np.argmax(steps < 0)]))}"
            what = f"{place} from the row before it{before}; sort the rows by receive time"
            raise refused(block.name, what, row=row, column=time)
        if len(times):
            self._last_ns = int(times[-1])
        return ticks

    def _cut(self, ticks: np.ndarray, done: int) -> Iterator[tuple[np.ndarray, int]]:
        """Yield the part within the span, in items that end with an event."""
        times = ticks["ts_init"]
        low, high = self._span(times)
        if high > low:
            part = ticks[low:high]
            yield part if self._is_numbered else with_event_marks(part), done


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Return ticks of several blocks as one; their names may differ."""
    names: dict[str, int] = {}
    made = []
    for part in parts:
        own = getattr(part, "instruments", ())
        ids = np.array([names.setdefault(name, len(names)) for name in own], "u4")
        plain = np.array(part, subok=False)
        known = plain["instrument"] < len(ids)
        plain["instrument"][known] = ids[plain["instrument"][known]]
        made.append(plain)
    ticks = np.concatenate(made).view(TickArray)
    ticks.instruments = tuple(names)
    return ticks
