"""``headrace pipeline``: bars, features, news, watchlist and rules into recommendations, once or at an interval.

Guarantees: stdout holds one table of the last steps, or with ``--json`` one document; the log goes to stderr.
Does not: execute recommendations; ``headrace execute`` does.
"""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.options import db_option, debug_option, duration_option, json_option
from headrace.engine.tables import Table, tables_text

if TYPE_CHECKING:
    from headrace.execution.pipeline import StepResult

__all__ = ["pipeline_command", "pipeline_table"]


@click.command("pipeline")
@click.argument("config_file", metavar="CONFIG", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@db_option
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="A value over all others.")
@duration_option("--every", "A run at each interval, like 60s; by default one run.")
@json_option
@debug_option
def pipeline_command(
    *, config_file: Path, db: str | None, overrides: tuple[str, ...], every: float | None, as_json: bool
) -> int:
    """Make recommendations by [pipeline] of CONFIG. Exit code 1: a step failed."""
    from headrace.app.config import load_config
    from headrace.execution import Store
    from headrace.execution.pipeline import Pipeline
    from headrace.telemetry.logs import configure_logging

    settings = load_config(config_file, overrides=overrides).pipeline
    configure_logging("INFO", "json", "pipeline")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Store(db) as store:
        pipeline = Pipeline(store, settings)
        results = pipeline.run()
        while every is not None and not stop.wait(every):
            results = pipeline.run() or results
    if as_json:
        click.echo(json.dumps([own._asdict() for own in results]))
    else:
        click.echo(tables_text([pipeline_table(results)]))
    return 1 if any(own.error for own in results) else 0


def pipeline_table(results: list[StepResult]) -> Table:
    """Return the results as a table."""
    rows = [
        (own.step, f"{own.rows:,}", own.error or "; ".join(f"{why} ({count})" for why, count in own.skipped.items()))
        for own in results
    ]
    return Table("pipeline", ("step", "rows", "skipped"), rows, texts=1)
