"""``headrace replay``: recordings through strategies, with a table or one JSON document at the end.

Guarantees: options and strategies are checked before the first frame is read (exit code 2); stdout holds the table, or
with ``--json`` exactly one document; progress and everything else go to stderr.

Does not: replay; that is ``headrace.replay``.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from typing import TYPE_CHECKING, Literal

import click

from headrace.app.objects import load_strategy
from headrace.cli.ending import exit_code_of, print_report, progress_to, strategy_failure
from headrace.cli.failure import Failure
from headrace.cli.options import debug_option, venue_option
from headrace.engine.replay import replay
from headrace.engine.tables import progress_display
from headrace.limits import RING_CAPACITY

if TYPE_CHECKING:
    from headrace import StrategySpec

__all__ = ["replay_command"]

# Between the number of its strategy and a parameter's text; no shell passes it.
BELONGS_TO = "\0"


class _ReplayCommand(click.Command):
    """Remembers which ``--strategy`` each ``--param`` follows, which click itself forgets."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the number of its strategy before every parameter."""
        marked, strategies, follows = [], 0, ""
        for index, text in enumerate(args):
            option, equals, value = text.partition("=")
            if text == "--":
                marked += args[index:]
                break
            if follows == "--param":
                marked.append(f"{strategies}{BELONGS_TO}{text}")
            elif not follows and option == "--param" and equals:
                marked.append(f"{option}={strategies}{BELONGS_TO}{value}")
            else:
                strategies += not follows and option == "--strategy"
                marked.append(text)
            follows = option if not follows and not equals and option in ("--param", "--strategy") else ""
        return super().parse_args(ctx, marked)


def _speed(_context: click.Context, _option: click.Parameter, text: str) -> float | Literal["max"]:
    if text == "max":
        return "max"
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        msg = f"{text!r} is no speed: give max or a number above 0, 1.0 for real time"
        raise click.BadParameter(msg)
    return speed


@click.command("replay", cls=_ReplayCommand)
@click.argument("files", nargs=-1, metavar="FILE[@VENUE]...")
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    metavar="SPEC",
    help="module:Class or path/file.py:Class; again for more.",
)
@click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="Parameter of the strategy before it; again for more.",
)
@venue_option
@click.option("--instruments", metavar="A,B", default="", help="Names of the instrument ids in .npy files, in order.")
@click.option(
    "--speed",
    callback=_speed,
    default="max",
    metavar="max|X",
    help="max, or seconds of the recording per second.  [default: max]",
)
@click.option(
    "--overflow",
    type=click.Choice(["block", "drop_oldest", "conflate"]),
    help="What a full ring does to the strategies.",
)
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
@click.option(
    "--on-fault",
    type=click.Choice(["raise", "quarantine"]),
    default="raise",
    show_default=True,
    help="What a strategy's exception does.",
)
@click.option("--hash", "hashing", is_flag=True, help="Compute the hashes of input and deliveries.")
@click.option("--strict", is_flag=True, help="Exit with 1 when frames were rejected.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@debug_option
def replay_command(
    *,
    files: tuple[str, ...],
    strategies: tuple[str, ...],
    parameters: tuple[str, ...],
    venue: str | None,
    instruments: str,
    speed: float | Literal["max"],
    overflow: str | None,
    batch_max: int | None,
    ring_capacity: int,
    on_fault: Literal["raise", "quarantine"],
    hashing: bool,
    strict: bool,
    as_json: bool,
) -> int:
    """Replay recordings through strategies.

    A FILE is a recording (gzip or plain) or a .npy file of ticks; several are merged by receive time.
    """
    if not files:
        raise Failure("there is nothing to replay: name a FILE", exit_code=2)
    display = progress_display(sys.stderr, "replay")
    # What strategies print must not stand in the document.
    quiet = redirect_stdout(sys.stderr) if as_json else nullcontext()
    try:
        with quiet:
            loaded = _loaded(strategies, parameters)
            report = replay(
                files,
                loaded,
                venue=venue,
                instruments=[name for name in instruments.split(",") if name],
                speed=speed,
                overflow=overflow,
                batch_max=batch_max,
                on_fault=on_fault,
                hashing=hashing,
                ring_capacity=ring_capacity,
                progress=progress_to(display),
            )
    except Exception as error:
        display.close()
        if failure := strategy_failure(error):
            raise failure from error
        raise
    finally:
        display.close()
    if as_json:
        for source in report.sources:  # The venue may have been found, and is on stderr for who pipes the document.
            click.echo(f"{source.name}: {source.venue or 'ticks'}", err=True)
    print_report(report, as_json=as_json)
    return exit_code_of(report, strict=strict)


def _loaded(strategies: tuple[str, ...], parameters: tuple[str, ...]) -> list[StrategySpec]:
    given: list[dict[str, str]] = [{} for _ in strategies]
    for marked in parameters:
        number, _, text = marked.partition(BELONGS_TO)
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Failure(f"--param {text} is no parameter: write NAME=VALUE", exit_code=2)
        if number == "0":
            raise Failure(f"--param {text} comes before any --strategy: write it after the one it is for", exit_code=2)
        given[int(number) - 1][name] = value
    return [load_strategy(use, values, given_by="--param {}") for use, values in zip(strategies, given, strict=True)]
