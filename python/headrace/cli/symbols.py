"""``headrace symbols``: what a venue lists: price tick, lot, contract and status of each symbol.

Guarantees: stdout holds one table, or with ``--json`` one document.

Does not: read the list; ``headrace.venues`` does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Unpack

import click

from headrace.cli.failure import Failure
from headrace.cli.options import debug_option, json_option, network_options
from headrace.engine.tables import Table, tables_text

if TYPE_CHECKING:
    from headrace.market.listed import Listed
    from headrace.venues.binance.networks import NetworkOptions

__all__ = ["symbols_command"]

COLUMNS = ("instrument", "status", "price tick", "lot size", "contract", "size", "settles")


@click.command("symbols")
@click.argument("venue", metavar="VENUE")
@click.argument("symbols", nargs=-1, metavar="[SYMBOL]...")
@network_options
@json_option
@debug_option
def symbols_command(*, venue: str, symbols: tuple[str, ...], as_json: bool, **network: Unpack[NetworkOptions]) -> None:
    """List what VENUE (BINANCE, BINANCE_USDM, BINANCE_COINM) trades, or SYMBOLs of it."""
    from headrace.venues import listed_at

    listed = asyncio.run(listed_at(venue, **network))
    rows = [listed[name].facts() for name in (_names(venue, symbols, listed) if symbols else listed)]
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(rows))
    else:
        cells = [tuple(row.values()) for row in rows]
        click.echo(tables_text([Table(f"{venue}: {len(rows):,} symbols", COLUMNS, cells, texts=len(COLUMNS))]))


def _names(venue: str, symbols: tuple[str, ...], listed: dict[str, Listed]) -> list[str]:
    from headrace.venues import refusal_of

    names = [f"{symbol.upper()}.{venue}" for symbol in symbols]
    for name in names:
        if name not in listed:
            raise Failure(refusal_of(venue, name.rpartition(".")[0], listed))
    return names
