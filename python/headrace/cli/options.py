"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.app.config import EngineConfig

__all__ = [
    "config_argument",
    "debug_option",
    "engine_option",
    "json_option",
    "loaded_config",
    "overrides_option",
    "strict_option",
    "venue_option",
]

Command = TypeVar("Command", bound="Callable[..., Any]")

# ``app`` reads it, so verbs do not receive it; it stands before or after the verb.
debug_option = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of a failure.")

venue_option = click.option(
    "--venue", metavar="VENUE", help="Venue of files without @VENUE: BINANCE, BINANCE_USDM, BINANCE_COINM."
)

config_argument = click.argument(
    "config_file", metavar="CONFIG", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)

overrides_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="A value of the configuration, in place of the file's and the environment's; repeat it for more.",
)

strict_option = click.option("--strict", is_flag=True, help="Exit with 1 when frames were rejected.")

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of tables.")


def engine_option(name: str, metavar: str, text: str) -> Callable[[Command], Command]:
    """Add a short form of ``--set engine.KEY=…``; the verb gets it by its key."""
    key = name.removeprefix("--").replace("-", "_")
    return click.option(name, metavar=metavar, help=f"{text}; as --set engine.{key}={metavar}.")


def loaded_config(file: Path, overrides: tuple[str, ...], section: Mapping[str, str | None]) -> EngineConfig:
    """Read a configuration, its overrides, and over both the short forms that were given. Raises ConfigError."""
    from headrace.app.config import load_config

    short = [f"engine.{key}={value}" for key, value in section.items() if value is not None]
    return load_config(file, overrides=[*overrides, *short])
