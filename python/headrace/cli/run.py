"""``headrace run``: the engine of a configuration on a live clock, until its feeds end or it is stopped.

Guarantees: the configuration is checked, and every part made, before anything runs (exit code 2); stdout holds the
report, or with ``--json`` exactly one document; the log and everything else go to stderr; Ctrl-C drains, twice forces.

Does not: run; that is ``headrace.Engine``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from headrace.cli.ending import exit_code_for_strategies, print_report, strategy_failures
from headrace.cli.options import (
    config_argument,
    debug_option,
    engine_option,
    json_option,
    loaded_config,
    overrides_option,
)

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.app.config import EngineConfig

__all__ = ["run_command", "run_engine"]


@click.command("run")
@config_argument
@overrides_option
@engine_option("--speed", "X", "Seconds of a recording per second")
@engine_option("--on-feed-end", "stop|continue", "Whether the run stops when one live feed ends beside others")
@engine_option("--audit", "FILE", "Append every event to this new file")
@engine_option("--dispatch-log", "FILE", "Write what headrace repeat needs to repeat every decision")
@engine_option("--record", "FOLDER", "Write what the live feeds bring into FOLDER")
@json_option
@debug_option
def run_command(*, config_file: Path, overrides: tuple[str, ...], as_json: bool, **section: str | None) -> int:
    """Run the engine that CONFIG describes, live: over its feeds, under an operator (headrace ctl).

    Exit code 1: it failed, or a strategy ended failed or in quarantine. 130: it was forced to end.
    """
    return run_engine(loaded_config(config_file, overrides, section), as_json=as_json)


def run_engine(config: EngineConfig, *, as_json: bool) -> int:
    """Run the engine of a configuration to its end, print its report, and return the exit code."""
    # Loaded here: an engine needs asyncio, and other verbs should not wait for that.
    from headrace.app.build import engine_of
    from headrace.telemetry.logs import configure_logging, follow_events

    engine = engine_of(config)
    configure_logging(config.engine.log_level, config.engine.log_format, engine.run_id)
    follow_events(engine.bus)
    # A signal that comes when the feeds have just ended must lose neither the report nor the exit code.
    interrupts = engine.signals_are_requests()
    if click.get_current_context().obj:
        interrupts.until_exit()
    with strategy_failures(), interrupts:
        try:
            report = engine.run()
        except Exception:
            # The exit says what failed; nothing else says what became of orders and positions until then.
            report = engine.report()
            if any(report.ticks.values()):
                print_report(report, as_json=as_json)
            raise
        print_report(report, as_json=as_json)
    code = exit_code_for_strategies(report)
    return 130 if report.ended_by.endswith(", forced") else code
