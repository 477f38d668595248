"""Dbn: Databento's binary files, through its own decoder, as blocks of columns.

Guarantees: some MiB of the file are in memory at once; the symbols are those of the file's own mapping.
Does not: decode records itself, or read a file of several schemas.
"""

from __future__ import annotations

from contextlib import closing
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

import headrace._native as _native
from headrace.errors import MissingExtraError
from headrace.feeds.files import path_text
from headrace.feeds.table.block import Block, readable_size, refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["DbnTable"]

READ_BYTES = 4 << 20
HEAD = ("publisher_id", "instrument_id", "ts_event", "ts_recv")
VALUES = ("action", "side", "price", "size", "sequence", "open", "high", "low", "close", "volume")
BOOK = ("bid_px", "ask_px", "bid_sz", "ask_sz")
LETTERS = ("action", "side")


class DbnTable:
    """One file of one schema. Raises DataError, MissingExtraError."""

    has_header = True

    def __init__(self, path: Path) -> None:
        self.name = path_text(path)
        self._path = path
        try:
            self._dbn: Any = import_module("databento_dbn")
        except ImportError:
            msg = f'reading {self.name} needs databento-dbn, its decoder: pip install "headrace[databento]"'
            raise MissingExtraError(msg) from None
        self.bytes_total = readable_size(path)
        first = next(self._records(), None)
        if first is None:
            raise refused(self.name, "is empty: it holds no record")
        self._fields = [name for name in (*HEAD, *VALUES) if hasattr(first[0][0], name)]
        self._has_book = hasattr(first[0][0], "levels")
        book = [f"{name}_00" for name in BOOK] if self._has_book else []
        self.columns: tuple[str, ...] = (*self._fields, *book, "symbol")

    def with_names(self, names: Sequence[str]) -> None:
        """Do nothing: its columns have names."""

    def blocks(self) -> Iterator[tuple[Block, int]]:
        """Yield blocks, and how many bytes of the file are done after each. Raises DataError."""
        row = 1
        for records, symbols, done in self._records():
            columns = {name: self._column([getattr(own, name) for own in records], name) for name in self._fields}
            if self._has_book:
                best = [own.levels[0] for own in records]
                columns |= {f"{name}_00": np.array([getattr(own, name) for own in best]) for name in BOOK}
            ids, codes = np.unique(columns["instrument_id"], return_inverse=True)
            columns["symbol"] = np.array([symbols.get(int(own), str(own)) for own in ids])[codes]
            yield Block(self.name, columns, first_row=row), done
            row += len(records)

    def _records(self) -> Iterator[tuple[list[Any], dict[int, str], int]]:
        """Yield records, the symbols by their instrument ids, and how many bytes are done. Raises DataError."""
        with closing(_native.PackedFile(self._path)) as file:
            yield from self._records_in(file)

    def _records_in(self, file: _native.PackedFile) -> Iterator[tuple[list[Any], dict[int, str], int]]:
        decoder = self._dbn.DBNDecoder()
        symbols: dict[int, str] = {}
        kind: type | None = None
        rows = 0
        while True:
            data, done = self._read(file, rows)
            if not data:
                break
            decoder.write(data)
            try:
                decoded = decoder.decode()
            except Exception as error:
                raise refused(
                    self.name, f"is no DBN file, or is damaged behind row {rows:,} ({error}): copy it again"
                ) from error
            records = []
            for own in decoded:
                if isinstance(own, self._dbn.Metadata):
                    symbols = _symbols(own)
                elif hasattr(own, "instrument_id") and (hasattr(own, "price") or hasattr(own, "open")):
                    kind = kind or type(own)
                    if type(own) is not kind:
                        raise refused(self.name, f"holds {kind.__name__} and {type(own).__name__}: split it by schema")
                    records.append(own)
            rows += len(records)
            if records:
                yield records, symbols, done

    def _read(self, file: _native.PackedFile, rows: int) -> tuple[bytes, int]:
        try:
            return file.read(READ_BYTES)
        except (OSError, EOFError, ValueError) as error:
            raise refused(self.name, f"is damaged behind row {rows:,} ({error}): copy it again") from error

    def _column(self, values: list[Any], name: str) -> np.ndarray:
        return np.array([str(own) for own in values] if name in LETTERS else values)

    def close(self) -> None:
        """Do nothing: the file is open only while its blocks are read."""


def _symbols(metadata: Any) -> dict[int, str]:
    """Return the symbols by instrument id that the file's metadata gives."""
    return {
        int(own["symbol"]): str(symbol)
        for symbol, intervals in metadata.mappings.items()
        for own in intervals
        if str(own["symbol"]).isdigit()
    }
