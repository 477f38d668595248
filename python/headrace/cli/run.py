"""``headrace run``: the engine of a configuration on a live clock, until its feeds end or somebody stops it.

Guarantees: the configuration is checked, and every part made, before anything runs (exit code 2); stdout holds the
report, or with ``--json`` exactly one document; the log and everything else go to stderr; Ctrl-C drains, twice forces.

Does not: run; that is ``headrace.Engine``.
"""

from __future__ import annotations

from pathlib import Path

import click

from headrace.cli.ending import print_report
from headrace.cli.options import debug_option, overrides_option

__all__ = ["run_command"]


@click.command("run")
@click.argument("config_file", metavar="CONFIG", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@overrides_option
@click.option("--speed", metavar="X", help="Seconds of a recording per second; as --set engine.speed=X.")
@click.option("--audit", metavar="FILE", help="Append every event to this new file; as --set engine.audit=FILE.")
@click.option(
    "--dispatch-log",
    metavar="FILE",
    help="Write what headrace repeat needs to repeat every decision; as --set engine.dispatch_log=FILE.",
)
@click.option(
    "--record", metavar="FOLDER", help="Write what the live feeds bring into FOLDER; as --set engine.record=FOLDER."
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
    record: str | None,
    as_json: bool,
) -> int:
    """Run the engine that CONFIG describes, live: over its feeds, under an operator (headrace ctl)."""
    # Loaded here: an engine needs asyncio, and other verbs should not wait for that.
    from headrace.app.build import engine_of
    from headrace.app.config import load_config
    from headrace.telemetry.logs import configure_logging, follow_events

    given = {"engine.speed": speed, "engine.audit": audit, "engine.dispatch_log": dispatch_log, "engine.record": record}
    shortcuts = [f"{key}={value}" for key, value in given.items() if value is not None]
    config = load_config(config_file, overrides=[*overrides, *shortcuts])
    engine = engine_of(config)
    configure_logging(config.engine.log_level, config.engine.log_format, engine.run_id)
    follow_events(engine.bus)
    # Until the report is out: a signal that comes when the feeds have just ended must not lose it.
    with engine.signals_are_requests():
        try:
            report = engine.run()
        except Exception:
            # The exit says what failed; nothing else says what became of orders and positions until then.
            report = engine.report()
            if any(report.ticks.values()):
                print_report(report, as_json=as_json)
            raise
        print_report(report, as_json=as_json)
    return 130 if report.ended_by.endswith(", forced") else 0
