"""Tables of files: which reader opens which file, by its name.

Guarantees: a file is opened when it is read, and closed behind its last block.
Does not: recognise what its columns mean.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from headrace.feeds.table.csv import CsvTable
from headrace.feeds.table.parquet import ParquetTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headrace.feeds.table.block import Block

__all__ = ["Table", "is_table_path", "open_table", "table_paths"]

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".csv.gz", ".csv.zst", ".zip")


class Table(Protocol):
    """Rows in blocks. name : for errors. columns : their names. bytes_total : of the file."""

    name: str
    columns: tuple[str, ...]
    bytes_total: int
    has_header: bool

    def blocks(self) -> Iterator[tuple[Block, int]]:
        """Yield blocks, and how many bytes are done after each. Raises DataError."""

    def close(self) -> None:
        """Let go of the file."""


def is_table_path(path: Path) -> bool:
    """Return whether a file is one of columns, by its name."""
    return path.name.lower().endswith((*PARQUET, *CSV))


def open_table(path: Path) -> CsvTable | ParquetTable:
    """Open a file. Raises DataError, MissingExtraError."""
    return ParquetTable(path) if path.suffix.lower() in PARQUET else CsvTable(path)


def table_paths(source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the paths of a source of one or several files; a folder is its files, in the order of their names."""
    given = [source] if isinstance(source, str | os.PathLike) else list(source)
    found: list[Path] = []
    for own in map(Path, given):
        found += sorted(path for path in own.iterdir() if is_table_path(path)) if own.is_dir() else [own]
    return found
