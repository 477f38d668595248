"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["debug_option", "is_debug", "venue_option"]

Command = TypeVar("Command", bound=Callable[..., Any])


def debug_option(command: Command) -> Command:
    """Add ``--debug``, before or after the verb."""
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_remember_debug,
        is_eager=True,
        help="Show the traceback of a failure.",
    )(command)


def is_debug(context: click.Context) -> bool:
    """Whether ``--debug`` was given anywhere on the command line."""
    return bool(context.find_root().meta.get("headrace.debug"))


def _remember_debug(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        context.find_root().meta["headrace.debug"] = True


def venue_option(command: Command) -> Command:
    """Add ``--venue``, for recordings that don't name theirs with ``FILE@VENUE``."""
    return click.option(
        "--venue", metavar="VENUE", help="Venue of the files that don't say it: BINANCE, BINANCE_USDM, BINANCE_COINM."
    )(command)
