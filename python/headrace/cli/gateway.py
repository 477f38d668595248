"""``headrace gateway``: run the gateway that a configuration describes.

Guarantees: exit codes and output are those of ``run``; Ctrl-C drains, twice forces.

Does not: run; that is ``headrace.gateway.Gateway``, a service of the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from headrace.cli.options import (
    config_argument,
    debug_option,
    engine_option,
    json_option,
    loaded_config,
    overrides_option,
)
from headrace.cli.run import run_engine
from headrace.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["gateway_command"]


@click.command("gateway")
@config_argument
@overrides_option
@engine_option("--audit", "FILE", "Append every event to this new file")
@engine_option("--record", "FOLDER", "Write what the live feeds bring into FOLDER")
@json_option
@debug_option
def gateway_command(*, config_file: Path, overrides: tuple[str, ...], as_json: bool, **section: str | None) -> int:
    """Run the gateway that CONFIG describes: a venue's live data by routes, which headrace ctl changes.

    CONFIG has a section [gateway]; headrace config new --gateway writes one. Strategies and a broker in it run, too.
    Exit codes are those of headrace run.
    """
    config = loaded_config(config_file, overrides, section)
    if config.gateway is None:
        msg = f"{config_file} has no section [gateway]: add one, or see headrace config new --gateway"
        raise ConfigError(msg, path="$.gateway")
    return run_engine(config, as_json=as_json)
