"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from headrace.errors import OptionError
from headrace.market.checks import duration_ns, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.app.config import EngineConfig

__all__ = [
    "RECOMMENDATION_ID",
    "VerbGroup",
    "choice_option",
    "config_argument",
    "db_option",
    "debug_option",
    "duration_option",
    "engine_option",
    "json_option",
    "loaded_config",
    "network_options",
    "overrides_option",
    "speed_option",
    "strict_option",
    "unknown_option",
    "venue_option",
]

# As over HTTP: what JSON holds exactly. A database refuses to compare beyond 2^63.
RECOMMENDATION_ID = click.IntRange(1, (1 << 53) - 1)

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


def choice_option(name: str, *choices: str, text: str, default: str | None = None) -> Callable[[Command], Command]:
    """Return an option that takes one of a few words."""
    return click.option(name, type=click.Choice(choices), default=default, show_default=default is not None, help=text)


db_option = click.option(
    "--db",
    metavar="URL",
    envvar="HEADRACE_DB",
    show_envvar=True,
    help="sqlite:////absolute, sqlite:///relative or postgresql://…; by default a file in the state folder.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of tables.")


def duration_option(name: str, text: str) -> Callable[[Command], Command]:
    """Add an option that takes a time like 60s; the verb gets seconds, or None."""
    return click.option(name, callback=_duration, metavar="TIME", help=text)


def _duration(_context: click.Context, option: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        ns = duration_ns(option.opts[0], text)
    except OptionError as error:
        raise click.BadParameter(str(error)) from None
    if ns <= 0:
        msg = f"{text!r} is no time above 0: write a number and a unit, like 60s"
        raise click.BadParameter(msg)
    return ns / 1e9


def speed_option(*, default: str) -> Callable[[Command], Command]:
    """Add ``--speed``: "max", or a number above 0."""
    text = f"max, or seconds of the recording per second.  [default: {default}]"
    return click.option("--speed", callback=_speed, default=default, metavar="max|X", help=text)


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


def network_options(command: Command) -> Command:
    """Add the options that say where a venue is: ``network``, ``url``, ``rest_url``, ``proxy``, ``source_address``."""
    for option in (
        click.option("--source-address", metavar="IP", help="The local address to connect from."),
        click.option("--proxy", metavar="URL", help="A proxy for web sockets and REST."),
        click.option("--rest-url", metavar="URL", help="Address of REST, as headrace venue prints it."),
        click.option("--url", metavar="URL", help="Address of web sockets, as headrace venue prints it."),
        choice_option("--network", "live", "testnet", "demo", text="The venue's network.", default="live"),
    ):
        command = option(command)
    return command


class VerbGroup(click.Group):
    """Names the nearest verb for one that is not there."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb and its arguments."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            ctx.fail(f"no such command {args[0]!r}{nearest(args[0], self.commands)}: see {ctx.command_path} --help")
        return super().resolve_command(ctx, args)


def unknown_option(error: click.NoSuchOption, arguments: list[str]) -> str:
    """Return what is wrong with an option that is not there, with the nearest one."""
    # Click reads -speed as the options -s, -p, -e and so on.
    letter = error.option_name[1:] if len(error.option_name) == 2 else None
    clusters = (text for text in arguments if letter and text.startswith("-") and letter in text.lstrip("-"))
    given = next(clusters, error.option_name).partition("=")[0]
    if error.ctx is None:
        return f"no such option {given}"
    known = [name for parameter in error.ctx.command.get_params(error.ctx) for name in parameter.opts]
    options = [name for name in known if name.startswith("--")]
    return f"no such option {given}{nearest(given, options)}: see {error.ctx.command_path} --help"


def engine_option(name: str, metavar: str, text: str) -> Callable[[Command], Command]:
    """Add a short form of ``--set engine.KEY=…``; the verb gets it by its key."""
    key = name.removeprefix("--").replace("-", "_")
    return click.option(name, metavar=metavar, help=f"{text}; as --set engine.{key}={metavar}.")


def loaded_config(file: Path, overrides: tuple[str, ...], section: Mapping[str, str | None]) -> EngineConfig:
    """Read a configuration, its overrides, and over both the short forms that were given. Raises ConfigError."""
    from headrace.app.config import load_config

    short = [f"engine.{key}={value}" for key, value in section.items() if value is not None]
    return load_config(file, overrides=[*overrides, *short])
