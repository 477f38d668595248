"""``headrace record``: what a venue sends, into files that each replay alone.

Guarantees: progress goes to stderr, the names of the files to stdout; Ctrl-C ends it with whole files and exit code 0.

Does not: record; that is ``headrace.app.record``.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Unpack

import click

from headrace.cli.options import choice_option, debug_option, json_option, network_options
from headrace.engine.tables import Table, progress_display, tables_text
from headrace.feeds.rotating_recorder import FORMATS

if TYPE_CHECKING:
    from headrace.app.record import Recording
    from headrace.venues import BinanceFeed
    from headrace.venues.binance.networks import NetworkOptions

__all__ = ["record_command"]

STREAMS = "bookTicker,trade,depth@100ms"
SHOW_EVERY_S = 0.5


@click.command("record")
@click.argument("venue", metavar="VENUE")
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL...")
@click.option("--streams", default=STREAMS, show_default=True, metavar="A,B", help="Of each symbol.")
@click.option("--out", "folder", default=".", metavar="FOLDER", help="Where the files go; made when it is missing.")
@click.option("--rotate", metavar="1h", help="Begin a new file with each multiple of this time in UTC.")
@click.option("--for", "duration", metavar="10m", help="End after this time.")
@choice_option("--packed", *FORMATS, default="gzip", text="The form of the files.")
@network_options
@json_option
@debug_option
def record_command(
    *,
    venue: str,
    symbols: tuple[str, ...],
    streams: str,
    folder: str,
    rotate: str | None,
    duration: str | None,
    packed: str,
    as_json: bool,
    **network: Unpack[NetworkOptions],
) -> None:
    """Record live data of SYMBOLs at VENUE (BINANCE, BINANCE_USDM, BINANCE_COINM), without loss, until Ctrl-C.

    Files are gzip or zstd, one frame a line, with snapshots of the books: headrace replay FILE reads each alone.
    """
    from headrace.app.record import recording_of
    from headrace.market.checks import duration_ns
    from headrace.venues import BinanceFeed

    rotate_ns = None if rotate is None else _positive("rotate", duration_ns("rotate", rotate))
    for_s = None if duration is None else _positive("for", duration_ns("for", duration)) / 1e9
    names = [name for name in streams.split(",") if name]
    if not names:
        msg = f"--streams {streams!r} names no stream: give some, like {STREAMS}"
        raise click.UsageError(msg)
    feed = BinanceFeed(venue, symbols, names, snapshots="always", **network)
    recording = recording_of(feed, folder, rotate_ns=rotate_ns, packed=packed)
    try:
        asyncio.run(_record(recording, feed, for_s))
    finally:
        recorder = recording.recorder
        if as_json:
            import msgspec

            facts = {"files": [str(path) for path in recorder.paths], "frames": recorder.frames}
            click.echo(msgspec.json.encode(facts | {"bytes": recorder.bytes_written, "gaps": recording.books.gaps}))
        elif recorder.paths:
            rows = [(str(path), f"{path.stat().st_size:,}") for path in recorder.paths]
            click.echo(tables_text([Table("recorded", ("file", "bytes"), rows)]))


def _positive(option: str, ns: int) -> int:
    if ns <= 0:
        msg = f"--{option} is a time above 0, like 10m"
        raise click.UsageError(msg)
    return ns


async def _record(recording: Recording, feed: BinanceFeed, for_s: float | None) -> None:
    engine = recording.engine
    running = asyncio.ensure_future(engine.run_async())
    if for_s is not None:
        asyncio.get_running_loop().call_later(for_s, engine.stop, "its time is over")
    display = progress_display(sys.stderr, f"recording {feed.venue}")
    try:
        while not running.done():
            await asyncio.wait({running}, timeout=SHOW_EVERY_S)
            display.update(0, 0, _note(recording, feed))
    finally:
        display.close()
    await running


def _note(recording: Recording, feed: BinanceFeed) -> str:
    recorder, books = recording.recorder, recording.books
    up = sum(state == "UP" for state in feed.states.values())
    return (
        f"{recorder.frames:,} frames, {recorder.bytes_written / 1e6:,.1f} MB, file {len(recorder.paths)}, "
        f"streams up {up}/{len(feed.states)}, books LIVE {len(books.live)}, gaps {books.gaps:,}"
    )
