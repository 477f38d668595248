"""Row 19: a recording from its packed file to handlers, beside Python's gzip, which only reads it.

::

    gzip file ─▶ headrace replay FILE     ours: unpacked in a thread of its own, decoded, numbered, two handlers
              ─▶ gzip.open(FILE).read     the bytes alone, in pieces of 1 MiB
              ─▶ recording_loop           gzip, msgspec, a call for each tick; all in one thread

The file is the USD-M recording where ``HEADRACE_RECORDINGS`` names a folder that has one, else a generated session.
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import headrace
from benches.baselines.recording_loop import recording_loop
from benches.bench import Bench, Row, Work, wall
from benches.frames import recordings
from headrace.feeds import SyntheticFeed

PIECE_BYTES = 1 << 20


class QuotesAndTrades(headrace.Strategy):
    """Two handlers; book levels concern neither."""

    def __init__(self) -> None:
        self.count = 0
        self.mid = self.traded = 0.0

    def on_quote(self, bid_price: float, ask_price: float) -> None:
        self.count += 1
        self.mid = (bid_price + ask_price) / 2

    def on_trade(self, price: float, size: float) -> None:
        self.count += 1
        self.traded += price * size


class Everything(headrace.Strategy):
    """A handler for each kind, values as arguments."""

    def __init__(self) -> None:
        self.count = 0
        self.quotes = self.trades = self.agg_trades = self.levels = 0.0

    def on_quote(self, bid_price: float, ask_price: float) -> None:
        self.count += 1
        self.quotes += (bid_price + ask_price) / 2

    def on_trade(self, price: float, size: float) -> None:
        self.count += 1
        self.trades += price * size

    def on_agg_trade(self, price: float, size: float) -> None:
        self.count += 1
        self.agg_trades += price * size

    def on_level(self, price: float, size: float) -> None:
        self.count += 1
        self.levels += price * size

    def totals(self) -> tuple[float, ...]:
        """Return what two ways over one file must agree on."""
        return (self.count, self.quotes, self.trades, self.agg_trades, self.levels)


@cache
def generated(frames: int) -> Path:
    """Write a session of so many frames, for as long as the process lives."""
    folder = tempfile.TemporaryDirectory(prefix="headrace-bench-")
    _kept.append(folder)
    return SyntheticFeed(frames=frames).write(Path(folder.name) / "generated.gz")


_kept: list[tempfile.TemporaryDirectory[str]] = []


@cache
def expected(path: Path) -> Everything:
    """Return what the plain loop makes of a file."""
    counted = Everything()
    recording_loop(path, counted)
    return counted


def usdm_or_generated(bench: Bench) -> Path:
    """Return the file of row 19."""
    recorded = [path for path in recordings() if path.name.startswith("usdm")]
    return recorded[0] if recorded and bench.size.rounds > 1 else generated(bench.size.session_frames)


def replayed(path: Path) -> Iterator[Work]:
    """Replay to two handlers; what `headrace replay FILE` does once Python has started."""
    strategy = QuotesAndTrades()
    reports: list[headrace.Report] = []
    yield lambda: reports.append(headrace.replay(path, strategy))
    ticks = reports[0].ticks
    assert sum(ticks.values()) == expected(path).count, f"{ticks} are not the {expected(path).count} ticks of the file"
    assert strategy.count == ticks["quote"] + ticks["trade"]


def read_by_gzip(path: Path) -> Iterator[Work]:
    """Read a file in pieces, by the standard library."""
    sizes: list[int] = []

    def work() -> None:
        with gzip.open(path, "rb") as file:
            while piece := file.read(PIECE_BYTES):
                sizes.append(len(piece))

    yield work
    assert sum(sizes) > path.stat().st_size


def replayed_whole(path: Path) -> Iterator[Work]:
    """Replay to a handler for each kind."""
    strategy = Everything()
    yield lambda: headrace.replay(path, strategy)
    assert strategy.totals() == expected(path).totals(), (
        f"{strategy.totals()}, the loop makes {expected(path).totals()}"
    )


def run_whole(path: Path) -> Iterator[Work]:
    """Run the same in an engine that the user makes."""
    strategy = Everything()
    yield headrace.Engine(feeds=path, strategies=[strategy], mode="replay").run
    assert strategy.totals() == expected(path).totals(), (
        f"{strategy.totals()}, the loop makes {expected(path).totals()}"
    )


def looped(path: Path) -> Iterator[Work]:
    """Call the same handlers in a plain loop."""
    handlers = Everything()
    yield lambda: recording_loop(path, handlers)
    assert handlers.totals() == expected(path).totals()


@wall
class TestGzip:
    """Times are of the whole file."""

    rows = (Row("19", "replay of a .gz, two handlers", "headrace", "gzip_alone", at_most=0.8, unit="ms"),)

    def test_headrace(self, bench: Bench) -> None:
        path = usdm_or_generated(bench)
        bench.about(f"{path.name}, {expected(path).count:,} ticks")(replayed, path)

    def test_gzip_alone(self, bench: Bench) -> None:
        bench(read_by_gzip, usdm_or_generated(bench))


@wall
@pytest.mark.parametrize("file", [None, *recordings()], ids=lambda file: file.name if file else "generated")
class TestWholeFiles:
    """Every tick to a handler of its kind."""

    rows = (
        Row("", "replay, a handler for each kind", "headrace", "msgspec_loop"),
        Row("", "engine, a handler for each kind", "engine", "headrace", at_least=0.9),
    )

    def test_headrace(self, bench: Bench, file: Path | None) -> None:
        path = file or generated(bench.size.session_frames)
        bench.about(path.name).items(expected(path).count)(replayed_whole, path)

    def test_engine(self, bench: Bench, file: Path | None) -> None:
        path = file or generated(bench.size.session_frames)
        bench.about(path.name).items(expected(path).count)(run_whole, path)

    def test_msgspec_loop(self, bench: Bench, file: Path | None) -> None:
        path = file or generated(bench.size.session_frames)
        bench.items(expected(path).count)(looped, path)
