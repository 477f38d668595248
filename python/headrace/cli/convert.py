"""``headrace convert``: files of ticks or candles into one file of another format.

Guarantees: the target appears when it is whole; an interrupted conversion goes on with the same command.
Does not: convert; that is ``app.convert``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from headrace.cli.ending import progress_to
from headrace.cli.failure import Failure
from headrace.cli.options import debug_option, json_option, venue_option
from headrace.engine.tables import Table, progress_display, tables_text

__all__ = ["convert_command"]


@click.command("convert")
@click.argument("files", nargs=-1, required=True, metavar="FILE[@VENUE]... TARGET")
@venue_option
@json_option
@debug_option
def convert_command(files: tuple[str, ...], venue: str | None, *, as_json: bool) -> None:
    """Write what FILEs hold into TARGET, in the format that its name says.

    Reads recordings, Parquet, CSV (.gz, .zst, .zip), npz and DBN; recognises Tardis, Databento, Binance's public
    archive and hftbacktest. Writes .parquet, .csv, .csv.gz, .csv.zst, .npz and .hft.npz.
    """
    from headrace.app.convert import convert

    if len(files) < 2:
        raise Failure("TARGET is missing: name the file to write, like ticks.parquet", exit_code=2)
    display = progress_display(sys.stderr, "convert")
    try:
        done = convert(files[:-1], Path(files[-1]), venue=venue, progress=progress_to(display))
    finally:
        display.close()
    if as_json:
        document = {**done._asdict(), "path": str(done.path)}
        click.echo(msgspec.json.encode(document).decode())
        return
    facts = [
        *([("ticks", f"{done.ticks:,}")] if done.ticks else []),
        *([("candles", f"{done.candles:,}")] if done.candles else []),
        ("instruments", ", ".join(done.instruments[:5]) + (" …" if len(done.instruments) > 5 else "")),
        *([("resumed behind", f"{done.resumed:,} ticks")] if done.resumed else []),
        *([("input hash", done.input_hash)] if done.input_hash else []),
    ]
    click.echo(tables_text([Table(str(done.path), ("", ""), facts)]))
