"""CsvFile: a CSV file of rows for a table, read as often as is needed.

::

    first line ─▶ columns, checked by the reader ─▶ rows, each with its line: an empty cell is None

Guarantees: UTF-8 with or without a byte order mark, lines that end in LF or CRLF; what is wrong is an error with the
file and the line; memory does not grow with the file. What cannot be read twice, such as a pipe, is copied to the disk.
Does not: guess a delimiter, an encoding or a type.
"""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Self

from headrace.errors import RecommendationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["CsvFile", "CsvRow"]


class CsvRow(NamedTuple):
    """One row. done : bytes read so far, about."""

    line: int
    done: int
    values: dict[str, object]


class CsvFile:
    """A file whose first line names columns. A context manager. total : its bytes. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("rb")
        if not path.is_file():
            copy = tempfile.TemporaryFile()  # noqa: SIM115 - ``__exit__`` closes it
            with self._file as source:
                shutil.copyfileobj(source, copy)
            self._file = copy
        self.total = self._file.seek(0, io.SEEK_END)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._file.close()

    def error(self, line: int, error: object, field: str = "row") -> RecommendationError:
        """Return the error of a line."""
        return RecommendationError(f"{self.path} line {line}: {error}", field=field)

    def rows(self, check_columns: Callable[[Sequence[str]], object]) -> Iterator[CsvRow]:
        """Yield each row from the first on. check_columns : raises RecommendationError for what the first line names.

        Raises RecommendationError for a file without rows, and for what is no CSV.
        """
        self._file.seek(0)
        source = io.TextIOWrapper(self._file, encoding="utf-8-sig", newline="")
        try:
            yield from self._read(source, check_columns)
        finally:
            source.detach()

    def _read(self, source: io.TextIOWrapper, check_columns: Callable[[Sequence[str]], object]) -> Iterator[CsvRow]:
        done = 0

        def lines() -> Iterator[str]:
            nonlocal done
            for text in source:
                done += len(text)
                yield text

        reader, has_rows = csv.DictReader(lines(), strict=True), False
        try:
            names = list(reader.fieldnames or ())
            if not names:
                msg = f"{self.path} is empty: its first line names columns, and each further one is a row"
                raise RecommendationError(msg, field="row")
            if repeated := [name for number, name in enumerate(names) if name in names[:number]]:
                raise self.error(1, f"it has two columns {repeated[0]!r}: rename or remove one", repeated[0])
            try:
                check_columns(names)
            except RecommendationError as error:
                raise self.error(1, error, error.field) from None
            for row in reader:
                has_rows = True
                if None in row or None in row.values():
                    found = sum(value is not None for name, value in row.items() if name is not None)
                    found += len(row.get(None) or ())
                    msg = f"it has {found} cells, and the first line names {len(names)} columns: correct it"
                    raise self.error(reader.line_num, msg)
                yield CsvRow(reader.line_num, done, {name: value or None for name, value in row.items()})
        except (csv.Error, UnicodeDecodeError) as error:
            msg = f"{self.path} line {reader.line_num + 1} is no CSV in UTF-8: {error}"
            raise RecommendationError(msg, field="row") from None
        if not has_rows:
            msg = f"{self.path} has no row below its first line: each further line is a row"
            raise RecommendationError(msg, field="row")
