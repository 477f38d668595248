"""The demo of execution: news and bars in, recommendations, executions and a report out, on SQLite in a new folder.

Guarantees: what it shows was done by the parts of ``headrace pipeline`` and ``headrace execute``; no files are left.
Does not: leave this machine: bars and news are generated.
"""

from __future__ import annotations

import random
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import click

from headrace.cli.failure import Failure
from headrace.cli.pipeline import pipeline_table
from headrace.engine.tables import tables_text

__all__ = ["run_execution_demo"]

# A ticker, the drift of its price in a minute, the volume of its last bar, and a headline.
MARKETS = (
    ("ACME", 0.0008, 2_000, "ACME beats estimates, shares surge"),
    ("GLOB", -0.0008, 2_000, "GLOB shares fall on lawsuit"),
    ("FLAT", 0.0, 1_000, "FLAT opens an office"),
)
BARS = 60
SEED = 7


def run_execution_demo() -> None:
    """Run the pipeline and one worker over generated data, and print what came of it. Raises Failure."""
    from headrace.execution import ExecutionSettings, Runner, Store
    from headrace.execution.pipeline import Pipeline, PipelineSettings
    from headrace.execution.reports import report, report_table
    from headrace.execution.schema import schema_problems

    with tempfile.TemporaryDirectory(prefix="headrace-demo-") as name:
        folder = Path(name)
        settings = PipelineSettings(
            tickers=tuple(market[0] for market in MARKETS),
            bars=str(_bars(folder / "bars.csv")),
            news=(str(_news(folder / "news.xml")),),
        )
        click.echo(f"{BARS} generated bars of {len(MARKETS)} tickers and their news, on SQLite\n")
        with Store(f"sqlite:///{folder}/demo.sqlite", migrate=True) as store:
            click.echo(tables_text([pipeline_table(Pipeline(store, settings).run())]))
            with Runner(store.database, ExecutionSettings) as runner:
                counts = runner.run().counts
            connection = store.database.connect()
            try:
                tables = [report_table(own, report(connection, own)) for own in ("executions", "gates", "runs")]
            finally:
                connection.close()
            problems = schema_problems(store.database)
        click.echo("\n" + tables_text(tables))
        if problems or not counts.simulated:
            raise Failure("; ".join(problems) or "nothing was executed, and the demo's data say that something is")
        click.echo(f"\n{counts.simulated} executed, {counts.skipped} skipped; status and ledger agree")


def _bars(path: Path) -> Path:
    """Write bars that end now."""
    rng, end_s = random.Random(SEED), int(time.time())
    lines = ["ticker,ts,open,high,low,close,volume"]
    for ticker, drift, last_volume, _ in MARKETS:
        close = Decimal(100)
        for number in range(BARS):
            opened = close
            close = (opened * Decimal(str(1 + drift + rng.gauss(0, 0.0005)))).quantize(Decimal("0.01"))
            volume = last_volume if number == BARS - 1 else 1_000
            ts = (end_s - (BARS - 1 - number) * 60) * 10**9
            lines.append(f"{ticker},{ts},{opened},{max(opened, close)},{min(opened, close)},{close},{volume}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _news(path: Path) -> Path:
    items = "".join(f"<item><guid>{ticker}</guid><title>{title}</title></item>" for ticker, *_, title in MARKETS)
    path.write_text(f'<rss version="2.0"><channel><title>demo</title>{items}</channel></rss>', encoding="utf-8")
    return path
