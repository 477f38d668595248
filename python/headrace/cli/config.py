"""``headrace config``: write, show and check a configuration, and print its schema.

Guarantees: ``new`` overwrites nothing; ``show`` hides secrets; ``check`` runs nothing and lists every problem.
Does not: read or check a file itself; ``headrace.app.config`` and ``headrace.app.check`` do.
"""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.failure import Failure
from headrace.cli.options import VerbGroup, debug_option, overrides_option
from headrace.dispatch.run_file import remove_empty
from headrace.market.wording import counted

if TYPE_CHECKING:
    from headrace.app.config import EngineConfig

__all__ = ["config_command"]

FILE = click.Path(dir_okay=False, path_type=Path)


@click.group("config", cls=VerbGroup)
@debug_option
def config_command() -> None:
    """Write, show and check the configuration of an engine."""


@config_command.command("new")
@click.argument("file", type=FILE, default="headrace.toml")
@click.option("--gateway", is_flag=True, help="Of a venue's live data, for headrace gateway.")
@debug_option
def new_command(*, file: Path, gateway: bool) -> None:
    """Write a first configuration to FILE, by default headrace.toml; an existing file is not changed.

    It documents every key, and runs without changes: on paper, within small limits.
    """
    from headrace.app.config import template_text

    if file.suffix != ".toml":
        raise Failure(f"{file} would be TOML: choose a name that ends in .toml, like headrace.toml", exit_code=2)
    try:
        # Keys of venues will stand in it.
        with open(file, "x", encoding="utf-8", opener=partial(os.open, mode=0o600)) as target:
            target.write(template_text(gateway=gateway))
    except FileExistsError as error:
        raise Failure(f"{file} exists already and is not changed: choose another name") from error
    except OSError as error:
        remove_empty(file)
        raise Failure(f"{file} cannot be written: {error.strerror}") from error
    quoted, verb = shlex.quote(str(file)), "gateway" if gateway else "run"
    click.echo(f"wrote {file}; try it with: headrace config check {quoted}, headrace {verb} {quoted}")


@config_command.command("show")
@click.argument("file", type=FILE, required=False)
@overrides_option
@debug_option
def show_command(file: Path | None, overrides: tuple[str, ...]) -> None:
    """Show the configuration that FILE, the environment and --set make, defaults included.

    Without FILE: the defaults. Values of keys like api_key and token are hidden.
    """
    from headrace.app.config import config_text, load_config

    click.echo(config_text(load_config(file, overrides=overrides)), nl=False)


@config_command.command("check")
@click.argument("file", type=FILE)
@overrides_option
@debug_option
def check_command(file: Path, overrides: tuple[str, ...]) -> None:
    """List everything that is wrong in FILE, as far as a check without a run can find it.

    Classes are imported and made, handlers are bound, files are looked for. Exit code 2 when something is wrong.
    """
    from headrace.app.check import findings
    from headrace.app.config import read_config

    config, problems = read_config(file, overrides=overrides)
    found = findings(config, problems)
    for finding in found:
        click.echo(f"{'wrong' if finding.is_wrong else 'note'}: {finding.path}: {finding.text}")
    if wrong := sum(finding.is_wrong for finding in found):
        them = "it" if wrong == 1 else "them"
        raise Failure(f"{file} has {counted(wrong, 'problem')}: correct {them}, then check again", exit_code=2)
    click.echo(f"{file} is right: {_summary(config)}")


@config_command.command("schema")
@debug_option
def schema_command() -> None:
    """Print the JSON schema, for an editor that completes and checks a configuration."""
    from headrace.app.config import config_schema

    click.echo(json.dumps(config_schema(), indent=2))


def _summary(config: EngineConfig) -> str:
    parts = Counter(feed=len(config.feeds), strategy=len(config.strategies), service=len(config.services))
    numbers = [counted(number, name) for name, number in parts.items()]
    broker = "no broker" if config.broker is None else f"broker {config.broker.use}"
    return ", ".join([*numbers, broker])
