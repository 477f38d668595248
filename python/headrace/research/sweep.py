"""Sweep: many backtests with other parameters, kept in a file, the same table whatever runs them.

::

    Recipe(parameters) ─▶ backtest        data: read once, and mapped by every process or sent to every worker
    Study: a line for each trial as it ends ─▶ resumed by the same call

What happens when
    a trial raises: its line has the error, its value is NaN, the sweep goes on.
    Ctrl-C is pressed: what runs is not kept; the table is that of the trials that ended.

Guarantees: a trial depends on the study's seed and its number, for tpe also on earlier batches; so 1 worker, 4 workers,
a cluster, and killed and resumed make the same table.
Does not: share a study between machines.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import msgspec
import numpy as np

from headrace.engine.tables import Table, tables_html, tables_text
from headrace.errors import OptionError, ResultError
from headrace.feeds.files import written_whole
from headrace.feeds.table.arrow import CHECKED
from headrace.market.checks import of_type, one_of, refuse_unknown, whole
from headrace.research.deflated import deflated_sharpe
from headrace.research.rows import extra, plain
from headrace.research.space import Search, grid, proposed
from headrace.research.statistics import Statistics
from headrace.research.study import Study, StudyHeader
from headrace.research.trial import Trials
from headrace.research.workers import on_cluster, on_processes

if TYPE_CHECKING:
    from headrace.research.past import Past
    from headrace.research.space import Axis
    from headrace.research.trial import Recipe, Trial
    from headrace.research.workers import RunTrials

__all__ = ["Sweep", "SweepOptions", "sweep"]

TRIALS = 50
TOP = 10
SEARCHES = ("grid", "random", "tpe")


class SweepOptions(TypedDict, total=False):
    """The options of ``sweep``, which says what each means."""

    search: Search
    trials: int | None
    metric: str
    seed: int
    batch: int
    workers: int
    dask: str | None
    study: str | os.PathLike[str] | None
    on_trial: Callable[[int, int], object] | None


_DEFAULTS: SweepOptions = {
    "search": "grid",
    "trials": None,
    "metric": "sharpe",
    "seed": 0,
    "batch": 10,
    "workers": 1,
    "dask": None,
    "study": None,
    "on_trial": None,
}


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
        target = Path(path)
        with written_whole(target, "table", ResultError) as part:
            extra("pyarrow.parquet", "parquet").write_table(arrow.table(self.columns()), part, **CHECKED)
        return target

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


def sweep(recipe: Recipe, past: Past, space: Mapping[str, Axis], **options: Unpack[SweepOptions]) -> Sweep:
    """Run a backtest for each proposal of parameters and return all that came of them.

    search : "grid" (unless given), "random" or "tpe". trials : how many; a grid has all of its combinations unless
    given, the others 50. metric : a figure of ``Statistics``, "sharpe" unless given; the highest is the best. seed : of
    what is drawn, 0. batch : of tpe, 10: so many proposals know the same results. workers : processes, which map the
    data; 1. dask : the address of a cluster's scheduler, "tcp://host:8786", whose workers run the trials instead.
    study : a file to keep the trials in; what it has already is not run again. on_trial : called with done and planned.

    Raises OptionError, MissingExtraError (tpe without Optuna, a cluster without Dask), ResultError (a study of other
    settings).
    """
    settings = _checked(options)
    if not space:
        msg = "space is empty: name a parameter and its values, as a=1:10:1"
        raise OptionError(msg, option="space")
    search, seed, metric, batch = settings["search"], settings["seed"], settings["metric"], settings["batch"]
    trials, on_trial = settings["trials"], settings["on_trial"]
    planned = len(grid(space)) if search == "grid" else TRIALS
    planned = planned if trials is None else min(trials, planned) if search == "grid" else trials
    header = StudyHeader(search=search, metric=metric, seed=seed, batch=batch, space=dict(space), data=past.digest())
    with ExitStack() as stack:
        kept = stack.enter_context(Study(settings["study"], header))
        run_all = _runner(stack, Trials(recipe, past, metric), settings)
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


def _checked(options: SweepOptions) -> SweepOptions:
    """Return all options. Raises OptionError."""
    refuse_unknown("a sweep", options, SweepOptions.__annotations__)
    settings: SweepOptions = {**_DEFAULTS, **options}
    one_of("search", settings["search"], SEARCHES)
    one_of("metric", settings["metric"], Statistics.__struct_fields__)
    whole("batch", settings["batch"], 1, 1_000, "trials")
    whole("workers", settings["workers"], 1, 1_000, "processes")
    of_type("dask", settings["dask"], str, None)
    if settings["dask"] is not None and settings["workers"] != 1:
        msg = f"workers={settings['workers']} with dask={settings['dask']!r}, which has its own: leave one out"
        raise OptionError(msg, option="workers")
    return settings


def _runner(stack: ExitStack, trials: Trials, settings: SweepOptions) -> RunTrials:
    if settings["dask"] is not None:
        return on_cluster(stack, trials, settings["dask"])
    return on_processes(stack, trials, settings["workers"])


def _value(trial: Trial) -> float:
    return math.nan if trial.value is None else trial.value
