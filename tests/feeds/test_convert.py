"""Conversion: what is written replays to the same hash, an interrupted one goes on, and nothing is half-written."""

from __future__ import annotations

import errno
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace
from headrace import TICK_DTYPE, Strategy, replay
from headrace.app import convert as module
from headrace.app.convert import convert
from headrace.errors import DataError, FeedError, OptionError
from headrace.feeds import CandleFeed, SyntheticFeed, TickFeed
from headrace.feeds.given import feeds_of
from headrace.feeds.progress import Progress
from tests.support.backtests import Reverting
from tests.support.candles import candles, walk
from tests.support.command import Run
from tests.support.feeding import BTC


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording with losses, a late trade and a repeated one."""
    path = tmp_path_factory.mktemp("recording") / "session.jsonl.gz"
    lines = list(SyntheticFeed("BTCUSDT", frames=4_000, seed=3).lines())
    trades = [number for number, line in enumerate(lines) if b"@trade" in line]
    lost, late, again = trades[10], trades[20], trades[30]

    def moved(line: bytes, behind: bytes) -> bytes:
        return behind.partition(b" ")[0] + b" " + line.partition(b" ")[2]

    lines[trades[22]] += moved(lines[late], lines[trades[22]])
    lines[again] += lines[again]
    kept = [line for number, line in enumerate(lines) if number not in (lost, late)]
    import gzip

    path.write_bytes(gzip.compress(b"".join(kept), mtime=0))
    return path


class Everything(Strategy):
    def __init__(self) -> None:
        self.blocks: list[np.ndarray] = []

    def on_ticks(self, ticks: np.ndarray) -> None:
        self.blocks.append(ticks.copy())

    @property
    def ticks(self) -> np.ndarray:
        return np.concatenate([np.asarray(own) for own in self.blocks])


def published(source: Any) -> tuple[str | None, np.ndarray, Any]:
    seen = Everything()
    report = replay(source, seen, hashing=True)
    return report.input_hash, seen.ticks, report


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.csv.gz", "t.csv.zst", "t.npz"])
def test_converted_recording_replays_to_the_same_hash(name: str, recording: Path, tmp_path: Path) -> None:
    input_hash, ticks, report = published(recording)
    assert report.gaps
    assert report.late
    assert report.duplicates
    done = convert(recording, tmp_path / name)
    assert (done.input_hash, done.ticks) == (input_hash, len(ticks))
    again, same, second = published(tmp_path / name)
    assert again == input_hash
    assert np.array_equal(same, ticks)
    # Numbers, flags and gaps were read, not made again.
    assert (second.gaps, second.late) == (report.gaps, report.late)
    assert second.ticks == report.ticks


def test_each_format_is_made_of_each_other(recording: Path, tmp_path: Path) -> None:
    first = convert(recording, tmp_path / "1.parquet")
    convert(tmp_path / "1.parquet", tmp_path / "2.csv.gz")
    convert(tmp_path / "2.csv.gz", tmp_path / "3.npz")
    last = convert(tmp_path / "3.npz", tmp_path / "4.parquet")
    assert last.input_hash == first.input_hash
    assert published(tmp_path / "4.parquet")[0] == first.input_hash


def test_a_backtest_trades_the_same_through_every_format(recording: Path, tmp_path: Path) -> None:
    """From the recording itself, and from what was converted of it: the same decisions, fills and money."""
    formats = ["ticks.parquet", "ticks.csv", "ticks.csv.gz", "ticks.npz"]
    for name in formats:
        convert(recording, tmp_path / name)
    results = [
        headrace.backtest(Reverting(Decimal("0.01"), step=0.01), source, cash="1000000USDT", check=False)
        for source in (recording, *(tmp_path / name for name in formats))
    ]
    assert len(results[0].fills) > 100
    assert len({own.audit_hash for own in results}) == 1
    assert len({own.input_hash for own in results}) == 1
    assert {tuple(trip.net_pnl for trip in own.trades) for own in results} == {
        tuple(trip.net_pnl for trip in results[0].trades)
    }


def test_numbers_begin_inside_of_a_span(recording: Path, tmp_path: Path) -> None:
    convert(recording, tmp_path / "t.parquet")
    _, ticks, _ = published(recording)
    start = int(ticks["ts_init"][len(ticks) // 2])
    _, part, report = published(TickFeed(tmp_path / "t.parquet", start=start))
    assert np.array_equal(part, ticks[ticks["ts_init"] >= start])
    assert sum(report.ticks.values()) + report.gaps == len(part)


def test_second_source_of_a_numbered_instrument_is_refused(recording: Path, tmp_path: Path) -> None:
    convert(recording, tmp_path / "t.parquet")
    with pytest.raises(FeedError, match="that number was given before"):
        replay([tmp_path / "t.parquet", recording], ())


def test_interrupted_conversion_goes_on(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = convert(recording, tmp_path / "whole.npz")
    monkeypatch.setattr(module, "PART_TICKS", 1_000)
    target = tmp_path / "t.npz"
    add, calls = module._Parts.add, []

    def breaks(self: Any, ticks: np.ndarray) -> None:
        calls.append(len(ticks))
        if sum(calls) > 5_000:
            raise KeyboardInterrupt
        add(self, ticks)

    monkeypatch.setattr(module._Parts, "add", breaks)
    with pytest.raises(KeyboardInterrupt):
        convert(recording, target)
    assert not target.exists()
    monkeypatch.setattr(module._Parts, "add", add)
    done = convert(recording, target)
    assert done.resumed >= 4_000
    assert (done.ticks, done.input_hash) == (whole.ticks, whole.input_hash)
    assert published(target)[0] == whole.input_hash
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(("t.", ".t"))] == ["t.npz"]


def test_changed_source_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "a.jsonl", tmp_path / "t.npz"
    SyntheticFeed("BTCUSDT", frames=300, seed=1).write(source)
    parts = module._Parts(target, feeds_of(source))
    parts.add(np.zeros(5, TICK_DTYPE))
    parts.flush()
    SyntheticFeed("BTCUSDT", frames=400, seed=2).write(source)
    done = convert(source, target)
    assert done.resumed == 0
    assert published(target)[0] == published(source)[0]


def test_hftbacktest_file_keeps_trades_levels_and_quotes(recording: Path, tmp_path: Path) -> None:
    convert(recording, tmp_path / "t.hft.npz")
    data = np.load(tmp_path / "t.hft.npz")["data"]
    report = published(recording)[2]
    # A quote is two events.
    assert len(data) == report.ticks["trade"] + report.ticks["level"] + 2 * report.ticks["quote"]
    assert (np.diff(data["local_ts"]) >= 0).all()
    back = published(TickFeed(tmp_path / "t.hft.npz", instrument=BTC))[2]
    assert back.ticks["trade"] == report.ticks["trade"]


@pytest.mark.parametrize("name", ["c.parquet", "c.csv", "c.csv.gz"])
def test_candles_are_converted(name: str, tmp_path: Path) -> None:
    each = candles(walk(100))
    done = convert(CandleFeed(each, instrument=BTC), tmp_path / name)
    assert done.candles == 100
    assert np.array_equal(CandleFeed(tmp_path / name, instrument=BTC).read(), each)


def test_progress_of_candles_is_reported_while_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.feeds.progress.PROGRESS_EVERY_NS", 0)
    each, seen = candles(walk(10_000, price=10_000.0)), list[Progress]()
    convert(CandleFeed(each, instrument=BTC), tmp_path / "c.csv")
    size = (tmp_path / "c.csv").stat().st_size
    convert(CandleFeed(tmp_path / "c.csv", instrument=BTC), tmp_path / "c.parquet", progress=seen.append)
    # Items have 4,096 candles.
    assert [own.now_ns for own in seen] == each["ts_close"][[4_095, 8_191, 9_999]].tolist()
    assert [own.bytes_total for own in seen] == [size] * 3
    assert 0 < seen[0].bytes_done < seen[1].bytes_done < seen[2].bytes_done == size


def test_wrong_candle_far_behind_leaves_the_target_as_it_was(tmp_path: Path) -> None:
    each = candles(walk(10_000, price=10_000.0))
    each["open"][9_000] = 0
    convert(CandleFeed(each, instrument=BTC), tmp_path / "wrong.csv")
    (tmp_path / "c.parquet").write_bytes(b"before")
    with pytest.raises(DataError, match=r"wrong\.csv, row 9001: open is 0\.0, and no price is 0"):
        convert(CandleFeed(tmp_path / "wrong.csv", instrument=BTC), tmp_path / "c.parquet")
    assert (tmp_path / "c.parquet").read_bytes() == b"before"
    assert sorted(own.name for own in tmp_path.iterdir()) == ["c.parquet", "wrong.csv"]


class Unplugged:
    """Candles of a disk that is gone after the first block."""

    name, venue, instrument, timeframe, price = "disk", None, BTC, "1m", "trade"
    is_closed = False

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        self.is_closed = True

    async def candles(self) -> AsyncIterator[np.ndarray]:
        yield candles(walk(10))
        raise OSError(errno.EIO, "the disk is gone")


@pytest.mark.parametrize("name", ["c.parquet", "c.csv.gz"])
def test_error_of_a_feed_of_candles_is_not_taken_for_one_of_the_target(name: str, tmp_path: Path) -> None:
    feed = Unplugged()
    with pytest.raises(OSError, match="the disk is gone") as caught:
        convert(feed, tmp_path / name)
    assert caught.value.__notes__ == ["in Unplugged.candles of feed disk"]
    assert feed.is_closed
    assert list(tmp_path.iterdir()) == []


def test_target_of_no_format_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="names no format"):
        convert(tmp_path / "missing.gz", tmp_path / "t.txt")
    feeds = [CandleFeed(candles(walk(3)), instrument=name) for name in (BTC, "X.Y")]
    with pytest.raises(OptionError, match="convert each file of candles by itself"):
        convert(feeds, tmp_path / "c.parquet")
    assert list(tmp_path.iterdir()) == []


def test_command_prints_what_it_wrote(headrace_run: Run, recording: Path, tmp_path: Path) -> None:
    done = headrace_run("convert", str(recording), str(tmp_path / "t.parquet"), "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["input_hash"] == published(recording)[0]
    assert headrace_run("convert", "one").returncode == 2
