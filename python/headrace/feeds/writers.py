"""Writers: ticks as published into a file, in the format that its name says.

::

    .parquet · .csv .csv.gz .csv.zst · .npz       numbers, flags and gaps included: they replay to the same hash
    .hft.npz                                      events of hftbacktest: trades, levels and quotes of one instrument

Guarantees: a file appears under its name when it is whole, never before; memory holds some blocks of ticks, but for
.npz, which is one array.
Does not: read anything.
"""

from __future__ import annotations

import csv
import gzip
import io
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, BinaryIO, Protocol, Self

import numpy as np

import headrace._native as _native
from headrace.errors import OptionError, RecordingError
from headrace.feeds.files import path_text, written_whole
from headrace.feeds.published import COLUMNS, HEAD, VALUES
from headrace.feeds.table.arrow import CHECKED, arrow
from headrace.feeds.table.npz import HFT_DTYPE, HftEvents
from headrace.market.candles import CANDLE_DTYPE
from headrace.market.tick import KINDS, NO_INSTRUMENT, TICK_DTYPE, Flags, dtype_of, kind_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["write_candles", "write_ticks", "writer_of"]

WRITABLE = (".parquet", ".csv", ".csv.gz", ".csv.zst", ".hft.npz", ".npz")


class _Write(Protocol):
    def __call__(self, path: Path, blocks: Iterable[np.ndarray], names: Sequence[str]) -> None: ...


def writer_of(path: Path) -> _Write:
    """Return what writes a file of this name. Raises OptionError: no format has it."""
    name = path.name.lower()
    for end, write in (
        (".parquet", _write_parquet),
        (".csv", _write_csv),
        (".csv.gz", _write_csv),
        (".csv.zst", _write_csv),
        (".hft.npz", _write_hft),
        (".npz", _write_npz),
    ):
        if name.endswith(end):
            return write
    msg = f"{path_text(path)} names no format that is written: end it in {', '.join(WRITABLE)}"
    raise OptionError(msg, option="target")


def write_ticks(path: Path, blocks: Iterable[np.ndarray], names: Sequence[str]) -> None:
    """Write ticks. blocks : dtype TICK_DTYPE. names : of their instrument ids. Raises OptionError, RecordingError."""
    write = writer_of(path)
    with written_whole(path, "file", RecordingError) as part:
        write(part, blocks, names)


def write_candles(path: Path, blocks: Iterable[np.ndarray]) -> None:
    """Write candles, dtype CANDLE_DTYPE, as .parquet or .csv.

    Raises OptionError, RecordingError, MissingExtraError.
    """
    name = path.name.lower()
    if not name.endswith((".parquet", ".csv", ".csv.gz", ".csv.zst")):
        msg = f"{path_text(path)} names no format for candles: end it in .parquet, .csv, .csv.gz or .csv.zst"
        raise OptionError(msg, option="target")
    write_candles_to = _candles_to_parquet if name.endswith(".parquet") else _candles_to_csv
    with written_whole(path, "file", RecordingError) as part:
        write_candles_to(part, blocks)


# Columns of ticks


def _kind_names(kinds: np.ndarray) -> np.ndarray:
    table = np.full(256, "", "U32")
    for number, row in KINDS.items():
        table[number] = row.name
    found: np.ndarray = table[kinds]
    return found


def _instrument_names(ids: np.ndarray, names: Sequence[str]) -> np.ndarray:
    table = np.array([*names, ""], "U64" if not names else None)
    found: np.ndarray = table[np.where(ids == NO_INSTRUMENT, len(names), ids)]
    return found


# Parquet


def _write_parquet(path: Path, blocks: Iterable[np.ndarray], names: Sequence[str]) -> None:
    pa, parquet = arrow("", "writing Parquet"), arrow(".parquet", "writing Parquet")
    words = pa.dictionary(pa.int32(), pa.string())
    types = {
        **dict.fromkeys(("seq", "venue_seq"), pa.uint64()),
        **dict.fromkeys(("ts_event", "ts_init"), pa.int64()),
        **dict.fromkeys(("instrument", "kind"), words),
        "side": pa.int8(),
        "flags": pa.uint16(),
        **dict.fromkeys(VALUES, pa.float64()),
    }
    schema = pa.schema([(name, types[name]) for name in COLUMNS])
    instruments, kinds = pa.array([*names, ""], pa.string()), [row.name for row in KINDS.values()]
    place = np.zeros(256, "i4")
    place[list(KINDS)] = np.arange(len(kinds))
    dictionaries = ["instrument", "kind"]
    with parquet.ParquetWriter(path, schema, compression="zstd", use_dictionary=dictionaries, **CHECKED) as writer:
        for ticks in blocks:
            ids = np.where(ticks["instrument"] == NO_INSTRUMENT, len(names), ticks["instrument"]).astype("i4")
            columns = {name: np.ascontiguousarray(ticks[name]) for name in HEAD}
            columns |= {name: np.ascontiguousarray(ticks["values"][:, at]) for at, name in enumerate(VALUES)}
            arrays = {name: pa.array(column) for name, column in columns.items() if name not in dictionaries}
            arrays["instrument"] = pa.DictionaryArray.from_arrays(pa.array(ids), instruments)
            arrays["kind"] = pa.DictionaryArray.from_arrays(pa.array(place[ticks["kind"]]), pa.array(kinds))
            writer.write_batch(pa.record_batch([arrays[name] for name in COLUMNS], schema=schema))


# CSV


class _ZstdFile:
    """A file of one frame: some readers stop at the end of the first."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._packer = file, _native.ZstdPacker()

    def write(self, data: bytes) -> None:
        self._file.write(self._packer.pack(data, is_last=False))

    def close(self) -> None:
        self._file.write(self._packer.pack(b"", is_last=True))


class _Text:
    """A text file, packed as its name says."""

    def __init__(self, path: Path) -> None:
        self._stack = ExitStack()
        file = self._stack.enter_context(path.open("wb"))
        self._raw: BinaryIO | gzip.GzipFile | _ZstdFile = file
        if path.suffix == ".gz":
            # No name and no time stamp: the same ticks are the same file.
            self._raw = self._stack.enter_context(gzip.GzipFile("", "wb", 6, file, mtime=0))
        elif path.suffix == ".zst":
            self._raw = self._stack.enter_context(closing(_ZstdFile(file)))

    def write_rows(self, rows: Iterable[Sequence[object]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._raw.write(text.getvalue().encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _write_csv(path: Path, blocks: Iterable[np.ndarray], names: Sequence[str]) -> None:
    with _Text(path) as text:
        text.write_rows([COLUMNS])
        for ticks in blocks:
            columns: dict[str, list[object]] = {name: ticks[name].tolist() for name in HEAD}
            columns["kind"] = _kind_names(ticks["kind"]).tolist()
            columns["instrument"] = _instrument_names(ticks["instrument"], names).tolist()
            for place, name in enumerate(VALUES):
                columns[name] = _texts_of_values(ticks, place)
            text.write_rows(zip(*(columns[name] for name in COLUMNS), strict=True))


def _texts_of_values(ticks: np.ndarray, place: int) -> list[object]:
    """Return values as they are: whole numbers where the kind has such."""
    values = np.ascontiguousarray(ticks["values"][:, place])
    found = np.empty(len(ticks), object)
    for number in np.unique(ticks["kind"]).tolist():
        rows = ticks["kind"] == number
        is_float = KINDS[number].values[place][1] == "f8"
        found[rows] = values[rows] if is_float else values[rows].view("u8")
    return found.tolist()


# Arrays


def _write_npz(path: Path, blocks: Iterable[np.ndarray], names: Sequence[str]) -> None:
    each = [np.asarray(block) for block in blocks]
    ticks = np.concatenate(each) if each else np.zeros(0, TICK_DTYPE)
    with path.open("wb") as file:
        np.savez_compressed(file, ticks=ticks, instruments=np.array(names, str), numbered=np.array(True))  # noqa: FBT003


def _write_hft(path: Path, blocks: Iterable[np.ndarray], names: Sequence[str]) -> None:
    each = [_hft_events(np.asarray(block)) for block in blocks]
    if len(names) != 1:
        msg = f"hftbacktest's files hold one instrument, and these ticks have {len(names)}: {', '.join(names)}"
        raise OptionError(msg, option="target")
    with path.open("wb") as file:
        np.savez_compressed(file, data=np.concatenate(each) if each else np.zeros(0, HFT_DTYPE))


def _hft_events(ticks: np.ndarray) -> np.ndarray:
    """Return trades, levels and quotes as events; a quote is two, and gaps and states have none."""
    numbers = {name: kind_named(name).number for name in ("quote", "trade", "level")}
    parts, places = [], []
    for name, kind in numbers.items():
        rows = np.flatnonzero(ticks["kind"] == kind)
        typed = ticks[rows].view(dtype_of(kind))
        for side in (1, -1) if name == "quote" else (0,):
            made = np.zeros(len(rows), HFT_DTYPE)
            made["local_ts"] = typed["ts_init"]
            # Without a venue's time, that of receipt stands for it.
            made["exch_ts"] = np.where(typed["ts_event"] == 0, typed["ts_init"], typed["ts_event"])
            sides = np.full(len(rows), side) if side else typed["side"]
            which = {"quote": HftEvents.BBO, "trade": HftEvents.TRADE, "level": HftEvents.DEPTH}[name]
            is_snapshot = (typed["flags"] & np.uint16(Flags.SNAPSHOT)) != 0
            kinds = np.where(is_snapshot & (name == "level"), HftEvents.SNAPSHOT, which).astype("u8")
            directions = np.where(sides > 0, HftEvents.BUY, np.where(sides < 0, HftEvents.SELL, 0)).astype("u8")
            made["ev"] = kinds | directions | np.uint64(HftEvents.LOCAL | HftEvents.EXCHANGE)
            prefix = {1: "bid_", -1: "ask_", 0: ""}[side]
            made["px"], made["qty"] = typed[f"{prefix}price"], np.nan_to_num(typed[f"{prefix}size"])
            parts.append(made)
            places.append(rows)
    order = np.argsort(np.concatenate(places), kind="stable")
    return np.concatenate(parts)[order]


# Candles


def _candles_to_parquet(path: Path, blocks: Iterable[np.ndarray]) -> None:
    pa, parquet = arrow("", "writing Parquet"), arrow(".parquet", "writing Parquet")
    names = CANDLE_DTYPE.names or ()
    schema = pa.schema([(name, pa.from_numpy_dtype(CANDLE_DTYPE[name])) for name in names])
    with parquet.ParquetWriter(path, schema, compression="zstd", **CHECKED) as writer:
        for candles in blocks:
            writer.write_batch(pa.record_batch({name: np.ascontiguousarray(candles[name]) for name in names}))


def _candles_to_csv(path: Path, blocks: Iterable[np.ndarray]) -> None:
    with _Text(path) as text:
        text.write_rows([CANDLE_DTYPE.names or ()])
        for candles in blocks:
            text.write_rows(candles.tolist())
