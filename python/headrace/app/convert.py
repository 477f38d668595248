"""Conversion: what a replay of some sources publishes, as one file that replays to the same.

::

    sources ─▶ replay ─▶ ticks as published ─▶ parts: TARGET.parts/000001.npy … ─▶ TARGET
    source ─▶ blocks of candles ─▶ TARGET

What happens when it is interrupted
    Ticks: the whole parts stay. The next call for the same sources and target goes on behind them: it replays from the
    start, which gives the same ticks, and writes only those that are not in a part. Candles: nothing stays; they are
    written as they are read, and the next call begins anew.

Guarantees: the target appears when it is whole; a Parquet, CSV or npz file made so replays to the same ``input_hash``.
Does not: convert ticks to candles.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from headrace.engine.engine import Engine
from headrace.errors import DataError, OptionError, RecordingError
from headrace.feeds.base import CandleSource
from headrace.feeds.files import path_text, written_whole
from headrace.feeds.given import feeds_of
from headrace.feeds.naming import NamedFeed, called
from headrace.feeds.progress import ProgressReports
from headrace.feeds.writers import write_candles, write_ticks, writer_of
from headrace.market.tick import TICK_DTYPE
from headrace.strategies.strategy import Strategy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from headrace.feeds.base import AnyFeed
    from headrace.feeds.given import Source
    from headrace.feeds.progress import Progress

__all__ = ["Converted", "convert"]

PART_TICKS = 1 << 20
# Of a part, when it is written into the target: a row group of Parquet.
GROUP_TICKS = 1 << 18


class Converted(NamedTuple):
    """What was written. resumed : ticks that an interrupted call had written before. input_hash : None for candles."""

    path: Path
    ticks: int
    candles: int
    instruments: tuple[str, ...]
    resumed: int
    input_hash: str | None


def convert(
    sources: Source | Sequence[Source],
    target: str | Path,
    *,
    venue: str | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> Converted:
    """Write what sources hold into one file, in the format that its name says.

    sources : as ``replay`` takes them; ticks are merged by receive time. Candles: one source.
    target : .parquet, .csv, .csv.gz, .csv.zst, .npz (ticks alone), or .hft.npz (one instrument).
    progress : called about ten times a second.

    Raises OptionError, and what a replay of the sources raises.
    """
    path = Path(target)
    feeds = feeds_of(sources, venue)
    candles = [feed for feed in feeds if isinstance(feed, CandleSource)]
    if candles:
        if len(feeds) > 1:
            msg = f"{len(feeds)} sources, and one has candles: convert each file of candles by itself"
            raise OptionError(msg, option="sources")
        return _convert_candles(candles[0], path, progress)
    writer_of(path)
    return _convert_ticks(feeds, path, progress)


def _convert_candles(feed: CandleSource, path: Path, progress: Callable[[Progress], object] | None) -> Converted:
    with asyncio.Runner() as runner:
        runner.run(called(feed, "open"))
        try:
            candles = _Candles(feed, runner.get_loop(), progress)
            write_candles(path, candles)
        finally:
            runner.run(called(feed, "close"))
    return Converted(path, 0, candles.count, (feed.instrument,), 0, None)


class _Candles:
    """The candles of an open feed, some at a time: a block is read when the one before it is written."""

    def __init__(
        self, feed: CandleSource, loop: asyncio.AbstractEventLoop, progress: Callable[[Progress], object] | None
    ) -> None:
        self._feed = feed
        self._loop = loop
        self._progress = None if progress is None else ProgressReports(progress, [feed])
        self.count = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the blocks. Raises what the feed raises."""
        blocks = aiter(self._feed.candles())
        while (block := self._loop.run_until_complete(self._next(blocks))) is not None:
            self.count += len(block)
            if self._progress is not None:
                self._progress.report(ticks=0, now_ns=int(block["ts_close"][-1]))
            yield block

    async def _next(self, blocks: AsyncIterator[np.ndarray]) -> np.ndarray | None:
        with NamedFeed(self._feed, "candles"):
            return await anext(blocks, None)


def _convert_ticks(feeds: Sequence[AnyFeed], path: Path, progress: Callable[[Progress], object] | None) -> Converted:
    parts = _Parts(path, feeds)
    copied = _Copy(parts)
    engine = Engine(mode="replay", feeds=feeds, strategies=[copied], hashing=True, progress=progress)
    report = engine.run()
    if report.stopped:
        msg = f"{path_text(path)} is not converted yet ({report.ended_by}): the same call again goes on"
        raise DataError(msg, path=str(path), row=0, column="")
    parts.flush()
    write_ticks(path, parts.blocks(), report.instruments)
    ticks = parts.ticks
    parts.remove()
    return Converted(path, ticks, 0, report.instruments, parts.resumed, report.input_hash)


class _Copy(Strategy):
    """Passes every published tick on."""

    def __init__(self, parts: _Parts) -> None:
        self._parts = parts

    def on_ticks(self, ticks: np.ndarray) -> None:
        """Take a batch."""
        self._parts.add(ticks)


class _Parts:
    """The ticks so far, in files of PART_TICKS each, in a folder beside the target."""

    def __init__(self, target: Path, feeds: Sequence[AnyFeed]) -> None:
        self._folder = target.with_name(f"{target.name}.parts")
        self._waiting: list[np.ndarray] = []
        self._waits = 0
        self.ticks = 0
        state = {"version": 1, "sources": [_fingerprint(feed.name) for feed in feeds]}
        written = self._folder / "state.json"
        if not written.is_file() or json.loads(written.read_text()) != state:
            shutil.rmtree(self._folder, ignore_errors=True)
            with written_whole(written, "state", RecordingError) as unfinished:
                self._folder.mkdir(parents=True)
                unfinished.write_text(json.dumps(state))
        # Ticks that an earlier call has written: whole parts alone.
        self._files = sorted(self._folder.glob("*.npy"))
        self.resumed = self._skip = sum(len(np.load(file, mmap_mode="r")) for file in self._files)

    def add(self, ticks: np.ndarray) -> None:
        """Take ticks in their order; those that a part holds already are passed over."""
        self.ticks += len(ticks)
        passed = min(self._skip, len(ticks))
        self._skip -= passed
        ticks = ticks[passed:]
        while len(ticks):
            part = np.array(ticks[: PART_TICKS - self._waits], TICK_DTYPE, subok=False)
            ticks = ticks[len(part) :]
            self._waiting.append(part)
            self._waits += len(part)
            if self._waits == PART_TICKS:
                self.flush()

    def flush(self) -> None:
        """Write what waits as a part."""
        if not self._waits:
            return
        file = self._folder / f"{len(self._files) + 1:06d}.npy"
        with written_whole(file, "part", RecordingError) as unfinished, unfinished.open("wb") as out:
            np.save(out, np.concatenate(self._waiting))
        self._files.append(file)
        self._waiting, self._waits = [], 0

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all ticks, some at a time."""
        for file in self._files:
            part: Any = np.load(file, mmap_mode="r")
            for start in range(0, len(part), GROUP_TICKS):
                yield np.array(part[start : start + GROUP_TICKS])

    def remove(self) -> None:
        """Remove the parts."""
        shutil.rmtree(self._folder)


def _fingerprint(name: str) -> list[object]:
    """Return what tells a source from another of the same name."""
    file = Path(name)
    if not file.is_file():
        return [name]
    status = file.stat()
    return [name, status.st_size, status.st_mtime_ns]
