"""How a verb that runs an engine ends: what it prints, and its exit code.

Guarantees: what went wrong is a line on stderr; a failed strategy's traceback begins at the strategy's own first line.
Does not: run anything.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import traceback
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import click

import headrace
from headrace.cli.failure import Failure
from headrace.dispatch.faults import error_text
from headrace.engine.tables import duration_text, progress_display, time_text
from headrace.errors import HeadraceError, RecordingError, StrategyFaultError
from headrace.market.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from headrace import Report
    from headrace.engine.tables import ProgressDisplay
    from headrace.feeds.progress import Progress

    ShowProgress: TypeAlias = Callable[[Progress], object]

__all__ = [
    "ShowProgress",
    "exit_code_for_strategies",
    "exit_code_of",
    "market_progress_to",
    "print_report",
    "progress_to",
    "run_with_display",
]

PACKAGE = Path(headrace.__file__).parent


class Shown(Protocol):
    """What a verb prints: tables as its text, or a document."""

    def to_dict(self) -> dict[str, Any]:
        """Return the document."""


Outcome = TypeVar("Outcome", bound=Shown)


def print_report(report: Shown, *, as_json: bool) -> None:
    """Print the tables, or one JSON document."""
    indent = 2 if sys.stdout.isatty() else None
    click.echo(json.dumps(report.to_dict(), indent=indent) if as_json else str(report))


def run_with_display(
    title: str,
    work: Callable[[ShowProgress], Outcome],
    *,
    as_json: bool,
    progress: Callable[[ProgressDisplay], ShowProgress] | None = None,
    broken_off: Callable[[RecordingError], Shown | None] = lambda error: error.report,
) -> Outcome:
    """Run, show how far it is on stderr, and print the report. Raises Failure for what a strategy raised.

    Of a run that a recording ended, where it is damaged, the report up to there is printed before the error is raised;
    there is none where not even the first item could be read.

    work : gets the function that shows progress. progress : makes that function; by default it shows ticks.
    broken_off : returns what there is of a run that a recording ended.
    """
    display = progress_display(sys.stderr, title)
    # What strategies print must not stand in the document.
    quiet = redirect_stdout(sys.stderr) if as_json else nullcontext()
    with strategy_failures():
        try:
            with quiet:
                report = work((progress or progress_to)(display))
        except RecordingError as error:
            is_begun = error.report is not None and not error.report.is_empty
            if is_begun and (part := broken_off(error)) is not None:
                display.close()
                print_report(part, as_json=as_json)
            raise
        finally:
            display.close()
    print_report(report, as_json=as_json)
    return report


def progress_to(display: ProgressDisplay) -> ShowProgress:
    """Return the function that shows how many ticks a replay has published, or, of candles, the time of the market."""

    def show(progress: Progress) -> None:
        note = f"{progress.ticks:,} ticks" if progress.ticks else time_text(progress.now_ns)
        display.update(progress.bytes_done, progress.bytes_total, note)

    return show


def market_progress_to(display: ProgressDisplay) -> ShowProgress:
    """Return the function that shows the time of the market, ticks per second, and how long it will take."""
    began_s, began_ns = time.monotonic(), list[int]()

    def show(progress: Progress) -> None:
        took_s = max(time.monotonic() - began_s, 1e-9)
        done, total = progress.bytes_done, progress.bytes_total
        left = f", {duration_text(took_s * (total - done) / done * 1e9)} left" if 0 < done <= total else ""
        # Candles are no ticks: their speed is in time of the market.
        began_ns.append(progress.now_ns)
        passed_s = (progress.now_ns - began_ns[0]) / 1e9
        speed = f"{progress.ticks / took_s:,.0f} ticks/s" if progress.ticks else f"{passed_s / took_s:,.0f} x real time"
        del began_ns[1:]
        note = f"{time_text(progress.now_ns)}, {speed}{left}"
        display.update(done, total, note)

    return show


def exit_code_of(report: Report, *, strict: bool = False) -> int:
    """Return how a replay ends, after saying why on stderr. strict : rejected frames are a failure."""
    if report.stopped:
        click.echo("headrace: interrupted; the figures are those up to here", err=True)
        return 130
    complaints = _empty_sources(report)
    rejected = sum(report.rejected.values())
    if strict and rejected:
        frames = counted(rejected, "frame was rejected", "frames were rejected")
        complaints.append(f"{frames}, and --strict forbids it: headrace inspect FILE shows them")
    return exit_code_for_strategies(report, complaints)


def exit_code_for_strategies(report: Report, complaints: Sequence[str] = ()) -> int:
    """Print the complaints, and one for each feed and strategy that failed; return 1 if there is any."""
    failed_feeds = [f"feed {source.name} {source.state}" for source in report.sources if source.is_failed]
    complaints = [*complaints, *failed_feeds, *_failed_strategies(report)]
    for complaint in complaints:
        click.echo(f"headrace: {complaint}", err=True)
    return 1 if complaints else 0


def _empty_sources(report: Report) -> list[str]:
    return [
        f"{source.name} holds no accepted frame"
        for source in report.sources
        if source.venue is not None and not source.frames
    ]


def _failed_strategies(report: Report) -> list[str]:
    found = []
    for name, own in report.strategies.items():
        if own.is_quarantined:
            what = f"ended in quarantine after {counted(own.faults, 'fault')}"
        elif own.state == "failed":
            what = "failed"
        else:
            continue
        letters = report.dead_letters.list(kind="call")
        mine = [letter for letter in letters if letter.source in (name, *own.subscriptions)]
        first = f": {mine[0].reason} in {mine[0].handler}" if mine else ""
        found.append(f"strategy {name} {what}{first}")
    return found


@contextmanager
def strategy_failures() -> Iterator[None]:
    """Turn what a strategy, a feed or a service of a user raised into a Failure, after its traceback.

    A note on the exception says where it was raised; the dispatcher wraps what is no Exception (sys.exit).
    """
    try:
        yield
    except StrategyFaultError as error:
        _print_from_strategy(error.__cause__ or error)
        raise Failure(str(error)) from error
    except Exception as error:
        places = [note for note in getattr(error, "__notes__", ()) if note.startswith("in ")]
        # What a part of ours refuses (an audit's file that is there already) says itself what to do.
        is_ours = isinstance(error, HeadraceError) and _from_strategy(error) is None
        if not places or is_ours:
            raise
        _print_from_strategy(error)
        of_a_strategy = not any(what in places[-1] for what in (" of feed ", " of service "))
        advice = ": on_fault=quarantine goes on without the strategy" if of_a_strategy else ""
        raise Failure(f"{error_text(error)} {places[-1]}{advice}") from error


def _print_from_strategy(error: BaseException) -> None:
    """Print a traceback from the strategy's own first line on: what is above is the engine's."""
    traceback.print_exception(type(error), error, _from_strategy(error))


def _from_strategy(error: BaseException) -> TracebackType | None:
    """Return the traceback from the first line on that is not the engine's; None: there is no such line."""
    trace = error.__traceback__
    while trace is not None and _is_engine(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return trace


def _is_engine(file: str) -> bool:
    inside = Path(file).is_relative_to(PACKAGE) and not Path(file).is_relative_to(PACKAGE / "examples")
    return inside or Path(file).is_relative_to(Path(asyncio.__file__).parent)
