"""``headrace inspect``: the content of a recording, without a strategy.

Guarantees: counts are those of a replay of the file; gaps and rejects are shown with their place.
Does not: change the file, or keep it in memory.
"""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec
import numpy as np

import headrace._native as _native
from headrace import Engine, GapCause, Report, Strategy
from headrace.cli.failure import Failure
from headrace.cli.options import debug_option, json_option, venue_option
from headrace.engine.report import venue_order
from headrace.engine.tables import Table, duration_text, progress_display, tables_text
from headrace.feeds.given import feeds_of
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


class _Books(Strategy):
    """Passes every tick to its book, natively. What it compares needs the table of instruments."""

    def __init__(self) -> None:
        self.census: _native.BookCensus | None = None

    def on_ticks(self, ticks: np.ndarray) -> None:
        """Pass a batch on."""
        assert self.census is not None
        self.census.take(ticks)

    def rows(self, last_ns: int) -> dict[str, dict[str, Any]]:
        """Return what was found of each book; ``last_ns`` ends an interval that is open."""
        assert self.census is not None
        return {
            instrument: {
                "comparisons": equal + unequal,
                "equal": equal,
                "unequal": unequal,
                "resyncs": resyncs,
                "not_live": [list(interval) for interval in not_live],
            }
            for instrument, equal, unequal, resyncs, not_live in self.census.counts(last_ns)
        }


@click.command("inspect")
@click.argument("file", metavar="FILE[@VENUE]")
@click.option("--books", "with_books", is_flag=True, help="Build the books, and compare them with quotes of equal ids.")
@json_option
@venue_option
@debug_option
def inspect_command(file: str, venue: str | None, *, with_books: bool, as_json: bool) -> None:
    """Show what FILE holds: span, venue, types, instruments, rates, gaps, duplicates, late events, rejects."""
    census, books = _Census(), _Books()
    display = progress_display(sys.stderr, "inspect")
    engine = Engine(
        mode="replay",
        feeds=feeds_of(file, venue),
        strategies=[census, books] if with_books else [census],
        progress=lambda now: display.update(now.bytes_done, now.bytes_total, f"{now.ticks:,} ticks"),
    )
    books.census = _native.BookCensus(engine.dispatcher.instruments)
    try:
        result = engine.run()
    finally:
        display.close()
    found = books.rows((result.first_ns or 0) + result.span_ns)
    if as_json:
        # Its strategies are its own.
        document = {name: value for name, value in result.to_dict().items() if name != "strategies"}
        document |= {"books": found} if with_books else {}
        click.echo(msgspec.json.encode(document).decode())
    else:
        click.echo(tables_text([*_tables(result, census), *([_books_table(found)] if with_books else [])]))
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


def _books_table(found: dict[str, dict[str, Any]]) -> Table:
    columns = ("instrument", "comparisons", "equal", "unequal", "resyncs", "not LIVE")
    rows = []
    for instrument, row in found.items():
        not_live_ns = sum(end - begin for begin, end in row["not_live"])
        counts = (f"{row[name]:,}" for name in columns[1:-1])
        rows.append((instrument, *counts, duration_text(not_live_ns)))
    return Table("books", columns, rows)


RATE_COLUMNS = ("name", "kind", "count", "per second")


def _rate(count: int, span_s: float) -> tuple[str, str]:
    return f"{count:,}", f"{count / span_s:,.1f}" if span_s else "-"


def _rejects(result: Report) -> list[tuple[str, ...]]:
    letters = result.dead_letters.list(kind="frame")[:SHOWN_MAX]
    return [
        (letter.reason, f"{letter.row:,}", ns_text(letter.ts_ns), letter.frame[:FRAME_SHOWN].decode("ascii", "replace"))
        for letter in letters
    ]
