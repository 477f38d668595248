"""``headrace sweep``: many backtests with other parameters, in processes, kept in a file; or a walk forward.

Guarantees: with ``--json`` stdout is one document; the same study, seed and options make the same table, whatever the
number of workers and however often it was interrupted.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
import msgspec

from headrace.app.objects import load_strategy
from headrace.cli.backtest import configured, is_config, money_options
from headrace.cli.failure import Failure
from headrace.cli.options import choice_option, debug_option, json_option, overrides_option, venue_option
from headrace.cli.strategies import parameter_of
from headrace.engine.tables import progress_display
from headrace.market.checks import duration_ns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.research.past import Past
    from headrace.research.space import Axis
    from headrace.research.sweep import Sweep, SweepOptions

__all__ = ["sweep_command"]


@dataclass(frozen=True)
class _Recipe:
    """What a trial is made of; it goes to the workers. fixed : parameters that are the same in every trial."""

    config: str | None
    overrides: tuple[str, ...]
    strategy: str | None
    fixed: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, parameters: Mapping[str, Any]) -> tuple[Any, Any]:
        given = {**self.fixed, **{name: str(value) for name, value in parameters.items()}}
        options = dict(self.options)
        if self.config is None:
            assert self.strategy is not None
            spec = load_strategy(self.strategy, given, given_by="--param {}")
            return {"strategies": [spec], "instruments": [], "limits": None, "broker": None}, options
        own = () if self.strategy else tuple(f"strategies.0.parameters.{name}={text}" for name, text in given.items())
        engine, options = configured(self.config, (*self.overrides, *own), options)
        if self.strategy:
            engine["strategies"] = [load_strategy(self.strategy, given, given_by="--param {}")]
        return engine, options


@click.command("sweep")
@click.argument("inputs", nargs=-1, metavar="CONFIG | FILE[@VENUE]...")
@click.option("--strategy", metavar="SPEC", help="module:Class or path/file.py:Class.")
@click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="NAME=VALUES",
    help="1:10:1, 0.1:0.5, log(0.0001,0.1), values between commas, or one value; again for more.",
)
@choice_option("--search", "grid", "random", "tpe", default="grid", text="How trials are chosen.")
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help="How many.  [default: all of a grid, or 50]")
@click.option("--metric", metavar="FIGURE", default="sharpe", show_default=True, help="The highest is the best.")
@click.option(
    "--batch", type=click.IntRange(min=1), default=10, show_default=True, help="Trials that tpe proposes at once."
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@click.option("--dask", metavar="ADDRESS", help="Run trials on a Dask cluster: tcp://HOST:8786 of its scheduler.")
@click.option(
    "--study", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Keep and resume trials here."
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write the table as Parquet."
)
@click.option("--best", type=click.Path(dir_okay=False, path_type=Path), metavar="RESULT", help="Save the best trial.")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="Rows of the table.")
@click.option("--walk-forward", metavar="TRAIN/TEST", help="Choose on one span, use on the next: 30d/7d.")
@click.option("--anchored", is_flag=True, help="Every training of --walk-forward begins with the data.")
@money_options
@venue_option
@overrides_option
@json_option
@debug_option
def sweep_command(
    *,
    inputs: tuple[str, ...],
    strategy: str | None,
    parameters: tuple[str, ...],
    overrides: tuple[str, ...],
    walk_forward: str | None,
    anchored: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Run a backtest for each combination of parameters, and show the best."""
    names = ("search", "trials", "metric", "batch", "workers", "dask", "study")
    options = cast("SweepOptions", {name: given.pop(name) for name in names})
    out, best, top = (given.pop(name) for name in ("out", "best", "top"))
    recipe, past, space = _prepared(inputs, strategy, parameters, overrides, given)
    options["seed"] = given.get("seed") or 0
    if walk_forward is not None:
        return _walk(recipe, past, space, walk_forward, anchored=anchored, as_json=as_json, options=options)
    from headrace.research.sweep import sweep

    display = progress_display(sys.stderr, "sweep")
    try:
        options["on_trial"] = lambda done, of: display.update(done, of, f"{done} of {of}")
        found = sweep(recipe, past, space, **options)
    finally:
        display.close()
    click.echo(msgspec.json.encode(found.to_dict()).decode() if as_json else _text(found, top))
    if out is not None:
        found.write_parquet(out)
    if best is not None and found.best is not None:
        _save_best(found, recipe, past, best)
    if found.stopped:
        click.echo("headrace: interrupted; with --study the same command goes on from here", err=True)
        return 130
    if found.best is None:
        errors = [own.error for own in found.trials if own.error]
        why = f"; the first that failed: {errors[0]}" if errors else ", as where nothing was traded: choose a --metric"
        click.echo(f"headrace: no trial has a {found.metric}{why}", err=True)
        return 1
    return 0


def _text(found: Sweep, top: int) -> str:
    from headrace.engine.tables import tables_text

    return tables_text(found.tables(top))


def _prepared(
    inputs: tuple[str, ...],
    strategy: str | None,
    parameters: tuple[str, ...],
    overrides: tuple[str, ...],
    given: dict[str, Any],
) -> tuple[_Recipe, Past, dict[str, Axis]]:
    from headrace.research.past import past_of
    from headrace.research.space import axis_of

    if not inputs:
        raise Failure("there is nothing to sweep: name a CONFIG, or a FILE and a --strategy", exit_code=2)
    config = inputs[0] if is_config(inputs[0]) else None
    if config is None and strategy is None:
        raise Failure("there is no strategy: name one with --strategy file.py:Class", exit_code=2)
    if config is not None and len(inputs) > 1:
        raise Failure(f"{config} is a configuration: name it alone, its feeds are its data", exit_code=2)
    texts = dict(parameter_of(text) for text in parameters)
    axes = {name: axis_of(name, text) for name, text in texts.items()}
    space = {name: axis for name, axis in axes.items() if len(axis.choices) != 1}
    if not space:
        raise Failure("there is nothing to vary: give --param NAME=VALUES, as --param lookback=5:50:5", exit_code=2)
    fixed = {name: text for name, text in texts.items() if name not in space}
    options = {name: value for name, value in given.items() if value is not None and name != "venue"}
    recipe = _Recipe(config, overrides, strategy, fixed, options)
    first = {name: axis.drawn(_first_rng()) for name, axis in space.items()}
    # Whatever is wrong with strategy, options or configuration is said before a trial runs.
    engine, _ = recipe(first)
    past = past_of(inputs, given.get("venue")) if config is None else past_of(engine["feeds"])
    return recipe, past, space


def _first_rng() -> Any:
    import numpy as np

    return np.random.default_rng(0)


def _walk(
    recipe: _Recipe,
    past: Past,
    space: dict[str, Axis],
    spans: str,
    *,
    anchored: bool,
    as_json: bool,
    options: SweepOptions,
) -> int:
    from headrace.research.walk_forward import walk_forward

    train, slash, test = spans.partition("/")
    if not slash:
        raise Failure(f"--walk-forward {spans} has no test span: write TRAIN/TEST, as 30d/7d", exit_code=2)
    if options.pop("study") is not None:
        raise Failure("--study keeps one sweep, and a walk forward has one for each window: leave it out", exit_code=2)
    display = progress_display(sys.stderr, "walk-forward")
    try:
        found = walk_forward(
            recipe,
            past,
            space,
            anchored=anchored,
            on_window=lambda done, of: display.update(done, of, f"window {done} of {of}"),
            train_ns=duration_ns("train", train),
            test_ns=duration_ns("test", test),
            **options,
        )
    finally:
        display.close()
    click.echo(msgspec.json.encode(found.to_dict()).decode() if as_json else str(found))
    return 0


def _save_best(found: Sweep, recipe: _Recipe, past: Past, path: Path) -> None:
    import dataclasses

    from headrace.research.trial import run_with

    assert found.best is not None  # The caller has looked.
    result = run_with(recipe, past, found.best.parameters)
    rows = [{"parameters": own.parameters, "value": own.value} for own in found.trials]
    table = {"metric": found.metric, "names": list(found.space), "rows": rows}
    dataclasses.replace(result, sweep=table).save(path)
    click.echo(f"saved {path}; look at it with: headrace report {path}", err=True)
