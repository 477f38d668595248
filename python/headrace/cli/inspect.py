"""``headrace inspect``: the content of a recording, without a strategy.

Guarantees: counts are those of a replay of the file; gaps and rejects are shown with their place.
Does not: change the file, or keep it in memory.
"""

from __future__ import annotations

import sys

import click
import numpy as np

from headrace import GapCause, Report, Strategy
from headrace.cli.failure import Failure
from headrace.cli.options import debug_option, venue_option
from headrace.engine.replay import replay
from headrace.engine.report import venue_order
from headrace.engine.tables import Table, duration_text, progress_display, tables_text
from headrace.market.tick import KINDS, ns_text

__all__ = ["inspect_command"]

# The number of gaps and rejects shown one by one; all of them are counted.
SHOWN_MAX = 10
# Bytes of a rejected frame that are shown.
FRAME_SHOWN = 60


class _Census(Strategy):
    """Counts every tick by instrument and kind, and keeps the first gaps."""

    def __init__(self) -> None:
        self.counts: dict[tuple[int, int], int] = {}
        self.gaps: list[tuple[str, ...]] = []

    def on_ticks(self, instrument_id: np.ndarray, kind: np.ndarray) -> None:
        """Count a batch, one instrument and kind at a time."""
        keys, counts = np.unique(instrument_id.astype(np.int64) << 8 | kind, return_counts=True)
        for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
            pair = divmod(key, 256)
            self.counts[pair] = self.counts.get(pair, 0) + count

    def on_gap(
        self, instrument: str, ts_init: int, cause: GapCause, lost_kind: str, first: int | None, last: int | None
    ) -> None:
        """Keep the first gaps with their place."""
        if len(self.gaps) < SHOWN_MAX:
            self.gaps.append((instrument, lost_kind, cause.name, f"{first} to {last}", ns_text(ts_init)))


@click.command("inspect")
@click.argument("file", metavar="FILE[@VENUE]")
@venue_option
@debug_option
def inspect_command(file: str, venue: str | None) -> None:
    """Show what FILE holds: span, venue, types, instruments, rates, gaps, duplicates, late events, rejects."""
    census = _Census()
    display = progress_display(sys.stderr, "inspect")
    try:
        result = replay(
            file,
            census,
            venue=venue,
            progress=lambda now: display.update(now.bytes_done, now.bytes_total, f"{now.ticks:,} ticks"),
        )
    finally:
        display.close()
    click.echo(tables_text(_tables(result, census)))
    if not sum(census.counts.values()) and not sum(result.frames.values()):
        raise Failure(f"{result.sources[0].name} holds no accepted frame")


def _tables(result: Report, census: _Census) -> list[Table]:
    span_s = result.span_ns / 1e9
    facts = [
        ("venue", result.sources[0].venue or "none: ticks"),
        ("span", duration_text(result.span_ns)),
        ("first received", ns_text(result.first_ns)),
        ("instruments", f"{len(result.instruments):,}"),
        ("venue gaps", f"{result.gaps:,}"),
        *venue_order(result),
        ("rejected frames", f"{sum(result.rejected.values()):,}"),
    ]
    frames = [
        *((name, count) for name, count in result.frames.items()),
        *((f"ignored: {name}", count) for name, count in result.ignored.items()),
        *((f"rejected: {name}", count) for name, count in result.rejected.items()),
    ]
    ticks = [
        (result.instruments[instrument], KINDS[kind].name, count)
        for (instrument, kind), count in sorted(census.counts.items())
    ]
    return [
        Table(result.sources[0].name, ("", ""), facts),
        Table("frames", RATE_COLUMNS[:1] + RATE_COLUMNS[2:], [(name, *_rate(count, span_s)) for name, count in frames]),
        Table("ticks", RATE_COLUMNS, [(name, kind, *_rate(count, span_s)) for name, kind, count in ticks], texts=2),
        Table("first venue gaps", ("instrument", "kind", "cause", "ids", "received"), census.gaps, texts=5),
        Table("first rejects", ("reason", "row", "received", "frame"), _rejects(result), texts=4),
    ]


RATE_COLUMNS = ("name", "kind", "count", "per second")


def _rate(count: int, span_s: float) -> tuple[str, str]:
    return f"{count:,}", f"{count / span_s:,.1f}" if span_s else "-"


def _rejects(result: Report) -> list[tuple[str, ...]]:
    letters = result.dead_letters.list(kind="frame")[:SHOWN_MAX]
    return [
        (letter.reason, f"{letter.row:,}", ns_text(letter.ts_ns), letter.frame[:FRAME_SHOWN].decode("ascii", "replace"))
        for letter in letters
    ]
