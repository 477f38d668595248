"""``headrace execute``: workers that execute recommendations, once, at an interval, or until none is left.

Guarantees: stdout holds one table, or with ``--json`` one document; the log goes to stderr, one JSON object a line,
each with the id of its run; SIGTERM and Ctrl-C finish the row in hand and release the others, twice forces.

Does not: execute; that is ``headrace.execution``.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.options import RECOMMENDATION_ID, db_option, debug_option, duration_option, json_option
from headrace.engine.tables import Table, duration_text, tables_text

if TYPE_CHECKING:
    from types import FrameType

    from headrace.execution.workers import Mode, Workers

__all__ = ["execute_command"]

FORCED = 130


@click.command("execute")
@click.argument(
    "config_file", metavar="[CONFIG]", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@db_option
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="A key of [execution], over all others.")
@click.option("--once", is_flag=True, help="One run of each worker; the default.")
@duration_option("--every", "A run at each interval, like 60s, and when a recommendation arrives.")
@click.option("--until-empty", is_flag=True, help="Runs until nothing is PENDING or PROCESSING.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Threads, each with runs.")
@click.option(
    "--explain",
    type=RECOMMENDATION_ID,
    metavar="ID",
    help="Show what each gate says of a recommendation; runs nothing.",
)
@json_option
@debug_option
def execute_command(
    *,
    config_file: Path | None,
    db: str | None,
    overrides: tuple[str, ...],
    workers: int,
    explain: int | None,
    as_json: bool,
    **mode: Any,
) -> int:
    """Execute the recommendations of a database, by [execution] of CONFIG or by the defaults.

    Exit code 1: a recommendation ended as FAILED. 130: it was forced to end.
    """
    # Loaded here: other verbs should not wait for it.
    from headrace.app.executing import ExecutionParts
    from headrace.telemetry.logs import configure_logging

    chosen = _mode(**mode)
    parts = ExecutionParts(config_file, overrides, db)
    if explain is not None:
        found = parts.explain(explain)
        click.echo(json.dumps(found) if as_json else _explanation(found))
        return 0
    configure_logging("INFO", "json", parts.owner)
    with parts.workers(workers, chosen, mode["every"] or 60.0) as pool:
        _stop_on_signals(pool)
        counts = pool.run()
    document = {
        "db": parts.database.url,
        "halted": pool.halted,
        **counts.document(),
        "backlog": parts.backlog()._asdict(),
    }
    click.echo(json.dumps(document) if as_json else _text(document))
    return 1 if counts.failed or counts.reaped_failed else 0


def _mode(*, once: bool, every: float | None, until_empty: bool) -> Mode:
    if once + (every is not None) + until_empty > 1:
        msg = "--once, --every and --until-empty exclude each other: give one of them"
        raise click.UsageError(msg)
    return "every" if every is not None else "until_empty" if until_empty else "once"


def _stop_on_signals(pool: Workers) -> None:
    """Stop at the first SIGTERM or SIGINT, and leave at once at the second; leases then end by themselves."""

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if pool.is_stopped:
            os._exit(FORCED)
        pool.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)


def _text(document: dict[str, Any]) -> str:
    backlog = document["backlog"]
    names = ("runs", "pulled", "simulated", "sent", "executed", "skipped", "failed", "stale", "released", "reaped")
    rows = [(name, f"{document[name]:,}") for name in (*names, "expired")]
    rows += [(f"refused by {gate}", f"{count:,}") for gate, count in document["refusals"].items()]
    rows += [(f"left {name}", f"{backlog[name]:,}") for name in ("pending", "processing", "sent")]
    rows += [("oldest pending", duration_text(backlog["age_s"] * 1e9))] if backlog["pending"] else []
    rows += [("kill switch", "set: nothing was claimed")] if document["halted"] else []
    return tables_text([Table(f"execute {document['db']}", ("", ""), rows)])


def _explanation(found: dict[str, Any]) -> str:
    title = f"recommendation {found['id']}: {found['action']} {found['ticker']}, {found['status']}"
    gates = [
        (name, str(own["observed"]), str(own["threshold"]), "passes" if own["passed"] else "refuses")
        for name, own in found["gates"].items()
    ]
    plan = [(name, str(value)) for name, value in (found["plan"] or {"none": found["why"]}).items()]
    return tables_text(
        [Table(title, ("gate", "observed", "threshold", "now"), gates, texts=4), Table("plan", ("", ""), plan, texts=2)]
    )
