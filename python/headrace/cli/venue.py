"""``headrace venue``: a venue on this machine that plays recordings, or generated markets, over real sockets.

Guarantees: stdout holds one table, or with ``--json`` one line, as soon as clients can connect; it serves until Ctrl-C.

Does not: serve; that is ``headrace.venues.SimulatedVenue``.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Literal

import click

from headrace.cli.options import debug_option, json_option, speed_option, venue_option
from headrace.engine.tables import Table, tables_text

if TYPE_CHECKING:
    from headrace.feeds.given import Source
    from headrace.venues import SimulatedVenue

__all__ = ["venue_command"]

# A session that outlasts every try: 400 frames a second for a month.
GENERATED_FRAMES = 10**9


@click.command("venue")
@click.argument("files", nargs=-1, metavar="[FILE[@VENUE]]...")
@venue_option
@click.option("--symbols", default="BTCUSDT,ETHUSDT", metavar="A,B", help="Generated markets, without a FILE.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of generated markets.")
@speed_option(default="1")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="0 takes a free one.")
@click.option("--faults", type=click.Path(exists=True, dir_okay=False), metavar="TOML", help="A script of faults.")
@json_option
@debug_option
def venue_command(
    *,
    files: tuple[str, ...],
    venue: str | None,
    symbols: str,
    seed: int,
    speed: float | Literal["max"],
    port: int,
    faults: str | None,
    as_json: bool,
) -> None:
    """Serve recordings, or generated markets, as Binance would: web sockets, REST, orders.

    The clock starts when the first client subscribes. Ctrl-C ends it.
    """
    from headrace.feeds import SyntheticFeed
    from headrace.feeds.given import feeds_of
    from headrace.venues import SimulatedVenue

    sources: list[Source] = list(files)
    if not files:
        generated = [name for name in symbols.split(",") if name]
        if not generated:
            msg = f"--symbols {symbols!r} names no market: give some, like BTCUSDT,ETHUSDT, or a recording"
            raise click.UsageError(msg)
        sources = [
            SyntheticFeed(symbol, venue=venue or "BINANCE", frames=GENERATED_FRAMES, seed=seed) for symbol in generated
        ]
    served = SimulatedVenue(*feeds_of(sources, venue), speed=speed, port=port, faults=faults or ())
    asyncio.run(_serve(served, as_json=as_json))


async def _serve(venue: SimulatedVenue, *, as_json: bool) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with venue:
        if as_json:
            import msgspec

            click.echo(msgspec.json.encode(venue.addresses))
        else:
            rows = [(name, own["ws"], own["rest"]) for name, own in venue.addresses.items()]
            click.echo(tables_text([Table("venue", ("", "ws", "rest"), rows, texts=3)]))
            click.echo(f"instruments: {', '.join(venue.instruments)}", err=True)
        ending, waiting = (asyncio.ensure_future(own) for own in (venue.ended(), stopped.wait()))
        await asyncio.wait({ending, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            ending.result()
            click.echo("headrace: the last frame was sent; books and orders stay until Ctrl-C", err=True)
            await waiting
        ending.cancel()
        waiting.cancel()
