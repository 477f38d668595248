"""``headrace replay``: recordings through strategies, with a table or one JSON document at the end.

Guarantees: options and strategies are checked before the first frame is read (exit code 2); stdout holds the table, or
with ``--json`` exactly one document; progress and everything else go to stderr.

Does not: replay; that is ``headrace.replay``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headrace.cli.ending import exit_code_of, run_with_display
from headrace.cli.failure import Failure
from headrace.cli.options import choice_option, debug_option, json_option, speed_option, strict_option, venue_option
from headrace.cli.strategies import StrategyCommand, is_strategy, load_strategies, strategy_options, swapped_hint
from headrace.engine.replay import replay
from headrace.limits import RING_CAPACITY

if TYPE_CHECKING:
    from headrace import Report
    from headrace.cli.ending import ShowProgress

__all__ = ["replay_command"]


def _names(_context: click.Context, _option: click.Parameter, text: str) -> list[str]:
    return [name for name in text.split(",") if name]


@click.command("replay", cls=StrategyCommand)
@click.argument("files", nargs=-1, metavar="FILE[@VENUE]...")
@strategy_options
@venue_option
@click.option(
    "--instruments",
    callback=_names,
    default="",
    metavar="A,B",
    help="Names of the instrument ids in .npy files, in order.",
)
@speed_option(default="max")
@choice_option("--overflow", "block", "drop_oldest", "conflate", text="What a full ring does to the strategies.")
@click.option(
    "--batch-max", type=click.IntRange(min=1), metavar="N", help="Most ticks in one call of a plural handler."
)
@click.option(
    "--ring-capacity",
    type=click.IntRange(min=2),
    metavar="TICKS",
    default=RING_CAPACITY,
    show_default=True,
    help="A power of two.",
)
@choice_option("--on-fault", "raise", "quarantine", default="raise", text="What a strategy's exception does.")
@choice_option(
    "--duplicates",
    *("drop", "deliver"),
    default="drop",
    text="What becomes of events that the venue, or another of the files, repeats.",
)
@choice_option(
    "--late",
    *("deliver", "drop"),
    default="deliver",
    text="What becomes of events that come behind newer ones; delivered, they are flagged LATE.",
)
@click.option("--hash", "hashing", is_flag=True, help="Compute the hashes of input and deliveries.")
@strict_option
@json_option
@debug_option
@click.pass_context
def replay_command(
    context: click.Context,
    /,
    *,
    files: tuple[str, ...],
    strategies: tuple[str, ...],
    parameters: tuple[str, ...],
    strict: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Replay recordings through strategies.

    A FILE is a recording (gzip, zstd or plain), or holds candles or ticks as CSV, Parquet, npz, DBN or .npy; several
    are merged by receive time. mine.csv@BTCUSDT.BINANCE says what a file is of that does not say it.
    """
    if not files:
        raise Failure(f"there is nothing to replay: name a FILE{swapped_hint('replay', strategies)}", exit_code=2)
    for file in files:
        if is_strategy(file):
            raise Failure(f"{file} is no recording, but a strategy by its form: write --strategy {file}", exit_code=2)

    def work(progress: ShowProgress) -> Report:
        loaded = load_strategies(strategies, parameters, context)
        return replay(files, loaded, progress=progress, **options)

    report = run_with_display("replay", work, as_json=as_json)
    if as_json:
        for source in report.sources:  # The venue may have been found; a reader of the document sees it on stderr.
            click.echo(f"{source.name}: {source.venue or 'ticks'}", err=True)
    return exit_code_of(report, strict=strict)
