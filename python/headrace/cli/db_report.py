"""``headrace db report``: executions, gates, runs, sizes, tickers and outcomes, as a table, JSON, CSV or a page.

Guarantees: times are UTC; amounts are exact, as texts in JSON.
Does not: compute; ``headrace.execution.reports`` does.
"""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.options import db_option, debug_option, json_option
from headrace.engine.tables import tables_text
from headrace.market.checks import UNITS_NS, duration_ns

if TYPE_CHECKING:
    from headrace.execution.database.base import Connection
    from headrace.execution.reports import ReportRows

__all__ = ["before_ms", "report_command", "time_ms"]

NAMES = ("executions", "gates", "runs", "sizes", "tickers", "outcomes")


def time_ms(name: str, text: str, *, sign: int) -> int:
    """Return a time, or so long before (-1) or after (1) now, as ms. Raises click.BadParameter."""
    from headrace.errors import HeadraceError
    from headrace.execution.loadable import time_text_ms

    try:
        if text.rstrip("0123456789")[:1] != "-" and text.lstrip("0123456789") in UNITS_NS:
            return (time.time_ns() + sign * duration_ns(name, text)) // 1_000_000
        return time_text_ms(name, text)
    except HeadraceError as error:
        raise click.BadParameter(f"{error}, or so long {'before' if sign < 0 else 'from'} now, like 30m") from None


def _since(_context: click.Context, _option: click.Parameter, text: str | None) -> int:
    return 0 if text is None else time_ms("--since", text, sign=-1)


def before_ms(_context: click.Context, option: click.Parameter, text: str) -> int:
    """Return an option's time, or so long before now, as ms. Raises click.BadParameter."""
    return time_ms(option.opts[0], text, sign=-1)


@click.command("report")
@click.argument("name", type=click.Choice(NAMES), metavar=f"[{'|'.join(NAMES)}]", required=False)
@db_option
@click.option("--since", callback=_since, metavar="TIME", help="A time like 2026-01-13T00:00:00Z, or 24h before now.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of a table.")
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write all as a page with charts."
)
@json_option
@debug_option
def report_command(
    *, name: str | None, db: str | None, since: int, as_csv: bool, html: Path | None, as_json: bool
) -> None:
    """Show what was executed, refused or run, or what became of each execution.

    With --html the page has all of it, so it takes no name.
    """
    from headrace.execution.database.opening import open_database
    from headrace.execution.reports import report, report_table
    from headrace.execution.schema.migrating import check_version

    if (html is not None) + as_csv + as_json > 1:
        msg = "--csv, --json and --html exclude each other: give one of them"
        raise click.UsageError(msg)
    if (html is None) == (name is None):
        msg = f"give one of {', '.join(NAMES)}, or --html FILE for a page of all"
        raise click.UsageError(msg)
    database = open_database(db)
    connection = database.connect()
    try:
        check_version(connection, complete=True)
        if name is None:
            _write_page(connection, database.url, since, html)
            return
        found = report(connection, name, since)
    finally:
        connection.close()
    click.echo(
        _json(found) if as_json else _csv(found) if as_csv else tables_text([report_table(name, found)]), nl=not as_csv
    )


def _write_page(connection: Connection, url: str, since: int, html: Path | None) -> None:
    from headrace.research.report.document import write_page
    from headrace.research.report.executions import executions_page

    assert html is not None
    click.echo(f"wrote {write_page(executions_page(connection, url, since), html)}")


def _texts(found: ReportRows) -> list[list[str]]:
    from headrace.execution.reports import cell_text

    return [[cell_text(name, value) for name, value in zip(found.columns, row, strict=True)] for row in found.rows]


def _json(found: ReportRows) -> str:
    rows = [
        {
            name: text if not isinstance(value, int) or name.endswith("_at") else value
            for name, value, text in zip(found.columns, row, texts, strict=True)
        }
        for row, texts in zip(found.rows, _texts(found), strict=True)
    ]
    return json.dumps(rows)


def _csv(found: ReportRows) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(found.columns)
    writer.writerows(_texts(found))
    return out.getvalue()
