"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["debug_option", "overrides_option", "venue_option"]

Command = TypeVar("Command", bound=Callable[..., Any])


def debug_option(command: Command) -> Command:
    """Add ``--debug``, before or after the verb; ``app`` reads it, so verbs do not receive it."""
    return click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of a failure.")(command)


def venue_option(command: Command) -> Command:
    """Add ``--venue``, for recordings without ``FILE@VENUE``."""
    return click.option(
        "--venue", metavar="VENUE", help="Venue of files without @VENUE: BINANCE, BINANCE_USDM, BINANCE_COINM."
    )(command)


def overrides_option(command: Command) -> Command:
    """Add ``--set``, which replaces values of the configuration's file and the environment."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="A value of the configuration, in place of the file's and the environment's; repeat it for more.",
    )(command)
