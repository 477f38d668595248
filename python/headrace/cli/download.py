"""``headrace download``: files of Binance's public archive, with their checksums.

Guarantees: an interrupted download goes on with the same command; files that are missing are listed.
Does not: fetch; that is ``feeds.archive``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from headrace.cli.options import choice_option, debug_option, json_option
from headrace.engine.tables import Table, progress_display, tables_text
from headrace.feeds.archive import BASE_URL, MARKETS, PERIODS, WHATS, ArchiveRequest, day_of, download

__all__ = ["download_command"]


@click.command("download")
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL...")
@choice_option("--what", *WHATS, default="klines", text="Candles, aggregate trades, trades, or best quotes.")
@click.option("--interval", default="1m", show_default=True, metavar="1m", help="Of candles.")
@choice_option("--market", *MARKETS, default="spot", text="Of the symbols.")
@choice_option("--period", *PERIODS, default="monthly", text="One file a month, or a day.")
@click.option("--from", "first", required=True, metavar="DAY", help="The first day or month: 2025-01-31, or 2025-01.")
@click.option("--to", "last", metavar="DAY", help="The last one.  [default: that of --from]")
@click.option("--out", default=".", show_default=True, metavar="FOLDER", help="Where the files go.")
@click.option("--base-url", default=BASE_URL, show_default=True, metavar="URL", help="Of the archive, or of a mirror.")
@json_option
@debug_option
def download_command(
    symbols: tuple[str, ...],
    first: str,
    last: str | None,
    *,
    what: str,
    interval: str,
    market: str,
    period: str,
    out: str,
    base_url: str,
    as_json: bool,
) -> int:
    """Fetch files of SYMBOLs from Binance's public archive: whole, with the right checksum, or not at all.

    Files that the archive does not have are listed, and the exit code is 1.
    """
    begin = day_of("from", first)
    end = begin if last is None else day_of("to", last)
    display = progress_display(sys.stderr, "download")
    results = {}
    try:
        for symbol in symbols:
            request = ArchiveRequest(symbol, what, begin, end, market, interval, period)  # type: ignore[arg-type]
            results[symbol] = download(request, Path(out), base_url=base_url, progress=display.update)
    finally:
        display.close()
    if as_json:
        document = {
            symbol: {**own._asdict(), "files": [str(file) for file in own.files]} for symbol, own in results.items()
        }
        click.echo(msgspec.json.encode(document).decode())
    else:
        rows = [
            (symbol, f"{len(own.files):,}", f"{own.kept:,}", f"{own.bytes_fetched / 1e6:,.1f}", f"{len(own.missing):,}")
            for symbol, own in results.items()
        ]
        gaps = [(symbol, name) for symbol, own in results.items() for name in own.missing]
        columns = ("symbol", "files", "already there", "MB fetched", "missing")
        tables = [Table(f"archive files in {out}", columns, rows), Table("missing", ("symbol", "file"), gaps, texts=2)]
        click.echo(tables_text(tables))
    return 1 if any(own.missing for own in results.values()) else 0
