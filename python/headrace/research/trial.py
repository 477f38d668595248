"""Trial: one backtest of a sweep, with its parameters, and what came of it.

Guarantees: what a strategy raises is the trial's error; an interrupt is none.
Does not: choose parameters (``space``), or where it runs (``workers``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from headrace.research.deflated import moments
from headrace.research.past import Past
from headrace.research.rows import plain
from headrace.research.run import run_backtest
from headrace.research.statistics import daily_returns

if TYPE_CHECKING:
    from headrace.engine.options import EngineOptions
    from headrace.research.result import BacktestResult
    from headrace.research.settings import BacktestOptions

__all__ = ["Recipe", "Trial", "Trials", "run_with"]


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


class Trials(NamedTuple):
    """What all trials of a sweep have in common. metric : the figure that is their value."""

    recipe: Recipe
    past: Past
    metric: str

    def run(self, number: int, parameters: Mapping[str, Any]) -> Trial:
        """Run the backtest of some parameters and return it as a trial. Raises KeyboardInterrupt."""
        try:
            result = run_with(self.recipe, self.past, parameters)
        except KeyboardInterrupt:
            raise
        except Exception as error:  # noqa: BLE001 - a strategy may raise anything; the line has it
            return Trial(number=number, parameters=dict(parameters), error=f"{type(error).__name__}: {error}")
        if result.stopped:
            raise KeyboardInterrupt
        return _trial_of(number, parameters, result, self.metric)


def run_with(recipe: Recipe, past: Past, parameters: Mapping[str, Any]) -> BacktestResult:
    """Run the backtest of some parameters over data in memory."""
    engine, options = recipe(parameters)
    return run_backtest({**engine, "feeds": past.feeds()}, options)


def _trial_of(number: int, parameters: Mapping[str, Any], result: BacktestResult, metric: str) -> Trial:
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
