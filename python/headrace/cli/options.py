"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["debug_option", "overrides_option", "venue_option"]

Command = TypeVar("Command", bound=Callable[..., Any])


def debug_option(command: Command) -> Command:
    """Add ``--debug``, before or after the verb; ``app`` looks for it, so no verb is told."""
    return click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of a failure.")(command)


def venue_option(command: Command) -> Command:
    """Add ``--venue``, for recordings that don't name theirs with ``FILE@VENUE``."""
    return click.option(
        "--venue", metavar="VENUE", help="Venue of the files that don't say it: BINANCE, BINANCE_USDM, BINANCE_COINM."
    )(command)


def overrides_option(command: Command) -> Command:
    """Add ``--set``, which wins over the configuration's file and the environment."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="A value of the configuration, over the file and the environment; again for more.",
    )(command)
