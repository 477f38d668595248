"""Parquet: a file of typed columns, in batches; row groups outside of a span of time are not read.

Guarantees: pages are read through a small buffer, so memory does not grow with a row group.
Does not: filter rows; feeds cut the first and last batch.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from headrace.feeds.files import path_text
from headrace.feeds.table.arrow import arrays_of, arrow
from headrace.feeds.table.block import Block, readable_size, refuse_repeated, refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["ParquetTable"]

BATCH_ROWS = 65_536
# Of a column's pages at a time; without a bound a whole row group is read into memory.
PAGE_BYTES = 1 << 18


class ParquetTable:
    """One file. path : of the file. Raises DataError (missing, no Parquet file), MissingExtraError."""

    has_header = True

    def __init__(self, path: Path) -> None:
        self.name = path_text(path)
        parquet, pa = arrow(".parquet", f"reading {self.name}"), arrow("", f"reading {self.name}")
        self.bytes_total = readable_size(path)
        with ExitStack() as stack:
            try:
                raw = stack.enter_context(pa.OSFile(os.fsencode(path)))
                self._file = parquet.ParquetFile(
                    raw, buffer_size=PAGE_BYTES, pre_buffer=False, page_checksum_verification=True
                )
            except (OSError, ValueError, pa.ArrowException) as error:
                what = f"is no Parquet file, or is damaged ({error}): copy it again"
                raise refused(self.name, what) from error
            self.columns: tuple[str, ...] = tuple(self._file.schema_arrow.names)
            refuse_repeated(self.name, self.columns)
            self.metadata: dict[bytes, bytes] = self._file.schema_arrow.metadata or {}
            self.rows = int(self._file.metadata.num_rows)
            if not self.rows:
                raise refused(self.name, "is empty: it holds no row")
            self._open = stack.pop_all()
        self._span: tuple[str, int | None, int | None] | None = None

    def with_names(self, names: Sequence[str]) -> None:
        """Do nothing: its columns have names."""

    def between(self, column: str, start: int | None, end: int | None) -> None:
        """Read only row groups that may hold values of a column from ``start`` to before ``end``, as they stand."""
        self._span = (column, start, end)

    def blocks(self) -> Iterator[tuple[Block, int]]:
        """Yield blocks, and how many bytes of the file are done after each. Raises DataError."""
        pa = arrow("", f"reading {self.name}")
        row = 1
        for group in range(self._file.num_row_groups):
            rows = self._file.metadata.row_group(group).num_rows
            if self._may_hold(group):
                first = row
                try:
                    batches = self._file.iter_batches(BATCH_ROWS, row_groups=[group], use_threads=False)
                    for batch in batches:
                        done = self.bytes_total * (first - 1 + len(batch)) // self.rows
                        yield Block(self.name, arrays_of(batch), first_row=first), done
                        first += len(batch)
                except (OSError, pa.ArrowException) as error:
                    raise refused(self.name, f"is damaged behind row {first - 1:,} ({error}): copy it again") from error
            row += rows

    def _may_hold(self, group: int) -> bool:
        if self._span is None or self._span[0] not in self.columns:
            return True
        name, start, end = self._span
        statistics = self._file.metadata.row_group(group).column(self.columns.index(name)).statistics
        if statistics is None or not statistics.has_min_max:
            return True
        low, high = (_stored(value) for value in (statistics.min_raw, statistics.max_raw))
        if low is None or high is None:
            return True
        return (start is None or high >= start) and (end is None or low < end)

    def close(self) -> None:
        """Close the file."""
        self._open.close()


def _stored(value: Any) -> int | None:
    return value if isinstance(value, int) else None
