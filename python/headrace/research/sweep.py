"""Sweep: many backtests with other parameters, in processes, kept in a file, the same table whatever runs them.

::

    Recipe(parameters) ─▶ backtest        data: read once, written as arrays, mapped by every process
    STUDY: a header line, then a line for each trial as it ends ─▶ resumed by the same call

What happens when
    it is killed: a line that was not written whole is dropped, its trial runs again.
    a trial raises: its line has the error, its value is NaN, the sweep goes on.
    Ctrl-C is pressed: what runs is not kept; the table is that of the trials that ended.

Guarantees: a trial depends on the study's seed and its number, for tpe also on earlier batches; so 1 worker, 4 workers,
and killed and resumed make the same table.
Does not: share a study between machines.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec
import numpy as np

from headrace.engine.tables import Table, tables_html, tables_text
from headrace.errors import OptionError, ResultError
from headrace.market.checks import one_of, whole
from headrace.research.deflated import deflated_sharpe, moments
from headrace.research.past import Past
from headrace.research.rows import extra, plain
from headrace.research.run import run_backtest
from headrace.research.space import Axis, Search, grid, proposed
from headrace.research.statistics import Statistics, daily_returns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.engine.options import EngineOptions
    from headrace.research.result import BacktestResult
    from headrace.research.settings import BacktestOptions

__all__ = ["Recipe", "Sweep", "Trial", "sweep"]

TRIALS = 50
BATCH = 10
TOP = 10
SEARCHES = ("grid", "random", "tpe")


class Recipe(Protocol):
    """Makes the options of a backtest for the parameters of a trial; it can be pickled."""

    def __call__(self, parameters: Mapping[str, Any]) -> tuple[EngineOptions, BacktestOptions]:
        """Return options of the engine, feeds apart, and of the backtest."""


class Trial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One trial. value : of the metric; None: it does not exist. error : what it raised; empty: nothing."""

    number: int
    parameters: dict[str, Any]
    value: float | None = None
    statistics: dict[str, float | int | None] = {}
    moments: dict[str, float | int | None] = {}
    equity_end: str | None = None
    audit_hash: str | None = None
    error: str = ""


class _Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a study is: another one is not resumed."""

    format: str = "headrace sweep 1"
    search: str
    metric: str
    seed: int
    batch: int
    space: dict[str, Axis]
    data: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """What came of a sweep.

    trials : by number. metric : what ``value`` is. planned : how many trials there are. stopped : it was interrupted.
    """

    trials: tuple[Trial, ...]
    metric: str
    space: Mapping[str, Axis]
    planned: int
    stopped: bool = False

    @property
    def ranked(self) -> list[Trial]:
        """The trials with a value, the highest first; of equal ones the earlier."""
        there = [own for own in self.trials if own.value is not None]
        return sorted(there, key=lambda own: (-(own.value or 0.0), own.number))

    @property
    def best(self) -> Trial | None:
        """The trial with the highest value."""
        return next(iter(self.ranked), None)

    @property
    def deflated_sharpe(self) -> float:
        """The probability that the best trial's Sharpe ratio is above 0, for so many tries; NaN without enough data."""
        own = [trial.moments for trial in self.trials if trial.moments.get("sharpe") is not None]
        best = self.best
        if best is None or len(own) < 2 or best.moments.get("sharpe") is None:
            return math.nan
        found = {name: float(best.moments[name] or 0.0) for name in ("sharpe", "skew", "kurtosis")}
        ratios = np.array([float(one["sharpe"] or 0.0) for one in own])
        return deflated_sharpe(
            **found, days=int(best.moments["days"] or 0), tries=len(own), variance=float(ratios.var(ddof=1))
        )

    def columns(self) -> dict[str, list[Any]]:
        """Return a list for each column, a row a trial: number, parameters, value, figures, hash, error."""
        names = list(dict.fromkeys(name for own in self.trials for name in own.parameters))
        columns: dict[str, list[Any]] = {"number": [own.number for own in self.trials]}
        columns |= {name: [own.parameters.get(name) for own in self.trials] for name in names}
        columns["value"] = [own.value for own in self.trials]
        for name in Statistics.__struct_fields__:
            columns[f"statistics.{name}"] = [own.statistics.get(name) for own in self.trials]
        for name in ("equity_end", "audit_hash", "error"):
            columns[name] = [getattr(own, name) for own in self.trials]
        return columns

    def write_parquet(self, path: str | os.PathLike[str]) -> Path:
        """Write one row a trial. Raises MissingExtraError without pyarrow, ResultError where it cannot be written."""
        arrow = extra("pyarrow", "parquet")
        extra("pyarrow.parquet", "parquet").write_table(arrow.table(self.columns()), path)
        return Path(path)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        best = self.best
        return {
            "metric": self.metric,
            "planned": self.planned,
            "best": None if best is None else best.number,
            "deflated_sharpe": plain(self.deflated_sharpe),
            "trials": [msgspec.to_builtins(own) for own in self.trials],
        }

    def tables(self, top: int = TOP) -> list[Table]:
        """Return the best trials and what the number of tries makes of the best one."""
        names = list(self.space)
        rows = [
            (
                *(str(own.number), *(str(own.parameters.get(name)) for name in names), f"{own.value:,.6g}"),
                *(own.equity_end or "-", f"{own.statistics.get('trades') or 0:,}"),
            )
            for own in self.ranked[:top]
        ]
        failed = [(str(own.number), str(own.parameters), own.error) for own in self.trials if own.error]
        probability = self.deflated_sharpe
        facts = [
            ("trials", f"{len(self.trials):,} of {self.planned:,}"),
            ("failed", f"{len(failed):,}"),
            ("deflated Sharpe of the best", "-" if math.isnan(probability) else f"{probability:.3f}"),
        ]
        return [
            Table("sweep, stopped early" if self.stopped else "sweep", ("", ""), facts),
            Table(f"best by {self.metric}", ("trial", *names, self.metric, "equity", "trades"), rows),
            Table("failed trials", ("trial", "parameters", "error"), failed[:top], texts=3),
        ]

    def __str__(self) -> str:
        return tables_text(self.tables())

    def _repr_html_(self) -> str:
        return tables_html(self.tables())


def sweep(
    recipe: Recipe,
    past: Past,
    space: Mapping[str, Axis],
    *,
    search: Search = "grid",
    trials: int | None = None,
    metric: str = "sharpe",
    seed: int = 0,
    batch: int = BATCH,
    workers: int = 1,
    study: str | os.PathLike[str] | None = None,
    on_trial: Callable[[int, int], object] | None = None,
) -> Sweep:
    """Run a backtest for each proposal of parameters and return all that came of them.

    trials : how many; a grid has all of its combinations unless given. metric : a figure of ``Statistics``; the highest
    is the best. batch : of tpe: so many proposals know the same results. workers : processes; they map the data.
    study : a file to keep the trials in; what it has already is not run again. on_trial : called with done and planned.

    Raises OptionError, MissingExtraError (tpe without Optuna), ResultError (a study of other settings).
    """
    one_of("search", search, SEARCHES)
    one_of("metric", metric, Statistics.__struct_fields__)
    for name, value in (("batch", batch), ("workers", workers)):
        whole(name, value, 1, 1_000, "of them")
    if not space:
        msg = "space is empty: name a parameter and its values, as a=1:10:1"
        raise OptionError(msg, option="space")
    planned = len(grid(space)) if search == "grid" else TRIALS
    planned = planned if trials is None else min(trials, planned) if search == "grid" else trials
    header = _Header(search=search, metric=metric, seed=seed, batch=batch, space=dict(space), data=past.digest())
    with ExitStack() as stack:
        kept = stack.enter_context(_Study(study, header))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-sweep-")))
        run_all = _runner(stack, workers, (recipe, past.saved(folder), metric))
        size = batch if search == "tpe" else planned
        stopped = False
        try:
            for start in range(0, planned, size):
                numbers = range(start, min(planned, start + size))
                earlier = [(own.parameters, _value(own)) for own in kept.ordered(start)]
                proposals = proposed(space, search, numbers, seed=seed, earlier=earlier)
                each = zip(numbers, proposals, strict=True)
                for trial in run_all({number: own for number, own in each if number not in kept.trials}):
                    kept.add(trial)
                    if on_trial is not None:
                        on_trial(len(kept.trials), planned)
        except KeyboardInterrupt:
            stopped = True
        return Sweep(
            trials=tuple(kept.ordered(planned)), metric=metric, space=dict(space), planned=planned, stopped=stopped
        )


def _runner(
    stack: ExitStack, workers: int, setting: tuple[Recipe, Any, str]
) -> Callable[[Mapping[int, Mapping[str, Any]]], Iterator[Trial]]:
    """Return what runs trials: here, or in processes, which end with the stack."""
    if workers == 1:
        _begin(*setting)
        return lambda left: (_trial(number, own) for number, own in left.items())
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin, initargs=setting)
    stack.callback(pool.shutdown, wait=True, cancel_futures=True)
    return lambda left: _run_all(pool, left, workers)


def _value(trial: Trial) -> float:
    return math.nan if trial.value is None else trial.value


def _run_all(pool: ProcessPoolExecutor, left: Mapping[int, Mapping[str, Any]], workers: int) -> Iterator[Trial]:
    """Yield trials as they end; no more wait in the pool than it has workers, so that an interrupt ends soon."""
    waiting = iter(left.items())
    running: set[Future[Trial]] = set()
    while True:
        while len(running) < workers + 1 and (own := next(waiting, None)) is not None:
            running.add(pool.submit(_trial, *own))
        if not running:
            return
        done, running = wait(running, return_when=FIRST_COMPLETED)
        yield from (own.result() for own in done)


class _Study:
    """The file of a study; without a path it is only memory. A context manager."""

    def __init__(self, path: str | os.PathLike[str] | None, header: _Header) -> None:
        self.trials: dict[int, Trial] = {}
        self._path = None if path is None else Path(path)
        self._header = header
        self._file: int | None = None

    def __enter__(self) -> Self:
        if self._path is not None:
            size = self._read(self._path) if self._path.exists() else 0
            try:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
                os.ftruncate(self._file, size)
                if not size:
                    self._append(msgspec.json.encode(self._header))
            except OSError as error:
                msg = f"study {self._path} cannot be written: {error.strerror}; check the folder and the free space"
                raise ResultError(msg, path=str(self._path)) from error
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._file is not None:
            os.close(self._file)

    def ordered(self, end: int) -> list[Trial]:
        """Return the trials with a number below ``end``, by number."""
        return [self.trials[number] for number in sorted(self.trials) if number < end]

    def add(self, trial: Trial) -> None:
        """Keep a trial, on disk before it counts."""
        self._append(msgspec.json.encode(trial))
        self.trials[trial.number] = trial

    def _append(self, line: bytes) -> None:
        if self._file is not None:
            os.write(self._file, line + b"\n")
            os.fsync(self._file)

    def _read(self, path: Path) -> int:
        """Read what is whole and return its size. Raises ResultError: no study, or one of other settings."""
        data = path.read_bytes()
        size = data.rfind(b"\n") + 1
        lines = data[:size].splitlines()
        try:
            if lines:
                self._check(msgspec.json.decode(lines[0], type=_Header), path)
            trials = [msgspec.json.decode(line, type=Trial) for line in lines[1:]]
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            msg = f"study {path} is no study, or is damaged ({error}): name another file"
            raise ResultError(msg, path=str(path)) from error
        self.trials = {own.number: own for own in trials}
        return size

    def _check(self, header: _Header, path: Path) -> None:
        for name in header.__struct_fields__:
            before, now = getattr(header, name), getattr(self._header, name)
            if before != now:
                shown = "" if name in ("space", "data") else f": {before!r}, and not {now!r}"
                msg = f"study {path} has another {name}{shown}: give what it was begun with, or name another file"
                raise ResultError(msg, path=str(path))


# In a worker

_recipe: Recipe | None = None
_past: Past | None = None
_metric = ""


def _begin(recipe: Recipe, saved: Any, metric: str) -> None:
    """Map the data, once for all trials of a process."""
    global _recipe, _past, _metric
    _recipe, _past, _metric = recipe, Past.mapped(saved), metric


def _trial(number: int, parameters: Mapping[str, Any]) -> Trial:
    assert _recipe is not None
    assert _past is not None
    try:
        result = run_with(_recipe, _past, parameters)
    except KeyboardInterrupt:
        raise
    except Exception as error:  # noqa: BLE001 - a strategy may raise anything; the line has it
        return Trial(number=number, parameters=dict(parameters), error=f"{type(error).__name__}: {error}")
    if result.stopped:
        raise KeyboardInterrupt
    return trial_of(number, parameters, result, _metric)


def run_with(recipe: Recipe, past: Past, parameters: Mapping[str, Any]) -> BacktestResult:
    """Run the backtest of some parameters over data in memory."""
    engine, options = recipe(parameters)
    return run_backtest({**engine, "feeds": past.feeds()}, options)


def trial_of(number: int, parameters: Mapping[str, Any], result: BacktestResult, metric: str) -> Trial:
    """Return a backtest as a trial."""
    figures = {name: plain(own) for name, own in msgspec.structs.asdict(result.statistics).items()}
    returns = daily_returns(result.equity["ts"], result.equity["equity"])
    return Trial(
        number=number,
        parameters=dict(parameters),
        value=figures[metric],
        statistics=figures,
        moments={name: plain(own) for name, own in moments(returns).items()},
        equity_end=plain(result.equity_end),
        audit_hash=result.audit_hash,
    )
