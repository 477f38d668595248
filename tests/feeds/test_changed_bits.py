"""A file that Headrace wrote and that changed since is refused as damaged, or reads as it was written."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from headrace.errors import DataError, RecordingError
from headrace.feeds import CandleFeed, RecordingFeed, SyntheticFeed, TickFeed
from headrace.feeds.base import Frame
from headrace.feeds.rotating_recorder import FORMATS, RotatingRecorder
from headrace.feeds.writers import write_candles, write_ticks
from tests.support.backtests import walk as quotes
from tests.support.candles import candles, walk
from tests.support.feeding import BTC

# Of a file, beside every bit of its first bytes: a header is read another way by each of its bits.
BITS = 150
HEADER_BYTES = 24
TABLES = ("a.csv.gz", "a.csv.zst")
Read = Callable[[Path], bytes]


def recorded(folder: Path, packed: str) -> Path:
    """Record frames as one file of several members."""

    async def run() -> Path:
        recorder = RotatingRecorder(folder, "session", packed=packed)
        record = recorder.open("feed", has_frames=True)
        for line in SyntheticFeed("BTCUSDT", frames=300).lines():
            time, _, frame = line.partition(b" ")
            record(Frame(int(time), frame.rstrip(b"\n")))
        recorder.close()
        return recorder.paths[0]

    return asyncio.run(run())


def lines_of(path: Path) -> bytes:
    async def run() -> bytes:
        feed = RecordingFeed(path, venue="BINANCE")
        try:
            await feed.open()
            return b"".join([block async for block in feed])
        finally:
            await feed.close()

    return asyncio.run(run())


def ticks_of(path: Path) -> bytes:
    ticks = TickFeed(path).read()
    return ticks.tobytes() + repr(getattr(ticks, "instruments", ())).encode()


def candles_of(path: Path) -> bytes:
    return CandleFeed(path, instrument=BTC).read().tobytes()


def changed(data: bytes, draw: random.Random) -> Iterator[tuple[int, bytes]]:
    """Yield the number of a bit, and the file with that bit changed."""
    first = range(8 * HEADER_BYTES)
    for bit in [*first, *(draw.randrange(len(first), 8 * len(data)) for _ in range(BITS))]:
        made = bytearray(data)
        made[bit // 8] ^= 1 << bit % 8
        yield bit, bytes(made)


def check(path: Path, read: Read, kind: type[Exception], seed: int) -> None:
    whole, data, refused = read(path), path.read_bytes(), 0
    for bit, damaged in changed(data, random.Random(seed)):
        path.write_bytes(damaged)
        try:
            found = read(path)
        except kind as error:
            refused += 1
            said = str(error)
            assert path.name in said, f"bit {bit}: {said}"
            assert "is damaged" in said or "is truncated" in said, f"bit {bit}: {said}"
            assert "copy it again" in said, f"bit {bit}: {said}"
        else:
            assert found == whole, f"bit {bit} changed what is read, and nothing was said"
    assert refused >= BITS


@pytest.mark.parametrize("packed", FORMATS)
def test_changed_bit_of_a_recording_is_noticed(
    packed: str, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.feeds.rotating_recorder.MEMBER_BYTES", 20_000)
    check(recorded(tmp_path, packed), lines_of, RecordingError, seed)


@pytest.mark.parametrize("name", TABLES)
def test_changed_bit_of_a_table_of_ticks_is_noticed(name: str, tmp_path: Path, seed: int) -> None:
    write_ticks(tmp_path / name, [quotes(400)], [BTC])
    check(tmp_path / name, ticks_of, DataError, seed)


@pytest.mark.parametrize("name", TABLES)
def test_changed_bit_of_a_table_of_candles_is_noticed(name: str, tmp_path: Path, seed: int) -> None:
    write_candles(tmp_path / name, [candles(walk(400))])
    check(tmp_path / name, candles_of, DataError, seed)


def test_changed_bit_of_a_page_of_parquet_is_noticed(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "a.parquet"
    write_candles(path, [candles(walk(4_000))])
    whole, data, draw = candles_of(path), path.read_bytes(), random.Random(seed)
    # In this format the footer and the headers of pages have no checksum.
    chunk = pa.parquet.read_metadata(path).row_group(0).column(4)
    begin, end = chunk.data_page_offset + 64, chunk.dictionary_page_offset + chunk.total_compressed_size
    noticed: list[str] = []
    for _ in range(BITS):
        made, bit = bytearray(data), draw.randrange(8 * begin, 8 * end)
        made[bit // 8] ^= 1 << bit % 8
        path.write_bytes(made)
        try:
            assert candles_of(path) == whole, f"bit {bit} changed what is read, and nothing was said"
        except DataError as error:
            noticed.append(str(error))
    assert len(noticed) > BITS // 2
    assert all(f"{path} is damaged" in said and "copy it again" in said for said in noticed)


def test_table_of_zstd_is_one_frame(tmp_path: Path) -> None:
    blocks = np.split(quotes(60_000), 6)
    write_ticks(tmp_path / "a.csv.zst", blocks, [BTC])
    data = (tmp_path / "a.csv.zst").read_bytes()
    magic, has_checksum = data[:4], bool(data[4] & 4)
    assert (magic, has_checksum) == (b"\x28\xb5\x2f\xfd", True)
    write_ticks(tmp_path / "b.csv.zst", [quotes(60_000)], [BTC])
    assert ticks_of(tmp_path / "a.csv.zst") == ticks_of(tmp_path / "b.csv.zst")
