"""What is recorded of a venue: everything, in files that each replay alone, whatever ended them."""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import os
import signal
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from headrace import Engine, Strategy, replay
from headrace.app.record import recording_of
from headrace.errors import RecordingError
from headrace.feeds import SyntheticFeed
from headrace.feeds.base import Frame
from headrace.feeds.rotating_recorder import RotatingRecorder
from headrace.venues import BinanceFeed, Fault, SimulatedVenue
from tests.support.engines import until
from tests.support.venue_client import market

STREAMS = ("bookTicker", "trade", "depth@100ms")
SECOND = 1_000_000_000


def feed_of(venue: SimulatedVenue, name: str, **options: Any) -> BinanceFeed:
    addresses = venue.addresses[name]
    symbols = [own.partition(".")[0] for own in venue.instruments]
    options = {"streams": STREAMS, "snapshots": "always", **options}
    return BinanceFeed(name, symbols, url=addresses["ws"], rest_url=addresses["rest"], **options)


def size_of(path: str) -> int:
    return Path(path).stat().st_size


def unpacked(path: Path) -> bytes:
    if path.suffix == ".zst":
        with pa.CompressedInputStream(str(path), "zstd") as stream:
            return bytes(stream.read())
    return gzip.decompress(path.read_bytes())


def frames_in(path: Path) -> list[bytes]:
    return [line.partition(b" ")[2] for line in unpacked(path).splitlines()]


def is_snapshot(frame: bytes) -> bool:
    return b"depthSnapshot" in frame[:100]


class Live(Strategy):
    """Counts what a replay of one file shows."""

    def __init__(self) -> None:
        self.states: list[tuple[str, str]] = []
        self.books = 0
        self.quotes: dict[int, tuple[float, float]] = {}
        self.compared = 0

    def on_quote(self, venue_seq: int, bid_price: float, ask_price: float) -> None:
        self.quotes[venue_seq] = (bid_price, ask_price)

    def on_book(self, update_id: int, bid_price: float, ask_price: float) -> None:
        self.books += 1
        if (quote := self.quotes.get(update_id)) is not None:
            assert quote == (bid_price, ask_price)
            self.compared += 1

    def on_status(self, stream: str | None, state: str, reason: str) -> None:
        if state in ("SYNCING", "LIVE", "STALE"):
            self.states.append((state, reason))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "packed"), [("BINANCE", "gzip"), ("BINANCE_USDM", "gzip"), ("BINANCE_COINM", "gzip"), ("BINANCE", "zstd")]
)
async def test_each_file_of_a_rotated_recording_replays_alone(tmp_path, name, packed):
    async with SimulatedVenue(market(80_000, venue=name), speed=4) as venue:
        feed = feed_of(venue, name)
        recording = recording_of(feed, tmp_path, rotate_ns=SECOND // 2, packed=packed)
        async with recording.engine:
            await until(lambda: bool(recording.books.live), within_s=20.0)
            first = len(recording.recorder.paths)
            await until(lambda: len(recording.recorder.paths) >= first + 3, within_s=20.0)
    paths = recording.recorder.paths
    assert len({path.name for path in paths}) == len(paths)
    rotated = {path: frames_in(path) for path in paths[first:-1]}
    # On a machine that cannot keep up, a book may be in resync when its file is rotated: then it has none to write.
    begun = {path: frames for path, frames in rotated.items() if is_snapshot(frames[0])}
    assert 2 * len(begun) > len(rotated), "our own book stands first"
    for path, frames in begun.items():
        strategy = Live()
        await asyncio.to_thread(replay, f"{path}@{name}", strategy)
        assert strategy.states == [("LIVE", "IN_SYNC")]
        assert strategy.books >= sum(b"depthUpdate" in frame for frame in frames) - 1
        assert strategy.compared
    # Without the snapshots that files begin with, what was received: each depth event follows the one before.
    events = [json.loads(frame)["data"] for path in paths for frame in frames_in(path) if b"depthUpdate" in frame]
    chain = "pu" if name != "BINANCE" else "U"
    assert all(after[chain] == before["u"] + (chain == "U") for before, after in pairwise(events))


@pytest.mark.asyncio
async def test_a_file_begun_without_a_live_book_gets_a_fetched_snapshot(tmp_path):
    async with SimulatedVenue(market(1_000_000), speed=4) as venue:
        recording = recording_of(feed_of(venue, "BINANCE"), tmp_path, rotate_ns=SECOND)
        recorder, live = recording.recorder, recording.books.live
        async with recording.engine:
            await until(lambda: bool(live), within_s=20.0)
            # The book is STALE for longer than two files last, so at least one begins meanwhile.
            venue.inject(Fault(kind="late_snapshot", at_s=0.0, for_s=2.2))
            venue.inject(Fault(kind="drop", stream="*@depth", at_frame=1))
            await until(lambda: not live, within_s=20.0)
            stale = len(recorder.paths)
            await until(lambda: bool(live), within_s=20.0)
            fetched = len(recorder.paths)
            assert fetched > stale
            await until(lambda: len(recorder.paths) > fetched, within_s=20.0)
    begun_stale = [path for path in recorder.paths[stale:fetched] if not is_snapshot(frames_in(path)[0])]
    path = next(path for path in begun_stale if any(map(is_snapshot, frames_in(path))))
    strategy = Live()
    await asyncio.to_thread(replay, f"{path}@BINANCE", strategy)
    assert strategy.states == [("LIVE", "IN_SYNC")]


def recorder_with_frames(folder, count=3):
    """A recorder outside of an engine, and its write function."""
    recorder = RotatingRecorder(folder, "X", rotate_ns=None)
    write = recorder.open("feed", has_frames=True)
    for number in range(count):
        write(Frame(1_800_000_000 * SECOND + number, b'{"n":%d}' % number))
    return recorder, write


@pytest.mark.asyncio
async def test_a_full_disk_leaves_whole_members_and_ends_the_run(tmp_path, monkeypatch):
    recorder, write = recorder_with_frames(tmp_path)
    recorder._flush()
    size = recorder.paths[0].stat().st_size
    real_write = os.write

    def full(file, data):
        # Half of it fits.
        real_write(file, bytes(data[: len(data) // 2]))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write(Frame(1_800_000_001 * SECOND, b'{"n":3}'))
    monkeypatch.setattr(os, "write", full)
    recorder._flush_by_clock()
    with pytest.raises(RecordingError, match="No space left"):
        write(Frame(1_800_000_002 * SECOND, b'{"n":4}'))
    monkeypatch.undo()
    recorder.close()
    assert recorder.paths[0].stat().st_size == size
    assert frames_in(recorder.paths[0]) == [b'{"n":0}', b'{"n":1}', b'{"n":2}']


@pytest.mark.asyncio
async def test_a_quiet_market_is_on_disk_after_a_second(tmp_path):
    recorder, _ = recorder_with_frames(tmp_path)
    path = recorder.paths[0]
    await until(lambda: path.stat().st_size > 0)
    assert len(frames_in(path)) == 3
    recorder.close()


def record_command(venue, folder, *options):
    addresses = venue.addresses["BINANCE"]
    return asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headrace.cli", "record", "BINANCE", "BTCUSDT", "--out", str(folder), "--json"),
        *("--url", addresses["ws"], "--rest-url", addresses["rest"], *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.asyncio
async def test_the_command_ends_cleanly_at_ctrl_c_and_after_its_time(tmp_path):
    async with SimulatedVenue(market(40_000), speed=4) as venue:
        process = await record_command(venue, tmp_path / "a")
        await until(lambda: any(path.stat().st_size for path in tmp_path.glob("a/*.txt.gz")), within_s=20.0)
        process.send_signal(signal.SIGINT)
        out, errors = await process.communicate()
        assert process.returncode == 0, errors
        timed = await record_command(venue, tmp_path / "b", "--for", "1500ms")
        timed_out, errors = await timed.communicate()
        assert timed.returncode == 0, errors
    for said in (out, timed_out):
        facts = json.loads(said)
        (path,) = facts["files"]
        assert facts["frames"] == len(frames_in(Path(path))) > 0
        assert facts["bytes"] == size_of(path)


@pytest.mark.asyncio
@pytest.mark.parametrize("packed", ["gzip", "zstd"])
async def test_kill_9_leaves_a_file_that_replays(tmp_path, packed):
    async with SimulatedVenue(market(40_000), speed=8) as venue:
        process = await record_command(venue, tmp_path, "--packed", packed)
        await until(lambda: sum(path.stat().st_size for path in tmp_path.iterdir()) > 20_000, within_s=20.0)
        process.kill()
        await process.communicate()
    (path,) = tmp_path.iterdir()
    strategy = Live()
    await asyncio.to_thread(replay, f"{path}@BINANCE", strategy)
    assert strategy.states[0] == ("LIVE", "IN_SYNC")
    assert strategy.compared


@pytest.mark.asyncio
async def test_a_symbol_of_any_script_reaches_its_files_name(tmp_path):
    symbol = "币安人生USDT"
    async with SimulatedVenue(SyntheticFeed(symbol, frames=4_000), speed=4) as venue:
        live = Live()
        async with Engine(feeds=[feed_of(venue, "BINANCE")], strategies=[live], record=tmp_path):
            await until(lambda: live.compared > 0, within_s=20.0)
    (path,) = tmp_path.iterdir()
    assert symbol in path.name
    seen: set[str] = set()
    await asyncio.to_thread(replay, f"{path}@BINANCE", Named(seen))
    assert seen == {f"{symbol}.BINANCE"}


class Named(Strategy):
    """Collects the names of instruments."""

    def __init__(self, seen: set[str]) -> None:
        self.seen = seen

    def on_quote(self, instrument: str) -> None:
        self.seen.add(instrument)


class Deciding(Strategy):
    """Signals by the book, and so decides by what it received."""

    def __init__(self) -> None:
        self.decisions: list[tuple[int, str]] = []

    def on_book(self, instrument: str, update_id: int, imbalance: float) -> None:
        self.decisions.append((update_id, "buy" if imbalance > 0 else "sell"))

    def on_trade(self, trade_id: int) -> None:
        self.decisions.append((trade_id, "trade"))

    def on_gap(self, lost_kind: str | None) -> None:
        self.decisions.append((0, f"gap {lost_kind}"))

    def on_status(self, stream: str | None, state: str) -> None:
        self.decisions.append((0, f"{stream} {state}"))


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["BINANCE", "BINANCE_USDM"])
async def test_a_recorded_session_replays_and_repeats_with_its_cuts(tmp_path, name):
    faults = [Fault(kind="cut", stream="*@trade", at_frame=150), Fault(kind="drop", stream="*@depth", at_frame=60)]
    live = Deciding()
    async with SimulatedVenue(market(10_000, venue=name), speed=8, faults=faults) as venue:
        engine = Engine(
            feeds=[feed_of(venue, name, snapshots="requested")],
            strategies=[live],
            record=tmp_path / "recordings",
            dispatch_log=tmp_path / "session.log",
            hashing=True,
        )
        async with engine:
            await until(lambda: venue.stats().has_ended, within_s=25.0)
            await asyncio.sleep(0.1)
    report = engine.report()
    assert "trade DOWN" in {what for _, what in live.decisions}
    assert "depth STALE" in {what for _, what in live.decisions}
    (path,) = (tmp_path / "recordings").iterdir()
    replayed = Deciding()
    again = await asyncio.to_thread(lambda: replay(f"{path}@{name}", replayed, hashing=True))
    assert again.input_hash == report.input_hash
    assert replayed.decisions == live.decisions
    repeated = Deciding()
    repeating = Engine(
        feeds=[f"{path}@{name}"], strategies=[repeated], mode="repeat", dispatch_log=tmp_path / "session.log"
    )
    await repeating.run_async()
    assert repeated.decisions == live.decisions
