"""``headrace demo``: one engine, live, over generated markets: six strategies, orders, and an operator at work.

Where the extra ``binance`` is installed, a second half follows over real sockets: a cut connection that heals.

Guarantees: every claim is checked before it is printed; a claim that does not hold ends it with exit code 1. No files
are left: the state folder is a temporary one.
Does not: leave this machine, or show a profit: the markets are random.
"""

from __future__ import annotations

import sys
import tempfile

import click

from headrace.cli.failure import Failure
from headrace.cli.options import debug_option
from headrace.engine.tables import Table, duration_text, progress_display, tables_text
from headrace.errors import MissingExtraError

__all__ = ["demo_command"]

FRAMES = 300_000
QUICK_FRAMES = 60_000


@click.command("demo")
@click.option("--quick", is_flag=True, help=f"{QUICK_FRAMES:,} frames instead of {FRAMES:,}.")
@click.option("--execution", is_flag=True, help="Show news and bars becoming executions on SQLite instead.")
@click.option("--dashboard", is_flag=True, help="Serve the engine's page instead, until Ctrl-C.")
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:8757", help="Where --dashboard serves it.")
@debug_option
def demo_command(*, quick: bool, execution: bool, dashboard: bool, listen: str) -> None:
    """Show a session: generated markets, six strategies, orders on paper, an operator at work.

    With the extra binance, a second one follows: a venue on this machine, real sockets, a connection that is cut.
    """
    if execution:
        from headrace.cli.demo_execution import run_execution_demo

        run_execution_demo()
        return
    if dashboard:
        from headrace.cli.demo_dashboard import run_dashboard

        run_dashboard(listen)
        return
    # Loaded here: an engine needs asyncio, and other verbs do not wait for that.
    from headrace.cli.demo_session import RING_TICKS, claims_of, law_text, run_session

    frames = QUICK_FRAMES if quick else FRAMES
    click.echo(f"{frames:,} generated frames of 3 markets, live, through a ring of {RING_TICKS:,} ticks\n")
    display = progress_display(sys.stderr, "demo")
    with tempfile.TemporaryDirectory(prefix="headrace-demo-") as folder:
        try:
            session = run_session(frames, folder, display)
        finally:
            display.close()
    claims = claims_of(session)
    rows = [
        (
            *(f"{step.market_s:.1f} s", step.what, step.ack.status, step.ack.reason or "-"),
            duration_text(step.ack.queued_ns + step.ack.handled_ns),
        )
        for step in session.steps
    ]
    click.echo(str(session.report))
    table = Table("operator", ("market time", "command", "answer", "why", "in"), rows, texts=4)
    click.echo("\n" + tables_text([table]))
    click.echo("\n" + law_text(session))
    _show(claims)
    _second_half()


def _second_half() -> None:
    """Run the session over sockets, where their libraries are installed."""
    from headrace.cli.demo_live import claims_of_live, run_live

    try:
        with tempfile.TemporaryDirectory(prefix="headrace-demo-") as folder:
            session = run_live(folder)
    except MissingExtraError:
        click.echo('\nsecond half, a live feed over real sockets: not installed; pip install "headrace[binance]"')
        return
    click.echo(f"\nsecond half: a live feed over real sockets, {sum(session.report.ticks.values()):,} ticks")
    _show(claims_of_live(session))


def _show(claims: list[tuple[str, bool]]) -> None:
    """Print the claims; one that does not hold ends the demo."""
    if broken := [text for text, holds in claims if not holds]:
        raise Failure(f"these claims do not hold: {'; '.join(broken)}: please report this with the tables above")
    click.echo("\nchecked\n" + "\n".join(f"  {text}" for text, _ in claims))
