"""``headrace run``: the engine of a configuration on a live clock, until its feeds end or somebody stops it.

Guarantees: the configuration is checked, and every part made, before anything runs (exit code 2); stdout holds the
report, or with ``--json`` exactly one document; the log and everything else go to stderr; Ctrl-C drains, twice forces.

Does not: run; that is ``headrace.Engine``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.options import debug_option, overrides_option

if TYPE_CHECKING:
    from headrace.engine.report import EngineReport

__all__ = ["run_command"]


@click.command("run")
@click.argument("config_file", metavar="CONFIG", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@overrides_option
@click.option("--speed", metavar="max|X", help="Seconds of a recording per second; as --set engine.speed=X.")
@click.option("--audit", metavar="FILE", help="Append every event to this new file; as --set engine.audit=FILE.")
@click.option(
    "--dispatch-log",
    metavar="FILE",
    help="Write what headrace replay --dispatch-log needs to repeat every decision; as --set engine.dispatch_log=FILE.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of tables.")
@debug_option
def run_command(
    *,
    config_file: Path,
    overrides: tuple[str, ...],
    speed: str | None,
    audit: str | None,
    dispatch_log: str | None,
    as_json: bool,
) -> int:
    """Run the engine that CONFIG describes, live: over its feeds, under an operator (headrace ctl)."""
    # Loaded here: an engine needs asyncio, and other verbs should not wait for that.
    from headrace.app.build import engine_of
    from headrace.app.config import load_config
    from headrace.telemetry.logs import configure_logging, follow_events

    given = {"engine.speed": speed, "engine.audit": audit, "engine.dispatch_log": dispatch_log}
    shortcuts = [f"{key}={value}" for key, value in given.items() if value is not None]
    config = load_config(config_file, overrides=[*overrides, *shortcuts])
    engine = engine_of(config)
    configure_logging(config.engine.log_level, config.engine.log_format, engine.run_id)
    follow_events(engine.bus)
    # Until the report is out: a signal that comes when the feeds have just ended must not cost it.
    with engine.interrupts:
        try:
            report = engine.run()
        except Exception:
            # What failed is said by the exit; what became of orders and positions until then, by nobody else.
            report = engine.report()
            if any(report.ticks.values()):
                click.echo(_document(report) if as_json else str(report))
            raise
        click.echo(_document(report) if as_json else str(report))
    return 130 if report.ended_by.endswith(", forced") else 0


def _document(report: EngineReport) -> str:
    return json.dumps(report.to_dict(), indent=2 if sys.stdout.isatty() else None)
