"""How a verb that runs an engine ends: what it prints, and its exit code.

Guarantees: what went wrong is a line on stderr; a failed strategy's traceback begins at the strategy's own first line.
Does not: run anything.
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

import headrace
from headrace.cli.failure import Failure
from headrace.engine.tables import progress_display
from headrace.errors import StrategyFaultError

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace import Report
    from headrace.engine.tables import ProgressDisplay
    from headrace.feeds.sources import Progress

    ShowProgress: TypeAlias = Callable[[Progress], object]

__all__ = ["ShowProgress", "exit_code_of", "print_report", "progress_to", "run_with_display"]

PACKAGE = Path(headrace.__file__).parent


def print_report(report: Report, *, as_json: bool) -> None:
    """Print the tables, or one JSON document."""
    indent = 2 if sys.stdout.isatty() else None
    click.echo(json.dumps(report.to_dict(), indent=indent) if as_json else str(report))


def run_with_display(title: str, work: Callable[[ShowProgress], Report], *, as_json: bool) -> Report:
    """Run, show how far it is on stderr, and print the report. Raises Failure for what a strategy raised.

    work : gets the function that shows progress.
    """
    display = progress_display(sys.stderr, title)
    # What strategies print must not stand in the document.
    quiet = redirect_stdout(sys.stderr) if as_json else nullcontext()
    try:
        with quiet:
            report = work(progress_to(display))
    except Exception as error:
        display.close()
        if failure := _strategy_failure(error):
            raise failure from error
        raise
    finally:
        display.close()
    print_report(report, as_json=as_json)
    return report


def progress_to(display: ProgressDisplay) -> ShowProgress:
    """Return the function that shows a replay's progress."""
    return lambda progress: display.update(progress.bytes_done, progress.bytes_total, f"{progress.ticks:,} ticks")


def exit_code_of(report: Report, *, strict: bool = False) -> int:
    """Return how the process ends, after saying why on stderr."""
    if report.stopped:
        click.echo("headrace: interrupted; the figures are those up to here", err=True)
        return 130
    complaints = _complaints_of(report, strict=strict)
    for complaint in complaints:
        click.echo(f"headrace: {complaint}", err=True)
    return 1 if complaints else 0


def _complaints_of(report: Report, *, strict: bool) -> list[str]:
    """Return what makes a replay that ran to its end a failure. strict : rejected frames do."""
    complaints = [
        *(
            f"{source.name} holds no accepted frame"
            for source in report.sources
            if source.venue is not None and not source.frames
        ),
        *(
            f"strategy {name} ended in quarantine after {own.faults} faults: --on-fault raise shows the first one"
            for name, own in report.strategies.items()
            if own.is_quarantined
        ),
        *(
            f"strategy {name} failed: its dead letter says why"
            for name, own in report.strategies.items()
            if own.state == "failed"
        ),
    ]
    rejected = sum(report.rejected.values())
    if strict and rejected:
        complaints.append(
            f"{rejected:,} frames were rejected, and --strict forbids it: headrace inspect FILE shows them"
        )
    return complaints


def _strategy_failure(error: Exception) -> Failure | None:
    """Print the traceback of what a strategy raised and return the line that follows it; None for any other error.

    The dispatcher notes on the exception where it was raised, and wraps what is no Exception (sys.exit).
    """
    if isinstance(error, StrategyFaultError):
        _print_from_strategy(error.__cause__ or error)
        return Failure(str(error))
    places = [note for note in getattr(error, "__notes__", ()) if note.startswith("in ")]
    if not places:
        return None
    _print_from_strategy(error)
    return Failure(f"{type(error).__name__} {places[-1]}: --on-fault quarantine goes on without the strategy")


def _print_from_strategy(error: BaseException) -> None:
    """Print a traceback from the strategy's own first line on: what is above is the engine's."""
    trace = error.__traceback__
    while trace is not None and _is_engine(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)


def _is_engine(file: str) -> bool:
    inside = Path(file).is_relative_to(PACKAGE) and not Path(file).is_relative_to(PACKAGE / "examples")
    return inside or Path(file).is_relative_to(Path(asyncio.__file__).parent)
