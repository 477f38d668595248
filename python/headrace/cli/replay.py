"""``headrace replay``: recordings through strategies, with a table or one JSON document at the end.

Guarantees: options and strategies are checked before the first frame is read (exit code 2); stdout holds the table, or
with ``--json`` exactly one document; progress and everything else go to stderr.

Does not: replay; that is ``headrace.replay``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from headrace.app.objects import load_strategy
from headrace.cli.ending import exit_code_of, run_with_display
from headrace.cli.failure import Failure
from headrace.cli.options import choice_option, debug_option, json_option, speed_option, strict_option, venue_option
from headrace.engine.replay import replay
from headrace.limits import RING_CAPACITY

if TYPE_CHECKING:
    from headrace import Report
    from headrace.cli.ending import ShowProgress

__all__ = ["replay_command"]

ORDER = f"{__name__}.order"


class _ReplayCommand(click.Command):
    """Remembers the order of ``--strategy`` and ``--param``, which click itself forgets."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse twice: once for the order, once for the values."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[ORDER] = [parameter.name for parameter in order]
        return super().parse_args(ctx, args)


def _names(_context: click.Context, _option: click.Parameter, text: str) -> list[str]:
    return [name for name in text.split(",") if name]


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

    A FILE is a recording (gzip, zstd or plain) or a .npy file of ticks; several are merged by receive time.
    """
    if not files:
        raise Failure(f"there is nothing to replay: name a FILE{_swapped(strategies)}", exit_code=2)
    for file in files:
        if _is_strategy(file):
            raise Failure(f"{file} is no recording, but a strategy by its form: write --strategy {file}", exit_code=2)

    def work(progress: ShowProgress) -> Report:
        given = _parameters_of(parameters, context.meta[ORDER])
        loaded = [load_strategy(use, own, given_by="--param {}") for use, own in zip(strategies, given, strict=True)]
        return replay(files, loaded, progress=progress, **options)

    report = run_with_display("replay", work, as_json=as_json)
    if as_json:
        for source in report.sources:  # The venue may have been found; a reader of the document sees it on stderr.
            click.echo(f"{source.name}: {source.venue or 'ticks'}", err=True)
    return exit_code_of(report, strict=strict)


def _is_strategy(text: str) -> bool:
    """Return whether a FILE is written as a strategy is: path/file.py, or module:Class and no file of that name."""
    module, _, name = text.rpartition(":")
    is_spec = bool(module) and name.isidentifier() and not os.path.exists(text)  # noqa: PTH110 - Path.exists raises for a path that cannot be
    return is_spec or text.endswith(".py")


def _swapped(strategies: tuple[str, ...]) -> str:
    """Return a hint where what is given as a strategy is a file of data."""
    files = [text for text in strategies if ":" not in text and os.path.isfile(text)]  # noqa: PTH113 - as above
    return f" (--strategy {files[0]} is a file: write headrace replay {files[0]} --strategy SPEC)" if files else ""


def _parameters_of(parameters: tuple[str, ...], order: list[str | None]) -> list[dict[str, str]]:
    """Return the parameters of each strategy: those that stand after it and before the next one."""
    given: list[dict[str, str]] = []
    texts = iter(parameters)
    for option in order:
        if option == "strategies":
            given.append({})
        elif option == "parameters":
            text = next(texts)
            name, equals, value = text.partition("=")
            if not equals or not name:
                raise Failure(f"--param {text} is no parameter: write NAME=VALUE", exit_code=2)
            if not given:
                msg = f"--param {text} comes before any --strategy: write it after the one it is for"
                raise Failure(msg, exit_code=2)
            given[-1][name] = value
    return given
