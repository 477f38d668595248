"""TableFeed: what the feeds of ticks and of candles from tables have in common: files, name, span, reading ahead.

::

    files or a frame ─▶ _items() in a worker thread, one block ahead ─▶ _blocks() ─▶ the feed's own iterator

Guarantees: a feed whose ``open`` raised has no thread and no file.
Does not: know what the rows are; ``TickFeed`` and ``CandleFeed`` do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from headrace.errors import DataError
from headrace.feeds.ahead import Ahead
from headrace.feeds.files import path_text
from headrace.feeds.table.block import refused
from headrace.feeds.table.packed import damage_of
from headrace.market.checks import of_type, one_of
from headrace.market.times import moment_ns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    import numpy as np

__all__ = ["TableFeed", "check_columns"]

Item = tuple["np.ndarray", int]


def check_columns(columns: Mapping[str, str] | None, unit: str | None) -> None:
    """Refuse what names no columns, or no unit of times. Raises OptionError."""
    of_type("columns", columns, Mapping, None)
    if unit is not None:
        one_of("unit", unit, ("s", "ms", "us", "ns"))


class TableFeed:
    """A feed of files in the order of time, or of what is in memory.

    start, end : of the span. name : None: the first path, or ``title`` without files. Raises OptionError.
    """

    # What its rows are, in errors, and a time that is before each of them.
    _row: ClassVar[Literal["tick", "candle"]]
    _before_ns: ClassVar[int]

    def __init__(
        self, paths: Sequence[Path], *, start: str | int | None, end: str | int | None, name: str | None, title: str
    ) -> None:
        self._paths = paths
        self._start_ns = None if start is None else moment_ns("start", start)
        self._end_ns = None if end is None else moment_ns("end", end)
        self._name = name or (path_text(paths[0]) if paths else title)
        if paths[1:] and name is None:
            self._name += f" and {len(paths) - 1} more"
        self._ahead: Ahead[Item] | None = None
        self._head: Item | None = None
        self._bytes_done = self._bytes_total = 0
        self._last_ns = self._before_ns
        self._is_lenient = False

    @property
    def name(self) -> str:
        """The name from the option, or the path, or what it is of."""
        return self._name

    @property
    def venue(self) -> None:
        """None: its rows are no frames."""
        return

    @property
    def bytes_done(self) -> int:
        """Bytes of the files that the rows yielded so far came from."""
        return self._bytes_done

    @property
    def bytes_total(self) -> int:
        """Bytes of all its files; 0 before ``open``."""
        return self._bytes_total

    async def open(self) -> None:
        """Read the first block: what the columns are is known then. Raises DataError, MissingExtraError."""
        await self.close()
        self._bytes_done, self._last_ns = 0, self._before_ns
        self._bytes_total = sum(path.stat().st_size for path in self._paths if path.is_file())
        self._ahead = Ahead(self._whole_items(), f"headrace-{self._row}s")
        try:
            self._head = await self._ahead.next()
        except BaseException:
            await self.close()
            raise
        if self._head is None:
            await self.close()
            in_span = " in that span" if self._start_ns or self._end_ns else ""
            raise refused(self.name, f"holds no {self._row}{in_span}")

    async def close(self) -> None:
        """Close the files and end the worker."""
        ahead, self._ahead, self._head = self._ahead, None, None
        if ahead is not None:
            await ahead.close()

    async def _blocks(self) -> AsyncIterator[np.ndarray]:
        """Yield blocks of rows in the order of time. Raises DataError."""
        if self._ahead is None:
            raise refused(self.name, "is not open: await feed.open() first")
        item, self._head = self._head, None
        while item is not None:
            rows, self._bytes_done = item
            yield rows
            item = await self._ahead.next()

    def unchecked(self) -> Iterator[Item]:
        """Yield rows and bytes done, also those that a replay would refuse. Raises DataError."""
        self._is_lenient, self._last_ns = True, self._before_ns
        try:
            yield from self._whole_items()
        finally:
            self._is_lenient = False

    def _all(self) -> list[np.ndarray]:
        """Return all blocks. Raises DataError, MissingExtraError."""
        self._last_ns = self._before_ns
        blocks = [block for block, _ in self._whole_items()]
        if not blocks:
            raise refused(self.name, f"holds no {self._row}")
        return blocks

    # In the worker's thread

    def _whole_items(self) -> Iterator[Item]:
        """Yield what ``_items`` yields. Raises DataError, which says so where a packed file is damaged."""
        try:
            yield from self._items()
        except DataError as error:
            path = next((own for own in self._paths if path_text(own) == error.path), None)
            why = "" if path is None or "is damaged" in str(error) else damage_of(path)
            if not why:
                raise
            first = str(error).removeprefix(error.path).lstrip(", ").partition(": correct")[0]
            raise refused(error.path, f"is damaged ({why}): {first} was its first sign; copy it again") from error

    def _items(self) -> Iterator[Item]:
        """Yield blocks of rows within the span, and the bytes done after each."""
        raise NotImplementedError

    def _span(self, times: np.ndarray) -> tuple[int, int]:
        """Return where the span begins and ends in times that rise."""
        low = 0 if self._start_ns is None else int(times.searchsorted(self._start_ns))
        high = len(times) if self._end_ns is None else int(times.searchsorted(self._end_ns))
        return low, high
