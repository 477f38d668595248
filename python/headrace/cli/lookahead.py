"""``headrace lookahead``: a backtest repeated with other futures, and the decisions that changed.

Guarantees: exits with 0 where decisions were compared and none changed, with 1 otherwise; with ``--json`` stdout is one
document. A parameter that names one of the files gets the altered file in each run.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
import numpy as np

from headrace.cli.backtest import configured, is_config, money_options
from headrace.cli.failure import Failure
from headrace.cli.options import debug_option, json_option, venue_option
from headrace.cli.strategies import StrategyCommand, load_strategies, strategy_options
from headrace.engine.tables import progress_display

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.strategies.spec import Strategies

__all__ = ["lookahead_command"]


@click.command("lookahead", cls=StrategyCommand)
@click.argument("files", nargs=-1, metavar="CONFIG | FILE[@VENUE]...")
@strategy_options
@money_options
@venue_option
@click.option(
    "--cuts", type=click.IntRange(min=1), default=10, show_default=True, help="Places where the future begins."
)
@json_option
@debug_option
@click.pass_context
def lookahead_command(
    context: click.Context,
    /,
    *,
    files: tuple[str, ...],
    strategies: tuple[str, ...],
    parameters: tuple[str, ...],
    cuts: int,
    as_json: bool,
    **given: Any,
) -> int:
    """Find decisions that use the future: repeat a backtest with its data cut off, and with other prices after."""
    from headrace.research.lookahead import look_ahead, look_ahead_in

    config = files[0] if len(files) == 1 and is_config(files[0]) else None
    if config is None and not (files and strategies):
        raise Failure("name a CONFIG, or a FILE and a strategy with --strategy file.py:Class", exit_code=2)
    display = progress_display(sys.stderr, "lookahead")
    options = {name: value for name, value in given.items() if value is not None}
    with tempfile.TemporaryDirectory(prefix="headrace-lookahead-") as folder:

        def show(done: int, runs: int) -> None:
            display.update(done, runs, f"run {done} of {runs}")

        def recipe() -> tuple[Any, Any]:
            assert config is not None  # Nothing else is made anew for each run.
            engine, own = configured(config, (), {**options, "audit": None})
            if strategies:
                engine["strategies"] = load_strategies(strategies, parameters, context)
            return engine, own

        try:
            if config is not None:
                found = look_ahead_in(recipe, cuts=cuts, on_run=show)
            else:
                make = _maker(files, strategies, parameters, context, Path(folder))
                found = look_ahead(make, files, cuts=cuts, on_run=show, **options)
        finally:
            display.close()
    click.echo(msgspec.json.encode(found.to_dict()).decode() if as_json else str(found))
    return 0 if found.is_clean else 1


def _maker(
    files: tuple[str, ...], uses: tuple[str, ...], parameters: tuple[str, ...], context: click.Context, folder: Path
) -> Callable[[Any], Strategies]:
    """Return what makes the strategies of a run; a parameter that is one of the files becomes a file of its data."""
    ending = tuple(f"={file}" for file in files)

    def make(data: Any) -> Strategies:
        target = folder / "data.npy"
        if any(text.endswith(ending) for text in parameters):
            if not isinstance(data, np.ndarray):
                raise Failure("a parameter names a file, and there are several: name one FILE", exit_code=2)
            np.save(target, np.asarray(data))
        own = tuple(f"{text.partition('=')[0]}={target}" if text.endswith(ending) else text for text in parameters)
        return load_strategies(uses, own, context)

    return make
