"""``headrace report``: a saved result as one HTML file that needs nothing else.

Guarantees: an existing file is replaced as a whole; nothing is loaded from elsewhere when the page is opened.
"""

from __future__ import annotations

from pathlib import Path

import click

from headrace.cli.options import debug_option

__all__ = ["report_command"]


@click.command("report")
@click.argument("result", type=click.Path(path_type=Path), metavar="RESULT")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="[default: RESULT.html]")
@click.option(
    "--interactive/--plain", default=None, help="Prices by bokeh, or all charts as SVG.  [default: as installed]"
)
@debug_option
def report_command(*, result: Path, out: Path | None, interactive: bool | None) -> None:
    """Write RESULT, which headrace backtest --out saved, as a page for a browser."""
    from headrace.errors import MissingExtraError
    from headrace.research.report import write_report
    from headrace.research.report.interactive import is_there
    from headrace.research.result import BacktestResult

    if interactive and not is_there():
        msg = 'interactive charts need bokeh: pip install "headrace[report]"; --plain draws without it'
        raise MissingExtraError(msg)
    target = write_report(BacktestResult.load(result), out or result.with_suffix(".html"), interactive=interactive)
    click.echo(f"wrote {target}")
