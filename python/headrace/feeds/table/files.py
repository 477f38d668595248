"""Tables of files: which reader opens which file, by its name.

Guarantees: a file is opened when it is read, and closed behind its last block.
Does not: recognise what its columns mean.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from headrace.errors import OptionError
from headrace.feeds.table.csv import CsvTable
from headrace.feeds.table.dbn import DbnTable
from headrace.feeds.table.npz import NpzTicks
from headrace.feeds.table.parquet import ParquetTable
from headrace.feeds.tables import is_table_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from headrace.feeds.table.block import Block

__all__ = ["Table", "open_table", "table_paths"]

PARQUET = (".parquet", ".pq")
DBN = (".dbn", ".dbn.zst")
NPZ = (".npz",)


class Table(Protocol):
    """Rows in blocks. name : for errors. columns : their names. bytes_total : of the file."""

    name: str
    columns: tuple[str, ...]
    bytes_total: int
    has_header: bool

    def with_names(self, names: Sequence[str]) -> None:
        """Name the columns of a file without a header."""

    def blocks(self) -> Iterator[tuple[Block, int]]:
        """Yield blocks, and how many bytes are done after each. Raises DataError."""

    def close(self) -> None:
        """Let go of the file."""


def open_table(path: Path) -> CsvTable | ParquetTable | DbnTable | NpzTicks:
    """Open a file. Raises DataError, MissingExtraError."""
    name = path.name.lower()
    readers = ((PARQUET, ParquetTable), (DBN, DbnTable), (NPZ, NpzTicks))
    reader = next((own for ends, own in readers if name.endswith(ends)), CsvTable)
    return reader(path)


def table_paths(source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the paths of a source of one or several files; a folder is its files, in the order of their names.

    Raises OptionError: something is no path.
    """
    given: list[object] = [source] if isinstance(source, str | os.PathLike) else list(source)
    found: list[Path] = []
    for own in given:
        if not isinstance(own, str | os.PathLike):
            msg = f"source has a {type(own).__name__}, which is no path: give one frame, or one or several paths"
            raise OptionError(msg, option="source")
        path = Path(own)
        found += sorted(file for file in path.iterdir() if is_table_path(file)) if path.is_dir() else [path]
    return found
