"""A feed's file is closed when its reader ends: at an error, half-way, or behind the last row."""

from __future__ import annotations

import asyncio
import gzip
import io
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from headrace.errors import DataError, RecordingError
from headrace.feeds import CandleFeed, RecordingFeed, SyntheticFeed, TickFeed
from headrace.feeds.candles import is_candle_file
from headrace.feeds.writers import write_candles, write_ticks
from tests.support.backtests import walk as ticks
from tests.support.candles import candles, walk
from tests.support.feeding import BTC

NAMES = ("a.csv", "a.csv.gz", "a.csv.zst", "a.zip", "a.parquet")
ROWS = 6_000
# Each has a file descriptor of its own for a file that it has open.
OPEN_FILES = Path("/proc/self/fd")

pytestmark = pytest.mark.skipif(not OPEN_FILES.exists(), reason="the system does not list open files")


def open_files(folder: Path) -> list[str]:
    def targets() -> Iterator[str]:
        for own in OPEN_FILES.iterdir():
            try:
                yield str(own.readlink())
            except FileNotFoundError:  # That of the listing itself.
                continue

    return [target for target in targets() if target.startswith(str(folder))]


def packed(path: Path, text: bytes) -> Path:
    """Write text as the file's name says; a .zip with the checksum of another text."""
    if path.suffix == ".zip":
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a.csv", text)
        path.write_bytes(made.getvalue())
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(text))
    elif path.suffix == ".zst":
        path.write_bytes(pa.compress(text, codec="zstd", asbytes=True))
    else:
        path.write_bytes(text)
    return path


def written(path: Path, *, wrong_row: int | None = None) -> Path:
    """Write candles in the form that the name says; one of them may open at 0."""
    each = candles(walk(ROWS, price=10_000))
    if wrong_row is not None:
        each["open"][wrong_row] = 0
    if path.suffix == ".parquet":
        write_candles(path, [each])
        return path
    text = path.with_name("text.csv")
    write_candles(text, [each])
    return packed(path, text.read_bytes())


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.feeds.table.csv.BLOCK_BYTES", 1 << 16)
    monkeypatch.setattr("headrace.feeds.table.parquet.BATCH_ROWS", 1_000)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong_row", [0, ROWS - 1])
def test_file_with_a_wrong_row_is_closed_behind_the_error(name: str, wrong_row: int, tmp_path: Path) -> None:
    path = written(tmp_path / name, wrong_row=wrong_row)
    with pytest.raises(DataError, match="open is 0") as caught:
        CandleFeed(path, instrument=BTC).read()
    assert open_files(tmp_path) == []
    assert caught.value.path == str(path)


@pytest.mark.parametrize("name", NAMES[1:])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_damaged_file_is_closed_behind_the_error(name: str, share: float, tmp_path: Path) -> None:
    path = written(tmp_path / name)
    data = bytearray(path.read_bytes())
    at = int(share * len(data))
    data[at : at + 8] = struct.pack("<Q", ~struct.unpack("<Q", data[at : at + 8])[0] & (1 << 64) - 1)
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        CandleFeed(path, instrument=BTC).read()
    assert open_files(tmp_path) == []
    assert caught.value.path == str(path)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_damaged_npz_file_is_closed_behind_the_error(share: float, tmp_path: Path) -> None:
    write_ticks(tmp_path / "t.npz", [ticks(ROWS)], [BTC])
    data = bytearray((tmp_path / "t.npz").read_bytes())
    data[int(share * len(data))] ^= 1
    (tmp_path / "t.npz").write_bytes(data)
    with pytest.raises(DataError, match="damaged") as caught:
        TickFeed(tmp_path / "t.npz").read()
    assert open_files(tmp_path) == []
    assert caught.value.path


def test_archive_with_two_files_is_closed_behind_the_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as file:
        file.writestr("a.csv", "")
        file.writestr("b.csv", "")
    with pytest.raises(DataError, match="holds 2 files") as caught:
        CandleFeed(tmp_path / "two.zip", instrument=BTC).read()
    assert open_files(tmp_path) == []
    assert caught.value.path


@pytest.mark.parametrize("columns", [["open", "open"], []], ids=["a column twice", "no row"])
def test_refused_parquet_file_is_closed(columns: list[str], tmp_path: Path) -> None:
    arrays = [pa.array([1.0]) for _ in columns] or [pa.array([], "float64")]
    pa.parquet.write_table(pa.table(arrays, names=columns or ["open"]), tmp_path / "a.parquet")
    with pytest.raises(DataError) as caught:
        is_candle_file(tmp_path / "a.parquet")
    assert open_files(tmp_path) == []
    assert caught.value.path


def half_read(feed: Any) -> None:
    async def run() -> None:
        await feed.open()
        items = feed.candles() if hasattr(feed, "candles") else aiter(feed)
        await anext(items)
        await feed.close()
        await items.aclose()

    asyncio.run(run())


@pytest.mark.parametrize("name", NAMES)
def test_feed_that_is_closed_half_way_has_no_open_file(name: str, tmp_path: Path) -> None:
    half_read(CandleFeed(written(tmp_path / name), instrument=BTC))
    assert open_files(tmp_path) == []


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.csv.zst", "t.parquet", "t.npz"])
def test_feed_of_ticks_that_is_closed_half_way_has_no_open_file(name: str, tmp_path: Path) -> None:
    write_ticks(tmp_path / name, [ticks(ROWS)], [BTC])
    half_read(TickFeed(tmp_path / name))
    assert open_files(tmp_path) == []


@pytest.mark.parametrize("name", ["session", "session.gz"])
def test_recording_that_is_closed_half_way_has_no_open_file(name: str, tmp_path: Path) -> None:
    path = SyntheticFeed("BTCUSDT", frames=20_000).write(tmp_path / name)
    feed = RecordingFeed(path, block_bytes=1 << 12)
    held = [feed]
    half_read(feed)
    assert open_files(tmp_path) == []
    assert held


def test_recording_of_another_age_is_closed_behind_the_error(tmp_path: Path) -> None:
    lines = b"".join(SyntheticFeed("BTCUSDT", frames=20_000).lines())
    (tmp_path / "session").write_bytes(b"7 {}\n" + lines)
    feed = RecordingFeed(tmp_path / "session", block_bytes=1 << 12)
    with pytest.raises(RecordingError, match="receive time 7") as caught:
        asyncio.run(feed.open())
    assert open_files(tmp_path) == []
    assert caught.value.path


def test_whole_file_is_closed_behind_its_last_row(tmp_path: Path) -> None:
    for name in NAMES:
        path = written(tmp_path / name)
        assert np.array_equal(CandleFeed(path, instrument=BTC).read(), candles(walk(ROWS, price=10_000)))
    assert open_files(tmp_path) == []
