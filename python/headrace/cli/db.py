"""``headrace db``: migrate, check and fill the database of recommendations, and what an operator does to it.

Guarantees: stdout holds one line or one table, or with ``--json`` one document.
Does not: hold a statement; ``headrace.execution`` does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.db_controls import CONTROL_COMMANDS
from headrace.cli.db_report import before_ms, report_command
from headrace.cli.options import VerbGroup, db_option, debug_option, json_option
from headrace.engine.tables import Table, progress_display, tables_text, time_text
from headrace.market.wording import counted

if TYPE_CHECKING:
    from headrace.execution.schema import SchemaStatus

__all__ = ["db_command"]


@click.group("db", cls=VerbGroup)
@debug_option
def db_command() -> None:
    """Migrate, check, fill, steer and report on the database of recommendations."""


@db_command.command("migrate")
@db_option
@click.option("--role", metavar="NAME", help="PostgreSQL: grant this role what a worker needs; it owns no table.")
@json_option
@debug_option
def migrate_command(*, db: str | None, role: str | None, as_json: bool) -> None:
    """Bring the database to the version of this release; two at once are safe."""
    from headrace.execution.database.opening import open_database
    from headrace.execution.schema import MIGRATIONS, grant, migrate

    database = open_database(db)
    applied = migrate(database)
    if role is not None:
        grant(database, role)
    if as_json:
        click.echo(json.dumps({"db": database.url, "version": len(MIGRATIONS), "applied": applied}))
    else:
        what = f"applied {', '.join(applied)}" if applied else "was up to date"
        click.echo(f"{database.url}: version {len(MIGRATIONS)}, {what}")


@db_command.command("status")
@db_option
@json_option
@debug_option
def status_command(*, db: str | None, as_json: bool) -> int:
    """Show which migrations the database has. Exit code 1: it needs some, or is newer than this release."""
    from headrace.execution.database.opening import open_database
    from headrace.execution.schema import schema_status

    database = open_database(db)
    status = schema_status(database)
    if as_json:
        click.echo(json.dumps({"db": database.url, **status._asdict()}))
    else:
        click.echo(_status_text(database.url, status))
    return 0 if status.version == status.newest else 1


def _status_text(url: str, status: SchemaStatus) -> str:
    rows = [(str(version), name, time_text(at * 1_000_000)) for version, name, at in status.applied]
    rows.append(("", f"version {status.version} of {status.newest}", ""))
    return tables_text([Table(url, ("version", "name", "applied"), rows, texts=3)])


@db_command.command("check")
@db_option
@json_option
@debug_option
def check_command(*, db: str | None, as_json: bool) -> int:
    """Check the schema, and that status and ledger agree. Exit code 1: they don't."""
    from headrace.execution.database.opening import open_database
    from headrace.execution.schema import schema_problems

    database = open_database(db)
    problems = schema_problems(database)
    if as_json:
        click.echo(json.dumps({"db": database.url, "problems": problems}))
    else:
        click.echo("\n".join(problems) or f"{database.url}: no problem found")
    return 1 if problems else 0


@db_command.command("load")
@click.argument("table")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@db_option
@json_option
@debug_option
def load_command(*, table: str, file: Path, db: str | None, as_json: bool) -> None:
    """Load TABLE from FILE, a CSV file whose first line names columns.

    Times are ns, or texts like 2026-01-13T15:30:00Z. Rows that are there are replaced; recommendations are kept.
    """
    from headrace.execution import Store
    from headrace.execution.loading import load_csv

    display = progress_display(sys.stderr, f"load {table}")
    with Store(db) as store:
        try:
            rows = load_csv(store, table, file, display.update)
        finally:
            display.close()
        url = store.database.url
    click.echo(
        json.dumps({"db": url, "table": table, "rows": rows}) if as_json else f"{counted(rows, 'row')} in {table}"
    )


@db_command.command("archive")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--before", required=True, callback=before_ms, metavar="TIME", help="A time, or an age like 90d.")
@db_option
@json_option
@debug_option
def archive_command(*, folder: Path, before: int, db: str | None, as_json: bool) -> None:
    """Write old rows into FOLDER as Parquet files, and remove bars, features, news and steps of the pipeline.

    Executions, recommendations, runs and controls are copied and stay: their keys are unique for ever.
    """
    from headrace.execution import Store
    from headrace.execution.archive import archive

    display = progress_display(sys.stderr, "archive")
    with Store(db) as store:
        try:
            done = store.read(
                lambda own: archive(own, folder, before, lambda table, rows: display.update(0, 0, f"{table} {rows:,}"))
            )
        finally:
            display.close()
    if as_json:
        click.echo(json.dumps([{**own._asdict(), "file": None if own.file is None else str(own.file)} for own in done]))
        return
    rows = [(own.table, "" if own.file is None else own.file.name, f"{own.rows:,}", f"{own.removed:,}") for own in done]
    click.echo(tables_text([Table(f"archive {folder}", ("table", "file", "rows", "removed"), rows, texts=2)]))


for verb in (*CONTROL_COMMANDS, report_command):
    db_command.add_command(verb)
