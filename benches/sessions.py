"""Whole files: gzip, lines, decoder, sequencer, ring, a handler call for every tick of every kind.

    generated session │ HEADRACE_RECORDINGS ─▶ headrace.replay       ours; the file is read in a thread of its own
                                            ─▶ recording_loop        gzip, msgspec, calls; all in one thread

Guarantees: both end with the same number of calls and the same sums, kind by kind, before a time counts.
Does not: measure a strategy that decides anything. By the wall, since we use two threads.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import headrace
from benches.baselines.bare_loop import bare_loop
from benches.baselines.recording_loop import recording_loop
from benches.frames import recordings
from benches.harness import Case, Patience, Row, Span, Timer, interleave, rate
from benches.workload import CYCLE, quote_objects
from headrace.feeds import SyntheticFeed

ANCHOR_TICKS = 128 * CYCLE


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
        """What two ways over one file must agree on."""
        return (self.count, self.quotes, self.trades, self.agg_trades, self.levels)


def replayed(path: Path, wanted: tuple[float, ...]) -> Span:
    """Time per tick of ``headrace.replay``."""
    strategy = Everything()
    with Timer() as timer:
        headrace.replay(path, strategy)
    assert strategy.totals() == wanted, f"{path.name}: {strategy.totals()}, the plain loop makes {wanted}"
    return timer.per(strategy.count)


def looped(path: Path) -> Span:
    """Time per tick of the plain loop."""
    return recording_loop(path, Everything())


def rows(frames: int, rounds: int, patience: Patience, *, files_max: int) -> list[Row]:
    """Measure a generated session of so many frames, and at most ``files_max`` recordings."""
    with tempfile.TemporaryDirectory() as folder:
        generated = SyntheticFeed(frames=frames).write(Path(folder) / "generated.gz")
        return [row for path in [generated, *recordings()[:files_max]] for row in _rows_of(path, rounds, patience)]


def _rows_of(path: Path, rounds: int, patience: Patience) -> Iterator[Row]:
    reference = Everything()
    recording_loop(path, reference)
    cases = [
        Case("A", partial(bare_loop, quote_objects(), ANCHOR_TICKS), clock="wall"),
        Case("replay", partial(replayed, path, reference.totals()), clock="wall"),
        Case("msgspec loop", partial(looped, path), clock="wall"),
    ]
    result = interleave(cases, rounds, patience)
    what = f"{path.name}, {reference.count:,} ticks"
    for to in ("A", "msgspec loop"):
        yield Row("", f"replay: {what}", rate(result.median_ns("replay")), result.speed("replay", to), to)
