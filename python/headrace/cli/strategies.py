"""``--strategy`` and ``--param``: the strategies that a verb runs, each with its own parameters.

Guarantees: a parameter belongs to the strategy before it; one before any strategy is an error.
Does not: run them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headrace.app.objects import load_strategy
from headrace.cli.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.strategies.spec import StrategySpec

__all__ = ["StrategyCommand", "is_strategy", "load_strategies", "parameter_of", "strategy_options", "swapped_hint"]

Command = TypeVar("Command", bound="Callable[..., Any]")
ORDER = f"{__name__}.order"


class StrategyCommand(click.Command):
    """Remembers the order of ``--strategy`` and ``--param``, which click itself forgets."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse twice: once for the order, once for the values."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[ORDER] = [parameter.name for parameter in order]
        return super().parse_args(ctx, args)


def strategy_options(command: Command) -> Command:
    """Add ``--strategy`` and ``--param`` to a StrategyCommand."""
    use = click.option(
        "--strategy",
        "strategies",
        multiple=True,
        metavar="SPEC",
        help="module:Class or path/file.py:Class; again for more.",
    )
    parameter = click.option(
        "--param",
        "parameters",
        multiple=True,
        metavar="NAME=VALUE",
        help="Parameter of the strategy before it; again for more.",
    )
    return use(parameter(command))


def load_strategies(
    strategies: tuple[str, ...], parameters: tuple[str, ...], context: click.Context
) -> list[StrategySpec]:
    """Import the strategies and make each with its parameters. Raises ConfigError and Failure."""
    given = _parameters_of(parameters, context.meta[ORDER])
    return [load_strategy(use, own, given_by="--param {}") for use, own in zip(strategies, given, strict=True)]


def parameter_of(text: str) -> tuple[str, str]:
    """Return name and value of ``NAME=VALUE``. Raises Failure."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Failure(f"--param {text} is no parameter: write NAME=VALUE", exit_code=2)
    return name, value


def is_strategy(text: str) -> bool:
    """Return whether a FILE is written as a strategy is: path/file.py, or module:Class and no file of that name."""
    module, _, name = text.rpartition(":")
    is_spec = bool(module) and name.isidentifier() and not os.path.exists(text)  # noqa: PTH110 - Path.exists raises for a path that cannot be
    return is_spec or text.endswith(".py")


def swapped_hint(verb: str, strategies: tuple[str, ...]) -> str:
    """Return a hint where what is given as a strategy is a file of data."""
    files = [text for text in strategies if ":" not in text and os.path.isfile(text)]  # noqa: PTH113 - as above
    return f" (--strategy {files[0]} is a file: write headrace {verb} {files[0]} --strategy SPEC)" if files else ""


def _parameters_of(parameters: tuple[str, ...], order: list[str | None]) -> list[dict[str, str]]:
    """Return the parameters of each strategy: those that stand after it and before the next one."""
    given: list[dict[str, str]] = []
    texts = iter(parameters)
    for option in order:
        if option == "strategies":
            given.append({})
        elif option == "parameters":
            text = next(texts)
            name, value = parameter_of(text)
            if not given:
                msg = f"--param {text} comes before any --strategy: write it after the one it is for"
                raise Failure(msg, exit_code=2)
            given[-1][name] = value
    return given
