"""``headrace check``: what is wrong with files of ticks or candles.

::

    exit code   0    nothing was found
                1    something was found
                2    a file cannot be read

Guarantees: every row is looked at, whatever stands before it; nothing is changed.
Does not: correct data.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
import numpy as np

from headrace.cli.options import debug_option, json_option, venue_option
from headrace.engine.engine import Engine
from headrace.engine.tables import Table, progress_display, tables_text
from headrace.errors import MissingExtraError, RecordingError
from headrace.feeds.candles import CandleFeed
from headrace.feeds.given import feeds_of
from headrace.feeds.quality import WORDS, Finding, QualityCheck
from headrace.feeds.tick_table import TickFeed
from headrace.market.tick import ns_text
from headrace.market.wording import printable
from headrace.strategies.strategy import Strategy

if TYPE_CHECKING:
    from headrace.engine.tables import ProgressDisplay
    from headrace.feeds.base import AnyFeed

__all__ = ["check_command"]


class _Seen(Strategy):
    """Passes every tick of a replay to a check."""

    def __init__(self, check: QualityCheck) -> None:
        self.names: list[str] = []
        self._check = check

    def on_ticks(self, ticks: np.ndarray) -> None:
        """Check a batch."""
        self._check.see(ticks, self.names)


@click.command("check")
@click.argument("files", nargs=-1, required=True, metavar="FILE[@VENUE]...")
@venue_option
@json_option
@debug_option
def check_command(files: tuple[str, ...], venue: str | None, *, as_json: bool) -> int:
    """Look for gaps, repetitions, times that go back, wrong units, crossed quotes and odd prices in FILEs.

    FILE is what headrace replay takes: a recording, Parquet, CSV, npz, DBN or .npy; mine.csv@BTCUSDT.BINANCE says what
    it is of. Exits with 1 when something is found, with 2 when a file cannot be read.
    """
    checked: list[tuple[str, int, list[Finding]]] = []
    display = progress_display(sys.stderr, "check")
    try:
        for file in files:
            (feed,) = feeds_of(file, venue)
            checked.append(_checked(feed, display))
    except (RecordingError, MissingExtraError) as error:
        display.close()
        click.echo(f"headrace: {printable(' '.join(str(error).split()))}", err=True)
        return 2
    finally:
        display.close()
    click.echo(_document(checked) if as_json else _text(checked))
    return 1 if any(findings for _, _, findings in checked) else 0


def _checked(feed: AnyFeed, display: ProgressDisplay) -> tuple[str, int, list[Finding]]:
    check = QualityCheck()
    if isinstance(feed, CandleFeed | TickFeed):
        total = _size(feed.name)
        for block, done in feed.unchecked():
            names = [feed.instrument] if isinstance(feed, CandleFeed) else getattr(block, "instruments", ())
            check.see(block, names)
            display.update(done, total, f"{check.rows:,} rows")
        return feed.name, check.rows, check.findings
    seen = _Seen(check)
    engine = Engine(
        mode="replay",
        feeds=[feed],
        strategies=[seen],
        progress=lambda now: display.update(now.bytes_done, now.bytes_total, f"{now.ticks:,} ticks"),
    )
    seen.names = _Names(engine)
    report = engine.run()
    counted = (("duplicate", report.duplicates), ("backward", report.late))
    frames = [Finding(kind, "", count, 0, 0, "by the venue's numbers") for kind, count in counted if count]
    rejected = sum(report.rejected.values())
    if rejected:
        frames.append(Finding("rejected", "", rejected, 0, 0, ", ".join(report.rejected)))
    return feed.name, check.rows, [*frames, *check.findings]


class _Names(list[str]):
    """The names of an engine's instruments, as they are when they are looked up."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._table = engine.dispatcher.instruments

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: Any) -> Any:
        return self._table.names()[index]


def _size(name: str) -> int:
    path = Path(name)
    return path.stat().st_size if path.is_file() else 0


def _document(checked: list[tuple[str, int, list[Finding]]]) -> str:
    """Return the findings as one JSON document."""
    files = [
        {"name": name, "rows": rows, "findings": [own._asdict() for own in findings]}
        for name, rows, findings in checked
    ]
    return msgspec.json.encode({"files": files, "clean": not any(own for _, _, own in checked)}).decode()


def _text(checked: list[tuple[str, int, list[Finding]]]) -> str:
    tables = []
    for name, rows, findings in checked:
        each = [
            (
                *(WORDS.get(own.kind, own.kind), own.instrument, own.value),
                *(ns_text(own.ts) if own.ts > 0 else "-", f"{own.row:,}", f"{own.total:,}"),
            )
            for own in findings
        ]
        if not each:
            each = [("nothing was found", "", "", "", "", "0")]
        columns = ("finding", "instrument", "first value", "first time", "first row", "count")
        tables.append(Table(f"{name}: {rows:,} rows", columns, each, texts=4))
    return tables_text(tables)
