"""CSV: a text file of columns, plain, .gz, .zst or .zip, in blocks.

Guarantees: a block is some MiB of text, so memory does not grow with the file; a cell that cannot be read is named by
row and column.
Does not: guess a header: a first row in which no cell is a word is data.
"""

from __future__ import annotations

import csv
import io
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from headrace.feeds.files import path_text
from headrace.feeds.table.arrow import arrays_of, arrow
from headrace.feeds.table.block import Block, readable_size, refuse_repeated, refused
from headrace.feeds.table.packed import DAMAGE, opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["CsvTable"]

BLOCK_BYTES = 2 << 20
# Of the file, to find its header and its layout.
HEAD_BYTES = 1 << 16
# What other programs write between cells.
OTHER_MARKS = ";\t|"
_NUMBER = re.compile(r"[+-]?(\d|\.\d|nan|inf)", re.IGNORECASE)
_WORDS = ("true", "false")


class CsvTable:
    """One file. path : of the file. names : of the columns, where the file has no header.

    Raises DataError: it is missing, empty, packed wrongly, or a row has another number of cells.
    """

    def __init__(self, path: Path, *, names: Sequence[str] | None = None) -> None:
        self.name = path_text(path)
        self._path = path
        self.bytes_total = readable_size(path)
        try:
            with opened(path) as file:
                head = file.read(HEAD_BYTES).decode("utf-8-sig", "replace")
        except ValueError as error:
            raise refused(self.name, f"cannot be read: {error}") from error
        except DAMAGE as error:
            raise refused(self.name, f"is damaged ({error}): copy it again") from error
        try:
            rows = list(csv.reader(io.StringIO(head, newline="")))
        except csv.Error as error:
            raise refused(self.name, f"is no CSV file: {error}") from error
        if not rows or not rows[0]:
            raise refused(self.name, "is empty: it holds no row")
        self.has_header = not any(_is_data(cell) for cell in rows[0])
        # Of the first rows, to recognise a layout.
        self.head = rows[: 3 + self.has_header]
        self.columns: tuple[str, ...] = tuple(rows[0]) if self.has_header else tuple(names or ())
        if not self.columns:
            self.columns = tuple(f"column_{number}" for number in range(1, len(rows[0]) + 1))
        refuse_repeated(self.name, self.columns)
        mark = next((own for own in OTHER_MARKS if own in rows[0][0]), "")
        if len(rows[0]) == 1 and mark:
            raise refused(self.name, f"has cells between {mark!r}, not between commas: write it with commas")

    def with_names(self, names: Sequence[str]) -> None:
        """Name the columns of a file without a header; further ones keep their numbers."""
        rest = [f"column_{number}" for number in range(len(names) + 1, len(self.head[0]) + 1)]
        self.columns = (*names, *rest)[: len(self.head[0])]

    def blocks(self) -> Iterator[tuple[Block, int]]:
        """Yield blocks, and how many bytes of the file are done after each. Raises DataError."""
        reader_of = arrow(".csv", f"reading {self.name}")
        pa = arrow("", f"reading {self.name}")
        row, texts = 1, {name: pa.string() for name in self.columns if name in ("id", "symbol", "exchange")}
        with opened(self._path) as file:
            try:
                reader = reader_of.open_csv(
                    pa.PythonFile(file, mode="r"),
                    read_options=reader_of.ReadOptions(
                        use_threads=False,
                        block_size=BLOCK_BYTES,
                        column_names=list(self.columns),
                        skip_rows=int(self.has_header),
                    ),
                    convert_options=reader_of.ConvertOptions(column_types=texts),
                )
                for batch in reader:
                    if len(batch):
                        yield (
                            Block(self.name, arrays_of(batch), first_row=row, is_text=True),
                            min(self.bytes_total, file.bytes_done()),
                        )
                        row += len(batch)
            except pa.ArrowInvalid as error:
                raise self._explained(str(error)) from error
            except DAMAGE as error:
                raise refused(self.name, f"is damaged after row {row - 1:,} ({error}): copy it again") from error

    def close(self) -> None:
        """Do nothing: the file is open only while its blocks are read."""

    def _explained(self, problem: str) -> Exception:
        """Return the error of a file that cannot be read, with the cell: the library names the column alone."""
        if found := re.search(r"column #(\d+): CSV conversion error to (\w+)[^:]*: invalid value '(.*)'", problem):
            column, kind, value = int(found[1]), found[2], found[3]
            row = next((number for number, cells in self._rows() if column < len(cells) and cells[column] == value), 0)
            name = self.columns[column]
            what = f"row {row}: {name} is {value!r}, and the rows before hold {kind}: correct or drop the row"
            return refused(self.name, what, row=row, column=name)
        width = len(self.columns)
        for number, cells in self._rows():
            if cells and len(cells) != width:
                what = f"row {number}: it has {len(cells)} cells, and the file has {width} columns"
                return refused(self.name, what, row=number)
        return refused(self.name, f"is no CSV file: {problem}")

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        with io.TextIOWrapper(io.BufferedReader(opened(self._path)), "utf-8", "replace", newline="") as text:
            rows = csv.reader(text)
            if self.has_header:
                next(rows, None)
            with suppress(csv.Error, *DAMAGE):  # What is no text has no rows to name.
                yield from enumerate(rows, 1)


def _is_data(cell: str) -> bool:
    text = cell.strip()
    return bool(_NUMBER.match(text)) or text.lower() in _WORDS
