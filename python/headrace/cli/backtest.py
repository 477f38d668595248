"""``headrace backtest``: the engine of a configuration over its recordings, with orders filled by its broker.

Guarantees: the configuration is that of ``headrace run``; nothing leaves the process but the audit that it names.
Does not: pace; it is as fast as its handlers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from headrace.cli.ending import exit_code_of, run_with_display
from headrace.cli.options import (
    config_argument,
    debug_option,
    engine_option,
    json_option,
    loaded_config,
    overrides_option,
    strict_option,
)

if TYPE_CHECKING:
    from pathlib import Path

    from headrace import Report
    from headrace.cli.ending import ShowProgress

__all__ = ["backtest_command"]


@click.command("backtest")
@config_argument
@overrides_option
@engine_option("--audit", "FILE", "Write every event to this new file")
@strict_option
@json_option
@debug_option
def backtest_command(
    *, config_file: Path, overrides: tuple[str, ...], strict: bool, as_json: bool, **section: str | None
) -> int:
    """Replay the feeds of CONFIG through its strategies, gates and broker, and report what became of the orders."""
    # Loaded here: an engine needs asyncio, and other verbs do not wait for that.
    from headrace.app.build import engine_of
    from headrace.market.clock import Mode
    from headrace.telemetry.logs import configure_logging

    config = loaded_config(config_file, overrides, section)

    def work(progress: ShowProgress) -> Report:
        engine = engine_of(config, mode=Mode.REPLAY, progress=progress)
        configure_logging(config.engine.log_level, config.engine.log_format, engine.run_id)
        return engine.run()

    return exit_code_of(run_with_display("backtest", work, as_json=as_json), strict=strict)
