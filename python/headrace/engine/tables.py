"""How results and progress are shown: tables as text or HTML, and a progress display for a terminal or a pipe.

Guarantees: text tables are plain characters everywhere; what goes to a pipe has no escape codes; nothing here needs
more than the core install, rich only draws a better bar where it is installed and the output is a terminal.

Does not: decide what is worth showing; callers pass rows.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, NamedTuple, TextIO

from headrace.market.tick import ns_text
from headrace.market.times import YEAR_2000_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = [
    "ProgressDisplay",
    "Table",
    "duration_text",
    "latency_text",
    "named_text",
    "progress_display",
    "tables_html",
    "tables_text",
    "time_text",
    "value_text",
]

# A bar that moves ten times a second looks alive; a line in a log every two seconds is enough.
BAR_EVERY_S = 0.1
LINE_EVERY_S = 2.0
BAR_CELLS = 30
SHORT_UNITS = (("s", 1e9), ("ms", 1e6), ("µs", 1e3))
# The larger unit, the smaller one in seconds, and how many of it make one of the larger.
LONG_UNITS = (("d", "h", 3_600, 24), ("h", "min", 60, 60))


class Table(NamedTuple):
    """A titled table; the first ``texts`` columns stand to the left, the others are numbers and stand to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1


def tables_text(tables: Sequence[Table]) -> str:
    """Return the tables one below the other, as plain text without a line break at the end; empty ones are left out."""
    return "\n\n".join(_table_text(table) for table in tables if table.rows)


def tables_html(tables: Sequence[Table]) -> str:
    """Return the tables as HTML for a notebook; every cell is escaped."""
    from html import escape  # A notebook's business: 1 ms that the import of headrace does not pay.

    parts = []
    for table in tables:
        if not table.rows:
            continue
        head = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
        rows = "".join(
            "<tr>"
            + "".join(f"<td{_align(table, index)}>{escape(cell)}</td>" for index, cell in enumerate(row))
            + "</tr>"
            for row in table.rows
        )
        caption = f"<caption>{escape(table.title)}</caption>"
        parts.append(f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
    return "".join(parts)


def duration_text(ns: float) -> str:
    """Return a length of time: one unit with 1 to 3 digits before the point, or two units from 100 s on."""
    if ns < 100e9:
        unit, size = next(((unit, size) for unit, size in SHORT_UNITS if ns >= size), ("ns", 1.0))
        return f"{ns / size:.3g} {unit}"
    seconds = round(ns / 1e9)
    for large, small, size, parts in LONG_UNITS:
        whole, rest = divmod(seconds // size, parts)
        if whole >= 2:
            return f"{whole} {large} {rest} {small}"
    return f"{seconds // 60} min {seconds % 60} s"


def named_text(name: str, value: object) -> tuple[str, str]:
    """Return a field's name and value for a person: a time or a duration in ns loses the unit in its name."""
    if not name.endswith("_ns") or not isinstance(value, int):
        return name, value_text(value)
    return name.removesuffix("_ns"), time_text(value) if value >= YEAR_2000_NS else duration_text(value)


def time_text(ts_ns: int) -> str:
    """Return a time in UTC, to the second."""
    return f"{ns_text(ts_ns)[:19]} UTC"


def value_text(value: object) -> str:
    """Return a plain value, or a list or dict of such, for a person."""
    if isinstance(value, dict):
        return ", ".join(" ".join(named_text(name, own)) for name, own in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(value_text, value)) or "-"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)


def latency_text(ns: float | None) -> str:
    """Return a handler's latency, or a dash where nothing was measured."""
    return "-" if ns is None else duration_text(ns)


def _align(table: Table, index: int) -> str:
    return "" if index < table.texts else ' style="text-align:right"'


def _table_text(table: Table) -> str:
    lines = [list(table.columns), *([str(cell) for cell in row] for row in table.rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(table.columns))]
    texts = [
        "  ".join(
            cell.ljust(width) if index < table.texts else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rule = "-" * max(len(text) for text in texts)
    return "\n".join(
        [table.title, rule, texts[0], rule, *texts[1:]] if any(table.columns) else [table.title, rule, *texts[1:]]
    )


class ProgressDisplay:
    """Shows how far something is; cheap enough to be called at every step. ``progress_display`` chooses how."""

    every_s = BAR_EVERY_S

    def __init__(self) -> None:
        self._next_s = 0.0

    def update(self, done: int, total: int, note: str) -> None:
        """Show ``done`` of ``total`` (0: unknown) and a note."""
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + self.every_s
            self._show(done, total, note)

    def _show(self, done: int, total: int, note: str) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Leave the cursor on a line of its own."""


def progress_display(stream: TextIO, title: str) -> ProgressDisplay:
    """Return the display that suits the stream: rich's bar, a bar of plain characters, or a line now and then.

    A stream that is no terminal gets lines; so does a terminal without cursor movement (``TERM=dumb``).
    """
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return _Lines(stream, title)
    try:
        return _RichBar(stream, title)
    except ImportError:
        return _Bar(stream, title)


class _Lines(ProgressDisplay):
    """A plain line every two seconds; none for what is over sooner."""

    every_s = LINE_EVERY_S

    def __init__(self, stream: TextIO, title: str) -> None:
        super().__init__()
        self._stream = stream
        self._title = title
        self._next_s = time.monotonic() + self.every_s

    def _show(self, done: int, total: int, note: str) -> None:
        share = f"{done / total:4.0%} " if total else ""
        self._stream.write(f"{self._title}: {share}{note}\n")
        self._stream.flush()


class _Bar(ProgressDisplay):
    """A bar of plain characters that is drawn over itself."""

    def __init__(self, stream: TextIO, title: str) -> None:
        super().__init__()
        self._stream = stream
        self._title = title
        self._width = 0

    def _show(self, done: int, total: int, note: str) -> None:
        filled = min(BAR_CELLS, BAR_CELLS * done // total) if total else 0
        share = f"{min(1.0, done / total):4.0%} " if total else ""
        text = f"{self._title} [{'#' * filled}{'.' * (BAR_CELLS - filled)}] {share}{note}"
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)

    def close(self) -> None:
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()


class _RichBar(ProgressDisplay):
    """Rich's bar, which knows the terminal's width and colours."""

    def __init__(self, stream: TextIO, title: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        super().__init__()
        # No thread of rich's own (auto_refresh): the display moves when it is told to. What goes to a pipe stays there.
        self._progress: RichProgress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(file=stream),
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
        )
        self._task: TaskID = self._progress.add_task(title, total=None, note="")
        self._progress.start()

    def _show(self, done: int, total: int, note: str) -> None:
        self._progress.update(self._task, completed=done, total=total or None, note=note, refresh=True)

    def close(self) -> None:
        self._progress.stop()
